//! The classes that Python creates before a run.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::cancel;
use crate::plan::{self, template};
use crate::python::errors::raise;
use crate::simulation::execution;

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
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 3]) -> PyResult<Self> {
        plan::Plan::decode(&nodes, conditions, levels).map(Self).map_err(raise)
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
pub struct Template(pub template::Template);

#[pymethods]
impl Template {
    #[new]
    fn new(nodes: Vec<plan::RawNode>, conditions: [i64; 4], levels: [i64; 3], params: usize) -> PyResult<Self> {
        template::Template::decode(&nodes, conditions, levels, params).map(Self).map_err(raise)
    }
}

#[pyclass(frozen, module = "python_core._core_rs")]
pub struct Execution(pub execution::Execution);

#[pymethods]
impl Execution {
    #[new]
    #[pyo3(signature = (*, initial_capital, commission, slippage, sizing, size, step, min_notional, leverage, maintenance_margin, pyramiding,
        fill, intrabar, stop_loss, take_profit, trailing_stop, trailing_activation, break_even_at, max_bars, partial_exits, calendar, risk_free))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        initial_capital: f64,
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
        risk_free: f64,
    ) -> PyResult<Self> {
        Ok(Self(execution::Execution {
            initial_capital,
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
            calendar: match calendar {
                "crypto" => execution::Calendar::Crypto,
                "exchange" => execution::Calendar::Exchange,
                "fx" => execution::Calendar::Fx,
                _ => return Err(unknown("calendar", calendar)),
            },
            risk_free,
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
    PyValueError::new_err(format!("{what}: unknown value {value:?}"))
}
