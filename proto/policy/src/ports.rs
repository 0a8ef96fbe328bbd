//! Transport ports: ranges and sets of ranges.

use crate::limits::PORT_RANGES_PER_RULE_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text or pair of numbers is not a port range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The first port is above the last one.
    #[error("port range {0}-{1} is backwards: {0} is above {1}")]
    Backwards(u16, u16),
    /// Not a number of 0 to 65535 or a range of them.
    #[error("{0:?} is not a port or range like 22 or 80-8080 (ports are 0 to 65535)")]
    Text(String),
    /// More ranges than a rule may have.
    #[error("{0} port ranges, a rule has at most {PORT_RANGES_PER_RULE_MAX}")]
    TooMany(usize),
}

/// An inclusive range of ports, never backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// Returns the range, both ends included.
    pub fn new(first: u16, last: u16) -> Result<Self, PortError> {
        if first > last { Err(PortError::Backwards(first, last)) } else { Ok(Self { first, last }) }
    }

    /// Returns the first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Returns the last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Returns whether the port lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let port = |part: &str| -> Result<u16, PortError> {
            let digits = part.trim();
            let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number).ok_or_else(|| PortError::Text(text.trim().to_owned()))
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(port(first)?, port(last)?),
            None => Self::new(port(text)?, port(text)?),
        }
    }
}

/// A set of ports: sorted ranges that neither overlap nor touch. The empty text means every port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// Returns the set of every port.
    pub fn all() -> Self {
        Self(vec![PortRange::ALL])
    }

    /// Returns the union of the ranges, merged; no ranges mean every port.
    pub fn new(mut ranges: Vec<PortRange>) -> Result<Self, PortError> {
        if ranges.is_empty() {
            return Ok(Self::all());
        }
        if ranges.len() > PORT_RANGES_PER_RULE_MAX {
            return Err(PortError::TooMany(ranges.len()));
        }
        ranges.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(open) if u32::from(range.first) <= u32::from(open.last) + 1 => {
                    open.last = open.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Ok(Self(merged))
    }

    /// Returns the ranges: sorted, apart, at least one.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Returns whether the set holds every port.
    pub fn is_all(&self) -> bool {
        self.0 == [PortRange::ALL]
    }

    /// Returns whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }

    /// Returns whether every port of `other` is in this set.
    pub fn contains_set(&self, other: &Self) -> bool {
        other.0.iter().all(|inner| self.0.iter().any(|r| r.first <= inner.first && inner.last <= r.last))
    }

    /// Returns whether the sets have a port in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.first <= b.last && b.first <= a.last))
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Display for PortSet {
    /// Writes `80,443,8000-8100`; nothing for every port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return Ok(());
        }
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for PortSet {
    type Err = PortError;
    /// Reads ranges between commas; an empty text and `any` mean every port.
    fn from_str(text: &str) -> Result<Self, PortError> {
        if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("any") {
            return Ok(Self::all());
        }
        let parts = text.split(',').take(PORT_RANGES_PER_RULE_MAX + 1);
        Self::new(parts.map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl TryFrom<String> for PortSet {
    type Error = PortError;
    fn try_from(text: String) -> Result<Self, PortError> {
        text.parse()
    }
}

impl From<PortSet> for String {
    fn from(ports: PortSet) -> Self {
        ports.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_texts_are_read() {
        assert_eq!("80-8080".parse::<PortSet>().unwrap().ranges(), [PortRange::new(80, 8080).unwrap()]);
        assert_eq!("22".parse::<PortSet>().unwrap().to_string(), "22");
        assert!("".parse::<PortSet>().unwrap().is_all());
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        assert_eq!("5,1-3,4,9-12,10-20".parse::<PortSet>().unwrap().to_string(), "1-5,9-20");
        assert!("0-65535".parse::<PortSet>().unwrap().is_all());
    }

    #[test]
    fn a_backwards_range_is_refused_by_its_numbers() {
        assert_eq!("8080-80".parse::<PortSet>(), Err(PortError::Backwards(8080, 80)));
    }

    #[test]
    fn texts_that_are_no_ports_are_refused() {
        for text in ["x", "-1", "65536", "1-", "1,,2", "+5", "1-2-3"] {
            assert!(matches!(text.parse::<PortSet>(), Err(PortError::Text(_))), "{text}");
        }
    }

    #[test]
    fn more_than_64_ranges_are_refused() {
        let text = (0..65).map(|i| (i * 3).to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(text.parse::<PortSet>(), Err(PortError::TooMany(65)));
    }
}
