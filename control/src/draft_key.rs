//! What makes two drafts the same one.

use meshgate_policy::AuthoredRelationship;

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftKey(String);

impl DraftKey {
    /// Returns the key of a draft.
    pub fn of(draft: &AuthoredRelationship) -> Self {
        let AuthoredRelationship { source_group_name, destination_group_name, protocol, .. } = draft;
        let number = |number: Option<u8>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let ports = if draft.port_range.is_all() { "*".to_owned() } else { draft.port_range.to_string() };
        Self(format!(
            "{} {source_group_name} {destination_group_name} {protocol} {ports} {} {}",
            draft.action,
            number(draft.icmp_type),
            number(draft.icmp_code)
        ))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> AuthoredRelationship {
        let sides = "source_group_name = 'a'\ndestination_group_name = 'b'\naction = 'allow'";
        toml::from_str(&format!("{sides}\n{text}")).unwrap()
    }

    #[test]
    fn priority_and_note_do_not_make_another_draft() {
        let one = draft("protocol = 'TCP'\nport_range = '80,443'");
        let same = draft("protocol = '6'\nport_range = '443,80'\npriority = 7\nnote = 'n'");
        assert_eq!(DraftKey::of(&one), DraftKey::of(&same));
        for other in
            ["protocol = 'TCP'\nport_range = '80'", "protocol = 'TCP'", "protocol = 'ICMP'\nicmp_type = 8"]
        {
            assert_ne!(DraftKey::of(&one), DraftKey::of(&draft(other)), "{other}");
        }
    }
}
