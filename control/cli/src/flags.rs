//! Flags that several nouns share, and how their texts are read.

use crate::failure::UsageError;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use meshgate_policy::{
    Action, IntraGroup, L4Match, L4MatchError, Mode, PortError, PortSet, Priority, ProtocolMatch,
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

/// An ICMP type or code that was given; none for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpNumber(Option<u8>);

/// A text that is no ICMP type or code. Holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a number of 0 to 255, or any")]
pub struct IcmpError(String);

/// Returns the ICMP type or code that the text names.
fn icmp_number(text: &str) -> Result<IcmpNumber, IcmpError> {
    if text.eq_ignore_ascii_case("any") {
        return Ok(IcmpNumber(None));
    }
    text.parse().map(|number| IcmpNumber(Some(number))).map_err(|_| IcmpError(text.to_owned()))
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
    /// ICMP type with --protocol ICMP or ICMPv6, or any
    #[arg(long, alias = "icmpType", value_name = "N", value_parser = icmp_number)]
    pub icmp_type: Option<IcmpNumber>,
    /// ICMP code with --icmp-type, or any
    #[arg(long, alias = "icmpCode", value_name = "N", value_parser = icmp_number)]
    pub icmp_code: Option<IcmpNumber>,
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

    /// Sets the fields that were given, and leaves the others alone; says which field does not fit then.
    pub fn set(&self, fields: RuleFields<'_>) -> Result<(), L4MatchError> {
        let RuleFields { protocol, port_range, action, priority, mode, note, icmp_type, icmp_code } = fields;
        put(protocol, self.protocol);
        put(action, self.action);
        put(priority, self.priority.map(Priority));
        put(mode, self.mode);
        put(note, self.note.clone());
        put(port_range, self.port_range.clone());
        put(icmp_type, self.icmp_type.map(|IcmpNumber(number)| number));
        put(icmp_code, self.icmp_code.map(|IcmpNumber(number)| number));
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
    use meshgate_policy::Protocol;

    #[test]
    fn a_label_needs_a_key_and_an_equals_sign() {
        assert_eq!(label("role=a=b"), Ok(("role".into(), "a=b".into())));
        for text in ["role", "=web", ""] {
            assert_eq!(label(text), Err(LabelError(text.into())), "{text}");
        }
    }

    fn relationship(json: &str) -> meshgate_policy::AuthoredRelationship {
        let sides = r#""source_group_name": "a", "destination_group_name": "b", "action": "allow""#;
        object(&format!("{{{sides}, {json}}}")).unwrap()
    }

    #[test]
    fn another_protocol_never_widens_a_rule_in_silence() {
        let icmp = RuleFlags { protocol: Some(ProtocolMatch::Is(Protocol::ICMP)), ..RuleFlags::default() };
        let mut web = relationship(r#""protocol": "TCP", "port_range": "80", "priority": 7, "note": "kept""#);
        let refused = icmp.set(crate::relationships::fields(&mut web.clone()));
        assert!(matches!(refused, Err(L4MatchError::PortsWithout(_))), "{refused:?}");
        let told = RuleFlags {
            port_range: Some(ports("any").unwrap()),
            icmp_type: Some(IcmpNumber(Some(8))),
            ..icmp
        };
        told.set(crate::relationships::fields(&mut web)).unwrap();
        assert_eq!((web.icmp_type, web.priority, web.note.as_str()), (Some(8), Priority(7), "kept"));
        let back = RuleFlags { protocol: Some(ProtocolMatch::Is(Protocol::TCP)), ..RuleFlags::default() };
        assert!(back.set(crate::relationships::fields(&mut web.clone())).is_err());
        let back = RuleFlags { icmp_type: Some(icmp_number("any").unwrap()), ..back };
        back.set(crate::relationships::fields(&mut web)).unwrap();
        assert_eq!(web.l4_match().unwrap().to_string(), "TCP");
    }

    #[test]
    fn an_unknown_field_of_json_is_named_with_its_column() {
        let error = object::<meshgate_policy::AuthoredRelationship>(r#"{"prot": "TCP"}"#).unwrap_err();
        assert!(error.to_string().starts_with("--json: unknown field `prot`"), "{error}");
    }
}
