//! The exchange against a kernel made of plain memory, well-behaved and hostile.

use super::*;
use crate::frame::CHUNKS_MAX;
use crate::ring::tests::pair;
use crate::umem::UmemConfig;

/// Slots of every ring here.
const ENTRIES: u32 = 32;

/// Chunks of the memory here.
const TOTAL: usize = 64;

/// Where the kernel places received packets in a chunk.
const RX_OFFSET: u64 = 320;

/// Holds the kernel's ends of the four rings.
struct Kernel {
    rx: Producer<DescriptorSlot>,
    tx: Consumer<DescriptorSlot>,
    fill: Consumer<AtomicU64>,
    completion: Producer<AtomicU64>,
}

impl Kernel {
    /// Takes an empty chunk as a driver would.
    fn take_chunk(&mut self) -> Option<u64> {
        (self.fill.available() > 0).then(|| {
            let address = self.fill.pop().load(Ordering::Relaxed);
            self.fill.release();
            address
        })
    }

    /// Shows a descriptor to user space.
    fn deliver(&mut self, address: u64, bytes: u32, options: u32) {
        assert!(self.rx.free(1) > 0);
        self.rx.push().store(Descriptor { address, bytes, options });
        self.rx.publish();
    }

    /// Receives a packet of the given chunk lengths.
    fn receive(&mut self, lengths: &[u32]) {
        for (index, bytes) in lengths.iter().enumerate() {
            let address = self.take_chunk().unwrap() + RX_OFFSET;
            self.deliver(address, *bytes, u32::from(index + 1 < lengths.len()));
        }
    }

    /// Takes what is to be sent.
    fn transmit(&mut self) -> Vec<Descriptor> {
        let sent = (0..self.tx.available()).map(|_| self.tx.pop().load()).collect();
        self.tx.release();
        sent
    }

    /// Shows a completion to user space.
    fn complete(&mut self, address: u64) {
        assert!(self.completion.free(1) > 0);
        self.completion.push().store(address, Ordering::Relaxed);
        self.completion.publish();
    }
}

/// One socket on one pool, and its kernel.
struct Bench {
    exchange: Exchange,
    rings: Rings,
    kernel: Kernel,
    pool: FramePool,
}

/// Connects a socket's books with a kernel.
fn connect(umem: &Umem) -> (Exchange, Rings, Kernel) {
    let (rx_kernel, rx) = pair(ENTRIES);
    let (tx, tx_kernel) = pair(ENTRIES);
    let (fill, fill_kernel) = pair(ENTRIES);
    let (completion_kernel, completion) = pair(ENTRIES);
    let number = umem.shared.members.next_number().unwrap();
    let kernel = Kernel { rx: rx_kernel, tx: tx_kernel, fill: fill_kernel, completion: completion_kernel };
    (Exchange::new(umem, number, ENTRIES, true), Rings { rx, tx, fill, completion }, kernel)
}

impl Bench {
    fn new() -> Bench {
        let frames_total = u32::try_from(TOTAL).unwrap();
        let (umem, mut pools) = Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap();
        let (exchange, rings, kernel) = connect(&umem);
        Bench { exchange, rings, kernel, pool: pools.remove(0) }
    }

    fn filled() -> Bench {
        let mut bench = Bench::new();
        assert_eq!(bench.refill(), ENTRIES as usize);
        bench
    }

    fn refill(&mut self) -> usize {
        self.exchange.refill(&mut self.rings, &mut self.pool)
    }

    fn receive(&mut self) -> Vec<Frame> {
        let mut burst = Vec::with_capacity(64);
        self.exchange.receive(&mut self.rings, &mut burst);
        burst
    }

    fn send(&mut self, frames: impl IntoIterator<Item = Frame>) -> VecDeque<Frame> {
        let mut frames = frames.into_iter().collect();
        self.exchange.send(&mut self.rings, &mut frames);
        frames
    }

    fn reclaim(&mut self) -> usize {
        self.exchange.reclaim(&mut self.rings, &mut self.pool)
    }

    fn faults(&self) -> Faults {
        self.exchange.faults(&self.rings)
    }

    /// Chunks in the pool and in the books.
    fn known(&self) -> usize {
        let Outstanding { fill, tx } = self.exchange.outstanding();
        self.pool.free_frames() + self.pool.foreign_frames() + (fill + tx) as usize
    }

    fn frame(&mut self, bytes: usize) -> Frame {
        let mut frame = self.pool.allocate().unwrap();
        self.pool.write_chunks(&mut frame, &vec![7; bytes]).unwrap();
        frame
    }
}

#[test]
fn a_packet_goes_from_the_fill_ring_through_both_sides_and_back_to_the_pool() {
    let mut bench = Bench::filled();
    bench.kernel.receive(&[60]);
    let mut frames = bench.receive();
    assert_eq!((frames.len(), frames[0].len(), frames[0].headroom_bytes()), (1, 60, 320));
    assert_eq!(bench.exchange.outstanding(), Outstanding { fill: 31, tx: 0 });
    assert!(bench.send(frames.pop()).is_empty());
    assert_eq!(bench.exchange.outstanding(), Outstanding { fill: 31, tx: 1 });
    let sent = bench.kernel.transmit();
    assert_eq!((sent.len(), sent[0].bytes, sent[0].options), (1, 60, 0));
    bench.kernel.complete(sent[0].address);
    assert_eq!(bench.reclaim(), 1);
    assert_eq!(bench.refill(), 1);
    assert_eq!(bench.exchange.outstanding(), Outstanding { fill: 32, tx: 0 });
    assert_eq!((bench.known(), bench.faults()), (TOTAL, Faults::default()));
}

#[test]
fn a_burst_never_grows_beyond_its_capacity_and_the_rest_waits() {
    let mut bench = Bench::filled();
    (0..5).for_each(|_| bench.kernel.receive(&[60]));
    let mut burst = Vec::with_capacity(3);
    assert_eq!(bench.exchange.receive(&mut bench.rings, &mut burst), 3);
    assert_eq!(bench.exchange.receive(&mut bench.rings, &mut burst), 0);
    assert_eq!((burst.len(), bench.receive().len()), (3, 2));
}

#[test]
fn a_descriptor_outside_the_memory_is_counted_and_refused() {
    let mut bench = Bench::filled();
    for address in [u64::MAX, TOTAL as u64 * 2048, 1 << 43, u64::from(u32::MAX) << 11] {
        bench.kernel.deliver(address, 60, 0);
    }
    assert!(bench.receive().is_empty());
    assert_eq!((bench.faults().received_descriptors, bench.known()), (4, TOTAL));
}

#[test]
fn a_chunk_delivered_twice_becomes_one_frame() {
    let mut bench = Bench::filled();
    let address = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
    bench.kernel.deliver(address, 60, 0);
    bench.kernel.deliver(address, 60, 0);
    bench.kernel.deliver(address + 1, 60, 0);
    let frames = bench.receive();
    assert_eq!((frames.len(), bench.faults().received_descriptors), (1, 2));
    assert_eq!(bench.known() + frames.len(), TOTAL);
}

#[test]
fn a_chunk_that_was_never_given_is_refused() {
    let mut bench = Bench::new();
    bench.kernel.deliver(RX_OFFSET, 60, 0);
    assert!(bench.receive().is_empty());
    assert_eq!((bench.faults().received_descriptors, bench.known()), (1, TOTAL));
}

#[test]
fn a_chunk_given_by_another_socket_is_refused() {
    let mut bench = Bench::filled();
    let (mut other, mut rings, mut kernel) = connect(&bench.exchange.umem);
    let address = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
    kernel.deliver(address, 60, 0);
    let mut burst = Vec::with_capacity(4);
    assert_eq!(other.receive(&mut rings, &mut burst), 0);
    assert_eq!(other.faults(&rings).received_descriptors, 1);
    bench.kernel.deliver(address, 60, 0);
    assert_eq!(bench.receive().len(), 1, "its owner still gets it");
}

#[test]
fn a_length_beyond_the_chunk_is_refused_and_the_chunk_is_used_again() {
    let mut bench = Bench::filled();
    for bytes in [1729, 65_536, u32::MAX] {
        let address = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
        bench.kernel.deliver(address, bytes, 0);
    }
    assert!(bench.receive().is_empty());
    assert_eq!((bench.faults().received_descriptors, bench.known()), (3, TOTAL));
    let free = bench.pool.free_frames();
    assert_eq!((bench.refill(), bench.pool.free_frames()), (3, free), "the refused chunks are given first");
    let address = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
    bench.kernel.deliver(address, 1728, 0);
    assert_eq!(bench.receive()[0].len(), 1728);
}

#[test]
fn a_completion_is_believed_once_and_only_for_what_was_sent() {
    let mut bench = Bench::filled();
    let frame = bench.frame(60);
    assert!(bench.send([frame]).is_empty());
    let sent = bench.kernel.transmit()[0].address;
    let lent_for_receiving = bench.kernel.take_chunk().unwrap();
    for address in [sent, sent, lent_for_receiving, u64::MAX, 63 * 2048] {
        bench.kernel.complete(address);
    }
    assert_eq!(bench.reclaim(), 1);
    assert_eq!((bench.faults().completions, bench.known()), (4, TOTAL));
}

#[test]
fn an_index_that_ran_away_stops_the_ring_and_nothing_else() {
    let mut bench = Bench::filled();
    bench.kernel.rx.forge(ENTRIES + 1);
    bench.kernel.completion.forge(u32::MAX);
    bench.kernel.tx.forge(7);
    assert!(bench.receive().is_empty());
    assert_eq!(bench.reclaim(), 0);
    let frames: Vec<_> = (0..ENTRIES).map(|_| bench.frame(60)).collect();
    assert!(bench.send(frames).is_empty());
    assert_eq!((bench.faults().ring_indices, bench.known()), (2, TOTAL));
}

#[test]
fn a_packet_of_several_chunks_is_one_frame() {
    let mut bench = Bench::filled();
    bench.kernel.receive(&[1728, 1728, 10]);
    let frames = bench.receive();
    assert_eq!((frames.len(), frames[0].len(), frames[0].chunks()), (1, 3466, 3));
    assert_eq!(bench.pool.chunks(&frames[0]).map(<[u8]>::len).collect::<Vec<_>>(), [1728, 1728, 10]);
    assert!(bench.send(frames).is_empty());
    let sent = bench.kernel.transmit();
    assert_eq!(
        sent.iter().map(|part| (part.bytes, part.options)).collect::<Vec<_>>(),
        [(1728, 1), (1728, 1), (10, 0)]
    );
    sent.iter().for_each(|part| bench.kernel.complete(part.address));
    assert_eq!((bench.reclaim(), bench.known()), (3, TOTAL));
}

#[test]
fn a_packet_may_arrive_in_two_calls() {
    let mut bench = Bench::filled();
    let first = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
    bench.kernel.deliver(first, 1728, CONTINUES);
    assert!(bench.receive().is_empty());
    assert_eq!((bench.exchange.outstanding().fill, bench.known()), (ENTRIES, TOTAL));
    bench.kernel.receive(&[5]);
    assert_eq!(bench.receive()[0].len(), 1733);
}

#[test]
fn a_packet_of_too_many_chunks_is_given_up_and_the_next_one_is_not() {
    let mut bench = Bench::filled();
    bench.kernel.receive(&[100; CHUNKS_MAX + 1]);
    bench.kernel.receive(&[60]);
    let frames = bench.receive();
    assert_eq!((frames.len(), frames[0].len()), (1, 60));
    assert_eq!(bench.faults(), Faults { long_packets: 1, ..Faults::default() });
    assert_eq!(bench.known() + 1, TOTAL);
}

#[test]
fn a_refused_part_gives_the_whole_packet_up() {
    let mut bench = Bench::filled();
    for bytes in [100, 5000, 100] {
        let address = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
        bench.kernel.deliver(address, bytes, CONTINUES);
    }
    bench.kernel.receive(&[100]);
    bench.kernel.receive(&[61]);
    let frames = bench.receive();
    assert_eq!(frames.iter().map(Frame::len).collect::<Vec<_>>(), [61]);
    assert_eq!((bench.faults().received_descriptors, bench.known() + 1), (1, TOTAL));
}

#[test]
fn a_full_ring_takes_whole_packets_and_leaves_the_rest() {
    let mut bench = Bench::new();
    let single: Vec<_> = (0..30).map(|_| bench.frame(60)).collect();
    assert!(bench.send(single).is_empty());
    let frames = [bench.frame(5000), bench.frame(60)];
    assert_eq!(bench.send(frames).len(), 2, "three chunks do not fit into two slots, and nothing overtakes");
    assert_eq!(bench.kernel.transmit().len(), 30);
}

#[test]
fn a_frame_that_cannot_be_sent_is_counted_and_comes_back() {
    let mut bench = Bench::new();
    bench.exchange.multi_buffer = false;
    let empty = bench.pool.allocate().unwrap();
    let long = bench.frame(5000);
    let mut outside = bench.frame(60);
    outside.request_checksum(40, 19);
    let mut bare = bench.pool.allocate().unwrap();
    bare.offset = 16;
    bench.pool.append(&mut bare, &[0; 60]).unwrap();
    let good = bench.frame(60);
    assert!(bench.send([empty, long, outside, bare, good]).is_empty());
    assert_eq!((bench.kernel.transmit().len(), bench.faults().unsendable), (1, 4));
    assert_eq!(bench.exchange.outstanding(), Outstanding { fill: 0, tx: 7 });
    assert_eq!((bench.reclaim(), bench.known()), (6, TOTAL));
}

#[test]
fn metadata_is_written_for_a_request_and_never_carried_over() {
    let mut bench = Bench::filled();
    let mut frame = bench.frame(60);
    frame.request_checksum(34, 16);
    assert!(bench.send([frame]).is_empty());
    let sent = bench.kernel.transmit()[0];
    assert_eq!(sent.options, HAS_METADATA);
    bench.kernel.complete(sent.address);
    bench.reclaim();
    let mut frame = bench.pool.allocate().unwrap();
    assert_eq!(
        bench.exchange.umem.shared.address(frame.chunk, frame.offset),
        sent.address,
        "the same chunk again"
    );
    let metadata = bench.exchange.umem.shared.metadata_mut(&mut frame);
    assert_eq!(metadata[..12], [2, 0, 0, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
    bench.pool.write(&mut frame, &[1; 60]).unwrap();
    assert!(bench.send([frame]).is_empty());
    assert_eq!(bench.kernel.transmit()[0].options, 0);
}

#[test]
fn settling_gives_every_chunk_back_wherever_it_is() {
    let mut bench = Bench::filled();
    bench.kernel.receive(&[60]);
    bench.kernel.take_chunk();
    let unfinished = bench.kernel.take_chunk().unwrap() + RX_OFFSET;
    let frames = bench.receive();
    bench.kernel.deliver(unfinished, 9, CONTINUES);
    bench.receive();
    bench.send(frames);
    let empty = bench.pool.allocate().unwrap();
    bench.send([empty]);
    let Bench { exchange, mut pool, .. } = bench;
    assert_eq!(exchange.settle(&mut pool), 31 + 2);
    assert_eq!((pool.free_frames(), pool.umem().stranded_frames()), (TOTAL, 0));
}

#[test]
fn chunks_of_books_that_are_not_settled_are_counted_as_stranded() {
    let Bench { exchange, pool, .. } = Bench::filled();
    drop(exchange);
    assert_eq!(pool.free_frames() + pool.umem().stranded_frames() as usize, TOTAL);
    assert_eq!(pool.umem().stranded_frames(), ENTRIES);
}

#[test]
#[should_panic(expected = "a pool of another UMEM")]
fn a_pool_of_another_memory_is_refused() {
    let mut bench = Bench::new();
    let mut other = Bench::new();
    bench.exchange.refill(&mut bench.rings, &mut other.pool);
}

#[test]
#[should_panic(expected = "a frame of another UMEM")]
fn a_frame_of_another_memory_cannot_be_sent() {
    let mut bench = Bench::new();
    let frame = Bench::new().frame(60);
    bench.send([frame]);
}

/// A small generator, so that a failing case is found again from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Returns an address as a hostile kernel might invent it: often nearly right.
fn invented(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => u64::MAX - random.below(4096),
        1 => random.below(1 << 50),
        _ => random.below(TOTAL as u64 * 2048 + 512),
    }
}

#[test]
fn no_hostile_kernel_makes_two_frames_of_one_chunk_or_loses_one() {
    let seeds = if cfg!(miri) { 1..3 } else { 1..40 };
    for seed in seeds {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut bench = Bench::new();
        let mut held: VecDeque<Frame> = VecDeque::new();
        for step in 0..if cfg!(miri) { 150 } else { 2000 } {
            hostile_step(&mut bench, &mut held, &mut random);
            let mut chunks: Vec<u32> = held
                .iter()
                .flat_map(|frame| bench.exchange.umem.shared.spans(frame).map(|span| span.chunk))
                .collect();
            let held_chunks = chunks.len();
            chunks.sort_unstable();
            chunks.dedup();
            assert_eq!(chunks.len(), held_chunks, "seed {seed} step {step}: a chunk is in two frames");
            assert_eq!(
                bench.known() + held_chunks,
                TOTAL,
                "seed {seed} step {step}: chunks were lost or made"
            );
        }
        assert!(
            bench.faults().received_descriptors > 0 && bench.faults().completions > 0,
            "seed {seed} was tame"
        );
    }
}

/// Lets either side do something.
fn hostile_step(bench: &mut Bench, held: &mut VecDeque<Frame>, random: &mut Random) {
    match random.below(9) {
        0 => {
            bench.refill();
        }
        1 => {
            let mut burst = Vec::with_capacity(8);
            bench.exchange.receive(&mut bench.rings, &mut burst);
            for mut frame in burst {
                bench.pool.bytes_mut(&mut frame).fill(0xa5);
                held.push_back(frame);
            }
        }
        2 => {
            bench.exchange.send(&mut bench.rings, held);
        }
        3 => {
            bench.reclaim();
        }
        4 if !held.is_empty() => bench.pool.release(held.pop_front().unwrap()),
        5 => {
            for part in bench.kernel.transmit() {
                if bench.kernel.completion.free(2) >= 2 && random.below(8) > 0 {
                    bench.kernel.complete(part.address);
                    if random.below(4) == 0 {
                        bench.kernel.complete(part.address);
                    }
                }
            }
        }
        6 if bench.kernel.rx.free(1) > 0 => {
            let options = u32::from(random.below(3) == 0);
            let address = invented(random);
            let bytes = u32::try_from(random.below(2300)).unwrap();
            bench.kernel.deliver(address, bytes, options);
        }
        7 if bench.kernel.completion.free(1) > 0 => {
            let address = invented(random);
            bench.kernel.complete(address);
        }
        _ if bench.kernel.rx.free(1) > 0 => {
            if let Some(address) = bench.kernel.take_chunk() {
                let options = u32::from(random.below(3) == 0);
                bench.kernel.deliver(address + RX_OFFSET, 60, options);
            }
        }
        _ => {}
    }
}
