//! Two devices in memory that cost as little as a device can: what is measured is the worker.
//!
//! [`meshgate_dataplane::device::memory`] takes memory from the allocator for each frame, both ways, and
//! [`meshgate_dataplane::device::looped`] copies frames out of scattered memory when there are many. Here all frames
//! lie in one piece in the order of delivery. A received frame costs a chunk of the pool and a copy of 64 bytes, a sent
//! one goes back to the pool. That happens within the worker's turn and is part of what is timed; [`DeviceAlone`] tells
//! how much of it that is.

use af_xdp::{Frame, FramePool};
use meshgate_dataplane::device::{BURST_FRAMES, Device};
use meshgate_dataplane::worker::EGRESS_FRAMES_MAX;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of every frame.
pub const FRAME_BYTES: usize = 64;

/// A frame as it is delivered.
pub type FrameBytes = [u8; FRAME_BYTES];

/// Frames to be delivered.
#[derive(Default)]
pub struct Load {
    /// The frames, in order.
    pub frames: Vec<FrameBytes>,
    /// Whether they are delivered again and again.
    pub is_endless: bool,
}

/// The half of the device that the worker owns.
pub struct PreparedDevice {
    /// What comes after `load`.
    loads: Receiver<Load>,
    load: Load,
    /// Place of the next frame in `load`.
    at: usize,
    /// Frames that were sent, until `flush`.
    sent: VecDeque<Frame>,
}

/// Returns a device, and where to put what it delivers. An endless load is the last one.
pub fn prepared() -> (PreparedDevice, Sender<Load>) {
    let (sender, loads) = channel();
    // It changes places with the worker's queue, which has as much room.
    let sent = VecDeque::with_capacity(EGRESS_FRAMES_MAX);
    (PreparedDevice { loads, load: Load::default(), at: 0, sent }, sender)
}

impl PreparedDevice {
    /// Goes on to what is to be delivered when the load is at its end.
    fn go_on(&mut self) {
        self.at = 0;
        if !self.load.is_endless {
            self.load = self.loads.try_recv().unwrap_or_default();
        }
    }
}

impl Device for PreparedDevice {
    fn mode(&self) -> String {
        "memory, prepared".to_owned()
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        if self.at == self.load.frames.len() {
            self.go_on();
        }
        let before = burst.len();
        for bytes in self.load.frames[self.at..].iter().take(BURST_FRAMES - before) {
            let Some(frame) = pool.allocate() else { break };
            burst.push(frame);
            // Where it stays. A frame of 64 bytes fits into any chunk.
            let written = burst.last_mut().map(|frame| pool.write(frame, bytes));
            debug_assert!(written.is_some_and(|written| written.is_ok()), "there is room for it");
        }
        let received = burst.len() - before;
        self.at += received;
        received
    }

    fn send(&mut self, _pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        let count = frames.len();
        if self.sent.is_empty() {
            std::mem::swap(&mut self.sent, frames);
        } else {
            self.sent.append(frames);
        }
        count
    }

    fn flush(&mut self, pool: &mut FramePool) {
        self.sent.drain(..).for_each(|frame| pool.release(frame));
    }

    fn outstanding(&self) -> usize {
        self.sent.len()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) -> usize {
        let chunks = self.sent.len();
        self.flush(pool);
        chunks
    }
}

/// Two devices between which frames go without a worker.
pub struct DeviceAlone {
    pool: FramePool,
    devices: [PreparedDevice; 2],
    burst: Vec<Frame>,
    frames: VecDeque<Frame>,
}

impl DeviceAlone {
    /// Returns devices that deliver these loads, with a pool of their own.
    pub fn new(pool: FramePool, loads: [Load; 2]) -> Self {
        let devices = loads.map(|load| {
            let (device, _) = prepared();
            PreparedDevice { load, ..device }
        });
        let frames = VecDeque::with_capacity(BURST_FRAMES);
        Self { pool, devices, burst: Vec::with_capacity(BURST_FRAMES), frames }
    }

    /// Takes a burst from each device and sends it by the other.
    pub fn turn(&mut self) {
        for from in [0, 1] {
            self.devices[from].receive(&mut self.pool, &mut self.burst);
            self.frames.extend(self.burst.drain(..));
            self.devices[1 - from].send(&mut self.pool, &mut self.frames);
        }
        self.devices.iter_mut().for_each(|device| device.flush(&mut self.pool));
    }
}
