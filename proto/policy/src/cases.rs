//! Verdict cases written by hand: a policy, packets, and what happens to each.
//!
//! The files are `cases/*.toml` beside this crate: the fields of a policy file and a list `[[case]]`. This module only
//! says what such a file holds, so that any crate can read it with the deserializer it has and put its own judge to it:
//! deserialize a [`CaseFile`], ask it [`CaseFile::to_policy`], and for each case judge [`CasePolicy::key`], then
//! [`CasePolicy::check`] the verdict and [`CasePolicy::check_shadow`] what shadow rules would change.

use crate::authored::{
    AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship, AuthoredSegment,
};
use crate::decide::{Decision, PolicyKey, ShadowDecision, Stage};
use crate::fault::PolicyFault;
use crate::ids::{GroupId, PolicyVersion, RuleId};
use crate::name::Name;
use crate::numbering::{Numbering, NumberingError};
use crate::policy::Policy;
use crate::protocol::{L4Key, Protocol, ProtocolMatch};
use crate::resolve::resolve;
use crate::rule::Action;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;

/// Source port of a packet whose case names none: the first dynamic one (RFC 6335 section 6).
const SOURCE_PORT: u16 = 49_152;

/// One file of cases: a policy, in the fields of a policy file, and cases of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    #[serde(default = "deny", alias = "defaultAction")]
    default_action: Action,
    #[serde(default)]
    segments: Vec<AuthoredSegment>,
    #[serde(default)]
    endpoints: Vec<AuthoredEndpoint>,
    #[serde(default)]
    groups: Vec<AuthoredGroup>,
    #[serde(default)]
    relationships: Vec<AuthoredRelationship>,
    #[serde(default)]
    rules: Vec<AuthoredGroupRule>,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One packet and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows, in one sentence.
    pub says: String,
    /// Segment of the packet.
    #[serde(default = "Name::default_name")]
    pub segment: Name,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol; never `any`.
    pub protocol: ProtocolMatch,
    /// Source port, if it matters.
    pub source_port: Option<u16>,
    /// Destination port; needed with TCP, UDP and SCTP.
    pub destination_port: Option<u16>,
    /// ICMP type; needed with ICMP and ICMPv6.
    pub icmp_type: Option<u8>,
    /// ICMP code, if it matters.
    pub icmp_code: Option<u8>,
    /// The stage that decides.
    pub stage: Stage,
    /// What happens to the packet.
    pub action: Action,
    /// The rule that decides; needed at stage `rules`.
    pub rule: Option<RuleRef>,
    /// The group that decides; needed at stage `membership`.
    pub group: Option<Name>,
    /// What would happen with every shadow rule enforced, where that differs.
    pub shadow: Option<ShadowCase>,
}

/// What would happen with every shadow rule enforced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCase {
    /// What would happen to the packet.
    pub action: Action,
    /// The shadow rule that would decide.
    pub rule: RuleRef,
}

/// A rule of the file: its number or its note.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RuleRef {
    /// Its number.
    Number(u32),
    /// Its note.
    Note(String),
}

/// The policy of a file of cases, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CasePolicy {
    /// As written, with numbers.
    pub authored: AuthoredPolicy,
    /// Resolved, as version 1.
    pub policy: Policy,
}

/// Why a case does not hold, or cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// The policy cannot be numbered.
    #[error(transparent)]
    Numbering(#[from] NumberingError),
    /// The policy has faults; holds the first one.
    #[error("{0}")]
    Policy(PolicyFault),
    /// The case names something that the file does not have, or leaves out what it needs.
    #[error("case {says:?}: {field}: {problem}")]
    Written {
        /// The case.
        says: String,
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The verdict is another one.
    #[error("case {says:?}: {field} is {found}, expected {wanted}")]
    Differs {
        /// The case.
        says: String,
        /// The field that differs.
        field: &'static str,
        /// What was decided.
        found: String,
        /// What the case says.
        wanted: String,
    },
}

impl CaseFile {
    /// Returns the policy of the file, numbered and resolved.
    pub fn to_policy(&self) -> Result<CasePolicy, CaseError> {
        let Self { default_action, segments, endpoints, groups, relationships, rules, cases: _ } =
            self.clone();
        let mut authored =
            AuthoredPolicy { default_action, segments, endpoints, groups, relationships, rules };
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored)?;
        let policy = resolve(&authored, &numbering, PolicyVersion(1));
        match policy.map_err(|faults| faults.into_iter().next()) {
            Ok(policy) => Ok(CasePolicy { authored, policy }),
            Err(Some(fault)) => Err(CaseError::Policy(fault)),
            Err(None) => unreachable!("resolve refuses with at least one fault"),
        }
    }
}

impl CasePolicy {
    /// Returns what stages 5 to 7 look at.
    pub fn key(&self, case: &Case) -> Result<PolicyKey, CaseError> {
        let segment = self.policy.segments.iter().find(|segment| segment.name == case.segment);
        let segment = segment.ok_or_else(|| case.written("segment", "the file has no such segment"))?;
        if case.source.is_ipv4() != case.destination.is_ipv4() {
            return Err(case.written("destination", "it is not of the family of the source"));
        }
        let (source, destination) = (case.source, case.destination);
        Ok(PolicyKey { segment: segment.id, source, destination, l4: case.l4()? })
    }

    /// Returns an error that names the case and the first part of the verdict that is not as the case says.
    pub fn check(&self, case: &Case, decision: &Decision) -> Result<(), CaseError> {
        let Decision { version, stage, action, rule, group } = *decision;
        case.same("version", &version, &self.policy.version)?;
        case.same("stage", &stage, &case.stage)?;
        case.same("action", &action, &case.action)?;
        if (case.stage == Stage::Rules) != case.rule.is_some() {
            return Err(case.written("rule", "stage rules needs it and no other stage has it"));
        }
        if (case.stage == Stage::Membership) != case.group.is_some() {
            return Err(case.written("group", "stage membership needs it and no other stage has it"));
        }
        let wanted = case.rule.as_ref().map(|wanted| self.rule(case, wanted)).transpose()?;
        case.same("rule", &Shown(rule), &Shown(wanted))?;
        let wanted = case.group.as_ref().map(|name| self.group(case, name)).transpose()?;
        case.same("group", &Shown(group), &Shown(wanted))
    }

    /// Returns an error if shadow rules would change another thing than the case says. A case that says nothing about
    /// them means that they change nothing.
    pub fn check_shadow(&self, case: &Case, shadow: Option<&ShadowDecision>) -> Result<(), CaseError> {
        let wanted = match &case.shadow {
            Some(ShadowCase { action, rule }) => Some((*action, self.rule(case, rule)?)),
            None => None,
        };
        let found = shadow.map(|shadow| (shadow.decision.action, shadow.rule));
        case.same("shadow.action", &Shown(found.map(|f| f.0)), &Shown(wanted.map(|w| w.0)))?;
        case.same("shadow.rule", &Shown(found.map(|f| f.1)), &Shown(wanted.map(|w| w.1)))
    }

    /// Returns the number of the rule that a case means.
    fn rule(&self, case: &Case, wanted: &RuleRef) -> Result<RuleId, CaseError> {
        let AuthoredPolicy { relationships, rules, .. } = &self.authored;
        let all = relationships
            .iter()
            .map(|rule| (rule.id, &rule.note))
            .chain(rules.iter().map(|rule| (rule.id, &rule.note)));
        let mut fitting = all.filter(|(id, note)| match wanted {
            RuleRef::Number(number) => *id == Some(RuleId(*number)),
            RuleRef::Note(text) => *note == text,
        });
        match (fitting.next(), fitting.next()) {
            (Some((Some(id), _)), None) => Ok(id),
            (Some(_), _) => Err(case.written("rule", "several rules of the file are meant")),
            (None, _) => Err(case.written("rule", "the file has no such rule")),
        }
    }

    fn group(&self, case: &Case, name: &Name) -> Result<GroupId, CaseError> {
        let group = self.policy.groups.iter().find(|group| group.name == *name);
        group.map(|group| group.id).ok_or_else(|| case.written("group", "the file has no such group"))
    }
}

impl Case {
    /// Returns the layer-4 part of the packet.
    fn l4(&self) -> Result<L4Key, CaseError> {
        let ProtocolMatch::Is(protocol) = self.protocol else {
            return Err(self.written("protocol", "a packet is of one protocol"));
        };
        let ports = (self.source_port, self.destination_port);
        let icmp = (self.icmp_type, self.icmp_code);
        match (protocol.has_ports(), protocol.is_icmp(), ports, icmp) {
            (true, _, (source, Some(destination)), (None, None)) => {
                Ok(L4Key::ports(protocol, source.unwrap_or(SOURCE_PORT), destination))
            }
            (_, true, (None, None), (Some(kind), code)) => Ok(L4Key::icmp(protocol, kind, code.unwrap_or(0))),
            (false, false, (None, None), (None, None)) => Ok(L4Key::bare(protocol)),
            _ => Err(self.misfit(protocol)),
        }
    }

    fn misfit(&self, protocol: Protocol) -> CaseError {
        match (protocol.has_ports(), protocol.is_icmp()) {
            (true, _) => self.written("destination_port", "needed, and no ICMP type beside it"),
            (_, true) => self.written("icmp_type", "needed, and no port beside it"),
            _ => self.written("protocol", "it has neither ports nor ICMP types"),
        }
    }

    fn same<T: PartialEq + fmt::Display>(
        &self,
        field: &'static str,
        found: &T,
        wanted: &T,
    ) -> Result<(), CaseError> {
        if found == wanted {
            return Ok(());
        }
        let (found, wanted) = (found.to_string(), wanted.to_string());
        Err(CaseError::Differs { says: self.says.clone(), field, found, wanted })
    }

    fn written(&self, field: &'static str, problem: &'static str) -> CaseError {
        CaseError::Written { says: self.says.clone(), field, problem }
    }
}

/// Writes an absent value as `none`.
#[derive(PartialEq)]
struct Shown<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}

fn deny() -> Action {
    Action::Deny
}
