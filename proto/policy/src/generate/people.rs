//! A random policy as people would write it: VMs with labels, groups that overlap, prefixes that nest, rules that contend.

use super::{Rng, Shape};
use crate::address::{Mac, Prefix};
use crate::authored::{
    AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, Direction, Home,
};
use crate::name::Name;
use crate::policy::{EndpointFlags, IntraGroup};
use crate::ports::{PortRange, PortSet};
use crate::protocol::{Protocol, ProtocolMatch};
use crate::rule::{Action, Mode, Priority};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Groups that list one endpoint. With at most 5 selectors and [`NESTING_MAX`] prefixes that stays below the limit of 16.
const LISTINGS_MAX: u8 = 4;
/// Prefixes around one address.
const NESTING_MAX: usize = 6;
/// Priorities; few, so that rules meet at the same one.
const PRIORITIES: [u16; 6] = [0, 900, 1_000, 1_000, 1_100, 60_001];
/// Ports that rules like to name, both ends of the range included.
const PORTS: [u16; 12] = [0, 1, 22, 53, 80, 443, 1_023, 1_024, 5_432, 8_080, 65_534, 65_535];
/// Prefixes that contain endpoints, from wide to narrow, beside some that contain none.
const PREFIX_ROOTS: [(&str, u8); 8] = [
    ("10.0.0.0", 8),
    ("10.0.0.0", 8),
    ("10.0.0.0", 16),
    ("10.0.0.0", 24),
    ("fd00::", 16),
    ("fd00::", 112),
    ("192.0.2.0", 24),
    ("2001:db8::", 32),
];

pub(super) fn authored(rng: &mut Rng, shape: Shape) -> AuthoredPolicy {
    let mut writer = Writer {
        rng,
        shape,
        prefixes: Vec::new(),
        listings: vec![0; shape.endpoints],
        last_segment: Name::default_name(),
    };
    let segments = (1..shape.segments)
        .map(|number| AuthoredSegment { name: segment_name(number), tenant: Name::default_name() })
        .collect();
    let endpoints: Vec<AuthoredEndpoint> = (0..shape.endpoints).map(|at| writer.endpoint(at)).collect();
    let groups: Vec<AuthoredGroup> = (0..shape.groups).map(|at| writer.group(at)).collect();
    let default_action = writer.rng.one_of([Action::Deny, Action::Deny, Action::Allow, Action::Reject]);
    let mut policy =
        AuthoredPolicy { default_action, segments, endpoints, groups, relationships: vec![], rules: vec![] };
    for _ in 0..shape.rules {
        if writer.rng.chance(70) {
            let rule = writer.relationship(&policy.relationships);
            policy.relationships.push(rule);
        } else {
            let rule = writer.group_rule(&policy.rules);
            policy.rules.push(rule);
        }
    }
    policy
}

/// The layer-4 fields of a rule.
struct L4Fields {
    protocol: ProtocolMatch,
    port_range: PortSet,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
}

struct Writer<'a> {
    rng: &'a mut Rng,
    shape: Shape,
    /// The prefixes of all groups so far, with their segment.
    prefixes: Vec<(Name, Prefix)>,
    /// How many groups list each endpoint.
    listings: Vec<u8>,
    /// The segment of the endpoint written last.
    last_segment: Name,
}

impl Writer<'_> {
    fn endpoint(&mut self, at: usize) -> AuthoredEndpoint {
        let number = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
        let [_, a, b, c] = number.to_be_bytes();
        let home = self.rng.chance(50).then(|| Home {
            host: name(format!("host{}", number % 8)),
            device: format!("tap{}", number % 100_000),
        });
        let flags = EndpointFlags { router: self.rng.chance(5), ..EndpointFlags::default() };
        let routes = if flags.router { vec![prefix("198.51.100.0", 24)] } else { vec![] };
        let labels = [("role", 3), ("zone", 8), ("team", 8)].map(|(key, divisor)| {
            let values = (self.shape.groups / divisor).max(2);
            (key.to_owned(), format!("{key}{}", self.rng.index(values)))
        });
        let segment = self.segment();
        // Every second endpoint has the addresses of the one before it where that is in another segment.
        let repeats = at % 2 == 1 && segment != self.last_segment;
        let addresses = self.addresses(if repeats { number - 1 } else { number });
        self.last_segment = segment.clone();
        AuthoredEndpoint {
            name: name(format!("vm{number}")),
            tenant: Name::default_name(),
            segment,
            mac: Mac([2, 0, 0, a, b, c]),
            addresses,
            labels: BTreeMap::from(labels),
            home,
            flags,
            routes,
            leased: Vec::new(),
        }
    }

    /// Returns addresses of one or both families. Neighbours by number are neighbours by address.
    fn addresses(&mut self, number: u32) -> Vec<IpAddr> {
        let v4 = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(number)));
        match self.rng.below(10) {
            0..=3 => vec![v4],
            4..=6 => vec![v6, v4],
            7..=8 => vec![v6],
            _ => vec![],
        }
    }

    fn group(&mut self, at: usize) -> AuthoredGroup {
        let mut group = AuthoredGroup {
            name: name(format!("group{at}")),
            tenant: Name::default_name(),
            segment: self.segment(),
            members: Vec::new(),
            selector: BTreeMap::new(),
            prefixes: Vec::new(),
            intra_group: if self.rng.chance(25) { IntraGroup::Deny } else { IntraGroup::Allow },
        };
        let label = |key: &str, value: usize| (key.to_owned(), format!("{key}{value}"));
        match at % 8 {
            0 | 3 | 6 => group.selector = BTreeMap::from([label("role", at / 3)]),
            1 => group.selector = BTreeMap::from([label("zone", at / 8)]),
            2 => group.selector = BTreeMap::from([label("team", at / 8)]),
            4 => group.members = self.members(),
            5 => group.prefixes = self.group_prefixes(&group.segment),
            _ => {
                group.members = self.members();
                group.prefixes = self.group_prefixes(&group.segment);
                group.selector = BTreeMap::from([label("zone", at / 8), label("role", at / 8)]);
            }
        }
        group
    }

    fn members(&mut self) -> Vec<Name> {
        let wanted = (self.listings.len() / 5).clamp(2, 200);
        let mut members = Vec::new();
        for _ in 0..wanted {
            let at = self.rng.index(self.listings.len());
            if let Some(listings) = self.listings.get_mut(at).filter(|count| **count < LISTINGS_MAX) {
                *listings += 1;
                members.push(name(format!("vm{}", at + 1)));
            }
        }
        members
    }

    fn group_prefixes(&mut self, segment: &Name) -> Vec<Prefix> {
        let mut prefixes = Vec::new();
        for _ in 0..=self.rng.index(3) {
            let prefix = self.any_prefix();
            let related = |(other_segment, other): &&(Name, Prefix)| {
                other_segment == segment && (other.contains_prefix(prefix) || prefix.contains_prefix(*other))
            };
            if self.prefixes.iter().filter(related).count() < NESTING_MAX {
                self.prefixes.push((segment.clone(), prefix));
                prefixes.push(prefix);
            }
        }
        prefixes
    }

    /// Returns a root or a prefix below it; half of them where the endpoints are.
    fn any_prefix(&mut self) -> Prefix {
        let (root, length) = self.rng.one_of(PREFIX_ROOTS);
        let root = prefix(root, length);
        let number = 1 + self.rng.below(u64::try_from(self.shape.endpoints).unwrap_or(1).max(1));
        let width: u8 = if root.address().is_ipv4() { 32 } else { 128 };
        let longer = length + u8::try_from(self.rng.below(u64::from(width - length) + 1)).unwrap_or(0);
        if self.rng.chance(20) {
            return root;
        }
        let bits = u128::from(if self.rng.chance(50) { number } else { self.rng.next_u64() });
        let free = u32::from(width - length);
        let kept = u32::from(width - longer);
        let inside = if free == 128 { bits } else { bits & ((1u128 << free) - 1) };
        let address = inside.checked_shr(kept).and_then(|b| b.checked_shl(kept)).unwrap_or(0);
        let address = match root.address() {
            IpAddr::V4(v4) => {
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | u32::try_from(address).unwrap_or(0)))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | address)),
        };
        Prefix::new(address, longer).unwrap_or(root)
    }

    /// Returns a relationship: a fresh one, or one that contends with an earlier one.
    fn relationship(&mut self, earlier: &[AuthoredRelationship]) -> AuthoredRelationship {
        let L4Fields { protocol, port_range, icmp_type, icmp_code } = self.l4();
        let mut rule = AuthoredRelationship {
            id: None,
            tenant: Name::default_name(),
            source_group_name: self.side(),
            destination_group_name: self.side(),
            protocol,
            port_range,
            icmp_type,
            icmp_code,
            action: self.action(),
            priority: self.priority(),
            mode: self.mode(),
            note: String::new(),
        };
        let other = if self.rng.chance(45) { self.rng.pick(earlier) } else { None };
        if let Some(other) = other {
            rule.source_group_name = other.source_group_name.clone();
            rule.destination_group_name = other.destination_group_name.clone();
            if self.rng.chance(60) {
                rule.priority = other.priority;
            }
            if self.rng.chance(50) {
                rule.protocol = other.protocol;
                rule.port_range = other.port_range.clone();
                (rule.icmp_type, rule.icmp_code) = (other.icmp_type, other.icmp_code);
            } else {
                rule.protocol = if self.rng.chance(50) { other.protocol } else { ProtocolMatch::Any };
                rule.port_range = PortSet::all();
                (rule.icmp_type, rule.icmp_code) = (None, None);
            }
        }
        rule
    }

    /// Returns a group rule: a fresh one, or one that contends with an earlier one.
    fn group_rule(&mut self, earlier: &[AuthoredGroupRule]) -> AuthoredGroupRule {
        let L4Fields { protocol, port_range, icmp_type, icmp_code } = self.l4();
        let peers = self.rng.one_of([0, 1, 1, 2, 5]);
        let mut rule = AuthoredGroupRule {
            id: None,
            tenant: Name::default_name(),
            group_name: self.side(),
            direction: self.rng.one_of([Direction::Ingress, Direction::Egress]),
            peer: (0..peers).map(|_| self.any_prefix()).collect(),
            protocol,
            port_range,
            icmp_type,
            icmp_code,
            action: self.action(),
            priority: self.priority(),
            mode: self.mode(),
            note: String::new(),
        };
        let other = if self.rng.chance(35) { self.rng.pick(earlier) } else { None };
        if let Some(other) = other {
            rule = AuthoredGroupRule { action: rule.action, mode: rule.mode, ..other.clone() };
            if self.rng.chance(40) {
                rule.priority = self.priority();
            }
        }
        rule
    }

    fn side(&mut self) -> Name {
        match self.rng.below(100) {
            0..=2 => name("any".into()),
            3..=4 => name("external".into()),
            5 => name("multicast".into()),
            _ if self.shape.groups == 0 => name("external".into()),
            _ => name(format!("group{}", self.rng.index(self.shape.groups))),
        }
    }

    fn l4(&mut self) -> L4Fields {
        let mut fields = L4Fields {
            protocol: ProtocolMatch::Any,
            port_range: PortSet::all(),
            icmp_type: None,
            icmp_code: None,
        };
        match self.rng.below(100) {
            0..=14 => {}
            15..=24 => {
                let number = self.rng.one_of([1, 2, 6, 6, 17, 47, 50, 58, 132, 255]);
                fields.protocol = ProtocolMatch::Is(Protocol(number));
            }
            25..=84 => {
                let protocol = self.rng.one_of([Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
                fields.protocol = ProtocolMatch::Is(protocol);
                fields.port_range = self.ports();
            }
            _ => {
                let protocol = self.rng.one_of([Protocol::ICMP, Protocol::ICMPV6]);
                fields.protocol = ProtocolMatch::Is(protocol);
                fields.icmp_type = Some(self.rng.one_of([0, 3, 8, 128, 129, 135, 255]));
                fields.icmp_code = self.rng.chance(40).then(|| self.rng.one_of([0, 1, 4, 255]));
            }
        }
        fields
    }

    fn ports(&mut self) -> PortSet {
        let mut ranges = Vec::new();
        for _ in 0..self.rng.one_of([1, 1, 1, 2, 4]) {
            let first = if self.rng.chance(80) { self.rng.one_of(PORTS) } else { self.rng.u16() };
            let width = self.rng.one_of([0, 0, 0, 1, 10, 1_000]);
            ranges.extend(PortRange::new(first, first.saturating_add(width)));
        }
        PortSet::new(ranges).unwrap_or_default()
    }

    fn action(&mut self) -> Action {
        self.rng.one_of([Action::Allow, Action::Allow, Action::Deny, Action::Reject])
    }

    fn mode(&mut self) -> Mode {
        match self.rng.below(100) {
            0..=79 => Mode::Enforce,
            80..=94 => Mode::Shadow,
            _ => Mode::Disabled,
        }
    }

    fn priority(&mut self) -> Priority {
        Priority(if self.rng.chance(90) { self.rng.one_of(PRIORITIES) } else { self.rng.u16() })
    }

    fn segment(&mut self) -> Name {
        segment_name(if self.rng.chance(60) { 0 } else { self.rng.index(self.shape.segments) })
    }
}

fn segment_name(number: usize) -> Name {
    if number == 0 { Name::default_name() } else { name(format!("segment{number}")) }
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has just built the text")]
fn name(text: String) -> Name {
    Name::new(&text).unwrap_or_else(|_| Name::default_name())
}

fn prefix(address: &str, length: u8) -> Prefix {
    let address = address.parse().expect("the addresses above are addresses");
    Prefix::new(address, length).expect("the prefixes above have no host bits")
}
