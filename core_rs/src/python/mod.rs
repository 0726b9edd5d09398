//! The boundary to Python: borrows arrays, releases the interpreter's lock and returns arrays. Only this folder uses PyO3.

mod arrays;
mod classes;
mod errors;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::time::{Duration, Instant};

use numpy::{IntoPyArray, PyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList, PyModule};

use crate::backtest;
use crate::cancel;
use crate::error::{Error, Result};
use crate::indicators;
use crate::metrics;
use crate::python::arrays::{Columns, Floats, Mark, Mask, Series, buffers, check_no_overlap, market};
use crate::python::classes::{Execution, Flag, Plan, Template};
use crate::python::errors::raise;
use crate::signals::evaluate;
use crate::signals::orders::{Given, LEVELS, Source};
use crate::simulation;
use crate::simulation::trade::Trade;
use crate::sweep::{Needs, Sweep, sweep as run_sweep};

/// How often a running call checks for signals, such as Ctrl-C.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Checks the caller's flag at every call, and signals at intervals.
fn poll(flag: Option<&cancel::Flag>, interrupt: &mut Option<PyErr>) -> impl FnMut(f64) -> Result<()> {
    let mut last_check = Instant::now();
    move |progress| {
        if let Some(flag) = flag {
            flag.set_progress(progress);
            flag.check()?;
        }
        if last_check.elapsed() >= SIGNAL_CHECK_INTERVAL {
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                *interrupt = Some(error);
                return Err(Error::Cancelled);
            }
            last_check = Instant::now();
        }
        Ok(())
    }
}

/// Positions of the metrics that are counts.
const COUNTS: [usize; 18] = [19, 20, 21, 31, 32, 38, 47, 48, 49, 60, 61, 65, 68, 69, 70, 81, 82, 86];

/// Metrics as Python objects: None if undefined, integers if they are counts.
fn metric_values<'py>(py: Python<'py>, values: &[f64]) -> PyResult<Bound<'py, PyList>> {
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

/// Trades, whether their excursions are pending, metrics, and the counts rejected, clipped, filtered, expired, ambiguous, ruined.
type RunResult<'py> = (Bound<'py, PyArray1<i64>>, bool, Bound<'py, PyList>, (i64, i64, i64, i64, i64, bool));
type GivenArrays<'py> = ([Mask<'py>; 4], [Option<Floats<'py>>; LEVELS], Option<Floats<'py>>);

/// Run a plan, or signals if they are given; fills `equity`. See `_core_rs.pyi`.
#[pyfunction]
#[pyo3(signature = (columns, funding, mark, timeframe_ms, plan, signals, strategy_ms, execution, first_bar, equity, flag,
    benchmark))]
#[allow(clippy::too_many_arguments)]
fn run<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    funding: Series<'py>,
    mark: Mark<'py>,
    timeframe_ms: i64,
    plan: &Plan,
    signals: Option<GivenArrays<'py>>,
    strategy_ms: i64,
    execution: &Execution,
    first_bar: usize,
    mut equity: PyReadwriteArray1<'py, f64>,
    flag: Option<&Flag>,
    benchmark: Series<'py>,
) -> PyResult<RunResult<'py>> {
    let market = market(&columns, &funding, &mark, &benchmark, timeframe_ms)?;
    let mut given = Given::default();
    let mut read = buffers(&market);
    if let Some((masks, levels, size)) = &signals {
        for (given, mask) in given.masks.iter_mut().zip(masks) {
            *given = mask.as_ref().map(|mask| mask.as_slice()).transpose()?;
        }
        for (given, values) in given.levels.iter_mut().zip(levels) {
            *given = values.as_ref().map(|values| values.as_slice()).transpose()?;
        }
        given.size = size.as_ref().map(|values| values.as_slice()).transpose()?;
        let floats = given.levels.iter().chain([&given.size]).flatten().copied();
        let lengths = given.masks.iter().flatten().map(|mask| mask.len()).chain(floats.clone().map(<[f64]>::len));
        if lengths.into_iter().any(|length| length != market.len()) || strategy_ms != timeframe_ms {
            return Err(PyValueError::new_err("signals: give one value for each bar"));
        }
        read.extend(given.masks.iter().flatten());
        read.extend(floats.map(bytemuck::cast_slice::<f64, u8>));
    }
    let source = if signals.is_some() { Source::Given(&given) } else { Source::Plan };
    check_no_overlap(bytemuck::cast_slice(equity.as_slice()?), &read)?;
    let equity = equity.as_slice_mut()?;
    let mut interrupt = None;
    let outcome = py.detach(|| {
        let mut poll = poll(flag.map(|flag| &flag.0), &mut interrupt);
        backtest::backtest(market, &plan.0, source, strategy_ms, &execution.0, first_bar, equity, &mut poll)
    });
    let outcome = outcome.map_err(|error| interrupt.unwrap_or_else(|| raise(error)))?;
    let totals = outcome.totals;
    Ok((
        bytemuck::cast_vec::<Trade, i64>(outcome.trades).into_pyarray(py),
        outcome.excursions_pending,
        metric_values(py, &outcome.metrics)?,
        (
            totals.rejected_orders,
            totals.clipped_orders,
            totals.filtered_entries,
            totals.expired_orders,
            totals.ambiguous_bars,
            totals.ruined,
        ),
    ))
}

/// The values of a plan's operations on every strategy bar. See `_core_rs.pyi`.
#[pyfunction]
fn node_values<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    timeframe_ms: i64,
    plan: &Plan,
    positions: Vec<usize>,
    strategy_ms: i64,
    fill_at_close: bool,
) -> PyResult<Vec<Bound<'py, PyArray1<f64>>>> {
    let market = market(&columns, &None, &None, &None, timeframe_ms)?;
    let values = py.detach(|| evaluate::node_values(market, &plan.0, &positions, strategy_ms, fill_at_close)).map_err(raise)?;
    Ok(values.into_iter().map(|values| values.into_pyarray(py)).collect())
}

/// Run every combination of a template's parameters; fills `values`. See `_core_rs.pyi`.
#[pyfunction]
#[pyo3(signature = (columns, funding, mark, timeframe_ms, template, combinations, strategy_ms, execution, first_bar, needs,
    threads, values, equity, flag, benchmark))]
#[allow(clippy::too_many_arguments)]
fn sweep<'py>(
    py: Python<'py>,
    columns: Columns<'py>,
    funding: Series<'py>,
    mark: Mark<'py>,
    timeframe_ms: i64,
    template: &Template,
    combinations: Floats<'py>,
    strategy_ms: i64,
    execution: &Execution,
    first_bar: usize,
    needs: (bool, bool),
    threads: usize,
    mut values: PyReadwriteArray1<'py, f64>,
    mut equity: PyReadwriteArray1<'py, f64>,
    flag: Option<&Flag>,
    benchmark: Series<'py>,
) -> PyResult<()> {
    let job = Sweep {
        market: market(&columns, &funding, &mark, &benchmark, timeframe_ms)?,
        template: &template.0,
        combinations: combinations.as_slice()?,
        execution: &execution.0,
        strategy_ms,
        first_bar,
        needs: Needs { equity: needs.0, trades: needs.1 },
        threads,
    };
    let mut read = buffers(&job.market);
    read.push(bytemuck::cast_slice(job.combinations));
    check_no_overlap(bytemuck::cast_slice(values.as_slice()?), &read)?;
    check_no_overlap(bytemuck::cast_slice(equity.as_slice()?), &read)?;
    check_no_overlap(bytemuck::cast_slice(equity.as_slice()?), &[bytemuck::cast_slice(values.as_slice()?)])?;
    let (values, equity) = (values.as_slice_mut()?, equity.as_slice_mut()?);
    let unused = cancel::Flag::default();
    let flag = flag.map_or(&unused, |flag| &flag.0);
    let mut interrupt = None;
    let done = AtomicBool::new(false);
    let outcome = py.detach(|| {
        let poll = |progress| {
            flag.set_progress(progress);
            flag.check()
        };
        std::thread::scope(|scope| {
            // Only this thread can check for signals, such as Ctrl-C, so another one leads the work.
            let (here, done) = (std::thread::current(), &done);
            let work = std::thread::Builder::new().spawn_scoped(scope, move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| run_sweep(job, values, equity, &poll)));
                done.store(true, Release);
                here.unpark();
                outcome.unwrap_or_else(|panic| resume_unwind(panic))
            });
            let work = work.map_err(|error| Error::Input(format!("cannot start a thread: {error}")))?;
            while !done.load(Acquire) {
                std::thread::park_timeout(SIGNAL_CHECK_INTERVAL);
                if done.load(Acquire) {
                    break;
                }
                if interrupt.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    interrupt = Some(error);
                    flag.cancel(true);
                }
            }
            work.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    });
    outcome.map_err(|error| interrupt.unwrap_or_else(|| raise(error)))
}

/// Fill in `mae` and `mfe` of trades whose excursions `run` left pending.
#[pyfunction]
fn fill_excursions(mut trades: PyReadwriteArray1<'_, i64>, low: Floats<'_>, high: Floats<'_>) -> PyResult<()> {
    let (low, high) = (low.as_slice()?, high.as_slice()?);
    check_no_overlap(bytemuck::cast_slice(trades.as_slice()?), &[bytemuck::cast_slice(low), bytemuck::cast_slice(high)])?;
    let trades: &mut [Trade] = bytemuck::try_cast_slice_mut(trades.as_slice_mut()?)
        .map_err(|error| PyValueError::new_err(format!("trades: the array is not a whole number of records ({error})")))?;
    if !simulation::fill_excursions(trades, low, high) {
        return Err(PyValueError::new_err("trades: a trade is outside the bars"));
    }
    Ok(())
}

#[pymodule]
fn _core_rs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CONTRACT", crate::CONTRACT)?;
    module.add_class::<Flag>()?;
    module.add_class::<Plan>()?;
    module.add_class::<Execution>()?;
    module.add_class::<Template>()?;
    let arguments = |row: &indicators::Row| row.arguments.iter().map(|a| (a.name, a.minimum, a.maximum, a.integer)).collect::<Vec<_>>();
    let table: Vec<_> = indicators::TABLE.iter().map(|row| (row.name, row.inputs, arguments(row), row.outputs)).collect();
    module.add("INDICATORS", table)?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(node_values, module)?)?;
    module.add_function(wrap_pyfunction!(fill_excursions, module)?)?;
    module.add_function(wrap_pyfunction!(sweep, module)?)?;
    Ok(())
}
