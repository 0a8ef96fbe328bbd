//! Who speaks in a DHCP (RFC 2131) or DHCPv6 (RFC 8415) message.

use super::DhcpRole;

/// UDP port on which DHCP servers and relays listen.
const SERVER_PORT: u16 = 67;
/// UDP port on which DHCP clients listen.
const CLIENT_PORT: u16 = 68;
/// UDP port on which DHCPv6 clients listen.
const V6_CLIENT_PORT: u16 = 546;
/// UDP port on which DHCPv6 servers and relays listen.
const V6_SERVER_PORT: u16 = 547;
/// Operation code of a message to a client.
const BOOT_REPLY: u8 = 2;
/// DHCPv6 messages that only servers and relays on the way back send: advertise, reply, reconfigure, relay-reply.
const V6_SERVER_MESSAGES: [u8; 4] = [2, 7, 10, 13];

/// Returns who speaks, or None if the ports are not those of DHCP.
///
/// Everything to a client's port counts as a server's message, whatever its source port or content: that is what a
/// client listens to. To a server's port the operation code decides; a message too short to have one is nobody's.
pub(super) fn role(is_ipv4: bool, destination_port: u16, payload: &[u8]) -> Option<DhcpRole> {
    let first = payload.first();
    match (is_ipv4, destination_port) {
        (true, CLIENT_PORT) | (false, V6_CLIENT_PORT) => Some(DhcpRole::Server),
        (true, SERVER_PORT) if first == Some(&BOOT_REPLY) => Some(DhcpRole::Server),
        (false, V6_SERVER_PORT) if first.is_some_and(|kind| V6_SERVER_MESSAGES.contains(kind)) => {
            Some(DhcpRole::Server)
        }
        (true, SERVER_PORT) | (false, V6_SERVER_PORT) => first.map(|_| DhcpRole::Client),
        _ => None,
    }
}
