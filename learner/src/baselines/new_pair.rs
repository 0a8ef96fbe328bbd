//! The simplest answer: what was never seen while learning is unusual.

use super::edges::Edge;
use hashbrown::HashSet;

/// Returns 1 for each edge whose key was not seen while learning, else 0. While learning, the first edge of a key is
/// the new one.
pub fn score_new(training: &[Edge], test: &[Edge], key: impl Fn(&Edge) -> u32) -> Vec<f64> {
    let mut seen = HashSet::new();
    let mut scores: Vec<f64> =
        training.iter().map(|edge| f64::from(u8::from(seen.insert(key(edge))))).collect();
    scores.extend(test.iter().map(|edge| f64::from(u8::from(!seen.contains(&key(edge))))));
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_stays_new_throughout_the_test() {
        let edge =
            |pair| Edge { minute_s: 0, source: 0, destination: 0, pair, network_pair: pair / 10, records: 1 };
        let (training, test) = ([edge(1), edge(2), edge(1)], [edge(2), edge(3), edge(3), edge(30)]);
        assert_eq!(score_new(&training, &test, |edge| edge.pair), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let networks = score_new(&training, &test, |edge| edge.network_pair);
        assert_eq!(networks, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
