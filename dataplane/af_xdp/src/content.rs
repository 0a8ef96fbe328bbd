//! Changing what a frame contains: replace, append, prepend, cut, copy.

use crate::error::FrameError;
use crate::frame::{CHUNKS_MAX, Frame};
use crate::links::Span;
use crate::pool::FramePool;
use crate::umem::TX_METADATA_BYTES;
use std::ops::Range;

impl FramePool {
    /// Replaces the content, which must fit into one chunk; later chunks and a checksum request are given up.
    #[inline]
    pub fn write(&mut self, frame: &mut Frame, bytes: &[u8]) -> Result<(), FrameError> {
        let room = self.umem().room_bytes();
        if bytes.len() > room {
            return Err(FrameError::TooLong { bytes: bytes.len(), room });
        }
        if frame.chunks > 1 {
            self.clear(frame);
        }
        self.empty(frame);
        // It has one chunk.
        frame.chunk_bytes = u16::try_from(bytes.len()).expect("at most a chunk");
        frame.bytes = frame.chunk_bytes.into();
        self.bytes_mut(frame).copy_from_slice(bytes);
        Ok(())
    }

    /// Replaces the content by as many chunks as it needs; a checksum request is given up.
    pub fn write_chunks(&mut self, frame: &mut Frame, bytes: &[u8]) -> Result<(), FrameError> {
        let room = self.umem().room_bytes();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.refuse_unless_room(rest, room)?;
        self.write(frame, first)?;
        self.push_chunks(frame, rest, room);
        Ok(())
    }

    /// Adds bytes at the end, in further chunks when the last one is full.
    pub fn append(&mut self, frame: &mut Frame, bytes: &[u8]) -> Result<(), FrameError> {
        self.refuse_unless_appendable(frame, bytes.len())?;
        self.push_bytes(frame, bytes);
        Ok(())
    }

    /// Adds some bytes of another frame at the end, in further chunks when the last one is full.
    pub fn append_from(
        &mut self,
        frame: &mut Frame,
        source: &Frame,
        bytes: Range<usize>,
    ) -> Result<(), FrameError> {
        if bytes.end > source.len() {
            return Err(FrameError::TooLong { bytes: bytes.end, room: source.len() });
        }
        self.refuse_unless_appendable(frame, bytes.len())?;
        let umem = self.umem().clone();
        let mut start = 0;
        for part in umem.shared.parts(source) {
            let wanted =
                bytes.start.clamp(start, start + part.len())..bytes.end.clamp(start, start + part.len());
            self.push_bytes(frame, &part[wanted.start - start..wanted.end - start]);
            start += part.len();
        }
        Ok(())
    }

    /// Refuses to make a frame longer by so many bytes if it, or the pool, has no room for them.
    fn refuse_unless_appendable(&self, frame: &Frame, bytes: usize) -> Result<(), FrameError> {
        let (unused, room) = (self.unused_bytes(frame), self.umem().room_bytes());
        let needed = bytes.saturating_sub(unused).div_ceil(room);
        if frame.chunks() + needed > CHUNKS_MAX {
            return Err(FrameError::TooLong { bytes, room: unused + (CHUNKS_MAX - frame.chunks()) * room });
        }
        if needed > self.free_frames() { Err(FrameError::OutOfFrames) } else { Ok(()) }
    }

    /// Returns how many bytes fit behind the packet into its last chunk.
    fn unused_bytes(&self, frame: &Frame) -> usize {
        let last = self.umem().shared.last_span(frame);
        self.umem().frame_bytes() as usize - usize::from(last.offset) - usize::from(last.bytes)
    }

    /// Adds bytes at the end; the caller has made sure that there is room.
    fn push_bytes(&mut self, frame: &mut Frame, bytes: &[u8]) {
        let last = self.umem().shared.last_span(frame);
        let (here, rest) = bytes.split_at(bytes.len().min(self.unused_bytes(frame)));
        let room = self.umem().room_bytes();
        self.resize_last(frame, usize::from(last.bytes) + here.len());
        let index = frame.chunks() - 1;
        let part = self.chunk_bytes_mut(frame, index).expect("the last chunk of a frame exists");
        part[usize::from(last.bytes)..].copy_from_slice(here);
        self.push_chunks(frame, rest, room);
    }

    /// Adds bytes at the front, as far as the headroom allows without touching the place of the TX metadata.
    ///
    /// A checksum request moves along.
    pub fn prepend(&mut self, frame: &mut Frame, bytes: &[u8]) -> Result<(), FrameError> {
        self.umem().shared.check(frame);
        let room = frame.headroom_bytes().saturating_sub(TX_METADATA_BYTES as usize);
        if bytes.len() > room {
            return Err(FrameError::TooLong { bytes: bytes.len(), room });
        }
        let count = u16::try_from(bytes.len()).expect("at most a chunk's headroom");
        frame.offset -= count;
        frame.chunk_bytes += count;
        frame.bytes += u32::from(count);
        frame.checksum_start = frame.checksum_start.saturating_add(count);
        self.bytes_mut(frame)[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Cuts up to `count` bytes off the front, never more than the first chunk holds; returns how many.
    ///
    /// A checksum request moves along, or is given up when its start is cut off.
    pub fn trim_front(&mut self, frame: &mut Frame, count: usize) -> usize {
        self.umem().shared.check(frame);
        let cut = u16::try_from(count).unwrap_or(u16::MAX).min(frame.chunk_bytes);
        frame.offset += cut;
        frame.chunk_bytes -= cut;
        frame.bytes -= u32::from(cut);
        frame.checksum_requested &= frame.checksum_start >= cut;
        frame.checksum_start = frame.checksum_start.saturating_sub(cut);
        usize::from(cut)
    }

    /// Cuts the packet to at most `bytes` and gives chunks no longer needed back.
    pub fn truncate(&mut self, frame: &mut Frame, bytes: usize) {
        while frame.len() > bytes {
            let last = self.umem().shared.last_span(frame);
            let excess = frame.len() - bytes;
            if frame.chunks > 1 && excess >= usize::from(last.bytes) {
                frame.chunks -= 1;
                frame.bytes -= u32::from(last.bytes);
                self.give_chunk(last.chunk);
            } else {
                self.resize_last(frame, usize::from(last.bytes) - excess);
            }
        }
    }

    /// Makes a copy, checksum request included; none when the pool has too few free chunks.
    pub fn copy_of(&mut self, frame: &Frame) -> Option<Frame> {
        self.umem().shared.check(frame);
        if self.free_frames() < frame.chunks() {
            return None;
        }
        let mut copy: Option<Frame> = None;
        for index in 0..frame.chunks() {
            let source =
                self.umem().shared.spans(frame).nth(index).expect("index is below the number of chunks");
            let span = Span { chunk: self.take_chunk().expect("enough were counted above"), ..source };
            let copy = match &mut copy {
                None => copy.insert(self.umem().frame(span)),
                Some(copy) => {
                    self.umem().shared.link(copy, span);
                    copy
                }
            };
            let shared = &self.umem().shared;
            let target = shared.part_mut(copy, index).expect("the copy has as many chunks as were copied");
            target.copy_from_slice(shared.part(frame, index).expect("index is below the number of chunks"));
        }
        let mut copy = copy?;
        copy.checksum_start = frame.checksum_start;
        copy.checksum_offset = frame.checksum_offset;
        copy.checksum_requested = frame.checksum_requested;
        Some(copy)
    }

    /// Copies the whole packet into `buffer` as far as it fits; returns how many bytes that are.
    pub fn copy_to(&self, frame: &Frame, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        for part in self.chunks(frame) {
            let room = &mut buffer[filled..];
            let count = part.len().min(room.len());
            room[..count].copy_from_slice(&part[..count]);
            filled += count;
        }
        filled
    }

    /// Makes the frame an empty single chunk again.
    pub fn clear(&mut self, frame: &mut Frame) {
        self.umem().shared.check(frame);
        while frame.chunks > 1 {
            let last = self.umem().shared.last_span(frame);
            frame.chunks -= 1;
            self.give_chunk(last.chunk);
        }
        self.empty(frame);
    }

    /// Makes a frame of one chunk empty.
    #[inline]
    fn empty(&self, frame: &mut Frame) {
        frame.bytes = 0;
        frame.chunk_bytes = 0;
        frame.offset =
            u16::try_from(self.umem().headroom_bytes()).expect("below frame_bytes, checked in UmemConfig");
        frame.checksum_requested = false;
    }

    /// Refuses content for which too many chunks, or more than the pool has, would be needed beside the first.
    fn refuse_unless_room(&self, rest: &[u8], room: usize) -> Result<(), FrameError> {
        let needed = rest.len().div_ceil(room);
        if needed > CHUNKS_MAX - 1 {
            return Err(FrameError::TooLong { bytes: rest.len() + room, room: CHUNKS_MAX * room });
        }
        if needed > self.free_frames() {
            return Err(FrameError::OutOfFrames);
        }
        Ok(())
    }

    /// Adds bytes in new chunks; the caller has made sure that there are enough.
    fn push_chunks(&mut self, frame: &mut Frame, bytes: &[u8], room: usize) {
        for part in bytes.chunks(room) {
            let chunk = self.take_chunk().expect("counted by refuse_unless_room");
            let offset = u16::try_from(self.umem().headroom_bytes()).expect("checked in UmemConfig");
            let length = u16::try_from(part.len()).expect("at most a chunk");
            self.umem().shared.link(frame, Span { chunk, offset, bytes: length });
            let index = frame.chunks() - 1;
            self.chunk_bytes_mut(frame, index).expect("linked just above").copy_from_slice(part);
        }
    }

    /// Sets the length of the last part; the caller has made sure that it fits.
    fn resize_last(&mut self, frame: &mut Frame, bytes: usize) {
        let length = u16::try_from(bytes).expect("at most a chunk");
        let last = self.umem().shared.last_span(frame);
        frame.bytes = frame.bytes - u32::from(last.bytes) + u32::from(length);
        if frame.chunks == 1 {
            frame.chunk_bytes = length;
        } else {
            let before =
                self.umem().shared.spans(frame).nth(frame.chunks() - 2).expect("there are at least two");
            self.umem().shared.links.set(before.chunk, Span { bytes: length, ..last });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ChecksumRequest;
    use crate::umem::{Umem, UmemConfig};

    /// Content of one chunk: 2048 bytes less the headroom of 64.
    const ROOM: usize = 1984;

    fn pool(frames_total: u32) -> FramePool {
        Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap().1.remove(0)
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|index| u8::try_from(index % 251).unwrap()).collect()
    }

    fn content(pool: &FramePool, frame: &Frame) -> Vec<u8> {
        let joined = pool.chunks(frame).collect::<Vec<_>>().concat();
        let mut copied = vec![0; frame.len()];
        assert_eq!(pool.copy_to(frame, &mut copied), frame.len());
        assert_eq!(joined, copied);
        joined
    }

    #[test]
    fn written_bytes_are_read_back() {
        let mut pool = pool(4);
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, &pattern(ROOM)).unwrap();
        assert_eq!((frame.len(), frame.chunks()), (ROOM, 1));
        assert_eq!(pool.bytes(&frame), pattern(ROOM));
        pool.bytes_mut(&mut frame)[1] = 0xff;
        assert_eq!(pool.bytes(&frame)[..3], [0, 0xff, 2]);
    }

    #[test]
    fn content_larger_than_a_chunk_is_refused_and_the_frame_stays() {
        let mut pool = pool(4);
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, b"kept").unwrap();
        let refused = pool.write(&mut frame, &pattern(ROOM + 1));
        assert_eq!(refused, Err(FrameError::TooLong { bytes: ROOM + 1, room: ROOM }));
        assert_eq!(pool.bytes(&frame), b"kept");
    }

    #[test]
    fn a_long_packet_takes_as_many_chunks_as_it_needs_and_gives_all_back() {
        let mut pool = pool(8);
        let mut frame = pool.allocate().unwrap();
        pool.write_chunks(&mut frame, &pattern(9000)).unwrap();
        assert_eq!((frame.len(), frame.chunks(), pool.free_frames()), (9000, 5, 3));
        assert_eq!(content(&pool, &frame), pattern(9000));
        assert_eq!(pool.chunk_bytes(&frame, 4).unwrap().len(), 9000 - 4 * ROOM);
        assert_eq!(pool.chunk_bytes(&frame, 5), None);
        pool.release(frame);
        assert_eq!(pool.free_frames(), 8);
    }

    #[test]
    fn any_bytes_of_another_frame_are_appended_across_its_chunks() {
        let mut pool = pool(16);
        let mut source = pool.allocate().unwrap();
        pool.write_chunks(&mut source, &pattern(6000)).unwrap();
        for range in [0..10, 1980..1990, 100..1984, 1984..3968, 5..5999, 3000..3000] {
            let mut frame = pool.allocate().unwrap();
            pool.write(&mut frame, b"head").unwrap();
            pool.append_from(&mut frame, &source, range.clone()).unwrap();
            assert_eq!(content(&pool, &frame), [b"head", &pattern(6000)[range]].concat());
            pool.release(frame);
        }
        let mut frame = pool.allocate().unwrap();
        let beyond = pool.append_from(&mut frame, &source, 0..6001);
        assert_eq!(beyond, Err(FrameError::TooLong { bytes: 6001, room: 6000 }));
        let others: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
        assert_eq!(pool.append_from(&mut frame, &source, 0..6000), Err(FrameError::OutOfFrames));
        assert_eq!(frame.len(), 0);
        others.into_iter().chain([frame, source]).for_each(|frame| pool.release(frame));
        assert_eq!(pool.free_frames(), 16);
    }

    #[test]
    fn a_packet_beyond_the_chunk_limit_or_the_pool_is_refused() {
        let mut pool = pool(8);
        let mut frame = pool.allocate().unwrap();
        assert_eq!(pool.write_chunks(&mut frame, &pattern(8 * ROOM + 1)), Err(FrameError::OutOfFrames));
        let too_long = pattern(CHUNKS_MAX * ROOM + 1);
        assert_eq!(
            pool.write_chunks(&mut frame, &too_long),
            Err(FrameError::TooLong { bytes: too_long.len(), room: CHUNKS_MAX * ROOM })
        );
        pool.write_chunks(&mut frame, &pattern(8 * ROOM)).unwrap();
        assert_eq!((frame.chunks(), pool.free_frames()), (8, 0));
    }

    #[test]
    fn appended_bytes_fill_the_last_chunk_before_another_is_taken() {
        let mut pool = pool(8);
        let mut frame = pool.allocate().unwrap();
        let whole = pattern(3 * ROOM);
        for part in whole.chunks(700) {
            pool.append(&mut frame, part).unwrap();
        }
        assert_eq!((frame.len(), frame.chunks()), (3 * ROOM, 3));
        assert_eq!(content(&pool, &frame), whole);
    }

    #[test]
    fn prepended_bytes_move_the_checksum_request_and_spare_the_metadata() {
        let mut pool = pool(2);
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, b"packet").unwrap();
        frame.request_checksum(2, 1);
        pool.prepend(&mut frame, b"tag ").unwrap();
        assert_eq!(pool.bytes(&frame), b"tag packet");
        assert_eq!(frame.checksum_request(), Some(ChecksumRequest { start: 6, offset: 1 }));
        assert_eq!(pool.prepend(&mut frame, &[0; 37]), Err(FrameError::TooLong { bytes: 37, room: 36 }));
        pool.prepend(&mut frame, &[0; 36]).unwrap();
        assert_eq!(pool.trim_front(&mut frame, 40), 40);
        assert_eq!(pool.bytes(&frame), b"packet");
        assert_eq!(frame.checksum_request(), Some(ChecksumRequest { start: 2, offset: 1 }));
        assert_eq!(pool.trim_front(&mut frame, 100), 6);
        assert_eq!((frame.len(), frame.checksum_request()), (0, None));
    }

    #[test]
    fn a_truncated_packet_gives_its_later_chunks_back() {
        let mut pool = pool(8);
        let mut frame = pool.allocate().unwrap();
        pool.write_chunks(&mut frame, &pattern(3 * ROOM)).unwrap();
        pool.truncate(&mut frame, 3 * ROOM + 1);
        assert_eq!(frame.len(), 3 * ROOM);
        pool.truncate(&mut frame, ROOM + 10);
        assert_eq!((frame.chunks(), pool.free_frames()), (2, 6));
        assert_eq!(content(&pool, &frame), pattern(ROOM + 10));
        pool.truncate(&mut frame, 0);
        assert_eq!((frame.len(), frame.chunks(), pool.free_frames()), (0, 1, 7));
    }

    #[test]
    fn a_copy_has_the_same_content_and_its_own_memory() {
        let mut pool = pool(8);
        let mut frame = pool.allocate().unwrap();
        pool.write_chunks(&mut frame, &pattern(5000)).unwrap();
        frame.request_checksum(34, 16);
        let mut copy = pool.copy_of(&frame).unwrap();
        assert_eq!((copy.chunks(), copy.checksum_request()), (3, frame.checksum_request()));
        pool.chunk_bytes_mut(&mut copy, 2).unwrap().fill(0);
        assert_eq!(content(&pool, &frame), pattern(5000));
        assert!(pool.copy_of(&frame).is_none(), "two chunks are left, three are needed");
        pool.release(copy);
        pool.release(frame);
        assert_eq!(pool.free_frames(), 8);
    }

    #[test]
    fn content_written_anew_is_not_given_the_old_checksum_request() {
        let mut pool = pool(2);
        let mut frame = pool.allocate().unwrap();
        frame.request_checksum(34, 16);
        pool.write(&mut frame, b"new").unwrap();
        assert_eq!(frame.checksum_request(), None);
    }
}
