//! A policy in the words of nftables, for one segment: a translation of its own that shares nothing with the product's
//! compiler. Groups become sets of intervals, rules a chain in their order, then membership, then the default.

use meshgate_policy::{
    Action, Group, GroupId, IntraGroup, L4Match, Policy, PortSet, Prefix, Rule, SegmentId, Side,
};
use std::fmt::Write;
use std::net::IpAddr;

/// A family: how nftables calls its packets and its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    word: &'static str,
    set_type: &'static str,
    is_v4: bool,
}

const FAMILIES: [Family; 2] = [
    Family { word: "ip", set_type: "ipv4_addr", is_v4: true },
    Family { word: "ip6", set_type: "ipv6_addr", is_v4: false },
];

/// Addresses as merged intervals of numbers, both ends included.
type Intervals = Vec<(u128, u128)>;

/// Returns the table that drops what the policy does not allow in this segment; other ethertypes pass.
pub fn bridge_table(policy: &Policy, segment: SegmentId) -> String {
    let mut text =
        String::from("add table bridge second\ndelete table bridge second\ntable bridge second {\n");
    let translation = Translation { policy, segment };
    FAMILIES.iter().for_each(|family| translation.sets(*family, &mut text));
    text += "chain forward {\ntype filter hook forward priority 0; policy accept;\n";
    text += "ether type != { ip, ip6 } accept\n";
    for rule in policy.rules.iter().filter(|rule| !rule.shadow) {
        FAMILIES.iter().for_each(|family| translation.rule(rule, *family, &mut text));
    }
    for (intra, action) in [(IntraGroup::Deny, Action::Deny), (IntraGroup::Allow, Action::Allow)] {
        for group in policy.groups.iter().filter(|group| group.intra_group == intra) {
            for family in FAMILIES {
                let side = Side::Group(group.id);
                let both = [("saddr", &side), ("daddr", &side)];
                translation.statement(both, family, (String::new(), action), &mut text);
            }
        }
    }
    writeln!(text, "{}\n}}\n}}", word(policy.default_action)).expect("a string takes everything");
    text
}

struct Translation<'a> {
    policy: &'a Policy,
    segment: SegmentId,
}

impl Translation<'_> {
    /// Writes the sets of a family that rules refer to.
    fn sets(&self, family: Family, text: &mut String) {
        let mut set = |name: String, intervals: &Intervals| {
            let elements = if intervals.is_empty() {
                String::new()
            } else {
                format!(" elements = {{ {} }};", listed(intervals, family))
            };
            writeln!(text, "set {name} {{ type {}; flags interval;{elements} }}", family.set_type)
                .expect("a string takes everything");
        };
        for group in &self.policy.groups {
            set(format!("g{}_{}", group.id.0, family.word), &self.members(group, family));
        }
        set(format!("claimed_{}", family.word), &self.claimed(family));
        set(format!("multicast_{}", family.word), &multicast(family));
    }

    fn members(&self, group: &Group, family: Family) -> Intervals {
        let prefixes = group.prefixes.iter().filter(|_| group.segment == self.segment);
        let endpoints = self.policy.endpoints.iter().filter(|e| e.segment == self.segment);
        let owned = endpoints.filter(|e| group.endpoints.contains(&e.id)).flat_map(|e| &e.addresses);
        merged(prefixes.copied().chain(owned.map(|address| Prefix::host(*address))), family)
    }

    /// Returns what some prefix or endpoint of the segment claims.
    fn claimed(&self, family: Family) -> Intervals {
        let groups = self.policy.groups.iter().filter(|group| group.segment == self.segment);
        let endpoints = self.policy.endpoints.iter().filter(|e| e.segment == self.segment);
        let owned = endpoints.flat_map(|e| &e.addresses).map(|address| Prefix::host(*address));
        merged(groups.flat_map(|group| group.prefixes.iter().copied()).chain(owned), family)
    }

    fn rule(&self, rule: &Rule, family: Family, text: &mut String) {
        let sides = [("saddr", &rule.source), ("daddr", &rule.destination)];
        self.statement(sides, family, (l4(&rule.l4), rule.action), text);
    }

    /// Writes one line of the chain, if any packet of the family can match.
    fn statement(
        &self,
        sides: [(&str, &Side); 2],
        family: Family,
        (l4, action): (String, Action),
        text: &mut String,
    ) {
        let matches = sides.map(|(field, side)| self.side(field, side, family));
        if let [Some(source), Some(destination)] = matches {
            writeln!(text, "ether type {} {source} {destination} {l4} {}", family.word, word(action))
                .expect("a string takes everything");
        }
    }

    /// Returns the match of one side; None if nothing of the family is there.
    fn side(&self, field: &str, side: &Side, family: Family) -> Option<String> {
        let Family { word, .. } = family;
        match side {
            Side::Group(GroupId::ANY) => Some(String::new()),
            Side::Group(GroupId::MULTICAST) => Some(format!("{word} {field} @multicast_{word}")),
            Side::Group(GroupId::EXTERNAL) => {
                Some(format!("{word} {field} != @multicast_{word} {word} {field} != @claimed_{word}"))
            }
            Side::Group(id) => {
                let group = self.policy.groups.iter().find(|group| group.id == *id)?;
                let is_there = !self.members(group, family).is_empty();
                is_there.then(|| format!("{word} {field} @g{}_{word}", id.0))
            }
            Side::Prefixes(prefixes) => {
                let intervals = merged(prefixes.iter().copied(), family);
                let is_there = !intervals.is_empty();
                is_there.then(|| format!("{word} {field} {{ {} }}", listed(&intervals, family)))
            }
        }
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "accept",
        Action::Deny | Action::Reject => "drop",
    }
}

fn l4(l4: &L4Match) -> String {
    match l4 {
        L4Match::Any => String::new(),
        L4Match::Protocol(protocol) => format!("meta l4proto {}", protocol.0),
        L4Match::Ports(protocol, ports) => {
            format!("meta l4proto {} th dport {{ {} }}", protocol.0, listed_ports(ports))
        }
        L4Match::Icmp(protocol, kind, None) => format!("meta l4proto {} @th,0,8 {kind}", protocol.0),
        L4Match::Icmp(protocol, kind, Some(code)) => {
            format!("meta l4proto {} @th,0,8 {kind} @th,8,8 {code}", protocol.0)
        }
    }
}

fn listed_ports(ports: &PortSet) -> String {
    let range = |(first, last): &(u128, u128)| format!("{first}-{last}");
    let ranges = ports.ranges().iter().map(|range| (range.first().into(), range.last().into()));
    joined(ranges.collect()).iter().map(range).collect::<Vec<_>>().join(", ")
}

fn listed(intervals: &Intervals, family: Family) -> String {
    let address = |number: u128| -> IpAddr {
        match u32::try_from(number) {
            Ok(number) if family.is_v4 => IpAddr::V4(number.into()),
            _ => IpAddr::V6(number.into()),
        }
    };
    let interval = |(first, last): &(u128, u128)| match first == last {
        true => address(*first).to_string(),
        false => format!("{}-{}", address(*first), address(*last)),
    };
    intervals.iter().map(interval).collect::<Vec<_>>().join(", ")
}

fn multicast(family: Family) -> Intervals {
    match family.is_v4 {
        true => vec![(0xe000_0000, 0xefff_ffff), (0xffff_ffff, 0xffff_ffff)],
        false => vec![(0xff << 120, u128::MAX)],
    }
}

/// Returns the prefixes of the family as intervals.
fn merged(prefixes: impl Iterator<Item = Prefix>, family: Family) -> Intervals {
    let interval = |prefix: Prefix| {
        let (first, width) = match prefix.address() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let behind = u32::from(width - prefix.length());
        (first, first | 1u128.checked_shl(behind).unwrap_or(0).wrapping_sub(1))
    };
    joined(prefixes.filter(|prefix| prefix.address().is_ipv4() == family.is_v4).map(interval).collect())
}

/// Returns the intervals in order, with those in one that touch.
fn joined(mut intervals: Intervals) -> Intervals {
    intervals.sort_unstable();
    let mut out: Intervals = Vec::new();
    for (first, last) in intervals {
        match out.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => out.push((first, last)),
        }
    }
    out
}
