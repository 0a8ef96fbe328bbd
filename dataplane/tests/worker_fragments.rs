//! Datagrams in parts, through the whole worker: every trick by which parts were ever used to pass a filter.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;

use lab::{DB0, Lab, SECOND, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use meshgate_dataplane::fragments::{DATAGRAM_NS, WAITING_NS};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::generate::Rng;
use meshgate_policy::{Mac, Protocol};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;

fn rules() -> String {
    [
        relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"53\"", "allow"),
        relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow"),
        relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"),
        relationship("Web", "Db", "protocol = \"ICMPv6\"\nicmp_type = 128", "allow"),
    ]
    .concat()
}

/// The two families, from web-0 to db-0.
fn families() -> [Frame; 2] {
    [v4(1, 3), v6(1, 3)]
}

/// A datagram that the rules allow, and one that they do not.
fn allowed(frame: &Frame) -> Frame {
    frame.clone().udp(4_000, 53).payload(&[5; 53])
}

fn refused(frame: &Frame) -> Frame {
    frame.clone().udp(4_000, 99).payload(&[5; 53])
}

/// Puts frames in at a device, one by one, and returns what came out at the database endpoint.
fn deliver(lab: &mut Lab, device: usize, frames: &[Frame]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for frame in frames {
        lab.far[device].inject(&frame.bytes()).unwrap();
        lab.turn();
        out.extend(lab.far[DB0].take_all_sent());
    }
    lab.turn();
    out.extend(lab.far[DB0].take_all_sent());
    out
}

fn bytes_of(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(Frame::bytes).collect()
}

/// Ends the laboratory: every frame of packet memory must be home.
fn expect_all_home(lab: &mut Lab) {
    lab.turn();
    assert_eq!(lab.stop(), 0);
    let devices = lab.assembly.counters.iter().flat_map(|counters| &counters.devices);
    let received: u64 = devices.map(|device| device.received_packets.get()).sum();
    let dropped: u64 = DropReason::ALL.iter().map(|reason| lab.dropped(*reason)).sum();
    assert_eq!(received, lab.count(|counters| &counters.allowed) + dropped, "every frame has one end");
}

#[test]
fn an_allowed_datagram_passes_in_all_its_parts_and_a_refused_one_in_none() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let parts = allowed(&frame).cut(&[16, 40]);
        assert_eq!(deliver(&mut lab, WEB0, &parts), bytes_of(&parts));
        let parts = refused(&frame).cut(&[16, 40]);
        assert_eq!(deliver(&mut lab, WEB0, &parts), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::DefaultDeny), 1);
        assert_eq!(lab.dropped(DropReason::FragmentRefused), 2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn the_parts_of_a_datagram_are_counted_as_packets_of_its_flow() {
    let mut lab = Lab::new(&rules());
    let parts = allowed(&v4(1, 3)).cut(&[16, 40]);
    deliver(&mut lab, WEB0, &[&parts[1..], &parts[..1]].concat());
    lab.wait(61);
    let records = lab.records();
    let end = records.last().unwrap();
    assert_eq!((end.packets_forward, end.bytes_forward), (3, 3 * 20 + 61));
}

#[test]
fn the_last_part_before_the_first_waits_and_follows_it() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let [first, second, third] = &allowed(&frame).cut(&[16, 40])[..] else { panic!() };
        assert_eq!(deliver(&mut lab, WEB0, &[third.clone(), second.clone()]), bytes_of(&[]));
        assert_eq!(lab.count(|counters| &counters.frames_total), u64::from(lab::FRAMES));
        let out = deliver(&mut lab, WEB0, std::slice::from_ref(first));
        assert_eq!(out, bytes_of(&[first.clone(), third.clone(), second.clone()]));
        let [first, second, third] = &refused(&frame).cut(&[16, 40])[..] else { panic!() };
        assert_eq!(deliver(&mut lab, WEB0, &[third, second, first].map(Frame::clone)), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::FragmentRefused), 2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_part_that_never_sees_its_first_one_ends_after_a_second() {
    let mut lab = Lab::new(&rules());
    let parts = allowed(&v4(1, 3)).cut(&[16, 40]);
    assert_eq!(deliver(&mut lab, WEB0, &parts[1..]), bytes_of(&[]));
    lab.now += WAITING_NS;
    lab.turn();
    assert_eq!(lab.dropped(DropReason::FragmentTimeout), 2);
    assert_eq!(deliver(&mut lab, WEB0, &parts[..1]), bytes_of(&parts[..1]));
    expect_all_home(&mut lab);
}

#[test]
fn teardrop_a_second_part_within_the_first_one_is_dropped_with_its_datagram() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let datagram = allowed(&frame);
        let first = datagram.part(0..32, true);
        assert_eq!(deliver(&mut lab, WEB0, std::slice::from_ref(&first)), bytes_of(&[first]));
        let rest = [datagram.part(24..28, false), datagram.part(32..61, false)];
        assert_eq!(deliver(&mut lab, WEB0, &rest), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::FragmentOverlap), 2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_part_that_writes_over_another_takes_the_datagram_with_it_in_any_order() {
    for frame in families() {
        let datagram = allowed(&frame);
        let writes_ports = refused(&frame).part(0..16, true);
        let parts = [datagram.part(0..24, true), datagram.part(24..61, false)];
        // A first part of another length, behind, before and between.
        for order in [[0, 2, 1], [1, 2, 0], [2, 1, 0]] {
            let mut lab = Lab::new(&rules());
            let all = [parts[0].clone(), parts[1].clone(), writes_ports.clone()];
            let out = deliver(&mut lab, WEB0, &order.map(|number: usize| all[number].clone()));
            assert!(!out.contains(&writes_ports.bytes()));
            assert!(out.len() < 2, "{order:?} passed {} parts", out.len());
            expect_all_home(&mut lab);
        }
    }
}

#[test]
fn a_first_part_without_the_whole_header_is_tiny() {
    for frame in families() {
        let mut lab = Lab::new(&relationship("any", "any", "", "allow"));
        let segment = frame.clone().tcp(4_000, 5432, ACK).payload(&[1; 64]);
        let with_options = segment.clone().tcp_options(&[1; 12]);
        let cases = [
            segment.part(0..8, true),
            segment.part(0..16, true),
            with_options.part(0..24, true),
            frame.clone().sctp(1, 2).payload(&[0; 64]).part(0..8, true),
        ];
        assert_eq!(deliver(&mut lab, WEB0, &cases), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::FragmentTiny), 4);
        let whole_header = [with_options.part(0..32, true), with_options.part(32..96, false)];
        assert_eq!(deliver(&mut lab, WEB0, &whole_header), bytes_of(&whole_header));
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_later_part_may_not_lie_where_the_header_does() {
    for frame in families() {
        let mut lab = Lab::new(&relationship("any", "any", "", "allow"));
        let segment = frame.clone().tcp(4_000, 5432, ACK).payload(&[1; 64]);
        let cases = [segment.part(8..24, true), segment.part(16..24, true), segment.part(8..84, false)];
        assert_eq!(deliver(&mut lab, WEB0, &cases), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::FragmentTiny), 3);
        // The header of UDP ends where a part may begin.
        let datagram = allowed(&frame).cut(&[8]);
        assert_eq!(deliver(&mut lab, WEB0, &datagram), bytes_of(&datagram));
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_datagram_longer_than_any_may_be_is_refused() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let first = frame.clone().echo_request(7, 1).payload(&[0; 2_000]).part(0..8, true);
        deliver(&mut lab, WEB0, &[first]);
        // The end is beyond 65,535 by itself, or with the header before it.
        let beyond = frame.clone().protocol(Protocol(1)).payload(&[0; 16]).fragment(65_528, false);
        let with_header = frame.clone().protocol(Protocol(1)).payload(&[0; 7]).fragment(65_528, false);
        let is_v4 = with_header.bytes()[12..14] == [8, 0];
        let protocol = Protocol(if is_v4 { 1 } else { 58 });
        let cases = [beyond.protocol(protocol), with_header.protocol(protocol)];
        deliver(&mut lab, WEB0, &cases);
        let expected = if is_v4 { 2 } else { 1 };
        assert_eq!(lab.dropped(DropReason::BadHeader), expected);
        expect_all_home(&mut lab);
    }
}

#[test]
fn bad_lengths_of_parts_are_refused() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let uneven = allowed(&frame).part(16..27, true);
        let empty = frame.clone().protocol(Protocol::UDP).fragment(16, false);
        assert_eq!(deliver(&mut lab, WEB0, &[uneven, empty]), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::BadHeader), 2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_first_part_that_comes_again_with_other_ports_is_not_believed() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let (good, bad) = (allowed(&frame).cut(&[16, 40]), refused(&frame).cut(&[16, 40]));
        // Behind an allowed one the other is dropped, and what follows belongs to the one that was judged.
        let out =
            deliver(&mut lab, WEB0, &[good[0].clone(), bad[0].clone(), good[1].clone(), good[2].clone()]);
        assert_eq!(out, bytes_of(&good));
        assert_eq!(lab.dropped(DropReason::FragmentDuplicate), 1);
        // Behind a refused one an allowed one changes nothing.
        let out =
            deliver(&mut lab, WEB0, &[bad[0].clone(), good[0].clone(), good[1].clone(), good[2].clone()]);
        assert_eq!(out, bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::FragmentDuplicate), 2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn an_identification_that_is_used_again_begins_another_datagram() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let (good, bad) = (allowed(&frame).cut(&[16, 40]), refused(&frame).cut(&[16, 40]));
        assert_eq!(deliver(&mut lab, WEB0, &good), bytes_of(&good));
        assert_eq!(deliver(&mut lab, WEB0, &bad), bytes_of(&[]));
        assert_eq!(deliver(&mut lab, WEB0, &good), bytes_of(&good));
        // One that was never completed keeps its number for half a minute.
        deliver(&mut lab, WEB0, &good[..1]);
        assert_eq!(deliver(&mut lab, WEB0, &bad), bytes_of(&bad[1..]), "later parts bear no ports");
        deliver(&mut lab, WEB0, &good[..1]);
        lab.now += DATAGRAM_NS;
        assert_eq!(deliver(&mut lab, WEB0, &bad), bytes_of(&[]));
        expect_all_home(&mut lab);
    }
}

#[test]
fn datagrams_under_way_side_by_side_are_kept_apart() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let good: Vec<_> = (1..4).map(|id| allowed(&frame).identification(id).cut(&[16, 40])).collect();
        let bad: Vec<_> = (4..7).map(|id| refused(&frame).identification(id).cut(&[16, 40])).collect();
        let mut mixed = Vec::new();
        for number in [2, 0, 1] {
            for (good, bad) in good.iter().zip(&bad) {
                mixed.extend([bad[number].clone(), good[number].clone()]);
            }
        }
        let mut out = deliver(&mut lab, WEB0, &mixed);
        let mut expected = bytes_of(&good.concat());
        out.sort();
        expected.sort();
        assert_eq!(out, expected);
        expect_all_home(&mut lab);
    }
}

#[test]
fn nobody_else_can_add_a_part() {
    let mut lab = Lab::new(&rules());
    for frame in families() {
        let parts = allowed(&frame).cut(&[16, 40]);
        deliver(&mut lab, WEB0, &parts[..1]);
        // From the device of another endpoint, and from the network.
        assert_eq!(deliver(&mut lab, WEB1, &parts[1..]), bytes_of(&[]));
        assert_eq!(deliver(&mut lab, UP0, &parts[1..]), bytes_of(&[]));
    }
    assert_eq!(lab.dropped(DropReason::SourceMac), 8);
    // Nor can he begin what others send on.
    let stranger = |frame: Frame| allowed(&frame.ip([10, 0, 0, 9].into(), [10, 0, 0, 3].into()));
    let first = stranger(Frame::between(mac(9), mac(3)));
    deliver(&mut lab, UP0, &first.cut(&[16, 40])[..1]);
    assert_eq!(deliver(&mut lab, WEB0, &first.cut(&[16, 40])[1..]), bytes_of(&[]));
    expect_all_home(&mut lab);
}

#[test]
fn a_flood_of_parts_without_a_first_one_takes_its_share_and_no_more() {
    let mut lab = Lab::new(&rules());
    for id in 0..200 {
        let orphan = allowed(&v4(1, 3)).identification(id).part(16..40, true);
        assert_eq!(deliver(&mut lab, WEB0, &[orphan]), bytes_of(&[]));
    }
    // A sixteenth of the slice may wait, a quarter of that for one sender.
    assert_eq!(lab.dropped(DropReason::FragmentEarly), 200 - u64::from(lab::FRAMES) / 16 / 4);
    let [first, second] = &v4(2, 3).udp(4_000, 53).payload(&[5; 53]).cut(&[16])[..] else { panic!() };
    let out = deliver(&mut lab, WEB1, &[second.clone(), first.clone()]);
    assert_eq!(out, bytes_of(&[first.clone(), second.clone()]));
    lab.wait(2);
    assert_eq!(lab.dropped(DropReason::FragmentTimeout), u64::from(lab::FRAMES) / 16 / 4);
    expect_all_home(&mut lab);
}

#[test]
fn a_flood_of_first_parts_pushes_out_its_own_and_nobody_elses() {
    let mut lab = Lab::new(&relationship("any", "any", "", "allow"));
    let others = v4(2, 3).udp(4_000, 53).payload(&[5; 53]).cut(&[16]);
    deliver(&mut lab, WEB1, &others[..1]);
    for id in 0..1_000 {
        deliver(&mut lab, WEB0, &allowed(&v4(1, 3)).identification(id).cut(&[16])[..1]);
    }
    lab.turn();
    assert_eq!(lab.count(|counters| &counters.datagrams_evicted), 1_000 - 256);
    assert_eq!(deliver(&mut lab, WEB1, &others[1..]), bytes_of(&others[1..]));
    // What gave way has no first part any more.
    let late = allowed(&v4(1, 3)).identification(0).cut(&[16]);
    assert_eq!(deliver(&mut lab, WEB0, &late[1..]), bytes_of(&[]));
    expect_all_home(&mut lab);
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut lab = Lab::new(&rules());
    let atomic = allowed(&v6(1, 3)).fragment(0, false);
    assert_eq!(
        deliver(&mut lab, WEB0, &[atomic.clone(), atomic.clone()]),
        bytes_of(&[atomic.clone(), atomic])
    );
    let parts = allowed(&v6(1, 3)).cut(&[16]);
    let out = deliver(&mut lab, WEB0, &[parts[0].clone(), allowed(&v6(1, 3)).fragment(0, false)]);
    assert_eq!(out.len(), 2, "it has nothing to do with parts of the same number (RFC 6946)");
    assert_eq!(deliver(&mut lab, WEB0, &parts[1..]), bytes_of(&parts[1..]));
    expect_all_home(&mut lab);
}

#[test]
fn more_headers_behind_a_fragment_header_are_refused() {
    let mut lab = Lab::new(&relationship("any", "any", "", "allow"));
    let options = |frame: Frame| frame.extension(44, &[0, 0, 1, 0, 0, 0, 1]).extension(60, &[0; 7]);
    let hidden = options(v6(1, 3)).udp(4_000, 53).payload(&[5; 48]);
    let later = v6(1, 3).extension(44, &[0, 0, 16, 0, 0, 0, 1]).extension(60, &[0; 7]).payload(&[0; 8]);
    assert_eq!(deliver(&mut lab, WEB0, &[hidden, later]), bytes_of(&[]));
    assert_eq!(lab.dropped(DropReason::ExtensionHeaders), 2);
}

#[test]
fn a_large_ping_passes_both_ways_and_only_to_who_asked() {
    for (asks, answers) in [(v4(1, 3), v4(3, 1)), (v6(1, 3), v6(3, 1))] {
        let mut lab = Lab::new(&rules());
        let request = asks.echo_request(7, 1).payload(&[9; 3_000]).cut(&[1_440, 2_880]);
        let reply = answers.clone().echo_reply(7, 1).payload(&[9; 3_000]).cut(&[1_400, 2_800]);
        let send = |lab: &mut Lab, device, parts: &[Frame]| {
            parts.iter().flat_map(|part| lab.send(device, part)).collect::<Vec<_>>()
        };
        assert_eq!(send(&mut lab, DB0, &reply), [], "an answer without a question");
        lab.wait(31);
        assert_eq!(send(&mut lab, WEB0, &request), [DB0; 3]);
        assert_eq!(send(&mut lab, DB0, &reply), [WEB0; 3]);
        let other = answers.clone().echo_reply(8, 1).identification(2).payload(&[9; 3_000]);
        assert_eq!(send(&mut lab, DB0, &other.cut(&[1_440])), []);
        let back = answers.echo_request(7, 1).identification(3).payload(&[9; 3_000]);
        assert_eq!(send(&mut lab, DB0, &back.cut(&[1_440])), []);
        expect_all_home(&mut lab);
    }
}

#[test]
fn messages_that_decide_more_than_their_own_passage_must_come_whole() {
    let all = relationship("any", "any", "", "allow");
    for frame in families() {
        let is_v4 = frame.clone().udp(1, 2).bytes()[12] == 8;
        let tcp = |flags| frame.clone().tcp(4_000, 5432, flags).payload(&[0; 64]);
        let error = if is_v4 { 3 } else { 1 };
        let quoted = frame.clone().udp(1, 2).payload(&[0; 64]).bytes();
        let mut cases = vec![
            tcp(SYN),
            tcp(TcpFlags::FIN | ACK),
            tcp(TcpFlags::RST),
            tcp(SYN | ACK),
            frame.clone().icmp(error, 1, [0; 4]).payload(&quoted[14..]),
            frame.clone().icmp(if is_v4 { 13 } else { 200 }, 0, [0; 4]).payload(&[0; 64]),
            frame.clone().udp(67, if is_v4 { 68 } else { 546 }).payload(&[2; 64]),
            frame.clone().udp(67, if is_v4 { 67 } else { 547 }).payload(&[2; 64]),
            frame.clone().sctp(1, 2).payload(&[1; 64]),
        ];
        match is_v4 {
            true => cases.extend([
                frame.clone().protocol(Protocol(2)).payload(&[0x16; 64]),
                frame.clone().icmp(5, 1, [10, 0, 0, 2]).payload(&[0; 64]),
            ]),
            false => cases.extend([
                frame.clone().neighbour_advertisement("fd00::1".parse().unwrap(), mac(1)),
                frame.clone().neighbour_redirect("fd00::1".parse().unwrap(), "fd00::9".parse().unwrap()),
                frame.clone().hop_limit(1).icmp(143, 0, [0; 4]).payload(&[0; 64]),
            ]),
        }
        let mut lab = Lab::new(&all);
        for (id, case) in (0..).zip(&cases) {
            let parts = case.clone().identification(id).cut(&[24]);
            assert_eq!(deliver(&mut lab, WEB0, &parts), bytes_of(&[]), "{case:?}");
        }
        let named = [DropReason::FragmentControl, DropReason::LinkFragment].map(|reason| lab.dropped(reason));
        assert_eq!(named.iter().sum::<u64>(), cases.len() as u64);
        // Their later parts have no first one.
        lab.wait(2);
        assert_eq!(lab.dropped(DropReason::FragmentTimeout), cases.len() as u64);
        expect_all_home(&mut lab);
    }
}

#[test]
fn data_of_a_connection_passes_in_parts_and_a_first_part_counts_what_it_carries() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let back = if frame.clone().udp(1, 2).bytes()[12] == 8 { v4(3, 1) } else { v6(3, 1) };
        assert_eq!(lab.send(WEB0, &frame.clone().tcp(4_000, 5432, SYN).numbers(99, 0, 60_000)), [DB0]);
        let answer = back.clone().tcp(5432, 4_000, SYN | ACK).numbers(499, 100, 60_000);
        assert_eq!(lab.send(DB0, &answer), [WEB0]);
        let data = frame.clone().tcp(4_000, 5432, ACK).numbers(100, 500, 60_000).payload(&[7; 300]);
        let parts = data.cut(&[104, 208]);
        assert_eq!(deliver(&mut lab, WEB0, &parts), bytes_of(&parts));
        let acknowledgment = back.tcp(5432, 4_000, ACK).numbers(500, 400, 60_000);
        assert_eq!(lab.send(DB0, &acknowledgment), [WEB0], "all of it is acknowledged");
        expect_all_home(&mut lab);
    }
}

#[test]
fn a_new_policy_ends_a_datagram_that_is_under_way() {
    for frame in families() {
        let mut lab = Lab::new(&rules());
        let parts = allowed(&frame).cut(&[16, 40]);
        assert_eq!(deliver(&mut lab, WEB0, &parts[..2]), bytes_of(&parts[..2]));
        lab.publish(&rules().replace("\"53\"", "\"54\""));
        assert_eq!(deliver(&mut lab, WEB0, &parts[2..]), bytes_of(&[]));
        assert_eq!(lab.dropped(DropReason::CutFlow), 1);
        // One that allows the flow as well does not disturb it.
        let mut lab = Lab::new(&rules());
        assert_eq!(deliver(&mut lab, WEB0, &parts[..2]), bytes_of(&parts[..2]));
        lab.publish(&format!("{}{}", rules(), relationship("Db", "Web", "protocol = \"UDP\"", "deny")));
        assert_eq!(deliver(&mut lab, WEB0, &parts[2..]), bytes_of(&parts[2..]));
        expect_all_home(&mut lab);
    }
}

#[test]
fn parts_to_a_group_reach_every_member_whole() {
    let mut lab = Lab::new(&relationship("Web", "multicast", "protocol = \"UDP\"", "allow"));
    let to_group =
        Frame::between(mac(1), Mac([1, 0, 0x5e, 1, 1, 1])).ip([10, 0, 0, 1].into(), [239, 1, 1, 1].into());
    let parts = to_group.udp(4_000, 53).payload(&[5; 53]).cut(&[16, 40]);
    for number in [1, 0, 2] {
        let devices = lab.send(WEB0, &parts[number]);
        let expected = match number {
            1 => vec![],
            0 => vec![WEB1, WEB1, DB0, DB0, UP0, UP0],
            _ => vec![WEB1, DB0, UP0],
        };
        assert_eq!(devices, expected);
    }
    expect_all_home(&mut lab);
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}

/// Returns places at which a datagram of so many bytes may be cut: all multiples of 8, at least 8.
fn places(rng: &mut Rng, l4_bytes: usize) -> Vec<usize> {
    let units = l4_bytes.div_ceil(8);
    let mut places: Vec<usize> = (0..1 + below(rng, 4)).map(|_| 8 * (1 + below(rng, units - 1))).collect();
    places.retain(|place| *place < l4_bytes);
    places.sort_unstable();
    places.dedup();
    places
}

/// Brings the elements into a random order.
fn shuffle<T>(rng: &mut Rng, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        list.swap(at, below(rng, at + 1));
    }
}

#[test]
fn random_datagrams_cut_and_mixed_arrive_whole_or_not_at_all() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut lab = Lab::new(&rules());
        for round in 0..4u16 {
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for number in 0..3u16 {
                let frame = if rng.below(2) == 0 { v4(1, 3) } else { v6(1, 3) };
                let port = if rng.below(2) == 0 { 53 } else { 99 };
                let payload: Vec<u8> =
                    (0..32 + rng.below(1_200)).map(|_| rng.below(256).to_le_bytes()[0]).collect();
                let datagram = frame.udp(4_000, port).payload(&payload).identification(round * 3 + number);
                let parts = datagram.cut(&places(&mut rng, datagram.l4_bytes()));
                if port == 53 {
                    expected.extend(bytes_of(&parts));
                }
                sent.extend(parts);
            }
            shuffle(&mut rng, &mut sent);
            let copies: Vec<_> = sent.iter().filter(|_| rng.below(4) == 0).cloned().collect();
            for copy in copies {
                let at = sent.iter().position(|part| part.bytes() == copy.bytes()).unwrap();
                sent.insert(at, copy);
            }
            let mut out = deliver(&mut lab, WEB0, &sent);
            // A copy behind the end of its datagram begins another one: if it is a first part, it passes once more.
            out.sort();
            out.dedup();
            expected.sort();
            assert_eq!(out, expected, "seed {seed} round {round}");
        }
        lab.wait(2);
        expect_all_home(&mut lab);
    }
}

#[test]
fn all_parts_of_a_datagram_are_judged_by_one_of_several_workers() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut lab = Lab::with_workers(3, &rules(), |_| {});
        for (id, frame) in (0..).zip([v4(1, 3), v6(1, 3), v4(2, 3), v6(2, 3)]) {
            let from = if frame.bytes()[11] == 1 { WEB0 } else { WEB1 };
            let mut parts = allowed(&frame).identification(id).cut(&[16, 32, 48]);
            shuffle(&mut rng, &mut parts);
            let mut out = deliver(&mut lab, from, &parts);
            let mut expected = bytes_of(&parts);
            out.sort();
            expected.sort();
            assert_eq!(out, expected, "seed {seed}");
            let parts = refused(&frame).identification(id).cut(&[16, 32, 48]);
            assert_eq!(deliver(&mut lab, from, &parts), bytes_of(&[]), "seed {seed}");
        }
        expect_all_home(&mut lab);
    }
}

#[test]
fn time_goes_on_for_parts_while_nothing_arrives() {
    let mut lab = Lab::new(&rules());
    deliver(&mut lab, WEB0, &allowed(&v4(1, 3)).cut(&[16])[..1]);
    lab.turn();
    assert_eq!(lab.count(|counters| &counters.datagrams_live), 1);
    lab.now += 31 * SECOND;
    lab.turn();
    assert_eq!(lab.count(|counters| &counters.datagrams_live), 0);
}
