//! What of late is like today, from window to window: the paces that a row is compared by.

use super::counts::{New, Related};
use super::entities::{Entities, Entity, Kind, of_kind};
use super::paces::Paces;
use crate::checkpoint::saved::saved;
use hashbrown::HashMap;

/// Windows of an hour of minutes.
const HOUR_WINDOWS: f64 = 60.0;
/// What keeps the mean of nothing from being divided by nothing.
const TREND_FLOOR: f64 = 0.001;

/// The paces of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pacing {
    /// `ln(1 + flows of the pair)`.
    pub(super) pair: f64,
    /// `ln(1 + rows of unknown sources into the destination)`.
    pub(super) visitors: f64,
    /// `ln(1 + rows of unknown pairs from the source into the destination's network)`.
    pub(super) sweep: f64,
    /// Mean surprise of the source's strangers.
    pub(super) trend: f64,
}

saved!(Pacing { pair, visitors, sweep, trend });

/// A row of a window, as far as paces go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) entities: Entities,
    pub(super) flows: u64,
    pub(super) new: New,
    pub(super) stranger_surprise: f64,
}

/// The streams.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pairs: Paces,
    visitors: Paces,
    sweeps: Paces,
    surprises: Paces,
    rows: Paces,
}

saved!(Streams { pairs, visitors, sweeps, surprises, rows });

impl Default for Streams {
    fn default() -> Self {
        let hour = || Paces::fading(HOUR_WINDOWS);
        let six_hours = || Paces::fading(6.0 * HOUR_WINDOWS);
        Self { pairs: hour(), visitors: hour(), sweeps: hour(), surprises: six_hours(), rows: six_hours() }
    }
}

impl Streams {
    /// Takes the rows of a window in and returns the paces of each. A trend is that of the windows before.
    pub(super) fn advance(&mut self, steps: &[Step], window: u64) -> Vec<Pacing> {
        let trend = |step: &Step| {
            let source = of_kind(&step.entities, Kind::Source);
            self.surprises.of(source, window) / (self.rows.of(source, window) + TREND_FLOOR)
        };
        let trends: Vec<f64> = steps.iter().map(trend).collect();
        let one = |is_so: bool| if is_so { 1.0 } else { 0.0 };
        let pairs = Sums::of(steps, Kind::Pair, |step| step.flows as f64).add(&mut self.pairs, window);
        let visitors = Sums::of(steps, Kind::Destination, |step| one(step.new.source));
        let visitors = visitors.add(&mut self.visitors, window);
        let sweeps = Sums::of(steps, Kind::Sweep, |step| one(step.new.pair)).add(&mut self.sweeps, window);
        Sums::of(steps, Kind::Source, |step| step.stranger_surprise).add(&mut self.surprises, window);
        Sums::of(steps, Kind::Source, |_| 1.0).add(&mut self.rows, window);
        let pacing = |(step, trend): (&Step, f64)| Pacing {
            pair: pairs[&of_kind(&step.entities, Kind::Pair)].ln_1p(),
            visitors: visitors[&of_kind(&step.entities, Kind::Destination)].ln_1p(),
            sweep: sweeps[&of_kind(&step.entities, Kind::Sweep)].ln_1p(),
            trend,
        };
        steps.iter().zip(trends).map(pacing).collect()
    }
}

/// Sums of one window, in order of the entities' first rows: the same rows give the same bits.
struct Sums {
    order: Vec<Entity>,
    sums: HashMap<Entity, f64>,
}

impl Sums {
    fn of(steps: &[Step], kind: Kind, amount: impl Fn(&Step) -> f64) -> Self {
        let (mut order, mut sums) = (Vec::new(), HashMap::new());
        for step in steps {
            let entity = of_kind(&step.entities, kind);
            let sum = sums.entry(entity).or_insert_with(|| {
                order.push(entity);
                0.0
            });
            *sum += amount(step);
        }
        Self { order, sums }
    }

    /// Adds the sums to the paces, and returns those.
    fn add(mut self, paces: &mut Paces, window: u64) -> HashMap<Entity, f64> {
        for entity in self.order {
            let Some(sum) = self.sums.get_mut(&entity) else { continue };
            let is_idle = *sum == 0.0;
            *sum = if is_idle { paces.of(entity, window) } else { paces.add(entity, *sum, window) };
        }
        self.sums
    }
}

impl Step {
    /// Returns the step of a row.
    pub(super) fn of(entities: Entities, flows: u64, related: Related<'_>) -> Self {
        let stranger_surprise = super::comparison::stranger_surprise(&entities, related);
        Self { entities, flows, new: related.novelty(&entities), stranger_surprise }
    }
}
