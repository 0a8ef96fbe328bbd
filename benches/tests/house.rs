//! Reads the source tree and holds it to the house rules: who may depend on whom, where wire types may appear, where
//! `unsafe` may appear, how long a file may be.

#![expect(clippy::unwrap_used, reason = "a source tree that cannot be read is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file that are not tests.
const FILE_LINES_MAX: usize = 400;

/// Who may depend on whom, within the workspace.
const ARROWS: &[(&str, &[&str])] = &[
    ("meshgate-policy", &[]),
    ("meshgate-proto", &["meshgate-policy"]),
    ("af_xdp", &[]),
    ("flow_ring", &["meshgate-policy"]),
    ("meshgate-classifier", &["meshgate-policy"]),
    (
        "meshgate-dataplane",
        &["meshgate-policy", "meshgate-proto", "meshgate-classifier", "af_xdp", "flow_ring"],
    ),
    ("meshgate-control", &["meshgate-policy", "meshgate-proto", "meshgate-classifier"]),
    ("meshgate-cli", &["meshgate-policy", "meshgate-proto"]),
    ("meshgate-learner", &["meshgate-policy", "meshgate-proto", "flow_ring"]),
    (
        "meshgate-benches",
        &[
            "meshgate-policy",
            "meshgate-proto",
            "af_xdp",
            "flow_ring",
            "meshgate-dataplane",
            "meshgate-learner",
        ],
    ),
];

/// The one file outside the two crates that may hold unsafe code: a test's allocator that counts, which Rust lets nobody
/// write without.
const COUNTING_ALLOCATOR: &str = "dataplane/tests/lab/watched.rs";

/// Files and folders in which wire types may appear.
const WIRE_EDGES: &[&str] = &["api", "subscriber", "reporter", "client"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("benches lies in the workspace").to_owned()
}

fn cargo_metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Returns the source files of the workspace, paths from its root.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> =
        ["benches", "control", "dataplane", "learner", "proto"].map(|folder| root().join(folder)).into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let is_output = path.file_name().is_some_and(|name| name == "target");
            let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(entries.filter(|_| !is_output));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_owned();
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn has_part(path: &Path, part: &str) -> bool {
    path.components().any(|c| c.as_os_str().to_str().is_some_and(|c| c.trim_end_matches(".rs") == part))
}

/// Returns whether a file belongs to the product, not to its tests and examples.
fn is_product(path: &Path) -> bool {
    !["tests", "examples", "benches", "build"].iter().any(|part| has_part(path, part))
}

/// Returns the part of a file in front of its tests: of the first item for tests that has a body here.
fn without_tests(text: &str) -> &str {
    let begins = |at: &usize| {
        text[at + "\n#[cfg(test)]\n".len()..].lines().next().is_some_and(|line| line.ends_with('{'))
    };
    let places = text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at);
    &text[..places.into_iter().find(begins).unwrap_or(text.len())]
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = cargo_metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(arrows) = allowed.get(name) else {
            faults.push(format!("{name} has no arrows listed"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            if allowed.contains_key(other) && !arrows.contains(&other) && dependency["kind"].is_null() {
                faults.push(format!("{name} may not depend on {other}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn wire_types_stay_in_the_edge_files() {
    let is_edge =
        |path: &Path| path.starts_with("proto") || WIRE_EDGES.iter().any(|edge| has_part(path, edge));
    let uses_wire = |text: &str| {
        text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains("wire::"))
    };
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| is_product(path) && !is_edge(path) && uses_wire(without_tests(text)))
        .map(|(path, _)| path)
        .collect();
    assert!(faults.is_empty(), "wire types outside {WIRE_EDGES:?}: {faults:#?}");
}

/// Returns whether the file is of a crate that may hold unsafe code.
fn may_be_unsafe(path: &Path) -> bool {
    path.starts_with("dataplane/af_xdp") || path.starts_with("dataplane/flow_ring")
}

#[test]
fn crate_roots_forbid_unsafe_code() {
    let is_root = |path: &Path| {
        path.parent().is_some_and(|parent| parent.ends_with("src"))
            && (path.ends_with("lib.rs") || path.ends_with("main.rs"))
    };
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            is_root(path) && !may_be_unsafe(path) && !text.contains("#![forbid(unsafe_code)]")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(faults.is_empty(), "crate roots that do not forbid unsafe code: {faults:#?}");
}

#[test]
fn unsafe_stays_in_two_crates_also_in_tests() {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has_unsafe = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.into_iter().any(|line| line.split(|c: char| !is_word(c)).any(|word| word == "unsafe"))
    };
    let is_excepted = |path: &Path| path.ends_with("house.rs") || path == Path::new(COUNTING_ALLOCATOR);
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !may_be_unsafe(path) && !is_excepted(path) && has_unsafe(text))
        .map(|(path, _)| path)
        .collect();
    assert!(faults.is_empty(), "unsafe code outside the two crates: {faults:#?}");
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| is_product(path) && !path.ends_with("tests.rs"))
        .map(|(path, text)| (path, without_tests(&text).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(long.is_empty(), "files above {FILE_LINES_MAX} lines without their tests: {long:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` head: {silent:#?}");
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = ["todo!(", "unimplemented!(", "FIXME", "XXX"];
    let is_this_file = |path: &Path| path.ends_with("house.rs");
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !is_this_file(path) && marks.iter().any(|mark| text.contains(mark)))
        .map(|(path, _)| path)
        .collect();
    assert!(faults.is_empty(), "{marks:?} in {faults:#?}");
}
