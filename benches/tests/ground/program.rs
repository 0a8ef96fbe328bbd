//! Programs of the product and of others, as the tests start, watch and end them.

use super::{PATIENCE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

/// Returns the path of a program of the product, which lies beside this test's own directory.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join(name);
    let test = test.display();
    assert!(path.exists(), "{} is missing (beside {test}); run: cargo build --workspace", path.display());
    path
}

/// A running program whose words go to a file; killed when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a command.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    /// Returns its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has printed, without colours.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let parts = text.split("\u{1b}[").enumerate();
        parts
            .map(|(at, part)| if at == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) })
            .collect()
    }

    /// Waits until what it has printed is as wanted; panics with all of it when that takes too long or it ends.
    pub fn await_log(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let status = PathBuf::from(format!("/proc/{}/stat", self.id()));
        loop {
            // Looked at before the log: what it said last is still found.
            let is_over = fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
            let log = self.log();
            if is_so(&log) {
                return;
            }
            assert!(!is_over && Instant::now() < deadline, "waited in vain: {what}; it said:\n{log}");
            std::thread::park_timeout(super::PAUSE);
        }
    }

    /// Ends it without a chance to do anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end and waits for that; returns how it ended and all it said.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.wait();
        (status, self.log())
    }

    /// Tells it to read its configuration again.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let log = self.log.clone();
        wait_until(&format!("the program of {} ended", log.display()), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Returns whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
