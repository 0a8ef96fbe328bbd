//! Messages that no honest sender writes: each is refused by the path of the field at fault, none panics.

use meshgate_policy::automatic::{AutomaticLine, AutomaticSettings};
use meshgate_policy::suggestion::{FiledSuggestion, Suggestion};
use meshgate_policy::{
    AuthoredPolicy, AuthoredRelationship, FeedbackReport, Finding, LearnerReport, Policy, Rule, Withdrawal,
};
use meshgate_proto::wire;

fn any_rule() -> wire::Rule {
    let side = || Some(wire::Side { side: Some(wire::side::Side::Group(1)) });
    wire::Rule {
        id: 7,
        kind: 1,
        priority: 1000,
        action: 1,
        shadow: false,
        source: side(),
        destination: side(),
        l4: Some(wire::L4Match { protocol: Some(6), ports: vec![], icmp_type: None, icmp_code: None }),
    }
}

fn policy() -> wire::Policy {
    wire::Policy {
        version: 1,
        digest: vec![],
        segments: vec![wire::Segment { id: 1, name: "default".into(), tenant: "default".into() }],
        groups: vec![],
        endpoints: vec![],
        rules: vec![any_rule()],
        default_action: 2,
    }
}

fn group(id: u32) -> wire::Group {
    let name = format!("g{id}");
    wire::Group { id, name, segment: 1, prefixes: vec![], endpoints: vec![], intra_group: 1 }
}

fn endpoint(id: u32, address: [u8; 4]) -> wire::Endpoint {
    wire::Endpoint {
        id,
        name: format!("vm{id}"),
        segment: 1,
        mac: vec![2, 0, 0, 0, 0, id.to_le_bytes()[0]],
        addresses: vec![address.to_vec()],
        ..wire::Endpoint::default()
    }
}

fn refusal(message: wire::Policy) -> String {
    Policy::try_from(message).expect_err("a hostile message").to_string()
}

#[test]
fn a_port_above_65535_is_refused_by_its_path() {
    let mut message = policy();
    let l4 = message.rules[0].l4.as_mut().unwrap();
    l4.ports = vec![wire::PortRange { first: 70_000, last: 1 }];
    assert_eq!(refusal(message), "rules[0].l4.ports[0].first: 70000 is above 65535");
}

#[test]
fn numbers_that_nothing_has_are_refused_by_their_path() {
    let mut message = policy();
    message.rules[0].source = Some(wire::Side { side: Some(wire::side::Side::Group(99)) });
    assert_eq!(refusal(message), "rules[0].source.group: no group has the number 99");
    let mut message = policy();
    message.groups = vec![wire::Group { endpoints: vec![5], ..group(16) }];
    assert_eq!(refusal(message), "groups[0].endpoints[0]: no endpoint has the number 5");
    let mut message = policy();
    message.groups = vec![wire::Group { segment: 9, ..group(16) }];
    assert_eq!(refusal(message), "groups[0].segment: no segment has the number 9");
}

#[test]
fn absent_parts_and_unknown_numbers_are_refused_by_their_path() {
    type Spoil = fn(&mut wire::Rule);
    let cases: [(Spoil, &str); 6] = [
        (|r| r.l4 = None, "rules[0].l4: is missing"),
        (|r| r.source = None, "rules[0].source.side: is missing"),
        (|r| r.kind = 9, "rules[0].kind: 9 is not one of 1 (relationship), 2 (group rule)"),
        (|r| r.action = 0, "rules[0].action: 0 is not one of 1 (allow), 2 (deny), 3 (reject)"),
        (|r| r.id = 0, "rules[0].id: 0 is not a number that control gives"),
        (|r| r.priority = u32::MAX, "rules[0].priority: 4294967295 is above 65535"),
    ];
    for (spoil, reason) in cases {
        let mut message = policy();
        spoil(&mut message.rules[0]);
        assert_eq!(refusal(message), reason);
    }
}

#[test]
fn lists_out_of_order_or_with_repeats_are_refused() {
    let mut message = policy();
    message.groups = vec![group(17), group(16)];
    assert_eq!(refusal(message), "groups[1]: stands out of order or twice");
    let mut message = policy();
    message.rules = vec![any_rule(), wire::Rule { priority: 5, ..any_rule() }];
    assert_eq!(refusal(message), "rules[1]: 7 occurs twice");
}

#[test]
fn an_address_of_two_endpoints_is_refused() {
    let mut message = policy();
    message.endpoints = vec![endpoint(1, [10, 0, 0, 1]), endpoint(2, [10, 0, 0, 1])];
    assert_eq!(refusal(message), "endpoints[1].addresses: 10.0.0.1 occurs twice");
}

#[test]
fn addresses_and_prefixes_of_wrong_length_are_refused() {
    let mut message = policy();
    message.endpoints = vec![wire::Endpoint { addresses: vec![vec![1, 2, 3]], ..endpoint(1, [0; 4]) }];
    assert_eq!(refusal(message), "endpoints[0].addresses[0]: 3 bytes where 4 or 16 are wanted");
    let mut message = policy();
    message.groups = vec![wire::Group {
        prefixes: vec![wire::Prefix { address: vec![10, 0, 0, 1], length: 8 }],
        ..group(16)
    }];
    assert!(refusal(message).starts_with("groups[0].prefixes[0].length: prefix 10.0.0.1/8 has address bits"));
}

#[test]
fn lists_above_their_limit_are_refused_before_they_are_worked_through() {
    let mut message = policy();
    message.rules = vec![wire::Rule::default(); meshgate_policy::limits::RULES_MAX + 1];
    assert_eq!(refusal(message), "rules: 50001 entries, at most 50000 are possible");
}

#[test]
fn the_words_of_the_seed_are_taken_verbatim() {
    let message = wire::GroupRelationship {
        source_group_name: "WebServers".into(),
        destination_group_name: "Databases".into(),
        protocol: "TCP".into(),
        port_range: "80-8080".into(),
        action: "allow".into(),
        ..wire::GroupRelationship::default()
    };
    let relationship = AuthoredRelationship::try_from(message).unwrap();
    assert_eq!((relationship.id, relationship.priority.0), (None, 1000));
    assert_eq!(relationship.port_range.to_string(), "80-8080");
}

#[test]
fn authored_fields_are_refused_by_their_path() {
    let bad = wire::GroupRelationship {
        source_group_name: "a".into(),
        destination_group_name: "b".into(),
        action: "permit".into(),
        ..wire::GroupRelationship::default()
    };
    let message = wire::AuthoredPolicy { relationships: vec![bad], ..wire::AuthoredPolicy::default() };
    let fault = AuthoredPolicy::try_from(message).unwrap_err().to_string();
    assert_eq!(fault, "relationships[0].action: \"permit\" is not one of allow, deny, reject");
    let half_home = wire::AuthoredEndpoint {
        name: "vm".into(),
        mac: "02:00:00:00:00:01".into(),
        host: "h".into(),
        ..Default::default()
    };
    let message = wire::AuthoredPolicy { endpoints: vec![half_home], ..wire::AuthoredPolicy::default() };
    let fault = AuthoredPolicy::try_from(message).unwrap_err().to_string();
    assert_eq!(fault, "endpoints[0].host: needs device beside it");
}

fn suggestion() -> wire::Suggestion {
    let draft = wire::GroupRelationship {
        source_group_name: "a".into(),
        destination_group_name: "b".into(),
        action: "deny".into(),
        ..wire::GroupRelationship::default()
    };
    let decision = wire::Decision {
        verdict: "accepted".into(),
        made: Some(draft.clone().into()),
        ..wire::Decision::default()
    };
    wire::Suggestion {
        learner: "l1".into(),
        state: "accepted".into(),
        origin: "anomaly".into(),
        draft: Some(draft.into()),
        evidence: vec![wire::Evidence { number: 1, kind: "span".into(), ..wire::Evidence::default() }],
        decision: Some(decision),
        ..wire::Suggestion::default()
    }
}

#[test]
fn a_report_that_cannot_be_is_refused_by_its_path() {
    type Spoil = fn(&mut wire::LearnerReport);
    let cases: [(Spoil, &str); 5] = [
        (|r| r.learner.clear(), "learner: "),
        (|r| r.model_version = "m".repeat(129), "model_version: 129 bytes, at most 128 are possible"),
        (|r| r.training_loss = Some(f64::NAN), "training_loss: NaN is not a finite number"),
        (
            |r| r.drafts_dropped[0].value = f64::INFINITY,
            "drafts_dropped[0].value: inf is not a finite number",
        ),
        (
            |r| r.drafts_dropped = vec![wire::Feature::default(); 33],
            "drafts_dropped: 33 entries, at most 32 are possible",
        ),
    ];
    for (spoil, reason) in cases {
        let mut message = wire::LearnerReport { learner: "l1".into(), ..wire::LearnerReport::default() };
        message.drafts_dropped = vec![wire::Feature { name: "carried".into(), value: 3.0 }];
        assert!(LearnerReport::try_from(message.clone()).is_ok());
        spoil(&mut message);
        let refusal = LearnerReport::try_from(message).unwrap_err().to_string();
        assert!(refusal.starts_with(reason), "{refusal}");
    }
}

fn learned() -> wire::FeedbackReport {
    wire::FeedbackReport {
        long_share: 0.5,
        gate_steps: vec![wire::GateStep { evidence_nats: 4.5, time_ns: 7, ..wire::GateStep::default() }],
        calibration: vec![wire::CalibrationBin { answers: 9, confidence: 0.5, accepted: 0.25 }],
        precision: vec![wire::PrecisionSpan { shown: 0.5, ..wire::PrecisionSpan::default() }],
        entities: vec![wire::LearnedEffect { name: "source a".into(), log_odds: -1.0, answers: 3 }],
        ..wire::FeedbackReport::default()
    }
}

fn automatic() -> wire::AutomaticLine {
    let settings = Some(AutomaticSettings::default().into());
    let step = wire::RunStep { stage: "shadow".into(), time_ns: 5, words: "why".into() };
    let run = wire::AutomaticRun {
        kind: "steady".into(),
        stage: "shadow".into(),
        settings,
        expected: Some(wire::Expected::default()),
        steps: vec![step],
        ..wire::AutomaticRun::default()
    };
    wire::AutomaticLine {
        kind: "steady".into(),
        state: "on".into(),
        settings,
        earned: Some(wire::Earned::default()),
        live: vec![run],
        ..wire::AutomaticLine::default()
    }
}

#[test]
fn random_bytes_never_panic() {
    use prost::Message;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let good = [
        policy().encode_to_vec(),
        suggestion().encode_to_vec(),
        learned().encode_to_vec(),
        automatic().encode_to_vec(),
    ];
    assert!(FeedbackReport::try_from(learned()).is_ok() && AutomaticLine::try_from(automatic()).is_ok());
    assert!(FiledSuggestion::try_from(suggestion()).is_ok());
    for turn in 0..40_000 {
        let mut bytes = good[turn % good.len()].clone();
        for _ in 0..=next() % 4 {
            let at = usize::from(next()) % bytes.len();
            bytes[at] = next();
        }
        if let Ok(message) = wire::Policy::decode(bytes.as_slice()) {
            let _outcome = Policy::try_from(message);
        }
        if let Ok(message) = wire::AuthoredPolicy::decode(bytes.as_slice()) {
            let _outcome = AuthoredPolicy::try_from(message);
        }
        if let Ok(message) = wire::Rule::decode(bytes.as_slice()) {
            let _outcome = Rule::try_from(message);
        }
        if let Ok(message) = wire::Suggestion::decode(bytes.as_slice()) {
            let _outcome = (FiledSuggestion::try_from(message.clone()), Suggestion::try_from(message));
        }
        if let Ok(message) = wire::LearnerReport::decode(bytes.as_slice()) {
            let _outcome = LearnerReport::try_from(message);
        }
        if let Ok(message) = wire::FeedbackReport::decode(bytes.as_slice()) {
            let _outcome = FeedbackReport::try_from(message);
        }
        if let Ok(message) = wire::AutomaticLine::decode(bytes.as_slice()) {
            let _outcome = AutomaticLine::try_from(message);
        }
        if let Ok(message) = wire::Withdrawal::decode(bytes.as_slice()) {
            let _outcome = Withdrawal::try_from(message);
        }
        if let Ok(message) = wire::Finding::decode(bytes.as_slice()) {
            let _outcome = Finding::from(message);
        }
    }
}

#[test]
fn a_digest_of_another_policy_is_refused() {
    let mut message = policy();
    assert!(refusal(message.clone()).starts_with("digest: digest: 0 characters or bytes"));
    message.digest = vec![0; 32];
    assert_eq!(refusal(message), "digest: is not the digest of this policy");
}
