//! The compiled policy against the linear scan: decision, place of the rule and shadow, one by one and in bursts, for any
//! policy and any packet of an input, however the columns were chosen.
//!
//! An input is a byte that chooses the budget of columns, a word that says where the packets begin, packets, a policy.

use super::input::Input;
use crate::generator::{self, Boundaries, Random};
use meshgate_dataplane::classifier::{BURST_KEYS, Classifier, ColumnBudget, Judgement};
use meshgate_policy::{L4Key, Policy, PolicyKey, Protocol, SegmentId};
use std::net::IpAddr;

/// Packets of an input's own, and packets at the boundaries of its policy.
const OWN_PACKETS_MAX: usize = 16;
const BOUNDARY_PACKETS: usize = 112;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cells_max = input.one_of(&[0, 1, 100, 400, 2_000, 1 << 20]);
    let own_packets = input.below(OWN_PACKETS_MAX + 1);
    let mut keys: Vec<PolicyKey> = (0..own_packets).map(|_| own_packet(&mut input)).collect();
    let mut random = Random::of(input.rest());
    let policy = generator::policy(&mut random);
    let budget = ColumnBudget { cells_max, ..ColumnBudget::default() };
    let classifier = Classifier::compile_within(&policy, budget).expect("a small policy in order compiles");
    let boundaries = Boundaries::of(&policy);
    keys.extend((0..BOUNDARY_PACKETS).map(|_| boundaries.packet(&mut random)));
    let judgements: Vec<Judgement> = keys.iter().map(|key| check(&classifier, &policy, key)).collect();
    let mut bursts = judgements.iter().rev().copied().collect::<Vec<_>>();
    for (keys, judgements) in keys.chunks(BURST_KEYS - 1).zip(bursts.chunks_mut(BURST_KEYS - 1)) {
        classifier.classify_burst(keys, judgements);
    }
    assert!(bursts == judgements, "a burst is judged unlike its packets");
}

fn check(classifier: &Classifier, policy: &Policy, key: &PolicyKey) -> Judgement {
    let judgement = classifier.classify(key);
    let decision = policy.decide(key);
    assert_eq!(judgement.decision, decision, "{key:?}");
    assert_eq!(judgement.shadow, policy.decide_shadow(key), "shadow: {key:?}");
    let place = decision.rule.and_then(|id| policy.rules.iter().position(|rule| rule.id == id));
    assert_eq!(judgement.rule_index.map(|at| usize::try_from(at).unwrap()), place, "place: {key:?}");
    judgement
}

/// Returns a packet of any addresses, or of ones near those that policies name.
fn own_packet(input: &mut Input<'_>) -> PolicyKey {
    let control = input.byte();
    let address = |input: &mut Input<'_>| -> IpAddr {
        match (control & 1 == 0, control & 2 == 0) {
            (true, true) => [10, 0, input.byte() % 4, input.byte()].into(),
            (true, false) => [input.byte(), input.byte(), input.byte(), input.byte()].into(),
            (false, true) => {
                [0xfd00, 0, 0, 0, 0, 0, u16::from(input.byte() % 4), u16::from(input.byte())].into()
            }
            (false, false) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(&std::array::from_fn::<u8, 8, _>(|_| input.byte()));
                octets[15] = input.byte();
                octets.into()
            }
        }
    };
    PolicyKey {
        segment: SegmentId(u16::from(control >> 2) % 5),
        source: address(input),
        destination: address(input),
        l4: L4Key {
            protocol: Protocol(input.byte()),
            source_port: input.word(),
            destination_port: input.word(),
        },
    }
}
