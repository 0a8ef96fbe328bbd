//! What makes two drafts the same one.

use meshgate_policy::{AuthoredRelationship, PortSet};
use serde::{Deserialize, Serialize};

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DraftKey {
    /// Source group.
    pub source: String,
    /// Destination group.
    pub destination: String,
    /// Protocol, ports, ICMP type and code, as policy files write them.
    pub service: String,
    /// Action.
    pub action: String,
}

impl DraftKey {
    /// Returns the key of a draft.
    pub fn of(draft: &AuthoredRelationship) -> Self {
        let number = |number: Option<u8>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        Self {
            source: draft.source_group_name.to_string(),
            destination: draft.destination_group_name.to_string(),
            service: format!(
                "{} {} {} {}",
                draft.protocol,
                draft.port_range,
                number(draft.icmp_type),
                number(draft.icmp_code)
            ),
            action: draft.action.to_string(),
        }
    }

    /// Returns whether this draft says all that another does, and maybe more ports.
    pub fn covers(&self, other: &Self) -> bool {
        let parts = |key: &Self| {
            let mut words = key.service.splitn(3, ' ').map(str::to_owned);
            Some((words.next()?, words.next()?.parse::<PortSet>().ok()?, words.next()?))
        };
        let (Some((protocol, ports, icmp)), Some((other_protocol, other_ports, other_icmp))) =
            (parts(self), parts(other))
        else {
            return self == other;
        };
        let contains = |range: &meshgate_policy::PortRange| {
            ports.ranges().iter().any(|own| own.first() <= range.first() && range.last() <= own.last())
        };
        (&self.source, &self.destination, &self.action) == (&other.source, &other.destination, &other.action)
            && (protocol, icmp) == (other_protocol, other_icmp)
            && (ports.is_all() || (!other_ports.is_all() && other_ports.ranges().iter().all(contains)))
    }
}
