//! Reading what is said about a lease, out of the bytes behind a UDP header.

use super::{Exchange, Heard, Word};
use crate::packet::DhcpRole;
use crate::packet::dhcp::{only_v4_option, v4_message, v4_option, v4_type};
use crate::packet::field::{mac_at, u16_at, u32_at, v4_at, v6_at};
use arrayvec::ArrayVec;
use meshgate_policy::{EndpointId, Mac};
use std::net::IpAddr;

/// Words that one message may have: a DHCPv6 message can grant several addresses.
pub const WORDS_MAX: usize = 8;

/// A message that passed between a listed client and a listed server.
#[derive(Clone, Copy, Debug)]
pub struct Hearing<'a> {
    /// Who speaks.
    pub role: DhcpRole,
    /// Whether it is DHCP, not DHCPv6.
    pub is_ipv4: bool,
    /// MAC of the frame's sender.
    pub source_mac: Mac,
    /// MAC to which the frame goes.
    pub destination_mac: Mac,
    /// The bytes behind the UDP header.
    pub payload: &'a [u8],
}

mod v6_message {
    //! Types of DHCPv6 messages (RFC 8415 section 7.3).
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DECLINE: u8 = 9;
}

mod v6_option {
    //! Numbers of DHCPv6 options (RFC 8415 section 21).
    pub(super) const ADDRESSES: u16 = 3;
    pub(super) const TEMPORARY_ADDRESSES: u16 = 4;
    pub(super) const ADDRESS: u16 = 5;
}

/// Returns what a message says. `lessee` tells which endpoint has a MAC, if it is at home here and may lease.
pub fn hear(hearing: &Hearing<'_>, lessee: impl Fn(Mac) -> Option<EndpointId>) -> ArrayVec<Heard, WORDS_MAX> {
    let heard = match hearing.is_ipv4 {
        true => hear_v4(hearing, lessee),
        false => hear_v6(hearing, lessee),
    };
    heard.unwrap_or_default()
}

fn hear_v4(
    hearing: &Hearing<'_>,
    lessee: impl Fn(Mac) -> Option<EndpointId>,
) -> Option<ArrayVec<Heard, WORDS_MAX>> {
    let payload = hearing.payload;
    let mac = mac_at(payload, 28)?;
    let is_between = match hearing.role {
        DhcpRole::Client(_) => mac == hearing.source_mac,
        DhcpRole::Server => hearing.destination_mac.is_group() || mac == hearing.destination_mac,
    };
    let client = lessee(mac).filter(|_| is_between)?;
    let option_address =
        || only_v4_option(payload, v4_option::REQUESTED_ADDRESS).and_then(|value| v4_at(value, 0));
    let client_address = v4_at(payload, 12).filter(|address| !address.is_unspecified());
    let word = match (hearing.role, v4_type(payload)?) {
        // A server may grant at once what is only discovered (RFC 4039).
        (DhcpRole::Client(_), v4_message::DISCOVER | v4_message::REQUEST) => {
            Word::Asked(option_address().or(client_address).map(IpAddr::V4))
        }
        (DhcpRole::Client(_), v4_message::DECLINE) => Word::GivenUp(option_address()?.into()),
        (DhcpRole::Client(_), v4_message::RELEASE) => Word::GivenUp(client_address?.into()),
        // An answer to an inform grants nothing: it has no lease time (RFC 2131 section 4.3.5).
        (DhcpRole::Server, v4_message::ACK) => {
            let seconds = u32_at(only_v4_option(payload, v4_option::LEASE_TIME)?, 0)?;
            Word::Granted(v4_at(payload, 16)?.into(), seconds)
        }
        (DhcpRole::Server, v4_message::NAK) => Word::Refused,
        _ => return None,
    };
    let exchange = Exchange { is_ipv4: true, number: u32_at(payload, 4)? };
    Some([Heard { client, exchange, word }].into_iter().collect())
}

fn hear_v6(
    hearing: &Hearing<'_>,
    lessee: impl Fn(Mac) -> Option<EndpointId>,
) -> Option<ArrayVec<Heard, WORDS_MAX>> {
    let head = u32_at(hearing.payload, 0)?;
    let [kind, ..] = head.to_be_bytes();
    let exchange = Exchange { is_ipv4: false, number: head & 0x00ff_ffff };
    let options = hearing.payload.get(4..)?;
    // DHCPv6 names clients by identifiers of their own making; who speaks is told by the frame.
    let of = |mac| lessee(mac).map(|client| move |word| Heard { client, exchange, word });
    Some(match (hearing.role, kind) {
        (
            DhcpRole::Client(_),
            v6_message::SOLICIT | v6_message::REQUEST | v6_message::RENEW | v6_message::REBIND,
        ) => [of(hearing.source_mac)?(Word::Asked(None))].into_iter().collect(),
        (DhcpRole::Client(_), v6_message::RELEASE | v6_message::DECLINE) => {
            let heard = of(hearing.source_mac)?;
            v6_addresses(options).map(|(address, _)| heard(Word::GivenUp(address))).take(WORDS_MAX).collect()
        }
        (DhcpRole::Server, v6_message::REPLY) => {
            let heard = of(hearing.destination_mac)?;
            let granted = |(address, seconds)| heard(Word::Granted(address, seconds));
            v6_addresses(options).map(granted).take(WORDS_MAX).collect()
        }
        _ => return None,
    })
}

/// Returns the addresses of all associations in a message, with the seconds for which each is valid.
fn v6_addresses(options: &[u8]) -> impl Iterator<Item = (IpAddr, u32)> {
    let associations = v6_options(options).filter_map(|(number, value)| match number {
        v6_option::ADDRESSES => value.get(12..),
        v6_option::TEMPORARY_ADDRESSES => value.get(4..),
        _ => None,
    });
    let addresses = associations.flat_map(v6_options).filter(|(number, _)| *number == v6_option::ADDRESS);
    addresses.filter_map(|(_, value)| Some((v6_at(value, 0)?.into(), u32_at(value, 20)?)))
}

/// Returns the options of a list, number and value, up to the first that cannot be read.
fn v6_options(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (number, value_bytes) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let value = rest.get(4..4 + value_bytes)?;
        rest = &rest[4 + value_bytes..];
        Some((number, value))
    })
}
