//! Roll-ups of flow records: what a bucket may be, and what is asked of the buckets. Pure; the store keeps them.

use crate::costs::Zone;
use meshgate_policy::{Action, GroupId, Name, Protocol};

/// Buckets of one call.
pub const BUCKETS_MAX: usize = 1_000;
/// Sums of one call, over all its buckets.
pub const SUMS_MAX: usize = 100_000;
/// Hauls of one call, over all its buckets.
pub const HAULS_MAX: usize = 100_000;
/// Largest counter of one sum: as many of these as one answer adds up stay within 64 bits.
pub const COUNTER_MAX: u64 = 1 << 50;
/// Groups of one side of a sum: those an address may be in, with room for built-in ones.
pub const GROUPS_PER_SIDE_MAX: usize = meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX + 2;
/// Sums of one answer.
pub const ANSWER_SUMS_MAX: u32 = 10_000;
/// Sums of an answer where nothing was said.
pub const ANSWER_SUMS_DEFAULT: u32 = 100;

/// Width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// Ten seconds.
    Ten,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
}

impl Width {
    /// Every width, narrow ones first.
    pub const ALL: [Self; 3] = [Self::Ten, Self::Minute, Self::Hour];

    /// Returns the width of this many seconds.
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|width| width.seconds() == u64::from(seconds))
    }

    /// Returns the width in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Ten => 10,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }
}

/// What sums are kept under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Segment; 0 if it is not known.
    pub segment: u16,
    /// Groups of the source address, sorted; `any` left out.
    pub source_groups: Vec<GroupId>,
    /// Groups of the destination address, sorted; `any` left out.
    pub destination_groups: Vec<GroupId>,
    /// Protocol.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub service_port: u16,
    /// What happened.
    pub action: Action,
    /// Number of the stage that decided.
    pub stage: u8,
    /// The rule that decided; 0 = none.
    pub rule: u32,
    /// The shadow rule that would have decided otherwise; 0 = none.
    pub shadow_rule: u32,
}

/// Sums under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSum {
    /// The key.
    pub key: FlowKey,
    /// Flows that began, or denied attempts.
    pub flows: u64,
    /// Packets from source to destination.
    pub packets_forward: u64,
    /// Bytes from source to destination.
    pub bytes_forward: u64,
    /// Packets back.
    pub packets_reverse: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
    /// First packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Last packet, nanoseconds since 1970.
    pub last_ns: u64,
}

/// What bytes are kept under by zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ZoneKey {
    /// Groups of the source address, sorted; `any` left out.
    pub source_groups: Vec<GroupId>,
    /// Groups of the destination address, likewise.
    pub destination_groups: Vec<GroupId>,
    /// The rule that decided; 0 = none.
    pub rule: u32,
    /// Zone of the source.
    pub source_zone: Zone,
    /// Zone of the destination.
    pub destination_zone: Zone,
}

/// Bytes of what was let pass, by zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSum {
    /// The key.
    pub key: ZoneKey,
    /// Bytes from source to destination.
    pub bytes_forward: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
}

/// What was carried between zones in a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneAnswer {
    /// The sums, the largest in bytes first.
    pub sums: Vec<ZoneSum>,
    /// Smaller sums that were not read.
    pub left_out: u64,
    /// Records that never reached a collector in the span.
    pub records_lost: u64,
}

/// All that one collector saw in one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Width.
    pub width: Width,
    /// Start, seconds since 1970, a multiple of the width.
    pub start_s: u64,
    /// Sums.
    pub sums: Vec<FlowSum>,
    /// Records that never reached the collector.
    pub records_lost: u64,
    /// Bytes by zone; of an hour only.
    pub zones: Vec<ZoneSum>,
}

/// Buckets of one collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The collector.
    pub collector: Name,
    /// Its process start.
    pub epoch: u64,
    /// The buckets.
    pub buckets: Vec<Bucket>,
}

/// What is asked of the buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// First second.
    pub from_s: u64,
    /// The second after the last; none = open.
    pub until_s: Option<u64>,
    /// Only flows whose source is in this group.
    pub source_group: Option<GroupId>,
    /// Only flows whose destination is in this group.
    pub destination_group: Option<GroupId>,
    /// Only flows with this action.
    pub action: Option<Action>,
    /// Only flows of this protocol.
    pub protocol: Option<Protocol>,
    /// Only flows with this destination port or ICMP type.
    pub service_port: Option<u16>,
    /// Sums of the answer at most, the largest in bytes first.
    pub limit: u32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowAnswer {
    /// The sums, the largest in bytes first.
    pub sums: Vec<FlowSum>,
    /// Sums that the limit left out.
    pub left_out: u64,
    /// Records that never reached a collector in the span.
    pub records_lost: u64,
}
