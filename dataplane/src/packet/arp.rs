//! ARP messages (RFC 826), for IPv4 over Ethernet only.

use super::field::{mac_at, v4_at};
use super::{ArpOperation, ArpPacket, ETHERTYPE_IPV4};
use crate::verdict::DropReason;
use etherparse::{ArpHardwareId, ArpOperation as Operation, ArpPacketSlice};

/// Bytes of a MAC.
const MAC_BYTES: u8 = 6;
/// Bytes of an IPv4 address.
const ADDRESS_BYTES: u8 = 4;
/// Bytes before the first address.
const FIXED_BYTES: usize = 8;

/// Reads the message; what follows it is padding.
pub(super) fn read(l3: &[u8]) -> Result<ArpPacket, DropReason> {
    let arp = ArpPacketSlice::from_slice(l3).map_err(|_| DropReason::Truncated)?;
    let is_ethernet = arp.hw_addr_type() == ArpHardwareId::ETHERNET && arp.hw_addr_size() == MAC_BYTES;
    let is_ipv4 = arp.proto_addr_type().0 == ETHERTYPE_IPV4 && arp.proto_addr_size() == ADDRESS_BYTES;
    let operation = match arp.operation() {
        Operation::REQUEST => ArpOperation::Request,
        Operation::REPLY => ArpOperation::Reply,
        _ => return Err(DropReason::BadHeader),
    };
    if !is_ethernet || !is_ipv4 {
        return Err(DropReason::BadHeader);
    }
    let addresses = &arp.slice()[FIXED_BYTES..];
    addresses_of(operation, addresses).ok_or(DropReason::Truncated)
}

fn addresses_of(operation: ArpOperation, bytes: &[u8]) -> Option<ArpPacket> {
    Some(ArpPacket {
        operation,
        sender_mac: mac_at(bytes, 0)?,
        sender_address: v4_at(bytes, 6)?,
        target_mac: mac_at(bytes, 10)?,
        target_address: v4_at(bytes, 16)?,
    })
}
