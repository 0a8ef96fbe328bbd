//! Writes captures in the format that Wireshark and its kin read (draft-ietf-opsawg-pcapng).
//!
//! Only the blocks that are needed: a section header, an interface description a device, an enhanced packet with a
//! comment, and the statistics of an interface. Blocks follow each other, so that a file that was cut short is good up
//! to there. Numbers are written little-endian, which the section header says.

use std::io::{self, Write};

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Tells readers the order of bytes.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Link type Ethernet.
const ETHERNET: u16 = 1;
/// Time stamps count nanoseconds: `if_tsresol` is a power of ten.
const NANOSECONDS: u8 = 9;

/// Options: comment of any block, and those of single blocks.
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DESCRIPTION_TEXT: u16 = 3;
const INTERFACE_TIME_RESOLUTION: u16 = 9;
const STATISTICS_DROPPED: u16 = 5;
const STATISTICS_ACCEPTED: u16 = 6;
const STATISTICS_DELIVERED: u16 = 8;
/// Bytes of the longest option: its length has 16 bits.
const OPTION_BYTES_MAX: usize = 65_535;

/// A packet as it is written.
#[derive(Clone, Copy, Debug)]
pub struct WrittenPacket<'a> {
    /// Number of its interface, in the order in which they were added.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Its beginning.
    pub bytes: &'a [u8],
    /// Bytes it had on the way.
    pub frame_bytes: u32,
    /// What is said of it.
    pub comment: &'a str,
}

/// What became of the packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that the filter wanted.
    pub accepted: u64,
    /// Those that were lost for want of room.
    pub dropped: u64,
    /// Those in the file.
    pub delivered: u64,
}

/// A capture under construction.
pub struct PcapngWriter<W> {
    to: W,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a capture with its section header.
    pub fn new(to: W, application: &str) -> io::Result<Self> {
        let mut writer = Self { to, block: Vec::new() };
        writer.begin(SECTION_HEADER);
        writer.block.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        writer.block.extend([1u16.to_le_bytes(), 0u16.to_le_bytes()].concat());
        // Length of the section: not known yet.
        writer.block.extend((-1i64).to_le_bytes());
        writer.option(SECTION_APPLICATION, application.as_bytes());
        writer.end()?;
        Ok(writer)
    }

    /// Adds an interface.
    pub fn interface(&mut self, name: &str, description: &str, snap_bytes: u32) -> io::Result<()> {
        self.begin(INTERFACE_DESCRIPTION);
        self.block.extend([ETHERNET.to_le_bytes(), 0u16.to_le_bytes()].concat());
        self.block.extend(snap_bytes.to_le_bytes());
        self.option(INTERFACE_NAME, name.as_bytes());
        self.option(INTERFACE_DESCRIPTION_TEXT, description.as_bytes());
        self.option(INTERFACE_TIME_RESOLUTION, &[NANOSECONDS]);
        self.end()
    }

    /// Adds a packet.
    pub fn packet(&mut self, packet: &WrittenPacket<'_>) -> io::Result<()> {
        let WrittenPacket { interface, time_ns, bytes, frame_bytes, comment } = *packet;
        let captured = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.begin(ENHANCED_PACKET);
        self.block.extend(interface.to_le_bytes());
        self.time(time_ns);
        self.block.extend(captured.to_le_bytes());
        self.block.extend(frame_bytes.max(captured).to_le_bytes());
        self.block.extend(bytes);
        self.pad();
        self.option(COMMENT, comment.as_bytes());
        self.end()
    }

    /// Adds the statistics of an interface.
    pub fn statistics(&mut self, interface: u32, time_ns: u64, counts: Statistics) -> io::Result<()> {
        let Statistics { accepted, dropped, delivered } = counts;
        self.begin(INTERFACE_STATISTICS);
        self.block.extend(interface.to_le_bytes());
        self.time(time_ns);
        self.option(STATISTICS_DROPPED, &dropped.to_le_bytes());
        self.option(STATISTICS_ACCEPTED, &accepted.to_le_bytes());
        self.option(STATISTICS_DELIVERED, &delivered.to_le_bytes());
        self.end()
    }

    /// Pushes out what was written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.block.extend(kind.to_le_bytes());
        // The length, known at the end.
        self.block.extend([0; 4]);
    }

    /// Writes a time stamp as two halves, the upper one first.
    fn time(&mut self, time_ns: u64) {
        let [a, b, c, d, e, f, g, h] = time_ns.to_le_bytes();
        self.block.extend([e, f, g, h, a, b, c, d]);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(OPTION_BYTES_MAX)];
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.block.extend([code.to_le_bytes(), length.to_le_bytes()].concat());
        self.block.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// Ends the options and the block, and writes it whole.
    fn end(&mut self) -> io::Result<()> {
        self.block.extend([0; 4]);
        let length = u32::try_from(self.block.len() + 4).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.block.extend(length.to_le_bytes());
        self.to.write_all(&self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut PcapngWriter<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut PcapngWriter::new(&mut bytes, "meshgate").unwrap());
        bytes
    }

    /// Splits a file into its blocks: kind and content.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let length = word(bytes, 4) as usize;
            assert!(length.is_multiple_of(4) && word(bytes, length - 4) as usize == length);
            blocks.push((word(bytes, 0), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn every_block_has_its_length_at_both_ends() {
        let bytes = written(|writer| {
            writer.interface("tap0", "endpoint", 256).unwrap();
            for length in 0..9 {
                let packet = WrittenPacket {
                    interface: 0,
                    time_ns: 0x0102_0304_0506_0708,
                    bytes: &vec![0xee; length],
                    frame_bytes: 60,
                    comment: &"c".repeat(length),
                };
                writer.packet(&packet).unwrap();
            }
            writer.statistics(0, 1, Statistics { accepted: 12, dropped: 3, delivered: 9 }).unwrap();
        });
        let kinds: Vec<u32> = blocks(&bytes).into_iter().map(|(kind, _)| kind).collect();
        let mut expected = vec![SECTION_HEADER, INTERFACE_DESCRIPTION];
        expected.extend([ENHANCED_PACKET; 9]);
        expected.push(INTERFACE_STATISTICS);
        assert_eq!(kinds, expected);
    }

    #[test]
    fn a_packet_carries_time_lengths_bytes_and_comment() {
        let packet = WrittenPacket {
            interface: 1,
            time_ns: 0x0102_0304_0506_0708,
            bytes: b"abc",
            frame_bytes: 60,
            comment: "hello",
        };
        let bytes = written(|writer| writer.packet(&packet).unwrap());
        let (_, content) = &blocks(&bytes)[1];
        let expected = [
            &1u32.to_le_bytes()[..],
            &0x0102_0304u32.to_le_bytes(),
            &0x0506_0708u32.to_le_bytes(),
            &3u32.to_le_bytes(),
            &60u32.to_le_bytes(),
            b"abc\0",
            &[1, 0, 5, 0],
            b"hello\0\0\0",
            &[0; 4],
        ];
        assert_eq!(*content, expected.concat());
    }
}
