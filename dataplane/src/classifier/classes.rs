//! From prefixes to classes: which atoms hold each address, for the whole address space of a segment.
//!
//! An **atom** is a set of addresses that a rule can name: a built-in group, a group, or the prefixes of a group
//! rule's peer. A **class** is one distinct set of atoms. The prefixes of one segment and family are swept in order
//! of their first address; a stack holds those that are open, each with the union of its own atoms and those around
//! it. What comes out is a list of runs: from this address on, this class.

use super::address_trie::key_of;
use super::compile::CompileError;
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;
use meshgate_policy::{GroupId, Policy, Prefix, SegmentId, Side};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Number of an atom.
pub(super) type Atom = u32;
/// Every address.
pub(super) const ANY: Atom = 0;
/// Addresses that nothing claims.
pub(super) const EXTERNAL: Atom = 1;
/// Multicast and limited broadcast addresses.
pub(super) const MULTICAST: Atom = 2;
/// The first group of the policy; the others follow in its order, then the peers of group rules.
pub(super) const FIRST_GROUP: Atom = 3;
/// Marks addresses that a prefix or an endpoint claims. Only the sweep knows it; no class contains it.
const CLAIMED: Atom = Atom::MAX;

/// A stretch of addresses of one class; it ends where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first key.
    pub(super) first: u128,
    /// The class.
    pub(super) class: u32,
}

/// The atoms of a policy.
pub(super) struct Atoms<'a> {
    groups: HashMap<GroupId, Atom>,
    peers: HashMap<&'a [Prefix], Atom>,
    count: u32,
}

impl<'a> Atoms<'a> {
    /// Returns the atoms that groups and rules name.
    pub(super) fn collect(policy: &'a Policy) -> Self {
        let built_in = [(GroupId::ANY, ANY), (GroupId::EXTERNAL, EXTERNAL), (GroupId::MULTICAST, MULTICAST)];
        let mut groups: HashMap<_, _> = policy.groups.iter().map(|g| g.id).zip(FIRST_GROUP..).collect();
        let mut count = FIRST_GROUP + u32::try_from(groups.len()).expect("groups are limited");
        groups.extend(built_in);
        let mut peers = HashMap::new();
        for side in policy.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]) {
            if let Side::Prefixes(prefixes) = side {
                peers.entry(prefixes.as_slice()).or_insert_with(|| {
                    count += 1;
                    count - 1
                });
            }
        }
        Self { groups, peers, count }
    }

    /// Returns how many there are; their numbers are below.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the atom that a side of a rule means, or nothing if no address can fit it.
    pub(super) fn of_side(&self, side: &Side) -> Option<Atom> {
        match side {
            Side::Group(group) => self.groups.get(group).copied(),
            Side::Prefixes(prefixes) => self.peers.get(prefixes.as_slice()).copied(),
        }
    }
}

/// A prefix and an atom that holds its addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    is_ipv6: bool,
    first: u128,
    length: u8,
    atom: Atom,
}

impl Claim {
    fn new(prefix: Prefix, atom: Atom) -> Self {
        let address = prefix.address();
        Self { is_ipv6: address.is_ipv6(), first: key_of(address), length: prefix.length(), atom }
    }

    /// Returns the last key of the prefix.
    fn last(&self) -> u128 {
        self.first | u128::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }
}

/// What each segment's prefixes and endpoints say, and what holds in all of them.
pub(super) struct Claims {
    /// Peers of group rules and multicast addresses: they hold in every segment.
    everywhere: Vec<Claim>,
    by_segment: BTreeMap<SegmentId, Vec<Claim>>,
}

impl Claims {
    /// Returns the claims of a policy.
    pub(super) fn collect(policy: &Policy, atoms: &Atoms<'_>) -> Self {
        let multicast = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"]
            .map(|text| text.parse::<Prefix>().expect("the text is a prefix"));
        let mut everywhere: Vec<Claim> = multicast.map(|prefix| Claim::new(prefix, MULTICAST)).into();
        for (prefixes, atom) in &atoms.peers {
            everywhere.extend(prefixes.iter().map(|prefix| Claim::new(*prefix, *atom)));
        }
        let mut by_segment: BTreeMap<SegmentId, Vec<Claim>> = BTreeMap::new();
        let mut claim = |segment, prefix, atom| {
            by_segment.entry(segment).or_default().push(Claim::new(prefix, atom));
        };
        for endpoint in &policy.endpoints {
            for address in &endpoint.addresses {
                claim(endpoint.segment, Prefix::host(*address), CLAIMED);
            }
        }
        for (group, atom) in policy.groups.iter().zip(FIRST_GROUP..) {
            for prefix in &group.prefixes {
                claim(group.segment, *prefix, atom);
                claim(group.segment, *prefix, CLAIMED);
            }
            for endpoint in group.endpoints.iter().filter_map(|id| policy.endpoint(*id)) {
                for address in &endpoint.addresses {
                    claim(endpoint.segment, Prefix::host(*address), atom);
                }
            }
        }
        Self { everywhere, by_segment }
    }

    /// Returns the segments that claim anything of their own.
    pub(super) fn segments(&self) -> impl Iterator<Item = SegmentId> {
        self.by_segment.keys().copied()
    }

    /// Returns the runs of a segment for IPv4 and IPv6; without a segment, those of one that claims nothing.
    pub(super) fn runs(
        &self,
        segment: Option<SegmentId>,
        classes: &mut Classes,
    ) -> Result<[Vec<Run>; 2], CompileError> {
        let own = segment.and_then(|segment| self.by_segment.get(&segment));
        let mut claims: Vec<Claim> =
            self.everywhere.iter().chain(own.into_iter().flatten()).copied().collect();
        claims.sort_unstable();
        claims.dedup();
        let (ipv4, ipv6) = claims.split_at(claims.partition_point(|claim| !claim.is_ipv6));
        let runs = |claims, is_ipv6| {
            let runs = sweep(claims);
            let class = |(first, atoms): (u128, Vec<Atom>)| {
                let crowded =
                    || CompileError::GroupsPerAddress { address: address_of(first, is_ipv6), segment };
                Ok(Run { first, class: classes.class_of(&atoms).ok_or_else(crowded)? })
            };
            runs.into_iter().map(class).collect::<Result<Vec<Run>, CompileError>>()
        };
        let mut runs = runs;
        Ok([runs(ipv4, false)?, runs(ipv6, true)?])
    }
}

/// Returns the address that a key stands for.
fn address_of(key: u128, is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        IpAddr::V6(key.into())
    } else {
        IpAddr::V4(u32::try_from(key >> 96).expect("32 bits are left").into())
    }
}

/// Returns where the set of atoms changes along the claims of one family, which are sorted. The first place is 0.
fn sweep(claims: &[Claim]) -> Vec<(u128, Vec<Atom>)> {
    let mut runs: Vec<(u128, Vec<Atom>)> = vec![(0, Vec::new())];
    // Open prefixes, innermost last; each holds the atoms of all around it.
    let mut open: Vec<(u128, Vec<Atom>)> = vec![(u128::MAX, Vec::new())];
    let mut begin = |first: u128, atoms: Vec<Atom>| match runs.last_mut() {
        Some(last) if last.0 == first => last.1 = atoms,
        Some(last) if last.1 == atoms => {}
        _ => runs.push((first, atoms)),
    };
    for same in claims.chunk_by(|a, b| (a.first, a.length) == (b.first, b.length)) {
        let (first, last) = (same[0].first, same[0].last());
        close(&mut open, first, &mut begin);
        let mut atoms = open.last().map(|around| around.1.clone()).unwrap_or_default();
        atoms.extend(same.iter().map(|claim| claim.atom));
        atoms.sort_unstable();
        atoms.dedup();
        begin(first, atoms.clone());
        open.push((last, atoms));
    }
    close(&mut open, u128::MAX, &mut begin);
    runs
}

/// Closes the open prefixes that end before `first`, beginning behind each what lies around it.
fn close(open: &mut Vec<(u128, Vec<Atom>)>, first: u128, begin: &mut impl FnMut(u128, Vec<Atom>)) {
    while let Some(inner) = open.pop_if(|inner| inner.0 < first) {
        let around = open.last().map(|around| around.1.clone()).unwrap_or_default();
        begin(inner.0 + 1, around);
    }
}

/// The classes met so far, each once.
#[derive(Default)]
pub(super) struct Classes {
    numbers: HashMap<Vec<Atom>, u32>,
    /// The atoms of each class, sorted, [`ANY`] included.
    pub(super) atoms: Vec<Vec<Atom>>,
    /// Atoms that are groups of the policy, not peers: those below this number.
    first_peer: Atom,
}

impl Classes {
    /// Returns no classes, of a policy with that many groups.
    pub(super) fn new(groups: usize) -> Self {
        let first_peer = FIRST_GROUP + u32::try_from(groups).expect("groups are limited");
        Self { first_peer, ..Self::default() }
    }

    /// Returns the numbers of the atoms that are groups of the policy.
    pub(super) fn group_atoms(&self) -> std::ops::Range<Atom> {
        FIRST_GROUP..self.first_peer
    }

    /// Returns the class of addresses with these atoms as swept, or nothing if they are in too many groups.
    fn class_of(&mut self, swept: &[Atom]) -> Option<u32> {
        let mut atoms = vec![ANY];
        if !swept.contains(&CLAIMED) && !swept.contains(&MULTICAST) {
            atoms.push(EXTERNAL);
        }
        atoms.extend(swept.iter().copied().filter(|atom| *atom != CLAIMED));
        let groups = self.group_atoms();
        if atoms.iter().filter(|atom| groups.contains(atom)).count() > GROUPS_PER_ENDPOINT_MAX {
            return None;
        }
        if let Some(class) = self.numbers.get(&atoms) {
            return Some(*class);
        }
        let class = u32::try_from(self.atoms.len()).expect("classes are at most addresses that differ");
        self.numbers.insert(atoms.clone(), class);
        self.atoms.push(atoms);
        Some(class)
    }
}
