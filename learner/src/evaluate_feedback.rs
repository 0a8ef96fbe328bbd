//! Measures the ranking that learns from answers, by simulated administrators.
//!
//! Two worlds: a synthetic one of suggestions between groups with hidden wishes, which needs nothing, and recorded flows whose
//! attacks are known, judged by the detector as it is (`--flows`). In each, personas answer day by day what a ranking shows:
//! steady, late, tired, strict, lax, without sense, of another mind half way through, with a plan to hide something. Beside our
//! ranking stand the static one, ours without its gate, and the linear methods that papers compare with.
//!
//! Labels answer and score; a ranking sees of them what an administrator says of the places that it shows, and nothing else.

pub mod change;
pub mod figures;
pub mod malice;
mod markdown;
pub mod methods;
pub mod persona;
mod plots;
pub mod recorded;
pub mod report;
pub mod simulation;
pub mod speed;
pub mod synthetic;
pub mod trials;
pub mod world;

use crate::evaluate::EvaluateError;
use crate::evaluate::learned::Learned;
use crate::evaluate::moment::{SpanEnd, minute_text};
use crate::evaluate::reading::{Recording, read_flows};
use crate::report_folder::{ReportFault, ReportFolder};
use clap::Args;
use report::{REPORT_MARK, Recorded, Report};
use std::path::PathBuf;
use trials::{Place, Worlds};

/// Seeds of worlds and personas.
const SEEDS_MAX: u64 = 1_000;
/// Seeds of the detector: each trains the network anew.
const DETECTOR_SEEDS_MAX: u64 = 20;

/// Measures the ranking that learns from answers.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "A DATE is a day (YYYY-MM-DD, UTC) or a minute (YYYY-MM-DDTHH:MM); what begins there does not belong
to the span. Days are answered from the first DATE on.

Examples:
  meshgate-learner evaluate-feedback --seeds 30 --report out
  meshgate-learner evaluate-feedback --flows darpa98_w1-4.csv.gz --train-until 1998-06-15 --test-until 1998-06-28 \\
    --report out"
)]
pub struct EvaluateFeedbackArguments {
    /// Runs of each persona: each draws its world and its answers anew
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: u64,
    /// Days with answers in the synthetic world; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub days: u64,
    /// Files of recorded flows with labels, each in order of time: CSV, plain or gzip. The column `label` says what is
    /// right and never trains
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train_until", requires = "test_until")]
    pub flows: Vec<PathBuf>,
    /// End of the flows that teach the detector, where the days with answers begin
    #[arg(long, value_name = "DATE", requires = "flows")]
    pub train_until: Option<SpanEnd>,
    /// End of the days with answers
    #[arg(long, value_name = "DATE", requires = "flows")]
    pub test_until: Option<SpanEnd>,
    /// Runs of the detector, which persons of different seeds share in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=DETECTOR_SEEDS_MAX))]
    pub detector_seeds: u64,
    /// Folder that gets report.md, report.html, report.json and the plots. It is made, or must hold an earlier report
    #[arg(long, value_name = "DIR")]
    pub report: PathBuf,
}

/// Why learning is not measured.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateFeedbackError {
    /// The recording cannot be used.
    #[error(transparent)]
    Recording(#[from] EvaluateError),
    /// Flows without the ends of their spans.
    #[error("--flows needs --train-until and --test-until")]
    NoSpans,
    /// A span has no flow.
    #[error("no flow {0}")]
    EmptySpan(&'static str),
    /// Nobody could say yes.
    #[error("no flow from {from} to {until} has a label of an attack: no suggestion would be right")]
    NoAttack {
        /// Where the days with answers begin.
        from: String,
        /// Where they end.
        until: String,
    },
    /// Neither world.
    #[error("--days 0 leaves the synthetic world out, and without --flows there is no other")]
    NoWorld,
    /// The folder of the report cannot be used.
    #[error(transparent)]
    Report(#[from] ReportFault),
}

impl EvaluateFeedbackArguments {
    /// Returns the command that repeats this evaluation.
    pub fn command_line(&self) -> String {
        let mut words =
            vec![format!("meshgate-learner evaluate-feedback --seeds {} --days {}", self.seeds, self.days)];
        if let (Some(train), Some(test)) = (self.train_until, self.test_until) {
            words.push("--flows".to_owned());
            words.extend(self.flows.iter().map(|path| path.display().to_string()));
            words.push(format!("--train-until {train} --test-until {test}"));
            words.push(format!("--detector-seeds {}", self.detector_seeds));
        }
        words.push(format!("--report {}", self.report.display()));
        words.join(" ")
    }
}

/// Measures, writes the report, and returns what is to be said of it.
pub fn run(arguments: &EvaluateFeedbackArguments) -> Result<String, EvaluateFeedbackError> {
    if arguments.days == 0 && arguments.flows.is_empty() {
        return Err(EvaluateFeedbackError::NoWorld);
    }
    let folder = ReportFolder::open(&arguments.report, REPORT_MARK)?;
    let report = measure(arguments)?;
    report::write(&report, &folder)?;
    Ok(report.summary() + &format!("{}: the report is written\n", arguments.report.display()))
}

/// Measures.
pub fn measure(arguments: &EvaluateFeedbackArguments) -> Result<Report, EvaluateFeedbackError> {
    // What is wrong with the files is said before minutes are spent on the other world.
    let recorded = if arguments.flows.is_empty() { None } else { Some(recorded(arguments)?) };
    let speed = speed::measure();
    let mut places = Vec::new();
    if let Some(days) = usize::try_from(arguments.days).ok().filter(|days| *days > 0) {
        places.push(trials::measure(&Worlds::Synthetic(days), arguments.seeds));
    }
    let recording = recorded.map(|(recording, place)| {
        places.push(place);
        recording
    });
    Ok(Report::new(arguments.command_line(), arguments.seeds, recording, places, speed))
}

fn recorded(arguments: &EvaluateFeedbackArguments) -> Result<(Recorded, Place), EvaluateFeedbackError> {
    let (Some(train), Some(test)) = (arguments.train_until, arguments.test_until) else {
        return Err(EvaluateFeedbackError::NoSpans);
    };
    if test <= train {
        return Err(EvaluateError::Order { train, test }.into());
    }
    let recording = read_flows(&arguments.flows, train.second(), test.second())?;
    check(&recording)?;
    let learned = Learned::read(&arguments.flows, &recording.edges, test.second())?;
    let worlds = (0..arguments.detector_seeds).map(|seed| {
        let world = recorded::world(&recording, &learned, seed);
        tracing::info!(seed, days = world.days.len(), "the detector judged a recorded world");
        world
    });
    let place = trials::measure(&Worlds::Recorded(worlds.collect()), arguments.seeds);
    let recorded = Recorded {
        files: recording.files.clone(),
        train_until: minute_text(train.second()),
        test_until: minute_text(test.second()),
        detector_seeds: arguments.detector_seeds,
    };
    Ok((recorded, place))
}

/// Refuses a recording that nothing could be learned from.
fn check(recording: &Recording) -> Result<(), EvaluateFeedbackError> {
    if recording.edges.training().is_empty() {
        return Err(EvaluateFeedbackError::EmptySpan("to learn from before --train-until"));
    }
    if recording.edges.test().is_empty() {
        return Err(EvaluateFeedbackError::EmptySpan("from --train-until to --test-until"));
    }
    if recording.truth().attacks.iter().all(Option::is_none) {
        let [from, until] = [recording.train_until_s, recording.test_until_s].map(minute_text);
        return Err(EvaluateFeedbackError::NoAttack { from, until });
    }
    Ok(())
}
