//! The whole way from windows to suggestions and back: what the demonstration shows, without a network.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use meshgate_learner::analyst::{Analyst, AnalystSettings};
use meshgate_learner::checkpoint;
use meshgate_learner::detector::DetectorConfig;
use meshgate_learner::draft_key::DraftKey;
use meshgate_learner::feedback::{Answer, Verdict};
use meshgate_learner::justification::check_numbers;
use meshgate_learner::series::{ClosedWindow, Parties, Party, SeriesKey, SeriesSums, Window};
use meshgate_learner::train::Hyperparameters;
use meshgate_policy::generate::Rng;
use meshgate_policy::suggestion::{Origin, Reason, Suggestion};
use meshgate_policy::{AuthoredPolicy, Numbering, Policy, PolicyVersion, resolve};
use std::collections::BTreeSet;

const GROUPS: [&str; 4] = ["WebServers", "DatabaseServers", "DevNodes", "ProductionServers"];
const START_S: u64 = 1_790_000_000;

/// The laboratory of the demonstration: four groups of two endpoints each.
struct World {
    policy: Policy,
    groups: Vec<u32>,
    parties: Parties,
    told: usize,
    rng: Rng,
    second: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut text = String::from("default_action = 'allow'\n");
        for (group, name) in GROUPS.iter().enumerate() {
            for endpoint in 0..2 {
                text += &format!(
                    "[[endpoints]]\nname = 'e{group}{endpoint}'\nmac = '02:00:00:00:0{group}:0{endpoint}'\n\
                     addresses = ['10.77.{group}.{endpoint}']\nlabels = {{ group = '{name}' }}\n"
                );
            }
            text += &format!("[[groups]]\nname = '{name}'\nselector = {{ group = '{name}' }}\n");
        }
        let mut authored: AuthoredPolicy = toml::from_str(&text).unwrap();
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        let policy = resolve(&authored, &numbering, PolicyVersion(1)).unwrap();
        let number =
            |name: &&str| policy.groups.iter().find(|group| group.name.as_str() == *name).unwrap().id.0;
        let groups = GROUPS.iter().map(number).collect();
        Self { policy, groups, parties: Parties::default(), told: 0, rng: Rng::new(seed), second: 0 }
    }

    fn key(&mut self, source: usize, destination: usize, port: u16) -> SeriesKey {
        let mut party = |at: usize| self.parties.number(&Party::Groups([self.groups[at]].into())).unwrap();
        let (source, destination) = (party(source), party(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: port }
    }

    fn sums(&mut self, flows: u64, is_answered: bool) -> SeriesSums {
        let (forward, reverse) = (500 + self.rng.below(80), 900 + self.rng.below(300));
        SeriesSums {
            flows,
            answered: if is_answered { flows } else { 0 },
            packets_forward: 6 * flows,
            packets_reverse: if is_answered { 5 * flows } else { 0 },
            bytes_forward: forward * flows,
            bytes_reverse: if is_answered { reverse * flows } else { 0 },
            sources: 2,
            destinations: 1,
            policy_version: 1,
            ..SeriesSums::default()
        }
    }

    /// Returns a second of the usual traffic, with `shells` attempts from DevNodes to port 22 of ProductionServers.
    fn window(&mut self, shells: u64) -> ClosedWindow {
        let mut series = Vec::new();
        for (source, destination, port, most) in
            [(0, 1, 80, 4), (0, 1, 5432, 2), (2, 0, 80, 2), (0, 0, 80, 1)]
        {
            let flows = self.rng.below(most) + 1;
            series.push((self.key(source, destination, port), self.sums(flows, true)));
        }
        if shells > 0 {
            series.push((self.key(2, 3, 22), self.sums(shells, true)));
        }
        series.sort_unstable_by_key(|(key, _)| *key);
        let window = Window { start_s: START_S + self.second, width_s: 1, series, ..Window::default() };
        self.second += 1;
        let closed =
            ClosedWindow { window, first_party: self.told, parties: self.parties.since(self.told).to_vec() };
        self.told = self.parties.len();
        closed
    }
}

fn settings(seed: u64) -> AnalystSettings {
    let mut settings = AnalystSettings {
        window_s: 1,
        detector: DetectorConfig { warm_up_windows: 15, ..DetectorConfig::default() },
        hyperparameters: Hyperparameters { seed, batch_chunks: 16, ..Hyperparameters::default() },
        ..AnalystSettings::default()
    };
    settings.adviser.steady_windows = 12;
    settings.adviser.steady_span_windows = 15;
    settings
}

/// Watches the world for so many windows and returns what was suggested.
fn watch(analyst: &mut Analyst, world: &mut World, windows: u64, shells: u64) -> Vec<Suggestion> {
    let mut suggestions = Vec::new();
    for _ in 0..windows {
        let window = world.window(shells);
        suggestions.extend(analyst.observe(&window, &world.policy).unwrap().suggestions);
        analyst.train(|steps| steps < 3);
    }
    suggestions
}

fn says(suggestion: &Suggestion, source: &str, destination: &str, ports: &str) -> bool {
    suggestion.draft.relationship().unwrap().source_group_name.as_str() == source
        && suggestion.draft.relationship().unwrap().destination_group_name.as_str() == destination
        && suggestion.draft.relationship().unwrap().port_range.to_string() == ports
}

#[test]
fn the_two_examples_of_the_seed_are_suggested() {
    for seed in 1..=3 {
        let (mut analyst, mut world) = (Analyst::new(settings(seed)), World::new(seed));
        let steady = watch(&mut analyst, &mut world, 75, 0);
        let allow = steady.iter().find(|s| says(s, "WebServers", "DatabaseServers", "80,5432")).unwrap();
        assert!(
            allow.draft.relationship().unwrap().action.is_allow() && allow.origin == Origin::Steady,
            "seed {seed}: {allow:?}"
        );
        assert!(
            steady.iter().all(|s| s.draft.relationship().unwrap().action.is_allow()),
            "seed {seed}: {steady:?}"
        );
        assert!(
            allow.justification.contains("TCP traffic on ports 80, 5432 between group 'WebServers'"),
            "{}",
            allow.justification
        );
        let unusual = watch(&mut analyst, &mut world, 4, 12);
        let deny = unusual.iter().find(|s| says(s, "DevNodes", "ProductionServers", "22"));
        let deny = deny.unwrap_or_else(|| panic!("seed {seed}: {unusual:?}"));
        assert!(
            !deny.draft.relationship().unwrap().action.is_allow() && deny.origin == Origin::Anomaly,
            "seed {seed}: {deny:?}"
        );
        assert!(
            deny.justification.starts_with("Unusual SSH connection attempts from group 'DevNodes'"),
            "{}",
            deny.justification
        );
        for suggestion in steady.iter().chain(&unusual) {
            check_numbers(suggestion).unwrap();
            assert!((0.0..=1.0).contains(&suggestion.confidence), "{suggestion:?}");
        }
    }
}

fn answer(sequence: u64, draft: DraftKey, verdict: Verdict, reason: Option<Reason>) -> Answer {
    Answer {
        sequence,
        suggestion: sequence,
        draft,
        features: Vec::new(),
        rank: 1,
        propensity: 1.0,
        confidence: 0.5,
        verdict,
        reason,
        proposed: None,
        edited: None,
        overlap: 1.0,
        actor: "alice".into(),
        time_ns: START_S * 1_000_000_000,
    }
}

#[test]
fn what_is_open_or_rejected_does_not_come_back_and_what_reached_nobody_does() {
    let (mut analyst, mut world) = (Analyst::new(settings(1)), World::new(1));
    let first = watch(&mut analyst, &mut world, 40, 0);
    let keys: BTreeSet<DraftKey> = first.iter().map(|s| DraftKey::of(&s.draft)).collect();
    assert!(keys.len() >= 2 && keys.len() == first.len(), "{keys:?}");
    let again = |suggestions: &[Suggestion]| {
        suggestions.iter().map(|s| DraftKey::of(&s.draft)).collect::<BTreeSet<_>>()
    };
    assert!(again(&watch(&mut analyst, &mut world, 10, 0)).is_empty());
    let mut keys = keys.into_iter();
    let (rejected, lost) = (keys.next().unwrap(), keys.next().unwrap());
    analyst.answer(answer(1, rejected.clone(), Verdict::Rejected, Some(Reason::TooBroad)), None);
    analyst.withdraw(&lost);
    analyst.withdraw(&rejected);
    assert_eq!(again(&watch(&mut analyst, &mut world, 10, 0)), BTreeSet::from([lost.clone()]));
    // Control knows only the rest as open: the lost one did not arrive either.
    analyst.reconcile(&keys.collect(), START_S);
    assert_eq!(again(&watch(&mut analyst, &mut world, 10, 0)), BTreeSet::from([lost]));
}

#[test]
fn a_checkpoint_goes_on_as_if_nothing_had_happened() {
    let (mut analyst, mut world) = (Analyst::new(settings(2)), World::new(2));
    let first = watch(&mut analyst, &mut world, 30, 0);
    let rejected = DraftKey::of(&first[0].draft);
    analyst.answer(answer(7, rejected, Verdict::Rejected, Some(Reason::WrongRule)), None);
    let found = checkpoint::decode(&analyst.checkpoint(), &settings(2).hyperparameters).unwrap();
    let mut resumed = Analyst::resume(settings(2), found).unwrap();
    assert_eq!(resumed.feedback().sequence(), 7);
    assert!(resumed.checkpoint() == analyst.checkpoint(), "at once");
    for shells in [0, 0, 0, 12, 12, 0] {
        let window = world.window(shells);
        let (a, b) = (
            analyst.observe(&window, &world.policy).unwrap(),
            resumed.observe(&window, &world.policy).unwrap(),
        );
        assert_eq!(a, b);
        analyst.train(|steps| steps < 3);
        resumed.train(|steps| steps < 3);
    }
    assert!(resumed.checkpoint() == analyst.checkpoint(), "after six windows");
}
