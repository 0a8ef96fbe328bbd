//! What makes two drafts the same one.

use meshgate_policy::AuthoredRelationship;
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
}
