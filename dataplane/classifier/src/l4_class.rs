//! L4 classes: (protocol, destination port | ICMP type and code) -> one small number, once per packet.
//!
//! Two keys are of one class if no rule of the policy can tell them apart. Each protocol that rules name by port or
//! type has 65,536 points, ports or `type * 256 + code`; each other protocol has one. The points are cut where a rule
//! begins or ends; then every distinct match splits each class into the part it holds and the part it does not
//! (partition refinement: exact, and no set of rules is ever stored).
//!
//! ```text
//! protocol -> row of the directory [point / 64] -> page[point % 64] = class     equal rows and pages are stored once
//! ```

use super::address_trie::index_u32;
use super::compile::CompileError;
use meshgate_policy::{L4Key, L4Match, Policy, Protocol, Rule};
use std::collections::{BTreeSet, HashMap};

/// Points on one page.
const PAGE_POINTS: usize = 64;
/// Points of a protocol with ports or types: 2^16, and one for an ICMP key that has no possible type or code.
const SPACE_POINTS: u32 = 0x1_0001;
/// The point of an ICMP key whose type or code no message can have.
const NO_POINT: u32 = 0x1_0000;
/// Pages of all ports.
const PORT_PAGES: usize = (u16::MAX as usize + 1) / PAGE_POINTS;
/// L4 classes of a policy. Classes are stored as `u16`; a policy that names every TCP port apart still fits.
pub(super) const L4_CLASSES_MAX: usize = 1 << 16;
/// Pieces that all matches hold together: what telling them apart takes time and memory for.
pub(super) const L4_PIECES_MAX: usize = 1 << 26;

/// How the points of a protocol are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Points {
    /// One point.
    One,
    /// One a destination port.
    Ports,
    /// One an ICMP type and code.
    Types,
}

/// The map from L4 keys to classes.
#[derive(Debug)]
pub(super) struct L4Classes {
    /// Where the page numbers of each protocol begin in the directory.
    spaces: [u32; 256],
    /// All ones for a protocol whose points are types and codes.
    types: [u32; 256],
    /// Whether there is such a protocol.
    has_types: bool,
    /// Page numbers. Those of protocols with one class are the same number for every port, so that all protocols are looked
    /// up alike, without a branch: the protocols of a burst are mixed.
    directory: Vec<u16>,
    pages: Vec<[u16; PAGE_POINTS]>,
    /// How many classes there are.
    count: u32,
}

/// What the compiler needs beyond the map: which classes a rule's match holds.
pub(super) struct L4Matches {
    /// The match of each rule by its place in the policy.
    pub(super) of_rank: Vec<u32>,
    /// The classes of each distinct match, sorted.
    pub(super) classes: Vec<Vec<u16>>,
}

impl L4Matches {
    /// Number of the match that holds every class.
    pub(super) const ANY: u32 = 0;
}

impl L4Classes {
    /// Returns the class of a key.
    #[inline]
    pub(super) fn class_of(&self, key: L4Key) -> u32 {
        let protocol = usize::from(key.protocol.0);
        let mut point = u32::from(key.destination_port);
        if self.has_types {
            let mask = self.types[protocol];
            point = type_point(key) & mask | point & !mask;
        }
        let page = self.directory[(self.spaces[protocol] + (point >> PAGE_POINTS.ilog2())) as usize];
        self.pages[usize::from(page)][point as usize % PAGE_POINTS].into()
    }

    /// Returns how many classes there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the bytes that all tables take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.spaces)
            + size_of_val(&self.types)
            + size_of_val(self.directory.as_slice())
            + size_of_val(self.pages.as_slice())
    }

    /// Returns the classes that the rules of a policy tell apart.
    pub(super) fn compile(policy: &Policy) -> Result<(Self, L4Matches), CompileError> {
        let mut matches = vec![&L4Match::Any];
        let mut numbers = HashMap::from([(&L4Match::Any, L4Matches::ANY)]);
        let mut of_rank = Vec::with_capacity(policy.rules.len());
        for rule in &policy.rules {
            check(rule)?;
            of_rank.push(*numbers.entry(&rule.l4).or_insert_with(|| {
                matches.push(&rule.l4);
                index_u32(matches.len() - 1)
            }));
        }
        let pieces = Pieces::cut(&matches);
        if matches.iter().map(|one| pieces.count_inside(one)).sum::<usize>() > L4_PIECES_MAX {
            return Err(CompileError::L4Pieces);
        }
        let (of_piece, count) = refine(&pieces, &matches);
        if count > L4_CLASSES_MAX {
            return Err(CompileError::L4Classes(count));
        }
        let of_piece: Vec<u16> =
            of_piece.into_iter().map(|class| u16::try_from(class).expect("checked above")).collect();
        let classes = matches.iter().map(|m| classes_in(&pieces, &of_piece, m)).collect();
        Ok((Self::lay_out(&pieces, &of_piece, count), L4Matches { of_rank, classes }))
    }

    /// Returns the tables for pieces whose classes are known.
    fn lay_out(pieces: &Pieces, of_piece: &[u16], count: usize) -> Self {
        let mut laid = Self {
            spaces: [0; 256],
            types: [0; 256],
            has_types: false,
            directory: Vec::new(),
            pages: Vec::new(),
            count: index_u32(count),
        };
        let mut numbers: HashMap<[u16; PAGE_POINTS], u16> = HashMap::new();
        let mut rows: HashMap<Vec<u16>, u32> = HashMap::new();
        for protocol in 0..=u8::MAX {
            let at = usize::from(protocol);
            if pieces.points[at] == Points::Types {
                (laid.types[at], laid.has_types) = (u32::MAX, true);
            }
            let classes: Vec<u16> = pieces
                .of_protocol(protocol)
                .flat_map(|at| {
                    let length = pieces.last(at) - pieces.list[at].first + 1;
                    std::iter::repeat_n(of_piece[at], length as usize)
                })
                .collect();
            let mut number = |page: [u16; PAGE_POINTS]| {
                *numbers.entry(page).or_insert_with(|| {
                    laid.pages.push(page);
                    u16::try_from(laid.pages.len() - 1).expect("five protocols have 1,025 pages each")
                })
            };
            let row: Vec<u16> = if classes.len() == 1 {
                vec![number([classes[0]; PAGE_POINTS]); PORT_PAGES]
            } else {
                let pages = classes.chunks(PAGE_POINTS);
                pages.map(|chunk| number(std::array::from_fn(|at| *chunk.get(at).unwrap_or(&0)))).collect()
            };
            laid.spaces[at] = *rows.entry(row).or_insert_with_key(|row| {
                laid.directory.extend_from_slice(row);
                index_u32(laid.directory.len() - row.len())
            });
        }
        laid
    }
}

/// Returns the point of a key by type and code.
#[inline]
fn type_point(key: L4Key) -> u32 {
    let (kind, code) = (u32::from(key.source_port), u32::from(key.destination_port));
    if (kind | code) > 0xff { NO_POINT } else { kind << 8 | code }
}

/// Refuses a match that no packet can have.
fn check(rule: &Rule) -> Result<(), CompileError> {
    let fits = match &rule.l4 {
        L4Match::Any | L4Match::Protocol(_) => true,
        L4Match::Ports(protocol, _) => protocol.has_ports(),
        L4Match::Icmp(protocol, ..) => protocol.is_icmp(),
    };
    if fits { Ok(()) } else { Err(CompileError::L4Match(rule.id)) }
}

/// A stretch of points that no match cuts; it ends where the next one of its protocol begins.
#[derive(Clone, Copy)]
struct Piece {
    protocol: u8,
    first: u32,
}

/// All pieces of all protocols, in order.
struct Pieces {
    list: Vec<Piece>,
    /// How the points of each protocol are counted.
    points: [Points; 256],
}

impl Pieces {
    /// Returns the pieces between the places where matches begin or end.
    fn cut(matches: &[&L4Match]) -> Self {
        let mut points = [Points::One; 256];
        let mut cuts: BTreeSet<(u8, u32)> = (0..=u8::MAX).map(|protocol| (protocol, 0)).collect();
        for one in matches {
            let Some((protocol, ranges)) = ranges_of(one) else { continue };
            for (first, last) in ranges {
                points[usize::from(protocol.0)] =
                    if protocol.is_icmp() { Points::Types } else { Points::Ports };
                cuts.insert((protocol.0, first));
                // Behind the last port stands the point that no key has, so the cut is never out of the space.
                cuts.insert((protocol.0, last + 1));
            }
        }
        let list = cuts.into_iter().map(|(protocol, first)| Piece { protocol, first }).collect();
        Self { list, points }
    }

    /// Returns the places of a protocol's pieces.
    fn of_protocol(&self, protocol: u8) -> std::ops::Range<usize> {
        let first = self.list.partition_point(|piece| piece.protocol < protocol);
        let end = self.list.partition_point(|piece| piece.protocol <= protocol);
        first..end
    }

    /// Returns the last point of a piece.
    fn last(&self, at: usize) -> u32 {
        let piece = self.list[at];
        match self.list.get(at + 1) {
            Some(next) if next.protocol == piece.protocol => next.first - 1,
            _ if self.points[usize::from(piece.protocol)] == Points::One => 0,
            _ => SPACE_POINTS - 1,
        }
    }

    /// Returns the places of the pieces that a match holds.
    fn inside(&self, one: &L4Match) -> Vec<usize> {
        self.stretches_inside(one).into_iter().flatten().collect()
    }

    /// Returns how many pieces a match holds.
    fn count_inside(&self, one: &L4Match) -> usize {
        self.stretches_inside(one).iter().map(ExactSizeIterator::len).sum()
    }

    fn stretches_inside(&self, one: &L4Match) -> Vec<std::ops::Range<usize>> {
        if let L4Match::Protocol(protocol) = one {
            return vec![self.of_protocol(protocol.0)];
        }
        let Some((protocol, ranges)) = ranges_of(one) else {
            return std::iter::once(0..self.list.len()).collect();
        };
        let place =
            |point| self.list.partition_point(|piece| (piece.protocol, piece.first) < (protocol.0, point));
        ranges.into_iter().map(|(first, last)| place(first)..place(last + 1)).collect()
    }
}

/// Returns the protocol and the ranges of points of a match by port or type; nothing for a broader match.
fn ranges_of(one: &L4Match) -> Option<(Protocol, Vec<(u32, u32)>)> {
    match one {
        L4Match::Any | L4Match::Protocol(_) => None,
        L4Match::Ports(protocol, ports) => {
            let range = |range: &meshgate_policy::PortRange| (range.first().into(), range.last().into());
            Some((*protocol, ports.ranges().iter().map(range).collect()))
        }
        L4Match::Icmp(protocol, kind, code) => {
            let first = u32::from(*kind) << 8 | u32::from(code.unwrap_or(0));
            let last = u32::from(*kind) << 8 | u32::from(code.unwrap_or(u8::MAX));
            Some((*protocol, vec![(first, last)]))
        }
    }
}

/// Returns the class of each piece, and how many classes there are: pieces are of one class if every match holds both
/// or neither.
fn refine(pieces: &Pieces, matches: &[&L4Match]) -> (Vec<usize>, usize) {
    let mut of_piece = vec![0usize; pieces.list.len()];
    // For each class: the round in which it was last split, and the class of the split-off part.
    let mut split: Vec<(usize, usize)> = vec![(0, 0)];
    for (round, one) in (1..).zip(matches.iter().skip(1)) {
        for at in pieces.inside(one) {
            let old = of_piece[at];
            if split[old].0 != round {
                split[old] = (round, split.len());
                split.push((0, 0));
            }
            of_piece[at] = split[old].1;
        }
    }
    // A class that a match holds whole leaves an empty number behind: number the rest anew.
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    for class in &mut of_piece {
        let next = numbers.len();
        *class = *numbers.entry(*class).or_insert(next);
    }
    (of_piece, numbers.len())
}

/// Returns the classes that a match holds, sorted.
fn classes_in(pieces: &Pieces, of_piece: &[u16], one: &L4Match) -> Vec<u16> {
    let mut classes: Vec<u16> = pieces.inside(one).into_iter().map(|at| of_piece[at]).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}
