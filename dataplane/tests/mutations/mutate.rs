//! Frames made wrong, and made right again where that brings them deeper: what was changed behind a checksum would
//! otherwise end at the checksum.

use super::noise::Noise;
use crate::lab::mac;

const ETHERNET_BYTES: usize = 14;
/// Largest frame that is made; more than any device of the laboratory takes.
const FRAME_BYTES_MAX: usize = 3_500;

/// Ports that rules of the laboratory name, and their neighbours.
const PORTS: [u16; 14] = [0, 22, 23, 25, 53, 67, 68, 80, 443, 546, 547, 5353, 5432, 65_535];

/// Where the fields stand that decide how the rest is read, behind the Ethernet header.
const V4_FIELDS: [usize; 14] = [0, 0, 2, 3, 4, 5, 6, 6, 7, 8, 9, 9, 16, 19];
const V6_FIELDS: [usize; 12] = [0, 4, 5, 6, 6, 7, 39, 40, 41, 42, 43, 44];
/// Where they stand in a header of TCP, UDP, SCTP or ICMP.
const L4_FIELDS: [usize; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 12, 12, 13, 13];

/// Changes a frame once. `other` is one that may be spliced to it.
pub fn mutate(frame: &mut Vec<u8>, other: &[u8], noise: &mut Noise) {
    match noise.below(20) {
        0 | 1 => flip_bits(frame, noise),
        2..=5 => change_field(frame, noise),
        6 => frame.truncate(noise.below(frame.len() + 1)),
        7 => extend(frame, noise),
        8 => splice(frame, other, noise),
        9 | 10 => make_fragment(frame, noise),
        11 => tag(frame, noise),
        12 => insert_extension(frame, noise),
        13 | 14 => change_address(frame, noise),
        15 | 16 => change_ports(frame, noise),
        17 => change_transport(frame, noise),
        18 => change_mac(frame, noise),
        _ => pad(frame, noise),
    }
    frame.truncate(FRAME_BYTES_MAX);
}

/// Makes lengths and checksums agree with the rest, as far as the frame can be read. Of a right frame it changes nothing.
pub fn repair(frame: &mut [u8]) {
    match l3_of(frame) {
        Some((0x0800, at)) => repair_v4(frame, at),
        Some((0x86dd, at)) => repair_v6(frame, at),
        _ => {}
    }
}

/// Returns ethertype and place of what is behind the Ethernet header and its tags.
pub fn l3_of(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = ETHERNET_BYTES;
    for _ in 0..3 {
        match word(frame, at - 2)? {
            0x8100 | 0x88a8 => at += 4,
            ethertype => return Some((ethertype, at)),
        }
    }
    None
}

/// Returns whether the frame says that it is a part of a datagram.
pub fn is_part(frame: &[u8]) -> bool {
    match l3_of(frame) {
        Some((0x0800, at)) => word(frame, at + 6).is_some_and(|field| field & 0x3fff != 0),
        Some((0x86dd, _)) => l4_of(frame).is_some_and(|(next, _)| next == 44),
        _ => false,
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    if let Some(two) = frame.get_mut(at..at + 2) {
        two.copy_from_slice(&value.to_be_bytes());
    }
}

fn flip_bits(frame: &mut [u8], noise: &mut Noise) {
    for _ in 0..=noise.below(4) {
        if !frame.is_empty() {
            let bit = noise.below(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Changes a byte on which lengths, types or offsets depend.
fn change_field(frame: &mut [u8], noise: &mut Noise) {
    let Some((ethertype, l3)) = l3_of(frame) else { return flip_bits(frame, noise) };
    let l4 = l4_of(frame).map_or(l3 + 20, |(_, at)| at);
    let at = match (noise.below(3), ethertype) {
        (0, 0x0800) => l3 + noise.one_of(&V4_FIELDS),
        (0, 0x86dd) => l3 + noise.one_of(&V6_FIELDS),
        (1, _) => l4 + noise.one_of(&L4_FIELDS),
        _ => noise.below(frame.len().clamp(1, 80)),
    };
    let value = noise.byte();
    if let Some(byte) = frame.get_mut(at) {
        *byte = match value % 6 {
            0 => 0,
            1 => 0xff,
            2 => byte.wrapping_add(1),
            3 => byte.wrapping_sub(1),
            4 => *byte ^ (1 << (value >> 5)),
            _ => value,
        };
    }
}

fn extend(frame: &mut Vec<u8>, noise: &mut Noise) {
    let count = if noise.once_in(10) { noise.below(2_500) } else { noise.below(120) };
    frame.extend(noise.bytes(count));
}

/// Padding as senders of short frames add it.
fn pad(frame: &mut Vec<u8>, noise: &mut Noise) {
    let bytes = frame.len().max(60 + noise.below(3));
    frame.resize(bytes, if noise.once_in(2) { 0 } else { 0xa5 });
}

fn splice(frame: &mut Vec<u8>, other: &[u8], noise: &mut Noise) {
    let cut = noise.below(frame.len() + 1);
    let from = if noise.once_in(2) { cut.min(other.len()) } else { noise.below(other.len() + 1) };
    frame.truncate(cut);
    frame.extend_from_slice(&other[from..]);
}

/// Makes the frame a part of a datagram: by the fields of IPv4, by a header of IPv6.
fn make_fragment(frame: &mut Vec<u8>, noise: &mut Noise) {
    let offset = noise.one_of(&[0, 0, 1, 2, 3, 8, 100, 185, 0x1fff]);
    let more = u16::from(!noise.once_in(3));
    let id = u16::try_from(noise.below(3)).unwrap();
    match l3_of(frame) {
        Some((0x0800, at)) => {
            put(frame, at + 4, id);
            put(frame, at + 6, offset | (more << 13));
        }
        Some((0x86dd, at)) if frame.len() >= at + 40 => {
            let [high, low] = ((offset << 3) | more).to_be_bytes();
            let header = [frame[at + 6], 0, high, low, 0, 0, 0, u8::try_from(id).unwrap()];
            frame[at + 6] = 44;
            frame.splice(at + 40..at + 40, header);
            lengthen(frame, at, 8);
        }
        _ => {}
    }
}

fn lengthen(frame: &mut [u8], l3: usize, bytes: u16) {
    let length = word(frame, l3 + 4).unwrap_or(0);
    put(frame, l3 + 4, length.wrapping_add(bytes));
}

fn tag(frame: &mut Vec<u8>, noise: &mut Noise) {
    if frame.len() < 12 {
        return;
    }
    for _ in 0..=usize::from(noise.once_in(4)) {
        let number: u16 = noise.one_of(&[0, 0, 1, 7, 100, 4_095]) | noise.one_of(&[0, 0, 0xe000, 0x1000]);
        let ethertype: u16 = noise.one_of(&[0x8100, 0x8100, 0x88a8, 0x9100]);
        let [a, b] = ethertype.to_be_bytes();
        let [c, d] = number.to_be_bytes();
        frame.splice(12..12, [a, b, c, d]);
    }
}

/// Adds an extension header or options.
fn insert_extension(frame: &mut Vec<u8>, noise: &mut Noise) {
    match l3_of(frame) {
        Some((0x0800, at)) if frame.len() >= at + 20 => {
            let options: [u8; 4] = noise.one_of(&[
                [1, 1, 1, 1],
                [148, 4, 0, 0],
                [131, 3, 4, 0],
                [137, 4, 4, 0],
                [7, 3, 4, 0],
                [0, 131, 4, 0],
                [68, 4, 5, 0],
                [130, 0, 0, 0],
                [131, 200, 4, 0],
            ]);
            frame.splice(at + 20..at + 20, options);
            frame[at] = frame[at].wrapping_add(1);
            let length = word(frame, at + 2).unwrap_or(0);
            put(frame, at + 2, length.wrapping_add(4));
        }
        Some((0x86dd, at)) if frame.len() >= at + 40 => {
            for _ in 0..=noise.one_of(&[0, 0, 0, 1, 7, 9]) {
                let kind = noise.one_of(&[0, 60, 60, 43, 51, 59, 135, 50]);
                let fourth = noise.one_of(&[0, 0, 1, 4]);
                let header = [frame[at + 6], 0, noise.one_of(&[0, 1, 2, 5]), fourth, 0, 0, 0, 0];
                frame[at + 6] = kind;
                frame.splice(at + 40..at + 40, header);
                lengthen(frame, at, 8);
            }
        }
        _ => {}
    }
}

fn change_address(frame: &mut [u8], noise: &mut Noise) {
    let which = noise.below(2);
    match l3_of(frame) {
        Some((0x0800, at)) => {
            let own = [10, 0, 0, u8::try_from(1 + noise.below(3)).unwrap()];
            let others =
                [[198, 51, 100, 7], [224, 0, 0, 251], [255; 4], [127, 0, 0, 1], [0; 4], [10, 0, 0, 99]];
            let address = if noise.once_in(3) { own } else { noise.one_of(&others) };
            let at = at + 12 + 4 * which;
            if let Some(field) = frame.get_mut(at..at + 4) {
                field.copy_from_slice(&address);
            }
        }
        Some((0x86dd, at)) => {
            let mut address = noise.one_of(&[[0; 16], [0xff; 16]]);
            match noise.below(5) {
                0 => address[..2].copy_from_slice(&[0xfd, 0]),
                1 => address[..2].copy_from_slice(&[0xff, 2]),
                2 => address[..8].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]),
                3 => address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]),
                _ => {}
            }
            if noise.once_in(2) {
                address[2..15].fill(0);
                address[15] = u8::try_from(1 + noise.below(3)).unwrap();
            }
            let at = at + 8 + 16 * which;
            if let Some(field) = frame.get_mut(at..at + 16) {
                field.copy_from_slice(&address);
            }
        }
        _ => {}
    }
}

fn change_ports(frame: &mut [u8], noise: &mut Noise) {
    if let Some((_, at)) = l4_of(frame) {
        let port = noise.one_of(&PORTS);
        put(frame, at + 2 * noise.below(2), port);
    }
}

/// Changes flags or numbers of TCP, or which protocol it is.
fn change_transport(frame: &mut [u8], noise: &mut Noise) {
    let (Some((ethertype, l3)), Some((_, l4))) = (l3_of(frame), l4_of(frame)) else { return };
    match noise.below(3) {
        0 => {
            let flags =
                noise.one_of(&[0x02, 0x10, 0x12, 0x14, 0x04, 0x11, 0x18, 0x03, 0x06, 0x00, 0x29, 0xff]);
            if let Some(byte) = frame.get_mut(l4 + 13) {
                *byte = flags;
            }
        }
        1 => {
            let at = l4 + 4 + 4 * noise.below(2) + 2 * noise.below(2);
            let step = noise.one_of(&[1, 0xffff, 0x100, 0x8000]);
            let number = word(frame, at).unwrap_or(0);
            put(frame, at, number.wrapping_add(step));
        }
        _ => {
            let protocol = noise.one_of(&[1, 2, 6, 17, 47, 50, 51, 58, 89, 103, 132, 136, 0, 255]);
            let at = if ethertype == 0x0800 { l3 + 9 } else { l3 + 6 };
            if let Some(byte) = frame.get_mut(at) {
                *byte = protocol;
            }
        }
    }
}

fn change_mac(frame: &mut [u8], noise: &mut Noise) {
    let number = u8::try_from(1 + noise.below(4)).unwrap();
    let choices = [mac(number).0, [0xff; 6], [0; 6], [1, 0, 0x5e, 0, 0, 0xfb], [1, 0x80, 0xc2, 0, 0, 0]];
    let choices = [choices[0], choices[0], choices[1], choices[2], choices[3], choices[4]];
    let at = 6 * noise.below(2);
    if let Some(field) = frame.get_mut(at..at + 6) {
        field.copy_from_slice(&noise.one_of(&choices));
    }
}

/// Returns protocol and place of what is behind the IP headers, as a plain receiver would find it.
fn l4_of(frame: &[u8]) -> Option<(u8, usize)> {
    match l3_of(frame)? {
        (0x0800, at) => Some((*frame.get(at + 9)?, at + usize::from(frame.get(at)? & 0x0f) * 4)),
        (0x86dd, at) => {
            let (mut next, mut place) = (*frame.get(at + 6)?, at + 40);
            for _ in 0..9 {
                let bytes = match next {
                    0 | 43 | 60 => 8 + 8 * usize::from(*frame.get(place + 1)?),
                    // Behind this is a part of something.
                    44 if word(frame, place + 2)? != 0 => break,
                    44 => 8,
                    51 => 8 + 4 * usize::from(*frame.get(place + 1)?),
                    _ => break,
                };
                next = *frame.get(place)?;
                place += bytes;
            }
            Some((next, place))
        }
        _ => None,
    }
}

fn repair_v4(frame: &mut [u8], at: usize) {
    let end = frame.len();
    let Some(first) = frame.get(at).copied() else { return };
    let header_bytes = usize::from(first & 0x0f) * 4;
    if header_bytes < 20 || at + header_bytes > end {
        return;
    }
    if word(frame, at + 2).is_none_or(|length| usize::from(length) > end - at) {
        put(frame, at + 2, u16::try_from(end - at).unwrap_or(u16::MAX));
    }
    put(frame, at + 10, 0);
    let sum = !fold(sum_of(&frame[at..at + header_bytes]));
    put(frame, at + 10, sum);
    let is_part = word(frame, at + 6).is_some_and(|field| field & 0x3fff != 0);
    let l4_end = at + usize::from(word(frame, at + 2).unwrap_or(0));
    if !is_part && l4_end >= at + header_bytes {
        let addresses = sum_of(&frame[at + 12..at + 20]);
        repair_l4(frame, frame[at + 9], at + header_bytes..l4_end, addresses);
    }
}

fn repair_v6(frame: &mut [u8], at: usize) {
    let end = frame.len();
    if end < at + 40 {
        return;
    }
    if word(frame, at + 4).is_none_or(|length| usize::from(length) > end - at - 40) {
        put(frame, at + 4, u16::try_from(end - at - 40).unwrap_or(u16::MAX));
    }
    let l4_end = at + 40 + usize::from(word(frame, at + 4).unwrap_or(0));
    if let Some((protocol, l4)) = l4_of(frame)
        && l4 <= l4_end
    {
        let addresses = sum_of(&frame[at + 8..at + 40]);
        repair_l4(frame, protocol, l4..l4_end, addresses);
    }
}

/// Writes the checksum of what is behind the IP headers; `addresses` is the sum of theirs.
fn repair_l4(frame: &mut [u8], protocol: u8, range: std::ops::Range<usize>, addresses: u64) {
    let (place, with_pseudo_header) = match protocol {
        6 => (16, true),
        17 => (6, true),
        58 => (2, true),
        1 => (2, false),
        _ => return,
    };
    let length = range.len();
    if length < place + 2 {
        return;
    }
    if protocol == 17 {
        put(frame, range.start + 4, u16::try_from(length).unwrap_or(u16::MAX));
    }
    put(frame, range.start + place, 0);
    let pseudo = if with_pseudo_header { addresses + u64::from(protocol) + length as u64 } else { 0 };
    let sum = !fold(pseudo + sum_of(&frame[range.clone()]));
    let sum = if protocol == 17 && sum == 0 { 0xffff } else { sum };
    put(frame, range.start + place, sum);
}

fn sum_of(bytes: &[u8]) -> u64 {
    let of = |two: &[u8]| u64::from(two[0]) << 8 | u64::from(two.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(of).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
