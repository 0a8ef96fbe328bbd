//! `meshgate learner`: how learners are doing.

use crate::failure::Failure;
use crate::feedback_text::learned_text;
use crate::session::{Reply, Session};
use crate::suggestion_answers::{AllLearned, Learned, Learners};
use crate::table::{block, or_dash};
use crate::units::{count, span};
use clap::{Args, Subcommand};
use meshgate_policy::{LearnerLine, LearnerReport};
use std::time::{SystemTime, UNIX_EPOCH};

const NONE_REPORTED: &str = "no learner has reported yet; start a meshgate-learner that names this server\n";

/// Commands of `meshgate learner`.
#[derive(Subcommand, Clone, Debug)]
pub enum LearnerCommand {
    /// Show what every learner has read, learned and suggested
    #[command(after_help = "Examples:\n  meshgate learner status\n  meshgate learner status --output json")]
    Status(Status),
    /// Show what every learner learned from answers, and how far its confidence can be trusted
    #[command(
        after_help = "Examples:\n  meshgate learner feedback\n  meshgate learner feedback --output json"
    )]
    Feedback(Feedback),
}

/// `learner status`.
#[derive(Args, Clone, Debug)]
pub struct Status {}

/// `learner feedback`.
#[derive(Args, Clone, Debug)]
pub struct Feedback {}

/// Runs a command.
pub async fn run(command: LearnerCommand, session: &Session) -> Result<Reply, Failure> {
    let mut answer = session.connect().await?.learners().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    match command {
        LearnerCommand::Status(Status {}) => {
            // It has a screen of its own.
            answer.learners.iter_mut().for_each(|line| line.report.feedback = None);
            Ok(session.show(&answer, |answer| status_text(answer, now_ns))?.into())
        }
        LearnerCommand::Feedback(Feedback {}) => {
            let learned = |line: LearnerLine| Learned {
                learner: line.report.learner,
                reported_ns: line.reported_ns,
                feedback: line.report.feedback,
            };
            let all = AllLearned { learners: answer.learners.into_iter().map(learned).collect() };
            Ok(session.show(&all, |all| feedback_text(all, now_ns))?.into())
        }
    }
}

fn feedback_text(all: &AllLearned, now_ns: u64) -> String {
    if all.learners.is_empty() {
        return NONE_REPORTED.to_owned();
    }
    all.learners.iter().map(|learned| learned_text(learned, now_ns)).collect::<Vec<_>>().join("\n")
}

fn status_text(answer: &Learners, now_ns: u64) -> String {
    if answer.learners.is_empty() {
        return NONE_REPORTED.to_owned();
    }
    answer.learners.iter().map(|learner| learner_text(learner, now_ns)).collect::<Vec<_>>().join("\n")
}

fn learner_text(LearnerLine { report, reported_ns }: &LearnerLine, now_ns: u64) -> String {
    let LearnerReport {
        learner: name,
        epoch: _,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped,
        decision_sequence,
        uptime_ns,
        feedback: _,
    } = report;
    let reported = span(now_ns.saturating_sub(*reported_ns));
    let loss = match training_loss {
        None => "no loss yet".to_owned(),
        Some(loss) => format!("loss {loss:.3} nats a series and window"),
    };
    let ready = if calibration_scores < calibration_scores_needed { "not ready" } else { "ready" };
    let dropped = drafts_dropped.iter().map(|dropped| format!("{} {:.0}", dropped.name, dropped.value));
    block(&[
        ("learner", format!("{name}, up {}, reported {reported} ago", span(*uptime_ns))),
        ("model", or_dash(model_version)),
        ("records", format!("{} read, {} lost", count(*records_read), count(*records_lost))),
        (
            "windows",
            format!("{} of {window_s} s, {} left out", count(*windows_closed), count(*windows_left_out)),
        ),
        ("series", format!("{} followed, {} left out", count(*series_live), count(*series_left_out))),
        ("training", format!("{} steps, {loss}", count(*training_steps))),
        (
            "calibration",
            format!(
                "{ready}, {} of {} scores",
                count(*calibration_scores),
                count(*calibration_scores_needed)
            ),
        ),
        ("suggestions", format!("{} handed in", count(*suggestions_submitted))),
        ("dropped", dropped.collect::<Vec<_>>().join(", ")),
        ("decisions", format!("taken in up to {decision_sequence}")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::Name;
    use meshgate_policy::suggestion::Feature;

    #[test]
    fn a_learner_is_shown_with_what_it_still_lacks() {
        let report = LearnerReport {
            learner: Name::new("l1").unwrap(),
            epoch: 1,
            model_version: "gru-1".into(),
            records_read: 1_234_567,
            records_lost: 2,
            window_s: 60,
            windows_closed: 120,
            windows_left_out: 0,
            series_live: 40,
            series_left_out: 0,
            training_steps: 3_400,
            training_loss: Some(1.23456),
            calibration_scores: 12,
            calibration_scores_needed: 500,
            suggestions_submitted: 7,
            drafts_dropped: vec![
                Feature { name: "conflict".into(), value: 3.0 },
                Feature { name: "repeat".into(), value: 1.0 },
            ],
            decision_sequence: 4,
            uptime_ns: 8_000_000_000_000,
            feedback: None,
        };
        let line = LearnerLine { report, reported_ns: 5_000_000_000 };
        let expected = "\
learner:     l1, up 2h, reported 3s ago
model:       gru-1
records:     1,234,567 read, 2 lost
windows:     120 of 60 s, 0 left out
series:      40 followed, 0 left out
training:    3,400 steps, loss 1.235 nats a series and window
calibration: not ready, 12 of 500 scores
suggestions: 7 handed in
dropped:     conflict 3, repeat 1
decisions:   taken in up to 4
";
        assert_eq!(status_text(&Learners { learners: vec![line] }, 8_000_000_000), expected);
        assert!(status_text(&Learners::default(), 0).starts_with("no learner has reported yet"));
    }
}
