//! What makes two packets belong to one flow.

use crate::packet::{IcmpKind, IpPacket};
use meshgate_policy::{FlowRecord, L4Key, Protocol, SegmentId};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// The bits before an IPv4 address in mapped form (RFC 4291 section 2.5.5.2).
const V4_MAPPED: u128 = 0xffff << 32;

/// The name of a flow: equal for both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The low and the high side's address in halves, the upper one first.
    addresses: [u64; 4],
    /// The low and the high side's port.
    ports: [u16; 2],
    segment: SegmentId,
    protocol: Protocol,
}

/// Which of a key's two sides sent a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// The side with the lower (address, port).
    #[default]
    Low,
    /// The side with the higher (address, port).
    High,
}

impl FlowKey {
    /// Returns the key of the flow that a packet belongs to and which side sent it: of an ICMP error the flow, and the
    /// side, of the packet that it quotes. ICMP echo has its identifier as both ports.
    pub fn of(segment: SegmentId, packet: &IpPacket) -> (Self, Sender) {
        match &packet.icmp {
            Some(IcmpKind::Error(Some(quoted))) => {
                let ports = ports_of(&quoted.l4, quoted.echo_id);
                let (source, destination) = ((quoted.source, ports.0), (quoted.destination, ports.1));
                Self::new(segment, quoted.l4.protocol, source, destination)
            }
            _ => {
                let ports = ports_of(&packet.l4, echo_identifier(packet));
                let (source, destination) = ((packet.source, ports.0), (packet.destination, ports.1));
                Self::new(segment, packet.l4.protocol, source, destination)
            }
        }
    }

    /// Returns the key of two sides (address and port), and which of them the first one is.
    pub fn new(
        segment: SegmentId,
        protocol: Protocol,
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
    ) -> (Self, Sender) {
        let source = (address_number(source.0), source.1);
        let destination = (address_number(destination.0), destination.1);
        Self::between(segment, protocol, source, destination)
    }

    /// Returns the key of two sides, their addresses as numbers with IPv4 in mapped form, and which of them the first
    /// one is.
    #[inline]
    pub fn between(
        segment: SegmentId,
        protocol: Protocol,
        source: (u128, u16),
        destination: (u128, u16),
    ) -> (Self, Sender) {
        let mut key = Self::default();
        let sender = key.put((segment, protocol), source, destination);
        (key, sender)
    }

    /// Writes the key of two sides here, and returns which of them the first one is.
    #[inline]
    pub(crate) fn put(
        &mut self,
        (segment, protocol): (SegmentId, Protocol),
        source: (u128, u16),
        destination: (u128, u16),
    ) -> Sender {
        let is_low = source <= destination;
        // One number at a time, so that none of the choices becomes a branch: which side is the low one is a coin toss.
        let (low, high) =
            (if is_low { source.0 } else { destination.0 }, if is_low { destination.0 } else { source.0 });
        let ports = if is_low { [source.1, destination.1] } else { [destination.1, source.1] };
        let ([a, b], [c, d]) = (words(low), words(high));
        self.addresses = [a, b, c, d];
        self.ports = ports;
        (self.segment, self.protocol) = (segment, protocol);
        if is_low { Sender::Low } else { Sender::High }
    }

    /// Returns addresses and ports as they are kept.
    #[inline]
    pub(super) fn numbers(&self) -> ([u64; 4], [u16; 2]) {
        (self.addresses, self.ports)
    }

    /// Returns the key that was kept so.
    pub(super) fn of_numbers(
        addresses: [u64; 4],
        ports: [u16; 2],
        (segment, protocol): (SegmentId, Protocol),
    ) -> Self {
        Self { addresses, ports, segment, protocol }
    }

    /// Returns the protocol.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the segment.
    #[inline]
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Returns the address of a side as a number, IPv4 in mapped form.
    #[inline]
    pub fn number_of(&self, side: Sender) -> u128 {
        let [a, b, c, d] = self.addresses;
        let (upper, lower) = if side == Sender::Low { (a, b) } else { (c, d) };
        (u128::from(upper) << 64) | u128::from(lower)
    }

    /// Returns address and port of a side.
    pub fn side(&self, side: Sender) -> (IpAddr, u16) {
        let [low, high] = self.ports;
        let port = if side == Sender::Low { low } else { high };
        (std::net::Ipv6Addr::from(self.number_of(side)).to_canonical(), port)
    }

    /// Writes segment, protocol and the addresses as seen from `source` into a record.
    pub fn describe(&self, source: Sender, record: &mut FlowRecord) {
        record.segment = self.segment.0;
        record.protocol = self.protocol.0;
        // The bytes of the number are those of the address.
        record.source = self.number_of(source).to_be_bytes();
        record.destination = self.number_of(source.other()).to_be_bytes();
    }
}

impl Sender {
    /// Returns the other side.
    pub fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Returns what stands for the ports in a key.
fn ports_of(l4: &L4Key, echo_id: Option<u16>) -> (u16, u16) {
    match echo_id {
        Some(id) => (id, id),
        None if l4.protocol.is_icmp() => (0, 0),
        None => (l4.source_port, l4.destination_port),
    }
}

/// Returns the identifier of an ICMP echo request or reply.
pub fn echo_identifier(packet: &IpPacket) -> Option<u16> {
    match packet.icmp {
        Some(IcmpKind::EchoRequest { id } | IcmpKind::EchoReply { id }) => Some(id),
        _ => None,
    }
}

/// Returns the address as a number of 128 bits, IPv4 in mapped form, which no IPv6 packet that passes carries. In numbers
/// rather than by [`meshgate_policy::address_bytes`], which is the same and is put together byte by byte.
fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => V4_MAPPED | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A hash with a secret, so that nobody outside can aim many flows at one bucket.
#[derive(Clone, Copy)]
pub struct KeyedHash([u64; 4]);

impl KeyedHash {
    /// Returns a hash with a secret from the system's randomness.
    pub fn random() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|i| random.hash_one(i)))
    }

    /// Returns the hash with a stated secret, for tests that must repeat.
    pub fn seeded(seed: u64) -> Self {
        Self(std::array::from_fn(|i| fold(seed ^ 0x9e37_79b9_7f4a_7c15, i as u64 + 0x5851_f42d_4c95_7f2d)))
    }

    /// Returns the hash of a whole key.
    #[inline]
    pub fn flow(&self, key: &FlowKey) -> u64 {
        let [low, high] = key.ports;
        self.pair(key, (u64::from(low) << 48) | (u64::from(high) << 32))
    }

    /// Returns the hash by which a flow finds the worker that owns it: without ports, so that fragments and replies
    /// agree.
    #[inline]
    pub fn owner(&self, key: &FlowKey) -> u64 {
        self.pair(key, 0)
    }

    #[inline]
    fn pair(&self, key: &FlowKey, ports: u64) -> u64 {
        let rest = ports | (u64::from(key.segment.0) << 8) | u64::from(key.protocol.0);
        self.halves(key.addresses, rest)
    }

    /// Returns the hash of three numbers, as which a key of another table may be written.
    #[inline]
    pub fn numbers(&self, first: u128, second: u128, rest: u64) -> u64 {
        let ([e, f], [g, h]) = (words(first), words(second));
        self.halves([e, f, g, h], rest)
    }

    #[inline]
    fn halves(&self, [e, f, g, h]: [u64; 4], rest: u64) -> u64 {
        let [a, b, c, d] = self.0;
        let addresses = fold(e ^ a, f ^ b) ^ fold(g ^ c, h ^ d).rotate_left(23);
        fold(addresses ^ a ^ c, rest ^ d)
    }
}

/// Returns the upper and the lower half of an address.
#[inline]
fn words(address: u128) -> [u64; 2] {
    // Both fit.
    let half = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    [half(address >> 64), half(address & u128::from(u64::MAX))]
}

/// Multiplies to 128 bits and folds the halves (the mixing step of wyhash).
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let [upper, lower] = words(u128::from(a) * u128::from(b));
    upper ^ lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::address_bytes;

    #[test]
    fn the_number_of_an_address_is_that_of_its_bytes() {
        for address in ["0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "fd00::1:2", "ffff:ffff::ffff"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(address_number(address), u128::from_be_bytes(address_bytes(address)), "{address}");
        }
    }
}
