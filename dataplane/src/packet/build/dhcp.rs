//! Payloads of DHCP (RFC 2131) and DHCPv6 (RFC 8415) messages.

use meshgate_policy::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

/// DHCP messages that servers send: offer, ACK, NAK.
const SERVER_MESSAGES: [u8; 3] = [2, 5, 6];
/// Bytes of the fixed fields before the cookie.
const FIXED_BYTES: usize = 236;

/// A DHCP message to be written.
#[derive(Clone, Debug)]
pub struct DhcpMessage {
    fixed: [u8; FIXED_BYTES],
    options: Vec<u8>,
}

impl DhcpMessage {
    /// Returns a message of this type of and to the client with this MAC, in the exchange with this number.
    pub fn new(kind: u8, client: Mac, exchange: u32) -> Self {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = if SERVER_MESSAGES.contains(&kind) { 2 } else { 1 };
        fixed[1..3].copy_from_slice(&[1, 6]);
        fixed[4..8].copy_from_slice(&exchange.to_be_bytes());
        fixed[28..34].copy_from_slice(&client.0);
        Self { fixed, options: vec![53, 1, kind] }
    }

    /// Sets the address that the client has.
    pub fn client_address(self, address: Ipv4Addr) -> Self {
        self.with(12, &address.octets())
    }

    /// Sets the address that the server gives.
    pub fn your_address(self, address: Ipv4Addr) -> Self {
        self.with(16, &address.octets())
    }

    /// Sets the address of a relay.
    pub fn relay(self, address: Ipv4Addr) -> Self {
        self.with(24, &address.octets())
    }

    /// Adds an option of less than 256 bytes.
    pub fn option(mut self, number: u8, value: &[u8]) -> Self {
        self.options.extend([number, super::write::low_byte(value.len())]);
        self.options.extend(value);
        self
    }

    /// Adds the option that says how long the address is the client's.
    pub fn lease_s(self, seconds: u32) -> Self {
        self.option(51, &seconds.to_be_bytes())
    }

    /// Returns the bytes behind the UDP header.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.fixed[..], &[99, 130, 83, 99], &self.options, &[255]].concat()
    }

    fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.fixed[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// Returns a DHCPv6 message of this type in the exchange with this number, of which 24 bits are sent, with an address
/// association that holds these addresses and the seconds for which they are valid.
pub fn v6_message(kind: u8, exchange: u32, addresses: &[(Ipv6Addr, u32)]) -> Vec<u8> {
    let [_, a, b, c] = exchange.to_be_bytes();
    let mut association = vec![0; 12];
    for (address, valid_s) in addresses {
        let lifetimes = [valid_s.to_be_bytes(), valid_s.to_be_bytes()].concat();
        association.extend(v6_option(5, &[&address.octets()[..], &lifetimes].concat()));
    }
    [&[kind, a, b, c][..], &v6_option(1, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]), &v6_option(3, &association)]
        .concat()
}

/// Returns a DHCPv6 option.
pub fn v6_option(number: u16, value: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &super::write::low_u16(value.len()).to_be_bytes(), value].concat()
}
