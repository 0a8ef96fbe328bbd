//! What a frame that passed stage 1 carries: valid values, without the bytes.

use super::checksum;
use crate::verdict::DropReason;
use meshgate_policy::{L4Key, Mac};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// ARP for IPv4 over Ethernet.
    Arp(ArpPacket),
    /// IPv4 or IPv6.
    Ip(IpPacket),
    /// Another ethertype; 0 stands for an IEEE 802.3 length field.
    Other(u16),
}

/// Whether an ARP message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP message (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPacket {
    /// Asks or answers.
    pub operation: ArpOperation,
    /// MAC that the sender claims.
    pub sender_mac: Mac,
    /// Address that the sender claims; 0.0.0.0 in a probe (RFC 5227).
    pub sender_address: Ipv4Addr,
    /// MAC of the target; without meaning in a request.
    pub target_mac: Mac,
    /// Address that is asked for or answered to.
    pub target_address: Ipv4Addr,
}

/// An IPv4 or IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// Protocol and ports, or ICMP type and code. Of a fragment that is not the first: the protocol alone.
    pub l4: L4Key,
    /// Bytes of the datagram, IP header included, padding of the frame excluded.
    pub ip_bytes: u32,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Which part of its datagram this is.
    pub fragment: Fragment,
    /// Where the L4 header begins in the frame.
    pub l4_offset: u16,
    /// Bytes from the L4 header on, padding excluded.
    pub l4_bytes: u16,
    /// Of TCP: the fields that its state depends on. None for parts behind the first one.
    pub tcp: Option<TcpFields>,
    /// Of SCTP: the fields that its state depends on. None for parts behind the first one.
    pub sctp: Option<SctpFields>,
    /// Of ICMP and ICMPv6: what the message is. None for parts behind the first one.
    pub icmp: Option<IcmpKind>,
    /// Of IPv6 neighbour discovery: the message.
    pub neighbour: Option<NeighbourMessage>,
    /// Of DHCP and DHCPv6: who speaks.
    pub dhcp: Option<DhcpRole>,
    /// Of IGMP and MLD: what the message is.
    pub membership: Option<Membership>,
    /// What is known of the L4 checksum.
    pub checksum: Checksum,
}

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. IPv6 packets with an atomic fragment header are whole (RFC 6946).
    Whole,
    /// The part with the L4 header.
    First {
        /// Number that the parts have in common.
        id: u32,
    },
    /// A part behind it.
    Later {
        /// Number that the parts have in common.
        id: u32,
        /// Where the part lies in the datagram's payload.
        offset_bytes: u16,
        /// Whether another part follows.
        more: bool,
    },
}

/// What is known of an L4 checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It was verified.
    Verified,
    /// It was not looked at, because nothing here depends on it.
    Unread,
    /// It covers bytes behind the head that was parsed: [`IpPacket::verify_across`] must be asked.
    Beyond,
    /// It is unfinished: whoever transmits the frame must finish it.
    Partial(ChecksumRequest),
}

/// Where a checksum begins and where it is stored, as in `virtio_net_hdr` and `xsk_tx_metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumRequest {
    /// First byte that the checksum covers, counted from the start of the frame.
    pub start: u16,
    /// Position of the 16-bit field, counted from `start`. It already holds the pseudo-header sum.
    pub offset: u16,
}

/// The flags of a TCP header, bits as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more bytes from the sender.
    pub const FIN: Self = Self(0x01);
    /// Begins a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x04);
    /// Deliver without delay.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number means something.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer means something.
    pub const URG: Self = Self(0x20);

    /// Returns whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether a flag of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The fields of a TCP header that the state of a connection depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFields {
    /// Flags.
    pub flags: TcpFlags,
    /// Number of the first payload byte (of the SYN, where that is set).
    pub sequence: u32,
    /// Number of the next byte that the sender expects.
    pub acknowledgment: u32,
    /// Window as in the header, not scaled.
    pub window: u16,
    /// Shift count of the window scale option of a SYN, at most 14 (RFC 7323 section 2.3).
    pub window_scale: Option<u8>,
    /// Payload of the longest segment that the sender of a SYN takes, as its option says (RFC 9293 section 3.7.1).
    pub segment_bytes_max: Option<u16>,
    /// Bytes behind the TCP header; of the first part of a datagram, those that lie in it.
    pub payload_bytes: u32,
}

/// The fields of an SCTP packet that the state of an association depends on: the common header and the first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpFields {
    /// Verification tag.
    pub tag: u32,
    /// Type of the first chunk.
    pub chunk: u8,
    /// Whether the chunk is an ABORT or SHUTDOWN COMPLETE that carries the tag of the other side (the T bit).
    pub is_tag_reflected: bool,
    /// Of INIT and INIT ACK: by which tag the sender wants to be addressed. Otherwise 0, which it cannot be.
    pub initiate_tag: u32,
}

/// What an ICMP or ICMPv6 message is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// Echo request.
    EchoRequest {
        /// Number of the pinging process.
        id: u16,
    },
    /// Echo reply.
    EchoReply {
        /// Number of the pinging process.
        id: u16,
    },
    /// An error about the packet it quotes; None where the quote cannot be read.
    Error(Option<Quoted>),
    /// A redirect of ICMP for IPv4. That of IPv6 is a [`NeighbourMessage`].
    Redirect,
    /// Anything else: type and code are in the L4 key.
    Other,
}

/// The packet that an ICMP error quotes, in its original direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// Protocol and ports, or ICMP type and code.
    pub l4: L4Key,
    /// Of TCP: the sequence number.
    pub tcp_sequence: Option<u32>,
    /// Of SCTP: the verification tag.
    pub sctp_tag: Option<u32>,
    /// Of an echo request or reply: the number of the pinging process.
    pub echo_id: Option<u16>,
}

/// Kinds of IPv6 neighbour discovery messages (RFC 4861 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourKind {
    /// Asks for routers.
    RouterSolicitation,
    /// Announces a router.
    RouterAdvertisement,
    /// Asks for the MAC of an address.
    Solicitation,
    /// Tells the MAC of an address.
    Advertisement,
    /// Names a better first hop.
    Redirect,
}

/// An IPv6 neighbour discovery message that a receiver would accept (hop limit 255, right form).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourMessage {
    /// Kind.
    pub kind: NeighbourKind,
    /// The address the message is about; None of router solicitations and advertisements.
    pub target: Option<Ipv6Addr>,
    /// The source link-layer option of solicitations and router advertisements, the target link-layer option of
    /// advertisements and redirects.
    pub link_layer: Option<Mac>,
    /// Whether an advertisement says that its sender is a router.
    pub is_router: bool,
}

/// An IGMP or MLD message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Whether it is what only multicast routers say: a query, or an advertisement of the router itself.
    pub is_query: bool,
    /// Whether it has the form that routers and switches accept: never forwarded beyond the link (TTL 1), to the
    /// right group, with a router alert. Only then it passes without rules.
    pub has_form: bool,
}

/// Who speaks in a DHCP or DHCPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpRole {
    /// One who wants an address, or a relay on its way to the server.
    Client(DhcpClient),
    /// A server, or a relay on its way to the client.
    Server,
}

/// What a DHCP client's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpClient {
    /// Whether it is one that a client without an address broadcasts: discover, request or decline, from the client's
    /// port. Of DHCPv6, where clients have a link-local address, always false.
    pub seeks_address: bool,
    /// Whether it names no other machine than the sender of the frame: neither as client nor as relay.
    pub speaks_for_itself: bool,
}

impl Content {
    /// Puts an IP packet here and returns it.
    #[inline]
    pub(super) fn put(&mut self, ip: IpPacket) -> &mut IpPacket {
        *self = Self::Ip(ip);
        match self {
            Self::Ip(ip) => ip,
            Self::Arp(_) | Self::Other(_) => unreachable!("an IP packet was put here"),
        }
    }
}

impl IpPacket {
    /// Verifies a checksum that was [`Checksum::Beyond`] the head, over the frame's buffers, in order.
    pub fn verify_across<'a>(&self, buffers: impl IntoIterator<Item = &'a [u8]>) -> Result<(), DropReason> {
        checksum::verify_across(self, buffers)
    }
}
