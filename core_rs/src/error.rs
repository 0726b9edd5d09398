//! Errors of the kernel, with the codes that Python sees.

use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// A plan that is not consistent; only a bug in the expression compiler can cause it.
    Plan(String),
    /// Lengths or values that the caller should have checked.
    Input(String),
    /// By the caller's flag, or by a signal such as Ctrl-C.
    Cancelled,
}

impl Error {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plan(_) => "invalid_plan",
            Self::Input(_) => "invalid_input",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(text) | Self::Input(text) => f.write_str(text),
            Self::Cancelled => f.write_str("the call was cancelled"),
        }
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;
