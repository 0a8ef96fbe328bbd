//! Rules that reject, through the whole worker: what comes back, by which device, and when nothing does.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod lab;

use lab::{DB0, Lab, SECOND, WEB0, mac, relationship, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{Checksum, IcmpKind, Packet, ParseContext, TcpFlags};
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{Mac, Protocol};

fn rejecting() -> Lab {
    Lab::new(&relationship("Web", "Db", "protocol = \"any\"", "reject"))
}

/// Puts a frame in and returns what came out at each device.
fn answers(lab: &mut Lab, device: usize, frame: &Frame) -> Vec<(usize, Packet)> {
    lab.far[device].inject(&frame.bytes()).unwrap();
    lab.turn();
    lab.turn();
    let read = |bytes: Vec<u8>| Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap();
    let sent = |at: usize| lab.far[at].take_all_sent().into_iter().map(move |bytes| (at, read(bytes)));
    (0..lab.far.len()).flat_map(sent).collect()
}

#[test]
fn a_rejected_connection_is_reset_at_once_by_the_device_it_came_from() {
    let mut lab = rejecting();
    for frame in [v4(1, 3), v6(1, 3)] {
        let syn = frame.tcp(40_000, 80, TcpFlags::SYN).numbers(41, 0, 9);
        let answers = answers(&mut lab, WEB0, &syn);
        let [(WEB0, packet)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((packet.source_mac, packet.destination_mac), (mac(3), mac(1)));
        let tcp = packet.ip().unwrap().tcp.unwrap();
        assert_eq!((tcp.flags, tcp.acknowledgment), (TcpFlags::RST | TcpFlags::ACK, 42));
    }
    assert_eq!(lab.dropped(DropReason::RuleReject), 2);
    assert_eq!(lab.count(|counters| &counters.rejects_sent), 2);
    assert_eq!(lab.count(|counters| &counters.flows_live), 0, "an answer makes no flow");
}

#[test]
fn a_rejected_syn_whose_checksum_its_kernel_left_to_the_device_is_reset_too() {
    let mut lab = rejecting();
    let answers = answers(&mut lab, WEB0, &v4(1, 3).tcp(40_000, 80, TcpFlags::SYN).partial_checksum());
    let [(WEB0, packet)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(packet.ip().unwrap().checksum, Checksum::Verified);
}

#[test]
fn what_is_not_tcp_is_told_that_it_is_prohibited() {
    let mut lab = rejecting();
    for (frame, protocol, code) in [(v4(1, 3), Protocol::ICMP, 13), (v6(1, 3), Protocol::ICMPV6, 1)] {
        let answers = answers(&mut lab, WEB0, &frame.udp(40_000, 53).payload(b"who"));
        let [(WEB0, packet)] = &answers[..] else { panic!("{answers:?}") };
        let ip = packet.ip().unwrap();
        assert_eq!(
            (ip.l4.protocol, ip.l4.destination_port, ip.checksum),
            (protocol, code, Checksum::Verified)
        );
        assert!(matches!(ip.icmp, Some(IcmpKind::Error(Some(quoted))) if quoted.l4.destination_port == 53));
    }
}

#[test]
fn nothing_is_answered_to_groups_errors_and_resets() {
    let mut lab = Lab::new(&relationship("Web", "any", "protocol = \"any\"", "reject"));
    let group = Frame::between(mac(1), Mac([1, 0, 0x5e, 0, 0, 9]));
    let group = group.ip("10.0.0.1".parse().unwrap(), "224.0.0.9".parse().unwrap()).udp(1, 2);
    assert_eq!(answers(&mut lab, WEB0, &group), []);
    assert_eq!(answers(&mut lab, WEB0, &v4(1, 3).icmp(5, 0, [0; 4]).payload(&[0; 28])), []);
    assert_eq!(answers(&mut lab, WEB0, &v4(1, 3).tcp(1, 2, TcpFlags::RST)), []);
    assert_eq!(lab.count(|counters| &counters.rejects_sent), 0);
}

#[test]
fn a_denied_packet_is_not_answered() {
    let mut lab = Lab::new(&relationship("Web", "Db", "protocol = \"any\"", "deny"));
    assert_eq!(answers(&mut lab, WEB0, &v4(1, 3).tcp(1, 80, TcpFlags::SYN)), []);
    assert_eq!(lab.dropped(DropReason::RuleDeny), 1);
}

#[test]
fn answers_are_limited_counted_and_there_again_after_a_while() {
    let mut lab = rejecting();
    let sent = |lab: &mut Lab| (0..200).map(|_| answers(lab, WEB0, &v4(1, 3).udp(1, 2)).len()).sum::<usize>();
    let burst = sent(&mut lab);
    assert!(burst > 10 && burst < 200, "{burst}");
    let all = lab.count(|counters| &counters.rejects_sent) + lab.count(|counters| &counters.rejects_limited);
    assert_eq!(all, 200);
    lab.now += SECOND;
    assert_eq!(answers(&mut lab, WEB0, &v4(1, 3).udp(1, 2)).len(), 1);
}

#[test]
fn a_connection_cut_by_a_rule_that_rejects_is_reset_both_ways() {
    for frames in [(v4(1, 3), v4(3, 1)), (v6(1, 3), v6(3, 1))] {
        let (there, back) = frames;
        let mut lab = Lab::new(&relationship("Web", "Db", "protocol = \"TCP\"", "allow"));
        let ack = TcpFlags::ACK;
        lab.send(WEB0, &there.clone().tcp(40_000, 80, TcpFlags::SYN).numbers(100, 0, 1_000));
        lab.send(DB0, &back.tcp(80, 40_000, TcpFlags::SYN | ack).numbers(500, 101, 1_000));
        lab.send(WEB0, &there.clone().tcp(40_000, 80, ack).numbers(101, 501, 1_000));
        lab.publish(&relationship("Web", "Db", "protocol = \"TCP\"", "reject"));
        let data = there.tcp(40_000, 80, ack).numbers(101, 501, 1_000).payload(b"more");
        let answers = answers(&mut lab, WEB0, &data);
        let [(WEB0, to_client), (DB0, to_server)] = &answers[..] else { panic!("{answers:?}") };
        let client = to_client.ip().unwrap().tcp.unwrap();
        assert_eq!((client.flags, client.sequence), (TcpFlags::RST, 501));
        let server = to_server.ip().unwrap().tcp.unwrap();
        assert_eq!((server.flags, server.sequence, server.acknowledgment), (TcpFlags::RST | ack, 101, 501));
        assert_eq!(lab.dropped(DropReason::CutReject), 1);
    }
}

#[test]
fn a_connection_cut_by_a_rule_that_denies_hears_nothing() {
    let mut lab = Lab::new(&relationship("Web", "Db", "protocol = \"TCP\"", "allow"));
    lab.send(WEB0, &v4(1, 3).tcp(40_000, 80, TcpFlags::SYN));
    lab.publish(&relationship("Web", "Db", "protocol = \"TCP\"", "deny"));
    assert_eq!(answers(&mut lab, WEB0, &v4(1, 3).tcp(40_000, 80, TcpFlags::SYN)), []);
}

#[test]
fn every_frame_of_an_answer_comes_home() {
    let mut lab = rejecting();
    (0..50).for_each(|_| _ = answers(&mut lab, WEB0, &v4(1, 3).udp(1, 2)));
    assert_eq!(lab.stop(), 0);
}
