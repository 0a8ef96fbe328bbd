//! How much the network has to say beside the forests.
//!
//! The forests cut what a window holds and how that compares with the closed days; the network sees the same. What it has
//! beside them is what a series did before: which bytes and packets follow on which, how many are answered. Flows that say such
//! things give it a voice of its own, and it counts as much as the forests do together. Flows that say no more than who spoke to
//! whom leave it little to add to the counts, and much of what it says again would be counted twice.
//!
//! Which of both a network of computers is, its usual rows say, without any label.

use crate::features::{Row, places};

/// Weight of the network's evidence where flows do not say what was in them.
const BLIND: f64 = 0.2;
/// Its weight where they do: that of the forests together.
const SEEING: f64 = 1.0;
/// Values that are above zero where flows say what was in them.
const CONTENTS: [&str; 4] = ["packets_forward", "packets_reverse", "bytes_forward", "bytes_reverse"];

/// Returns the weight of the network's evidence, given usual rows.
pub(super) fn of_network(rows: &[Row]) -> f64 {
    let places = places(CONTENTS);
    let says_contents = |row: &&Row| places.iter().any(|place| row[*place] > 0.0);
    let share = rows.iter().filter(says_contents).count() as f64 / rows.len().max(1) as f64;
    BLIND + (SEEING - BLIND) * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FEATURES;

    #[test]
    fn the_network_counts_as_much_as_flows_say() {
        let blind: Row = [0.0; FEATURES];
        let mut seeing = blind;
        let [bytes] = places(["bytes_reverse"]);
        seeing[bytes] = 5.0;
        assert!((of_network(&[]) - BLIND).abs() < 1e-12);
        assert!((of_network(&[blind; 3]) - BLIND).abs() < 1e-12);
        assert!((of_network(&[seeing; 3]) - SEEING).abs() < 1e-12);
        assert!((of_network(&[seeing, blind]) - 0.6).abs() < 1e-12);
    }
}
