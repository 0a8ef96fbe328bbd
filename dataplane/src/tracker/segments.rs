//! How long the segments of a connection may be, as its SYNs said: for cutting super-frames.

use super::{FlowPlace, Tracker};
use crate::packet::IpPacket;

/// Bytes of an IPv4 and of a TCP header without options, which the value of the option leaves room for (RFC 6691).
const V4_HEADERS_BYTES: usize = 20 + 20;
/// Likewise of IPv6.
const V6_HEADERS_BYTES: usize = 40 + 20;
/// What a host takes that said nothing (RFC 9293 section 3.7.1), where that is looked at: see [`Tracker::ip_bytes_max`].
const UNSAID: u16 = 0;

impl Tracker {
    /// Takes note of the option of a SYN that may pass.
    #[inline]
    pub fn note_segments(&mut self, ip: &IpPacket, place: &FlowPlace) {
        let Some(bytes) = ip.tcp.and_then(|tcp| tcp.segment_bytes_max) else { return };
        if let Some(index) = self.table.find(&place.key, place.hash) {
            self.table.say_segment_bytes(index, place.sender, bytes);
        }
    }

    /// Returns how long the IP packets of a connection may be that the sender of this one sends: by what the other side
    /// takes, and by what the sender takes itself, as that tells of the MTU that it knows. None if neither said so: then
    /// the devices alone decide, as the default of 536 bytes would be a slow guess about whoever was seen in the middle.
    pub fn ip_bytes_max(&self, ip: &IpPacket, place: &FlowPlace) -> Option<usize> {
        let index = self.table.find(&place.key, place.hash)?;
        let said = self.table.segment_bytes_max(index).into_iter().filter(|bytes| *bytes != UNSAID).min()?;
        let headers_bytes = if ip.source.is_ipv4() { V4_HEADERS_BYTES } else { V6_HEADERS_BYTES };
        Some(headers_bytes + usize::from(said))
    }
}
