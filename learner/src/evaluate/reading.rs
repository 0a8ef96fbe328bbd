//! Reads recorded flows into edges and, apart from them, their labels.

use super::EvaluateError;
use super::truth::{AttackId, Truth};
use crate::baselines::edges::{Edges, EdgesBuilder};
use crate::recorded_flow::{MergedFlows, RecordedFlow};
use hashbrown::HashMap;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Names of attacks that are told apart; more are counted under the last.
const ATTACK_NAMES_MAX: usize = 4_096;

/// Recorded flows up to the end of the test.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Edges, without labels.
    pub edges: Edges,
    /// First second behind the training, since 1970.
    pub train_until_s: u64,
    /// First second behind the test.
    pub test_until_s: u64,
    /// The attack that each edge carries, if any.
    pub attacks: Vec<Option<AttackId>>,
    /// Names of the attacks, by number.
    pub attack_names: Vec<String>,
    /// Where it was read from.
    pub files: Vec<FlowFile>,
    /// Records from the end of the test on, which were not taken.
    pub records_after_test: u64,
}

impl Recording {
    /// Returns the test edges with their labels.
    pub fn truth(&self) -> Truth<'_> {
        let test = self.edges.test();
        Truth { test, attacks: &self.attacks[self.attacks.len() - test.len()..] }
    }
}

/// A file of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowFile {
    /// Its name.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Digest of its bytes.
    pub sha256: String,
}

/// Reads the files, which are each in order of time, and splits their edges at `train_until_s`.
pub fn read_flows(
    paths: &[PathBuf],
    train_until_s: u64,
    test_until_s: u64,
) -> Result<Recording, EvaluateError> {
    let mut builder = EdgesBuilder::<Option<AttackId>>::default();
    let mut names = AttackNames::default();
    let mut records_after_test = 0;
    for flow in MergedFlows::open(paths)? {
        let flow = flow?;
        let at_s = flow.time_ns / 1_000_000_000;
        if at_s >= test_until_s {
            records_after_test += 1;
            continue;
        }
        let attack = names.attack(&flow);
        let carried = builder.add(at_s, flow.source, flow.destination)?;
        *carried = carried.or(attack);
    }
    let (edges, attacks) = builder.build(train_until_s);
    let files = paths.iter().map(|path| flow_file(path)).collect::<Result<_, _>>()?;
    let attack_names = names.names;
    Ok(Recording { edges, train_until_s, test_until_s, attacks, attack_names, files, records_after_test })
}

/// Numbers of attacks in order of appearance.
#[derive(Default)]
struct AttackNames {
    numbers: HashMap<String, AttackId>,
    names: Vec<String>,
}

impl AttackNames {
    /// Returns the attack that a flow is labelled with. Zeek-like files write benign as `0`, the DARPA lists as `-`.
    fn attack(&mut self, flow: &RecordedFlow) -> Option<AttackId> {
        let label = flow.label_for_scoring().filter(|label| !matches!(*label, "-" | "0"))?;
        let name = flow.label_name_for_scoring().unwrap_or(label);
        if let Some(attack) = self.numbers.get(name) {
            return Some(*attack);
        }
        if self.names.len() >= ATTACK_NAMES_MAX {
            return u32::try_from(ATTACK_NAMES_MAX - 1).ok().map(AttackId);
        }
        let attack = AttackId(u32::try_from(self.names.len()).ok()?);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), attack);
        Some(attack)
    }
}

/// Returns length and digest of a file.
pub fn flow_file(path: &Path) -> Result<FlowFile, EvaluateError> {
    let unreadable = |error: std::io::Error| EvaluateError::Digest(path.to_owned(), error);
    let mut digest = Sha256::new();
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = std::io::copy(&mut file, &mut digest).map_err(unreadable)?;
    let mut sha256 = String::new();
    for byte in digest.finalize() {
        // Writing into a text cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(FlowFile { path: path.to_owned(), bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_label_that_says_something_makes_an_attack_and_its_name_goes_first() {
        let mut names = AttackNames::default();
        let mut attack = |label, name| {
            let flow = RecordedFlow::between(0, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
            names.attack(&flow.with_labels(label, name))
        };
        for (label, name) in [("", ""), ("-", ""), ("0", ""), ("0", "normal"), ("", "a whole capture")] {
            assert_eq!(attack(label, name), None, "{label:?} {name:?}");
        }
        assert_eq!(attack("neptune", ""), Some(AttackId(0)));
        assert_eq!(attack("1", "c2"), Some(AttackId(1)));
        assert_eq!(attack("neptune", ""), Some(AttackId(0)));
        assert_eq!(names.names, ["neptune", "c2"]);
    }

    #[test]
    fn names_beyond_the_most_share_the_last_number() {
        let mut names = AttackNames::default();
        let flow = RecordedFlow::between(0, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for number in 0..ATTACK_NAMES_MAX + 10 {
            names.attack(&flow.clone().with_labels("1", &number.to_string()));
        }
        assert_eq!(names.names.len(), ATTACK_NAMES_MAX);
    }
}
