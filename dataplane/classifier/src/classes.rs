//! From prefixes to classes: which atoms hold each address, for the whole address space of a segment.
//!
//! An **atom** is a set of addresses that a rule can name: a built-in group, a group, or the prefixes of a group
//! rule's peer. A **class** is one distinct set of atoms. The prefixes of one segment and family are swept in order
//! of their first address; a stack holds those that are open, each with the union of its own atoms and those around
//! it. What comes out is a list of runs: from this address on, this class.

use super::address_trie::{index_u32, key_of};
use super::compile::CompileError;
use hashbrown::HashMap;
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;
use meshgate_policy::{EndpointId, GroupId, Policy, Prefix, SegmentId, Side};
use std::collections::BTreeMap;
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

/// Groups and peers of all classes together: 2^26 of four bytes are 268 MB, twice while compiling.
pub(super) const CLASS_ATOMS_MAX: usize = 1 << 26;

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
    /// The peers of group rules, sorted.
    pub(super) peers: Vec<&'a [Prefix]>,
    numbers: HashMap<&'a [Prefix], Atom>,
    count: u32,
}

impl<'a> Atoms<'a> {
    /// Returns the atoms that groups and rules name.
    pub(super) fn collect(policy: &'a Policy) -> Self {
        let built_in = [(GroupId::ANY, ANY), (GroupId::EXTERNAL, EXTERNAL), (GroupId::MULTICAST, MULTICAST)];
        let mut groups: HashMap<_, _> = policy.groups.iter().map(|g| g.id).zip(FIRST_GROUP..).collect();
        let mut count = FIRST_GROUP + u32::try_from(groups.len()).expect("groups are limited");
        groups.extend(built_in);
        let sides = policy.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]);
        let mut peers: Vec<&[Prefix]> = sides
            .filter_map(|side| match side {
                Side::Prefixes(prefixes) => Some(prefixes.as_slice()),
                Side::Group(_) => None,
            })
            .collect();
        // Their numbers must not depend on the order of the rules: other versions of a policy have the same.
        peers.sort_unstable();
        peers.dedup();
        let numbers = peers.iter().copied().zip(count..).collect();
        count += index_u32(peers.len());
        Self { groups, peers, numbers, count }
    }

    /// Returns how many there are; their numbers are below.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the atom that a side of a rule means, or nothing if no address can fit it.
    pub(super) fn of_side(&self, side: &Side) -> Option<Atom> {
        match side {
            Side::Group(group) => self.groups.get(group).copied(),
            Side::Prefixes(prefixes) => self.numbers.get(prefixes.as_slice()).copied(),
        }
    }
}

/// A prefix, and atoms that hold its addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    is_ipv6: bool,
    first: u128,
    length: u8,
    /// Where the atoms begin among all, and how many there are.
    atoms: (u32, u32),
}

impl Claim {
    fn new(prefix: Prefix, atoms: (u32, u32)) -> Self {
        let address = prefix.address();
        Self { is_ipv6: address.is_ipv6(), first: key_of(address), length: prefix.length(), atoms }
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
    /// The atoms of all claims.
    atoms: Vec<Atom>,
}

impl Claims {
    /// Returns the claims of a policy.
    pub(super) fn collect(policy: &Policy, atoms: &Atoms<'_>) -> Self {
        let mut claims = Self { everywhere: Vec::new(), by_segment: BTreeMap::new(), atoms: Vec::new() };
        for text in ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"] {
            let prefix = text.parse().expect("the text is a prefix");
            let claim = Claim::new(prefix, claims.keep(&[MULTICAST]));
            claims.everywhere.push(claim);
        }
        for (prefixes, atom) in atoms.peers.iter().map(|prefixes| (*prefixes, atoms.numbers[prefixes])) {
            let atoms = claims.keep(&[atom]);
            claims.everywhere.extend(prefixes.iter().map(|prefix| Claim::new(*prefix, atoms)));
        }
        claims.claim_endpoints(policy);
        for (group, atom) in
            policy.groups.iter().zip(FIRST_GROUP..).filter(|(group, _)| !group.prefixes.is_empty())
        {
            let atoms = claims.keep(&[atom, CLAIMED]);
            let prefixes = group.prefixes.iter().map(|prefix| Claim::new(*prefix, atoms));
            claims.by_segment.entry(group.segment).or_default().extend(prefixes);
        }
        claims
    }

    /// Claims the addresses of all endpoints for their groups.
    fn claim_endpoints(&mut self, policy: &Policy) {
        // Looked through for every member of every group, numbers are better close together.
        let ids: Vec<EndpointId> = policy.endpoints.iter().map(|endpoint| endpoint.id).collect();
        let mut atoms_of: Vec<Vec<Atom>> = vec![Vec::new(); ids.len()];
        for (group, atom) in policy.groups.iter().zip(FIRST_GROUP..) {
            for at in group.endpoints.iter().filter_map(|id| ids.binary_search(id).ok()) {
                atoms_of[at].push(atom);
            }
        }
        for same in (0..policy.endpoints.len())
            .collect::<Vec<_>>()
            .chunk_by(|a, b| policy.endpoints[*a].segment == policy.endpoints[*b].segment)
        {
            let mut hosts = Vec::with_capacity(same.len());
            for at in same {
                atoms_of[*at].push(CLAIMED);
                let atoms = self.keep(&atoms_of[*at]);
                let addresses = policy.endpoints[*at].addresses.iter();
                hosts.extend(addresses.map(|address| Claim::new(Prefix::host(*address), atoms)));
            }
            self.by_segment.entry(policy.endpoints[same[0]].segment).or_default().extend(hosts);
        }
    }

    /// Keeps the atoms of a claim, and returns where.
    fn keep(&mut self, atoms: &[Atom]) -> (u32, u32) {
        self.atoms.extend_from_slice(atoms);
        (index_u32(self.atoms.len() - atoms.len()), index_u32(atoms.len()))
    }

    /// Returns how many are swept for all segments, those that hold everywhere once a segment.
    pub(super) fn swept(&self) -> usize {
        let own: usize = self.by_segment.values().map(Vec::len).sum();
        own + (self.by_segment.len() + 1) * self.everywhere.len()
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
        let (ipv4, ipv6) = claims.split_at(claims.partition_point(|claim| !claim.is_ipv6));
        let mut runs = |claims, is_ipv6| {
            let runs = self.sweep(claims, classes);
            if classes.atoms_count > CLASS_ATOMS_MAX {
                return Err(CompileError::ClassAtoms);
            }
            runs.map_err(|first| CompileError::GroupsPerAddress {
                address: address_of(first, is_ipv6),
                segment,
            })
        };
        Ok([runs(ipv4, false)?, runs(ipv6, true)?])
    }

    /// Returns where the class changes along the claims of one family, which are sorted; or an address that is in too many
    /// groups. The first place is 0.
    fn sweep(&self, claims: &[Claim], classes: &mut Classes) -> Result<Vec<Run>, u128> {
        let outside = classes.class_of(&[]).ok_or(0u128)?;
        let mut runs = Runs(vec![Run { first: 0, class: outside }]);
        // Open prefixes, innermost last; each holds the atoms of all around it.
        let mut open = vec![Open { last: u128::MAX, class: outside, atoms: Vec::new() }];
        let mut atoms = Vec::new();
        for same in claims.chunk_by(|a, b| (a.first, a.length) == (b.first, b.length)) {
            if classes.atoms_count > CLASS_ATOMS_MAX {
                break;
            }
            let (first, last) = (same[0].first, same[0].last());
            runs.close(&mut open, first);
            atoms.clear();
            atoms.extend(open.last().into_iter().flat_map(|around| &around.atoms));
            for claim in same {
                let (begins, count) = claim.atoms;
                atoms.extend_from_slice(&self.atoms[begins as usize..][..count as usize]);
            }
            atoms.sort_unstable();
            atoms.dedup();
            let class = classes.class_of(&atoms).ok_or(first)?;
            runs.begin(first, class);
            // Inside a single address nothing begins.
            let atoms = if first == last { Vec::new() } else { atoms.clone() };
            open.push(Open { last, class, atoms });
        }
        runs.close(&mut open, u128::MAX);
        Ok(runs.0)
    }
}

/// A prefix that the sweep is in.
struct Open {
    last: u128,
    class: u32,
    /// Its atoms and those of all around it.
    atoms: Vec<Atom>,
}

/// The runs of one family of one segment, while they are found.
struct Runs(Vec<Run>);

impl Runs {
    /// Begins a run; nothing is known yet behind it.
    fn begin(&mut self, first: u128, class: u32) {
        match self.0.last_mut() {
            Some(last) if last.first == first => last.class = class,
            Some(last) if last.class == class => {}
            _ => self.0.push(Run { first, class }),
        }
    }

    /// Closes the open prefixes that end before `first`, beginning behind each what lies around it.
    fn close(&mut self, open: &mut Vec<Open>, first: u128) {
        while let Some(inner) = open.pop_if(|inner| inner.last < first) {
            if let Some(around) = open.last() {
                self.begin(inner.last + 1, around.class);
            }
        }
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

/// The classes met so far, each once.
#[derive(Default)]
pub(super) struct Classes {
    numbers: HashMap<Vec<Atom>, u32>,
    /// The atoms of each class, sorted, [`ANY`] included.
    pub(super) atoms: Vec<Vec<Atom>>,
    /// Atoms that are groups of the policy, not peers: those below this number.
    first_peer: Atom,
    /// Atoms of all classes.
    atoms_count: usize,
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

    /// Returns the class of addresses with these atoms as swept, which are sorted, or nothing if they are in too many groups.
    fn class_of(&mut self, swept: &[Atom]) -> Option<u32> {
        if let Some(class) = self.numbers.get(swept) {
            return Some(*class);
        }
        let mut atoms = vec![ANY];
        if !swept.contains(&CLAIMED) && !swept.contains(&MULTICAST) {
            atoms.push(EXTERNAL);
        }
        atoms.extend(swept.iter().copied().filter(|atom| *atom != CLAIMED));
        let groups = self.group_atoms();
        if atoms.iter().filter(|atom| groups.contains(atom)).count() > GROUPS_PER_ENDPOINT_MAX {
            return None;
        }
        let class = index_u32(self.atoms.len());
        self.atoms_count += atoms.len();
        self.numbers.insert(swept.to_vec(), class);
        self.atoms.push(atoms);
        Some(class)
    }
}
