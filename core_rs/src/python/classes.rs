//! The classes that Python creates before a run.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::cancel;
use crate::numerics::ticks::Ticks;
use crate::plan::{self, template};
use crate::python::errors::raise;
use crate::signals::level::Level;
use crate::simulation::execution;
use crate::simulation::trading_times::TradingTimes;

#[pyclass(frozen, module = "python_core._core_rs")]
#[derive(Default)]
pub struct Flag(pub cancel::Flag);

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
pub struct Plan(pub plan::Plan);

#[pymethods]
impl Plan {
    #[new]
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 10]) -> PyResult<Self> {
        plan::Plan::decode(&nodes, conditions, levels).map(Self).map_err(raise)
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
pub struct Template(pub template::Template);

#[pymethods]
impl Template {
    #[new]
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 10], params: usize) -> PyResult<Self> {
        template::Template::decode(&nodes, conditions, levels, params).map(Self).map_err(raise)
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
pub struct Execution(pub execution::Execution);

#[pymethods]
impl Execution {
    #[new]
    #[pyo3(signature = (*, initial_capital, commission, maker_fee, order_fee, slippage, sizing, size, step, tick, min_notional, leverage,
        maintenance_margin, pyramiding, fill, intrabar, levels, entry_expires, limit_through, trailing_activation, break_even_at, max_bars,
        partial_exits, trading_hours, trading_days, flat_outside, max_entries_per_day, cooldown, risk_free, calendar))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        initial_capital: f64,
        commission: f64,
        maker_fee: f64,
        order_fee: f64,
        slippage: f64,
        sizing: &str,
        size: f64,
        step: f64,
        tick: f64,
        min_notional: f64,
        leverage: f64,
        maintenance_margin: f64,
        pyramiding: u32,
        fill: &str,
        intrabar: &str,
        levels: [(String, f64); 10],
        entry_expires: i64,
        limit_through: f64,
        trailing_activation: Option<f64>,
        break_even_at: Option<f64>,
        max_bars: Option<i64>,
        partial_exits: Vec<(f64, f64)>,
        trading_hours: Vec<(i64, i64)>,
        trading_days: Option<Vec<usize>>,
        flat_outside: bool,
        max_entries_per_day: Option<i64>,
        cooldown: i64,
        risk_free: f64,
        calendar: &str,
    ) -> PyResult<Self> {
        let mut slots = [Level::None; 10];
        for (slot, given) in slots.iter_mut().zip(&levels) {
            *slot = level(given)?;
        }
        let days = |days: Vec<usize>| std::array::from_fn(|day| days.contains(&day));
        Ok(Self(execution::Execution {
            initial_capital,
            commission,
            maker_fee,
            order_fee,
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
            ticks: Ticks::new(tick),
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
            levels: execution::Levels::from_slots(slots),
            entry_expires,
            limit_through,
            trailing_activation,
            break_even_at,
            max_bars,
            partial_exits,
            trading_times: TradingTimes { hours: trading_hours, days: trading_days.map(days) },
            flat_outside,
            max_entries_per_day,
            cooldown,
            risk_free,
            calendar: match calendar {
                "crypto" => execution::Calendar::Crypto,
                "exchange" => execution::Calendar::Exchange,
                "fx" => execution::Calendar::Fx,
                _ => return Err(unknown("calendar", calendar)),
            },
        }))
    }
}

fn level((kind, value): &(String, f64)) -> PyResult<Level> {
    Ok(match kind.as_str() {
        "none" => Level::None,
        "fraction" => Level::Fraction(*value),
        "multiple" => Level::Multiple(*value),
        "series" => Level::Series,
        _ => return Err(unknown("level", kind)),
    })
}

fn unknown(what: &str, value: &str) -> PyErr {
    PyValueError::new_err(format!("{what}: unknown value {value:?}"))
}
