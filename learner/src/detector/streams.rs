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
        let new = related.novelty(&entities);
        let stranger_surprise = super::comparison::stranger_surprise(&entities, new, related);
        Self { entities, flows, new, stranger_surprise }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entities::entities;
    use super::*;
    use crate::series::{Parties, PartyId, SeriesKey};

    /// A row of these parties.
    fn step(source: u32, destination: u32, flows: u64, new: New, stranger_surprise: f64) -> Step {
        let (source, destination) = (PartyId(source), PartyId(destination));
        let key = SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 };
        Step { entities: entities(&key, &Parties::default()), flows, new, stranger_surprise }
    }

    const KNOWN: New = New { source: false, destination: false, pair: false, series: false };
    const STRANGER: New = New { source: true, destination: false, pair: true, series: true };

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn rows_of_a_pair_count_together_and_half_after_an_hour() {
        let mut streams = Streams::default();
        let pacing = streams.advance(&[step(1, 2, 10, KNOWN, 0.0), step(1, 2, 20, KNOWN, 0.0)], 0);
        assert!(pacing.iter().all(|pacing| is_near(pacing.pair, 31_f64.ln())), "{pacing:?}");
        let later = streams.advance(&[step(1, 2, 5, KNOWN, 0.0), step(2, 1, 5, KNOWN, 0.0)], 60);
        assert!(
            is_near(later[0].pair, 21_f64.ln()) && is_near(later[1].pair, 6_f64.ln()),
            "the way back is another pair"
        );
    }

    #[test]
    fn only_unknown_sources_are_visitors_and_all_of_them_together() {
        let mut streams = Streams::default();
        let steps: Vec<Step> = (10..15).map(|source| step(source, 2, 1, STRANGER, 0.0)).collect();
        let visited = streams.advance(&steps, 0);
        assert!(visited.iter().all(|pacing| is_near(pacing.visitors, 6_f64.ln())), "{visited:?}");
        // Who is known is told of the others, and is none.
        let known = streams.advance(&[step(1, 2, 1, KNOWN, 0.0)], 0)[0];
        assert!(is_near(known.visitors, 6_f64.ln()) && is_near(known.sweep, 0.0));
        assert!(is_near(streams.advance(&[step(1, 3, 1, KNOWN, 0.0)], 0)[0].visitors, 0.0));
    }

    #[test]
    fn a_sweep_is_of_one_source_over_alike_destinations() {
        let mut parties = Parties::default();
        for last in [[10, 0, 0, 9], [10, 0, 1, 1], [10, 0, 1, 2], [10, 0, 2, 1]] {
            parties.number(&crate::series::Party::Address(last.into())).unwrap();
        }
        let row = |destination| {
            let (source, destination) = (PartyId(0), PartyId(destination));
            let key = SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 };
            Step { entities: entities(&key, &parties), flows: 1, new: STRANGER, stranger_surprise: 0.0 }
        };
        let sweeps = Streams::default().advance(&[row(1), row(2), row(3)], 0);
        let expected = [3_f64.ln(), 3_f64.ln(), 2_f64.ln()];
        assert!(
            sweeps.iter().zip(expected).all(|(pacing, expected)| is_near(pacing.sweep, expected)),
            "{sweeps:?}"
        );
    }

    #[test]
    fn a_trend_is_that_of_the_windows_before() {
        let mut streams = Streams::default();
        let odd = [step(1, 2, 1, KNOWN, 6.0), step(1, 3, 1, KNOWN, 2.0)];
        assert!(streams.advance(&odd, 0).iter().all(|pacing| is_near(pacing.trend, 0.0)));
        let trend = streams.advance(&odd, 1)[0].trend;
        assert!((trend - 4.0).abs() < 0.01, "the mean of both: {trend}");
        assert!(is_near(streams.advance(&[step(5, 2, 1, KNOWN, 6.0)], 2)[0].trend, 0.0), "of its own source");
    }

    #[test]
    fn the_same_rows_give_the_same_bits() {
        let steps: Vec<Step> =
            (0..50).map(|at| step(at % 7, at % 11, u64::from(at), STRANGER, 0.1 * f64::from(at))).collect();
        let run = || {
            let mut streams = Streams::default();
            (0..5).map(|window| streams.advance(&steps, window)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }
}
