//! Cases as files: what happened to a host, line by line, so that it happens again.
//!
//! ```text
//! # What the case shows.
//! workers 1
//! policy strict
//! web0 0200...            a frame comes in, with those of the lines before it up to `look`
//! look                    the workers do their turns
//! wait 1000               milliseconds
//! publish                 the other policy comes into force
//! ```

use super::host::{MutationHost, Setting, Step};
use super::oracle::hex;
use super::scenes::Shot;
use std::fmt::Write;
use std::path::PathBuf;

const DEVICES: [&str; 4] = ["web0", "web1", "db0", "up0"];

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/frames")
}

pub fn write(says: &str, setting: Setting, steps: &[Step]) -> String {
    let policy = if setting.is_generous { "generous" } else { "strict" };
    let mut text = format!("# {says}\nworkers {}\npolicy {policy}\n", setting.workers);
    for step in steps {
        match step {
            Step::Frames(shots) => {
                for shot in shots.iter().filter(|shot| !shot.bytes.is_empty()) {
                    writeln!(text, "{} {}", DEVICES[shot.device], hex(&shot.bytes)).unwrap();
                }
                text.push_str("look\n");
            }
            Step::Wait(milliseconds) => writeln!(text, "wait {milliseconds}").unwrap(),
            Step::Publish => text.push_str("publish\n"),
        }
    }
    text
}

pub fn read(text: &str) -> Result<(Setting, Vec<Step>), String> {
    let mut setting = Setting { workers: 1, is_generous: true };
    let (mut steps, mut shots) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "workers" => setting.workers = rest.parse().map_err(|error| format!("{line}: {error}"))?,
            "policy" => setting.is_generous = rest == "generous",
            "wait" => steps.push(Step::Wait(rest.parse().map_err(|error| format!("{line}: {error}"))?)),
            "publish" => steps.push(Step::Publish),
            "look" => steps.push(Step::Frames(std::mem::take(&mut shots))),
            _ => {
                let device = DEVICES.iter().position(|name| *name == word).ok_or(line)?;
                let digit = |at: usize| u8::from_str_radix(rest.get(at..at + 2).unwrap_or(""), 16);
                let bytes: Result<_, _> = (0..rest.len()).step_by(2).map(digit).collect();
                shots.push(Shot { device, bytes: bytes.map_err(|error| format!("{line}: {error}"))? });
            }
        }
    }
    if !shots.is_empty() {
        steps.push(Step::Frames(shots));
    }
    Ok((setting, steps))
}

/// Lets all steps happen to a new host, and says what should not have come of them.
pub fn play(setting: Setting, steps: &[Step]) -> Result<super::host::Tally, String> {
    let played = std::panic::catch_unwind(|| {
        let mut host = MutationHost::new(setting);
        steps.iter().try_for_each(|step| host.step(step))?;
        host.stop()
    });
    played.unwrap_or_else(|panic| Err(format!("panic: {}", message_of(panic.as_ref()))))
}

pub fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// Leaves out what is not needed for the steps to fail: halves, quarters, single steps; then single frames.
pub fn shrink(setting: Setting, mut steps: Vec<Step>) -> Vec<Step> {
    let fails = |steps: &[Step]| play(setting, steps).is_err();
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            if fails(&fewer) { steps = fewer } else { at += chunk }
        }
        chunk /= 2;
    }
    for at in 0..steps.len() {
        let mut place = 0;
        while let Step::Frames(shots) = &steps[at]
            && place < shots.len()
        {
            let mut fewer = steps.clone();
            if let Step::Frames(shots) = &mut fewer[at] {
                shots.remove(place);
            }
            if fails(&fewer) { steps = fewer } else { place += 1 }
        }
    }
    steps
}
