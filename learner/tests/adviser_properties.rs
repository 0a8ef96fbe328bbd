//! Advice for ten thousand random policies and histories: whatever was seen, no draft is one that must not be.
//!
//! What a draft may not do is checked without the code that the adviser uses: addresses, ports and types are cut at every
//! edge that the policy names, so that a packet of each piece stands for all of it, and pieces are judged one by one with
//! the linear oracle.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

mod pieces;

use meshgate_learner::adviser::{Advice, AdviserInput, AdviserSettings, suggest_policy};
use meshgate_learner::detector::{Anomaly, Surprise};
use meshgate_learner::draft_key::DraftKey;
use meshgate_learner::draft_log::DraftLog;
use meshgate_learner::feedback::Verdict;
use meshgate_learner::feedback::ranking::Ranking;
use meshgate_learner::justification::check_numbers;
use meshgate_learner::profile::Profile;
use meshgate_learner::series::{Parties, Party, SeriesKey, SeriesSums, Window};
use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::suggestion::{Origin, Reason, Suggestion};
use meshgate_policy::{Action, GroupId, Name, Policy, PolicyKey, Rule, RuleId, RuleKind, Side, limits};
use pieces::Pieces;
use std::collections::{BTreeMap, BTreeSet};

/// Policies, each with one history.
const POLICIES: u64 = 10_000;
/// Windows that a history has before the last one.
const WINDOWS: u64 = 12;
const NOW: u64 = 1_700_000_000;
/// Number of the draft where it is put among the rules.
const DRAFT: RuleId = RuleId(u32::MAX);
/// Packets of a draft for which the verdict with it is compared with the one without.
const PACKETS: usize = 24;

/// What a series does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// As the policy says, and all that passes is answered.
    Answered,
    /// As the policy says, and nothing is answered.
    Unanswered,
    /// Answered while all was allowed, and in the last windows as the policy says.
    Watched,
    /// Answered while all was allowed, and not seen since the policy is what it is.
    Stale,
    /// Unusual in the last window only, which is its first.
    New,
    /// As the policy says, and unusual for how much there is in the last window.
    Burst,
    /// As the policy says, and unusual for how little there is in the last window.
    Lull,
}

const CONDUCTS: [Conduct; 9] = [
    Conduct::Answered,
    Conduct::Answered,
    Conduct::Unanswered,
    Conduct::Watched,
    Conduct::Watched,
    Conduct::Stale,
    Conduct::New,
    Conduct::Burst,
    Conduct::Lull,
];

/// One series of a history.
#[derive(Clone, Debug)]
struct Plan {
    packet: PolicyKey,
    conduct: Conduct,
    flows: u64,
}

/// A policy and what is seen under it.
#[derive(Clone, Debug)]
struct Case {
    policy: Policy,
    plans: Vec<Plan>,
    /// Whether the profile is told of the anomalies before the adviser is.
    tells_profile: bool,
}

/// A series as it was built.
struct Series {
    key: SeriesKey,
    source: Vec<u32>,
    destination: Vec<u32>,
    is_unusual: bool,
    is_lull: bool,
    /// What it did altogether.
    flows: u64,
    answered: u64,
}

/// Everything that a case shows the adviser.
struct History {
    parties: Parties,
    profile: Profile,
    anomalies: Vec<Anomaly>,
    series: Vec<Series>,
    settings: AdviserSettings,
    end_s: u64,
}

/// How many drafts of which sort passed.
type Tally = BTreeMap<&'static str, u64>;

fn case(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let shape = Shape::new(2 + rng.index(11), 1 + rng.index(10), rng.index(17));
    let mut policy = generate::policy(seed, shape);
    policy.default_action = rng.one_of([Action::Allow, Action::Deny, Action::Deny, Action::Reject]);
    let plans = (0..=rng.index(8))
        .map(|_| Plan {
            packet: generate::packet(&policy, &mut rng),
            conduct: rng.one_of(CONDUCTS),
            flows: 1 + rng.below(40),
        })
        .collect();
    Case { policy, plans, tells_profile: rng.chance(50) }
}

fn groups(policy: &Policy, packet: &PolicyKey, is_source: bool) -> Vec<u32> {
    let address = if is_source { packet.source } else { packet.destination };
    let groups = policy.groups_of(packet.segment, address);
    groups.into_iter().filter(|group| *group != GroupId::ANY).map(|group| group.0).collect()
}

fn series(policy: &Policy, plan: &Plan, parties: &mut Parties) -> Series {
    let Plan { packet, conduct, .. } = plan;
    let (source, destination) = (groups(policy, packet, true), groups(policy, packet, false));
    let mut party = |groups: &[u32]| parties.number(&Party::Groups(groups.into())).unwrap();
    let protocol = packet.l4.protocol;
    let service_port = match protocol {
        protocol if protocol.has_ports() => packet.l4.destination_port,
        protocol if protocol.is_icmp() => packet.l4.source_port,
        _ => 0,
    };
    let key = SeriesKey {
        source: party(&source),
        destination: party(&destination),
        segment: packet.segment.0,
        protocol: protocol.0,
        service_port,
    };
    Series {
        key,
        source,
        destination,
        is_unusual: matches!(conduct, Conduct::New | Conduct::Burst | Conduct::Lull),
        is_lull: *conduct == Conduct::Lull,
        flows: 0,
        answered: 0,
    }
}

/// Returns what a series does in a window; none when it is silent.
fn sums(policy: &Policy, plan: &Plan, at: u64) -> Option<SeriesSums> {
    let decision = policy.decide(&plan.packet);
    let is_watched = match plan.conduct {
        Conduct::Watched => at < WINDOWS - 2,
        Conduct::Stale if at == WINDOWS => return None,
        Conduct::Stale => true,
        _ => false,
    };
    let is_allowed = is_watched || decision.action.is_allow();
    let flows = match plan.conduct {
        Conduct::New if at < WINDOWS => return None,
        Conduct::Burst if at == WINDOWS => plan.flows * 50,
        Conduct::Lull if at == WINDOWS => 1,
        _ => plan.flows,
    };
    let rule = if is_watched { 0 } else { decision.rule.map_or(0, |rule| rule.0) };
    let answers = plan.conduct != Conduct::Unanswered;
    Some(SeriesSums {
        flows,
        answered: if is_allowed && answers { flows } else { 0 },
        refused: if is_allowed { 0 } else { flows },
        packets_forward: flows * 3,
        packets_reverse: flows,
        bytes_forward: flows * 300,
        bytes_reverse: flows * 900,
        sources: 1,
        destinations: 1,
        rule,
        policy_version: 1,
    })
}

fn anomaly(plan: &Plan, key: SeriesKey, sums: SeriesSums) -> Anomaly {
    let is_new = plan.conduct == Conduct::New;
    let is_many = plan.conduct == Conduct::Burst;
    let (seen, expected) = if is_many { (8.0, 2.0) } else { (0.7, 3.0) };
    let surprise = Surprise { feature: "flows", seen, expected, nats: 12.5 };
    Anomaly {
        key,
        sums,
        start_s: NOW + WINDOWS,
        width_s: 1,
        p_value: 0.001 / 2f64.powi(i32::try_from(plan.flows % 9).unwrap()),
        model_p_value: Some(0.002),
        novelty_p_value: if is_new { 0.001 } else { 0.8 },
        count_p_value: if is_many { 0.001 } else { 0.6 },
        is_new_source: is_new && plan.flows.is_multiple_of(2),
        is_new_pair: is_new,
        is_new_series: is_new,
        surprises: if is_new { vec![] } else { vec![surprise] },
    }
}

fn history(case: &Case) -> History {
    let mut parties = Parties::default();
    let mut all: BTreeMap<SeriesKey, (Series, &Plan)> = BTreeMap::new();
    for plan in &case.plans {
        let series = series(&case.policy, plan, &mut parties);
        // The first plan of a series is the one it follows.
        all.entry(series.key).or_insert((series, plan));
    }
    let mut profile = Profile::default();
    let mut anomalies = Vec::new();
    for at in 0..=WINDOWS {
        let mut window = Window { start_s: NOW + at, width_s: 1, ..Window::default() };
        for (key, (series, plan)) in &mut all {
            let Some(sums) = sums(&case.policy, plan, at) else { continue };
            series.flows += sums.flows;
            series.answered += sums.answered;
            window.series.push((*key, sums));
            if at == WINDOWS && series.is_unusual {
                anomalies.push(anomaly(plan, *key, sums));
            }
        }
        profile.observe(&window);
    }
    if case.tells_profile {
        profile.note_anomalies(&anomalies);
    }
    // Few windows, so that confidence has room above one half.
    let settings =
        AdviserSettings { steady_windows: 4, steady_span_windows: 10, ..AdviserSettings::default() };
    let series = all.into_values().map(|(series, _)| series).collect();
    History { parties, profile, anomalies, series, settings, end_s: NOW + WINDOWS + 1 }
}

impl History {
    fn advise(&self, policy: &Policy, draft_log: &DraftLog) -> Advice {
        suggest_policy(&AdviserInput {
            policy,
            parties: &self.parties,
            profile: &self.profile,
            anomalies: &self.anomalies,
            draft_log,
            ranking: &Ranking::default(),
            settings: &self.settings,
            window_end_s: self.end_s,
            model_version: "",
        })
    }
}

/// Returns the draft as a rule.
fn rule(policy: &Policy, suggestion: &Suggestion) -> Rule {
    let draft = suggestion.draft.relationship().unwrap();
    let side = |name: &Name| {
        let named = policy.groups.iter().find(|group| group.name == *name).map(|group| group.id);
        Side::Group(named.or_else(|| GroupId::built_in(name.as_str())).unwrap())
    };
    Rule {
        id: DRAFT,
        kind: RuleKind::Relationship,
        priority: draft.priority,
        action: draft.action,
        shadow: false,
        source: side(&draft.source_group_name),
        destination: side(&draft.destination_group_name),
        l4: draft.l4_match().unwrap(),
    }
}

/// Checks what can be said of one suggestion. The error begins with a word that says what is wrong.
fn check(case: &Case, history: &History, suggestion: &Suggestion, tally: &mut Tally) -> Result<(), String> {
    let policy = &case.policy;
    let draft = rule(policy, suggestion);
    let fail = |what: &str| Err(format!("{what}: {draft:?}"));
    check_numbers(suggestion).map_err(|error| format!("numbers: {error}"))?;
    if !(limits::DRAFT_PRIORITY_MIN..=limits::PROTECTED_ABOVE_PRIORITY).contains(&draft.priority.0) {
        return fail("priority");
    }
    let in_range = |value: f64| (0.0..=1.0).contains(&value);
    if !(in_range(suggestion.confidence)
        && in_range(suggestion.relevance)
        && in_range(suggestion.over_permissiveness))
    {
        return fail("range");
    }
    check_cause(history, suggestion, &draft, tally)?;
    let pieces = Pieces::new(policy, &draft);
    for other in policy.rules.iter().filter(|other| other.action.is_allow() != draft.action.is_allow()) {
        let (inner, outer) = (pieces.contains(other, &draft), pieces.contains(&draft, other));
        if pieces.overlaps(other, &draft) && inner == outer {
            return fail(&format!("conflict with rule {}", other.id));
        }
        let is_narrowed = inner && pieces.overlaps(other, &draft);
        if is_narrowed != suggestion.narrows.contains(&other.id) {
            return fail(&format!("narrows rule {} or not", other.id));
        }
        if is_narrowed && other.order() < draft.order() {
            return fail("ineffective");
        }
    }
    check_priority(policy, suggestion, &draft)?;
    let mut with_draft = policy.clone();
    with_draft.rules.push(draft.clone());
    with_draft.rules.sort_by_key(Rule::order);
    if !pieces.packets(&draft).any(|packet| with_draft.decide(&packet).rule == Some(DRAFT)) {
        return fail("shadowed");
    }
    let mut changes = false;
    let mut rng = Rng::new(u64::from(draft.priority.0));
    for packet in pieces.some_packets(&draft, PACKETS, &mut rng) {
        let (before, after) = (policy.decide(&packet), with_draft.decide(&packet));
        let decided = before.rule.and_then(|id| policy.rules.iter().find(|rule| rule.id == id));
        if decided.is_some_and(|rule| rule.priority.is_protected()) && before != after {
            return fail("outranks");
        }
        if before != after && after.rule != Some(DRAFT) {
            return fail("elsewhere");
        }
        changes |= before.action.is_allow() != after.action.is_allow();
    }
    if changes && suggestion.makes_explicit {
        return fail("explicit");
    }
    for (name, is_so) in [
        ("allow", draft.action.is_allow()),
        ("deny", !draft.action.is_allow()),
        ("narrowing", !suggestion.narrows.is_empty()),
        ("shadowing", !suggestion.shadows.is_empty()),
        ("explicit", suggestion.makes_explicit),
        ("changing", changes),
        ("external", [&draft.source, &draft.destination].contains(&&Side::Group(GroupId::EXTERNAL))),
        ("icmp", suggestion.draft.relationship().unwrap().icmp_type.is_some()),
    ] {
        *tally.entry(name).or_default() += u64::from(is_so);
    }
    Ok(())
}

/// Checks that the draft sits no higher than what it narrows demands.
fn check_priority(policy: &Policy, suggestion: &Suggestion, draft: &Rule) -> Result<(), String> {
    let narrowed = policy.rules.iter().filter(|rule| suggestion.narrows.contains(&rule.id));
    let above = u16::from(draft.action.is_allow());
    let lowest = narrowed.map(|rule| rule.priority.0 + above).fold(limits::DRAFT_PRIORITY_MIN, u16::max);
    if draft.priority.0 == lowest { Ok(()) } else { Err(format!("higher than {lowest}: {draft:?}")) }
}

/// Checks that something was seen that may lead to the draft, and that refused or unanswered attempts raise no allow.
fn check_cause(
    history: &History,
    suggestion: &Suggestion,
    draft: &Rule,
    tally: &mut Tally,
) -> Result<(), String> {
    let service = suggestion.draft.relationship().unwrap();
    // Of a draft for several ports each must have its cause.
    let numbers: Vec<u16> = match service.icmp_type {
        Some(kind) => vec![kind.into()],
        None if service.port_range.is_all() => vec![0],
        None => service.port_range.ranges().iter().flat_map(|range| range.first()..=range.last()).collect(),
    };
    numbers.iter().try_for_each(|number| check_service(history, suggestion, draft, *number, tally))
}

/// Checks it of one port of the draft, or of its ICMP type.
fn check_service(
    history: &History,
    suggestion: &Suggestion,
    draft: &Rule,
    number: u16,
    tally: &mut Tally,
) -> Result<(), String> {
    let is_side =
        |side: &Side, groups: &[u32]| matches!(side, Side::Group(group) if groups.contains(&group.0));
    let is_service = |key: &SeriesKey| {
        suggestion.draft.relationship().unwrap().protocol.to_string()
            == meshgate_policy::Protocol(key.protocol).to_string()
            && key.service_port == number
    };
    let fits = |series: &&Series| {
        is_side(&draft.source, &series.source)
            && is_side(&draft.destination, &series.destination)
            && is_service(&series.key)
    };
    let fitting: Vec<&Series> = history.series.iter().filter(fits).collect();
    let answers = |series: &Series, share: f64| {
        let (answered, flows) = (u32::try_from(series.answered), u32::try_from(series.flows));
        series.answered > 0 && f64::from(answered.unwrap()) >= share * f64::from(flows.unwrap())
    };
    if !draft.action.is_allow() {
        let is_cause = |series: &&Series| series.is_unusual && !series.is_lull;
        *tally.entry("deny of a burst").or_default() +=
            u64::from(fitting.iter().any(|series| series.is_unusual && series.flows > 50));
        let is_caused = suggestion.origin == Origin::Anomaly && fitting.iter().any(is_cause);
        return if is_caused { Ok(()) } else { Err(format!("lack of traffic: {draft:?}")) };
    }
    let usual: Vec<_> = fitting.into_iter().filter(|series| !series.is_unusual).collect();
    if suggestion.origin != Origin::Steady || !usual.iter().any(|series| answers(series, 0.0)) {
        return Err(format!("unanswered: {draft:?}"));
    }
    let is_sure = usual.iter().any(|series| answers(series, 0.9));
    if suggestion.confidence > 0.5 && !is_sure {
        return Err(format!("refused attempts raise an allow: {draft:?}"));
    }
    let says_so = suggestion.justification.contains("its confidence is at most 0.5");
    if !is_sure && !says_so {
        return Err(format!("silent about refused attempts: {}", suggestion.justification));
    }
    *tally.entry("allow at one half").or_default() += u64::from(!is_sure);
    Ok(())
}

/// Checks a round of advice, and a second one after some of it was answered.
fn check_case(case: &Case, tally: &mut Tally) -> Result<(), String> {
    let history = history(case);
    let mut draft_log = DraftLog::default();
    let first = history.advise(&case.policy, &draft_log);
    let mut keys = BTreeSet::new();
    let mut explicit = false;
    for suggestion in &first.suggestions {
        check(case, &history, suggestion, tally)?;
        if !keys.insert(DraftKey::of(&suggestion.draft)) {
            return Err(format!("twice: {:?}", suggestion.draft));
        }
        if explicit && !suggestion.makes_explicit {
            return Err("order: a draft that changes a verdict comes behind one that does not".to_owned());
        }
        explicit |= suggestion.makes_explicit;
    }
    for (reason, drafts) in &first.dropped {
        *tally.entry(reason.name()).or_default() += drafts;
    }
    let mut barred = Vec::new();
    for (at, suggestion) in first.suggestions.iter().enumerate() {
        let key = DraftKey::of(&suggestion.draft);
        let reject = |reason| (Verdict::Rejected, Some(reason));
        let (verdict, reason) = match at % 4 {
            0 => {
                draft_log.open(key.clone(), history.end_s);
                barred.push(key);
                continue;
            }
            1 => reject(Reason::TooBroad),
            2 => reject(Reason::Later),
            _ => continue,
        };
        draft_log.answer(key.clone(), verdict, reason, history.end_s);
        barred.push(key);
    }
    let second = history.advise(&case.policy, &draft_log);
    for suggestion in &second.suggestions {
        if barred.contains(&DraftKey::of(&suggestion.draft)) {
            return Err(format!("repeated: {:?}", suggestion.draft));
        }
    }
    *tally.entry("not repeated").or_default() += u64::try_from(barred.len()).unwrap();
    Ok(())
}

/// Returns the case with as few rules and series as still fail in the same way.
fn smallest(mut case: Case, error: &str) -> (Case, String) {
    let kind = |error: &str| error.split([':', ' ']).next().unwrap_or_default().to_owned();
    let mut message = error.to_owned();
    loop {
        let without_rule = (0..case.policy.rules.len()).map(|at| {
            let mut less = case.clone();
            less.policy.rules.remove(at);
            less
        });
        let without_plan = (0..case.plans.len()).map(|at| {
            let mut less = case.clone();
            less.plans.remove(at);
            less
        });
        let fails = |less: Case| {
            let error = check_case(&less, &mut Tally::new()).err()?;
            (kind(&error) == kind(&message)).then_some((less, error))
        };
        match without_rule.chain(without_plan).find_map(fails) {
            Some((less, error)) => (case, message) = (less, error),
            None => return (case, message),
        }
    }
}

#[test]
fn no_draft_is_one_that_must_not_be() {
    let mut tally = Tally::new();
    for seed in 0..POLICIES {
        let case = case(seed);
        if let Err(error) = check_case(&case, &mut tally) {
            let (case, error) = smallest(case, &error);
            panic!(
                "seed {seed}: {error}\nrules {:#?}\ngroups {:#?}\nendpoints {:?}\nseries {:#?}\ndefault {}",
                case.policy.rules,
                case.policy.groups,
                case.policy.endpoints,
                case.plans,
                case.policy.default_action
            );
        }
    }
    println!("{tally:#?}");
    let wanted = [
        "allow",
        "deny",
        "narrowing",
        "explicit",
        "changing",
        "external",
        "icmp",
        "allow at one half",
        "deny of a burst",
        "not repeated",
        "conflict",
        "protected",
        "lack-of-traffic",
        "carried",
        "multicast",
        "membership",
    ];
    for name in wanted {
        assert!(tally.get(name).is_some_and(|drafts| *drafts >= 10), "too few of {name}: {tally:#?}");
    }
}
