//! IGMP (RFC 9776) and MLD (RFC 9777): what a message is, and whether it has the form that receivers demand.
//!
//! A message that has it never leaves the link: TTL 1, to the group it is about or to the one that its kind goes to,
//! with a router alert where the RFC demands one. Only such messages pass without rules; others are ordinary packets.

use super::field::{u8_at, u16_at, v4_at, v6_at};
use super::{Datagram, Membership};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hop limit of every message.
const HOP_LIMIT: u8 = 1;

mod igmp {
    //! Types of IGMP messages, and of multicast router discovery (RFC 4286).
    pub(super) const QUERY: u8 = 0x11;
    pub(super) const REPORT_1: u8 = 0x12;
    pub(super) const REPORT_2: u8 = 0x16;
    pub(super) const LEAVE: u8 = 0x17;
    pub(super) const REPORT_3: u8 = 0x22;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 0x30;
    pub(super) const ROUTER_TERMINATION: u8 = 0x32;
}

mod mld {
    //! Types of MLD messages, and of multicast router discovery (RFC 4286).
    pub(super) const QUERY: u8 = 130;
    pub(super) const REPORT: u8 = 131;
    pub(super) const DONE: u8 = 132;
    pub(super) const REPORT_2: u8 = 143;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 151;
    pub(super) const ROUTER_TERMINATION: u8 = 153;
}

/// Groups to which messages go that are not about one group.
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const ALL_REPORT_TAKERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
const ALL_NODES_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_REPORT_TAKERS_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Bytes of an IGMP query of version 3 without sources; shorter ones are of version 1 or 2.
const QUERY_3_BYTES_MIN: usize = 12;

/// Returns what an IGMP message is; None of other kinds.
pub(super) fn of_igmp(datagram: &Datagram<'_>) -> Option<Membership> {
    let bytes = datagram.l4;
    let IpAddr::V4(to) = datagram.destination else { return None };
    let (kind, group) = (u8_at(bytes, 0)?, v4_at(bytes, 4)?);
    let is_about = group.is_multicast() && group == to;
    let (is_query, fits) = match kind {
        igmp::QUERY => (true, is_about || (group.is_unspecified() && to == ALL_SYSTEMS)),
        igmp::REPORT_1 | igmp::REPORT_2 => (false, is_about),
        igmp::LEAVE => (false, group.is_multicast() && to == ALL_ROUTERS),
        igmp::REPORT_3 => (false, to == ALL_REPORT_TAKERS && has_v4_records(bytes)),
        igmp::ROUTER_ADVERTISEMENT | igmp::ROUTER_TERMINATION => (true, false),
        _ => return None,
    };
    // Version 1 knows no router alert; its query has no response time either (RFC 9776 section 7.1).
    let is_version_1 = kind == igmp::REPORT_1
        || (kind == igmp::QUERY && bytes.len() < QUERY_3_BYTES_MIN && u8_at(bytes, 1) == Some(0));
    let is_alerted = datagram.router_alert || is_version_1;
    Some(Membership { is_query, has_form: fits && is_alerted && is_whole_and_near(datagram) })
}

/// Returns what an MLD message is; None of other ICMPv6 messages.
pub(super) fn of_mld(datagram: &Datagram<'_>, kind: u8) -> Option<Membership> {
    let bytes = datagram.l4;
    let (IpAddr::V6(from), IpAddr::V6(to)) = (datagram.source, datagram.destination) else { return None };
    let group = v6_at(bytes, 8).unwrap_or(Ipv6Addr::UNSPECIFIED);
    let is_about = group.is_multicast() && group == to;
    let (is_query, fits) = match kind {
        mld::QUERY => {
            (true, v6_at(bytes, 8).is_some() && (is_about || (group.is_unspecified() && to == ALL_NODES_6)))
        }
        mld::REPORT => (false, is_about),
        mld::DONE => (false, group.is_multicast() && to == ALL_ROUTERS_6),
        mld::REPORT_2 => (false, to == ALL_REPORT_TAKERS_6 && has_v6_records(bytes)),
        mld::ROUTER_ADVERTISEMENT | mld::ROUTER_TERMINATION => (true, false),
        _ => return None,
    };
    // Reports come from `::` before there is an address (RFC 3590); queries always have one.
    let from_link = from.is_unicast_link_local() || (from.is_unspecified() && !is_query);
    Some(Membership {
        is_query,
        has_form: fits && from_link && datagram.router_alert && is_whole_and_near(datagram),
    })
}

fn is_whole_and_near(datagram: &Datagram<'_>) -> bool {
    datagram.hop_limit == HOP_LIMIT && datagram.l4.len() == datagram.l4_bytes
}

/// Returns whether the group records of an IGMP report of version 3 lie within the message and name groups.
fn has_v4_records(bytes: &[u8]) -> bool {
    let is_group = |at| v4_at(bytes, at).is_some_and(|group| group.is_multicast());
    has_records(bytes, 4, is_group)
}

/// Returns whether the group records of an MLD report of version 2 lie within the message and name groups.
fn has_v6_records(bytes: &[u8]) -> bool {
    let is_group = |at| v6_at(bytes, at).is_some_and(|group| group.is_multicast());
    has_records(bytes, 16, is_group)
}

/// Walks group records, each at least 8 bytes long, so that the message's length bounds the walk.
fn has_records(bytes: &[u8], address_bytes: usize, is_group_at: impl Fn(usize) -> bool) -> bool {
    let Some(records) = u16_at(bytes, 6) else { return false };
    let mut at = 8;
    for _ in 0..records {
        let (Some(auxiliary_words), Some(sources)) = (u8_at(bytes, at + 1), u16_at(bytes, at + 2)) else {
            return false;
        };
        if !is_group_at(at + 4) {
            return false;
        }
        at += 4 + address_bytes * (1 + usize::from(sources)) + 4 * usize::from(auxiliary_words);
        if at > bytes.len() {
            return false;
        }
    }
    true
}
