//! Tests of the reader: what a right frame becomes, and one refusal per reason.

use super::build::{FRAME_BYTES_MIN, Frame as Build, dhcp::DhcpMessage};
use super::*;
use DropReason::{
    BadHeader, BadIpChecksum, BadL4Checksum, BadTcpFlags, ExtensionHeaders, LinkFragment, MartianAddress,
    SourceRoute, Truncated,
};
use meshgate_policy::{L4Key, Protocol};
use std::net::Ipv6Addr;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PARTIAL: ParseContext = ParseContext { may_be_partial: true };
const FINISHED: ParseContext = ParseContext { may_be_partial: false };

fn v4() -> Build {
    Build::between(A, B).ip("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
}

fn v6() -> Build {
    Build::between(A, B).ip("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
}

fn v6_to(source: &str, destination: &str) -> Build {
    Build::between(A, B).ip(source.parse().unwrap(), destination.parse().unwrap())
}

fn read(bytes: &[u8]) -> Result<Packet, DropReason> {
    Packet::parse(bytes, bytes.len(), FINISHED)
}

fn ip_of(frame: &Build) -> IpPacket {
    *read(&frame.bytes()).unwrap().ip().unwrap()
}

fn refusal(frame: &Build) -> DropReason {
    read(&frame.bytes()).unwrap_err()
}

/// Returns the frame with some bytes behind the Ethernet header changed and the IPv4 checksum made right again.
fn patched_v4(frame: &Build, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.bytes();
    frame[ETHERNET_BYTES + at..][..bytes.len()].copy_from_slice(bytes);
    let header_bytes = usize::from(frame[ETHERNET_BYTES] & 0x0f) * 4;
    let header = &mut frame[ETHERNET_BYTES..][..header_bytes.max(20)];
    header[10..12].fill(0);
    let checksum = !checksum::Sum::default().add(header).folded();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn patched_v6(frame: &Build, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.bytes();
    frame[ETHERNET_BYTES + at..][..bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn a_tcp_syn_is_read_with_its_numbers_and_window_scale() {
    for build in [v4(), v6(), v4().vlan(7)] {
        let frame = build.tcp(40_000, 443, TcpFlags::SYN).numbers(7, 0, 1_000).tcp_options(&[1, 3, 3, 9]);
        let ip = ip_of(&frame);
        assert_eq!(ip.l4, L4Key::ports(Protocol::TCP, 40_000, 443));
        let tcp = ip.tcp.unwrap();
        assert_eq!((tcp.sequence, tcp.window, tcp.window_scale, tcp.payload_bytes), (7, 1_000, Some(9), 0));
        assert_eq!(tcp.flags, TcpFlags::SYN);
        assert_eq!((ip.checksum, ip.fragment, ip.hop_limit), (Checksum::Verified, Fragment::Whole, 64));
    }
}

#[test]
fn offsets_lengths_macs_and_the_tag_are_counted_from_the_frames_start() {
    let bytes = v4().vlan(7).udp(1, 2).payload(&[9; 5]).bytes();
    let packet = read(&bytes).unwrap();
    let ip = packet.ip().unwrap();
    assert_eq!(
        (packet.source_mac, packet.destination_mac, packet.tags.tags, packet.l3_offset),
        (A, B, Tags::customer(7), 18)
    );
    assert_eq!((ip.l4_offset, ip.l4_bytes, ip.ip_bytes), (38, 13, 33));
    assert_eq!(packet.unpadded_bytes(), Some(bytes.len()));
}

#[test]
fn a_priority_tag_is_no_vlan_and_the_reserved_number_is_refused() {
    let tags = |build: Build| read(&build.udp(1, 2).bytes()).map(|packet| packet.tags);
    let priority = tags(v4().vlan(0xa000)).unwrap();
    assert_eq!((priority.tags, priority.bytes, priority.priority), (Tags::Untagged, 4, 0xa000));
    let service = tags(v4().tagged(ETHERTYPE_SERVICE_VLAN, 0xe005)).unwrap();
    assert_eq!((service.tags, service.priority), (Tags::Single(TagKind::Service, 5), 0xe000));
    assert_eq!(tags(v4().vlan(0xfff)), Err(BadHeader));
    assert_eq!(tags(v4().vlan(5).vlan(0xfff)), Err(BadHeader));
}

#[test]
fn two_tags_are_read_through_and_anything_odd_about_them_is_refused() {
    let outer_kinds = [(ETHERTYPE_VLAN, TagKind::Customer), (ETHERTYPE_SERVICE_VLAN, TagKind::Service)];
    for (ethertype, kind) in outer_kinds {
        let packet = read(&v4().tagged(ethertype, 5).vlan(6).udp(1, 2).bytes()).unwrap();
        assert_eq!(packet.tags.tags, Tags::Double { outer: (kind, 5), inner: 6 });
        assert_eq!((packet.l3_offset, packet.ip().unwrap().l4), (22, L4Key::ports(Protocol::UDP, 1, 2)));
    }
    let odd = [
        v4().vlan(0).vlan(6),
        v4().vlan(5).vlan(0),
        v4().vlan(5).tagged(ETHERTYPE_SERVICE_VLAN, 6),
        v4().vlan(5).vlan(6).vlan(7),
    ];
    for frame in odd {
        assert_eq!(refusal(&frame.clone().udp(1, 2)), DropReason::UnknownVlan, "{frame:?}");
    }
}

#[test]
fn lengths_ethertypes_and_what_lies_between_are_told_apart() {
    let content = |ethertype| read(&Build::between(A, B).ethertype(ethertype).payload(&[0; 46]).bytes());
    assert_eq!(content(38).unwrap().content, Content::Other(0));
    assert_eq!(content(1_501).unwrap_err(), BadHeader);
    assert_eq!(content(0x88cc).unwrap().content, Content::Other(0x88cc));
}

#[test]
fn every_shorter_frame_is_refused_and_never_read_beyond_its_end() {
    let quoted = v4().udp(1, 2).bytes();
    let frames = [
        v4().tcp(1, 2, TcpFlags::ACK).payload(&[1; 9]),
        v4().vlan(3).udp(1, 2).payload(&[1; 9]),
        v4().vlan(3).vlan(4).udp(1, 2).payload(&[1; 9]),
        v4().sctp(1, 2),
        v4().icmp_error(3, 1, &quoted),
        v4().ipv4_options(&[1, 1, 148, 4, 0, 0]).udp(1, 2),
        v6().tcp(1, 2, TcpFlags::SYN),
        v6().extension(0, &[0; 7]).fragment(0, false).udp(1, 2),
        v6().extension(51, &[2; 15]).udp(1, 2),
        v6_to("fe80::1", "ff02::1:ff00:2").neighbour_solicitation("fe80::2".parse().unwrap()),
        Build::between(A, Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
    ];
    for frame in frames {
        let bytes = frame.bytes();
        assert!(read(&bytes).is_ok(), "{frame:?}: {:?}", read(&bytes));
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]).unwrap_err(), Truncated, "{length} bytes of {frame:?}");
        }
    }
}

#[test]
fn padding_behind_the_datagram_is_excluded() {
    let frame = v4().tcp(1, 2, TcpFlags::SYN).padded_to(FRAME_BYTES_MIN);
    let packet = read(&frame.bytes()).unwrap();
    assert_eq!(packet.ip().unwrap().checksum, Checksum::Verified);
    assert_eq!((packet.unpadded_bytes(), packet.ip().unwrap().tcp.unwrap().payload_bytes), (Some(54), 0));
}

#[test]
fn ipv4_fields_that_no_standard_allows_are_refused() {
    let frame = v4().udp(1, 2);
    let cases: [(usize, &[u8], DropReason); 6] = [
        (0, &[0x65], BadHeader),
        (0, &[0x44], BadHeader),
        (2, &[0, 19], BadHeader),
        (2, &[0, 29], Truncated),
        (6, &[0x80], BadHeader),
        (9, &[58], BadHeader),
    ];
    for (at, bytes, reason) in cases {
        assert_eq!(read(&patched_v4(&frame, at, bytes)).unwrap_err(), reason, "{bytes:?} at {at}");
    }
}

#[test]
fn a_long_frame_whose_datagram_has_no_length_is_a_super_frame() {
    let payload = [7; 2_000];
    let long = patched_v4(&v4().tcp(1, 2, TcpFlags::ACK).payload(&payload), 2, &[0, 0]);
    assert_eq!(read(&long).unwrap_err(), DropReason::OversizeFrame);
    let jumbo = v6().extension(0, &[0, 0xc2, 4, 0, 1, 0, 0]).tcp(1, 2, TcpFlags::ACK).payload(&payload);
    assert_eq!(read(&patched_v6(&jumbo, 4, &[0, 0])).unwrap_err(), DropReason::OversizeFrame);
    assert_eq!(read(&patched_v4(&v4().udp(1, 2), 2, &[0, 0])).unwrap_err(), BadHeader);
}

#[test]
fn a_wrong_ipv4_header_checksum_is_refused() {
    let mut bytes = v4().udp(1, 2).bytes();
    bytes[ETHERNET_BYTES + 8] ^= 1;
    assert_eq!(read(&bytes).unwrap_err(), BadIpChecksum);
}

#[test]
fn ipv4_options_are_walked_and_source_routes_refused() {
    let with = |options: &[u8]| read(&v4().ipv4_options(options).udp(1, 2).bytes()).map(|_| ());
    assert_eq!(with(&[148, 4, 0, 0]), Ok(()));
    assert_eq!(with(&[1, 0, 131, 3]), Ok(()), "behind the end of the list there are no options");
    assert_eq!(with(&[1, 131, 7, 4, 10, 0, 0, 9]), Err(SourceRoute));
    assert_eq!(with(&[7, 4, 4, 0, 137, 3, 4]), Err(SourceRoute));
    assert_eq!(with(&[148, 1]), Err(BadHeader));
    assert_eq!(with(&[148, 5, 0, 0]), Err(BadHeader));
    assert_eq!(with(&[1, 1, 1, 148]), Err(BadHeader));
}

#[test]
fn ipv6_fields_that_no_standard_allows_are_refused() {
    let frame = v6().udp(1, 2);
    assert_eq!(read(&patched_v6(&frame, 0, &[0x40])).unwrap_err(), BadHeader);
    assert_eq!(read(&patched_v6(&frame, 4, &[0, 9])).unwrap_err(), Truncated);
    assert_eq!(read(&patched_v6(&frame, 6, &[1])).unwrap_err(), BadHeader);
    assert_eq!(read(&patched_v6(&v6().extension(51, &[0; 11]).udp(1, 2), 41, &[0])).unwrap_err(), BadHeader);
}

#[test]
fn extension_headers_are_followed_up_to_their_number() {
    let mut frame = v6().udp(1, 2);
    for _ in 0..ipv6::EXTENSION_HEADERS_MAX {
        frame = frame.extension(60, &[0; 7]);
        assert_eq!(ip_of(&frame).l4, L4Key::ports(Protocol::UDP, 1, 2));
    }
    assert_eq!(refusal(&frame.extension(60, &[0; 7])), ExtensionHeaders);
}

#[test]
fn hop_by_hop_options_stand_first_or_not_at_all() {
    assert!(read(&v6().extension(0, &[0; 7]).udp(1, 2).bytes()).is_ok());
    assert_eq!(refusal(&v6().extension(60, &[0; 7]).extension(0, &[0; 7]).udp(1, 2)), ExtensionHeaders);
}

#[test]
fn a_second_fragment_header_is_refused() {
    let twice = v6().extension(44, &[0; 7]).fragment(0, false).udp(1, 2);
    assert_eq!(refusal(&twice), ExtensionHeaders);
}

#[test]
fn routing_headers_that_lead_elsewhere_are_refused() {
    let routed = |kind, left| v6().extension(43, &[0, kind, left, 0, 0, 0, 0]).udp(1, 2);
    assert_eq!(refusal(&routed(0, 0)), SourceRoute);
    assert_eq!(refusal(&routed(4, 1)), SourceRoute);
    assert!(read(&routed(4, 0).bytes()).is_ok());
}

#[test]
fn encrypted_payload_and_no_next_header_end_the_chain() {
    for number in [50, 59] {
        let frame = v6().protocol(Protocol(number)).payload(&[1; 8]);
        assert_eq!(ip_of(&frame).l4, L4Key::bare(Protocol(number)));
    }
    let authenticated = v6().extension(51, &[1; 11]).tcp(5, 6, TcpFlags::SYN);
    assert_eq!(ip_of(&authenticated).l4, L4Key::ports(Protocol::TCP, 5, 6));
}

#[test]
fn an_atomic_fragment_is_whole() {
    let ip = ip_of(&v6().fragment(0, false).tcp(1, 2, TcpFlags::SYN));
    assert_eq!((ip.fragment, ip.checksum), (Fragment::Whole, Checksum::Verified));
}

#[test]
fn parts_of_a_datagram_are_told_apart() {
    let first = |build: Build| ip_of(&build.fragment(0, true).udp(1, 2).payload(&[0; 8]));
    let later = |build: Build| ip_of(&build.fragment(16, false).udp(1, 2).payload(&[0; 3]));
    for build in [v4(), v6()] {
        assert_eq!(first(build.clone()).fragment, Fragment::First { id: 1 });
        assert_eq!(first(build.clone()).l4, L4Key::ports(Protocol::UDP, 1, 2));
        assert_eq!(later(build.clone()).fragment, Fragment::Later { id: 1, offset_bytes: 16, more: false });
        assert_eq!(later(build).l4, L4Key::bare(Protocol::UDP));
    }
}

#[test]
fn a_fragment_of_which_no_datagram_can_be_made_is_refused() {
    for build in [v4(), v6()] {
        assert_eq!(refusal(&build.clone().fragment(0, true).udp(1, 2).payload(&[0; 3])), BadHeader);
        assert_eq!(refusal(&build.fragment(65_528, false).udp(1, 2).payload(&[0; 8])), BadHeader);
    }
}

#[test]
fn a_tcp_data_offset_below_five_or_beyond_the_packet_is_refused() {
    let frame = v4().tcp(1, 2, TcpFlags::ACK);
    assert_eq!(read(&patched_v4(&frame, 32, &[0x40])).unwrap_err(), BadHeader);
    assert_eq!(read(&patched_v4(&frame, 32, &[0x60])).unwrap_err(), Truncated);
}

#[test]
fn only_flags_that_some_stack_sends_are_accepted() {
    let sane = [0x02, 0x12, 0x22, 0x04, 0x14, 0x10, 0x11, 0x30, 0x31, 0xc2, 0x52, 0x18, 0x19];
    for flags in 0..=u8::MAX {
        let without_any_goes = flags & !0xc8;
        let expected = sane.iter().any(|sane| sane & !0xc8 == without_any_goes);
        let frame = v4().tcp(1, 2, TcpFlags(flags));
        match read(&frame.bytes()) {
            Ok(_) => assert!(expected, "{flags:#x}"),
            Err(reason) => assert!(!expected && reason == BadTcpFlags, "{flags:#x}"),
        }
    }
}

#[test]
fn wrong_checksums_end_what_changes_state_and_nothing_else() {
    for build in [v4(), v6()] {
        for flags in [TcpFlags::SYN, TcpFlags::FIN | TcpFlags::ACK, TcpFlags::RST] {
            assert_eq!(refusal(&build.clone().tcp(1, 2, flags).wrong_checksum()), BadL4Checksum);
        }
        assert_eq!(refusal(&build.clone().echo_request(1, 1).wrong_checksum()), BadL4Checksum);
        let data = build.clone().tcp(1, 2, TcpFlags::ACK).wrong_checksum();
        assert_eq!(ip_of(&data).checksum, Checksum::Unread);
        assert_eq!(ip_of(&build.udp(1, 2).wrong_checksum()).checksum, Checksum::Unread);
    }
}

#[test]
fn partial_checksums_are_recognised_where_they_may_be_and_only_there() {
    for (build, l4_offset) in [(v4(), 34), (v6(), 54), (v4().vlan(2), 38)] {
        let tcp = |flags| build.clone().tcp(1, 2, flags).payload(&[7; 33]).partial_checksum().bytes();
        for flags in [TcpFlags::SYN, TcpFlags::ACK] {
            let bytes = tcp(flags);
            let packet = Packet::parse(&bytes, bytes.len(), PARTIAL).unwrap();
            assert_eq!(packet.checksum_request(), Some(ChecksumRequest { start: l4_offset, offset: 16 }));
        }
        assert_eq!(read(&tcp(TcpFlags::SYN)).unwrap_err(), BadL4Checksum);
        assert_eq!(read(&tcp(TcpFlags::ACK)).unwrap().checksum_request(), None);
        let bytes = build.clone().udp(1, 2).payload(&[7; 33]).partial_checksum().bytes();
        let packet = Packet::parse(&bytes, bytes.len(), PARTIAL).unwrap();
        assert_eq!(packet.checksum_request(), Some(ChecksumRequest { start: l4_offset, offset: 6 }));
    }
}

#[test]
fn finished_absent_and_fragmented_checksums_are_not_partial() {
    let frames = [
        v4().tcp(1, 2, TcpFlags::SYN).payload(&[7; 33]),
        v4().tcp(1, 2, TcpFlags::ACK).payload(&[7; 33]),
        v4().udp(1, 2).no_checksum(),
        v4().udp(1, 2).payload(&[7; 8]).fragment(0, true).partial_checksum(),
    ];
    for frame in frames {
        let bytes = frame.bytes();
        assert_eq!(
            Packet::parse(&bytes, bytes.len(), PARTIAL).unwrap().checksum_request(),
            None,
            "{frame:?}"
        );
    }
}

#[test]
fn a_checksum_beyond_the_head_is_verified_over_all_buffers() {
    for build in [v4(), v6()] {
        let payload: Vec<u8> = (0..=255).cycle().take(3_001).collect();
        let frames = [
            build.clone().tcp(1, 2, TcpFlags::FIN | TcpFlags::ACK).payload(&payload),
            build.clone().echo_request(1, 2).payload(&payload),
        ];
        for frame in frames {
            let bytes = frame.padded_to(3_300).bytes();
            for cut in [100, 101, 1_000, 3_000] {
                let (head, tail) = bytes.split_at(cut);
                let ip = *Packet::parse(head, bytes.len(), FINISHED).unwrap().ip().unwrap();
                assert_eq!(ip.checksum, Checksum::Beyond);
                let buffers = [head, &tail[..33], &tail[33..]];
                assert_eq!(ip.verify_across(buffers), Ok(()));
                assert_eq!(ip.verify_across([head]), Err(Truncated));
                let mut wrong = tail.to_vec();
                wrong[1] ^= 4;
                assert_eq!(ip.verify_across([head, &wrong]), Err(BadL4Checksum));
            }
        }
    }
}

#[test]
fn udp_lengths_below_the_header_or_beyond_the_packet_are_refused() {
    for (length, expected) in [(7, Err(BadHeader)), (8, Ok(())), (10, Ok(())), (11, Err(Truncated))] {
        let bytes = patched_v4(&v4().udp(1, 2).payload(&[0; 2]).no_checksum(), 24, &[0, length]);
        assert_eq!(read(&bytes).map(|_| ()), expected, "{length}");
    }
}

#[test]
fn addresses_that_cannot_be_there_are_refused() {
    let pairs = [
        ("127.0.0.1", "10.0.0.2"),
        ("10.0.0.1", "127.9.9.9"),
        ("224.0.0.1", "10.0.0.2"),
        ("255.255.255.255", "10.0.0.2"),
        ("0.0.0.0", "10.0.0.2"),
        ("0.1.2.3", "10.0.0.2"),
        ("10.0.0.1", "0.0.0.0"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "fd00::2"),
        ("fd00::1", "::1"),
        ("ff02::1", "fd00::2"),
        ("::", "fd00::2"),
        ("fd00::1", "::"),
        ("fd00::1", "ff01::1"),
        ("::ffff:10.0.0.1", "fd00::2"),
        ("fd00::1", "::ffff:10.0.0.1"),
        ("fd00::1", "fd00::1"),
    ];
    for (source, destination) in pairs {
        assert_eq!(refusal(&v6_to(source, destination).udp(1, 2)), MartianAddress, "{source} {destination}");
    }
}

#[test]
fn the_unspecified_source_is_accepted_where_a_sender_has_no_address_yet() {
    let frames = [
        v6_to("0.0.0.0", "255.255.255.255").udp(68, 67).payload(&[1; 240]),
        v6_to("0.0.0.0", "224.0.0.1").hop_limit(1).protocol(IGMP).payload(&[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]),
        v6_to("::", "ff02::1:ff00:2").neighbour_solicitation("fe80::2".parse().unwrap()),
        v6_to("::", "ff02::2").router_solicitation(),
        v6_to("::", "ff02::16").hop_limit(1).extension(0, &ROUTER_ALERT_6).icmp(143, 0, [0; 4]),
    ];
    for frame in frames {
        assert!(read(&frame.bytes()).is_ok(), "{frame:?}");
    }
    assert_eq!(refusal(&v6_to("0.0.0.0", "255.255.255.255").udp(67, 68).payload(&[2; 240])), MartianAddress);
}

#[test]
fn dhcp_speakers_are_told_by_port_and_operation() {
    let role = |build: Build, source, destination, first: &[u8]| {
        ip_of(&build.udp(source, destination).payload(first)).dhcp
    };
    let anybody = DhcpRole::Client(DhcpClient { seeks_address: false, speaks_for_itself: false });
    let itself = DhcpRole::Client(DhcpClient { seeks_address: false, speaks_for_itself: true });
    assert_eq!(role(v4(), 68, 67, &[1]), Some(anybody));
    assert_eq!(role(v4(), 67, 68, &[2]), Some(DhcpRole::Server));
    assert_eq!(role(v4(), 9_999, 68, &[]), Some(DhcpRole::Server));
    assert_eq!(role(v4(), 67, 67, &[2]), Some(DhcpRole::Server));
    assert_eq!(role(v4(), 67, 67, &[1]), Some(anybody));
    assert_eq!(role(v4(), 68, 67, &[]), None);
    assert_eq!(role(v4(), 546, 547, &[1]), None);
    assert_eq!(role(v6(), 546, 547, &[1]), Some(itself));
    assert_eq!(role(v6(), 547, 547, &[12]), Some(anybody), "a relay");
    assert_eq!(role(v6(), 547, 546, &[7]), Some(DhcpRole::Server));
    assert_eq!(role(v6(), 547, 547, &[13]), Some(DhcpRole::Server));
    assert_eq!(role(v6(), 68, 67, &[1]), None);
}

#[test]
fn a_dhcp_client_speaks_for_itself_if_mac_address_and_identifier_are_its_own_and_no_relay_is_named() {
    let client = |message: &DhcpMessage| match ip_of(&v4().udp(68, 67).payload(&message.bytes())).dhcp {
        Some(DhcpRole::Client(client)) => client,
        other => panic!("{other:?}"),
    };
    let of = |kind| DhcpMessage::new(kind, A, 7);
    for own in [of(3), of(3).client_address([10, 0, 0, 1].into()), of(3).option(61, &[1, 2, 0, 0, 0, 0, 1])] {
        assert!(client(&own).speaks_for_itself, "{own:?}");
    }
    let opaque = of(3).option(61, &[0, b'v', b'm']);
    assert!(client(&opaque).speaks_for_itself);
    let foreign = [
        DhcpMessage::new(3, B, 7),
        of(7).client_address([10, 0, 0, 2].into()),
        of(1).relay([10, 0, 0, 1].into()),
        of(3).option(61, &[1, 2, 0, 0, 0, 0, 2]),
        of(3).option(61, &[1, 2, 0, 0, 0, 0, 1]).option(61, &[1, 2, 0, 0, 0, 0, 2]),
    ];
    for message in foreign {
        assert!(!client(&message).speaks_for_itself, "{message:?}");
    }
}

#[test]
fn a_dhcp_client_seeks_an_address_by_discover_request_and_decline_from_its_port() {
    let seeks = |port, message: &DhcpMessage| {
        let ip = ip_of(&v6_to("0.0.0.0", "255.255.255.255").udp(port, 67).payload(&message.bytes()));
        matches!(ip.dhcp, Some(DhcpRole::Client(client)) if client.seeks_address)
    };
    for (kind, expected) in [(1, true), (3, true), (4, true), (7, false), (8, false), (0, false)] {
        assert_eq!(seeks(68, &DhcpMessage::new(kind, A, 7)), expected, "{kind}");
    }
    assert!(!seeks(67, &DhcpMessage::new(1, A, 7)));
    assert!(!seeks(68, &DhcpMessage::new(1, A, 7).option(53, &[3])), "two types");
}

#[test]
fn a_dhcp_message_with_bytes_behind_its_udp_length_is_refused() {
    let frame = |server| v4().udp(68, server).payload(&[1; 241]).no_checksum();
    let length = u16::to_be_bytes(8 + 240);
    assert_eq!(read(&patched_v4(&frame(67), 24, &length)).unwrap_err(), BadHeader);
    assert!(read(&patched_v4(&frame(69), 24, &length)).is_ok());
}

#[test]
fn a_dhcp_message_that_goes_on_beyond_the_head_is_refused() {
    for (build, ports) in [(v4(), (68, 67)), (v6(), (546, 547))] {
        let bytes = build.udp(ports.0, ports.1).payload(&[1; 240]).bytes();
        for head_bytes in [bytes.len() - 240, bytes.len() - 1] {
            let read = Packet::parse(&bytes[..head_bytes], bytes.len(), FINISHED);
            assert_eq!(read.unwrap_err(), Truncated);
        }
    }
}

#[test]
fn a_dhcp_message_whose_checksum_is_wrong_is_refused() {
    assert_eq!(refusal(&v4().udp(67, 68).payload(&[2; 240]).wrong_checksum()), BadL4Checksum);
    assert_eq!(refusal(&v6().udp(547, 546).payload(&[7; 40]).wrong_checksum()), BadL4Checksum);
    assert!(read(&v4().udp(67, 68).payload(&[2; 240]).no_checksum().bytes()).is_ok());
}

#[test]
fn messages_that_govern_the_link_do_not_come_in_fragments() {
    let first = |build: Build| refusal(&build.payload(&[0; 24]).fragment(0, true));
    for kind in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
        assert_eq!(first(v6().icmp(kind, 0, [0; 4])), LinkFragment, "{kind}");
    }
    let chained = v6().extension(60, &[0; 7]).icmp(134, 0, [0; 4]);
    assert_eq!(first(chained), LinkFragment, "RFC 7113");
    for port in [67, 68] {
        assert_eq!(first(v4().udp(9, port)), LinkFragment);
    }
    for port in [546, 547] {
        assert_eq!(first(v6().udp(9, port)), LinkFragment);
    }
    assert_eq!(first(v4().protocol(IGMP)), LinkFragment);
    for whole in [v6().echo_request(1, 1), v4().udp(9, 546), v6().udp(9, 67), v6().protocol(IGMP)] {
        assert!(read(&whole.payload(&[0; 24]).fragment(0, true).bytes()).is_ok());
    }
    let atomic = v6_to("fe80::1", "ff02::2").router_solicitation().fragment(0, false);
    assert!(read(&atomic.bytes()).is_ok_and(|packet| packet.ip().unwrap().neighbour.is_some()));
}

#[test]
fn echoes_and_errors_are_read_with_what_they_quote() {
    for (build, unreachable) in [(v4(), 3), (v6(), 1)] {
        assert_eq!(ip_of(&build.clone().echo_request(5, 1)).icmp, Some(IcmpKind::EchoRequest { id: 5 }));
        assert_eq!(ip_of(&build.clone().echo_reply(5, 1)).icmp, Some(IcmpKind::EchoReply { id: 5 }));
        let quoted_tcp = build.clone().tcp(7, 8, TcpFlags::SYN).numbers(99, 0, 0).bytes();
        let Some(IcmpKind::Error(Some(quoted))) =
            ip_of(&build.clone().icmp_error(unreachable, 1, &quoted_tcp)).icmp
        else {
            panic!("no quote");
        };
        assert_eq!((quoted.l4, quoted.tcp_sequence), (L4Key::ports(Protocol::TCP, 7, 8), Some(99)));
        let quoted_echo = build.clone().echo_request(6, 1).bytes();
        let Some(IcmpKind::Error(Some(quoted))) =
            ip_of(&build.clone().icmp_error(unreachable, 1, &quoted_echo)).icmp
        else {
            panic!("no quote");
        };
        assert_eq!(quoted.echo_id, Some(6));
        let nothing = build.icmp(unreachable, 1, [0; 4]).payload(&[0; 7]);
        assert_eq!(ip_of(&nothing).icmp, Some(IcmpKind::Error(None)));
    }
}

#[test]
fn a_quoted_later_fragment_names_no_flow() {
    for (build, kind) in [(v4(), 11), (v6(), 3)] {
        let quoted = build.clone().fragment(8, false).udp(1, 2).payload(&[0; 8]).bytes();
        assert_eq!(ip_of(&build.icmp_error(kind, 1, &quoted)).icmp, Some(IcmpKind::Error(None)));
    }
}

#[test]
fn neighbour_messages_are_read_with_target_and_mac() {
    let target: Ipv6Addr = "fe80::2".parse().unwrap();
    let message = |frame: Build| ip_of(&frame).neighbour.map(|m| (m.kind, m.target, m.link_layer));
    let link = || v6_to("fe80::1", "ff02::1:ff00:2");
    assert_eq!(
        message(link().neighbour_solicitation(target)),
        Some((NeighbourKind::Solicitation, Some(target), Some(A)))
    );
    assert_eq!(
        message(v6_to("fe80::2", "fe80::1").neighbour_advertisement(target, B)),
        Some((NeighbourKind::Advertisement, Some(target), Some(B)))
    );
    assert_eq!(
        message(link().router_advertisement()),
        Some((NeighbourKind::RouterAdvertisement, None, Some(A)))
    );
    assert_eq!(message(link().router_solicitation()), Some((NeighbourKind::RouterSolicitation, None, None)));
    let destination = "fd00::9".parse().unwrap();
    assert_eq!(
        message(link().neighbour_redirect(target, destination)),
        Some((NeighbourKind::Redirect, Some(target), None))
    );
}

#[test]
fn neighbour_messages_that_a_receiver_must_discard_are_refused() {
    let target: Ipv6Addr = "fe80::2".parse().unwrap();
    let link = || v6_to("fe80::1", "ff02::1:ff00:2");
    let solicitation = |options: &[u8]| {
        link().hop_limit(255).icmp(135, 0, [0; 4]).payload(&[&target.octets()[..], options].concat())
    };
    let option = [1, 1, 2, 0, 0, 0, 0, 1];
    assert!(read(&solicitation(&option).bytes()).is_ok());
    assert_eq!(refusal(&solicitation(&[option, option].concat())), BadHeader);
    assert_eq!(refusal(&solicitation(&[1, 0, 0, 0, 0, 0, 0, 0])), BadHeader);
    assert_eq!(refusal(&solicitation(&[1, 2, 0, 0, 0, 0, 0, 0])), Truncated);
    assert_eq!(refusal(&solicitation(&[1])), Truncated);
    assert_eq!(refusal(&link().neighbour_solicitation(target).hop_limit(254)), BadHeader);
    assert_eq!(refusal(&link().neighbour_solicitation("ff02::2".parse().unwrap())), BadHeader);
    assert_eq!(refusal(&v6_to("::", "ff02::2").neighbour_solicitation(target)), BadHeader);
    assert_eq!(refusal(&v6_to("fe80::1", "ff02::1").neighbour_advertisement(target, A)), BadHeader);
    assert_eq!(refusal(&v6_to("fd00::1", "ff02::1").router_advertisement()), BadHeader);
    assert_eq!(refusal(&v6_to("fd00::1", "fd00::2").neighbour_redirect(target, target)), BadHeader);
    assert_eq!(refusal(&link().neighbour_solicitation(Ipv6Addr::UNSPECIFIED)), BadHeader);
    let redirect = |target: &str, destination: &str| {
        v6_to("fe80::1", "fe80::2").neighbour_redirect(target.parse().unwrap(), destination.parse().unwrap())
    };
    assert!(read(&redirect("fd00::9", "fd00::9").bytes()).is_ok(), "the destination is a neighbour");
    assert_eq!(refusal(&redirect("fd00::8", "fd00::9")), BadHeader, "neither a router nor the destination");
    assert_eq!(refusal(&redirect("fe80::9", "ff02::9")), BadHeader);
}

#[test]
fn an_advertisement_that_speaks_for_a_router_is_told_from_others() {
    let flags = |first: u8| {
        let target: Ipv6Addr = "fe80::1".parse().unwrap();
        let frame = v6_to("fe80::1", "ff02::1").hop_limit(255).icmp(136, 0, [first, 0, 0, 0]);
        ip_of(&frame.payload(&target.octets())).neighbour.unwrap().is_router
    };
    assert_eq!((flags(0x80), flags(0xa0), flags(0x20), flags(0)), (true, true, false, false));
}

/// Hop-by-hop options with a router alert, behind the next-header byte.
const ROUTER_ALERT_6: [u8; 7] = [0, 5, 2, 0, 0, 1, 0];

fn form_of(frame: &Build) -> Option<(bool, bool)> {
    ip_of(frame).membership.map(|membership| (membership.is_query, membership.has_form))
}

#[test]
fn mld_is_recognised_in_its_link_local_form_only() {
    let group: Ipv6Addr = "ff02::fb".parse().unwrap();
    let bare = |source: &str, to: &str, kind| {
        let record = [&[4, 0, 0, 0][..], &group.octets()].concat();
        let (rest, payload) =
            if kind == 143 { ([0, 0, 0, 1], record) } else { ([0; 4], group.octets().to_vec()) };
        v6_to(source, to).hop_limit(1).icmp(kind, 0, rest).payload(&payload)
    };
    let mld = |source: &str, to: &str, kind| bare(source, to, kind).extension(0, &ROUTER_ALERT_6);
    for (to, kind, is_query) in
        [("ff02::16", 143, false), ("ff02::fb", 131, false), ("ff02::2", 132, false), ("ff02::fb", 130, true)]
    {
        assert_eq!(form_of(&mld("fe80::1", to, kind)), Some((is_query, true)), "{kind}");
        assert_eq!(form_of(&bare("fe80::1", to, kind)), Some((is_query, false)), "no router alert: {kind}");
        assert_eq!(form_of(&mld("fe80::1", to, kind).hop_limit(2)), Some((is_query, false)), "{kind}");
        assert_eq!(form_of(&mld("fd00::1", to, kind)), Some((is_query, false)), "{kind}");
        assert_eq!(
            form_of(&mld("fe80::1", "ff02::99", kind)),
            Some((is_query, false)),
            "another group: {kind}"
        );
    }
    let unspecified = |to: &str, kind| read(&mld("::", to, kind).bytes()).is_ok();
    assert!(unspecified("ff02::16", 143) && !unspecified("ff02::fb", 130), "RFC 3590");
    let general = mld("fe80::1", "ff02::1", 130).payload(&[0; 16]);
    assert_eq!(form_of(&general), Some((true, true)));
    let cut = mld("fe80::1", "ff02::16", 143)
        .payload(&[4, 0, 0, 1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb]);
    assert_eq!(form_of(&cut), Some((false, false)), "a record says more sources than there are");
    for kind in [151, 153] {
        assert_eq!(form_of(&mld("fe80::1", "ff02::6a", kind)), Some((true, false)), "RFC 4286");
    }
    assert_eq!(form_of(&v6().echo_request(1, 1)), None);
}

#[test]
fn igmp_is_recognised_in_its_link_local_form_only() {
    let bare = |to: &str, message: &[u8]| {
        let mut message = message.to_vec();
        let checksum = !checksum::Sum::default().add(&message).folded();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        v6_to("10.0.0.1", to).protocol(IGMP).payload(&message).hop_limit(1)
    };
    let igmp = |to: &str, message: &[u8]| bare(to, message).ipv4_options(&[148, 4, 0, 0]);
    let report_3 = [0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 225, 1, 1, 1];
    let cases: [(&str, &[u8], bool); 5] = [
        ("225.1.1.1", &[0x16, 0, 0, 0, 225, 1, 1, 1], false),
        ("224.0.0.2", &[0x17, 0, 0, 0, 225, 1, 1, 1], false),
        ("224.0.0.22", &report_3, false),
        ("224.0.0.1", &[0x11, 100, 0, 0, 0, 0, 0, 0], true),
        ("225.1.1.1", &[0x11, 100, 0, 0, 225, 1, 1, 1], true),
    ];
    for (to, message, is_query) in cases {
        assert_eq!(form_of(&igmp(to, message)), Some((is_query, true)), "{message:?}");
        assert_eq!(form_of(&bare(to, message)), Some((is_query, false)), "no router alert: {message:?}");
        assert_eq!(form_of(&igmp(to, message).hop_limit(2)), Some((is_query, false)), "{message:?}");
        assert_eq!(form_of(&igmp("10.0.0.2", message)), Some((is_query, false)), "{message:?}");
        assert_eq!(form_of(&igmp("225.9.9.9", message)), Some((is_query, false)), "{message:?}");
    }
    assert_eq!(form_of(&bare("225.1.1.1", &[0x12, 0, 0, 0, 225, 1, 1, 1])), Some((false, true)), "version 1");
    assert_eq!(form_of(&bare("224.0.0.1", &[0x11, 0, 0, 0, 0, 0, 0, 0])), Some((true, true)), "version 1");
    assert_eq!(
        form_of(&igmp("224.0.0.22", &[&report_3[..7], &[2], &report_3[8..]].concat())),
        Some((false, false))
    );
    assert_eq!(form_of(&igmp("224.0.0.1", &[0x14, 0, 0, 0, 0, 0, 0, 0])), None, "PIM is an ordinary packet");
    let wrong = v6_to("10.0.0.1", "225.1.1.1").protocol(IGMP).payload(&[0x16, 0, 0, 0, 225, 1, 1, 1]);
    assert_eq!(refusal(&wrong), BadL4Checksum);
}

#[test]
fn arp_is_read_and_other_kinds_of_it_refused() {
    let frame = Build::between(A, Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let Content::Arp(message) = read(&frame.bytes()).unwrap().content else { panic!("not ARP") };
    assert_eq!((message.operation, message.sender_mac), (ArpOperation::Request, A));
    assert_eq!(
        (message.sender_address, message.target_address),
        ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    );
    for (at, value) in [(0, 9), (2, 9), (4, 5), (5, 3), (7, 3)] {
        assert_eq!(read(&patched_v6(&frame, at, &[value])).unwrap_err(), BadHeader, "{value} at {at}");
    }
}
