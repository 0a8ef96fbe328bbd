//! Numbers, spans and times as people read them.

use std::time::Duration;

const NS_PER_S: u64 = 1_000_000_000;

/// Returns a count with commas between thousands, up to seven digits, then with a unit: `12,345`, `3.4G`.
pub fn count(value: u64) -> String {
    if value >= 10_000_000 {
        return scaled(value, 1_000, &["k", "M", "G", "T", "P", "E"]);
    }
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a rate in few characters: `9,999`, `12.3k`, `4.5G`.
pub fn short(value: u64) -> String {
    if value < 10_000 { count(value) } else { scaled(value, 1_000, &["k", "M", "G", "T", "P", "E"]) }
}

/// Returns bytes in binary units: `512 B`, `1.5 MiB`.
pub fn bytes(value: u64) -> String {
    if value < 1_024 {
        return format!("{value} B");
    }
    scaled(value, 1_024, &[" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// Returns the value divided by the largest power of `step` that leaves something before the point, with one decimal.
fn scaled(value: u64, step: u64, units: &[&str]) -> String {
    let mut divisor = step;
    let mut unit = 0;
    while unit + 1 < units.len() && value / divisor >= step {
        divisor = divisor.saturating_mul(step);
        unit += 1;
    }
    let tenths = u128::from(value) * 10 / u128::from(divisor);
    format!("{}.{}{}", tenths / 10, tenths % 10, units.get(unit).copied().unwrap_or_default())
}

/// Returns a latency: `850 us`, `12.4 ms`, `3.1 s`.
pub fn latency(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..NS_PER_S => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{} s", ns / NS_PER_S, ns / 100_000_000 % 10),
    }
}

/// Returns a span by its largest unit: `8s`, `5m`, `3h`, `12d`.
pub fn span(ns: u64) -> String {
    let seconds = ns / NS_PER_S;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a time as `2026-01-31 12:00:00Z`; `-` for none.
pub fn time(ns: u64) -> String {
    if ns == 0 {
        return "-".to_owned();
    }
    let seconds = ns / NS_PER_S;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Returns year, month and day of a day counted from 1970-01-01, by eras of 400 years that begin on a 1st of March.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let shifted = days + 719_468; // Days from 0000-03-01 to 1970-01-01.
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A text that is no span of time. Holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span of time like 500ms, 30s, 5m, 2h or 7d")]
pub struct SpanError(pub String);

/// Returns the span that the text names; a bare number counts seconds.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let bad = || SpanError(text.to_owned());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas_and_then_units() {
        let shown: Vec<String> = [0, 999, 1_000, 1_234_567, 12_345_678, u64::MAX].map(count).into();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "12.3M", "18.4E"]);
    }

    #[test]
    fn rates_are_short() {
        let shown: Vec<String> = [0, 9_999, 10_000, 12_345_678, u64::MAX].map(short).into();
        assert_eq!(shown, ["0", "9,999", "10.0k", "12.3M", "18.4E"]);
    }

    #[test]
    fn bytes_have_binary_units() {
        let shown: Vec<String> = [0, 1_023, 1_536, 1 << 40, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "1.0 TiB", "15.9 EiB"]);
    }

    #[test]
    fn latencies_and_spans_pick_their_unit() {
        assert_eq!([850_000, 12_430_000, 3_100_000_000].map(latency), ["850 us", "12.4 ms", "3.1 s"]);
        assert_eq!([8, 300, 10_800, 864_000].map(|s| span(s * NS_PER_S)), ["8s", "5m", "3h", "10d"]);
    }

    #[test]
    fn times_are_right_on_leap_days_and_at_the_turn_of_years() {
        let shown = [951_782_400, 1_735_689_599, 4_107_542_400].map(|s| time(s * NS_PER_S));
        assert_eq!(shown, ["2000-02-29 00:00:00Z", "2024-12-31 23:59:59Z", "2100-03-01 00:00:00Z"]);
        assert_eq!(time(0), "-");
    }

    #[test]
    fn spans_are_read_with_and_without_a_unit_and_refused_by_text() {
        assert_eq!(parse_span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_span("2h"), Ok(Duration::from_secs(7_200)));
        for text in ["", "m", "5 m", "-5s", "5y", "99999999999999999999d", "99999999999999999d"] {
            assert_eq!(parse_span(text), Err(SpanError(text.to_owned())), "{text}");
        }
    }
}
