//! Automatic acceptance as text.

use crate::table::block;
use crate::units::{count, time};
use meshgate_policy::automatic::{
    AutomaticLine, AutomaticRun, AutomaticSettings, AutomaticState, Earned, RunStep,
};

/// Returns the text of all kinds.
pub fn lines_text(lines: &[AutomaticLine]) -> String {
    lines.iter().map(line_text).collect::<Vec<_>>().join("\n")
}

/// Returns the text of one kind.
pub fn line_text(line: &AutomaticLine) -> String {
    let AutomaticLine { kind, state, since_ns, actor, comment, settings, earned, accepted_today, live } =
        line;
    let since = match since_ns {
        0 => String::new(),
        since_ns => format!(" since {}, by {actor}", time(*since_ns)),
    };
    let state = match state {
        AutomaticState::Off => format!("off{since}; people answer"),
        AutomaticState::On => format!("on{since}"),
        AutomaticState::Suspended => {
            format!("suspended{since}; people answer until `meshgate automatic enable {kind}`")
        }
    };
    let AutomaticSettings { confidence, answers, margin, shadow_hours, rollback_hours, per_day, .. } =
        settings;
    let AutomaticSettings { over_permissiveness_max, shadow, rollback, .. } = settings;
    let mut fields = vec![
        ("kind", kind.to_string()),
        ("state", state),
        ("why", comment.clone()),
        (
            "asks for",
            format!(
                "a confidence of {}, and of the last {answers} answers to such at least {} surely accepted",
                percent(*confidence),
                percent(confidence - margin)
            ),
        ),
        ("earned", earned_text(earned, *answers)),
        (
            "at most",
            format!(
                "{per_day} a day ({accepted_today} in the last 24 h), {} of what it permits never seen",
                percent(*over_permissiveness_max)
            ),
        ),
        (
            "in shadow",
            format!(
                "{shadow_hours} h; dropped beyond {} times what its replay said and {} flows, a deny beyond these alone",
                shadow.factor, shadow.flows
            ),
        ),
        (
            "in force",
            format!(
                "watched for {rollback_hours} h; taken back beyond {} times what was expected and {} flows",
                rollback.factor, rollback.flows
            ),
        ),
    ];
    fields.extend(live.iter().map(|run| ("watches", live_text(run))));
    block(&fields)
}

fn earned_text(earned: &Earned, asked: u32) -> String {
    let Earned { answers, accepted, lower, upper, needed, is_earned } = earned;
    if *answers == 0 {
        return format!("no: none of {asked} answers yet");
    }
    let share = format!(
        "{accepted} of {answers} accepted as they were, surely {} (at most {})",
        percent(*lower),
        percent(*upper)
    );
    match (is_earned, answers < &asked) {
        (true, _) => format!("yes: {share}"),
        (false, true) => format!("no: {share}; {} answers missing", asked - answers),
        (false, false) => format!("no: {share}, short of {}", percent(*needed)),
    }
}

fn live_text(run: &AutomaticRun) -> String {
    let AutomaticRun { suggestion, relationship, stage, since_ns, .. } = run;
    format!("suggestion {suggestion} as rule {relationship}, {stage} since {}", time(*since_ns))
}

/// Returns the lines of an acceptance, for the page of its suggestion.
pub fn run_lines(run: &AutomaticRun) -> Vec<String> {
    let AutomaticRun { suggestion: _, decision: _, kind: _, relationship, stage, expected, steps, .. } = run;
    let mut lines = vec![format!("accepted automatically as rule {relationship}: {stage}")];
    lines.extend(
        steps.iter().map(|RunStep { stage, time_ns, words }| format!("{}  {stage}: {words}", time(*time_ns))),
    );
    lines.push(format!(
        "expected from {} h of flows: {} decided, {} with another verdict than before",
        expected.replayed_s / 3_600,
        count(expected.decided),
        count(expected.changed)
    ));
    lines
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::RuleId;
    use meshgate_policy::automatic::{AutomaticKind, Expected, RunStage};

    fn run() -> AutomaticRun {
        AutomaticRun {
            suggestion: 12,
            decision: 9,
            kind: AutomaticKind::Anomaly,
            relationship: RuleId(7),
            stage: RunStage::Shadow,
            since_ns: 1_769_860_800_000_000_000,
            settings: AutomaticSettings::default(),
            expected: Expected { replayed_s: 7_200, changed: 40, decided: 1_240, ..Expected::default() },
            steps: vec![RunStep {
                stage: RunStage::Shadow,
                time_ns: 1_769_860_800_000_000_000,
                words: "people accepted 97 of the last 100 like it".into(),
            }],
        }
    }

    #[test]
    fn a_kind_says_what_is_asked_how_far_it_is_and_what_is_watched() {
        let line = AutomaticLine {
            kind: AutomaticKind::Anomaly,
            state: AutomaticState::On,
            since_ns: 1_769_860_000_000_000_000,
            actor: "alice (root)".into(),
            comment: String::new(),
            settings: AutomaticSettings::default(),
            earned: Earned {
                answers: 63,
                accepted: 60,
                lower: 0.869,
                upper: 0.984,
                needed: 0.9,
                is_earned: false,
            },
            accepted_today: 1,
            live: vec![run()],
        };
        let expected = "\
kind:      anomaly
state:     on since 2026-01-31 11:46:40Z, by alice (root)
asks for:  a confidence of 95.0%, and of the last 100 answers to such at least 90.0% surely accepted
earned:    no: 60 of 63 accepted as they were, surely 86.9% (at most 98.4%); 37 answers missing
at most:   3 a day (1 in the last 24 h), 10.0% of what it permits never seen
in shadow: 24 h; dropped beyond 2 times what its replay said and 20 flows, a deny beyond these alone
in force:  watched for 24 h; taken back beyond 10 times what was expected and 50 flows
watches:   suggestion 12 as rule 7, shadow since 2026-01-31 12:00:00Z
";
        assert_eq!(line_text(&line), expected);
        let off = AutomaticLine {
            state: AutomaticState::Off,
            since_ns: 0,
            earned: Earned::default(),
            live: Vec::new(),
            ..line.clone()
        };
        let text = line_text(&off);
        assert!(
            text.contains("state:     off; people answer\n") && text.contains("no: none of 100"),
            "{text}"
        );
        let earned = Earned { answers: 100, accepted: 97, lower: 0.915, upper: 0.99, ..line.earned };
        let short = AutomaticLine { earned, state: AutomaticState::Suspended, ..line };
        let text = line_text(&short);
        assert!(
            text.contains("suspended since") && text.contains("until `meshgate automatic enable anomaly`")
        );
        assert!(text.contains("surely 91.5% (at most 99.0%), short of 90.0%"), "{text}");
    }

    #[test]
    fn an_acceptance_is_told_step_by_step() {
        let expected = [
            "accepted automatically as rule 7: shadow",
            "2026-01-31 12:00:00Z  shadow: people accepted 97 of the last 100 like it",
            "expected from 2 h of flows: 1,240 decided, 40 with another verdict than before",
        ];
        assert_eq!(run_lines(&run()), expected);
    }
}
