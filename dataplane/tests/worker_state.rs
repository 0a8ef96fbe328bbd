//! The state of flows through the whole worker: timeouts, a flood, cut flows, connections taken up in the middle. Each
//! clause of the rules on known flows and on mid-stream pick-up has a test of its name.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

mod lab;

use lab::{DB0, Lab, SECOND, UP0, WEB0, WEB1, mac, relationship, v4};
use meshgate_dataplane::assembly::FlowSettings;
use meshgate_dataplane::config::Config;
use meshgate_dataplane::flow_table::REFUSED_SHARE;
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::tracker::Pickup;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{EndReason, RecordKind};
use std::path::Path;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;

fn web_to_db(protocol: &str) -> String {
    relationship("Web", "Db", &format!("protocol = \"{protocol}\""), "allow")
}

/// A segment of web-0's connection to db-0.
fn there(port: u16, flags: TcpFlags, sequence: u32, acknowledgment: u32) -> Frame {
    v4(1, 3).tcp(port, 5432, flags).numbers(sequence, acknowledgment, 60_000)
}

/// A segment of db-0 back.
fn back(port: u16, flags: TcpFlags, sequence: u32, acknowledgment: u32) -> Frame {
    v4(3, 1).tcp(5432, port, flags).numbers(sequence, acknowledgment, 60_000)
}

fn open(lab: &mut Lab, port: u16) {
    assert_eq!(lab.send(WEB0, &there(port, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.send(DB0, &back(port, SYN | ACK, 499, 100)), [WEB0]);
    assert_eq!(lab.send(WEB0, &there(port, ACK, 100, 500)), [DB0]);
}

fn live(lab: &Lab) -> u64 {
    lab.count(|counters| &counters.flows_live)
}

/// Returns how many seconds of silence end the only flow.
fn seconds_until_gone(lab: &mut Lab) -> u64 {
    assert_eq!(live(lab), 1);
    (1..10_000)
        .find(|_| {
            lab.wait(1);
            live(lab) == 0
        })
        .unwrap()
}

#[test]
fn every_state_has_its_time() {
    let step = |segments: usize| {
        let mut lab = Lab::new(&web_to_db("TCP"));
        let exchange = [
            (WEB0, there(1, SYN, 99, 0)),
            (DB0, back(1, SYN | ACK, 499, 100)),
            (WEB0, there(1, ACK, 100, 500)),
            (WEB0, there(1, FIN | ACK, 100, 500)),
            (DB0, back(1, FIN | ACK, 500, 101)),
            (WEB0, there(1, ACK, 101, 501)),
        ];
        exchange[..segments].iter().for_each(|(from, frame)| assert_eq!(lab.send(*from, frame).len(), 1));
        seconds_until_gone(&mut lab)
    };
    let seconds: Vec<u64> = (1..=6).map(step).collect();
    // SYN sent, SYN received, established, closing, last ACK, closed; a timer is late by up to a tick.
    let expected = [60, 60, 7_440, 240, 60, 10];
    assert!(seconds.iter().zip(expected).all(|(is, due)| (due..=due + 1).contains(is)), "{seconds:?}");
}

#[test]
fn a_reset_datagrams_and_pings_have_theirs() {
    let mut lab = Lab::new(&web_to_db("any"));
    open(&mut lab, 1);
    lab.send(DB0, &back(1, RST, 500, 0));
    assert!((10..=11).contains(&seconds_until_gone(&mut lab)));
    lab.send(WEB0, &v4(1, 3).udp(1, 53));
    assert!((60..=61).contains(&seconds_until_gone(&mut lab)));
    lab.send(WEB0, &v4(1, 3).udp(1, 53));
    lab.send(DB0, &v4(3, 1).udp(53, 1));
    assert!((300..=301).contains(&seconds_until_gone(&mut lab)));
    lab.send(WEB0, &v4(1, 3).echo_request(1, 1));
    lab.send(DB0, &v4(3, 1).echo_reply(1, 1));
    assert!((60..=61).contains(&seconds_until_gone(&mut lab)));
}

#[test]
fn times_can_be_configured() {
    let text = "host = \"h\"\n[timeouts]\ntcp_closed_s = 3\nudp_unanswered_s = 7\n\
                [[device]]\nname = \"web0\"\nrole = \"endpoint\"\n";
    let config = Config::parse(text, Path::new("lab")).unwrap();
    let timeouts = FlowSettings::of(&config).tracker.timeouts;
    let mut lab = Lab::with(&web_to_db("any"), |settings| settings.tracker.timeouts = timeouts);
    lab.send(WEB0, &v4(1, 3).udp(1, 53));
    assert!((7..=8).contains(&seconds_until_gone(&mut lab)));
    let wrong = text.replace("tcp_closed_s = 3", "tcp_closed_s = 0");
    let error = Config::parse(&wrong, Path::new("dp.toml")).unwrap_err().to_string();
    assert_eq!(error, "dp.toml: timeouts.tcp_closed_s: 0 is not within 1 to 86400");
}

#[test]
fn an_association_begins_by_init_only_and_carries_its_tags() {
    let mut lab = Lab::new(&web_to_db("SCTP"));
    let there = |tag, chunk| v4(1, 3).sctp(4_000, 5_000).chunk(tag, (chunk, 0), &[]);
    let back = |tag, chunk| v4(3, 1).sctp(5_000, 4_000).chunk(tag, (chunk, 0), &[]);
    assert_eq!(lab.send(WEB0, &there(9, 0)), []);
    assert_eq!(lab.dropped(DropReason::NoFlow), 1);
    assert_eq!(lab.send(WEB0, &v4(1, 3).sctp(4_000, 5_000).sctp_init(0, 1, 7)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).sctp(5_000, 4_000).sctp_init(7, 2, 9)), [WEB0]);
    assert_eq!(lab.send(WEB0, &there(9, 10)), [DB0]);
    assert_eq!(lab.send(DB0, &back(7, 11)), [WEB0]);
    assert_eq!(lab.send(WEB0, &there(9, 0)), [DB0]);
    assert_eq!(lab.send(DB0, &back(8, 0)), []);
    assert_eq!(lab.send(DB0, &back(8, 6)), []);
    assert_eq!(lab.dropped(DropReason::InvalidState), 2);
    assert_eq!(lab.send(DB0, &back(7, 6)), [WEB0]);
    assert!((10..=11).contains(&seconds_until_gone(&mut lab)));
}

/// Returns a SYN from an address behind the uplink to db-0.
fn flood(number: u32) -> Frame {
    let [_, a, b, c] = number.to_be_bytes();
    Frame::between(mac(99), mac(3)).ip([172, 16 + a, b, c].into(), [10, 0, 0, 3].into()).tcp(1_024, 5432, SYN)
}

#[test]
fn a_flood_of_syns_pushes_out_no_established_connection_and_keeps_no_new_one_out() {
    let external = relationship("external", "Db", "protocol = \"TCP\"", "allow");
    let mut lab =
        Lab::with(&format!("{}{external}", web_to_db("TCP")), |settings| settings.flows_max = 1_024);
    (0..100).for_each(|port| open(&mut lab, port));
    for number in 0..20_000 {
        assert_eq!(lab.send(UP0, &flood(number)), [DB0]);
        if number % 1_000 == 0 {
            open(&mut lab, 10_000 + u16::try_from(number / 1_000).unwrap());
        }
    }
    for port in 0..100 {
        let data = there(port, ACK, 100, 500).payload(b"still here");
        assert_eq!(lab.send(WEB0, &data), [DB0]);
        assert_eq!(lab.send(DB0, &back(port, ACK, 500, 110)), [WEB0]);
    }
    assert_eq!(lab.count(|counters| &counters.flows_unconfirmed), 512);
    assert_eq!(lab.count(|counters| &counters.flows_evicted_unconfirmed), 20_000 - 512);
    assert_eq!(lab.count(|counters| &counters.flows_live), 120 + 512);
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 0);
    let evicted = lab.records();
    let is_evicted =
        |kind: u8, reason: u8| kind == RecordKind::End as u8 && reason == EndReason::Evicted as u8;
    assert!(evicted.iter().any(|record| is_evicted(record.kind, record.end_reason)));
}

#[test]
fn a_handshake_that_a_flood_pushed_out_begins_again_by_itself() {
    let external = relationship("external", "Db", "protocol = \"TCP\"", "allow");
    let mut lab = Lab::with(&format!("{}{external}", web_to_db("TCP")), |settings| settings.flows_max = 64);
    assert_eq!(lab.send(WEB0, &there(1, SYN, 99, 0)), [DB0]);
    (0..100).for_each(|number| assert_eq!(lab.send(UP0, &flood(number)), [DB0]));
    assert_eq!(lab.send(DB0, &back(1, SYN | ACK, 499, 100)), []);
    assert_eq!(lab.send(WEB0, &there(1, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.send(DB0, &back(1, SYN | ACK, 499, 100)), [WEB0]);
    (0..100).for_each(|number| assert_eq!(lab.send(UP0, &flood(number)), [DB0]));
    // The client has its answer: its ACK takes the connection up.
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), [DB0]);
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100).payload(b"rows")), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.flows_picked_up), 1);
}

#[test]
fn a_flood_of_stray_acks_pushes_out_no_established_connection() {
    let external = relationship("external", "Db", "protocol = \"TCP\"", "allow");
    let mut lab = Lab::with(&format!("{}{external}", web_to_db("TCP")), |settings| settings.flows_max = 256);
    (0..100).for_each(|port| open(&mut lab, port));
    for number in 0..2_000u32 {
        let [_, _, b, c] = number.to_be_bytes();
        let frame = Frame::between(mac(99), mac(3)).ip([172, 16, b, c].into(), [10, 0, 0, 3].into());
        assert_eq!(lab.send(UP0, &frame.tcp(1_024, 5432, ACK)), [DB0]);
    }
    (0..100).for_each(|port| assert_eq!(lab.send(WEB0, &there(port, ACK, 100, 500)), [DB0]));
}

#[test]
fn what_is_over_goes_before_what_opens() {
    let mut lab = Lab::with(&web_to_db("TCP"), |settings| settings.flows_max = 16);
    for port in 0..12 {
        open(&mut lab, port);
    }
    lab.send(DB0, &back(3, RST, 500, 0));
    (100..104).for_each(|port| assert_eq!(lab.send(WEB0, &there(port, SYN, 99, 0)), [DB0]));
    assert_eq!(lab.send(WEB0, &there(104, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.count(|counters| &counters.flows_evicted_over), 1);
    assert_eq!(lab.count(|counters| &counters.flows_evicted_unconfirmed), 0);
    assert_eq!(lab.send(WEB0, &there(105, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.count(|counters| &counters.flows_evicted_unconfirmed), 1);
    assert_eq!(lab.send(DB0, &back(100, SYN | ACK, 499, 100)), []);
}

#[test]
fn refused_flows_keep_to_an_eighth_and_the_rest_is_only_removed() {
    let mut lab = Lab::with(&web_to_db("TCP"), |settings| settings.flows_max = 64);
    (0..40).for_each(|port| open(&mut lab, port));
    lab.publish("");
    (0..40).for_each(|port| assert_eq!(lab.send(WEB0, &there(port, ACK, 100, 500)), []));
    assert_eq!(lab.count(|counters| &counters.flows_refused), u64::from(64 / REFUSED_SHARE));
    assert_eq!(live(&lab), u64::from(64 / REFUSED_SHARE));
}

#[test]
fn a_cut_flow_is_judged_again_in_its_original_direction_by_the_packet_of_either_side() {
    for answers_first in [false, true] {
        let mut lab = Lab::new(&web_to_db("TCP"));
        open(&mut lab, 1);
        // The answering side may begin connections of its own: that does not carry this one.
        lab.publish(&relationship("Db", "Web", "protocol = \"TCP\"", "allow"));
        let (device, frame) =
            if answers_first { (DB0, back(1, ACK, 500, 100)) } else { (WEB0, there(1, ACK, 100, 500)) };
        assert_eq!(lab.send(device, &frame), []);
        assert_eq!(lab.dropped(DropReason::CutFlow), 1);
        assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), []);
    }
}

#[test]
fn a_refused_connection_is_opened_by_an_allowed_syn_only() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    open(&mut lab, 1);
    lab.publish("");
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), []);
    assert_eq!(lab.send(WEB0, &there(1, SYN, 5_000, 0)), []);
    lab.publish(&web_to_db("TCP"));
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
        assert_eq!(lab.send(WEB0, &there(1, flags, 100, 500)), []);
        assert_eq!(lab.send(DB0, &back(1, flags, 500, 100)), []);
    }
    assert_eq!(lab.send(DB0, &back(1, SYN, 9_000, 0)), []);
    assert_eq!(lab.send(WEB0, &there(1, SYN, 5_000, 0)), [DB0]);
}

#[test]
fn refused_datagrams_pass_again_when_their_first_sender_may_and_not_from_behind() {
    let both = format!("{}{}", web_to_db("UDP"), relationship("Db", "Web", "protocol = \"UDP\"", "allow"));
    let mut lab = Lab::new(&web_to_db("UDP"));
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(1, 53)), [DB0]);
    lab.publish(&relationship("Db", "Web", "protocol = \"UDP\"", "allow"));
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(1, 53)), []);
    assert_eq!(lab.send(DB0, &v4(3, 1).udp(53, 1)), []);
    lab.publish(&both);
    assert_eq!(lab.send(DB0, &v4(3, 1).udp(53, 1)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(1, 53)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).udp(53, 1)), [WEB0]);
}

#[test]
fn a_refused_tuple_is_forgotten_after_a_minute_of_silence() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    open(&mut lab, 1);
    lab.publish("");
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), []);
    lab.publish(&web_to_db("TCP"));
    lab.wait(62);
    assert_eq!(live(&lab), 0);
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), [DB0]);
}

#[test]
fn only_a_segment_of_the_middle_is_taken_up() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    for flags in [SYN | ACK, FIN | ACK, RST, RST | ACK] {
        assert_eq!(lab.send(WEB0, &there(1, flags, 100, 500)), []);
        assert_eq!(lab.send(DB0, &back(1, flags, 500, 100)), []);
    }
    assert_eq!(lab.dropped(DropReason::NoFlow), 8);
    assert_eq!(live(&lab), 0);
}

#[test]
fn nothing_is_taken_up_when_that_is_off() {
    let mut lab = Lab::with(&web_to_db("TCP"), |settings| settings.tracker.pickup = Pickup::Off);
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), []);
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), []);
    assert_eq!(lab.dropped(DropReason::NoFlow), 2);
}

#[test]
fn in_reverse_nothing_is_taken_up_behind_the_window_of_time() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    // The worker's time begins with its first frame.
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(1, 53)), []);
    lab.now += 120 * SECOND - 1;
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), [WEB0]);
    lab.now += 1;
    assert_eq!(lab.send(DB0, &back(2, ACK, 500, 100)), []);
    assert_eq!(lab.send(WEB0, &there(2, ACK, 100, 500)), [DB0]);
}

#[test]
fn in_reverse_a_connection_has_five_seconds_to_be_confirmed() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), [WEB0]);
    lab.now += 5 * SECOND - 1;
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), [WEB0]);
    lab.now += 1;
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), []);
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 500)), []);
    assert_eq!(lab.count(|counters| &counters.flows_refused), 1);
    lab.wait(62);
    assert_eq!(live(&lab), 0);
}

#[test]
fn in_reverse_what_is_confirmed_is_a_connection_with_windows() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100).payload(&[0; 50])), [WEB0]);
    assert_eq!(lab.send(DB0, &back(1, RST, 550, 100)), []);
    assert_eq!(lab.send(DB0, &back(1, SYN | ACK, 550, 100)), []);
    assert_eq!(lab.send(WEB0, &there(1, ACK, 100, 550)), [DB0]);
    for _ in 0..20 {
        assert_eq!(lab.send(DB0, &back(1, ACK, 550, 100)), [WEB0]);
    }
    assert_eq!(lab.send(DB0, &back(1, ACK, 3_000_000_000, 100)), []);
    lab.wait(1_000);
    assert_eq!(live(&lab), 1);
}

#[test]
fn in_reverse_the_allowed_direction_may_also_end_it_by_an_exact_reset() {
    let mut lab = Lab::new(&web_to_db("TCP"));
    assert_eq!(lab.send(DB0, &back(1, ACK, 500, 100)), [WEB0]);
    assert_eq!(lab.send(WEB0, &there(1, RST, 101, 0)), []);
    assert_eq!(lab.send(WEB0, &there(1, RST, 100, 0)), [DB0]);
    assert!((10..=11).contains(&seconds_until_gone(&mut lab)));
}

#[test]
fn what_is_taken_up_in_reverse_keeps_to_an_eighth() {
    let mut lab = Lab::with(&web_to_db("TCP"), |settings| settings.flows_max = 64);
    let passed = (0..40).filter(|port| lab.send(DB0, &back(*port, ACK, 500, 100)) == [WEB0]).count();
    assert_eq!(passed, 8);
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 32);
    assert_eq!(lab.send(WEB0, &there(100, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.send(WEB1, &v4(2, 3).tcp(100, 5432, SYN)), [DB0]);
}
