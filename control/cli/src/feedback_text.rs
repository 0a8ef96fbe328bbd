//! What a learner learned from answers, for people who never heard of logits: odds as factors, evidence as odds, shares as
//! bars.

use crate::suggestion_answers::Learned;
use crate::table::{numbers, table, words};
use crate::units::{count, span, time};
use meshgate_policy::FeedbackReport;
use meshgate_policy::feedback_report::{CalibrationBin, GateStep, LearnedEffect, PrecisionSpan};

/// Columns of a bar that means 100 %.
const BAR_COLUMNS: u32 = 40;
/// Effects of each kind that are shown; `--output json` has all.
const EFFECTS_SHOWN: usize = 12;
/// Evidence beyond which odds are not written out.
const NATS_WRITTEN_MAX: f64 = 13.0;

/// Returns the screen of one learner.
pub fn learned_text(learned: &Learned, now_ns: u64) -> String {
    let reported = span(now_ns.saturating_sub(learned.reported_ns));
    let head = format!("learner {}, reported {reported} ago\n", learned.learner);
    let Some(report) = &learned.feedback else {
        return format!("{head}\nIt does not say what it learned from answers.\n");
    };
    if report.answers == 0 && report.gate_steps.is_empty() {
        let withdrawn = withdrawn_text(report.withdrawn);
        let state = match report.waiting {
            0 => "There are no answers to learn from yet",
            _ => "Learning begins once days of suggestions have shown what is usual",
        };
        let waiting = waiting_text(report.waiting);
        return format!("{head}\n{state}; rankings are static.{waiting}{withdrawn}\n");
    }
    let parts = [
        gate_text(report),
        precision_text(&report.precision),
        calibration_text(report),
        effects_text("FEATURE", &report.features, "for each usual step above its mean"),
        effects_text("WHO OR WHAT", &report.entities, "when it is part of the draft"),
        minds_text(report),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{head}\n{}", parts.join("\n"))
}

fn withdrawn_text(withdrawn: u64) -> String {
    match withdrawn {
        0 => String::new(),
        1 => " One answer was withdrawn and does not count.".to_owned(),
        more => format!(" {} answers were withdrawn and do not count.", count(more)),
    }
}

fn waiting_text(waiting: u64) -> String {
    match waiting {
        0 => String::new(),
        1 => " One answer waits for it.".to_owned(),
        more => format!(" {} answers wait for it.", count(more)),
    }
}

fn gate_text(report: &FeedbackReport) -> String {
    let FeedbackReport {
        answers, withdrawn, waiting, gate_open, evidence_nats, evidence_needed_nats, ..
    } = report;
    let state = if *gate_open {
        "What was learned takes part in the ranking."
    } else {
        "What was learned is only watched: suggestions are shown in their static order."
    };
    let sure = format!("{} ({} make it take part)", odds(*evidence_nats), odds(*evidence_needed_nats));
    let full = if *evidence_needed_nats > 0.0 { evidence_nats / evidence_needed_nats } else { 0.0 };
    let steps = if report.gate_steps.is_empty() {
        String::new()
    } else {
        let columns = [words("WHEN"), numbers("ANSWERS"), words("SINCE THEN"), words("ODDS")];
        table(&columns, report.gate_steps.iter().rev().map(step_row).collect())
    };
    let gone_through = match waiting {
        0 => String::new(),
        more => format!(" {} more are gone through again.", count(*more)),
    };
    format!(
        "{state}\nLearned from {} answers.{gone_through}{}\nOdds that it predicts answers better than the static ranking: {sure}\n\
         [{}]\n{steps}",
        count(*answers),
        withdrawn_text(*withdrawn),
        padded_bar(full)
    )
}

fn step_row(step: &GateStep) -> Vec<String> {
    let GateStep { answers, open, evidence_nats, time_ns } = step;
    let since = if *open { "takes part" } else { "only watched" };
    vec![time(*time_ns), count(*answers), since.to_owned(), odds(*evidence_nats)]
}

/// Returns evidence in nats as odds: `55 to 1`.
fn odds(nats: f64) -> String {
    let factor = plain(nats.abs().exp());
    match nats {
        nats if nats > NATS_WRITTEN_MAX => "over 400,000 to 1".to_owned(),
        nats if nats < -NATS_WRITTEN_MAX => "1 to over 400,000".to_owned(),
        nats if nats < 0.0 => format!("1 to {factor}"),
        _ => format!("{factor} to 1"),
    }
}

/// Returns a factor with as many digits as a person needs.
fn plain(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1}") } else { format!("{factor:.0}") }
}

fn precision_text(spans: &[PrecisionSpan]) -> String {
    if spans.is_empty() {
        return String::new();
    }
    let columns =
        [words("FROM"), numbers("ANSWERS"), numbers("WITH LEARNING"), numbers("STATIC"), words("DIFFERENCE")];
    let row = |span: &PrecisionSpan| {
        let PrecisionSpan { from_ns, answers, shown, by_static } = span;
        let difference = (shown - by_static) * 100.0;
        let mark = if difference >= 0.0 { "+" } else { "-" };
        let bar = mark.repeat(usize::try_from(columns_of(difference.abs() / 100.0)).unwrap_or(0));
        let difference = format!("{difference:+.1} {bar}");
        vec![time(*from_ns), count(*answers), percent(*shown), percent(*by_static), difference]
    };
    let rows = table(&columns, spans.iter().map(row).collect());
    format!(
        "Share accepted of what was put first, and of what the static ranking would have put first:\n{rows}"
    )
}

fn calibration_text(report: &FeedbackReport) -> String {
    if report.calibration.is_empty() {
        return String::new();
    }
    let columns = [numbers("CONFIDENCE"), numbers("ACCEPTED"), numbers("ANSWERS"), words("0% TO 100%")];
    let row = |bin: &CalibrationBin| {
        let CalibrationBin { answers, confidence, accepted } = bin;
        let plot = marked_bar(*accepted, *confidence);
        vec![percent(*confidence), percent(*accepted), count(*answers), plot]
    };
    let rows = table(&columns, report.calibration.iter().map(row).collect());
    let error = report.calibration_error.map(|error| {
        format!("On average the two are {:.1} points apart (ECE; 0 would be perfect).\n", error * 100.0)
    });
    let brier = report.brier.map(|brier| {
        format!("Mean squared miss {brier:.3} (Brier score; 0 would be perfect, 0.25 is that of a coin).\n")
    });
    format!(
        "Confidence shown against share accepted (# accepted, | confidence; close together is good):\n{rows}{}{}",
        error.unwrap_or_default(),
        brier.unwrap_or_default()
    )
}

fn effects_text(title: &'static str, effects: &[LearnedEffect], when: &str) -> String {
    if effects.is_empty() {
        return String::new();
    }
    let columns = [words(title), words("ODDS OF ACCEPTANCE"), numbers("ANSWERS")];
    let row = |effect: &LearnedEffect| {
        let LearnedEffect { name, log_odds, answers } = effect;
        vec![name.clone(), factor(*log_odds), count(*answers)]
    };
    let rows = table(&columns, effects.iter().take(EFFECTS_SHOWN).map(row).collect());
    let more = match effects.len().saturating_sub(EFFECTS_SHOWN) {
        0 => String::new(),
        more => format!("and {more} weaker ones; see all with --output json\n"),
    };
    format!("What moves a suggestion up (x) or down (/), {when}:\n{rows}{more}")
}

/// Returns log odds as a factor: `x 3.0` triples the odds, `/ 1.5` takes a third of them away.
fn factor(log_odds: f64) -> String {
    let factor = log_odds.abs().min(NATS_WRITTEN_MAX).exp();
    match (factor < 1.05, log_odds > 0.0) {
        (true, _) => "hardly moved".to_owned(),
        (false, true) => format!("x {}", plain(factor)),
        (false, false) => format!("/ {}", plain(factor)),
    }
}

fn minds_text(report: &FeedbackReport) -> String {
    let FeedbackReport { long_share, changes, .. } = report;
    let memory = format!(
        "Old and new answers together weigh {} of the prediction, new ones alone {}.\n",
        percent(*long_share),
        percent(1.0 - long_share)
    );
    if changes.is_empty() {
        return format!("No change of mind was found.\n{memory}");
    }
    let after: Vec<String> = changes.iter().map(|answers| count(*answers)).collect();
    format!("People changed their mind, as was found after {} answers.\n{memory}", after.join(", "))
}

/// Returns a share of 0 to 1 with one decimal.
fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Returns the columns of a bar for a share; what lies outside of 0 to 1 is cut.
fn columns_of(share: f64) -> u32 {
    // Counted, not converted: the bar is as long as there are columns whose middle lies below the share.
    let below = |column: &u32| (f64::from(*column) + 0.5) / f64::from(BAR_COLUMNS) <= share;
    u32::try_from((0..BAR_COLUMNS).filter(below).count()).unwrap_or(BAR_COLUMNS)
}

fn padded_bar(share: f64) -> String {
    let columns = columns_of(share);
    (0..BAR_COLUMNS).map(|at| if at < columns { '#' } else { '.' }).collect()
}

/// Returns a bar with a mark at another share.
fn marked_bar(share: f64, mark: f64) -> String {
    let (columns, mark) = (columns_of(share), columns_of(mark));
    let at = |at: u32| match at {
        at if at == mark => '|',
        at if at < columns => '#',
        _ => '.',
    };
    (0..=BAR_COLUMNS).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::Name;

    fn learned(feedback: Option<FeedbackReport>) -> Learned {
        Learned { learner: Name::new("l1").unwrap(), reported_ns: 5_000_000_000, feedback }
    }

    fn effect(name: &str, log_odds: f64, answers: u64) -> LearnedEffect {
        LearnedEffect { name: name.into(), log_odds, answers }
    }

    fn report() -> FeedbackReport {
        let noon_ns = 1_769_860_800_000_000_000;
        FeedbackReport {
            answers: 1_200,
            withdrawn: 2,
            waiting: 0,
            gate_open: true,
            evidence_nats: 4.5,
            evidence_needed_nats: 4.0,
            gate_steps: vec![GateStep { answers: 90, open: true, evidence_nats: 4.1, time_ns: noon_ns }],
            long_share: 0.75,
            changes: vec![60, 800],
            calibration: vec![
                CalibrationBin { answers: 24, confidence: 0.2, accepted: 0.25 },
                CalibrationBin { answers: 24, confidence: 0.9, accepted: 0.75 },
            ],
            calibration_error: Some(0.041),
            brier: Some(0.1234),
            precision: vec![
                PrecisionSpan { from_ns: noon_ns, answers: 20, shown: 0.6, by_static: 0.65 },
                PrecisionSpan { from_ns: noon_ns, answers: 20, shown: 0.8, by_static: 0.6 },
            ],
            features: vec![effect("novelty", -0.4, 1_200), effect("hour", 0.01, 1_200)],
            entities: vec![effect("source web", 1.1, 7)],
        }
    }

    #[test]
    fn the_screen_is_as_documented() {
        let expected = "\
learner l1, reported 3s ago

What was learned takes part in the ranking.
Learned from 1,200 answers. 2 answers were withdrawn and do not count.
Odds that it predicts answers better than the static ranking: 90 to 1 (55 to 1 make it take part)
[########################################]
WHEN                  ANSWERS  SINCE THEN  ODDS
2026-01-31 12:00:00Z       90  takes part  60 to 1

Share accepted of what was put first, and of what the static ranking would have put first:
FROM                  ANSWERS  WITH LEARNING  STATIC  DIFFERENCE
2026-01-31 12:00:00Z       20          60.0%   65.0%  -5.0 --
2026-01-31 12:00:00Z       20          80.0%   60.0%  +20.0 ++++++++

Confidence shown against share accepted (# accepted, | confidence; close together is good):
CONFIDENCE  ACCEPTED  ANSWERS  0% TO 100%
     20.0%     25.0%       24  ########|#...............................
     90.0%     75.0%       24  ##############################......|....
On average the two are 4.1 points apart (ECE; 0 would be perfect).
Mean squared miss 0.123 (Brier score; 0 would be perfect, 0.25 is that of a coin).

What moves a suggestion up (x) or down (/), for each usual step above its mean:
FEATURE  ODDS OF ACCEPTANCE  ANSWERS
novelty  / 1.5                 1,200
hour     hardly moved          1,200

What moves a suggestion up (x) or down (/), when it is part of the draft:
WHO OR WHAT  ODDS OF ACCEPTANCE  ANSWERS
source web   x 3.0                     7

People changed their mind, as was found after 60, 800 answers.
Old and new answers together weigh 75.0% of the prediction, new ones alone 25.0%.
";
        assert_eq!(learned_text(&learned(Some(report())), 8_000_000_000), expected);
    }

    #[test]
    fn who_has_learned_nothing_says_so() {
        let silent = learned_text(&learned(None), 0);
        assert!(silent.ends_with("It does not say what it learned from answers.\n"), "{silent}");
        let none = FeedbackReport { withdrawn: 1, ..FeedbackReport::default() };
        let none = learned_text(&learned(Some(none)), 0);
        assert!(
            none.ends_with("rankings are static. One answer was withdrawn and does not count.\n"),
            "{none}"
        );
        let early = FeedbackReport { waiting: 3, ..FeedbackReport::default() };
        let early = learned_text(&learned(Some(early)), 0);
        assert!(early.ends_with("what is usual; rankings are static. 3 answers wait for it.\n"), "{early}");
        let behind = learned_text(&learned(Some(FeedbackReport { waiting: 40, ..report() })), 0);
        assert!(behind.contains("1,200 answers. 40 more are gone through again. 2 answers were"), "{behind}");
        let closed = FeedbackReport { gate_open: false, evidence_nats: -0.7, ..report() };
        let closed = learned_text(&learned(Some(closed)), 0);
        assert!(closed.contains("What was learned is only watched"), "{closed}");
        assert!(closed.contains("static ranking: 1 to 2.0 (55 to 1 make it take part)"), "{closed}");
    }

    #[test]
    fn bars_and_factors_have_ends() {
        assert_eq!(
            [columns_of(-1.0), columns_of(0.5), columns_of(7.0), columns_of(f64::NAN)],
            [0, 20, 40, 0]
        );
        assert_eq!([factor(0.0), factor(100.0), factor(-2.5)], ["hardly moved", "x 442413", "/ 12"]);
        assert_eq!(
            [odds(0.0), odds(99.0), odds(-99.0)],
            ["1.0 to 1", "over 400,000 to 1", "1 to over 400,000"]
        );
        let many: Vec<LearnedEffect> = (0..20).map(|at| effect(&format!("f{at}"), 1.0, 1)).collect();
        assert!(
            effects_text("FEATURE", &many, "x").ends_with("and 8 weaker ones; see all with --output json\n")
        );
    }
}
