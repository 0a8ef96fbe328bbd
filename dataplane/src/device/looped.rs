//! Two devices between which prepared frames run in circles: a load whose cost does not grow with the frames.
//!
//! A device that delivers copies of a frame and throws away what it is sent would measure allocation and copying.
//! Here a frame that reaches the other side goes back to where it came from, with its bytes, and is delivered again.
//! A returned frame is used as it is when its length and its first [`PREFIX_BYTES`] bytes are those of the prepared
//! frame whose turn it is; `pair` makes sure that these tell all prepared frames apart. Where one was dropped, it is
//! written anew, so that the order of delivery is always the prepared one. So a list of up to [`KEPT_FRAMES_MAX`]
//! frames circulates without being copied, if the slice has room for all of it; of a longer one every frame is copied.

use super::{Device, DeviceLosses};
use af_xdp::{Frame, FramePool};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes by which a returned frame is recognised: Ethernet with a tag, IPv6 and the ports.
pub const PREFIX_BYTES: usize = 64;

/// Frames that one device keeps to be delivered again; more go back to the pool.
pub const KEPT_FRAMES_MAX: usize = 16 * super::BURST_FRAMES;

/// Says why frames cannot run in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoopError {
    /// A frame has no bytes, or more than packet memory can hold together.
    #[error("prepared frame {index} has {bytes} bytes, expected 1 to {bytes_max}")]
    Length {
        /// Its place in the list.
        index: usize,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Two frames differ, but not where returned frames are told apart.
    #[error("prepared frames {first} and {second} differ only behind their first {PREFIX_BYTES} bytes")]
    Alike {
        /// Place of the one.
        first: usize,
        /// Place of the other.
        second: usize,
    },
}

/// Longest prepared frame: a super-frame of 64 KiB still fits into chunks of 4 KiB.
const FRAME_BYTES_MAX: usize = 65_535;

/// Frames on their way back to the device that delivers them.
#[derive(Default)]
struct ReturnPath {
    /// The frames.
    frames: Mutex<Vec<Frame>>,
    /// Chunks of those frames, readable without the lock.
    chunks: AtomicUsize,
    /// Whether the device to which the frames go is gone; read and written under the lock.
    closed: AtomicBool,
}

/// One of two devices that deliver prepared frames and swallow what they are sent.
pub struct LoopDevice {
    /// What is delivered, again and again.
    prepared: Vec<Vec<u8>>,
    /// Place of the frame whose turn it is.
    turn: usize,
    /// Frames that came back and can be delivered.
    kept: VecDeque<Frame>,
    /// Chunks of the frames in `kept`.
    kept_chunks: usize,
    /// Chunks of the frames in `sent`.
    sent_chunks: usize,
    /// Frames that this device was sent, until `flush`.
    sent: Vec<Frame>,
    /// By which this device's frames come back.
    own_return: Arc<ReturnPath>,
    /// By which what this device is sent goes back.
    other_return: Arc<ReturnPath>,
    /// Frames delivered.
    delivered_frames: u64,
    /// Frames that this device was sent.
    sent_frames: u64,
    /// Frames delivered without writing a byte.
    reused_frames: u64,
    /// Frames still to be delivered; none for ever.
    frames_left: Option<u64>,
}

/// What a loop device counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Frames delivered.
    pub delivered_frames: u64,
    /// Frames that the device was sent.
    pub sent_frames: u64,
    /// Delivered frames whose bytes were still in place.
    pub reused_frames: u64,
}

/// Returns two devices; each delivers its list in circles, an empty list nothing.
pub fn pair(first: Vec<Vec<u8>>, second: Vec<Vec<u8>>) -> Result<(LoopDevice, LoopDevice), LoopError> {
    check(&first)?;
    check(&second)?;
    let first_return = Arc::new(ReturnPath::default());
    let second_return = Arc::new(ReturnPath::default());
    let one = LoopDevice::new(first, Arc::clone(&first_return), Arc::clone(&second_return));
    let other = LoopDevice::new(second, second_return, first_return);
    Ok((one, other))
}

/// Refuses lists whose frames cannot be told apart when they come back.
fn check(prepared: &[Vec<u8>]) -> Result<(), LoopError> {
    for (index, frame) in prepared.iter().enumerate() {
        if frame.is_empty() || frame.len() > FRAME_BYTES_MAX {
            return Err(LoopError::Length { index, bytes: frame.len(), bytes_max: FRAME_BYTES_MAX });
        }
    }
    let mut order: Vec<usize> = (0..prepared.len()).collect();
    order.sort_by_key(|&index| (prepared[index].len(), &prepared[index]));
    for pair in order.windows(2) {
        let [first, second] = [&prepared[pair[0]], &prepared[pair[1]]];
        if first.len() == second.len() && prefix(first) == prefix(second) && first != second {
            return Err(LoopError::Alike { first: pair[0].min(pair[1]), second: pair[0].max(pair[1]) });
        }
    }
    Ok(())
}

/// Returns the part by which a frame is recognised.
fn prefix(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(PREFIX_BYTES)]
}

impl LoopDevice {
    /// Makes one side.
    fn new(prepared: Vec<Vec<u8>>, own_return: Arc<ReturnPath>, other_return: Arc<ReturnPath>) -> Self {
        Self {
            prepared,
            turn: 0,
            kept: VecDeque::with_capacity(KEPT_FRAMES_MAX),
            kept_chunks: 0,
            sent_chunks: 0,
            sent: Vec::with_capacity(KEPT_FRAMES_MAX),
            own_return,
            other_return,
            delivered_frames: 0,
            sent_frames: 0,
            reused_frames: 0,
            frames_left: None,
        }
    }

    /// Ends the delivery after so many frames.
    pub fn stop_after(&mut self, frames: u64) {
        self.frames_left = Some(frames);
    }

    /// Returns what was counted.
    pub fn counts(&self) -> LoopCounts {
        LoopCounts {
            delivered_frames: self.delivered_frames,
            sent_frames: self.sent_frames,
            reused_frames: self.reused_frames,
        }
    }

    /// Takes what came back, if nobody else is at it.
    fn collect_returned(&mut self) {
        if self.own_return.chunks.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Ok(mut frames) = self.own_return.frames.try_lock() {
            let count = frames.len().min(KEPT_FRAMES_MAX - self.kept.len());
            let chunks = frames[..count].iter().map(Frame::chunks).sum();
            self.kept.extend(frames.drain(..count));
            self.own_return.chunks.fetch_sub(chunks, Ordering::AcqRel);
            self.kept_chunks += chunks;
        }
    }

    /// Makes the frame whose turn it is; none when packet memory is exhausted.
    fn next_frame(&mut self, pool: &mut FramePool) -> Option<Frame> {
        let bytes = self.prepared.get(self.turn)?;
        let fits = |pool: &FramePool, frame: &Frame| {
            frame.len() == bytes.len() && pool.bytes(frame).starts_with(prefix(bytes))
        };
        // A frame that is not the one wanted waits for its turn. Where more wait than there are turns, one of them
        // was never prepared, or its turn is over.
        while self.kept.len() > self.prepared.len() && !fits(pool, &self.kept[0]) {
            pool.release(take_oldest(&mut self.kept, &mut self.kept_chunks)?);
        }
        let ready = self.kept.front().is_some_and(|frame| fits(pool, frame));
        let mut frame = if ready { None } else { pool.allocate() }
            .or_else(|| take_oldest(&mut self.kept, &mut self.kept_chunks))?;
        frame.clear_checksum_request();
        if ready {
            self.reused_frames += 1;
        } else if pool.write_chunks(&mut frame, bytes).is_err() {
            pool.release(frame);
            return None;
        }
        self.turn = if self.turn + 1 == self.prepared.len() { 0 } else { self.turn + 1 };
        Some(frame)
    }
}

/// Takes the oldest of the kept frames.
fn take_oldest(kept: &mut VecDeque<Frame>, kept_chunks: &mut usize) -> Option<Frame> {
    kept.pop_front().inspect(|frame| *kept_chunks -= frame.chunks())
}

impl Device for LoopDevice {
    fn mode(&self) -> String {
        "memory loop".to_owned()
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let before = burst.len();
        self.collect_returned();
        let room = u64::try_from(burst.capacity() - before).unwrap_or(u64::MAX);
        for _ in 0..room.min(self.frames_left.unwrap_or(u64::MAX)) {
            let Some(frame) = self.next_frame(pool) else { break };
            burst.push(frame);
        }
        let delivered = burst.len() - before;
        let delivered_frames = u64::try_from(delivered).expect("a burst is short");
        self.delivered_frames += delivered_frames;
        self.frames_left = self.frames_left.map(|left| left - delivered_frames);
        delivered
    }

    fn send(&mut self, _pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        let count = frames.len().min(KEPT_FRAMES_MAX - self.sent.len());
        self.sent.extend(frames.drain(..count).inspect(|frame| self.sent_chunks += frame.chunks()));
        self.sent_frames += u64::try_from(count).expect("a queue is short");
        count
    }

    fn flush(&mut self, pool: &mut FramePool) {
        if self.sent.is_empty() {
            return;
        }
        // Another worker is at the return path only for the length of a `drain`; the frames go at the next turn.
        let Ok(mut frames) = self.other_return.frames.try_lock() else { return };
        let closed = self.other_return.closed.load(Ordering::Relaxed);
        let room = if closed { 0 } else { KEPT_FRAMES_MAX.saturating_sub(frames.len()) };
        let returned = room.min(self.sent.len());
        let chunks = self.sent[..returned].iter().map(Frame::chunks).sum();
        frames.extend(self.sent.drain(..returned));
        self.other_return.chunks.fetch_add(chunks, Ordering::AcqRel);
        self.sent.drain(..).for_each(|frame| pool.release(frame));
        self.sent_chunks = 0;
    }

    fn outstanding(&self) -> usize {
        self.kept_chunks + self.sent_chunks + self.own_return.chunks.load(Ordering::Acquire)
    }

    fn losses(&self) -> DeviceLosses {
        DeviceLosses::default()
    }

    fn is_finished(&self) -> bool {
        self.prepared.is_empty() || self.frames_left == Some(0)
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) -> usize {
        let returned = {
            let mut frames = self.own_return.frames.lock().unwrap_or_else(PoisonError::into_inner);
            self.own_return.closed.store(true, Ordering::Relaxed);
            self.own_return.chunks.store(0, Ordering::Release);
            std::mem::take(&mut *frames)
        };
        let mut chunks = 0;
        for frame in self.kept.drain(..).chain(self.sent.drain(..)).chain(returned) {
            chunks += frame.chunks();
            pool.release(frame);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use af_xdp::{Umem, UmemConfig};

    fn pool(frames_total: u32) -> FramePool {
        Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap().1.remove(0)
    }

    /// Carries one burst from the one device to the other, dropping the frames whose turn in the burst is listed.
    fn carry(from: &mut LoopDevice, to: &mut LoopDevice, pool: &mut FramePool, drops: &[usize]) -> Vec<u8> {
        let mut burst = Vec::with_capacity(4);
        from.receive(pool, &mut burst);
        let seen = burst.iter().map(|frame| pool.bytes(frame)[0]).collect();
        let mut frames = VecDeque::new();
        for (index, frame) in burst.into_iter().enumerate() {
            if drops.contains(&index) { pool.release(frame) } else { frames.push_back(frame) }
        }
        to.send(pool, &mut frames);
        assert!(frames.is_empty());
        to.flush(pool);
        from.flush(pool);
        seen
    }

    #[test]
    fn frames_go_round_without_being_written_again() {
        let mut pool = pool(16);
        let (mut one, mut other) = pair(vec![vec![1; 60], vec![2; 1500]], Vec::new()).unwrap();
        for _ in 0..10 {
            assert_eq!(carry(&mut one, &mut other, &mut pool, &[]), [1, 2, 1, 2]);
        }
        let counts = one.counts();
        assert_eq!((counts.delivered_frames, counts.reused_frames), (40, 36));
        assert_eq!(other.counts().sent_frames, 40);
        assert!(other.is_finished());
        assert_eq!(one.outstanding() + other.outstanding() + pool.free_frames(), 16);
        assert_eq!(Box::new(one).close(&mut pool) + Box::new(other).close(&mut pool), 4);
        assert_eq!(pool.free_frames(), 16);
    }

    #[test]
    fn the_order_stays_when_frames_are_dropped() {
        let mut pool = pool(16);
        let (mut one, mut other) =
            pair(vec![vec![1; 60], vec![2; 60], vec![3; 60], vec![4; 60]], Vec::new()).unwrap();
        for drops in [&[][..], &[1], &[0, 3], &[0, 1, 2, 3], &[2]] {
            assert_eq!(carry(&mut one, &mut other, &mut pool, drops), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn frames_that_cannot_be_told_apart_are_refused() {
        let mut second = vec![7; 100];
        second[99] = 8;
        let refused = pair(vec![vec![7; 100], vec![7; 99], second], Vec::new()).map(|_| ());
        assert_eq!(refused, Err(LoopError::Alike { first: 0, second: 2 }));
        assert!(pair(vec![vec![7; 100], vec![7; 100]], Vec::new()).is_ok());
        let empty = pair(Vec::new(), vec![vec![1], Vec::new()]).map(|_| ());
        assert_eq!(empty, Err(LoopError::Length { index: 1, bytes: 0, bytes_max: FRAME_BYTES_MAX }));
    }

    #[test]
    fn a_list_longer_than_a_burst_circulates_too() {
        let mut pool = pool(64);
        let (mut one, mut other) =
            pair((0..25).map(|number| vec![number; 60]).collect(), Vec::new()).unwrap();
        let mut seen = Vec::new();
        for turn in 0..50 {
            let drops = if turn == 30 { &[0, 3][..] } else { &[] };
            seen.extend(carry(&mut one, &mut other, &mut pool, drops));
        }
        assert_eq!(seen, (0..8).flat_map(|_| 0..25).collect::<Vec<u8>>());
        // Each was written once, and the two dropped ones once more.
        assert_eq!(one.counts().reused_frames, 200 - 25 - 2);
        assert_eq!(one.outstanding() + other.outstanding() + pool.free_frames(), 64);
    }

    #[test]
    fn frames_that_were_never_prepared_do_not_stop_the_circle() {
        let mut pool = pool(64);
        let (mut one, mut other) = pair(vec![vec![1; 60], vec![2; 60], vec![3; 60]], Vec::new()).unwrap();
        let mut seen = Vec::new();
        for _ in 0..60 {
            let mut answer = pool.allocate().unwrap();
            pool.write(&mut answer, b"reset").unwrap();
            assert_eq!(other.send(&mut pool, &mut VecDeque::from([answer])), 1);
            seen.extend(carry(&mut one, &mut other, &mut pool, &[]));
        }
        assert_eq!(seen, (0..80).flat_map(|_| [1, 2, 3]).collect::<Vec<u8>>());
        assert_eq!(one.outstanding() + other.outstanding() + pool.free_frames(), 64);
    }

    #[test]
    fn frames_for_a_closed_device_go_to_the_pool() {
        let mut pool = pool(16);
        let (mut one, mut other) = pair(vec![vec![1; 60]], Vec::new()).unwrap();
        let mut burst = Vec::with_capacity(4);
        one.receive(&mut pool, &mut burst);
        other.send(&mut pool, &mut VecDeque::from(burst));
        assert_eq!(Box::new(one).close(&mut pool), 0);
        other.flush(&mut pool);
        assert_eq!((other.outstanding(), pool.free_frames()), (0, 16));
    }

    #[test]
    fn delivery_ends_after_the_number_asked_for() {
        let mut pool = pool(16);
        let (mut one, mut other) = pair(vec![vec![1; 60]], Vec::new()).unwrap();
        one.stop_after(6);
        assert_eq!(carry(&mut one, &mut other, &mut pool, &[]).len(), 4);
        assert!(!one.is_finished());
        assert_eq!(carry(&mut one, &mut other, &mut pool, &[]).len(), 2);
        assert!(one.is_finished());
    }
}
