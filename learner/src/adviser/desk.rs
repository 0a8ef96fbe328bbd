//! What a round of advice looks at: the policy with its address sets, the parties as groups, the flows that are
//! remembered.

use super::draft::Cause;
use super::grounds::Grounds;
use super::{AdviserInput, DropReason};
use crate::profile::remembered::FlowKind;
use crate::profile::{PatternPorts, SteadyPattern};
use crate::series::{PartyId, SeriesKey};
use hashbrown::HashMap;
use meshgate_policy::{
    Action, Effect, EffectCounts, Endpoint, Extents, Group, GroupId, IntraGroup, Name, Prefix, Protocol,
    Rule, RuleId, SeenFlows, SegmentId, Side,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The input of a round with what is worked out from it once.
pub(super) struct Desk<'a> {
    pub(super) input: &'a AdviserInput<'a>,
    pub(super) extents: Extents<'a>,
    /// Actions of the rules, by number.
    actions: HashMap<RuleId, Action>,
    /// The endpoint that owns an address of a segment.
    owners: BTreeMap<(SegmentId, IpAddr), &'a Endpoint>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(input: &'a AdviserInput<'a>) -> Self {
        let actions = input.policy.rules.iter().map(|rule| (rule.id, rule.action)).collect();
        let owned = |endpoint: &'a Endpoint| {
            endpoint.addresses.iter().map(move |address| ((endpoint.segment, *address), endpoint))
        };
        let owners = input.policy.endpoints.iter().flat_map(owned).collect();
        Self { input, extents: input.policy.extents(), actions, owners }
    }

    /// Returns the endpoint that owns the address that a prefix is.
    pub(super) fn endpoint_of(&self, segment: u16, prefix: Prefix) -> Option<&'a Endpoint> {
        let address = prefix.address();
        let owner = self.owners.get(&(SegmentId(segment), address)).copied();
        owner.filter(|_| prefix == Prefix::host(address))
    }

    /// Returns the addresses over which permitted tuples are counted: those of the segment's endpoints, and all that were
    /// seen.
    pub(super) fn known_addresses(&self, grounds: &Grounds) -> BTreeSet<IpAddr> {
        let segment = SegmentId(grounds.key.segment);
        let owned = self.owners.keys().filter(|(of, _)| *of == segment).map(|(_, address)| *address);
        let seen = self.input.profile.pairs().addresses(segment.0);
        let own = grounds.sources.iter().chain(&grounds.destinations).copied();
        owned.chain(seen).chain(own).collect()
    }

    /// Returns whether a side holds a party: a group that the party is in, or prefixes with all of its addresses.
    pub(super) fn holds_party(&self, side: &Side, party: PartyId, addresses: &BTreeSet<IpAddr>) -> bool {
        match side {
            Side::Group(GroupId::ANY) => true,
            Side::Group(group) => self.input.parties.groups(party).contains(&group.0),
            Side::Prefixes(prefixes) => {
                let is_in = |address: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(*address));
                !addresses.is_empty() && addresses.iter().all(is_in)
            }
        }
    }

    /// Returns whether an address is the last one of a network that is a group, which nobody owns: a broadcast.
    pub(super) fn is_broadcast(&self, segment: u16, address: IpAddr) -> bool {
        let is_last = |prefix: &Prefix| {
            let (IpAddr::V4(first), IpAddr::V4(address)) = (prefix.address(), address) else { return false };
            let hosts = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            // Networks of one or two addresses have no broadcast (RFC 3021).
            hosts > 1 && address.to_bits() == first.to_bits() | hosts
        };
        let of_segment = |group: &&Group| group.segment == SegmentId(segment);
        let mut prefixes =
            self.input.policy.groups.iter().filter(of_segment).flat_map(|group| &group.prefixes);
        !self.owners.contains_key(&(SegmentId(segment), address)) && prefixes.any(is_last)
    }

    /// Returns whether there is a group of this name, built-in ones included.
    pub(super) fn has_group(&self, name: &Name) -> bool {
        GroupId::built_in(name.as_str()).is_some()
            || self.input.policy.groups.iter().any(|group| group.name == *name)
    }

    /// Returns the name of a segment.
    pub(super) fn segment_name(&self, segment: u16) -> Option<Name> {
        let mut segments = self.input.policy.segments.iter();
        segments.find(|known| known.id == SegmentId(segment)).map(|known| known.name.clone())
    }

    /// Returns the group that says most about a party: of its groups the one with the fewest addresses, then the fewest
    /// endpoints, then the first by name. A party in no group but `external` is that.
    pub(super) fn group_of(&self, party: PartyId) -> Result<GroupId, DropReason> {
        let groups = self.input.parties.groups(party);
        if groups.contains(&GroupId::MULTICAST.0) {
            return Err(DropReason::Multicast);
        }
        let known = groups.iter().filter_map(|group| self.input.policy.group(GroupId(*group)));
        let sized = known.map(|group| (self.extents.addresses(&Side::Group(group.id)), group));
        let specific = sized.min_by(|(size, group), (other_size, other)| {
            let by_members = || group.endpoints.len().cmp(&other.endpoints.len());
            size.total_cmp(other_size).then_with(by_members).then_with(|| group.name.cmp(&other.name))
        });
        match specific {
            Some((_, group)) => Ok(group.id),
            None if groups == [GroupId::EXTERNAL.0] => Ok(GroupId::EXTERNAL),
            None => Err(DropReason::NoGroup),
        }
    }

    /// Returns the name of a group of the policy, built-in ones included.
    pub(super) fn name_of(&self, group: GroupId) -> Result<Name, DropReason> {
        Name::new(&self.input.policy.group_name(group)).map_err(|_| DropReason::NoGroup)
    }

    /// Returns the name of a side that is a group; that of any for one that is not.
    pub(super) fn side_name(&self, side: &Side) -> Result<Name, DropReason> {
        self.name_of(match side {
            Side::Group(group) => *group,
            Side::Prefixes(_) => GroupId::ANY,
        })
    }

    /// Returns the tenant whose segment this is.
    pub(super) fn tenant_of(&self, segment: u16) -> Result<Name, DropReason> {
        let found = self.input.policy.segments.iter().find(|known| known.id == SegmentId(segment));
        found.map(|segment| segment.tenant.clone()).ok_or(DropReason::NoGroup)
    }

    /// Returns whether stage 6 lets the parties of a series talk.
    pub(super) fn are_members(&self, key: &SeriesKey) -> bool {
        let (source, destination) = self.sides(key);
        let common = source.iter().filter(|group| destination.contains(group));
        let common: Vec<IntraGroup> = common
            .filter_map(|group| self.input.policy.group(GroupId(*group)))
            .map(|group| group.intra_group)
            .collect();
        common.contains(&IntraGroup::Allow) && !common.contains(&IntraGroup::Deny)
    }

    /// Returns what the rule would do to flows of a kind.
    pub(super) fn effect_on(&self, rule: &Rule, kind: &FlowKind) -> Effect {
        let groups = |party| -> Vec<GroupId> {
            self.input.parties.groups(party).iter().map(|group| GroupId(*group)).collect()
        };
        // A window in which the policy changed names the last rule for all its flows. Where the rule has the other
        // action it was not the one.
        let decided = Some(RuleId(kind.rule))
            .filter(|id| self.actions.get(id).is_some_and(|action| action.is_allow() == kind.is_allowed));
        let flows = SeenFlows {
            segment: SegmentId(kind.segment),
            source_groups: &groups(kind.source),
            destination_groups: &groups(kind.destination),
            protocol: Protocol(kind.protocol),
            service_port: kind.service_port,
            action: if kind.is_allowed { Action::Allow } else { Action::Deny },
            rule: decided,
        };
        // Whether addresses fit is asked of the pairs that were seen; roll-ups of groups do not know.
        let any = |side: &Side| match side {
            Side::Prefixes(_) => Side::Group(GroupId::ANY),
            Side::Group(group) => Side::Group(*group),
        };
        let rule = Rule { source: any(&rule.source), destination: any(&rule.destination), ..rule.clone() };
        self.input.policy.effect(&rule, &flows)
    }

    /// Returns what the rule, which is for the services of this cause, would have done to the remembered flows.
    pub(super) fn effect(&self, rule: &Rule, cause: Cause<'_>) -> EffectCounts {
        let remembered = self.input.profile.remembered();
        let mut counts = EffectCounts::default();
        let key = cause.key();
        let kinds: Vec<_> = match cause {
            Cause::Steady(SteadyPattern { ports: PatternPorts::Spread { .. }, .. }) => {
                remembered.all().collect()
            }
            Cause::Steady(pattern) => {
                let services = pattern.services().into_iter();
                services.flat_map(|(protocol, port)| remembered.of_service(protocol, port)).collect()
            }
            Cause::Anomaly(_) => remembered.of_service(key.protocol, key.service_port).collect(),
        };
        for (kind, flows) in kinds.into_iter().filter(|(kind, _)| self.may_fit(rule, kind)) {
            let (fitting, pairs) = self.fitting_pairs(rule, kind);
            let flows = u128::from(flows) * u128::from(fitting) / u128::from(pairs.max(1));
            let flows = u64::try_from(flows).unwrap_or(u64::MAX);
            counts.add(if flows == 0 { Effect::None } else { self.effect_on(rule, kind) }, flows);
        }
        EffectCounts { seen: remembered.flows(), ..counts }
    }

    /// Returns how many of the pairs of addresses behind a kind of flows fit the prefixes of a rule, of how many: the flows
    /// are taken to be spread evenly over them.
    pub(super) fn fitting_pairs(&self, rule: &Rule, kind: &FlowKind) -> (u64, u64) {
        if [&rule.source, &rule.destination].into_iter().all(|side| matches!(side, Side::Group(_))) {
            return (1, 1);
        }
        let FlowKind { protocol, service_port, source, destination, segment, .. } = *kind;
        let key = SeriesKey { source, destination, segment, protocol, service_port };
        let pairs = self.input.profile.pairs();
        let mut all: BTreeSet<(IpAddr, IpAddr)> =
            pairs.of(&key).map(|pair| (pair.source, pair.destination)).collect();
        all.extend(pairs.latest_of(&key).map(|pair| (pair.source, pair.destination)));
        let fits = |side: &Side, address: IpAddr| match side {
            Side::Group(_) => true,
            Side::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
        };
        let fitting = all.iter().filter(|(source, destination)| {
            fits(&rule.source, *source) && fits(&rule.destination, *destination)
        });
        let count = |pairs: usize| u64::try_from(pairs).unwrap_or(u64::MAX);
        (count(fitting.count()), count(all.len()))
    }

    fn sides(&self, key: &SeriesKey) -> (&[u32], &[u32]) {
        (self.input.parties.groups(key.source), self.input.parties.groups(key.destination))
    }

    /// Returns whether the groups fit: what most kinds fail by, asked without building anything.
    fn may_fit(&self, rule: &Rule, kind: &FlowKind) -> bool {
        let fits = |side: &Side, party| match side {
            Side::Group(group) => self.input.parties.groups(party).contains(&group.0),
            Side::Prefixes(_) => true,
        };
        fits(&rule.source, kind.source) && fits(&rule.destination, kind.destination)
    }
}
