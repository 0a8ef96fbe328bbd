//! Ranges of addresses, as a person writes them.

use std::net::IpAddr;
use std::str::FromStr;

/// Most addresses of a range.
pub const RANGE_ADDRESSES_MAX: u64 = 1 << 24;

/// Addresses from a first to a last one, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    count: u64,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeRefusal {
    /// One end is no address.
    #[error("{0:?} is no IPv4 or IPv6 address")]
    Address(String),
    /// The ends do not go together.
    #[error("{0}: the ends are of two families")]
    Families(String),
    /// The last one comes first, or there are too many.
    #[error("{0}: not 1 to {RANGE_ADDRESSES_MAX} addresses")]
    Count(String),
}

impl AddressRange {
    /// Returns whether the addresses are of IPv6.
    pub fn is_v6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns one of them by its place.
    pub fn at(&self, place: u64) -> IpAddr {
        let place = u128::from(place);
        match self.first {
            // The sum is an address of the family: both ends are.
            IpAddr::V4(first) => {
                let number = u128::from(u32::from(first)) + place;
                IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into())
            }
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + place).into()),
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeRefusal;

    /// Reads `FIRST-LAST`, or one address.
    fn from_str(text: &str) -> Result<Self, RangeRefusal> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |end: &str| end.trim().parse().map_err(|_| RangeRefusal::Address(end.to_owned()));
        let (first, last): (IpAddr, IpAddr) = (address(first)?, address(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeRefusal::Families(text.to_owned()));
        }
        let number = |address| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let beyond = number(last).checked_sub(number(first)).and_then(|beyond| u64::try_from(beyond).ok());
        match beyond.filter(|beyond| *beyond < RANGE_ADDRESSES_MAX) {
            Some(beyond) => Ok(Self { first, count: beyond + 1 }),
            None => Err(RangeRefusal::Count(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_wrong_ones_are_named() {
        let range: AddressRange = "10.0.0.250-10.0.1.5".parse().unwrap();
        assert_eq!((range.count(), range.at(6)), (12, "10.0.1.0".parse().unwrap()));
        let range: AddressRange = "fd00::1-fd00::ff".parse().unwrap();
        assert_eq!((range.count(), range.at(254)), (255, "fd00::ff".parse().unwrap()));
        assert!("10.0.0.7".parse::<AddressRange>().is_ok_and(|range| range.count() == 1));
        let refused = |text: &str| text.parse::<AddressRange>().unwrap_err();
        assert_eq!(refused("10.0.0.x"), RangeRefusal::Address("10.0.0.x".to_owned()));
        assert!(matches!(refused("10.0.0.1-fd00::1"), RangeRefusal::Families(_)));
        assert!(matches!(refused("10.0.0.9-10.0.0.1"), RangeRefusal::Count(_)));
        assert!(matches!(refused("0.0.0.0-255.255.255.255"), RangeRefusal::Count(_)));
    }
}
