//! Chooses rules: few, that cover much and permit little that was never seen.
//!
//! To choose sets that cover as much as possible at least cost is NP-hard, so the choice is greedy and then cleaned up:
//!
//! 1. Each candidate is worth the tuples that no chosen rule covers yet (seen ones, and those of rehearsals), less the
//!    price of each tuple that was never seen and that no chosen rule permits yet, less the price of a rule. The best is
//!    taken until none is worth anything.
//! 2. What was taken early may be made needless by what came later: the rule that is worth least beside the others goes,
//!    until each is worth something.
//!
//! Services have no tuple in common, so each is chosen for by itself, and one price for a permitted tuple makes them
//! comparable: sweeping it draws the whole curve of coverage against over-permissiveness.

use super::bits::Bits;
use super::candidates::{Candidates, Worth};
use super::seen::{Seen, Service};
use super::width::Width;

/// Rules for one service at most: what is left then are single tuples.
const RULES_PER_SERVICE_MAX: usize = 256;

/// What things cost, in tuples covered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of each permitted tuple that was never seen.
    pub permitted: f64,
    /// Of each rule.
    pub rule: f64,
}

/// A chosen rule for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The service.
    pub service: Service,
    /// How wide the source is.
    pub source: Width,
    /// How wide the destination is.
    pub destination: Width,
    /// Who belongs to the source.
    pub sources: Bits,
    /// Who belongs to the destination.
    pub destinations: Bits,
}

/// Returns the rules that are worth their prices, and what they cover is worth.
pub(super) fn choose(seen: &Seen, candidates: &Candidates, prices: Prices) -> (Vec<Chosen>, f64) {
    let mut picks = pick(seen, candidates, prices);
    clean_up(seen, candidates, prices, &mut picks);
    let chosen = |(source, destination): &(usize, usize)| Chosen {
        service: candidates.service,
        source: candidates.sources.widths[*source],
        destination: candidates.destinations.widths[*destination],
        sources: candidates.sources.members[*source].clone(),
        destinations: candidates.destinations.members[*destination].clone(),
    };
    (picks.iter().map(chosen).collect(), candidates.worths.iter().map(|worth| worth.covered(&picks)).sum())
}

/// Pairs of source and destination that were never seen and that no rule permits yet.
struct Unpermitted {
    /// For each address as source, the destinations.
    rows: Vec<Bits>,
}

impl Unpermitted {
    fn new(seen: &Seen, service: Service) -> Self {
        let nobody = Bits::none(seen.addresses.len());
        let mut rows = vec![nobody; seen.addresses.len()];
        for source in seen.present.iter() {
            rows[source] = seen.present.clone();
            rows[source].remove(source);
        }
        seen.pairs(service).iter().for_each(|(source, destination)| rows[*source].remove(*destination));
        Self { rows }
    }

    fn permit(&mut self, sources: &Bits, destinations: &Bits) {
        sources.iter().for_each(|source| self.rows[source].remove_all(destinations));
    }

    /// Returns for each destination how many of the sources could not reach it.
    fn by_destination(&self, sources: &Bits) -> Vec<u32> {
        let mut counts = vec![0; self.rows.len()];
        for source in sources.iter() {
            self.rows[source].iter().for_each(|destination| counts[destination] += 1);
        }
        counts
    }
}

/// Takes the best candidate until none is worth anything.
fn pick(seen: &Seen, candidates: &Candidates, prices: Prices) -> Vec<(usize, usize)> {
    let (sources, destinations) = (&candidates.sources.members, &candidates.destinations.members);
    let mut unpermitted = Unpermitted::new(seen, candidates.service);
    let mut reach: Vec<Vec<u32>> = sources.iter().map(|bits| unpermitted.by_destination(bits)).collect();
    let mut worths = candidates.worths.clone();
    let mut picks = Vec::new();
    while picks.len() < RULES_PER_SERVICE_MAX {
        let values = values(&worths, sources.len(), destinations.len());
        let mut best: Option<(f64, usize, usize)> = None;
        for (source, reach) in reach.iter().enumerate() {
            for (destination, bits) in destinations.iter().enumerate() {
                let value = values[source * destinations.len() + destination] - prices.rule;
                // Nothing that is permitted could make it better: most end here, uncounted.
                if value <= best.map_or(0.0, |(best, ..)| best) {
                    continue;
                }
                let permitted: u32 = bits.iter().map(|at| reach[at]).sum();
                let value = value - prices.permitted * f64::from(permitted);
                if value > best.map_or(0.0, |(best, ..)| best) {
                    best = Some((value, source, destination));
                }
            }
        }
        let Some((_, source, destination)) = best else { break };
        unpermitted.permit(&sources[source], &destinations[destination]);
        for (bits, reach) in sources.iter().zip(&mut reach) {
            if bits.common_len(&sources[source]) > 0 {
                *reach = unpermitted.by_destination(bits);
            }
        }
        worths.iter_mut().for_each(|worth| worth.cover(source, destination));
        picks.push((source, destination));
    }
    picks
}

/// Returns what each pair of widths covers that is not covered yet, row by row.
fn values(worths: &[Worth], sources: usize, destinations: usize) -> Vec<f64> {
    let mut values = vec![0.0; sources * destinations];
    for worth in worths {
        for (source, destination) in &worth.pairs {
            let with = |of: &[Bits], number: usize| -> Vec<usize> {
                (0..of.len()).filter(|at| of[*at].contains(number)).collect()
            };
            let columns = with(&worth.destinations, *destination);
            for row in with(&worth.sources, *source) {
                columns.iter().for_each(|column| values[row * destinations + column] += worth.weight);
            }
        }
    }
    values
}

impl Worth {
    fn covers(&self, (source, destination): (usize, usize), pair: (usize, usize)) -> bool {
        self.sources[source].contains(pair.0) && self.destinations[destination].contains(pair.1)
    }

    /// Returns what the picks cover of it.
    fn covered(&self, picks: &[(usize, usize)]) -> f64 {
        let is_covered = |pair: &&(usize, usize)| picks.iter().any(|pick| self.covers(*pick, **pair));
        self.weight * super::real(self.pairs.iter().filter(is_covered).count())
    }

    fn cover(&mut self, source: usize, destination: usize) {
        let Self { pairs, sources, destinations, .. } = self;
        pairs
            .retain(|pair| !(sources[source].contains(pair.0) && destinations[destination].contains(pair.1)));
    }
}

/// Removes the rule that is worth least beside the others, until each is worth its prices.
fn clean_up(seen: &Seen, candidates: &Candidates, prices: Prices, picks: &mut Vec<(usize, usize)>) {
    while !picks.is_empty() {
        let alone = alone(seen, candidates, prices, picks);
        let worst = alone.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        match worst {
            Some((at, value)) if *value < 0.0 => _ = picks.remove(at),
            _ => return,
        }
    }
}

/// Returns what would be lost with each rule: what it alone covers, less what it alone permits and its own price.
fn alone(seen: &Seen, candidates: &Candidates, prices: Prices, picks: &[(usize, usize)]) -> Vec<f64> {
    let mut alone = vec![-prices.rule; picks.len()];
    for worth in &candidates.worths {
        for pair in &worth.pairs {
            let mut covering = (0..picks.len()).filter(|at| worth.covers(picks[*at], *pair));
            if let (Some(only), None) = (covering.next(), covering.next()) {
                alone[only] += worth.weight;
            }
        }
    }
    let unseen = Unpermitted::new(seen, candidates.service);
    for source in seen.present.iter() {
        let with: Vec<usize> =
            (0..picks.len()).filter(|at| candidates.sources.members[picks[*at].0].contains(source)).collect();
        let (mut once, mut more) = (Bits::none(seen.addresses.len()), Bits::none(seen.addresses.len()));
        for at in &with {
            let destinations = &candidates.destinations.members[picks[*at].1];
            more.insert_all(&once.common(destinations));
            once.insert_all(destinations);
        }
        once.remove_all(&more);
        let once = once.common(&unseen.rows[source]);
        for at in &with {
            let permitted = candidates.destinations.members[picks[*at].1].common_len(&once);
            alone[*at] -= prices.permitted * super::real(permitted);
        }
    }
    alone
}
