//! Reads the frames of a capture: pcap in both byte orders with micro- or nanoseconds, and pcapng.
//!
//! The formats are taken apart by `pcap-parser`. A capture is somebody else's file: a record that claims to be huge
//! costs at most [`BLOCK_BYTES_MAX`], one that makes no sense ends the capture, and how it ended is kept.

use super::{LINK_ETHERNET, link_name};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Room for reading at first: the largest record of a capture with tcpdump's snap length of 256 KiB.
const BUFFER_BYTES: usize = 320 * 1024;

/// Largest record or block; beyond it a length is taken for damage.
pub const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest frame handed on, as in `af_xdp`: a super-frame is reported whole, more is no frame.
pub const FRAME_BYTES_MAX: usize = 65_535;

/// Most interfaces of one pcapng section; frames of later ones are skipped.
const INTERFACES_MAX: usize = 4096;

const NS_PER_S: u64 = 1_000_000_000;

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("cannot read capture {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The first bytes are those of no known format, or fewer than a header.
    #[error("{path} is neither a pcap nor a pcapng file")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The frames are not Ethernet frames.
    #[error("{path} has link type {link} ({}), only Ethernet (1) can be replayed", link_name(*link))]
    LinkType {
        /// The file.
        path: PathBuf,
        /// Number of the link type.
        link: u16,
    },
}

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureEnd {
    /// After a whole record.
    Complete,
    /// Within a record: the capture was cut.
    Truncated,
    /// At a record that makes no sense, or is larger than [`BLOCK_BYTES_MAX`].
    Damaged,
    /// Where the file could not be read further.
    Unreadable,
}

/// What was met in a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Frames handed on.
    pub frames: u64,
    /// Of these, frames of which the capture holds only the beginning (snap length).
    pub snapped_frames: u64,
    /// Frames of interfaces that are not Ethernet, or that the file does not describe.
    pub other_link_frames: u64,
    /// Records without bytes, or with more than a frame can have.
    pub impossible_frames: u64,
    /// How the capture ended; none while it has not.
    pub end: Option<CaptureEnd>,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was captured, nanoseconds since 1970. It may lie before the time of an earlier frame.
    pub time_ns: u64,
    /// How long it was on the wire.
    pub wire_bytes: u32,
}

/// One interface of a pcapng section, or the only one of a pcap file.
#[derive(Clone, Copy, Debug)]
struct Interface {
    /// Link type.
    link: u16,
    /// How its times are to be read.
    clock: Clock,
}

/// The unit and start of a time stamp.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Resolution as pcapng writes it: a negative power of ten, or of two with the highest bit set.
    resolution: u8,
    /// Seconds to be added.
    offset_s: i64,
}

/// Reads one capture from its beginning to its end.
pub struct CaptureReader {
    /// The parser with its buffer.
    blocks: Box<dyn PcapReaderIterator + Send>,
    /// Interfaces of the current section.
    interfaces: Vec<Interface>,
    /// A frame that `open` read to learn the link type.
    first: Option<(CapturedFrame, Vec<u8>)>,
    /// Time of the last frame, for records without one.
    time_ns: u64,
    /// What was met.
    counts: CaptureCounts,
}

/// What one block of the file turned out to be.
enum Step {
    /// A frame.
    Frame(CapturedFrame),
    /// Something without a frame to hand on.
    Other,
    /// More bytes are needed.
    Refill,
    /// The block does not fit.
    Grow,
    /// Nothing more comes.
    End(CaptureEnd),
}

impl CaptureReader {
    /// Opens a file and refuses it if its frames are not Ethernet frames.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(|source| CaptureError::File { path: path.into(), source })?;
        Self::new(path, file)
    }

    /// Reads from anything; `path` only names it in errors.
    pub fn new(path: &Path, input: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let blocks = pcap_parser::create_reader(BUFFER_BYTES, input).map_err(|error| match error {
            PcapError::ReadError => {
                CaptureError::File { path: path.into(), source: io::ErrorKind::Other.into() }
            }
            _ => CaptureError::Format { path: path.into() },
        })?;
        let mut reader = Self {
            blocks,
            interfaces: Vec::new(),
            first: None,
            time_ns: 0,
            counts: CaptureCounts::default(),
        };
        // Link types stand before the first frame that has them.
        let mut bytes = Vec::new();
        reader.first = reader.read(&mut bytes).map(|frame| (frame, bytes));
        match reader.interfaces.first() {
            Some(interface) if reader.interfaces.iter().all(|other| other.link != LINK_ETHERNET) => {
                Err(CaptureError::LinkType { path: path.into(), link: interface.link })
            }
            _ => Ok(reader),
        }
    }

    /// Replaces `bytes` by those of the next frame; none at the end of the capture.
    pub fn next_frame(&mut self, bytes: &mut Vec<u8>) -> Option<CapturedFrame> {
        let frame = match self.first.take() {
            Some((frame, first_bytes)) => {
                *bytes = first_bytes;
                Some(frame)
            }
            None => self.read(bytes),
        };
        if let Some(frame) = frame {
            self.counts.frames += 1;
            self.counts.snapped_frames += u64::from(bytes.len() < frame.wire_bytes as usize);
        }
        frame
    }

    /// Returns what was met so far.
    pub fn counts(&self) -> CaptureCounts {
        self.counts
    }

    /// Goes on to the next frame.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Option<CapturedFrame> {
        while self.counts.end.is_none() {
            match self.step(bytes) {
                Step::Frame(frame) => return Some(frame),
                Step::Other => {}
                Step::Refill => self.refill(),
                Step::Grow => self.grow(),
                Step::End(end) => self.counts.end = Some(end),
            }
        }
        None
    }

    /// Takes one block.
    fn step(&mut self, bytes: &mut Vec<u8>) -> Step {
        let Self { blocks, interfaces, time_ns, counts, .. } = self;
        let mut visit = Visit { interfaces, time_ns, counts, bytes };
        match blocks.next() {
            Ok((length, block)) => {
                let frame = visit.block(&block);
                blocks.consume(length);
                frame.map_or(Step::Other, Step::Frame)
            }
            Err(PcapError::Eof) => Step::End(CaptureEnd::Complete),
            Err(PcapError::Incomplete(_)) => Step::Refill,
            Err(PcapError::BufferTooSmall) => Step::Grow,
            Err(PcapError::UnexpectedEof) => Step::End(CaptureEnd::Truncated),
            Err(PcapError::ReadError) => Step::End(CaptureEnd::Unreadable),
            Err(PcapError::HeaderNotRecognized | PcapError::NomError(..) | PcapError::OwnedNomError(..)) => {
                Step::End(CaptureEnd::Damaged)
            }
        }
    }

    /// Reads on. A full buffer in which still something is missing must grow, or the loop would not end.
    fn refill(&mut self) {
        let before = self.blocks.data().len();
        if self.blocks.refill().is_err() {
            self.counts.end = Some(CaptureEnd::Unreadable);
        } else if self.blocks.data().len() == before && !self.blocks.reader_exhausted() {
            self.grow();
        }
    }

    /// Makes room for a larger block, once.
    fn grow(&mut self) {
        if self.blocks.data().len() >= BLOCK_BYTES_MAX || !self.blocks.grow(BLOCK_BYTES_MAX) {
            self.counts.end = Some(CaptureEnd::Damaged);
        } else {
            self.refill_grown();
        }
    }

    /// Reads into the room that was just made.
    fn refill_grown(&mut self) {
        if self.blocks.refill().is_err() {
            self.counts.end = Some(CaptureEnd::Unreadable);
        }
    }
}

/// The parts of a reader that a block may change while the parser lends it.
struct Visit<'a> {
    /// Interfaces of the current section.
    interfaces: &'a mut Vec<Interface>,
    /// Time of the last frame.
    time_ns: &'a mut u64,
    /// What was met.
    counts: &'a mut CaptureCounts,
    /// Where the bytes of a frame go.
    bytes: &'a mut Vec<u8>,
}

impl Visit<'_> {
    /// Takes a block of either format.
    fn block(&mut self, block: &PcapBlockOwned<'_>) -> Option<CapturedFrame> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                // The upper half may tell the length of a frame check sequence.
                let link = u16::try_from(header.network.0 & 0xffff).expect("16 bits are left");
                let resolution = if header.is_nanosecond_precision() { 9 } else { 6 };
                self.interfaces.push(Interface { link, clock: Clock { resolution, offset_s: 0 } });
                None
            }
            PcapBlockOwned::Legacy(record) => {
                let interface = *self.interfaces.first()?;
                let unit_ns = if interface.clock.resolution == 9 { 1 } else { 1000 };
                *self.time_ns = u64::from(record.ts_sec) * NS_PER_S + u64::from(record.ts_usec) * unit_ns;
                self.frame(Some(interface), record.data, record.origlen)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                self.describe(description);
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interfaces.get(packet.if_id as usize).copied();
                if let Some(interface) = interface {
                    let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                    *self.time_ns = interface.clock.time_ns(ticks);
                }
                self.frame(interface, packet.packet_data(), packet.origlen)
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = self.interfaces.first().copied();
                self.frame(interface, packet.packet_data(), packet.origlen)
            }
            PcapBlockOwned::NG(_) => None,
        }
    }

    /// Notes an interface of a pcapng file.
    fn describe(&mut self, description: &InterfaceDescriptionBlock<'_>) {
        if self.interfaces.len() < INTERFACES_MAX {
            let link = u16::try_from(description.linktype.0 & 0xffff).expect("16 bits are left");
            let clock = Clock { resolution: description.if_tsresol, offset_s: description.if_tsoffset };
            self.interfaces.push(Interface { link, clock });
        }
    }

    /// Hands a frame on, if it is one that can be replayed.
    fn frame(&mut self, interface: Option<Interface>, data: &[u8], wire_bytes: u32) -> Option<CapturedFrame> {
        if interface.is_none_or(|interface| interface.link != LINK_ETHERNET) {
            self.counts.other_link_frames += 1;
            return None;
        }
        if data.is_empty() || data.len() > FRAME_BYTES_MAX {
            self.counts.impossible_frames += 1;
            return None;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(data);
        Some(CapturedFrame { time_ns: *self.time_ns, wire_bytes })
    }
}

impl Clock {
    /// Returns nanoseconds since 1970; what lies outside is moved to the nearest that does not.
    fn time_ns(self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let ticks = u128::from(ticks);
        let since_offset_ns = if self.resolution & 0x80 != 0 {
            (ticks * u128::from(NS_PER_S)).checked_shr(exponent).unwrap_or(0)
        } else if exponent <= 9 {
            ticks * 10u128.pow(9 - exponent)
        } else {
            10u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        let offset_ns = i128::from(self.offset_s) * i128::from(NS_PER_S);
        let time_ns = i128::try_from(since_offset_ns).unwrap_or(i128::MAX).saturating_add(offset_ns);
        u64::try_from(time_ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Byte order of a made-up capture.
    #[derive(Clone, Copy, PartialEq)]
    enum Order {
        Little,
        Big,
    }

    impl Order {
        fn u32(self, value: u32) -> [u8; 4] {
            if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
        }

        fn u16(self, value: u16) -> [u8; 2] {
            if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
        }

        fn pcap(self, magic: u32, link: u32, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
            let mut file = self.u32(magic).to_vec();
            file.extend([self.u16(2), self.u16(4)].concat());
            for word in [0, 0, 65_535, link] {
                file.extend(self.u32(word));
            }
            for &(seconds, fraction, data, wire_bytes) in records {
                let length = u32::try_from(data.len()).unwrap();
                for word in [seconds, fraction, length, wire_bytes] {
                    file.extend(self.u32(word));
                }
                file.extend(data);
            }
            file
        }

        fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let length = self.u32(u32::try_from(body.len() + 12).unwrap());
            [&self.u32(kind)[..], &length, &body, &length].concat()
        }

        fn section(self) -> Vec<u8> {
            let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
            self.block(0x0a0d_0d0a, &body)
        }

        fn interface(self, link: u16, resolution: u8) -> Vec<u8> {
            let option = [&self.u16(9)[..], &self.u16(1), &[resolution, 0, 0, 0], &[0; 4]].concat();
            self.block(1, &[&self.u16(link)[..], &[0; 2], &self.u32(0), &option].concat())
        }

        fn packet(self, interface: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
            let length = u32::try_from(data.len()).unwrap();
            let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
            let words = [interface, high, low, length, length].map(|word| self.u32(word)).concat();
            self.block(6, &[&words, data].concat())
        }
    }

    fn open(file: Vec<u8>) -> Result<CaptureReader, CaptureError> {
        CaptureReader::new(Path::new("made-up"), Cursor::new(file))
    }

    fn frames(file: Vec<u8>) -> (Vec<(u64, Vec<u8>)>, CaptureCounts) {
        let mut reader = open(file).unwrap();
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame(&mut bytes) {
            frames.push((frame.time_ns, bytes.clone()));
        }
        (frames, reader.counts())
    }

    #[test]
    fn both_byte_orders_and_both_units_of_time_are_read() {
        for order in [Order::Little, Order::Big] {
            for (magic, unit_ns) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
                let file = order.pcap(magic, 1, &[(5, 7, b"first", 5), (6, 0, b"second", 90)]);
                let (frames, counts) = frames(file);
                assert_eq!(frames[0], (5 * NS_PER_S + 7 * unit_ns, b"first".to_vec()));
                assert_eq!(frames[1], (6 * NS_PER_S, b"second".to_vec()));
                assert_eq!((counts.frames, counts.snapped_frames), (2, 1));
                assert_eq!(counts.end, Some(CaptureEnd::Complete));
            }
        }
    }

    #[test]
    fn pcapng_is_read_with_the_clock_of_each_interface() {
        for order in [Order::Little, Order::Big] {
            let file = [
                order.section(),
                order.interface(1, 9),
                order.interface(1, 0x80 | 10),
                order.packet(0, (7 << 32) + 1, b"one"),
                order.packet(1, 3 * 1024 + 512, b"two"),
                order.block(3, &[&order.u32(6)[..], b"simple"].concat()),
                order.block(5, &[0; 12]),
            ]
            .concat();
            let (frames, counts) = frames(file);
            assert_eq!(frames[0], ((7 << 32) + 1, b"one".to_vec()));
            assert_eq!(frames[1], (3 * NS_PER_S + NS_PER_S / 2, b"two".to_vec()));
            assert_eq!(frames[2], (frames[1].0, b"simple".to_vec()));
            assert_eq!((frames.len(), counts.end), (3, Some(CaptureEnd::Complete)));
        }
    }

    #[test]
    fn another_link_type_is_refused_by_name() {
        let refused = open(Order::Big.pcap(0xa1b2_c3d4, 105, &[])).err().unwrap().to_string();
        assert_eq!(refused, "made-up has link type 105 (802.11), only Ethernet (1) can be replayed");
        let file = [Order::Little.section(), Order::Little.interface(101, 6)].concat();
        assert!(matches!(open(file), Err(CaptureError::LinkType { link: 101, .. })));
    }

    #[test]
    fn frames_of_other_interfaces_are_skipped_and_counted() {
        let order = Order::Little;
        let file = [
            order.section(),
            order.interface(101, 6),
            order.interface(1, 6),
            order.packet(0, 0, b"raw"),
            order.packet(1, 0, b"ethernet"),
            order.packet(9, 0, b"unknown"),
        ]
        .concat();
        let (frames, counts) = frames(file);
        assert_eq!((frames.len(), counts.other_link_frames), (1, 2));
    }

    #[test]
    fn a_capture_that_is_cut_anywhere_ends_cleanly() {
        let order = Order::Little;
        let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, &[1; 60], 60), (2, 0, &[2; 60], 60)]);
        let pcapng = [
            order.section(),
            order.interface(1, 6),
            order.packet(0, 1, &[1; 60]),
            order.packet(0, 2, &[2; 60]),
        ]
        .concat();
        for file in [pcap, pcapng] {
            let mut ends = Vec::new();
            for length in 0..file.len() {
                if let Ok(mut reader) = open(file[..length].to_vec()) {
                    let mut bytes = Vec::new();
                    while reader.next_frame(&mut bytes).is_some() {}
                    ends.push(reader.counts().end.unwrap());
                }
            }
            assert!(ends.contains(&CaptureEnd::Truncated) && !ends.contains(&CaptureEnd::Unreadable));
            assert_eq!(frames(file).1.frames, 2);
        }
    }

    #[test]
    fn a_record_that_claims_to_be_huge_costs_no_memory_and_ends_the_capture() {
        let mut file = Order::Little.pcap(0xa1b2_c3d4, 1, &[(1, 0, &[1; 60], 60)]);
        file.extend([[0; 4], [0; 4], [0xff; 4], [0xff; 4]].concat());
        file.extend(vec![0; 6 * 1024 * 1024]);
        let mut reader = open(file).unwrap();
        let mut bytes = Vec::new();
        assert!(reader.next_frame(&mut bytes).is_some());
        assert!(reader.next_frame(&mut bytes).is_none());
        assert_eq!(reader.counts().end, Some(CaptureEnd::Damaged));
        assert!(reader.blocks.data().len() <= BLOCK_BYTES_MAX);
    }

    #[test]
    fn a_record_larger_than_the_first_buffer_is_read_but_is_no_frame() {
        let large = vec![7; 2 * BUFFER_BYTES];
        let file = Order::Little.pcap(0xa1b2_c3d4, 1, &[(1, 0, &large, 1), (2, 0, b"after", 5)]);
        let (frames, counts) = frames(file);
        assert_eq!((frames.len(), counts.impossible_frames), (1, 1));
        assert_eq!(frames[0].1, b"after");
    }

    #[test]
    fn spoiled_captures_never_panic() {
        let order = Order::Big;
        let whole = [
            order.section(),
            order.interface(1, 9),
            order.packet(0, 1, &[1; 61]),
            order.block(4, &[0; 40]),
            order.packet(0, 2, &[2; 33]),
            order.block(3, &[&order.u32(60)[..], &[3; 60]].concat()),
        ]
        .concat();
        let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, &[1; 60], 60), (2, 0, &[2; 60], 60)]);
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for round in 0..4000 {
            let mut file = if round % 2 == 0 { whole.clone() } else { pcap.clone() };
            for _ in 0..=draw(3) {
                let place = draw(file.len());
                file[place] = [0x00, 0xff, 0x7f, 0x80, 0x01][draw(5)];
            }
            if let Ok(mut reader) = open(file) {
                let mut bytes = Vec::new();
                while reader.next_frame(&mut bytes).is_some() {}
                assert!(reader.counts().end.is_some(), "round {round}");
            }
        }
    }

    #[test]
    fn impossible_clocks_give_some_time() {
        for (resolution, ticks, offset_s, expected) in [
            (0, u64::MAX, 0, u64::MAX),
            (127, u64::MAX, 0, 0),
            (255, u64::MAX, 0, 0),
            (9, 5, i64::MIN, 0),
            (9, 5, 1, NS_PER_S + 5),
            (12, 5_000, 0, 5),
        ] {
            assert_eq!(Clock { resolution, offset_s }.time_ns(ticks), expected);
        }
    }
}
