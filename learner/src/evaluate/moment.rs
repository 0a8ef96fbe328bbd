//! Points in time as people write them on the command line and read them in reports: UTC, whole minutes.

use std::fmt;
use std::str::FromStr;

/// Seconds of a day.
pub const DAY_S: u64 = 86_400;

/// The end of a span: the first minute that does not belong to it, written as `1998-06-15T18:30`, or as `1998-06-15` for
/// the first of a day. Edges are minutes: an end within one would part it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanEnd(u64);

/// A text is no day and no minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a day (YYYY-MM-DD) nor a minute (YYYY-MM-DDTHH:MM) from 1970 to 9999")]
pub struct NoSpanEnd;

impl SpanEnd {
    /// Returns the first second after the span, since 1970.
    pub fn second(self) -> u64 {
        self.0
    }
}

impl FromStr for SpanEnd {
    type Err = NoSpanEnd;

    fn from_str(text: &str) -> Result<Self, NoSpanEnd> {
        let (day, minute) = match text.split_once('T') {
            Some((day, minute)) => (day, Some(minute)),
            None => (text, None),
        };
        let mut parts = day.split('-');
        let mut part = |digits| parts.next().and_then(|part| number(part, digits)).ok_or(NoSpanEnd);
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        let days = days_since_1970(year, month, day).filter(|_| parts.next().is_none()).ok_or(NoSpanEnd)?;
        let Some(minute) = minute else { return Ok(Self(days * DAY_S)) };
        let (hours, minutes) = minute.split_once(':').ok_or(NoSpanEnd)?;
        match (number(hours, 2), number(minutes, 2)) {
            (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => {
                Ok(Self(days * DAY_S + hours * 3_600 + minutes * 60))
            }
            _ => Err(NoSpanEnd),
        }
    }
}

/// Writes the end as it would be typed.
impl fmt::Display for SpanEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(DAY_S) {
            formatter.write_str(&day_text(self.0))
        } else {
            formatter.write_str(&minute_text(self.0).replacen(' ', "T", 1))
        }
    }
}

/// Returns the day of a second since 1970, such as `1998-06-13`.
pub fn day_text(second: u64) -> String {
    let (year, month, day) = date(second / DAY_S);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Returns the minute of a second since 1970, such as `1998-06-13 18:30`.
pub fn minute_text(second: u64) -> String {
    format!("{} {:02}:{:02}", day_text(second), second % DAY_S / 3_600, second % 3_600 / 60)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Days of four centuries, after which the calendar repeats.
const CYCLE_DAYS: u64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01. Years that begin in March have the leap day at their end, which makes the
/// months regular (Hinnant, "chrono-compatible low-level date algorithms").
const UNTIL_1970_DAYS: u64 = 719_468;

/// Returns the number of a day, 0 being 1970-01-01; none for a day that the calendar lacks or an earlier one.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year_from_march, month_from_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year_of_cycle) = (year_from_march / 400, year_from_march % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    let days = cycle * CYCLE_DAYS + day_of_cycle - UNTIL_1970_DAYS;
    // The 31st of a short month comes back as the first of the next.
    Some(days).filter(|days| date(*days) == (year, month, day))
}

/// Returns year, month and day of a day's number.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + UNTIL_1970_DAYS;
    let (cycle, day_of_cycle) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_for_its_first_minute() {
        let end = |text: &str| text.parse::<SpanEnd>().unwrap().second();
        assert_eq!(end("1970-01-01"), 0);
        assert_eq!(end("1998-06-15"), 897_868_800);
        assert_eq!(end("1998-06-15T00:00"), 897_868_800);
        assert_eq!(end("2024-02-29T23:59"), 1_709_251_140);
    }

    #[test]
    fn an_end_is_written_as_it_was_typed() {
        for text in ["1998-06-13", "1998-06-13T18:30", "2000-02-29", "2024-12-31"] {
            assert_eq!(text.parse::<SpanEnd>().unwrap().to_string(), text);
        }
        assert_eq!(minute_text(896_687_700), "1998-06-01 07:55");
    }

    #[test]
    fn every_day_of_five_centuries_comes_back() {
        for days in 0..5 * 36_525 {
            let (year, month, day) = date(days);
            assert_eq!(days_since_1970(year, month, day), Some(days));
        }
    }

    #[test]
    fn what_the_calendar_lacks_is_refused() {
        for text in [
            "",
            "1998",
            "1998-6-1",
            "1998-02-29",
            "1998-13-01",
            "1998-04-31",
            "1969-12-31",
            "1998-06-13-1",
            "1998-06-13T24:00",
            "1998-06-13T12",
            "1998-06-13T12:60",
            "+998-06-13",
            "1998-06-13 12:00",
        ] {
            assert_eq!(text.parse::<SpanEnd>(), Err(NoSpanEnd), "{text}");
        }
    }
}
