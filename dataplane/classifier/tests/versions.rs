//! A compiler that saw earlier versions compiles the next one to what a full rebuild gives.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

#[path = "random/edits.rs"]
mod edits;
#[path = "random/generator.rs"]
mod generator;

use edits::Edit;
use generator::{Boundaries, Random};
use meshgate_classifier::{Classifier, ColumnBudget, Compiler, Judgement};
use meshgate_policy::{Policy, PolicyKey, Rule, RuleId};
use std::sync::Arc;

/// Policies that versions begin with.
const POLICIES: u64 = 120;
/// Versions of each.
const VERSIONS: u64 = 16;
/// Packets each version is asked about.
const PACKETS: usize = 48;

/// Returns a budget, mostly one that gives forms of columns up.
fn budget(random: &mut Random) -> ColumnBudget {
    let cells_max = random.pick(&[0, 400, 2_000, 1 << 20]);
    let merges_max = random.pick(&[0, 1, 4, 64]);
    let plain_blocks_max = random.pick(&[0, 4, 1 << 14]);
    let set_words_max = random.pick(&[0, 1 << 21]);
    ColumnBudget { cells_max, merges_max, plain_blocks_max, set_words_max, ..ColumnBudget::default() }
}

/// Compares the answers of a classifier with the linear scan.
fn compare(policy: &Policy, classifier: &Classifier, random: &mut Random) {
    let boundaries = Boundaries::of(policy);
    let keys: Vec<PolicyKey> = (0..PACKETS).map(|_| boundaries.packet(random)).collect();
    let mut judgements: Vec<Judgement> = keys.iter().map(|key| classifier.classify(key)).collect();
    classifier.classify_burst(&keys, &mut judgements);
    for (key, judgement) in keys.iter().zip(judgements) {
        assert_eq!(judgement.decision, policy.decide(key), "version {}: {key:?}", policy.version.0);
        assert_eq!(judgement.shadow, policy.decide_shadow(key), "version {}: {key:?}", policy.version.0);
    }
}

#[test]
fn every_version_judges_like_its_linear_scan() {
    for seed in 0..POLICIES {
        let mut random = Random::new(seed);
        let mut policy = generator::policy(&mut random);
        let mut compiler = Compiler::within(budget(&mut random));
        for version in 0..VERSIONS {
            let current = Arc::new(policy.clone());
            let classifier =
                compiler.compile(&current).unwrap_or_else(|error| panic!("seed {seed}, {version}: {error}"));
            compare(&current, &classifier, &mut random);
            edits::edit(&mut policy, &mut random);
        }
    }
}

#[test]
fn what_is_kept_leads_to_the_tables_of_a_full_rebuild() {
    let (mut same, mut within) = (0, 0);
    for seed in 0..2 * POLICIES {
        let mut random = Random::new(seed);
        let mut policy = generator::policy(&mut random);
        let budget = budget(&mut random);
        let mut compiler = Compiler::within(budget);
        compiler.compile(&Arc::new(policy.clone())).unwrap();
        let edit = edits::edit(&mut policy, &mut random);
        let kept = compiler.compile(&Arc::new(policy.clone())).unwrap();
        let whole = Classifier::compile_within(&policy, budget).unwrap();
        let is_same = format!("{kept:?}") == format!("{whole:?}");
        same += u64::from(is_same);
        within += u64::from(edit == Edit::RuleWithin);
        // Rules that go may leave names behind which the columns still know; and the choice of a form may be kept.
        let is_alike = kept.footprint().columns_per_class == whole.footprint().columns_per_class;
        assert!(is_same || edit != Edit::RuleWithin || !is_alike, "seed {seed}: other tables");
    }
    println!("{} versions, {same} of the same tables, {within} with an edit of one rule's own", 2 * POLICIES);
    assert!(same > POLICIES && within > POLICIES / 2, "{same} the same, {within} within");
}

#[test]
fn sets_of_every_length_are_right_and_those_that_become_too_large_are_given_up() {
    let mut random = Random::new(3);
    let small =
        (0..).map(|_| generator::policy(&mut random)).find(|policy| policy.rules.len() == 40).unwrap();
    let with_rules = |count: u32| {
        let mut policy = small.clone();
        let rule =
            |at: u32| Rule { id: RuleId(at + 1), ..small.rules[at as usize % small.rules.len()].clone() };
        policy.rules = (0..count).map(rule).collect();
        policy.rules.sort_by_key(Rule::order);
        Arc::new(policy)
    };
    let budget = ColumnBudget { cells_max: 0, ..ColumnBudget::default() };
    let mut compiler = Compiler::within(budget);
    let mut has_sets = Vec::new();
    for count in [200, 300, 600, 900, 2_000, 4_000, 4_070, 4_096, 4_200] {
        let policy = with_rules(count);
        let classifier = compiler.compile(&policy).unwrap();
        has_sets.push(classifier.footprint().columns_per_class == [0, 0]);
        compare(&policy, &classifier, &mut random);
    }
    assert_eq!(has_sets, [true, true, true, true, true, true, true, false, false]);
}
