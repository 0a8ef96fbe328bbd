//! How rare it is that something new appears.
//!
//! Something new is everyday business for a source that always meets new peers, and remarkable for one that never did. So
//! the probability is the source's own frequency of such novelty, drawn towards that of all sources as long as the source
//! was seen little. Of all single scores on recorded flows this one gained most beside plain counts.
//!
//! Counts are halved when they grow large: what happened long ago fades.

use crate::checkpoint::saved::{Reader, Saved, SavedError, Writer, saved};
use crate::features::{Row, TARGETS};
use crate::recent::Recent;
use crate::series::PartyId;

/// Sources whose own frequency is kept.
const SOURCES_MAX: usize = 65_536;
/// Rows after which the counts of all sources are halved: half a day of 1,400 series at a row a minute.
const ROWS_MAX: f64 = 1_000_000.0;
/// Rows after which a source's counts are halved.
const SOURCE_ROWS_MAX: f64 = 10_000.0;
/// Rows that the frequency of all sources counts in that of one.
const SHARED_ROWS: f64 = 5.0;
/// Novelties that are counted before the first one was seen (Krichevsky and Trofimov 1981).
const PRIOR: f64 = 0.5;

/// What is new about a row, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Novelty {
    /// Nothing.
    None,
    /// The service: the parties met before.
    Series,
    /// The pair: its source is known.
    Pair,
    /// The source.
    Source,
}

impl Novelty {
    /// Returns what is new about a row.
    pub fn of(row: &Row) -> Self {
        // Places in `features::NAMES`; a test keeps them in step.
        let is_set = |at: usize| row[TARGETS + at] > 0.5;
        match (is_set(1), is_set(2), is_set(3)) {
            (true, _, _) => Self::Source,
            (_, true, _) => Self::Pair,
            (_, _, true) => Self::Series,
            _ => Self::None,
        }
    }
}

impl Saved for Novelty {
    fn write(&self, out: &mut Writer) {
        (*self as u8).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let known = [Self::None, Self::Series, Self::Pair, Self::Source];
        known.get(usize::from(u8::read(from)?)).copied().ok_or(SavedError::Malformed("a novelty"))
    }
}

/// Rows, and how many of them were at least so new.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Frequency {
    rows: f64,
    series: f64,
    pairs: f64,
    sources: f64,
}

saved!(Frequency { rows, series, pairs, sources });

impl Frequency {
    fn add(&mut self, novelty: Novelty, rows_max: f64) {
        self.rows += 1.0;
        let counts = [
            (Novelty::Series, &mut self.series),
            (Novelty::Pair, &mut self.pairs),
            (Novelty::Source, &mut self.sources),
        ];
        counts.into_iter().filter(|(least, _)| novelty >= *least).for_each(|(_, count)| *count += 1.0);
        if self.rows > rows_max {
            let Self { rows, series, pairs, sources } = self;
            [rows, series, pairs, sources].into_iter().for_each(|count| *count /= 2.0);
        }
    }

    fn at_least(&self, novelty: Novelty) -> f64 {
        match novelty {
            Novelty::None => self.rows,
            Novelty::Series => self.series,
            Novelty::Pair => self.pairs,
            Novelty::Source => self.sources,
        }
    }
}

/// The frequencies, of all sources and of each.
#[derive(Clone, Debug)]
pub struct NoveltyRates {
    all: Frequency,
    sources: Recent<PartyId, Frequency>,
}

saved!(NoveltyRates { all, sources });

impl Default for NoveltyRates {
    fn default() -> Self {
        Self { all: Frequency::default(), sources: Recent::new(SOURCES_MAX) }
    }
}

impl NoveltyRates {
    /// Returns the probability that a row of this source is at least so new; 1 where nothing is.
    pub fn p_value(&self, source: PartyId, novelty: Novelty) -> f64 {
        if novelty == Novelty::None {
            return 1.0;
        }
        let shared = (self.all.at_least(novelty) + PRIOR) / (self.all.rows + 2.0 * PRIOR);
        let own = self.sources.get(&source).copied().unwrap_or_default();
        (own.at_least(novelty) + SHARED_ROWS * shared) / (own.rows + SHARED_ROWS)
    }

    /// Takes a row in.
    pub fn add(&mut self, source: PartyId, novelty: Novelty, window: u64) {
        self.all.add(novelty, ROWS_MAX);
        if let Some(own) = self.sources.entry(source, window, Frequency::default) {
            own.add(novelty, SOURCE_ROWS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FEATURES, NAMES};

    #[test]
    fn the_places_of_the_flags_are_those_of_the_features() {
        for (name, novelty) in [
            ("is_new_source", Novelty::Source),
            ("is_new_pair", Novelty::Pair),
            ("is_new_series", Novelty::Series),
        ] {
            let mut row = [0.0; FEATURES];
            row[NAMES.iter().position(|feature| feature.name == name).unwrap()] = 1.0;
            assert_eq!(Novelty::of(&row), novelty);
        }
        assert_eq!(Novelty::of(&[0.0; FEATURES]), Novelty::None);
    }

    #[test]
    fn a_new_peer_is_rarer_for_a_source_that_never_had_one() {
        let mut rates = NoveltyRates::default();
        let (steady, restless, unknown) = (PartyId(1), PartyId(2), PartyId(3));
        for window in 0..100 {
            rates.add(steady, Novelty::None, window);
            rates.add(restless, if window % 2 == 0 { Novelty::Pair } else { Novelty::None }, window);
        }
        let p_value = |source| rates.p_value(source, Novelty::Pair);
        assert!(p_value(steady) < 0.02 && p_value(restless) > 0.4);
        assert!((p_value(unknown) - 0.25).abs() < 0.01);
        assert!(rates.p_value(unknown, Novelty::Source) < 0.01);
        assert_eq!(rates.p_value(steady, Novelty::None), 1.0);
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut rates = NoveltyRates::default();
        (0..5_000).for_each(|window| rates.add(PartyId(1), Novelty::Series, window));
        (5_000..60_000).for_each(|window| rates.add(PartyId(1), Novelty::None, window));
        assert!(rates.p_value(PartyId(1), Novelty::Series) < 0.01);
    }
}
