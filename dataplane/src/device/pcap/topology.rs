//! Deals the frames of one capture out to several devices.
//!
//! A frame enters the dataplane by the device of the endpoint whose MAC it carries as its source, and by the uplink
//! when no endpoint has that MAC. One reader stands behind all devices, and a device receives only while the next
//! frame of the capture is its own; so the order of time holds across devices, whichever workers have them.

use super::device::PcapDevice;
use super::reader::{CaptureCounts, CaptureReader};
use super::writer::PcapWriter;
use af_xdp::{Frame, FrameError, FramePool};
use hashbrown::HashMap;
use meshgate_policy::Mac;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest time between the first and the last frame of a burst: all have the first one's time, so this is how far a
/// time may be wrong. One tick of the flow table's wheel is far longer.
const BURST_SPAN_NS: u64 = 1_000_000;

/// Frames for no device that are passed over in one turn.
const SKIPPED_FRAMES_A_TURN: usize = 1024;

/// Most endpoint MACs of one replay: what a segment of a /12 has.
const MACS_MAX: usize = 1 << 20;

/// Why a replay cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Two devices have one name.
    #[error("device {0} is named twice")]
    Repeated(String),
    /// Two devices would take the frames of unknown senders.
    #[error("both {0} and {1} are uplinks; a capture has one")]
    TwoUplinks(String, String),
    /// A MAC was given to two devices.
    #[error("MAC {mac} belongs to device {first} and device {second}")]
    MacTwice {
        /// The MAC.
        mac: Mac,
        /// The device that has it.
        first: String,
        /// The device that also wants it.
        second: String,
    },
    /// A group MAC was given to a device.
    #[error("MAC {mac} of device {device} is a group address and sends nothing")]
    GroupMac {
        /// The MAC.
        mac: Mac,
        /// The device.
        device: String,
    },
    /// A name that no device of the replay has.
    #[error("no device {0} in this replay")]
    UnknownDevice(String),
    /// There are more MACs than a replay keeps.
    #[error("more than {MACS_MAX} endpoint MACs in one replay")]
    TooManyMacs,
}

/// The devices of a replay before it begins.
#[derive(Default)]
pub struct PcapTopology {
    /// Names of the devices, in the order of their numbers.
    names: Vec<String>,
    /// Where each device writes what it is sent.
    writers: Vec<Option<PcapWriter>>,
    /// Device of each endpoint.
    macs: HashMap<Mac, usize>,
    /// Device of all other senders.
    uplink: Option<usize>,
}

impl PcapTopology {
    /// Returns a topology without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the device of some endpoints.
    pub fn endpoint_device(&mut self, name: &str, macs: &[Mac]) -> Result<(), ReplayError> {
        let device = self.add(name)?;
        macs.iter().try_for_each(|&mac| self.assign(mac, device))
    }

    /// Adds the device of everybody else.
    pub fn uplink(&mut self, name: &str) -> Result<(), ReplayError> {
        if let Some(first) = self.uplink {
            return Err(ReplayError::TwoUplinks(self.names[first].clone(), name.to_owned()));
        }
        self.uplink = Some(self.add(name)?);
        Ok(())
    }

    /// Has what a device is sent written into a file.
    pub fn write_sent(&mut self, name: &str, writer: PcapWriter) -> Result<(), ReplayError> {
        let device = self.device(name)?;
        self.writers[device] = Some(writer);
        Ok(())
    }

    /// Begins: returns the devices in the order in which they were added, and what watches over the replay.
    pub fn open(self, reader: CaptureReader) -> (Vec<PcapDevice>, ReplayHandle) {
        let Self { names, writers, macs, uplink } = self;
        let topology = Self { writers: Vec::new(), names: names.clone(), macs, uplink };
        let feed = Feed {
            closed: vec![false; names.len()],
            reader,
            topology,
            bytes: Vec::new(),
            next: None,
            newest_ns: 0,
            skipped_frames: 0,
        };
        let shared = Arc::new(Shared {
            feed: Mutex::new(feed),
            newest_ns: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let devices = writers
            .into_iter()
            .enumerate()
            .map(|(device, writer)| PcapDevice::new(Arc::clone(&shared), device, writer))
            .collect();
        (devices, ReplayHandle { shared })
    }

    /// Gives a device its number.
    fn add(&mut self, name: &str) -> Result<usize, ReplayError> {
        if self.device(name).is_ok() {
            return Err(ReplayError::Repeated(name.to_owned()));
        }
        self.names.push(name.to_owned());
        self.writers.push(None);
        Ok(self.names.len() - 1)
    }

    /// Finds a device by its name.
    fn device(&self, name: &str) -> Result<usize, ReplayError> {
        let found = self.names.iter().position(|other| other == name);
        found.ok_or_else(|| ReplayError::UnknownDevice(name.to_owned()))
    }

    /// Gives a device one more endpoint.
    fn assign(&mut self, mac: Mac, device: usize) -> Result<(), ReplayError> {
        if mac.is_group() {
            return Err(ReplayError::GroupMac { mac, device: self.names[device].clone() });
        }
        match self.macs.get(&mac) {
            Some(&first) if first != device => Err(ReplayError::MacTwice {
                mac,
                first: self.names[first].clone(),
                second: self.names[device].clone(),
            }),
            None if self.macs.len() == MACS_MAX => Err(ReplayError::TooManyMacs),
            _ => {
                self.macs.insert(mac, device);
                Ok(())
            }
        }
    }

    /// Returns the device by which a frame enters.
    fn ingress(&self, frame: &[u8]) -> Option<usize> {
        let source = frame.get(6..12).and_then(|mac| <[u8; 6]>::try_from(mac).ok());
        source.and_then(|mac| self.macs.get(&Mac(mac)).copied()).or(self.uplink)
    }
}

/// Watches over a replay, beside its devices.
#[derive(Clone)]
pub struct ReplayHandle {
    /// What the devices share.
    shared: Arc<Shared>,
}

/// What became of a capture's frames so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayCounts {
    /// What was met in the file.
    pub capture: CaptureCounts,
    /// Frames whose sender has no device, because there is no uplink or the device is closed.
    pub skipped_frames: u64,
}

impl ReplayHandle {
    /// Gives a device one more endpoint, as a new policy may.
    pub fn assign(&self, mac: Mac, device: &str) -> Result<(), ReplayError> {
        let topology = &mut self.shared.lock().topology;
        let device = topology.device(device)?;
        topology.assign(mac, device)
    }

    /// Returns what became of the frames so far.
    pub fn counts(&self) -> ReplayCounts {
        let feed = self.shared.lock();
        ReplayCounts { capture: feed.reader.counts(), skipped_frames: feed.skipped_frames }
    }
}

/// What the devices of one replay share.
pub(super) struct Shared {
    /// The capture. Workers only try for the lock.
    feed: Mutex<Feed>,
    /// Time of the newest frame that a device received.
    newest_ns: AtomicU64,
    /// Whether the capture is at its end.
    ended: AtomicBool,
}

/// The capture and the frame at its head.
struct Feed {
    /// The capture.
    reader: CaptureReader,
    /// Who gets what.
    topology: PcapTopology,
    /// Devices that take nothing any more.
    closed: Vec<bool>,
    /// Bytes of the next frame.
    bytes: Vec<u8>,
    /// Whose the next frame is, and its time.
    next: Option<(usize, u64)>,
    /// Latest time so far: captures are not always in order, but time may not run backwards.
    newest_ns: u64,
    /// Frames for nobody.
    skipped_frames: u64,
}

impl Shared {
    /// Moves the frames at the head of the capture that belong to a device into its burst; returns how many, and
    /// how many were no frames for packet memory.
    pub(super) fn receive(&self, device: usize, pool: &mut FramePool, burst: &mut Vec<Frame>) -> Received {
        let mut received = Received::default();
        let Ok(mut feed) = self.feed.try_lock() else { return received };
        while burst.len() < burst.capacity() {
            let Some(time_ns) = feed.peek(device) else { break };
            let first_ns = *received.time_ns.get_or_insert(time_ns);
            if time_ns - first_ns > BURST_SPAN_NS {
                break;
            }
            match write(pool, &feed.bytes) {
                Ok(frame) => {
                    burst.push(frame);
                    received.frames += 1;
                }
                Err(FrameError::OutOfFrames) => break,
                Err(FrameError::TooLong { .. }) => received.invalid += 1,
            }
            feed.next = None;
        }
        if let Some(time_ns) = received.time_ns {
            self.newest_ns.store(time_ns, Ordering::Release);
        }
        if feed.next.is_none() && feed.reader.counts().end.is_some() {
            self.ended.store(true, Ordering::Release);
        }
        received
    }

    /// Returns the time of the newest burst of any device; none before the first.
    pub(super) fn newest_ns(&self) -> Option<u64> {
        Some(self.newest_ns.load(Ordering::Acquire)).filter(|&time_ns| time_ns != 0)
    }

    /// Returns whether every frame of the capture has been delivered.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes a device out; its frames are passed over, or they would hold up all others.
    pub(super) fn close(&self, device: usize) {
        let mut feed = self.lock();
        feed.closed[device] = true;
        if feed.next.is_some_and(|(owner, _)| owner == device) {
            feed.next = None;
            feed.skipped_frames += 1;
        }
    }

    /// Waits for the feed; never on a worker's turn.
    fn lock(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one turn of a device brought.
#[derive(Default)]
pub(super) struct Received {
    /// Frames in the burst.
    pub(super) frames: usize,
    /// Frames that packet memory cannot hold.
    pub(super) invalid: u64,
    /// Time of the first.
    pub(super) time_ns: Option<u64>,
}

/// Writes bytes into a new frame.
fn write(pool: &mut FramePool, bytes: &[u8]) -> Result<Frame, FrameError> {
    let mut frame = pool.allocate().ok_or(FrameError::OutOfFrames)?;
    match pool.write_chunks(&mut frame, bytes) {
        Ok(()) => Ok(frame),
        Err(error) => {
            pool.release(frame);
            Err(error)
        }
    }
}

impl Feed {
    /// Returns the time of the next frame if it is the device's.
    fn peek(&mut self, device: usize) -> Option<u64> {
        for _ in 0..SKIPPED_FRAMES_A_TURN {
            if self.next.is_some() {
                break;
            }
            let frame = self.reader.next_frame(&mut self.bytes)?;
            self.newest_ns = self.newest_ns.max(frame.time_ns);
            let owner = self.topology.ingress(&self.bytes).filter(|&owner| !self.closed[owner]);
            self.next = owner.map(|owner| (owner, self.newest_ns));
            self.skipped_frames += u64::from(owner.is_none());
        }
        self.next.filter(|&(owner, _)| owner == device).map(|(_, time_ns)| time_ns)
    }
}
