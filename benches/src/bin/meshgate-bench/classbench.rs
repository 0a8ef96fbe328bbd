//! ClassBench filter sets as policies, and traces of headers beside them.
//!
//! A line of a set: `@SRC/LEN DST/LEN SPORT_LO : SPORT_HI DPORT_LO : DPORT_HI PROTO/MASK FLAGS/MASK`; the first line that
//! matches wins (Taylor and Turner, "ClassBench: A Packet Classification Benchmark", INFOCOM 2005). A line of a trace:
//! `SRC DST SPORT DPORT PROTO [EXPECT]`, numbers in decimal, `EXPECT` the place of the winning line counted from 0, or the
//! number of lines if none matches. Files that end in `.xz` are unpacked.
//!
//! A rule of ours has no source port, so a set that names them is only taken with them ignored; and a port only with a
//! protocol that has ports, so a line of any protocol that names ports becomes one rule for each such protocol, and headers
//! of other protocols do not fit it.

use crate::BenchError;
use meshgate_policy::generate::Rng;
use meshgate_policy::{
    Action, GroupId, L4Key, L4Match, Policy, PolicyKey, PortRange, PortSet, Prefix, Priority, Protocol, Rule,
    RuleId, RuleKind, SegmentId, Side,
};
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Bytes of the largest file that is read, unpacked.
const FILE_BYTES_MAX: usize = 256 << 20;
/// In a generated trace, headers of a hundred that are drawn inside a line; the others are anything.
const INSIDE_PERCENT: u64 = 90;

/// A line of a set.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    source: Range,
    destination: Range,
    source_port: Range,
    destination_port: Range,
    protocol: Option<u8>,
}

/// Numbers from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
}

impl Range {
    const PORTS: Self = Self { first: 0, last: 0xffff };

    fn contains(self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// Returns a corner half of the time, else anything inside.
    fn draw(self, rng: &mut Rng) -> u32 {
        match rng.below(4) {
            0 => self.first,
            1 => self.last,
            _ => self.first + below_u32(rng, u64::from(self.last - self.first) + 1),
        }
    }
}

/// A header of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    /// Place of the line that should win.
    pub expected: Option<usize>,
}

impl Header {
    /// Returns what stages 5 to 7 look at.
    pub fn key(&self) -> PolicyKey {
        PolicyKey {
            segment: SegmentId::DEFAULT,
            source: IpAddr::V4(Ipv4Addr::from_bits(self.source)),
            destination: IpAddr::V4(Ipv4Addr::from_bits(self.destination)),
            l4: L4Key {
                protocol: Protocol(self.protocol),
                source_port: self.source_port,
                destination_port: self.destination_port,
            },
        }
    }
}

impl std::fmt::Display for Header {
    /// Writes the line of a trace.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, destination, source_port, destination_port, protocol, expected } = self;
        write!(f, "{source}\t{destination}\t{source_port}\t{destination_port}\t{protocol}")?;
        expected.map_or(Ok(()), |line| write!(f, "\t{line}"))
    }
}

impl Line {
    /// Returns whether a header fits the line but for its source port.
    fn fits_without_source_port(&self, header: &Header) -> bool {
        self.source.contains(header.source)
            && self.destination.contains(header.destination)
            && self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && (self.destination_port == Range::PORTS
                || Protocol(header.protocol).has_ports()
                    && self.destination_port.contains(header.destination_port.into()))
    }

    fn fits_source_port(&self, header: &Header) -> bool {
        self.source_port.contains(header.source_port.into())
    }

    /// Returns a header that fits.
    fn draw(&self, rng: &mut Rng) -> Header {
        Header {
            source: self.source.draw(rng),
            destination: self.destination.draw(rng),
            source_port: low_u16(self.source_port.draw(rng)),
            destination_port: low_u16(self.destination_port.draw(rng)),
            protocol: self.protocol.unwrap_or_else(|| rng.one_of([1, 6, 17, 47])),
            expected: None,
        }
    }
}

/// A filter set.
#[derive(Debug)]
pub struct Set {
    lines: Vec<Line>,
}

impl Set {
    /// Reads a set.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = read_text(path)?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let lines: Vec<Line> = lines
            .map(|(number, line)| {
                parse_line(line)
                    .ok_or_else(|| BenchError::Line(path.to_owned(), number, "no line of a ClassBench set"))
            })
            .collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(BenchError::Line(path.to_owned(), 1, "the set is empty"));
        }
        Ok(Self { lines })
    }

    /// Returns how many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the first line that names source ports, counted from 1.
    pub fn first_source_port(&self) -> Option<usize> {
        self.lines.iter().position(|line| line.source_port != Range::PORTS).map(|at| at + 1)
    }

    /// Returns the line that wins a header by going through all of them.
    pub fn scan(&self, header: &Header, ignore_source_port: bool) -> usize {
        let fits = |line: &Line| {
            line.fits_without_source_port(header) && (ignore_source_port || line.fits_source_port(header))
        };
        self.lines.iter().position(fits).unwrap_or(self.lines.len())
    }

    /// Returns a seeded trace whose headers each expect what [`Self::scan`] finds.
    pub fn trace(&self, headers: usize, seed: u64) -> Vec<Header> {
        let mut rng = Rng::new(seed);
        let header = |_| {
            let mut header = if rng.chance(INSIDE_PERCENT) {
                self.lines[rng.index(self.lines.len())].draw(&mut rng)
            } else {
                anything(&mut rng)
            };
            header.expected = Some(self.scan(&header, false));
            header
        };
        (0..headers).map(header).collect()
    }

    /// Returns the set as a policy whose default drops, and the line of each of its rules.
    pub fn policy(&self) -> (Policy, Vec<usize>) {
        let matches = (0..)
            .zip(&self.lines)
            .flat_map(|(at, line)| l4_matches(line).into_iter().map(move |l4| (at, line, l4)));
        let rule = |(id, (at, line, l4)): (u32, (usize, &Line, L4Match))| {
            let rule = Rule {
                id: RuleId(id),
                kind: RuleKind::GroupRule,
                // One priority, one action: the order is that of the numbers.
                priority: Priority::default(),
                action: Action::Allow,
                shadow: false,
                source: side(line.source),
                destination: side(line.destination),
                l4,
            };
            (rule, at)
        };
        let (rules, lines) = (1..).zip(matches).map(rule).unzip();
        (Policy { rules, ..Policy::empty(Action::Deny) }, lines)
    }
}

/// Reads a trace.
pub fn read_trace(path: &Path) -> Result<Vec<Header>, BenchError> {
    let text = read_text(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let headers: Vec<Header> = lines
        .map(|(number, line)| {
            parse_header(line).ok_or_else(|| BenchError::Line(path.to_owned(), number, "no line of a trace"))
        })
        .collect::<Result<_, _>>()?;
    if headers.is_empty() {
        return Err(BenchError::Line(path.to_owned(), 1, "the trace is empty"));
    }
    Ok(headers)
}

fn read_text(path: &Path) -> Result<String, BenchError> {
    let unreadable = |error| BenchError::Unreadable(path.to_owned(), error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = Limited(Vec::new());
    let mut packed = BufReader::new(file);
    if path.extension().is_some_and(|extension| extension == "xz") {
        lzma_rs::xz_decompress(&mut packed, &mut text).map_err(|error| match error {
            lzma_rs::error::Error::IoError(error) => unreadable(error),
            error => unreadable(std::io::Error::other(error.to_string())),
        })?;
    } else {
        std::io::copy(&mut packed, &mut text).map_err(unreadable)?;
    }
    String::from_utf8(text.0).map_err(|error| unreadable(std::io::Error::other(error)))
}

/// Takes in so many bytes and no more: a few packed ones can be any number.
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("more than {FILE_BYTES_MAX} bytes")));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn parse_line(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.trim().strip_prefix('@')?.split_whitespace().collect();
    let [source, destination, s0, ":", s1, d0, ":", d1, protocol, ..] = words.as_slice() else { return None };
    let (number, mask) = protocol.split_once('/')?;
    let mask = parse_hex(mask)?;
    let protocol = match mask {
        0 => None,
        0xff => Some(parse_hex(number)?),
        _ => return None,
    };
    Some(Line {
        source: parse_prefix(source)?,
        destination: parse_prefix(destination)?,
        source_port: parse_ports(s0, s1)?,
        destination_port: parse_ports(d0, d1)?,
        protocol,
    })
}

fn parse_hex(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn parse_prefix(text: &str) -> Option<Range> {
    let (address, length) = text.split_once('/')?;
    let address = address.parse::<Ipv4Addr>().ok()?.to_bits();
    let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
    let inside = u32::MAX.checked_shr(length).unwrap_or(0);
    Some(Range { first: address & !inside, last: address | inside })
}

fn parse_ports(first: &str, last: &str) -> Option<Range> {
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(Range { first: first.into(), last: last.into() })
}

fn parse_header(line: &str) -> Option<Header> {
    let mut words = line.split_whitespace();
    let header = Header {
        source: words.next()?.parse().ok()?,
        destination: words.next()?.parse().ok()?,
        source_port: words.next()?.parse().ok()?,
        destination_port: words.next()?.parse().ok()?,
        protocol: words.next()?.parse().ok()?,
        expected: words.next().map(str::parse).transpose().ok()?,
    };
    words.next().is_none().then_some(header)
}

fn side(addresses: Range) -> Side {
    let length = (addresses.first ^ addresses.last).leading_zeros();
    if length == 0 {
        return Side::Group(GroupId::ANY);
    }
    let length = u8::try_from(length).expect("an address has 32 bits");
    let prefix = Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(addresses.first)), length);
    Side::Prefixes(vec![prefix.expect("bits behind the prefix are zero")])
}

/// Returns what a line says about protocol and destination port.
fn l4_matches(line: &Line) -> Vec<L4Match> {
    let Range { first, last } = line.destination_port;
    let range = PortRange::new(low_u16(first), low_u16(last)).expect("read in this order");
    let ports = PortSet::new(vec![range]).expect("one range");
    let with_ports = |protocol| L4Match::Ports(protocol, ports.clone());
    match line.protocol.map(Protocol) {
        None if ports.is_all() => vec![L4Match::Any],
        None => [Protocol::TCP, Protocol::UDP, Protocol::SCTP].map(with_ports).into(),
        Some(protocol) if ports.is_all() => vec![L4Match::Protocol(protocol)],
        Some(protocol) if protocol.has_ports() => vec![with_ports(protocol)],
        Some(_) => Vec::new(),
    }
}

fn anything(rng: &mut Rng) -> Header {
    Header {
        source: below_u32(rng, 1 << 32),
        destination: below_u32(rng, 1 << 32),
        source_port: low_u16(below_u32(rng, 1 << 16)),
        destination_port: low_u16(below_u32(rng, 1 << 16)),
        protocol: rng.one_of([1, 6, 17, 47]),
        expected: None,
    }
}

fn below_u32(rng: &mut Rng, bound: u64) -> u32 {
    u32::try_from(rng.below(bound)).unwrap_or(u32::MAX)
}

fn low_u16(number: u32) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(u16::MAX)
}
