//! The boundary to Python: arrays in, the interpreter's lock off, arrays out. The only file that knows PyO3.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::time::{Duration, Instant};

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList, PyModule};

use crate::backtest;
use crate::cancel;
use crate::error::{Error, Result};
use crate::indicators;
use crate::market::Market;
use crate::metrics;
use crate::plan;
use crate::plan::template;
use crate::signals::evaluate;
use crate::signals::orders::Source;
use crate::simulation;
use crate::simulation::execution;
use crate::simulation::trade::Trade;
use crate::sweep::Sweep;

/// How often a running call looks at the flag's neighbours: the interpreter's signals, such as Ctrl-C.
const SIGNALS_EVERY: Duration = Duration::from_millis(10);

#[pyclass(frozen, module = "python_core._core_rs")]
#[derive(Default)]
struct Flag(cancel::Flag);

#[pymethods]
impl Flag {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn get_cancelled(&self) -> bool {
        self.0.cancelled()
    }

    #[setter]
    fn set_cancelled(&self, value: bool) {
        self.0.cancel(value);
    }

    #[getter]
    fn get_progress(&self) -> f64 {
        self.0.progress()
    }

    #[setter]
    fn set_progress(&self, value: f64) {
        self.0.set_progress(value);
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
struct Plan(plan::Plan);

#[pymethods]
impl Plan {
    #[new]
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 3]) -> PyResult<Self> {
        plan::Plan::decode(&nodes, conditions, levels).map(Self).map_err(fault)
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
struct Rules(execution::Rules);

#[pymethods]
impl Rules {
    #[new]
    #[pyo3(signature = (*, capital, commission, slippage, sizing, size, step, min_notional, leverage, maintenance_margin, pyramiding,
        fill, intrabar, stop_loss, take_profit, trailing_stop, trailing_activation, break_even_at, max_bars, partial_exits, calendar))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        capital: f64,
        commission: f64,
        slippage: f64,
        sizing: &str,
        size: f64,
        step: f64,
        min_notional: f64,
        leverage: f64,
        maintenance_margin: f64,
        pyramiding: u32,
        fill: &str,
        intrabar: &str,
        stop_loss: (String, f64),
        take_profit: (String, f64),
        trailing_stop: (String, f64),
        trailing_activation: Option<f64>,
        break_even_at: Option<f64>,
        max_bars: Option<i64>,
        partial_exits: Vec<(f64, f64)>,
        calendar: &str,
    ) -> PyResult<Self> {
        Ok(Self(execution::Rules {
            capital,
            commission,
            slippage,
            sizing: match sizing {
                "equity_fraction" => execution::Sizing::EquityFraction,
                "fixed_notional" => execution::Sizing::FixedNotional,
                "fixed_quantity" => execution::Sizing::FixedQuantity,
                "risk" => execution::Sizing::Risk,
                _ => return Err(unknown("sizing", sizing)),
            },
            size,
            step,
            min_notional,
            leverage,
            maintenance_margin,
            pyramiding,
            fill_at_close: match fill {
                "next_open" => false,
                "close" => true,
                _ => return Err(unknown("fill", fill)),
            },
            intrabar: match intrabar {
                "pessimistic" => execution::Intrabar::Pessimistic,
                "path" => execution::Intrabar::Path,
                "optimistic" => execution::Intrabar::Optimistic,
                _ => return Err(unknown("intrabar", intrabar)),
            },
            stop_loss: level(&stop_loss)?,
            take_profit: level(&take_profit)?,
            trailing_stop: level(&trailing_stop)?,
            trailing_activation,
            break_even_at,
            max_bars,
            partial_exits,
            exchange_calendar: match calendar {
                "crypto" => false,
                "exchange" => true,
                _ => return Err(unknown("calendar", calendar)),
            },
        }))
    }
}

fn level((kind, value): &(String, f64)) -> PyResult<execution::Level> {
    Ok(match kind.as_str() {
        "none" => execution::Level::None,
        "fraction" => execution::Level::Fraction(*value),
        "multiple" => execution::Level::Multiple(*value),
        "series" => execution::Level::Series,
        _ => return Err(unknown("level", kind)),
    })
}

fn unknown(what: &str, value: &str) -> PyErr {
    PyValueError::new_err(format!("{what}: unknown {value:?}"))
}

fn fault(error: Error) -> PyErr {
    match error {
        Error::Cancelled => Python::attach(|py| {
            let class = py.import("python_core.errors").and_then(|module| module.getattr("Cancelled"));
            class.and_then(|class| class.call1((Error::Cancelled.to_string(),))).map_or_else(|error| error, PyErr::from_value)
        }),
        _ => PyValueError::new_err(format!("{}: {error}", error.code())),
    }
}

type Floats<'py> = PyReadonlyArray1<'py, f64>;
type Integers<'py> = PyReadonlyArray1<'py, i64>;
/// Booleans as bytes: another byte than 0 and 1 would be no `bool`.
type Mask<'py> = Option<PyReadonlyArray1<'py, u8>>;

/// The columns of `Bars`, borrowed for one call.
#[derive(FromPyObject)]
struct Columns<'py>(Integers<'py>, Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>);

type Funding<'py> = Option<(Integers<'py>, Floats<'py>)>;
type Mark<'py> = Option<(Floats<'py>, Floats<'py>)>;

fn market<'a>(columns: &'a Columns<'_>, funding: &'a Funding<'_>, mark: &'a Mark<'_>, timeframe_ms: i64) -> PyResult<Market<'a>> {
    let Columns(time, open, high, low, close, volume) = columns;
    let market = Market {
        time: time.as_slice()?,
        open: open.as_slice()?,
        high: high.as_slice()?,
        low: low.as_slice()?,
        close: close.as_slice()?,
        volume: volume.as_slice()?,
        mark: mark.as_ref().map(|(low, high)| Ok::<_, PyErr>((low.as_slice()?, high.as_slice()?))).transpose()?,
        funding: funding.as_ref().map(|(time, rate)| Ok::<_, PyErr>((time.as_slice()?, rate.as_slice()?))).transpose()?,
        timeframe_ms,
    };
    let n = market.len();
    let even = [market.open, market.high, market.low, market.close, market.volume].iter().all(|column| column.len() == n)
        && market.mark.is_none_or(|(low, high)| low.len() == n && high.len() == n)
        && market.funding.is_none_or(|(time, rate)| time.len() == rate.len());
    if n == 0 || !even || timeframe_ms <= 0 {
        return Err(PyValueError::new_err("bars: the columns differ in length, or there are no bars"));
    }
    Ok(market)
}

/// The memory of all columns.
fn memory<'a>(market: &Market<'a>) -> Vec<&'a [u8]> {
    let (mark, funding) = (market.mark.unwrap_or_default(), market.funding.unwrap_or_default());
    let floats = [market.open, market.high, market.low, market.close, market.volume, mark.0, mark.1, funding.1];
    floats.into_iter().map(bytemuck::cast_slice).chain([market.time, funding.0].map(bytemuck::cast_slice)).collect()
}

/// NumPy's borrows go by the objects that own memory, and the same memory may have several owners.
fn check_apart(written: &[u8], read: &[&[u8]]) -> PyResult<()> {
    let written = written.as_ptr_range();
    if read.iter().map(|read| read.as_ptr_range()).any(|read| written.start < read.end && read.start < written.end) {
        return Err(PyValueError::new_err("an array that is filled shares its memory with one that is read"));
    }
    Ok(())
}

/// Watches the caller's flag at every tile, and the interpreter's signals now and then.
fn poll(flag: Option<&cancel::Flag>, raised: &mut Option<PyErr>) -> impl FnMut(f64) -> Result<()> {
    let mut looked = Instant::now();
    move |progress| {
        if let Some(flag) = flag {
            flag.set_progress(progress);
            flag.check()?;
        }
        if looked.elapsed() >= SIGNALS_EVERY {
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                *raised = Some(error);
                return Err(Error::Cancelled);
            }
            looked = Instant::now();
        }
        Ok(())
    }
}

/// Positions of the metrics that count something.
const COUNTS: [usize; 18] = [19, 20, 21, 31, 32, 38, 43, 44, 45, 56, 57, 61, 64, 65, 66, 77, 78, 82];

/// Metrics as Python has them: none where undefined, and whole numbers where they count.
fn known<'py>(py: Python<'py>, values: &[f64]) -> PyResult<Bound<'py, PyList>> {
    let mut counts = [false; metrics::VALUES];
    COUNTS.iter().for_each(|&i| counts[i] = true);
    PyList::new(
        py,
        values.iter().zip(counts).map(|(&value, count)| match (value.is_nan(), count) {
            (true, _) => py.None().into_bound(py),
            (_, true) => PyInt::new(py, value as i64).into_any(),
            _ => PyFloat::new(py, value).into_any(),
        }),
    )
}

type RunResult<'py> = (Bound<'py, PyArray1<i64>>, bool, Bound<'py, PyList>, i64, i64, bool);

/// Run a plan, or signals where `masks` are given; fills `equity`. See `_core_rs.pyi`.
#[pyfunction]
#[pyo3(signature = (columns, funding, mark, timeframe_ms, plan, masks, strategy_ms, rules, equity, flag))]
#[allow(clippy::too_many_arguments)]
fn run<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    funding: Funding<'py>,
    mark: Mark<'py>,
    timeframe_ms: i64,
    plan: &Plan,
    masks: Option<[Mask<'py>; 4]>,
    strategy_ms: i64,
    rules: &Rules,
    mut equity: PyReadwriteArray1<'py, f64>,
    flag: Option<&Flag>,
) -> PyResult<RunResult<'py>> {
    let market = market(&columns, &funding, &mark, timeframe_ms)?;
    let mut given = [None; 4];
    let source = match &masks {
        None => Source::Plan,
        Some(masks) => {
            for (given, mask) in given.iter_mut().zip(masks) {
                if let Some(mask) = mask {
                    let mask = mask.as_slice()?;
                    if mask.len() != market.len() {
                        return Err(PyValueError::new_err("signals: one value for each bar is needed"));
                    }
                    *given = Some(mask);
                }
            }
            Source::Given(given)
        }
    };
    let mut read = memory(&market);
    read.extend(given.iter().flatten());
    check_apart(bytemuck::cast_slice(equity.as_slice()?), &read)?;
    let equity = equity.as_slice_mut()?;
    let mut raised = None;
    let outcome = py.detach(|| {
        let mut poll = poll(flag.map(|flag| &flag.0), &mut raised);
        backtest::backtest(market, &plan.0, source, strategy_ms, &rules.0, equity, &mut poll)
    });
    let outcome = outcome.map_err(|error| raised.unwrap_or_else(|| fault(error)))?;
    let tally = outcome.tally;
    Ok((
        bytemuck::cast_vec::<Trade, i64>(outcome.trades).into_pyarray(py),
        outcome.excursions_pending,
        known(py, &outcome.metrics)?,
        tally.rejected_orders,
        tally.ambiguous_bars,
        tally.ruined,
    ))
}

/// The values of a plan's operations on every strategy bar. See `_core_rs.pyi`.
#[pyfunction]
fn values<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    timeframe_ms: i64,
    plan: &Plan,
    wanted: Vec<usize>,
    strategy_ms: i64,
) -> PyResult<Vec<Bound<'py, PyArray1<f64>>>> {
    let market = market(&columns, &None, &None, timeframe_ms)?;
    let values = py.detach(|| evaluate::values(market, &plan.0, &wanted, strategy_ms)).map_err(fault)?;
    Ok(values.into_iter().map(|values| values.into_pyarray(py)).collect())
}

#[pyclass(frozen, module = "python_core._core_rs")]
struct Template(template::Template);

#[pymethods]
impl Template {
    #[new]
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 3], params: usize) -> PyResult<Self> {
        template::Template::decode(&nodes, conditions, levels, params).map(Self).map_err(fault)
    }
}

/// Run every combination of a template's parameters; fills `values`. See `_core_rs.pyi`.
#[pyfunction]
#[pyo3(signature = (columns, funding, mark, timeframe_ms, template, combinations, strategy_ms, rules, risk, threads, values, flag))]
#[allow(clippy::too_many_arguments)]
fn sweep<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    funding: Funding<'py>,
    mark: Mark<'py>,
    timeframe_ms: i64,
    template: &Template,
    combinations: Floats<'py>,
    strategy_ms: i64,
    rules: &Rules,
    risk: bool,
    threads: usize,
    mut values: PyReadwriteArray1<'py, f64>,
    flag: Option<&Flag>,
) -> PyResult<()> {
    let job = Sweep {
        market: market(&columns, &funding, &mark, timeframe_ms)?,
        template: &template.0,
        combinations: combinations.as_slice()?,
        rules: &rules.0,
        timeframe_ms: strategy_ms,
        risk,
        threads,
    };
    let mut read = memory(&job.market);
    read.push(bytemuck::cast_slice(job.combinations));
    check_apart(bytemuck::cast_slice(values.as_slice()?), &read)?;
    let values = values.as_slice_mut()?;
    let unused = cancel::Flag::default();
    let flag = flag.map_or(&unused, |flag| &flag.0);
    let mut raised = None;
    let done = AtomicBool::new(false);
    let outcome = py.detach(|| {
        let poll = |progress| {
            flag.set_progress(progress);
            flag.check()
        };
        std::thread::scope(|scope| {
            // This thread alone can see the interpreter's signals, such as Ctrl-C, so another one leads the work.
            let (here, done) = (std::thread::current(), &done);
            let work = std::thread::Builder::new().spawn_scoped(scope, move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| crate::sweep::sweep(job, values, &poll)));
                done.store(true, Release);
                here.unpark();
                outcome.unwrap_or_else(|panic| resume_unwind(panic))
            });
            let work = work.map_err(|error| Error::Input(format!("no thread can be started: {error}")))?;
            while !done.load(Acquire) {
                std::thread::park_timeout(SIGNALS_EVERY);
                if done.load(Acquire) {
                    break;
                }
                if raised.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    raised = Some(error);
                    flag.cancel(true);
                }
            }
            work.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    });
    outcome.map_err(|error| raised.unwrap_or_else(|| fault(error)))
}

/// Fill in `mae` and `mfe` of trade records that `run` left pending.
#[pyfunction]
fn excursions(mut words: PyReadwriteArray1<'_, i64>, low: Floats<'_>, high: Floats<'_>) -> PyResult<()> {
    let (low, high) = (low.as_slice()?, high.as_slice()?);
    check_apart(bytemuck::cast_slice(words.as_slice()?), &[bytemuck::cast_slice(low), bytemuck::cast_slice(high)])?;
    let trades: &mut [Trade] = bytemuck::try_cast_slice_mut(words.as_slice_mut()?)
        .map_err(|error| PyValueError::new_err(format!("trades: not whole records ({error})")))?;
    if !simulation::excursions(trades, low, high) {
        return Err(PyValueError::new_err("trades: a record lies outside the bars"));
    }
    Ok(())
}

#[pymodule]
fn _core_rs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CONTRACT", crate::CONTRACT)?;
    module.add_class::<Flag>()?;
    module.add_class::<Plan>()?;
    module.add_class::<Rules>()?;
    module.add_class::<Template>()?;
    let arguments = |row: &indicators::Row| row.arguments.iter().map(|a| (a.name, a.least, a.most, a.whole)).collect::<Vec<_>>();
    let table: Vec<_> = indicators::TABLE.iter().map(|row| (row.name, row.inputs, arguments(row), row.outputs)).collect();
    module.add("INDICATORS", table)?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(values, module)?)?;
    module.add_function(wrap_pyfunction!(excursions, module)?)?;
    module.add_function(wrap_pyfunction!(sweep, module)?)?;
    Ok(())
}
