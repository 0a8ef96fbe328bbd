//! The flow record: what a dataplane tells the learner of one flow. Field names follow IPFIX (RFC 7012).

use crate::ids::{EndpointId, PolicyVersion, RuleId, SegmentId};
use crate::protocol::Protocol;
use std::net::{IpAddr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the layout, carried by the header of a ring or batch.
pub const FLOW_RECORD_VERSION: u32 = 1;

/// One flow record, version 1: 128 bytes, native byte order (a ring joins processes of one machine).
///
/// `source` is the side that sent the flow's first packet; `forward` is its direction. Numbers in `kind`, `stage`
/// and the like are kept raw, because every value can arrive from outside; the methods give their meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowRecord {
    /// Counts the records of one exporter epoch, from 0, without holes: a hole is a loss.
    pub sequence: u64,
    /// Time of the first packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last packet, nanoseconds since 1970.
    pub last_ns: u64,
    /// Packets from source to destination since the flow's start (`flowEnd` totals, RFC 7012 5.9).
    pub packets_forward: u64,
    /// Bytes from source to destination, IP header included.
    pub bytes_forward: u64,
    /// Packets back.
    pub packets_reverse: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
    /// Source address; IPv4 in its mapped form `::ffff:a.b.c.d`.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Version of the policy that judged the flow last.
    pub policy_version: u64,
    /// Endpoint that owns the source address; 0 = none.
    pub source_endpoint: u32,
    /// Endpoint that owns the destination address; 0 = none.
    pub destination_endpoint: u32,
    /// Rule that decided; 0 = none (stage 6 or 7).
    pub rule: u32,
    /// First shadow rule that would have decided otherwise; 0 = none.
    pub shadow_rule: u32,
    /// Source port or ICMP type.
    pub source_port: u16,
    /// Destination port or ICMP code.
    pub destination_port: u16,
    /// Segment.
    pub segment: u16,
    /// One in how many flows is recorded; 1 = all.
    pub sampling_rate: u16,
    /// Protocol number.
    pub protocol: u8,
    /// [`RecordKind`].
    pub kind: u8,
    /// [`ObservationPoint`].
    pub observation_point: u8,
    /// [`EndReason`].
    pub end_reason: u8,
    /// Stage that decided, by number.
    pub stage: u8,
    /// 1 = allowed, 2 = denied, 3 = rejected.
    pub action: u8,
    /// TCP flags seen from source to destination, or-ed.
    pub tcp_flags_forward: u8,
    /// TCP flags seen back, or-ed.
    pub tcp_flags_reverse: u8,
}

const _: () =
    assert!(size_of::<FlowRecord>() == 128, "the ring's slots and the record's version depend on it");

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number),+ }

        impl $name {
            /// Returns the value with this number, if there is one.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

numbered! {
    /// Why a record was written.
    RecordKind {
        /// The flow's first packet was allowed.
        Start = 1,
        /// The flow goes on; counts since its start.
        Active = 2,
        /// The flow ended; final counts.
        End = 3,
        /// Packets that were denied, gathered over a while.
        Denied = 4,
    }
}

numbered! {
    /// Where on its path the flow was seen.
    ObservationPoint {
        /// At the home of the source. A flow counts once: this one wins.
        SourceHome = 1,
        /// At the home of the destination.
        DestinationHome = 2,
        /// At neither.
        Transit = 3,
    }
}

numbered! {
    /// Why a flow ended.
    EndReason {
        /// It has not.
        None = 0,
        /// FIN both ways.
        Closed = 1,
        /// A reset.
        Reset = 2,
        /// Silence.
        Idle = 3,
        /// A new policy refused it.
        Refused = 4,
        /// The table was full.
        Evicted = 5,
        /// The dataplane stopped.
        Stopped = 6,
    }
}

impl FlowRecord {
    /// Returns both addresses.
    pub fn addresses(&self) -> (IpAddr, IpAddr) {
        (address_from_bytes(self.source), address_from_bytes(self.destination))
    }

    /// Returns why the record was written, if that is a known number.
    pub fn record_kind(&self) -> Option<RecordKind> {
        RecordKind::from_number(self.kind)
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        Protocol(self.protocol)
    }

    /// Returns the segment.
    pub fn segment(&self) -> SegmentId {
        SegmentId(self.segment)
    }

    /// Returns the rule that decided.
    pub fn rule(&self) -> Option<RuleId> {
        Some(RuleId(self.rule)).filter(|rule| rule.0 != 0)
    }

    /// Returns the endpoints that own the addresses.
    pub fn endpoints(&self) -> (Option<EndpointId>, Option<EndpointId>) {
        let endpoint = |id| Some(EndpointId(id)).filter(|id| id.0 != 0);
        (endpoint(self.source_endpoint), endpoint(self.destination_endpoint))
    }

    /// Returns the version of the policy that judged the flow last.
    pub fn policy_version(&self) -> PolicyVersion {
        PolicyVersion(self.policy_version)
    }
}

/// Returns the 16 bytes by which records carry an address: IPv4 in mapped form.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Returns the address of 16 bytes: mapped IPv4 as IPv4. Mapped addresses never occur in IPv6 packets that pass.
pub fn address_from_bytes(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_sixteen_bytes() {
        for text in ["10.0.0.1", "255.255.255.255", "fd00::1", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(address_from_bytes(address_bytes(address)), address);
        }
    }

    #[test]
    fn unknown_numbers_are_nothing() {
        assert_eq!(RecordKind::from_number(0), None);
        assert_eq!(EndReason::from_number(200), None);
        assert_eq!(ObservationPoint::from_number(3), Some(ObservationPoint::Transit));
    }
}
