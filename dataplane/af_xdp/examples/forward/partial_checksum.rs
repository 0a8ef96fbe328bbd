//! Recognising checksums that a sender left to be completed, because its device promised to do so.

/// Adds bytes up as the Internet checksum does (RFC 1071), without the final complement.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// Folds a sum into 16 bits.
fn fold(mut sum: u32) -> u32 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Returns start and offset of the partial checksum of a TCP or UDP packet over IPv4; none if it is complete.
///
/// A partial checksum equals the folded sum of the pseudo-header (addresses, protocol, length). Fragments never
/// have one. One complete checksum in 65536 looks partial; completing it again would falsify it, which is why a real
/// switch asks only of devices whose peers are known to leave them.
pub fn partial_checksum(frame: &[u8]) -> Option<(u16, u16)> {
    let header = usize::from(frame.get(14)? & 15) * 4;
    let is_ipv4 = frame.get(12..15)? == [0x08, 0x00, 0x40 | (frame[14] & 15)];
    let is_fragment = u16::from_be_bytes([*frame.get(20)?, *frame.get(21)?]) & 0x3fff != 0;
    let offset = match frame.get(23)? {
        6 => 16,
        17 => 6,
        _ => return None,
    };
    if !is_ipv4 || is_fragment {
        return None;
    }
    let start = 14 + header;
    let field = sum(frame.get(start + offset..start + offset + 2)?);
    let length = sum(&frame[16..18]).checked_sub(u32::try_from(header).ok()?)?;
    let pseudo_header = fold(sum(frame.get(26..34)?) + u32::from(frame[23]) + length);
    (field == pseudo_header).then_some((u16::try_from(start).ok()?, u16::try_from(offset).ok()?))
}
