//! Flags that several nouns share, and how their texts are read.

use crate::failure::UsageError;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use meshgate_policy::{
    Action, IntraGroup, L4Match, L4MatchError, Mode, PortError, PortSet, Priority, Protocol, ProtocolMatch,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A text that is no label. Holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a label like role=web")]
pub struct LabelError(String);

/// Returns key and value of a label.
pub fn label(text: &str) -> Result<(String, String), LabelError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(LabelError(text.to_owned())),
    }
}

/// Returns the ports that the text names; `any` for every port.
pub fn ports(text: &str) -> Result<PortSet, PortError> {
    if text.eq_ignore_ascii_case("any") { Ok(PortSet::all()) } else { text.parse() }
}

/// Returns a parser of the words allow, deny, reject.
pub fn action() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(["allow", "deny", "reject"]).map(|word| {
        match word.to_ascii_lowercase().as_str() {
            "allow" => Action::Allow,
            "deny" => Action::Deny,
            _ => Action::Reject,
        }
    })
}

/// Returns a parser of the words enforce, shadow, disabled.
fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["enforce", "shadow", "disabled"]).map(|word| {
        match word.to_ascii_lowercase().as_str() {
            "enforce" => Mode::Enforce,
            "shadow" => Mode::Shadow,
            _ => Mode::Disabled,
        }
    })
}

/// Returns a parser of what members of a group may do.
pub fn intra_group() -> impl TypedValueParser<Value = IntraGroup> {
    PossibleValuesParser::new(["allow", "deny"])
        .map(|word| if word.eq_ignore_ascii_case("allow") { IntraGroup::Allow } else { IntraGroup::Deny })
}

/// What relationships and rules have in common. Only what was given is there.
#[derive(Args, Clone, Debug, Default)]
pub struct RuleFlags {
    /// TCP, UDP, SCTP, ICMP, ICMPv6, a protocol number, or any
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<ProtocolMatch>,
    /// Destination ports: 5432, 80-8080, 80,443, or any
    #[arg(long, alias = "portRange", alias = "ports", alias = "port", value_name = "PORTS", value_parser = ports)]
    pub port_range: Option<PortSet>,
    /// What happens to a matching packet; reject also tells the sender
    #[arg(long, value_name = "ACTION", value_parser = action(), ignore_case = true)]
    pub action: Option<Action>,
    /// 0 to 65535, larger wins; a new rule has 1000; above 60000 no suggestion can outrank it
    #[arg(long, value_name = "N")]
    pub priority: Option<u16>,
    /// enforce decides, shadow only reports, disabled does nothing
    #[arg(long, value_name = "MODE", value_parser = mode(), ignore_case = true)]
    pub mode: Option<Mode>,
    /// Free text that stays with the rule
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// ICMP type, with --protocol ICMP or ICMPv6
    #[arg(long, alias = "icmpType", value_name = "N")]
    pub icmp_type: Option<u8>,
    /// ICMP code, with --icmp-type
    #[arg(long, alias = "icmpCode", value_name = "N")]
    pub icmp_code: Option<u8>,
}

/// The fields of a relationship or rule that [`RuleFlags`] set.
pub struct RuleFields<'a> {
    /// Protocol.
    pub protocol: &'a mut ProtocolMatch,
    /// Destination ports.
    pub port_range: &'a mut PortSet,
    /// Action.
    pub action: &'a mut Action,
    /// Priority.
    pub priority: &'a mut Priority,
    /// Mode.
    pub mode: &'a mut Mode,
    /// Note.
    pub note: &'a mut String,
    /// ICMP type.
    pub icmp_type: &'a mut Option<u8>,
    /// ICMP code.
    pub icmp_code: &'a mut Option<u8>,
}

impl RuleFlags {
    /// Returns whether no flag was given.
    pub fn is_empty(&self) -> bool {
        let Self { protocol, port_range, action, priority, mode, note, icmp_type, icmp_code } = self;
        protocol.is_none()
            && port_range.is_none()
            && action.is_none()
            && priority.is_none()
            && mode.is_none()
            && note.is_none()
            && icmp_type.or(*icmp_code).is_none()
    }

    /// Sets the fields that were given, and leaves the others alone. A protocol that was given drops an ICMP type or
    /// ports of the old protocol that it cannot have, unless they were given too.
    pub fn set(&self, fields: RuleFields<'_>) -> Result<(), L4MatchError> {
        let RuleFields { protocol, port_range, action, priority, mode, note, icmp_type, icmp_code } = fields;
        put(protocol, self.protocol);
        put(action, self.action);
        put(priority, self.priority.map(Priority));
        put(mode, self.mode);
        put(note, self.note.clone());
        if self.protocol.is_some() {
            let is = |holds: fn(Protocol) -> bool| matches!(*protocol, ProtocolMatch::Is(p) if holds(p));
            if !is(Protocol::has_ports) {
                *port_range = PortSet::all();
            }
            if !is(Protocol::is_icmp) {
                (*icmp_type, *icmp_code) = (None, None);
            }
        }
        put(port_range, self.port_range.clone());
        *icmp_type = self.icmp_type.or(*icmp_type);
        *icmp_code = self.icmp_code.or(*icmp_code);
        L4Match::new(*protocol, port_range, *icmp_type, *icmp_code).map(|_| ())
    }
}

/// Sets the field if there is a value.
pub fn put<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Replaces the list if values were given.
pub fn put_list<T: Clone>(field: &mut Vec<T>, values: &[T]) {
    if !values.is_empty() {
        *field = values.to_vec();
    }
}

/// Replaces the labels if some were given.
pub fn put_labels(field: &mut BTreeMap<String, String>, labels: &[(String, String)]) {
    if !labels.is_empty() {
        *field = labels.iter().cloned().collect();
    }
}

/// Reads the object of `--json`.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, UsageError> {
    serde_json::from_str(text).map_err(|error| {
        let whole = error.to_string();
        let reason = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(reason, _)| reason).to_owned();
        UsageError::Json { reason, column: error.column() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_needs_a_key_and_an_equals_sign() {
        assert_eq!(label("role=a=b"), Ok(("role".into(), "a=b".into())));
        for text in ["role", "=web", ""] {
            assert_eq!(label(text), Err(LabelError(text.into())), "{text}");
        }
    }

    #[test]
    fn another_protocol_drops_ports_that_it_cannot_have() {
        let flags = RuleFlags {
            protocol: Some(ProtocolMatch::Is(Protocol::ICMP)),
            icmp_type: Some(8),
            ..RuleFlags::default()
        };
        let (mut protocol, mut port_range) = (ProtocolMatch::Is(Protocol::TCP), ports("80").unwrap());
        let (mut action, mut priority, mut mode) = (Action::Allow, Priority(7), Mode::Shadow);
        let (mut note, mut icmp_type, mut icmp_code) = ("kept".to_owned(), None, None);
        let fields = RuleFields {
            protocol: &mut protocol,
            port_range: &mut port_range,
            action: &mut action,
            priority: &mut priority,
            mode: &mut mode,
            note: &mut note,
            icmp_type: &mut icmp_type,
            icmp_code: &mut icmp_code,
        };
        flags.set(fields).unwrap();
        assert!(port_range.is_all() && icmp_type == Some(8));
        assert_eq!((priority, mode, note.as_str()), (Priority(7), Mode::Shadow, "kept"));
    }

    #[test]
    fn an_unknown_field_of_json_is_named_with_its_column() {
        let error = object::<meshgate_policy::AuthoredRelationship>(r#"{"prot": "TCP"}"#).unwrap_err();
        assert!(error.to_string().starts_with("--json: unknown field `prot`"), "{error}");
    }
}
