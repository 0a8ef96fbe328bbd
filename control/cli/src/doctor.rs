//! `meshgate doctor`: what keeps hosts from working well, and what to do about it.

use crate::failure::Failure;
use crate::inside_answers::HostFindings;
use crate::session::{Reply, Session};
use crate::table::{plural, printable};
use clap::Args;
use meshgate_policy::{Finding, Name, Severity};
use std::fmt::Write;

/// `meshgate doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Only this host
    #[arg(long, value_name = "NAME")]
    host: Option<Name>,
    /// Also what is as it should be
    #[arg(long)]
    all: bool,
}

impl Doctor {
    /// Asks and shows the findings.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let host = self.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let hosts = session.connect().await?.diagnose(&host).await?;
        Ok(session.show(&hosts, |hosts| text(hosts, self.all))?.into())
    }
}

fn text(hosts: &[HostFindings], all: bool) -> String {
    if hosts.is_empty() {
        return "no host has connected yet; start a meshgate-dataplane that names this server\n".to_owned();
    }
    let mut text = String::new();
    let is_shown = |finding: &&Finding| all || finding.severity != Severity::Ok;
    for HostFindings { host, findings } in hosts {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (problems, hints) = (count(Severity::Problem), count(Severity::Hint));
        // Writing to a text cannot fail.
        _ = writeln!(
            text,
            "{}: {}, {}, {} ok",
            printable(host.clone()),
            plural(problems, "problem"),
            plural(hints, "hint"),
            count(Severity::Ok)
        );
        let mut shown: Vec<&Finding> = findings.iter().filter(is_shown).collect();
        shown.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        shown.into_iter().for_each(|finding| text.push_str(&finding_text(finding)));
    }
    text
}

fn finding_text(Finding { severity, topic, subject, text, cure }: &Finding) -> String {
    let about = if subject.is_empty() { topic.clone() } else { format!("{topic} {subject}") };
    let line = format!("  {severity:<8}{}\n", printable(format!("{about}: {text}")));
    match cure.as_str() {
        "" => line,
        cure => format!("{line}          -> {}\n", printable(cure.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, topic: &str, subject: &str, cure: &str) -> Finding {
        let text = format!("something of the {topic}");
        Finding { severity, topic: topic.into(), subject: subject.into(), text, cure: cure.into() }
    }

    #[test]
    fn problems_come_first_and_each_has_its_cure_below() {
        let findings = vec![
            finding(Severity::Ok, "kernel", "", ""),
            finding(Severity::Hint, "processor", "cpu 3", "isolate it"),
            finding(Severity::Problem, "device", "tap0", "ip link set dev tap0 up"),
        ];
        let hosts = [HostFindings { host: "h1".into(), findings }];
        let expected = "\
h1: 1 problem, 1 hint, 1 ok
  problem device tap0: something of the device
          -> ip link set dev tap0 up
  hint    processor cpu 3: something of the processor
          -> isolate it
";
        assert_eq!(text(&hosts, false), expected);
        assert!(text(&hosts, true).ends_with("  ok      kernel: something of the kernel\n"));
    }

    #[test]
    fn without_hosts_it_says_what_to_do() {
        assert!(text(&[], false).starts_with("no host has connected yet; start"));
    }

    #[test]
    fn what_a_host_wrote_does_not_drive_the_terminal() {
        let findings = vec![finding(Severity::Hint, "x", "\u{1b}[2J", "\u{7}")];
        let shown = text(&[HostFindings { host: "h".into(), findings }], false);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    }
}
