//! The benchmark removes what its own killed runs left, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::program::binary;
use ground::{Ground, wait_until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BENCH: &str = env!("CARGO_BIN_EXE_meshgate-bench");

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// A process of this name, which ends with the test.
struct Named(Child);

impl Named {
    fn start(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        std::os::unix::fs::symlink("/bin/cat", &path).unwrap();
        // It waits for bytes that never come.
        Self(Command::new(path).stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_benchmark_sweeps_what_a_killed_run_left_and_nothing_else() {
    let Some(ground) = Ground::new("sweep", &[]) else { return };
    let mut ended = Command::new("true").spawn().unwrap();
    let gone = ended.id();
    ended.wait().unwrap();
    let running = Named::start(&ground.dir, "meshgate-bench");
    let spaces = [gone, running.0.id()].map(|pid| format!("mgbench-{pid}-host"));
    let folders = [gone, running.0.id()].map(|pid| PathBuf::from(format!("/tmp/mgbench-{pid}")));
    spaces.iter().for_each(|space| run("ip", &["netns", "add", space]));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut left = Command::new("ip").args(["netns", "exec", &spaces[0], "sleep", "600"]).spawn().unwrap();
    let is_inside = |pid| {
        let inside = Command::new("ip").args(["netns", "pids", &spaces[0]]).output().unwrap().stdout;
        String::from_utf8_lossy(&inside).lines().any(|line| line == format!("{pid}"))
    };
    wait_until("the process is inside", || is_inside(left.id()));
    run(BENCH, &["veth", "--sweep"]);
    let is_there = |space: &str| Path::new("/run/netns").join(space).exists();
    assert!(!is_there(&spaces[0]) && !folders[0].exists(), "the killed run's remains");
    assert!(!left.wait().unwrap().success(), "its process was ended");
    assert!(is_there(&spaces[1]) && folders[1].exists(), "what belongs to a run that goes on");
    assert!(is_there(&ground.space("host")), "what belongs to somebody else");
    drop(running);
    run(BENCH, &["veth", "--sweep"]);
    assert!(!is_there(&spaces[1]) && !folders[1].exists());
}

/// Returns whether it went well, and all that was said.
fn bench(line: &str) -> (bool, String) {
    let output = Command::new(BENCH).arg("veth").args(line.split_whitespace()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Returns the namespaces of a run.
fn namespaces(run: u32) -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = names.map(|name| name.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("mgbench-{run}-"))).collect()
}

#[test]
fn a_pair_is_measured_and_a_killed_run_leaves_nothing_behind_the_next_one() {
    let tools = ["nft", "ethtool", "bridge", "taskset", "setpriv", "setsid"];
    let Some(_ground) = Ground::new("veth", &tools) else { return };
    // The run starts it from its own folder.
    assert!(binary("meshgate-dataplane").exists());
    let mut killed = Command::new(BENCH).args(["veth", "--peer", "none", "--warm-up", "60"]).spawn().unwrap();
    let places = || namespaces(killed.id());
    let is_dataplane = |pid: &str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        // The kernel cuts names.
        name.is_ok_and(|name| name.starts_with("meshgate-datapl"))
    };
    wait_until("the dataplane runs", || {
        places().iter().any(|place| {
            let inside = Command::new("ip").args(["netns", "pids", place]).output().unwrap().stdout;
            String::from_utf8_lossy(&inside).split_whitespace().any(is_dataplane)
        })
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(namespaces(killed.id()).len(), 3);
    let (is_well, said) =
        bench("--peer bridge-nft --pairs 2 --seconds 1 --warm-up 1 --rules 50 --nft-map intervals");
    assert!(is_well, "{said}");
    assert!(said.contains(&format!("removing what run {} left", killed.id())), "{said}");
    assert!(
        said.contains("\npair 2: ours with 50 rules ") && said.contains("sink: plain receiver"),
        "{said}"
    );
    let last = said.trim().lines().last().unwrap();
    let ratio = last.strip_prefix("bar: veth_vs_bridge_nft = ").and_then(|rest| rest.strip_suffix(" ratio"));
    assert!(ratio.unwrap().parse::<f64>().unwrap() > 0.0, "{last}");
    assert_eq!(namespaces(killed.id()), [""; 0]);
}

#[test]
fn wrong_arguments_are_named() {
    for (line, named) in [
        ("--peer vpp", "--peer"),
        ("--rules 1", "--rules"),
        ("--pairs 0", "--pairs"),
        ("--size 32", "--size"),
        ("--balance --peer ovs", "--peer"),
        ("--balance --half-load", "--half-load"),
    ] {
        let (is_well, said) = bench(line);
        assert!(!is_well && said.contains(named), "{line}: {said}");
    }
}
