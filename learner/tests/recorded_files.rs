//! The recorded flows for developers, where they are: every row is read, and becomes part of a window.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use meshgate_learner::history::History;
use meshgate_learner::recorded::{Grouping, RecordedWindows};
use meshgate_learner::recorded_flow::{MergedFlows, RecordedFlow, open};
use std::path::PathBuf;

/// Files and their rows, as their README says.
const FILES: [(&str, usize); 8] = [
    ("darpa98_w1-4.csv.gz", 966_846),
    ("apt29_day1.csv.gz", 574),
    ("otrf_ad_lab_a.csv.gz", 275),
    ("rita_droplet_2024-04-19.csv.gz", 31_367),
    ("rita_droplet_2024-04-20.csv.gz", 39_073),
    ("homelab_2024-04-29.csv.gz", 7_550),
    ("slips_test9_mixed.csv.gz", 576),
    ("wrccdc2018_first15min.csv.gz", 60_256),
];

/// Returns where the flows are, if anywhere.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MESHGATE_DATA").map(|data| PathBuf::from(data).join("flows"));
    if folder.is_none() {
        println!("skipped: no data");
    }
    folder
}

fn flows(file: &str) -> Vec<RecordedFlow> {
    open(&folder().unwrap().join(file)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_row_of_every_file_is_read_in_order() {
    let Some(folder) = folder() else { return };
    for (file, rows) in FILES {
        let mut last_ns = 0;
        let mut count = 0;
        for flow in open(&folder.join(file)).unwrap() {
            let flow = flow.unwrap();
            assert!(flow.time_ns >= last_ns, "{file}");
            last_ns = flow.time_ns;
            count += 1;
        }
        assert_eq!(count, rows, "{file}");
    }
}

#[test]
fn labels_are_there_for_scoring() {
    if folder().is_none() {
        return;
    }
    let attacks =
        flows("apt29_day1.csv.gz").iter().filter(|flow| flow.label_for_scoring() == Some("1")).count();
    assert_eq!(attacks, 444);
    let normal = |flow: &&RecordedFlow| flow.label_for_scoring() == Some("-");
    let darpa = flows("darpa98_w1-4.csv.gz");
    assert_eq!(darpa.len() - darpa.iter().filter(normal).count(), 423_429);
}

#[test]
fn every_flow_goes_into_a_window_by_each_grouping() {
    let Some(folder) = folder() else { return };
    for (file, rows) in FILES {
        for grouping in [Grouping::by_networks(), Grouping::by_address()] {
            let flows = MergedFlows::open(&[folder.join(file)]).unwrap();
            let mut windows = RecordedWindows::new(flows, grouping, History::new(60).unwrap());
            let (mut records, mut last) = (0, None);
            while let Some(window) = windows.next_window().unwrap() {
                assert!(last < Some(window.start_s), "{file}");
                last = Some(window.start_s);
                records += window.records;
            }
            assert_eq!(records + windows.counts().left_out, rows as u64, "{file}");
            assert_eq!(windows.counts().left_out, 0, "{file}");
            println!("{file}: {} parties, {:?}", windows.parties().len(), windows.counts());
        }
    }
}

#[test]
fn files_are_merged_by_time() {
    let Some(folder) = folder() else { return };
    let names =
        ["rita_droplet_2024-04-20.csv.gz", "rita_droplet_2024-04-19.csv.gz", "homelab_2024-04-29.csv.gz"];
    let flows: Vec<_> = MergedFlows::open(&names.map(|name| folder.join(name)))
        .unwrap()
        .map(|flow| flow.unwrap().time_ns)
        .collect();
    assert!(flows.is_sorted());
    assert_eq!(flows.len(), 31_367 + 39_073 + 7_550);
}
