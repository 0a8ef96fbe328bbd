//! A policy on which a transaction is at work: everything by name or number, so that a change costs no scan.
//!
//! New rules get their number here, above every number in use, in the order of the changes; `Numbering::assign` keeps
//! numbers that were never given, so that what is returned as created is what is stored. What comes out is in normal
//! form (sorted, without repeats), so that "nothing changed" is a plain comparison.

use super::{BookFault, Change};
use meshgate_policy::{
    Action, AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, Name, Numbering, NumberingError, RuleId, limits::RULES_MAX,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;

/// The working form of an authored policy.
pub(super) struct Draft<'a> {
    numbering: &'a Numbering,
    /// The largest rule number in use.
    last_rule: u32,
    /// Whether a number was wanted after the last one.
    is_used_up: bool,
    created: Vec<RuleId>,
    default_action: Action,
    segments: BTreeMap<Name, AuthoredSegment>,
    endpoints: BTreeMap<Name, AuthoredEndpoint>,
    groups: BTreeMap<Name, AuthoredGroup>,
    relationships: BTreeMap<RuleId, AuthoredRelationship>,
    rules: BTreeMap<RuleId, AuthoredGroupRule>,
}

/// Whether the object of a change must exist or must not.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Either,
    Absent,
    Present,
}

impl<'a> Draft<'a> {
    /// Returns the draft of a policy whose rules all have numbers.
    pub(super) fn of(authored: &AuthoredPolicy, numbering: &'a Numbering) -> Self {
        let AuthoredPolicy { default_action, segments, endpoints, groups, relationships, rules } =
            authored.clone();
        Self {
            numbering,
            last_rule: numbering.last_rule().0,
            is_used_up: false,
            created: Vec::new(),
            default_action,
            segments: segments.into_iter().map(|s| (s.name.clone(), s)).collect(),
            endpoints: endpoints.into_iter().map(|e| (e.name.clone(), e)).collect(),
            groups: groups.into_iter().map(|g| (g.name.clone(), g)).collect(),
            relationships: relationships.into_iter().filter_map(|r| r.id.map(|id| (id, r))).collect(),
            rules: rules.into_iter().filter_map(|r| r.id.map(|id| (id, r))).collect(),
        }
    }

    /// Makes one change; `index` is its place in the transaction.
    pub(super) fn change(&mut self, index: usize, change: Change) -> Result<(), BookFault> {
        match change {
            Change::PutSegment(s) => put(&mut self.segments, Wanted::Either, &s.name.clone(), s),
            Change::DeleteSegment(name) => delete(&mut self.segments, &name, "segment"),
            Change::PutEndpoint(e) => self.put_endpoint(Wanted::Either, e),
            Change::CreateEndpoint(e) => self.put_endpoint(Wanted::Absent, e),
            Change::UpdateEndpoint(e) => self.put_endpoint(Wanted::Present, e),
            Change::DeleteEndpoint(name) => delete(&mut self.endpoints, &name, "endpoint"),
            Change::SetLeased(name, leased) => self.set_leased(&name, leased),
            Change::PutGroup(g) => self.put_group(Wanted::Either, g),
            Change::CreateGroup(g) => self.put_group(Wanted::Absent, g),
            Change::UpdateGroup(g) => self.put_group(Wanted::Present, g),
            Change::DeleteGroup(name) => delete(&mut self.groups, &name, "group"),
            Change::PutRelationship(r) => self.put_relationship(r),
            Change::DeleteRelationship(id) => delete(&mut self.relationships, &id, "relationship"),
            Change::PutRule(r) => self.put_rule(r),
            Change::DeleteRule(id) => delete(&mut self.rules, &id, "rule"),
            Change::SetDefaultAction(action) => {
                self.default_action = action;
                Ok(())
            }
            Change::ReplaceAll(policy) => self.replace_all(*policy),
        }
        .map_err(|misfit| misfit.at(index))
    }

    /// Refuses a transaction that deletes what something else still uses, by the name of the first user.
    pub(super) fn check_deleted(&self, before: &AuthoredPolicy) -> Result<(), BookFault> {
        let groups: HashSet<&Name> =
            before.groups.iter().map(|g| &g.name).filter(|name| !self.groups.contains_key(*name)).collect();
        let endpoints: HashSet<&Name> =
            before.endpoints.iter().map(|e| &e.name).filter(|n| !self.endpoints.contains_key(*n)).collect();
        let segments: HashSet<&Name> =
            before.segments.iter().map(|s| &s.name).filter(|n| !self.segments.contains_key(*n)).collect();
        let used = |kind: &str, name: &Name, referrer: String| {
            Err(BookFault::Referenced { object: format!("{kind} {name}"), referrer })
        };
        for (id, r) in &self.relationships {
            let sides = [&r.source_group_name, &r.destination_group_name];
            if let Some(name) = sides.into_iter().find(|name| groups.contains(name)) {
                let words =
                    format!("relationship {id} ({} -> {})", r.source_group_name, r.destination_group_name);
                return used("group", name, words);
            }
        }
        if let Some((id, r)) = self.rules.iter().find(|(_, r)| groups.contains(&r.group_name)) {
            return used("group", &r.group_name, format!("rule {id} ({} of {})", r.direction, r.group_name));
        }
        for group in self.groups.values() {
            if let Some(name) = group.members.iter().find(|name| endpoints.contains(name)) {
                return used("endpoint", name, format!("group {}", group.name));
            }
            if segments.contains(&group.segment) {
                return used("segment", &group.segment, format!("group {}", group.name));
            }
        }
        match self.endpoints.values().find(|e| segments.contains(&e.segment)) {
            Some(endpoint) => used("segment", &endpoint.segment, format!("endpoint {}", endpoint.name)),
            None => Ok(()),
        }
    }

    /// Returns the policy in normal form, and the numbers given to what was created and still exists.
    pub(super) fn into_authored(self) -> Result<(AuthoredPolicy, Vec<RuleId>), NumberingError> {
        if self.is_used_up {
            return Err(NumberingError::Rules(u32::MAX));
        }
        let mut created = self.created;
        created.retain(|id| self.relationships.contains_key(id) || self.rules.contains_key(id));
        let authored = AuthoredPolicy {
            default_action: self.default_action,
            segments: self.segments.into_values().collect(),
            endpoints: self.endpoints.into_values().collect(),
            groups: self.groups.into_values().collect(),
            relationships: self.relationships.into_values().collect(),
            rules: self.rules.into_values().collect(),
        };
        Ok((authored, created))
    }

    fn put_endpoint(&mut self, wanted: Wanted, mut endpoint: AuthoredEndpoint) -> Result<(), Misfit> {
        sort(&mut endpoint.routes);
        let name = endpoint.name.clone();
        endpoint.leased = kept_leases(self.endpoints.get(&name), &endpoint);
        put(&mut self.endpoints, wanted, &name, endpoint).map_err(|misfit| misfit.of("endpoint"))
    }

    fn set_leased(&mut self, name: &Name, mut leased: Vec<IpAddr>) -> Result<(), Misfit> {
        let unknown = || Misfit::Unknown(format!("endpoint {name}"));
        let endpoint = self.endpoints.get_mut(name).ok_or_else(unknown)?;
        sort(&mut leased);
        endpoint.leased = leased;
        Ok(())
    }

    fn put_group(&mut self, wanted: Wanted, mut group: AuthoredGroup) -> Result<(), Misfit> {
        sort(&mut group.members);
        sort(&mut group.prefixes);
        let name = group.name.clone();
        put(&mut self.groups, wanted, &name, group).map_err(|misfit| misfit.of("group"))
    }

    fn put_relationship(&mut self, mut relationship: AuthoredRelationship) -> Result<(), Misfit> {
        let (id, wanted) = self.number(relationship.id);
        relationship.id = Some(id);
        put(&mut self.relationships, wanted, &id, relationship).map_err(|misfit| misfit.of("relationship"))
    }

    fn put_rule(&mut self, mut rule: AuthoredGroupRule) -> Result<(), Misfit> {
        let (id, wanted) = self.number(rule.id);
        rule.id = Some(id);
        sort(&mut rule.peer);
        put(&mut self.rules, wanted, &id, rule).map_err(|misfit| misfit.of("rule"))
    }

    /// Returns the stated number, under which something must exist, or a new one.
    fn number(&mut self, stated: Option<RuleId>) -> (RuleId, Wanted) {
        match stated {
            Some(id) => (id, Wanted::Present),
            None => (self.new_number(), Wanted::Either),
        }
    }

    fn new_number(&mut self) -> RuleId {
        self.is_used_up |= self.last_rule == u32::MAX;
        self.last_rule = self.last_rule.saturating_add(1);
        self.created.push(RuleId(self.last_rule));
        RuleId(self.last_rule)
    }

    fn replace_all(&mut self, policy: AuthoredPolicy) -> Result<(), Misfit> {
        let AuthoredPolicy { default_action, segments, endpoints, groups, relationships, rules } = policy;
        self.default_action = default_action;
        let old_endpoints = std::mem::take(&mut self.endpoints);
        (self.segments, self.groups) = Default::default();
        for segment in segments {
            let name = segment.name.clone();
            put(&mut self.segments, Wanted::Absent, &name, segment)
                .map_err(|misfit| misfit.of("segment").twice())?;
        }
        for endpoint in endpoints {
            let name = endpoint.name.clone();
            let leased = kept_leases(old_endpoints.get(&name), &endpoint);
            self.put_endpoint(Wanted::Absent, endpoint).map_err(Misfit::twice)?;
            self.set_leased(&name, leased)?;
        }
        for group in groups {
            self.put_group(Wanted::Absent, group).map_err(Misfit::twice)?;
        }
        let old_relationships = std::mem::take(&mut self.relationships);
        let old_rules = std::mem::take(&mut self.rules);
        let mut stated = HashSet::new();
        let ids =
            relationships.iter().map(|r| (r.id, "relationship")).chain(rules.iter().map(|r| (r.id, "rule")));
        for (id, kind) in ids {
            if let Some(id) = id.filter(|id| !stated.insert(*id)) {
                return Err(Misfit::Twice(format!("{kind} {id}")));
            }
        }
        self.reserve(&stated);
        let mut relationship_ids = known_numbers(&old_relationships, &stated, |r| r.id = None);
        for mut relationship in relationships {
            let kept = self.kept_number(
                relationship.id,
                old_relationships.contains_key(&relationship.id.unwrap_or_default()),
            );
            relationship.id = None;
            let id = kept.or_else(|| taken(&mut relationship_ids, &relationship));
            let id = id.unwrap_or_else(|| self.new_number());
            self.relationships.insert(id, AuthoredRelationship { id: Some(id), ..relationship });
        }
        let mut rule_ids = known_numbers(&old_rules, &stated, |r| r.id = None);
        for mut rule in rules {
            let kept = self.kept_number(rule.id, old_rules.contains_key(&rule.id.unwrap_or_default()));
            rule.id = None;
            sort(&mut rule.peer);
            let id = kept.or_else(|| taken(&mut rule_ids, &rule)).unwrap_or_else(|| self.new_number());
            self.rules.insert(id, AuthoredGroupRule { id: Some(id), ..rule });
        }
        Ok(())
    }

    /// Moves the next number above every stated one that will be kept.
    fn reserve(&mut self, stated: &HashSet<RuleId>) {
        let never_given = stated.iter().filter(|id| self.is_never_given(**id)).map(|id| id.0).max();
        self.last_rule = self.last_rule.max(never_given.unwrap_or(0));
    }

    /// Returns the stated number if the rule may have it: that of a rule of its kind before, or one never given.
    fn kept_number(&mut self, stated: Option<RuleId>, existed: bool) -> Option<RuleId> {
        let id = stated?;
        if existed {
            return Some(id);
        }
        let kept = self.is_never_given(id).then_some(id);
        self.created.extend(kept);
        kept
    }

    /// Returns whether `Numbering::assign` would let a rule bring this number along.
    fn is_never_given(&self, id: RuleId) -> bool {
        let last = self.numbering.last_rule().0;
        let reach = last.saturating_add(u32::try_from(RULES_MAX).unwrap_or(u32::MAX));
        id.0 > last && id.0 <= reach
    }
}

/// Returns the leases that an endpoint keeps when it is written again: all, if it is still the same interface.
fn kept_leases(before: Option<&AuthoredEndpoint>, endpoint: &AuthoredEndpoint) -> Vec<IpAddr> {
    let is_same = |before: &&AuthoredEndpoint| {
        before.mac == endpoint.mac && before.segment == endpoint.segment && endpoint.flags.dhcp_client
    };
    before.filter(is_same).map(|before| before.leased.clone()).unwrap_or_default()
}

/// Returns the numbers of rules by their content, without those that are stated anyway; lowest last.
fn known_numbers<T: serde::Serialize + Clone>(
    old: &BTreeMap<RuleId, T>,
    stated: &HashSet<RuleId>,
    forget_number: impl Fn(&mut T),
) -> HashMap<String, Vec<RuleId>> {
    let mut numbers: HashMap<String, Vec<RuleId>> = HashMap::new();
    for (id, rule) in old.iter().rev().filter(|(id, _)| !stated.contains(id)) {
        let mut rule = rule.clone();
        forget_number(&mut rule);
        numbers.entry(content(&rule)).or_default().push(*id);
    }
    numbers
}

/// Takes the lowest number of a rule with this content.
fn taken<T: serde::Serialize>(numbers: &mut HashMap<String, Vec<RuleId>>, rule: &T) -> Option<RuleId> {
    numbers.get_mut(&content(rule))?.pop()
}

fn content<T: serde::Serialize>(rule: &T) -> String {
    serde_json::to_string(rule).expect("a rule is plain text and numbers")
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// A change that does not fit what exists; the object in words.
enum Misfit {
    Unknown(String),
    Exists(String),
    Twice(String),
}

impl Misfit {
    /// Returns the misfit with the kind of object before its name.
    fn of(self, kind: &str) -> Self {
        match self {
            Self::Unknown(name) => Self::Unknown(format!("{kind} {name}")),
            Self::Exists(name) => Self::Exists(format!("{kind} {name}")),
            Self::Twice(name) => Self::Twice(format!("{kind} {name}")),
        }
    }

    /// Returns the misfit of a whole policy: what exists there already occurs twice.
    fn twice(self) -> Self {
        match self {
            Self::Exists(name) => Self::Twice(name),
            other => other,
        }
    }

    fn at(self, index: usize) -> BookFault {
        match self {
            Self::Unknown(object) => BookFault::Unknown(index, object),
            Self::Exists(object) => BookFault::Exists(index, object),
            Self::Twice(object) => BookFault::Twice(index, object),
        }
    }
}

fn put<K: Ord + Clone + Display, T>(
    map: &mut BTreeMap<K, T>,
    wanted: Wanted,
    key: &K,
    value: T,
) -> Result<(), Misfit> {
    match (wanted, map.contains_key(key)) {
        (Wanted::Absent, true) => Err(Misfit::Exists(key.to_string())),
        (Wanted::Present, false) => Err(Misfit::Unknown(key.to_string())),
        _ => {
            map.insert(key.clone(), value);
            Ok(())
        }
    }
}

fn delete<K: Ord + Display, T>(map: &mut BTreeMap<K, T>, key: &K, kind: &str) -> Result<(), Misfit> {
    match map.remove(key) {
        Some(_) => Ok(()),
        None => Err(Misfit::Unknown(format!("{kind} {key}"))),
    }
}
