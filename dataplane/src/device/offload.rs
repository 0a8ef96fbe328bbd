//! Says what to do about super-frames.
//!
//! A sender with segmentation offload hands over one frame of up to 64 KiB and trusts that somebody below cuts it.
//! Attaching a program to a veth stops its far end from doing so; to a tap it does not. The worker cuts TCP data of
//! endpoints itself; of other super-frames (UDP, whose cuts nobody can tell, and what a card has joined) it cannot know
//! how they were meant. It drops them as `oversize-frame`, and a person needs to be told the cure.

use std::fmt;

/// Ethernet header and two VLAN tags: what a frame may have beside the payload that the MTU counts.
pub const OVERHEAD_BYTES: usize = 14 + 2 * 4;

/// Returns the longest frame of a device with this MTU.
pub fn frame_bytes_max(mtu_bytes: u32) -> usize {
    mtu_bytes as usize + OVERHEAD_BYTES
}

/// Where super-frames come from, by the kind of device on which they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The guest behind a tap.
    Guest,
    /// The far end of a veth.
    FarEnd,
    /// A card that joins received frames, which reaches a program only in generic mode.
    Receiver,
}

impl Source {
    /// Returns the source for a kind of device as rtnetlink names it.
    pub fn of_kind(kind: &str) -> Self {
        match kind {
            "tun" => Self::Guest,
            "veth" => Self::FarEnd,
            _ => Self::Receiver,
        }
    }
}

/// What a device delivered that is too long, and the cure: one line for logs and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffloadAdvice {
    /// The device.
    pub device: String,
    /// Who made the frames.
    pub source: Source,
    /// How many came.
    pub frames: u64,
    /// Bytes of the longest.
    pub longest_bytes: usize,
    /// Bytes that one may have.
    pub frame_bytes_max: usize,
}

impl fmt::Display for OffloadAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, source, frames, longest_bytes, frame_bytes_max } = self;
        write!(
            f,
            "device {device} delivered {frames} super-frames of up to {longest_bytes} bytes (largest frame: \
             {frame_bytes_max}), all dropped; "
        )?;
        match source {
            Source::Guest => f.write_str(
                "in the guest: ethtool -K DEV tso off gso off tx-udp-segmentation off; or open the tap without \
                 TUN_F_USO4 and TUN_F_USO6 (QEMU: host_uso=off)",
            ),
            Source::FarEnd => f.write_str("at the far end of the veth: ethtool -K DEV tso off gso off"),
            Source::Receiver => write!(f, "on this host: ethtool -K {device} gro off lro off"),
        }
    }
}

/// Watches the lengths of what one device delivers.
#[derive(Clone, Debug)]
pub struct OversizeWatch {
    /// The device.
    device: String,
    /// Who would have made super-frames.
    source: Source,
    /// Bytes that a frame may have.
    frame_bytes_max: usize,
    /// Super-frames seen.
    frames: u64,
    /// Bytes of the longest.
    longest_bytes: usize,
}

impl OversizeWatch {
    /// Watches a device of the given kind and MTU.
    pub fn new(device: &str, kind: &str, mtu_bytes: u32) -> Self {
        Self {
            device: device.to_owned(),
            source: Source::of_kind(kind),
            frame_bytes_max: frame_bytes_max(mtu_bytes),
            frames: 0,
            longest_bytes: 0,
        }
    }

    /// Returns whether a frame of this length is one that must be dropped, and notes it. Fit for the packet path.
    #[inline]
    pub fn is_oversize(&mut self, bytes: usize) -> bool {
        let oversize = bytes > self.frame_bytes_max;
        if oversize {
            self.frames += 1;
            self.longest_bytes = self.longest_bytes.max(bytes);
        }
        oversize
    }

    /// Returns what to tell a person; none as long as every frame was one.
    pub fn advice(&self) -> Option<OffloadAdvice> {
        (self.frames > 0).then(|| OffloadAdvice {
            device: self.device.clone(),
            source: self.source,
            frames: self.frames,
            longest_bytes: self.longest_bytes,
            frame_bytes_max: self.frame_bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_frame_with_two_tags_is_no_super_frame() {
        let mut watch = OversizeWatch::new("tap7", "tun", 1500);
        assert!(!watch.is_oversize(1514) && !watch.is_oversize(1522));
        assert_eq!(watch.advice(), None);
    }

    #[test]
    fn super_frames_are_counted_and_the_cure_is_one_line() {
        let mut watch = OversizeWatch::new("tap7", "tun", 1500);
        assert!(watch.is_oversize(8054) && watch.is_oversize(1523));
        assert_eq!(
            watch.advice().unwrap().to_string(),
            "device tap7 delivered 2 super-frames of up to 8054 bytes (largest frame: 1522), all dropped; \
             in the guest: ethtool -K DEV tso off gso off tx-udp-segmentation off; or open the tap without TUN_F_USO4 \
             and TUN_F_USO6 (QEMU: host_uso=off)"
        );
    }

    #[test]
    fn the_cure_depends_on_who_makes_the_frames() {
        let cure = |kind| {
            let mut watch = OversizeWatch::new("eth1", kind, 1500);
            watch.is_oversize(9000);
            watch.advice().unwrap().to_string()
        };
        assert!(cure("veth").ends_with("at the far end of the veth: ethtool -K DEV tso off gso off"));
        assert!(cure("").ends_with("on this host: ethtool -K eth1 gro off lro off"));
    }
}
