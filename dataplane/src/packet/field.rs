//! Reading one field at an offset; None where the bytes end before it.

use meshgate_policy::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns the `N` bytes at an offset.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Returns the byte at an offset.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Returns the 16-bit number at an offset.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// Returns the 32-bit number at an offset.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// Returns the MAC at an offset.
pub(crate) fn mac_at(bytes: &[u8], at: usize) -> Option<Mac> {
    array_at(bytes, at).map(Mac)
}

/// Returns the IPv4 address at an offset.
pub(crate) fn v4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array_at::<4>(bytes, at).map(Ipv4Addr::from)
}

/// Returns the IPv6 address at an offset.
pub(crate) fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    array_at::<16>(bytes, at).map(Ipv6Addr::from)
}

/// Returns the 16-bit number at an offset that lies within.
#[inline]
pub(super) fn u16_of<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the 32-bit number at an offset that lies within.
#[inline]
pub(super) fn u32_of<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Returns the 64-bit number at an offset that lies within.
#[inline]
pub(super) fn u64_of<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    (u64::from(u32_of(bytes, at)) << 32) | u64::from(u32_of(bytes, at + 4))
}

/// Returns the 128-bit number at an offset that lies within.
#[inline]
pub(super) fn u128_of<const N: usize>(bytes: &[u8; N], at: usize) -> u128 {
    (u128::from(u64_of(bytes, at)) << 64) | u128::from(u64_of(bytes, at + 8))
}
