//! What is known of entities: how often they were seen, and how.

use super::baseline::Tally;
use super::entities::{Entities, Entity, Kind, of_kind};
use crate::checkpoint::saved::saved;
use crate::series::PartyId;
use hashbrown::HashMap;

/// Sum and sum of squares of a number of values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) sum: f64,
    pub(super) squares: f64,
}

saved!(Moments { sum, squares });

impl Moments {
    pub(super) fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.squares += other.squares;
    }
}

/// What is known of an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// Rows (a series in a window).
    pub(super) rows: f64,
    /// Of a source, rows whose destination was seen in no other epoch; of a destination, whose source was.
    pub(super) strangers: f64,
    /// Of a source or destination, rows whose pair was seen in no other epoch.
    pub(super) first_meetings: f64,
    /// Of a source or destination, rows whose series was seen in no other epoch.
    pub(super) first_services: f64,
    /// Of a pair, the moments of its pace.
    pub(super) paces: Moments,
}

/// Counts of entities.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    known: HashMap<Entity, Known>,
    /// All rows.
    pub(super) rows: f64,
    /// What counts are multiplied by before they are compared, see [`Baseline::keep_scale`].
    pub(super) scale: f64,
    /// Rows of all sources, and of all destinations, with a stranger at the other end.
    pub(super) strangers: [f64; 2],
    /// All rows whose pair was seen in no other epoch.
    pub(super) first_meetings: f64,
    /// All rows whose series was seen in no other epoch.
    pub(super) first_services: f64,
    /// Moments of the pace of all rows.
    pub(super) paces: Moments,
}

/// What is new about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct New {
    pub(super) source: bool,
    pub(super) destination: bool,
    pub(super) pair: bool,
    pub(super) series: bool,
}

/// The counts that a row is described by: all, less those of its own epoch where that has closed.
#[derive(Clone, Copy)]
pub(super) struct Related<'a> {
    pub(super) all: &'a Counts,
    pub(super) own: Option<&'a Counts>,
}

impl Related<'_> {
    /// Returns what is known of an entity.
    pub(super) fn known(&self, entity: Entity) -> Known {
        let mut known = self.all.of(entity);
        if let Some(own) = self.own {
            known.take(own.of(entity));
        }
        known
    }

    /// Returns the share of all rows that so many are.
    pub(super) fn share(&self, rows: f64) -> f64 {
        rows / self.all.rows.max(1.0)
    }

    /// Returns whether a party was seen on the closed days, in either role.
    pub(super) fn knows(&self, party: PartyId) -> bool {
        let roles = [Entity::source(party), Entity::destination(party)];
        roles.into_iter().any(|role| self.known(role).rows > 0.5)
    }

    /// Returns what is new about a row with these entities.
    pub(super) fn novelty(&self, entities: &Entities) -> New {
        let is_new = |kind| self.known(of_kind(entities, kind)).rows < 0.5;
        New {
            source: is_new(Kind::Source),
            destination: is_new(Kind::Destination),
            pair: is_new(Kind::Pair),
            series: is_new(Kind::Series),
        }
    }
}

impl Known {
    fn take(&mut self, own: Self) {
        self.rows -= own.rows;
        self.strangers -= own.strangers;
        self.first_meetings -= own.first_meetings;
        self.first_services -= own.first_services;
        self.paces.sum -= own.paces.sum;
        self.paces.squares -= own.paces.squares;
    }
}

impl Counts {
    /// Returns what is known of an entity.
    fn of(&self, entity: Entity) -> Known {
        self.known.get(&entity).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, entities: &Entities, tally: Tally) {
        let rows = f64::from(tally.windows);
        for entity in entities {
            self.known.entry(*entity).or_default().rows += rows;
        }
        self.known.entry(of_kind(entities, Kind::Pair)).or_default().paces.add(tally.paces);
        self.paces.add(tally.paces);
        self.rows += rows;
    }

    /// Takes note of what was new about so many rows.
    pub(super) fn note(&mut self, entities: &Entities, new: New, rows: f64) {
        let share = |is_new: bool| if is_new { rows } else { 0.0 };
        let strangers = [(Kind::Source, new.destination), (Kind::Destination, new.source)];
        for ((kind, is_stranger), all) in strangers.into_iter().zip(&mut self.strangers) {
            let known = self.known.entry(of_kind(entities, kind)).or_default();
            known.strangers += share(is_stranger);
            known.first_meetings += share(new.pair);
            known.first_services += share(new.series);
            *all += share(is_stranger);
        }
        self.first_meetings += share(new.pair);
        self.first_services += share(new.series);
    }
}
