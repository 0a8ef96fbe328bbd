//! Who speaks in a DHCP (RFC 2131) or DHCPv6 (RFC 8415) message, and whether it speaks for itself.

use super::field::{mac_at, u8_at, v4_at};
use super::{Datagram, DhcpClient, DhcpRole};
use meshgate_policy::Mac;
use std::net::{IpAddr, Ipv4Addr};

/// UDP port on which DHCP servers and relays listen.
const SERVER_PORT: u16 = 67;
/// UDP port on which DHCP clients listen.
const CLIENT_PORT: u16 = 68;
/// UDP port on which DHCPv6 clients listen.
const V6_CLIENT_PORT: u16 = 546;
/// UDP port on which DHCPv6 servers and relays listen.
const V6_SERVER_PORT: u16 = 547;
/// Operation code of a message from a client.
const BOOT_REQUEST: u8 = 1;
/// Operation code of a message to a client.
const BOOT_REPLY: u8 = 2;
/// Hardware type of Ethernet, in the header and in client identifiers (RFC 2132 section 9.14).
const ETHERNET: u8 = 1;
/// DHCPv6 messages that only servers and relays on the way back send: advertise, reply, reconfigure, relay-reply.
const V6_SERVER_MESSAGES: [u8; 4] = [2, 7, 10, 13];
/// DHCPv6 message of a relay on the way to the server.
const V6_RELAY_FORWARD: u8 = 12;

/// Where the options of a DHCP message begin: behind the fixed fields and the cookie (RFC 2131 section 3).
const OPTIONS_AT: usize = 240;
/// The bytes before the options.
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Numbers of DHCP options and messages (RFC 2132), for whoever reads the rest of a message.
pub(crate) mod v4_option {
    /// Address that the client wants.
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    /// Seconds for which an address is the client's.
    pub(crate) const LEASE_TIME: u8 = 51;
    /// What the message is.
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    /// By what the server knows the client.
    pub(crate) const CLIENT_ID: u8 = 61;
    /// A byte without meaning.
    pub(super) const PAD: u8 = 0;
    /// The end of the list.
    pub(super) const END: u8 = 255;
}

/// Values of [`v4_option::MESSAGE_TYPE`].
pub(crate) mod v4_message {
    pub(crate) const DISCOVER: u8 = 1;
    pub(crate) const REQUEST: u8 = 3;
    pub(crate) const DECLINE: u8 = 4;
    pub(crate) const ACK: u8 = 5;
    pub(crate) const NAK: u8 = 6;
    pub(crate) const RELEASE: u8 = 7;
}

/// Returns whether a UDP port is one of DHCP's, of this family.
pub(super) fn is_port(is_ipv4: bool, port: u16) -> bool {
    if is_ipv4 {
        matches!(port, SERVER_PORT | CLIENT_PORT)
    } else {
        matches!(port, V6_SERVER_PORT | V6_CLIENT_PORT)
    }
}

/// Returns who speaks, or None if the ports (source, destination) are not those of DHCP.
///
/// Everything to a client's port counts as a server's message, whatever its source port or content: that is what a
/// client listens to. To a server's port the operation code decides; a message too short to have one is nobody's.
pub(super) fn role(datagram: &Datagram<'_>, ports: (u16, u16), payload: &[u8]) -> Option<DhcpRole> {
    let first = payload.first();
    match (datagram.source.is_ipv4(), ports.1) {
        (true, CLIENT_PORT) | (false, V6_CLIENT_PORT) => Some(DhcpRole::Server),
        (true, SERVER_PORT) if first == Some(&BOOT_REPLY) => Some(DhcpRole::Server),
        (false, V6_SERVER_PORT) if first.is_some_and(|kind| V6_SERVER_MESSAGES.contains(kind)) => {
            Some(DhcpRole::Server)
        }
        (true, SERVER_PORT) => {
            first.map(|_| DhcpRole::Client(v4_client(datagram, ports.0 == CLIENT_PORT, payload)))
        }
        (false, V6_SERVER_PORT) => first.map(|kind| {
            let speaks_for_itself = *kind != V6_RELAY_FORWARD;
            DhcpRole::Client(DhcpClient { seeks_address: false, speaks_for_itself })
        }),
        _ => None,
    }
}

/// Returns what a client's message is.
///
/// The hardware address must be the frame's, the client address none or the packet's source, and no relay named;
/// otherwise the message would release, decline or take the lease of somebody else.
fn v4_client(datagram: &Datagram<'_>, is_from_client_port: bool, payload: &[u8]) -> DhcpClient {
    let client_address = v4_at(payload, 12).map(IpAddr::V4);
    let is_own_address =
        client_address == Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) || client_address == Some(datagram.source);
    let is_relayed = v4_at(payload, 24) != Some(Ipv4Addr::UNSPECIFIED);
    let is_from_ethernet = payload.get(..3) == Some(&[BOOT_REQUEST, ETHERNET, 6]);
    let is_own_mac =
        mac_at(payload, 28) == Some(datagram.source_mac) && names_mac(payload, datagram.source_mac);
    let seeks = [v4_message::DISCOVER, v4_message::REQUEST, v4_message::DECLINE];
    DhcpClient {
        seeks_address: is_from_client_port && v4_type(payload).is_some_and(|kind| seeks.contains(&kind)),
        speaks_for_itself: is_from_ethernet && is_own_mac && is_own_address && !is_relayed,
    }
}

/// Returns whether a client identifier that is made of a MAC is made of this one. Others are opaque.
fn names_mac(payload: &[u8], mac: Mac) -> bool {
    v4_options(payload).filter(|(number, _)| *number == v4_option::CLIENT_ID).all(|(_, id)| match id {
        [ETHERNET, address @ ..] if address.len() == mac.0.len() => *address == mac.0,
        _ => true,
    })
}

/// Returns what a DHCP message is, if it says so exactly once.
pub(crate) fn v4_type(payload: &[u8]) -> Option<u8> {
    match only_v4_option(payload, v4_option::MESSAGE_TYPE)? {
        [kind] => Some(*kind),
        _ => None,
    }
}

/// Returns the option with this number, if there is exactly one: hosts differ in which copy they believe.
pub(crate) fn only_v4_option(payload: &[u8], number: u8) -> Option<&[u8]> {
    let mut found = v4_options(payload).filter(|(option, _)| *option == number);
    found.next().filter(|_| found.next().is_none()).map(|(_, value)| value)
}

/// Returns the options of a DHCP message, number and value, up to the first that cannot be read. Those that overflow
/// into the name fields (RFC 2132 section 9.3) are not looked at: no server puts there what is asked for here.
fn v4_options(payload: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let has_cookie = payload.get(OPTIONS_AT - COOKIE.len()..OPTIONS_AT) == Some(&COOKIE);
    let mut rest = payload.get(OPTIONS_AT..).filter(|_| has_cookie).unwrap_or_default();
    std::iter::from_fn(move || {
        while u8_at(rest, 0)? == v4_option::PAD {
            rest = &rest[1..];
        }
        let number = u8_at(rest, 0).filter(|number| *number != v4_option::END)?;
        let value_bytes = usize::from(u8_at(rest, 1)?);
        let value = rest.get(2..2 + value_bytes)?;
        rest = &rest[2 + value_bytes..];
        Some((number, value))
    })
}
