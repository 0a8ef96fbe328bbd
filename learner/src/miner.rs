//! The rule miner: from what was seen to few rules that permit it, and what will come, and little else.
//!
//! The problem. Rules that list exactly what was seen permit nothing else, and refuse most of what comes next; rules from
//! network to network let nearly all of it pass, and permit a hundred times more than anybody ever used. Between the two
//! lies a choice for every service: how wide is each side?
//!
//! The answer has three parts, one file each.
//!
//! - [`width`] lists how wide a side can be: one endpoint, a role found from behaviour (who serves this, who is busy with
//!   it, who shares a partner), the networks in which those lie, any internal address, anything external.
//! - [`candidates`] pairs them, and counts for each pair what it covers of what was seen, and of what came later in a
//!   [`rehearsal`]: the recording is cut, widths are read against the part before the cut and counted on the part behind
//!   it. This is what speaks for a width that is wider than what it has seen.
//! - [`choice`] takes pairs greedily as long as each is worth what it permits; [`worth`] asks the same of one rule whose
//!   sides come from a policy, which is how a draft of the running learner gets its width.
//!
//! The price of a permitted tuple is the one knob: a high one gives narrow rules, a low one wide ones.
//!
//! Counting. A *tuple* is (source address, destination address, protocol, service port). Permitted tuples are counted
//! over the addresses that were *seen*, each as source with each other one as destination, for each service of the rule;
//! never over all addresses of a prefix, most of which are nobody's.
//! **Over-permissiveness** is the share of these that were never seen.

pub mod bits;
pub mod candidates;
pub mod choice;
pub mod rehearsal;
pub mod rule_set;
pub mod seen;
pub mod width;
pub mod worth;

use candidates::Candidates;
use choice::Prices;
use rehearsal::Rehearsal;
use rule_set::RuleSet;
use seen::Seen;

/// What covering a tuple that was seen already is worth, where one that a rehearsal did not know is worth one.
pub const SEEN_WEIGHT: f64 = 0.2;
/// What a rule costs: two tuples that were seen. With less, curves of the recordings at hand have more rules than people
/// read and cover hardly more.
pub const RULE_PRICE: f64 = 0.4;

/// Everything that rules can be chosen from, worked out once for any number of prices.
#[derive(Clone, Debug)]
pub struct Miner {
    seen: Seen,
    candidates: Vec<Candidates>,
}

impl Miner {
    /// Returns the miner for what was seen, with rehearsals on parts of it. Covering a tuple that was seen is worth
    /// `seen_weight`.
    pub fn new(seen: Seen, rehearsals: &[Rehearsal], seen_weight: f64) -> Self {
        let services = seen.services.keys();
        let of = |service| Candidates::of(&seen, service, rehearsals, seen_weight);
        let candidates = services.map(|service| of(*service)).collect();
        Self { seen, candidates }
    }

    /// Returns the rules that are worth these prices.
    pub fn rules(&self, prices: Prices) -> RuleSet {
        let mut all = Vec::new();
        let mut worth = 0.0;
        for of in &self.candidates {
            let (chosen, covered) = choice::choose(&self.seen, of, prices);
            all.extend(chosen);
            worth += covered;
        }
        RuleSet { worth, ..RuleSet::new(all) }
    }
}

/// Returns a count as a real number. Counts here are of pairs of at most 2^13 addresses.
fn real(count: usize) -> f64 {
    u64::try_from(count).map_or(f64::INFINITY, crate::proportion::real)
}

#[cfg(test)]
mod tests;
