//! The hours and days on which entries are allowed, UTC: the twin of `python_core.engine.trading_times`.

use crate::market::DAY_MS;

const MINUTE_MS: i64 = 60_000;
const MINUTES_PER_DAY: i64 = 1_440;

#[derive(Clone, Debug, Default)]
pub struct TradingTimes {
    /// Minutes of the day from which and to which it is inside; over midnight if the first is the later one. Empty: always.
    pub hours: Vec<(i64, i64)>,
    /// Monday first.
    pub days: Option<[bool; 7]>,
}

impl TradingTimes {
    pub fn restrict(&self) -> bool {
        !self.hours.is_empty() || self.days.is_some()
    }

    /// Whether a bar that opens at `time_ms` is inside.
    pub fn contain(&self, time_ms: i64) -> bool {
        let minute = time_ms.div_euclid(MINUTE_MS).rem_euclid(MINUTES_PER_DAY);
        let within = |&(from, to): &(i64, i64)| if from < to { from <= minute && minute < to } else { minute >= from || minute < to };
        // 1970-01-01 was a Thursday.
        let weekday = (time_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) as usize;
        (self.hours.is_empty() || self.hours.iter().any(within)) && self.days.is_none_or(|days| days[weekday])
    }
}
