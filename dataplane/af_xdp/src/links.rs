//! Where packets of several chunks continue.

use std::sync::atomic::{AtomicU64, Ordering};

/// Part of a packet in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which chunk.
    pub(crate) chunk: u32,
    /// Start of the part within the chunk.
    pub(crate) offset: u16,
    /// Length of the part.
    pub(crate) bytes: u16,
}

/// Holds for each chunk where the packet continues: number, start and length of the next chunk.
///
/// The entry of a chunk is touched only by whoever owns the chunk, so that relaxed order is enough: the hand-over of
/// the frame between threads orders it like the packet's bytes. The atomics only keep it safe Rust.
pub(crate) struct Links(Box<[AtomicU64]>);

impl Links {
    /// Makes the table; what it holds means nothing until set.
    pub(crate) fn new(frames_total: u32) -> Links {
        Links((0..frames_total).map(|_| AtomicU64::new(0)).collect())
    }

    /// Notes that the packet goes on from `chunk` to `next`.
    pub(crate) fn set(&self, chunk: u32, next: Span) {
        let packed = u64::from(next.chunk) << 32 | u64::from(next.offset) << 16 | u64::from(next.bytes);
        self.0[chunk as usize].store(packed, Ordering::Relaxed);
    }

    /// Returns where the packet goes on from `chunk`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is cut out of the packed word on purpose"
    )]
    pub(crate) fn next(&self, chunk: u32) -> Span {
        let packed = self.0[chunk as usize].load(Ordering::Relaxed);
        Span { chunk: (packed >> 32) as u32, offset: (packed >> 16) as u16, bytes: packed as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_its_three_numbers() {
        let links = Links::new(1);
        let span = Span { chunk: u32::MAX, offset: 4095, bytes: 1 };
        links.set(0, span);
        assert_eq!(links.next(0), span);
    }
}
