//! How wide a draft is: every pair of widths that its addresses speak for is weighed, the best becomes the draft, and the
//! others are shown beside it.
//!
//! The criterion is the miner's ([`crate::miner::worth`]): what a pair covers of what was seen, and of what rehearsals did
//! not know yet, less the price of what it permits and nobody used. Permitted tuples are counted over the addresses that are
//! known: endpoints, and whatever was seen. Two things are added, because the rules are for people:
//!
//! - An address that is listed costs what a rule does, since somebody has to read it and to keep it up to date; a network
//!   costs more, anybody most. A group of the policy costs nothing. So a draft is for groups unless hardly any of their
//!   members talk.
//! - What people made of a draft for the same service (an edited form that they accepted) is preferred to everything else.
//!
//! Only what the parties of the draft did speaks for a width. If what others did counted too, anybody would be the best
//! source for every busy server.

use super::DropReason;
use super::barring::Bars;
use super::desk::Desk;
use super::draft::{Cause, Draft};
use super::grounds::Grounds;
use super::placing;
use super::sides::{Recipe, Seen as SideSeen, recipes};
use super::weighing::{unseen_share, weigh};
use super::wording::{kind_of, proposal};
use crate::miner::bits::Bits;
use crate::miner::choice::Prices;
use crate::miner::rehearsal::{Rehearsal, rehearsals};
use crate::miner::seen::{Addresses, Seen};
use crate::miner::worth::{Scale, Sides, Worth};
use crate::miner::{RULE_PRICE, SEEN_WEIGHT};
use crate::proportion::share;
use meshgate_policy::limits::ALTERNATIVES_MAX;
use meshgate_policy::suggestion::Alternative;
use meshgate_policy::{GroupId, Prefix, Rule, RuleKind, SegmentId, Side};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What each listed address costs, in tuples that were seen.
const LISTED_PRICE: f64 = RULE_PRICE;
/// What each listed network costs: it is for whoever gets an address in it later, so four addresses are listed first.
const NETWORK_PRICE: f64 = 4.0 * LISTED_PRICE;
/// What anybody costs: more than any list, since that is for the whole world and not for the addresses that are known.
const ANYBODY_PRICE: f64 = 10.0;
/// What a group costs that has to be made: a name more that everybody has to know.
const MADE_PRICE: f64 = 1.0;
/// What a usual tuple costs that a deny would refuse: as much as covering one is worth in an allow, five times over.
const REFUSED_PRICE: f64 = 5.0 * SEEN_WEIGHT;
/// What half a likeness to what people prefer is worth: more than anything that is counted.
const PREFERRED_WORTH: f64 = 1e9;
/// Pairs of widths that are tried until the policy has a place for one.
const PLACED_MAX: usize = 8;

/// One width of a side.
struct SideWidth {
    side: Side,
    bits: Bits,
    /// The same in each rehearsal.
    then: Vec<Bits>,
}

/// A pair of widths.
struct Candidate {
    rule: Rule,
    worth: Worth,
    /// What it is chosen by.
    value: f64,
}

/// Gives the draft its width and its alternatives, or says why there is none that may be drafted. One whose addresses are
/// not known keeps the width of its groups.
pub(super) fn choose_width(desk: &Desk<'_>, bars: &Bars, draft: &mut Draft<'_>) -> Result<(), DropReason> {
    let grounds = Grounds::of(desk.input.profile.pairs(), draft.cause);
    if !grounds.is_known() {
        return bars.width_fault(desk, &draft.rule, &grounds).map_or(Ok(()), Err);
    }
    let mut candidates = candidates(desk, bars, draft, &grounds);
    candidates.retain(|candidate| bars.width_fault(desk, &candidate.rule, &grounds).is_none());
    let mut fault = DropReason::Repeated;
    for at in 0..candidates.len().min(PLACED_MAX) {
        let tried = Draft { rule: candidates[at].rule.clone(), ..draft.clone() };
        match placing::policy_conflicts(desk, tried) {
            Ok(placed) => {
                *draft = placed;
                let chosen = candidates.remove(at);
                draft.effect = desk.effect(&draft.rule, draft.cause);
                weigh(desk, draft);
                if draft.rule.action.is_allow() {
                    draft.over_permissiveness = unseen_share(desk, &draft.rule, &grounds);
                }
                let same = |other: &Candidate| {
                    other.rule.source == chosen.rule.source
                        && other.rule.destination == chosen.rule.destination
                };
                candidates.retain(|other| !same(other));
                draft.alternatives = alternatives(desk, draft, &grounds, candidates);
                return Ok(());
            }
            Err(reason) => fault = reason,
        }
    }
    Err(fault)
}

/// Returns the best of what is left, narrow to wide: first those that differ in one side, so that each width of either side
/// has its place.
fn alternatives(
    desk: &Desk<'_>,
    draft: &Draft<'_>,
    grounds: &Grounds,
    mut candidates: Vec<Candidate>,
) -> Vec<Alternative> {
    let Rule { source, destination, .. } = &draft.rule;
    candidates.sort_by_key(|other| other.rule.source != *source && other.rule.destination != *destination);
    let mut best: Vec<Candidate> = candidates.into_iter().take(ALTERNATIVES_MAX).collect();
    best.sort_by_key(|candidate| candidate.worth.permitted);
    let tuples = u64::try_from(grounds.all.len()).unwrap_or(u64::MAX);
    let alternative = |candidate: Candidate| {
        let rule = Rule { priority: draft.rule.priority, ..candidate.rule };
        Some(Alternative {
            proposal: proposal(desk, draft, &rule)?,
            over_permissiveness: unseen_share(desk, &rule, grounds),
            coverage: share(covered(desk, &rule, grounds), tuples),
        })
    };
    best.into_iter().filter_map(alternative).collect()
}

/// Returns how many of the tuples of anybody that were seen a rule covers.
pub(super) fn covered(desk: &Desk<'_>, rule: &Rule, grounds: &Grounds) -> u64 {
    let segment = SegmentId(grounds.key.segment);
    let sources: Vec<IpAddr> = grounds.all.iter().map(|used| used.source).collect();
    let destinations: Vec<IpAddr> = grounds.all.iter().map(|used| used.destination).collect();
    let from = desk.extents.held(&rule.source, segment, &sources);
    let to = desk.extents.held(&rule.destination, segment, &destinations);
    u64::try_from(from.into_iter().zip(to).filter(|(from, to)| *from && *to).count()).unwrap_or(u64::MAX)
}

/// Returns all pairs of widths, the best first.
fn candidates(desk: &Desk<'_>, bars: &Bars, draft: &Draft<'_>, grounds: &Grounds) -> Vec<Candidate> {
    let addresses = Arc::new(Addresses::listed(desk.known_addresses(grounds)));
    let mut seen = Seen::new(&addresses, grounds.own.iter().map(|(_, used)| used));
    seen.present = addresses.bits(|_| true);
    // What was unusual is of one window: there is nothing to rehearse.
    let acts = match draft.cause {
        Cause::Steady(_) => rehearsals(&addresses, &grounds.own),
        Cause::Anomaly(_) => Vec::new(),
    };
    let sources = side_widths(desk, grounds, (&addresses, &acts), true);
    let destinations = side_widths(desk, grounds, (&addresses, &acts), false);
    let prices = Prices { permitted: desk.input.settings.permitted_price, rule: RULE_PRICE };
    let scale =
        Scale { seen: &seen, acts: &acts, services: &grounds.services, seen_weight: SEEN_WEIGHT, prices };
    let mut candidates = Vec::new();
    for source in &sources {
        for destination in &destinations {
            let sides = Sides {
                all: (source.bits.clone(), destination.bits.clone()),
                then: source.then.iter().cloned().zip(destination.then.iter().cloned()).collect(),
            };
            let rule = Rule {
                kind: kind_of(&source.side, &destination.side),
                source: source.side.clone(),
                destination: destination.side.clone(),
                ..draft.rule.clone()
            };
            if rule.source == rule.destination
                && matches!(rule.source, Side::Group(group) if group.is_built_in())
            {
                continue;
            }
            let worth = scale.weigh(&sides);
            let value = worth.value - costs(desk, draft, grounds, &rule) + liking(desk, bars, grounds, &rule);
            candidates.push(Candidate { rule, worth, value });
        }
    }
    candidates.sort_by(|a, b| {
        let narrow_first = || a.worth.permitted.cmp(&b.worth.permitted);
        b.value.total_cmp(&a.value).then_with(narrow_first)
    });
    candidates
}

/// Returns what a rule costs besides what the miner counts.
fn costs(desk: &Desk<'_>, draft: &Draft<'_>, grounds: &Grounds, rule: &Rule) -> f64 {
    let side = |side: &Side| match side {
        Side::Group(GroupId::ANY) => ANYBODY_PRICE,
        Side::Group(_) => 0.0,
        Side::Prefixes(prefixes) => prefixes.iter().map(listed_price).sum(),
    };
    let is_made = matches!(rule.source, Side::Prefixes(_)) && rule.kind == RuleKind::Relationship;
    let made = if is_made { 2.0 * MADE_PRICE } else { 0.0 };
    let listed = side(&rule.source) + side(&rule.destination) + made;
    match draft.cause {
        Cause::Steady(_) => listed,
        Cause::Anomaly(_) => listed + REFUSED_PRICE * crate::proportion::real(covered(desk, rule, grounds)),
    }
}

fn listed_price(prefix: &Prefix) -> f64 {
    if *prefix == Prefix::host(prefix.address()) { LISTED_PRICE } else { NETWORK_PRICE }
}

/// Returns how much a rule is like what people made of drafts for the same service. The newest one that says anything counts.
fn liking(desk: &Desk<'_>, bars: &Bars, grounds: &Grounds, rule: &Rule) -> f64 {
    let key = &grounds.key;
    for preferred in bars.preferred(rule) {
        let to_same = desk.holds_party(&preferred.destination, key.destination, &grounds.destinations);
        let from_same = desk.holds_party(&preferred.source, key.source, &grounds.sources);
        let (is_source, is_destination) = (
            is_like(&preferred.source, &rule.source, from_same),
            is_like(&preferred.destination, &rule.destination, to_same),
        );
        if to_same || from_same {
            let halves = u8::from(is_source) + u8::from(is_destination);
            return PREFERRED_WORTH * f64::from(halves);
        }
    }
    0.0
}

/// Returns whether a side is what was preferred: the very same where that fits, else one of the same kind.
fn is_like(preferred: &Side, side: &Side, fits: bool) -> bool {
    let is_hosts =
        |prefixes: &[Prefix]| prefixes.iter().all(|prefix| *prefix == Prefix::host(prefix.address()));
    match (preferred, side) {
        _ if fits => preferred == side,
        (Side::Group(preferred), Side::Group(group)) => {
            preferred == group || !(preferred.is_built_in() || group.is_built_in())
        }
        (Side::Prefixes(preferred), Side::Prefixes(prefixes)) => {
            let lengths = |prefixes: &[Prefix]| prefixes.iter().map(|prefix| prefix.length()).min();
            is_hosts(preferred) == is_hosts(prefixes)
                && (is_hosts(preferred) || lengths(preferred) == lengths(prefixes))
        }
        _ => false,
    }
}

/// Returns every width of a side, each once.
fn side_widths(
    desk: &Desk<'_>,
    grounds: &Grounds,
    (addresses, acts): (&Arc<Addresses>, &[Rehearsal]),
    is_source: bool,
) -> Vec<SideWidth> {
    let party = if is_source { grounds.key.source } else { grounds.key.destination };
    let segment = SegmentId(grounds.key.segment);
    let [users, servers] = grounds.roles(&grounds.sources, &grounds.destinations);
    let (own, role) = if is_source { (&grounds.sources, &users) } else { (&grounds.destinations, &servers) };
    let bits = |side: &Side| {
        let held = desk.extents.held(side, segment, addresses.all());
        Bits::where_true(addresses.len(), |number| held.get(number).copied().unwrap_or(false))
    };
    let mut widths: Vec<SideWidth> = Vec::new();
    for recipe in recipes(desk, party) {
        let Some(side) = recipe.side(&SideSeen { own, role }) else { continue };
        let all = bits(&side);
        if all.is_empty() || widths.iter().any(|known| known.side == side) {
            continue;
        }
        let then = |act: &Rehearsal| {
            let own = own_then(act, is_source);
            let side = match recipe {
                Recipe::Group(_) | Recipe::Anybody => return all.clone(),
                // Who shares a partner was not looked at then; who was seen himself belonged in any case.
                Recipe::Role => Recipe::Endpoints.side(&SideSeen { own: &own, role: &own }),
                recipe => recipe.side(&SideSeen { own: &own, role: &own }),
            };
            side.map_or_else(|| Bits::none(addresses.len()), |side| bits(&side))
        };
        let then = acts.iter().map(then).collect();
        widths.push(SideWidth { side, bits: all, then });
    }
    widths
}

/// Returns the addresses of a side in the history of a rehearsal.
fn own_then(act: &Rehearsal, is_source: bool) -> BTreeSet<IpAddr> {
    let pairs = act.history.services.values().flatten();
    let numbers = pairs.map(|(source, destination)| if is_source { *source } else { *destination });
    numbers.filter_map(|number| act.history.addresses.address(number)).collect()
}
