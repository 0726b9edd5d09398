//! Errors of the kernel as Python raises them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;

pub fn raise(error: Error) -> PyErr {
    match error {
        Error::Cancelled => Python::attach(|py| {
            let class = py.import("python_core.errors").and_then(|module| module.getattr("Cancelled"));
            class.and_then(|class| class.call1((Error::Cancelled.to_string(),))).map_or_else(|error| error, PyErr::from_value)
        }),
        _ => PyValueError::new_err(format!("{}: {error}", error.code())),
    }
}
