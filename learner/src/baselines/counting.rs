//! Counting in the manner of MIDAS (Bhatia et al., AAAI 2020): does this minute hold more of an edge than its own past
//! promises?
//!
//! With `a` the recent count, which decays by a factor at each minute, `s` the count of all time and `t` the number of
//! the minute, the score is the chi-square `(a - s/t)^2 t^2 / (s (t - 1))`. It is taken for the pair, for the source
//! and for the destination, and the largest counts. MIDAS counts in sketches; the counters here are exact, which is
//! what a sketch of unbounded size would give.

use super::edges::{Edge, Edges, MINUTE_S};

/// What is left of a recent count when the next minute with traffic begins.
const DECAY: f64 = 0.5;

/// Counters of one relation, by number.
struct Relation {
    total: Vec<f64>,
    recent: Vec<(f64, i32)>,
}

impl Relation {
    fn new(members: usize) -> Self {
        Self { total: vec![0.0; members], recent: vec![(0.0, 0); members] }
    }

    /// Adds `records` in the `beats`-th minute with traffic, which is minute number `tick`, and returns the chi-square.
    /// A recent count decays when it is looked at: walking all of them each minute gives the same numbers.
    fn add(&mut self, number: u32, records: f64, beats: i32, tick: f64) -> f64 {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let (recent, decayed_at) = &mut self.recent[place];
        *recent = *recent * DECAY.powi(beats - *decayed_at) + records;
        *decayed_at = beats;
        let total = &mut self.total[place];
        *total += records;
        if tick <= 1.0 {
            return 0.0;
        }
        (*recent - *total / tick).powi(2) * tick * tick / (*total * (tick - 1.0))
    }
}

/// Returns `ln(1 + chi-square)` of each edge, counting on through the test.
pub fn score_counts(edges: &Edges) -> Vec<f64> {
    let mut pairs = Relation::new(edges.pairs);
    let mut sources = Relation::new(edges.addresses().len());
    let mut destinations = Relation::new(edges.addresses().len());
    let mut beats = 0;
    let mut last_minute_s = None;
    let first_minute_s = edges.all().first().map_or(0, |edge| edge.minute_s);
    let score = |edge: &Edge| {
        if last_minute_s.replace(edge.minute_s) != Some(edge.minute_s) {
            beats += 1;
        }
        let tick = ((edge.minute_s - first_minute_s) / MINUTE_S + 1) as f64;
        let records = f64::from(edge.records);
        let of_pair = pairs.add(edge.pair, records, beats, tick);
        let of_source = sources.add(edge.source, records, beats, tick);
        let of_destination = destinations.add(edge.destination, records, beats, tick);
        of_pair.max(of_source).max(of_destination).ln_1p()
    };
    edges.all().iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::edges::EdgesBuilder;

    fn scores(records: &[(u64, &str, &str)]) -> Vec<f64> {
        let mut builder = EdgesBuilder::<()>::default();
        for (minute, source, destination) in records {
            builder.add(minute * 60, source.parse().unwrap(), destination.parse().unwrap()).unwrap();
        }
        score_counts(&builder.build(0).0)
    }

    #[test]
    fn the_chi_square_of_the_second_minute_agrees_with_that_by_hand() {
        // Minute 1: one record. Minute 2: three. a = 0.5 + 3, s = 4, t = 2: (3.5 - 2)^2 * 4 / (4 * 1) = 2.25.
        let pair = (5, "10.0.0.1", "10.0.0.2");
        let later = (6, "10.0.0.1", "10.0.0.2");
        assert_eq!(scores(&[pair, later, later, later]), [0.0, 2.25_f64.ln_1p()]);
    }

    #[test]
    fn a_pause_counts_as_ticks_but_decays_once() {
        // t = 4: a = 0.5 + 1, s = 2: (1.5 - 0.5)^2 * 16 / (2 * 3) = 8/3.
        let found = scores(&[(1, "10.0.0.1", "10.0.0.2"), (4, "10.0.0.1", "10.0.0.2")]);
        assert!((found[1] - (8.0_f64 / 3.0).ln_1p()).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_source_that_reaches_many_stands_out_though_each_pair_is_small() {
        let mut records = vec![(1, "10.0.0.1", "10.0.0.2"), (2, "10.0.0.1", "10.0.0.2")];
        let far: Vec<String> = (10..60).map(|last| format!("10.0.1.{last}")).collect();
        records.extend(far.iter().map(|far| (3, "10.0.0.9", far.as_str())));
        let found = scores(&records);
        // Pair alone at t = 3: (1 - 1/3)^2 * 9 / 2 = 2; the source's fiftieth: (50 - 50/3)^2 * 9 / 100 = 100.
        assert!((found[2] - 2.0_f64.ln_1p()).abs() < 1e-12);
        assert!((found.last().unwrap() - 100.0_f64.ln_1p()).abs() < 1e-9);
    }
}
