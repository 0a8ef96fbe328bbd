//! MAC addresses and IP prefixes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Why a text is not an address of the wanted kind. Holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not six hexadecimal bytes.
    #[error("{0:?} is not a MAC address like 02:00:00:00:00:01")]
    Mac(String),
    /// A broadcast or multicast MAC, or all zero, where one interface is meant.
    #[error("MAC {0} does not name one interface")]
    NotUnicastMac(String),
    /// Not `address/length`.
    #[error("{0:?} is not a prefix like 10.0.0.0/24 or fd00::/64")]
    Prefix(String),
    /// The length is above 32 or 128.
    #[error("prefix {0}: the length is above {1}")]
    PrefixLength(String, u8),
    /// Bits behind the prefix length are set; also holds what was probably meant.
    #[error("prefix {0} has address bits behind its length; did you mean {1}?")]
    HostBits(String, String),
}

/// A 48-bit MAC address, in transmission order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Returns whether the address is broadcast or multicast (group bit, IEEE 802 section 8.2).
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Returns the IPv6 link-local address that is formed from this MAC (RFC 4291 appendix A).
    pub fn link_local(self) -> std::net::Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        std::net::Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            ((a ^ 2) << 8) | b,
            (c << 8) | 0xff,
            0xfe00 | d,
            (e << 8) | f,
        )
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Mac(text.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(part.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// An IPv4 or IPv6 prefix whose bits behind the length are zero. The families never contain each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Returns the prefix, or why there is none of this address and length (in bits).
    pub fn new(address: IpAddr, length: u8) -> Result<Self, AddressError> {
        let length_max = if address.is_ipv4() { 32 } else { 128 };
        if length > length_max {
            return Err(AddressError::PrefixLength(format!("{address}/{length}"), length_max));
        }
        let masked = mask(address, length);
        if masked != address {
            let (wrote, meant) = (format!("{address}/{length}"), format!("{masked}/{length}"));
            return Err(AddressError::HostBits(wrote, meant));
        }
        Ok(Self { address, length })
    }

    /// Returns the prefix of one address: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Returns the first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Returns the length in bits, at most 32 for IPv4 and 128 for IPv6.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Returns whether the address lies in the prefix.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.length) == self.address
    }

    /// Returns whether every address of `other` lies in this prefix.
    pub fn contains_prefix(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

/// Returns the address with all bits behind `length` cleared; `length` is at most the family's width.
fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & kept).into())
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & kept).into())
        }
    }
}

/// Returns whether the address is multicast (RFC 5771, RFC 4291 section 2.7) or the limited broadcast address.
pub fn is_group_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = AddressError;
    /// Reads `address/length`, or a bare address as the prefix of that one address.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Prefix(text.to_owned());
        let Some((address, length)) = text.split_once('/') else {
            return Ok(Self::host(text.parse().map_err(|_| bad())?));
        };
        if length.is_empty() || !length.bytes().all(|c| c.is_ascii_digit()) {
            return Err(bad());
        }
        Self::new(address.parse().map_err(|_| bad())?, length.parse().map_err(|_| bad())?)
    }
}

impl TryFrom<String> for Prefix {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_contains_its_first_and_last_address_and_none_beside() {
        let p = prefix("10.1.0.0/16");
        assert!(p.contains("10.1.0.0".parse().unwrap()) && p.contains("10.1.255.255".parse().unwrap()));
        assert!(!p.contains("10.0.255.255".parse().unwrap()) && !p.contains("10.2.0.0".parse().unwrap()));
    }

    #[test]
    fn everything_of_one_family_contains_nothing_of_the_other() {
        assert!(prefix("0.0.0.0/0").contains("255.255.255.255".parse().unwrap()));
        assert!(!prefix("::/0").contains("10.0.0.1".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "10.0.0.1/24".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("did you mean 10.0.0.0/24"), "{error}");
    }

    #[test]
    fn texts_that_are_no_prefix_are_refused() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/+8", "x/1"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mac_is_read_and_written_alike() {
        let mac: Mac = "02:aB:00:00:00:0f".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:00:00:00:0f");
        for text in ["", "02:ab:00:00:00", "02:ab:00:00:00:0f:1", "2:ab:00:00:00:0f", "0g:ab:00:00:00:0f"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_link_local_address_flips_the_universal_bit() {
        let mac: Mac = "02:00:5e:10:20:30".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::5eff:fe10:2030");
    }
}
