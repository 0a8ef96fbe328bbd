//! Rows of features: what a window says of each series, and when that was seen before.
//!
//! Remembers when series were seen last, bounded: when the table is full, those seen longest ago are forgotten, and count as
//! never seen when they come again. A flood of strangers therefore drives out what has been silent, never what is active.
//!
//! What compares a row with the days before is left at zero here: the detector, which keeps those, fills it in.

use crate::features::{COMPARED, FEATURES, Row, TARGETS};
use crate::series::{PartyId, SeriesKey, SeriesSums, Window};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// Entries of the table between windows. With what the largest window can add, a table of 2^18 places does not double: at
/// most 8 MiB.
pub const REMEMBERED_MAX: usize = (1 << 18) / 8 * 7 - crate::history::SERIES_MAX;
/// Entries that are left when one is forgotten: an eighth goes at once, so that a flood does not search every window.
const REMEMBERED_AFTER: usize = REMEMBERED_MAX / 8 * 7;
/// Seconds of a day.
const DAY_S: u32 = 86_400;

/// When something was seen, and in how many windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    last_s: u64,
    windows: u32,
}

/// What was seen, for the features.
#[derive(Clone, Debug)]
pub struct FeatureMemory {
    width_s: u32,
    /// End of the newest window taken in.
    until_s: u64,
    series: HashMap<SeriesKey, Seen>,
    /// Windows taken in.
    windows: u64,
    /// Entries that were forgotten for want of room.
    forgotten: u64,
}

/// A feature memory as checkpoints keep it. Entries are in order of keys, each with its last window and the number of
/// windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryState {
    width_s: u32,
    until_s: u64,
    windows: u64,
    forgotten: u64,
    series: Vec<(SeriesKey, u64, u32)>,
}

/// Why a state is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It was made with windows of another width.
    #[error("the memory is one of windows of {0} s, not of {1} s")]
    Width(u32, u32),
    /// It has more entries than are ever kept.
    #[error("{0} series, more than {REMEMBERED_MAX}")]
    TooMany(usize),
    /// An entry names a party that does not exist.
    #[error("party {0} does not exist")]
    Party(u32),
    /// Entries are out of order, or one occurs twice.
    #[error("the series are not in order")]
    Order,
    /// An entry was seen in no window, in more than there were, or at no time a window starts.
    #[error("a series was seen at {0} s in {1} windows")]
    Seen(u64, u32),
}

/// Sums of all series of one party.
#[derive(Clone, Copy, Default)]
struct PartySums {
    series: u64,
    flows: u64,
}

impl FeatureMemory {
    /// Returns a memory of nothing, for windows of this width.
    pub fn new(width_s: u32) -> Self {
        Self { width_s: width_s.max(1), until_s: 0, series: HashMap::new(), windows: 0, forgotten: 0 }
    }

    /// Returns the rows of a window, in its order, from what was known before it; then takes the window in. The values at
    /// [`COMPARED`] are zero.
    pub fn describe(&mut self, window: &Window) -> Vec<(SeriesKey, Row)> {
        let (mut sources, mut destinations) = (HashMap::new(), HashMap::new());
        for (key, sums) in &window.series {
            for (parties, party) in [(&mut sources, key.source), (&mut destinations, key.destination)] {
                let of_party: &mut PartySums = parties.entry(party).or_default();
                of_party.series += 1;
                of_party.flows = of_party.flows.saturating_add(sums.flows);
            }
        }
        let sums_of = |parties: &HashMap<PartyId, PartySums>, party| parties.get(&party).copied();
        let rows = window.series.iter().map(|(key, sums)| {
            let source = sums_of(&sources, key.source).unwrap_or_default();
            let destination = sums_of(&destinations, key.destination).unwrap_or_default();
            (*key, self.row(window, (key, sums), source, destination))
        });
        let rows = rows.collect();
        self.take_in(window);
        rows
    }

    /// Returns how many series are remembered.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Returns whether no window was taken in.
    pub fn is_empty(&self) -> bool {
        self.windows == 0
    }

    /// Returns how many windows were taken in.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Returns how many entries were forgotten for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn row(
        &self,
        window: &Window,
        (key, sums): (&SeriesKey, &SeriesSums),
        source: PartySums,
        destination: PartySums,
    ) -> Row {
        let seen = self.series.get(key);
        let gap = seen.map_or(0, |seen| window.start_s.saturating_sub(seen.last_s) / u64::from(self.width_s));
        let (day_sine, day_cosine) = time_of_day(window.start_s);
        let of_window = [
            log_count(sums.flows),
            log_count(sums.packets_forward),
            log_count(sums.packets_reverse),
            log_count(sums.bytes_forward),
            log_count(sums.bytes_reverse),
            share(sums.answered, sums.flows),
            share(sums.refused, sums.flows),
            log_count(sums.sources.into()),
            log_count(sums.destinations.into()),
            log_count(source.series),
            log_count(destination.series),
            log_count(source.flows),
            log_count(destination.flows),
        ];
        let context = [log_count(gap), day_sine, day_cosine];
        let mut row: Row = [0.0; FEATURES];
        row[..COMPARED.start].copy_from_slice(&of_window);
        row[TARGETS..TARGETS + context.len()].copy_from_slice(&context);
        row
    }

    fn take_in(&mut self, window: &Window) {
        self.windows += 1;
        self.until_s = self.until_s.max(window.end_s());
        for (key, _) in &window.series {
            let seen = self.series.entry(*key).or_insert(Seen { last_s: window.start_s, windows: 0 });
            if seen.windows == 0 || seen.last_s < window.start_s {
                seen.windows = seen.windows.saturating_add(1);
                seen.last_s = window.start_s;
            }
        }
        self.forget();
    }

    /// Forgets what was seen longest ago, if there is too much; of equals, what was seen in fewer windows.
    fn forget(&mut self) {
        if self.series.len() <= REMEMBERED_MAX {
            return;
        }
        let many = self.series.len() - REMEMBERED_AFTER;
        let mut oldest: Vec<(Seen, SeriesKey)> =
            self.series.iter().map(|(key, seen)| (*seen, *key)).collect();
        oldest.select_nth_unstable(many - 1);
        oldest[..many].iter().for_each(|(_, key)| _ = self.series.remove(key));
        self.forgotten += many as u64;
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> MemoryState {
        let mut series: Vec<_> =
            self.series.iter().map(|(key, seen)| (*key, seen.last_s, seen.windows)).collect();
        series.sort_unstable();
        MemoryState {
            width_s: self.width_s,
            until_s: self.until_s,
            windows: self.windows,
            forgotten: self.forgotten,
            series,
        }
    }

    /// Returns the memory of a checkpoint, for windows of this width and so many parties; or what is wrong with it.
    pub fn restore(state: MemoryState, width_s: u32, parties: usize) -> Result<Self, MemoryError> {
        let MemoryState { width_s: stored_width_s, until_s, windows, forgotten, series: entries } = state;
        if stored_width_s != width_s || width_s == 0 {
            return Err(MemoryError::Width(stored_width_s, width_s));
        }
        if entries.len() > REMEMBERED_MAX {
            return Err(MemoryError::TooMany(entries.len()));
        }
        if !entries.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(MemoryError::Order);
        }
        let has = |party: PartyId| usize::try_from(party.0).is_ok_and(|number| number < parties);
        let mut series = HashMap::with_capacity(entries.len());
        for (key, last_s, seen_windows) in entries {
            if let Some(stranger) = [key.source, key.destination].into_iter().find(|party| !has(*party)) {
                return Err(MemoryError::Party(stranger.0));
            }
            let is_start = last_s.is_multiple_of(width_s.into()) && last_s < until_s;
            if !is_start || seen_windows == 0 || u64::from(seen_windows) > windows {
                return Err(MemoryError::Seen(last_s, seen_windows));
            }
            series.insert(key, Seen { last_s, windows: seen_windows });
        }
        Ok(Self { series, width_s, until_s, windows, forgotten })
    }
}

/// Returns `ln(1 + n)`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a logarithm has few digits"
)]
fn log_count(count: u64) -> f32 {
    (count as f64).ln_1p() as f32
}

/// Returns the share of a part in a whole. A part can be larger, where flows of an earlier window are answered in this
/// one: then it is all.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share has few digits")]
fn share(part: u64, whole: u64) -> f32 {
    let whole = whole.max(part);
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64) as f32 }
}

/// Returns sine and cosine of the time of day (UTC).
#[expect(clippy::cast_possible_truncation, reason = "a feature has few digits")]
fn time_of_day(at_s: u64) -> (f32, f32) {
    let second = u32::try_from(at_s % u64::from(DAY_S)).unwrap_or(0);
    let angle = f64::from(second) / f64::from(DAY_S) * std::f64::consts::TAU;
    (angle.sin() as f32, angle.cos() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ASIDE, NAMES};
    use crate::history::SERIES_MAX;

    const WIDTH: u32 = 60;
    /// Six in the morning.
    const SIX: u64 = 20_000 * 86_400 + 6 * 3_600;

    fn key(source: u32, destination: u32, service_port: u16) -> SeriesKey {
        let (source, destination) = (PartyId(source), PartyId(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port }
    }

    fn window(start_s: u64, series: Vec<(SeriesKey, SeriesSums)>) -> Window {
        Window { start_s, width_s: WIDTH, series, ..Window::default() }
    }

    fn flows(flows: u64) -> SeriesSums {
        SeriesSums { flows, ..SeriesSums::default() }
    }

    fn value(row: &Row, name: &str) -> f32 {
        row[NAMES.iter().position(|feature| feature.name == name).unwrap()]
    }

    fn assert_near(row: &Row, expected: &[(&str, f64)]) {
        for (name, expected) in expected {
            let found = f64::from(value(row, name));
            assert!((found - expected).abs() < 1e-6, "{name}: {found}, not {expected}");
        }
    }

    #[test]
    fn every_value_of_a_small_window_is_what_its_meaning_says() {
        let mut memory = FeatureMemory::new(WIDTH);
        let sums = SeriesSums {
            flows: 8,
            answered: 4,
            refused: 2,
            packets_forward: 30,
            packets_reverse: 20,
            bytes_forward: 3_000,
            bytes_reverse: 9_000,
            sources: 3,
            destinations: 1,
            ..SeriesSums::default()
        };
        let series = vec![(key(1, 2, 80), sums), (key(1, 3, 80), flows(1)), (key(4, 2, 22), flows(5))];
        let rows = memory.describe(&window(SIX, series));
        let ln = |n: f64| (1.0 + n).ln();
        assert_eq!(
            rows.iter().map(|row| row.0).collect::<Vec<_>>(),
            [key(1, 2, 80), key(1, 3, 80), key(4, 2, 22)]
        );
        let expected = [
            ("flows", ln(8.0)),
            ("packets_forward", ln(30.0)),
            ("packets_reverse", ln(20.0)),
            ("bytes_forward", ln(3_000.0)),
            ("bytes_reverse", ln(9_000.0)),
            ("answered_share", 0.5),
            ("refused_share", 0.25),
            ("sources", ln(3.0)),
            ("destinations", ln(1.0)),
            ("source_fan_out", ln(2.0)),
            ("destination_fan_in", ln(2.0)),
            ("source_flows", ln(9.0)),
            ("destination_flows", ln(13.0)),
            ("gap", 0.0),
            ("day_sine", 1.0),
            ("day_cosine", 0.0),
        ];
        let left = NAMES.iter().enumerate().filter(|(at, _)| COMPARED.contains(at) || ASIDE.contains(at));
        let left: Vec<(&str, f64)> = left.map(|(_, feature)| (feature.name, 0.0)).collect();
        assert_eq!(expected.len() + left.len(), NAMES.len());
        assert_near(&rows[0].1, &expected);
        assert_near(&rows[0].1, &left);
    }

    #[test]
    fn what_was_seen_before_is_known_and_the_window_itself_is_not() {
        let mut memory = FeatureMemory::new(WIDTH);
        memory.describe(&window(SIX, vec![(key(1, 2, 80), flows(1)), (key(1, 2, 443), flows(1))]));
        memory.describe(&window(SIX + 60, vec![(key(1, 2, 443), flows(1))]));
        let rows = memory.describe(&window(
            SIX + 240,
            vec![(key(1, 2, 22), flows(1)), (key(1, 2, 80), flows(1)), (key(2, 1, 80), flows(1))],
        ));
        assert_near(&rows[0].1, &[("gap", 0.0)]);
        assert_near(&rows[1].1, &[("gap", 5_f64.ln())]);
        assert_near(&rows[2].1, &[("gap", 0.0)]);
    }

    #[test]
    fn shares_are_shares_where_answers_come_a_window_later() {
        let mut memory = FeatureMemory::new(WIDTH);
        let late = SeriesSums { flows: 0, answered: 3, ..SeriesSums::default() };
        let rows = memory.describe(&window(SIX, vec![(key(1, 2, 80), late), (key(1, 2, 81), flows(0))]));
        assert_near(&rows[0].1, &[("answered_share", 1.0), ("refused_share", 0.0)]);
        assert_near(&rows[1].1, &[("answered_share", 0.0)]);
    }

    fn flood(memory: &mut FeatureMemory, windows: u64) {
        for at in 0..windows {
            let first = u32::try_from(at * SERIES_MAX as u64).unwrap() + 10;
            let strangers = (first..).take(SERIES_MAX).map(|source| (key(source, 2, 80), flows(1)));
            let steady = std::iter::once((key(1, 2, 80), flows(1)));
            memory.describe(&window(SIX + at * 60, steady.chain(strangers).collect()));
        }
    }

    #[test]
    fn a_flood_drives_out_the_silent_and_not_the_active() {
        let mut memory = FeatureMemory::new(WIDTH);
        memory.describe(&window(SIX - 60, vec![(key(1, 2, 80), flows(1)), (key(5, 2, 80), flows(1))]));
        flood(&mut memory, 6);
        assert!(memory.len() <= REMEMBERED_MAX);
        let distinct = 6 * SERIES_MAX as u64 + 2;
        assert_eq!(memory.forgotten(), distinct - memory.len() as u64);
        let end = window(SIX + 360, vec![(key(1, 2, 80), flows(1)), (key(5, 2, 80), flows(1))]);
        let rows = memory.describe(&end);
        // Seen in the window before, and long ago, which is forgotten.
        assert_near(&rows[0].1, &[("gap", 2_f64.ln())]);
        assert_near(&rows[1].1, &[("gap", 0.0)]);
    }

    fn small() -> FeatureMemory {
        let mut memory = FeatureMemory::new(WIDTH);
        memory.describe(&window(SIX, vec![(key(1, 2, 80), flows(1)), (key(3, 2, 80), flows(1))]));
        memory.describe(&window(SIX + 60, vec![(key(3, 2, 80), flows(1))]));
        memory
    }

    #[test]
    fn a_restored_memory_describes_as_the_first_would_have() {
        let mut memory = small();
        let text = serde_json::to_string(&memory.state()).unwrap();
        let mut restored = FeatureMemory::restore(serde_json::from_str(&text).unwrap(), WIDTH, 4).unwrap();
        assert_eq!(restored.state(), memory.state());
        let next = window(SIX + 120, vec![(key(1, 2, 80), flows(1)), (key(2, 2, 80), flows(1))]);
        assert_eq!(restored.describe(&next), memory.describe(&next));
    }

    #[test]
    fn nonsense_is_not_restored() {
        let refused = |change: fn(&mut MemoryState)| {
            let mut state = small().state();
            change(&mut state);
            FeatureMemory::restore(state, WIDTH, 4).unwrap_err()
        };
        assert_eq!(refused(|state| state.width_s = 1), MemoryError::Width(1, 60));
        assert_eq!(refused(|state| state.series.swap(0, 1)), MemoryError::Order);
        assert_eq!(refused(|state| state.series.push(state.series[1])), MemoryError::Order);
        assert_eq!(refused(|state| state.series[1].0.source = PartyId(4)), MemoryError::Party(4));
        assert_eq!(refused(|state| state.series[0].2 = 0), MemoryError::Seen(SIX, 0));
        assert_eq!(refused(|state| state.series[0].2 = 3), MemoryError::Seen(SIX, 3));
        assert_eq!(refused(|state| state.series[0].1 += 1), MemoryError::Seen(SIX + 1, 1));
        assert_eq!(refused(|state| state.until_s = SIX), MemoryError::Seen(SIX, 1));
        let many = |state: &mut MemoryState| {
            let last = u32::try_from(REMEMBERED_MAX).unwrap();
            state.series = (0..=last).map(|source| (key(source, 2, 80), 0, 1)).collect();
        };
        assert_eq!(refused(many), MemoryError::TooMany(REMEMBERED_MAX + 1));
    }
}
