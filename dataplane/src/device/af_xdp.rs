//! A device of the kernel: one queue of it, over an AF_XDP socket.
//!
//! [`XdpDevice`] is the device with its redirect program, shared by its queues; [`AfXdpDevice`] is one queue and
//! belongs to one worker. Every queue needs a socket: what arrives on a queue without one is dropped by the program,
//! so that no frame passes into the host by the side.
//!
//! Frames that leave by another device come back there, so one-way traffic moves chunks from here to there. They go
//! through the worker's pool, from which every `flush` tops up the chunks for receiving. So a slice needs room for
//! the fill targets of all its queues beside what is being sent: [`XdpConfig::for_slice`] shares it out.

use super::{BURST_FRAMES, Device, DeviceLosses};
use ::af_xdp::{
    AttachConfig, AttachMode, Attachment, Error, Frame, FramePool, Mode, Socket, SocketConfig, Statistics,
    Umem,
};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Slots of each ring: at 1 Mpps a millisecond, in which a worker may be kept from its core.
const RING_FRAMES: u32 = 1024;

/// Fewest chunks for receiving: two bursts, one being filled while the other is judged.
pub const FILL_FRAMES_MIN: u32 = 128;

const _: () = assert!(FILL_FRAMES_MIN as usize == 2 * BURST_FRAMES);

/// Turns without a frame after which the socket is asked whether its device is still there. One system call then
/// costs less than 1 % of them, and a sleeping worker learns of it within 16 wake-ups.
const IDLE_TURNS_BEFORE_ASKING: u32 = 16;

/// How the queues of a device are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    /// Skip the native mode of XDP, for example to compare.
    pub generic_only: bool,
    /// Try zero copy first; where the driver lacks it, frames are copied, and `mode` says so.
    pub zero_copy: bool,
    /// Take frames of several chunks: an MTU above about 3,500, and super-frames, which are reported whole.
    pub multi_buffer: bool,
    /// Slots of each ring, a power of two.
    pub ring_frames: u32,
    /// Chunks that are kept with the kernel for receiving.
    pub fill_frames: u32,
}

impl Default for XdpConfig {
    fn default() -> Self {
        Self {
            generic_only: false,
            zero_copy: false,
            multi_buffer: true,
            ring_frames: RING_FRAMES,
            fill_frames: RING_FRAMES,
        }
    }
}

impl XdpConfig {
    /// Returns the default with fill targets that leave half of a slice for sending, holding and copying, whichever
    /// way the traffic goes; `queues` is how many queues the slice's worker has.
    pub fn for_slice(slice_frames: usize, queues: usize) -> Self {
        let share = u32::try_from(slice_frames / 2 / queues.max(1)).unwrap_or(u32::MAX);
        Self { fill_frames: share.clamp(FILL_FRAMES_MIN, RING_FRAMES), ..Self::default() }
    }

    /// Returns the smallest slice on which so many queues do not starve each other.
    pub fn slice_frames_min(queues: usize) -> usize {
        2 * queues * FILL_FRAMES_MIN as usize
    }
}

/// One device with its redirect program, shared by the queues.
#[derive(Debug)]
pub struct XdpDevice {
    /// What the kernel said of the device when it was opened.
    properties: ::af_xdp::Device,
    /// The redirect program, taken off with the last queue.
    attachment: Attachment,
    /// How queues are opened.
    config: XdpConfig,
}

impl XdpDevice {
    /// Attaches the redirect program, natively if the driver can. From here on the host sees no frame of the device.
    pub fn attach(name: &str, config: &XdpConfig) -> Result<Arc<Self>, Error> {
        let properties = ::af_xdp::Device::named(name)?;
        let attach = AttachConfig { multi_buffer: config.multi_buffer, generic_only: config.generic_only };
        let attachment = Attachment::new(properties.index, properties.rx_queues, &attach)?;
        Ok(Arc::new(Self { properties, attachment, config: config.clone() }))
    }

    /// Returns what the kernel said of the device when it was opened.
    pub fn properties(&self) -> &::af_xdp::Device {
        &self.properties
    }

    /// Returns how many queues need to be opened.
    pub fn queues(&self) -> u32 {
        self.properties.rx_queues
    }

    /// Returns where the program runs, and why not in the driver.
    fn attach_mode(&self) -> String {
        match (self.attachment.mode(), self.attachment.native_refusal()) {
            (AttachMode::Native, _) => "native".to_owned(),
            (AttachMode::Generic, None) => "generic".to_owned(),
            (AttachMode::Generic, Some(refusal)) => format!("generic (native: {refusal})"),
        }
    }
}

/// One queue of a device, used by one worker.
#[derive(Debug)]
pub struct AfXdpDevice {
    /// The socket.
    socket: Socket,
    /// The device; its program goes with the last queue.
    device: Arc<XdpDevice>,
    /// Turns since the last frame.
    idle_turns: u32,
    /// Whether the device is gone.
    vanished: bool,
    /// Calls for sending that the kernel refused, because the device is down for one.
    refused_kicks: u64,
}

impl AfXdpDevice {
    /// Opens one queue. Frames arrive after the first `flush`, which gives the kernel chunks to receive into.
    pub fn open(device: &Arc<XdpDevice>, queue: u32, umem: &Umem) -> Result<Self, Error> {
        let XdpConfig { zero_copy, multi_buffer, ring_frames, fill_frames, generic_only: _ } = device.config;
        let config = SocketConfig {
            rx_ring: ring_frames,
            tx_ring: ring_frames,
            fill_ring: ring_frames,
            completion_ring: ring_frames,
            fill_target: fill_frames,
            zero_copy,
            multi_buffer,
            // One system call must be able to empty the ring, or it fills up while the worker has other work.
            tx_budget: ring_frames,
        };
        let socket = Socket::bind(umem, device.properties.index, queue, &config)?;
        device.attachment.register(queue, &socket)?;
        let device = Arc::clone(device);
        Ok(Self { socket, device, idle_turns: 0, vanished: false, refused_kicks: 0 })
    }

    /// Opens all queues of a device, in their order.
    pub fn open_all(name: &str, umem: &Umem, config: &XdpConfig) -> Result<Vec<Self>, Error> {
        let device = XdpDevice::attach(name, config)?;
        (0..device.queues()).map(|queue| Self::open(&device, queue, umem)).collect()
    }

    /// Returns the device to which the queue belongs.
    pub fn device(&self) -> &Arc<XdpDevice> {
        &self.device
    }

    /// Returns the number of the queue.
    pub fn queue(&self) -> u32 {
        self.socket.queue()
    }

    /// Asks the kernel for its counters; costs a system call.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        self.socket.statistics()
    }

    /// Returns how often the kernel refused to send, because the device is down for one.
    pub fn refused_kicks(&self) -> u64 {
        self.refused_kicks
    }

    /// Looks whether the device is gone: the kernel leaves an error on the sockets of a device that it removes.
    fn look_for_device(&mut self) {
        let removed =
            rustix::net::sockopt::socket_error(self.socket.as_fd()).is_ok_and(|state| state.is_err());
        // A device that is only down leaves no error there, so asking once more is rare.
        self.vanished |= removed && ::af_xdp::Device::at(self.device.properties.index).is_err();
    }
}

impl Device for AfXdpDevice {
    fn mode(&self) -> String {
        let copies = match self.socket.mode() {
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
        };
        format!("af_xdp {} {copies}", self.device.attach_mode())
    }

    fn receive(&mut self, _pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let received = self.socket.receive(burst);
        self.idle_turns = if received == 0 { self.idle_turns + 1 } else { 0 };
        if self.idle_turns == IDLE_TURNS_BEFORE_ASKING {
            self.idle_turns = 0;
            self.look_for_device();
        }
        received
    }

    fn send(&mut self, _pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        // The kernel would take the frames of such a queue and never send them.
        if self.can_send() { self.socket.send(frames) } else { 0 }
    }

    fn can_send(&self) -> bool {
        self.socket.queue() < self.device.properties.tx_queues
    }

    fn flush(&mut self, pool: &mut FramePool) {
        // In copy mode the kernel sends within the call, so that what is sent can be taken back at once.
        if !self.vanished && self.socket.kick().is_err() {
            self.refused_kicks += 1;
        }
        self.socket.reclaim(pool);
        self.socket.refill(pool);
    }

    fn outstanding(&self) -> usize {
        let outstanding = self.socket.outstanding();
        outstanding.fill as usize + outstanding.tx as usize
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    /// Costs a system call.
    fn losses(&self) -> DeviceLosses {
        let kernel = self.socket.statistics().unwrap_or_default();
        let faults = self.socket.faults();
        DeviceLosses {
            receive_full: kernel.rx_ring_full + kernel.fill_ring_empty,
            invalid: kernel.rx_dropped
                + kernel.rx_invalid
                + kernel.tx_invalid
                + faults.ring_indices
                + faults.received_descriptors
                + faults.completions
                + faults.long_packets
                + faults.unsendable,
        }
    }

    fn is_finished(&self) -> bool {
        self.vanished
    }

    fn close(self: Box<Self>, pool: &mut FramePool) -> usize {
        let Self { socket, device, .. } = *self;
        let chunks = socket.close(pool);
        // The program outlives the socket, so that no frame passes between.
        drop(device);
        chunks as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_shared_out_so_that_half_of_it_can_be_sent() {
        for (slice_frames, queues) in [(8192, 2), (4096, 4), (1024, 4), (100_000, 3)] {
            let config = XdpConfig::for_slice(slice_frames, queues);
            assert!(config.fill_frames as usize * queues <= slice_frames / 2);
            assert!(config.fill_frames >= FILL_FRAMES_MIN && config.fill_frames <= config.ring_frames);
        }
        assert_eq!(XdpConfig::for_slice(16, 0).fill_frames, FILL_FRAMES_MIN);
        assert_eq!(XdpConfig::slice_frames_min(4), 1024);
    }

    #[test]
    fn a_missing_device_is_named() {
        let refused = XdpDevice::attach("no-such-device", &XdpConfig::default()).unwrap_err().to_string();
        assert!(refused.starts_with("device no-such-device: look up: "), "{refused}");
    }
}
