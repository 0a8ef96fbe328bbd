//! Rules measured on recorded flows and against intended graphs: what the bars say, and what must hold of any figure.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use clap::Parser;
use meshgate_learner::evaluate_rules::{self, EvaluateRulesArguments};
use std::path::{Path, PathBuf};

/// The command as it is typed.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: EvaluateRulesArguments,
}

fn arguments(words: &[&str]) -> EvaluateRulesArguments {
    let words = ["evaluate-rules", "--report", "unused"].iter().chain(words);
    Command::try_parse_from(words).unwrap().arguments
}

/// Returns where the flows are, if anywhere.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MESHGATE_DATA").map(|data| PathBuf::from(data).join("flows"));
    if folder.is_none() {
        println!("skipped: no data");
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file for one test and returns where.
fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("meshgate-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

const GRAPH: &str = "src_group,dst_group,protocol,port_range
web/front,web/back,TCP,8080
web/front,db,TCP,5432
web/back,db,TCP,5432
web/back,db,TCP,6432
web/back,cache,UDP,11211
0.0.0.0-255.255.255.255,web/front,TCP,443
cache,0.0.0.0-255.255.255.255,ANY,0-65535
";

#[test]
fn a_graph_is_found_again_in_its_traffic() {
    let path = file("graph.csv", GRAPH);
    let report = evaluate_rules::measure(&arguments(&["--intended", text(&path), "--seeds", "20"])).unwrap();
    let graph = &report.intended[0];
    assert_eq!((graph.edges, graph.runs, graph.noise_flows > 0), (7, 20, true));
    assert!(graph.precision >= 0.98 && graph.recall >= 0.98, "{graph:?}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_was_seen_less_often_than_the_settings_ask_is_not_drafted_and_noise_alone_neither() {
    let path = file("noise.csv", "src_group,dst_group,protocol,port_range\na,b,TCP,80\n");
    let report = evaluate_rules::measure(&arguments(&[
        "--intended",
        text(&path),
        "--seeds",
        "10",
        "--seen",
        "5",
        "--noise",
        "60",
    ]))
    .unwrap();
    assert!(report.intended[0].precision >= 0.98, "{:?}", report.intended[0]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_graph_with_a_fault_is_refused_with_its_place() {
    for (content, wanted) in [
        ("a,b\n", "its columns are not src_group"),
        ("src_group,dst_group,protocol,port_range\n", "no edge"),
        ("src_group,dst_group,protocol,port_range\na,b,TCP,80\na,b,QUIC,80\n", "line 3: protocol"),
        ("src_group,dst_group,protocol,port_range\na,b,TCP,90-80\n", "line 2: port_range"),
    ] {
        let path = file("fault.csv", content);
        let error =
            evaluate_rules::measure(&arguments(&["--intended", text(&path)])).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}

/// Two clients and a server a minute, for eight minutes; then a new client.
fn flows() -> String {
    let mut rows = "ts,src,dst,proto,sport,dport,state\n".to_owned();
    for minute in 0..8 {
        for client in 1..=2 {
            rows += &format!("{},10.0.1.{client},10.0.2.1,tcp,4000,443,SF\n", minute * 60 + client);
        }
        rows += &format!("{},10.0.1.9,10.0.2.{},tcp,4000,22,S0\n", minute * 60 + 30, minute + 1);
    }
    rows + "490,10.0.1.3,10.0.2.1,tcp,4000,443,SF\n500,10.0.1.1,10.0.2.1,tcp,4000,443,SF\n"
}

#[test]
fn rules_are_measured_by_what_came_later_and_unanswered_flows_make_none() {
    let path = file("flows.csv", &flows());
    let words = ["--flows", text(&path), "--train-minutes", "8", "--test-minutes", "5"];
    let report = evaluate_rules::measure(&arguments(&words)).unwrap();
    let recorded = report.recorded.unwrap();
    assert_eq!((recorded.training.tuples, recorded.later.tuples, recorded.left_out.unanswered), (2, 2, 8));
    let exact = &recorded.baselines[0];
    assert_eq!((exact.rules, exact.permitted), (2, 2));
    assert!(exact.over_permissiveness.abs() < 1e-9 && (exact.tuples_covered - 0.5).abs() < 1e-9);
    // Over the three addresses that training saw: each of two clients to the server, both seen.
    let networks = &recorded.baselines[1];
    assert_eq!((networks.rules, networks.permitted), (1, 2));
    assert!((networks.tuples_covered - 1.0).abs() < 1e-9);
    assert!(recorded.told.iter().all(|told| told.rules.iter().all(|rule| !rule.service.contains("22"))));
    let shown = recorded.hindsight.iter().map(|point| point.tuples_covered).fold(0.0, f64::max);
    assert!((shown - 1.0).abs() < 1e-9, "{:?}", recorded.hindsight);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_span_without_flows_is_refused() {
    let path = file("short.csv", &flows());
    let words = ["--flows", text(&path), "--train-minutes", "60"];
    let error = evaluate_rules::measure(&arguments(&words)).unwrap_err().to_string();
    assert!(error.contains("--train-minutes"), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn intended_graphs_at_hand_are_found_again() {
    let Some(folder) = folder() else { return };
    for name in ["onlineboutique.csv", "onlineboutique_workloads.csv", "acs-security-demos.csv"] {
        let path = folder.join("k8s_intended").join(name);
        let report = evaluate_rules::measure(&arguments(&["--intended", text(&path)])).unwrap();
        let graph = &report.intended[0];
        println!("{name}: precision {:.4}, recall {:.4}", graph.precision, graph.recall);
        assert!(graph.precision >= 0.98 && graph.recall >= 0.98, "{graph:?}");
    }
}

#[test]
fn mined_rules_cover_what_they_should_of_a_recording() {
    let Some(folder) = folder() else { return };
    let path = folder.join("wrccdc2018_first15min.csv.gz");
    let report = evaluate_rules::measure(&arguments(&["--flows", text(&path)])).unwrap();
    print!("{}", report.summary());
    let recorded = report.recorded.unwrap();
    assert!(recorded.curve.iter().all(|point| point.rules <= 150));
    let narrow = &recorded.told[0].point;
    assert!(narrow.over_permissiveness <= 0.90 && narrow.tuples_covered >= 0.60, "{narrow:?}");
    let wide = &recorded.told[1].point;
    assert!(wide.over_permissiveness <= 0.97 && wide.tuples_covered >= 0.75, "{wide:?}");
}
