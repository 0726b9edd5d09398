//! Levels of price: stops, targets and resting entries.

/// Where a stop, target, trailing distance or resting entry comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    None,
    /// A fraction of the entry price, or for a resting entry of the signal bar's close.
    Fraction(f64),
    /// A multiple of the series at the signal bar.
    Multiple(f64),
    /// The series at the signal bar.
    Series,
    /// The caller's array at the signal bar, where 0 and infinity mean that there is no level.
    Given,
}

/// A level for each side: long, short.
pub type Sides = [Level; 2];

/// Whether the caller's array has no level on a bar.
pub fn is_no_level(value: f64) -> bool {
    value == 0.0 || value.is_infinite()
}
