//! `meshgate explain`: why a packet would pass or not.

use crate::answers::{Explanation, RuleExplanation};
use crate::client::Question;
use crate::failure::{Failure, UsageError};
use crate::session::{Reply, Session};
use crate::table::{list, numbers, plural, printable, table, words};
use clap::Args;
use meshgate_policy::{L4Match, Name, PortRange, PortSet, Protocol, ProtocolMatch};

/// `meshgate explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Sender: an IP address, or the name of an endpoint (its first address)
    #[arg(long, value_name = "WHO")]
    from: String,
    /// Receiver: an IP address, or the name of an endpoint
    #[arg(long, value_name = "WHO")]
    to: String,
    /// TCP, UDP, SCTP, ICMP, ICMPv6 or a protocol number
    #[arg(long, value_name = "PROTOCOL")]
    protocol: ProtocolMatch,
    /// Destination port, with TCP, UDP and SCTP
    #[arg(long, alias = "destination-port")]
    port: Option<u16>,
    /// Source port; rules do not look at it
    #[arg(long, value_name = "PORT")]
    source_port: Option<u16>,
    /// ICMP type; 8 with ICMP and 128 with ICMPv6 (echo request) if not given
    #[arg(long, value_name = "N")]
    icmp_type: Option<u8>,
    /// ICMP code
    #[arg(long, value_name = "N")]
    icmp_code: Option<u8>,
    /// Segment of both; "default" if not given
    #[arg(long)]
    segment: Option<Name>,
    /// The version to ask; the newest if not given
    #[arg(long = "version", value_name = "N")]
    version: Option<u64>,
}

impl Explain {
    /// Asks and shows the answer.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let question = self.question()?;
        let packet = packet_text(&question);
        let answer = session.connect().await?.explain(question).await?;
        Ok(session.show(&answer, |answer| text(answer, &packet))?.into())
    }

    fn question(self) -> Result<Question, UsageError> {
        let ports = self.port.or(self.source_port).map_or_else(PortSet::all, |port| {
            PortRange::new(port, port).and_then(|range| PortSet::new(vec![range])).unwrap_or_default()
        });
        L4Match::new(self.protocol, &ports, self.icmp_type, self.icmp_code)?;
        let (has_ports, echo_request) = match self.protocol {
            ProtocolMatch::Any => return Err(UsageError::Missing("a protocol (any is none)")),
            ProtocolMatch::Is(Protocol::ICMP) => (false, Some(8)),
            ProtocolMatch::Is(Protocol::ICMPV6) => (false, Some(128)),
            ProtocolMatch::Is(protocol) => (protocol.has_ports(), None),
        };
        if has_ports && self.port.is_none() {
            return Err(UsageError::Missing("--port"));
        }
        Ok(Question {
            segment: self.segment.map_or_else(String::new, |name| name.to_string()),
            source: self.from,
            destination: self.to,
            protocol: self.protocol,
            source_port: self.source_port.unwrap_or(0),
            destination_port: self.port.unwrap_or(0),
            icmp_type: self.icmp_type.or(echo_request),
            icmp_code: self.icmp_code.or(echo_request.map(|_| 0)),
            version: self.version,
        })
    }
}

/// Returns the packet of a question: `TCP port 5432`, `ICMP type 8 code 0`.
fn packet_text(question: &Question) -> String {
    let Question { protocol, destination_port, icmp_type, icmp_code, .. } = question;
    match (icmp_type, icmp_code) {
        (Some(kind), Some(code)) => format!("{protocol} type {kind} code {code}"),
        (Some(kind), None) => format!("{protocol} type {kind}"),
        (None, _) if *destination_port > 0 => format!("{protocol} port {destination_port}"),
        (None, _) => protocol.to_string(),
    }
}

fn text(answer: &Explanation, packet: &str) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&printable(text));
        out.push('\n');
    };
    line(format!(
        "{}: {} -> {}, {packet}",
        answer.action.to_uppercase(),
        who(&answer.source, &answer.source_endpoint),
        who(&answer.destination, &answer.destination_endpoint)
    ));
    line(format!("version {}, stage {}: {}", answer.version, answer.stage, answer.reason));
    line(format!("source is in:       {}", list(&answer.source_group_names)));
    line(format!("destination is in:  {}", list(&answer.destination_group_names)));
    if !answer.shadow.is_empty() {
        line(format!("shadow rules:       {}", answer.shadow));
    }
    if answer.hosts_enforcing.is_empty() && answer.hosts_behind.is_empty() {
        line("enforced by:        nobody, no dataplane is connected".to_owned());
    } else {
        line(format!("enforced by:        {}", list(&answer.hosts_enforcing)));
    }
    if !answer.hosts_behind.is_empty() {
        line(format!("not yet by:         {}", list(&answer.hosts_behind)));
    }
    out.push_str(&rules_text(answer));
    for note in &answer.notes {
        out.push_str(&format!("note: {}\n", printable(note.clone())));
    }
    out
}

fn who(address: &str, endpoint: &str) -> String {
    if endpoint.is_empty() { address.to_owned() } else { format!("{endpoint} ({address})") }
}

fn rules_text(answer: &Explanation) -> String {
    if answer.rules.is_empty() {
        return "\nno rules to ask\n\n".to_owned();
    }
    let row = |rule: &RuleExplanation| {
        let verdict = match (rule.decides, rule.matches) {
            (true, _) => "decides",
            (false, true) => "yes",
            (false, false) => "no",
        };
        vec![rule.rule.to_string(), rule.summary.clone(), verdict.to_owned(), rule.reason.clone()]
    };
    let columns = [numbers("RULE"), words("WHAT IT SAYS"), words("MATCHES"), words("WHY")];
    let rows = table(&columns, answer.rules.iter().map(row).collect());
    let left_out = match answer.rules_left_out {
        0 => String::new(),
        count => format!("and {}\n", plural(usize::try_from(count).unwrap_or(usize::MAX), "more rule")),
    };
    format!("\nrules in the order in which they are asked:\n{rows}{left_out}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_from_the_verdict_to_the_reasons() {
        let rule = |rule, summary: &str, (matches, decides), reason: &str| RuleExplanation {
            rule,
            summary: summary.into(),
            matches,
            decides,
            reason: reason.into(),
        };
        let answer = Explanation {
            version: 7,
            stage: "rules".into(),
            action: "allow".into(),
            rule: 3,
            reason: "rule 3 decides: allow Web -> Db TCP 5432".into(),
            source: "10.0.0.1".into(),
            destination: "10.0.1.1".into(),
            source_endpoint: "web-1".into(),
            source_group_names: vec!["any".into(), "Web".into()],
            destination_group_names: vec!["any".into(), "Db".into()],
            rules: vec![
                rule(9, "deny Dev -> Db TCP 22", (false, false), "source is not in Dev"),
                rule(3, "allow Web -> Db TCP 5432", (true, true), "first match"),
            ],
            rules_left_out: 4,
            hosts_enforcing: vec!["h1".into()],
            hosts_behind: vec!["h2".into()],
            notes: vec!["binding is not covered".into()],
            ..Explanation::default()
        };
        let expected = "\
ALLOW: web-1 (10.0.0.1) -> 10.0.1.1, TCP port 5432
version 7, stage rules: rule 3 decides: allow Web -> Db TCP 5432
source is in:       any, Web
destination is in:  any, Db
enforced by:        h1
not yet by:         h2

rules in the order in which they are asked:
RULE  WHAT IT SAYS              MATCHES  WHY
   9  deny Dev -> Db TCP 22     no       source is not in Dev
   3  allow Web -> Db TCP 5432  decides  first match
and 4 more rules

note: binding is not covered
";
        assert_eq!(text(&answer, "TCP port 5432"), expected);
    }
}
