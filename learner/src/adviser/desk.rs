//! What a round of advice looks at: the policy with its address sets, the parties as groups, the flows that are
//! remembered.

use super::draft::Cause;
use super::{AdviserInput, DropReason};
use crate::profile::remembered::FlowKind;
use crate::profile::{PatternPorts, SteadyPattern};
use crate::series::{PartyId, SeriesKey};
use hashbrown::HashMap;
use meshgate_policy::{
    Action, EffectCounts, Extents, GroupId, IntraGroup, Name, Rule, RuleId, SeenFlows, SegmentId, Side,
};
use meshgate_policy::{Effect, Protocol};

/// The input of a round with what is worked out from it once.
pub(super) struct Desk<'a> {
    pub(super) input: &'a AdviserInput<'a>,
    pub(super) extents: Extents<'a>,
    /// Actions of the rules, by number.
    actions: HashMap<RuleId, Action>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(input: &'a AdviserInput<'a>) -> Self {
        let actions = input.policy.rules.iter().map(|rule| (rule.id, rule.action)).collect();
        Self { input, extents: input.policy.extents(), actions }
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
        self.input.policy.effect(rule, &flows)
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
            counts.add(self.effect_on(rule, kind), flows);
        }
        EffectCounts { seen: remembered.flows(), ..counts }
    }

    fn sides(&self, key: &SeriesKey) -> (&[u32], &[u32]) {
        (self.input.parties.groups(key.source), self.input.parties.groups(key.destination))
    }

    /// Returns whether the groups fit: what most kinds fail by, asked without building anything.
    fn may_fit(&self, rule: &Rule, kind: &FlowKind) -> bool {
        let fits = |side: &Side, party| match side {
            Side::Group(group) => self.input.parties.groups(party).contains(&group.0),
            Side::Prefixes(_) => false,
        };
        fits(&rule.source, kind.source) && fits(&rule.destination, kind.destination)
    }
}
