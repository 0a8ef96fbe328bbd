//! Findings for people and for programs.

use meshgate_policy::{Finding, Severity};
use std::fmt::Write;

/// Returns the findings as text: problems first, each with its cure below it, and a line that counts.
pub fn table(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut text = String::new();
    for Finding { severity, topic, subject, text: found, cure } in sorted {
        let about = if subject.is_empty() { topic.clone() } else { format!("{topic} {subject}") };
        // Writing to a text cannot fail.
        _ = writeln!(text, "{:<8}{about}: {found}", severity.word());
        if !cure.is_empty() {
            _ = writeln!(text, "        -> {cure}");
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, hints) = (count(Severity::Problem), count(Severity::Hint));
    _ = writeln!(text, "\n{problems} problems, {hints} hints, {} ok", count(Severity::Ok));
    text
}

/// Returns the findings as a JSON list of objects of texts, in their order.
pub fn json(findings: &[Finding]) -> String {
    let object = |Finding { severity, topic, subject, text, cure }: &Finding| {
        let fields = [
            ("severity", severity.word()),
            ("topic", topic),
            ("subject", subject),
            ("text", text),
            ("cure", cure),
        ];
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
        format!("  {{{}}}", fields.join(", "))
    };
    format!("[\n{}\n]\n", findings.iter().map(object).collect::<Vec<_>>().join(",\n"))
}

/// Returns a text as a JSON string (RFC 8259 section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if u32::from(c) < 0x20 => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "6.18.0"),
            Finding::problem("device", "is \"down\"\n", "ip link set dev tap0 up").of("tap0"),
        ]
    }

    #[test]
    fn problems_come_first_with_their_cure_below() {
        let expected = "\
problem device tap0: is \"down\"\n
        -> ip link set dev tap0 up
ok      kernel: 6.18.0

1 problems, 0 hints, 1 ok
";
        assert_eq!(table(&some()), expected);
    }

    #[test]
    fn programs_get_json_with_everything_quoted() {
        let expected = "[
  {\"severity\": \"ok\", \"topic\": \"kernel\", \"subject\": \"\", \"text\": \"6.18.0\", \"cure\": \"\"},
  {\"severity\": \"problem\", \"topic\": \"device\", \"subject\": \"tap0\", \"text\": \"is \\\"down\\\"\\u000a\", \
                        \"cure\": \"ip link set dev tap0 up\"}
]
";
        assert_eq!(json(&some()), expected);
    }
}
