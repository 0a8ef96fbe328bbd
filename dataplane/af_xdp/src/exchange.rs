//! The exchange of chunks between user space and the kernel through the four rings of one socket.
//!
//! All that makes receiving and sending safe is here, and none of it needs a kernel: what comes out of the RX and
//! completion rings is checked against the table of owners before it becomes a frame or a free chunk, and what goes
//! into the fill and TX rings is entered there. A descriptor that fails is counted in [`Faults`] and leaves nothing
//! behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::assembly::Assembly;
use crate::frame::{CHUNKS_MAX, Frame};
use crate::links::Span;
use crate::owners::Owner;
use crate::pool::FramePool;
use crate::ring::{Consumer, Descriptor, DescriptorSlot, Producer};
use crate::umem::{Shared, TX_METADATA_BYTES, Umem};

/// Descriptor option: the packet goes on in the next descriptor (`XDP_PKT_CONTD`).
pub(crate) const CONTINUES: u32 = 1;

/// Descriptor option: TX metadata stands before the frame (`XDP_TX_METADATA`).
const HAS_METADATA: u32 = 2;

/// TX metadata flag: complete a checksum (`XDP_TXMD_FLAGS_CHECKSUM`).
const METADATA_CHECKSUM: u64 = 2;

/// Frames that `send` refused and that wait for `reclaim`; more stop the sending until then.
const UNSENDABLE_MAX: usize = 64;

/// Counts what a socket refused. All zero in a healthy program on a healthy kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// Ring indices of the kernel that were impossible.
    pub ring_indices: u64,
    /// Received descriptors outside the UMEM, beyond their chunk, or of a chunk that this socket had not given.
    pub received_descriptors: u64,
    /// Completions of chunks that this socket had not sent, or had completed before.
    pub completions: u64,
    /// Received packets of more than `CHUNKS_MAX` chunks.
    pub long_packets: u64,
    /// Frames refused by `send`: empty, without room for TX metadata, with a checksum request outside the first
    /// chunk, or of several chunks on a socket without multi-buffer.
    pub unsendable: u64,
}

/// Counts the chunks that are with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outstanding {
    /// In the fill ring, in the kernel, or in the RX ring and not yet received.
    pub fill: u32,
    /// In the TX ring, in the kernel, or in the completion ring and not yet reclaimed.
    pub tx: u32,
}

/// Holds the user's ends of the four rings.
pub(crate) struct Rings {
    /// Received packets.
    pub(crate) rx: Consumer<DescriptorSlot>,
    /// Packets to be sent.
    pub(crate) tx: Producer<DescriptorSlot>,
    /// Empty chunks for receiving.
    pub(crate) fill: Producer<AtomicU64>,
    /// Chunks whose sending is over.
    pub(crate) completion: Consumer<AtomicU64>,
}

/// Holds the books of one socket: which chunks it has lent to the kernel.
pub(crate) struct Exchange {
    /// The memory.
    pub(crate) umem: Umem,
    /// Mark of chunks lent through the fill ring.
    filled: Owner,
    /// Mark of chunks lent through the TX ring.
    sent: Owner,
    /// How many chunks the fill side shall have.
    fill_target: u32,
    /// Whether packets of several chunks can be sent.
    multi_buffer: bool,
    /// Chunks with the kernel; those in `spare` and `assembly` are not included.
    lent: Outstanding,
    /// Packet of which not all chunks have been received.
    assembly: Assembly,
    /// Chunks of refused packets, to be given to the kernel again before any of the pool. Never more than
    /// `fill_target` and one unfinished packet.
    spare: Vec<u32>,
    /// Frames that cannot be sent, until `reclaim` takes them. Never more than `UNSENDABLE_MAX`.
    unsendable: Vec<Frame>,
    /// What was refused.
    faults: Faults,
}

impl Exchange {
    /// Opens the books of the socket with the given number, which no other socket of the UMEM has.
    pub(crate) fn new(umem: &Umem, number: u32, fill_target: u32, multi_buffer: bool) -> Exchange {
        Exchange {
            umem: umem.clone(),
            filled: Owner::filled_by(number),
            sent: Owner::sent_by(number),
            fill_target,
            multi_buffer,
            lent: Outstanding::default(),
            assembly: Assembly::default(),
            spare: Vec::with_capacity(fill_target as usize + CHUNKS_MAX),
            unsendable: Vec::with_capacity(UNSENDABLE_MAX),
            faults: Faults::default(),
        }
    }

    /// Moves received packets into `burst`, up to its capacity; returns how many.
    #[inline]
    pub(crate) fn receive(&mut self, rings: &mut Rings, burst: &mut Vec<Frame>) -> usize {
        let before = burst.len();
        // The number is read once, so that a producer index that keeps running cannot keep the loop going.
        for _ in 0..rings.rx.available() {
            if burst.len() == burst.capacity() {
                break;
            }
            let descriptor = rings.rx.pop().load();
            if let Some(frame) = self.accept(descriptor) {
                burst.push(frame);
            }
        }
        rings.rx.release();
        burst.len() - before
    }

    /// Turns a received descriptor into a frame, or into a part of one.
    #[inline]
    fn accept(&mut self, descriptor: Descriptor) -> Option<Frame> {
        let part = self.take_part(descriptor);
        let last = descriptor.options & CONTINUES == 0;
        if last && self.assembly.is_idle() {
            return part.map(|part| self.umem.frame(part));
        }
        let (frame, too_long) = self.assembly.add(&self.umem, part, last, &mut self.spare);
        self.faults.long_packets += u64::from(too_long);
        frame
    }

    /// Takes the chunk of a received descriptor back from the kernel, if it is one that this socket has lent.
    #[inline]
    fn take_part(&mut self, descriptor: Descriptor) -> Option<Span> {
        let shared = &self.umem.shared;
        let Some((chunk, offset)) = shared.locate(descriptor.address) else {
            self.faults.received_descriptors += 1;
            return None;
        };
        if !shared.owners.take_back(chunk, self.filled) {
            self.faults.received_descriptors += 1;
            return None;
        }
        self.lent.fill -= 1;
        let room = shared.config.frame_bytes - u32::from(offset);
        match u16::try_from(descriptor.bytes) {
            Ok(bytes) if descriptor.bytes <= room => Some(Span { chunk, offset, bytes }),
            _ => {
                self.faults.received_descriptors += 1;
                self.spare.push(chunk);
                None
            }
        }
    }

    /// Tops the fill ring up to its target from the pool; returns how many chunks the kernel got.
    #[inline]
    pub(crate) fn refill(&mut self, rings: &mut Rings, pool: &mut FramePool) -> usize {
        let shared = &self.umem.shared;
        assert!(pool.umem().shared.id == shared.id, "a pool of another UMEM");
        let missing = self.fill_target - self.lent.fill.min(self.fill_target);
        if missing == 0 {
            return 0;
        }
        let mut given = 0;
        for _ in 0..missing.min(rings.fill.free(missing)) {
            let Some(chunk) = self.spare.pop().or_else(|| pool.take_chunk()) else { break };
            shared.owners.lend(chunk, self.filled);
            rings.fill.push().store(shared.address(chunk, 0), Ordering::Relaxed);
            given += 1;
        }
        rings.fill.publish();
        self.lent.fill += given;
        given as usize
    }

    /// Moves whole packets from the front of `frames` into the TX ring as long as they fit; returns how many.
    #[inline]
    pub(crate) fn send(&mut self, rings: &mut Rings, frames: &mut VecDeque<Frame>) -> usize {
        let mut sent = 0;
        while let Some(frame) = frames.front() {
            let fits = self.is_sendable(frame, rings.tx.entries());
            let full = if fits {
                let chunks = u32::from(frame.chunks);
                rings.tx.free(chunks) < chunks
            } else {
                self.unsendable.len() == UNSENDABLE_MAX
            };
            if full {
                break;
            }
            let frame = frames.pop_front().expect("seen just above");
            if fits {
                self.lend_frame(rings, frame);
                sent += 1;
            } else {
                self.faults.unsendable += 1;
                self.unsendable.push(frame);
            }
        }
        rings.tx.publish();
        sent
    }

    /// Tells whether the kernel would take the frame. One that it finds invalid it neither sends nor completes, and
    /// one with a wrong checksum request blocks the ring for good, so this is decided here.
    #[inline]
    fn is_sendable(&self, frame: &Frame, entries: u32) -> bool {
        let shared = &self.umem.shared;
        shared.check(frame);
        let room_before = |span: Span| u32::from(span.offset) >= TX_METADATA_BYTES && span.bytes > 0;
        if frame.chunks > 1 {
            let possible = self.multi_buffer && u32::from(frame.chunks) <= entries;
            if !possible || !shared.spans(frame).all(room_before) {
                return false;
            }
        }
        room_before(frame.first_span()) && frame.checksum_fits()
    }

    /// Enters all chunks of a sendable frame into the TX ring, which has room for them.
    #[inline]
    fn lend_frame(&mut self, rings: &mut Rings, mut frame: Frame) {
        let shared = &self.umem.shared;
        // The option bits are built anew from the frame: bits and metadata of an earlier journey would be obeyed.
        let mut options = if write_metadata(shared, &mut frame) { HAS_METADATA } else { 0 };
        let mut span = frame.first_span();
        for left in (0..frame.chunks).rev() {
            let next = (left > 0).then(|| shared.links.next(span.chunk));
            let continues = if next.is_some() { CONTINUES } else { 0 };
            shared.owners.lend(span.chunk, self.sent);
            rings.tx.push().store(Descriptor {
                address: shared.address(span.chunk, span.offset),
                bytes: u32::from(span.bytes),
                options: options | continues,
            });
            options = 0;
            span = next.unwrap_or(span);
        }
        self.lent.tx += u32::from(frame.chunks);
    }

    /// Gives chunks whose sending is over, and frames that could not be sent, to the pool; returns how many chunks.
    #[inline]
    pub(crate) fn reclaim(&mut self, rings: &mut Rings, pool: &mut FramePool) -> usize {
        let shared = &self.umem.shared;
        assert!(pool.umem().shared.id == shared.id, "a pool of another UMEM");
        let mut reclaimed = 0;
        for _ in 0..rings.completion.available() {
            let address = rings.completion.pop().load(Ordering::Relaxed);
            match shared.locate(address) {
                Some((chunk, _)) if shared.owners.take_back(chunk, self.sent) => {
                    pool.give_chunk(chunk);
                    reclaimed += 1;
                }
                _ => self.faults.completions += 1,
            }
        }
        rings.completion.release();
        self.lent.tx -= reclaimed;
        let refused: usize = self.unsendable.iter().map(Frame::chunks).sum();
        self.unsendable.drain(..).for_each(|frame| pool.release(frame));
        reclaimed as usize + refused
    }

    /// Returns the number of chunks that the pool would get back if the kernel let go of all.
    pub(crate) fn outstanding(&self) -> Outstanding {
        let count = |chunks: usize| u32::try_from(chunks).expect("there are at most FRAMES_TOTAL_MAX chunks");
        Outstanding {
            fill: self.lent.fill + count(self.spare.len() + self.assembly.chunks()),
            tx: self.lent.tx + count(self.unsendable.iter().map(Frame::chunks).sum()),
        }
    }

    /// Returns what was refused so far.
    pub(crate) fn faults(&self, rings: &Rings) -> Faults {
        let Rings { rx, tx, fill, completion } = rings;
        Faults { ring_indices: rx.faults + tx.faults + fill.faults + completion.faults, ..self.faults }
    }

    /// Gives every chunk of this socket to the pool; returns how many.
    ///
    /// The caller has made sure that the kernel can no longer touch them.
    pub(crate) fn settle(mut self, pool: &mut FramePool) -> u32 {
        let umem = self.umem.clone();
        assert!(pool.umem().shared.id == umem.shared.id, "a pool of another UMEM");
        let Outstanding { fill, tx } = self.outstanding();
        for owner in [self.filled, self.sent] {
            umem.shared.owners.take_all_back(owner).for_each(|chunk| pool.give_chunk(chunk));
        }
        self.lent = Outstanding::default();
        self.spare.drain(..).for_each(|chunk| pool.give_chunk(chunk));
        self.unsendable.drain(..).for_each(|frame| pool.release(frame));
        if let Some(frame) = self.assembly.take() {
            pool.release(frame);
        }
        fill + tx
    }
}

impl Drop for Exchange {
    /// Counts the chunks that nobody can give back. They stay marked as lent, so that nobody uses them either.
    fn drop(&mut self) {
        let Outstanding { fill, tx } = self.outstanding();
        self.umem.shared.stranded.fetch_add(fill + tx, Ordering::Relaxed);
    }
}

impl Shared {
    /// Returns chunk and offset of an address in the UMEM; none when it lies outside.
    #[inline]
    fn locate(&self, address: u64) -> Option<(u32, u16)> {
        // A chunk's size is a power of two; shifting spares the division on every packet.
        let shift = self.config.frame_bytes.trailing_zeros();
        let chunk = u32::try_from(address >> shift).ok().filter(|chunk| *chunk < self.config.frames_total)?;
        let offset = u16::try_from(address & ((1 << shift) - 1)).expect("a chunk has at most 4096 bytes");
        Some((chunk, offset))
    }

    /// Returns the address of a place in a chunk.
    #[inline]
    fn address(&self, chunk: u32, offset: u16) -> u64 {
        u64::from(chunk) * u64::from(self.config.frame_bytes) + u64::from(offset)
    }
}

/// Writes the TX metadata of a frame with a checksum request into the bytes before it; false without a request.
fn write_metadata(shared: &Shared, frame: &mut Frame) -> bool {
    let Some(request) = frame.checksum_request() else { return false };
    let metadata = shared.metadata_mut(frame);
    metadata.fill(0);
    metadata[..8].copy_from_slice(&METADATA_CHECKSUM.to_ne_bytes());
    metadata[8..10].copy_from_slice(&request.start.to_ne_bytes());
    metadata[10..12].copy_from_slice(&request.offset.to_ne_bytes());
    true
}

#[cfg(test)]
#[path = "tests/exchange.rs"]
mod tests;
