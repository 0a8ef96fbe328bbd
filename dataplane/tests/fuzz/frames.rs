//! Frames and time through whole workers: each frame ends with a name, all packet memory comes home, and only what the
//! policy lets out leaves. What is right is said by the oracle of `worker_mutations`.
//!
//! An input is a byte that says how the host is, then what happens to it. A frame is one of the exchanges that the builder
//! writes, changed in places that the input names, or bytes of the input itself.

use super::input::Input;
use crate::mutations::host::{MutationHost, Setting, Step};
use crate::mutations::mutate::{mutate, repair};
use crate::mutations::noise::Noise;
use crate::mutations::scenes::{self, Shot};
use std::sync::OnceLock;

/// Things that happen to one host.
const STEPS_MAX: usize = 64;
/// Frames that come in before anybody looks.
const BURST_MAX: usize = 32;
/// Longest frame of an input's own.
const OWN_BYTES_MAX: usize = 1_600;
/// Milliseconds of silence: within and beyond the timeouts of the flow table.
const WAITS_MS: [u64; 8] = [1, 50, 900, 6_000, 11_000, 40_000, 65_000, 130_000];

fn templates() -> &'static [Shot] {
    static TEMPLATES: OnceLock<Vec<Shot>> = OnceLock::new();
    TEMPLATES.get_or_init(|| scenes::built().into_iter().flatten().collect())
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let control = input.byte();
    let workers = if control & 1 == 0 { 1 } else { 3 };
    let mut host = MutationHost::new(Setting { workers, is_generous: control & 2 == 0 });
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let step = next_step(&mut input);
        host.step(&step).unwrap_or_else(|fault| panic!("{fault}; at {step:?}"));
    }
    host.stop().unwrap_or_else(|fault| panic!("{fault}; at the end"));
}

fn next_step(input: &mut Input<'_>) -> Step {
    match input.byte() {
        kind @ 0..=15 => Step::Wait(WAITS_MS[usize::from(kind % 8)]),
        16..=19 => Step::Publish,
        kind => {
            let frames = usize::from(kind) % BURST_MAX + 1;
            let shots = (0..frames).map_while(|_| (!input.is_empty()).then(|| next_shot(input)));
            Step::Frames(shots.collect())
        }
    }
}

fn next_shot(input: &mut Input<'_>) -> Shot {
    let templates = templates();
    let control = input.byte();
    if control >= 240 {
        let device = input.below(4);
        let count = usize::from(input.word()) % OWN_BYTES_MAX;
        return Shot { device, bytes: input.take(count).to_vec() };
    }
    let mut shot = templates[input.below(templates.len())].clone();
    for _ in 0..control & 3 {
        match input.byte() {
            // Changes that fit the place they are made in.
            kind @ 0..=127 => {
                let other = &templates[usize::from(kind) % templates.len()].bytes;
                mutate(&mut shot.bytes, other, &mut Noise(input.word().into()));
            }
            kind => {
                let (at, value) = (usize::from(kind - 128) % shot.bytes.len().max(1), input.byte());
                if let Some(byte) = shot.bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }
    if control & 4 == 0 {
        repair(&mut shot.bytes);
    }
    if control & 0x38 == 0x38 {
        shot.device = input.below(4);
    }
    shot
}
