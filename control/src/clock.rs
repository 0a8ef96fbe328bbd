//! The time of day, read at the edges and passed on as a value.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns nanoseconds since 1970; 0 before it.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a time as `2026-01-31 12:00:00Z`. Days become dates by eras of 400 years that begin on a 1st of March.
pub fn utc(ns: u64) -> String {
    const DAYS_PER_ERA: u64 = 146_097;
    let seconds = ns / 1_000_000_000;
    let shifted = seconds / 86_400 + 719_468; // Days from 0000-03-01 to 1970-01-01.
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_on_leap_days_and_at_the_turn_of_years() {
        let shown = [951_782_400, 1_735_689_599, 4_107_542_400].map(|s| utc(s * 1_000_000_000));
        assert_eq!(shown, ["2000-02-29 00:00:00Z", "2024-12-31 23:59:59Z", "2100-03-01 00:00:00Z"]);
    }
}
