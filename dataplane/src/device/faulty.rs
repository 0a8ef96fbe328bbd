//! Wraps a device and spoils what it does, the same way for the same seed.
//!
//! What is received may be lost, doubled, changed, cut short or come late; what is to be sent may be refused. Frames
//! are never lost from the books: a lost one goes back to the pool, a late one is counted as outstanding.

use super::{Device, DeviceLosses};
use af_xdp::{Frame, FramePool};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// Frames held back at one time to come late.
const HELD_FRAMES_MAX: usize = 8;

/// How often each fault happens, in thousandths of the frames (of the calls, for refusals).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// A received frame is lost.
    pub drop_permille: u16,
    /// A received frame comes twice.
    pub duplicate_permille: u16,
    /// One byte of a received frame is changed.
    pub corrupt_permille: u16,
    /// A received frame is cut short, to at least one byte.
    pub truncate_permille: u16,
    /// A received frame is held back until a later burst.
    pub reorder_permille: u16,
    /// A call of `send` takes nothing.
    pub refuse_send_permille: u16,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Frames lost.
    pub dropped: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames with a changed byte.
    pub corrupted: u64,
    /// Frames cut short.
    pub truncated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Calls of `send` refused.
    pub refused_sends: u64,
}

/// A device with faults.
pub struct FaultyDevice<D> {
    /// The device that works.
    inner: D,
    /// How often each fault happens.
    rates: FaultRates,
    /// Where the chances come from.
    chance: Chance,
    /// Frames held back, oldest first.
    held: VecDeque<Frame>,
    /// How often each fault happened.
    counts: FaultCounts,
}

impl<D: Device> FaultyDevice<D> {
    /// Wraps a device; the same seed and traffic give the same faults.
    pub fn new(inner: D, rates: FaultRates, seed: u64) -> Self {
        let held = VecDeque::with_capacity(HELD_FRAMES_MAX);
        Self { inner, rates, chance: Chance { state: seed }, held, counts: FaultCounts::default() }
    }

    /// Returns how often each fault happened.
    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// Spoils the frames behind place `first` of the burst.
    fn spoil(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, first: usize) {
        // From the back, so that taking a frame out does not move those still to come.
        for place in (first..burst.len()).rev() {
            if self.chance.hits(self.rates.drop_permille) {
                pool.release(burst.remove(place));
                self.counts.dropped += 1;
                continue;
            }
            if self.held.len() < HELD_FRAMES_MAX && self.chance.hits(self.rates.reorder_permille) {
                self.held.push_back(burst.remove(place));
                self.counts.reordered += 1;
                continue;
            }
            self.change(pool, &mut burst[place]);
            let has_room = burst.len() < burst.capacity();
            if has_room && self.chance.hits(self.rates.duplicate_permille) {
                let copy = pool.copy_of(&burst[place]);
                self.counts.duplicated += u64::from(copy.is_some());
                burst.extend(copy);
            }
        }
    }

    /// Changes a byte of the frame or cuts it short, or neither.
    fn change(&mut self, pool: &mut FramePool, frame: &mut Frame) {
        if self.chance.hits(self.rates.corrupt_permille) {
            let part_bytes = pool.bytes(frame).len();
            let place = self.chance.below(part_bytes);
            let flipped = 1u8 << self.chance.below(8);
            pool.bytes_mut(frame)[place] ^= flipped;
            self.counts.corrupted += 1;
        }
        if self.chance.hits(self.rates.truncate_permille) && frame.len() > 1 {
            let bytes = 1 + self.chance.below(frame.len() - 1);
            pool.truncate(frame, bytes);
            self.counts.truncated += 1;
        }
    }
}

impl<D: Device> Device for FaultyDevice<D> {
    fn mode(&self) -> String {
        format!("{}, faulty", self.inner.mode())
    }

    fn receive(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> usize {
        let before = burst.len();
        let late = self.held.len();
        self.inner.receive(pool, burst);
        self.spoil(pool, burst, before);
        // Frames held back at an earlier call come after those of this one.
        for _ in 0..late {
            if burst.len() == burst.capacity() {
                break;
            }
            burst.extend(self.held.pop_front());
        }
        burst.len() - before
    }

    fn send(&mut self, pool: &mut FramePool, frames: &mut VecDeque<Frame>) -> usize {
        if self.chance.hits(self.rates.refuse_send_permille) {
            self.counts.refused_sends += 1;
            return 0;
        }
        self.inner.send(pool, frames)
    }

    fn flush(&mut self, pool: &mut FramePool) {
        self.inner.flush(pool);
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding() + self.held.iter().map(Frame::chunks).sum::<usize>()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        // A held frame makes nothing readable, so while there is one only asking tells.
        if self.held.is_empty() { self.inner.readiness() } else { None }
    }

    fn burst_time_ns(&self) -> Option<u64> {
        self.inner.burst_time_ns()
    }

    fn losses(&self) -> DeviceLosses {
        self.inner.losses()
    }

    fn is_finished(&self) -> bool {
        self.inner.is_finished() && self.held.is_empty()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) -> usize {
        let mut chunks = 0;
        for frame in self.held.drain(..) {
            chunks += frame.chunks();
            pool.release(frame);
        }
        chunks + Box::new(self.inner).close(pool)
    }
}

/// A sequence of chances (SplitMix64, Steele, Lea and Flood 2014).
struct Chance {
    /// Where the sequence is.
    state: u64,
}

impl Chance {
    /// Returns whether something that happens so often happens this time.
    fn hits(&mut self, permille: u16) -> bool {
        // Nothing is drawn for what never happens, so that adding a fault does not change the others' sequence.
        permille > 0 && self.below(1000) < usize::from(permille)
    }

    /// Returns a number below a bound, which is at least one.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u128::try_from(bound).expect("usize is at most 64 bits here");
        let drawn = (u128::from(self.next()) * bound) >> 64;
        usize::try_from(drawn).expect("below the bound")
    }

    /// Returns the next 64 bits.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory;
    use af_xdp::{Umem, UmemConfig};

    const SEED: u64 = 20_260_101;

    fn pool() -> FramePool {
        Umem::new(&UmemConfig { frames_total: 256, ..UmemConfig::default() }).unwrap().1.remove(0)
    }

    /// Carries 1,000 numbered frames of 60 bytes through a faulty device; returns what came and what happened.
    fn carry(rates: FaultRates, seed: u64) -> (Vec<Vec<u8>>, FaultCounts) {
        let (inner, far) = memory::pair();
        let mut device = FaultyDevice::new(inner, rates, seed);
        let mut pool = pool();
        let mut received = Vec::new();
        let mut burst = Vec::with_capacity(32);
        for turn in 0..200u8 {
            for number in 0..5 {
                far.inject(&[&[turn, number][..], &[0; 58]].concat()).unwrap();
            }
            while device.receive(&mut pool, &mut burst) > 0 {
                for frame in burst.drain(..) {
                    received.push(pool.bytes(&frame).to_vec());
                    pool.release(frame);
                }
            }
            assert_eq!(pool.free_frames() + device.outstanding(), 256, "seed {seed}, turn {turn}");
        }
        let counts = device.counts();
        Box::new(device).close(&mut pool);
        assert_eq!(pool.free_frames(), 256, "seed {seed}");
        (received, counts)
    }

    fn between(value: u64, low: u64, high: u64) {
        assert!((low..=high).contains(&value), "seed {SEED}: {value} is not within {low}..={high}");
    }

    #[test]
    fn without_rates_nothing_happens() {
        let (received, counts) = carry(FaultRates::default(), SEED);
        assert_eq!((received.len(), counts), (1000, FaultCounts::default()));
        assert!(received.is_sorted());
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let rates = FaultRates {
            drop_permille: 100,
            duplicate_permille: 100,
            corrupt_permille: 100,
            truncate_permille: 100,
            reorder_permille: 100,
            refuse_send_permille: 0,
        };
        assert_eq!(carry(rates, SEED), carry(rates, SEED));
        assert_ne!(carry(rates, SEED), carry(rates, SEED + 1));
    }

    #[test]
    fn lost_and_doubled_frames_are_as_many_as_the_rates_say() {
        let rates = FaultRates { drop_permille: 200, duplicate_permille: 100, ..FaultRates::default() };
        let (received, counts) = carry(rates, SEED);
        between(counts.dropped, 150, 250);
        between(counts.duplicated, 50, 110);
        let expected = 1000 - counts.dropped + counts.duplicated;
        assert_eq!(u64::try_from(received.len()).unwrap(), expected);
    }

    #[test]
    fn changed_and_cut_frames_are_still_frames() {
        let rates = FaultRates { corrupt_permille: 100, truncate_permille: 100, ..FaultRates::default() };
        let (received, counts) = carry(rates, SEED);
        assert_eq!(received.len(), 1000);
        between(counts.corrupted, 60, 140);
        let short = received.iter().filter(|frame| frame.len() < 60).count();
        assert_eq!(u64::try_from(short).unwrap(), counts.truncated);
        assert!(received.iter().all(|frame| !frame.is_empty()));
    }

    #[test]
    fn late_frames_arrive_out_of_order_and_none_is_missing() {
        let rates = FaultRates { reorder_permille: 200, ..FaultRates::default() };
        let (mut received, counts) = carry(rates, SEED);
        between(counts.reordered, 150, 250);
        assert!(!received.is_sorted());
        received.sort();
        received.dedup();
        assert!(received.len() >= 1000 - HELD_FRAMES_MAX);
    }

    #[test]
    fn a_refused_send_leaves_the_frames_with_the_caller() {
        let (inner, far) = memory::pair();
        let always = FaultRates { refuse_send_permille: 1000, ..FaultRates::default() };
        let mut device = FaultyDevice::new(inner, always, SEED);
        let mut pool = pool();
        let mut frame = pool.allocate().unwrap();
        pool.write(&mut frame, b"kept").unwrap();
        let mut frames = VecDeque::from([frame]);
        assert_eq!(device.send(&mut pool, &mut frames), 0);
        device.flush(&mut pool);
        assert_eq!((frames.len(), far.take_sent(), device.counts().refused_sends), (1, None, 1));
        pool.release(frames.remove(0).unwrap());
    }
}
