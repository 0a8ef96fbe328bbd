//! What addresses are: the classes of a policy and the runs of every segment, which no rule changes unless it names
//! prefixes that none named before.

use super::Roots;
use super::address_trie::{AddressTrie, TrieBuilder};
use super::classes::{Atoms, Claims, Classes, Run};
use super::compile::CompileError;
use meshgate_policy::Policy;

/// Prefixes and addresses of all segments together, with the peers of rules, which each segment has once more: 2^24 take some
/// seconds.
pub(super) const CLAIMS_SWEPT_MAX: usize = 1 << 24;
/// Runs of all segments: 2^23 of 32 bytes are 268 MB while compiling.
pub(super) const RUNS_MAX: usize = 1 << 23;

/// What every address of every segment is.
pub(super) struct Addresses {
    /// The classes.
    pub(super) classes: Classes,
    /// Runs of IPv4 and of IPv6: first those of a segment that claims nothing.
    runs: Vec<[Vec<Run>; 2]>,
    /// Which of them each segment number has; all numbers from the last one on have the first.
    root_of_segment: Vec<u16>,
}

impl Addresses {
    /// Returns what the endpoints and groups of a policy and the peers of its rules make of addresses.
    pub(super) fn collect(policy: &Policy, atoms: &Atoms<'_>) -> Result<Self, CompileError> {
        let claims = Claims::collect(policy, atoms);
        if claims.swept() > CLAIMS_SWEPT_MAX {
            return Err(CompileError::ClaimsSwept);
        }
        let mut classes = Classes::new(policy.groups.len());
        let mut count = 0usize;
        let mut limited = |runs: [Vec<Run>; 2]| {
            count += runs.iter().map(Vec::len).sum::<usize>();
            if count > RUNS_MAX { Err(CompileError::Runs) } else { Ok(runs) }
        };
        let mut runs = vec![limited(claims.runs(None, &mut classes)?)?];
        let segments_end = claims.segments().last().map_or(0, |last| usize::from(last.0) + 1);
        let mut root_of_segment = vec![0; segments_end + 1];
        for segment in claims.segments() {
            // Segment numbers are 16 bits wide, and so is the number of those that claim anything.
            root_of_segment[usize::from(segment.0)] =
                u16::try_from(runs.len()).map_err(|_| CompileError::TrieNodes)?;
            runs.push(limited(claims.runs(Some(segment), &mut classes)?)?);
        }
        Ok(Self { classes, runs, root_of_segment })
    }

    /// Returns which roots each segment number has.
    pub(super) fn root_of_segment(&self) -> Vec<u16> {
        self.root_of_segment.clone()
    }

    /// Returns the roots and tries of both sides, whose leaves say what is given for each class.
    pub(super) fn lay_out(&self, leaves: [&[u32]; 2]) -> Result<(Vec<Roots>, AddressTrie), CompileError> {
        let mut trie = TrieBuilder::new(self.runs.as_flattened().iter().map(Vec::len).sum());
        let mut root = |runs: &[Run], is_ipv6, leaves: &[u32]| {
            let mut runs: Vec<Run> =
                runs.iter().map(|run| Run { class: leaves[run.class as usize], ..*run }).collect();
            runs.dedup_by_key(|run| run.class);
            trie.add(&runs, is_ipv6)
        };
        let mut of_segment = |[ipv4, ipv6]: &[Vec<Run>; 2]| {
            let [source, destination] = leaves;
            Ok(Roots {
                ipv4: [root(ipv4, false, source)?, root(ipv4, false, destination)?],
                ipv6: [root(ipv6, true, source)?, root(ipv6, true, destination)?],
            })
        };
        let roots: Result<Vec<Roots>, CompileError> = self.runs.iter().map(&mut of_segment).collect();
        Ok((roots?, trie.finish()))
    }
}
