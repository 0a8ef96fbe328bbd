//! From a cause to a draft: which groups, which service, which action.

use super::DropReason;
use super::desk::Desk;
use super::grounds::Grounds;
use super::sides::hosts;
use super::wording::{kind_of, proposal};
use crate::detector::Anomaly;
use crate::draft_key::DraftKey;
use crate::profile::{Exchange, PatternPorts, SteadyPattern};
use crate::series::SeriesKey;
use meshgate_policy::suggestion::{Alternative, Feature, Origin, Proposal};
use meshgate_policy::{
    Action, AuthoredRelationship, EffectCounts, GroupId, Mode, PortRange, PortSet, Priority, Protocol,
    ProtocolMatch, Rule, RuleId, Side, limits,
};
use std::net::IpAddr;

/// Number of a draft until control gives it one: behind every rule that is equal otherwise, as a new rule will be.
pub(super) const DRAFT_ID: RuleId = RuleId(u32::MAX);
/// Below this p-value of the number of flows, which is that of many and not of few, a window counts as one of many.
const MANY_P_VALUE: f64 = 0.05;

/// What leads to a draft.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause<'a> {
    /// A pattern that holds.
    Steady(&'a SteadyPattern),
    /// Something unusual.
    Anomaly(&'a Anomaly),
}

impl Cause<'_> {
    pub(crate) fn key(&self) -> &SeriesKey {
        match self {
            Self::Steady(pattern) => &pattern.key,
            Self::Anomaly(anomaly) => &anomaly.key,
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Steady(_) => Origin::Steady,
            Self::Anomaly(_) => Origin::Anomaly,
        }
    }
}

/// A draft on its way to a suggestion.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) cause: Cause<'a>,
    /// What the series did so far; of an anomaly, without the windows that were unusual.
    pub(crate) past: Exchange,
    /// What the rule says but for who. Where a side is no group, its name here is that of any.
    pub(crate) relationship: AuthoredRelationship,
    pub(crate) rule: Rule,
    pub(crate) key: DraftKey,
    pub(crate) narrows: Vec<RuleId>,
    pub(crate) makes_explicit: bool,
    pub(crate) effect: EffectCounts,
    pub(crate) confidence: f64,
    pub(crate) over_permissiveness: f64,
    /// What the ranking saw of it.
    pub(crate) features: Vec<Feature>,
    pub(crate) alternatives: Vec<Alternative>,
}

impl Draft<'_> {
    /// Returns what drafts are ranked by.
    pub(super) fn score(&self) -> f64 {
        self.confidence * self.effect.relevance()
    }

    /// Returns what goes to a person.
    pub(super) fn proposal(&self, desk: &Desk<'_>) -> Result<Proposal, DropReason> {
        proposal(desk, self, &self.rule).ok_or(DropReason::NoGroup)
    }
}

/// Returns the draft for a steady pattern (an allow) or an anomaly (a deny), at the lowest priority there is.
pub(super) fn generate_policy<'a>(desk: &Desk<'_>, cause: Cause<'a>) -> Result<Draft<'a>, DropReason> {
    let key = cause.key();
    let action = match cause {
        Cause::Steady(_) => Action::Allow,
        Cause::Anomaly(anomaly) if shows_more(anomaly) => Action::Deny,
        Cause::Anomaly(_) => return Err(DropReason::LackOfTraffic),
    };
    let (source, destination) = sides(desk, cause)?;
    let (protocol, port_range, icmp_type) = service(&cause)?;
    let relationship = AuthoredRelationship {
        id: None,
        tenant: desk.tenant_of(key.segment)?,
        source_group_name: desk.side_name(&source)?,
        destination_group_name: desk.side_name(&destination)?,
        protocol,
        port_range,
        icmp_type,
        icmp_code: None,
        action,
        priority: Priority(limits::DRAFT_PRIORITY_MIN),
        mode: Mode::Enforce,
        note: String::new(),
    };
    let rule = Rule {
        id: DRAFT_ID,
        kind: kind_of(&source, &destination),
        priority: relationship.priority,
        action,
        shadow: false,
        source,
        destination,
        l4: relationship.l4_match().map_err(|_| DropReason::NoService)?,
    };
    let past = match cause {
        Cause::Steady(pattern) => pattern.exchange,
        Cause::Anomaly(_) => {
            desk.input.profile.exchange(key).map(Exchange::without_unusual).unwrap_or_default()
        }
    };
    let mut draft = Draft {
        cause,
        past,
        key: DraftKey::of(&relationship.clone().into()),
        relationship,
        rule,
        narrows: Vec::new(),
        makes_explicit: false,
        effect: EffectCounts::default(),
        confidence: 0.0,
        over_permissiveness: 0.0,
        features: Vec::new(),
        alternatives: Vec::new(),
    };
    draft.key = DraftKey::of(&draft.proposal(desk)?);
    Ok(draft)
}

/// Returns the sides of a draft as far as groups tell: the group of each party that says most, and for an endpoint in no
/// group its addresses.
fn sides(desk: &Desk<'_>, cause: Cause<'_>) -> Result<(Side, Side), DropReason> {
    let key = cause.key();
    let (source, destination) = (desk.group_of(key.source), desk.group_of(key.destination));
    let grounds = Grounds::of(desk.input.profile.pairs(), cause);
    let is_broadcast = |address: &IpAddr| desk.is_broadcast(key.segment, *address);
    if grounds.is_known() && grounds.destinations.iter().all(is_broadcast) {
        return Err(DropReason::Multicast);
    }
    if let (Ok(source), Ok(destination)) = (&source, &destination) {
        if source.is_built_in() && destination.is_built_in() {
            // Strangers among strangers: nobody made a group of either, so a rule would speak of the whole world.
            return Err(DropReason::NoGroup);
        }
        return Ok((Side::Group(*source), Side::Group(*destination)));
    }
    let side = |group: Result<GroupId, DropReason>, addresses| match group {
        Ok(group) => Ok(Side::Group(group)),
        Err(DropReason::NoGroup) => hosts(addresses).ok_or(DropReason::NoGroup),
        Err(reason) => Err(reason),
    };
    Ok((side(source, &grounds.sources)?, side(destination, &grounds.destinations)?))
}

/// Returns protocol, ports and ICMP type of a cause as a rule names them.
fn service(cause: &Cause<'_>) -> Result<(ProtocolMatch, PortSet, Option<u8>), DropReason> {
    let key = cause.key();
    let protocol = Protocol(key.protocol);
    let is = ProtocolMatch::Is(protocol);
    let ports = match cause {
        Cause::Steady(SteadyPattern { ports: PatternPorts::Spread { any_protocol }, .. }) => {
            return Ok((if *any_protocol { ProtocolMatch::Any } else { is }, PortSet::all(), None));
        }
        Cause::Steady(SteadyPattern { ports: PatternPorts::Several(ports), .. }) => {
            ports.iter().copied().collect()
        }
        Cause::Steady(_) | Cause::Anomaly(_) => vec![key.service_port],
    };
    if protocol.has_ports() {
        let ranges = ports.into_iter().map(|port| PortRange::new(port, port)).collect::<Result<_, _>>();
        let ports = ranges.and_then(PortSet::new).map_err(|_| DropReason::NoService)?;
        return Ok((is, ports, None));
    }
    if protocol.is_icmp() {
        let kind = u8::try_from(key.service_port).map_err(|_| DropReason::NoService)?;
        return Ok((is, PortSet::all(), Some(kind)));
    }
    Ok((is, PortSet::all(), None))
}

/// Returns whether there was something in an unusual window that is not usual. One that is unusual only because less
/// came than was expected gives no reason to forbid what came.
fn shows_more(anomaly: &Anomaly) -> bool {
    let sums = &anomaly.sums;
    let is_empty = sums.flows == 0 && sums.packets_forward == 0 && sums.packets_reverse == 0;
    let is_new = anomaly.is_new_source || anomaly.is_new_pair || anomaly.is_new_series;
    let is_many = anomaly.count_p_value < MANY_P_VALUE;
    let largest = anomaly.surprises.first().map_or(0.0, |surprise| surprise.nats);
    let mut weighty = anomaly.surprises.iter().filter(|surprise| surprise.nats >= largest / 2.0);
    let is_surprising = weighty.any(|surprise| match surprise.feature {
        // Fewer answers than usual are more failures.
        "answered_share" => surprise.seen < surprise.expected,
        _ => surprise.seen > surprise.expected,
    });
    !is_empty && (is_new || is_many || is_surprising)
}
