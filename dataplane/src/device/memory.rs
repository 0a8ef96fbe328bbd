//! A device without a wire: what the far half injects is received, what is sent the far half reads.
//!
//! Tests and benchmarks stand at the far half, on any thread. Both directions are bounded; a full one refuses, and
//! nothing is lost unseen. As with a card, what was sent leaves at `flush`.

use super::{Device, DeviceLosses, checksum};
use af_xdp::{Frame, FrameError, FramePool};
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Frames that wait in each direction: four full bursts, like a small ring of a card.
pub const QUEUE_FRAMES: usize = 4 * super::BURST_FRAMES;

/// Says that the device has not yet received what was injected before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory device has {QUEUE_FRAMES} frames waiting")]
pub struct QueueFull;

/// What both halves share.
struct Wire {
    /// Frames that go to the device.
    inbound: ArrayQueue<Vec<u8>>,
    /// Frames that the device sent.
    outbound: ArrayQueue<Vec<u8>>,
    /// Readable while frames wait for the device.
    wakeup: OwnedFd,
    /// Whether `wakeup` is readable, so that a burst of frames costs one write.
    wakeup_pending: AtomicBool,
    /// Time that the device reports, nanoseconds since 1970; 0 stands for none.
    time_ns: AtomicU64,
    /// Whether nothing more will be injected.
    finished: AtomicBool,
}

/// The half that a worker owns.
pub struct MemoryDevice {
    /// What both halves share.
    wire: Arc<Wire>,
    /// A frame that did not fit into the pool, or was left when the burst was full.
    waiting: Option<Vec<u8>>,
    /// Frames accepted for sending, until `flush`.
    sending: Vec<Frame>,
    /// Chunks of the frames in `sending`.
    sending_chunks: usize,
    /// What could not be delivered or sent.
    losses: DeviceLosses,
}

/// The half at which a test stands. It may be on another thread.
pub struct MemoryFar {
    /// What both halves share.
    wire: Arc<Wire>,
}

/// Returns two linked halves.
pub fn pair() -> (MemoryDevice, MemoryFar) {
    let wakeup = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .expect("an eventfd needs only a free descriptor");
    let wire = Arc::new(Wire {
        inbound: ArrayQueue::new(QUEUE_FRAMES),
        outbound: ArrayQueue::new(QUEUE_FRAMES),
        wakeup,
        wakeup_pending: AtomicBool::new(false),
        time_ns: AtomicU64::new(0),
        finished: AtomicBool::new(false),
    });
    let device = MemoryDevice {
        wire: Arc::clone(&wire),
        waiting: None,
        sending: Vec::with_capacity(QUEUE_FRAMES),
        sending_chunks: 0,
        losses: DeviceLosses::default(),
    };
    (device, MemoryFar { wire })
}

impl MemoryFar {
    /// Puts a copy of the bytes on the way to the device and wakes its worker.
    pub fn inject(&self, bytes: &[u8]) -> Result<(), QueueFull> {
        self.wire.inbound.push(bytes.to_vec()).map_err(|_| QueueFull)?;
        self.wire.wake();
        Ok(())
    }

    /// Takes the oldest frame that the device sent, with its checksum completed.
    pub fn take_sent(&self) -> Option<Vec<u8>> {
        self.wire.outbound.pop()
    }

    /// Takes every frame that the device sent, oldest first.
    pub fn take_all_sent(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.take_sent()).collect()
    }

    /// Returns how many injected frames the device has not received.
    pub fn frames_waiting(&self) -> usize {
        self.wire.inbound.len()
    }

    /// Sets the time that the device reports with every burst from here on, so that a test needs no clock.
    pub fn set_time_ns(&self, time_ns: u64) {
        self.wire.time_ns.store(time_ns, Ordering::Release);
    }

    /// Says that nothing more will be injected; the device is finished when it has received what waits.
    pub fn finish(&self) {
        self.wire.finished.store(true, Ordering::Release);
        self.wire.wake();
    }
}

impl Wire {
    /// Makes the descriptor readable.
    fn wake(&self) {
        if !self.wakeup_pending.swap(true, Ordering::SeqCst) {
            // A full counter is readable as well, so a refused write changes nothing.
            let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
        }
    }

    /// Makes the descriptor unreadable. The caller looks into the queue once more afterwards: whoever injected
    /// before this did not write again.
    fn settle(&self) {
        if self.wakeup_pending.load(Ordering::SeqCst) {
            let mut counter = [0; size_of::<u64>()];
            let _ = rustix::io::read(&self.wakeup, &mut counter);
            self.wakeup_pending.store(false, Ordering::SeqCst);
        }
    }
}

impl MemoryDevice {
    /// Takes the next frame on the way here.
    fn next_inbound(&mut self) -> Option<Vec<u8>> {
        self.waiting.take().or_else(|| self.wire.inbound.pop()).or_else(|| {
            self.wire.settle();
            self.wire.inbound.pop()
        })
    }

    /// Turns bytes into a frame; none when the pool is empty or the bytes can be no frame.
    fn deliver(&mut self, pool: &mut FramePool, bytes: Vec<u8>) -> Option<Frame> {
        let Some(mut frame) = pool.allocate() else {
            self.waiting = Some(bytes);
            return None;
        };
        match pool.write_chunks(&mut frame, &bytes) {
            Ok(()) if !bytes.is_empty() => Some(frame),
            Err(FrameError::OutOfFrames) => {
                pool.release(frame);
                self.waiting = Some(bytes);
                None
            }
            Ok(()) | Err(FrameError::TooLong { .. }) => {
                pool.release(frame);
                self.losses.invalid += 1;
                None
            }
        }
    }

    /// Copies a frame out of packet memory, checksum completed.
    fn copy_out(&mut self, pool: &FramePool, frame: &Frame) -> Vec<u8> {
        let mut bytes = vec![0; frame.len()];
        pool.copy_to(frame, &mut bytes);
        if let Some(request) = frame.checksum_request() {
            self.losses.invalid += u64::from(!checksum::complete(&mut bytes, request));
        }
        bytes
    }
}

impl Device for MemoryDevice {
    fn mode(&self) -> String {
        "memory".to_owned()
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let before = burst.len();
        while burst.len() < burst.capacity() {
            let Some(bytes) = self.next_inbound() else { break };
            burst.extend(self.deliver(pool, bytes));
            if self.waiting.is_some() {
                break;
            }
        }
        burst.len() - before
    }

    fn send(&mut self, _pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        let room = QUEUE_FRAMES.saturating_sub(self.wire.outbound.len() + self.sending.len());
        let count = room.min(frames.len());
        for frame in frames.drain(..count) {
            self.sending_chunks += frame.chunks();
            self.sending.push(frame);
        }
        count
    }

    fn flush(&mut self, pool: &mut FramePool) {
        let mut sending = std::mem::take(&mut self.sending);
        for frame in sending.drain(..) {
            let bytes = self.copy_out(pool, &frame);
            pool.release(frame);
            // Only this half pushes, and `send` has counted the room, so a refusal would be a mistake of ours.
            let pushed = self.wire.outbound.push(bytes);
            debug_assert!(pushed.is_ok(), "send counted the room");
        }
        self.sending = sending;
        self.sending_chunks = 0;
    }

    fn outstanding(&self) -> usize {
        self.sending_chunks
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wire.wakeup.as_fd())
    }

    fn burst_time_ns(&self) -> Option<u64> {
        Some(self.wire.time_ns.load(Ordering::Acquire)).filter(|&time_ns| time_ns != 0)
    }

    fn losses(&self) -> DeviceLosses {
        self.losses
    }

    fn is_finished(&self) -> bool {
        // `finished` is read first: what was injected before it was set is then visible in the queue.
        self.wire.finished.load(Ordering::Acquire) && self.waiting.is_none() && self.wire.inbound.is_empty()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) -> usize {
        let chunks = self.sending_chunks;
        for frame in self.sending.drain(..) {
            pool.release(frame);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use af_xdp::{Umem, UmemConfig};
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::time::Timespec;

    fn pool(frames_total: u32) -> FramePool {
        Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap().1.remove(0)
    }

    fn is_readable(device: &MemoryDevice) -> bool {
        let mut descriptors = [PollFd::new(&device.wire.wakeup, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&at_once)).unwrap() == 1
    }

    #[test]
    fn injected_bytes_arrive_in_order_and_sent_ones_are_read_after_a_flush() {
        let (mut device, far) = pair();
        let mut pool = pool(16);
        far.inject(b"first").unwrap();
        far.inject(b"second").unwrap();
        let mut burst = Vec::with_capacity(8);
        assert_eq!(device.receive(&mut pool, &mut burst), 2);
        assert_eq!(pool.bytes(&burst[0]), b"first");
        let mut frames = VecDeque::from(burst);
        assert_eq!(device.send(&mut pool, &mut frames), 2);
        assert_eq!((device.outstanding(), far.take_sent()), (2, None));
        device.flush(&mut pool);
        assert_eq!((device.outstanding(), pool.free_frames()), (0, 16));
        assert_eq!(far.take_all_sent(), [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn a_burst_never_grows_beyond_its_capacity() {
        let (mut device, far) = pair();
        let mut pool = pool(16);
        for _ in 0..5 {
            far.inject(b"frame").unwrap();
        }
        let mut burst = Vec::with_capacity(4);
        let capacity = burst.capacity();
        assert_eq!(device.receive(&mut pool, &mut burst), capacity.min(5));
        assert_eq!(burst.capacity(), capacity);
        assert_eq!(device.receive(&mut pool, &mut burst), 0);
        assert_eq!(far.frames_waiting(), 5 - capacity);
        burst.drain(..).for_each(|frame| pool.release(frame));
    }

    #[test]
    fn full_queues_refuse_on_both_sides() {
        let (mut device, far) = pair();
        let frames_total = u32::try_from(2 * QUEUE_FRAMES).unwrap();
        let mut pool = pool(frames_total);
        for _ in 0..QUEUE_FRAMES {
            far.inject(b"frame").unwrap();
        }
        assert_eq!(far.inject(b"one more"), Err(QueueFull));
        let mut frames: VecDeque<_> = (0..QUEUE_FRAMES + 3)
            .map(|_| {
                let mut frame = pool.allocate().unwrap();
                pool.write(&mut frame, b"out").unwrap();
                frame
            })
            .collect();
        assert_eq!(device.send(&mut pool, &mut frames), QUEUE_FRAMES);
        device.flush(&mut pool);
        assert_eq!((device.send(&mut pool, &mut frames), frames.len()), (0, 3));
        assert_eq!(far.take_sent().as_deref(), Some(b"out".as_slice()));
        assert_eq!(device.send(&mut pool, &mut frames), 1);
        assert_eq!(Box::new(device).close(&mut pool), 1);
        frames.drain(..).for_each(|frame| pool.release(frame));
        assert_eq!(pool.free_frames(), 2 * QUEUE_FRAMES);
    }

    #[test]
    fn frames_wait_while_the_pool_is_empty() {
        let (mut device, far) = pair();
        let mut pool = pool(2);
        far.inject(b"a").unwrap();
        far.inject(&[7; 4000]).unwrap();
        let mut burst = Vec::with_capacity(8);
        assert_eq!(device.receive(&mut pool, &mut burst), 1);
        assert_eq!(device.receive(&mut pool, &mut burst), 0);
        far.finish();
        assert!(!device.is_finished());
        pool.release(burst.remove(0));
        // Three chunks are needed and two exist: the frame waits for ever, and nothing leaks.
        assert_eq!((device.receive(&mut pool, &mut burst), pool.free_frames()), (0, 2));
    }

    #[test]
    fn what_can_be_no_frame_is_counted() {
        let (mut device, far) = pair();
        let mut pool = pool(64);
        far.inject(b"").unwrap();
        far.inject(&vec![1; 100_000]).unwrap();
        far.inject(&vec![2; 9000]).unwrap();
        let mut burst = Vec::with_capacity(8);
        assert_eq!(device.receive(&mut pool, &mut burst), 1);
        assert_eq!((burst[0].len(), device.losses().invalid), (9000, 2));
        burst.drain(..).for_each(|frame| pool.release(frame));
        assert_eq!(pool.free_frames(), 64);
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_frames_wait() {
        let (mut device, far) = pair();
        let mut pool = pool(16);
        assert!(!is_readable(&device));
        for _ in 0..9 {
            far.inject(b"frame").unwrap();
        }
        let mut burst = Vec::with_capacity(8);
        device.receive(&mut pool, &mut burst);
        assert!(is_readable(&device));
        burst.drain(..).for_each(|frame| pool.release(frame));
        device.receive(&mut pool, &mut burst);
        assert!(!is_readable(&device));
        far.inject(b"frame").unwrap();
        assert!(is_readable(&device));
    }

    #[test]
    fn a_sent_frame_leaves_with_its_checksum_completed() {
        let (mut device, far) = pair();
        let mut pool = pool(4);
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, &[0x12, 0x34, 0, 0]).unwrap();
        frame.request_checksum(0, 2);
        device.send(&mut pool, &mut VecDeque::from([frame]));
        device.flush(&mut pool);
        assert_eq!(far.take_sent().unwrap(), [0x12, 0x34, 0xed, 0xcb]);
    }

    #[test]
    fn the_far_half_sets_the_time_and_the_end() {
        let (device, far) = pair();
        assert_eq!(device.burst_time_ns(), None);
        far.set_time_ns(5_000);
        assert_eq!(device.burst_time_ns(), Some(5_000));
        assert!(!device.is_finished());
        far.finish();
        assert!(device.is_finished());
    }
}
