//! Plain packets of settled flows, which are nearly all packets there are: what they change is decided by a few loads.

use super::{FlowPlace, Tracker, verdict_grounds};
use crate::flow_table::{Exchange, FlowState};
use crate::packet::PlainPacket;
use crate::published::Published;
use crate::verdict::Grounds;
use meshgate_policy::{SegmentId, Stage};

impl Tracker {
    /// Does for a plain packet what [`Self::locate`] does for any.
    #[inline]
    pub fn locate_plain(&self, segment: SegmentId, packet: &PlainPacket, place: &mut FlowPlace) {
        let source = (packet.source, packet.source_port);
        let destination = (packet.destination, packet.destination_port);
        place.sender = place.key.put((segment, packet.protocol), source, destination);
        place.hash = self.table.hash().flow(&place.key);
        self.table.prefetch_list(place.hash);
    }

    /// Lets a plain packet pass, which goes to this device, if its flow is settled: confirmed, judged by the current policy,
    /// and such that the packet changes neither its state nor its timeout. Then [`Self::judge`] would say the same.
    /// Otherwise nothing has changed, and that must be asked.
    #[inline]
    pub fn go_on(
        &mut self,
        packet: &PlainPacket,
        place: &FlowPlace,
        (egress, now_ns): (u16, u64),
        published: &Published,
    ) -> Option<Grounds> {
        let index = match self.table.at_end_of(place.trail, &place.key) {
            Some(index) => index,
            None if place.trail.has_ended() => return None,
            None => self.table.find(&place.key, place.hash)?,
        };
        let (flow, grounds) = self.table.confirmed_mut(index)?;
        if grounds.generation != published.generation {
            return None;
        }
        let goes_on = match (&mut flow.state, packet.tcp()) {
            (FlowState::Tcp(connection), Some(tcp)) => connection.go_on_established(&tcp, place.sender),
            (FlowState::Exchange(Exchange::Steady), None) => true,
            _ => false,
        };
        if !goes_on {
            return None;
        }
        flow.count(place.sender, packet.ip_bytes.into(), packet.tcp_flags, now_ns);
        flow.deliver(place.sender, Some(egress));
        let grounds = self.table.grounds(index);
        self.count_rule(grounds, packet.ip_bytes.into(), false, published);
        Some(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(grounds) })
    }
}
