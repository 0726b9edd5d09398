//! What can go wrong in the kernel, each with the code of the Python error it becomes.

use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// A plan that does not fit together; only a fault in the compiler of expressions can cause it.
    Plan(String),
    /// Arrays whose lengths or values break what the caller has to check.
    Input(String),
    /// The caller's own flag, or a signal such as Ctrl-C.
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
