//! Stage 3: fragments. This version drops every one.
//!
//! A later fragment has no ports, so that judging it means remembering the verdict of the first one, in a bounded
//! table that an attacker can fill. Until there is that table, dropping is the only answer that lets nothing
//! through unjudged. TCP avoids fragments by itself (path MTU discovery); large UDP messages do not.

use crate::packet::{Content, Fragment, Packet};
use crate::verdict::DropReason;

/// Refuses fragments, first or later. An IPv6 packet with an atomic fragment header is whole and passes (RFC 6946).
pub fn check(packet: &Packet) -> Result<(), DropReason> {
    match &packet.content {
        Content::Ip(ip) if ip.fragment != Fragment::Whole => Err(DropReason::Fragment),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ParseContext, build::Frame};
    use meshgate_policy::Mac;

    fn checked(frame: &Frame) -> Result<(), DropReason> {
        let bytes = frame.bytes();
        check(&Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap())
    }

    fn frames() -> [Frame; 2] {
        let frame =
            Frame::between(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])).udp(1, 2).payload(&[0; 8]);
        [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")].map(|(source, destination)| {
            frame.clone().ip(source.parse().unwrap(), destination.parse().unwrap())
        })
    }

    #[test]
    fn first_middle_and_last_fragments_are_dropped() {
        for frame in frames() {
            for (offset_bytes, more) in [(0, true), (16, true), (16, false)] {
                let fragment = frame.clone().fragment(offset_bytes, more);
                assert_eq!(checked(&fragment), Err(DropReason::Fragment), "{offset_bytes} {more}");
            }
        }
    }

    #[test]
    fn whole_and_atomic_packets_pass() {
        for frame in frames() {
            assert_eq!(checked(&frame), Ok(()));
            assert_eq!(checked(&frame.fragment(0, false)), Ok(()));
        }
    }
}
