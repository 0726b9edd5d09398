//! When a price touches a level, and what it costs to fill there: the twin of `python_core.engine.prices`.

/// How far a price may miss a level and still touch it, so that rounding decides nothing: 110.0 touches 100 * 1.1.
const FROM_ABOVE: f64 = 1.000000000001;
const FROM_BELOW: f64 = 0.999999999999;

/// The price beyond which `level` is touched, by a price that falls or by one that rises.
#[inline(always)]
pub fn touch_bound(falling: bool, level: f64) -> f64 {
    if falling { level * FROM_ABOVE } else { level * FROM_BELOW }
}

/// Whether a price that falls to `price`, or rises to it, touches `level`; never if that is NaN.
#[inline(always)]
pub fn touches(falling: bool, price: f64, level: f64) -> bool {
    let bound = touch_bound(falling, level);
    if falling { price <= bound } else { price >= bound }
}

/// The price beyond which a limit at `level` fills: it must be passed by the fraction `through`.
#[inline(always)]
pub fn limit_bound(falling: bool, level: f64, through: f64) -> f64 {
    match (through > 0.0, falling) {
        (false, _) => touch_bound(falling, level),
        (true, true) => level * (1.0 - through),
        (true, false) => level * (1.0 + through),
    }
}

#[inline(always)]
pub fn fills_limit(falling: bool, price: f64, level: f64, through: f64) -> bool {
    let bound = limit_bound(falling, level, through);
    if falling { price <= bound } else { price >= bound }
}

/// A price is somewhere between the bar's low and high.
#[inline(always)]
pub fn within(level: f64, low: f64, high: f64) -> f64 {
    let raised = if level > low { level } else { low };
    if raised < high { raised } else { high }
}

#[cfg(test)]
mod tests {
    use super::{touches, within};

    #[test]
    fn a_level_missed_by_rounding_is_touched() {
        assert!(touches(false, 110.0, 100.0 * 1.1));
        assert!(touches(true, 189.05, 199.0 * 0.95));
        assert!(!touches(false, 109.999_999, 110.0));
        assert!(!touches(true, 1.0, f64::NAN) && !touches(false, 1.0, f64::NAN));
        assert_eq!(within(100.0 * 1.1, 100.0, 110.0), 110.0);
    }
}
