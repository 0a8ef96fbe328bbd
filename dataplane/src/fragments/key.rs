//! What makes parts belong to one datagram, and what the table is told of each.

use super::coverage::Part;
use super::{AGE_ENDPOINTS, AGE_UPLINKS, SHARES};
use crate::flow_table::KeyedHash;
use crate::packet::{Fragment, IpPacket};
use meshgate_policy::{Protocol, SegmentId, address_bytes};

/// The name of a datagram under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramKey {
    source: u128,
    destination: u128,
    id: u32,
    segment: SegmentId,
    device: u16,
    protocol: Protocol,
}

/// Where a part came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The segment.
    pub segment: SegmentId,
    /// The device.
    pub device: u16,
    /// Whether the device is an uplink, behind which addresses may be invented.
    pub is_uplink: bool,
}

/// A part as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The datagram it says to belong to.
    pub key: DatagramKey,
    /// What it says to be.
    pub part: Part,
    /// Whether it came by an uplink.
    pub is_from_uplink: bool,
    /// Frames (chunks) of packet memory that it takes.
    pub frames: u32,
    /// The policy under which it passed stage 2.
    pub generation: u64,
    /// When it came.
    pub now_ns: u64,
}

impl Arrival {
    /// Returns the arrival of a part that takes so many frames (chunks); None of a whole packet.
    pub fn of(
        ip: &IpPacket,
        origin: Origin,
        frames: usize,
        (generation, now_ns): (u64, u64),
    ) -> Option<Self> {
        let (id, start, more) = match ip.fragment {
            Fragment::Whole => return None,
            Fragment::First { id } => (id, 0, true),
            Fragment::Later { id, offset_bytes, more } => (id, offset_bytes, more),
        };
        let Origin { segment, device, is_uplink } = origin;
        let number = |address| u128::from_be_bytes(address_bytes(address));
        let (source, destination) = (number(ip.source), number(ip.destination));
        Some(Self {
            key: DatagramKey { source, destination, id, segment, device, protocol: ip.l4.protocol },
            // Stage 1 has seen to the end being within 65,535.
            part: Part { start, end: start.saturating_add(ip.l4_bytes), is_last: !more },
            is_from_uplink: is_uplink,
            frames: u32::try_from(frames).unwrap_or(u32::MAX),
            generation,
            now_ns,
        })
    }

    /// Returns whether it is the part with the L4 header.
    pub fn is_first(&self) -> bool {
        self.part.start == 0
    }
}

impl DatagramKey {
    pub(super) fn hash(&self, hash: &KeyedHash) -> u64 {
        let Self { source, destination, id, segment, device, protocol } = *self;
        let rest = u64::from(id) << 32 | u64::from(segment.0) << 16 | u64::from(device);
        hash.numbers(source, destination, rest ^ u64::from(protocol.0) << 24)
    }
}

/// Returns the list of ages in which a decided datagram is.
pub(super) fn age_of(arrival: &Arrival) -> u32 {
    if arrival.is_from_uplink { AGE_UPLINKS } else { AGE_ENDPOINTS }
}

/// Returns the share of a sender: of an endpoint device all that comes from it, of an uplink each source address.
pub(super) fn share_of(arrival: &Arrival, hash: &KeyedHash) -> u32 {
    let DatagramKey { source, segment, device, .. } = arrival.key;
    if !arrival.is_from_uplink {
        return u32::from(device) % SHARES;
    }
    let of_source = hash.numbers(source, 0, u64::from(segment.0) << 16 | u64::from(device));
    let share = of_source % u64::from(SHARES);
    SHARES + u32::try_from(share).expect("a remainder of SHARES fits")
}
