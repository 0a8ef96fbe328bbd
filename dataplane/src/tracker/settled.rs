//! Plain packets of settled flows, which are nearly all packets there are: what they change is decided by a few loads.

use super::{FlowPlace, Tracker, verdict_grounds};
use crate::flow_table::{Exchange, FlowKey, FlowState};
use crate::packet::PlainPacket;
use crate::published::Published;
use crate::verdict::Grounds;
use meshgate_policy::{SegmentId, Stage};

impl Tracker {
    /// Does for a plain packet what [`Self::locate`] does for any.
    #[inline]
    pub fn locate_plain(&self, segment: SegmentId, packet: &PlainPacket) -> FlowPlace {
        let source = (packet.source, packet.source_port);
        let destination = (packet.destination, packet.destination_port);
        let (key, sender) = FlowKey::between(segment, packet.protocol(), source, destination);
        let hash = self.table.hash().flow(&key);
        self.table.prefetch_list(hash);
        FlowPlace { key, sender, hash }
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
        let index = self.table.find(&place.key, place.hash)?;
        let (flow, grounds) = self.table.confirmed_mut(index)?;
        if grounds.generation != published.generation {
            return None;
        }
        let tcp_flags = match (&mut flow.state, &packet.tcp) {
            (FlowState::Tcp(connection), Some(tcp)) => {
                let goes_on = connection.go_on_established(tcp, place.sender);
                goes_on.then_some(tcp.flags.0)?
            }
            (FlowState::Exchange(Exchange::Steady), None) => 0,
            _ => return None,
        };
        flow.count(place.sender, packet.ip_bytes.into(), tcp_flags, now_ns);
        flow.deliver(place.sender, Some(egress));
        let grounds = *grounds;
        self.count_rule(&grounds, packet.ip_bytes.into(), false, published);
        Some(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }
}
