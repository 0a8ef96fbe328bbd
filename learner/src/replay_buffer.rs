//! The rows to learn from: chunks of consecutive rows of one series, bounded in number.
//!
//! A chunk that is full takes the place of a random one. The age of what is kept is then spread geometrically: mostly recent,
//! yet never only the last hour, and nothing is kept forever. Chunks that are still growing are learned from as well, else a
//! learner that has just started would wait for half an hour.

use crate::checkpoint::saved::saved;
use crate::features::{FEATURES, Row};
use crate::recent::Recent;
use crate::series::{PartyId, SeriesKey};
use meshgate_policy::generate::Rng;

/// Rows of a full chunk: so far back does a gradient reach.
pub const CHUNK_ROWS: usize = 32;
/// Most full chunks that may be kept: 22 MB of rows, half a day of 250 series at a row a minute. Of chunks that grow, one a
/// series, there are as many at most.
pub const CHUNKS_MAX: usize = 8_192;
const _: () = assert!(2 * CHUNKS_MAX * CHUNK_ROWS * FEATURES * size_of::<f32>() < 64 << 20);
/// Rows without which a chunk teaches nothing about what follows what.
const CHUNK_ROWS_MIN: usize = 2;

/// The chunks.
#[derive(Clone, Debug)]
pub struct ReplayBuffer {
    open: Recent<SeriesKey, Vec<Row>>,
    full: Vec<Vec<Row>>,
    /// Full chunks that are kept, and chunks that may grow: 1 to [`CHUNKS_MAX`].
    chunks_max: usize,
    rng: Rng,
    /// Rows that were refused because a value was no number.
    pub rows_refused: u64,
}

impl ReplayBuffer {
    /// Returns an empty buffer for that many full chunks and as many that grow: 1 to [`CHUNKS_MAX`], and is taken for the
    /// nearer of the two where it is neither.
    pub fn new(chunks_max: usize, seed: u64) -> Self {
        let chunks_max = chunks_max.clamp(1, CHUNKS_MAX);
        let open = Recent::new(chunks_max);
        Self { open, full: Vec::new(), chunks_max, rng: Rng::new(seed), rows_refused: 0 }
    }

    /// Appends the row of a series in a window, which is any number that grows from window to window. Returns whether
    /// there was room.
    pub fn push(&mut self, series: SeriesKey, row: &Row, window: u64) -> bool {
        if !row.iter().all(|value| value.is_finite()) {
            self.rows_refused += 1;
            return false;
        }
        let Some(chunk) = self.open.entry(series, window, Vec::new) else { return false };
        chunk.push(*row);
        if chunk.len() == CHUNK_ROWS {
            let chunk = std::mem::take(chunk);
            self.keep(chunk);
        }
        true
    }

    /// Returns how many chunks there are to learn from.
    pub fn len(&self) -> usize {
        self.full.len() + self.open.values().filter(|chunk| chunk.len() >= CHUNK_ROWS_MIN).count()
    }

    /// Returns whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns random chunks, at most `count`, each at most once where there are enough.
    pub fn sample(&self, count: usize, rng: &mut Rng) -> Vec<&[Row]> {
        let growing = self.open.values().filter(|chunk| chunk.len() >= CHUNK_ROWS_MIN);
        let mut chunks: Vec<&[Row]> = self.full.iter().chain(growing).map(Vec::as_slice).collect();
        let count = count.min(chunks.len());
        // The first steps of a Fisher-Yates shuffle.
        for at in 0..count {
            let other = at + rng.index(chunks.len() - at);
            chunks.swap(at, other);
        }
        chunks.truncate(count);
        chunks
    }

    fn is_sound(&self) -> bool {
        let is_growing = |chunk: &Vec<Row>| chunk.len() < CHUNK_ROWS;
        let is_full = |chunk: &Vec<Row>| chunk.len() == CHUNK_ROWS;
        (1..=CHUNKS_MAX).contains(&self.chunks_max)
            && self.full.len() <= self.chunks_max
            && self.full.iter().all(is_full)
            && self.open.values().all(is_growing)
    }

    fn keep(&mut self, chunk: Vec<Row>) {
        if self.full.len() < self.chunks_max {
            self.full.push(chunk);
            return;
        }
        let place = self.rng.index(self.chunks_max);
        self.full[place] = chunk;
    }
}

saved!(ReplayBuffer { open, full, chunks_max, rng, rows_refused } if is_sound);
saved!(SeriesKey { source, destination, segment, protocol, service_port });
saved!(tuple PartyId);

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: u32) -> SeriesKey {
        let (source, destination) = (PartyId(number), PartyId(0));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 }
    }

    fn row(value: f32) -> Row {
        [value; FEATURES]
    }

    #[test]
    fn rows_of_a_series_stay_in_order_and_apart_from_others() {
        let mut buffer = ReplayBuffer::new(CHUNKS_MAX, 1);
        for window in 0..100u16 {
            buffer.push(series(1), &row(f32::from(window)), u64::from(window));
            buffer.push(series(2), &row(-f32::from(window)), u64::from(window));
        }
        let chunks = buffer.sample(100, &mut Rng::new(1));
        assert_eq!(chunks.len(), buffer.len());
        assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 200);
        for chunk in chunks {
            let steps: Vec<f32> = chunk.windows(2).map(|rows| (rows[1][0] - rows[0][0]).abs()).collect();
            assert!(steps.iter().all(|step| *step == 1.0), "{steps:?}");
        }
    }

    #[test]
    fn a_full_buffer_keeps_mostly_what_is_recent() {
        let mut buffer = ReplayBuffer::new(CHUNKS_MAX, 1);
        let chunks = 3 * CHUNKS_MAX;
        for chunk in 0..chunks {
            (0..CHUNK_ROWS).for_each(|_| {
                buffer.push(series(1), &row(chunk as f32), 0);
            });
        }
        assert_eq!(buffer.full.len(), CHUNKS_MAX);
        let recent = buffer.full.iter().filter(|chunk| chunk[0][0] >= (chunks - CHUNKS_MAX) as f32).count();
        // 1 - 1/e of the last so many, and some of the first.
        assert!((CHUNKS_MAX / 2..CHUNKS_MAX * 3 / 4).contains(&recent), "{recent}");
        assert!(buffer.full.iter().any(|chunk| chunk[0][0] < CHUNKS_MAX as f32));
    }

    #[test]
    fn a_smaller_buffer_keeps_no_more_than_it_is_told() {
        let mut buffer = ReplayBuffer::new(5, 1);
        (0..20 * CHUNK_ROWS).for_each(|window| {
            buffer.push(series(u32::try_from(window % 3).unwrap()), &row(1.0), window as u64);
        });
        (10..60).for_each(|number| {
            buffer.push(series(number), &row(1.0), 1_000);
        });
        assert!(
            buffer.full.len() == 5 && buffer.open.len() <= 5,
            "{} {}",
            buffer.full.len(),
            buffer.open.len()
        );
    }

    #[test]
    fn what_is_no_number_is_refused_and_counted() {
        let mut buffer = ReplayBuffer::new(CHUNKS_MAX, 1);
        assert!(!buffer.push(series(1), &row(f32::NAN), 0));
        assert!(!buffer.push(series(1), &row(f32::INFINITY), 0));
        assert_eq!((buffer.rows_refused, buffer.len()), (2, 0));
    }

    #[test]
    fn a_flood_of_series_stays_within_the_bound() {
        let mut buffer = ReplayBuffer::new(CHUNKS_MAX, 1);
        (0..50_000).for_each(|number| {
            buffer.push(series(number), &row(0.0), u64::from(number / 5_000));
        });
        assert!(buffer.open.len() <= CHUNKS_MAX);
    }
}
