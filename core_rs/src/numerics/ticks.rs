//! Rounding to whole steps of price or quantity.

/// From here on every float is a whole number.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// `x` in units of `unit`, rounded down or up. Within a billionth of a whole number it is that number: 0.3 is three times 0.1. None if `x` is
/// too large to have a fraction.
pub fn whole_units(x: f64, unit: f64, up: bool) -> Option<f64> {
    let ratio = x / unit;
    if ratio.is_nan() || ratio.abs() >= WHOLE {
        return None;
    }
    let nearest = (ratio + 0.5).floor();
    Some(match ((ratio - nearest).abs() <= 1e-9 * nearest.abs(), up) {
        (true, _) => nearest,
        (false, true) => ratio.ceil(),
        (false, false) => ratio.floor(),
    })
}

/// The price steps of a market.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    tick: f64,
    /// Ticks in 1, if that is a whole number; else 0.
    per_unit: f64,
}

impl Ticks {
    /// `tick` 0: prices are not rounded.
    pub fn new(tick: f64) -> Self {
        let exact = 1.0 / tick;
        let nearest = (exact + 0.5).floor();
        let whole = tick > 0.0 && nearest >= 1.0 && (exact - nearest).abs() <= 1e-9 * nearest;
        Self { tick, per_unit: if whole { nearest } else { 0.0 } }
    }

    pub fn tick(&self) -> f64 {
        self.tick
    }

    /// `price` rounded to whole ticks, down or up.
    #[inline(always)]
    pub fn round(&self, price: f64, up: bool) -> f64 {
        if self.tick == 0.0 { price } else { self.round_to_ticks(price, up) }
    }

    fn round_to_ticks(&self, price: f64, up: bool) -> f64 {
        match whole_units(price, self.tick, up) {
            None => price,
            Some(ticks) if self.per_unit > 0.0 => ticks / self.per_unit,
            Some(ticks) => ticks * self.tick,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    #[test]
    fn prices_are_rounded_to_ticks() {
        let cents = Ticks::new(0.01);
        assert_eq!((cents.round(1.234, false), cents.round(1.234, true)), (1.23, 1.24));
        assert_eq!((cents.round(0.29, false), cents.round(0.29, true)), (0.29, 0.29));
        let quarters = Ticks::new(2.5);
        assert_eq!((quarters.round(9.0, false), quarters.round(9.0, true)), (7.5, 10.0));
        assert_eq!(Ticks::new(0.0).round(1.234, true), 1.234);
        assert_eq!(cents.round(1e300, true), 1e300);
    }
}
