//! How like a group an endpoint behaves.
//!
//! Sums over the deeds of a group are kept once for each group; an endpoint is compared only with groups that share a deed
//! with it. That costs as many steps as there are deeds times the groups that do them, not endpoints times groups.

use super::Deed;
use crate::proportion::{real, share};
use std::collections::{BTreeMap, BTreeSet};

/// An endpoint with what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Groups it is in; built-in ones left out.
    pub groups: BTreeSet<u32>,
    /// What it does.
    pub deeds: BTreeSet<Deed>,
}

/// What it takes to be found like a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MembershipLimits {
    /// Members that were seen doing something: fewer are no pattern.
    pub members_min: usize,
    /// Deeds that an endpoint must share with most members.
    pub shared_min: usize,
    /// Least similarity, 0 to 1.
    pub similarity_min: f64,
    /// Share of the members that may be less like their group than the endpoint is: at least so many of them.
    pub members_below_min: f64,
    /// How much more like this group than like any other it must be.
    pub lead_min: f64,
}

impl Default for MembershipLimits {
    fn default() -> Self {
        Self { members_min: 3, shared_min: 2, similarity_min: 0.4, members_below_min: 0.1, lead_min: 1.5 }
    }
}

/// An endpoint that behaves like a group that it is not in.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness {
    /// Place of the endpoint in the list of actors.
    pub actor: usize,
    /// The group.
    pub group: u32,
    /// How like, 0 to 1.
    pub similarity: f64,
    /// Middle of how like the group its own members are, each against the others.
    pub members_similarity: f64,
    /// Members that were seen.
    pub members: usize,
    /// The group that it is like next, and how like.
    pub next: Option<(u32, f64)>,
    /// What it does that most members do, the most telling first.
    pub shared: Vec<Shared>,
    /// What most members do and it was not seen doing, the most telling first.
    pub missing: Vec<Shared>,
    /// How sure this is, 0 to 1.
    pub confidence: f64,
}

/// A deed with how many members do it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shared {
    /// The deed.
    pub deed: Deed,
    /// Members that do it.
    pub members: usize,
    /// How much it tells endpoints apart.
    pub weight: f64,
}

/// Share of the members who do a deed that is theirs.
const MOST: f64 = 0.5;
/// Share of members that two groups must have in common to count as one.
const SAME_GROUP: f64 = 0.5;

/// What the members of a group do.
#[derive(Debug, Default)]
struct Doings {
    members: BTreeSet<usize>,
    /// Members that do each deed.
    counts: BTreeMap<Deed, usize>,
    /// Sum over deeds of weight times members.
    total: f64,
}

/// Everything that is compared.
struct World<'a> {
    actors: &'a [Actor],
    weights: BTreeMap<Deed, f64>,
    /// Weight of all deeds of each actor.
    weight_of: Vec<f64>,
    groups: BTreeMap<u32, Doings>,
    /// Groups whose members do a deed.
    doers: BTreeMap<Deed, Vec<u32>>,
}

/// Returns every endpoint that behaves like a group that it is not in, the surest first.
pub fn likenesses(actors: &[Actor], limits: &MembershipLimits) -> Vec<Likeness> {
    let world = World::new(actors, limits);
    let own: BTreeMap<u32, Vec<f64>> =
        world.groups.iter().map(|(group, doings)| (*group, world.own(doings))).collect();
    let mut found: Vec<Likeness> =
        (0..actors.len()).filter_map(|actor| world.best(actor, limits, &own)).collect();
    found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then_with(|| a.actor.cmp(&b.actor)));
    found
}

impl<'a> World<'a> {
    fn new(actors: &'a [Actor], limits: &MembershipLimits) -> Self {
        let mut doing: BTreeMap<Deed, usize> = BTreeMap::new();
        for deed in actors.iter().flat_map(|actor| &actor.deeds) {
            *doing.entry(*deed).or_default() += 1;
        }
        let mut groups: BTreeMap<u32, Doings> = BTreeMap::new();
        for (number, actor) in actors.iter().enumerate().filter(|(_, actor)| !actor.deeds.is_empty()) {
            for group in &actor.groups {
                let doings = groups.entry(*group).or_default();
                doings.members.insert(number);
                actor.deeds.iter().for_each(|deed| *doings.counts.entry(*deed).or_default() += 1);
            }
        }
        groups.retain(|_, doings| doings.members.len() >= limits.members_min);
        let mut habits: BTreeMap<Deed, f64> = BTreeMap::new();
        for doings in groups.values() {
            for (deed, members) in &doings.counts {
                let habit = habits.entry(*deed).or_default();
                *habit = habit.max(share(whole(*members), whole(doings.members.len())));
            }
        }
        // Inverse document frequency, times habit. What one alone does weighs no more than what two do.
        let all = count(actors.len());
        let rarity = |doing: usize| ((all + 1.0) / (count(doing.max(2)) + 0.5)).ln().max(0.0);
        let weight = |(deed, doing)| (deed, rarity(doing) * habits.get(&deed).copied().unwrap_or(0.0));
        let weights: BTreeMap<Deed, f64> = doing.into_iter().map(weight).collect();
        let sum = |deeds: &BTreeSet<Deed>| -> f64 { deeds.iter().map(|deed| weights[deed]).sum() };
        let weight_of: Vec<f64> = actors.iter().map(|actor| sum(&actor.deeds)).collect();
        for doings in groups.values_mut() {
            doings.total = doings.members.iter().map(|member| weight_of[*member]).sum();
        }
        let mut doers: BTreeMap<Deed, Vec<u32>> = BTreeMap::new();
        for (group, doings) in &groups {
            doings.counts.keys().for_each(|deed| doers.entry(*deed).or_default().push(*group));
        }
        Self { actors, weights, weight_of, groups, doers }
    }

    /// Returns how like the group its own members are, each against the others, least first.
    fn own(&self, doings: &Doings) -> Vec<f64> {
        let mut own: Vec<f64> =
            doings.members.iter().map(|member| self.similarity(*member, doings)).collect();
        own.sort_by(f64::total_cmp);
        own
    }

    /// Returns how like a group an actor is; of a member, how like the others.
    fn similarity(&self, actor: usize, doings: &Doings) -> f64 {
        let is_member = doings.members.contains(&actor);
        let others = doings.members.len() - usize::from(is_member);
        if others == 0 {
            return 0.0;
        }
        let own_weight = self.weight_of[actor];
        let deeds = self.actors[actor].deeds.iter();
        let common: f64 = deeds
            .map(|deed| {
                let doing = doings.counts.get(deed).map_or(0, |doing| doing - usize::from(is_member));
                self.weights[deed] * count(doing)
            })
            .sum();
        let (common, others) = (common / count(others), count(others));
        let group_weight = (doings.total - if is_member { own_weight } else { 0.0 }) / others;
        let either = own_weight + group_weight - common;
        if either > 0.0 { common / either } else { 0.0 }
    }

    /// Returns the group that an actor is not in and is most like, if it is like it and like no other.
    fn best(
        &self,
        actor: usize,
        limits: &MembershipLimits,
        own: &BTreeMap<u32, Vec<f64>>,
    ) -> Option<Likeness> {
        let Actor { groups, deeds } = &self.actors[actor];
        let near: BTreeSet<u32> =
            deeds.iter().filter_map(|deed| self.doers.get(deed)).flatten().copied().collect();
        let mut ranked: Vec<(u32, f64)> =
            near.into_iter().map(|group| (group, self.similarity(actor, &self.groups[&group]))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let (group, similarity) = *ranked.iter().find(|(group, _)| !groups.contains(group))?;
        let doings = &self.groups[&group];
        let is_other = |(other, _): &&(u32, f64)| *other != group && !self.are_same(group, *other);
        let next = ranked.iter().find(is_other).copied().filter(|(_, similarity)| *similarity > 0.0);
        let own = &own[&group];
        let below = own.iter().filter(|member| **member <= similarity).count();
        let shared = self.theirs(doings, |deed| deeds.contains(deed));
        let is_like = similarity >= limits.similarity_min
            && share(whole(below), whole(own.len())) >= limits.members_below_min
            && shared.len() >= limits.shared_min
            && next.is_none_or(|(_, other)| similarity >= other * limits.lead_min);
        is_like.then(|| Likeness {
            actor,
            group,
            similarity,
            members_similarity: own[own.len() / 2],
            members: doings.members.len(),
            next,
            shared,
            missing: self.theirs(doings, |deed| !deeds.contains(deed)),
            confidence: confidence(similarity, next.map_or(0.0, |(_, other)| other), doings.members.len()),
        })
    }

    /// Returns the deeds that most members do and that fit, the most telling first.
    fn theirs(&self, doings: &Doings, fits: impl Fn(&Deed) -> bool) -> Vec<Shared> {
        let members = whole(doings.members.len());
        let most = |(deed, doing): &(&Deed, &usize)| share(whole(**doing), members) > MOST && fits(deed);
        let shared = |(deed, doing): (&Deed, &usize)| Shared {
            deed: *deed,
            members: *doing,
            weight: self.weights[deed],
        };
        let mut theirs: Vec<Shared> = doings.counts.iter().filter(most).map(shared).collect();
        theirs.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.deed.cmp(&b.deed)));
        theirs
    }

    /// Returns whether two groups have most of their members in common.
    fn are_same(&self, one: u32, other: u32) -> bool {
        let (one, other) = (&self.groups[&one].members, &self.groups[&other].members);
        let common = whole(one.intersection(other).count());
        share(common, whole(one.union(other).count())) > SAME_GROUP
    }
}

/// Returns how sure a likeness is: as like as it is, less where few members are known and where another group is near.
fn confidence(similarity: f64, other: f64, members: usize) -> f64 {
    let known = count(members) / (count(members) + 1.0);
    let lead = if similarity > 0.0 { 1.0 - (other / similarity).min(1.0) } else { 0.0 };
    similarity * known * f64::midpoint(1.0, lead)
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn count(number: usize) -> f64 {
    real(whole(number))
}
