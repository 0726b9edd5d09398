//! A flag that stops a running call and shows its progress, without locks; `python_core.engine.control` wraps it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};

#[derive(Debug, Default)]
pub struct Flag {
    cancelled: AtomicBool,
    progress: AtomicU64,
}

impl Flag {
    pub fn cancel(&self, value: bool) {
        self.cancelled.store(value, Relaxed);
    }

    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// A fraction from 0 to 1.
    pub fn progress(&self) -> f64 {
        f64::from_bits(self.progress.load(Relaxed))
    }

    pub fn set_progress(&self, fraction: f64) {
        self.progress.store(fraction.to_bits(), Relaxed);
    }

    /// Called once per tile.
    pub fn check(&self) -> Result<()> {
        if self.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
