//! How long frames are.

use std::fmt;
use std::str::FromStr;

/// Bytes of the check sequence at the end of a frame on a wire, which no device here hands on.
pub const CHECK_SEQUENCE_BYTES: u16 = 4;
/// The simple Internet mix: of twelve frames seven of 64, four of 570 and one of 1,518 bytes, check sequence included
/// (Spirent, Test Methodology Journal: IMIX, March 2006). RFC 6985 is how a mix is named: this one in a drawn order.
const INTERNET_MIX: [u16; 12] = [64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1_518];
/// Shortest and longest frame on an Ethernet with the usual MTU.
const WIRE_BYTES: std::ops::RangeInclusive<u16> = 64..=1_518;

/// Lengths of frames on a wire, check sequence included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All the same.
    Fixed([u16; 1]),
    /// The simple Internet mix.
    InternetMix,
}

impl Sizes {
    /// Returns the lengths of frames that together have the right shares.
    pub fn pack(&self) -> &[u16] {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::InternetMix => &INTERNET_MIX,
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// Reads a number of bytes, or `imix`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "imix" => Ok(Self::InternetMix),
            Ok(bytes) if WIRE_BYTES.contains(&bytes) => Ok(Self::Fixed([bytes])),
            _ => Err(format!("{text:?} is neither imix nor a number of bytes from 64 to 1518")),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed([bytes]) => write!(f, "{bytes} bytes"),
            Self::InternetMix => f.write_str("64, 570 and 1518 bytes in shares of 7:4:1"),
        }
    }
}
