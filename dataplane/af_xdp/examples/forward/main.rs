//! Forwards everything between two devices and prints counters every second: the smallest program on this crate that
//! is of use, for trying devices out and for measuring.
//!
//! `forward DEVICE DEVICE [SECONDS]`, as root. Both devices must be up, and nothing else should use them. One thread
//! serves all queues of both and spins.

#![forbid(unsafe_code)]

mod partial_checksum;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use af_xdp::{
    AttachConfig, AttachMode, Attachment, Device, Error, Frame, FramePool, Socket, SocketConfig, Umem,
    UmemConfig, prefetch,
};

/// Packets taken from a queue in one turn, and the most that wait for a queue to send.
const BURST_FRAMES: usize = 64;

/// Turns between two looks at the clock.
const TURNS_PER_LOOK: u32 = 1024;

/// One device with a socket for each queue.
struct Side {
    /// The name.
    name: String,
    /// Keeps the program attached.
    _attachment: Attachment,
    /// The sockets.
    sockets: Vec<Socket>,
    /// Packets that wait for each socket.
    queued: Vec<VecDeque<Frame>>,
    /// Packets received.
    received: u64,
    /// Packets that found the other side's queue full.
    dropped: u64,
}

impl Side {
    /// Opens all queues of a device and says in which modes.
    #[expect(clippy::print_stdout, reason = "this program exists to print")]
    fn open(umem: &Umem, pool: &mut FramePool, name: &str) -> Result<Side, Error> {
        let device = Device::named(name)?;
        let multi_buffer = device.mtu_bytes > 1500;
        let attach = AttachConfig { multi_buffer, ..AttachConfig::default() };
        let attachment = Attachment::new(device.index, device.rx_queues, &attach)?;
        let config = SocketConfig { multi_buffer, zero_copy: true, ..SocketConfig::default() };
        let mut sockets = Vec::new();
        for queue in 0..device.rx_queues {
            let mut socket = Socket::bind(umem, device.index, queue, &config)?;
            socket.refill(pool);
            attachment.register(queue, &socket)?;
            sockets.push(socket);
        }
        let program = match attachment.native_refusal() {
            None => "native".to_owned(),
            Some(refusal) => format!("generic, because native is refused: {refusal}"),
        };
        assert_eq!(attachment.native_refusal().is_none(), attachment.mode() == AttachMode::Native);
        println!("{name}: {} queues, program {program}, sockets {:?}", sockets.len(), sockets[0].mode());
        let queued = sockets.iter().map(|_| VecDeque::with_capacity(BURST_FRAMES)).collect();
        Ok(Side { name: name.to_owned(), _attachment: attachment, sockets, queued, received: 0, dropped: 0 })
    }

    /// Sends what waits, takes back what was sent, and gives chunks for receiving.
    fn serve(&mut self, pool: &mut FramePool) -> Result<(), Error> {
        for (socket, queued) in self.sockets.iter_mut().zip(&mut self.queued) {
            socket.reclaim(pool);
            socket.send(queued);
            socket.kick()?;
            socket.refill(pool);
        }
        Ok(())
    }

    /// Returns the packets that the kernel dropped because this program was too slow.
    fn overruns(&self) -> Result<u64, Error> {
        self.sockets.iter().try_fold(0, |sum, socket| {
            let statistics = socket.statistics()?;
            Ok(sum + statistics.rx_ring_full + statistics.fill_ring_empty)
        })
    }
}

/// Moves one burst of each queue of `source` to the same queue of `target`.
fn forward(source: &mut Side, target: &mut Side, pool: &mut FramePool, burst: &mut Vec<Frame>) {
    for (queue, socket) in source.sockets.iter_mut().enumerate() {
        source.received += socket.receive(burst) as u64;
        burst.iter().for_each(|frame| prefetch(pool.bytes(frame)));
        let outlet = queue % target.queued.len();
        for mut frame in burst.drain(..) {
            if let Some((start, offset)) = partial_checksum::partial_checksum(pool.bytes(&frame)) {
                frame.request_checksum(start, offset);
            }
            if target.queued[outlet].len() < BURST_FRAMES {
                target.queued[outlet].push_back(frame);
            } else {
                source.dropped += 1;
                pool.release(frame);
            }
        }
    }
}

/// Forwards for the given time, or until killed.
#[expect(clippy::print_stdout, reason = "this program exists to print")]
fn run(first: &str, second: &str, seconds: Option<u64>) -> Result<(), Error> {
    let (umem, mut pools) = Umem::new(&UmemConfig { frames_total: 16_384, ..UmemConfig::default() })?;
    let mut pool = pools.remove(0);
    let mut left = Side::open(&umem, &mut pool, first)?;
    let mut right = Side::open(&umem, &mut pool, second)?;
    let mut burst = Vec::with_capacity(BURST_FRAMES);
    let started = Instant::now();
    let mut printed = started;
    let mut before = [0, 0];
    loop {
        for _ in 0..TURNS_PER_LOOK {
            forward(&mut left, &mut right, &mut pool, &mut burst);
            right.serve(&mut pool)?;
            forward(&mut right, &mut left, &mut pool, &mut burst);
            left.serve(&mut pool)?;
        }
        let elapsed = printed.elapsed();
        if elapsed >= Duration::from_secs(1) {
            for (side, before) in [&left, &right].into_iter().zip(&mut before) {
                let rate =
                    (side.received - *before) * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                let overruns = side.overruns()?;
                println!(
                    "{}: {rate} packets/s, {} dropped here, {overruns} by the kernel",
                    side.name, side.dropped
                );
                *before = side.received;
            }
            printed = Instant::now();
        }
        if seconds.is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds)) {
            return Ok(());
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where a program says what went wrong")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.get(2).map(|text| text.parse()).transpose();
    let ([first, second] | [first, second, _], Ok(seconds)) = (arguments.as_slice(), seconds) else {
        eprintln!("usage: forward DEVICE DEVICE [SECONDS]");
        return ExitCode::from(2);
    };
    match run(first, second, seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
