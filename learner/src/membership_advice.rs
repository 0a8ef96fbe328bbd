//! Which endpoint behaves like which group: drafts of membership changes.
//!
//! What an endpoint does is a set of *deeds*: it uses or serves a service, of or for peers of certain groups, and the same
//! without the peers. A group does a deed as far as its members do. How alike an endpoint and a group are is their weighted
//! Jaccard similarity: what both do over what either does. A deed counts as far as it tells endpoints apart (what everybody
//! does, such as asking for names, counts next to nothing) and as far as it is a habit of some group (what one did by
//! chance counts little: without that, chance alone made most endpoints unlike their own group).
//!
//! An endpoint is found to behave like a group when it is at least as like it as most of its own members are, each of them
//! measured against the others, so that a group whose members have nothing in common attracts nobody; and when no other
//! group comes near. A group that is nearly the same set of endpoints is no other group. What is found is a draft: an
//! endpoint that was set up wrong, or an attacker's, may behave like a group too, and a person decides.
//!
//! Only exchanges that were answered are deeds: attempts say what somebody wants, not what it is for. Nothing is ever taken
//! out of a group: that a member is silent, or does more than others, is no reason.

mod behaviours;
mod comparison;
mod drafts;
mod watch;
#[cfg(test)]
pub(crate) mod worlds;

pub use behaviours::{ACTORS_MAX, Behaviours, BehavioursState, DEEDS_PER_ACTOR_MAX, Tally};
pub use comparison::{Actor, Likeness, MembershipLimits, Shared, likenesses};
pub use watch::{MembershipWatch, Round};

use serde::{Deserialize, Serialize};

/// Which side of a service somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It begins the flows.
    Uses,
    /// The flows are for it.
    Serves,
}

/// Something that endpoints do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deed {
    /// Which side.
    pub part: Part,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type; 0 for the ports that systems hand out at random.
    pub service_port: u16,
    /// Number of the set of groups that the other side is in; none for anybody.
    pub peer: Option<u32>,
}

/// The first port that systems hand out at random. Linux begins here; Windows and RFC 6335 begin later.
const RANDOM_PORTS_FROM: u16 = 32_768;

impl Deed {
    /// Returns the deeds of one side of a flow: with its peer, and with anybody.
    pub fn of(part: Part, protocol: u8, service_port: u16, peer: u32) -> [Self; 2] {
        let service_port = if service_port >= RANDOM_PORTS_FROM { 0 } else { service_port };
        [Some(peer), None].map(|peer| Self { part, protocol, service_port, peer })
    }
}

#[cfg(test)]
mod tests;
