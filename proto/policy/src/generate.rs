//! Seeded policies and packets for tests and benchmarks: the same seed always gives the same ones.
//!
//! Random packets hit almost nothing of a random policy. [`packet`] therefore draws *from the policy*: it picks a rule or
//! a group and takes addresses, ports and types inside, on the edge of, or one beside what that names, because that is
//! where a compiled form goes wrong. Policies repeat priorities and widen or answer earlier rules on purpose, so that
//! several rules match one packet and ties have to be broken.

mod packets;
mod people;
mod random;

pub use packets::packet;
pub use random::Rng;

use crate::authored::AuthoredPolicy;
use crate::ids::PolicyVersion;
use crate::numbering::Numbering;
use crate::policy::Policy;
use crate::resolve::resolve;

/// How large a generated policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Segments, at least 1. All use the same addresses.
    pub segments: usize,
    /// Endpoints, at most 200,000.
    pub endpoints: usize,
    /// Groups, at most 10,000. The time to generate them grows with the square of their prefixes.
    pub groups: usize,
    /// Rules of both kinds, disabled ones included, at most 50,000.
    pub rules: usize,
}

impl Shape {
    /// Returns the shape of two segments with so many endpoints, groups and rules.
    pub const fn new(endpoints: usize, groups: usize, rules: usize) -> Self {
        Self { segments: 2, endpoints, groups, rules }
    }
}

impl Default for Shape {
    /// Returns a shape small enough to be judged linearly many times a test.
    fn default() -> Self {
        Self::new(40, 16, 60)
    }
}

/// Returns a policy as people would have written it, with everything that can be written, and without any fault.
pub fn authored(seed: u64, shape: Shape) -> AuthoredPolicy {
    people::authored(&mut Rng::new(seed), shape)
}

/// Returns [`authored`], numbered and resolved as version 1.
///
/// # Panics
/// If the shape is above the limits of a policy.
pub fn policy(seed: u64, shape: Shape) -> Policy {
    let mut authored = authored(seed, shape);
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).expect("a new numbering has numbers for every policy within the limits");
    resolve(&authored, &numbering, PolicyVersion(1)).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("seed {seed}, {shape:?}: {}", faults.join("; "))
    })
}
