//! The folder of a report. An earlier report is replaced; anything else is left alone.

use super::{REPORT_MARK, Report, html, markdown, plots};
use crate::evaluate::EvaluateError;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a folder ours.
const JSON: &str = "report.json";

/// A folder that may be written to.
#[derive(Debug)]
pub struct ReportFolder(PathBuf);

/// What is looked at in an earlier report.
#[derive(Deserialize)]
struct Mark {
    report: String,
}

impl ReportFolder {
    /// Makes the folder, or checks that it holds nothing but an earlier report.
    pub fn open(path: &Path) -> Result<Self, EvaluateError> {
        let fault = |fault: String| EvaluateError::Report(path.to_owned(), fault);
        fs::create_dir_all(path).map_err(|error| fault(format!("cannot be made: {error}")))?;
        let mut entries = fs::read_dir(path).map_err(|error| fault(error.to_string()))?;
        let is_empty = entries.next().is_none();
        if is_empty || is_report(&path.join(JSON)) {
            return Ok(Self(path.to_owned()));
        }
        Err(fault(format!("holds files but no {JSON} of an earlier evaluation; it is left as it is")))
    }

    /// Writes all files of a report.
    pub fn write(&self, report: &Report) -> Result<(), EvaluateError> {
        let fault = |fault: String| EvaluateError::Report(self.0.clone(), fault);
        let json = serde_json::to_string_pretty(report).map_err(|error| fault(error.to_string()))?;
        let text = markdown::text(report);
        let mut files = vec![(JSON, json + "\n")];
        if report.methods.iter().any(|row| row.metrics.is_some()) {
            files.push((plots::ROC, plots::roc(&report.methods).map_err(|error| fault(error.to_string()))?));
            let curve = plots::precision_recall(&report.methods).map_err(|error| fault(error.to_string()))?;
            files.push((plots::PRECISION_RECALL, curve));
        } else {
            for plot in [plots::ROC, plots::PRECISION_RECALL] {
                // Of an earlier report, whose flows had labels.
                let _ = fs::remove_file(self.0.join(plot));
            }
        }
        let plots: Vec<(&str, &str)> = files[1..].iter().map(|(name, svg)| (*name, svg.as_str())).collect();
        let page = html::page("Evaluation", &text, &plots);
        files.extend([("report.html", page), ("report.md", text)]);
        // The mark comes first: a folder that an interrupted run left behind is ours.
        for (name, text) in files {
            let partial = self.0.join(format!("{name}.partial"));
            fs::write(&partial, text)
                .and_then(|()| fs::rename(&partial, self.0.join(name)))
                .map_err(|error| fault(format!("{name}: {error}")))?;
        }
        Ok(())
    }
}

fn is_report(path: &Path) -> bool {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).is_ok_and(|mark: Mark| mark.report == REPORT_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_folder(name: &str, test: impl FnOnce(&Path)) {
        let folder = std::env::temp_dir().join(format!("meshgate-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        test(&folder);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        with_folder("other", |folder| {
            fs::write(folder.join("thesis.md"), "years of work").unwrap();
            let refused = ReportFolder::open(folder).unwrap_err().to_string();
            assert!(refused.contains("no report.json of an earlier evaluation"), "{refused}");
            fs::write(folder.join(JSON), r#"{"report": "quarterly figures"}"#).unwrap();
            assert!(ReportFolder::open(folder).is_err());
            fs::write(folder.join(JSON), format!(r#"{{"report": "{REPORT_MARK}"}}"#)).unwrap();
            assert!(ReportFolder::open(folder).is_ok());
        });
    }

    #[test]
    fn a_file_in_its_place_is_refused_by_name() {
        with_folder("file", |folder| {
            let path = folder.join("report");
            fs::write(&path, "").unwrap();
            let refused = ReportFolder::open(&path).unwrap_err().to_string();
            assert!(refused.starts_with(path.to_str().unwrap()), "{refused}");
        });
    }
}
