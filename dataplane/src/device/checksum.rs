//! Completes partial checksums in software, where no kernel or driver does it: in memory and in captures.

use af_xdp::ChecksumRequest;

/// What a computed checksum of zero is stored as: in UDP zero means "none" (RFC 768), and all ones means the same sum.
const ZERO_STORED: u16 = 0xffff;

/// Completes the checksum of a whole frame as the kernel's `skb_checksum_help` does; returns whether the request lay
/// within the frame. The field must already hold the folded sum of the pseudo-header.
pub fn complete(frame: &mut [u8], request: ChecksumRequest) -> bool {
    let start = usize::from(request.start);
    let field = start + usize::from(request.offset);
    if field + size_of::<u16>() > frame.len() {
        return false;
    }
    let sum = !fold(sum(&frame[start..]));
    let stored = if sum == 0 { ZERO_STORED } else { sum };
    frame[field..field + size_of::<u16>()].copy_from_slice(&stored.to_be_bytes());
    true
}

/// Adds up the bytes as 16-bit words of the network's order; an odd last byte is a word's high half (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks_exact(2);
    let last = pairs.remainder().first().map_or(0, |&byte| u64::from(byte) << 8);
    pairs.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u64>() + last
}

/// Adds the carries back in until 16 bits are left.
fn fold(mut sum: u64) -> u16 {
    while let carry @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + carry;
    }
    u16::try_from(sum).expect("folded to 16 bits just above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_checksum_makes_the_covered_bytes_sum_to_all_ones() {
        let mut frame = vec![9, 9, 0x12, 0x34, 0xab, 0xcd, 0x00, 0x07, 0xff];
        assert!(complete(&mut frame, ChecksumRequest { start: 2, offset: 4 }));
        assert_eq!(frame[..2], [9, 9]);
        // The field held 7, the pseudo-header's share, which is not in the covered bytes.
        assert_eq!(fold(sum(&frame[2..]) + 7), 0xffff);
    }

    #[test]
    fn a_sum_of_zero_is_stored_as_all_ones() {
        let mut frame = vec![0xff, 0xff, 0, 0];
        assert!(complete(&mut frame, ChecksumRequest { start: 0, offset: 2 }));
        assert_eq!(frame[2..], [0xff, 0xff]);
    }

    #[test]
    fn a_request_beyond_the_frame_changes_nothing() {
        let mut frame = vec![1, 2, 3, 4];
        assert!(!complete(&mut frame, ChecksumRequest { start: 1, offset: 2 }));
        assert!(!complete(&mut frame, ChecksumRequest { start: u16::MAX, offset: u16::MAX }));
        assert_eq!(frame, [1, 2, 3, 4]);
    }
}
