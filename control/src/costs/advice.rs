//! Which traffic between zones costs most.
//!
//! A byte is in exactly one [`ZoneSum`] and there in one direction, so every total here counts it once: over group *sets*,
//! which are disjoint, and never over pairs of single groups, which overlap.

use super::sentence::{Spoken, sentence};
use super::{CostTable, Zone, Zones};
use crate::flow_book::ZoneSum;
use crate::policy_book::PolicyBook;
use crate::words::side_in_words;
use meshgate_policy::{GroupId, Policy, Rule, RuleId, RuleKind};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Pairs of group sets that one line names.
const PAIRS_NAMED_MAX: usize = 3;

/// What is asked, and what answers it beside the sums.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Prices.
    pub table: &'a CostTable,
    /// The newest version: names of rules and groups, and who is a member.
    pub book: &'a PolicyBook,
    /// Zones of its endpoints.
    pub zones: &'a Zones,
    /// Days that the sums are of.
    pub days: u32,
    /// Lines at most.
    pub top: usize,
}

/// What costs most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The dearest first; behind them those without a price, the largest first.
    pub lines: Vec<Line>,
    /// Lines beyond those.
    pub left_out: usize,
    /// Of everything.
    pub totals: Totals,
}

/// What one carrier brought from one zone to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The rule; 0 = none.
    pub rule: u32,
    /// The rule in words, or the groups.
    pub carrier: String,
    /// Where the bytes came from.
    pub from: Zone,
    /// Where they went.
    pub to: Zone,
    /// How many.
    pub bytes: u64,
    /// What they cost, in millionths of the currency; none without a price.
    pub cost_millionths: Option<u64>,
    /// What the same carrier brought within zones.
    pub bytes_within: u64,
    /// Which group sets, the largest first.
    pub pairs: Vec<Pair>,
    /// Pairs beyond those.
    pub pairs_left_out: usize,
    /// One sentence.
    pub advice: String,
}

/// Bytes of one pair of group sets. Of a pair of sets, the source is the side that began the flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Names of all groups of the source.
    pub source: Vec<String>,
    /// Names of all groups of the destination.
    pub destination: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// Every byte once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All.
    pub bytes: u64,
    /// Both ends in one zone.
    pub bytes_within: u64,
    /// The ends in two zones.
    pub bytes_between: u64,
    /// The zone of one end or both is unknown.
    pub bytes_unknown: u64,
    /// Part of those between zones that has no price.
    pub bytes_unpriced: u64,
    /// What the others cost, in millionths of the currency: the sum over all lines.
    pub cost_millionths: u64,
}

/// What carries traffic: a rule, or where none decided the group sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Carrier {
    Rule(u32),
    Sets(Vec<GroupId>, Vec<GroupId>),
}

type Sets = (Vec<GroupId>, Vec<GroupId>);
type Route = (Carrier, Zone, Zone);

/// What went one way.
#[derive(Debug, Default)]
struct Load {
    bytes: u64,
    pairs: BTreeMap<Sets, u64>,
}

impl Advice {
    /// Returns the advice for what was carried.
    pub fn of(sums: &[ZoneSum], question: Question<'_>) -> Self {
        let mut loads: BTreeMap<Route, Load> = BTreeMap::new();
        for sum in sums {
            let (source, destination) = (&sum.key.source_zone, &sum.key.destination_zone);
            let ways = [(source, destination, sum.bytes_forward), (destination, source, sum.bytes_reverse)];
            for (from, to, bytes) in ways.into_iter().filter(|(_, _, bytes)| *bytes > 0) {
                let load = loads.entry((carrier(sum), from.clone(), to.clone())).or_default();
                load.bytes = load.bytes.saturating_add(bytes);
                let sets = (sum.key.source_groups.clone(), sum.key.destination_groups.clone());
                let pair = load.pairs.entry(sets).or_default();
                *pair = pair.saturating_add(bytes);
            }
        }
        let within = within(&loads);
        let mut totals = Totals::default();
        let mut worth = Vec::new();
        for (route, load) in &loads {
            let price = totals.add(route, load, question.table);
            let (_, from, to) = route;
            let is_between = from.is_known() && to.is_known() && from != to;
            if is_between || price.is_some_and(|cost| cost > 0) {
                worth.push((route, load, price));
            }
        }
        worth.sort_by_key(|(route, load, cost)| (Reverse(*cost), Reverse(load.bytes), *route));
        let left_out = worth.len().saturating_sub(question.top);
        let lines = worth.into_iter().take(question.top).map(|(route, load, cost)| {
            line(question, (route, load), cost, within.get(&route.0).copied().unwrap_or(0))
        });
        Self { lines: lines.collect(), left_out, totals }
    }
}

impl Totals {
    /// Adds what went one way. Returns what it cost, if that is known.
    fn add(&mut self, (_, from, to): &Route, load: &Load, table: &CostTable) -> Option<u64> {
        self.bytes = self.bytes.saturating_add(load.bytes);
        let cost = table.price(from, to).map(|price| price.of(load.bytes));
        let part = if !from.is_known() || !to.is_known() {
            &mut self.bytes_unknown
        } else if from == to {
            &mut self.bytes_within
        } else {
            if cost.is_none() {
                self.bytes_unpriced = self.bytes_unpriced.saturating_add(load.bytes);
            }
            &mut self.bytes_between
        };
        *part = part.saturating_add(load.bytes);
        self.cost_millionths = self.cost_millionths.saturating_add(cost.unwrap_or(0));
        cost
    }
}

fn carrier(sum: &ZoneSum) -> Carrier {
    match sum.key.rule {
        0 => Carrier::Sets(sum.key.source_groups.clone(), sum.key.destination_groups.clone()),
        rule => Carrier::Rule(rule),
    }
}

/// Returns what each carrier brought within zones.
fn within(loads: &BTreeMap<Route, Load>) -> BTreeMap<&Carrier, u64> {
    let mut within: BTreeMap<&Carrier, u64> = BTreeMap::new();
    for ((carrier, from, to), load) in loads {
        if from.is_known() && from == to {
            let bytes = within.entry(carrier).or_default();
            *bytes = bytes.saturating_add(load.bytes);
        }
    }
    within
}

fn line(
    question: Question<'_>,
    (route, load): (&Route, &Load),
    cost_millionths: Option<u64>,
    bytes_within: u64,
) -> Line {
    let (carrier, from, to) = route;
    let policy = question.book.policy();
    let names = |groups: &[GroupId]| groups.iter().map(|group| policy.group_name(*group)).collect();
    let mut pairs: Vec<(&Sets, u64)> = load.pairs.iter().map(|(sets, bytes)| (sets, *bytes)).collect();
    pairs.sort_by_key(|(sets, bytes)| (Reverse(*bytes), *sets));
    let pairs_left_out = pairs.len().saturating_sub(PAIRS_NAMED_MAX);
    let pair = |(sets, bytes): &(&Sets, u64)| Pair {
        source: names(&sets.0),
        destination: names(&sets.1),
        bytes: *bytes,
    };
    let rule = match carrier {
        Carrier::Rule(rule) => *rule,
        Carrier::Sets(..) => 0,
    };
    let found = policy.rules.iter().find(|found| found.id == RuleId(rule));
    let sides = match (found, carrier) {
        (Some(rule), _) => Some((groups_of(&rule.source), groups_of(&rule.destination))),
        (None, Carrier::Sets(source, destination)) => Some((source.clone(), destination.clone())),
        (None, Carrier::Rule(_)) => None,
    };
    let words = carrier_in_words(policy, carrier, found);
    let spoken = Spoken {
        carrier: &words,
        from,
        to,
        bytes: load.bytes,
        cost_millionths,
        bytes_within,
        sides: sides.as_ref().map(|(source, destination)| (source.as_slice(), destination.as_slice())),
    };
    let advice = sentence(question, &spoken);
    let pairs = pairs.iter().take(PAIRS_NAMED_MAX).map(pair).collect();
    let (from, to, bytes) = (from.clone(), to.clone(), load.bytes);
    Line {
        rule,
        carrier: words,
        from,
        to,
        bytes,
        cost_millionths,
        bytes_within,
        pairs,
        pairs_left_out,
        advice,
    }
}

/// Returns the group of a side of a rule; none for prefixes.
fn groups_of(side: &meshgate_policy::Side) -> Vec<GroupId> {
    match side {
        meshgate_policy::Side::Group(group) => vec![*group],
        meshgate_policy::Side::Prefixes(_) => Vec::new(),
    }
}

fn carrier_in_words(policy: &Policy, carrier: &Carrier, found: Option<&Rule>) -> String {
    match (carrier, found) {
        (Carrier::Rule(_), Some(Rule { id, kind, source, destination, l4, .. })) => {
            let kind = match kind {
                RuleKind::Relationship => "relationship",
                RuleKind::GroupRule => "rule",
            };
            let (source, destination) = (side_in_words(policy, source), side_in_words(policy, destination));
            format!("{source} -> {destination} {l4} ({kind} {})", id.0)
        }
        (Carrier::Rule(rule), None) => format!("rule {rule}, which is not in force any more,"),
        (Carrier::Sets(source, destination), _) => {
            let names = |groups: &[GroupId]| match groups {
                [] => "no group".to_owned(),
                _ => groups.iter().map(|group| policy.group_name(*group)).collect::<Vec<_>>().join(" + "),
            };
            format!("{} -> {} (no rule)", names(source), names(destination))
        }
    }
}
