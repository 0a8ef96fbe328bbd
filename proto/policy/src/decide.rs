//! Stages 5 to 7 of a verdict, as a plain linear scan: the oracle that every compiled form is held against.
//!
//! 5. The first enforced rule of the list that matches decides.
//! 6. Else, two members of a common group: `intra_group = deny` of any common group denies, otherwise `allow` of any
//!    allows. Built-in groups have no members.
//! 7. Else the default.

use crate::ids::{EndpointId, GroupId, PolicyVersion, RuleId, SegmentId};
use crate::policy::{IntraGroup, Policy};
use crate::protocol::L4Key;
use crate::rule::{Action, Rule, Side, UnknownWord};
use crate::{address::is_group_address, policy::Endpoint};
use std::fmt;
use std::net::IpAddr;

/// What stages 5 to 7 look at: the first packet of a flow, in its original direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyKey {
    /// Segment of both addresses.
    pub segment: SegmentId,
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// Protocol, ports, ICMP type and code.
    pub l4: L4Key,
}

/// The stage that ended a packet. Every verdict names one; implicit denies included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(try_from = "String")]
#[repr(u8)]
pub enum Stage {
    /// 1: lengths, versions, checksums, options.
    WellFormed = 1,
    /// 2: whether sender and receiver are who they say.
    Binding = 2,
    /// 3: fragments.
    Fragments = 3,
    /// 4: a flow that is known.
    KnownFlow = 4,
    /// 5: a rule.
    Rules = 5,
    /// 6: a common group.
    Membership = 6,
    /// 7: the default.
    Default = 7,
}

impl Stage {
    /// Returns the stage with this number, as flow records carry it.
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::WellFormed,
            Self::Binding,
            Self::Fragments,
            Self::KnownFlow,
            Self::Rules,
            Self::Membership,
            Self::Default,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == number)
    }
}

impl std::str::FromStr for Stage {
    type Err = UnknownWord;
    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = "well-formed, binding, fragments, known-flow, rules, membership, default";
        let stage = (1..=7).filter_map(Self::from_number).find(|stage| stage.to_string() == text);
        stage.ok_or_else(|| UnknownWord { field: "stage", text: text.to_owned(), words })
    }
}

impl TryFrom<String> for Stage {
    type Error = UnknownWord;
    fn try_from(text: String) -> Result<Self, UnknownWord> {
        text.parse()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WellFormed => "well-formed",
            Self::Binding => "binding",
            Self::Fragments => "fragments",
            Self::KnownFlow => "known-flow",
            Self::Rules => "rules",
            Self::Membership => "membership",
            Self::Default => "default",
        })
    }
}

/// The verdict of stages 5 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Version of the policy that decided.
    pub version: PolicyVersion,
    /// [`Stage::Rules`], [`Stage::Membership`] or [`Stage::Default`].
    pub stage: Stage,
    /// What happens to the packet.
    pub action: Action,
    /// The rule, at stage 5.
    pub rule: Option<RuleId>,
    /// The group, at stage 6: the lowest numbered one with the action that decided.
    pub group: Option<GroupId>,
}

/// What the policy would decide with all shadow rules enforced, where that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShadowDecision {
    /// That decision.
    pub decision: Decision,
    /// The first shadow rule of the list that matches, which made the difference.
    pub rule: RuleId,
}

impl Policy {
    /// Returns the verdict of stages 5 to 7.
    pub fn decide(&self, key: &PolicyKey) -> Decision {
        let [source, destination] = self.groups_of_both(key);
        self.decide_between(key, [&source, &destination])
    }

    /// Returns the same where it is known which groups hold the source and the destination, as [`Self::groups_of`] says: for
    /// those who ask about many packets between few addresses.
    pub fn decide_between(&self, key: &PolicyKey, groups: [&[GroupId]; 2]) -> Decision {
        self.decide_with(key, groups, |rule| !rule.shadow)
    }

    /// Returns what would be decided with every shadow rule enforced, if a shadow rule is what decides then and the
    /// action differs from the enforced one.
    pub fn decide_shadow(&self, key: &PolicyKey) -> Option<ShadowDecision> {
        let [source, destination] = self.groups_of_both(key);
        self.decide_shadow_between(key, [&source, &destination])
    }

    /// Returns the same where it is known which groups hold the source and the destination.
    pub fn decide_shadow_between(&self, key: &PolicyKey, groups: [&[GroupId]; 2]) -> Option<ShadowDecision> {
        let enforced = self.decide_between(key, groups);
        let decision = self.decide_with(key, groups, |_| true);
        let rule = decision.rule?;
        (decision.rule != enforced.rule && decision.action != enforced.action)
            .then_some(ShadowDecision { decision, rule })
    }

    fn groups_of_both(&self, key: &PolicyKey) -> [Vec<GroupId>; 2] {
        [key.source, key.destination].map(|address| self.groups_of(key.segment, address))
    }

    /// Returns whether the rule matches the packet, whatever its mode and whatever stands before it.
    pub fn rule_matches(&self, rule: &Rule, key: &PolicyKey) -> bool {
        rule.l4.matches(key.l4)
            && self.side_matches(&rule.source, key.segment, key.source)
            && self.side_matches(&rule.destination, key.segment, key.destination)
    }

    /// Returns whether the group holds the address.
    pub fn is_member(&self, group: GroupId, segment: SegmentId, address: IpAddr) -> bool {
        match group {
            GroupId::ANY => true,
            GroupId::MULTICAST => is_group_address(address),
            GroupId::EXTERNAL => !is_group_address(address) && !self.is_claimed(segment, address),
            _ => self.groups.iter().filter(|g| g.id == group).any(|g| {
                (g.segment == segment && g.prefixes.iter().any(|prefix| prefix.contains(address)))
                    || g.endpoints.iter().any(|id| self.endpoint_owns(*id, segment, address))
            }),
        }
    }

    /// Returns the groups that hold the address, built-in ones included, in order of their numbers.
    pub fn groups_of(&self, segment: SegmentId, address: IpAddr) -> Vec<GroupId> {
        // Whose address it is, is asked once, not once a member of every group.
        let owners: Vec<EndpointId> = self.owners(segment, address).map(|owner| owner.id).collect();
        let holds = |group: &&crate::Group| {
            (group.segment == segment && group.prefixes.iter().any(|prefix| prefix.contains(address)))
                || owners.iter().any(|owner| group.endpoints.contains(owner))
        };
        let is_multicast = is_group_address(address);
        let is_external = !is_multicast && owners.is_empty() && !self.is_in_a_prefix(segment, address);
        let built_in =
            [(GroupId::ANY, true), (GroupId::EXTERNAL, is_external), (GroupId::MULTICAST, is_multicast)];
        let built_in = built_in.into_iter().filter_map(|(group, holds)| holds.then_some(group));
        built_in.chain(self.groups.iter().filter(holds).map(|group| group.id)).collect()
    }

    /// Returns the endpoint that owns the address.
    pub fn endpoint_of(&self, segment: SegmentId, address: IpAddr) -> Option<&Endpoint> {
        self.owners(segment, address).next()
    }

    /// Returns the endpoints that own the address: one at most in a policy that was resolved.
    fn owners(&self, segment: SegmentId, address: IpAddr) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |e| e.segment == segment && e.addresses.contains(&address))
    }

    fn decide_with(
        &self,
        key: &PolicyKey,
        [source, destination]: [&[GroupId]; 2],
        takes_part: impl Fn(&Rule) -> bool,
    ) -> Decision {
        let decision =
            |stage, action, rule, group| Decision { version: self.version, stage, action, rule, group };
        let holds = |groups: &[GroupId], side: &Side, address| match side {
            Side::Group(group) => groups.contains(group),
            Side::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
        };
        let matches = |rule: &&Rule| {
            takes_part(rule)
                && rule.l4.matches(key.l4)
                && holds(source, &rule.source, key.source)
                && holds(destination, &rule.destination, key.destination)
        };
        if let Some(rule) = self.rules.iter().find(matches) {
            return decision(Stage::Rules, rule.action, Some(rule.id), None);
        }
        let common = |intra: IntraGroup| {
            self.groups.iter().find(|group| {
                group.intra_group == intra && source.contains(&group.id) && destination.contains(&group.id)
            })
        };
        if let Some(group) = common(IntraGroup::Deny) {
            return decision(Stage::Membership, Action::Deny, None, Some(group.id));
        }
        if let Some(group) = common(IntraGroup::Allow) {
            return decision(Stage::Membership, Action::Allow, None, Some(group.id));
        }
        decision(Stage::Default, self.default_action, None, None)
    }

    fn side_matches(&self, side: &Side, segment: SegmentId, address: IpAddr) -> bool {
        match side {
            Side::Group(group) => self.is_member(*group, segment, address),
            Side::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
        }
    }

    fn is_claimed(&self, segment: SegmentId, address: IpAddr) -> bool {
        self.endpoint_of(segment, address).is_some() || self.is_in_a_prefix(segment, address)
    }

    fn is_in_a_prefix(&self, segment: SegmentId, address: IpAddr) -> bool {
        let holds = |group: &crate::Group| {
            group.segment == segment && group.prefixes.iter().any(|prefix| prefix.contains(address))
        };
        self.groups.iter().any(holds)
    }

    fn endpoint_owns(&self, id: EndpointId, segment: SegmentId, address: IpAddr) -> bool {
        self.endpoint(id).is_some_and(|e| e.segment == segment && e.addresses.contains(&address))
    }
}
