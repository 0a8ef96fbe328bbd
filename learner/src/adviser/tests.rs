//! Advice for small policies, case by case.

use super::*;
use crate::detector::Surprise;
use crate::feedback::Verdict;
use crate::justification::check_numbers;
use crate::series::{Party, SeriesKey, SeriesSums, Window};
use meshgate_policy::suggestion::{EvidenceKind, Origin, Reason};
use meshgate_policy::{
    Group, GroupId, IntraGroup, L4Match, Name, PolicyVersion, Priority, Protocol, Rule, RuleId, RuleKind,
    SegmentId, Side,
};

mod learned;
mod widths;

const NOW: u64 = 1_700_000_000;
const WEB: u32 = 16;
const DATABASE: u32 = 17;
const DEV: u32 = 18;
const PRODUCTION: u32 = 19;
/// Holds `WEB` and `DATABASE`.
const SERVERS: u32 = 20;

/// Returns an anomaly of a series that is new to the learner, in one window of a second.
pub(crate) fn anomaly(key: SeriesKey, sums: SeriesSums, start_s: u64) -> Anomaly {
    Anomaly {
        key,
        sums,
        start_s,
        width_s: 1,
        p_value: 0.000_2,
        model_p_value: None,
        novelty_p_value: 0.000_1,
        count_p_value: 0.5,
        is_new_source: false,
        is_new_pair: true,
        is_new_series: true,
        surprises: Vec::new(),
    }
}

/// One round of advice in the making.
struct Round {
    policy: Policy,
    parties: Parties,
    profile: Profile,
    anomalies: Vec<Anomaly>,
    draft_log: DraftLog,
    settings: AdviserSettings,
    ranking: Ranking,
    now_s: u64,
}

fn group(id: u32, name: &str, prefix: &str) -> Group {
    Group {
        id: GroupId(id),
        name: Name::new(name).unwrap(),
        segment: SegmentId::DEFAULT,
        prefixes: vec![prefix.parse().unwrap()],
        endpoints: Vec::new(),
        intra_group: IntraGroup::Allow,
    }
}

fn rule(id: u32, sides: (GroupId, GroupId), action: Action, priority: u16, ports: &str) -> Rule {
    Rule {
        id: RuleId(id),
        kind: RuleKind::Relationship,
        priority: Priority(priority),
        action,
        shadow: false,
        source: Side::Group(sides.0),
        destination: Side::Group(sides.1),
        l4: L4Match::Ports(Protocol::TCP, ports.parse().unwrap()),
    }
}

fn sums(flows: u64, answered: u64, refused: u64) -> SeriesSums {
    SeriesSums {
        flows,
        answered,
        refused,
        packets_forward: flows * 5,
        packets_reverse: answered * 4,
        bytes_forward: flows * 1_000,
        bytes_reverse: answered * 8_000,
        sources: 2,
        destinations: 2,
        ..SeriesSums::default()
    }
}

impl Round {
    fn new(default_action: Action) -> Self {
        let mut policy = Policy::empty(default_action);
        policy.version = PolicyVersion(7);
        policy.groups = vec![
            group(WEB, "WebServers", "10.0.1.0/30"),
            group(DATABASE, "DatabaseServers", "10.0.2.0/31"),
            group(DEV, "DevNodes", "10.0.3.0/24"),
            group(PRODUCTION, "ProductionServers", "10.0.4.0/24"),
            group(SERVERS, "Servers", "10.0.0.0/22"),
        ];
        Self {
            policy,
            parties: Parties::default(),
            profile: Profile::default(),
            anomalies: Vec::new(),
            draft_log: DraftLog::default(),
            settings: AdviserSettings { steady_windows: 10, steady_span_windows: 10, ..Default::default() },
            ranking: Ranking::default(),
            now_s: NOW,
        }
    }

    fn key(&mut self, source: &[u32], destination: &[u32], port: u16) -> SeriesKey {
        let mut party = |groups: &[u32]| self.parties.number(&Party::Groups(groups.into())).unwrap();
        let (source, destination) = (party(source), party(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: port }
    }

    fn watch(&mut self, windows: u64, key: SeriesKey, sums: SeriesSums) {
        for _ in 0..windows {
            let series = vec![(key, sums)];
            self.profile.observe(&Window { start_s: self.now_s, width_s: 1, series, ..Window::default() });
            self.now_s += 1;
        }
    }

    fn disturb(&mut self, key: SeriesKey, sums: SeriesSums) {
        self.watch(1, key, sums);
        self.anomalies = vec![anomaly(key, sums, self.now_s - 1)];
        self.profile.note_anomalies(&self.anomalies);
    }

    fn add(&mut self, rule: Rule) {
        self.policy.rules.push(rule);
        self.policy.rules.sort_by_key(Rule::order);
    }

    fn advise(&self) -> Advice {
        let advice = suggest_policy(&AdviserInput {
            ranking: &self.ranking,
            policy: &self.policy,
            parties: &self.parties,
            profile: &self.profile,
            anomalies: &self.anomalies,
            draft_log: &self.draft_log,
            settings: &self.settings,
            window_end_s: self.now_s,
            model_version: "",
        });
        advice.suggestions.iter().for_each(|suggestion| check_numbers(suggestion).unwrap());
        advice
    }

    fn only(&self) -> Suggestion {
        let mut advice = self.advise();
        assert_eq!(advice.suggestions.len(), 1, "{advice:#?}");
        advice.suggestions.remove(0)
    }

    /// Returns the one reason for which everything was dropped.
    fn dropped(&self) -> DropReason {
        let advice = self.advise();
        assert!(advice.suggestions.is_empty() && advice.dropped.len() == 1, "{advice:#?}");
        *advice.dropped.keys().next().unwrap()
    }
}

fn steady(default_action: Action) -> Round {
    let mut round = Round::new(default_action);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.policy.groups[4].intra_group = IntraGroup::Deny;
    round.watch(39, key, sums(30, 30, 0));
    round.watch(1, key, sums(34, 24, 0));
    round
}

fn unusual(default_action: Action, refused: u64) -> Round {
    let mut round = Round::new(default_action);
    let key = round.key(&[DEV], &[PRODUCTION], 22);
    round.disturb(key, sums(24, 24 - refused, refused));
    round
}

#[test]
fn steady_answered_traffic_is_to_be_allowed_in_the_words_of_the_seed() {
    let suggestion = steady(Action::Allow).only();
    assert_eq!(
        suggestion.justification,
        "High volume of TCP traffic on port 80 between group 'WebServers' and group 'DatabaseServers': 1,204 \
         flows in 40 s, 99 % answered - suggest allowing TCP 80 between these groups."
    );
    assert_eq!(
        (suggestion.origin, suggestion.draft.relationship().unwrap().action),
        (Origin::Steady, Action::Allow)
    );
    assert_eq!(suggestion.draft.relationship().unwrap().priority, Priority(100));
    assert!((0.8..0.99).contains(&suggestion.confidence), "{}", suggestion.confidence);
    assert_eq!((suggestion.effect.attributed, suggestion.effect.seen), (1_204, 1_204));
    // 2 x 2 of 4 x 2 pairs were seen.
    assert!((suggestion.over_permissiveness - 0.5).abs() < 1e-9);
    assert_eq!((suggestion.rank, suggestion.base_version), (1, PolicyVersion(7)));
}

#[test]
fn unusual_attempts_are_to_be_denied_in_the_words_of_the_seed() {
    let suggestion = unusual(Action::Allow, 0).only();
    assert_eq!(
        suggestion.justification,
        "Unusual SSH connection attempts from group 'DevNodes' to group 'ProductionServers': 24 attempts in 1 s \
         where none were seen before (p < 0.001) - suggest denying SSH access."
    );
    assert_eq!(
        (suggestion.origin, suggestion.draft.relationship().unwrap().action),
        (Origin::Anomaly, Action::Deny)
    );
    assert!((0.7..0.9).contains(&suggestion.confidence), "{}", suggestion.confidence);
    assert_eq!((suggestion.effect.newly_denied, suggestion.makes_explicit), (24, false));
}

#[test]
fn what_is_new_since_a_few_windows_is_not_said_to_be_new_in_this_one() {
    let mut round = unusual(Action::Allow, 0);
    let key = round.anomalies[0].key;
    round.disturb(key, sums(30, 0, 0));
    let justification = round.only().justification;
    assert!(
        justification.contains("30 attempts in 1 s, first seen 1 s before (p < 0.001)"),
        "{justification}"
    );
}

#[test]
fn surprises_are_told_in_counts_not_in_logarithms() {
    let mut round = unusual(Action::Allow, 0);
    let surprise = Surprise { feature: "flows", seen: 25f32.ln(), expected: 2f32.ln(), nats: 12.25 };
    round.anomalies[0].surprises = vec![surprise];
    let evidence = round.only().evidence;
    let told = evidence.iter().find(|evidence| evidence.kind == EvidenceKind::Surprise).unwrap();
    assert_eq!(told.sentence, "flows: 24 where the model expected 1, a surprise of 12.25 nats.");
}

#[test]
fn an_exchange_that_is_unusual_in_this_window_is_not_to_be_allowed() {
    let mut round = steady(Action::Allow);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.anomalies = vec![anomaly(key, sums(30, 30, 0), round.now_s - 1)];
    let advice = round.advise();
    assert!(
        advice
            .suggestions
            .iter()
            .all(|suggestion| suggestion.draft.relationship().unwrap().action == Action::Deny)
    );
    assert_eq!(advice.dropped.get(&DropReason::OpenAnomaly), Some(&1));
}

#[test]
fn a_deny_of_what_was_long_answered_is_less_sure() {
    let mut round = steady(Action::Allow);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.disturb(key, sums(500, 0, 0));
    let known = Anomaly { is_new_pair: false, is_new_series: false, ..round.anomalies[0].clone() };
    round.anomalies = vec![Anomaly { count_p_value: 0.000_2, ..known }];
    round.settings.confidence_min = 0.0;
    let suggestion = round.only();
    assert_eq!(suggestion.draft.relationship().unwrap().action, Action::Deny);
    assert!(suggestion.confidence < 0.1, "{}", suggestion.confidence);
    assert!(suggestion.justification.contains("500 attempts in 1 s where 30.1 are usual"));
}

#[test]
fn drafts_that_are_open_rejected_or_put_off_do_not_come_back() {
    let mut round = steady(Action::Allow);
    let draft = DraftKey::of(&round.only().draft);
    round.draft_log.open(draft.clone(), round.now_s);
    assert_eq!(round.dropped(), DropReason::Repeated);
    round.draft_log.answer(draft.clone(), Verdict::Rejected, Some(Reason::Later), round.now_s);
    assert_eq!(round.dropped(), DropReason::Repeated);
    let mut later = steady(Action::Allow);
    later.draft_log.answer(draft.clone(), Verdict::Rejected, Some(Reason::Later), NOW - 86_400);
    assert_eq!(DraftKey::of(&later.only().draft), draft);
    later.draft_log.answer(draft, Verdict::Rejected, Some(Reason::TooBroad), NOW);
    assert_eq!(later.dropped(), DropReason::Repeated);
}

#[test]
fn what_a_rule_allows_already_is_not_drafted() {
    let sides = (GroupId(SERVERS), GroupId(SERVERS));
    let mut round = steady(Action::Deny);
    round.add(rule(5, sides, Action::Allow, 1_000, "1-1000"));
    assert_eq!(round.dropped(), DropReason::Carried);
    let mut round = steady(Action::Allow);
    let tried = rule(5, (GroupId(WEB), GroupId(DATABASE)), Action::Allow, 50, "80");
    round.add(Rule { shadow: true, ..tried });
    assert_eq!(round.dropped(), DropReason::Carried);
}

#[test]
fn an_allow_inside_a_broader_deny_stands_just_above_it() {
    let mut round = steady(Action::Allow);
    let deny = rule(5, (GroupId::ANY, GroupId(SERVERS)), Action::Deny, 1_000, "1-1000");
    round.add(Rule { shadow: true, ..deny });
    let suggestion = round.only();
    assert_eq!(
        (suggestion.draft.relationship().unwrap().priority, suggestion.narrows),
        (Priority(1_001), vec![RuleId(5)])
    );
    assert!(suggestion.justification.contains(", narrows rule 5 - suggest"), "{}", suggestion.justification);
}

#[test]
fn a_deny_inside_a_broader_allow_stands_level_with_it() {
    let mut round = unusual(Action::Deny, 0);
    round.add(rule(5, (GroupId(DEV), GroupId::ANY), Action::Allow, 1_000, "1-1000"));
    let suggestion = round.only();
    assert_eq!(
        (suggestion.draft.relationship().unwrap().priority, suggestion.narrows),
        (Priority(1_000), vec![RuleId(5)])
    );
    assert!(!suggestion.makes_explicit);
}

#[test]
fn a_draft_that_crosses_a_rule_of_the_other_action_is_dropped() {
    let mut round = steady(Action::Allow);
    round.add(rule(5, (GroupId(WEB), GroupId(SERVERS)), Action::Deny, 50, "443"));
    assert_eq!(round.only().narrows, []);
    let crossing = Rule {
        source: Side::Prefixes(vec!["10.0.1.0/31".parse().unwrap()]),
        kind: RuleKind::GroupRule,
        l4: L4Match::Protocol(Protocol::TCP),
        ..rule(6, (GroupId(WEB), GroupId(DATABASE)), Action::Deny, 50, "80")
    };
    round.add(crossing);
    assert_eq!(round.dropped(), DropReason::Conflict);
}

#[test]
fn a_draft_equal_to_a_rule_of_the_other_action_is_dropped() {
    let mut round = unusual(Action::Deny, 0);
    round.add(rule(5, (GroupId(DEV), GroupId(PRODUCTION)), Action::Allow, 1_000, "22"));
    assert_eq!(round.dropped(), DropReason::Conflict);
}

#[test]
fn no_draft_goes_before_a_protected_rule() {
    let mut round = unusual(Action::Deny, 0);
    round.add(rule(5, (GroupId::ANY, GroupId(PRODUCTION)), Action::Allow, 60_001, "22"));
    assert_eq!(round.dropped(), DropReason::Protected);
}

#[test]
fn a_deny_of_what_the_default_refuses_is_said_to_be_so_and_comes_last() {
    let mut round = unusual(Action::Deny, 24);
    let suggestion = round.only();
    assert!(
        suggestion.makes_explicit && suggestion.justification.contains("which the default refuses already")
    );
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.policy.groups[4].intra_group = IntraGroup::Deny;
    round.watch(20, key, sums(1, 1, 0));
    round.watch(1, key, sums(1, 0, 1));
    let advice = round.advise();
    let places: Vec<bool> = advice.suggestions.iter().map(|suggestion| suggestion.makes_explicit).collect();
    assert_eq!(places, [false, true]);
}

#[test]
fn attempts_that_were_refused_leave_an_allow_at_one_half_and_it_says_so() {
    let mut round = steady(Action::Deny);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.watch(60, key, sums(30, 0, 30));
    let suggestion = round.only();
    assert!(suggestion.confidence <= 0.5, "{}", suggestion.confidence);
    assert!(suggestion.justification.contains("1,800 refused; attempts that were refused or not answered"));
    assert_eq!((suggestion.effect.newly_allowed, suggestion.effect.attributed), (1_800, 1_204));
}

#[test]
fn less_than_usual_is_no_reason_to_deny() {
    let mut round = Round::new(Action::Allow);
    round.settings.confidence_min = 0.0;
    let key = round.key(&[DEV], &[PRODUCTION], 22);
    round.watch(5, key, sums(50, 50, 0));
    round.disturb(key, sums(1, 1, 0));
    let surprise = Surprise { feature: "flows", seen: 1.0, expected: 50.0, nats: 9.0 };
    let usual = Anomaly { is_new_pair: false, is_new_series: false, ..round.anomalies[0].clone() };
    round.anomalies = vec![Anomaly { surprises: vec![surprise.clone()], ..usual.clone() }];
    assert_eq!(round.dropped(), DropReason::LackOfTraffic);
    let more = Surprise { seen: 200.0, ..surprise };
    round.anomalies = vec![Anomaly { surprises: vec![more], ..usual }];
    assert_eq!(round.only().draft.action(), Some(Action::Deny));
}

#[test]
fn sides_without_a_group_to_name_yield_no_draft_and_external_is_one() {
    let mut round = Round::new(Action::Allow);
    let key = round.key(&[DEV], &[GroupId::MULTICAST.0], 22);
    round.disturb(key, sums(24, 0, 0));
    assert_eq!(round.dropped(), DropReason::Multicast);
    let key = round.key(&[GroupId::EXTERNAL.0], &[PRODUCTION], 3_389);
    round.disturb(key, sums(24, 0, 0));
    let suggestion = round.only();
    assert_eq!(suggestion.draft.relationship().unwrap().source_group_name.as_str(), "external");
    assert!(suggestion.justification.ends_with("suggest denying RDP access."));
    let key = round.key(&[], &[PRODUCTION], 3_389);
    round.disturb(key, sums(24, 0, 0));
    assert_eq!(round.dropped(), DropReason::NoGroup);
}

#[test]
fn what_members_may_do_already_is_not_drafted() {
    let mut round = Round::new(Action::Deny);
    let key = round.key(&[SERVERS], &[SERVERS], 80);
    round.watch(40, key, sums(30, 30, 0));
    assert_eq!(round.dropped(), DropReason::Membership);
}

#[test]
fn a_deny_makes_rules_below_it_idle_and_says_which() {
    let mut round = unusual(Action::Allow, 0);
    round.add(rule(5, (GroupId(DEV), GroupId(PRODUCTION)), Action::Deny, 7, "22"));
    assert_eq!(round.dropped(), DropReason::Carried);
    let mut round = steady(Action::Allow);
    round.add(rule(6, (GroupId(WEB), GroupId::ANY), Action::Deny, 1_000, "1-1000"));
    round.add(rule(7, (GroupId(WEB), GroupId(DATABASE)), Action::Allow, 7, "80"));
    let suggestion = round.only();
    assert_eq!((suggestion.narrows, suggestion.shadows), (vec![RuleId(6)], vec![]), "7 never decided");
}

#[test]
fn one_round_shows_the_best_and_counts_the_rest() {
    let mut round = steady(Action::Allow);
    for destination in [DEV, PRODUCTION, SERVERS] {
        let key = round.key(&[WEB, SERVERS], &[destination], 81);
        round.watch(20, key, sums(2, 2, 0));
    }
    round.settings.suggestions_max = 2;
    let advice = round.advise();
    assert_eq!(advice.suggestions.iter().map(|s| s.rank).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(advice.suggestions[0].draft.relationship().unwrap().port_range.to_string(), "80");
    assert_eq!(advice.dropped.get(&DropReason::BelowTop), Some(&2));
    // What was handed out today counts against the day.
    round.settings.suggestions_per_day_max = 3;
    round.settings.suggestions_max = 10;
    for service in ["TCP 7 - -", "TCP 8 - -"] {
        let key = DraftKey { service: service.into(), ..DraftKey::of(&advice.suggestions[0].draft) };
        round.draft_log.open(key, round.now_s);
    }
    assert_eq!(round.advise().suggestions.len(), 1);
}

#[test]
fn steady_services_of_two_groups_are_one_draft_with_their_ports() {
    let mut round = steady(Action::Allow);
    for port in [8_080, 443] {
        let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], port);
        round.watch(20, key, sums(2, 2, 0));
    }
    let suggestion = round.only();
    assert_eq!(suggestion.draft.relationship().unwrap().port_range.to_string(), "80,443,8080");
    assert!(suggestion.justification.contains("ports 80, 443, 8080"), "{}", suggestion.justification);
    // Whoever answered the whole is not asked about its parts.
    round.draft_log.open(DraftKey::of(&suggestion.draft), round.now_s);
    assert_eq!(round.dropped(), DropReason::Repeated);
    // A service that is allowed already is not asked about again.
    let mut round = round;
    round.draft_log = DraftLog::default();
    round.add(rule(6, (GroupId(WEB), GroupId(DATABASE)), Action::Allow, 1_000, "80"));
    assert_eq!(round.only().draft.relationship().unwrap().port_range.to_string(), "443,8080");
}

#[test]
fn ports_that_never_come_twice_are_one_draft_for_all_ports_if_they_are_answered() {
    for (answered, port_step) in [(1, 5_000), (0, 5_000), (1, 7)] {
        let mut round = Round::new(Action::Allow);
        for port in (1..=12).map(|place| 1_000 + place * port_step) {
            let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], port);
            round.watch(1, key, sums(1, answered, 0));
        }
        round.policy.groups[4].intra_group = IntraGroup::Deny;
        let drafts: Vec<_> =
            round.advise().suggestions.iter().filter_map(|s| s.draft.relationship().cloned()).collect();
        if (answered, port_step) == (1, 5_000) {
            assert_eq!(drafts.len(), 1);
            assert!(drafts[0].port_range.is_all() && drafts[0].protocol.to_string() == "TCP", "{drafts:?}");
        } else {
            assert!(drafts.is_empty(), "answered {answered}, step {port_step}: {drafts:?}");
        }
    }
}
