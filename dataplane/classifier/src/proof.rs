//! The proof of a compiled policy: what it says is compared with `Policy::decide`, before a host enforces it.
//!
//! Two addresses that every group and every peer holds or leaves out alike are judged alike, and so are two L4 keys
//! that every rule's match holds or leaves out alike. So it is enough to ask once a pair of such kinds. The kinds are
//! found without the compiled form: the address space of a segment can change only where a prefix begins or behind
//! where one ends, and one address from each stretch between is asked for its groups. Two stretches count as one kind
//! only if the policy *and* the compiled form take them for one, so that a class that holds too much shows.
//!
//! Where the pairs are more than the budget, packets are drawn at the boundaries of rules and groups instead, from a
//! seed, and the proof says so. Which groups hold an address is what takes long in a large policy, so the sources and
//! destinations of few packets are all paired with each other.

use super::{BURST_KEYS, Classifier, Judgement};
use hashbrown::{HashMap, HashSet};
use meshgate_policy::generate::{self, Rng};
use meshgate_policy::{
    GroupId, L4Key, L4Match, Policy, PolicyKey, Prefix, Protocol, RuleId, SegmentId, Side,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Endpoints, groups and peers looked at, over all addresses that are asked for theirs, and matches over all L4 keys, up to
/// which kinds are looked for; a policy with more has more pairs than any budget anyway.
const VISITS_MAX: usize = 1 << 20;
/// Endpoints looked at where packets are drawn: some ten milliseconds in a policy that takes hundreds to compile.
const DRAWN_VISITS_MAX: usize = 1 << 21;
/// Packets drawn at least.
const DRAWS_MIN: usize = 8;

/// How much a proof may compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofBudget {
    /// Rules that may be asked, over all packets, for every pair of kinds to be compared: a few nanoseconds each.
    pub steps_max: u64,
    /// Packets drawn where there are more pairs; their sources and destinations make the square of it.
    pub draws: u32,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for ProofBudget {
    /// Returns a budget of some ten milliseconds for a policy of which all pairs fit, and of less than a fifth of what
    /// compiling takes for a large one.
    fn default() -> Self {
        Self { steps_max: 1 << 23, draws: 24, seed: 1 }
    }
}

/// What was compared, without finding a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Packets compared.
    pub packets: u64,
    /// Whether they stand for all packets there can be; false: they are a sample.
    pub exhaustive: bool,
}

/// A packet that the compiled form judges unlike the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key:?}: the policy says {decided:?}, its compiled form {judged:?}")]
pub struct Difference {
    /// The packet.
    pub key: PolicyKey,
    /// What the policy says.
    pub decided: Box<Judgement>,
    /// What the compiled form says.
    pub judged: Box<Judgement>,
}

impl Classifier {
    /// Compares the classifier with the policy it was compiled from: every pair of kinds of addresses with every kind
    /// of L4 key if the budget allows, else a sample.
    pub fn prove(&self, policy: &Policy, budget: ProofBudget) -> Result<Proof, Difference> {
        let mut comparison = Comparison::new(self, policy);
        let steps_of_a_packet =
            u64::try_from(1 + policy.rules.len() + policy.groups.len()).unwrap_or(u64::MAX);
        let pairs_max = budget.steps_max / steps_of_a_packet;
        match Kinds::find(self, policy).filter(|kinds| kinds.pairs() <= pairs_max) {
            Some(kinds) => {
                let packets = comparison.run(kinds.keys())?;
                Ok(Proof { packets, exhaustive: true })
            }
            None => {
                let mut rng = Rng::new(budget.seed);
                let affordable = DRAWN_VISITS_MAX / (2 * policy.endpoints.len().max(1));
                let draws = (budget.draws as usize).min(affordable.max(DRAWS_MIN));
                let drawn: Vec<PolicyKey> = (0..draws).map(|_| generate::packet(policy, &mut rng)).collect();
                let packets = comparison.run(crossed(&drawn))?;
                Ok(Proof { packets, exhaustive: false })
            }
        }
    }
}

/// Returns the packets themselves, and those from the source of each to the destination of each other one in its segment.
fn crossed(drawn: &[PolicyKey]) -> impl Iterator<Item = PolicyKey> {
    drawn.iter().flat_map(move |from| {
        let fits = move |to: &&PolicyKey| {
            to.segment == from.segment && to.destination.is_ipv4() == from.source.is_ipv4()
        };
        drawn.iter().filter(fits).map(move |to| PolicyKey { destination: to.destination, l4: to.l4, ..*from })
    })
}

/// The two forms of one policy, side by side.
struct Comparison<'a> {
    classifier: &'a Classifier,
    policy: &'a Policy,
    /// Place of each rule in the policy.
    places: HashMap<RuleId, u32>,
    has_shadow: bool,
    /// The groups of each address met so far.
    groups: HashMap<(SegmentId, IpAddr), Vec<GroupId>>,
}

impl<'a> Comparison<'a> {
    fn new(classifier: &'a Classifier, policy: &'a Policy) -> Self {
        let places = policy.rules.iter().map(|rule| rule.id).zip(0..).collect();
        let has_shadow = policy.rules.iter().any(|rule| rule.shadow);
        Self { classifier, policy, places, has_shadow, groups: HashMap::new() }
    }

    /// Compares all keys, alone and in bursts, and returns how many there were.
    fn run(&mut self, keys: impl Iterator<Item = PolicyKey>) -> Result<u64, Difference> {
        let mut keys = keys.peekable();
        let mut packets = 0;
        while keys.peek().is_some() {
            let burst: Vec<PolicyKey> = keys.by_ref().take(BURST_KEYS).collect();
            let alone: Vec<Judgement> = burst.iter().map(|key| self.classifier.classify(key)).collect();
            let mut together: Vec<Judgement> = alone.iter().rev().copied().collect();
            self.classifier.classify_burst(&burst, &mut together);
            for ((key, alone), together) in burst.iter().zip(alone).zip(together) {
                self.compare(key, [alone, together])?;
            }
            packets += u64::try_from(burst.len()).unwrap_or(0);
        }
        Ok(packets)
    }

    fn compare(&mut self, key: &PolicyKey, judged: [Judgement; 2]) -> Result<(), Difference> {
        let ends = [key.source, key.destination].map(|address| (key.segment, address));
        for (segment, address) in ends {
            let groups = || self.policy.groups_of(segment, address);
            self.groups.entry((segment, address)).or_insert_with(groups);
        }
        let groups = ends.map(|end| self.groups[&end].as_slice());
        let decision = self.policy.decide_between(key, groups);
        let shadow = || self.policy.decide_shadow_between(key, groups);
        let decided = Judgement {
            decision,
            rule_index: decision.rule.and_then(|id| self.places.get(&id).copied()),
            // Without shadow rules both scans take the same rules, so that they cannot differ.
            shadow: if self.has_shadow { shadow() } else { None },
        };
        match judged.into_iter().find(|judged| *judged != decided) {
            Some(judged) => Err(Difference { key: *key, decided: decided.into(), judged: judged.into() }),
            None => Ok(()),
        }
    }
}

/// One address and one L4 key of each kind.
struct Kinds {
    /// Addresses by segment, IPv4 and IPv6 apart.
    addresses: Vec<(SegmentId, [Vec<IpAddr>; 2])>,
    l4: Vec<L4Key>,
}

impl Kinds {
    /// Returns the kinds, unless there are too many addresses to look at.
    fn find(classifier: &Classifier, policy: &Policy) -> Option<Self> {
        let (candidates, segments) = (candidate_addresses(policy), candidate_segments(policy));
        let peers: BTreeSet<&[Prefix]> = sides(policy).filter_map(peer_of).collect();
        let asked = candidates.len() * segments.len();
        let of_an_address = 1 + policy.endpoints.len() + policy.groups.len() + peers.len();
        if asked.saturating_mul(of_an_address) > VISITS_MAX {
            return None;
        }
        let of_segment = |segment: &SegmentId| {
            let mut seen: HashSet<([u32; 2], Vec<GroupId>, Vec<bool>)> = HashSet::new();
            let is_new = |address: &&IpAddr| {
                let classes = classifier.classes_of(*segment, **address);
                let groups = policy.groups_of(*segment, **address);
                let inside = |peer: &&[Prefix]| peer.iter().any(|prefix| prefix.contains(**address));
                seen.insert((classes, groups, peers.iter().map(inside).collect()))
            };
            let kinds: Vec<IpAddr> = candidates.iter().filter(is_new).copied().collect();
            let (ipv4, ipv6) = kinds.into_iter().partition(IpAddr::is_ipv4);
            (*segment, [ipv4, ipv6])
        };
        let addresses = segments.iter().map(of_segment).collect();
        Some(Self { addresses, l4: l4_kinds(classifier, policy)? })
    }

    /// Returns how many packets stand for all there can be.
    fn pairs(&self) -> u64 {
        let pairs = self.addresses.iter().flat_map(|(_, families)| families).map(|kinds| kinds.len().pow(2));
        u64::try_from(pairs.sum::<usize>().saturating_mul(self.l4.len())).unwrap_or(u64::MAX)
    }

    /// Returns these packets.
    fn keys(&self) -> impl Iterator<Item = PolicyKey> {
        let families =
            self.addresses.iter().flat_map(|(segment, families)| families.iter().map(|f| (*segment, f)));
        families.flat_map(move |(segment, family)| {
            let pairs = family.iter().flat_map(move |source| family.iter().map(move |to| (*source, *to)));
            pairs.flat_map(move |(source, destination)| {
                self.l4.iter().map(move |l4| PolicyKey { segment, source, destination, l4: *l4 })
            })
        })
    }
}

/// Returns both sides of all rules.
fn sides(policy: &Policy) -> impl Iterator<Item = &Side> {
    policy.rules.iter().flat_map(|rule| [&rule.source, &rule.destination])
}

/// Returns the prefixes of a side that is no group.
fn peer_of(side: &Side) -> Option<&[Prefix]> {
    match side {
        Side::Group(_) => None,
        Side::Prefixes(prefixes) => Some(prefixes),
    }
}

/// Returns the first address of each stretch that no prefix cuts.
fn candidate_addresses(policy: &Policy) -> BTreeSet<IpAddr> {
    let text = ["0.0.0.0/0", "::/0", "224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];
    let built_in = text.map(|text| text.parse::<Prefix>().expect("the text is a prefix"));
    let groups = policy.groups.iter().flat_map(|group| &group.prefixes).copied();
    let peers = sides(policy).filter_map(peer_of).flatten().copied();
    let hosts = policy.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|a| Prefix::host(*a));
    let prefixes = built_in.into_iter().chain(groups).chain(peers).chain(hosts);
    prefixes.flat_map(|prefix| [Some(prefix.address()), behind(prefix)]).flatten().collect()
}

/// Returns the address behind the last one of a prefix, if there is one.
fn behind(prefix: Prefix) -> Option<IpAddr> {
    let length = u32::from(prefix.length());
    match prefix.address() {
        IpAddr::V4(first) => {
            let last = first.to_bits() | u32::MAX.checked_shr(length).unwrap_or(0);
            last.checked_add(1).map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(first) => {
            let last = first.to_bits() | u128::MAX.checked_shr(length).unwrap_or(0);
            last.checked_add(1).map(|bits| IpAddr::V6(bits.into()))
        }
    }
}

/// Returns all segments that the policy names, and one that it does not.
fn candidate_segments(policy: &Policy) -> BTreeSet<SegmentId> {
    let segments = policy.segments.iter().map(|segment| segment.id);
    let groups = policy.groups.iter().map(|group| group.segment);
    let named: BTreeSet<SegmentId> =
        segments.chain(groups).chain(policy.endpoints.iter().map(|e| e.segment)).collect();
    let unknown = (0..=u16::MAX).rev().map(SegmentId).find(|segment| !named.contains(segment));
    named.iter().copied().chain(unknown).collect()
}

/// Returns one L4 key of each kind, unless there are too many to look at.
fn l4_kinds(classifier: &Classifier, policy: &Policy) -> Option<Vec<L4Key>> {
    let matches: BTreeSet<&L4Match> = policy.rules.iter().map(|rule| &rule.l4).collect();
    let mut candidates: BTreeSet<(u8, u16, u16)> = (0..=u8::MAX).map(|protocol| (protocol, 0, 0)).collect();
    for one in &matches {
        match one {
            L4Match::Any | L4Match::Protocol(_) => {}
            L4Match::Ports(protocol, ports) => {
                for range in ports.ranges() {
                    let edges = [Some(range.first()), range.last().checked_add(1)];
                    candidates.extend(edges.into_iter().flatten().map(|port| (protocol.0, 0, port)));
                }
            }
            L4Match::Icmp(protocol, kind, code) => {
                let (kind, first) = (u16::from(*kind), u16::from(code.unwrap_or(0)));
                let near = [(kind, first), (kind, first + 1), (kind + 1, 0)];
                let possible = near.into_iter().filter(|(kind, code)| *kind < 256 && *code < 256);
                candidates.extend(possible.map(|(kind, code)| (protocol.0, kind, code)));
            }
        }
    }
    if candidates.len().saturating_mul(matches.len()) > VISITS_MAX {
        return None;
    }
    let mut seen: HashSet<(u32, Vec<bool>)> = HashSet::new();
    let keys = candidates.into_iter().map(|(protocol, source_port, destination_port)| {
        L4Key::ports(Protocol(protocol), source_port, destination_port)
    });
    let is_new = |key: &L4Key| {
        let held = matches.iter().map(|one| one.matches(*key)).collect();
        seen.insert((classifier.l4_classes.class_of(*key), held))
    };
    Some(keys.filter(is_new).collect())
}
