//! Labels of edges. They stay beside the edges, so that nothing that learns gets hold of them.

use crate::baselines::edges::Edge;

/// Number of an attack's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttackId(pub u32);

/// The test edges and what they carry.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// Edges in order of time.
    pub test: &'a [Edge],
    /// The attack of each, if it carries one.
    pub attacks: &'a [Option<AttackId>],
}
