//! Each half against contents that no honest other half writes. The offsets are those of the picture in the crate's
//! head, written out again: a layout that changes without its version fails here.
#![expect(clippy::unwrap_used, reason = "this is test code, outside of a test function")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{ptr, slice};

use flow_ring::{Consumer, ConsumerFault, Counters, HandedRing, HeaderFault, OpenError, Producer};

use crate::fixture::{Chance, RECORD_VERSION, Record, config, handed, record, seat};

const SIZE_SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
const DATA_SEALS: i32 = SIZE_SEALS | libc::F_SEAL_FUTURE_WRITE;
const DATA_BYTES: usize = 4096 + 64 * 128;
const PUBLICATIONS_BYTE: usize = 128;
/// Bank of publication 2, which is the newest of the forged ring.
const BANK_BYTE: usize = 256 + 2 * 64;
const TAIL_BYTE: u64 = 128;

/// Memory as a hostile producer would make it, with a mapping made before the seals.
struct Forged {
    data: File,
    page: File,
    start: *mut AtomicU64,
}

// SAFETY: the mapping is accessed atomically only.
unsafe impl Send for Forged {}
// SAFETY: as above.
unsafe impl Sync for Forged {}

impl Forged {
    /// Copies a good ring of 64 slots with 40 records, lets `change` spoil both memories, and seals them.
    fn new(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Self {
        let (mut data, mut page) = good();
        change(&mut data, &mut page);
        Self::sealed(&data, &page, DATA_SEALS, SIZE_SEALS)
    }

    fn sealed(data: &[u8], page: &[u8], data_seals: i32, page_seals: i32) -> Self {
        let (data_file, page_file) = (memfd(data), memfd(page));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = data_file.as_raw_fd();
        // SAFETY: a new mapping of a file of this test.
        let start = unsafe { libc::mmap(ptr::null_mut(), data.len(), protection, libc::MAP_SHARED, fd, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        seal(&data_file, data_seals);
        seal(&page_file, page_seals);
        Self { data: data_file, page: page_file, start: start.cast() }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for this length in `sealed`, and for the rest of the process.
        unsafe { slice::from_raw_parts(self.start, DATA_BYTES / 8) }
    }

    fn set(&self, byte: usize, value: u64) {
        self.words()[byte / 8].store(value, Ordering::SeqCst);
    }

    fn handed(&self) -> HandedRing {
        let connection = UnixStream::pair().unwrap().0;
        let (data, page) = (self.data.try_clone().unwrap(), self.page.try_clone().unwrap());
        HandedRing { data: data.into(), page: page.into(), connection }
    }

    fn open(&self) -> Result<Consumer<Record>, OpenError> {
        Consumer::open(self.handed(), RECORD_VERSION)
    }

    /// Returns the message with which the consumer refuses the ring.
    fn refusal(&self) -> String {
        self.open().map(drop).unwrap_err().to_string()
    }
}

/// Returns both memories of an honest ring.
fn good() -> (Vec<u8>, Vec<u8>) {
    let mut producer = Producer::<Record>::create(&config(64)).unwrap();
    (0..40).for_each(|number| assert!(producer.offer(&record(number))));
    producer.publish();
    let ring = handed(&mut producer);
    let mut data = vec![0; DATA_BYTES];
    File::from(ring.data).read_exact_at(&mut data, 0).unwrap();
    let mut page = vec![0; 4096];
    File::from(ring.page).read_exact_at(&mut page, 0).unwrap();
    (data, page)
}

fn memfd(contents: &[u8]) -> File {
    // SAFETY: a constant string.
    let fd = unsafe { libc::memfd_create(c"forged".as_ptr(), libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: just returned by the kernel.
    let file = unsafe { File::from_raw_fd(fd) };
    file.write_all_at(contents, 0).unwrap();
    file
}

fn seal(file: &File, seals: i32) {
    // SAFETY: an open descriptor and an integer.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn an_unspoiled_forgery_is_accepted() {
    let mut consumer = Forged::new(|_, _| ()).open().unwrap();
    let mut out = Vec::new();
    assert_eq!(consumer.take(&mut out, 100).unwrap().count, 40);
    assert_eq!(out, (0..40).map(record).collect::<Vec<_>>());
    assert_eq!((consumer.ring().host.as_str(), consumer.ring().epoch), ("host-1", 1000));
}

#[test]
fn every_spoiled_field_of_the_header_is_refused_by_name() {
    let cases: [(usize, &[u8], &str); 15] = [
        (0, b"nonsense", "data memory has magic"),
        (8, &2_u32.to_ne_bytes(), "data memory has layout version 2, expected 1"),
        (12, &8_u32.to_ne_bytes(), "record version 8, expected 7"),
        (16, &64_u32.to_ne_bytes(), "records of 64 bytes, expected 128"),
        (16, &0_u32.to_ne_bytes(), "records of 0 bytes, expected 128"),
        (20, &8192_u32.to_ne_bytes(), "header of 8192 bytes, expected 4096"),
        (24, &0_u64.to_ne_bytes(), "0 slots of 128 bytes are not within"),
        (24, &65_u64.to_ne_bytes(), "65 slots of 128 bytes are not within"),
        (24, &(1_u64 << 63).to_ne_bytes(), "slots of 128 bytes are not within"),
        (24, &128_u64.to_ne_bytes(), "data memory of 12288 bytes, expected 20480"),
        (40, &0_u64.to_ne_bytes(), "the host name in the header"),
        (40, &65_u64.to_ne_bytes(), "the host name in the header"),
        (40, &u64::MAX.to_ne_bytes(), "the host name in the header"),
        (48, b"\0", "the host name in the header"),
        (48, b"\xff/", "the host name in the header"),
    ];
    for (at, value, expected) in cases {
        let refusal = Forged::new(|data, _| put(data, at, value)).refusal();
        assert!(refusal.contains(expected), "byte {at}: {refusal}");
    }
}

#[test]
fn every_spoiled_field_of_the_page_is_refused_by_name() {
    let cases: [(usize, &[u8], &str); 4] = [
        (0, b"nonsense", "consumer memory has magic"),
        (8, &9_u32.to_ne_bytes(), "consumer memory has layout version 9"),
        (128, &41_u64.to_ne_bytes(), "head ran backwards to 40, 41 was reached"),
        (128, &u64::MAX.to_ne_bytes(), "head ran backwards to 40"),
    ];
    for (at, value, expected) in cases {
        let refusal = Forged::new(|_, page| put(page, at, value)).refusal();
        assert!(refusal.contains(expected), "byte {at}: {refusal}");
    }
}

#[test]
fn memory_without_each_single_seal_is_refused() {
    let (data, page) = good();
    for missing in [libc::F_SEAL_SHRINK, libc::F_SEAL_GROW, libc::F_SEAL_FUTURE_WRITE, libc::F_SEAL_SEAL] {
        let forged = Forged::sealed(&data, &page, DATA_SEALS & !missing, SIZE_SEALS);
        assert!(forged.refusal().contains("data memory lacks seals"), "{missing}");
    }
    for missing in [libc::F_SEAL_SHRINK, libc::F_SEAL_GROW, libc::F_SEAL_SEAL] {
        let forged = Forged::sealed(&data, &page, DATA_SEALS, SIZE_SEALS & !missing);
        assert!(forged.refusal().contains("consumer memory lacks seals"), "{missing}");
    }
    let null = || File::open("/dev/null").unwrap().into();
    let ring = HandedRing { data: null(), page: null(), connection: UnixStream::pair().unwrap().0 };
    let refusal = Consumer::<Record>::open(ring, RECORD_VERSION).map(drop).unwrap_err();
    assert!(refusal.to_string().contains("data memory lacks seals: has 0x0"), "{refusal}");
}

#[test]
fn truncated_or_overlong_memory_is_refused() {
    for length in [1, 100, 4096, DATA_BYTES - 1, DATA_BYTES + 4096] {
        let refusal = Forged::new(|data, _| data.resize(length, 0)).refusal();
        let expected = ["cannot read the ring's header", "bytes, expected 12288"];
        assert!(expected.iter().any(|expected| refusal.contains(expected)), "{length}: {refusal}");
    }
    for length in [16, 4095, 4097, 8192] {
        let refusal = Forged::new(|_, page| page.resize(length, 0)).refusal();
        assert!(refusal.contains(&format!("consumer memory of {length} bytes")), "{refusal}");
    }
}

#[test]
fn a_consumer_cannot_write_the_data_in_any_way() {
    let mut producer = Producer::<Record>::create(&config(64)).unwrap();
    let data = File::from(handed(&mut producer).data);
    let fd = data.as_raw_fd();
    let refused = |answer: i32| {
        assert_eq!(answer, -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
    };

    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, if it is one.
    let start = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) };
    assert_eq!(start, libc::MAP_FAILED);
    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
    assert_eq!(data.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: integers only.
    refused(unsafe { libc::fallocate(fd, punch, 0, 4096) });
    // SAFETY: integers only.
    refused(unsafe { libc::ftruncate(fd, 4096) });
    // SAFETY: integers only.
    refused(unsafe { libc::ftruncate(fd, 1 << 20) });
    // SAFETY: integers only.
    refused(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) });

    let again = File::options().write(true).open(format!("/proc/self/fd/{fd}"));
    assert!(again.is_ok_and(|again| again.write_at(b"x", 0).is_err()), "opened anew, it is still sealed");
}

#[test]
fn a_header_that_turns_impossible_is_named_and_the_consumer_goes_on_living() {
    let forged = Forged::new(|_, _| ());
    let mut consumer = forged.open().unwrap();
    let mut out = Vec::new();
    consumer.take(&mut out, 10).unwrap();
    let (accepted, dropped, produced) = (BANK_BYTE, BANK_BYTE + 8, BANK_BYTE + 32);
    let mut fault = |changes: &[(usize, u64)]| {
        let before = changes.iter().map(|(byte, _)| forged.words()[byte / 8].load(Ordering::SeqCst));
        let before: Vec<u64> = before.collect();
        changes.iter().for_each(|&(byte, value)| forged.set(byte, value));
        let fault = consumer.take(&mut out, 10).map(drop).unwrap_err();
        changes.iter().zip(before).for_each(|(&(byte, _), value)| forged.set(byte, value));
        fault
    };

    let backwards = HeaderFault::HeadBackwards { head: 39, least: 40 };
    assert_eq!(fault(&[(accepted, 39), (produced, 39)]), backwards);
    let ahead = HeaderFault::HeadTooFar { head: 75, tail: 10, slots: 64 };
    assert_eq!(fault(&[(accepted, 75), (produced, 75)]), ahead);
    let far = HeaderFault::HeadTooFar { head: u64::MAX, tail: 10, slots: 64 };
    assert_eq!(fault(&[(accepted, u64::MAX), (produced, u64::MAX)]), far);
    let sum = HeaderFault::Sum { produced: 40, sum: Some(1_000_040) };
    assert_eq!(fault(&[(dropped, 1_000_000)]), sum);
    assert_eq!(fault(&[(dropped, u64::MAX)]), HeaderFault::Sum { produced: 40, sum: None });
    assert_eq!(fault(&[(BANK_BYTE + 16, 41)]), HeaderFault::Abandoned { abandoned: 41, head: 40 });
    let older = HeaderFault::HeadBackwards { head: 0, least: 40 };
    assert_eq!(fault(&[(PUBLICATIONS_BYTE, 0)]), older);

    let batch = consumer.take(&mut out, 100).unwrap();
    assert_eq!((batch.first_position, batch.count), (10, 30));
    assert_eq!(out, (0..40).map(record).collect::<Vec<_>>());
}

#[test]
fn a_counter_that_runs_backwards_is_named() {
    let forged = Forged::new(|data, _| {
        put(data, BANK_BYTE + 8, &100_u64.to_ne_bytes());
        put(data, BANK_BYTE + 32, &140_u64.to_ne_bytes());
    });
    let mut consumer = forged.open().unwrap();
    forged.set(BANK_BYTE + 8, 99);
    let fault = consumer.take(&mut Vec::new(), 1).unwrap_err();
    assert_eq!(fault, HeaderFault::CounterBackwards { counter: "dropped", before: 100, found: 99 });
}

#[test]
fn a_thousand_randomly_spoiled_rings_open_or_are_refused_but_never_panic() {
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}");
    let mut chance = Chance::new(seed);
    for _ in 0..1000 {
        let forged = Forged::new(|data, page| {
            for _ in 0..=chance.below(3) {
                let value = chance.next() >> chance.below(64);
                let (memory, limit) = if chance.below(4) == 0 { (&mut *page, 35) } else { (&mut *data, 160) };
                let word = usize::try_from(chance.below(limit)).unwrap();
                put(memory, word * 8, &value.to_ne_bytes());
            }
        });
        if let Ok(mut consumer) = forged.open() {
            let mut out = Vec::new();
            _ = consumer.take(&mut out, usize::MAX);
            assert!(out.len() <= 64 && out.capacity() <= 128);
        }
        // SAFETY: mapped by `sealed`; this forgery is not used again.
        unsafe { libc::munmap(forged.start.cast(), DATA_BYTES) };
    }
}

#[test]
fn a_producer_that_scribbles_while_the_consumer_reads_causes_errors_only() {
    let seed = 0x5eed_0003;
    println!("seed {seed:#x}");
    let forged = Forged::new(|_, _| ());
    let mut consumer = forged.open().unwrap();
    let over = AtomicBool::new(false);
    let (mut good, mut bad) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut chance = Chance::new(seed);
            let mut head = 40;
            while !over.load(Ordering::Relaxed) {
                head += chance.below(3);
                for bank in 0..16 {
                    forged.set(256 + bank * 64, head);
                    forged.set(256 + bank * 64 + 32, head + chance.below(2) * chance.below(2));
                }
                let word = usize::try_from(chance.below(DATA_BYTES as u64 / 8)).unwrap();
                forged.set(word * 8, chance.next() >> chance.below(64));
                forged.set(PUBLICATIONS_BYTE, chance.below(40));
            }
        });
        for _ in 0..50_000 {
            let mut out = Vec::new();
            match consumer.take(&mut out, usize::MAX) {
                Ok(batch) => (good, _) = (good + 1, assert_eq!(batch.count, out.len())),
                Err(_) => bad += 1,
            }
            assert!(out.len() <= 64);
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{good} batches, {bad} faults");
    assert!(bad > 0);
}

#[test]
fn a_consumer_with_an_impossible_tail_is_given_up_and_what_waited_is_lost_once() {
    for (tail, fault) in [
        (65, ConsumerFault::TailAhead { tail: 65, head: 64 }),
        (u64::MAX, ConsumerFault::TailAhead { tail: u64::MAX, head: 64 }),
        (19, ConsumerFault::TailBackwards { tail: 19, least: 20 }),
    ] {
        let mut producer = Producer::<Record>::create(&config(64)).unwrap();
        let ring = handed(&mut producer);
        let page = File::from(ring.page.try_clone().unwrap());
        (0..70).for_each(|number| _ = producer.offer(&record(number)));
        producer.publish();
        page.write_all_at(&20_u64.to_ne_bytes(), TAIL_BYTE).unwrap();
        let expected = Counters { produced: 70, delivered: 20, waiting: 44, sampled_out: 0, lost: 6 };
        assert_eq!(producer.counters(), expected);

        page.write_all_at(&tail.to_ne_bytes(), TAIL_BYTE).unwrap();
        assert!(!producer.consumer_alive());
        assert_eq!((producer.take_fault(), producer.take_fault()), (Some(fault), None));
        let expected = Counters { waiting: 0, lost: 50, ..expected };
        assert_eq!(producer.counters(), expected);
        assert_eq!(producer.counters(), expected);

        let mut successor = seat(&mut producer);
        assert!(producer.offer(&record(70)));
        producer.publish();
        let mut out = Vec::new();
        let batch = successor.take(&mut out, 100).unwrap();
        assert_eq!((batch.first_position, batch.count, batch.lost_since_last), (64, 1, 50));
        assert_eq!(out, [record(70)]);
        assert!(producer.counters().balance());
    }
}

#[test]
fn the_books_balance_under_a_thousand_scribbling_consumers() {
    let seed = 0x5eed_0004;
    let mut chance = Chance::new(seed);
    let mut producer = Producer::<Record>::create(&config(64)).unwrap();
    let (mut offered, mut given_up) = (0, 0);
    for consumer in 0..1000 {
        let page = File::from(handed(&mut producer).page);
        for _ in 0..chance.below(20) {
            for _ in 0..chance.below(100) {
                producer.offer(&record(offered));
                offered += 1;
            }
            let word = [16, 16, 16, 17, 18, 32, 0][usize::try_from(chance.below(7)).unwrap()];
            let tail = producer.counters().delivered;
            let value = if chance.below(2) == 0 { tail + chance.below(64) } else { chance.next() };
            page.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
            let counters = producer.counters();
            assert!(counters.balance(), "seed {seed:#x}, consumer {consumer}: {counters:?}");
            assert_eq!(counters.produced, offered, "seed {seed:#x}, consumer {consumer}");
        }
        given_up += u32::from(producer.take_fault().is_some());
    }
    assert!((1..1000).contains(&given_up), "{given_up}");
    let mut out = Vec::new();
    let mut honest = seat(&mut producer);
    let waiting = producer.counters().waiting;
    assert_eq!(honest.take(&mut out, 100).unwrap().count as u64, waiting);
}
