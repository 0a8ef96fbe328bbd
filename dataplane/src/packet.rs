//! Stage 1: length-checked reading of a frame.
//!
//! [`Packet::parse`] turns the bytes of a frame into one small value, or names the reason for which the frame ends
//! here. What it returns is valid: lengths agree, checksums that guard state are right, and no later stage reads the
//! bytes again. It reads headers only, in one pass, with a bound on every loop; it neither allocates nor panics.
//!
//! Two levels, after smoltcp: the slices of `etherparse` check that a header is there, the modules below check that
//! its fields say what a standard allows. Where hosts read the same bytes differently (two copies of one option, a
//! length that leaves a gap, a source route), the frame is dropped rather than interpreted, because the dataplane
//! would judge one reading and the receiver act on the other.

mod arp;
pub mod build;
mod checksum;
mod content;
pub(crate) mod dhcp;
pub(crate) mod field;
mod icmp;
mod ipv4;
mod ipv6;
mod martian;
mod membership;
mod neighbour;
mod part;
mod plain;
mod segmentation;
mod tags;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use checksum::Sum as InternetSum;
pub use content::{
    ArpOperation, ArpPacket, Checksum, ChecksumRequest, Content, DhcpClient, DhcpRole, Fragment, IcmpKind,
    IpPacket, Membership, NeighbourKind, NeighbourMessage, Quoted, SctpFields, TcpFields, TcpFlags,
};
pub use ipv6::EXTENSION_HEADERS_MAX;
pub use plain::PlainPacket;
pub use segmentation::{Segment, Segmentation};
pub use tags::{TagKind, Tags, TagsInFrame};

use crate::verdict::DropReason;
use meshgate_policy::{Mac, Protocol};
use std::net::IpAddr;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_BYTES: usize = 14;
/// Where the source MAC stands in a frame.
const SOURCE_MAC_AT: usize = 6;
/// Bytes that one VLAN tag adds.
pub const VLAN_TAG_BYTES: usize = 4;

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of a customer VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// Ethertype of a service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// Largest value of the type field that is a length (IEEE 802.3 section 3.2.6).
const LENGTH_FIELD_MAX: u16 = 1_500;
/// Smallest value of the type field that is an ethertype; what lies between is undefined.
const ETHERTYPE_MIN: u16 = 0x0600;
/// Payload of a frame on an Ethernet without jumbo frames. A datagram of length zero in a longer one is a super-frame.
const PLAIN_PAYLOAD_BYTES_MAX: usize = 1_500;

/// Protocol number of IGMP, which rules cannot name by word.
const IGMP: Protocol = Protocol(2);

/// What the reader of a frame must know beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseContext {
    /// Whether the sender may leave the L4 checksum to the device, as kernels do behind veth and tap. Only then is
    /// a field that holds the pseudo-header sum alone taken for an unfinished checksum.
    pub may_be_partial: bool,
}

/// A frame that passed stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source MAC.
    pub source_mac: Mac,
    /// Destination MAC.
    pub destination_mac: Mac,
    /// Its tags.
    pub tags: TagsInFrame,
    /// Where the bytes behind the Ethernet header and its tags begin in the frame.
    pub l3_offset: u16,
    /// What the frame carries.
    pub content: Content,
}

impl Packet {
    /// The place of a packet that has not been read.
    pub(crate) const UNREAD: Self = Self {
        source_mac: Mac([0; 6]),
        destination_mac: Mac([0; 6]),
        tags: TagsInFrame { tags: Tags::Untagged, bytes: 0, priority: 0 },
        l3_offset: 0,
        content: Content::Other(0),
    };

    /// Reads the frame whose first buffer is `head` and which has `whole_bytes` in all its buffers together.
    ///
    /// All headers must lie in the head. Payload may lie behind it; see [`Checksum::Beyond`].
    pub fn parse(head: &[u8], whole_bytes: usize, context: ParseContext) -> Result<Self, DropReason> {
        let mut packet = Self::UNREAD;
        packet.read(head, whole_bytes, context)?;
        Ok(packet)
    }

    /// Reads a frame as [`Self::parse`] does, to where the packet stays. A packet is large, and was in part written a
    /// moment ago: copying it would cost more than reading it. After an error what stands here means nothing.
    #[inline]
    pub(crate) fn read(
        &mut self,
        head: &[u8],
        whole_bytes: usize,
        context: ParseContext,
    ) -> Result<(), DropReason> {
        let head = &head[..head.len().min(whole_bytes)];
        let ethernet =
            etherparse::Ethernet2HeaderSlice::from_slice(head).map_err(|_| DropReason::Truncated)?;
        let (tags, ethertype) = tags::read(head)?;
        let l3_offset = ETHERNET_BYTES + usize::from(tags.bytes);
        let frame = Frame { head, whole_bytes, l3_offset };
        self.source_mac = Mac(ethernet.source());
        self.destination_mac = Mac(ethernet.destination());
        self.tags = tags;
        self.l3_offset = frame.l3_offset_u16();
        match ethertype {
            ETHERTYPE_ARP => self.content = Content::Arp(arp::read(frame.l3())?),
            ETHERTYPE_IPV4 => transport::read(&ipv4::read(&frame)?, context, &mut self.content)?,
            ETHERTYPE_IPV6 => transport::read(&ipv6::read(&frame)?, context, &mut self.content)?,
            0..=LENGTH_FIELD_MAX => self.content = Content::Other(0),
            ETHERTYPE_MIN.. => self.content = Content::Other(ethertype),
            _ => return Err(DropReason::BadHeader),
        }
        Ok(())
    }

    /// Returns the IP packet, if the frame carries one.
    pub fn ip(&self) -> Option<&IpPacket> {
        match &self.content {
            Content::Ip(ip) => Some(ip),
            _ => None,
        }
    }

    /// Returns what the transmitter must finish: `Some` for every packet whose L4 checksum is partial.
    pub fn checksum_request(&self) -> Option<ChecksumRequest> {
        match self.ip()?.checksum {
            Checksum::Partial(request) => Some(request),
            _ => None,
        }
    }

    /// Returns the bytes of the frame without the padding behind the datagram, for IP. A frame whose checksum is
    /// finished by the device must be cut to this length first: devices sum to the end of the frame.
    pub fn unpadded_bytes(&self) -> Option<usize> {
        let bytes = u32::from(self.l3_offset) + self.ip()?.ip_bytes;
        usize::try_from(bytes).ok()
    }
}

/// The frame that is being read.
struct Frame<'a> {
    /// Bytes of its first buffer.
    head: &'a [u8],
    /// Bytes of all its buffers.
    whole_bytes: usize,
    /// Where the bytes behind the Ethernet header and its tags begin; at most the head's length.
    l3_offset: usize,
}

impl<'a> Frame<'a> {
    /// Returns the head behind the Ethernet header.
    fn l3(&self) -> &'a [u8] {
        &self.head[self.l3_offset..]
    }

    /// Returns the bytes behind the Ethernet header in all buffers.
    fn l3_bytes(&self) -> usize {
        self.whole_bytes - self.l3_offset
    }

    /// Returns whether the frame is long enough to be a segment that its sender left to the device to cut. Some then
    /// write a length of zero: Windows LSO, and Linux above 64 KiB (BIG TCP, with a jumbo payload option in IPv6).
    fn is_oversize(&self) -> bool {
        self.l3_bytes() > PLAIN_PAYLOAD_BYTES_MAX
    }

    /// Returns the MAC of the sender.
    fn source_mac(&self) -> Mac {
        field::mac_at(self.head, SOURCE_MAC_AT).expect("an Ethernet header was read")
    }

    fn l3_offset_u16(&self) -> u16 {
        u16::try_from(self.l3_offset).expect("14, 18 or 22")
    }
}

/// A datagram whose IP headers are valid, before its L4 header is read.
struct Datagram<'a> {
    /// MAC of the frame's sender.
    source_mac: Mac,
    source: IpAddr,
    destination: IpAddr,
    /// Number of the protocol behind the IP headers.
    protocol: u8,
    hop_limit: u8,
    fragment: Fragment,
    /// Whether an option asks routers to look at the packet (RFC 2113, RFC 2711).
    router_alert: bool,
    /// Bytes from the IP header on, without padding.
    ip_bytes: usize,
    /// Where the L4 header begins in the frame.
    l4_offset: usize,
    /// Bytes behind the IP headers, without padding, in all buffers.
    l4_bytes: usize,
    /// Those of them that lie in the head.
    l4: &'a [u8],
}
