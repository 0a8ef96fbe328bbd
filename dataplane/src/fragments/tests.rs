//! Tests of the table alone, with numbers as waiting parts.

use super::*;
use crate::flow_table::KeyedHash;
use crate::packet::build::Frame;
use crate::packet::{IpPacket, Packet, ParseContext};
use meshgate_policy::{Mac, PolicyVersion, SegmentId, Stage};

const SECOND: u64 = 1_000_000_000;
const ENDPOINT: Origin = Origin { segment: SegmentId::DEFAULT, device: 3, is_uplink: false };

/// A table with parts that are told apart by numbers, and the time.
struct Bench {
    table: FragmentTable<u32>,
    now: u64,
    generation: u64,
    numbers: u32,
    origin: Origin,
}

/// How a part ended.
type End = Result<&'static str, DropReason>;

impl Bench {
    fn new(waiting_frames_max: u32) -> Self {
        let table = FragmentTable::new(waiting_frames_max, KeyedHash::seeded(1));
        Self { table, now: SECOND, generation: 1, numbers: 0, origin: ENDPOINT }
    }

    /// Returns the end of a part; a first part is allowed or refused as the caller wants.
    fn arrive(&mut self, part: &Frame, is_allowed: bool) -> End {
        let ip = ip_of(part);
        let arrival = Arrival::of(&ip, self.origin, 1, (self.generation, self.now)).unwrap();
        match self.table.admit(&arrival)? {
            Admission::Follow(_) => Ok("follows"),
            Admission::Refuse(_) => Err(DropReason::FragmentRefused),
            Admission::Wait(index) => {
                self.numbers += 1;
                self.table.wait(index, self.numbers, 1);
                Ok("waits")
            }
            Admission::Judge(index) => {
                self.table.decide(index, self.fate(is_allowed, &ip));
                Ok("judged")
            }
        }
    }

    fn fate(&self, is_allowed: bool, ip: &IpPacket) -> Fate {
        let grounds = Grounds { version: PolicyVersion(1), stage: Stage::Rules, rule: None };
        let place = FlowPlace::of(self.origin.segment, ip, &KeyedHash::seeded(1));
        match is_allowed {
            true => Fate::Allowed(Allowance {
                grounds,
                generation: self.generation,
                place,
                number_at_header: None,
            }),
            false => Fate::Refused(grounds),
        }
    }

    /// Takes what waits no more: numbers in order, and how they end.
    fn returned(&mut self) -> Vec<(u32, Result<(), DropReason>)> {
        std::iter::from_fn(|| self.table.take_returned()).map(|r| (r.part, r.outcome)).collect()
    }
}

fn ip_of(frame: &Frame) -> IpPacket {
    let bytes = frame.bytes();
    *Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap().ip().unwrap()
}

/// Returns a datagram of four parts, of each family.
fn datagrams(id: u16) -> [Vec<Frame>; 2] {
    let frame = Frame::between(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")].map(|(source, destination)| {
        let frame = frame.clone().ip(source.parse().unwrap(), destination.parse().unwrap());
        frame.identification(id).udp(1, 2).payload(&[7; 53]).cut(&[16, 32, 48])
    })
}

#[test]
fn parts_behind_the_first_one_inherit_what_was_decided_of_it() {
    for parts in datagrams(9) {
        let mut bench = Bench::new(8);
        assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
        assert_eq!(bench.arrive(&parts[1], true), Ok("follows"));
        assert_eq!(bench.arrive(&parts[3], true), Ok("follows"));
        assert_eq!(bench.arrive(&parts[2], true), Ok("follows"));
        assert_eq!(bench.table.live(), 0, "what is complete is forgotten");
        assert_eq!(bench.arrive(&parts[0], false), Ok("judged"));
        assert_eq!(bench.arrive(&parts[1], true), Err(DropReason::FragmentRefused));
        assert_eq!(bench.arrive(&parts[2], true), Err(DropReason::FragmentRefused));
        assert_eq!(bench.arrive(&parts[3], true), Err(DropReason::FragmentRefused));
        assert_eq!(bench.table.live(), 0);
    }
}

#[test]
fn early_parts_are_given_back_in_the_order_in_which_they_came() {
    for parts in datagrams(9) {
        for (is_allowed, outcome) in [(true, Ok(())), (false, Err(DropReason::FragmentRefused))] {
            let mut bench = Bench::new(64);
            for part in [&parts[3], &parts[1], &parts[2]] {
                assert_eq!(bench.arrive(part, true), Ok("waits"));
            }
            assert_eq!((bench.returned(), bench.table.waiting_frames()), (vec![], 3));
            assert_eq!(bench.arrive(&parts[0], is_allowed), Ok("judged"));
            assert_eq!(bench.returned(), [1, 2, 3].map(|number| (number, outcome)));
            assert_eq!((bench.table.live(), bench.table.waiting_frames()), (0, 0));
        }
    }
}

#[test]
fn an_overlap_poisons_the_datagram_and_ends_what_waits() {
    for parts in datagrams(9) {
        let mut bench = Bench::new(64);
        let [whole, ..] = &parts[..] else { panic!() };
        assert_eq!(bench.arrive(&parts[2], true), Ok("waits"));
        let overlapping = whole.clone().payload(&[1; 16]).fragment(24, true);
        assert_eq!(bench.arrive(&overlapping, true), Err(DropReason::FragmentOverlap));
        assert_eq!(bench.returned(), [(1, Err(DropReason::FragmentOverlap))]);
        for part in &parts {
            assert_eq!(bench.arrive(part, true), Err(DropReason::FragmentOverlap));
        }
        bench.now += DATAGRAM_NS;
        assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
    }
}

#[test]
fn copies_end_alone_before_and_behind_the_first_part() {
    for parts in datagrams(9) {
        let mut bench = Bench::new(64);
        assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
        assert_eq!(bench.arrive(&parts[1], true), Err(DropReason::FragmentDuplicate));
        assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
        assert_eq!(bench.arrive(&parts[0], true), Err(DropReason::FragmentDuplicate));
        assert_eq!(bench.arrive(&parts[2], true), Ok("follows"));
        assert_eq!(bench.arrive(&parts[3], true), Ok("follows"));
    }
}

#[test]
fn parts_that_wait_in_vain_end_after_a_second_and_a_datagram_after_thirty() {
    let [parts, others] = datagrams(9);
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
    assert_eq!(bench.arrive(&others[0], true), Ok("judged"));
    bench.now += WAITING_NS - 1;
    assert!(!bench.table.expire(bench.now));
    assert_eq!(bench.returned(), []);
    bench.now += 1;
    bench.table.expire(bench.now);
    assert_eq!(bench.returned(), [(1, Err(DropReason::FragmentTimeout))]);
    assert_eq!(bench.table.live(), 1);
    bench.now = SECOND + DATAGRAM_NS - 1;
    bench.table.expire(bench.now);
    assert_eq!(bench.table.live(), 1);
    bench.now += 1;
    bench.table.expire(bench.now);
    assert_eq!(bench.table.live(), 0);
}

#[test]
fn a_first_part_that_comes_too_late_does_not_find_what_waited() {
    let [parts, _] = datagrams(9);
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
    bench.now += WAITING_NS;
    assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
    assert_eq!(bench.returned(), [(1, Err(DropReason::FragmentTimeout))]);
}

#[test]
fn what_waited_under_another_policy_does_not_follow() {
    let [parts, _] = datagrams(9);
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
    bench.generation = 2;
    assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
    assert_eq!(bench.returned(), [(1, Err(DropReason::FragmentRefused))]);
}

#[test]
fn device_segment_protocol_and_number_tell_datagrams_apart() {
    let [parts, _] = datagrams(9);
    let [others, _] = datagrams(10);
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&parts[0], true), Ok("judged"));
    assert_eq!(bench.arrive(&others[1], true), Ok("waits"));
    assert_eq!(bench.arrive(&parts[1].clone().protocol(meshgate_policy::Protocol(254)), true), Ok("waits"));
    bench.origin.device += 1;
    assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
    bench.origin = Origin { segment: SegmentId(77), ..ENDPOINT };
    assert_eq!(bench.arrive(&parts[1], true), Ok("waits"));
    bench.origin = ENDPOINT;
    assert_eq!(bench.arrive(&parts[1], true), Ok("follows"));
}

#[test]
fn one_sender_fills_its_share_of_the_waiting_room_and_no_more() {
    let mut bench = Bench::new(64);
    let waits = |bench: &mut Bench| {
        let of_id = |id| bench.arrive(&datagrams(id)[0][1], true);
        (0..200).map(of_id).filter(|end| *end == Ok("waits")).count()
    };
    assert_eq!(waits(&mut bench), 16);
    bench.origin.device += 1;
    assert_eq!(waits(&mut bench), 16);
    assert_eq!(bench.arrive(&datagrams(999)[0][1], true), Err(DropReason::FragmentEarly));
    // A part that finds no room leaves nothing behind.
    assert_eq!(bench.table.live(), 32);
}

#[test]
fn of_one_sender_the_oldest_datagram_gives_way_and_others_stay() {
    let mut bench = Bench::new(64);
    let first = |id| datagrams(id)[0][0].clone();
    bench.origin.device = 9;
    assert_eq!(bench.arrive(&first(1), true), Ok("judged"));
    bench.origin.device = 3;
    for id in 0..10_000 {
        assert_eq!(bench.arrive(&first(id), true), Ok("judged"));
    }
    let share = DATAGRAMS_MAX / SENDER_SHARE;
    assert_eq!((bench.table.live(), bench.table.evicted()), (share + 1, u64::from(10_000 - share)));
    assert_eq!(bench.arrive(&datagrams(9_999)[0][1], true), Ok("follows"));
    assert_eq!(bench.arrive(&datagrams(0)[0][1], true), Ok("waits"));
    bench.origin.device = 9;
    assert_eq!(bench.arrive(&datagrams(1)[0][1], true), Ok("follows"));
}

#[test]
fn strangers_with_invented_addresses_leave_the_endpoints_half_alone() {
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&datagrams(1)[0][0], true), Ok("judged"));
    bench.origin = Origin { device: 7, is_uplink: true, ..ENDPOINT };
    for number in 0..3 * DATAGRAMS_MAX {
        let [_, _, high, low] = number.to_be_bytes();
        let frame = Frame::between(Mac([2, 0, 0, 0, 0, 9]), Mac([2, 0, 0, 0, 0, 2]));
        let frame = frame.ip([192, 0, high, low].into(), [10, 0, 0, 2].into()).udp(1, 2).payload(&[0; 24]);
        assert_eq!(bench.arrive(&frame.part(0..16, true), true), Ok("judged"));
    }
    assert_eq!(bench.table.live(), DATAGRAMS_MAX + 1);
    bench.origin = ENDPOINT;
    assert_eq!(bench.arrive(&datagrams(1)[0][1], true), Ok("follows"));
}

#[test]
fn too_many_parts_end_the_datagram() {
    let frame = Frame::between(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let frame = frame.ip([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).udp(1, 2).payload(&[0; 8 * 300]);
    let mut bench = Bench::new(64);
    assert_eq!(bench.arrive(&frame.part(0..8, true), true), Ok("judged"));
    for number in 1..PARTS_MAX {
        assert_eq!(bench.arrive(&frame.part(number * 16..number * 16 + 8, true), true), Ok("follows"));
    }
    let more = frame.part(8..16, true);
    assert_eq!(bench.arrive(&more, true), Err(DropReason::FragmentLimit));
    assert_eq!(bench.arrive(&frame.part(24..32, true), true), Err(DropReason::FragmentLimit));
}

#[test]
fn random_parts_leave_nothing_behind() {
    let mut rng = meshgate_policy::generate::Rng::new(11);
    let mut bench = Bench::new(40);
    let (mut waiting, mut back) = (0, 0);
    let datagrams: Vec<_> = (0..60).map(datagrams).collect();
    for _ in 0..100_000 {
        let id = usize::try_from(rng.below(60)).unwrap();
        let family = usize::try_from(rng.below(2)).unwrap();
        let part = usize::try_from(rng.below(4)).unwrap();
        bench.origin.device = u16::try_from(rng.below(3)).unwrap();
        let end = bench.arrive(&datagrams[id][family][part], rng.below(2) == 0);
        waiting += usize::from(end == Ok("waits"));
        back += bench.returned().len();
        bench.now += rng.below(SECOND / 50);
        if rng.below(10) == 0 {
            bench.table.expire(bench.now);
            back += bench.returned().len();
        }
        assert_eq!(bench.table.waiting_frames() as usize, waiting - back);
    }
    bench.table.clear();
    back += bench.returned().len();
    assert_eq!((waiting, bench.table.live(), bench.table.waiting_frames()), (back, 0, 0));
}
