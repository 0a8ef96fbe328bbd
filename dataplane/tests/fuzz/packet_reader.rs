//! The second reader of packets that stage 1 accepted: `etherparse` follows the headers, plain arithmetic sums.
//!
//! Where the two are meant to differ: behind an IPv4 header `etherparse` goes on through an authentication header, which
//! stage 1 takes for the payload, of protocol 51: such packets are not held against it.

use etherparse::{IpNumber, IpPayloadSlice, IpSlice, TcpSlice, UdpSlice};
use meshgate_dataplane::packet::{
    Checksum, Content, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, IcmpKind, IpPacket, Packet,
    ParseContext, TcpFields,
};
use meshgate_policy::{L4Key, Protocol};
use std::net::IpAddr;

/// Holds a packet against what the second reader finds in the frame.
pub fn check(packet: &Packet, frame: &[u8], context: ParseContext) {
    assert_eq!(
        (packet.destination_mac.0.as_slice(), packet.source_mac.0.as_slice()),
        (&frame[..6], &frame[6..12])
    );
    let l3_at = usize::from(packet.l3_offset);
    let l3 = &frame[l3_at..];
    let ethertype = u16_at(frame, l3_at - 2);
    match &packet.content {
        Content::Arp(arp) => {
            assert_eq!(ethertype, ETHERTYPE_ARP);
            assert_eq!(
                (arp.sender_mac.0.as_slice(), arp.sender_address.octets().as_slice()),
                (&l3[8..14], &l3[14..18])
            );
            assert_eq!(
                (arp.target_mac.0.as_slice(), arp.target_address.octets().as_slice()),
                (&l3[18..24], &l3[24..28])
            );
        }
        Content::Ip(ip) => {
            let of_family = if ip.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
            assert_eq!(ethertype, of_family);
            check_ip(ip, l3, frame, context);
        }
        Content::Other(0) => assert!(ethertype <= 1_500),
        Content::Other(other) => assert_eq!(*other, ethertype),
    }
}

fn check_ip(ip: &IpPacket, l3: &[u8], frame: &[u8], context: ParseContext) {
    if ip.source.is_ipv4() && ip.l4.protocol == Protocol(IpNumber::AUTHENTICATION_HEADER.0) {
        return;
    }
    // Without padding: `etherparse` takes an IPv6 payload of length zero for one that goes on to the end.
    let datagram = &l3[..usize::try_from(ip.ip_bytes).unwrap()];
    let read = IpSlice::from_slice(datagram).expect("a second reader reads what passed");
    assert_eq!((read.source_addr(), read.destination_addr()), (ip.source, ip.destination));
    assert!(!is_forbidden_source(ip.source), "{} sends", ip.source);
    let (hop_limit, fragment) = match &read {
        IpSlice::Ipv4(v4) => {
            assert_eq!(sum(0, v4.header().slice()), u16::MAX, "the header's checksum");
            let header = v4.header();
            (header.ttl(), (header.fragments_offset().value(), header.more_fragments()))
        }
        IpSlice::Ipv6(v6) => (v6.header().hop_limit(), fragment_of_v6(v6.extensions())),
    };
    assert_eq!(ip.hop_limit, hop_limit);
    let own = match ip.fragment {
        Fragment::Whole => (0, false),
        Fragment::First { .. } => (0, true),
        Fragment::Later { offset_bytes, more, .. } => (offset_bytes / 8, more),
    };
    assert_eq!(own, fragment, "{:?}", ip.fragment);
    let payload = read.payload();
    assert_eq!(ip.l4.protocol.0, payload.ip_number.0);
    let l4_at = usize::from(ip.l4_offset);
    let l4 = &frame[l4_at..l4_at + usize::from(ip.l4_bytes)];
    assert_eq!(l4, payload.payload);
    check_transport(ip, payload, context);
}

/// Returns offset and more-flag of the fragment header, of which there is at most one.
fn fragment_of_v6(extensions: &etherparse::Ipv6ExtensionsSlice<'_>) -> (u16, bool) {
    let of = |extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(header) => {
            Some((header.fragment_offset().value(), header.more_fragments()))
        }
        _ => None,
    };
    extensions.clone().into_iter().find_map(of).unwrap_or((0, false))
}

fn check_transport(ip: &IpPacket, payload: &IpPayloadSlice<'_>, context: ParseContext) {
    let (protocol, l4) = (ip.l4.protocol, payload.payload);
    if matches!(ip.fragment, Fragment::Later { .. }) {
        assert_eq!(ip.l4, L4Key::bare(protocol));
        assert!(ip.tcp.is_none() && ip.sctp.is_none() && ip.icmp.is_none());
        return;
    }
    match protocol {
        Protocol::TCP => {
            let tcp = TcpSlice::from_slice(l4).expect("the header is there");
            assert_eq!(ip.l4, L4Key::ports(protocol, tcp.source_port(), tcp.destination_port()));
            check_tcp(&ip.tcp.expect("what depends on it needs the fields"), &tcp);
        }
        Protocol::UDP => {
            assert_eq!(ip.l4, L4Key::ports(protocol, u16_at(l4, 0), u16_at(l4, 2)));
            assert!(ip.fragment != Fragment::Whole || UdpSlice::from_slice_lax(l4).is_ok());
        }
        Protocol::SCTP => {
            assert_eq!(ip.l4, L4Key::ports(protocol, u16_at(l4, 0), u16_at(l4, 2)));
            assert_eq!(ip.sctp.map(|sctp| sctp.chunk), Some(l4[12]));
        }
        Protocol::ICMP | Protocol::ICMPV6 => {
            assert_eq!(ip.l4, L4Key::icmp(protocol, l4[0], l4[1]));
            let is_echo = match ip.icmp.expect("every message is of a kind") {
                IcmpKind::EchoRequest { id } => id == u16_at(l4, 4) && matches!(l4[0], 8 | 128),
                IcmpKind::EchoReply { id } => id == u16_at(l4, 4) && matches!(l4[0], 0 | 129),
                _ => true,
            };
            assert!(is_echo, "{:?}", ip.icmp);
        }
        _ => assert_eq!(ip.l4, L4Key::bare(protocol)),
    }
    check_sum(ip, l4, context);
}

fn check_tcp(own: &TcpFields, tcp: &TcpSlice<'_>) {
    assert_eq!((own.sequence, own.acknowledgment), (tcp.sequence_number(), tcp.acknowledgment_number()));
    assert_eq!(usize::try_from(own.payload_bytes).unwrap(), tcp.payload().len());
    assert_eq!((own.window, own.flags.0), (tcp.window_size(), tcp.slice()[13]));
    assert!(tcp.syn() || own.window_scale.is_none() && own.segment_bytes_max.is_none());
    assert!(!(tcp.syn() && (tcp.fin() || tcp.rst())), "flags that nobody sends");
}

/// What changes state has a right checksum, or one that the device is yet to finish.
fn check_sum(ip: &IpPacket, l4: &[u8], context: ParseContext) {
    let is_state = ip.tcp.is_some_and(|tcp| tcp.flags.0 & 0x07 != 0) || ip.icmp.is_some();
    match ip.checksum {
        Checksum::Verified => assert_eq!(sum(pseudo_sum(ip, l4.len()), l4), u16::MAX, "verified"),
        Checksum::Partial(request) => {
            assert!(context.may_be_partial && request.start == ip.l4_offset);
            let field = u16_at(l4, request.offset.into());
            assert_eq!(field, sum(pseudo_sum(ip, l4.len()), &[]), "not the sum of a pseudo-header");
        }
        Checksum::Unread | Checksum::Beyond => {
            assert!(!is_state || ip.fragment != Fragment::Whole, "nobody looked at its checksum");
        }
    }
}

fn pseudo_sum(ip: &IpPacket, l4_bytes: usize) -> u32 {
    if ip.source.is_ipv4() && matches!(ip.l4.protocol, Protocol::ICMP | Protocol(2)) {
        return 0;
    }
    let addresses = [ip.source, ip.destination].map(|address| match address {
        IpAddr::V4(v4) => plain_sum(&v4.octets()),
        IpAddr::V6(v6) => plain_sum(&v6.octets()),
    });
    addresses.iter().sum::<u32>() + u32::from(ip.l4.protocol.0) + u32::try_from(l4_bytes).unwrap()
}

/// Returns the Internet checksum of what was summed before and these bytes, not complemented.
fn sum(before: u32, bytes: &[u8]) -> u16 {
    let mut sum = before + plain_sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

fn plain_sum(bytes: &[u8]) -> u32 {
    let word = |two: &[u8]| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn is_forbidden_source(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some(),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
