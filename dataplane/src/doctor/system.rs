//! Files of the running system, below a root that tests can choose.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of the largest file that is read: `/proc/interrupts` of a machine with hundreds of processors.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Entries of a directory that are looked at: processes of a busy host.
const ENTRIES_MAX: usize = 65_536;

/// The system under `/`, or under the root of a test.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

impl System {
    /// Returns the running system.
    pub fn new() -> Self {
        Self::at(Path::new("/"))
    }

    /// Returns the system below a root.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the text of a file without the white space around it; none if it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let file = std::fs::File::open(self.root.join(path)).ok()?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Returns the value behind `key:` in a file of such lines.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    }

    /// Returns the names in a directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let names = entries.take(ENTRIES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    /// Returns the processors of a list such as `0-3,8` (cpuset(7)) in a file; none if there is no such file.
    pub(super) fn processors(&self, path: &str) -> Option<BTreeSet<usize>> {
        Some(processor_list(&self.text(path)?))
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the processors of a list such as `0-3,8`. What is no number is left out.
pub(super) fn processor_list(text: &str) -> BTreeSet<usize> {
    /// Processors of the largest machine that Linux is built for.
    const PROCESSORS_MAX: usize = 8_192;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(first..=last.min(PROCESSORS_MAX))
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A system of a few files in a directory that is gone with the test.
    pub struct Files(PathBuf);

    impl Files {
        pub fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("meshgate-doctor-{test}-{}", std::process::id()));
            _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(&root).unwrap();
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(root)
        }

        pub fn system(&self) -> System {
            System::at(&self.0)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lists_of_processors_are_read_and_nonsense_is_left_out() {
        let listed = |text| processor_list(text).into_iter().collect::<Vec<_>>();
        assert_eq!(listed("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(listed(""), []);
        assert_eq!(listed("x,3-1,5"), [5]);
        assert_eq!(processor_list("0-99999999999").len(), 8_193);
    }

    #[test]
    fn fields_are_found_by_their_whole_key() {
        let files = Files::new("fields", &[("proc/self/status", "CapEffX:\t1\nCapEff:\t0000\nx")]);
        let system = files.system();
        assert_eq!(system.field("proc/self/status", "CapEff").as_deref(), Some("0000"));
        assert_eq!(system.field("proc/self/status", "CapBnd"), None);
        assert_eq!(system.text("proc/none"), None);
    }
}
