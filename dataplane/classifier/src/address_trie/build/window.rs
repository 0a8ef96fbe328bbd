//! The window of a digit: where most of its places lie.
//!
//! Hosts that are told apart crowd in one or two subnets of a /16. A row over the whole digit would have thousands of nodes
//! before each has few enough places, nearly all of them alike. So a row that a root table leads to is for a **window** of the
//! digit, and one node more is for everything outside of it:
//!
//! ```text
//! digit     0 ......... first ................................. first + inside << shift ....... 65535
//!           outside     | node 0 | node 1 | ...     | inside - 1 |      outside
//! ```
//!
//! `digit - first`, wrapped around, is large on both sides of the window, so that the smaller of its shift and `inside` is the
//! number of the node: one subtraction and one comparison more than a row without a window takes, and no branch.

use super::*;

/// Places that may lie outside of a window: its node has them and the place at which the window ends.
const OUTSIDE_MAX: usize = NODE_LASTS - 1;
/// Fewest bits of the digit that a node decides: it holds them all apart.
const SHIFT_MIN: u32 = 3;

/// How a row divides a digit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The first value inside.
    pub(super) first: u16,
    /// Nodes inside.
    pub(super) inside: u32,
    /// Bits of the digit that a node decides.
    pub(super) shift: u32,
}

impl Window {
    /// Returns the shortest row for these stretches in which no node has too many places, as long as it is not many times longer
    /// than what it holds; else a row of the whole digit, with more nodes below it.
    pub(super) fn choose(stretches: &[Stretch], nodes_per_stretch: usize) -> Self {
        let bits = row_bits(stretches, nodes_per_stretch);
        let whole = Self { first: 0, inside: 1 << bits, shift: DIGIT_BITS - bits };
        let places = &stretches[1..];
        let is_enough = is_uncrowded(places, whole.shift);
        let longest = if is_enough { whole.inside as usize - 1 } else { nodes_per_stretch * stretches.len() };
        let windows = (SHIFT_MIN..DIGIT_BITS).take_while(|shift| is_uncrowded(places, *shift));
        let shortest = windows.filter_map(|shift| Self::with(places, shift)).min_by_key(Self::nodes);
        shortest.filter(|window| window.nodes() as usize <= longest.min(1 << ROW_BITS_MAX)).unwrap_or(whole)
    }

    /// Returns the shortest window that leaves few enough places outside.
    fn with(places: &[Stretch], shift: u32) -> Option<Self> {
        let windows = (0..=OUTSIDE_MAX).filter_map(|before| {
            let last = (places.len() + before).checked_sub(OUTSIDE_MAX + 1).filter(|last| *last >= before)?;
            let node = |place: &Stretch| u32::from(place.first) >> shift;
            let (first, last) = (node(places.get(before)?), node(places.get(last)?));
            Some(Self { first: (first << shift & 0xffff) as u16, inside: last - first + 1, shift })
        });
        windows.min_by_key(|window| window.inside)
    }

    /// Returns how many nodes the row has.
    pub(super) fn nodes(&self) -> u32 {
        self.inside + u32::from(self.has_outside())
    }

    /// Returns whether there is anything outside.
    pub(super) fn has_outside(&self) -> bool {
        self.inside << self.shift < 1 << DIGIT_BITS
    }

    /// Returns the stretches outside, that of the window's end beginning there.
    pub(super) fn outside(&self, stretches: &[Stretch]) -> Vec<Stretch> {
        let before = stretches.iter().take_while(|stretch| stretch.first < self.first).copied();
        let Ok(end) = u16::try_from(u32::from(self.first) + (self.inside << self.shift)) else {
            return before.collect();
        };
        let behind = meeting(stretches, end.into(), 1 << DIGIT_BITS);
        before.chain([Stretch { first: end, ..behind[0] }]).chain(behind[1..].iter().copied()).collect()
    }
}
