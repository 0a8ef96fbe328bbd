//! The tags of a frame (IEEE 802.1Q): they select its segment, together with the device.
//!
//! A frame has no tag, one, or two: a service or customer tag and a customer tag within (QinQ). All of them select: what
//! has a second tag belongs to the segment of that pair or to none, never to the segment of its outer tag alone. So no
//! frame is judged as the content of a tag that somebody behind would still take off ("VLAN hopping" by two tags). A
//! service tag is another tag than a customer tag of the same number.
//!
//! A priority tag (number 0) says nothing of a segment: such a frame counts as untagged. One with a second tag behind
//! it is refused, as receivers differ in what they make of it; so are a second tag without a number, and a third one.

use super::field::u16_at;
use super::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, VLAN_TAG_BYTES};
use crate::verdict::DropReason;
use std::fmt;

/// Where the ethertype of a frame without tags stands, and of others the first tag.
const ETHERTYPE_AT: usize = 12;
/// The part of a tag that is its number; the rest is priority.
const NUMBER_BITS: u16 = 0x0fff;
/// The number that no segment can have.
const RESERVED: u16 = 0x0fff;
/// Largest number that a segment can have.
const NUMBER_MAX: u16 = 4_094;
/// Most bytes that tags take.
pub const TAGS_BYTES_MAX: usize = 2 * VLAN_TAG_BYTES;

/// Who gave a tag, as its ethertype says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagKind {
    /// A customer: 0x8100.
    Customer,
    /// A provider: 0x88a8.
    Service,
}

/// The tags that select a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tags {
    /// None, or a priority tag.
    #[default]
    Untagged,
    /// One.
    Single(TagKind, u16),
    /// A customer tag within another tag.
    Double {
        /// The outer one.
        outer: (TagKind, u16),
        /// Number of the customer tag within.
        inner: u16,
    },
}

/// The tags as they stand in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagsInFrame {
    /// What they select.
    pub tags: Tags,
    /// Bytes that they take behind the MACs.
    pub bytes: u8,
    /// Priority and drop eligibility of the outer one, in the upper four bits of its 16.
    pub priority: u16,
}

impl TagKind {
    /// Returns the ethertype that announces such a tag.
    pub fn ethertype(self) -> u16 {
        match self {
            Self::Customer => ETHERTYPE_VLAN,
            Self::Service => ETHERTYPE_SERVICE_VLAN,
        }
    }

    fn of(ethertype: u16) -> Option<Self> {
        [Self::Customer, Self::Service].into_iter().find(|kind| kind.ethertype() == ethertype)
    }
}

impl Tags {
    /// Returns a single customer tag.
    pub fn customer(number: u16) -> Self {
        Self::Single(TagKind::Customer, number)
    }

    /// Returns the tags as people write them: `100`, `s100` for a service tag, `s100.7` and `100.7` for two.
    pub fn from_text(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let has_digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| has_digits_only && (1..=NUMBER_MAX).contains(number))
        };
        let (outer, inner) = match text.split_once('.') {
            Some((outer, inner)) => (outer, Some(number(inner)?)),
            None => (text, None),
        };
        let outer = match outer.strip_prefix('s') {
            Some(service) => (TagKind::Service, number(service)?),
            None => (TagKind::Customer, number(outer)?),
        };
        Some(match inner {
            None => Self::Single(outer.0, outer.1),
            Some(inner) => Self::Double { outer, inner },
        })
    }

    /// Returns how many bytes they take in a frame.
    pub fn bytes(self) -> usize {
        match self {
            Self::Untagged => 0,
            Self::Single(..) => VLAN_TAG_BYTES,
            Self::Double { .. } => TAGS_BYTES_MAX,
        }
    }

    /// Returns the bytes of the tags, as many as [`Self::bytes`] says of the array's front, all with this priority.
    pub fn written(self, priority: u16) -> [u8; TAGS_BYTES_MAX] {
        let tag = |kind: TagKind, number: u16| {
            let ([a, b], [c, d]) = (kind.ethertype().to_be_bytes(), (priority | number).to_be_bytes());
            [a, b, c, d]
        };
        let mut bytes = [0; TAGS_BYTES_MAX];
        match self {
            Self::Untagged => {}
            Self::Single(kind, number) => bytes[..VLAN_TAG_BYTES].copy_from_slice(&tag(kind, number)),
            Self::Double { outer: (kind, number), inner } => {
                bytes[..VLAN_TAG_BYTES].copy_from_slice(&tag(kind, number));
                bytes[VLAN_TAG_BYTES..].copy_from_slice(&tag(TagKind::Customer, inner));
            }
        }
        bytes
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = |kind| if kind == TagKind::Service { "s" } else { "" };
        match *self {
            Self::Untagged => f.write_str("untagged"),
            Self::Single(kind, number) => write!(f, "{}{number}", prefix(kind)),
            Self::Double { outer: (kind, number), inner } => write!(f, "{}{number}.{inner}", prefix(kind)),
        }
    }
}

/// Reads the tags of a frame whose MACs are there. Returns them and the ethertype behind.
#[inline]
pub(super) fn read(head: &[u8]) -> Result<(TagsInFrame, u16), DropReason> {
    let field = |at| u16_at(head, at).ok_or(DropReason::Truncated);
    let ethertype = field(ETHERTYPE_AT)?;
    let Some(kind) = TagKind::of(ethertype) else { return Ok((TagsInFrame::default(), ethertype)) };
    let control = field(ETHERTYPE_AT + 2)?;
    let (number, priority) = (control & NUMBER_BITS, control & !NUMBER_BITS);
    let ethertype = field(ETHERTYPE_AT + VLAN_TAG_BYTES)?;
    if number == RESERVED {
        return Err(DropReason::BadHeader);
    }
    let Some(second) = TagKind::of(ethertype) else {
        let tags = if number == 0 { Tags::Untagged } else { Tags::Single(kind, number) };
        return Ok((TagsInFrame { tags, bytes: low_byte(VLAN_TAG_BYTES), priority }, ethertype));
    };
    let inner = field(ETHERTYPE_AT + VLAN_TAG_BYTES + 2)? & NUMBER_BITS;
    let ethertype = field(ETHERTYPE_AT + TAGS_BYTES_MAX)?;
    if inner == RESERVED {
        return Err(DropReason::BadHeader);
    }
    if number == 0 || inner == 0 || second == TagKind::Service || TagKind::of(ethertype).is_some() {
        return Err(DropReason::UnknownVlan);
    }
    let tags = Tags::Double { outer: (kind, number), inner };
    Ok((TagsInFrame { tags, bytes: low_byte(TAGS_BYTES_MAX), priority }, ethertype))
}

fn low_byte(bytes: usize) -> u8 {
    u8::try_from(bytes).expect("4 or 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_as_people_write_them() {
        let double = |kind, number, inner| Tags::Double { outer: (kind, number), inner };
        let cases = [
            ("1", Tags::customer(1)),
            ("4094", Tags::customer(4_094)),
            ("s100", Tags::Single(TagKind::Service, 100)),
            ("s100.7", double(TagKind::Service, 100, 7)),
            ("100.7", double(TagKind::Customer, 100, 7)),
        ];
        for (text, tags) in cases {
            assert_eq!((Tags::from_text(text), tags.to_string().as_str()), (Some(tags), text));
        }
        for text in ["", "0", "4095", "s", "s0", "x7", "1.0", "1.s2", "1.2.3", "+7", "7 ", "-1"] {
            assert_eq!(Tags::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["7", "s7", "s7.9", "7.9"] {
            let tags = Tags::from_text(text).unwrap();
            let written = &tags.written(0xb000)[..tags.bytes()];
            let frame = [&[2; 12], written, &[0x08, 0x00]].concat();
            let bytes = low_byte(written.len());
            assert_eq!(read(&frame), Ok((TagsInFrame { tags, bytes, priority: 0xb000 }, 0x0800)));
        }
    }
}
