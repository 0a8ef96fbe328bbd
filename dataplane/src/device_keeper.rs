//! Which devices are open, and whose their queues are.
//!
//! The keeper opens devices off the workers, deals their queues out, and tells the workers by orders. A device that
//! vanishes gives its memory back by itself; the keeper takes it again when one of its name returns. When the
//! configuration is read again, devices come and go and the others are not touched: numbers are kept, because flows,
//! counters and bindings know devices by number.

mod reload;

pub use reload::ReloadError;

use crate::config::{Config, DEVICES_MAX, DeviceConfig, role_word};
use crate::device::Device;
use crate::device::af_xdp::{AfXdpDevice, FILL_FRAMES_MIN, XdpConfig, XdpDevice};
use crate::device::offload::{Source, frame_bytes_max};
use crate::device::topology::HostDevice;
use crate::reporter::{DeviceFacts, SharedFacts};
use crate::topology_commands::{self, UnsafeHost};
use crate::worker::{DeviceTraits, Known, Order, OrderDesk, Queue, WorkerSet};
use af_xdp::{FramePool, Umem};
use std::path::{Path, PathBuf};

/// Queues for which a slice is planned at least, so that devices which are added later find memory to receive into.
const QUEUES_PLANNED_MIN: usize = 8;

/// Why a device is not open.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The kernel refuses.
    #[error(transparent)]
    Device(#[from] af_xdp::Error),
    /// The host would not be safe.
    #[error(transparent)]
    Unsafe(#[from] UnsafeHost),
    /// There is too little packet memory for the devices.
    #[error("frames: {frames} are too few for {queues} queues and {workers} workers; {needed} are needed")]
    Frames {
        /// Frames of packet memory.
        frames: u32,
        /// Queues of all devices.
        queues: usize,
        /// Workers among which the frames are dealt.
        workers: u16,
        /// How many are needed.
        needed: usize,
    },
    /// A worker's slice has no memory left to receive into.
    #[error(
        "device {0}: no packet memory is left to receive into; more frames take effect at the next start"
    )]
    Slice(String),
    /// A worker does not do what it is told.
    #[error("worker {0} has not taken its orders")]
    Stuck(usize),
}

/// A device that is configured.
struct Entry {
    wanted: DeviceConfig,
    /// None of a device that vanished, or has not come yet.
    open: Option<Open>,
    /// Why it could not be opened last, so that it is said once.
    told: String,
}

/// What an open device takes.
struct Open {
    /// By worker: how many of its queues.
    queues: Vec<usize>,
    /// Chunks for receiving that each queue keeps.
    fill_frames: usize,
    /// What the workers were told.
    known: Known,
}

/// The devices of a configuration as they were found before the first was taken.
pub struct Found {
    devices: Vec<HostDevice>,
    /// Queues of all of them.
    queues: usize,
}

/// Opens devices, deals out their queues, and takes them again when they return.
pub struct DeviceKeeper {
    umem: Umem,
    /// Takes the memory of closed queues back, on its way home.
    pool: FramePool,
    desks: Vec<OrderDesk>,
    facts: SharedFacts,
    /// By number.
    entries: Vec<Option<Entry>>,
    /// By worker: chunks that its queues may still keep for receiving.
    spare_frames: Vec<usize>,
    /// Chunks for receiving that a queue is to have.
    fill_frames: usize,
    /// By worker: queues dealt to it.
    dealt: Vec<usize>,
    slice_frames: usize,
    /// What was read last, and where.
    config: Option<(Config, PathBuf)>,
}

impl DeviceKeeper {
    /// Returns a keeper without devices. `slice_frames` is the size of the smallest worker's slice.
    pub fn new(umem: Umem, slice_frames: usize, desks: Vec<OrderDesk>, facts: SharedFacts) -> Self {
        let workers = desks.len();
        Self {
            pool: umem.visiting_pool(),
            umem,
            desks,
            facts,
            entries: (0..DEVICES_MAX).map(|_| None).collect(),
            // The other half is for sending, holding and copying.
            spare_frames: vec![slice_frames / 2; workers],
            fill_frames: 0,
            dealt: vec![0; workers],
            slice_frames,
            config: None,
        }
    }

    /// Refuses a configuration that would make the host unsafe or that its devices do not fit, before anything is taken.
    /// Returns what was found, for [`Self::take_all`].
    pub fn check(config: &Config) -> Result<Found, KeepError> {
        let checked = topology_commands::check(&config.devices, config.take_uplink)?;
        let mut queues = 0;
        for device in &config.devices {
            queues += af_xdp::Device::named(&device.name)?.rx_queues as usize;
        }
        let workers = usize::from(config.workers);
        let needed = XdpConfig::slice_frames_min(queues.div_ceil(workers)) * workers;
        if (config.frames as usize) < needed {
            return Err(KeepError::Frames { frames: config.frames, queues, workers: config.workers, needed });
        }
        checked.caution();
        Ok(Found { devices: checked.devices, queues })
    }

    /// Opens every device of the configuration; one that cannot be opened ends the start.
    pub fn take_all(&mut self, config: &Config, path: &Path, found: &Found) -> Result<(), KeepError> {
        let planned = found.queues.div_ceil(self.desks.len()).max(QUEUES_PLANNED_MIN);
        self.fill_frames = XdpConfig::for_slice(self.slice_frames, planned).fill_frames as usize;
        for (number, (device, found)) in config.devices.iter().zip(&found.devices).enumerate() {
            self.entries[number] = Some(Entry { wanted: device.clone(), open: None, told: String::new() });
            self.open(number, found)?;
        }
        self.config = Some((config.clone(), path.to_owned()));
        Ok(())
    }

    /// Lets go of devices that vanished and takes those that returned.
    pub fn look(&mut self) {
        self.close_retired();
        for worker in 0..self.desks.len() {
            while let Some(number) = self.desks[worker].take_vanished() {
                self.lose(number.into());
            }
        }
        for number in 0..self.entries.len() {
            let Some(Entry { wanted, open: None, .. }) = &self.entries[number] else { continue };
            // Looked for by name first: asking for all devices of a host that has thousands is dear.
            if af_xdp::Device::named(&wanted.name).is_err() {
                continue;
            }
            let take_uplink = self.config.as_ref().is_some_and(|(config, _)| config.take_uplink);
            let opened = topology_commands::check(std::slice::from_ref(wanted), take_uplink)
                .map_err(KeepError::from)
                .and_then(|found| self.open(number, &found.devices[0]));
            self.tell(number, opened.err());
        }
    }

    /// Closes the queues that workers handed back, and sends their memory home. The kernel may take up to a second to let
    /// go of one: that holds up who talks to control, and no worker.
    fn close_retired(&mut self) {
        for desk in &self.desks {
            desk.close_retired(&mut self.pool);
        }
        while let Some(frame) = self.pool.take_foreign() {
            let home = self.pool.home_of(&frame) as usize;
            self.desks[home].send_home(frame);
        }
    }

    /// Says once why a device that is there is not taken.
    fn tell(&mut self, number: usize, error: Option<KeepError>) {
        let Some(entry) = &mut self.entries[number] else { return };
        let text = error.map_or_else(String::new, |error| error.to_string());
        if text != entry.told && !text.is_empty() {
            tracing::warn!(device = %entry.wanted.name, error = %text, "device not taken");
        }
        entry.told = text;
    }

    /// Opens a device, deals its queues out and tells the workers.
    fn open(&mut self, number: usize, found: &HostDevice) -> Result<(), KeepError> {
        let Some(entry) = &self.entries[number] else { return Ok(()) };
        let wanted = entry.wanted.clone();
        let device_number = u16::try_from(number).unwrap_or(u16::MAX);
        let queues = af_xdp::Device::named(&wanted.name)?.rx_queues as usize;
        let deal = self.deal(queues);
        let spare = deal.iter().map(|worker| {
            let share = deal.iter().filter(|other| *other == worker).count();
            self.spare_frames[*worker] / share
        });
        let fill_frames = spare.min().unwrap_or(0).min(self.fill_frames);
        if fill_frames < FILL_FRAMES_MIN as usize {
            return Err(KeepError::Slice(wanted.name));
        }
        let xdp =
            XdpConfig { fill_frames: u32::try_from(fill_frames).unwrap_or(u32::MAX), ..XdpConfig::default() };
        let device = XdpDevice::attach(&wanted.name, &xdp)?;
        let opened = (0..device.queues())
            .map(|queue| AfXdpDevice::open(&device, queue, &self.umem))
            .collect::<Result<Vec<_>, _>>()?;
        let traits = DeviceTraits {
            may_be_partial: wanted.may_be_partial(),
            frame_bytes_max: frame_bytes_max(found.mtu_bytes),
        };
        let mut senders = WorkerSet::default();
        for (queue, worker) in opened.iter().zip(&deal).filter(|(queue, _)| queue.can_send()) {
            debug_assert!((queue.queue() as usize) < queues, "queues are opened in their order");
            senders.insert(*worker);
        }
        let facts = facts_of(&wanted, found, opened.first());
        tracing::info!(device = %wanted.name, role = role_word(wanted.role), mode = %facts.mode, queues, "device taken");
        self.facts.set(number, Some(facts));
        let known = Known { traits, senders };
        self.order_all(|| Order::Know(device_number, Some(known)))?;
        let mut queues_of = vec![0; self.desks.len()];
        for (queue, worker) in opened.into_iter().zip(deal) {
            queues_of[worker] += 1;
            self.order(worker, Order::Attach(Queue::new(Box::new(queue), device_number)))?;
        }
        self.book(number, Open { queues: queues_of, fill_frames, known });
        Ok(())
    }

    /// Notes what an open device takes of each worker.
    fn book(&mut self, number: usize, open: Open) {
        for (worker, queues) in open.queues.iter().enumerate() {
            self.dealt[worker] += queues;
            self.spare_frames[worker] -= queues * open.fill_frames;
        }
        if let Some(entry) = &mut self.entries[number] {
            entry.open = Some(open);
        }
    }

    /// Notes that a device is no longer open.
    fn unbook(&mut self, number: usize) -> bool {
        let Some(open) = self.entries[number].as_mut().and_then(|entry| entry.open.take()) else {
            return false;
        };
        for (worker, queues) in open.queues.iter().enumerate() {
            self.dealt[worker] -= queues;
            self.spare_frames[worker] += queues * open.fill_frames;
        }
        true
    }

    /// A device vanished: what is left of it is closed, and nothing is sent to it any more.
    fn lose(&mut self, number: usize) {
        if !self.unbook(number) {
            return;
        }
        let Some(entry) = &self.entries[number] else { return };
        tracing::warn!(device = %entry.wanted.name, "device vanished; it is taken again when it returns");
        let closed = DeviceFacts {
            name: entry.wanted.name.clone(),
            role: role_word(entry.wanted.role).to_owned(),
            mode: "absent".to_owned(),
            source: Source::of_kind(""),
            frame_bytes_max: 0,
            is_open: false,
        };
        self.facts.set(number, Some(closed));
        if let Err(error) = self.withdraw(number) {
            tracing::error!(%error, "device not let go");
        }
    }

    /// Tells the workers that there is no such device any more.
    fn withdraw(&mut self, number: usize) -> Result<(), KeepError> {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        self.order_all(|| Order::Know(number, None))?;
        self.order_all(|| Order::Detach(number))
    }

    /// Returns, for each of so many queues, the worker that has least to do so far.
    fn deal(&self, queues: usize) -> Vec<usize> {
        let mut dealt = self.dealt.clone();
        let least = |dealt: &mut Vec<usize>| {
            let worker = (0..dealt.len()).min_by_key(|worker| dealt[*worker]).unwrap_or(0);
            dealt[worker] += 1;
            worker
        };
        (0..queues).map(|_| least(&mut dealt)).collect()
    }

    fn order_all(&mut self, order: impl Fn() -> Order) -> Result<(), KeepError> {
        (0..self.desks.len()).try_for_each(|worker| self.order(worker, order()))
    }

    fn order(&mut self, worker: usize, order: Order) -> Result<(), KeepError> {
        self.desks[worker].give(order).map_err(|_| KeepError::Stuck(worker))
    }
}

fn facts_of(wanted: &DeviceConfig, found: &HostDevice, first: Option<&AfXdpDevice>) -> DeviceFacts {
    DeviceFacts {
        name: wanted.name.clone(),
        role: role_word(wanted.role).to_owned(),
        mode: first.map_or_else(|| "no queue".to_owned(), AfXdpDevice::mode),
        source: Source::of_kind(&found.kind),
        frame_bytes_max: frame_bytes_max(found.mtu_bytes),
        is_open: true,
    }
}
