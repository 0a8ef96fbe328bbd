//! The Internet checksum (RFC 1071), over one buffer or several, finished or not.

use super::{Checksum, ChecksumRequest, Datagram, IGMP, IpPacket, ParseContext};
use crate::verdict::DropReason;
use etherparse::checksum::Sum16BitWords;
use meshgate_policy::Protocol;
use std::net::IpAddr;

/// A one's complement sum of 16-bit words that may be fed pieces of any length.
#[derive(Clone, Default)]
pub(crate) struct Sum {
    words: Sum16BitWords,
    /// The first byte of a word whose second one has not come yet.
    half: Option<u8>,
}

impl Sum {
    /// Returns the sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    pub(crate) fn of_pseudo_header(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        l4_bytes: usize,
    ) -> Self {
        let mut words = Sum16BitWords::new();
        for address in [source, destination] {
            words = match address {
                IpAddr::V4(v4) => words.add_4bytes(v4.octets()),
                IpAddr::V6(v6) => words.add_16bytes(v6.octets()),
            };
        }
        let l4_bytes = u32::try_from(l4_bytes).unwrap_or(u32::MAX);
        words = words.add_4bytes(l4_bytes.to_be_bytes()).add_2bytes([0, protocol]);
        Self { words, half: None }
    }

    /// Returns the sum with these bytes behind the ones before.
    pub(crate) fn add(mut self, mut bytes: &[u8]) -> Self {
        if let (Some(first), [second, rest @ ..]) = (self.half, bytes) {
            self.words = self.words.add_2bytes([first, *second]);
            self.half = None;
            bytes = rest;
        }
        if let (None, false, [even @ .., last]) = (self.half, bytes.len().is_multiple_of(2), bytes) {
            self.half = Some(*last);
            bytes = even;
        }
        self.words = self.words.add_slice(bytes);
        self
    }

    /// Returns the sum folded to 16 bits.
    pub(crate) fn folded(&self) -> u16 {
        let words = match self.half {
            Some(last) => self.words.clone().add_2bytes([last, 0]),
            None => self.words.clone(),
        };
        !words.ones_complement().to_be()
    }

    /// Returns whether the summed bytes contain their own right checksum.
    pub(crate) fn is_valid(&self) -> bool {
        self.folded() == u16::MAX
    }
}

/// What must be known of a checksum, and where it stands.
pub(super) struct Question {
    /// Where the field is in the L4 header.
    pub(super) field_offset: u16,
    /// What the field holds.
    pub(super) field: u16,
    /// Bytes that the checksum covers, from the L4 header on.
    pub(super) covered_bytes: usize,
    /// Whether state depends on it, so that a wrong one ends the packet.
    pub(super) must_hold: bool,
}

/// Answers for a TCP or UDP packet that is not a fragment.
///
/// A partial checksum is one whose field holds the pseudo-header sum alone. A finished one may do so by chance (one
/// packet in 65,536); finishing that again gives the same value, so the mistake is harmless.
pub(super) fn check(
    datagram: &Datagram<'_>,
    question: &Question,
    context: ParseContext,
) -> Result<Checksum, DropReason> {
    if !question.must_hold && !context.may_be_partial {
        return Ok(Checksum::Unread);
    }
    let (source, destination) = (datagram.source, datagram.destination);
    let pseudo = Sum::of_pseudo_header(source, destination, datagram.protocol, question.covered_bytes);
    let covers_all = question.covered_bytes == datagram.l4_bytes;
    if context.may_be_partial && covers_all && question.field == pseudo.folded() {
        let start = u16::try_from(datagram.l4_offset).map_err(|_| DropReason::OversizeFrame)?;
        return Ok(Checksum::Partial(ChecksumRequest { start, offset: question.field_offset }));
    }
    if !question.must_hold {
        return Ok(Checksum::Unread);
    }
    verify(datagram, pseudo)
}

/// Verifies the checksum of a message that has a pseudo-header (ICMPv6) or none (ICMP, IGMP).
pub(super) fn verify_message(datagram: &Datagram<'_>) -> Result<Checksum, DropReason> {
    let sum = match (datagram.source, datagram.destination) {
        (IpAddr::V4(_), _) => Sum::default(),
        (source, destination) => {
            Sum::of_pseudo_header(source, destination, datagram.protocol, datagram.l4_bytes)
        }
    };
    verify(datagram, sum)
}

fn verify(datagram: &Datagram<'_>, sum: Sum) -> Result<Checksum, DropReason> {
    if datagram.l4.len() < datagram.l4_bytes {
        return Ok(Checksum::Beyond);
    }
    if sum.add(datagram.l4).is_valid() { Ok(Checksum::Verified) } else { Err(DropReason::BadL4Checksum) }
}

/// Verifies the checksum of a packet over all buffers of its frame.
pub(super) fn verify_across<'a>(
    packet: &IpPacket,
    buffers: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    let l4_bytes = usize::from(packet.l4_bytes);
    let protocol = packet.l4.protocol;
    let mut sum = match packet.source {
        IpAddr::V4(_) if matches!(protocol, Protocol::ICMP | IGMP) => Sum::default(),
        _ => Sum::of_pseudo_header(packet.source, packet.destination, protocol.0, l4_bytes),
    };
    let (mut skip, mut left) = (usize::from(packet.l4_offset), l4_bytes);
    for buffer in buffers {
        let behind = &buffer[skip.min(buffer.len())..];
        skip -= buffer.len() - behind.len();
        let covered = &behind[..left.min(behind.len())];
        left -= covered.len();
        sum = sum.add(covered);
    }
    match (left, sum.is_valid()) {
        (0, true) => Ok(()),
        (0, false) => Err(DropReason::BadL4Checksum),
        _ => Err(DropReason::Truncated),
    }
}
