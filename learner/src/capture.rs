//! Reads the packets of a capture: pcap in both byte orders with micro- or nanoseconds, and pcapng.
//!
//! `pcap-parser` takes the formats apart and `etherparse` the packets, both without trust: a record that claims to be
//! huge costs at most [`BLOCK_BYTES_MAX`], one that makes no sense ends the capture, a packet that makes none is
//! counted and passed over. Times never go back: a packet that claims an earlier one takes that of the one before it.

use crate::recorded_flow::FlowFileError;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use meshgate_policy::Protocol;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Room for reading at first: the largest record of a capture with tcpdump's snap length of 256 KiB.
const BUFFER_BYTES: usize = 320 * 1_024;
/// Largest record or block; beyond it a length is taken for damage.
pub const BLOCK_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Most interfaces of one pcapng section; packets of later ones are passed over.
const INTERFACES_MAX: usize = 4_096;
/// First bytes of captures: pcap with micro- and nanoseconds in either byte order, and pcapng.
const MAGICS: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];
/// Link types (tcpdump.org/linktypes.html): Ethernet; bare IP by three numbers.
const LINK_ETHERNET: i32 = 1;
const LINKS_BARE: [i32; 3] = [101, 228, 229];
const NS_PER_S: u64 = 1_000_000_000;

/// Returns whether a file that begins so is a capture.
pub fn is_capture(start: &[u8]) -> bool {
    MAGICS.iter().any(|magic| start.starts_with(magic))
}

/// What flows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    /// When it was captured, nanoseconds since 1970.
    pub time_ns: u64,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source and destination port, or ICMP type and code, or zeros.
    pub ports: [u16; 2],
    /// Its length as IP says it.
    pub ip_bytes: u64,
    /// TCP flags.
    pub tcp_flags: u8,
}

/// What was met in a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Packets read.
    pub packets: u64,
    /// Frames that carry no IP, or of which too little was captured.
    pub other_frames: u64,
    /// Fragments: they have no ports, and are not put together.
    pub fragments: u64,
    /// Whether the capture was cut within a record.
    pub is_cut: bool,
}

/// How the times and frames of one interface are to be read.
#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Resolution as pcapng writes it: a negative power of ten, or of two with the highest bit set.
    resolution: u8,
    offset_s: i64,
}

/// The packets of one capture.
pub struct CapturePackets {
    path: PathBuf,
    blocks: Box<dyn PcapReaderIterator + Send>,
    interfaces: Vec<Interface>,
    time_ns: u64,
    counts: CaptureCounts,
    is_over: bool,
}

/// What one block of the file turned out to be.
enum Step {
    Packet(CapturedPacket),
    Other,
    Refill,
    Grow,
    End,
    Damaged(&'static str),
}

impl CapturePackets {
    /// Reads from anything; `path` only names it in errors.
    pub fn new(path: &Path, input: impl Read + Send + 'static) -> Result<Self, FlowFileError> {
        let reason = "neither a pcap nor a pcapng file".to_owned();
        let no_capture = |_| FlowFileError::Capture { path: path.into(), reason };
        Ok(Self {
            path: path.into(),
            blocks: pcap_parser::create_reader(BUFFER_BYTES, input).map_err(no_capture)?,
            interfaces: Vec::new(),
            time_ns: 0,
            counts: CaptureCounts::default(),
            is_over: false,
        })
    }

    /// Returns the next packet; none at the end. A capture that was cut ends where it was cut; one that is damaged is
    /// an error, after which nothing follows.
    pub fn next_packet(&mut self) -> Result<Option<CapturedPacket>, FlowFileError> {
        while !self.is_over {
            let damage = match self.step() {
                Step::Packet(packet) => return Ok(Some(packet)),
                Step::Other => None,
                Step::Refill => self.refill(),
                Step::Grow => self.grow(),
                Step::End => {
                    self.is_over = true;
                    None
                }
                Step::Damaged(reason) => Some(reason),
            };
            if let Some(reason) = damage {
                self.is_over = true;
                let reason = format!("after {} packets: {reason}", self.counts.packets);
                return Err(FlowFileError::Capture { path: self.path.clone(), reason });
            }
        }
        Ok(None)
    }

    /// Returns what was met so far.
    pub fn counts(&self) -> CaptureCounts {
        self.counts
    }

    /// Takes one block.
    fn step(&mut self) -> Step {
        let Self { blocks, interfaces, time_ns, counts, .. } = self;
        match blocks.next() {
            Ok((length, block)) => {
                let packet = Visit { interfaces, time_ns, counts }.block(&block);
                blocks.consume(length);
                packet.map_or(Step::Other, Step::Packet)
            }
            Err(PcapError::Eof) => Step::End,
            Err(PcapError::Incomplete(_)) => Step::Refill,
            Err(PcapError::BufferTooSmall) => Step::Grow,
            Err(PcapError::UnexpectedEof) => {
                counts.is_cut = true;
                Step::End
            }
            Err(PcapError::ReadError) => Step::Damaged("cannot be read further"),
            Err(_) => Step::Damaged("a record that makes no sense"),
        }
    }

    /// Reads on. A full buffer in which still something is missing must grow, or the loop would not end.
    fn refill(&mut self) -> Option<&'static str> {
        let before = self.blocks.data().len();
        if self.blocks.refill().is_err() {
            return Some("cannot be read further");
        }
        if self.blocks.data().len() > before {
            return None;
        }
        if self.blocks.reader_exhausted() {
            self.counts.is_cut = true;
            self.is_over = true;
            return None;
        }
        self.grow()
    }

    /// Makes room for a larger block, once.
    fn grow(&mut self) -> Option<&'static str> {
        if self.blocks.data().len() >= BLOCK_BYTES_MAX || !self.blocks.grow(BLOCK_BYTES_MAX) {
            return Some("a record that is too large");
        }
        self.blocks.refill().is_err().then_some("cannot be read further")
    }
}

/// The parts of a reader that a block may change while the parser lends it.
struct Visit<'a> {
    interfaces: &'a mut Vec<Interface>,
    time_ns: &'a mut u64,
    counts: &'a mut CaptureCounts,
}

impl Visit<'_> {
    fn block(&mut self, block: &PcapBlockOwned<'_>) -> Option<CapturedPacket> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                // The upper half may tell the length of a frame check sequence.
                let resolution = if header.is_nanosecond_precision() { 9 } else { 6 };
                self.interfaces.push(Interface { link: header.network.0 & 0xffff, resolution, offset_s: 0 });
                None
            }
            PcapBlockOwned::Legacy(record) => {
                let interface = *self.interfaces.first()?;
                let unit_ns = if interface.resolution == 9 { 1 } else { 1_000 };
                self.pass(u64::from(record.ts_sec) * NS_PER_S + u64::from(record.ts_usec) * unit_ns);
                self.packet(interface, record.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                if self.interfaces.len() < INTERFACES_MAX {
                    self.interfaces.push(Interface {
                        link: description.linktype.0 & 0xffff,
                        resolution: description.if_tsresol,
                        offset_s: description.if_tsoffset,
                    });
                }
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let at = usize::try_from(packet.if_id).ok();
                let Some(interface) = at.and_then(|at| self.interfaces.get(at)).copied() else {
                    self.counts.other_frames += 1;
                    return None;
                };
                self.pass(interface.time_ns(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)));
                self.packet(interface, packet.packet_data())
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = *self.interfaces.first()?;
                self.packet(interface, packet.packet_data())
            }
            PcapBlockOwned::NG(_) => None,
        }
    }

    /// Lets time pass, never back.
    fn pass(&mut self, time_ns: u64) {
        *self.time_ns = (*self.time_ns).max(time_ns);
    }

    fn packet(&mut self, interface: Interface, frame: &[u8]) -> Option<CapturedPacket> {
        let sliced = match interface.link {
            LINK_ETHERNET => LaxSlicedPacket::from_ethernet(frame).ok(),
            link if LINKS_BARE.contains(&link) => LaxSlicedPacket::from_ip(frame).ok(),
            _ => None,
        };
        let fragment = |sliced: &LaxSlicedPacket<'_>| sliced.ip_payload().is_some_and(|ip| ip.fragmented);
        if sliced.as_ref().is_some_and(fragment) {
            self.counts.fragments += 1;
            return None;
        }
        let packet = sliced.and_then(|sliced| parse(&sliced, *self.time_ns));
        let count = if packet.is_some() { &mut self.counts.packets } else { &mut self.counts.other_frames };
        *count += 1;
        packet
    }
}

impl Interface {
    /// Returns the time of so many ticks, nanoseconds since 1970.
    fn time_ns(self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let per_s = if self.resolution & 0x80 == 0 {
            10_u128.checked_pow(exponent)
        } else {
            2_u128.checked_pow(exponent)
        };
        let per_s = per_s.unwrap_or(u128::MAX);
        // 64 bits times 30 bits.
        let since_start_ns = u128::from(ticks) * u128::from(NS_PER_S) / per_s;
        let offset_ns = i128::from(self.offset_s) * i128::from(NS_PER_S);
        let time_ns = i128::try_from(since_start_ns).unwrap_or(i128::MAX).saturating_add(offset_ns);
        u64::try_from(time_ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// Returns what flows need of a packet; none if it is not IP or ends before its ports.
fn parse(sliced: &LaxSlicedPacket<'_>, time_ns: u64) -> Option<CapturedPacket> {
    let (source, destination, ip_bytes, payload) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let addresses: [IpAddr; 2] = [header.source_addr().into(), header.destination_addr().into()];
            (addresses[0], addresses[1], u64::from(header.total_len()), ip.payload())
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let addresses: [IpAddr; 2] = [header.source_addr().into(), header.destination_addr().into()];
            (addresses[0], addresses[1], u64::from(header.payload_length()) + 40, ip.payload())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let protocol = Protocol(payload.ip_number.0);
    let mut tcp_flags = 0;
    let ports = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            tcp_flags = *tcp.slice().get(13)?;
            [tcp.source_port(), tcp.destination_port()]
        }
        Some(TransportSlice::Udp(udp)) => [udp.source_port(), udp.destination_port()],
        Some(TransportSlice::Icmpv4(icmp)) => [icmp.type_u8().into(), icmp.code_u8().into()],
        Some(TransportSlice::Icmpv6(icmp)) => [icmp.type_u8().into(), icmp.code_u8().into()],
        _ if protocol == Protocol::SCTP => {
            let port = |at: usize| {
                Some(u16::from_be_bytes([*payload.payload.get(at)?, *payload.payload.get(at + 1)?]))
            };
            [port(0)?, port(2)?]
        }
        _ if protocol.has_ports() || protocol.is_icmp() => return None,
        _ => [0, 0],
    };
    Some(CapturedPacket { time_ns, source, destination, protocol, ports, ip_bytes, tcp_flags })
}
