//! SIGTERM and SIGINT, caught from the moment they are asked for.
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
}

impl StopSignals {
    /// Catches the signals from here on.
    pub fn catch() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let (terminated, interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(inside);
        Ok(Self { runtime, terminated, interrupted })
    }

    /// Runs the work to its end or until a signal comes; one that has come already counts.
    pub fn run_until_told(self, work: impl Future<Output = ()>) {
        let Self { runtime, mut terminated, mut interrupted } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminated.recv() => tracing::info!("told to stop"),
                _ = interrupted.recv() => tracing::info!("interrupted"),
                () = work => {}
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
            signals.run_until_told(std::future::pending());
        }
    }

    #[test]
    fn work_that_ends_needs_no_signal() {
        StopSignals::catch().unwrap().run_until_told(std::future::ready(()));
    }
}
