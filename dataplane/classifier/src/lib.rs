//! The compiled priority trie: stages 5 to 7 of a verdict in a time that does not grow with the rules.
//!
//! # The problem
//! For the first packet of a flow: which is the first rule, in the order of `Policy.rules`, whose source side holds the
//! source address, whose destination side holds the destination address, and whose protocol, port or type fits? If
//! there is none: do both addresses share a group, and may its members talk? If not: the default. The same once more
//! with shadow rules taken in, to report what they would change.
//!
//! # The plain answer
//! [`Policy::decide`]: go through the rules, look through each side's prefixes and endpoints. It is right by reading,
//! and it is the oracle of everything here. It costs the product of rules and group sizes: with 2,000 rules between
//! groups of some hundred endpoints, a core judges some thousand packets a second where millions arrive.
//!
//! # Refinements, and what each costs
//! 1. **Ask for the groups of an address once, not once a rule.** A packet's addresses are in the same groups whatever
//!    the rule. Every distinct set of groups and peers that any address is in becomes a *class*, and a trie leads from
//!    address to class (`classes`, `address_trie`). Source and destination have roots of their own: rules tell other
//!    addresses apart on either side, and what no rule of a side tells apart is one class there. Costs a table that is
//!    built anew with each version.
//! 2. **Ask for the port once.** Ports, types and protocols that no rule tells apart are one *L4 class* (`l4_class`).
//!    Costs 65,536 points a protocol that rules name by port, stored as pages of which few differ.
//! 3. **Find rules by the pair of groups.** A cell (source column, destination column) names a *program*: for each L4
//!    class the rank of the first of the pair's rules that holds it (`matrix`, `l4_program`). Smaller ranks go
//!    first, so the best of all pairs of columns is the first match of the list: no rule is ever gone through. Costs a
//!    matrix; nearly all of it is empty and stored once.
//! 4. **Choose columns.** A class need not list its groups one by one: a column may stand for several, its rules merged
//!    beforehand (`columns`). Many columns a class are many reads of a small matrix; one column a class is a single read of
//!    one that has a row for every class. All classes of a side have the same number of columns, so that the loop is the same
//!    for every packet. What merging costs in memory shows only while it is done, so a form that grows too large is given up
//!    for the next one.
//! 5. **Put merged cells together from their parts.** A rule from everywhere meets every row; to write it into all its cells
//!    would take minutes where thousands of such rules overlap. The programs of pairs of single groups are written, as many
//!    as there are rules, and those of larger sets are merged from them, block by block, every pair once (`matrix`).
//! 6. **Make membership and the default rules.** A group whose members may talk is a rule from the group to itself, for
//!    every L4 class, ranked behind all real rules: groups that deny first, then those that allow, each in the order of
//!    their numbers; the default's rank is the last one, and stands in every empty program. Stages 6 and 7 need no step
//!    of their own.
//! 7. **Let the loads of a burst overlap, and branch on nothing that a packet says.** See `burst`. A branch that is foreseen
//!    wrongly costs as much as twenty loads from the cache; so the reference of a digit is found by comparing all places of a
//!    node and counting, and protocols with and without ports go through the same tables. Each step has one load that may be
//!    far away: a processor keeps some two hundred instructions in flight, and those that wait for a load which itself waits
//!    take the room of others (three loads in one loop took twice as long as three loops).
//! 8. **Say as little as possible.** What decides a packet is a *rank* of two bytes; the decision that it stands for is looked
//!    up where it is needed. Blocks, cells and ranks are numbers of two bytes, nodes are one cache line.
//!
//! ```text
//! source      --trie--> class --> columns (rows)  --+
//!                                                    +--> cells --> programs --+
//! destination --trie--> class --> columns          --+                          +--> smallest rank --> decision
//! protocol, port | type, code --pages--> L4 class ------------------------------+
//! ```
//!
//! Shadow rules have a matrix of their own over the same classes and columns. It exists, and is read, only if the policy
//! has shadow rules; one decides if its rank is smaller than that of the enforced decision.
//!
//! # The next version
//! Most versions change a rule. [`Compiler`] keeps what rules do not change: the classes of addresses, and which groups make a
//! column; what is left is to fill the matrix and to lay out the tries. Its classifiers are those of a full rebuild.
//!
//! # What may run at once
//! A classifier is immutable: any number of workers read it while the next version is compiled beside it. It knows
//! nothing of devices, flows or clocks. A look-up allocates nothing and cannot fail; all that can be refused is refused
//! by [`Classifier::compile`] (control does so before it keeps a version), and what compiled is held against the plain answer by [`Classifier::prove`].
//!
//! # Layout
//! ```text
//! root_of_segment: [u16]       segment number -> place in roots
//! roots:           v4, v6      root tables of source addresses and of destination addresses
//! trie.tables:     [u32; 256]  upper byte -> where its page begins
//! trie.pages:      [8 bytes]   256 a page: second byte -> row of nodes, and how one is chosen
//! trie.nodes:      64 bytes    { lasts [i16; 10], references [u32; 11] }: class, nodes or skip
//! columns:         [u32]       for each list of columns where its rows begin, or its destination columns; a class that
//!                              has one column is that column
//! matrix.rows:     [u16]       the block of 32 destination columns; none where blocks stand in their order
//! matrix.blocks:   64 bytes    32 programs
//! programs.ranks:  [u16]       for each program the rank of each L4 class
//! ends:            [Decision]  one a rank
//! ```
#![forbid(unsafe_code)]

mod address_trie;
mod addresses;
mod burst;
mod classes;
mod columns;
mod compile;
mod compiler;
mod l4_class;
mod l4_program;
mod matrix;
mod proof;
mod rank_sets;
mod store;

use address_trie::{AddressTrie, Root};
pub use columns::ColumnBudget;
pub use compile::CompileError;
pub use compiler::Compiler;
use l4_class::L4Classes;
use matrix::Matrix;
use meshgate_policy::{Decision, Policy, PolicyKey, SegmentId, ShadowDecision};
pub use proof::{Difference, Proof, ProofBudget};
use rank_sets::RankSets;
use std::net::IpAddr;

/// Keys that are staged together: a burst of the worker. Their walks are 3 KiB of stack.
pub const BURST_KEYS: usize = 64;

/// A compiled policy. Immutable; any number of workers may ask it at once.
#[derive(Debug)]
pub struct Classifier {
    /// Roots of the tries: first those of a segment that claims no address.
    roots: Vec<Roots>,
    /// Place in `roots` of each segment number; the last place stands for all numbers from there on.
    root_of_segment: Vec<u16>,
    trie: AddressTrie,
    l4_classes: L4Classes,
    /// How many classes there are.
    classes: usize,
    /// How what decides a packet comes from its classes.
    judge: Judge,
    /// Rules of the policy; ranks from here on are memberships and the default.
    rules: u32,
    /// The decision of each rank.
    ends: Vec<Decision>,
}

/// How what decides a packet comes from its classes.
#[derive(Debug)]
enum Judge {
    Columns(Box<ByColumns>),
    Sets(RankSets),
}

/// By the cells of columns.
#[derive(Debug)]
struct ByColumns {
    /// The columns of each class: rows of source columns, numbers of destination columns.
    columns: [ClassColumns; 2],
    /// Enforced rules and membership.
    enforced: Matrix,
    /// Shadow rules, if there are any.
    shadow: Option<Matrix>,
    /// How many source and destination columns there are.
    count: [usize; 2],
}

/// What decides a packet: its place among all that a policy can decide by, which are its rules in their order, then the
/// membership of each group, then the default. The smaller one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u16);

/// What stages 5 to 7 say about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict; equal to [`Policy::decide`].
    pub decision: Decision,
    /// Place in `Policy.rules` of the rule that decided, for counters.
    pub rule_index: Option<u32>,
    /// What shadow rules would change; equal to [`Policy::decide_shadow`].
    pub shadow: Option<ShadowDecision>,
}

/// What the compiler chose, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of all tables.
    pub bytes: usize,
    /// Classes: distinct sets of groups that an address can be in.
    pub classes: usize,
    /// Columns of the source side and of the destination side, or sets of ranks.
    pub columns: [usize; 2],
    /// Columns of each class on the source side and on the destination side: a packet reads as many cells as their product.
    /// Zero where ranks come from sets.
    pub columns_per_class: [usize; 2],
    /// Cells in which a rule or a membership stands.
    pub cells: usize,
    /// Different L4 programs.
    pub programs: usize,
    /// Classes of protocol, port and type.
    pub l4_classes: usize,
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            bytes,
            classes,
            columns: [sources, destinations],
            columns_per_class: [source, destination],
            ..
        } = self;
        let Self { cells, programs, l4_classes, .. } = self;
        if self.columns_per_class == [0, 0] {
            return write!(
                f,
                "{bytes} bytes, {classes} classes, {sources} source sets and {destinations} destination sets of ranks, \
                 {l4_classes} L4 classes"
            );
        }
        write!(
            f,
            "{bytes} bytes, {classes} classes, {sources} x {destinations} columns, {source} x {destination} cells a \
             packet, {cells} cells, {programs} programs, {l4_classes} L4 classes"
        )
    }
}

/// The roots of one segment.
#[derive(Clone, Copy, Debug, Default)]
struct Roots {
    /// Of source addresses and of destination addresses.
    ipv4: [Root; 2],
    ipv6: [Root; 2],
}

impl Roots {
    /// Returns the roots of an address's family.
    fn of(&self, address: IpAddr) -> [Root; 2] {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// The classes of one packet.
#[derive(Clone, Copy, Debug, Default)]
struct KeyClasses {
    source: u32,
    destination: u32,
    l4: u32,
}

/// The columns of all classes on one side.
#[derive(Debug)]
struct ClassColumns {
    /// Columns of each class.
    per_class: usize,
    /// Their places in the matrix.
    places: Vec<u32>,
}

impl ClassColumns {
    /// Returns the places of a class's columns.
    #[inline]
    fn of<'a>(&'a self, class: &'a u32) -> &'a [u32] {
        match self.per_class {
            1 => std::slice::from_ref(class),
            per_class => &self.places[*class as usize * per_class..][..per_class],
        }
    }
}

impl Classifier {
    /// Returns the compiled form of a policy, or which limit it exceeds.
    pub fn compile(policy: &Policy) -> Result<Self, CompileError> {
        Self::compile_within(policy, ColumnBudget::default())
    }

    /// Returns the same, with another budget for merging groups into columns; the answers are the same for all.
    pub fn compile_within(policy: &Policy, budget: ColumnBudget) -> Result<Self, CompileError> {
        compiler::compile_once(policy, budget)
    }

    /// Returns what stages 5 to 7 say about a packet.
    pub fn classify(&self, key: &PolicyKey) -> Judgement {
        let [source, _] = self.classes_of(key.segment, key.source);
        let [_, destination] = self.classes_of(key.segment, key.destination);
        let classes = KeyClasses { source, destination, l4: self.l4_classes.class_of(key.l4) };
        self.judgement(self.judge.enforced(classes), classes)
    }

    /// Writes what stages 5 to 7 say about each packet, as [`Self::classify`] does, to the same place of
    /// `judgements`.
    pub fn classify_burst(&self, keys: &[PolicyKey], judgements: &mut [Judgement]) {
        for (keys, judgements) in keys.chunks(BURST_KEYS).zip(judgements.chunks_mut(BURST_KEYS)) {
            self.judge_burst(keys, judgements);
        }
    }

    /// Writes what decides each packet to the same place of `ranks`.
    pub fn ranks(&self, keys: &[PolicyKey], ranks: &mut [Rank]) {
        for (keys, ranks) in keys.chunks(BURST_KEYS).zip(ranks.chunks_mut(BURST_KEYS)) {
            self.rank_burst(keys, ranks);
        }
    }

    /// Returns the decision that a rank stands for.
    pub fn decision(&self, rank: Rank) -> &Decision {
        &self.ends[usize::from(rank.0)]
    }

    /// Returns the place in `Policy.rules` of the rule that a rank stands for.
    pub fn rule_index(&self, rank: Rank) -> Option<u32> {
        (u32::from(rank.0) < self.rules).then_some(rank.0.into())
    }

    /// Returns what the compiler chose, and what it costs.
    pub fn footprint(&self) -> Footprint {
        let bytes = size_of_val(self.roots.as_slice())
            + size_of_val(self.root_of_segment.as_slice())
            + self.trie.bytes()
            + self.l4_classes.bytes()
            + self.judge.bytes()
            + size_of_val(self.ends.as_slice());
        let (classes, l4_classes) = (self.classes, self.l4_classes.count() as usize);
        let of = |columns, columns_per_class, (cells, programs)| Footprint {
            bytes,
            classes,
            columns,
            columns_per_class,
            cells,
            programs,
            l4_classes,
        };
        match &self.judge {
            Judge::Columns(by) => of(by.count, by.columns.each_ref().map(|side| side.per_class), by.counts()),
            Judge::Sets(sets) => of(sets.counts(), [0, 0], (0, 0)),
        }
    }

    /// Returns the roots under which a segment's addresses are looked up.
    #[inline]
    fn roots(&self, segment: SegmentId) -> Roots {
        let at = usize::from(segment.0).min(self.root_of_segment.len() - 1);
        self.roots[usize::from(self.root_of_segment[at])]
    }

    /// Returns the class of an address of a segment, as a source and as a destination.
    fn classes_of(&self, segment: SegmentId, address: IpAddr) -> [u32; 2] {
        self.roots(segment).of(address).map(|root| self.trie.class_of(root, address))
    }

    /// Returns the judgement of a packet by what decides it among the enforced rules.
    #[inline]
    fn judgement(&self, rank: Rank, key: KeyClasses) -> Judgement {
        let decision = *self.decision(rank);
        let shadow = self.judge.shadow(key).and_then(|first| {
            let decision_then = *self.decision(first);
            (first < rank && decision_then.action != decision.action)
                .then_some(decision_then.rule)
                .flatten()
                .map(|rule| ShadowDecision { decision: decision_then, rule })
        });
        Judgement { decision, rule_index: self.rule_index(rank), shadow }
    }
}

impl Judge {
    /// Returns what decides a packet whose classes are known, among enforced rules and memberships.
    #[inline]
    fn enforced(&self, key: KeyClasses) -> Rank {
        match self {
            Self::Columns(by) => by.rank(&by.enforced, key),
            Self::Sets(sets) => Rank(sets.enforced(key.source, key.destination, key.l4)),
        }
    }

    /// Returns the first shadow rule that holds it, or the last rank; nothing without shadow rules.
    #[inline]
    fn shadow(&self, key: KeyClasses) -> Option<Rank> {
        match self {
            Self::Columns(by) => by.shadow.as_ref().map(|matrix| by.rank(matrix, key)),
            Self::Sets(sets) => sets.shadow(key.source, key.destination, key.l4).map(Rank),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Columns(by) => by.bytes(),
            Self::Sets(sets) => sets.bytes(),
        }
    }
}

impl ByColumns {
    /// Returns what decides a packet whose classes are known, among the rules of a matrix.
    #[inline]
    fn rank(&self, matrix: &Matrix, key: KeyClasses) -> Rank {
        let [rows, columns] = &self.columns;
        Rank(matrix.best_rank(rows.of(&key.source), columns.of(&key.destination), key.l4))
    }

    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        std::iter::once(&self.enforced).chain(&self.shadow)
    }

    /// Returns how many cells have a program that is not empty, and how many different programs there are.
    fn counts(&self) -> (usize, usize) {
        self.matrices().map(Matrix::counts).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn bytes(&self) -> usize {
        let places = self.columns.iter().map(|side| size_of_val(side.places.as_slice()));
        places.sum::<usize>() + self.matrices().map(Matrix::bytes).sum::<usize>()
    }
}
