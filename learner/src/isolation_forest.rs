//! Isolation forest (Liu, Ting, Zhou: ICDM 2008): what random cuts separate early is unusual.
//!
//! **The idea.** A tree takes a sample of the training rows and cuts it, at a random value of a random feature, until each
//! row is alone or the tree is as deep as a balanced one would be. A row that lies apart ends up alone after few cuts. The
//! score is `2^(-depth / c)`: `depth` is the mean over all trees of the cuts on the row's way, plus the cuts that the rows
//! left together would still need, and `c` is the mean depth of a search tree of the sample's size.
//!
//! **The cost.** A row walks down every tree, and each step waits for the one before: a miss of the cache and a branch that
//! nobody can foresee. So a node is eight bytes, a tree of some thousand samples fits the first cache but one, and rows go
//! down a tree sixteen at a time, whose waits overlap. There is no branch, which the compiler is told, since it would guess
//! otherwise and be nine times as slow: a leaf leads to itself, and everybody takes as many steps as the deepest way has. Rows
//! are as wide as five bits can say, so that no step asks whether a feature exists.
//!
//! ```text
//! node   | at: 32-bit float | feature: 5 bits | right child: 27 bits |     the left child is the node after it
//! leaf   | at: no number    | 0               | itself               |     no value is at most no number: always right
//! depths | for each node, what a row that ends there counts            |
//! ```

use crate::checkpoint::saved::{Reader, Saved, SavedError, Writer};
use meshgate_policy::generate::Rng;

/// Rows that go down a tree together: their waits for memory overlap.
const TOGETHER: usize = 16;
/// Values of a row: as many as the bits of a node's feature tell apart.
const WIDTH: usize = 1 << (u32::BITS - CHILD_BITS);
/// Bits of a node's right child.
const CHILD_BITS: u32 = 27;
/// Samples a tree takes at most: twice as many nodes fit the bits of a child by far.
const SAMPLES_MAX: usize = 1 << 20;

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
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForest<const N: usize> {
    trees: Vec<Tree>,
    /// Mean depth of a search tree of the sample's size.
    usual_depth: f32,
}

/// A tree.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tree {
    nodes: Vec<Node>,
    /// What a row that ends at a node counts; of a cut it is nothing.
    depths: Vec<f32>,
    /// Cuts on the longest way.
    longest: u32,
}

/// A node. See the drawing at the top.
#[derive(Clone, Copy, Debug)]
struct Node {
    at: f32,
    link: u32,
}

/// By their bits: a leaf holds no number, which equals nothing.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.at.to_bits(), self.link) == (other.at.to_bits(), other.link)
    }
}

impl Node {
    fn cut(feature: usize, at: f32) -> Self {
        Self { at, link: u32::try_from(feature).unwrap_or(0) << CHILD_BITS }
    }

    fn leaf(place: usize) -> Self {
        Self { at: f32::NAN, link: child(place) }
    }

    fn feature(self) -> usize {
        usize::try_from(self.link >> CHILD_BITS).unwrap_or(0)
    }

    fn right(self) -> u32 {
        self.link & ((1 << CHILD_BITS) - 1)
    }
}

/// Returns a place as a node holds it.
fn child(place: usize) -> u32 {
    u32::try_from(place).expect("a tree of SAMPLES_MAX samples has places of 27 bits")
}

impl<const N: usize> IsolationForest<N> {
    /// Grows a forest from rows of finite values, cutting only these features of them. The last `shown` rows are seen by
    /// every tree, beside its sample of the others.
    pub fn grow(rows: &[[f32; N]], shown: usize, features: &[usize], settings: ForestSettings) -> Self {
        const { assert!(N <= WIDTH) };
        let (drawn, shown) = (rows.len().saturating_sub(shown), shown.min(rows.len()));
        let samples = settings.samples.min(drawn).min(SAMPLES_MAX - shown.min(SAMPLES_MAX)) + shown;
        let mut random = Rng::new(settings.seed);
        let mut order: Vec<usize> = (drawn..rows.len()).chain(0..drawn).collect();
        let depth_max = samples.max(2).next_power_of_two().ilog2();
        let trees = (0..settings.trees).map(|_| {
            // The shown ones may stand anywhere among the first after the tree before.
            if shown > 0 {
                order[..samples].sort_unstable_by_key(|row| *row < drawn);
            }
            for place in shown..samples {
                order.swap(place, place + random.index(rows.len() - place));
            }
            let mut growth = Growth { rows, random: &mut random, features, tree: Tree::default(), depth_max };
            growth.grow(&mut order[..samples], 0);
            growth.tree
        });
        Self { trees: trees.collect(), usual_depth: search_depth(samples) }
    }

    /// Returns the score of each row: about 0.5 for usual ones, towards 1 for those that lie apart.
    pub fn score(&self, rows: &[[f32; N]]) -> Vec<f32> {
        let wide: Vec<[f32; WIDTH]> = rows.iter().map(widened).collect();
        let (together, rest) = wide.as_chunks::<TOGETHER>();
        let mut depths = vec![0.0; rows.len()];
        // Tree by tree over all rows: a tree stays in the cache, the forest would not.
        for tree in &self.trees {
            let (sums, sums_of_rest) = depths.as_chunks_mut::<TOGETHER>();
            for (sums, rows) in sums.iter_mut().zip(together) {
                tree.add_depths(rows, sums);
            }
            for (sum, row) in sums_of_rest.iter_mut().zip(rest) {
                tree.add_depths(std::array::from_ref(row), std::array::from_mut(sum));
            }
        }
        let all = (self.trees.len() as f64 * f64::from(self.usual_depth)).max(f64::MIN_POSITIVE);
        depths.into_iter().map(|depth| crate::model::single((-f64::from(depth) / all).exp2())).collect()
    }
}

/// Returns a row with zeros behind it.
fn widened<const N: usize>(row: &[f32; N]) -> [f32; WIDTH] {
    let mut wide = [0.0; WIDTH];
    wide[..N].copy_from_slice(row);
    wide
}

impl Tree {
    /// Adds what each of these rows counts.
    #[inline]
    fn add_depths<const ROWS: usize>(&self, rows: &[[f32; WIDTH]; ROWS], sums: &mut [f32; ROWS]) {
        let nodes = self.nodes.as_slice();
        let mut places = [0_u32; ROWS];
        for _ in 0..self.longest {
            for at in 0..ROWS {
                let node = nodes[places[at] as usize];
                let goes_left = rows[at][node.feature()] <= node.at;
                places[at] = std::hint::select_unpredictable(goes_left, places[at] + 1, node.right());
            }
        }
        for (sum, place) in sums.iter_mut().zip(places) {
            *sum += self.depths[place as usize];
        }
    }
}

/// A tree while it grows.
struct Growth<'a, const N: usize> {
    rows: &'a [[f32; N]],
    random: &'a mut Rng,
    features: &'a [usize],
    tree: Tree,
    depth_max: u32,
}

impl<const N: usize> Growth<'_, N> {
    /// Appends the nodes of these rows. The recursion is at most `depth_max` deep, a few more than a dozen.
    fn grow(&mut self, members: &mut [usize], depth: u32) {
        let place = self.tree.nodes.len();
        let cut = if depth < self.depth_max { self.cut(members) } else { None };
        let Some((feature, at)) = cut else {
            self.tree.nodes.push(Node::leaf(place));
            self.tree.depths.push(crate::model::single(f64::from(depth)) + search_depth(members.len()));
            self.tree.longest = self.tree.longest.max(depth);
            return;
        };
        self.tree.nodes.push(Node::cut(feature, at));
        self.tree.depths.push(0.0);
        let left = partition(members, |member| self.rows[member][feature] <= at);
        let (left, right) = members.split_at_mut(left);
        self.grow(left, depth + 1);
        self.tree.nodes[place].link |= child(self.tree.nodes.len());
        self.grow(right, depth + 1);
    }

    /// Returns a random value of a random feature among those in which the rows differ. The value is below the largest
    /// one, so that both sides get rows.
    fn cut(&mut self, members: &[usize]) -> Option<(usize, f32)> {
        let mut features = self.features.to_vec();
        for tried in 0..features.len() {
            let other = tried + self.random.index(features.len() - tried);
            features.swap(tried, other);
            let feature = features[tried];
            let values = members.iter().map(|member| self.rows[*member][feature]);
            let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            if low < high {
                let share = crate::model::unit(self.random);
                let at = crate::model::single(f64::from(low) + (f64::from(high) - f64::from(low)) * share);
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

/// Returns the mean depth of an unsuccessful search in a binary search tree of so many keys.
fn search_depth(keys: usize) -> f32 {
    /// Euler's constant.
    const GAMMA: f64 = 0.577_215_664_901_532_9;
    match keys {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let keys = keys as f64;
            crate::model::single(2.0 * ((keys - 1.0).ln() + GAMMA) - 2.0 * (keys - 1.0) / keys)
        }
    }
}

impl Saved for Node {
    fn write(&self, out: &mut Writer) {
        let Self { at, link } = self;
        at.write(out);
        link.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok(Self { at: f32::read(from)?, link: u32::read(from)? })
    }
}

impl<const N: usize> Saved for IsolationForest<N> {
    fn write(&self, out: &mut Writer) {
        let Self { trees, usual_depth } = self;
        usual_depth.write(out);
        trees.len().write(out);
        for Tree { nodes, depths, longest } in trees {
            longest.write(out);
            nodes.write(out);
            depths.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let usual_depth = f32::read(from)?;
        let mut trees = Vec::new();
        for _ in 0..from.length()? {
            let tree = Tree { longest: u32::read(from)?, nodes: Vec::read(from)?, depths: Vec::read(from)? };
            if !tree.is_sound(N) {
                return Err(SavedError::Malformed("a tree"));
            }
            trees.push(tree);
        }
        Ok(Self { trees, usual_depth })
    }
}

impl Tree {
    /// Returns whether every step leads forward to a node that exists, or stays at a leaf.
    fn is_sound(&self, features: usize) -> bool {
        let count = self.nodes.len();
        let is_node_sound = |(place, node): (usize, &Node)| {
            let right = usize::try_from(node.right()).unwrap_or(0);
            let is_leaf = node.at.is_nan() && right == place;
            let is_cut = !node.at.is_nan() && right > place + 1 && right < count;
            node.feature() < features && (is_leaf || is_cut)
        };
        count > 0
            && self.depths.len() == count
            && self.longest <= SAMPLES_MAX.ilog2() + 1
            && self.nodes.iter().enumerate().all(is_node_sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{single, unit};

    const SETTINGS: ForestSettings = ForestSettings { trees: 100, samples: 256, seed: 1 };

    fn cloud(rows: usize) -> Vec<[f32; 3]> {
        let mut random = Rng::new(9);
        (0..rows).map(|_| std::array::from_fn(|_| single(unit(&mut random)))).collect()
    }

    #[test]
    fn a_row_that_lies_apart_scores_highest() {
        let rows = cloud(2_000);
        let forest = IsolationForest::grow(&rows, 0, &[0, 1, 2], SETTINGS);
        let usual = forest.score(&rows).into_iter().fold(0.0, f32::max);
        let apart = forest.score(&[[5.0, -4.0, 9.0], [0.5, 0.5, 9.0]]);
        let middle = forest.score(&[[0.5, 0.5, 0.5]])[0];
        assert!(apart[0] > 0.6 && apart[0] > usual, "{apart:?} {usual}");
        // Apart in one of three features: a third of the cuts can tell.
        assert!(middle < 0.5 && apart[1] > middle + 0.03, "{middle} {apart:?}");
    }

    #[test]
    fn a_feature_that_is_not_cut_does_not_matter() {
        let rows = cloud(2_000);
        let forest = IsolationForest::grow(&rows, 0, &[0, 1], SETTINGS);
        let scores = forest.score(&[[0.5, 0.5, 0.5], [0.5, 0.5, 900.0]]);
        assert_eq!(scores[0].to_bits(), scores[1].to_bits());
    }

    #[test]
    fn what_is_shown_to_every_tree_makes_room_for_a_cut() {
        // All alike in the second feature, but for one row that is made up.
        let mut rows: Vec<[f32; 3]> = cloud(5_000).into_iter().map(|row| [row[0], 7.0, row[2]]).collect();
        let blind = IsolationForest::grow(&rows, 0, &[0, 1, 2], SETTINGS);
        rows.push([0.5, 0.0, 0.5]);
        let forest = IsolationForest::grow(&rows, 1, &[0, 1, 2], SETTINGS);
        let (usual, apart) = ([0.5, 7.0, 0.5], [0.4, 0.0, 0.6]);
        assert!((blind.score(&[apart])[0] - blind.score(&[usual])[0]).abs() < 0.1);
        assert!(forest.score(&[apart])[0] > forest.score(&[usual])[0] + 0.2);
    }

    #[test]
    fn rows_score_alike_alone_and_together() {
        let rows = cloud(203);
        let forest = IsolationForest::grow(&rows, 0, &[0, 1, 2], SETTINGS);
        let together = forest.score(&rows);
        let alone: Vec<f32> = rows.iter().map(|row| forest.score(&[*row])[0]).collect();
        assert_eq!(together, alone);
    }

    #[test]
    fn a_seed_determines_the_forest() {
        let rows = cloud(500);
        let grown = |seed| IsolationForest::grow(&rows, 0, &[0, 1, 2], ForestSettings { seed, ..SETTINGS });
        assert_eq!(grown(3), grown(3));
        assert_ne!(grown(3), grown(4));
    }

    #[test]
    fn the_depth_of_a_tree_of_four_known_rows_agrees_with_that_by_hand() {
        // One feature, values 0 and 1 twice each: whatever the cut, it parts them into two and two, which no further
        // cut parts. Depth 1 + c(2) = 2 for all; c(4) = 2 (ln 3 + 0.5772) - 1.5 = 1.8517.
        let rows = [[0.0], [1.0], [0.0], [1.0]];
        let forest = IsolationForest::grow(&rows, 0, &[0], SETTINGS);
        let expected = single((-2.0 / 1.851_655_6_f64).exp2());
        assert!(forest.score(&rows).into_iter().all(|score| (score - expected).abs() < 1e-6));
    }

    #[test]
    fn equal_rows_and_none_grow_a_forest_too() {
        let forest = IsolationForest::grow(&[[1.0, 2.0]; 10], 0, &[0, 1], SETTINGS);
        let scores = [forest.score(&[[1.0, 2.0]]), forest.score(&[[7.0, 7.0]])];
        assert_eq!(scores[0], scores[1]);
        assert_eq!(IsolationForest::<2>::grow(&[], 0, &[0, 1], SETTINGS).score(&[[0.0, 0.0]]).len(), 1);
    }

    #[test]
    fn a_forest_is_read_as_it_was_written_and_a_crooked_one_is_refused() {
        let rows = cloud(300);
        let forest = IsolationForest::grow(&rows, 0, &[0, 1, 2], ForestSettings { trees: 3, ..SETTINGS });
        let mut out = Writer::default();
        forest.write(&mut out);
        assert_eq!(IsolationForest::<3>::read(&mut Reader(&out.0)), Ok(forest.clone()));
        // With fewer features some cut is of one that is not there.
        assert!(IsolationForest::<1>::read(&mut Reader(&out.0)).is_err());
        let mut crooked = forest;
        crooked.trees[1].nodes[0].link |= (1 << CHILD_BITS) - 1;
        let mut out = Writer::default();
        crooked.write(&mut out);
        assert!(IsolationForest::<3>::read(&mut Reader(&out.0)).is_err());
    }
}
