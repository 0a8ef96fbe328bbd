//! Programs of the product and of others, as a run starts and ends them.

use super::VethError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a program to be ready, or to end once told.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 12;
/// Scheduling groups are per session, so that `nice` alone has no effect against the rest of the machine: a session of its
/// own, and that group's priority. Whoever is started ends with this process, however it ends.
const URGENT: [&str; 8] = [
    "setsid",
    "bash",
    "-c",
    "echo -20 >/proc/self/autogroup 2>/dev/null; exec \"$@\"",
    "urgent",
    "setpriv",
    "--pdeathsig",
    "KILL",
];

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program with all the priority there is. Its standard input stays open and empty: some end with it.
    pub fn urgent(line: &str, log: &Path) -> Result<Self, VethError> {
        let failed = |error| VethError::Start(line.to_owned(), error);
        let output = File::create(log).map_err(failed)?;
        let mut command = Command::new(URGENT[0]);
        command.args(&URGENT[1..]).args(line.split_whitespace()).stdin(Stdio::piped());
        command.stdout(output.try_clone().map_err(failed)?).stderr(output);
        Ok(Self { child: command.spawn().map_err(failed)?, log: log.to_owned() })
    }

    /// Returns what it has printed, without colours.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut parts = text.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    /// Waits until it has said a text so often.
    pub fn await_said(&mut self, text: &str, times: usize) -> Result<(), VethError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_over = matches!(self.child.try_wait(), Ok(Some(_)));
            let log = self.log();
            if log.matches(text).count() >= times {
                return Ok(());
            }
            if is_over || Instant::now() > deadline {
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
                return Err(VethError::NotReady(text.to_owned(), last));
            }
            rest(PAUSE);
        }
    }

    /// Returns the processor time of all its threads so far, in clock ticks of `/proc`.
    pub fn ticks(&self) -> u64 {
        ticks_of(&self.child.id().to_string())
    }

    /// Waits for its own end, at most so long.
    pub fn await_end(&mut self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            rest(PAUSE);
        }
        false
    }

    /// Tells it to end, waits for that, and returns all it said.
    pub fn finish(mut self) -> String {
        // It may have ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.await_end(PATIENCE);
        self.log()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the processor time of a process by its number so far.
fn ticks_of(number: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the first field, user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Returns the numbers of the kernel's threads whose names begin so.
pub fn kernel_threads(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_named = |number: &String| {
        fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| name.starts_with(prefix))
    };
    numbers.filter(|number| number.parse::<u32>().is_ok()).filter(is_named).collect()
}

/// Returns the processor time so far of the kernel's threads that handle what devices receive. What the kernel does within a
/// program's own time is counted as that program's.
pub fn receiving_ticks() -> u64 {
    ["ksoftirqd/", "napi/"].into_iter().flat_map(kernel_threads).map(|number| ticks_of(&number)).sum()
}

/// Kills a process that a run left.
pub fn kill(number: i32) {
    if let Some(pid) = Pid::from_raw(number) {
        // It may have ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Runs a command and returns what it printed.
pub fn run(line: &str) -> Result<String, VethError> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| VethError::Start(line.to_owned(), error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(VethError::Command(line.to_owned(), text(&output.stderr)))
    }
}

/// Returns whether there is a program of this name.
pub fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Returns a program of the product, which lies beside this one.
pub fn own(name: &str) -> Result<String, VethError> {
    let own = std::env::current_exe().unwrap_or_default();
    let path = own.with_file_name(name);
    if path.is_file() { Ok(path.display().to_string()) } else { Err(VethError::Missing(path)) }
}

/// Lets time pass.
pub fn rest(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
