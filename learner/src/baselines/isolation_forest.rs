//! Isolation forest (Liu, Ting, Zhou: ICDM 2008): what random cuts separate early is unusual.
//!
//! A tree takes a sample of the training rows and cuts it, at a random value of a random feature, until each row is
//! alone or the tree is as deep as a balanced one would be. A row that lies apart ends up alone after few cuts. The
//! score is `2^(-depth / c)`: `depth` is the mean over all trees of the cuts on the row's way, plus the cuts that the
//! rows left together would still need, and `c` is the mean depth of a search tree of the sample's size.

use meshgate_policy::generate::Rng;

/// How a forest is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForestSettings {
    /// Trees. The mean depth hardly moves beyond a hundred.
    pub trees: usize,
    /// Training rows that one tree sees, all different.
    pub samples: usize,
    /// Determines the forest.
    pub seed: u64,
}

/// A forest over rows of `N` values.
pub struct IsolationForest<const N: usize> {
    trees: Vec<Vec<Node>>,
    /// Mean depth of a search tree of the sample's size.
    usual_depth: f64,
}

/// A node of a tree. The left child of a cut is the node after it.
#[derive(Clone, Copy)]
enum Node {
    Cut { feature: usize, at: f64, right: usize },
    End { depth: f64 },
}

impl<const N: usize> IsolationForest<N> {
    /// Grows a forest from rows of finite values.
    pub fn grow(rows: &[[f64; N]], settings: ForestSettings) -> Self {
        let samples = settings.samples.min(rows.len());
        let mut random = Rng::new(settings.seed);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let depth_max = samples.max(2).next_power_of_two().ilog2();
        let trees = (0..settings.trees).map(|_| {
            for place in 0..samples {
                order.swap(place, place + random.index(rows.len() - place));
            }
            let mut tree = Tree { rows, random: &mut random, nodes: Vec::new(), depth_max };
            tree.grow(&mut order[..samples], 0);
            tree.nodes
        });
        Self { trees: trees.collect(), usual_depth: search_depth(samples) }
    }

    /// Returns the score of each row: about 0.5 for usual ones, towards 1 for those that lie apart.
    pub fn score(&self, rows: &[[f64; N]]) -> Vec<f64> {
        // Tree by tree over all rows: a tree stays in the second-level cache, the forest would not.
        let mut depths = vec![0.0; rows.len()];
        for tree in &self.trees {
            for (depth, row) in depths.iter_mut().zip(rows) {
                *depth += depth_of(tree, row);
            }
        }
        let all = (self.trees.len() as f64 * self.usual_depth).max(f64::MIN_POSITIVE);
        depths.into_iter().map(|depth| (-depth / all).exp2()).collect()
    }
}

fn depth_of<const N: usize>(tree: &[Node], row: &[f64; N]) -> f64 {
    let mut place = 0;
    loop {
        match tree[place] {
            Node::Cut { feature, at, right } => place = if row[feature] <= at { place + 1 } else { right },
            Node::End { depth } => return depth,
        }
    }
}

/// A tree while it grows.
struct Tree<'a, const N: usize> {
    rows: &'a [[f64; N]],
    random: &'a mut Rng,
    nodes: Vec<Node>,
    depth_max: u32,
}

impl<const N: usize> Tree<'_, N> {
    /// Appends the nodes of these rows. The recursion is at most `depth_max` deep, a few more than a dozen.
    fn grow(&mut self, members: &mut [usize], depth: u32) {
        let cut = if depth < self.depth_max { self.cut(members) } else { None };
        let Some((feature, at)) = cut else {
            self.nodes.push(Node::End { depth: f64::from(depth) + search_depth(members.len()) });
            return;
        };
        let place = self.nodes.len();
        self.nodes.push(Node::Cut { feature, at, right: 0 });
        let left = partition(members, |member| self.rows[member][feature] <= at);
        let (left, right) = members.split_at_mut(left);
        self.grow(left, depth + 1);
        self.nodes[place] = Node::Cut { feature, at, right: self.nodes.len() };
        self.grow(right, depth + 1);
    }

    /// Returns a random value of a random feature among those in which the rows differ. The value is below the largest
    /// one, so that both sides get rows.
    fn cut(&mut self, members: &[usize]) -> Option<(usize, f64)> {
        let mut features: [usize; N] = std::array::from_fn(|feature| feature);
        for tried in 0..N {
            features.swap(tried, tried + self.random.index(N - tried));
            let feature = features[tried];
            let values = members.iter().map(|member| self.rows[*member][feature]);
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            if low < high {
                let at = low + (high - low) * unit(self.random);
                return Some((feature, if at < high { at } else { low }));
            }
        }
        None
    }
}

/// Brings the members that `goes_left` to the front and returns how many they are.
fn partition(members: &mut [usize], goes_left: impl Fn(usize) -> bool) -> usize {
    let mut left = 0;
    for place in 0..members.len() {
        if goes_left(members[place]) {
            members.swap(left, place);
            left += 1;
        }
    }
    left
}

/// Returns a random number from 0 to below 1.
fn unit(random: &mut Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the mean depth of an unsuccessful search in a binary search tree of so many keys.
fn search_depth(keys: usize) -> f64 {
    /// Euler's constant.
    const GAMMA: f64 = 0.577_215_664_901_532_9;
    match keys {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let keys = keys as f64;
            2.0 * ((keys - 1.0).ln() + GAMMA) - 2.0 * (keys - 1.0) / keys
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ForestSettings = ForestSettings { trees: 100, samples: 256, seed: 1 };

    fn cloud(rows: usize) -> Vec<[f64; 3]> {
        let mut random = Rng::new(9);
        (0..rows).map(|_| std::array::from_fn(|_| unit(&mut random))).collect()
    }

    #[test]
    fn a_row_that_lies_apart_scores_highest() {
        let rows = cloud(2_000);
        let forest = IsolationForest::grow(&rows, SETTINGS);
        let usual = forest.score(&rows).into_iter().fold(0.0, f64::max);
        let apart = forest.score(&[[5.0, -4.0, 9.0], [0.5, 0.5, 9.0]]);
        let middle = forest.score(&[[0.5, 0.5, 0.5]])[0];
        assert!(apart[0] > 0.6 && apart[0] > usual, "{apart:?} {usual}");
        // Apart in one of three features: a third of the cuts can tell.
        assert!(middle < 0.5 && apart[1] > middle + 0.03, "{middle} {apart:?}");
    }

    #[test]
    fn a_seed_determines_the_forest() {
        let rows = cloud(500);
        let scores =
            |seed| IsolationForest::grow(&rows, ForestSettings { seed, ..SETTINGS }).score(&rows[..50]);
        assert_eq!(scores(3), scores(3));
        assert_ne!(scores(3), scores(4));
    }

    #[test]
    fn the_depth_of_a_tree_of_four_known_rows_agrees_with_that_by_hand() {
        // One feature, values 0 and 1 twice each: whatever the cut, it parts them into two and two, which no further
        // cut parts. Depth 1 + c(2) = 2 for all; c(4) = 2 (ln 3 + 0.5772) - 1.5 = 1.8517.
        let rows = [[0.0], [1.0], [0.0], [1.0]];
        let forest = IsolationForest::grow(&rows, SETTINGS);
        let expected = (-2.0 / 1.851_655_6_f64).exp2();
        assert!(forest.score(&rows).into_iter().all(|score| (score - expected).abs() < 1e-6));
    }

    #[test]
    fn equal_rows_and_none_grow_a_forest_too() {
        let forest = IsolationForest::grow(&[[1.0, 2.0]; 10], SETTINGS);
        assert_eq!(forest.score(&[[1.0, 2.0]]), forest.score(&[[7.0, 7.0]]));
        assert_eq!(IsolationForest::<2>::grow(&[], SETTINGS).score(&[[0.0, 0.0]]).len(), 1);
    }
}
