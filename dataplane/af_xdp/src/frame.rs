//! An owned handle of one whole packet in UMEM memory, with no access to its bytes: those need a `FramePool`.

/// Largest number of chunks in one packet: what the kernel accepts for transmission, one linear part and
/// `MAX_SKB_FRAGS` (17) fragments.
pub const CHUNKS_MAX: usize = 18;

/// Holds one whole packet: the exclusive ownership of its 1 to [`CHUNKS_MAX`] chunks.
///
/// A frame cannot be copied, so a packet cannot be sent twice, and it always stands for all of its chunks, so half a
/// packet cannot be sent. It is `Send`: whoever holds it owns the memory. Dropping a frame is safe, but its chunks
/// are lost until the UMEM is dropped; give it back with [`FramePool::release`](crate::FramePool::release).
#[derive(Debug)]
#[must_use = "a dropped frame loses its chunks; release it to a pool or send it"]
pub struct Frame {
    /// Number of the UMEM to which the chunks belong; checked before every access.
    pub(crate) umem: u32,
    /// First chunk. Later ones are found through the UMEM's links.
    pub(crate) chunk: u32,
    /// Bytes of the whole packet.
    pub(crate) bytes: u32,
    /// Start of the packet within its first chunk.
    pub(crate) offset: u16,
    /// Bytes of the packet in its first chunk.
    pub(crate) chunk_bytes: u16,
    /// Where the checksum to be completed covers bytes from, counted from the start of the packet.
    pub(crate) checksum_start: u16,
    /// Where the checksum field is, counted from `checksum_start`.
    pub(crate) checksum_offset: u16,
    /// Number of chunks, at least 1.
    pub(crate) chunks: u8,
    /// Tells whether the two checksum fields mean anything.
    pub(crate) checksum_requested: bool,
}

const _: () = assert!(size_of::<Frame>() <= 24, "a frame is handed over by value through rings");
const _: () = assert!(size_of::<Option<Frame>>() <= 24, "and so is the answer of a ring");
const _: () = assert!(CHUNKS_MAX <= u8::MAX as usize);

/// Tells where a checksum begins and where it is stored, as in `virtio_net_hdr` and `xsk_tx_metadata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumRequest {
    /// First byte that the checksum covers, counted from the start of the packet.
    pub start: u16,
    /// Position of the 16-bit field, counted from `start`. It already holds the folded pseudo-header sum.
    pub offset: u16,
}

impl Frame {
    /// Returns the bytes of the whole packet, all chunks together.
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Tells whether the packet has no bytes at all, as just after `allocate`; such a frame cannot be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the number of chunks, at least 1.
    pub fn chunks(&self) -> usize {
        usize::from(self.chunks)
    }

    /// Returns the start of the packet within its first chunk, which is the room before it.
    pub fn headroom_bytes(&self) -> usize {
        usize::from(self.offset)
    }

    /// Asks the kernel or the driver to complete a partial checksum when this frame is sent: to sum the bytes from
    /// `start` to the end and store the result at `start + offset`, where the pseudo-header's sum stands.
    ///
    /// Whether the field lies inside the packet is checked when it is sent, because the packet may yet change.
    pub fn request_checksum(&mut self, start: u16, offset: u16) {
        self.checksum_start = start;
        self.checksum_offset = offset;
        self.checksum_requested = true;
    }

    /// Withdraws the request, for example after the checksum was computed in software.
    pub fn clear_checksum_request(&mut self) {
        self.checksum_requested = false;
    }

    /// Returns the request, if there is one.
    pub fn checksum_request(&self) -> Option<ChecksumRequest> {
        self.checksum_requested
            .then_some(ChecksumRequest { start: self.checksum_start, offset: self.checksum_offset })
    }

    /// Tells whether the requested checksum field lies within the first chunk, which is all the kernel can reach;
    /// a socket refuses a frame with a request that does not fit.
    pub fn checksum_fits(&self) -> bool {
        self.checksum_request().is_none_or(|request| {
            usize::from(request.start) + usize::from(request.offset) + size_of::<u16>()
                <= usize::from(self.chunk_bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            umem: 1,
            chunk: 0,
            bytes: 60,
            offset: 64,
            chunk_bytes: 60,
            checksum_start: 0,
            checksum_offset: 0,
            chunks: 1,
            checksum_requested: false,
        }
    }

    #[test]
    fn a_checksum_request_is_kept_until_it_is_cleared() {
        let mut frame = frame();
        assert_eq!(frame.checksum_request(), None);
        frame.request_checksum(34, 16);
        assert_eq!(frame.checksum_request(), Some(ChecksumRequest { start: 34, offset: 16 }));
        frame.clear_checksum_request();
        assert_eq!(frame.checksum_request(), None);
    }

    #[test]
    fn a_checksum_field_must_end_within_the_first_chunk() {
        let mut frame = frame();
        frame.request_checksum(42, 16);
        assert!(frame.checksum_fits());
        frame.request_checksum(43, 16);
        assert!(!frame.checksum_fits());
        frame.request_checksum(u16::MAX, u16::MAX);
        assert!(!frame.checksum_fits());
    }

    #[test]
    fn a_frame_may_change_threads() {
        fn is_send<T: Send>() {}
        is_send::<Frame>();
    }
}
