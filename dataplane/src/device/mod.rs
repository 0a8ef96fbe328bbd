//! Where frames come from and go to.
//!
//! A device moves whole frames and knows nothing of policy. All frames live in one packet memory ([`::af_xdp::Umem`]);
//! a device borrows the worker's [`FramePool`] for the length of a call and owns the frames it was given until they
//! come back through `receive` or the pool.

pub mod af_xdp;
pub mod checksum;
pub mod faulty;
pub mod looped;
pub mod memory;
mod netlink;
pub mod offload;
pub mod pcap;
pub mod prepare;
pub mod topology;

use ::af_xdp::{Frame, FramePool};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// Frames taken from a device in one turn. 64 headers of 128 bytes fill a quarter of a 32 KiB first-level cache.
pub const BURST_FRAMES: usize = 64;

/// A source and sink of frames, used by one worker only.
pub trait Device: Send {
    /// Returns how the device moves frames, for people: `af_xdp native copy`, `pcap`, `memory`.
    fn mode(&self) -> String;

    /// Moves received frames to the end of `burst`, never beyond its capacity, and returns how many. Never waits.
    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize;

    /// Takes frames for sending from the front of `frames`, as many whole ones as there is room for. Never waits.
    fn send(&mut self, pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize;

    /// Returns whether frames can be sent by this queue: a device may have more queues to receive than to send.
    fn can_send(&self) -> bool {
        true
    }

    /// Pushes out what was sent, takes back what is done, and gives the device room to receive. Called once a turn.
    fn flush(&mut self, pool: &mut FramePool);

    /// Returns how many frames (chunks) of packet memory are with the device: to be filled, to be sent, to come back.
    fn outstanding(&self) -> usize;

    /// Returns the descriptor that becomes readable when frames arrive; none if only asking tells.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Returns the time at which the newest burst arrived, nanoseconds since 1970, where the device knows better than
    /// the clock: a capture being replayed.
    fn burst_time_ns(&self) -> Option<u64> {
        None
    }

    /// Returns what the device itself lost or refused.
    fn losses(&self) -> DeviceLosses {
        DeviceLosses::default()
    }

    /// Returns whether the device will never deliver another frame: the end of a capture, a device that vanished.
    fn is_finished(&self) -> bool {
        false
    }

    /// Gives every frame back and ends the device; returns how many (chunks) came back.
    fn close(self: Box<Self>, pool: &mut FramePool) -> usize;
}

/// What a device lost, counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceLosses {
    /// Frames that arrived and found no room.
    pub receive_full: u64,
    /// Descriptors that the kernel refused.
    pub invalid: u64,
}
