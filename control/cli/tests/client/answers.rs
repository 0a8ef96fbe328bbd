//! Answers taken back, what was learned from them, and automatic acceptance on the command line.

use crate::control::Control;
use crate::recorder::{Answers, Asked, Served};
use crate::suggestions::{learn, suggestion};
use meshgate_policy::automatic::AutomaticSettings;
use meshgate_proto::wire;

fn line(state: &str) -> wire::AutomaticLine {
    wire::AutomaticLine {
        kind: "anomaly".into(),
        state: state.into(),
        since_ns: 1_769_860_000_000_000_000,
        actor: "alice".into(),
        settings: Some(AutomaticSettings { answers: 300, ..AutomaticSettings::default() }.into()),
        earned: Some(wire::Earned::default()),
        ..wire::AutomaticLine::default()
    }
}

#[test]
fn each_command_asks_for_what_was_typed() {
    let served = Served::start(Answers { automatic: line("on"), ..Answers::default() });
    let asked = |line: &str| served.done(&line.split_whitespace().collect::<Vec<_>>());
    let (text, withdrawn) = asked("suggestions withdraw 3 --comment mistake");
    let request = wire::WithdrawAnswerRequest { id: 3, comment: "mistake".into(), answer_only: false };
    assert_eq!(withdrawn, [Asked::Withdraw(request)]);
    let (_, withdrawn) = asked("suggestions withdraw 3 --answer-only");
    let request = wire::WithdrawAnswerRequest { id: 3, comment: String::new(), answer_only: true };
    assert_eq!(withdrawn, [Asked::Withdraw(request)]);
    assert_eq!(text, "suggestion 3 is open again, its relationship is gone (version 8)\n");
    let (text, _) = asked("suggestions withdraw 3 -o json");
    assert!(text.contains("\"sequence\": 6") && text.contains("\"version\": 8"), "{text}");

    let (text, shown) = asked("automatic show");
    assert_eq!(shown, [Asked::ShowAutomatic(wire::ShowAutomaticRequest {})]);
    assert!(text.contains("state:     on since 2026-01-31 11:46:40Z, by alice\n"), "{text}");
    let (_, enabled) = asked("automatic enable anomaly");
    let show = Asked::ShowAutomatic(wire::ShowAutomaticRequest {});
    let request =
        wire::EnableAutomaticRequest { kind: "anomaly".into(), settings: None, comment: String::new() };
    assert_eq!(enabled, [show.clone(), Asked::EnableAutomatic(request)]);
    let (_, enabled) = asked(
        "automatic enable anomaly --confidence 0.97 --answers 200 --margin 0.03 --shadow-hours 72 --rollback-hours 48 \
         --per-day 1 --over-permissiveness 0.05 --shadow-factor 1.5 --shadow-flows 10 --rollback-factor 2 \
         --rollback-flows 20 --comment agreed",
    );
    let settings = wire::AutomaticSettings {
        confidence: 0.97,
        answers: 200,
        margin: 0.03,
        shadow_hours: 72,
        rollback_hours: 48,
        per_day: 1,
        over_permissiveness_max: 0.05,
        shadow: Some(wire::Tolerance { factor: 1.5, flows: 10 }),
        rollback: Some(wire::Tolerance { factor: 2.0, flows: 20 }),
    };
    let (kind, comment) = ("anomaly".to_owned(), "agreed".to_owned());
    let request = wire::EnableAutomaticRequest { kind, settings: Some(settings), comment };
    assert_eq!(enabled, [show.clone(), Asked::EnableAutomatic(request)]);
    let (_, enabled) = asked("automatic enable anomaly --per-day 1");
    let settings = AutomaticSettings { per_day: 1, answers: 300, ..AutomaticSettings::default() };
    let (kind, settings) = ("anomaly".to_owned(), Some(settings.into()));
    let request = wire::EnableAutomaticRequest { kind, settings, comment: String::new() };
    assert_eq!(enabled, [show, Asked::EnableAutomatic(request)]);
    let (text, disabled) = asked("automatic disable anomaly -o json");
    let request = wire::DisableAutomaticRequest { kind: "anomaly".into(), comment: String::new() };
    assert_eq!(disabled, [Asked::DisableAutomatic(request)]);
    assert!(text.contains("\"kind\": \"anomaly\"") && text.contains("\"is_earned\": false"), "{text}");
    let odd = served.run(&["automatic", "enable", "cost"]);
    assert_eq!(odd.status.code(), Some(2), "a kind that is none is no command line");
}

#[test]
fn what_was_learned_is_shown_in_words_and_as_json() {
    let feedback = wire::FeedbackReport {
        answers: 120,
        gate_open: true,
        evidence_nats: 4.5,
        evidence_needed_nats: 4.0,
        long_share: 1.0,
        entities: vec![wire::LearnedEffect { name: "source web".into(), log_odds: -0.7, answers: 7 }],
        ..wire::FeedbackReport::default()
    };
    let report = wire::LearnerReport { learner: "l1".into(), feedback: Some(feedback), ..Default::default() };
    let entry = wire::LearnerEntry { report: Some(report), reported_ns: 5 };
    let learners = wire::ListLearnersResponse { learners: vec![entry] };
    let served = Served::start(Answers { learners, ..Answers::default() });
    let (text, asked) = served.done(&["learner", "feedback"]);
    assert_eq!(asked, [Asked::ListLearners(wire::ListLearnersRequest {})]);
    assert!(text.contains("What was learned takes part in the ranking.\n"), "{text}");
    assert!(text.contains("source web   / 2.0"), "{text}");
    let (json, _) = served.done(&["learner", "feedback", "-o", "json"]);
    assert!(json.contains("\"evidence_nats\": 4.5") && json.contains("\"log_odds\": -0.7"), "{json}");
    let (status, _) = served.done(&["learner", "status"]);
    assert!(status.starts_with("learner:     l1"), "{status}");
}

#[test]
fn an_answer_is_taken_back_on_the_command_line() {
    let Some(control) = Control::start() else { return };
    control.done("groups create DevNodes --prefix 10.0.0.0/24");
    control.done("groups create ProductionServers --prefix 10.0.1.0/24");
    let answers = learn(&control, vec![suggestion("22"), suggestion("23")]);
    assert!(answers.iter().all(|answer| answer.refusal.is_empty()), "{answers:?}");
    control.done("suggestions accept 1");
    control.done("suggestions reject 2 --reason wrong-rule");
    assert!(
        control.done("suggestions show 1").contains("take it back with `meshgate suggestions withdraw 1`")
    );
    let text = control.done("suggestions withdraw 1 --comment mistake");
    assert_eq!(text, "suggestion 1 is open again, its relationship is gone (version 4)\n");
    assert_eq!(control.done("suggestions withdraw 2"), "suggestion 2 is open again\n");
    let page = control.done("suggestions show 1");
    assert!(page.starts_with("suggestion 1 (open): "), "{page}");
    assert!(
        page.contains("an answer was withdrawn by alice (")
            && page.contains("version 4 is without it: mistake")
    );
    let again = control.refused("suggestions withdraw 1");
    assert_eq!(again, "suggestion 1: is open, there is no answer to withdraw");
    assert!(control.done("automatic show").contains("state:     off; people answer\n"));
    assert!(control.done("automatic enable steady --answers 50").contains("no: none of 50 answers yet"));
    let text = control.done("automatic enable steady --per-day 1");
    assert!(text.contains("no: none of 50 answers yet") && text.contains("1 a day"), "{text}");
    control.done("automatic enable anomaly");
    let page = control.done("suggestions show 1");
    assert!(page.contains("not accepted automatically: its draft was answered before\n"), "{page}");
    learn(&control, vec![suggestion("25")]);
    let page = control.done("suggestions show 3");
    assert!(
        page.contains("not accepted automatically: its confidence is 0.900, 0.950 is asked for\n"),
        "{page}"
    );
    let refused = control.refused("automatic enable steady --shadow-hours 0");
    assert_eq!(refused, "settings.shadow_hours: 0 is not between 1 and 744");
    assert!(control.done("audit").contains("automatic-switch"));
    assert!(control.done("learner feedback").contains("It does not say what it learned from answers."));
}
