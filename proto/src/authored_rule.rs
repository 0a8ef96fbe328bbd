//! Authored relationships and group rules, both ways.

use crate::fault::{At, Problem, WireFault};
use crate::field::{check_text, entries, name_or_default, narrow, word};
use crate::wire;
use meshgate_policy::limits::{NOTE_BYTES_MAX, PREFIXES_PER_RULE_MAX};
use meshgate_policy::{
    AuthoredGroupRule, AuthoredRelationship, Mode, Name, PortSet, Prefix, Priority, ProtocolMatch, RuleId,
};

/// Bytes of the longest text of ports: 64 ranges of two five-digit ports each, with room for spaces.
const PORT_TEXT_BYTES_MAX: usize = 1_024;

impl TryFrom<wire::GroupRelationship> for AuthoredRelationship {
    type Error = WireFault;
    fn try_from(message: wire::GroupRelationship) -> Result<Self, WireFault> {
        let wire::GroupRelationship {
            id,
            tenant,
            source_group_name,
            destination_group_name,
            protocol,
            port_range,
            action,
            priority,
            mode,
            note,
            icmp_type,
            icmp_code,
        } = message;
        check_text(&note, NOTE_BYTES_MAX).at("note")?;
        Ok(Self {
            id: rule_id(id),
            tenant: name_or_default(&tenant).at("tenant")?,
            source_group_name: Name::new(&source_group_name).at("source_group_name")?,
            destination_group_name: Name::new(&destination_group_name).at("destination_group_name")?,
            protocol: protocol_from_wire(&protocol).at("protocol")?,
            port_range: ports(&port_range).at("port_range")?,
            icmp_type: byte(icmp_type).at("icmp_type")?,
            icmp_code: byte(icmp_code).at("icmp_code")?,
            action: word(&action).at("action")?,
            priority: priority_from_wire(priority).at("priority")?,
            mode: mode_from_wire(&mode).at("mode")?,
            note,
        })
    }
}

impl From<&AuthoredRelationship> for wire::GroupRelationship {
    fn from(relationship: &AuthoredRelationship) -> Self {
        let AuthoredRelationship {
            id,
            tenant,
            source_group_name,
            destination_group_name,
            protocol,
            port_range,
            icmp_type,
            icmp_code,
            action,
            priority,
            mode,
            note,
        } = relationship;
        Self {
            id: id.map_or(0, |id| id.0),
            tenant: tenant.to_string(),
            source_group_name: source_group_name.to_string(),
            destination_group_name: destination_group_name.to_string(),
            protocol: protocol.to_string(),
            port_range: port_range.to_string(),
            action: action.to_string(),
            priority: Some(priority.0.into()),
            mode: mode.to_string(),
            note: note.clone(),
            icmp_type: icmp_type.map(Into::into),
            icmp_code: icmp_code.map(Into::into),
        }
    }
}

impl TryFrom<wire::GroupRule> for AuthoredGroupRule {
    type Error = WireFault;
    fn try_from(message: wire::GroupRule) -> Result<Self, WireFault> {
        let wire::GroupRule {
            id,
            tenant,
            group_name,
            direction,
            peer,
            protocol,
            port_range,
            action,
            priority,
            mode,
            note,
            icmp_type,
            icmp_code,
        } = message;
        check_text(&note, NOTE_BYTES_MAX).at("note")?;
        Ok(Self {
            id: rule_id(id),
            tenant: name_or_default(&tenant).at("tenant")?,
            group_name: Name::new(&group_name).at("group_name")?,
            direction: word(&direction).at("direction")?,
            peer: entries(peer, "peer", PREFIXES_PER_RULE_MAX, |text: String| text.parse::<Prefix>())?,
            protocol: protocol_from_wire(&protocol).at("protocol")?,
            port_range: ports(&port_range).at("port_range")?,
            icmp_type: byte(icmp_type).at("icmp_type")?,
            icmp_code: byte(icmp_code).at("icmp_code")?,
            action: word(&action).at("action")?,
            priority: priority_from_wire(priority).at("priority")?,
            mode: mode_from_wire(&mode).at("mode")?,
            note,
        })
    }
}

impl From<&AuthoredGroupRule> for wire::GroupRule {
    fn from(rule: &AuthoredGroupRule) -> Self {
        let AuthoredGroupRule {
            id,
            tenant,
            group_name,
            direction,
            peer,
            protocol,
            port_range,
            icmp_type,
            icmp_code,
            action,
            priority,
            mode,
            note,
        } = rule;
        Self {
            id: id.map_or(0, |id| id.0),
            tenant: tenant.to_string(),
            group_name: group_name.to_string(),
            direction: direction.to_string(),
            peer: peer.iter().map(ToString::to_string).collect(),
            protocol: protocol.to_string(),
            port_range: port_range.to_string(),
            action: action.to_string(),
            priority: Some(priority.0.into()),
            mode: mode.to_string(),
            note: note.clone(),
            icmp_type: icmp_type.map(Into::into),
            icmp_code: icmp_code.map(Into::into),
        }
    }
}

fn rule_id(number: u32) -> Option<RuleId> {
    (number != 0).then_some(RuleId(number))
}

/// Returns the protocol that the text names; any if it is empty.
pub fn protocol_from_wire(text: &str) -> Result<ProtocolMatch, Problem> {
    word(text)
}

fn ports(text: &str) -> Result<PortSet, Problem> {
    check_text(text, PORT_TEXT_BYTES_MAX)?;
    Ok(text.parse()?)
}

fn byte(number: Option<u32>) -> Result<Option<u8>, Problem> {
    number.map(|number| narrow(number, u8::MAX)).transpose()
}

fn priority_from_wire(number: Option<u32>) -> Result<Priority, Problem> {
    number.map_or(Ok(Priority::default()), |number| narrow(number, u16::MAX).map(Priority))
}

fn mode_from_wire(text: &str) -> Result<Mode, Problem> {
    if text.is_empty() { Ok(Mode::default()) } else { word(text) }
}
