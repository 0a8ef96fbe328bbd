//! Who hands out numbers: control keeps one [`Numbering`] beside its authored policy.
//!
//! A number outlives its name in flow records, in rings and on hosts that are behind, so none is ever given twice, not
//! even to a name that comes back: what it stood for is told apart by the number alone.

use crate::authored::AuthoredPolicy;
use crate::ids::{EndpointId, GroupId, RuleId, SegmentId};
use crate::limits::RULES_MAX;
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A kind of number has been used up. Holds the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberingError {
    /// No segment number is left.
    #[error("segments: all numbers up to {0} have been given out, and none is given twice")]
    Segments(u32),
    /// No group number is left.
    #[error("groups: all numbers up to {0} have been given out, and none is given twice")]
    Groups(u32),
    /// No endpoint number is left.
    #[error("endpoints: all numbers up to {0} have been given out, and none is given twice")]
    Endpoints(u32),
    /// No rule number is left.
    #[error("rules: all numbers up to {0} have been given out, and none is given twice")]
    Rules(u32),
}

/// Numbers of one kind of named thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Numbers {
    /// The largest number ever given.
    last: u32,
    /// The numbers of the names that exist.
    live: BTreeMap<Name, u32>,
}

/// The numbers of all names of a policy, and which numbers have been given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Numbering {
    segments: Numbers,
    groups: Numbers,
    endpoints: Numbers,
    /// The largest rule number ever given.
    last_rule: u32,
    /// The numbers of the rules that exist.
    live_rules: BTreeSet<RuleId>,
}

impl Numbering {
    /// Gives numbers to every name and rule of the policy that has none, and forgets those that are gone.
    ///
    /// A rule keeps the number it carries if that is the number of a rule of the policy before, or one that was never
    /// given and at most [`RULES_MAX`] above the last one (a policy brought from elsewhere keeps its numbers, and
    /// nobody can use them up by writing a large one). Any other number is replaced by a new one.
    /// On an error neither side has changed.
    pub fn assign(&mut self, policy: &mut AuthoredPolicy) -> Result<(), NumberingError> {
        let default = Name::default_name();
        let names = policy.segments.iter().map(|s| &s.name).filter(|name| **name != default);
        let segments = self.segments.renewed(names, SegmentId::DEFAULT.0.into(), u16::MAX.into());
        let groups =
            self.groups.renewed(policy.groups.iter().map(|g| &g.name), GroupId::FIRST_FREE.0 - 1, u32::MAX);
        let endpoints = self.endpoints.renewed(policy.endpoints.iter().map(|e| &e.name), 0, u32::MAX);
        let segments = segments.ok_or(NumberingError::Segments(u16::MAX.into()))?;
        let groups = groups.ok_or(NumberingError::Groups(u32::MAX))?;
        let endpoints = endpoints.ok_or(NumberingError::Endpoints(u32::MAX))?;
        self.assign_rules(policy)?;
        (self.segments, self.groups, self.endpoints) = (segments, groups, endpoints);
        Ok(())
    }

    /// Returns the number of a segment; `default` always has one.
    pub fn segment(&self, name: &Name) -> Option<SegmentId> {
        if *name == Name::default_name() {
            return Some(SegmentId::DEFAULT);
        }
        self.segments.live.get(name).and_then(|number| u16::try_from(*number).ok()).map(SegmentId)
    }

    /// Returns the number of a group; built-in ones are known too.
    pub fn group(&self, name: &Name) -> Option<GroupId> {
        GroupId::built_in(name.as_str()).or_else(|| self.groups.live.get(name).copied().map(GroupId))
    }

    /// Returns the number of an endpoint.
    pub fn endpoint(&self, name: &Name) -> Option<EndpointId> {
        self.endpoints.live.get(name).copied().map(EndpointId)
    }

    /// Returns whether the number is that of a rule of the policy that was numbered last.
    pub fn has_rule(&self, id: RuleId) -> bool {
        self.live_rules.contains(&id)
    }

    /// Returns the largest rule number ever given.
    pub fn last_rule(&self) -> RuleId {
        RuleId(self.last_rule)
    }

    fn assign_rules(&mut self, policy: &mut AuthoredPolicy) -> Result<(), NumberingError> {
        let given = self.last_rule;
        let reach = given.saturating_add(u32::try_from(RULES_MAX).unwrap_or(u32::MAX));
        let keeps =
            |id: RuleId, live: &BTreeSet<RuleId>| live.contains(&id) || (id.0 > given && id.0 <= reach);
        let ids = || policy.relationships.iter().map(|r| r.id).chain(policy.rules.iter().map(|r| r.id));
        let kept: BTreeSet<RuleId> = ids().flatten().filter(|id| keeps(*id, &self.live_rules)).collect();
        let new = ids().filter(|id| id.is_none_or(|id| !kept.contains(&id))).count();
        let mut last = kept.last().map_or(given, |id| given.max(id.0));
        if u32::try_from(new).ok().and_then(|new| last.checked_add(new)).is_none() {
            return Err(NumberingError::Rules(u32::MAX));
        }
        let mut live = kept.clone();
        let relationships = policy.relationships.iter_mut().map(|r| &mut r.id);
        for id in relationships.chain(policy.rules.iter_mut().map(|r| &mut r.id)) {
            if id.is_none_or(|id| !kept.contains(&id)) {
                last += 1;
                *id = Some(RuleId(last));
                live.insert(RuleId(last));
            }
        }
        (self.last_rule, self.live_rules) = (last, live);
        Ok(())
    }
}

impl Numbers {
    /// Returns the numbers of exactly these names: old ones as they are, new ones above `last` and `floor`. None if
    /// that would pass `max`.
    fn renewed<'a>(&self, names: impl Iterator<Item = &'a Name>, floor: u32, max: u32) -> Option<Self> {
        let mut renewed = Self { last: self.last.max(floor), live: BTreeMap::new() };
        for name in names {
            if renewed.live.contains_key(name) {
                continue;
            }
            let number = match self.live.get(name) {
                Some(number) => *number,
                None => {
                    renewed.last = renewed.last.checked_add(1).filter(|number| *number <= max)?;
                    renewed.last
                }
            };
            renewed.live.insert(name.clone(), number);
        }
        Some(renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn policy(text: &str) -> AuthoredPolicy {
        toml::from_str(text).unwrap()
    }

    const ONE_GROUP: &str = "groups = [{ name = 'web' }]\nsegments = [{ name = 'lab' }]\n\
        endpoints = [{ name = 'vm1', mac = '02:00:00:00:00:01' }]\n\
        relationships = [{ source_group_name = 'web', destination_group_name = 'web', action = 'deny' }]";

    #[test]
    fn the_first_numbers_are_those_of_the_design() {
        let mut numbering = Numbering::default();
        let mut authored = policy(ONE_GROUP);
        numbering.assign(&mut authored).unwrap();
        assert_eq!(numbering.group(&name("web")), Some(GroupId::FIRST_FREE));
        assert_eq!(numbering.endpoint(&name("vm1")), Some(EndpointId(1)));
        assert_eq!(numbering.segment(&Name::default_name()), Some(SegmentId::DEFAULT));
        assert_eq!(numbering.segment(&name("lab")), Some(SegmentId(2)));
        assert_eq!(numbering.group(&name("external")), Some(GroupId::EXTERNAL));
        assert_eq!(authored.relationships[0].id, Some(RuleId(1)));
    }

    #[test]
    fn a_name_that_comes_back_gets_a_new_number() {
        let mut numbering = Numbering::default();
        let mut authored = policy(ONE_GROUP);
        numbering.assign(&mut authored).unwrap();
        numbering.assign(&mut AuthoredPolicy::default()).unwrap();
        assert_eq!(numbering.group(&name("web")), None);
        numbering.assign(&mut authored).unwrap();
        assert_eq!(numbering.group(&name("web")), Some(GroupId(17)));
        assert_eq!(numbering.endpoint(&name("vm1")), Some(EndpointId(2)));
        assert_eq!(numbering.segment(&name("lab")), Some(SegmentId(3)));
        assert_eq!(authored.relationships[0].id, Some(RuleId(2)));
    }

    #[test]
    fn numbering_twice_changes_nothing() {
        let mut numbering = Numbering::default();
        let mut authored = policy(ONE_GROUP);
        numbering.assign(&mut authored).unwrap();
        let before = (numbering.clone(), authored.clone());
        numbering.assign(&mut authored).unwrap();
        assert_eq!((numbering, authored), before);
    }

    #[test]
    fn a_stated_rule_number_is_kept_and_none_below_it_is_given() {
        let mut numbering = Numbering::default();
        let mut authored = policy(ONE_GROUP);
        authored.relationships[0].id = Some(RuleId(40));
        authored.relationships.push(authored.relationships[0].clone());
        authored.relationships[1].id = None;
        numbering.assign(&mut authored).unwrap();
        assert_eq!(authored.relationships[0].id, Some(RuleId(40)));
        assert_eq!(authored.relationships[1].id, Some(RuleId(41)));
        assert!(numbering.has_rule(RuleId(40)) && !numbering.has_rule(RuleId(39)));
    }

    #[test]
    fn a_huge_stated_rule_number_is_replaced() {
        let mut numbering = Numbering::default();
        let mut authored = policy(ONE_GROUP);
        authored.relationships[0].id = Some(RuleId(u32::MAX));
        numbering.assign(&mut authored).unwrap();
        assert_eq!(authored.relationships[0].id, Some(RuleId(1)));
    }

    #[test]
    fn used_up_numbers_are_an_error_that_changes_nothing() {
        let mut numbering = Numbering::default();
        numbering.segments.last = u16::MAX.into();
        numbering.last_rule = u32::MAX;
        let before = numbering.clone();
        let mut authored = policy(ONE_GROUP);
        assert_eq!(numbering.assign(&mut authored), Err(NumberingError::Segments(65_535)));
        authored.segments.clear();
        assert_eq!(numbering.assign(&mut authored), Err(NumberingError::Rules(u32::MAX)));
        assert_eq!((numbering, authored.relationships[0].id), (before, None));
    }

    #[test]
    fn it_is_stored_and_read_back_alike() {
        let mut numbering = Numbering::default();
        numbering.assign(&mut policy(ONE_GROUP)).unwrap();
        let text = toml::to_string(&numbering).unwrap();
        assert_eq!(toml::from_str::<Numbering>(&text).unwrap(), numbering);
    }
}
