//! Measures the ring between two processes: records a second when the consumer keeps up, and the cost of an offer when
//! it does not. Run in release mode:
//!
//! ```text
//! cargo run --release -p flow_ring --example throughput [MILLION_RECORDS [SLOTS]]
//! ```
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;
use std::fmt;
use std::hint::black_box;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flow_ring::{
    Accepted, AllowedUids, Consumer, HostName, Listener, Producer, RingConfig, connect, receive,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Set in the consumer's process: the socket's path.
const SOCKET: &str = "FLOW_RING_SOCKET";
/// Set in the consumer's process: the bytes of a record.
const RECORD_BYTES: &str = "FLOW_RING_RECORD_BYTES";
/// Slots of the ring unless told otherwise: 8 MiB of 128-byte records. Where other programs use the cores as well, the two
/// processes take turns, and a ring this small measures the scheduler: give it a million slots there.
const SLOTS: u64 = 1 << 16;
/// Records taken at once: 128 KiB of 128-byte records, which fits into a second-level cache.
const BATCH_RECORDS: usize = 1024;
/// Turns of each measurement; the best one is the least disturbed.
const TURNS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(path) = std::env::var(SOCKET) {
        return match std::env::var(RECORD_BYTES)?.as_str() {
            "64" => consume::<[u64; 8]>(Path::new(&path)),
            _ => consume::<[u64; 16]>(Path::new(&path)),
        };
    }
    let records = std::env::args().nth(1).map_or(Ok(50), |text| text.parse::<u64>())? * 1_000_000;
    let slots = std::env::args().nth(2).map_or(Ok(SLOTS), |text| text.parse())?;
    measure::<[u64; 8]>(slots, records, |number| [number; 8])?;
    measure::<[u64; 16]>(slots, records, |number| [number; 16])
}

fn config(slots: u64) -> Result<RingConfig, Box<dyn Error>> {
    Ok(RingConfig { slots, host: HostName::new("bench")?, epoch: 1, record_version: 1 })
}

/// What a measurement took of this thread.
struct Spent {
    /// Time on the wall.
    elapsed: Duration,
    /// Time on a core.
    on_core: Duration,
    /// Time spent ready to run while others had the cores: where it is not small, the rate is the scheduler's.
    in_queue: Duration,
}

impl fmt::Display for Spent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: Duration| 100.0 * part.as_secs_f64() / self.elapsed.as_secs_f64();
        write!(out, "{:.0} % on a core, {:.0} % queueing for one", share(self.on_core), share(self.in_queue))
    }
}

/// Starts a measurement; the closure that it returns ends it.
fn stopwatch() -> io::Result<impl FnOnce() -> io::Result<Spent>> {
    let (start, [on_core, in_queue]) = (Instant::now(), scheduled()?);
    Ok(move || {
        let elapsed = start.elapsed();
        let [on_core_end, in_queue_end] = scheduled()?;
        Ok(Spent { elapsed, on_core: on_core_end - on_core, in_queue: in_queue_end - in_queue })
    })
}

/// Returns this thread's time on a core and its time in the queue for one, as the kernel counts them.
fn scheduled() -> io::Result<[Duration; 2]> {
    // The kernel brings the numbers up to date when the thread gives up its core.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let mut numbers =
        text.split(' ').map(|number| number.parse().map(Duration::from_nanos).unwrap_or_default());
    Ok(std::array::from_fn(|_| numbers.next().unwrap_or_default()))
}

/// Measures both ways for one size of record.
fn measure<R>(slots: u64, records: u64, record: impl Fn(u64) -> R) -> Result<(), Box<dyn Error>>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    let bytes = size_of::<R>();
    for turn in 1..=TURNS {
        let (spent, refusals) = across(slots, records, &record)?;
        let rate = records as f64 / spent.elapsed.as_secs_f64() / 1e6;
        println!(
            "{bytes}-byte records across processes, turn {turn}: {rate:.0} M/s, full {refusals} times; {spent}"
        );
    }
    for turn in 1..=TURNS {
        let spent = dropping(slots, records, &record(1))?;
        let cost_ns = spent.on_core.as_secs_f64() * 1e9 / records as f64;
        println!("{bytes}-byte records into a full ring, turn {turn}: {cost_ns:.2} ns an offer; {spent}");
    }
    Ok(())
}

/// Sends `records` to another process, offering again what was refused; returns the time until all were released.
fn across<R>(slots: u64, records: u64, record: impl Fn(u64) -> R) -> Result<(Spent, u64), Box<dyn Error>>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    let path = socket_path();
    let listener = Listener::bind(&path, AllowedUids::own_and(&[]))?;
    let mut producer = Producer::<R>::create(&config(slots)?)?;
    let mut consumer = Command::new(std::env::current_exe()?)
        .env(SOCKET, &path)
        .env(RECORD_BYTES, size_of::<R>().to_string())
        .stdout(Stdio::inherit())
        .spawn()?;
    while listener.poll(&mut producer)? != Accepted::Consumer {
        std::thread::yield_now();
    }
    let stop = stopwatch()?;
    let mut refusals = 0;
    for number in 0..records {
        let next = record(number);
        while !producer.offer(&next) {
            refusals += 1;
            std::thread::yield_now();
        }
    }
    producer.publish();
    while producer.counters().waiting > 0 {
        std::thread::yield_now();
    }
    let spent = stop()?;
    let counters = producer.counters();
    assert!(counters.balance() && counters.delivered == records && counters.lost == refusals, "{counters:?}");
    drop(producer);
    assert!(consumer.wait()?.success());
    drop(listener);
    let mut lock = path.into_os_string();
    lock.push(".lock");
    std::fs::remove_file(lock)?;
    Ok((spent, refusals))
}

/// Offers one record `records` times to a ring whose consumer never reads; returns the time.
fn dropping<R>(slots: u64, records: u64, record: &R) -> Result<Spent, Box<dyn Error>>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    let mut producer = Producer::<R>::create(&config(slots)?)?;
    let (near, far) = UnixStream::pair()?;
    producer.hand_over(near)?;
    let _consumer = Consumer::<R>::open(receive(far)?, 1)?;
    while producer.offer(record) {}
    let before = producer.counters().lost;
    let stop = stopwatch()?;
    for _ in 0..records {
        producer.offer(black_box(record));
    }
    let spent = stop()?;
    assert_eq!(producer.counters().lost - before, records);
    Ok(spent)
}

/// Takes records, in a process of its own, until the producer ends; looks at each.
fn consume<R>(path: &Path) -> Result<(), Box<dyn Error>>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    let ring = connect(path, &AllowedUids::own_and(&[]), Duration::from_secs(10))?;
    let mut consumer = Consumer::<R>::open(ring, 1)?;
    let mut records = Vec::with_capacity(BATCH_RECORDS);
    let mut expected = 0_u64;
    let mut producer_alive = true;
    loop {
        records.clear();
        let batch = consumer.take(&mut records, BATCH_RECORDS)?;
        for record in &records {
            assert!(record.as_bytes().starts_with(expected.as_bytes()), "record {expected} is another");
            expected += 1;
        }
        if batch.count == 0 {
            if !producer_alive {
                return Ok(());
            }
            // Asked before the next look: what a producer published before its end is found by that look.
            producer_alive = consumer.producer_alive();
            std::thread::yield_now();
        }
    }
}

fn socket_path() -> PathBuf {
    std::env::temp_dir().join(format!("flow_ring-throughput-{}.sock", std::process::id()))
}
