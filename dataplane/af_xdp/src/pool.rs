//! One worker's slice of the packet memory: its free chunks, and access to the bytes of any frame of the same UMEM.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::frame::Frame;
use crate::umem::Umem;

/// Holds one worker's free chunks. It may change threads, but is used by one at a time.
///
/// A pool also gives access to bytes: of every frame of its UMEM, because whoever has the frame owns its memory.
pub struct FramePool {
    /// The memory; keeps it mapped.
    umem: Umem,
    /// Which slice this is.
    worker: u32,
    /// First chunk of the slice.
    first: u32,
    /// Number of chunks of the slice.
    frames: u32,
    /// Free chunks of the slice; the last one given back is taken first, because its bytes are still in the cache.
    free: Vec<u32>,
    /// Chunks of other slices that were released here. It has room for all that exist, so it can neither overflow
    /// nor allocate.
    foreign: Vec<u32>,
    /// Keeps the pool from being shared between threads.
    not_sync: PhantomData<Cell<()>>,
}

impl FramePool {
    /// Makes the pool of one slice with all of its chunks free.
    pub(crate) fn new(umem: &Umem, worker: u32) -> FramePool {
        let (first, frames) = umem.shared.slice(worker);
        FramePool {
            umem: umem.clone(),
            worker,
            first,
            frames,
            // Backwards, so that the first allocation takes the first chunk.
            free: (first..first + frames).rev().collect(),
            foreign: Vec::with_capacity((umem.frames_total() - frames) as usize),
            not_sync: PhantomData,
        }
    }

    /// Makes a pool without chunks of its own: everything that it takes back waits for `take_foreign`.
    pub(crate) fn visiting(umem: &Umem) -> FramePool {
        FramePool {
            umem: umem.clone(),
            worker: u32::MAX,
            first: 0,
            frames: 0,
            free: Vec::new(),
            foreign: Vec::with_capacity(umem.frames_total() as usize),
            not_sync: PhantomData,
        }
    }

    /// Takes a free chunk as an empty frame whose content begins after the headroom.
    #[inline]
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.take_chunk()?;
        Some(self.umem.empty_frame(chunk))
    }

    /// Gives all chunks of a frame back: own ones to the free list, others to the list that `take_foreign` drains.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "taking the frame away from the caller is the point")]
    pub fn release(&mut self, frame: Frame) {
        self.umem.shared.check(&frame);
        let mut chunk = frame.chunk;
        for _ in 1..frame.chunks {
            let next = self.umem.shared.links.next(chunk).chunk;
            self.give_chunk(chunk);
            chunk = next;
        }
        self.give_chunk(chunk);
    }

    /// Takes one chunk of another slice that was released here, as an empty frame to be sent home.
    ///
    /// [`home_of`](FramePool::home_of) tells where that is; releasing it here again is possible.
    pub fn take_foreign(&mut self) -> Option<Frame> {
        let chunk = self.foreign.pop()?;
        Some(self.umem.empty_frame(chunk))
    }

    /// Returns the number of chunks of other slices that wait for `take_foreign`.
    pub fn foreign_frames(&self) -> usize {
        self.foreign.len()
    }

    /// Returns the worker to whose slice the frame's first chunk belongs.
    pub fn home_of(&self, frame: &Frame) -> u32 {
        self.umem.home_of(frame)
    }

    /// Returns the number of free chunks.
    pub fn free_frames(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of chunks of this slice, free or not.
    pub fn frames_in_slice(&self) -> usize {
        self.frames as usize
    }

    /// Returns the worker whose slice this is.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Returns the memory of which this is a slice.
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// Returns the bytes of the packet in its first chunk; of most packets that is all.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.umem.shared.first(frame)
    }

    /// Returns the bytes of the packet in its first chunk for writing.
    #[inline]
    pub fn bytes_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.umem.shared.first_mut(frame)
    }

    /// Returns the bytes of the packet in its chunk number `index`, counted from 0.
    pub fn chunk_bytes<'a>(&'a self, frame: &'a Frame, index: usize) -> Option<&'a [u8]> {
        self.umem.shared.part(frame, index)
    }

    /// Returns the bytes of the packet in its chunk number `index`, counted from 0, for writing.
    pub fn chunk_bytes_mut<'a>(&'a mut self, frame: &'a mut Frame, index: usize) -> Option<&'a mut [u8]> {
        self.umem.shared.part_mut(frame, index)
    }

    /// Returns the packet's bytes chunk by chunk.
    pub fn chunks<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = &'a [u8]> {
        self.umem.shared.parts(frame)
    }

    /// Takes a chunk from the free list; the caller owns it.
    #[inline]
    pub(crate) fn take_chunk(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a chunk that the caller owns to the list where it belongs.
    #[inline]
    pub(crate) fn give_chunk(&mut self, chunk: u32) {
        // Chunks below the slice wrap to large numbers, so one comparison decides.
        let own = chunk.wrapping_sub(self.first) < self.frames;
        let list = if own { &mut self.free } else { &mut self.foreign };
        debug_assert!(list.len() < list.capacity(), "a chunk is given back once");
        list.push(chunk);
    }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FramePool")
            .field("worker", &self.worker)
            .field("frames", &self.frames)
            .field("free", &self.free.len())
            .field("foreign", &self.foreign.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::UmemConfig;

    fn pools(workers: u32) -> Vec<FramePool> {
        Umem::new(&UmemConfig { frames_total: 8, workers, ..UmemConfig::default() }).unwrap().1
    }

    #[test]
    fn an_allocated_frame_is_empty_and_begins_after_the_headroom() {
        let mut pool = pools(1).remove(0);
        let frame = pool.allocate().unwrap();
        assert!(frame.is_empty());
        assert_eq!((frame.headroom_bytes(), frame.chunks()), (64, 1));
        assert_eq!(pool.bytes(&frame), []);
        assert_eq!(pool.free_frames(), 7);
        pool.release(frame);
        assert_eq!(pool.free_frames(), 8);
    }

    #[test]
    fn an_exhausted_pool_says_so_and_every_chunk_is_given_once() {
        let mut pool = pools(1).remove(0);
        let frames: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
        let mut chunks: Vec<_> = frames.iter().map(|frame| frame.chunk).collect();
        chunks.sort_unstable();
        assert_eq!(chunks, [0, 1, 2, 3, 4, 5, 6, 7]);
        frames.into_iter().for_each(|frame| pool.release(frame));
        assert_eq!(pool.free_frames(), 8);
    }

    #[test]
    fn a_foreign_frame_waits_to_be_sent_home() {
        let mut pools = pools(2);
        let frame = pools[1].allocate().unwrap();
        assert_eq!(pools[0].home_of(&frame), 1);
        pools[0].release(frame);
        assert_eq!((pools[0].free_frames(), pools[0].foreign_frames()), (4, 1));
        let frame = pools[0].take_foreign().unwrap();
        assert_eq!((frame.len(), pools[0].home_of(&frame)), (0, 1));
        pools[1].release(frame);
        assert_eq!((pools[1].free_frames(), pools[0].foreign_frames()), (4, 0));
        assert!(pools[0].take_foreign().is_none());
    }

    #[test]
    fn a_visitor_has_nothing_to_give_and_keeps_what_it_takes_back_apart() {
        let mut pools = pools(2);
        let mut visitor = pools[0].umem().visiting_pool();
        assert!(visitor.allocate().is_none());
        visitor.release(pools[1].allocate().unwrap());
        assert_eq!((visitor.free_frames(), visitor.foreign_frames()), (0, 1));
        let frame = visitor.take_foreign().unwrap();
        assert_eq!(visitor.home_of(&frame), 1);
        pools[1].release(frame);
        assert_eq!(pools[1].free_frames(), 4);
    }

    #[test]
    #[should_panic(expected = "a frame of another UMEM")]
    fn a_frame_of_another_umem_is_refused() {
        let frame = pools(1).remove(0).allocate().unwrap();
        let _ = pools(1).remove(0).bytes(&frame);
    }

    #[test]
    #[should_panic(expected = "a frame of another UMEM")]
    fn a_frame_of_another_umem_cannot_be_released() {
        let frame = pools(1).remove(0).allocate().unwrap();
        pools(1).remove(0).release(frame);
    }

    #[test]
    fn a_frame_written_by_one_thread_is_read_by_another() {
        let mut pools = pools(2);
        let mut reader = pools.pop().unwrap();
        let mut writer = pools.pop().unwrap();
        let mut frame = writer.allocate().unwrap();
        writer.write(&mut frame, b"from the first worker").unwrap();
        let frame = std::thread::spawn(move || {
            assert_eq!(reader.bytes(&frame), b"from the first worker");
            reader.bytes_mut(&mut frame)[0] = b'F';
            frame
        });
        let frame = frame.join().unwrap();
        assert_eq!(writer.bytes(&frame), b"From the first worker");
        writer.release(frame);
    }

    #[test]
    fn a_frame_may_outlive_its_pool_and_its_memory() {
        let frame = pools(1).remove(0).allocate().unwrap();
        assert_eq!(frame.len(), 0);
    }
}
