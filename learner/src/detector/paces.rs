//! How much of something there was of late: sums that fade.

use super::entities::Entity;
use crate::checkpoint::saved::saved;
use crate::recent::Recent;

/// Entities that are followed, 3 MB. One that is forgotten begins anew.
const FOLLOWED_MAX: usize = 65_536;

/// The sum of an entity, as of the last window it was seen in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pace {
    sum: f64,
    window: u64,
}

saved!(Pace { sum, window });

/// The paces of entities of one kind.
#[derive(Clone, Debug)]
pub(super) struct Paces {
    /// Windows after which something counts half.
    half_windows: f64,
    followed: Recent<Entity, Pace>,
}

saved!(Paces { half_windows, followed } if is_sound);

impl Paces {
    /// Returns paces of nothing, in which something counts half after so many windows.
    pub(super) fn fading(half_windows: f64) -> Self {
        Self { half_windows, followed: Recent::new(FOLLOWED_MAX) }
    }

    fn is_sound(&self) -> bool {
        self.half_windows.is_finite() && self.half_windows > 0.0
    }

    /// Returns the sum of an entity.
    pub(super) fn of(&self, entity: Entity, window: u64) -> f64 {
        self.followed.get(&entity).map_or(0.0, |pace| self.faded(pace, window))
    }

    /// Adds to an entity, and returns its sum.
    pub(super) fn add(&mut self, entity: Entity, amount: f64, window: u64) -> f64 {
        let sum = self.of(entity, window) + amount;
        if let Some(pace) = self.followed.entry(entity, window, Pace::default) {
            *pace = Pace { sum, window };
        }
        sum
    }

    fn faded(&self, pace: &Pace, window: u64) -> f64 {
        pace.sum * (-(window.saturating_sub(pace.window) as f64) / self.half_windows).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::PartyId;

    #[test]
    fn a_sum_is_half_after_its_half_life_and_goes_on_from_there() {
        let mut paces = Paces::fading(60.0);
        let source = Entity::source(PartyId(3));
        assert!((paces.add(source, 8.0, 100) - 8.0).abs() < 1e-12);
        assert!((paces.of(source, 160) - 4.0).abs() < 1e-12);
        assert!((paces.add(source, 1.0, 220) - 3.0).abs() < 1e-12);
        assert!((paces.of(Entity::source(PartyId(4)), 220)).abs() < 1e-12);
    }
}
