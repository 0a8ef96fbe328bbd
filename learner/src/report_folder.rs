//! The folder of a report. An earlier report of the same kind is replaced; anything else is left alone.

use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a folder ours. It says in its field `report` what kind it is of.
pub(crate) const JSON: &str = "report.json";

/// A folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct ReportFault {
    /// The folder.
    path: PathBuf,
    /// What is wrong.
    fault: String,
}

/// A folder that may be written to.
#[derive(Debug)]
pub(crate) struct ReportFolder(PathBuf);

/// What is looked at in an earlier report.
#[derive(Deserialize)]
struct Mark {
    report: String,
}

impl ReportFolder {
    /// Makes the folder, or checks that it holds nothing but an earlier report of this kind.
    pub(crate) fn open(path: &Path, kind: &str) -> Result<Self, ReportFault> {
        let folder = Self(path.to_owned());
        fs::create_dir_all(path).map_err(|error| folder.fault(format!("cannot be made: {error}")))?;
        let mut entries = fs::read_dir(path).map_err(|error| folder.fault(error.to_string()))?;
        let is_empty = entries.next().is_none();
        let is_file = fs::metadata(path.join(JSON)).is_ok_and(|found| found.is_file());
        // Of a pipe there is no end.
        let earlier = if is_file { fs::read(path.join(JSON)).unwrap_or_default() } else { Vec::new() };
        if is_empty || serde_json::from_slice(&earlier).is_ok_and(|mark: Mark| mark.report == kind) {
            return Ok(folder);
        }
        Err(folder.fault(format!("holds files but no {JSON} of an earlier evaluation; it is left as it is")))
    }

    /// Writes the files of a report, the JSON first: a folder that an interrupted run left behind is ours.
    pub(crate) fn write(
        &self,
        report: &impl serde::Serialize,
        others: &[(&str, &str)],
    ) -> Result<(), ReportFault> {
        let json =
            serde_json::to_string_pretty(report).map_err(|error| self.fault(error.to_string()))? + "\n";
        for (name, text) in [(JSON, json.as_str())].iter().chain(others) {
            let partial = self.0.join(format!("{name}.partial"));
            fs::write(&partial, text).and_then(|()| fs::rename(&partial, self.0.join(name))).map_err(
                |error| {
                    // A full disk is no reason to leave half a file behind.
                    let _ = fs::remove_file(&partial);
                    self.fault(format!("{name}: {error}"))
                },
            )?;
        }
        Ok(())
    }

    /// Removes a file that an earlier report had and this one has not.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }

    /// Returns the fault of something that cannot be made for this folder.
    pub(crate) fn fault(&self, fault: String) -> ReportFault {
        ReportFault { path: self.0.clone(), fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "a report of tests";

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
            let refused = ReportFolder::open(folder, KIND).unwrap_err().to_string();
            assert!(refused.contains("no report.json of an earlier evaluation"), "{refused}");
            fs::write(folder.join(JSON), r#"{"report": "quarterly figures"}"#).unwrap();
            assert!(ReportFolder::open(folder, KIND).is_err());
            fs::write(folder.join(JSON), format!(r#"{{"report": "{KIND}"}}"#)).unwrap();
            assert!(ReportFolder::open(folder, KIND).is_ok());
        });
    }

    #[test]
    fn a_file_in_its_place_is_refused_by_name() {
        with_folder("file", |folder| {
            let path = folder.join("report");
            fs::write(&path, "").unwrap();
            let refused = ReportFolder::open(&path, KIND).unwrap_err().to_string();
            assert!(refused.starts_with(path.to_str().unwrap()), "{refused}");
        });
    }
}
