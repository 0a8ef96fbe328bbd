//! A device of two tapes: the worker plays one and records the other. Unlike the memory device it never allocates, so
//! that the allocator can be watched while a worker meets frames that somebody made up.

use af_xdp::{Frame, FramePool};
use meshgate_dataplane::device::{Device, DeviceLosses};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Room of one tape.
const TAPE_BYTES: usize = 1 << 21;
const TAPE_FRAMES: usize = 2_048;

/// Frames one behind the other.
pub struct Tape {
    bytes: Vec<u8>,
    /// End of each frame, and whether its checksum is left to the device.
    ends: Vec<(usize, bool)>,
}

/// Both tapes of a device.
pub struct Tapes {
    pub inbound: Tape,
    /// Frames of `inbound` that the worker has taken.
    pub taken: usize,
    pub outbound: Tape,
}

pub struct TapeDevice(pub Arc<Mutex<Tapes>>);

impl Tape {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(TAPE_BYTES), ends: Vec::with_capacity(TAPE_FRAMES) }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push((self.bytes.len(), false));
    }

    pub fn frame(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1].0 };
        &self.bytes[start..self.ends[at].0]
    }

    /// Returns every frame, with whether its checksum is left to the device.
    pub fn frames(&self) -> impl Iterator<Item = (&[u8], bool)> {
        (0..self.len()).map(|at| (self.frame(at), self.ends[at].1))
    }

    fn record(&mut self, pool: &FramePool, frame: &Frame) {
        assert!(
            self.ends.len() < TAPE_FRAMES && self.bytes.len() + frame.len() <= TAPE_BYTES,
            "the tape is too short"
        );
        pool.chunks(frame).for_each(|chunk| self.bytes.extend_from_slice(chunk));
        self.ends.push((self.bytes.len(), frame.checksum_request().is_some()));
    }
}

impl TapeDevice {
    pub fn new() -> (Self, Arc<Mutex<Tapes>>) {
        let tapes = Tapes { inbound: Tape::new(), taken: 0, outbound: Tape::new() };
        let tapes = Arc::new(Mutex::new(tapes));
        (Self(Arc::clone(&tapes)), tapes)
    }
}

impl Device for TapeDevice {
    fn mode(&self) -> String {
        "tape".to_owned()
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let mut tapes = self.0.lock().unwrap();
        let before = burst.len();
        while burst.len() < burst.capacity() && tapes.taken < tapes.inbound.len() {
            let mut frame = pool.allocate().expect("the laboratory has memory for all that waits");
            pool.write_chunks(&mut frame, tapes.inbound.frame(tapes.taken)).expect("likewise");
            burst.push(frame);
            tapes.taken += 1;
        }
        burst.len() - before
    }

    fn send(&mut self, pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        let mut tapes = self.0.lock().unwrap();
        let count = frames.len();
        for frame in frames.drain(..) {
            tapes.outbound.record(pool, &frame);
            pool.release(frame);
        }
        count
    }

    fn flush(&mut self, _pool: &mut FramePool) {}

    fn outstanding(&self) -> usize {
        0
    }

    fn losses(&self) -> DeviceLosses {
        DeviceLosses::default()
    }

    fn close(self: Box<Self>, _pool: &mut FramePool) -> usize {
        0
    }
}
