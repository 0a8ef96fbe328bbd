//! Rules of a resolved policy, both ways.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::{action_from_wire, given, messages, narrow};
use crate::wire;
use meshgate_policy::limits::{PORT_RANGES_PER_RULE_MAX, PREFIXES_PER_RULE_MAX};
use meshgate_policy::{
    GroupId, L4Match, PortRange, PortSet, Prefix, Priority, Protocol, ProtocolMatch, Rule, RuleId, RuleKind,
    Side,
};

impl TryFrom<wire::Rule> for Rule {
    type Error = WireFault;
    fn try_from(message: wire::Rule) -> Result<Self, WireFault> {
        let wire::Rule { id, kind, priority, action, shadow, source, destination, l4 } = message;
        Ok(Self {
            id: RuleId(given(id).at("id")?),
            kind: rule_kind(kind).at("kind")?,
            priority: Priority(narrow(priority, u16::MAX).at("priority")?),
            action: action_from_wire(action).at("action")?,
            shadow,
            source: side(source).within("source")?,
            destination: side(destination).within("destination")?,
            l4: l4.ok_or(Problem::Missing).at("l4").and_then(|l4| L4Match::try_from(l4).within("l4"))?,
        })
    }
}

impl From<&Rule> for wire::Rule {
    fn from(rule: &Rule) -> Self {
        let Rule { id, kind, priority, action, shadow, source, destination, l4 } = rule;
        Self {
            id: id.0,
            kind: match kind {
                RuleKind::Relationship => wire::rule::Kind::Relationship.into(),
                RuleKind::GroupRule => wire::rule::Kind::GroupRule.into(),
            },
            priority: priority.0.into(),
            action: wire::Action::from(*action).into(),
            shadow: *shadow,
            source: Some(source.into()),
            destination: Some(destination.into()),
            l4: Some(l4.into()),
        }
    }
}

fn rule_kind(number: i32) -> Result<RuleKind, Problem> {
    match wire::rule::Kind::try_from(number) {
        Ok(wire::rule::Kind::Relationship) => Ok(RuleKind::Relationship),
        Ok(wire::rule::Kind::GroupRule) => Ok(RuleKind::GroupRule),
        Ok(wire::rule::Kind::Unspecified) | Err(_) => {
            Err(Problem::Enumeration(number, "1 (relationship), 2 (group rule)"))
        }
    }
}

fn side(message: Option<wire::Side>) -> Result<Side, WireFault> {
    let side = message.and_then(|wire::Side { side }| side).ok_or(Problem::Missing).at("side")?;
    match side {
        wire::side::Side::Group(group) => Ok(Side::Group(GroupId(given(group).at("group")?))),
        wire::side::Side::Prefixes(wire::PrefixList { prefixes }) => {
            if prefixes.is_empty() {
                return Err(Problem::Missing).at("prefixes");
            }
            messages(prefixes, "prefixes", PREFIXES_PER_RULE_MAX, Prefix::try_from).map(Side::Prefixes)
        }
    }
}

impl From<&Side> for wire::Side {
    fn from(side: &Side) -> Self {
        let side = match side {
            Side::Group(group) => wire::side::Side::Group(group.0),
            Side::Prefixes(prefixes) => wire::side::Side::Prefixes(wire::PrefixList {
                prefixes: prefixes.iter().map(|prefix| (*prefix).into()).collect(),
            }),
        };
        Self { side: Some(side) }
    }
}

impl TryFrom<wire::L4Match> for L4Match {
    type Error = WireFault;
    fn try_from(message: wire::L4Match) -> Result<Self, WireFault> {
        let wire::L4Match { protocol, ports, icmp_type, icmp_code } = message;
        let protocol = match protocol {
            Some(number) => ProtocolMatch::Is(Protocol(narrow(number, u8::MAX).at("protocol")?)),
            None => ProtocolMatch::Any,
        };
        let ports = messages(ports, "ports", PORT_RANGES_PER_RULE_MAX, PortRange::try_from)?;
        let ports = PortSet::new(ports).at("ports")?;
        let byte = |number: Option<u32>| number.map(|number| narrow(number, u8::MAX)).transpose();
        let (icmp_type, icmp_code) = (byte(icmp_type).at("icmp_type")?, byte(icmp_code).at("icmp_code")?);
        Self::new(protocol, &ports, icmp_type, icmp_code).at("ports")
    }
}

impl From<&L4Match> for wire::L4Match {
    fn from(l4: &L4Match) -> Self {
        let any = Self { protocol: None, ports: Vec::new(), icmp_type: None, icmp_code: None };
        match l4 {
            L4Match::Any => any,
            L4Match::Protocol(protocol) => Self { protocol: Some(protocol.0.into()), ..any },
            L4Match::Ports(protocol, ports) => Self {
                protocol: Some(protocol.0.into()),
                ports: ports.ranges().iter().map(|range| (*range).into()).collect(),
                ..any
            },
            L4Match::Icmp(protocol, kind, code) => Self {
                protocol: Some(protocol.0.into()),
                icmp_type: Some((*kind).into()),
                icmp_code: code.map(Into::into),
                ..any
            },
        }
    }
}

impl TryFrom<wire::PortRange> for PortRange {
    type Error = WireFault;
    fn try_from(message: wire::PortRange) -> Result<Self, WireFault> {
        let wire::PortRange { first, last } = message;
        let first = narrow(first, u16::MAX).at("first")?;
        let last = narrow(last, u16::MAX).at("last")?;
        Self::new(first, last).at("last")
    }
}

impl From<PortRange> for wire::PortRange {
    fn from(range: PortRange) -> Self {
        Self { first: range.first().into(), last: range.last().into() }
    }
}
