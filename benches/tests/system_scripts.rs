//! Scripts remove what their own killed runs left, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::{Ground, wait_until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A script of the product.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// A process with this in its command line, which ends with the test.
struct Named(Child);

impl Named {
    fn start(name: &str) -> Self {
        let mut command = Command::new("sh");
        // It waits for a line that never comes.
        Self(command.args(["-c", "read line", name]).stdin(Stdio::piped()).spawn().unwrap())
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
    let Some(ground) = Ground::new("sweep", &["sh", "bash"]) else { return };
    let mut ended = Command::new("true").spawn().unwrap();
    let gone = ended.id();
    ended.wait().unwrap();
    let running = Named::start("bench_veth.sh");
    let spaces = [gone, running.0.id()].map(|pid| format!("mgbench-{pid}-host"));
    let folders = [gone, running.0.id()].map(|pid| PathBuf::from(format!("/tmp/mgbench-{pid}-test")));
    spaces.iter().for_each(|space| run("ip", &["netns", "add", space]));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut left = Command::new("ip").args(["netns", "exec", &spaces[0], "sleep", "600"]).spawn().unwrap();
    let is_inside = |pid| {
        let inside = Command::new("ip").args(["netns", "pids", &spaces[0]]).output().unwrap().stdout;
        String::from_utf8_lossy(&inside).lines().any(|line| line == format!("{pid}"))
    };
    wait_until("the process is inside", || is_inside(left.id()));
    run("bash", &[script("bench_veth.sh").to_str().unwrap(), "--sweep"]);
    let is_there = |space: &str| Path::new("/run/netns").join(space).exists();
    assert!(!is_there(&spaces[0]) && !folders[0].exists(), "the killed run's remains");
    assert!(!left.wait().unwrap().success(), "its process was ended");
    assert!(is_there(&spaces[1]) && folders[1].exists(), "what belongs to a run that goes on");
    assert!(is_there(&ground.space("host")), "what belongs to somebody else");
    drop(running);
    run("bash", &[script("bench_veth.sh").to_str().unwrap(), "--sweep"]);
    assert!(!is_there(&spaces[1]) && !folders[1].exists());
}
