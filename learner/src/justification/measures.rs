//! Numbers as sentences write them. Each is made here together with its text, so that no sentence says another one.

use meshgate_policy::suggestion::Measure;

/// p-values above this are written as they are; below it as less than a power of ten.
const PLAIN_P_VALUE_MIN: f64 = 0.01;

/// Returns a count, written `1,204`.
pub(crate) fn count(name: &str, value: u64, unit: &str) -> Measure {
    measure(name, crate::proportion::real(value), unit, grouped(value))
}

/// Returns a count with what is counted: `1 attempt`, `24 attempts`, `3 source addresses`.
pub(crate) fn counted(measure: &Measure, one: &str) -> String {
    let ending = match () {
        () if measure.text == "1" => "",
        () if one.ends_with('s') => "es",
        () => "s",
    };
    format!("{} {one}{ending}", measure.text)
}

/// Returns a number that stands for a thing and is not counted: a port, a rule. Written `8080`.
pub(crate) fn number(name: &str, value: u32) -> Measure {
    measure(name, f64::from(value), "", value.to_string())
}

/// Returns a share of 0 to 1, written `99 %`, rounded down so that it never says more than there is.
pub(crate) fn percent(name: &str, share: f64) -> Measure {
    let whole = (share.clamp(0.0, 1.0) * 100.0 + 1e-9).floor();
    measure(name, share, "share", format!("{whole:.0} %"))
}

/// Returns a span, written `40 s`, `12 min`, `3 h` or `5 days`, rounded down.
pub(crate) fn span(name: &str, seconds: u64) -> Measure {
    let text = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", grouped(seconds / 86_400)),
    };
    measure(name, crate::proportion::real(seconds), "s", text)
}

/// Returns a p-value, written `p = 0.02` or `p < 0.001`.
pub(crate) fn p_value(name: &str, p_value: f64) -> Measure {
    let text = if p_value >= PLAIN_P_VALUE_MIN {
        format!("p = {p_value:.2}")
    } else {
        let bounds = ["0.01", "0.001", "0.0001", "0.00001", "0.000001"];
        let is_below = |text: &&&str| text.parse::<f64>().is_ok_and(|bound| p_value < bound);
        format!("p < {}", bounds.iter().rev().find(is_below).unwrap_or(&"1"))
    };
    measure(name, p_value, "", text)
}

/// Returns a real number, written with at most two decimals.
pub(crate) fn decimal(name: &str, value: f64, unit: &str) -> Measure {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    measure(name, value, unit, text.to_owned())
}

fn measure(name: &str, value: f64, unit: &str, text: String) -> Measure {
    Measure { name: name.to_owned(), value, unit: unit.to_owned(), text }
}

/// Returns whether the text of a measure says its value: to the digits written, rounded down where a unit was chosen.
pub(crate) fn is_told_truly(measure: &Measure) -> bool {
    let text = measure.text.as_str();
    if let Some(bound) = text.strip_prefix("p < ") {
        return bound.parse().is_ok_and(|bound: f64| measure.value < bound);
    }
    let text = text.strip_prefix("p = ").unwrap_or(text);
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let Ok(written) = digits.replace(',', "").parse::<f64>() else { return false };
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let step = 0.1f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX));
    let factor = match unit {
        "" | "s" => 1.0,
        "%" => 0.01,
        "min" => 60.0,
        "h" => 3_600.0,
        "days" => 86_400.0,
        _ => return false,
    };
    let rest = measure.value / factor - written;
    // Beyond 2^53 a value is rounded.
    let slack = 1e-9 + written.abs() * 1e-12;
    if unit.is_empty() || unit == "s" {
        rest.abs() <= step / 2.0 + slack
    } else {
        (-slack..step).contains(&rest)
    }
}

/// Returns the digits with a comma before every third.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(count("flows", 1_204, "flows").text, "1,204");
        assert_eq!(count("flows", 999, "flows").text, "999");
        assert_eq!(counted(&count("flows", 1, "flows"), "flow"), "1 flow");
        assert_eq!(counted(&count("sources", 0, ""), "source address"), "0 source addresses");
        assert_eq!(percent("answered", 0.999).text, "99 %");
        assert_eq!(percent("answered", 0.29).text, "29 %");
        assert_eq!(percent("answered", 1.0).text, "100 %");
        assert_eq!(span("span", 40).text, "40 s");
        assert_eq!(span("span", 7_199).text, "119 min");
        assert_eq!(span("span", 5 * 86_400 + 7).text, "5 days");
        assert_eq!(p_value("p", 0.0004).text, "p < 0.001");
        assert_eq!(p_value("p", 0.0).text, "p < 0.000001");
        assert_eq!(p_value("p", 0.023).text, "p = 0.02");
        assert_eq!(decimal("x", 24.0, "").text, "24");
        assert_eq!(decimal("x", -0.001, "").text, "0");
    }

    #[test]
    fn every_text_says_its_value_and_no_other() {
        let seconds = [0, 1, 119, 120, 7_199, 7_200, 172_799, 172_800, 9_999_999, u64::MAX];
        let mut measures: Vec<Measure> = seconds.iter().map(|s| span("span", *s)).collect();
        measures.extend(seconds.iter().map(|s| count("flows", *s, "flows")));
        measures.extend((0..=1_000).map(|part| percent("share", f64::from(part) / 1_000.0)));
        measures.extend((0..=1_000).map(|part| p_value("p", f64::from(part) / 1_000.0)));
        measures.extend((-500..500).map(|part| decimal("x", f64::from(part) / 77.0, "")));
        for measure in &measures {
            assert!(is_told_truly(measure), "{measure:?}");
        }
        let lie = Measure { value: 1_205.0, ..count("flows", 1_204, "flows") };
        assert!(!is_told_truly(&lie) && !is_told_truly(&Measure { value: 0.98, ..percent("share", 0.99) }));
        assert!(!is_told_truly(&Measure { text: "many".into(), ..lie }));
    }
}
