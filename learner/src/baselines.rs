//! What the model has to beat: methods without a network, over edges.
//!
//! An [`edges::Edge`] is everything that one address sent to one other within one minute. The edges come without
//! labels: whoever scores them cannot look.

pub mod counting;
pub mod edge_features;
pub mod edges;
pub mod new_pair;
