//! SIGTERM, SIGINT and SIGHUP, caught from the moment they are asked for.
//!
//! Starting takes a while: the last policy is compiled, devices are taken one by one. A signal that came meanwhile and
//! found nobody would end the process where it stands. One that is caught waits instead until the start is over, and
//! then ends the run as it ends any other: every frame comes home and every device is given back.

use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, and the runtime on whose threads they are heard.
pub struct StopSignals {
    runtime: Runtime,
    terminated: Signal,
    interrupted: Signal,
    hung_up: Signal,
}

impl StopSignals {
    /// Catches the signals from here on.
    pub fn catch() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let (terminated, interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hung_up = signal(SignalKind::hangup())?;
        drop(inside);
        Ok(Self { runtime, terminated, interrupted, hung_up })
    }

    /// Runs the work to its end or until a signal comes; one that has come already counts. The work is given what
    /// hears SIGHUP, by which a daemon is told to read its configuration again.
    pub fn run_until_told<W: Future<Output = ()>>(self, work: impl FnOnce(Signal) -> W) {
        let Self { runtime, mut terminated, mut interrupted, hung_up } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminated.recv() => tracing::info!("told to stop"),
                _ = interrupted.recv() => tracing::info!("interrupted"),
                () = work(hung_up) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn a_signal_that_comes_before_anybody_waits_ends_the_work() {
        for signal in [Signal::TERM, Signal::INT] {
            let signals = StopSignals::catch().unwrap();
            kill_process(getpid(), signal).unwrap();
            signals.run_until_told(|_| std::future::pending());
        }
    }

    #[test]
    fn work_that_ends_needs_no_signal() {
        StopSignals::catch().unwrap().run_until_told(|_| std::future::ready(()));
    }
}
