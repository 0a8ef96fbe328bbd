//! ICMP and ICMPv6 errors through the whole worker: they follow the flow of the packet they quote, or go nowhere.

mod lab;

use lab::{DB0, Lab, SECOND, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::EndReason;
use std::net::IpAddr;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;

/// Types and codes of "destination unreachable: fragmentation needed", and of its counterpart.
const TOO_BIG: (u8, u8) = (3, 4);
const V6_TOO_BIG: (u8, u8) = (2, 0);

fn rules() -> String {
    [
        relationship("Web", "Db", "protocol = \"any\"", "allow"),
        relationship("Web", "external", "protocol = \"any\"", "allow"),
    ]
    .concat()
}

/// A data segment of web-0 to db-0 and the connection in which it is under way.
fn open(lab: &mut Lab) -> Frame {
    let v4 = |from, to| v4(from, to);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, SYN).numbers(999, 0, 60_000)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, SYN | ACK).numbers(4_999, 1_000, 60_000)), [WEB0]);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK).numbers(1_000, 5_000, 60_000)), [DB0]);
    let data = v4(1, 3).tcp(40_000, 5432, ACK).numbers(1_000, 5_000, 60_000).payload(&[1; 1_000]);
    assert_eq!(lab.send(WEB0, &data), [DB0]);
    data
}

fn error(from: Frame, kind: (u8, u8), quoted: &Frame) -> Frame {
    from.icmp_error(kind.0, kind.1, &quoted.bytes())
}

/// Returns a frame from a router behind the uplink to web-0.
fn from_router() -> Frame {
    Frame::between(mac(99), mac(1)).ip([192, 0, 2, 1].into(), [10, 0, 0, 1].into())
}

#[test]
fn an_error_about_a_segment_under_way_passes_to_its_sender() {
    let mut lab = Lab::new(&rules());
    let data = open(&mut lab);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), TOO_BIG, &data)), [WEB0]);
    assert_eq!(lab.send(UP0, &error(from_router(), TOO_BIG, &data)), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.errors_related), 2);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 0);
}

#[test]
fn an_error_about_a_datagram_passes_in_both_families() {
    let mut lab = Lab::new(&rules());
    let datagram = v6(1, 3).udp(4_000, 53).payload(&[1; 1_000]);
    assert_eq!(lab.send(WEB0, &datagram), [DB0]);
    assert_eq!(lab.send(DB0, &error(v6(3, 1), V6_TOO_BIG, &datagram)), [WEB0]);
    for kind in [(1, 4), (3, 0), (4, 1)] {
        assert_eq!(lab.send(DB0, &error(v6(3, 1), kind, &datagram)), [WEB0]);
    }
    let datagram = v4(1, 3).udp(4_000, 53);
    assert_eq!(lab.send(WEB0, &datagram), [DB0]);
    for kind in [(3, 3), (11, 0), (12, 0)] {
        assert_eq!(lab.send(DB0, &error(v4(3, 1), kind, &datagram)), [WEB0]);
    }
}

#[test]
fn an_error_about_a_ping_passes_to_who_asked() {
    let mut lab = Lab::new(&rules());
    let request = v4(1, 3).echo_request(7, 1);
    assert_eq!(lab.send(WEB0, &request), [DB0]);
    assert_eq!(lab.send(UP0, &error(from_router(), (11, 0), &request)), [WEB0]);
    // Nobody sent these.
    assert_eq!(lab.send(UP0, &error(from_router(), (11, 0), &v4(1, 3).echo_request(8, 1))), []);
    assert_eq!(lab.send(UP0, &error(from_router(), (11, 0), &v4(1, 3).echo_reply(7, 1))), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 2);
}

#[test]
fn an_error_from_a_device_to_which_the_packet_did_not_go_is_dropped() {
    let mut lab = Lab::new(&rules());
    let data = open(&mut lab);
    let from_neighbour = Frame::between(mac(2), mac(1)).ip([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    assert_eq!(lab.send(WEB1, &error(from_neighbour, TOO_BIG, &data)), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 1);
}

#[test]
fn an_error_to_another_than_the_sender_of_what_it_quotes_is_dropped() {
    let mut lab = Lab::new(&rules());
    let data = open(&mut lab);
    assert_eq!(lab.send(DB0, &error(v4(3, 2), TOO_BIG, &data)), []);
    assert_eq!(lab.send(WEB0, &error(v4(1, 3), TOO_BIG, &data)), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 2);
}

#[test]
fn an_error_about_a_number_that_is_not_under_way_is_dropped() {
    let mut lab = Lab::new(&rules());
    open(&mut lab);
    let quoted = |sequence| v4(1, 3).tcp(40_000, 5432, ACK).numbers(sequence, 5_000, 60_000);
    for (sequence, passes) in [(998, false), (999, true), (2_000, true), (2_001, false), (1 << 31, false)] {
        let expected = if passes { vec![WEB0] } else { vec![] };
        assert_eq!(lab.send(UP0, &error(from_router(), TOO_BIG, &quoted(sequence))), expected, "{sequence}");
    }
    // What was acknowledged is not under way.
    lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(5_000, 2_000, 60_000));
    assert_eq!(lab.send(UP0, &error(from_router(), TOO_BIG, &quoted(1_000))), []);
}

#[test]
fn an_error_about_no_flow_or_with_an_unreadable_quote_is_dropped() {
    let mut lab = Lab::new(&relationship("any", "any", "", "allow"));
    open(&mut lab);
    let other_port = v4(1, 3).tcp(40_001, 5432, ACK).numbers(1_000, 5_000, 60_000);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), TOO_BIG, &other_port)), []);
    assert_eq!(lab.send(DB0, &v4(3, 1).icmp(3, 4, [0; 4]).payload(&[0x45; 12])), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 2);
}

#[test]
fn a_quote_of_a_side_that_has_sent_nothing_is_dropped() {
    let mut lab = Lab::new(&rules());
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(4_000, 53)), [DB0]);
    let answer_never_sent = v4(3, 1).udp(53, 4_000);
    assert_eq!(lab.send(WEB0, &error(v4(1, 3), (3, 3), &answer_never_sent)), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 1);
}

#[test]
fn a_source_quench_is_no_error_that_passes() {
    let mut lab = Lab::new(&rules());
    let data = open(&mut lab);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), (4, 0), &data)), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 1);
}

#[test]
fn an_error_about_a_cut_flow_is_dropped_and_one_about_a_flow_to_be_cut_cuts_it() {
    let mut lab = Lab::new(&rules());
    let data = open(&mut lab);
    lab.publish("");
    assert_eq!(lab.send(DB0, &error(v4(3, 1), TOO_BIG, &data)), []);
    assert_eq!(lab.dropped(DropReason::CutFlow), 1);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), TOO_BIG, &data)), []);
    assert_eq!(lab.dropped(DropReason::UnrelatedError), 1);
}

#[test]
fn an_error_keeps_no_flow_alive_and_ends_none() {
    let mut lab = Lab::new(&rules());
    let datagram = v4(1, 3).udp(4_000, 53);
    assert_eq!(lab.send(WEB0, &datagram), [DB0]);
    lab.wait(40);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), (3, 3), &datagram)), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.flows_live), 1);
    lab.wait(25);
    assert_eq!(lab.count(|counters| &counters.flows_live), 0);
    let end = lab.records().into_iter().last().unwrap();
    assert_eq!((end.end_reason, end.packets_reverse), (EndReason::Idle as u8, 0));
}

#[test]
fn a_thousand_errors_a_second_pass() {
    let mut lab = Lab::new(&rules());
    let datagram = v4(1, 3).udp(4_000, 53);
    assert_eq!(lab.send(WEB0, &datagram), [DB0]);
    let error = error(v4(3, 1), (3, 3), &datagram);
    let passed = (0..1_500).filter(|_| lab.send(DB0, &error) == [WEB0]).count();
    assert_eq!(passed, 1_000);
    assert_eq!(lab.count(|counters| &counters.errors_over_rate), 500);
    lab.now += SECOND / 10;
    let passed = (0..500).filter(|_| lab.send(DB0, &error) == [WEB0]).count();
    assert_eq!(passed, 100);
}

#[test]
fn an_error_about_an_association_quotes_its_tag() {
    let mut lab = Lab::new(&rules());
    let init = v4(1, 3).sctp(4_000, 5_000).sctp_init(0, 1, 7);
    assert_eq!(lab.send(WEB0, &init), [DB0]);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), (3, 2), &init)), [WEB0]);
    let forged = v4(1, 3).sctp(4_000, 5_000).chunk(8, (0, 3), &[]);
    assert_eq!(lab.send(DB0, &error(v4(3, 1), (3, 2), &forged)), []);
}

#[test]
fn an_error_is_found_by_the_owner_of_the_flow_it_quotes() {
    use meshgate_dataplane::flow_table::{FlowKey, KeyedHash};
    use meshgate_dataplane::packet::{Packet, ParseContext};
    use meshgate_policy::SegmentId;
    let hash = KeyedHash::seeded(5);
    let of = |frame: &Frame| {
        let bytes = frame.bytes();
        let packet = Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap();
        FlowKey::of(SegmentId(1), packet.ip().unwrap())
    };
    let data = v4(1, 3).tcp(40_000, 5432, ACK).payload(&[0; 100]);
    let (of_error, of_data) = (of(&error(from_router(), TOO_BIG, &data)), of(&data));
    assert_eq!(of_error, of_data);
    assert_eq!(hash.owner(&of_error.0), hash.owner(&of_data.0));
    let router: IpAddr = [192, 0, 2, 1].into();
    assert_ne!(of_error.0.side(of_error.1).0, router);
}
