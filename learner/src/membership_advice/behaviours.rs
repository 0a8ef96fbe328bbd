//! What endpoints were seen doing, kept within bounds.

use super::Deed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Endpoints whose behaviour is remembered. With 64 deeds each of some 50 bytes this is 13 MB, and more would take longer to
/// compare than a window lasts.
pub const ACTORS_MAX: usize = 1 << 12;
/// Deeds of one endpoint that are remembered: a scanner does thousands, and they say nothing of it.
pub const DEEDS_PER_ACTOR_MAX: usize = 64;
/// Part of the endpoints that makes room at once where there is none.
const EVICTED_PART: usize = 8;

/// How often something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Windows.
    pub windows: u64,
    /// End of the last of them, seconds since 1970.
    pub last_s: u64,
}

/// What one endpoint does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behaviour {
    /// When it was first seen, seconds since 1970.
    first_s: u64,
    last_s: u64,
    deeds: Vec<(Deed, Tally)>,
    /// Deeds that found no room.
    left_out: u64,
}

/// What endpoints do, by their number in the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviours {
    actors: BTreeMap<u32, Behaviour>,
    /// Endpoints that were forgotten for want of room.
    evicted: u64,
}

/// What a checkpoint keeps. Peers mean something only together with the parties of the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehavioursState {
    actors: Vec<(u32, Behaviour)>,
    evicted: u64,
}

impl Behaviours {
    /// Takes note that an endpoint was seen doing something in a window that ended at `end_s`. Several flows of one window
    /// are one sight.
    pub fn note(&mut self, endpoint: u32, deed: Deed, end_s: u64) {
        if self.actors.len() >= ACTORS_MAX && !self.actors.contains_key(&endpoint) {
            self.evict();
        }
        let fresh = || Behaviour { first_s: end_s, ..Behaviour::default() };
        let behaviour = self.actors.entry(endpoint).or_insert_with(fresh);
        behaviour.last_s = behaviour.last_s.max(end_s);
        match behaviour.deeds.binary_search_by_key(&deed, |(known, _)| *known) {
            Ok(at) => {
                let (_, tally) = &mut behaviour.deeds[at];
                tally.windows += u64::from(tally.last_s < end_s);
                tally.last_s = tally.last_s.max(end_s);
            }
            Err(at) if behaviour.deeds.len() < DEEDS_PER_ACTOR_MAX => {
                behaviour.deeds.insert(at, (deed, Tally { windows: 1, last_s: end_s }));
            }
            Err(_) => behaviour.left_out = behaviour.left_out.saturating_add(1),
        }
    }

    /// Forgets deeds that were not seen since `since_s`, and endpoints that have none.
    pub fn forget(&mut self, since_s: u64) {
        for behaviour in self.actors.values_mut() {
            behaviour.deeds.retain(|(_, tally)| tally.last_s >= since_s);
        }
        self.actors.retain(|_, behaviour| !behaviour.deeds.is_empty());
    }

    /// Returns the deeds that an endpoint was seen doing in so many windows, with how often.
    pub fn deeds(&self, endpoint: u32, windows_min: u64) -> impl Iterator<Item = (Deed, Tally)> {
        let deeds = self.actors.get(&endpoint).map(|behaviour| behaviour.deeds.as_slice());
        deeds.unwrap_or_default().iter().copied().filter(move |(_, tally)| tally.windows >= windows_min)
    }

    /// Returns since when an endpoint is watched and when it was last seen, seconds since 1970.
    pub fn span_s(&self, endpoint: u32) -> Option<(u64, u64)> {
        self.actors.get(&endpoint).map(|behaviour| (behaviour.first_s, behaviour.last_s))
    }

    /// Returns the numbers of the endpoints that are remembered, in order.
    pub fn endpoints(&self) -> impl Iterator<Item = u32> {
        self.actors.keys().copied()
    }

    /// Returns how many endpoints are remembered.
    pub fn len(&self) -> usize {
        self.actors.len()
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.actors.is_empty()
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> BehavioursState {
        let actors = self.actors.iter().map(|(endpoint, behaviour)| (*endpoint, behaviour.clone())).collect();
        BehavioursState { actors, evicted: self.evicted }
    }

    /// Returns what a checkpoint kept, cut to the bounds of this program.
    pub fn restore(state: BehavioursState) -> Self {
        let BehavioursState { actors, evicted } = state;
        let cut = |(endpoint, mut behaviour): (u32, Behaviour)| {
            behaviour.deeds.truncate(DEEDS_PER_ACTOR_MAX);
            behaviour.deeds.sort_unstable_by_key(|(deed, _)| *deed);
            behaviour.deeds.dedup_by_key(|(deed, _)| *deed);
            (endpoint, behaviour)
        };
        Self { actors: actors.into_iter().take(ACTORS_MAX).map(cut).collect(), evicted }
    }

    /// Forgets the endpoints that were seen least recently.
    fn evict(&mut self) {
        let mut ages: Vec<(u64, u32)> =
            self.actors.iter().map(|(endpoint, behaviour)| (behaviour.last_s, *endpoint)).collect();
        let part = (ages.len() / EVICTED_PART).max(1);
        ages.sort_unstable();
        for (_, endpoint) in ages.into_iter().take(part) {
            self.actors.remove(&endpoint);
            self.evicted = self.evicted.saturating_add(1);
        }
    }
}
