//! Who goes first when the flow table is full: flows in the order in which they came to their standing.

/// End of a list, or no place.
pub(super) const NONE: u32 = u32::MAX;
/// Number of standings.
pub(super) const STANDINGS: usize = 5;

/// What the table may do with a flow when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: both sides have answered to each other.
    #[default]
    Confirmed,
    /// It may go, the oldest first: the address of its first packet may be forged.
    Unconfirmed,
    /// It may go, the oldest first, before all others: it has ended.
    Over,
    /// Nothing; there is a share for connections taken up in reverse.
    Reversed,
    /// Nothing; there is a share for what a policy cut.
    Refused,
}

impl Standing {
    /// Returns the place of this standing in an array of all.
    pub(super) fn index(self) -> usize {
        usize::from(self.number())
    }

    /// Returns the same in the bits that a flow has for it.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Confirmed => 0,
            Self::Unconfirmed => 1,
            Self::Over => 2,
            Self::Reversed => 3,
            Self::Refused => 4,
        }
    }

    /// Returns the standing of this number.
    #[inline]
    pub(super) fn at(number: u8) -> Self {
        match number {
            0 => Self::Confirmed,
            1 => Self::Unconfirmed,
            2 => Self::Over,
            3 => Self::Reversed,
            _ => Self::Refused,
        }
    }

    /// Returns whether flows of this standing stand in a list, because they may have to go.
    pub(super) fn is_listed(self) -> bool {
        matches!(self, Self::Unconfirmed | Self::Over)
    }
}

/// How many flows have a standing, and the ends of their list, if they have one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    /// Flows of this standing.
    pub(super) flows: u32,
    /// The one that goes first.
    pub(super) oldest: u32,
    /// The one that came last.
    pub(super) newest: u32,
}

impl Rank {
    pub(super) const EMPTY: Self = Self { flows: 0, oldest: NONE, newest: NONE };
}
