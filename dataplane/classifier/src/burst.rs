//! The look-up over a burst: each step is taken for all packets before the next one begins.
//!
//! The steps of one packet wait for each other's loads; those of 64 packets do not. So the processor has up to 128
//! loads in flight instead of one, and a miss of one packet costs the others little. No step has a branch that depends on a
//! packet, but for what is rare: IPv6 among IPv4, and addresses that need more than one step behind the root.

use super::address_trie::{
    AddressTrie, NodePlace, Ordered, Reference, RootReference, RootTable, digits_of, key_of,
};
use super::matrix::Matrix;
use super::{BURST_KEYS, ByColumns, Classifier, Judge, Judgement, KeyClasses, Rank, Roots};
use meshgate_policy::PolicyKey;
use std::net::IpAddr;

/// The second digit of an IPv4 address.
const LOWER: u32 = 0xffff;

/// Packets that a step takes at once, so that counting them costs less.
const QUAD: usize = 4;

/// Returns how many quads so many packets are; what fills up the last one is looked up for nothing.
fn quads_of(packets: usize) -> usize {
    packets.div_ceil(QUAD)
}

/// Returns the quads of a burst.
#[inline(always)]
fn quads<T>(burst: &[T; BURST_KEYS]) -> &[[T; QUAD]] {
    burst.as_chunks().0
}

/// Returns the same, to be written.
#[inline(always)]
fn quads_mut<T>(burst: &mut [T; BURST_KEYS]) -> &mut [[T; QUAD]] {
    burst.as_chunks_mut().0
}

/// Where the walks of a burst's addresses have come to: source and destination of each packet.
type Walks = [[Reference; 2]; BURST_KEYS];
/// The second digits of addresses.
type Digits = [[u16; 2]; BURST_KEYS];
/// The rows of nodes that first digits lead to.
type Rows = [[RootReference; 2]; BURST_KEYS];

/// Where second digits are looked up.
struct Places {
    nodes: [[NodePlace; 2]; BURST_KEYS],
    /// Of sources, and of destinations: apart, so that each is spread over a vector as it is loaded.
    digits: [[Ordered; BURST_KEYS]; 2],
}

impl Classifier {
    /// Writes what decides each of at most [`BURST_KEYS`] packets; those beyond the shorter of the two lists are left out.
    pub(super) fn rank_burst(&self, keys: &[PolicyKey], ranks: &mut [Rank]) {
        let walks = self.walk(keys);
        let count = keys.len().min(ranks.len());
        self.rank_walks(&walks, &self.l4_classes_of(keys), &mut ranks[..count]);
    }

    /// Judges at most [`BURST_KEYS`] packets; those beyond the shorter of the two lists are left out.
    pub(super) fn judge_burst(&self, keys: &[PolicyKey], judgements: &mut [Judgement]) {
        let (walks, l4) = (self.walk(keys), self.l4_classes_of(keys));
        let mut ranks = [Rank::default(); BURST_KEYS];
        self.rank_walks(&walks, &l4, &mut ranks[..keys.len()]);
        for (at, judgement) in judgements.iter_mut().enumerate().take(keys.len()) {
            let [source, destination] = walks[at].map(Reference::class);
            *judgement = self.judgement(ranks[at], KeyClasses { source, destination, l4: l4[at] });
        }
    }

    /// Writes what decides packets whose classes are known.
    fn rank_walks(&self, walks: &Walks, l4: &[u32; BURST_KEYS], ranks: &mut [Rank]) {
        match &self.judge {
            Judge::Columns(by) => by.rank_walks(walks, l4, ranks),
            Judge::Sets(sets) => sets.ranks(&walks.map(|walk| walk.map(Reference::class)), l4, ranks),
        }
    }
    /// Returns the classes of protocols, ports and types.
    #[inline(never)]
    fn l4_classes_of(&self, keys: &[PolicyKey]) -> [u32; BURST_KEYS] {
        let mut classes = [0; BURST_KEYS];
        let (quads, rest) = keys.as_chunks::<QUAD>();
        for (keys, classes) in quads.iter().zip(quads_mut(&mut classes)) {
            for (key, class) in keys.iter().zip(classes) {
                *class = self.l4_classes.class_of(key.l4);
            }
        }
        for (key, class) in rest.iter().zip(&mut classes[keys.len() - rest.len()..]) {
            *class = self.l4_classes.class_of(key.l4);
        }
        classes
    }

    /// Returns the classes of all addresses.
    #[inline]
    fn walk(&self, keys: &[PolicyKey]) -> Walks {
        debug_assert!(keys.len() <= BURST_KEYS, "the caller cuts longer lists");
        let mut rows = [[RootReference::default(); 2]; BURST_KEYS];
        let mut digits = [[0; 2]; BURST_KEYS];
        let mut walks = [[Reference::default(); 2]; BURST_KEYS];
        let has_ipv6 = self.begin(keys, &mut rows, &mut digits);
        let is_over = first_steps(&self.trie, &places_of(&rows, &digits), &mut walks, keys.len());
        // What fills up the last quad is of the first class, which has a place in every table of either side.
        walks[keys.len()..quads_of(keys.len()) * QUAD].fill([Reference::default(); 2]);
        if !is_over {
            let open = Open::of(&walks[..keys.len()]);
            if has_ipv6 {
                finish_mixed(&self.trie, keys, &mut walks, &open);
            } else {
                finish_ipv4(&self.trie, &digits, &mut walks, open);
            }
        }
        walks
    }

    /// Writes which rows of nodes all addresses lead to from the root tables, and their second digits; returns whether there is
    /// IPv6 among them.
    fn begin(&self, keys: &[PolicyKey], rows: &mut Rows, digits: &mut Digits) -> bool {
        let mut has_ipv6 = false;
        let mut at = 0;
        while let Some(key) = keys.get(at) {
            let roots = self.roots(key.segment);
            let (count, is_mixed) =
                begin_segment(&self.trie, roots, &keys[at..], &mut rows[at..], &mut digits[at..]);
            has_ipv6 |= is_mixed;
            at += count;
        }
        has_ipv6
    }
}

impl ByColumns {
    /// Writes what decides packets whose classes are known.
    fn rank_walks(&self, walks: &Walks, l4: &[u32; BURST_KEYS], ranks: &mut [Rank]) {
        // What is the same for every packet is known to the compiler in the usual cases.
        match [self.columns[0].per_class, self.columns[1].per_class] {
            [1, 1] => self.ranks_of::<1, 1>(walks, l4, ranks),
            [1, 2] => self.ranks_of::<1, 2>(walks, l4, ranks),
            [1, 3] => self.ranks_of::<1, 3>(walks, l4, ranks),
            [1, 4] => self.ranks_of::<1, 4>(walks, l4, ranks),
            [2, 1] => self.ranks_of::<2, 1>(walks, l4, ranks),
            [2, 2] => self.ranks_of::<2, 2>(walks, l4, ranks),
            [2, 3] => self.ranks_of::<2, 3>(walks, l4, ranks),
            [2, 4] => self.ranks_of::<2, 4>(walks, l4, ranks),
            [3, 1] => self.ranks_of::<3, 1>(walks, l4, ranks),
            [3, 2] => self.ranks_of::<3, 2>(walks, l4, ranks),
            [3, 3] => self.ranks_of::<3, 3>(walks, l4, ranks),
            [3, 4] => self.ranks_of::<3, 4>(walks, l4, ranks),
            [4, 1] => self.ranks_of::<4, 1>(walks, l4, ranks),
            [4, 2] => self.ranks_of::<4, 2>(walks, l4, ranks),
            [4, 3] => self.ranks_of::<4, 3>(walks, l4, ranks),
            [4, 4] => self.ranks_of::<4, 4>(walks, l4, ranks),
            _ => {
                for ((walks, l4), rank) in walks.iter().zip(l4).zip(ranks) {
                    let [source, destination] = walks.map(Reference::class);
                    *rank = self.rank(&self.enforced, KeyClasses { source, destination, l4: *l4 });
                }
            }
        }
    }

    /// Writes what decides packets whose classes are known, of a policy whose classes have so many rows and columns.
    // A function of its own, as the other steps are, has all registers for its loop.
    #[inline(never)]
    fn ranks_of<const ROWS: usize, const COLUMNS: usize>(
        &self,
        walks: &Walks,
        l4: &[u32; BURST_KEYS],
        ranks: &mut [Rank],
    ) {
        let (rows, columns) =
            (self.columns[0].places.as_chunks::<ROWS>().0, self.columns[1].places.as_chunks::<COLUMNS>().0);
        let matrix: &Matrix = &self.enforced;
        // Each of these steps has one load that may be far away, and none waits for another one's. What is only reckoned is done
        // apart from loads, by vector units for several packets at once.
        let packets = (quads_of(ranks.len()) * QUAD).min(BURST_KEYS);
        let mut cells = [[[0; COLUMNS]; ROWS]; BURST_KEYS];
        let mut within = [[0; COLUMNS]; BURST_KEYS];
        for ((cells, within), walks) in cells.iter_mut().zip(&mut within).zip(&walks[..packets]) {
            let [source, destination] = *walks;
            let (rows, columns) = (places(rows, source), places(columns, destination));
            for (within, column) in within.iter_mut().zip(columns) {
                *within = Matrix::within_block(column);
            }
            for (cells, row) in cells.iter_mut().zip(rows) {
                for (cell, column) in cells.iter_mut().zip(columns) {
                    *cell = Matrix::block_of(row, column);
                }
            }
        }
        matrix.find_cells(&mut cells[..packets], &within);
        let mut programs = [[[0; COLUMNS]; ROWS]; BURST_KEYS];
        let each = programs.as_flattened_mut().as_flattened_mut().iter_mut();
        for (program, cell) in each.zip(cells[..packets].as_flattened().as_flattened()) {
            *program = matrix.program(*cell);
        }
        matrix.programs.places(&programs, l4, &mut cells);
        for (places, rank) in cells.iter().zip(ranks) {
            let mut best = u16::MAX;
            for place in places.as_flattened() {
                best = best.min(matrix.programs.rank_at(*place));
            }
            *rank = Rank(best);
        }
    }
}

/// Does the same for the packets in front that are of one segment; returns their number, and whether there is IPv6 among them.
// What changes with the segment is outside of the loop, which has just enough registers.
#[inline(never)]
fn begin_segment(
    trie: &AddressTrie,
    roots: Roots,
    keys: &[PolicyKey],
    rows: &mut [[RootReference; 2]],
    digits: &mut [[u16; 2]],
) -> (usize, bool) {
    let [sources, destinations]: [&RootTable; 2] = roots.ipv4.map(|root| trie.table(root));
    let segment = keys[0].segment;
    let mut has_ipv6 = false;
    let mut count = 0;
    for ((key, rows), digits) in keys.iter().zip(rows).zip(digits) {
        if key.segment != segment {
            break;
        }
        count += 1;
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (key.source, key.destination) {
            let (source, destination) = (source.to_bits(), destination.to_bits());
            *rows = [
                trie.start(sources, (source >> 16) as u16),
                trie.start(destinations, (destination >> 16) as u16),
            ];
            *digits = [(source & LOWER) as u16, (destination & LOWER) as u16];
        } else {
            has_ipv6 = true;
            (*rows, *digits) = begin_ipv6(trie, roots, key);
        }
    }
    (count, has_ipv6)
}

/// The packets of which a walk goes on.
struct Open {
    /// Their numbers.
    packets: [u8; BURST_KEYS],
    count: usize,
}

impl Open {
    /// Returns those of all packets.
    fn of(walks: &[[Reference; 2]]) -> Self {
        let mut open = Self { packets: [0; BURST_KEYS], count: 0 };
        walks.iter().zip(0..).for_each(|(walks, packet)| open.add(packet, *walks));
        open
    }

    /// Adds a packet; one whose walks are over is written over by the next one.
    #[inline(always)]
    fn add(&mut self, packet: u8, walks: [Reference; 2]) {
        self.packets[self.count % BURST_KEYS] = packet;
        self.count += usize::from(!walks[0].and(walks[1]).is_leaf());
    }
}

/// Returns the places of the columns of a class.
#[inline(always)]
fn places<const N: usize>(lists: &[[u32; N]], class: Reference) -> [u32; N] {
    if N == 1 { [class.class(); N] } else { lists[class.class() as usize] }
}

/// Returns the rows that both addresses of a packet lead to from the root tables, and their second digits.
#[cold]
#[inline(never)]
fn begin_ipv6(trie: &AddressTrie, roots: Roots, key: &PolicyKey) -> ([RootReference; 2], [u16; 2]) {
    let [source, destination] = [key.source, key.destination].map(|address| digits_of(key_of(address)));
    let [source_root, destination_root] = [roots.of(key.source)[0], roots.of(key.destination)[1]];
    let rows = [
        trie.start(trie.table(source_root), source[0]),
        trie.start(trie.table(destination_root), destination[0]),
    ];
    (rows, [source[1], destination[1]])
}

/// Returns the node of each second digit, and the digit as nodes compare it. It reads nothing but its own lists, so that
/// vector units take eight addresses at once.
#[inline(never)]
fn places_of(rows: &Rows, digits: &Digits) -> Places {
    let mut places = Places {
        nodes: [[NodePlace::default(); 2]; BURST_KEYS],
        digits: [[Ordered::default(); BURST_KEYS]; 2],
    };
    let each = rows.as_flattened().iter().zip(digits.as_flattened());
    for ((row, digit), node) in each.zip(places.nodes.as_flattened_mut()) {
        *node = row.node(*digit);
    }
    let [sources, destinations] = &mut places.digits;
    for (([source, destination], of_source), of_destination) in digits.iter().zip(sources).zip(destinations) {
        (*of_source, *of_destination) = (Ordered::new(*source), Ordered::new(*destination));
    }
    places
}

/// Writes where the walks of so many packets lead to in the step behind the root tables; returns whether all are over then.
#[inline(never)]
fn first_steps(trie: &AddressTrie, places: &Places, walks: &mut Walks, packets: usize) -> bool {
    let mut all = Reference::ALL_LEAVES;
    let [sources, destinations] = &places.digits;
    let digits = quads(sources).iter().zip(quads(destinations));
    let each = quads(&places.nodes).iter().zip(digits).zip(quads_mut(walks)).take(quads_of(packets));
    for ((nodes, (sources, destinations)), walks) in each {
        for at in 0..QUAD {
            let [source, destination] = nodes[at];
            walks[at] =
                [trie.first_step(source, sources[at]), trie.first_step(destination, destinations[at])];
            all = all.and(walks[at][0]).and(walks[at][1]);
        }
    }
    all.is_leaf()
}

/// Takes walks of IPv4 addresses to their leaves.
#[inline(never)]
fn finish_ipv4(trie: &AddressTrie, digits: &Digits, walks: &mut Walks, mut open: Open) {
    while open.count > 0 {
        for place in 0..std::mem::take(&mut open.count) {
            let packet = open.packets[place % BURST_KEYS];
            let number = usize::from(packet) % BURST_KEYS;
            let (at, digits) = (&mut walks[number], digits[number]);
            *at = [trie.step_unless_leaf(at[0], digits[0]), trie.step_unless_leaf(at[1], digits[1])];
            open.add(packet, *at);
        }
    }
}

/// Takes walks of addresses of both families to their leaves.
#[inline(never)]
fn finish_mixed(trie: &AddressTrie, keys: &[PolicyKey], walks: &mut Walks, open: &Open) {
    let mut rests = [[0u128; 2]; BURST_KEYS];
    let packets = &open.packets[..open.count.min(BURST_KEYS)];
    for packet in packets.iter().map(|packet| usize::from(*packet)) {
        let keys = [keys[packet].source, keys[packet].destination].map(key_of);
        rests[packet] = [walks[packet][0].rest_of(keys[0]), walks[packet][1].rest_of(keys[1])];
    }
    loop {
        let mut is_over = true;
        for packet in packets.iter().map(|packet| usize::from(*packet)) {
            for (at, rest) in walks[packet].iter_mut().zip(&mut rests[packet]) {
                if !at.is_leaf() {
                    (*at, *rest) = trie.step_or_skip(*at, *rest);
                    is_over &= at.is_leaf();
                }
            }
        }
        if is_over {
            break;
        }
    }
}
