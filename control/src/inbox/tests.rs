//! Which drafts are taken, and what each refusal names.

use super::*;
use crate::policy_book::{Change, PolicyBook};
use meshgate_policy::suggestion::{Alternative, Evidence, EvidenceKind, Feature, Measure, Origin};
use meshgate_policy::{Action, AuthoredRelationship, EffectCounts, Mode, PolicyVersion, Priority};

const POLICY: &str = "
[[groups]]
name = 'Dev'
prefixes = ['10.0.0.0/24']
[[groups]]
name = 'Prod'
prefixes = ['10.0.1.0/24']
[[groups]]
name = 'Lab'
prefixes = ['10.0.0.128/25']
[[groups]]
name = 'Empty'
[[relationships]]
id = 1
source_group_name = 'Dev'
destination_group_name = 'Prod'
protocol = 'TCP'
port_range = '80-90'
action = 'allow'
[[relationships]]
id = 2
source_group_name = 'Lab'
destination_group_name = 'Prod'
protocol = 'UDP'
action = 'deny'
priority = 60001
";

fn book() -> PolicyBook {
    let policy = toml::from_str(POLICY).unwrap();
    PolicyBook::default().apply(vec![Change::ReplaceAll(Box::new(policy))], None).unwrap().book
}

fn draft(text: &str) -> AuthoredRelationship {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap().to_owned();
    let (action, source, destination, protocol, ports) = (word(), word(), word(), word(), word());
    let ports = if ports == "*" { String::new() } else { format!("port_range = '{ports}'") };
    toml::from_str(&format!(
        "action = '{action}'\nsource_group_name = '{source}'\ndestination_group_name = '{destination}'\n\
         protocol = '{protocol}'\n{ports}"
    ))
    .unwrap()
}

fn suggestion(text: &str) -> Suggestion {
    Suggestion {
        origin: Origin::Anomaly,
        draft: draft(text).into(),
        alternatives: Vec::new(),
        confidence: 0.75,
        relevance: 0.25,
        rank: 1,
        propensity: 1.0,
        justification: "Unusual SSH connection attempts".into(),
        evidence: vec![Evidence {
            kind: EvidenceKind::Volume,
            sentence: "7 attempts".into(),
            measures: vec![Measure {
                name: "attempts".into(),
                value: 7.0,
                unit: "flows".into(),
                text: "7".into(),
            }],
            from_ns: 1,
            until_ns: 2,
        }],
        effect: EffectCounts { seen: 9, matched: 7, newly_denied: 7, ..EffectCounts::default() },
        over_permissiveness: 0.0,
        narrows: Vec::new(),
        shadows: Vec::new(),
        makes_explicit: false,
        features: vec![Feature { name: "novelty".into(), value: 0.5 }],
        base_version: PolicyVersion(1),
        model_version: "gru-1".into(),
        window_end_ns: 2,
        expires_ns: 0,
    }
}

fn drafted(suggestion: &mut Suggestion) -> &mut AuthoredRelationship {
    match &mut suggestion.draft {
        Proposal::Relationship(relationship) => relationship,
        other => panic!("{other:?}"),
    }
}

fn proposal(text: &str) -> Proposal {
    toml::from_str(text).unwrap()
}

fn submitter(now_ns: u64) -> Submitter {
    Submitter { learner: Name::new("l1").unwrap(), now_ns }
}

fn refusal(inbox: &mut Inbox, suggestion: Suggestion) -> String {
    let book = book();
    inbox.take(&Judge::new(&book), &submitter(1), suggestion).unwrap_err().to_string()
}

#[test]
fn a_good_draft_gets_the_next_number_once() {
    let book = book();
    let judge = Judge::new(&book);
    let mut inbox = Inbox { last_id: 6, ..Inbox::default() };
    let taken = inbox.take(&judge, &submitter(5), suggestion("deny Dev Prod TCP 22")).unwrap();
    assert_eq!((taken.id, taken.submitted_ns, taken.state()), (7, 5, State::Open));
    let mut again = suggestion("deny Dev Prod TCP 22");
    (drafted(&mut again).priority, drafted(&mut again).note) = (Priority(200), "other words".into());
    let refusal = inbox.take(&judge, &submitter(6), again).unwrap_err();
    assert_eq!((refusal.repeated(), refusal), (7, Refusal::Open(7)));
    assert_eq!(inbox.take(&judge, &submitter(6), suggestion("deny Dev Prod TCP 23")).unwrap().id, 8);
}

#[test]
fn a_rejected_draft_stays_away_and_one_put_off_rests() {
    let book = book();
    let judge = Judge::new(&book);
    let one = suggestion("deny Dev Prod TCP 22");
    let day_ns = LATER_RESTS_S * 1_000_000_000;
    let mut inbox = Inbox { last_id: 4, ..Inbox::default() };
    let mut take = |answer, now_ns| {
        inbox.standing.insert(DraftKey::of(&one.draft), Standing { id: 4, answer });
        inbox.take(&judge, &submitter(now_ns), one.clone())
    };
    let refused = take(Answer::Rejected(Reason::TooBroad, 1), day_ns * 99).unwrap_err();
    assert_eq!(refused.to_string(), "draft: repeats suggestion 4, which was rejected: too-broad");
    let early = take(Answer::Rejected(Reason::Later, 0), day_ns - 1_000_000_000).unwrap_err();
    assert_eq!(early, Refusal::Later(4, 1));
    assert_eq!(take(Answer::Rejected(Reason::Later, 0), day_ns).unwrap().id, 5);
    assert_eq!(take(Answer::Accepted(Some(RuleId(2))), 1).unwrap_err(), Refusal::Accepted(4, RuleId(2)));
    assert!(take(Answer::Accepted(Some(RuleId(9))), 1).is_ok(), "what came of it was deleted");
    assert!(take(Answer::Expired, 1).is_ok(), "nobody answered");
}

#[test]
fn a_full_inbox_takes_no_more() {
    let mut inbox = Inbox { open: OPEN_MAX, ..Inbox::default() };
    let full = refusal(&mut inbox, suggestion("deny Dev Prod TCP 22"));
    assert_eq!(full, "suggestions: 200 are open, more are not taken until some are answered");
}

#[test]
fn what_the_policy_holds_against_a_draft_is_named() {
    for (text, expected) in [
        ("deny Dev Nowhere TCP 22", "draft.destination_group_name: no group \"Nowhere\" in version 1"),
        ("deny Nowhere Prod TCP 22", "draft.source_group_name: no group \"Nowhere\" in version 1"),
        ("deny Empty Prod TCP 22", "draft: no packet can match it in version 1"),
        ("allow Dev Prod TCP 80-90", "draft: relationship 1 says the same already"),
        (
            "allow Dev Prod TCP 85",
            "draft: would never decide, because rule 1 (allow Dev -> Prod TCP 80-90, priority 1000) decides all \
             its packets before",
        ),
        (
            "deny Dev Prod TCP 85-99",
            "draft: overlaps rule 1 (allow Dev -> Prod TCP 80-90, priority 1000), which has the opposite action",
        ),
        (
            "deny Dev Prod TCP 80-90",
            "draft: matches the same packets as rule 1 (allow Dev -> Prod TCP 80-90, priority 1000), which has \
             the opposite action",
        ),
        ("deny Dev Prod ICMP 22", "draft.port_range: ICMP has no ports; only TCP, UDP and SCTP do"),
    ] {
        assert_eq!(refusal(&mut Inbox::default(), suggestion(text)), expected, "{text}");
    }
}

#[test]
fn a_draft_may_be_an_exception_from_a_broader_rule() {
    let book = book();
    assert_eq!(Judge::new(&book).obstacle(&draft("deny Lab Prod TCP 85").into()), None);
    assert_eq!(Judge::new(&book).obstacle(&draft("deny any any TCP *").into()), None);
}

#[test]
fn a_number_that_cannot_be_is_named() {
    type Spoil = fn(&mut Suggestion);
    let cases: [(Spoil, &str); 17] = [
        (|p| p.confidence = f64::NAN, "confidence: NaN is not within 0 to 1"),
        (|p| p.relevance = 1.5, "relevance: 1.5 is not within 0 to 1"),
        (|p| p.over_permissiveness = -0.1, "over_permissiveness: -0.1 is not within 0 to 1"),
        (|p| p.rank = 0, "rank: 0 is below 1"),
        (|p| p.propensity = 0.0, "propensity: 0 is not above 0 and at most 1"),
        (|p| drafted(p).priority = Priority(99), "draft.priority: 99 is below 100"),
        (|p| drafted(p).priority = Priority(60_001), "draft.priority: 60001 is above 60000"),
        (|p| drafted(p).action = Action::Reject, "draft.action: reject; a draft allows or denies"),
        (|p| drafted(p).mode = Mode::Shadow, "draft.mode: shadow; a draft has the mode enforce"),
        (|p| drafted(p).id = Some(RuleId(1)), "draft.id: control gives the number, a draft has none"),
        (
            |p| drafted(p).tenant = Name::new("x").unwrap(),
            "draft.tenant: no tenant \"x\"; this version has only \"default\"",
        ),
        (|p| p.effect.matched = 10, "effect.flows_matched: 10 is above 9"),
        (|p| p.effect.attributed = 1, "effect.flows_attributed: 1 is above 0"),
        (|p| p.window_end_ns = u64::MAX, "window_end_ns: 18446744073709551615 is above 9223372036854775807"),
        (
            |p| p.evidence[0].measures[0].value = f64::INFINITY,
            "evidence[0].measures[0].value: inf is not a finite number",
        ),
        (|p| p.evidence[0].from_ns = 3, "evidence[0].until_ns: ends before it begins"),
        (|p| p.features[0].value = f64::NAN, "features[0].value: NaN is not a finite number"),
    ];
    for (spoil, expected) in cases {
        let mut spoiled = suggestion("deny Dev Prod TCP 22");
        spoil(&mut spoiled);
        assert_eq!(refusal(&mut Inbox::default(), spoiled), expected);
    }
}

#[test]
fn a_text_or_list_without_measure_is_named() {
    type Spoil = fn(&mut Suggestion);
    let cases: [(Spoil, &str); 9] = [
        (|p| p.justification.clear(), "justification: is empty"),
        (|p| p.justification = "x".repeat(2_049), "justification: 2049 bytes, at most 2048 are possible"),
        (|p| p.model_version = "x".repeat(129), "model_version: 129 bytes, at most 128 are possible"),
        (|p| drafted(p).note = "x".repeat(1_025), "draft.note: 1025 bytes, at most 1024 are possible"),
        (|p| p.evidence = vec![p.evidence[0].clone(); 17], "evidence: 17 entries, at most 16 are possible"),
        (|p| p.evidence[0].sentence.clear(), "evidence[0].sentence: is empty"),
        (
            |p| p.evidence[0].measures = vec![p.evidence[0].measures[0].clone(); 33],
            "evidence[0].measures: 33 entries, at most 32 are possible",
        ),
        (|p| p.features = vec![p.features[0].clone(); 65], "features: 65 entries, at most 64 are possible"),
        (|p| p.narrows = vec![RuleId(1); 257], "narrows: 257 entries, at most 256 are possible"),
    ];
    for (spoil, expected) in cases {
        let mut spoiled = suggestion("deny Dev Prod TCP 22");
        spoil(&mut spoiled);
        assert_eq!(refusal(&mut Inbox::default(), spoiled), expected);
    }
}

#[test]
fn an_accepted_draft_carries_its_reason_as_a_note() {
    let book = book();
    let mut proposed = suggestion("deny Dev Prod TCP 22");
    proposed.justification = "\u{e9}".repeat(1_000);
    let filed = Inbox::default().take(&Judge::new(&book), &submitter(1), proposed).unwrap();
    let (made, is_edited) = accepted_form(&filed, None);
    assert!(made.note().starts_with("suggestion 1: \u{e9}") && made.note().len() <= NOTE_BYTES_MAX);
    assert!(!is_edited);
    let noted = AuthoredRelationship { note: "mine".into(), ..draft("deny Dev Prod TCP 22") };
    let (made, is_edited) = accepted_form(&filed, Some(noted.clone().into()));
    assert_eq!((made.note(), is_edited), ("mine", false));
    let narrower = AuthoredRelationship { priority: Priority(1_001), ..noted };
    assert!(accepted_form(&filed, Some(narrower.into())).1);
}

#[test]
fn what_the_policy_holds_against_other_kinds_of_drafts_is_named() {
    let policy = format!(
        "{POLICY}[[rules]]\nid = 3\ngroup_name = 'Prod'\ndirection = 'ingress'\npeer = ['10.9.0.0/16']\n\
         protocol = 'UDP'\nport_range = '53'\naction = 'allow'\n\
         [[endpoints]]\nname = 'e1'\nmac = '02:00:00:00:00:01'\naddresses = ['10.0.1.7']\n\
         [[endpoints]]\nname = 'e2'\nmac = '02:00:00:00:00:02'\naddresses = ['10.7.0.7']\n"
    );
    let policy = policy.replacen("name = 'Prod'", "name = 'Prod'\nmembers = ['e1']", 1);
    let change = Change::ReplaceAll(Box::new(toml::from_str(&policy).unwrap()));
    let book = PolicyBook::default().apply(vec![change], None).unwrap().book;
    let judge = Judge::new(&book);
    let shown = |text: &str| judge.obstacle(&proposal(text)).map(|obstacle| obstacle.to_string());
    let rule = |peer: &str, action: &str| {
        shown(&format!(
            "kind = 'rule'\ngroup_name = 'Prod'\ndirection = 'ingress'\npeer = ['{peer}']\nprotocol = 'UDP'\n\
             port_range = '53'\naction = '{action}'"
        ))
    };
    assert_eq!(rule("10.9.0.0/16", "allow").as_deref(), Some("draft: rule 3 says the same already"));
    assert!(rule("10.9.1.0/24", "allow").unwrap().starts_with("draft: would never decide, because rule 3 "));
    assert!(rule("10.9.0.0/16", "deny").unwrap().contains("matches the same packets as rule 3"));
    assert_eq!(rule("10.9.1.0/24", "deny"), None, "an exception");
    let member = |endpoint: &str, group: &str, join: bool| {
        shown(&format!("kind = 'membership'\nendpoint = '{endpoint}'\ngroup = '{group}'\njoin = {join}"))
    };
    assert_eq!(member("e2", "Prod", true), None);
    assert_eq!(member("e1", "Prod", false), None);
    for (endpoint, group, join, expected) in [
        ("e9", "Prod", true, "draft.endpoint: no endpoint \"e9\" in version 1"),
        ("e1", "Nowhere", true, "draft.group: no group \"Nowhere\" in version 1"),
        ("e1", "any", true, "draft.group: \"any\" is built in, nobody lists its members"),
        ("e1", "Prod", true, "draft.endpoint: \"e1\" is in group \"Prod\" already"),
        ("e2", "Prod", false, "draft.endpoint: \"e2\" is not listed in group \"Prod\""),
    ] {
        assert_eq!(member(endpoint, group, join).as_deref(), Some(expected));
    }
    let grouped = |name: &str, members: &str| {
        shown(&format!(
            "kind = 'grouped'\ngroups = [{{ name = '{name}', members = [{members}] }}]\n[relationship]\n\
             source_group_name = '{name}'\ndestination_group_name = 'Prod'\naction = 'allow'"
        ))
    };
    assert_eq!(grouped("clients", "'e2'"), None);
    let exists = "draft.groups: there is a group \"Dev\" already";
    assert_eq!(grouped("Dev", "'e2'").as_deref(), Some(exists));
    assert_eq!(grouped("clients", "'e9'").as_deref(), Some("draft.groups: no endpoint \"e9\" in version 1"));
}

#[test]
fn alternatives_and_groups_are_checked_like_the_draft() {
    type Spoil = fn(&mut Suggestion);
    let alternative = |proposal: Proposal| Alternative { proposal, over_permissiveness: 0.5, coverage: 1.0 };
    let mut good = suggestion("deny Dev Prod TCP 22");
    good.alternatives = vec![alternative(draft("deny any Prod TCP 22").into())];
    good.expires_ns = 2;
    assert!(check_form(&good).is_ok());
    let grouped = "kind = 'grouped'\ngroups = [{ name = 'new', members = ['e1'] }]\n[relationship]\n\
                   source_group_name = 'new'\ndestination_group_name = 'Prod'\naction = 'allow'";
    assert!(check_form(&Suggestion { draft: proposal(grouped), ..good.clone() }).is_ok());
    let cases: [(Spoil, &str); 4] = [
        (|p| p.alternatives[0].coverage = 2.0, "alternatives[0].coverage: 2 is not within 0 to 1"),
        (
            |p| p.alternatives = vec![p.alternatives[0].clone(); 9],
            "alternatives: 9 entries, at most 8 are possible",
        ),
        (|p| p.expires_ns = u64::MAX, "expires_ns: 18446744073709551615 is above 9223372036854775807"),
        (|p| p.expires_ns = 1, "expires_ns: 1 has passed"),
    ];
    for (spoil, expected) in cases {
        let mut spoiled = good.clone();
        spoil(&mut spoiled);
        assert_eq!(refusal(&mut Inbox::default(), spoiled), expected);
    }
    for (from, to, expected) in [
        (
            "source_group_name = 'new'",
            "source_group_name = 'Dev'",
            "draft.groups.name: \"new\" is no side of the rule",
        ),
        ("members = ['e1']", "members = []", "draft.groups.members: is empty"),
        (
            "members = ['e1']",
            "members = ['e1'], selector = { a = 'b' }",
            "draft.groups.selector: a group that a draft makes lists its members",
        ),
        ("action = 'allow'", "action = 'reject'", "draft.action: reject; a draft allows or denies"),
    ] {
        let draft = proposal(&grouped.replacen(from, to, 1));
        assert_eq!(refusal(&mut Inbox::default(), Suggestion { draft, ..good.clone() }), expected);
    }
}
