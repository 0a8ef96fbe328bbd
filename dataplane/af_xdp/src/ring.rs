//! The two ends of a ring that is shared with the kernel: one side writes slots and moves `producer`, the other reads
//! them and moves `consumer`. Nothing the other side writes is believed before it is checked.
//!
//! Indices run freely over 32 bits and are masked when a slot is touched. `producer` is stored with Release after the
//! slots are written and loaded with Acquire before they are read; `consumer` likewise in the other direction. All
//! shared words are atomics, so that a peer that writes at the wrong moment can falsify values but cause no data race.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::area::Area;

/// Flag word bit by which the kernel asks to be woken (`XDP_RING_NEED_WAKEUP`).
const NEED_WAKEUP: u32 = 1;

/// Says where in its mapping a ring keeps its parts, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingLayout {
    /// Place of the producer index.
    pub(crate) producer: usize,
    /// Place of the consumer index.
    pub(crate) consumer: usize,
    /// Place of the flag word.
    pub(crate) flags: usize,
    /// Place of the first slot.
    pub(crate) slots: usize,
    /// Number of slots, a power of two.
    pub(crate) entries: u32,
}

impl RingLayout {
    /// Returns the length of the mapping for slots of type `S`.
    pub(crate) fn bytes<S: Slot>(&self) -> usize {
        self.slots + self.entries as usize * size_of::<S>()
    }
}

/// Marks what may be a slot of a ring.
///
/// # Safety
/// Every pattern of bits is a value of the type, and it consists of atomics only.
pub(crate) unsafe trait Slot {}

// SAFETY: an atomic integer.
unsafe impl Slot for AtomicU64 {}

/// One slot of an RX or TX ring: `struct xdp_desc`.
#[repr(C)]
pub(crate) struct DescriptorSlot {
    /// Address within the UMEM.
    address: AtomicU64,
    /// Length in bytes.
    bytes: AtomicU32,
    /// Option bits.
    options: AtomicU32,
}

// SAFETY: three atomic integers without padding.
unsafe impl Slot for DescriptorSlot {}

const _: () = assert!(size_of::<DescriptorSlot>() == size_of::<libc::xdp_desc>());

/// Holds what a descriptor slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Address within the UMEM.
    pub(crate) address: u64,
    /// Length in bytes.
    pub(crate) bytes: u32,
    /// Option bits.
    pub(crate) options: u32,
}

impl DescriptorSlot {
    /// Reads the slot.
    #[inline]
    pub(crate) fn load(&self) -> Descriptor {
        Descriptor {
            address: self.address.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            options: self.options.load(Ordering::Relaxed),
        }
    }

    /// Writes the slot.
    #[inline]
    pub(crate) fn store(&self, descriptor: Descriptor) {
        self.address.store(descriptor.address, Ordering::Relaxed);
        self.bytes.store(descriptor.bytes, Ordering::Relaxed);
        self.options.store(descriptor.options, Ordering::Relaxed);
    }
}

/// Holds a mapped ring without a role.
pub(crate) struct Ring<S> {
    /// Keeps the memory mapped.
    _memory: Arc<Area>,
    /// Index behind the last slot written.
    producer: NonNull<AtomicU32>,
    /// Index of the next slot to be read.
    consumer: NonNull<AtomicU32>,
    /// Flag word of the kernel.
    flags: NonNull<AtomicU32>,
    /// First slot.
    slots: NonNull<S>,
    /// Number of slots, a power of two.
    entries: u32,
}

// SAFETY: the pointers lead into memory that the ring itself keeps mapped, and only to atomics.
unsafe impl<S: Slot> Send for Ring<S> {}

impl<S: Slot> Ring<S> {
    /// Finds the ring's parts in its memory; panics if they do not fit, which a kernel's answer can only cause if it
    /// is not the kernel of the headers.
    pub(crate) fn new(memory: &Arc<Area>, layout: RingLayout) -> Ring<S> {
        assert!(layout.entries.is_power_of_two(), "checked by SocketConfig");
        Ring {
            _memory: Arc::clone(memory),
            producer: memory.place(layout.producer, 1),
            consumer: memory.place(layout.consumer, 1),
            flags: memory.place(layout.flags, 1),
            slots: memory.place(layout.slots, layout.entries as usize),
            entries: layout.entries,
        }
    }

    /// Returns the producer index.
    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `Area::place` checked bounds and alignment; the memory is mapped as long as `self`; atomics may be
        // shared with the kernel.
        unsafe { self.producer.as_ref() }
    }

    /// Returns the consumer index.
    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    /// Tells whether the kernel asks to be woken.
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// Returns the slot of a free-running index.
    #[inline]
    fn slot(&self, index: u32) -> &S {
        let masked = (index & (self.entries - 1)) as usize;
        // SAFETY: `entries` is a power of two (asserted in `new`), so the masked index is below the number of slots
        // for which `Area::place` checked the bounds.
        let slot = unsafe { self.slots.add(masked) };
        // SAFETY: in bounds and aligned as above; `Slot` promises atomics, which may be shared with the kernel.
        unsafe { slot.as_ref() }
    }
}

/// The writing end: of the fill and TX rings.
pub(crate) struct Producer<S> {
    /// The memory.
    ring: Ring<S>,
    /// Index behind the last slot written here, perhaps not yet published.
    written: u32,
    /// Last believed consumer index.
    consumed: u32,
    /// How often the consumer index made no sense.
    pub(crate) faults: u64,
}

impl<S: Slot> Producer<S> {
    /// Takes the writing end of an empty ring.
    pub(crate) fn new(ring: Ring<S>) -> Producer<S> {
        let written = ring.producer().load(Ordering::Relaxed);
        Producer { ring, written, consumed: written, faults: 0 }
    }

    /// Returns the number of free slots; looks at the shared index only if fewer than `wanted` are known.
    #[inline]
    pub(crate) fn free(&mut self, wanted: u32) -> u32 {
        let known = self.ring.entries - self.written.wrapping_sub(self.consumed);
        if known >= wanted {
            return known;
        }
        self.refresh();
        self.ring.entries - self.written.wrapping_sub(self.consumed)
    }

    /// Loads the consumer index and believes it if it lies between the last one and what was written.
    fn refresh(&mut self) {
        let consumed = self.ring.consumer().load(Ordering::Acquire);
        if self.written.wrapping_sub(consumed) <= self.written.wrapping_sub(self.consumed) {
            self.consumed = consumed;
        } else {
            self.faults += 1;
        }
    }

    /// Returns the next slot to write; the caller has seen with `free` that there is one.
    #[inline]
    pub(crate) fn push(&mut self) -> &S {
        debug_assert!(
            self.written.wrapping_sub(self.consumed) < self.ring.entries,
            "a free slot was counted"
        );
        let index = self.written;
        self.written = index.wrapping_add(1);
        self.ring.slot(index)
    }

    /// Shows all slots written so far to the other side.
    #[inline]
    pub(crate) fn publish(&self) {
        self.ring.producer().store(self.written, Ordering::Release);
    }

    /// Returns how many slots the other side has not consumed.
    pub(crate) fn pending(&mut self) -> u32 {
        self.refresh();
        self.written.wrapping_sub(self.consumed)
    }

    /// Tells whether the kernel asks to be woken for this ring.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    /// Returns the number of slots.
    pub(crate) fn entries(&self) -> u32 {
        self.ring.entries
    }
}

/// The reading end: of the RX and completion rings.
pub(crate) struct Consumer<S> {
    /// The memory.
    ring: Ring<S>,
    /// Index of the next slot to read here.
    read: u32,
    /// Last believed producer index.
    produced: u32,
    /// How often the producer index made no sense.
    pub(crate) faults: u64,
}

impl<S: Slot> Consumer<S> {
    /// Takes the reading end of an empty ring.
    pub(crate) fn new(ring: Ring<S>) -> Consumer<S> {
        let read = ring.consumer().load(Ordering::Relaxed);
        Consumer { ring, read, produced: read, faults: 0 }
    }

    /// Returns the number of slots that can be read, none if the producer index has run away.
    #[inline]
    pub(crate) fn available(&mut self) -> u32 {
        if self.produced == self.read {
            let produced = self.ring.producer().load(Ordering::Acquire);
            if produced.wrapping_sub(self.read) <= self.ring.entries {
                self.produced = produced;
            } else {
                self.faults += 1;
            }
        }
        self.produced.wrapping_sub(self.read)
    }

    /// Returns the next slot; the caller has seen with `available` that there is one.
    #[inline]
    pub(crate) fn pop(&mut self) -> &S {
        debug_assert!(self.produced != self.read, "an available slot was counted");
        let index = self.read;
        self.read = index.wrapping_add(1);
        self.ring.slot(index)
    }

    /// Gives all slots read so far back to the other side.
    #[inline]
    pub(crate) fn release(&self) {
        self.ring.consumer().store(self.read, Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const LAYOUT: RingLayout = RingLayout { producer: 0, consumer: 64, flags: 128, slots: 192, entries: 4 };

    /// Makes both ends of a ring in plain memory.
    pub(crate) fn pair<S: Slot>(entries: u32) -> (Producer<S>, Consumer<S>) {
        let layout = RingLayout { entries, ..LAYOUT };
        let memory = Arc::new(Area::new(layout.bytes::<S>().next_multiple_of(4096)).unwrap());
        (Producer::new(Ring::new(&memory, layout)), Consumer::new(Ring::new(&memory, layout)))
    }

    impl<S: Slot> Producer<S> {
        /// Lets the index run away.
        pub(crate) fn forge(&self, producer: u32) {
            self.ring.producer().store(producer, Ordering::Release);
        }
    }

    impl<S: Slot> Consumer<S> {
        /// Lets the index run away.
        pub(crate) fn forge(&self, consumer: u32) {
            self.ring.consumer().store(consumer, Ordering::Release);
        }
    }

    #[test]
    fn what_is_published_is_read_in_order_over_many_rounds() {
        let (mut producer, mut consumer) = pair::<AtomicU64>(4);
        let mut expected = 0;
        for round in 0..100u64 {
            let count = round % 5;
            assert!(u64::from(producer.free(4)) >= count);
            for value in 0..count {
                producer.push().store(round * 10 + value, Ordering::Relaxed);
            }
            assert_eq!(consumer.available(), 0, "nothing is seen before it is published");
            producer.publish();
            assert_eq!(u64::from(consumer.available()), count);
            for value in 0..count {
                assert_eq!(consumer.pop().load(Ordering::Relaxed), round * 10 + value);
                expected += 1;
            }
            consumer.release();
        }
        assert_eq!(expected, 200);
    }

    #[test]
    fn indices_wrap_around_32_bits() {
        let layout = LAYOUT;
        let memory = Arc::new(Area::new(4096).unwrap());
        let ring: Ring<AtomicU64> = Ring::new(&memory, layout);
        ring.producer().store(u32::MAX - 1, Ordering::Relaxed);
        ring.consumer().store(u32::MAX - 1, Ordering::Relaxed);
        let mut consumer: Consumer<AtomicU64> = Consumer::new(Ring::new(&memory, layout));
        let mut producer = Producer::new(ring);
        for value in 0..4 {
            producer.push().store(value, Ordering::Relaxed);
        }
        producer.publish();
        assert_eq!((producer.free(1), consumer.available()), (0, 4));
        assert_eq!((0..4).map(|_| consumer.pop().load(Ordering::Relaxed)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        consumer.release();
        assert_eq!(producer.free(4), 4);
    }

    #[test]
    fn a_full_ring_has_no_free_slot_until_one_is_consumed() {
        let (mut producer, mut consumer) = pair::<AtomicU64>(2);
        producer.push();
        producer.push();
        producer.publish();
        assert_eq!((producer.free(1), producer.pending()), (0, 2));
        consumer.available();
        consumer.pop();
        consumer.release();
        assert_eq!((producer.free(1), producer.pending()), (1, 1));
    }

    #[test]
    fn a_producer_index_that_ran_away_is_counted_and_not_believed() {
        let (producer, mut consumer) = pair::<AtomicU64>(4);
        producer.forge(5);
        assert_eq!((consumer.available(), consumer.faults), (0, 1));
        producer.forge(u32::MAX);
        assert_eq!((consumer.available(), consumer.faults), (0, 2));
        producer.forge(4);
        assert_eq!((consumer.available(), consumer.faults), (4, 2));
    }

    #[test]
    fn a_consumer_index_outside_what_was_written_is_counted_and_not_believed() {
        let (mut producer, consumer) = pair::<AtomicU64>(4);
        for _ in 0..4 {
            producer.push();
        }
        producer.publish();
        for forged in [5, u32::MAX, 1000] {
            consumer.forge(forged);
            assert_eq!(producer.free(1), 0);
        }
        assert_eq!(producer.faults, 3);
        consumer.forge(3);
        assert_eq!(producer.free(1), 3);
        consumer.forge(2);
        assert_eq!((producer.pending(), producer.faults), (1, 4), "it does not run backwards either");
    }

    #[test]
    fn two_threads_hand_over_every_value() {
        let (mut producer, mut consumer) = pair::<DescriptorSlot>(8);
        let values = if cfg!(miri) { 200 } else { 20_000 };
        let writer = std::thread::spawn(move || {
            let mut value = 0;
            while value < values {
                if producer.free(1) == 0 {
                    std::hint::spin_loop();
                    continue;
                }
                producer.push().store(Descriptor { address: value, bytes: 7, options: 1 });
                producer.publish();
                value += 1;
            }
        });
        let mut value = 0;
        while value < values {
            for _ in 0..consumer.available() {
                assert_eq!(consumer.pop().load(), Descriptor { address: value, bytes: 7, options: 1 });
                value += 1;
            }
            consumer.release();
            std::hint::spin_loop();
        }
        writer.join().unwrap();
    }
}
