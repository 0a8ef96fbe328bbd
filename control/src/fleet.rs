//! What no host can see of itself: that it is gone, behind, or of another time than the others.

use crate::distributor::{HostLine, Published, Role};
use meshgate_policy::{Finding, PolicyVersion, Severity};

/// Difference between clocks that people are told of: flow records of two hosts are put into buckets of 10 s together.
const SKEW_HINT_NS: u64 = 500_000_000;
/// Difference that makes such buckets wrong.
const SKEW_PROBLEM_NS: u64 = 5_000_000_000;
/// Time that a host may take for a new version before it is called behind.
const APPLY_WAIT_NS: u64 = 10_000_000_000;

/// When a host was asked for its clock and what it said, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Control's clock when it asked.
    pub asked_ns: u64,
    /// Control's clock when the answer came.
    pub answered_ns: u64,
    /// The host's clock in between.
    pub host_ns: u64,
}

/// Returns what is to be said of a host's connection and of the version it enforces.
pub fn connection_findings(line: &HostLine, newest: &Published, now_ns: u64) -> Vec<Finding> {
    if !line.connected {
        let gone_s = now_ns.saturating_sub(line.kept.last_seen_ns) / 1_000_000_000;
        let text =
            format!("not connected for {gone_s} s; it goes on enforcing version {}", line.kept.version);
        let cure = "start meshgate-dataplane there, or look in its log why control is lost";
        return vec![Finding::problem("control", text, cure)];
    }
    let connected = Finding::ok("control", "connected");
    match line.kept.role == Role::Dataplane.word() {
        true => vec![connected, version_finding(line, newest, now_ns)],
        false => vec![connected],
    }
}

fn version_finding(line: &HostLine, newest: &Published, now_ns: u64) -> Finding {
    let (kept, version) = (&line.kept, newest.policy.version);
    let finding = |severity, text, cure: &str| Finding::new(severity, "policy", text, cure);
    if version == PolicyVersion(0) {
        let text = "no version was ever committed; the start action holds".to_owned();
        return finding(Severity::Hint, text, "commit a policy, for example by meshgate apply");
    }
    if kept.nack_version == version && !kept.nack_reason.is_empty() {
        let text = format!("refused version {version}: {}", kept.nack_reason);
        return finding(Severity::Problem, text, "correct what it names, or meshgate rollback");
    }
    if (kept.version, kept.digest) == (version, newest.digest) {
        let digest = newest.digest.short();
        return finding(
            Severity::Ok,
            format!("enforces version {version}, the newest (digest {digest})"),
            "",
        );
    }
    if kept.version == version {
        let text = format!("enforces version {version} with another digest than control has");
        return finding(
            Severity::Problem,
            text,
            "restart meshgate-dataplane there, so that it gets a snapshot",
        );
    }
    let text = format!("enforces version {}, the newest is {version}", kept.version);
    match now_ns.saturating_sub(newest.committed_ns) > APPLY_WAIT_NS {
        true => finding(Severity::Problem, text, "look in the log of meshgate-dataplane there"),
        false => finding(Severity::Hint, text, "it was committed just now; ask again"),
    }
}

/// Returns what is to be said of a host's clock. The answer came from between two moments of control's clock; what lies
/// outside of them is the least by which the clocks differ.
pub fn clock_finding(reading: ClockReading) -> Finding {
    let ClockReading { asked_ns, answered_ns, host_ns } = reading;
    let behind = asked_ns.saturating_sub(host_ns);
    let ahead = host_ns.saturating_sub(answered_ns);
    let (skew_ns, word) = if behind > 0 { (behind, "behind") } else { (ahead, "ahead of") };
    let severity = match skew_ns {
        0..SKEW_HINT_NS => Severity::Ok,
        SKEW_HINT_NS..SKEW_PROBLEM_NS => Severity::Hint,
        _ => Severity::Problem,
    };
    let text = match severity {
        Severity::Ok => "clock agrees with control's".to_owned(),
        _ => format!("clock is at least {} ms {word} control's", skew_ns / 1_000_000),
    };
    let cure =
        if severity == Severity::Ok { "" } else { "run chronyd or systemd-timesyncd on both machines" };
    Finding::new(severity, "clock", text, cure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredHost;
    use meshgate_policy::{Action, Digest, Name, Policy};
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn newest(version: u64) -> Published {
        let policy = Policy { version: PolicyVersion(version), ..Policy::empty(Action::Deny) };
        let digest = Digest([7; 32]);
        Published {
            policy: Arc::new(policy),
            digest,
            committed_ns: 100 * SECOND,
            audit_head: Digest::default(),
        }
    }

    fn line(version: u64, digest: u8) -> HostLine {
        let kept = StoredHost {
            host: Name::new("h1").unwrap(),
            role: "dataplane".into(),
            epoch: 1,
            version: PolicyVersion(version),
            digest: Digest([digest; 32]),
            nack_version: PolicyVersion(0),
            nack_reason: String::new(),
            last_seen_ns: 100 * SECOND,
            commit_to_ack_ns: 0,
        };
        HostLine { kept, connected: true, devices: Vec::new(), report: None }
    }

    fn version_of(line: &HostLine, newest: &Published, now_s: u64) -> (Severity, String) {
        let findings = connection_findings(line, newest, now_s * SECOND);
        let found = findings.into_iter().find(|finding| finding.topic == "policy").unwrap();
        assert_eq!(found.severity == Severity::Ok, found.cure.is_empty(), "{found:?}");
        (found.severity, found.text)
    }

    #[test]
    fn a_host_that_enforces_the_newest_version_is_well() {
        assert_eq!(version_of(&line(3, 7), &newest(3), 500).0, Severity::Ok);
    }

    #[test]
    fn a_host_is_behind_only_after_it_had_time() {
        assert_eq!(version_of(&line(2, 6), &newest(3), 105).0, Severity::Hint);
        let (severity, text) = version_of(&line(2, 6), &newest(3), 120);
        assert_eq!((severity, text.as_str()), (Severity::Problem, "enforces version 2, the newest is 3"));
    }

    #[test]
    fn another_digest_and_a_refusal_are_problems() {
        assert!(version_of(&line(3, 8), &newest(3), 120).1.contains("another digest"));
        let mut refused = line(2, 6);
        refused.kept.nack_version = PolicyVersion(3);
        refused.kept.nack_reason = "group Web: too many prefixes".into();
        let (severity, text) = version_of(&refused, &newest(3), 101);
        assert_eq!(severity, Severity::Problem);
        assert_eq!(text, "refused version 3: group Web: too many prefixes");
    }

    #[test]
    fn a_host_that_is_gone_is_a_problem_with_the_time() {
        let gone = HostLine { connected: false, ..line(3, 7) };
        let findings = connection_findings(&gone, &newest(3), 160 * SECOND);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].text.starts_with("not connected for 60 s"), "{}", findings[0].text);
    }

    #[test]
    fn only_what_the_way_of_the_question_cannot_explain_is_skew() {
        let reading = |host_ms: u64| ClockReading {
            asked_ns: 100 * SECOND,
            answered_ns: 101 * SECOND,
            host_ns: host_ms * 1_000_000,
        };
        assert_eq!(clock_finding(reading(100_500)).severity, Severity::Ok);
        assert_eq!(clock_finding(reading(101_400)).severity, Severity::Ok);
        let behind = clock_finding(reading(99_000));
        assert_eq!(behind.severity, Severity::Hint);
        assert_eq!(behind.text, "clock is at least 1000 ms behind control's");
        let ahead = clock_finding(reading(111_000));
        assert_eq!((ahead.severity, ahead.text.contains("ahead of control's")), (Severity::Problem, true));
    }
}
