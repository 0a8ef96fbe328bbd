//! The classifier against the linear scan, on seeded random policies and packets drawn at their boundaries.
//!
//! `MESHGATE_ORACLE_PAIRS` sets the number of (policy, packet) pairs, `MESHGATE_ORACLE_SEED` the first policy's seed.

#[path = "random/generator.rs"]
mod generator;

use generator::{Boundaries, Random};
use meshgate_classifier::{BURST_KEYS, Classifier, ColumnBudget, Judgement, ProofBudget};
use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::{Policy, PolicyKey, Stage};

/// Pairs that are compared unless the environment says otherwise.
const PAIRS: u64 = 1_000_000;
/// Packets a policy: enough that compiling does not outweigh looking up.
const PACKETS_PER_POLICY: u64 = 320;

/// What the compared packets were like.
#[derive(Clone, Copy, Default)]
struct Census {
    pairs: u64,
    rules: u64,
    membership: u64,
    default: u64,
    three_matches: u64,
    ties: u64,
    shadows: u64,
    ipv6: u64,
    /// Policies that are judged by sets of ranks.
    sets: u64,
}

impl Census {
    fn add(&mut self, policy: &Policy, key: &PolicyKey, judgement: &Judgement) {
        self.pairs += 1;
        match judgement.decision.stage {
            Stage::Rules => self.rules += 1,
            Stage::Membership => self.membership += 1,
            _ => self.default += 1,
        }
        self.shadows += u64::from(judgement.shadow.is_some());
        self.ipv6 += u64::from(key.source.is_ipv6());
        let enforced = policy.rules.iter().filter(|rule| !rule.shadow);
        let matching: Vec<_> = enforced.filter(|rule| policy.rule_matches(rule, key)).take(3).collect();
        self.three_matches += u64::from(matching.len() == 3);
        let is_tie = matching.len() > 1 && matching[0].priority == matching[1].priority;
        self.ties += u64::from(is_tie);
    }

    fn merge(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            rules: self.rules + other.rules,
            membership: self.membership + other.membership,
            default: self.default + other.default,
            three_matches: self.three_matches + other.three_matches,
            ties: self.ties + other.ties,
            shadows: self.shadows + other.shadows,
            ipv6: self.ipv6 + other.ipv6,
            sets: self.sets + other.sets,
        }
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Compares one policy with its oracle on packets of its own; the seed makes both.
fn compare(seed: u64, census: &mut Census) {
    let mut random = Random::new(seed);
    let policy = generator::policy(&mut random);
    let cells_max = random.pick(&[0, 0, 100, 400, 2_000, 1 << 20]);
    let plain_blocks_max = random.pick(&[0, 1, 1 << 14]);
    let set_words_max = random.pick(&[0, 1 << 21]);
    let budget = ColumnBudget { cells_max, plain_blocks_max, set_words_max, ..ColumnBudget::default() };
    let classifier =
        Classifier::compile_within(&policy, budget).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    census.sets += u64::from(classifier.footprint().columns_per_class == [0, 0]);
    let boundaries = Boundaries::of(&policy);
    let keys: Vec<PolicyKey> = (0..PACKETS_PER_POLICY).map(|_| boundaries.packet(&mut random)).collect();
    let mut judgements: Vec<Judgement> = keys.iter().map(|key| classifier.classify(key)).collect();
    for (key, judgement) in keys.iter().zip(&judgements) {
        let decision = policy.decide(key);
        assert_eq!(judgement.decision, decision, "seed {seed}: {key:?}");
        assert_eq!(judgement.shadow, policy.decide_shadow(key), "seed {seed}, shadow: {key:?}");
        let place = decision.rule.and_then(|id| policy.rules.iter().position(|rule| rule.id == id));
        assert_eq!(judgement.rule_index.map(|at| at as usize), place, "seed {seed}, place: {key:?}");
        census.add(&policy, key, judgement);
    }
    let scalar = judgements.clone();
    judgements.reverse();
    // Bursts of every length, full ones included.
    let mut rest = (keys.as_slice(), judgements.as_mut_slice());
    while !rest.0.is_empty() {
        let length = random.pick(&[1, 2, 3, 17, BURST_KEYS - 1, BURST_KEYS]).min(rest.0.len());
        let (now, later) = rest.1.split_at_mut(length);
        classifier.classify_burst(&rest.0[..length], now);
        rest = (&rest.0[length..], later);
    }
    assert!(judgements == scalar, "seed {seed}: a burst is judged unlike its packets");
}

#[test]
fn the_classifier_says_what_the_linear_scan_says() {
    let pairs = from_environment("MESHGATE_ORACLE_PAIRS", PAIRS);
    let first = from_environment("MESHGATE_ORACLE_SEED", 0x6d65_7368);
    let policies = pairs.div_ceil(PACKETS_PER_POLICY);
    let count = |offset: u64| {
        let mut census = Census::default();
        (offset..policies).step_by(2).for_each(|i| compare(first + i, &mut census));
        census
    };
    let census = std::thread::scope(|scope| {
        let other = scope.spawn(|| count(1));
        let own = count(0);
        own.merge(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let share = |part: u64| part as f64 / census.pairs as f64 * 100.0;
    println!(
        "{} policies, {} pairs: rules {:.1} %, membership {:.1} %, default {:.1} %, three matches {:.1} %, \
         ties {:.1} %, shadow differs {:.1} %, IPv6 {:.1} %; {} policies by sets of ranks",
        policies,
        census.pairs,
        share(census.rules),
        share(census.membership),
        share(census.default),
        share(census.three_matches),
        share(census.ties),
        share(census.shadows),
        share(census.ipv6),
        census.sets,
    );
    assert!(census.pairs >= pairs);
    assert!(share(census.rules) >= 40.0, "too few packets meet a rule");
    assert!(share(census.membership) >= 5.0 && share(census.default) >= 5.0, "a stage is hardly tested");
    assert!(share(census.three_matches) >= 5.0 && share(census.ties) >= 5.0, "order is hardly tested");
    assert!(share(census.shadows) >= 3.0 && share(census.ipv6) >= 20.0, "shadow or IPv6 is hardly tested");
    assert!(census.sets * 20 >= policies, "sets of ranks are hardly tested");
}

#[test]
fn the_proof_finds_no_difference_in_small_policies() {
    let (mut exhaustive, mut packets) = (0, 0);
    for seed in 0..60 {
        let policy = generator::policy(&mut Random::new(seed));
        let classifier = Classifier::compile(&policy).unwrap();
        let budget = ProofBudget { steps_max: 1_600_000, draws: 23, seed };
        let proof = classifier.prove(&policy, budget).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        exhaustive += u32::from(proof.exhaustive);
        packets += proof.packets;
    }
    println!("60 proofs, {exhaustive} of them exhaustive, {packets} packets");
    assert!((10..60).contains(&exhaustive), "both ways are meant to be taken");
}

#[test]
fn the_proof_finds_a_classifier_of_another_policy() {
    let mut found = 0;
    for seed in 0..40 {
        let policy = generator::policy(&mut Random::new(seed));
        let mut other = policy.clone();
        let Some(rule) = other.rules.iter_mut().find(|rule| !rule.shadow) else { continue };
        rule.id.0 += 1;
        let classifier = Classifier::compile(&other).unwrap();
        let budget = ProofBudget { steps_max: 1, draws: 64, seed };
        found += u32::from(classifier.prove(&policy, budget).is_err());
    }
    assert!(found >= 20, "a changed rule was found in {found} policies only");
}

#[test]
fn policies_as_people_write_them_are_judged_as_the_scan_judges_them() {
    let some_cells = ColumnBudget { cells_max: 20_000, ..ColumnBudget::default() };
    let (mut packets, mut decided) = (0u64, 0u64);
    for seed in 0..30 {
        let shape = if seed % 10 == 0 { Shape::new(150, 40, 200) } else { Shape::default() };
        let policy = generate::policy(seed, shape);
        let classifiers = [ColumnBudget::NONE, some_cells, ColumnBudget::default()]
            .map(|budget| Classifier::compile_within(&policy, budget).unwrap());
        let mut rng = Rng::new(seed);
        for key in (0..400).map(|_| generate::packet(&policy, &mut rng)) {
            let (decision, shadow) = (policy.decide(&key), policy.decide_shadow(&key));
            for classifier in &classifiers {
                let judgement = classifier.classify(&key);
                assert_eq!(judgement.decision, decision, "seed {seed}: {key:?}");
                assert_eq!(judgement.shadow, shadow, "seed {seed}: {key:?}");
            }
            packets += 1;
            decided += u64::from(decision.rule.is_some());
        }
    }
    println!("{packets} packets of policies as people write them, {} % meet a rule", decided * 100 / packets);
    assert!(decided * 5 >= packets, "too few packets meet a rule");
}
