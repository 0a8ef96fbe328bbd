//! The packet memory that all sockets of a process share, cut into chunks, each of which belongs to one worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::area::Area;
use crate::error::Error;
use crate::frame::Frame;
use crate::links::{Links, Span};
use crate::members::Members;
use crate::owners::Owners;
use crate::pool::FramePool;

/// Bytes of TX metadata that the kernel reads directly before a frame: `struct xsk_tx_metadata`.
pub const TX_METADATA_BYTES: u32 = 24;

/// Headroom that the kernel itself keeps before a received frame for XDP programs.
pub(crate) const XDP_HEADROOM_BYTES: u32 = 256;

/// Headroom of `UmemConfig::default()`: a cache line, in which the TX metadata and one VLAN tag fit.
pub const HEADROOM_BYTES: u32 = 64;

/// Largest UMEM: 16 GiB with 4 KiB chunks, beyond which a wrong unit is likelier than a wish.
pub const FRAMES_TOTAL_MAX: u32 = 1 << 22;

/// Says how large the packet memory is and how it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UmemConfig {
    /// Number of chunks of the whole area.
    pub frames_total: u32,
    /// Size of a chunk: 2048 or 4096.
    pub frame_bytes: u32,
    /// Room before each packet that user space may use: a multiple of 8, at least [`TX_METADATA_BYTES`].
    pub headroom_bytes: u32,
    /// Number of slices into which the chunks are dealt, one for each worker.
    pub workers: u32,
}

impl Default for UmemConfig {
    fn default() -> UmemConfig {
        UmemConfig { frames_total: 8192, frame_bytes: 2048, headroom_bytes: HEADROOM_BYTES, workers: 1 }
    }
}

impl UmemConfig {
    /// Returns the first thing wrong with the numbers.
    fn check(&self) -> Result<(), Error> {
        let refuse = |field, value, expected| Err(Error::UmemConfig { field, value, expected });
        if self.frame_bytes != 2048 && self.frame_bytes != 4096 {
            return refuse("frame_bytes", self.frame_bytes, "2048 or 4096");
        }
        if self.workers == 0 || self.workers > self.frames_total {
            return refuse("workers", self.workers, "1 to frames_total");
        }
        // An odd chunk of 2048 bytes would leave half a page at the end, which cannot be mapped.
        if self.frames_total > FRAMES_TOTAL_MAX || !self.frames_total.is_multiple_of(2) {
            return refuse("frames_total", self.frames_total, "an even number up to 4194304");
        }
        let largest = self.frame_bytes - XDP_HEADROOM_BYTES - 256;
        if self.headroom_bytes < TX_METADATA_BYTES
            || !self.headroom_bytes.is_multiple_of(8)
            || self.headroom_bytes > largest
        {
            return refuse("headroom_bytes", self.headroom_bytes, "a multiple of 8, 24 to frame_bytes - 512");
        }
        Ok(())
    }
}

/// Holds a cheap handle of the packet memory. The memory lives until the last handle, pool and socket are gone.
#[derive(Clone)]
pub struct Umem {
    /// What all handles share.
    pub(crate) shared: Arc<Shared>,
}

/// Holds the area and the tables beside it.
pub(crate) struct Shared {
    /// Number that no other UMEM of this process has; every frame carries it.
    pub(crate) id: u32,
    /// The bytes.
    pub(crate) area: Area,
    /// The accepted numbers.
    pub(crate) config: UmemConfig,
    /// Chunks in each slice but the last, which also has the remainder.
    slice_frames: u32,
    /// Where each packet continues.
    pub(crate) links: Links,
    /// Who owns each chunk.
    pub(crate) owners: Owners,
    /// Chunks of sockets that went without giving them back.
    pub(crate) stranded: AtomicU32,
    /// The sockets that are bound, through any of which another may share the kernel's registration.
    pub(crate) members: Members,
}

/// Source of UMEM numbers; zero is never given out.
static NEXT_UMEM: AtomicU32 = AtomicU32::new(1);

impl Umem {
    /// Maps the memory and deals its chunks: the pool at index `n` is the slice of worker `n`.
    pub fn new(config: &UmemConfig) -> Result<(Umem, Vec<FramePool>), Error> {
        config.check()?;
        let id = NEXT_UMEM
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1))
            .map_err(|_| Error::Exhausted { what: "UMEM numbers" })?;
        let shared = Arc::new(Shared {
            id,
            area: Area::new(config.frames_total as usize * config.frame_bytes as usize)?,
            slice_frames: config.frames_total / config.workers,
            links: Links::new(config.frames_total),
            owners: Owners::new(config.frames_total),
            stranded: AtomicU32::new(0),
            members: Members::default(),
            config: config.clone(),
        });
        let umem = Umem { shared };
        let pools = (0..config.workers).map(|worker| FramePool::new(&umem, worker)).collect();
        Ok((umem, pools))
    }

    /// Returns a pool without a slice, for who closes sockets beside the workers: what it takes back is to be sent
    /// home.
    pub fn visiting_pool(&self) -> FramePool {
        FramePool::visiting(self)
    }

    /// Returns the number of chunks of the whole area.
    pub fn frames_total(&self) -> u32 {
        self.shared.config.frames_total
    }

    /// Returns the size of a chunk.
    pub fn frame_bytes(&self) -> u32 {
        self.shared.config.frame_bytes
    }

    /// Returns the room before the packet in a freshly allocated frame.
    pub fn headroom_bytes(&self) -> u32 {
        self.shared.config.headroom_bytes
    }

    /// Returns the number of slices.
    pub fn workers(&self) -> u32 {
        self.shared.config.workers
    }

    /// Returns how many bytes fit into one freshly allocated chunk.
    pub fn room_bytes(&self) -> usize {
        (self.shared.config.frame_bytes - self.shared.config.headroom_bytes) as usize
    }

    /// Returns the number of chunks lost to sockets that were dropped instead of closed, or closed too early.
    pub fn stranded_frames(&self) -> u32 {
        self.shared.stranded.load(Ordering::Relaxed)
    }

    /// Returns the worker to whose slice the frame's first chunk belongs.
    pub fn home_of(&self, frame: &Frame) -> u32 {
        self.shared.check(frame);
        self.shared.home(frame.chunk)
    }

    /// Makes an empty frame of a chunk that the caller owns; its content begins after the headroom.
    #[inline]
    pub(crate) fn empty_frame(&self, chunk: u32) -> Frame {
        let offset = u16::try_from(self.headroom_bytes()).expect("below frame_bytes, checked in UmemConfig");
        self.frame(Span { chunk, offset, bytes: 0 })
    }

    /// Makes a frame of one chunk that the caller owns.
    #[inline]
    pub(crate) fn frame(&self, span: Span) -> Frame {
        Frame {
            umem: self.shared.id,
            chunk: span.chunk,
            bytes: u32::from(span.bytes),
            offset: span.offset,
            chunk_bytes: span.bytes,
            checksum_start: 0,
            checksum_offset: 0,
            chunks: 1,
            checksum_requested: false,
        }
    }
}

impl std::fmt::Debug for Umem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Umem")
            .field("id", &self.shared.id)
            .field("config", &self.shared.config)
            .finish()
    }
}

impl Shared {
    /// Panics when the frame belongs to another UMEM: mixing two is a mistake of this program, never of the traffic.
    #[inline]
    pub(crate) fn check(&self, frame: &Frame) {
        assert!(frame.umem == self.id, "a frame of another UMEM");
    }

    /// Returns the worker to whose slice a chunk belongs.
    pub(crate) fn home(&self, chunk: u32) -> u32 {
        (chunk / self.slice_frames).min(self.config.workers - 1)
    }

    /// Returns first chunk and number of chunks of a worker's slice.
    pub(crate) fn slice(&self, worker: u32) -> (u32, u32) {
        let first = worker * self.slice_frames;
        let last_slice = worker == self.config.workers - 1;
        let frames = if last_slice { self.config.frames_total - first } else { self.slice_frames };
        (first, frames)
    }

    /// Adds a chunk that the caller owns to the end of a frame.
    pub(crate) fn link(&self, frame: &mut Frame, span: Span) {
        let last = self.last_span(frame);
        self.links.set(last.chunk, span);
        frame.chunks += 1;
        frame.bytes += u32::from(span.bytes);
    }

    /// Returns where a chunk begins in the area.
    #[inline]
    pub(crate) fn start(&self, chunk: u32) -> usize {
        chunk as usize * self.config.frame_bytes as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &UmemConfig) -> &'static str {
        match Umem::new(config) {
            Err(Error::UmemConfig { field, .. }) => field,
            other => panic!("{config:?} gave {other:?}"),
        }
    }

    #[test]
    fn a_wrong_number_is_refused_by_field_name() {
        let good = UmemConfig { frames_total: 16, ..UmemConfig::default() };
        assert!(Umem::new(&good).is_ok());
        assert_eq!(refused(&UmemConfig { frame_bytes: 1024, ..good.clone() }), "frame_bytes");
        assert_eq!(refused(&UmemConfig { workers: 0, ..good.clone() }), "workers");
        assert_eq!(refused(&UmemConfig { workers: 17, ..good.clone() }), "workers");
        assert_eq!(refused(&UmemConfig { frames_total: 17, ..good.clone() }), "frames_total");
        assert_eq!(
            refused(&UmemConfig { frames_total: FRAMES_TOTAL_MAX + 2, ..good.clone() }),
            "frames_total"
        );
        assert_eq!(refused(&UmemConfig { headroom_bytes: 16, ..good.clone() }), "headroom_bytes");
        assert_eq!(refused(&UmemConfig { headroom_bytes: 28, ..good.clone() }), "headroom_bytes");
        assert_eq!(refused(&UmemConfig { headroom_bytes: 1544, ..good.clone() }), "headroom_bytes");
    }

    #[test]
    fn every_chunk_belongs_to_exactly_one_slice() {
        let config = UmemConfig { frames_total: 14, workers: 4, ..UmemConfig::default() };
        let (umem, pools) = Umem::new(&config).unwrap();
        assert_eq!(pools.iter().map(FramePool::frames_in_slice).collect::<Vec<_>>(), [3, 3, 3, 5]);
        let homes: Vec<_> = (0..14).map(|chunk| umem.shared.home(chunk)).collect();
        assert_eq!(homes, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]);
    }
}
