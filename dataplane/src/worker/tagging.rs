//! The tags of a frame on its way out: a segment may have others at each device.

use crate::packet::{Tags, TagsInFrame};
use af_xdp::{Frame, FramePool};

/// Bytes of both MACs, which stand before the tags.
const MACS_BYTES: usize = 12;

/// Gives a frame the tags that it is to have in place of those that it has; returns false, and leaves it, if there is no
/// room. The priority stays; where there is no tag to carry it, it is lost. A priority tag leaves as no tag.
///
/// Only the beginning of the first buffer moves: what is behind the tags stays where it is, and so does, in memory, the
/// checksum that is to be finished.
#[inline]
pub(super) fn change_tags(pool: &mut FramePool, frame: &mut Frame, from: TagsInFrame, to: Tags) -> bool {
    let (before, after) = (usize::from(from.bytes), to.bytes());
    if from.tags == to && before == after {
        return true;
    }
    let Some(macs) = pool.bytes(frame).first_chunk::<MACS_BYTES>().copied() else { return false };
    if after > before {
        if pool.prepend(frame, &macs[..after - before]).is_err() {
            return false;
        }
    } else {
        pool.trim_front(frame, before - after);
    }
    let written = to.written(from.priority);
    let Some(front) = pool.bytes_mut(frame).get_mut(..MACS_BYTES + after) else { return false };
    front[..MACS_BYTES].copy_from_slice(&macs);
    front[MACS_BYTES..].copy_from_slice(&written[..after]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::Frame as Build;
    use crate::packet::{Packet, ParseContext};
    use af_xdp::{ChecksumRequest, Umem, UmemConfig};
    use meshgate_policy::Mac;

    /// All forms of tags, by how many bytes they take.
    const FORMS: [&str; 5] = ["", "7", "s9", "7.8", "s9.8"];

    fn build(tags: Tags) -> Build {
        let frame = Build::between(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let frame = frame.ip([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).udp(1, 2).payload(b"content");
        match tags {
            Tags::Untagged => frame,
            Tags::Single(kind, number) => frame.tagged(kind.ethertype(), number | 0x6000),
            Tags::Double { outer: (kind, number), inner } => {
                frame.tagged(kind.ethertype(), number | 0x6000).vlan(inner | 0x6000)
            }
        }
    }

    fn pool() -> FramePool {
        Umem::new(&UmemConfig { frames_total: 4, ..UmemConfig::default() }).unwrap().1.remove(0)
    }

    #[test]
    fn any_tags_become_any_others_and_the_rest_stays() {
        let tags = FORMS.map(|text| Tags::from_text(text).unwrap_or_default());
        for (from, to) in tags.iter().flat_map(|from| tags.map(|to| (*from, to))) {
            let mut pool = pool();
            let mut frame = pool.allocate().unwrap();
            pool.write(&mut frame, &build(from).bytes()).unwrap();
            let packet = Packet::parse(pool.bytes(&frame), frame.len(), ParseContext::default()).unwrap();
            let start = packet.ip().unwrap().l4_offset;
            frame.request_checksum(start, 6);
            assert!(change_tags(&mut pool, &mut frame, packet.tags, to));
            let mut expected = build(to).bytes();
            if from == Tags::Untagged && to != Tags::Untagged {
                // There was no priority that could have stayed.
                expected[14] &= 0x0f;
                if to.bytes() == 8 {
                    expected[18] &= 0x0f;
                }
            }
            assert_eq!(pool.bytes(&frame), expected, "{from} to {to}");
            let moved = u16::try_from(14 + to.bytes() + 20).unwrap();
            assert_eq!(frame.checksum_request(), Some(ChecksumRequest { start: moved, offset: 6 }));
        }
    }

    #[test]
    fn a_priority_tag_goes_and_its_priority_stays_where_there_is_a_tag() {
        for (to, expected) in [("", build(Tags::Untagged)), ("7", build(Tags::customer(7)))] {
            let mut pool = pool();
            let mut frame = pool.allocate().unwrap();
            let plain = build(Tags::Untagged).vlan(0x6000).bytes();
            pool.write(&mut frame, &plain).unwrap();
            let packet = Packet::parse(&plain, plain.len(), ParseContext::default()).unwrap();
            assert!(change_tags(&mut pool, &mut frame, packet.tags, Tags::from_text(to).unwrap_or_default()));
            assert_eq!(pool.bytes(&frame), expected.bytes());
        }
    }

    #[test]
    fn without_room_nothing_changes() {
        let mut pool = pool();
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, &build(Tags::Untagged).bytes()).unwrap();
        while pool.prepend(&mut frame, &[0; 4]).is_ok() {}
        let before = pool.bytes(&frame).to_vec();
        assert!(!change_tags(&mut pool, &mut frame, TagsInFrame::default(), Tags::customer(7)));
        assert_eq!(pool.bytes(&frame), before);
    }
}
