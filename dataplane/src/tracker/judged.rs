//! A packet that passed stages 1 to 3, with all that stage 4 needs to know of it.

use crate::binding::{Bindings, Role};
use crate::flow_table::{FlowKey, Sender, echo_identifier};
use crate::meter::Parties;
use crate::packet::{IcmpKind, IpPacket};
use crate::switch::Egress;
use meshgate_policy::{L4Key, PolicyKey, SegmentId};

/// A packet on its way to a verdict.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// The packet.
    pub ip: &'a IpPacket,
    /// Its segment.
    pub segment: SegmentId,
    /// Who is where: which endpoints own its addresses.
    pub bindings: &'a Bindings,
    /// Where it came in.
    pub ingress: u16,
    /// Where it goes.
    pub egress: Egress,
    /// Time of its burst, nanoseconds since 1970.
    pub now_ns: u64,
}

impl Judged<'_> {
    /// Returns who talks, and whether their devices are of this host. Asked of refused packets only.
    pub fn parties(&self) -> Parties {
        let owner =
            |address| self.bindings.endpoint_of(self.segment, address).map_or(0, |endpoint| endpoint.0);
        let (source_is_home, destination_is_home) = self.are_home();
        Parties {
            source_endpoint: owner(self.ip.source),
            destination_endpoint: owner(self.ip.destination),
            source_is_home,
            destination_is_home,
        }
    }

    /// Returns whether the devices of sender and receiver are of this host.
    pub fn are_home(&self) -> (bool, bool) {
        let is_home = |device: u16| self.bindings.role(device).is_some_and(|role| role != Role::Uplink);
        (is_home(self.ingress), self.delivered_to().is_some_and(is_home))
    }

    /// Returns what stages 5 to 7 look at, in the packet's own direction.
    pub fn policy_key(&self) -> PolicyKey {
        PolicyKey {
            segment: self.segment,
            source: self.ip.source,
            destination: self.ip.destination,
            l4: self.ip.l4,
        }
    }

    /// Returns what stages 5 to 7 would look at if the other side had begun.
    pub fn reverse_policy_key(&self) -> PolicyKey {
        let L4Key { protocol, source_port, destination_port } = self.ip.l4;
        PolicyKey {
            segment: self.segment,
            source: self.ip.destination,
            destination: self.ip.source,
            l4: L4Key::ports(protocol, destination_port, source_port),
        }
    }

    /// Returns which side of the key sent the packet.
    pub fn sender_of(&self, key: &FlowKey) -> Sender {
        let (own, sender) = FlowKey::of(self.segment, self.ip);
        debug_assert_eq!(own, *key, "asked only for the packet's own key");
        sender
    }

    /// Returns the TCP flags; 0 without TCP.
    pub fn tcp_flags(&self) -> u8 {
        self.ip.tcp.map_or(0, |tcp| tcp.flags.0)
    }

    /// Returns whether the packet is ICMP that neither asks nor answers an echo, so that no flow is made of it.
    pub fn is_stateless(&self) -> bool {
        self.ip.l4.protocol.is_icmp() && echo_identifier(self.ip).is_none()
    }

    /// Returns the device that the packet goes to; none if it goes to several.
    pub fn delivered_to(&self) -> Option<u16> {
        match self.egress {
            Egress::Device(device) => Some(device),
            Egress::Flood(_) => None,
        }
    }

    /// Returns whether the packet is an ICMP error about another packet.
    pub fn is_icmp_error(&self) -> bool {
        matches!(self.ip.icmp, Some(IcmpKind::Error(_)))
    }
}
