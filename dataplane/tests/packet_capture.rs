//! Captures of a whole worker: every end a packet can have can be looked at.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;

use lab::{DB0, Lab, UP0, WEB0, WEB1, mac, relationship, v4};
use meshgate_dataplane::capture::{Capture, CaptureFilter, CapturedPacket, Limits, WantedVerdict};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::verdict::{DropReason, Verdict};
use meshgate_policy::{RuleId, Stage};

fn allow() -> String {
    relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow")
}

fn start(lab: &Lab, verdict: &str, filter: CaptureFilter) -> Capture {
    let filter = CaptureFilter { verdict: WantedVerdict::from_word(verdict).unwrap(), ..filter };
    let limits = Limits::new(1_000, 1 << 20, 1_000, 256).unwrap();
    lab.assembly.captures.start(filter, limits, lab.far.len()).unwrap()
}

fn taken(capture: &Capture) -> Vec<CapturedPacket> {
    std::iter::from_fn(|| {
        let slot = capture.watch().take()?;
        let packet = (*slot).clone();
        capture.watch().give_back(slot);
        Some(packet)
    })
    .collect()
}

fn syn(port: u16) -> Frame {
    v4(1, 3).tcp(40_000, port, TcpFlags::SYN)
}

#[test]
fn a_packet_is_captured_as_it_came_with_device_verdict_and_time() {
    let mut lab = Lab::new(&allow());
    let capture = start(&lab, "", CaptureFilter::default());
    lab.send(WEB0, &syn(5432));
    lab.send(WEB0, &syn(22));
    let packets = taken(&capture);
    assert_eq!(packets.len(), 2);
    assert_eq!((packets[0].device, packets[0].time_ns), (0, lab.now));
    assert_eq!(packets[0].bytes, syn(5432).bytes());
    let Verdict::Allow(grounds) = packets[0].verdict else { panic!("{:?}", packets[0].verdict) };
    assert_eq!((grounds.stage, grounds.version.0), (Stage::Rules, 1));
    assert!(grounds.rule.is_some());
    let Verdict::Drop(reason, grounds) = packets[1].verdict else { panic!("{:?}", packets[1].verdict) };
    assert_eq!((reason, grounds.stage, grounds.rule), (DropReason::DefaultDeny, Stage::Default, None));
}

#[test]
fn what_stages_1_to_3_drop_is_captured_though_nothing_is_known_of_it() {
    let mut lab = Lab::new(&allow());
    let capture = start(&lab, "drop", CaptureFilter::default());
    let mut bad = syn(5432).bytes();
    bad[24] ^= 0xff;
    lab.send_bytes(WEB0, &bad);
    lab.send_bytes(WEB0, &[0xee; 10]);
    lab.send(WEB0, &Frame::between(mac(9), mac(3)).ip([10, 0, 0, 1].into(), [10, 0, 0, 3].into()).udp(1, 2));
    lab.send(WEB0, &syn(5432));
    let reasons: Vec<&str> = taken(&capture)
        .iter()
        .map(|packet| match packet.verdict {
            Verdict::Drop(reason, grounds) => {
                assert_eq!(grounds.stage, reason.stage());
                reason.name()
            }
            Verdict::Allow(_) => panic!("only drops are wanted"),
        })
        .collect();
    assert_eq!(reasons, ["bad-ip-checksum", "truncated", "source-mac"]);
}

#[test]
fn packets_of_a_known_flow_carry_its_rule_in_both_directions() {
    let mut lab = Lab::new(&allow());
    let rule = lab.assembly.publisher.rule_totals()[0].0;
    let capture = start(&lab, "allow", CaptureFilter { rule: Some(rule), ..CaptureFilter::default() });
    lab.send(WEB0, &syn(5432));
    lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, TcpFlags::SYN | TcpFlags::ACK).numbers(0, 1, 1_000));
    let packets = taken(&capture);
    assert_eq!(packets.iter().map(|packet| packet.device).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(packets[1].verdict.grounds().stage, Stage::KnownFlow);
    drop(capture);
    let other = start(&lab, "", CaptureFilter { rule: Some(RuleId(99)), ..CaptureFilter::default() });
    lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, TcpFlags::ACK));
    assert!(taken(&other).is_empty());
}

#[test]
fn a_packet_that_crosses_workers_is_captured_once() {
    let mut lab = Lab::with_workers(2, &allow(), |_| {});
    let capture = start(&lab, "", CaptureFilter::default());
    for port in 40_001..40_020 {
        // The two devices belong to different workers, so one of the directions crosses, whoever owns the flow.
        lab.send(WEB1, &v4(2, 3).tcp(port, 5432, TcpFlags::SYN).numbers(0, 0, 1_000));
        lab.send(DB0, &v4(3, 2).tcp(5432, port, TcpFlags::SYN | TcpFlags::ACK).numbers(0, 1, 1_000));
    }
    assert!(lab.count(|counters| &counters.handed_over) > 0, "one direction crosses");
    let packets = taken(&capture);
    assert_eq!(packets.len(), 38);
    assert!(packets.iter().all(|packet| packet.verdict.is_allow()));
}

#[test]
fn a_device_filter_takes_what_came_in_there() {
    let mut lab = Lab::new(&allow());
    let uplink = u16::try_from(UP0).unwrap();
    let capture = start(&lab, "", CaptureFilter { device: Some(uplink), ..CaptureFilter::default() });
    lab.send(WEB0, &syn(5432));
    lab.send(UP0, &Frame::between(mac(8), mac(1)).ip([192, 0, 2, 1].into(), [10, 0, 0, 1].into()).udp(1, 2));
    let packets = taken(&capture);
    assert_eq!((packets.len(), packets[0].device), (1, uplink));
}

#[test]
fn a_capture_costs_no_packet_its_way_and_no_frame_of_memory() {
    let mut lab = Lab::new(&allow());
    let capture = start(&lab, "", CaptureFilter::default());
    assert_eq!(lab.send(WEB0, &syn(5432)), [DB0]);
    // More packets than slots, and nobody takes one.
    for port in 0..5_000 {
        lab.send(WEB0, &v4(1, 3).tcp(port, 23, TcpFlags::SYN));
    }
    let counts = capture.watch().counts()[WEB0];
    assert!(counts.matched == 5_001 && counts.lost > 0, "{counts:?}");
    assert_eq!(lab.dropped(DropReason::DefaultDeny), 5_000);
    drop(capture);
    assert_eq!(lab.stop(), 0, "frames are missing");
}
