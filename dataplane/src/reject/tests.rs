//! Tests of answers: what a sender's stack would make of them, and whom there must be none for.

use super::*;
use crate::packet::build::Frame;
use crate::packet::{Checksum, Content, ParseContext};
use meshgate_policy::Mac;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn read(bytes: &[u8]) -> Packet {
    Packet::parse(bytes, bytes.len(), ParseContext::default()).unwrap()
}

fn frames() -> [Frame; 2] {
    [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]
        .map(|(source, destination)| between(source, destination))
}

fn between(source: &str, destination: &str) -> Frame {
    Frame::between(A, B).ip(source.parse().unwrap(), destination.parse().unwrap())
}

fn answer_to(frame: &Frame) -> Option<Answer> {
    let bytes = frame.bytes();
    answer(&read(&bytes), &bytes)
}

/// Returns the answer, checked: from the refused destination to the sender in both layers, checksums right.
fn checked(frame: &Frame) -> (IpPacket, Answer) {
    let refused = read(&frame.bytes());
    let answer = answer_to(frame).unwrap();
    let packet = read(&answer);
    let (ip, refused_ip) = (packet.ip().unwrap(), refused.ip().unwrap());
    assert_eq!((packet.source_mac, packet.destination_mac), (refused.destination_mac, refused.source_mac));
    assert_eq!((ip.source, ip.destination), (refused_ip.destination, refused_ip.source));
    assert_eq!((packet.tags, packet.unpadded_bytes()), (refused.tags, Some(answer.len())));
    assert_eq!(ip.checksum, Checksum::Verified);
    (*ip, answer)
}

#[test]
fn a_syn_is_reset_with_an_acknowledgment_of_what_it_counted() {
    for frame in frames() {
        let syn =
            frame.tcp(40_000, 80, TcpFlags::SYN).numbers(u32::MAX, 0, 1_000).tcp_options(&[2, 4, 5, 180]);
        for frame in [syn.clone(), syn.clone().vlan(7), syn.payload(b"fast open")] {
            let payload_bytes = read(&frame.bytes()).ip().unwrap().tcp.unwrap().payload_bytes;
            let tcp = checked(&frame).0.tcp.unwrap();
            assert_eq!(tcp.flags, TcpFlags::RST | TcpFlags::ACK);
            assert_eq!((tcp.sequence, tcp.acknowledgment), (0, payload_bytes), "RFC 9293 section 3.10.7.1");
        }
    }
}

#[test]
fn a_segment_with_an_acknowledgment_is_reset_with_the_number_it_expects() {
    for frame in frames() {
        let segment = frame.tcp(40_000, 80, TcpFlags::ACK).numbers(7, 99, 1_000).payload(b"data");
        let (ip, _) = checked(&segment);
        let tcp = ip.tcp.unwrap();
        assert_eq!((tcp.flags, tcp.sequence, tcp.acknowledgment), (TcpFlags::RST, 99, 0));
        assert_eq!((ip.l4.source_port, ip.l4.destination_port), (80, 40_000));
    }
}

#[test]
fn a_cut_connection_is_reset_onwards_with_the_number_its_receiver_expects() {
    for frame in frames() {
        let bytes = frame.tcp(40_000, 80, TcpFlags::ACK).numbers(7, 99, 1_000).payload(b"data").bytes();
        let refused = read(&bytes);
        let reset_by = Reset::in_place_of(&refused.ip().unwrap().tcp.unwrap()).unwrap();
        let onwards = reset_onwards(&refused, &bytes, reset_by).unwrap();
        let packet = read(&onwards);
        let (ip, refused_ip) = (packet.ip().unwrap(), refused.ip().unwrap());
        assert_eq!((packet.source_mac, packet.destination_mac), (A, B));
        assert_eq!(
            (ip.source, ip.destination, ip.l4),
            (refused_ip.source, refused_ip.destination, refused_ip.l4)
        );
        let tcp = ip.tcp.unwrap();
        assert_eq!((tcp.flags, tcp.sequence, tcp.acknowledgment), (TcpFlags::RST | TcpFlags::ACK, 7, 99));
    }
    for flags in [TcpFlags::SYN, TcpFlags::RST | TcpFlags::ACK] {
        let bytes = frames()[0].clone().tcp(1, 2, flags).bytes();
        assert_eq!(Reset::in_place_of(&read(&bytes).ip().unwrap().tcp.unwrap()), None);
    }
}

#[test]
fn what_is_not_tcp_is_prohibited_with_a_quote_that_names_it() {
    for (frame, protocol, code) in frames()
        .into_iter()
        .zip([(Protocol::ICMP, 13), (Protocol::ICMPV6, 1)])
        .map(|(frame, (protocol, code))| (frame, protocol, code))
    {
        for refused in [
            frame.clone().udp(40_000, 53).payload(b"who is"),
            frame.clone().sctp(5, 6),
            frame.clone().echo_request(9, 1),
            frame.clone().protocol(Protocol(47)).payload(&[0; 24]),
            frame.clone().udp(1, 2).payload(&[0; 8]).fragment(0, true),
        ] {
            let (ip, _) = checked(&refused);
            assert_eq!((ip.l4.protocol, ip.l4.destination_port), (protocol, code));
            let Some(IcmpKind::Error(Some(quoted))) = ip.icmp else { panic!("{ip:?}") };
            let refused = read(&refused.bytes());
            let refused = refused.ip().unwrap();
            assert_eq!((quoted.source, quoted.destination), (refused.source, refused.destination));
            assert_eq!(quoted.l4.protocol, refused.l4.protocol);
        }
    }
}

#[test]
fn a_quote_is_as_long_as_the_standards_allow_and_without_padding() {
    for (frame, bytes_max) in frames().into_iter().zip([576, 1_280]) {
        let long = frame.clone().udp(1, 2).payload(&[7; 1_400]);
        assert_eq!(checked(&long).0.ip_bytes, bytes_max);
        let padded = frame.clone().udp(1, 2).padded_to(200);
        let short = frame.udp(1, 2);
        assert_eq!(checked(&padded).1, checked(&short).1);
    }
}

#[test]
fn nothing_is_answered_that_might_be_a_groups_or_an_answer() {
    let quoted = frames()[0].clone().udp(1, 2).bytes();
    let mut silent =
        vec![between("10.0.0.1", "224.0.0.9").udp(1, 2), between("fd00::1", "ff02::9").udp(1, 2)];
    silent.push(between("10.0.0.1", "255.255.255.255").udp(1, 2));
    silent.push(between("10.0.0.1", "10.0.0.2").icmp(5, 1, [10, 0, 0, 9]).payload(&[0; 28]));
    silent.push(between("10.0.0.1", "10.0.0.2").icmp_error(11, 0, &quoted));
    silent.push(between("fd00::1", "fd00::2").icmp(100, 0, [0; 4]).payload(&[0; 8]));
    for (frame, unreachable) in frames().into_iter().zip([3, 1]) {
        silent.push(frame.clone().tcp(1, 2, TcpFlags::RST));
        silent.push(frame.clone().tcp(1, 2, TcpFlags::RST | TcpFlags::ACK));
        silent.push(frame.clone().udp(1, 2).payload(&[0; 16]).fragment(64, false));
        silent.push(frame.clone().echo_request(1, 1).payload(&[0; 8]).fragment(64, true));
        silent.push(frame.icmp_error(unreachable, 1, &quoted));
    }
    for frame in &silent {
        assert_eq!(answer_to(frame), None, "{frame:?}");
    }
    let to_group = Frame::between(A, Mac::BROADCAST).ip([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).udp(1, 2);
    assert_eq!(answer_to(&to_group), None);
    let arp = Frame::between(A, B).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    assert_eq!(answer_to(&arp), None);
}

#[test]
fn the_longest_answer_has_room_behind_two_tags() {
    let frame = frames()[1].clone().vlan(7).udp(1, 2).payload(&[7; 1_400]);
    let mut bytes = frame.bytes();
    bytes.splice(12..12, [0x88, 0xa8, 0, 9]);
    let mut packet = read(&frame.bytes());
    packet.l3_offset += 4;
    assert!(matches!(packet.content, Content::Ip(_)));
    assert_eq!(answer(&packet, &bytes).unwrap().len(), ANSWER_BYTES_MAX);
}
