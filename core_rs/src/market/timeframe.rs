//! Lengths of timeframes, and the alignment of their bars: the twin of `python_core.data.timeframes`.
//!
//! Lengths are fixed, but for that of a month, which begins with its first day at 00:00 UTC. `MONTH_MS`, the length of the longest month,
//! stands for calendar months.

pub const DAY_MS: i64 = 86_400_000;
pub const WEEK_MS: i64 = 7 * DAY_MS;
pub const MONTH_MS: i64 = 31 * DAY_MS;
/// 1970-01-01 was a Thursday; weeks start on Monday.
const MONDAY_OFFSET_MS: i64 = 4 * DAY_MS;

/// Whether every boundary of the coarser timeframe is one of the finer. Both are positive.
pub fn fits(fine_ms: i64, coarse_ms: i64) -> bool {
    if fine_ms == MONTH_MS || coarse_ms == MONTH_MS {
        return fine_ms == coarse_ms || (coarse_ms == MONTH_MS && DAY_MS % fine_ms == 0);
    }
    coarse_ms % fine_ms == 0
}

/// Start and end of the bar of `length_ms` that contains a time.
pub fn bucket_ms(time_ms: i64, length_ms: i64) -> (i64, i64) {
    if length_ms == MONTH_MS {
        let month = month_of(time_ms.div_euclid(DAY_MS));
        return (first_day(month) * DAY_MS, first_day(month + 1) * DAY_MS);
    }
    let offset = if length_ms == WEEK_MS { MONDAY_OFFSET_MS } else { 0 };
    let start = (time_ms - offset).div_euclid(length_ms) * length_ms + offset;
    (start, start + length_ms)
}

/// The end of a bar that opens at `time_ms`, which need not be aligned unless it is a month's.
pub fn bar_end_ms(time_ms: i64, length_ms: i64) -> i64 {
    if length_ms == MONTH_MS { bucket_ms(time_ms, length_ms).1 } else { time_ms + length_ms }
}

/// The month of a day, both counted from January 1970. Years are taken to begin in March, so that a leap day is the last of one:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn month_of(day: i64) -> i64 {
    let since_era = day + 719_468;
    let era = since_era.div_euclid(146_097);
    let day_of_era = since_era.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era - 1970) * 12 + month_of_year + 2
}

/// The first day of a month, both counted from January 1970.
fn first_day(month: i64) -> i64 {
    let month = month - 2;
    let (year, month_of_year) = (month.div_euclid(12) + 1970, month.rem_euclid(12));
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_of_year + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, MONTH_MS, WEEK_MS, bucket_ms, first_day, fits, month_of};

    #[test]
    fn months_follow_the_calendar_for_ten_thousand_years() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut day = 0;
        for month in 0..12 * 8_030 {
            let (year, of_year) = (1970 + month / 12, month % 12);
            let days = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][of_year as usize];
            assert_eq!(first_day(month), day);
            assert_eq!((month_of(day), month_of(day + days - 1)), (month, month));
            day += days;
        }
        assert_eq!((month_of(-1), first_day(-1)), (-1, -31));
    }

    #[test]
    fn a_bar_contains_its_start_but_not_its_end() {
        let february = 50 * 365 * DAY_MS + 12 * DAY_MS + 31 * DAY_MS; // 2020-02-01
        let march = february + 29 * DAY_MS;
        assert_eq!(bucket_ms(february, MONTH_MS), (february, march));
        assert_eq!(bucket_ms(march - 1, MONTH_MS), (february, march));
        assert_eq!(bucket_ms(march, MONTH_MS), (march, march + 31 * DAY_MS));
        assert_eq!(bucket_ms(4 * DAY_MS - 1, WEEK_MS), (-3 * DAY_MS, 4 * DAY_MS));
        assert_eq!(bucket_ms(4 * DAY_MS, 3 * DAY_MS), (3 * DAY_MS, 6 * DAY_MS));
    }

    #[test]
    fn months_are_made_of_what_divides_a_day() {
        assert!(fits(45 * 60_000, MONTH_MS) && fits(DAY_MS, MONTH_MS) && fits(MONTH_MS, MONTH_MS));
        assert!(!fits(3 * DAY_MS, MONTH_MS) && !fits(WEEK_MS, MONTH_MS) && !fits(MONTH_MS, WEEK_MS) && !fits(MONTH_MS, 12 * MONTH_MS));
        assert!(fits(DAY_MS, 3 * DAY_MS) && !fits(3 * DAY_MS, WEEK_MS) && !fits(WEEK_MS, DAY_MS));
    }
}
