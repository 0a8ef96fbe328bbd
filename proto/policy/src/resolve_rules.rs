//! The rules' part of `resolve`: both kinds of rule become one list in final order.

use crate::authored::{AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship, Direction};
use crate::fault::{Faults, Problem};
use crate::ids::{GroupId, RuleId};
use crate::limits;
use crate::name::Name;
use crate::numbering::Numbering;
use crate::resolve::{check_tenant, sorted};
use crate::rule::{Mode, Rule, RuleKind, Side};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Returns the rules that are not disabled, in final order. What is wrong with any of them goes to `faults`.
pub(crate) fn resolve_rules(
    authored: &AuthoredPolicy,
    numbering: &Numbering,
    faults: &mut Faults,
) -> Vec<Rule> {
    let groups = authored.groups.iter().map(|group| &group.name).collect();
    let mut resolving = RuleResolving { numbering, groups, faults, seen: HashMap::new() };
    let mut rules = Vec::with_capacity(authored.relationships.len() + authored.rules.len());
    for relationship in &authored.relationships {
        let rule = resolving.relationship(relationship);
        rules.extend(rule.filter(|_| relationship.mode != Mode::Disabled));
    }
    for group_rule in &authored.rules {
        let rule = resolving.group_rule(group_rule);
        rules.extend(rule.filter(|_| group_rule.mode != Mode::Disabled));
    }
    rules.sort_by_key(Rule::order);
    rules
}

/// How faults name a rule.
#[derive(Clone, Copy)]
enum RuleName<'a> {
    Relationship(&'a AuthoredRelationship),
    GroupRule(&'a AuthoredGroupRule),
}

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relationship(rule) => {
                write!(f, "relationship {} -> {}", rule.source_group_name, rule.destination_group_name)
            }
            Self::GroupRule(rule) => write!(f, "rule {} of {}", rule.direction, rule.group_name),
        }
    }
}

struct RuleResolving<'a, 'f> {
    numbering: &'a Numbering,
    /// The groups that exist; the numbering alone may know of others.
    groups: HashSet<&'a Name>,
    faults: &'f mut Faults,
    /// The rule of each number so far.
    seen: HashMap<RuleId, RuleName<'a>>,
}

impl<'a> RuleResolving<'a, '_> {
    fn relationship(&mut self, authored: &'a AuthoredRelationship) -> Option<Rule> {
        let AuthoredRelationship {
            id,
            tenant,
            source_group_name,
            destination_group_name,
            protocol: _,
            port_range: _,
            icmp_type: _,
            icmp_code: _,
            action,
            priority,
            mode,
            note,
        } = authored;
        let object = RuleName::Relationship(authored);
        let id = self.number(*id, object);
        self.check_words(tenant, note, object);
        let source = self.group(source_group_name, "source_group_name", object);
        let destination = self.group(destination_group_name, "destination_group_name", object);
        let l4 = authored.l4_match().map_err(|error| {
            self.faults.push(&object, error.field(), Problem::L4(error.clone()));
        });
        Some(Rule {
            id: id?,
            kind: RuleKind::Relationship,
            priority: *priority,
            action: *action,
            shadow: *mode == Mode::Shadow,
            source: source?,
            destination: destination?,
            l4: l4.ok()?,
        })
    }

    fn group_rule(&mut self, authored: &'a AuthoredGroupRule) -> Option<Rule> {
        let AuthoredGroupRule {
            id,
            tenant,
            group_name,
            direction,
            peer,
            protocol: _,
            port_range: _,
            icmp_type: _,
            icmp_code: _,
            action,
            priority,
            mode,
            note,
        } = authored;
        let object = RuleName::GroupRule(authored);
        let id = self.number(*id, object);
        self.check_words(tenant, note, object);
        let group = self.group(group_name, "group_name", object);
        self.faults.limit(&object, "peer", (peer.len(), "prefixes", limits::PREFIXES_PER_RULE_MAX));
        let l4 = authored.l4_match().map_err(|error| {
            self.faults.push(&object, error.field(), Problem::L4(error.clone()));
        });
        let peer = if peer.is_empty() { Side::Group(GroupId::ANY) } else { Side::Prefixes(sorted(peer)) };
        let (source, destination) = match direction {
            Direction::Ingress => (peer, group?),
            Direction::Egress => (group?, peer),
        };
        Some(Rule {
            id: id?,
            kind: RuleKind::GroupRule,
            priority: *priority,
            action: *action,
            shadow: *mode == Mode::Shadow,
            source,
            destination,
            l4: l4.ok()?,
        })
    }

    fn number(&mut self, id: Option<RuleId>, object: RuleName<'a>) -> Option<RuleId> {
        let Some(id) = id.filter(|id| *id != RuleId(0)) else {
            self.faults.push(&object, "id", Problem::Unnumbered);
            return None;
        };
        if let Some(other) = self.seen.insert(id, object) {
            self.faults.push(&object, "id", Problem::RuleTwice(id, other.to_string()));
        }
        Some(id)
    }

    fn group(&mut self, name: &Name, field: &'static str, object: RuleName<'a>) -> Option<Side> {
        let number = self.numbering.group(name);
        match number.filter(|id| id.is_built_in() || self.groups.contains(name)) {
            Some(id) => Some(Side::Group(id)),
            // A group without a number is reported as a group.
            None if self.groups.contains(name) => None,
            None => {
                let problem = Problem::Unknown { kind: "group", name: name.clone() };
                self.faults.push(&object, field, problem);
                None
            }
        }
    }

    fn check_words(&mut self, tenant: &Name, note: &str, object: RuleName<'a>) {
        check_tenant(tenant, &object, self.faults);
        let (bytes, max) = (note.len(), limits::NOTE_BYTES_MAX);
        if bytes > max {
            self.faults.push(&object, "note", Problem::TooLong { bytes, max });
        }
    }
}
