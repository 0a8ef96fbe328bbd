//! Numbers that stand for names on the wire and in records. Control hands them out and never hands one out twice.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Number of a group. 0 is no group; 1 to 15 are built in.
    GroupId(u32)
}
id! {
    /// Number of an endpoint. 0 is no endpoint.
    EndpointId(u32)
}
id! {
    /// Number of a rule or relationship, from one counter for both. 0 is no rule.
    RuleId(u32)
}
id! {
    /// Number of a segment. 0 is no segment; 1 is the segment `default`.
    SegmentId(u16)
}
id! {
    /// Version of a policy, counted up by one with every commit. 0 is the empty policy before the first commit.
    PolicyVersion(u64)
}

impl GroupId {
    /// Every address.
    pub const ANY: Self = Self(1);
    /// An address that no prefix and no endpoint of its segment claims and that is not a multicast address.
    pub const EXTERNAL: Self = Self(2);
    /// A multicast address or the limited broadcast address.
    pub const MULTICAST: Self = Self(3);
    /// The first number that control may hand out; the ones below are kept for built-in groups.
    pub const FIRST_FREE: Self = Self(16);

    /// Returns whether the group is built in. Built-in groups have no members of their own and no stage 6.
    pub fn is_built_in(self) -> bool {
        self.0 < Self::FIRST_FREE.0
    }

    /// Returns the built-in group with this name.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "any" => Some(Self::ANY),
            "external" => Some(Self::EXTERNAL),
            "multicast" => Some(Self::MULTICAST),
            _ => None,
        }
    }

    /// Returns the name of a built-in group.
    pub fn built_in_name(self) -> Option<&'static str> {
        match self {
            Self::ANY => Some("any"),
            Self::EXTERNAL => Some("external"),
            Self::MULTICAST => Some("multicast"),
            _ => None,
        }
    }
}

impl SegmentId {
    /// The segment `default`.
    pub const DEFAULT: Self = Self(1);
}
