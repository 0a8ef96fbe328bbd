//! `meshgate flows`: who talks to whom.

use crate::answers::{FlowSum, FlowSums};
use crate::client::FlowFilter;
use crate::failure::Failure;
use crate::flags::action;
use crate::session::{Reply, Session};
use crate::table::{list, numbers, table, words};
use crate::units::{bytes, count, parse_span, time};
use clap::Args;
use meshgate_policy::{Action, Name, Protocol, ProtocolMatch};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `meshgate flows`.
#[derive(Args, Clone, Debug)]
pub struct Flows {
    /// Only flows from this group
    #[arg(long, value_name = "GROUP")]
    from_group: Option<Name>,
    /// Only flows to this group
    #[arg(long, value_name = "GROUP")]
    to_group: Option<Name>,
    /// Only flows that ended this way
    #[arg(long, value_name = "ACTION", value_parser = action(), ignore_case = true)]
    action: Option<Action>,
    /// Only flows of this protocol
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolMatch>,
    /// Only flows to this port (of this ICMP type)
    #[arg(long)]
    port: Option<u16>,
    /// How far to look back: 30s, 5m, 2h, 7d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
    since: Duration,
    /// At most this many sums, the largest in bytes first
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

impl Flows {
    /// Asks and shows the sums.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let answer = session.connect().await?.flows(self.filter(now)).await?;
        Ok(session.show(&answer, text)?.into())
    }

    fn filter(self, now: Duration) -> FlowFilter {
        let name = |name: Option<Name>| name.map_or_else(String::new, |name| name.to_string());
        let protocol = self.protocol.filter(|protocol| *protocol != ProtocolMatch::Any);
        FlowFilter {
            from_s: now.saturating_sub(self.since).as_secs(),
            source_group_name: name(self.from_group),
            destination_group_name: name(self.to_group),
            action: self.action.map_or_else(String::new, |action| action.to_string()),
            protocol: protocol.map_or_else(String::new, |protocol| protocol.to_string()),
            service_port: self.port.unwrap_or(0),
            limit: self.limit,
        }
    }
}

fn text(FlowSums { sums, left_out, records_lost }: &FlowSums) -> String {
    let lost = match records_lost {
        0 => String::new(),
        lost => format!("{} flow records were lost in this span: the sums are too small\n", count(*lost)),
    };
    if sums.is_empty() {
        return format!(
            "no flows in this span; look further back with --since, or see with `meshgate status` \
             whether a dataplane is connected\n{lost}"
        );
    }
    let columns = [
        words("SOURCE"),
        words("DESTINATION"),
        words("SERVICE"),
        words("VERDICT"),
        numbers("FLOWS"),
        numbers("PACKETS"),
        numbers("BYTES"),
        words("LAST"),
    ];
    let rows = table(&columns, sums.iter().map(row).collect());
    let left_out = match left_out {
        0 => String::new(),
        count => format!("and {count} smaller sums; see more with --limit\n"),
    };
    format!("{rows}{left_out}{lost}")
}

fn row(sum: &FlowSum) -> Vec<String> {
    let verdict = match sum.rule {
        0 => format!("{} {}", sum.action, sum.stage),
        rule => format!("{} rule {rule}", sum.action),
    };
    let shadow = match sum.shadow_rule {
        0 => String::new(),
        rule => format!(" (shadow rule {rule} differs)"),
    };
    vec![
        list(&sum.source_group_names),
        list(&sum.destination_group_names),
        service(sum),
        format!("{verdict}{shadow}"),
        count(sum.flows),
        count(sum.packets_forward.saturating_add(sum.packets_reverse)),
        bytes(sum.bytes_forward.saturating_add(sum.bytes_reverse)),
        time(sum.last_ns),
    ]
}

fn service(sum: &FlowSum) -> String {
    let Ok(number) = u8::try_from(sum.protocol) else { return format!("protocol {}", sum.protocol) };
    let protocol = Protocol(number);
    if protocol.has_ports() {
        format!("{protocol} {}", sum.service_port)
    } else if protocol.is_icmp() {
        format!("{protocol} type {}", sum.service_port)
    } else {
        format!("protocol {protocol}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_with_service_and_verdict() {
        let sum = FlowSum {
            source_group_names: vec!["Web".into()],
            destination_group_names: vec!["Db".into(), "Prod".into()],
            protocol: 6,
            service_port: 5432,
            action: "allow".into(),
            stage: "rules".into(),
            rule: 3,
            flows: 12,
            packets_forward: 2_000,
            bytes_forward: 1_536,
            packets_reverse: 1,
            last_ns: 1_769_860_800_000_000_000,
            ..FlowSum::default()
        };
        let scan = FlowSum {
            rule: 0,
            action: "deny".into(),
            stage: "default".into(),
            protocol: 1,
            service_port: 8,
            ..sum.clone()
        };
        let sums = FlowSums { sums: vec![sum, scan], left_out: 2, records_lost: 0 };
        let expected = "\
SOURCE  DESTINATION  SERVICE      VERDICT       FLOWS  PACKETS    BYTES  LAST
Web     Db, Prod     TCP 5432     allow rule 3     12    2,001  1.5 KiB  2026-01-31 12:00:00Z
Web     Db, Prod     ICMP type 8  deny default     12    2,001  1.5 KiB  2026-01-31 12:00:00Z
and 2 smaller sums; see more with --limit
";
        assert_eq!(text(&sums), expected);
        assert!(text(&FlowSums::default()).starts_with("no flows in this span"));
    }
}
