//! Periods of a run: UTC days, or bars of a day or longer. The twin of `python_core.metrics.periods`.

use std::borrow::Cow;

use crate::market::{DAY_MS, MONTH_MS, WEEK_MS};
use crate::simulation::execution::Calendar;

const THREE_DAYS_MS: i64 = 3 * DAY_MS;

/// The last bars of periods: of UTC days with bars, or every bar if bars last a day or longer.
#[derive(Clone, Debug)]
pub enum Periods {
    Bars(usize),
    Days(Vec<usize>),
}

impl Periods {
    /// `time` are the open times of all bars, at least one.
    pub fn new(time: &[i64], timeframe_ms: i64, calendar: Calendar) -> Self {
        if timeframe_ms >= DAY_MS {
            return Self::Bars(time.len());
        }
        let span_days = (time[time.len() - 1] - time[0]) / DAY_MS + 2;
        let mut ends = Vec::with_capacity(time.len().min(span_days as usize));
        let mut bar = 0;
        while bar < time.len() {
            let midnight = (trading_day(time[bar], calendar) + 1) * DAY_MS;
            let expected = ((midnight - 1 - time[bar]) / timeframe_ms) as usize;
            bar = first_at_or_after(midnight, time, bar, expected.max(1));
            ends.push(bar - 1);
        }
        Self::Days(ends)
    }

    /// The last bars of all periods.
    pub fn ends(self) -> Vec<usize> {
        match self {
            Self::Bars(n) => (0..n).collect(),
            Self::Days(ends) => ends,
        }
    }

    /// The values of bars, such as equity, at the ends of all periods.
    pub fn of<'a>(&self, values: &'a [f64]) -> Cow<'a, [f64]> {
        match self {
            Self::Bars(_) => Cow::Borrowed(values),
            Self::Days(ends) => ends.iter().map(|&end| values[end]).collect(),
        }
    }
}

/// The day since 1970 to which a time counts; a weekend counts to its Monday where markets close.
fn trading_day(time_ms: i64, calendar: Calendar) -> i64 {
    let day = time_ms.div_euclid(DAY_MS);
    if calendar == Calendar::Crypto {
        return day;
    }
    // 1970-01-01 was a Thursday; Monday is 0.
    let weekday = (day + 3).rem_euclid(7);
    if weekday >= 5 { day + 7 - weekday } else { day }
}

/// The number of periods in a year.
pub fn periods_per_year(timeframe_ms: i64, calendar: Calendar) -> f64 {
    let (days, week) = match calendar {
        Calendar::Crypto => (365.0, 7.0),
        Calendar::Exchange => (252.0, 5.0),
        Calendar::Fx => (260.0, 5.0),
    };
    match timeframe_ms {
        MONTH_MS => 12.0,
        WEEK_MS.. => days / week,
        THREE_DAYS_MS.. => days / 3.0,
        _ => days,
    }
}

/// The first bar at or after `moment`, which is later than bar `from`. `step` bars after that is a guess of the last bar before `moment`.
fn first_at_or_after(moment: i64, time: &[i64], from: usize, step: usize) -> usize {
    let (mut before, mut step) = (from, step);
    // Bar `before` is always earlier than `moment`. The guess is right without gaps, and too far with them.
    if before + step < time.len() && time[before + step] < moment {
        before += step;
        step = 1;
    }
    while before + step < time.len() && time[before + step] < moment {
        before += step;
        step *= 2;
    }
    let after = time.len().min(before + step);
    before + 1 + time[before + 1..after].partition_point(|&t| t < moment)
}

#[cfg(test)]
mod tests {
    use super::Periods;
    use crate::market::DAY_MS;
    use crate::random::Random;
    use crate::simulation::execution::Calendar;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_day_ends_at_its_last_bar_with_any_gaps() {
        let mut random = Random(8);
        for _ in 0..2_000 {
            let timeframe_ms = [60_000, 15 * 60_000, HOUR_MS, 12 * HOUR_MS][random.below(4)];
            let n = 1 + random.below(4_000);
            let time = random.times(n, timeframe_ms);
            // A period starts at every midnight but those on which a Sunday or a Monday starts, if weekends count to Monday.
            for (calendar, merged) in [(Calendar::Crypto, &[][..]), (Calendar::Exchange, &[6, 0]), (Calendar::Fx, &[6, 0])] {
                let starts = |day: i64| !merged.contains(&((day + 3) % 7));
                let ends_at = |bar: usize| bar + 1 == n || (time[bar] / DAY_MS + 1..=time[bar + 1] / DAY_MS).any(starts);
                let ends: Vec<usize> = (0..n).filter(|&bar| ends_at(bar)).collect();
                assert_eq!(Periods::new(&time, timeframe_ms, calendar).ends(), ends);
            }
        }
    }

    #[test]
    fn bars_of_a_day_or_longer_are_periods_themselves() {
        let periods = Periods::new(&[0, 7 * DAY_MS, 14 * DAY_MS], 7 * DAY_MS, Calendar::Exchange);
        assert_eq!(*periods.of(&[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
        assert_eq!(periods.ends(), [0, 1, 2]);
    }
}
