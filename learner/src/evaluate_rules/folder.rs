//! The folder of a report about rules. An earlier report is replaced; anything else is left alone.

use super::report::{REPORT_MARK, Report};
use super::{EvaluateRulesError, html, markdown};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a folder ours.
const JSON: &str = "report.json";

/// A folder that may be written to.
#[derive(Debug)]
pub struct RulesFolder(PathBuf);

/// What is looked at in an earlier report.
#[derive(Deserialize)]
struct Mark {
    report: String,
}

impl RulesFolder {
    /// Makes the folder, or checks that it holds nothing but an earlier report.
    pub fn open(path: &Path) -> Result<Self, EvaluateRulesError> {
        let fault = |error: std::io::Error| EvaluateRulesError::Report(path.to_owned(), error.to_string());
        fs::create_dir_all(path).map_err(fault)?;
        let is_empty = fs::read_dir(path).map_err(fault)?.next().is_none();
        let earlier = fs::read(path.join(JSON)).unwrap_or_default();
        let is_ours = serde_json::from_slice(&earlier).is_ok_and(|mark: Mark| mark.report == REPORT_MARK);
        if is_empty || is_ours {
            return Ok(Self(path.to_owned()));
        }
        let reason = format!("holds files but no {JSON} of an earlier evaluation; it is left as it is");
        Err(EvaluateRulesError::Report(path.to_owned(), reason))
    }

    /// Writes all files of a report.
    pub fn write(&self, report: &Report) -> Result<(), EvaluateRulesError> {
        let fault = |name: &str, error: String| {
            EvaluateRulesError::Report(self.0.clone(), format!("{name}: {error}"))
        };
        let json = serde_json::to_string_pretty(report).map_err(|error| fault(JSON, error.to_string()))?;
        // The mark comes first: a folder that an interrupted run left behind is ours.
        let files =
            [(JSON, json + "\n"), ("report.md", markdown::text(report)), ("report.html", html::page(report))];
        for (name, text) in files {
            let partial = self.0.join(format!("{name}.partial"));
            fs::write(&partial, text)
                .and_then(|()| fs::rename(&partial, self.0.join(name)))
                .map_err(|error| fault(name, error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("meshgate-rules-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(JSON), r#"{"report": "meshgate-learner evaluate"}"#).unwrap();
        let refused = RulesFolder::open(&folder).unwrap_err().to_string();
        assert!(refused.contains("it is left as it is"), "{refused}");
        fs::write(folder.join(JSON), format!(r#"{{"report": "{REPORT_MARK}"}}"#)).unwrap();
        let report = Report::new("command".into(), None, Vec::new());
        RulesFolder::open(&folder).unwrap().write(&report).unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["report.html", "report.json", "report.md"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
