//! Every stage as packets meet it. The same cases hold with one worker and with several: how many there are is the
//! caller's choice.

use crate::lab::{self, DB0, Lab, SECOND, Setting, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use crate::{WORKERS, new_lab};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{EndReason, RecordKind};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;

fn web_to_db() -> String {
    relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow")
}

/// Opens a connection from web-0 to db-0.
fn open(lab: &mut Lab, port: u16) {
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(port, 5432, SYN)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, port, SYN | ACK).numbers(0, 1, 65_535)), [WEB0]);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(port, 5432, ACK).numbers(1, 1, 65_535)), [DB0]);
}

#[test]
fn without_a_rule_the_default_denies_and_says_so() {
    let mut lab = new_lab("");
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, SYN)), []);
    assert_eq!(lab.dropped(DropReason::DefaultDeny), 1);
}

#[test]
fn an_allowed_connection_passes_both_ways() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).payload(b"rows")), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.flows_live), 1);
}

#[test]
fn the_other_direction_and_other_ports_stay_denied() {
    let mut lab = new_lab(&web_to_db());
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(40_000, 5432, SYN)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5433, SYN)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(40_000, 5432)), []);
    assert_eq!(lab.dropped(DropReason::DefaultDeny), 3);
}

#[test]
fn members_of_one_group_may_talk() {
    let mut lab = new_lab("");
    assert_eq!(lab.send(WEB0, &v6(1, 2).udp(1_000, 2_000)), [WEB1]);
    assert_eq!(lab.send(WEB1, &v6(2, 1).udp(2_000, 1_000)), [WEB0]);
}

#[test]
fn an_answer_without_a_question_is_dropped() {
    let mut lab = new_lab(&web_to_db());
    for flags in [SYN | ACK, FIN | ACK, RST, RST | ACK] {
        assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, flags)), []);
    }
    assert_eq!(lab.dropped(DropReason::NoFlow), 4);
}

#[test]
fn a_denied_flow_is_cut_at_the_next_packet_and_cannot_be_revived_from_behind() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    lab.publish("");
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK)), []);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK)), []);
    assert_eq!(lab.dropped(DropReason::CutFlow), 2);
    lab.publish(&web_to_db());
    // The tuple stays refused until a SYN, though the policy would allow it again.
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, SYN)), [DB0]);
}

#[test]
fn a_silent_flow_is_judged_again_within_ten_seconds() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    lab.publish("");
    lab.wait(11);
    assert_eq!(lab.count(|counters| &counters.flows_refused), 1);
}

#[test]
fn a_flow_that_stays_allowed_survives_a_new_policy() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    let other = relationship("Db", "Web", "protocol = \"UDP\"", "deny");
    lab.publish(&format!("{}{other}", web_to_db()));
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).payload(b"x")), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.flows_rejudged), 1);
}

#[test]
fn a_higher_deny_beats_an_allow() {
    let deny = relationship("any", "Db", "protocol = \"TCP\"\npriority = 2000", "deny");
    let mut lab = new_lab(&format!("{}{deny}", web_to_db()));
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, SYN)), []);
    assert_eq!(lab.dropped(DropReason::RuleDeny), 1);
}

#[test]
fn a_ping_is_answered_only_to_who_asked() {
    let mut lab = new_lab(&relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"));
    assert_eq!(lab.send(WEB0, &v4(1, 3).echo_request(7, 1)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).echo_reply(7, 1)), [WEB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).echo_reply(8, 1)), []);
    assert_eq!(lab.send(DB0, &v4(3, 1).echo_request(9, 1)), []);
}

#[test]
fn who_may_be_pinged_may_not_ping_back_by_the_same_number() {
    let mut lab = new_lab(&relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"));
    assert_eq!(lab.send(WEB0, &v4(1, 3).echo_request(7, 1)), [DB0]);
    assert_eq!(lab.send(DB0, &v4(3, 1).echo_request(7, 1)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).echo_reply(7, 1)), []);
    assert_eq!(lab.dropped(DropReason::InvalidState), 2);
    assert_eq!(lab.send(DB0, &v4(3, 1).echo_reply(7, 1)), [WEB0]);
}

#[test]
fn a_flow_cut_after_a_long_silence_stays_refused_for_a_minute_from_then() {
    let back = relationship("Db", "Web", "protocol = \"TCP\"", "allow");
    let mut lab = new_lab(&format!("{}{back}", web_to_db()));
    open(&mut lab, 40_000);
    lab.wait(100);
    lab.publish(&back);
    lab.wait(15);
    assert_eq!(lab.count(|counters| &counters.flows_refused), 1);
    // The other side may begin connections of its own, but not take this one up again.
    for _ in 0..3 {
        assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK)), []);
        lab.wait(40);
    }
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK)), []);
}

#[test]
fn what_was_taken_up_in_reverse_and_not_confirmed_is_refused_for_a_minute() {
    let mut lab = new_lab(&web_to_db());
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(5, 5, 9)), [WEB0]);
    lab.wait(8);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(5, 5, 9)), []);
    assert_eq!(lab.dropped(DropReason::CutFlow), 1);
}

#[test]
fn another_policy_of_the_same_version_is_a_new_policy() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    lab.version -= 1;
    lab.publish("");
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK)), []);
    assert_eq!(lab.dropped(DropReason::CutFlow), 1);
}

#[test]
fn a_forged_sender_is_stopped_before_any_rule() {
    let mut lab = new_lab(&relationship("any", "any", "", "allow"));
    let from_another_mac = Frame::between(mac(2), mac(3)).ip([10, 0, 0, 1].into(), [10, 0, 0, 3].into());
    assert_eq!(lab.send(WEB0, &from_another_mac.udp(1, 2)), []);
    let from_another_address = Frame::between(mac(1), mac(3)).ip([10, 0, 0, 2].into(), [10, 0, 0, 3].into());
    assert_eq!(lab.send(WEB0, &from_another_address.udp(1, 2)), []);
    assert_eq!(lab.send(UP0, &v4(1, 3).udp(1, 2)), []);
    assert_eq!(lab.dropped(DropReason::SourceMac), 2);
    assert_eq!(lab.dropped(DropReason::SourceAddress), 1);
}

#[test]
fn arp_and_neighbour_discovery_pass_without_rules() {
    let mut lab = new_lab("");
    let broadcast = Frame::between(mac(1), meshgate_policy::Mac::BROADCAST);
    let request = broadcast.arp_request([10, 0, 0, 1].into(), [10, 0, 0, 3].into());
    assert_eq!(lab.send(WEB0, &request), [WEB1, DB0, UP0]);
    let reply = Frame::between(mac(3), mac(1)).arp_reply([10, 0, 0, 3].into(), [10, 0, 0, 1].into());
    assert_eq!(lab.send(DB0, &reply), [WEB0]);
    assert_eq!(lab.count(|counters| &counters.flood_copies), 3);
}

#[test]
fn a_connection_in_the_middle_is_taken_up_in_its_own_direction_at_any_time() {
    let mut lab = new_lab(&web_to_db());
    lab.wait(300);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK).numbers(10, 20, 100)), [DB0]);
    assert_eq!(lab.count(|counters| &counters.flows_picked_up), 1);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(20, 10, 100)), [WEB0]);
}

#[test]
fn in_reverse_it_is_taken_up_only_for_a_while_after_the_start() {
    let mut lab = new_lab(&web_to_db());
    let answer = v4(3, 1).tcp(5432, 40_000, ACK).numbers(500, 900, 100).payload(b"0123456789");
    assert_eq!(lab.send(DB0, &answer), [WEB0]);
    let agreeing = v4(1, 3).tcp(40_000, 5432, ACK).numbers(900, 510, 100);
    assert_eq!(lab.send(WEB0, &agreeing), [DB0]);
    assert_eq!(lab.count(|counters| &counters.flows_picked_up_reversed), 1);
    lab.wait(121);
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_001, ACK)), []);
}

#[test]
fn what_was_taken_up_in_reverse_passes_eight_packets_without_an_answer() {
    let mut lab = new_lab(&web_to_db());
    for _ in 0..8 {
        assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(5, 5, 9)), [WEB0]);
    }
    assert_eq!(lab.send(DB0, &v4(3, 1).tcp(5432, 40_000, ACK).numbers(5, 5, 9)), []);
    // The tuple is refused from here on, for the allowed direction too, until a SYN.
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK).numbers(5, 5, 9)), []);
    assert_eq!(lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, SYN)), [DB0]);
}

#[test]
fn a_packet_of_the_allowed_direction_that_disagrees_is_dropped_and_confirms_nothing() {
    let mut lab = new_lab(&web_to_db());
    let answer = v4(3, 1).tcp(5432, 40_000, ACK).numbers(5, 5, 9);
    assert_eq!(lab.send(DB0, &answer), [WEB0]);
    for foreign in [(1 << 31, 5), (5, 1 << 31), (5 + (33 << 20), 5)] {
        let foreign = v4(1, 3).tcp(40_000, 5432, ACK).numbers(foreign.0, foreign.1, 9);
        assert_eq!(lab.send(WEB0, &foreign), []);
    }
    assert_eq!(lab.dropped(DropReason::InvalidState), 3);
    for _ in 1..8 {
        assert_eq!(lab.send(DB0, &answer), [WEB0]);
    }
    assert_eq!(lab.send(DB0, &answer), []);
}

#[test]
fn a_flow_is_recorded_at_its_start_while_it_lasts_and_at_its_end() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    let start = lab.records();
    assert_eq!(start.len(), 1);
    assert_eq!(start[0].record_kind(), Some(RecordKind::Start));
    assert_eq!(start[0].addresses(), ([10, 0, 0, 1].into(), [10, 0, 0, 3].into()));
    assert_eq!((start[0].destination_port, start[0].rule), (5432, 1));
    lab.wait(55);
    lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK).numbers(1, 1, 65_535).payload(&[0; 100]));
    lab.wait(20);
    let active = lab.records();
    assert_eq!(active.iter().map(|record| record.packets_forward).collect::<Vec<_>>(), [3]);
    lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, RST | ACK).numbers(101, 1, 0));
    lab.wait(12);
    let end = lab.records();
    assert_eq!(end.len(), 1);
    assert_eq!((end[0].kind, end[0].end_reason), (RecordKind::End as u8, EndReason::Reset as u8));
    assert_eq!((end[0].packets_forward, end[0].packets_reverse), (4, 1));
    assert_eq!(lab.count(|counters| &counters.flows_live), 0);
}

#[test]
fn refused_attempts_are_gathered_into_one_record_a_second() {
    let mut lab = new_lab("");
    for port in 0..50 {
        lab.send(WEB0, &v4(1, 3).tcp(40_000 + port, 22, SYN));
    }
    assert!(lab.records().is_empty());
    lab.wait(8);
    let denied = lab.records();
    assert_eq!(denied.len(), 1);
    assert_eq!((denied[0].kind, denied[0].packets_forward), (RecordKind::Denied as u8, 50));
    assert!(denied[0].last_ns >= denied[0].first_ns && denied[0].first_ns >= lab::START);
}

#[test]
fn a_table_full_of_confirmed_flows_refuses_new_ones() {
    let mut lab = Lab::build("", Setting { workers: WORKERS, ..Setting::default() }, |settings| {
        settings.flows_max = 16;
    });
    for port in 0..16 {
        assert_eq!(lab.send(WEB0, &v4(1, 2).udp(port, 53)), [WEB1]);
        assert_eq!(lab.send(WEB1, &v4(2, 1).udp(53, port)), [WEB0]);
        assert_eq!(lab.send(WEB0, &v4(1, 2).udp(port, 53)), [WEB1]);
    }
    assert_eq!(lab.send(WEB0, &v4(1, 2).udp(99, 53)), []);
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 1);
    assert_eq!(lab.send(WEB1, &v4(2, 1).udp(53, 3)), [WEB0]);
    lab.now += 400 * SECOND;
    lab.wait(1);
    assert_eq!(lab.send(WEB0, &v4(1, 2).udp(99, 53)), [WEB1]);
}

#[test]
fn oversize_frames_are_dropped_by_name() {
    let mut lab = new_lab(&relationship("any", "any", "", "allow"));
    assert_eq!(lab.send(WEB0, &v4(1, 3).udp(1, 2).payload(&[0; 1_600])), []);
    assert_eq!(lab.dropped(DropReason::OversizeFrame), 1);
}

#[test]
fn partial_checksums_pass_an_uplink_only_where_they_are_expected() {
    let rules = relationship("external", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow");
    let syn = v4(9, 3).tcp(40_000, 5432, SYN).partial_checksum();
    let mut lab = new_lab(&rules);
    assert_eq!(lab.send(UP0, &syn), []);
    assert_eq!(lab.dropped(DropReason::BadL4Checksum), 1);
    let mut lab = Lab::build(&rules, Setting { workers: WORKERS, is_uplink_partial: true }, |_| {});
    assert_eq!(lab.send(UP0, &syn), [DB0]);
    assert_eq!(lab.send(UP0, &v4(9, 3).tcp(40_001, 5432, SYN).wrong_checksum()), []);
    assert_eq!(lab.dropped(DropReason::BadL4Checksum), 1);
}

#[test]
fn every_frame_of_packet_memory_comes_home() {
    let mut lab = new_lab(&web_to_db());
    for round in 0..2_000u16 {
        lab.send(WEB0, &v4(1, 3).tcp(round, 5432, SYN));
        lab.send(
            UP0,
            &Frame::between(mac(9), meshgate_policy::Mac::BROADCAST)
                .arp_request([10, 0, 0, 9].into(), [10, 0, 0, 1].into()),
        );
        lab.send_bytes(DB0, &[0xff; 30]);
    }
    lab.turn();
    assert_eq!(lab.count(|counters| &counters.frames_total), u64::from(lab::FRAMES));
    assert_eq!(lab.stop(), 0, "frames missing");
}

#[test]
fn rules_count_what_they_decided_also_across_versions() {
    let mut lab = new_lab(&web_to_db());
    open(&mut lab, 40_000);
    let totals = lab.assembly.publisher.rule_totals();
    assert_eq!((totals[0].1.flows, totals[0].1.packets), (1, 3));
    lab.publish(
        &format!("{}{}", web_to_db(), relationship("Db", "Db", "", "allow"))
            .replace("source_group_name = \"Web\"", "id = 1\nsource_group_name = \"Web\""),
    );
    lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, ACK));
    let totals = lab.assembly.publisher.rule_totals();
    let first = totals.iter().find(|(id, _)| id.0 == 1).unwrap();
    assert_eq!((first.1.flows, first.1.packets), (2, 4));
}
