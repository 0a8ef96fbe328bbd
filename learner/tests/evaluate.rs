//! A whole evaluation: on flows that the test makes up, and on the recorded DARPA lists where they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files is a failed test")]

use meshgate_learner::evaluate::metrics::Metrics;
use meshgate_learner::evaluate::report::Report;
use meshgate_learner::evaluate::{EvaluateArguments, run};
use meshgate_policy::generate::Rng;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// 2024-05-01, a day's first second.
const START_S: u64 = 1_714_521_600;

/// A folder of its own, which goes when the test ends well.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-evaluate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn arguments(&self, flows: PathBuf) -> EvaluateArguments {
        EvaluateArguments {
            flows: vec![flows],
            train_until: "2024-05-03".parse().unwrap(),
            test_until: "2024-05-04".parse().unwrap(),
            report: self.0.join("report"),
            seeds: 1,
            append: None,
            baselines_only: true,
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns three days of twenty clients that ask four servers now and then. On the third day a stranger scans.
fn flows(seed: u64, label: &str) -> String {
    let mut random = Rng::new(seed);
    let mut text = String::from("ts,src,dst,label\n");
    for minute in 0..3 * 1_440_u64 {
        let at_s = START_S + minute * 60;
        for client in 1..=20 {
            // The first one always, so that the first minute and the last have flows.
            if client == 1 || random.chance(10) {
                let server = random.below(4);
                let _ = writeln!(text, "{at_s},10.0.0.{client},10.0.1.{server},-");
            }
        }
        if (3_000..3_010).contains(&minute) {
            for target in 0..30 {
                let _ = writeln!(text, "{at_s},203.0.113.7,10.0.1.{target},{label}");
            }
        }
    }
    text
}

fn metrics<'a>(report: &'a Report, method: &str) -> &'a Metrics {
    report.methods.iter().find(|row| row.method == method).unwrap().metrics.as_ref().unwrap()
}

#[test]
fn a_scan_by_a_stranger_is_found_and_the_report_says_so() {
    let ground = Ground::new("scan");
    let arguments = ground.arguments(ground.file("flows.csv", &flows(1, "scan")));
    let report = run(&arguments).unwrap();
    assert_eq!((report.test.attack_edges, report.training.attack_edges), (300, 0));
    assert_eq!(report.training.from, "2024-05-01 00:00");
    assert_eq!(report.test.until, "2024-05-04 00:00");
    for method in ["new pair", "new /24 pair"] {
        let metrics = metrics(&report, method);
        assert!(metrics.roc_auc > 0.99 && metrics.pr_auc > 0.99, "{method}: {metrics:?}");
    }
    // The forest is no expert for novelty: of eleven features one says that the source was never seen. Other trees move
    // the area by a hundredth.
    let forest = metrics(&report, "isolation forest");
    assert!(forest.roc_auc > 0.94, "{forest:?}");
    let point = &forest.at_training_rate[0];
    assert_eq!((point.attack_days_found, point.attack_days, point.median_delay_minutes), (1, 1, Some(0)));
    for name in ["report.md", "report.json", "roc.svg", "precision_recall.svg"] {
        assert!(arguments.report.join(name).is_file(), "{name}");
    }
    let text = fs::read_to_string(arguments.report.join("report.md")).unwrap();
    assert!(text.contains(&report.flows[0].sha256) && text.contains("--train-until 2024-05-03"), "{text}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(arguments.report.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["methods"].as_array().unwrap().len(), report.methods.len());
    assert_eq!(json["attacks"][0]["name"], "scan");
}

#[test]
fn labels_change_no_score_and_without_them_there_are_alerts_only() {
    let ground = Ground::new("labels");
    let mut labelled = run(&ground.arguments(ground.file("labelled.csv", &flows(2, "scan")))).unwrap();
    let arguments = ground.arguments(ground.file("bare.csv", &flows(2, "")));
    let mut bare = run(&arguments).unwrap();
    assert!(bare.methods.iter().all(|row| row.metrics.is_none()));
    assert!(labelled.methods.iter().all(|row| row.metrics.is_some()));
    for row in labelled.methods.iter_mut().chain(&mut bare.methods) {
        row.metrics = None;
        row.seconds = 0.0;
    }
    assert_eq!(labelled.methods, bare.methods);
    let text = fs::read_to_string(arguments.report.join("report.md")).unwrap();
    assert!(text.contains("nothing can be said about quality") && !arguments.report.join("roc.svg").exists());
}

#[test]
fn every_seed_has_its_row_and_their_mean_stands_below() {
    let ground = Ground::new("seeds");
    let mut arguments = ground.arguments(ground.file("flows.csv", &flows(3, "scan")));
    arguments.seeds = 2;
    let report = run(&arguments).unwrap();
    let forests: Vec<_> = report.methods.iter().filter(|row| row.method == "isolation forest").collect();
    assert_eq!(forests.iter().map(|row| row.seed).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_ne!(forests[0].alerts, forests[1].alerts);
    let text = fs::read_to_string(arguments.report.join("report.md")).unwrap();
    assert!(text.contains("| isolation forest | mean |"), "{text}");
}

/// Twelve hours of a client with two services of one server; at the end it uses a third.
fn services() -> String {
    let mut text = String::from("ts,src,dst,proto,dport,bytes_out,bytes_in,label\n");
    for minute in 0..720_u64 {
        let at_s = START_S + minute * 60;
        let _ = writeln!(text, "{at_s},10.0.0.1,10.0.1.1,tcp,443,1200,9000,-");
        let _ = writeln!(text, "{at_s},10.0.0.1,10.0.1.1,udp,53,80,160,-");
        if minute >= 700 {
            let _ = writeln!(text, "{at_s},10.0.0.1,10.0.1.1,tcp,22,500000,40,theft");
        }
    }
    text
}

#[test]
fn the_network_and_the_detector_score_every_edge_and_the_same_seed_scores_alike() {
    let ground = Ground::new("network");
    let mut arguments = ground.arguments(ground.file("services.csv", &services()));
    arguments.train_until = "2024-05-01T10:00".parse().unwrap();
    arguments.test_until = "2024-05-01T12:00".parse().unwrap();
    arguments.baselines_only = false;
    let report = run(&arguments).unwrap();
    // One edge a minute, whatever the services: a new one raises the score of its edge.
    assert_eq!((report.training.edges, report.test.edges, report.test.attack_edges), (600, 120, 20));
    for method in ["GRU density alone", "detector's forests alone", "detector"] {
        let row = report.methods.iter().find(|row| row.method == method).unwrap();
        assert_eq!((row.seed, row.unscored), (Some(0), 0), "{method}");
        assert!(row.metrics.as_ref().unwrap().roc_auc > 0.6, "{method}: {:?}", row.metrics);
    }
    let again = run(&arguments).unwrap();
    for (one, other) in report.methods.iter().zip(&again.methods) {
        assert_eq!((&one.metrics, &one.alerts), (&other.metrics, &other.alerts), "{}", one.method);
    }
}

#[test]
fn a_refusal_names_what_is_wrong() {
    let ground = Ground::new("refusals");
    let good = ground.arguments(ground.file("flows.csv", &flows(4, "scan")));
    let refused = |arguments: &EvaluateArguments| run(arguments).unwrap_err().to_string();
    let with = |change: &dyn Fn(&mut EvaluateArguments)| {
        let mut arguments = good.clone();
        change(&mut arguments);
        refused(&arguments)
    };
    let order = with(&|arguments| arguments.test_until = arguments.train_until);
    assert_eq!(order, "--test-until 2024-05-03 is not behind --train-until 2024-05-03");
    let early = with(&|arguments| arguments.train_until = "2024-04-21".parse().unwrap());
    assert!(early.starts_with("no flow to learn from before 2024-04-21 00:00"), "{early}");
    let late = with(&|arguments| {
        arguments.train_until = "2024-05-05".parse().unwrap();
        arguments.test_until = "2024-05-06".parse().unwrap();
    });
    assert!(late.starts_with("no flow to score from 2024-05-05 00:00 to 2024-05-06 00:00"), "{late}");
    assert!(late.ends_with("flows from 2024-05-01 00:00 to 2024-05-03 23:59 and 0 later ones"), "{late}");
    let missing = with(&|arguments| arguments.flows = vec![Path::new("/nowhere/flows.csv").into()]);
    assert!(missing.starts_with("/nowhere/flows.csv: "), "{missing}");
    let strange = ground.file("strange.csv", "ts,src,dst,label\n1714521600,10.0.0.1,printer,-\n");
    let strange = with(&|arguments| arguments.flows = vec![strange.clone()]);
    assert!(strange.contains("strange.csv line 2: dst \"printer\""), "{strange}");
}

/// The anchors were measured with scikit-learn's forest; ours draws other trees.
#[test]
fn the_baselines_reach_their_anchors_on_the_darpa_lists() {
    let Some(folder) = std::env::var_os("MESHGATE_DATA").map(PathBuf::from) else {
        eprintln!("skipped: no data");
        return;
    };
    let ground = Ground::new("darpa");
    let mut arguments = ground.arguments(folder.join("flows/darpa98_w1-4.csv.gz"));
    arguments.train_until = "1998-06-15".parse().unwrap();
    arguments.test_until = "1998-06-28".parse().unwrap();
    let report = run(&arguments).unwrap();
    for (method, roc_auc, pr_auc) in [
        ("new /24 pair", 0.839, 0.325),
        ("counting (MIDAS)", 0.879, 0.780),
        ("isolation forest", 0.974, 0.922),
    ] {
        let found = metrics(&report, method);
        let is_near = |one: f64, other: f64| (one - other).abs() < 0.01;
        assert!(is_near(found.roc_auc, roc_auc) && is_near(found.pr_auc, pr_auc), "{method}: {found:?}");
        assert_eq!(found.at_benign_rate[0].attack_days, 45);
    }
}

#[test]
fn every_run_leaves_a_line_and_a_file_of_something_else_is_refused_before_the_run() {
    let ground = Ground::new("log");
    let log = ground.0.join("runs.md");
    let arguments = EvaluateArguments {
        append: Some(log.clone()),
        ..ground.arguments(ground.file("flows.csv", &flows(1, "scan")))
    };
    run(&arguments).unwrap();
    run(&arguments).unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains("meshgate-learner evaluate --flows")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for part in ["isolation forest: ROC-AUC 0.", "attack-days 1 of 1", "--train-until 2024-05-03"] {
        assert!(lines.iter().all(|line| line.contains(part)), "{part}: {text}");
    }
    fs::write(&log, "# My diary\n").unwrap();
    let refused = run(&arguments).unwrap_err().to_string();
    assert!(refused.contains("not a log of evaluations"), "{refused}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "# My diary\n");
}
