//! A forwarder between two devices, as small as one can be, that passes partial checksums on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use af_xdp::{
    AttachConfig, AttachMode, Attachment, Device, Frame, FramePool, Outstanding, Socket, SocketConfig, Umem,
    UmemConfig,
};

#[path = "../../../examples/forward/partial_checksum.rs"]
mod partial_checksum;

pub use partial_checksum::partial_checksum;

/// One device with all of its queues.
pub struct Side {
    /// Keeps the program attached.
    _attachment: Attachment,
    /// One socket for each queue.
    pub sockets: Vec<Socket>,
    /// Packets waiting for the sockets.
    pub queued: Vec<VecDeque<Frame>>,
}

impl Side {
    /// Opens every queue of a device.
    pub fn open(umem: &Umem, pool: &mut FramePool, device: &str, config: &SocketConfig) -> Side {
        let device = Device::named(device).unwrap();
        let attach = AttachConfig { multi_buffer: config.multi_buffer, ..AttachConfig::default() };
        let attachment = Attachment::new(device.index, device.rx_queues, &attach).unwrap();
        assert_eq!(attachment.mode(), AttachMode::Native, "{:?}", attachment.native_refusal());
        let sockets: Vec<_> = (0..device.rx_queues)
            .map(|queue| {
                let mut socket = Socket::bind(umem, device.index, queue, config).unwrap();
                socket.refill(pool);
                attachment.register(queue, &socket).unwrap();
                socket
            })
            .collect();
        let queued = sockets.iter().map(|_| VecDeque::with_capacity(256)).collect();
        Side { _attachment: attachment, sockets, queued }
    }

    /// Returns the sum over all sockets.
    pub fn outstanding(&self) -> Outstanding {
        self.sockets.iter().map(Socket::outstanding).fold(Outstanding::default(), |sum, part| Outstanding {
            fill: sum.fill + part.fill,
            tx: sum.tx + part.tx,
        })
    }
}

/// Two devices and the memory.
pub struct Forwarder {
    /// Both devices.
    pub sides: [Side; 2],
    /// All chunks.
    pub pool: FramePool,
    /// Packets taken from each side.
    pub packets: [usize; 2],
    /// Packets among them whose checksum was partial.
    pub partial: usize,
    /// Largest number of chunks in one packet.
    pub chunks_max: usize,
    /// Received packets of one turn.
    burst: Vec<Frame>,
}

impl Forwarder {
    /// Opens both devices.
    pub fn open(memory: &UmemConfig, devices: [&str; 2], config: &SocketConfig) -> Forwarder {
        let (umem, mut pools) = Umem::new(memory).unwrap();
        let mut pool = pools.remove(0);
        let sides = devices.map(|device| Side::open(&umem, &mut pool, device, config));
        Forwarder { sides, pool, packets: [0; 2], partial: 0, chunks_max: 0, burst: Vec::with_capacity(64) }
    }

    /// Moves what there is to move once; returns how many packets.
    pub fn turn(&mut self) -> usize {
        let mut moved = 0;
        for from in 0..2 {
            let (first, second) = self.sides.split_at_mut(1);
            let (source, target) =
                if from == 0 { (&mut first[0], &mut second[0]) } else { (&mut second[0], &mut first[0]) };
            for (queue, socket) in source.sockets.iter_mut().enumerate() {
                moved += socket.receive(&mut self.burst);
                for mut frame in self.burst.drain(..) {
                    self.packets[from] += 1;
                    self.chunks_max = self.chunks_max.max(frame.chunks());
                    if let Some((start, offset)) = partial_checksum(self.pool.bytes(&frame)) {
                        frame.request_checksum(start, offset);
                        self.partial += 1;
                    }
                    let outlet = queue % target.sockets.len();
                    if target.queued[outlet].len() < 256 {
                        target.queued[outlet].push_back(frame);
                    } else {
                        self.pool.release(frame);
                    }
                }
            }
        }
        for side in &mut self.sides {
            for (socket, queued) in side.sockets.iter_mut().zip(&mut side.queued) {
                socket.reclaim(&mut self.pool);
                socket.send(queued);
                socket.kick().unwrap();
                socket.reclaim(&mut self.pool);
                socket.refill(&mut self.pool);
            }
        }
        moved
    }

    /// Asserts that every chunk is accounted for and that nothing was refused.
    pub fn check_books(&self) {
        let queued: usize =
            self.sides.iter().flat_map(|side| &side.queued).flatten().map(Frame::chunks).sum();
        let lent: u32 = self.sides.iter().map(Side::outstanding).map(|sum| sum.fill + sum.tx).sum();
        let total = self.pool.free_frames() + queued + lent as usize;
        assert_eq!(total, self.pool.frames_in_slice());
        for socket in self.sides.iter().flat_map(|side| &side.sockets) {
            assert_eq!(socket.faults(), af_xdp::Faults::default());
            let statistics = socket.statistics().unwrap();
            assert_eq!((statistics.rx_invalid, statistics.tx_invalid), (0, 0));
        }
    }

    /// Forwards in a thread of its own, which lives in the calling thread's namespace.
    pub fn start(self) -> Moving {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&turns));
        let thread = std::thread::spawn(move || {
            let mut forwarder = self;
            while !stopped.load(Ordering::Relaxed) {
                if forwarder.turn() == 0 {
                    std::thread::yield_now();
                }
                if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(4096) {
                    forwarder.check_books();
                }
            }
            forwarder
        });
        Moving { stop, thread }
    }
}

/// A forwarder at work.
pub struct Moving {
    /// Ends it.
    stop: Arc<AtomicBool>,
    /// Where it works.
    thread: JoinHandle<Forwarder>,
}

impl Moving {
    /// Ends it and takes it back.
    pub fn stop(self) -> Forwarder {
        self.stop.store(true, Ordering::Relaxed);
        let forwarder = self.thread.join().unwrap();
        forwarder.check_books();
        forwarder
    }
}
