//! The ranking that learns, measured by simulated administrators: a small run of each kind, and what is refused.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use clap::Parser;
use meshgate_learner::evaluate_feedback::{EvaluateFeedbackArguments, run};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// 2024-05-01, a day's first second.
const START_S: u64 = 1_714_521_600;

/// The command as it is typed.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: EvaluateFeedbackArguments,
}

/// A folder of its own, which goes when the test ends well.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-feedback-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn report(&self) -> PathBuf {
        self.0.join("report")
    }

    /// Returns the arguments of a command that reports here.
    fn arguments(&self, words: &str) -> EvaluateFeedbackArguments {
        let words = format!("evaluate-feedback --report {} {words}", self.report().display());
        Command::try_parse_from(words.split_whitespace()).unwrap().arguments
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&fs::read(self.report().join("report.json")).unwrap()).unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns nine hours a day, for six days, of forty clients that ask three servers. On the last two days a stranger asks
/// for what nobody else does, and is labelled so.
fn flows(label: &str) -> String {
    let mut text = String::from("ts,src,dst,proto,dport,bytes_out,bytes_in,label\n");
    for day in 0..6_u64 {
        for minute in 0..540_u64 {
            let at_s = START_S + day * 86_400 + minute * 60;
            let (client, server) = (1 + minute % 40, minute % 3);
            let _ = writeln!(text, "{at_s},10.0.{client}.1,10.9.0.{server},tcp,443,1200,9000,-");
            if day >= 4 && (300..310).contains(&minute) {
                let _ = writeln!(text, "{at_s},203.0.113.7,10.9.0.{server},tcp,22,500000,40,{label}");
            }
        }
    }
    text
}

#[test]
fn a_small_run_writes_page_text_and_figures_and_begins_with_the_static_order() {
    let ground = Ground::new("small");
    let said = run(&ground.arguments("--seeds 2 --days 12")).unwrap();
    assert!(said.contains("synthetic, coin flips: precision "), "{said}");
    let (json, text) = (ground.json(), fs::read_to_string(ground.report().join("report.md")).unwrap());
    let page = fs::read_to_string(ground.report().join("report.html")).unwrap();
    assert_eq!(
        (json["report"].as_str(), json["seeds"].as_u64()),
        (Some("meshgate-learner evaluate-feedback"), Some(2))
    );
    let place = &json["places"][0];
    let trials = place["trials"].as_array().unwrap();
    assert_eq!((trials.len(), trials[0]["rows"].as_array().unwrap().len()), (6, 6));
    for row in trials.iter().flat_map(|trial| trial["rows"].as_array().unwrap()) {
        assert_eq!(row["is_static_at_first"].as_bool(), Some(true), "{row}");
        assert_eq!(row["regret_by_day"].as_array().unwrap().len(), 12);
    }
    // Six days behind the change are too few for a hundred answers; the hidden movement comes after ten days.
    assert_eq!(
        (place["changes"].as_array().unwrap().len(), place["planted"].as_array().unwrap().len()),
        (0, 2)
    );
    assert!(json["speed"]["median_ms"].as_f64().unwrap() > 0.0);
    for part in ["ours without the gate", "Bayesian logistic regression", "--seeds 2 --days 12", "coin flips"]
    {
        assert!(text.contains(part) && page.contains(part), "{part}: {text}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    for plot in ["regret_synthetic.svg", "calibration_synthetic.svg"] {
        assert!(ground.report().join(plot).exists(), "{plot}");
    }
}

#[test]
fn recorded_flows_make_a_world_whose_labels_are_what_is_right() {
    let ground = Ground::new("recorded");
    let flows = ground.file("flows.csv", &flows("theft"));
    let words = format!(
        "--seeds 1 --days 0 --detector-seeds 1 --flows {} --train-until 2024-05-04 --test-until 2024-05-07",
        flows.display()
    );
    run(&ground.arguments(&words)).unwrap();
    let json = ground.json();
    let place = &json["places"][0];
    assert_eq!((place["world"].as_str(), place["days"].as_u64()), (Some("recorded"), Some(3)));
    assert_eq!(json["recording"]["files"][0]["bytes"].as_u64(), Some(fs::metadata(&flows).unwrap().len()));
    // Three servers are asked on each of two days of three.
    assert_eq!(place["right_per_day"].as_f64(), Some(2.0));
    let by_static = &place["trials"][0]["rows"][0];
    assert!(
        by_static["regret"]["mean"].as_f64().unwrap() < 10.0,
        "the detector sees the stranger: {by_static}"
    );
    assert!(ground.report().join("regret_recorded.svg").exists());
}

#[test]
fn a_refusal_names_what_is_wrong() {
    let ground = Ground::new("refusals");
    let flows = ground.file("flows.csv", &flows("-"));
    let refused = |words: &str| run(&ground.arguments(words)).unwrap_err().to_string();
    let spans = |train: &str, test: &str| {
        refused(&format!("--flows {} --train-until {train} --test-until {test}", flows.display()))
    };
    assert!(refused("--days 0").starts_with("--days 0 leaves the synthetic world out"));
    assert!(!ground.report().exists(), "nothing is made for a refusal");
    let order = spans("2024-05-04", "2024-05-04");
    assert_eq!(order, "--test-until 2024-05-04 is not behind --train-until 2024-05-04");
    assert_eq!(spans("2024-05-01", "2024-05-04"), "no flow to learn from before --train-until");
    assert_eq!(spans("2024-06-01", "2024-06-04"), "no flow from --train-until to --test-until");
    let benign = spans("2024-05-04", "2024-05-07");
    assert!(benign.starts_with("no flow from 2024-05-04 00:00 to 2024-05-07 00:00 has a label"), "{benign}");
    let missing = refused("--flows /nowhere/flows.csv --train-until 2024-05-04 --test-until 2024-05-07");
    assert!(missing.starts_with("/nowhere/flows.csv: "), "{missing}");
    fs::create_dir_all(ground.report()).unwrap();
    fs::write(ground.report().join("thesis.md"), "years of work").unwrap();
    let foreign = refused("--seeds 1 --days 2");
    assert!(foreign.contains("holds files but no report.json"), "{foreign}");
    assert!(Path::new(&ground.report().join("thesis.md")).exists());
}

#[test]
fn a_command_that_says_half_is_refused_by_the_argument_that_is_missing() {
    for (words, named) in [
        ("--report out --flows a.csv", "--train-until"),
        ("--report out --train-until 2024-05-04", "--flows"),
        ("--seeds 3", "--report"),
        ("--report out --seeds 0", "--seeds"),
        ("--report out --flows a.csv --train-until June --test-until 2024-05-07", "--train-until"),
    ] {
        let words = format!("evaluate-feedback {words}");
        let Err(refused) = Command::try_parse_from(words.split_whitespace()) else {
            panic!("{words} is taken")
        };
        assert!(refused.to_string().contains(named), "{words}: {refused}");
    }
}
