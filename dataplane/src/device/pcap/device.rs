//! One device of a replay.

use super::topology::Shared;
use super::writer::PcapWriter;
use crate::device::{BURST_FRAMES, Device, DeviceLosses, checksum};
use af_xdp::{Frame, FramePool};
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames accepted between two calls of `flush`: what a worker can send in one turn from four devices.
const SENDING_FRAMES_MAX: usize = 4 * BURST_FRAMES;

/// Delivers the frames of a capture that enter by it, and writes or only counts what it is sent.
pub struct PcapDevice {
    /// The capture, shared with the other devices of the replay.
    shared: Arc<Shared>,
    /// Number of this device in the replay.
    device: usize,
    /// Where sent frames are written.
    writer: Option<PcapWriter>,
    /// Frames accepted for sending, until `flush`.
    sending: Vec<Frame>,
    /// Chunks of the frames in `sending`.
    sending_chunks: usize,
    /// Bytes of the frame being written.
    scratch: Vec<u8>,
    /// What could not be delivered or sent.
    losses: DeviceLosses,
}

impl PcapDevice {
    /// Makes one of the devices of a replay.
    pub(super) fn new(shared: Arc<Shared>, device: usize, writer: Option<PcapWriter>) -> Self {
        Self {
            shared,
            device,
            writer,
            sending: Vec::with_capacity(SENDING_FRAMES_MAX),
            sending_chunks: 0,
            scratch: Vec::new(),
            losses: DeviceLosses::default(),
        }
    }

    /// Writes a frame as it would have been on the wire, with the time of the frames being replayed.
    fn write(&mut self, pool: &FramePool, frame: &Frame) {
        let Some(writer) = &self.writer else { return };
        self.scratch.resize(frame.len(), 0);
        pool.copy_to(frame, &mut self.scratch);
        if let Some(request) = frame.checksum_request() {
            self.losses.invalid += u64::from(!checksum::complete(&mut self.scratch, request));
        }
        writer.write(self.shared.newest_ns().unwrap_or(0), &self.scratch);
    }
}

impl Device for PcapDevice {
    fn mode(&self) -> String {
        if self.writer.is_some() { "pcap, writing" } else { "pcap" }.to_owned()
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let received = self.shared.receive(self.device, pool, burst);
        self.losses.invalid += received.invalid;
        received.frames
    }

    fn send(&mut self, _pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        let count = frames.len().min(SENDING_FRAMES_MAX - self.sending.len());
        for frame in frames.drain(..count) {
            self.sending_chunks += frame.chunks();
            self.sending.push(frame);
        }
        count
    }

    fn flush(&mut self, pool: &mut FramePool) {
        let mut sending = std::mem::take(&mut self.sending);
        for frame in sending.drain(..) {
            self.write(pool, &frame);
            pool.release(frame);
        }
        self.sending = sending;
        self.sending_chunks = 0;
    }

    fn outstanding(&self) -> usize {
        self.sending_chunks
    }

    fn burst_time_ns(&self) -> Option<u64> {
        // Timers of a worker whose own devices are quiet go on with the capture as well.
        self.shared.newest_ns()
    }

    fn losses(&self) -> DeviceLosses {
        self.losses
    }

    fn is_finished(&self) -> bool {
        self.shared.ended()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) -> usize {
        let chunks = self.sending_chunks;
        self.flush(pool);
        self.shared.close(self.device);
        if let Some(writer) = &self.writer {
            // What the file did not take is counted by the writer; here there is nobody left to tell.
            let _ = writer.flush();
        }
        chunks
    }
}
