//! Attempts to get past the rules by form and state, through the whole worker, in IPv4 and IPv6. Beside every attempt
//! stands the honest packet that it is one step away from.
//!
//! Where each kind of evasion has its named tests:
//!
//! | evasion | tests |
//! |---|---|
//! | fragment tricks | `a_fragment_carries_no_denied_port_past_the_rules`; all of `worker_fragments.rs`; `packet/tests.rs`: `parts_of_a_datagram_*`, `a_second_fragment_header_*` |
//! | source route, RH0 | `a_source_route_goes_nowhere` |
//! | long extension chains | `a_port_behind_a_long_chain_is_never_reached` |
//! | stray ACK | `a_stray_segment_opens_nothing`; `state/tcp/attacks.txt`; `worker_state.rs`: `only_a_segment_of_the_middle_*`, `in_reverse_*` |
//! | out-of-window and bad-checksum RST | `a_forged_reset_ends_nothing`; `state/tcp/resets.txt` |
//! | forged and foreign ICMP errors | `an_error_that_is_forged_or_of_a_foreign_place_reaches_nobody`; `worker_errors.rs` |
//! | spoofed ARP, ND, IP, MAC | `evasion_binding.rs`: `arp_*`, `neighbour_*`, `a_foreign_*` |
//! | unicast IP in a broadcast frame | `evasion_binding.rs`: `a_unicast_address_in_a_group_frame_reaches_nobody` |
//! | allowed IP with another VM's MAC | `evasion_binding.rs`: `an_allowed_address_with_the_mac_of_another_machine_reaches_nobody` |
//! | uplink with a local address | `evasion_binding.rs`: `an_uplink_cannot_use_*`, `an_endpoints_frame_that_comes_back_*` |
//! | VLAN hopping | `a_tag_hops_to_no_other_vlan`; `worker_tags.rs`; `evasion_binding.rs`: `a_tag_that_the_device_has_no_segment_for_*` |
//! | reverse-side revival of a cut flow | `a_cut_connection_is_not_revived_from_behind`; `worker_state.rs`: `a_cut_flow_*`, `refused_*` |

mod lab;

use lab::{DB0, Lab, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{ETHERTYPE_VLAN, TcpFlags};
use meshgate_dataplane::verdict::DropReason;
use std::net::IpAddr;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;

/// A frame of a family, by the numbers of sender and receiver.
type Between = fn(u8, u8) -> Frame;

const FAMILIES: [Between; 2] = [v4, v6];

/// The only way: from web to the database's port 80.
fn lab() -> Lab {
    Lab::new(
        &relationship("Web", "Db", "protocol = \"any\"", "allow")
            .replace("protocol = \"any\"", "protocol = \"TCP\"\nport_range = \"80\""),
    )
}

/// A segment of web-0's connection, and one back.
fn there(between: Between, flags: TcpFlags, sequence: u32, acknowledgment: u32) -> Frame {
    between(1, 3).tcp(40_000, 80, flags).numbers(sequence, acknowledgment, 60_000)
}

fn back(between: Between, flags: TcpFlags, sequence: u32, acknowledgment: u32) -> Frame {
    between(3, 1).tcp(80, 40_000, flags).numbers(sequence, acknowledgment, 60_000)
}

fn open(lab: &mut Lab, between: Between) {
    assert_eq!(lab.send(WEB0, &there(between, SYN, 99, 0)), [DB0]);
    assert_eq!(lab.send(DB0, &back(between, SYN | ACK, 499, 100)), [WEB0]);
    assert_eq!(lab.send(WEB0, &there(between, ACK, 100, 500)), [DB0]);
}

/// Asserts that the connection that was opened still carries data both ways.
fn stands(lab: &mut Lab, between: Between) {
    assert_eq!(lab.send(WEB0, &there(between, ACK, 100, 500).payload(&[1; 10])), [DB0]);
    assert_eq!(lab.send(DB0, &back(between, ACK, 500, 110).payload(&[1; 10])), [WEB0]);
}

fn refused(lab: &mut Lab, device: usize, frame: &Frame, reason: DropReason) {
    let before = lab.dropped(reason);
    assert_eq!(lab.send(device, frame), [], "{frame:?}");
    assert_eq!(lab.dropped(reason), before + 1, "{reason}: {frame:?}");
}

#[test]
fn a_source_route_goes_nowhere() {
    let mut lab = lab();
    for option in [131, 137] {
        let frame = v4(1, 3).ipv4_options(&[1, option, 7, 4, 10, 0, 0, 2]).tcp(1, 80, SYN);
        refused(&mut lab, WEB0, &frame, DropReason::SourceRoute);
        refused(&mut lab, WEB0, &frame.identification(2).fragment(0, true), DropReason::SourceRoute);
    }
    // Also one that has no stations left, and one behind other headers.
    let routed = |left: u8| {
        let via = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let rest = [&[2, 0, left, 0, 0, 0, 0][..], &via].concat();
        v6(1, 3).extension(60, &[0; 7]).extension(43, &rest).tcp(1, 80, SYN)
    };
    refused(&mut lab, WEB0, &routed(1), DropReason::SourceRoute);
    refused(&mut lab, WEB0, &routed(0), DropReason::SourceRoute);
    assert_eq!(lab.send(WEB0, &v4(1, 3).ipv4_options(&[148, 4, 0, 0]).tcp(1, 80, SYN)), [DB0]);
    assert_eq!(lab.send(WEB0, &v6(1, 3).extension(60, &[0; 7]).tcp(1, 80, SYN)), [DB0]);
}

#[test]
fn a_port_behind_a_long_chain_is_never_reached() {
    let mut lab = lab();
    let chain = |headers: usize, port: u16| {
        (0..headers).fold(v6(1, 3), |frame, _| frame.extension(60, &[0; 7])).tcp(2, port, SYN)
    };
    assert_eq!(lab.send(WEB0, &chain(3, 80)), [DB0]);
    refused(&mut lab, WEB0, &chain(3, 81), DropReason::DefaultDeny);
    for headers in [9, 20, 100] {
        refused(&mut lab, WEB0, &chain(headers, 80), DropReason::ExtensionHeaders);
        refused(&mut lab, WEB0, &chain(headers, 81), DropReason::ExtensionHeaders);
    }
    // One long header: the port lies beyond what some filters read.
    let long = |port| {
        let rest = [&[31][..], &[1, 253], &[0; 253]].concat();
        v6(1, 3).extension(60, &rest).tcp(3, port, SYN)
    };
    assert_eq!(lab.send(WEB0, &long(81)), []);
    // A header that claims to reach beyond the packet, and hop-by-hop options where none may be.
    assert_eq!(lab.send(WEB0, &v6(1, 3).extension(60, &[255, 0, 0, 0, 0, 0, 0]).tcp(4, 80, SYN)), []);
    let late = v6(1, 3).extension(60, &[0; 7]).extension(0, &[0; 7]).tcp(5, 80, SYN);
    refused(&mut lab, WEB0, &late, DropReason::ExtensionHeaders);
}

#[test]
fn a_stray_segment_opens_nothing() {
    for between in FAMILIES {
        let mut lab = lab();
        // Behind the time in which connections are taken up in reverse.
        lab.wait(200);
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
            refused(&mut lab, DB0, &back(between, flags, 7, 9), DropReason::NoFlow);
        }
        for flags in [SYN | ACK, FIN | ACK, RST, RST | ACK] {
            refused(&mut lab, WEB0, &there(between, flags, 7, 9), DropReason::NoFlow);
        }
        // To a port that is denied not even an ACK, whichever side is said to have begun.
        let denied = between(1, 3).tcp(40_000, 81, ACK);
        refused(&mut lab, WEB0, &denied, DropReason::DefaultDeny);
        let from_port = between(1, 3).tcp(80, 40_000, ACK);
        refused(&mut lab, WEB0, &from_port, DropReason::DefaultDeny);
        assert_eq!(lab.count(|counters| &counters.flows_live), 0);
    }
}

#[test]
fn a_forged_reset_ends_nothing() {
    for between in FAMILIES {
        let mut lab = lab();
        open(&mut lab, between);
        for ahead in [60_100, 1 << 20, 1 << 31, u32::MAX - 100] {
            for flags in [RST, RST | ACK] {
                let (own, other) = (500u32.wrapping_add(ahead), 100u32.wrapping_add(ahead));
                refused(&mut lab, DB0, &back(between, flags, own, 100), DropReason::InvalidState);
                refused(&mut lab, WEB0, &there(between, flags, other, 500), DropReason::InvalidState);
            }
        }
        let exact = there(between, RST, 100, 500);
        assert_eq!(lab.send(WEB0, &exact.clone().wrong_checksum()), []);
        assert_eq!(lab.send(DB0, &back(between, RST, 500, 100).wrong_checksum()), []);
        assert_eq!(lab.send(DB0, &back(between, FIN | ACK, 500, 100).wrong_checksum()), []);
        // The numbers are right, and the sender is not who it says.
        let foreign = Frame::between(mac(2), mac(3));
        let [source, destination] = addresses(between);
        let foreign = foreign.ip(source, destination).tcp(40_000, 80, RST).numbers(100, 500, 60_000);
        refused(&mut lab, WEB1, &foreign, DropReason::SourceAddress);
        stands(&mut lab, between);
    }
}

/// Returns the addresses of web-0 and db-0.
fn addresses(between: Between) -> [IpAddr; 2] {
    let texts =
        if between(1, 3).bytes()[12] == 8 { ["10.0.0.1", "10.0.0.3"] } else { ["fd00::1", "fd00::3"] };
    texts.map(|text| text.parse().expect("an address"))
}

#[test]
fn an_error_that_is_forged_or_of_a_foreign_place_reaches_nobody() {
    for (between, kind) in [(v4 as Between, (3, 4)), (v6, (2, 0))] {
        let mut lab = lab();
        open(&mut lab, between);
        let data = there(between, ACK, 100, 500).payload(&[1; 500]);
        assert_eq!(lab.send(WEB0, &data), [DB0]);
        let error = |from: Frame, quoted: &Frame| from.icmp_error(kind.0, kind.1, &quoted.bytes());
        // Numbers that are not under way, ports of no flow, a direction in which nothing went.
        let far = there(between, ACK, 900_000, 500).payload(&[1; 500]);
        let no_flow = between(1, 3).tcp(40_001, 80, ACK).numbers(100, 500, 60_000);
        let denied = between(1, 3).tcp(40_000, 81, ACK).numbers(100, 500, 60_000);
        for quoted in [&far, &no_flow, &denied] {
            refused(&mut lab, DB0, &error(between(3, 1), quoted), DropReason::UnrelatedError);
        }
        // From a neighbour to whom the packet did not go; to one who did not send it.
        refused(&mut lab, WEB1, &error(between(2, 1), &data), DropReason::UnrelatedError);
        refused(&mut lab, DB0, &error(between(3, 2), &data), DropReason::UnrelatedError);
        refused(&mut lab, WEB0, &error(between(1, 3), &data), DropReason::UnrelatedError);
        let wrong = error(between(3, 1), &data).wrong_checksum();
        assert_eq!(lab.send(DB0, &wrong), []);
        stands(&mut lab, between);
        // Of the data the part behind this number was not acknowledged yet.
        let rest = there(between, ACK, 110, 500).payload(&[1; 490]);
        assert_eq!(lab.send(DB0, &error(between(3, 1), &rest)), [WEB0], "the true one follows its flow");
    }
}

#[test]
fn a_tag_hops_to_no_other_vlan() {
    for between in FAMILIES {
        let mut lab = lab();
        // Two tags, of which a switch would take off the outer one; a priority tag before a second one; QinQ.
        let inner = &between(1, 3).tcp(1, 80, SYN).bytes()[12..];
        let doubled = [&[0, 10][..], inner].concat();
        for number in [0, 1, 10] {
            let frame =
                between(1, 3).tagged(ETHERTYPE_VLAN, number).ethertype(ETHERTYPE_VLAN).payload(&doubled);
            assert_eq!(lab.send(WEB0, &frame), []);
            assert_eq!(lab.send(UP0, &frame), []);
        }
        for number in [1, 10, 4_094, 4_095] {
            assert_eq!(lab.send(WEB0, &between(1, 3).vlan(number).tcp(1, 80, SYN)), []);
            assert_eq!(lab.send(WEB0, &between(1, 3).tagged(0x88a8, number).tcp(1, 80, SYN)), []);
        }
        assert_eq!(lab.send(WEB0, &between(1, 3).tcp(1, 80, SYN)), [DB0]);
    }
}

#[test]
fn a_fragment_carries_no_denied_port_past_the_rules() {
    for between in FAMILIES {
        let mut lab = lab();
        let denied = |frame: Frame| frame.tcp(1, 81, SYN).payload(&[0; 12]);
        // The whole header, a header that ends before the flags, a later part alone, a datagram in one "fragment".
        assert_eq!(lab.send(WEB0, &denied(between(1, 3).fragment(0, true))), []);
        let head = &denied(between(1, 3)).bytes()[if between(1, 3).bytes()[12] == 8 { 34 } else { 54 }..];
        let part = |offset, more, bytes: &[u8]| {
            between(1, 3).fragment(offset, more).protocol(meshgate_policy::Protocol::TCP).payload(bytes)
        };
        assert_eq!(lab.send(WEB0, &part(0, true, &head[..8])), []);
        assert_eq!(lab.send(WEB0, &part(8, false, &head[8..])), []);
        assert_eq!(lab.send(WEB0, &part(1_000, true, &head[..16])), []);
        assert_eq!(lab.send(WEB0, &part(0, false, head)), []);
        assert_eq!(lab.count(|counters| &counters.flows_live), 0);
    }
}

#[test]
fn a_cut_connection_is_not_revived_from_behind() {
    let reverse = relationship("Db", "Web", "protocol = \"TCP\"", "allow");
    for between in FAMILIES {
        let mut lab = lab();
        open(&mut lab, between);
        // The database may begin connections of its own, on all ports.
        lab.publish(&reverse);
        for flags in [ACK, FIN | ACK, SYN | ACK, RST, RST | ACK] {
            assert_eq!(lab.send(DB0, &back(between, flags, 500, 100)), []);
            assert_eq!(lab.send(WEB0, &there(between, flags, 100, 500)), []);
        }
        assert_eq!(lab.send(WEB0, &there(between, SYN, 5_000, 0)), [], "its beginning is denied");
        // What it may begin is a connection of its own, by a SYN.
        assert_eq!(lab.send(DB0, &back(between, SYN, 9_000, 0)), [WEB0]);
    }
}
