//! `meshgate capture`: packets of a host with their verdicts, in a file.

use crate::answers::Snapshot;
use crate::client::CaptureOrder;
use crate::failure::{Failure, UsageError};
use crate::inside_answers::{
    CaptureCounts, CaptureDevice, CaptureEnd, CapturePart, CaptureStart, CapturedPacket,
};
use crate::pcapng::{PcapngWriter, Statistics, WrittenPacket};
use crate::session::{Reply, Session};
use crate::table::plural;
use crate::units::{bytes, parse_span};
use crate::{relationships, rules};
use clap::Args;
use meshgate_policy::{Name, ProtocolMatch};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Stands for standard output.
const STANDARD_OUTPUT: &str = "-";
/// Mode of a new file: packets are nobody else's business.
const FILE_MODE: u32 = 0o600;

/// `meshgate capture`.
#[derive(Args, Clone, Debug)]
pub struct Capture {
    /// Where to write (pcapng); - is standard output
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    to: String,
    /// The host; may be left out if one dataplane is connected
    #[arg(long, value_name = "NAME")]
    host: Option<Name>,
    /// allow, drop, or a drop reason such as default-deny
    #[arg(long, value_name = "VERDICT", default_value = "", hide_default_value = true)]
    #[arg(help_heading = "Which packets")]
    verdict: String,
    /// Decided by this rule or relationship
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Which packets")]
    rule: Option<u32>,
    /// That came in by this device
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    #[arg(help_heading = "Which packets")]
    device: String,
    /// From or to a member of this group
    #[arg(long, value_name = "NAME", help_heading = "Which packets")]
    group: Option<Name>,
    /// From or to this endpoint
    #[arg(long, value_name = "NAME", help_heading = "Which packets")]
    endpoint: Option<Name>,
    /// One side: address, prefix or endpoint
    #[arg(long, value_name = "SIDE", default_value = "", hide_default_value = true)]
    #[arg(help_heading = "Which packets")]
    from: String,
    /// The other side: address, prefix or endpoint
    #[arg(long = "to", value_name = "SIDE", default_value = "", hide_default_value = true)]
    #[arg(help_heading = "Which packets")]
    to_side: String,
    /// Of this protocol
    #[arg(long, value_name = "PROTOCOL", help_heading = "Which packets")]
    protocol: Option<ProtocolMatch>,
    /// To this port (back: from it)
    #[arg(long, value_name = "PORT", requires = "protocol", help_heading = "Which packets")]
    port: Option<u16>,
    /// From this port (back: to it)
    #[arg(long, value_name = "PORT", requires = "protocol", help_heading = "Which packets")]
    source_port: Option<u16>,
    /// At most this many packets
    #[arg(long, value_name = "N", default_value_t = 1_000, help_heading = "Where it ends")]
    count: u64,
    /// At most this many bytes of packets
    #[arg(long, value_name = "N", default_value_t = 10 << 20, help_heading = "Where it ends")]
    bytes: u64,
    /// At most this long
    #[arg(long, visible_alias = "seconds", value_name = "SPAN", default_value = "60s")]
    #[arg(value_parser = parse_span, help_heading = "Where it ends")]
    span: Duration,
    /// Bytes kept of each packet: 256 hold all headers
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Where it ends")]
    snap: u32,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Written {
    host: String,
    packets: u64,
    bytes: u64,
    lost: u64,
    /// The limit that was reached; none if the host went away, or a person ended it.
    limit: Option<String>,
}

impl Capture {
    /// Captures until a limit is reached, or a person ends it.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let is_stdout = self.to == STANDARD_OUTPUT;
        if is_stdout && io::stdout().is_terminal() {
            return Err(UsageError::Terminal.into());
        }
        let (path, order) = (self.to.clone(), self.order()?);
        let client = session.connect().await?;
        let summaries = summaries(&client.policy(None).await?);
        // Refusals come before the file is made, so that a mistake leaves nothing behind.
        let mut parts = client.capture(&order).await?;
        let unwritable = |error| Failure::Write { path: path.clone(), error };
        let to: Box<dyn Write> = match is_stdout {
            true => Box::new(io::stdout()),
            false => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(FILE_MODE);
                Box::new(options.open(&path).map_err(unwritable)?)
            }
        };
        let mut file = File::new(BufWriter::new(to), summaries).map_err(unwritable)?;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        let was_interrupted = loop {
            let part = tokio::select! {
                part = parts.next() => part?,
                _ = &mut interrupted => break true,
            };
            match part {
                Some(part) => file.take(part).map_err(unwritable)?,
                None => break false,
            }
        };
        let written = file.finish(now_ns()).map_err(unwritable)?;
        if written.limit.is_none() && !was_interrupted {
            return Err(Failure::CutShort { host: written.host, packets: written.packets });
        }
        Ok(if is_stdout { String::new() } else { text(&written, &path) }.into())
    }

    fn order(self) -> Result<CaptureOrder, UsageError> {
        let Self { to: _, host, verdict, rule, device, group, endpoint, from, to_side, .. } = self;
        let Self { protocol, port, source_port, count, bytes, span, snap, .. } = self;
        let name = |name: Option<Name>| name.map(String::from).unwrap_or_default();
        let span_ms = u32::try_from(span.as_millis()).map_err(|_| UsageError::Long("--span"))?;
        Ok(CaptureOrder {
            host: name(host),
            verdict,
            rule,
            device,
            group: name(group),
            endpoint: name(endpoint),
            source: from,
            destination: to_side,
            protocol: protocol.map_or_else(String::new, |protocol| protocol.to_string()),
            source_port: source_port.unwrap_or(0),
            destination_port: port.unwrap_or(0),
            packets: count,
            bytes,
            span_ms,
            snap_bytes: snap,
        })
    }
}

/// A capture file under construction.
struct File<W> {
    writer: PcapngWriter<W>,
    summaries: BTreeMap<u32, String>,
    /// By number of the device: its place among the interfaces of the file, and how many packets were written.
    interfaces: BTreeMap<u32, (u32, u64)>,
    snap_bytes: u32,
    counts: Vec<CaptureCounts>,
    written: Written,
}

impl<W: Write> File<W> {
    fn new(to: W, summaries: BTreeMap<u32, String>) -> io::Result<Self> {
        let application = concat!("meshgate ", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            writer: PcapngWriter::new(to, application)?,
            summaries,
            interfaces: BTreeMap::new(),
            snap_bytes: 0,
            counts: Vec::new(),
            written: Written::default(),
        })
    }

    fn take(&mut self, part: CapturePart) -> io::Result<()> {
        match part {
            CapturePart::Start(CaptureStart { host, devices, snap_bytes }) => {
                (self.written.host, self.snap_bytes) = (host, snap_bytes);
                devices.iter().try_for_each(|device| self.describe(device))?;
                self.writer.flush()
            }
            CapturePart::Packets(packets) => {
                packets.iter().try_for_each(|packet| self.packet(packet))?;
                // Whoever reads from a pipe wants to see them now.
                self.writer.flush()
            }
            CapturePart::End(CaptureEnd { limit, devices }) => {
                self.written.lost = devices.iter().fold(0, |sum, counts| sum.saturating_add(counts.lost));
                self.written.limit = Some(limit);
                self.counts = devices;
                Ok(())
            }
        }
    }

    fn describe(&mut self, device: &CaptureDevice) -> io::Result<()> {
        let CaptureDevice { number, name, role } = device;
        let interface = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(*number, (interface, 0));
        self.writer.interface(name, &format!("{role} of host {}", self.written.host), self.snap_bytes)
    }

    fn packet(&mut self, packet: &CapturedPacket) -> io::Result<()> {
        let number = packet.device;
        if !self.interfaces.contains_key(&number) {
            // It was taken while the capture ran.
            let (name, role) = (format!("device {number}"), "new device".to_owned());
            self.describe(&CaptureDevice { number, name, role })?;
        }
        let (interface, delivered) = self.interfaces.entry(number).or_default();
        *delivered += 1;
        self.written.packets += 1;
        self.written.bytes += packet.bytes.len() as u64;
        self.writer.packet(&WrittenPacket {
            interface: *interface,
            time_ns: packet.time_ns,
            bytes: &packet.bytes,
            frame_bytes: packet.frame_bytes,
            comment: &comment(packet, &self.summaries),
        })
    }

    /// Writes what was counted and returns what was written.
    fn finish(mut self, now_ns: u64) -> io::Result<Written> {
        for CaptureCounts { device, matched, lost } in &self.counts {
            let Some((interface, delivered)) = self.interfaces.get(device) else { continue };
            let counts = Statistics { accepted: *matched, dropped: *lost, delivered: *delivered };
            self.writer.statistics(*interface, now_ns, counts)?;
        }
        self.writer.flush()?;
        Ok(self.written)
    }
}

/// Returns the verdict on a packet in one line.
fn comment(packet: &CapturedPacket, summaries: &BTreeMap<u32, String>) -> String {
    let verdict = match packet.allowed {
        true => "allow".to_owned(),
        false => format!("drop {}", packet.reason),
    };
    let rule = match (packet.rule, summaries.get(&packet.rule)) {
        (0, _) => String::new(),
        (rule, Some(summary)) => format!(", rule {rule} ({summary})"),
        (rule, None) => format!(", rule {rule}"),
    };
    format!("{verdict}, stage {}{rule}, policy version {}", packet.stage, packet.version)
}

/// Returns every rule and relationship in words, by number.
pub fn summaries(snapshot: &Snapshot) -> BTreeMap<u32, String> {
    let policy = &snapshot.policy;
    let relationships = policy.relationships.iter().map(|one| (one.id, relationships::summary(one)));
    let rules = policy.rules.iter().map(|one| (one.id, rules::summary(one)));
    relationships.chain(rules).filter_map(|(id, summary)| Some((id?.0, summary))).collect()
}

fn text(written: &Written, path: &str) -> String {
    let Written { host, packets, bytes: size, lost, limit } = written;
    let packets = plural(usize::try_from(*packets).unwrap_or(usize::MAX), "packet");
    let ended = match limit.as_deref() {
        Some("packets") => "--count reached",
        Some("bytes") => "--bytes reached",
        Some(_) => "--span over",
        None => "interrupted",
    };
    let lost = match lost {
        0 => String::new(),
        lost => {
            format!("; {lost} more came faster than they could be taken: narrow the filter, or lower --snap")
        }
    };
    format!("wrote {packets} of host {host} to {path} ({}); {ended}{lost}\n", bytes(*size))
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(device: u32) -> CapturedPacket {
        CapturedPacket {
            time_ns: 5,
            device,
            bytes: b"frame".to_vec(),
            frame_bytes: 60,
            reason: "rule-deny".into(),
            stage: "rules".into(),
            rule: 7,
            version: 3,
            ..CapturedPacket::default()
        }
    }

    fn summaries() -> BTreeMap<u32, String> {
        [(7, "deny Web -> Db TCP 22".to_owned())].into()
    }

    #[test]
    fn the_comment_names_verdict_stage_rule_and_version() {
        let denied = packet(0);
        let said = comment(&denied, &summaries());
        assert_eq!(said, "drop rule-deny, stage rules, rule 7 (deny Web -> Db TCP 22), policy version 3");
        let allowed = CapturedPacket { allowed: true, rule: 0, stage: "membership".into(), ..denied.clone() };
        assert_eq!(comment(&allowed, &summaries()), "allow, stage membership, policy version 3");
        assert!(comment(&denied, &BTreeMap::new()).contains(", rule 7, "));
    }

    #[test]
    fn a_capture_is_counted_by_device_and_told_in_one_line() {
        let mut file = File::new(Vec::new(), summaries()).unwrap();
        let device =
            |number, name: &str| CaptureDevice { number, name: name.into(), role: "endpoint".into() };
        let devices = vec![device(0, "tap0"), device(5, "tap5")];
        file.take(CapturePart::Start(CaptureStart { host: "h1".into(), devices, snap_bytes: 256 })).unwrap();
        file.take(CapturePart::Packets(vec![packet(0), packet(5), packet(9)])).unwrap();
        let counts = |device, matched, lost| CaptureCounts { device, matched, lost };
        let devices = vec![counts(0, 1, 0), counts(5, 5, 4), counts(9, 1, 0)];
        file.take(CapturePart::End(CaptureEnd { limit: "packets".into(), devices })).unwrap();
        assert_eq!(file.interfaces, [(0, (0, 1)), (5, (1, 1)), (9, (2, 1))].into());
        let written = file.finish(9).unwrap();
        let expected = "wrote 3 packets of host h1 to x.pcapng (15 B); --count reached; 4 more came faster than they \
                        could be taken: narrow the filter, or lower --snap\n";
        assert_eq!(text(&written, "x.pcapng"), expected);
    }
}
