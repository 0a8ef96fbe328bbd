//! Frames that were changed on the way, by the million, through whole workers: nothing panics, every frame ends with a
//! name, all memory comes home, nothing is allocated, and nothing leaves that the policy does not let out.
//!
//! The frames are exchanges of the builder and, where `MESHGATE_DATA` names the data folder, every capture in it. By
//! default each test goes on for [`SECONDS`]; `MESHGATE_MUTATIONS=10000000` lets both together mutate that many. Each
//! life of a host has a seed, which a failure prints; `MESHGATE_SEED=0x...` begins with it. What fails is shrunk and
//! written into `tests/cases/frames/`, from where every test run replays it.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(
    clippy::print_stdout,
    reason = "seeds and figures are what a reader of the test's output looks for"
)]

mod lab;
mod mutations;
#[path = "lab/watched.rs"]
mod watched;

use mutations::cases::{self, play, shrink};
use mutations::host::{MutationHost, Setting, Step, Tally};
use mutations::mutate::{mutate, repair};
use mutations::noise::Noise;
use mutations::number_of;
use mutations::scenes::{self, Scene, Shot};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long each test goes on by default.
const SECONDS: u64 = 10;
const SEED: u64 = 0x6d65_7368_6761_7465;
/// Bursts in the life of a host.
const LIFE_STEPS: usize = 400;
/// Frames that come in at once: a full burst, at most.
const SHOTS_MAX: usize = 64;

/// Returns what happens next: a piece of a scene, most of its frames changed, some twice, some in another order.
fn next_step(scenes: &[Scene], noise: &mut Noise) -> Step {
    match noise.below(40) {
        0 => return Step::Wait(noise.one_of(&[1, 50, 900, 6_000, 40_000, 130_000])),
        1 => return Step::Publish,
        _ => {}
    }
    let mut shots: Vec<Shot> = Vec::new();
    while shots.len() < SHOTS_MAX / 2 {
        let scene = &scenes[noise.below(scenes.len())];
        let start = if noise.once_in(2) { 0 } else { noise.below(scene.len()) };
        shots.extend(scene[start..].iter().take(16).cloned());
    }
    let originals = shots.len();
    for at in 0..originals {
        if noise.once_in(3) {
            continue;
        }
        let other = noise.below(originals);
        let other = shots[other].bytes.clone();
        for _ in 0..=usize::from(noise.once_in(3)) {
            mutate(&mut shots[at].bytes, &other, noise);
        }
        if !noise.once_in(4) {
            repair(&mut shots[at].bytes);
        }
        if noise.once_in(25) {
            shots[at].device = noise.below(4);
        }
        if noise.once_in(10) {
            let twice = shots[at].clone();
            shots.push(twice);
        }
        if noise.once_in(6) {
            shots.swap(at, noise.below(originals));
        }
    }
    shots.truncate(SHOTS_MAX);
    Step::Frames(shots)
}

/// Lets a host live, and returns what became of the frames, or what it met and what was wrong about that.
fn live(seed: u64, workers: usize, scenes: &[Scene]) -> Result<Tally, (Setting, Vec<Step>, String)> {
    let mut noise = Noise(seed);
    let setting = Setting { workers, is_generous: noise.once_in(2) };
    let mut host = MutationHost::new(setting);
    let mut steps = Vec::with_capacity(LIFE_STEPS);
    for _ in 0..LIFE_STEPS {
        steps.push(next_step(scenes, &mut noise));
        let step = &steps[steps.len() - 1];
        let result = catch_unwind(AssertUnwindSafe(|| host.step(step)))
            .unwrap_or_else(|panic| Err(format!("panic: {}", cases::message_of(panic.as_ref()))));
        if let Err(fault) = result {
            return Err((setting, steps, fault));
        }
    }
    host.stop().map_err(|fault| (setting, steps, fault))
}

/// Shrinks what failed, writes it down and ends the test.
fn fail(seed: u64, setting: Setting, steps: Vec<Step>, fault: &str) -> ! {
    println!("seed {seed:#x}, {} workers: {fault}", setting.workers);
    let steps = shrink(setting, steps);
    let says =
        play(setting, &steps).err().unwrap_or_else(|| format!("only after all that went before: {fault}"));
    let path = cases::folder().join(format!("found-{seed:016x}.hex"));
    std::fs::write(&path, cases::write(&says.replace('\n', " "), setting, &steps)).unwrap();
    panic!("seed {seed:#x}: {says}; see {}", path.display());
}

fn mutate_with(workers: usize) {
    let scenes = scenes::all();
    let begun = Instant::now();
    let frames_min = number_of("MESHGATE_MUTATIONS").map(|frames| frames.div_ceil(2));
    let mut seeds = Noise(SEED + workers as u64);
    let mut seed = number_of("MESHGATE_SEED").unwrap_or_else(|| seeds.next());
    let mut tally = Tally::default();
    loop {
        match live(seed, workers, scenes) {
            Ok(of_life) => tally.add(&of_life),
            Err((setting, steps, fault)) => fail(seed, setting, steps, &fault),
        }
        let is_enough = match frames_min {
            Some(frames) => tally.frames >= frames,
            None => begun.elapsed() >= Duration::from_secs(SECONDS),
        };
        if is_enough {
            break;
        }
        seed = seeds.next();
    }
    let Tally { frames, allowed, asked, answers, flows, by_reason } = tally;
    println!("{} scenes, {workers} workers: {frames} frames, {allowed} allowed, {flows} flows", scenes.len());
    println!("the oracle was asked {asked} times and knew {answers} answers");
    by_reason.iter().for_each(|(reason, frames)| println!("{frames:>9} {reason}"));
    assert!(allowed > frames / 20 && asked > frames / 50, "the noise is too coarse");
    assert!(by_reason.len() > 20, "few reasons were met: {by_reason:?}");
}

#[test]
fn nothing_unlawful_leaves_a_worker_that_meets_mutated_frames() {
    mutate_with(1);
}

#[test]
fn nothing_unlawful_leaves_three_workers_among_which_mutated_frames_cross() {
    mutate_with(3);
}

#[test]
fn frames_that_nobody_changed_pass_as_the_policy_says() {
    for workers in [1, 3] {
        for is_generous in [true, false] {
            let burst = |scene: Scene| scene.into_iter().map(|shot| Step::Frames(vec![shot]));
            let steps: Vec<Step> = scenes::built().into_iter().flat_map(burst).collect();
            let tally = play(Setting { workers, is_generous }, &steps).unwrap();
            assert!(tally.allowed > tally.frames / if is_generous { 2 } else { 5 }, "{tally:?}");
        }
    }
}

#[test]
fn the_oracle_notices_what_another_policy_lets_out() {
    let mut host = MutationHost::new(Setting { workers: 1, is_generous: true });
    host.mislead();
    let faults =
        scenes::built().into_iter().flatten().filter_map(|shot| host.step(&Step::Frames(vec![shot])).err());
    let faults: Vec<String> = faults.collect();
    assert!(faults.iter().any(|fault| fault.contains("in neither direction")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("an error about what was not let out")), "{faults:?}");
}

#[test]
fn a_repaired_frame_of_the_builder_is_the_same_frame() {
    for shot in scenes::built().iter().flatten() {
        let mut repaired = shot.bytes.clone();
        repair(&mut repaired);
        assert_eq!(mutations::oracle::hex(&repaired), mutations::oracle::hex(&shot.bytes));
    }
}

#[test]
fn every_case_that_was_ever_found_ends_well() {
    let mut paths: Vec<_> =
        std::fs::read_dir(cases::folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let (setting, steps) = cases::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        let played = play(setting, &steps);
        assert!(played.is_ok(), "{}: {}", path.display(), played.unwrap_err());
    }
    println!("{} cases replayed", paths.len());
}

#[test]
fn a_case_file_says_what_happened() {
    let shot = Shot { device: 2, bytes: vec![1, 0xfe] };
    let steps = [Step::Frames(vec![shot]), Step::Wait(7), Step::Publish];
    let setting = Setting { workers: 3, is_generous: false };
    assert_eq!(cases::read(&cases::write("it", setting, &steps)), Ok((setting, steps.to_vec())));
}
