//! Flows, drawn among addresses and ports.

use super::{FlowTraffic, TrafficRefusal};
use crate::traffic::addresses::AddressRange;
use af_xdp::CHANGING_PORTS;
use meshgate_policy::generate::Rng;
use std::collections::HashSet;
use std::net::IpAddr;

/// First source port of flows that stay: those below are for services. The upper half is for new flows.
const SOURCE_PORT_FIRST: u16 = 1_024;
/// Bytes of an Ethernet header.
const ETHERNET_BYTES: u16 = 14;

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who begins it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// TCP, or UDP.
    pub is_tcp: bool,
    /// Port of the source.
    pub source_port: u16,
    /// Port of the destination.
    pub destination_port: u16,
}

impl Flow {
    /// Returns the bytes of Ethernet and IP header.
    fn network_bytes(&self) -> u16 {
        ETHERNET_BYTES + if self.source.is_ipv4() { 20 } else { 40 }
    }

    /// Returns the bytes of all headers.
    pub fn head_bytes(&self) -> u16 {
        self.network_bytes() + if self.is_tcp { 20 } else { 8 }
    }

    /// Returns where source port and checksum stand.
    pub fn port_places(&self) -> (u16, u16) {
        let port = self.network_bytes();
        (port, port + if self.is_tcp { 16 } else { 6 })
    }
}

/// Between whom flows are drawn.
pub struct Endpoints<'a> {
    traffic: &'a FlowTraffic,
    /// Sources and destinations of one family, and how many pairs of addresses they are.
    pairs: Vec<(AddressRange, AddressRange, u64)>,
    pairs_total: u64,
}

impl<'a> Endpoints<'a> {
    /// Puts sources and destinations of one family together.
    pub fn of(traffic: &'a FlowTraffic) -> Result<Self, TrafficRefusal> {
        let mut pairs = Vec::new();
        for source in &traffic.sources {
            let fits = |destination: &&AddressRange| destination.is_v6() == source.is_v6();
            pairs.extend(traffic.destinations.iter().filter(fits).map(|destination| {
                (*source, *destination, source.count().saturating_mul(destination.count()))
            }));
        }
        let pairs_total = pairs.iter().fold(0u64, |sum, (_, _, count)| sum.saturating_add(*count));
        if pairs.is_empty() {
            Err(TrafficRefusal::Families)
        } else {
            Ok(Self { traffic, pairs, pairs_total })
        }
    }

    /// Draws a flow.
    pub fn draw(&self, rng: &mut Rng) -> Flow {
        let mut place = rng.below(self.pairs_total);
        let mut chosen = self.pairs[0];
        for pair in &self.pairs {
            chosen = *pair;
            if place < pair.2 {
                break;
            }
            place -= pair.2;
        }
        let (sources, destinations, _) = chosen;
        let (first, last) = self.traffic.destination_ports;
        let offset = |rng: &mut Rng, bound: u16| u16::try_from(rng.below(bound.into())).unwrap_or(0);
        Flow {
            source: sources.at(place % sources.count()),
            destination: destinations.at(place / sources.count()),
            is_tcp: rng.chance(self.traffic.tcp_percent.into()),
            source_port: SOURCE_PORT_FIRST + offset(rng, CHANGING_PORTS - SOURCE_PORT_FIRST),
            destination_port: first + u16::try_from(rng.below(u64::from(last - first) + 1)).unwrap_or(0),
        }
    }

    /// Draws flows that differ.
    pub fn distinct(&self, flows: u32, rng: &mut Rng) -> Result<Vec<Flow>, TrafficRefusal> {
        let (first, last) = self.traffic.destination_ports;
        let ports = u64::from(CHANGING_PORTS - SOURCE_PORT_FIRST) * (u64::from(last - first) + 1);
        let possible = self.pairs_total.saturating_mul(ports);
        // Drawing the last ones of all there are would take long.
        if u64::from(flows) > possible / 2 {
            return Err(TrafficRefusal::Flows { flows, possible: possible / 2 });
        }
        let mut known = HashSet::with_capacity(flows as usize);
        let mut drawn = Vec::with_capacity(flows as usize);
        while drawn.len() < flows as usize {
            let flow = self.draw(rng);
            if known.insert(flow) {
                drawn.push(flow);
            }
        }
        Ok(drawn)
    }
}
