//! What people answer and take back, while the programs that have to remember it are killed.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::learner::{open, servers};
use ground::{Ground, wait_until};
use meshgate_learner::adviser::AdviserSettings;
use meshgate_learner::checkpoint::{encode, load, store};
use meshgate_learner::draft_key::DraftKey;
use meshgate_learner::feedback::standpoint::{HEIGHT, LEARNED, STATIC_SCORE, entity_features, seen};
use meshgate_learner::feedback::{Answer, Feedback, Verdict};
use meshgate_learner::train::Hyperparameters;
use meshgate_policy::suggestion::Feature;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Answers that the learner knows before the first of this test.
const ANSWERED: u64 = 60;
/// Suggestions of an earlier day.
const DRAFTS: u64 = 20;
/// Rounds of an answer and its withdrawal.
const ROUNDS: u64 = 6;
/// Numbers of suggestions that this control never gave.
const ELSEWHERE: u64 = 1_000_000;

/// Returns a draft of earlier days with what was known of it. Denials are what its administrator wants.
fn earlier(number: u64) -> (DraftKey, Vec<Feature>) {
    let is_allow = number.is_multiple_of(2);
    let draft = DraftKey {
        source: format!("source-{}", number % 5),
        destination: format!("destination-{}", number % 7),
        service: format!("TCP {} - -", 1_000 + number % 3),
        action: if is_allow { "allow" } else { "deny" }.into(),
    };
    let value = |name: &str| match name {
        "is_allow" => f64::from(u8::from(is_allow)),
        STATIC_SCORE | "confidence" => (number * 37 % 100) as f64 / 100.0,
        HEIGHT => 1.0,
        _ => (number * 11 % 10) as f64 / 10.0,
    };
    let names = LEARNED.iter().chain([&STATIC_SCORE, &HEIGHT]);
    let features = names.map(|name| Feature { name: (*name).into(), value: value(name) });
    let features = features.chain(entity_features(&draft)).collect();
    (draft, features)
}

/// Puts days of suggestions and answers into a checkpoint, as if they came from before this control.
fn teach(ground: &Ground) {
    let path = ground.checkpoint();
    let mut checkpoint = load(&path, &Hyperparameters::default()).unwrap().unwrap();
    let today_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut feedback = Feedback::new(AdviserSettings::default().ranking());
    for day in 0..4 {
        feedback.pass_time(today_s - (10 - day) * 86_400);
        feedback.weighed((0..DRAFTS).map(|number| seen(&earlier(day * DRAFTS + number).1)));
    }
    for number in 1..=ANSWERED {
        let (draft, features) = earlier(number);
        let is_yes = draft.action == "deny" && number % 10 != 1;
        feedback.apply(Answer {
            sequence: number,
            suggestion: ELSEWHERE + number,
            draft,
            features,
            rank: 1,
            propensity: 1.0,
            confidence: 0.5,
            verdict: if is_yes { Verdict::Accepted } else { Verdict::Rejected },
            reason: None,
            proposed: None,
            edited: None,
            overlap: 1.0,
            actor: "uid:0".into(),
            time_ns: (today_s - 5 * 86_400 + number) * 1_000_000_000,
        });
    }
    // What this control decides begins at 1.
    let mut state = serde_json::to_value(feedback.state()).unwrap();
    state["sequence"] = 0.into();
    let section = checkpoint.sections.iter_mut().find(|(name, _)| name == "feedback").unwrap();
    section.1 = serde_json::to_vec(&state).unwrap();
    store(&path, &encode(&checkpoint.trainer, &checkpoint.detector, &checkpoint.sections)).unwrap();
}

/// Returns what the learner has learned, as people are told.
fn learned(ground: &Ground) -> Value {
    ground.ask(&["learner", "feedback"])["learners"][0]["feedback"].clone()
}

/// Waits until the learner has said what it learned from so many answers, so many withdrawn, and returns it but for that count.
fn learned_from(ground: &Ground, answers: u64, withdrawn: u64) -> Value {
    let mut told = Value::Null;
    wait_until(&format!("{answers} answers are learned from, {withdrawn} are withdrawn"), || {
        told = learned(ground);
        told["answers"] == answers && told["withdrawn"] == withdrawn
    });
    told["withdrawn"] = Value::Null;
    told
}

#[test]
fn a_withdrawn_answer_leaves_no_trace_whoever_is_killed_in_between() {
    let Some(ground) = Ground::with_endpoints("feedback-kills", &["socat"]) else { return };
    let mut control = ground.start_control();
    let _dataplane = ground.start_exporting_dataplane();
    let _servers = servers(&ground);
    let learner = ground.start_learner();
    let _requests = ground.begin_watching();
    wait_until("a first suggestion is there", || !open(&ground).is_empty());
    wait_until("a checkpoint is kept", || ground.checkpoint().exists());
    let (status, log) = learner.terminate();
    assert!(status.success(), "{log}");
    teach(&ground);
    let mut learner = ground.start_learner();
    let before = learned_from(&ground, ANSWERED, 0);
    assert!(before["features"].as_array().is_some_and(|effects| !effects.is_empty()), "{before:#}");
    let id = open(&ground).first().unwrap().clone();
    for round in 0..ROUNDS {
        ground.ask(&["suggestions", "reject", &id, "--reason", "wrong-rule"]);
        // Learner, control, or both, at once or a moment later.
        let moment = Duration::from_millis(40 * (round / 3));
        ground::rest(moment);
        if round % 3 != 1 {
            learner.kill();
            learner = ground.start_learner();
        }
        if round % 3 != 0 {
            control.kill();
            control = ground.start_control();
        }
        let with_it = learned_from(&ground, ANSWERED + 1, round);
        assert_ne!(with_it, before, "the answer says nothing");
        ground.ask(&["suggestions", "withdraw", &id]);
        ground::rest(moment);
        if round % 3 != 1 {
            control.kill();
            control = ground.start_control();
        }
        if round % 3 != 0 {
            learner.kill();
            learner = ground.start_learner();
        }
        assert_eq!(learned_from(&ground, ANSWERED, round + 1), before, "round {round}");
        assert!(open(&ground).contains(&id), "it waits for an answer again");
        assert_eq!(ground.learner_number("decision_sequence"), 2 * (round + 1));
    }
    assert!(learner.is_running() && control.is_running());
}
