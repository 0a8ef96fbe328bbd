//! What was usual: how often everything was seen on the last closed days.
//!
//! **The problem.** "Never seen before" is the strongest sign of an attack, if "before" ends before the attack began. Counts
//! that grow with every window make an attack known after its first minute, and counts that never grow make every new
//! service an alarm for ever.
//!
//! **The answer.** Time is cut into epochs, days at last. What is asked for are the counts of the closed epochs; those of the
//! open one are only gathered. A series that looked unusual in more than a tenth of its windows of an epoch is left out of it,
//! unless it went on like that in [`HELD_EPOCHS`] of them, reported or for [`HELD_WINDOWS`] windows each: what goes on for
//! days is how things are. Of closed epochs the last [`EPOCHS_MAX`] count, so that what was long ago fades.
//!
//! **Leaving out its own day.** A row of a closed epoch, asked about by all counts, would find itself known: by itself. Its
//! values are what a row of tomorrow would find only if the counts of its own epoch are taken off. So the rows that forest
//! and calibration learn from are described without their own epoch, and novelty is as rare in them as it is in truth.
//!
//! **The first hours.** A young learner has no days. Its epochs begin with a few windows and grow by a quarter of what was
//! seen, until they are days; from then on they end at midnight (UTC).

use super::counts::{Counts, Moments, Related};
use super::entities::entities;
use crate::checkpoint::saved::{Reader, Saved, SavedError, Writer, saved};
use crate::series::{Parties, SeriesKey};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;

/// Closed epochs that count: two weeks, so that every weekday is known twice.
pub(super) const EPOCHS_MAX: usize = 14;
/// Epochs in which something must have gone on, looking unusual, before it counts as usual.
const HELD_EPOCHS: usize = 3;
/// Windows of a day in which something that was never reported must have been seen for that.
const HELD_WINDOWS: u32 = 30;
/// Series that one epoch tells apart: 56 bytes each. Of a flood the rarest are left out.
const SERIES_MAX: usize = 65_536;
/// Seconds of an epoch, once there is a past.
const DAY_S: u64 = 86_400;
/// Share of the windows so far that the next epoch has, as a divisor.
const GROWTH: u64 = 4;

/// What a series did in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Windows in which it was seen and looked usual.
    pub(super) windows: u32,
    /// Windows in which it looked unusual.
    alarmed: u32,
    /// Windows of these in which it was reported.
    reported: u32,
    /// Of the usual windows, the paces of its pair.
    pub(super) paces: Moments,
}

saved!(Tally { windows, alarmed, reported, paces });

/// How long the closed epochs are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    closed_windows: u64,
    day_windows: u64,
}

impl Span {
    /// Returns the windows at which the past will have doubled, or four weeks later.
    pub(super) fn twice(self) -> u64 {
        let weeks = self.day_windows.saturating_mul(28);
        self.closed_windows.saturating_add(self.closed_windows.min(weeks))
    }
}

/// How a row of the open epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts.
    Usual,
    /// It looks unusual, and does not count.
    Suspect,
    /// And it was reported.
    Reported,
}

/// The closed epochs, each alone: what a row of one has to be described without. Their counts are made when they are asked
/// for, since those of all at once take a gigabyte after two weeks of floods.
pub(super) struct Apart<'a> {
    baseline: &'a Baseline,
    parties: &'a Parties,
    held: HashSet<SeriesKey>,
}

impl Apart<'_> {
    /// Returns the counts of an epoch; none if it has not closed, or does not count any more.
    pub(super) fn epoch(&self, number: u64) -> Option<Counts> {
        let epoch = self.baseline.epochs.iter().find(|epoch| epoch.number == number)?;
        let mut own = epoch.counts(&self.held, self.parties);
        for (key, tally) in epoch.usual(&self.held) {
            let entities = entities(key, self.parties);
            let novelty = Related { all: &self.baseline.counts, own: Some(&own) }.novelty(&entities);
            own.note(&entities, novelty, f64::from(tally.windows));
        }
        Some(own)
    }
}

/// A closed span of time.
#[derive(Clone, Debug, PartialEq)]
struct Epoch {
    /// In order of closing; the open one has the next.
    number: u64,
    /// In order of keys.
    series: Vec<(SeriesKey, Tally)>,
}

saved!(Epoch { number, series });

/// The counts, and the spans of time that they are made of.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    epochs: VecDeque<Epoch>,
    open: HashMap<SeriesKey, Tally>,
    /// Windows of the first epoch; none of the next ones is shorter.
    first_windows: u64,
    /// Windows of a day, by the width of the last one.
    day_windows: u64,
    /// Day (since 1970) in which the open epoch began.
    open_day: u64,
    /// Number of the open epoch.
    number: u64,
    /// Windows since the beginning, and those of them before the open epoch.
    windows: u64,
    closed_windows: u64,
    /// Series of the open epoch that found no room.
    left_out: u64,
    /// Rows of the counts that others are scaled to; 0 for none.
    scale_rows: f64,
    /// What the epochs add up to; made anew when one closes.
    counts: Counts,
}

impl Saved for Baseline {
    fn write(&self, out: &mut Writer) {
        let Self { epochs, open, first_windows, number, windows, closed_windows, left_out, .. } = self;
        epochs.write(out);
        let mut series: Vec<(SeriesKey, Tally)> = open.iter().map(|(key, tally)| (*key, *tally)).collect();
        series.sort_unstable_by_key(|(key, _)| *key);
        series.write(out);
        [*first_windows, *number, *windows, *closed_windows, *left_out].write(out);
        [self.day_windows, self.open_day].write(out);
        self.scale_rows.write(out);
    }

    /// Reads what was written. The counts have to be made anew, see [`Baseline::count`].
    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let epochs: VecDeque<Epoch> = VecDeque::read(from)?;
        let open: Vec<(SeriesKey, Tally)> = Vec::read(from)?;
        let [first_windows, number, windows, closed_windows, left_out] = <[u64; 5]>::read(from)?;
        let [day_windows, open_day] = <[u64; 2]>::read(from)?;
        let scale_rows = f64::read(from)?;
        let is_sound = epochs.len() <= EPOCHS_MAX
            && open.len() <= SERIES_MAX
            && (1..=DAY_S).contains(&first_windows)
            && (1..=DAY_S).contains(&day_windows)
            && scale_rows.is_finite()
            && scale_rows >= 0.0
            && closed_windows <= windows
            && epochs.iter().all(|epoch| epoch.number < number && epoch.series.len() <= SERIES_MAX);
        if !is_sound {
            return Err(SavedError::Malformed("the days"));
        }
        let (open, counts) = (open.into_iter().collect(), Counts::default());
        Ok(Self {
            epochs,
            open,
            first_windows,
            number,
            windows,
            closed_windows,
            left_out,
            scale_rows,
            day_windows,
            open_day,
            counts,
        })
    }
}

impl Baseline {
    /// Returns a baseline of nothing, whose first epoch has so many windows.
    pub(super) fn new(first_windows: u64) -> Self {
        Self {
            epochs: VecDeque::new(),
            open: HashMap::new(),
            first_windows: first_windows.clamp(1, DAY_S),
            day_windows: DAY_S,
            open_day: 0,
            number: 0,
            windows: 0,
            closed_windows: 0,
            left_out: 0,
            scale_rows: 0.0,
            counts: Counts::default(),
        }
    }

    /// Returns the counts of the closed epochs.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the windows of all epochs that have closed.
    pub(super) fn closed_windows(&self) -> u64 {
        self.closed_windows
    }

    /// Returns how long the closed epochs are.
    pub(super) fn span(&self) -> Span {
        Span { closed_windows: self.closed_windows, day_windows: self.day_windows }
    }

    /// Returns whether there is less than a day of closed epochs.
    pub(super) fn is_young(&self) -> bool {
        self.closed_windows < self.day_windows
    }

    /// Returns the number of the open epoch.
    pub(super) fn open_epoch(&self) -> u64 {
        self.number
    }

    /// Takes a row of the open epoch in.
    pub(super) fn add(&mut self, key: SeriesKey, pair_pace: f64, standing: Standing) {
        if self.open.len() >= SERIES_MAX && !self.open.contains_key(&key) {
            self.make_room();
        }
        let tally = self.open.entry(key).or_default();
        if standing == Standing::Usual {
            tally.windows = tally.windows.saturating_add(1);
            tally.paces.add(Moments { sum: pair_pace, squares: pair_pace * pair_pace });
        } else {
            tally.alarmed = tally.alarmed.saturating_add(1);
            tally.reported = tally.reported.saturating_add(u32::from(standing == Standing::Reported));
        }
    }

    /// Leaves out the half of the open epoch's series that were seen least.
    fn make_room(&mut self) {
        let rank = |(key, tally): (&SeriesKey, &Tally)| (tally.windows, *key);
        let mut ranks: Vec<_> = self.open.iter().map(rank).collect();
        let half = ranks.len() / 2;
        let (_, least_kept, _) = ranks.select_nth_unstable(half);
        let least_kept = *least_kept;
        self.open.retain(|key, tally| rank((key, tally)) >= least_kept);
        self.left_out += half as u64;
    }

    /// Takes note that a window has passed which ended then. Returns whether the open epoch ends with it.
    pub(super) fn pass(&mut self, window_end_s: u64, width_s: u32) -> bool {
        self.windows = self.windows.saturating_add(1);
        self.day_windows = (DAY_S / u64::from(width_s.max(1))).max(1);
        let day = window_end_s / DAY_S;
        let open_windows = self.windows.saturating_sub(self.closed_windows);
        if open_windows == 1 {
            // A window that ends at midnight belongs to the day before.
            self.open_day = window_end_s.saturating_sub(1) / DAY_S;
        }
        let due = (self.closed_windows / GROWTH).max(self.first_windows);
        if due < self.day_windows {
            return open_windows >= due;
        }
        // A silent network has no windows: the first one behind midnight ends the day too.
        day > self.open_day || open_windows > self.day_windows
    }

    /// Closes the open epoch: what it held counts from here on.
    pub(super) fn close(&mut self, parties: &Parties) {
        let mut series: Vec<(SeriesKey, Tally)> = self.open.drain().collect();
        series.sort_unstable_by_key(|(key, _)| *key);
        self.epochs.push_back(Epoch { number: self.number, series });
        while self.epochs.len() > EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.number = self.number.saturating_add(1);
        self.closed_windows = self.windows;
        self.count(parties);
    }

    /// Makes the counts of all closed epochs anew. What was seen in one epoch only changes with every other that closes or
    /// fades, so nothing of it can be kept; but only one epoch is held beside all of them.
    pub(super) fn count(&mut self, parties: &Parties) {
        let held = self.held();
        let mut all = Counts::default();
        for epoch in &self.epochs {
            epoch.usual(&held).for_each(|(key, tally)| all.add(&entities(key, parties), tally));
        }
        for epoch in &self.epochs {
            let own = epoch.counts(&held, parties);
            for (key, tally) in epoch.usual(&held) {
                let entities = entities(key, parties);
                let novelty = Related { all: &all, own: Some(&own) }.novelty(&entities);
                all.note(&entities, novelty, f64::from(tally.windows));
            }
        }
        all.scale = if self.scale_rows > 0.0 { self.scale_rows / all.rows.max(1.0) } else { 1.0 };
        self.counts = all;
    }

    /// Returns the closed epochs, to be asked for one by one.
    pub(super) fn apart<'a>(&'a self, parties: &'a Parties) -> Apart<'a> {
        Apart { baseline: self, parties, held: self.held() }
    }

    /// Makes counts mean what they mean today for as long as this is not called again: with every day everything is seen
    /// more often, which must not make a row look like none of those that forests and network learned from.
    pub(super) fn keep_scale(&mut self) {
        self.scale_rows = self.counts.rows;
        self.counts.scale = 1.0;
    }

    /// Returns the series that went on, looking unusual, in so many epochs that they count as usual. While epochs are shorter than
    /// days there are none: three of them may be ten minutes.
    fn held(&self) -> HashSet<SeriesKey> {
        if self.is_young() {
            return HashSet::new();
        }
        let mut alarming: HashMap<SeriesKey, usize> = HashMap::new();
        for epoch in &self.epochs {
            for (key, _) in epoch.series.iter().filter(|(_, tally)| tally.goes_on()) {
                *alarming.entry(*key).or_default() += 1;
            }
        }
        let held = alarming.into_iter().filter(|(_, epochs)| *epochs >= HELD_EPOCHS);
        held.map(|(key, _)| key).collect()
    }
}

impl Tally {
    /// Returns whether it looked unusual and was reported, or went on for long enough to be no attempt.
    fn goes_on(&self) -> bool {
        self.is_alarming() && (self.reported > 0 || self.alarmed >= HELD_WINDOWS)
    }

    /// Returns whether more than a tenth of its windows raised alarms: then none of them vouches for it.
    fn is_alarming(&self) -> bool {
        u64::from(self.alarmed) * 9 > u64::from(self.windows)
    }
}

impl Epoch {
    /// Returns what its usual series add up to, but for what was new in them.
    fn counts(&self, held: &HashSet<SeriesKey>, parties: &Parties) -> Counts {
        let mut own = Counts::default();
        self.usual(held).for_each(|(key, tally)| own.add(&entities(key, parties), tally));
        own
    }

    /// Returns the series that count as usual.
    fn usual<'a>(
        &'a self,
        held: &'a HashSet<SeriesKey>,
    ) -> impl Iterator<Item = (&'a SeriesKey, Tally)> + 'a {
        self.series.iter().filter_map(|(key, tally)| match (tally.is_alarming(), held.contains(key)) {
            (false, _) => Some((key, *tally)),
            (true, true) => {
                Some((key, Tally { windows: tally.windows.saturating_add(tally.alarmed), ..*tally }))
            }
            (true, false) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts::Known;
    use super::super::entities::{Entity, Kind, of_kind};
    use super::*;
    use crate::series::PartyId;

    fn key(source: u32, destination: u32) -> SeriesKey {
        let (source, destination) = (PartyId(source), PartyId(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 }
    }

    /// Lives through a day of one-minute windows in which these series are seen as often, all of them alike.
    fn day(baseline: &mut Baseline, number: u64, series: &[(SeriesKey, u32, Standing)]) {
        for (key, windows, standing) in series {
            (0..*windows).for_each(|_| baseline.add(*key, 1.0, *standing));
        }
        let ends = (1..=1_440).filter(|minute| baseline.pass(number * DAY_S + minute * 60, 60)).count();
        assert_eq!(ends, 1, "a day ends once");
        baseline.close(&Parties::default());
    }

    fn rows(baseline: &Baseline, key: &SeriesKey, kind: Kind, own: Option<&Counts>) -> f64 {
        let entity = of_kind(&entities(key, &Parties::default()), kind);
        Related { all: baseline.counts(), own }.known(entity).rows
    }

    #[test]
    fn a_row_is_described_without_its_own_day() {
        let mut baseline = Baseline::new(1_440);
        day(&mut baseline, 0, &[(key(1, 2), 5, Standing::Usual), (key(1, 3), 1, Standing::Usual)]);
        day(&mut baseline, 1, &[(key(1, 2), 7, Standing::Usual), (key(4, 2), 2, Standing::Usual)]);
        let (parties, strangers) = (Parties::default(), |known: Known| known.strangers);
        let apart = baseline.apart(&parties);
        let alone = [apart.epoch(0), apart.epoch(1)];
        assert!(apart.epoch(2).is_none(), "the open one");
        assert_eq!(rows(&baseline, &key(1, 2), Kind::Pair, None), 12.0);
        assert_eq!(rows(&baseline, &key(1, 2), Kind::Pair, alone[1].as_ref()), 5.0);
        assert_eq!(rows(&baseline, &key(1, 2), Kind::Destination, alone[0].as_ref()), 9.0);
        // On day 0 destination 3 was a stranger, and so was source 4 on day 1: seen on no other day.
        let known = |entity, own| Related { all: baseline.counts(), own }.known(entity);
        assert_eq!(strangers(known(Entity::source(PartyId(1)), None)), 1.0);
        assert_eq!(strangers(known(Entity::destination(PartyId(2)), None)), 2.0);
        assert_eq!(strangers(known(Entity::source(PartyId(1)), alone[0].as_ref())), 0.0);
    }

    #[test]
    fn what_looks_unusual_counts_only_where_it_goes_on_for_days() {
        let mut baseline = Baseline::new(1_440);
        let usual = (key(1, 2), 100, Standing::Usual);
        let attack = [usual, (key(9, 2), 40, Standing::Suspect), (key(8, 2), 3, Standing::Suspect)];
        for number in 0..2 {
            day(&mut baseline, number, &attack);
            assert_eq!(rows(&baseline, &key(9, 2), Kind::Source, None), 0.0);
        }
        day(&mut baseline, 2, &attack);
        assert_eq!(rows(&baseline, &key(9, 2), Kind::Source, None), 120.0);
        // Three attempts a day are no habit of anybody's.
        assert_eq!(rows(&baseline, &key(8, 2), Kind::Source, None), 0.0);
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut baseline = Baseline::new(1_440);
        day(&mut baseline, 0, &[(key(5, 6), 10, Standing::Usual)]);
        for number in 1..=EPOCHS_MAX as u64 {
            assert_eq!(rows(&baseline, &key(5, 6), Kind::Pair, None), 10.0);
            day(&mut baseline, number, &[(key(1, 2), 10, Standing::Usual)]);
        }
        assert_eq!(rows(&baseline, &key(5, 6), Kind::Pair, None), 0.0);
    }

    #[test]
    fn the_first_epochs_are_short_and_grow() {
        let mut baseline = Baseline::new(3);
        let mut ends = Vec::new();
        for window in 1..60_u64 {
            if baseline.pass(window * 60, 60) {
                ends.push(window);
                baseline.close(&Parties::default());
            }
        }
        assert_eq!(ends, [3, 6, 9, 12, 15, 18, 22, 27, 33, 41, 51]);
    }

    #[test]
    fn a_baseline_that_was_saved_counts_the_same() {
        let mut baseline = Baseline::new(1_440);
        day(&mut baseline, 0, &[(key(1, 2), 5, Standing::Usual)]);
        baseline.keep_scale();
        day(&mut baseline, 1, &[(key(1, 2), 15, Standing::Usual), (key(3, 2), 2, Standing::Reported)]);
        baseline.add(key(7, 7), 0.5, Standing::Usual);
        let mut out = Writer::default();
        baseline.write(&mut out);
        let mut again = Baseline::read(&mut Reader(&out.0)).unwrap();
        again.count(&Parties::default());
        assert_eq!(again.counts(), baseline.counts());
        assert!((again.counts().scale - 0.25).abs() < 1e-12);
        assert_eq!((again.open, again.epochs), (baseline.open, baseline.epochs));
    }

    #[test]
    fn a_flood_leaves_what_was_seen_most() {
        let mut baseline = Baseline::new(1_440);
        (0..5).for_each(|_| baseline.add(key(1, 2), 1.0, Standing::Usual));
        let last = u32::try_from(SERIES_MAX).unwrap() * 2;
        (10..last).for_each(|source| baseline.add(key(source, 2), 1.0, Standing::Usual));
        assert!(baseline.open.len() <= SERIES_MAX && baseline.left_out > 0);
        assert!(baseline.open.contains_key(&key(1, 2)));
    }
}
