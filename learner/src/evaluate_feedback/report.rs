//! What an evaluation of learning from answers found, with everything that is needed to repeat it.

use super::speed::Speed;
use super::trials::Place;
use super::{markdown, plots};
use crate::evaluate::reading::FlowFile;
use crate::report_folder::{ReportFault, ReportFolder};
use crate::report_page::page;
use serde::Serialize;
use std::fmt::Write;

/// What the JSON of a report says that it is. A folder without it is not ours to replace.
pub const REPORT_MARK: &str = "meshgate-learner evaluate-feedback";
/// Version of the JSON.
const REPORT_VERSION: u32 = 1;
/// Worlds of which an earlier report may have plots.
const WORLDS: [&str; 2] = ["synthetic", "recorded"];

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_MARK`].
    pub report: &'static str,
    /// Version of this form.
    pub version: u32,
    /// The command that repeats it.
    pub command_line: String,
    /// Seeds of worlds and personas: from 0 to one below this.
    pub seeds: u64,
    /// What was recorded.
    pub recording: Option<Recorded>,
    /// What was measured, world by world.
    pub places: Vec<Place>,
    /// How long an answer takes.
    pub speed: Speed,
}

/// Where the recorded worlds come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The files.
    pub files: Vec<FlowFile>,
    /// Where the days begin that are answered: what lies before teaches the detector.
    pub train_until: String,
    /// Where they end.
    pub test_until: String,
    /// Seeds of the detector: from 0 to one below this.
    pub detector_seeds: u64,
}

impl Report {
    /// Puts a report together.
    pub fn new(
        command_line: String,
        seeds: u64,
        recording: Option<Recorded>,
        places: Vec<Place>,
        speed: Speed,
    ) -> Self {
        Self { report: REPORT_MARK, version: REPORT_VERSION, command_line, seeds, recording, places, speed }
    }

    /// Returns the figures in a few lines.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for place in &self.places {
            for (trial, row) in place.trials.iter().filter_map(|trial| Some((trial, trial.rows.get(1)?))) {
                let by_static = trial.rows.first().map_or(0.0, |row| row.precision.mean);
                // Writing into a text cannot fail.
                _ = writeln!(
                    text,
                    "{}, {}: precision {:.3}, static {by_static:.3}, worst difference {:+.3}",
                    place.world, trial.persona, row.precision.mean, row.gain.least
                );
            }
        }
        text
    }
}

/// Writes all files of a report.
pub(super) fn write(report: &Report, folder: &ReportFolder) -> Result<(), ReportFault> {
    for name in WORLDS.iter().flat_map(|world| [plots::regret_name(world), plots::calibration_name(world)]) {
        // Of an earlier report, which had this world.
        folder.remove(&name);
    }
    let text = markdown::text(report);
    let drawn =
        |plot: Result<String, crate::plot::PlotError>| plot.map_err(|error| folder.fault(error.to_string()));
    let mut drawings = Vec::new();
    for place in &report.places {
        drawings.push((plots::regret_name(place.world), drawn(plots::regret(place))?));
        drawings.push((plots::calibration_name(place.world), drawn(plots::calibration(place))?));
    }
    let mut files: Vec<(&str, &str)> =
        drawings.iter().map(|(name, svg)| (name.as_str(), svg.as_str())).collect();
    let page = page("Learning from answers", &text, &files);
    files.extend([("report.html", page.as_str()), ("report.md", text.as_str())]);
    folder.write(report, &files)
}
