//! Worlds in which the right answer is known: endpoints of some roles, each group one role, and some taken out of theirs.

use super::{Actor, Deed, Part};
use meshgate_policy::generate::Rng;
use std::collections::BTreeMap;

/// How a world is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// Roles, one group each.
    pub(crate) roles: u32,
    /// Members of a group, at least and at most.
    pub(crate) members: [u32; 2],
    /// In how many of a hundred cases a member does a deed of its role.
    pub(crate) habit_percent: u64,
    /// Deeds of no role that everybody does, at most.
    pub(crate) noise_max: u64,
    /// Endpoints that belong nowhere and do deeds at random.
    pub(crate) strangers: u32,
    /// Groups of which one member was left out.
    pub(crate) hidden: u32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { roles: 8, members: [4, 12], habit_percent: 90, noise_max: 3, strangers: 10, hidden: 5 }
    }
}

/// A world.
pub(crate) struct World {
    pub(crate) actors: Vec<Actor>,
    /// Which actor belongs into which group, of those that are in none of their role.
    pub(crate) hidden: BTreeMap<usize, u32>,
}

/// Services that roles are about, with those that all use.
const PORTS: [u16; 24] = [
    22, 25, 80, 110, 143, 389, 443, 445, 636, 873, 993, 1433, 1521, 2049, 3306, 3389, 5432, 5672, 6379, 8080,
    8443, 9092, 9200, 11211,
];
/// What everybody uses.
const COMMON: [u16; 2] = [53, 123];

/// Returns a world.
pub(crate) fn world(seed: u64, recipe: &Recipe) -> World {
    let mut random = Rng::new(seed);
    let roles: Vec<Vec<Deed>> =
        (0..recipe.roles).map(|role| deeds_of_role(&mut random, role, recipe)).collect();
    let mut actors = Vec::new();
    let mut hidden = BTreeMap::new();
    for (role, deeds) in (0..).zip(&roles) {
        let members = between(&mut random, recipe.members);
        // One more than the group has where one is left out of it.
        for member in 0..members + u32::from(role < recipe.hidden) {
            let is_hidden = role < recipe.hidden && member == members;
            let mut actor = Actor::default();
            actor.deeds.extend(deeds.iter().filter(|_| random.chance(recipe.habit_percent)));
            everybodys(&mut random, &mut actor, recipe);
            if is_hidden {
                hidden.insert(actors.len(), role);
                // A group across roles, which says nothing.
                actor.groups.insert(recipe.roles + 1);
            } else {
                actor.groups.extend([role, recipe.roles + u32::from(member % 2 == 0)]);
            }
            actors.push(actor);
        }
    }
    for _ in 0..recipe.strangers {
        let mut actor = Actor::default();
        for _ in 0..between(&mut random, [2, 7]) {
            actor.deeds.extend(deed(&mut random, recipe.roles));
        }
        everybodys(&mut random, &mut actor, recipe);
        actors.push(actor);
    }
    World { actors, hidden }
}

/// Returns a random deed, with its peer and with anybody.
fn deed(random: &mut Rng, groups: u32) -> [Deed; 2] {
    let part = random.one_of([Part::Uses, Part::Serves]);
    Deed::of(part, 6, random.one_of(PORTS), below(random, groups))
}

fn deeds_of_role(random: &mut Rng, role: u32, recipe: &Recipe) -> Vec<Deed> {
    let mut deeds = Vec::new();
    // A role serves one service, to three groups at most, and uses some of others.
    let own = PORTS[usize::try_from(role).unwrap() % PORTS.len()];
    for _ in 0..between(random, [1, 3]) {
        deeds.extend(Deed::of(Part::Serves, 6, own, below(random, recipe.roles)));
    }
    for _ in 0..between(random, [1, 3]) {
        let peer = below(random, recipe.roles);
        deeds.extend(Deed::of(Part::Uses, 6, PORTS[usize::try_from(peer).unwrap() % PORTS.len()], peer));
    }
    deeds.sort_unstable();
    deeds.dedup();
    deeds
}

fn everybodys(random: &mut Rng, actor: &mut Actor, recipe: &Recipe) {
    COMMON.iter().for_each(|port| actor.deeds.extend(Deed::of(Part::Uses, 17, *port, recipe.roles)));
    for _ in 0..random.below(recipe.noise_max + 1) {
        actor.deeds.extend(deed(random, recipe.roles));
    }
}

fn below(random: &mut Rng, bound: u32) -> u32 {
    u32::try_from(random.below(bound.into())).unwrap()
}

fn between(random: &mut Rng, [least, most]: [u32; 2]) -> u32 {
    least + below(random, most - least + 1)
}
