//! Plays a virtual machine at a tap: what its kernel sends by its own device arrives on the host's tap as from an
//! emulator, header for offloads included, and the other way round.
//!
//! The guest's device is a tap as well, in the guest's namespace; a thread copies between the two descriptors.

use af_xdp::{TapOffloads, open_tap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The longest frame with segmentation left to others, and the header before it.
const FRAME_BYTES_MAX: usize = 65_536 + 64;
/// Longest time until a guest sees that it is to end.
const POLL_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Who cuts long TCP data into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// The guest's kernel, before the frame leaves it.
    InGuest,
    /// Whoever is behind the guest's device.
    Below,
}

/// Opens a tap of the calling thread's namespace that leaves checksums to others, and segmentation if wanted.
pub fn open(name: &str, segmentation: Segmentation) -> File {
    let offloads = match segmentation {
        Segmentation::InGuest => TapOffloads::Checksums,
        Segmentation::Below => TapOffloads::Segmentation,
    };
    open_tap(name, offloads).unwrap()
}

/// A running guest; it ends when dropped.
pub struct Guest {
    stopping: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    /// Copies between the two taps until dropped.
    pub fn start(host: File, guest: File) -> Self {
        let (stopping, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, seen) = (Arc::clone(&stopping), Arc::clone(&longest));
        let work = move || {
            let mut buffer = vec![0; FRAME_BYTES_MAX];
            while !stop.load(Ordering::Acquire) {
                let sent = copy(&guest, &host, &mut buffer);
                seen.fetch_max(sent as u64, Ordering::Relaxed);
                if sent + copy(&host, &guest, &mut buffer) == 0 {
                    let wanted = |tap| PollFd::new(tap, PollFlags::IN);
                    // An interrupted wait is a short one.
                    let _ = poll(&mut [wanted(&host), wanted(&guest)], Some(&POLL_MAX));
                }
            }
        };
        Self { stopping, longest, thread: Some(std::thread::spawn(work)) }
    }

    /// Returns how long the longest frame was that the guest sent, with the header for offloads.
    pub fn longest_sent_bytes(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // A guest that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Moves the frames that wait, at most some, and returns how long the longest was.
fn copy(mut from: &File, mut to: &File, buffer: &mut [u8]) -> usize {
    let mut longest = 0;
    for _ in 0..64 {
        let Ok(bytes) = from.read(buffer) else { break };
        longest = longest.max(bytes);
        // A device that is down or full loses the frame, as a cable would.
        let _ = to.write(&buffer[..bytes]);
    }
    longest
}
