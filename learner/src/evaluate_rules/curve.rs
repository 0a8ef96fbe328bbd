//! The curve of coverage against over-permissiveness, and what lies beside it.

use crate::miner::choice::{Chosen, Prices};
use crate::miner::rehearsal::{Rehearsal, rehearsals};
use crate::miner::rule_set::RuleSet;
use crate::miner::seen::{Addresses, Seen, Service, Use};
use crate::miner::width::Width;
use crate::miner::{Miner, RULE_PRICE, SEEN_WEIGHT};
use crate::networks::{is_internal, masked};
use crate::proportion::share;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::reading::Recording;

/// Prices of a permitted tuple that was never seen, which draw the curve: how many, from which, each so much of the one
/// before. At the first no rule is much wider than what it saw, at the last most are.
const MINED_PRICES: (usize, f64) = (36, 0.89);
/// The hindsight optimum is for the eye: every third will do.
const HINDSIGHT_PRICES: (usize, f64) = (13, 0.72);
const PRICE_FIRST: f64 = 0.05;
/// By how much rules become dearer until they are few enough, and how often that is tried.
const DEARER: f64 = 1.4;
const TRIES_MAX: usize = 24;

/// What a rule set is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// What made the rules.
    pub method: String,
    /// Price of a permitted tuple that was never seen, if they were chosen by one.
    pub price: Option<f64>,
    /// Rules; those with the same sides and protocol and several ports are one.
    pub rules: usize,
    /// Distinct tuples (source, destination, protocol, service port) that the rules permit over the addresses seen in
    /// training: ordered pairs of different addresses.
    pub permitted: usize,
    /// What the rules cover of the training and of the futures of rehearsals within it, in weighed tuples: by this the
    /// rules at a bound are chosen.
    pub worth: f64,
    /// 1 - (permitted tuples that were seen in training) / `permitted`.
    pub over_permissiveness: f64,
    /// 1 - (permitted tuples over the addresses of the training that were seen in training or later) / `permitted`.
    pub over_permissiveness_in_hindsight: f64,
    /// Share of the distinct tuples of the training that the rules permit.
    pub training_tuples_covered: f64,
    /// Share of the distinct later tuples that the rules permit, those of addresses that training never saw included.
    pub tuples_covered: f64,
    /// Share of the later flows that the rules permit.
    pub flows_covered: f64,
}

/// What a recording gives: the spans and the addresses of both.
pub struct Ground {
    addresses: Arc<Addresses>,
    seen: Seen,
    later: Seen,
    both: Seen,
    /// Later flows, one entry each.
    flows: Vec<(Service, (usize, usize))>,
    rehearsals: Vec<Rehearsal>,
}

impl Ground {
    /// Returns the ground of a recording.
    pub fn new(recording: &Recording) -> Self {
        let training = || recording.training.iter().map(|(_, used)| used);
        let addresses = Arc::new(Addresses::of(training().chain(&recording.later)));
        let seen = Seen::new(&addresses, training());
        let later = Seen::new(&addresses, &recording.later);
        let both = Seen {
            present: seen.present.clone(),
            ..Seen::new(&addresses, training().chain(&recording.later))
        };
        let numbered = |used: &Use| {
            Some((used.service, (addresses.number(used.source)?, addresses.number(used.destination)?)))
        };
        let flows = recording.later.iter().filter_map(numbered).collect();
        let rehearsals = rehearsals(&addresses, &recording.training);
        Self { addresses, seen, later, both, flows, rehearsals }
    }

    /// Returns the training.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Returns what came later.
    pub fn later(&self) -> &Seen {
        &self.later
    }

    /// Returns the mined rules for each price with what they are worth, narrow ones first. Nothing of the later span
    /// takes part in the choice.
    pub fn mined(&self, rules_max: usize) -> Vec<(Point, RuleSet)> {
        let miner = Miner::new(self.seen.clone(), &self.rehearsals, SEEN_WEIGHT);
        self.sweep("mined", &miner, MINED_PRICES, rules_max)
    }

    /// Returns what the same choice would have come to, had it been shown the later tuples: the best that these widths
    /// can do, as far as a greedy choice finds it.
    pub fn hindsight(&self, rules_max: usize) -> Vec<(Point, RuleSet)> {
        let shown = Rehearsal { history: self.seen.clone(), future: self.later.clone(), weight: 1.0 };
        let miner = Miner::new(self.seen.clone(), &[shown], 0.0);
        self.sweep("hindsight", &miner, HINDSIGHT_PRICES, rules_max)
    }

    /// Returns what rules without any choice are worth: exactly what was seen, and from network to network.
    pub fn baselines(&self) -> Vec<Point> {
        let exact = |address| Width::Endpoint(address);
        let network = |address: IpAddr| {
            let length = if address.is_ipv4() { 24 } else { 64 };
            if is_internal(address) { Width::Network(masked(address, length), 0) } else { EXTERNAL }
        };
        vec![
            self.point("exact tuples", None, &self.by(exact)),
            self.point("private /24 networks, one external group", None, &self.by(network)),
        ]
    }

    fn sweep(
        &self,
        method: &str,
        miner: &Miner,
        (prices, step): (usize, f64),
        rules_max: usize,
    ) -> Vec<(Point, RuleSet)> {
        let mut price = PRICE_FIRST;
        let mut points = Vec::new();
        for _ in 0..prices {
            if let Some(rules) = few_rules(miner, price, rules_max) {
                points.push((self.point(method, Some(price), &rules), rules));
            }
            price *= step;
        }
        points
    }

    fn point(&self, method: &str, price: Option<f64>, rules: &RuleSet) -> Point {
        let permitted = rules.permitted(&self.seen);
        let of = |part: usize, whole: usize| {
            share(u64::try_from(part).unwrap_or(u64::MAX), u64::try_from(whole).unwrap_or(u64::MAX))
        };
        let flows = self.flows.iter().filter(|(service, pair)| rules.permits(*service, *pair)).count();
        let in_universe =
            |pair: &(usize, usize)| self.seen.present.contains(pair.0) && self.seen.present.contains(pair.1);
        let ever = |(service, pairs): (&Service, &Vec<(usize, usize)>)| {
            pairs.iter().filter(|pair| in_universe(pair) && rules.permits(*service, **pair)).count()
        };
        let ever: usize = self.both.services.iter().map(ever).sum();
        Point {
            method: method.to_owned(),
            price,
            rules: rules.rules.len(),
            permitted: permitted.tuples,
            worth: rules.worth,
            over_permissiveness: permitted.over_permissiveness(),
            over_permissiveness_in_hindsight: if permitted.tuples == 0 {
                0.0
            } else {
                1.0 - of(ever, permitted.tuples)
            },
            training_tuples_covered: of(permitted.seen, self.seen.tuples()),
            tuples_covered: of(rules.covered(&self.later), self.later.tuples()),
            flows_covered: of(flows, self.flows.len()),
        }
    }

    /// Returns one rule for each pair of widths that was seen with a service.
    fn by(&self, width: impl Fn(IpAddr) -> Width) -> RuleSet {
        let mut rules: BTreeSet<(Service, Width, Width)> = BTreeSet::new();
        for (service, pairs) in &self.seen.services {
            let named = |number| self.addresses.address(number).map(&width);
            let sides = pairs
                .iter()
                .filter_map(|(source, destination)| Some((*service, named(*source)?, named(*destination)?)));
            rules.extend(sides);
        }
        let members = |of: Width| self.addresses.bits(|address| width(address) == of);
        let chosen = |(service, source, destination)| Chosen {
            service,
            source,
            destination,
            sources: members(source),
            destinations: members(destination),
        };
        RuleSet::new(rules.into_iter().map(chosen).collect())
    }
}

/// Everything outside of private networks.
const EXTERNAL: Width = Width::Area(crate::miner::width::Area::External);

/// Returns the rules at a price; where they are too many, those at the lowest price of a rule that makes them few enough.
fn few_rules(miner: &Miner, permitted: f64, rules_max: usize) -> Option<RuleSet> {
    let mut rule = RULE_PRICE;
    for _ in 0..TRIES_MAX {
        let rules = miner.rules(Prices { permitted, rule });
        if rules.rules.len() <= rules_max {
            return Some(rules);
        }
        rule *= DEARER;
    }
    None
}

impl Ground {
    /// Returns the rules at a bound of over-permissiveness, with what they are worth: of the points not above it the one
    /// that covers most of what was seen and of the futures of rehearsals; or those of the first point above it without
    /// the rules that cover least of what was seen for what they permit, if that leaves them covering more of it. All of
    /// this was known when the rules were made: the choice looks at nothing later.
    pub fn at_most(&self, points: &[(Point, RuleSet)], bound: f64) -> Option<(Point, RuleSet)> {
        let is_within = |point: &Point| point.over_permissiveness <= bound;
        let within = points.iter().filter(|(point, _)| is_within(point));
        let within = within.max_by(|(_, a), (_, b)| a.worth.total_cmp(&b.worth)).cloned();
        let above = points.iter().filter(|(point, _)| !is_within(point));
        let above = above.min_by(|(a, _), (b, _)| a.over_permissiveness.total_cmp(&b.over_permissiveness));
        let trimmed = above.map(|(above, rules)| {
            let rules = self.trimmed(rules.clone(), bound);
            (self.point("mined, trimmed to the bound", above.price, &rules), rules)
        });
        let covered = |(point, _): &(Point, RuleSet)| point.training_tuples_covered;
        within.into_iter().chain(trimmed).max_by(|a, b| covered(a).total_cmp(&covered(b)))
    }

    /// Returns the rules without those that cover least for what they permit, until the bound is kept.
    fn trimmed(&self, mut rules: RuleSet, bound: f64) -> RuleSet {
        let mut permitted = rules.permitted(&self.seen);
        while permitted.over_permissiveness() > bound {
            let without = |at: usize| {
                let mut rest = rules.clone();
                rest.rules.remove(at);
                let left = rest.permitted(&self.seen);
                let lost = permitted.seen - left.seen;
                let freed = (permitted.tuples - permitted.seen) - (left.tuples - left.seen);
                (
                    rest,
                    left,
                    share(u64::try_from(lost).unwrap_or(0), u64::try_from(freed).unwrap_or(0)),
                    freed,
                )
            };
            let all = (0..rules.rules.len()).map(without).filter(|(_, _, _, freed)| *freed > 0);
            let Some((rest, left, ..)) = all.min_by(|(_, _, a, _), (_, _, b, _)| a.total_cmp(b)) else {
                break;
            };
            (rules, permitted) = (rest, left);
        }
        rules
    }
}
