//! Leases: what a DHCP client and its server say to each other is passed on to whoever keeps leases.

use super::Worker;
use crate::binding::Bindings;
use crate::leases::{Hearing, hear};
use crate::packet::{IpPacket, Packet};
use af_xdp::Frame;
use meshgate_policy::SegmentId;

/// Bytes of a UDP header.
const UDP_BYTES: usize = 8;

impl Worker {
    /// Reads what a packet that passes between a listed client and a listed server says about a lease.
    pub(super) fn overhear(&self, bindings: &Bindings, segment: SegmentId, packet: &Packet, frame: &Frame) {
        let Some((ip, role)) = packet.ip().and_then(|ip| Some((ip, ip.dhcp?))) else { return };
        let hearing = Hearing {
            role,
            is_ipv4: ip.source.is_ipv4(),
            source_mac: packet.source_mac,
            destination_mac: packet.destination_mac,
            payload: payload_of(ip, self.pool.bytes(frame)),
        };
        for heard in hear(&hearing, |mac| bindings.lessee(segment, mac)) {
            let counter = match self.leases.push(heard) {
                Ok(()) => &self.counters.leases_heard,
                Err(_) => &self.counters.leases_lost,
            };
            counter.add(1);
        }
    }
}

/// Returns the bytes behind the UDP header, as far as the first buffer has them.
fn payload_of<'a>(ip: &IpPacket, frame: &'a [u8]) -> &'a [u8] {
    let l4_at = usize::from(ip.l4_offset);
    let end = frame.len().min(l4_at + usize::from(ip.l4_bytes));
    frame.get(l4_at + UDP_BYTES..end).unwrap_or_default()
}
