//! Cutting a TCP super-frame into segments that a device can send.
//!
//! A guest with segmentation offload hands over TCP data for many segments under one header and leaves the cutting to
//! whoever is below. What makes a segment of it (as Linux does in `tcp_gso_segment`): its piece of the data behind a copy
//! of all headers; its own sequence number; lengths, identification and IPv4 checksum of its own; FIN and PSH on the last
//! one only, CWR on the first one only (RFC 3168 section 6.1.2); an unfinished checksum, to be finished by the device
//! like that of the whole. Options are the same on all: the timestamps are those of the moment of sending anyway.
//!
//! How long the sender wants segments to be is lost on the way here (`gso_size`), so the caller says how long an IP
//! packet may be. Shorter segments than wanted are always right.

use super::checksum::Sum;
use super::{
    Checksum, ChecksumRequest, Content, ETHERNET_BYTES, Fragment, IpPacket, Packet, TcpFields, TcpFlags, ipv6,
};
use std::net::IpAddr;
use std::ops::Range;

/// Most bytes of the headers of a super-frame: Ethernet with two tags (22), IPv4 and TCP with all options (60 each).
const HEADERS_BYTES_MAX: usize = 256;
/// Fewest bytes of data in a segment, so that nobody can have one frame cut into thousands by saying that he takes
/// little: with the smallest MTU in use (576) and all options it is 456.
const SEGMENT_PAYLOAD_BYTES_MIN: usize = 256;
/// The flag of a sender that has made its window smaller; the last bit of the flags.
const CWR: u8 = 0x80;

/// Where fields stand in an IPv4 header, an IPv6 header and a TCP header.
const V4_TOTAL_LENGTH: usize = 2;
const V4_IDENTIFICATION: usize = 4;
const V4_CHECKSUM: usize = 10;
const V6_PAYLOAD_LENGTH: usize = 4;
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: u16 = 16;

/// A super-frame and how it is cut.
#[derive(Debug)]
pub struct Segmentation {
    /// Its headers; changed for each segment.
    head: [u8; HEADERS_BYTES_MAX],
    head_bytes: usize,
    l3_offset: usize,
    ip: IpPacket,
    tcp: TcpFields,
    /// IPv4 identification of the first segment.
    identification: u16,
    /// Bytes of data in each segment but the last.
    segment_payload_bytes: usize,
}

/// One segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its headers.
    pub head: &'a [u8],
    /// Where its data lies in the super-frame.
    pub payload: Range<usize>,
    /// What must be finished of it.
    pub checksum: ChecksumRequest,
}

impl Packet {
    /// Returns whether the packet is TCP data that its sender may have left to be cut: whole, with an unfinished
    /// checksum, and without flags that mean one segment.
    pub fn may_be_cut(&self) -> bool {
        let Content::Ip(ip) = &self.content else { return false };
        let means_one = TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG;
        let has_data = ip.tcp.is_some_and(|tcp| tcp.payload_bytes > 0 && !tcp.flags.intersects(means_one));
        has_data && ip.fragment == Fragment::Whole && matches!(ip.checksum, Checksum::Partial(_))
    }
}

impl Segmentation {
    /// Returns how to cut the packet at the front of `head` into IP packets of at most `ip_bytes_max`; None if it
    /// cannot be cut.
    pub fn of(packet: &Packet, head: &[u8], ip_bytes_max: usize) -> Option<Self> {
        let (ip, l3_offset) = (*packet.ip()?, usize::from(packet.l3_offset));
        let tcp = ip.tcp.filter(|_| packet.may_be_cut())?;
        let tcp_bytes = usize::from(ip.l4_bytes).checked_sub(usize::try_from(tcp.payload_bytes).ok()?)?;
        // Extension headers may vouch for what follows them.
        let has_extensions =
            ip.source.is_ipv6() && usize::from(ip.l4_offset) > l3_offset + ipv6::HEADER_BYTES;
        if has_extensions {
            return None;
        }
        let head_bytes = usize::from(ip.l4_offset) + tcp_bytes;
        let segment_payload_bytes = ip_bytes_max.checked_sub(head_bytes - l3_offset)?;
        if segment_payload_bytes < SEGMENT_PAYLOAD_BYTES_MIN {
            return None;
        }
        let mut copy = [0; HEADERS_BYTES_MAX];
        copy.get_mut(..head_bytes)?.copy_from_slice(head.get(..head_bytes)?);
        let at = l3_offset + V4_IDENTIFICATION;
        let identification = u16::from_be_bytes([*copy.get(at)?, *copy.get(at + 1)?]);
        Some(Self { head: copy, head_bytes, l3_offset, ip, tcp, identification, segment_payload_bytes })
    }

    /// Returns how many segments there are.
    pub fn segments(&self) -> usize {
        self.payload_bytes().div_ceil(self.segment_payload_bytes)
    }

    /// Returns how long the longest segment is, Ethernet header and tags included.
    pub fn frame_bytes_max(&self) -> usize {
        self.head_bytes + self.segment_payload_bytes.min(self.payload_bytes())
    }

    /// Returns the segment of this number, counted from 0.
    pub fn segment(&mut self, number: usize) -> Segment<'_> {
        let start = (number * self.segment_payload_bytes).min(self.payload_bytes());
        let end = (start + self.segment_payload_bytes).min(self.payload_bytes());
        let is_last = end == self.payload_bytes();
        let mut flags = self.tcp.flags.0;
        if number > 0 {
            flags &= !CWR;
        }
        if !is_last {
            flags &= !(TcpFlags::FIN | TcpFlags::PSH).0;
        }
        let l4_offset = usize::from(self.ip.l4_offset);
        let l4_bytes = self.head_bytes - l4_offset + end - start;
        let sequence = self.tcp.sequence.wrapping_add(low_u32(start));
        let (source, destination) = (self.ip.source, self.ip.destination);
        let pseudo = Sum::of_pseudo_header(source, destination, self.ip.l4.protocol.0, l4_bytes);
        self.write(l4_offset + TCP_SEQUENCE, sequence.to_be_bytes());
        self.write(l4_offset + TCP_FLAGS, [flags]);
        self.write(l4_offset + usize::from(TCP_CHECKSUM), pseudo.folded().to_be_bytes());
        match source {
            IpAddr::V4(_) => self.write_ipv4(number, l4_bytes),
            IpAddr::V6(_) => {
                self.write(self.l3_offset + V6_PAYLOAD_LENGTH, low_u16(l4_bytes).to_be_bytes());
            }
        }
        Segment {
            head: &self.head[..self.head_bytes],
            payload: self.head_bytes + start..self.head_bytes + end,
            checksum: ChecksumRequest { start: self.ip.l4_offset, offset: TCP_CHECKSUM },
        }
    }

    fn write_ipv4(&mut self, number: usize, l4_bytes: usize) {
        let (l3, l4_offset) = (self.l3_offset, usize::from(self.ip.l4_offset));
        let identification = self.identification.wrapping_add(low_u16(number));
        self.write(l3 + V4_TOTAL_LENGTH, low_u16(l4_offset - l3 + l4_bytes).to_be_bytes());
        self.write(l3 + V4_IDENTIFICATION, identification.to_be_bytes());
        self.write(l3 + V4_CHECKSUM, [0; 2]);
        let checksum = !Sum::default().add(&self.head[l3..l4_offset]).folded();
        self.write(l3 + V4_CHECKSUM, checksum.to_be_bytes());
    }

    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.head[at..at + N].copy_from_slice(&bytes);
    }

    fn payload_bytes(&self) -> usize {
        usize::from(self.ip.l4_bytes) - (self.head_bytes - usize::from(self.ip.l4_offset))
    }
}

const _: () = assert!(ETHERNET_BYTES + super::tags::TAGS_BYTES_MAX + 60 + 60 <= HEADERS_BYTES_MAX);

/// Returns a number that is below 65,536 by the length of an IP packet.
fn low_u16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn low_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::build::Frame;
    use super::super::{ParseContext, TagKind, Tags};
    use super::*;
    use crate::device::checksum::complete;
    use meshgate_policy::Mac;
    use meshgate_policy::generate::Rng;

    const PARTIAL: ParseContext = ParseContext { may_be_partial: true };
    const ACK: TcpFlags = TcpFlags::ACK;

    fn v4() -> Frame {
        Frame::between(Mac([2; 6]), Mac([4; 6])).ip([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    }

    fn v6() -> Frame {
        Frame::between(Mac([2; 6]), Mac([4; 6])).ip("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    }

    /// Returns the segments of a frame as a device would send them.
    fn cut(frame: &Frame, ip_bytes_max: usize) -> Option<Vec<Vec<u8>>> {
        let bytes = frame.bytes();
        let packet = Packet::parse(&bytes, bytes.len(), PARTIAL).unwrap();
        let mut segmentation = Segmentation::of(&packet, &bytes, ip_bytes_max)?;
        let segments = (0..segmentation.segments()).map(|number| {
            let Segment { head, payload, checksum } = segmentation.segment(number);
            let mut segment = [head, &bytes[payload]].concat();
            let request = af_xdp::ChecksumRequest { start: checksum.start, offset: checksum.offset };
            assert!(complete(&mut segment, request));
            segment
        });
        Some(segments.collect())
    }

    fn random_frame(rng: &mut Rng) -> (Frame, Vec<u8>, TcpFlags) {
        let frame = if rng.below(2) == 0 { v4() } else { v6() };
        let flags = TcpFlags(ACK.0 | [0, 1, 8, 0x80, 0x89, 0x40][usize::try_from(rng.below(6)).unwrap()]);
        let options = vec![1; 4 * usize::try_from(rng.below(11)).unwrap()];
        let payload: Vec<u8> = (0..1 + rng.below(60_000)).map(|_| rng.below(256).to_le_bytes()[0]).collect();
        let sequence = u32::MAX - 5_000;
        let frame = match rng.below(4) {
            0 => frame.vlan(0x6007),
            1 => frame.tagged(TagKind::Service.ethertype(), 9).vlan(7),
            2 => frame.ipv4_options(&[148, 4, 0, 0]),
            _ => frame,
        };
        let frame =
            frame.identification(65_530).tcp(1, 2, flags).numbers(sequence, 77, 9).tcp_options(&options);
        (frame.payload(&payload).partial_checksum(), payload, flags)
    }

    #[test]
    fn segments_are_right_by_themselves_and_together_are_the_whole() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let (frame, payload, flags) = random_frame(&mut rng);
            let ip_bytes_max = 576 + usize::try_from(rng.below(9_000)).unwrap();
            let segments = cut(&frame, ip_bytes_max).unwrap();
            let whole = frame.bytes();
            let whole = Packet::parse(&whole, whole.len(), PARTIAL).unwrap();
            let (mut data, mut longest) = (Vec::<u8>::new(), 0);
            for (number, bytes) in segments.iter().enumerate() {
                let packet = Packet::parse(bytes, bytes.len(), ParseContext::default()).unwrap();
                let ip = packet.ip().unwrap();
                let tcp = ip.tcp.unwrap();
                assert_eq!(ip.verify_across([&bytes[..]]), Ok(()), "seed {seed} segment {number}");
                assert_eq!((packet.tags, packet.unpadded_bytes()), (whole.tags, Some(bytes.len())));
                assert_eq!(tcp.sequence, (u32::MAX - 5_000).wrapping_add(low_u32(data.len())));
                assert_eq!((tcp.acknowledgment, tcp.window, ip.hop_limit), (77, 9, 64));
                let is_last = number + 1 == segments.len();
                let goes = if is_last { 0 } else { 0x09 } | if number == 0 { 0 } else { CWR };
                assert_eq!(tcp.flags.0, flags.0 & !goes);
                if ip.source.is_ipv4() {
                    let id = usize::from(packet.l3_offset) + V4_IDENTIFICATION;
                    let expected = 65_530u16.wrapping_add(low_u16(number)).to_be_bytes();
                    assert_eq!(bytes[id..id + 2], expected);
                }
                longest = longest.max(usize::try_from(ip.ip_bytes).unwrap());
                data.extend(&bytes[bytes.len() - usize::try_from(tcp.payload_bytes).unwrap()..]);
            }
            assert_eq!(data, payload, "seed {seed}");
            assert!(longest <= ip_bytes_max);
            assert!(segments.len() == 1 || longest == ip_bytes_max);
        }
    }

    #[test]
    fn what_is_no_data_left_to_be_cut_is_not_cut() {
        let data = |flags| v4().tcp(1, 2, flags).payload(&[0; 3_000]);
        assert!(cut(&data(ACK).partial_checksum(), 1_500).is_some());
        for flags in [TcpFlags::SYN, TcpFlags::RST, ACK | TcpFlags::URG] {
            assert!(cut(&data(flags).partial_checksum(), 1_500).is_none());
        }
        assert!(cut(&data(ACK), 1_500).is_none(), "finished checksums");
        assert!(cut(&v4().tcp(1, 2, ACK).partial_checksum(), 1_500).is_none(), "no data");
        assert!(cut(&v4().udp(1, 2).payload(&[0; 3_000]).partial_checksum(), 1_500).is_none());
        let part = v4().tcp(1, 2, ACK).payload(&[0; 3_004]).partial_checksum().fragment(0, true);
        assert!(cut(&part, 1_500).is_none());
        let vouched = v6().extension(51, &[1; 11]).tcp(1, 2, ACK).payload(&[0; 3_000]).partial_checksum();
        assert!(cut(&vouched, 1_500).is_none());
    }

    #[test]
    fn nobody_has_a_frame_cut_into_thousands() {
        let data = v4().tcp(1, 2, ACK).payload(&[0; 60_000]).partial_checksum();
        assert!(cut(&data, 40 + SEGMENT_PAYLOAD_BYTES_MIN - 1).is_none());
        assert_eq!(cut(&data, 40 + SEGMENT_PAYLOAD_BYTES_MIN).unwrap().len(), 235);
        assert!(cut(&data, 20).is_none());
    }

    #[test]
    fn tags_stay_on_every_segment() {
        let frame = v6().vlan(5).tcp(1, 2, ACK).payload(&[0; 5_000]).partial_checksum();
        for segment in cut(&frame, 1_500).unwrap() {
            let packet = Packet::parse(&segment, segment.len(), ParseContext::default()).unwrap();
            assert_eq!(packet.tags.tags, Tags::customer(5));
        }
    }
}
