//! The benchmark removes what its own killed runs left, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

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
