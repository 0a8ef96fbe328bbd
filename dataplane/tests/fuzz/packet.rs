//! Stage 1 on any bytes: what it says lies within the frame, is said twice alike, does not depend on padding or on how
//! much of the payload was seen, and is what `etherparse` and plain arithmetic say.
//!
//! An input is a byte of [`control`], a byte that says how much of the end lies beyond the head, and a frame.

use super::input::Input;
use super::packet_reader;
use crate::mutations::mutate::repair;
use meshgate_dataplane::packet::{Checksum, Content, IpPacket, Packet, ParseContext};
use meshgate_dataplane::verdict::DropReason;

/// Longest frame of a test: what one frame of packet memory holds, and more.
const FRAME_BYTES_MAX: usize = 4_096;
/// Payload beyond which a frame may be a super-frame, whose length field means something else.
const PLAIN_PAYLOAD_BYTES_MAX: usize = 1_500;

mod control {
    /// The sender may leave its checksum to the device.
    pub const PARTIAL: u8 = 1;
    /// Lengths and checksums are made right first.
    pub const REPAIR: u8 = 1 << 1;
    /// Part of the frame lies beyond its first buffer.
    pub const CUT: u8 = 1 << 2;
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (control, cut) = (input.byte(), usize::from(input.byte()));
    let mut frame = input.rest().to_vec();
    frame.truncate(FRAME_BYTES_MAX);
    if control & control::REPAIR != 0 {
        repair(&mut frame);
    }
    let context = ParseContext { may_be_partial: control & control::PARTIAL != 0 };
    let whole = Packet::parse(&frame, frame.len(), context);
    assert_eq!(whole, Packet::parse(&frame, frame.len(), context), "said twice");
    if let Ok(packet) = &whole {
        check_bounds(packet, &frame);
        packet_reader::check(packet, &frame, context);
        check_padding(packet, &frame, context);
    }
    if control & control::CUT != 0 {
        check_cut(&whole, &frame, cut, context);
    }
}

/// Every place and length lies within the frame.
fn check_bounds(packet: &Packet, frame: &[u8]) {
    let l3 = usize::from(packet.l3_offset);
    assert!(l3 <= frame.len() && l3 == 14 + usize::from(packet.tags.bytes));
    if let Some(request) = packet.checksum_request() {
        let field = usize::from(request.start) + usize::from(request.offset);
        assert!(field + 2 <= frame.len() && request.start >= packet.l3_offset);
    }
    let Some(ip) = packet.ip() else { return };
    let (l4, end) = (usize::from(ip.l4_offset), l3 + usize::try_from(ip.ip_bytes).unwrap());
    assert!(l3 < l4 && l4 <= end && end <= frame.len());
    assert_eq!(l4 + usize::from(ip.l4_bytes), end);
    assert_eq!(packet.unpadded_bytes(), Some(end));
    assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
    assert_ne!(ip.checksum, Checksum::Beyond, "nothing is beyond a whole frame");
    if let Some(tcp) = ip.tcp {
        assert!(tcp.payload_bytes <= u32::from(ip.l4_bytes));
    }
}

/// What stands behind the datagram is nobody's.
fn check_padding(packet: &Packet, frame: &[u8], context: ParseContext) {
    if packet.ip().is_none() || frame.len() > PLAIN_PAYLOAD_BYTES_MAX {
        return;
    }
    let unpadded = &frame[..packet.unpadded_bytes().unwrap()];
    let padded = [unpadded, &[0xa5; 9]].concat();
    for other in [unpadded, &padded] {
        assert_eq!(Packet::parse(other, other.len(), context).as_ref(), Ok(packet), "other padding");
    }
}

/// What the head alone says must be what the whole frame says, but for a checksum that was put off.
fn check_cut(whole: &Result<Packet, DropReason>, frame: &[u8], cut: usize, context: ParseContext) {
    let head = &frame[..frame.len().saturating_sub(cut)];
    let Ok(packet) = Packet::parse(head, frame.len(), context) else { return };
    let Content::Ip(ip) = &packet.content else {
        return assert_eq!(*whole, Ok(packet));
    };
    let verified = ip.verify_across([head, &frame[head.len()..]]);
    match whole {
        Ok(whole) => {
            let Content::Ip(seen) = &whole.content else { panic!("IP in its head alone") };
            assert!(
                verified.is_ok() || ip.checksum != Checksum::Beyond,
                "{verified:?}, but the whole is right"
            );
            assert_eq!(without_payload(ip), without_payload(seen));
        }
        Err(reason) => {
            assert_eq!(*reason, DropReason::BadL4Checksum, "the head alone passes");
            assert_eq!(verified, Err(DropReason::BadL4Checksum));
        }
    }
}

/// Returns what a packet says that stands in its headers.
fn without_payload(packet: &IpPacket) -> IpPacket {
    IpPacket { checksum: Checksum::Unread, dhcp: None, icmp: None, ..*packet }
}
