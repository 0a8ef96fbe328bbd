//! DHCP and DHCPv6 between clients and servers that the policy lists: how an endpoint comes by an address.
//!
//! Before it has one, no rule can name it, so this stage alone decides about the exchange: it passes between an endpoint
//! flagged `dhcp_client` and one flagged `dhcp_server`, wherever they are. A server behind an uplink that is no virtual
//! machine is listed as an endpoint without a home; so is a relay, which to clients is the server. What a client
//! broadcasts reaches servers and uplinks only, and what a server broadcasts clients and uplinks only.
//!
//! The address itself is bound by the next policy: [`crate::leases`] hears what was leased, control makes it one of
//! the endpoint's addresses, and every host learns of it as of any other. Until then nothing but the exchange passes.

use super::{Bindings, Bound, Domain};
use crate::packet::{Content, DhcpRole, IpPacket, Packet};
use crate::switch::{DeviceSet, Egress};
use crate::verdict::DropReason;
use meshgate_policy::{EndpointId, Mac, SegmentId};

impl Bindings {
    /// Returns whether the packet belongs to a lease's exchange between a listed client and a listed server.
    pub(super) fn is_lease_exchange(&self, segment: SegmentId, packet: &Packet, ip: &IpPacket) -> bool {
        match ip.dhcp {
            None => false,
            Some(DhcpRole::Server) => self.is_lease_answer(segment, packet),
            Some(DhcpRole::Client(client)) => {
                let may_ask = |sender: &Bound| sender.flags.dhcp_client && sender.may_send_from(ip);
                let is_for = |server: &Bound| server.flags.dhcp_server && server.answers_for(ip.destination);
                client.speaks_for_itself
                    && self.endpoint_with(segment, packet.source_mac).is_some_and(may_ask)
                    && (packet.destination_mac.is_group()
                        || self.endpoint_with(segment, packet.destination_mac).is_some_and(is_for))
            }
        }
    }

    /// Returns whether the packet is what a listed server says to a listed client, or to all of them.
    pub(super) fn is_lease_answer(&self, segment: SegmentId, packet: &Packet) -> bool {
        let Content::Ip(ip) = &packet.content else { return false };
        ip.dhcp == Some(DhcpRole::Server)
            && self.is_listed_server(segment, packet, ip)
            && (packet.destination_mac.is_group() || self.client_with(segment, packet).is_some())
    }

    /// Returns the endpoint that the frame goes to, if it may lease addresses.
    fn client_with(&self, segment: SegmentId, packet: &Packet) -> Option<&Bound> {
        self.endpoint_with(segment, packet.destination_mac).filter(|client| client.flags.dhcp_client)
    }

    fn is_listed_server(&self, segment: SegmentId, packet: &Packet, ip: &IpPacket) -> bool {
        let sender = self.endpoint_with(segment, packet.source_mac);
        sender.is_some_and(|server| server.flags.dhcp_server && server.answers_for(ip.source))
    }

    /// Leaves out of a broadcast of DHCP whom it does not concern: other clients must not see what a client asks, nor
    /// be able to answer.
    pub(super) fn without_bystanders(
        &self,
        egress: Egress,
        segment: SegmentId,
        packet: &Packet,
    ) -> Result<Egress, DropReason> {
        let Some(role) = packet.ip().and_then(|ip| ip.dhcp).filter(|_| packet.destination_mac.is_group())
        else {
            return Ok(egress);
        };
        let Some(Domain { servers, clients, .. }) = self.domain(segment) else { return Ok(egress) };
        let concerned = match role {
            DhcpRole::Client(_) => servers,
            DhcpRole::Server => clients,
        };
        let devices = match egress {
            Egress::Flood(devices) => devices,
            Egress::Device(device) => DeviceSet::of(device),
        };
        Egress::to(devices.intersection(*concerned)).ok_or(DropReason::NoDevice)
    }

    /// Returns the endpoint with this MAC that is at home here and may lease addresses.
    pub fn lessee(&self, segment: SegmentId, mac: Mac) -> Option<EndpointId> {
        let client = self.endpoint_with(segment, mac)?;
        (client.is_home && client.flags.dhcp_client).then_some(client.id)
    }
}
