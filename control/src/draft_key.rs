//! What makes two drafts the same one.

use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Name, PortSet, ProtocolMatch};

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftKey(String);

impl DraftKey {
    /// Returns the key of a draft. Those of the kinds differ in their first word.
    pub fn of(draft: &Proposal) -> Self {
        Self(match draft {
            Proposal::Relationship(relationship) => of_relationship(relationship, &[]),
            Proposal::Rule(rule) => of_rule(rule),
            Proposal::Grouped { groups, relationship } => {
                format!("grouped {}", of_relationship(relationship, groups))
            }
            Proposal::Membership { endpoint, group, join } => {
                format!("{} {endpoint} {group}", if *join { "join" } else { "leave" })
            }
        })
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the key of a rule between groups. A group that is to be made counts by who is in it and not by its name, as two
/// rounds may find two names for the same.
fn of_relationship(relationship: &AuthoredRelationship, made: &[AuthoredGroup]) -> String {
    let AuthoredRelationship { source_group_name, destination_group_name, .. } = relationship;
    let AuthoredRelationship { protocol, port_range, icmp_type, icmp_code, action, .. } = relationship;
    let side = |name: &Name| match made.iter().find(|group| group.name == *name) {
        Some(group) => format!("[{} {}]", sorted(&group.members), sorted(&group.prefixes)),
        None => name.to_string(),
    };
    let (source, destination) = (side(source_group_name), side(destination_group_name));
    let service = service(*protocol, port_range, [*icmp_type, *icmp_code]);
    format!("{action} {source} {destination} {service}")
}

fn of_rule(rule: &AuthoredGroupRule) -> String {
    let AuthoredGroupRule { group_name, direction, peer, .. } = rule;
    let AuthoredGroupRule { protocol, port_range, icmp_type, icmp_code, action, .. } = rule;
    let service = service(*protocol, port_range, [*icmp_type, *icmp_code]);
    format!("rule {action} {group_name} {direction} {} {service}", sorted(peer))
}

fn service(protocol: ProtocolMatch, ports: &PortSet, icmp: [Option<u8>; 2]) -> String {
    let number = |number: Option<u8>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let ports = if ports.is_all() { "*".to_owned() } else { ports.to_string() };
    let [icmp_type, icmp_code] = icmp.map(number);
    format!("{protocol} {ports} {icmp_type} {icmp_code}")
}

fn sorted<T: ToString>(list: &[T]) -> String {
    let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Proposal {
        let sides =
            "kind = 'relationship'\nsource_group_name = 'a'\ndestination_group_name = 'b'\naction = 'allow'";
        toml::from_str(&format!("{sides}\n{text}")).unwrap()
    }

    fn rule(text: &str) -> Proposal {
        let sides = "kind = 'rule'\ngroup_name = 'a'\ndirection = 'egress'\naction = 'allow'";
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
        let peers = rule("peer = ['10.0.0.1/32', '10.0.0.2/32']");
        assert_eq!(
            DraftKey::of(&peers),
            DraftKey::of(&rule("peer = ['10.0.0.2/32', '10.0.0.1/32']\nnote = 'n'"))
        );
        assert_ne!(DraftKey::of(&peers), DraftKey::of(&rule("peer = ['10.0.0.1/32']")));
    }

    #[test]
    fn who_is_in_a_group_to_be_made_counts_and_its_name_does_not() {
        let grouped = |name: &str, prefix: &str| {
            let text = format!(
                "kind = 'grouped'\ngroups = [{{ name = '{name}', prefixes = ['{prefix}'] }}]\n[relationship]\n\
                 source_group_name = 'a'\ndestination_group_name = '{name}'\naction = 'allow'"
            );
            DraftKey::of(&toml::from_str(&text).unwrap())
        };
        assert_eq!(grouped("b", "10.0.0.1/32"), grouped("c", "10.0.0.1/32"));
        assert_ne!(grouped("b", "10.0.0.1/32"), grouped("b", "10.0.0.2/32"));
    }

    #[test]
    fn joining_and_leaving_are_two_drafts() {
        let membership = |join| {
            let text = format!("kind = 'membership'\nendpoint = 'e'\ngroup = 'g'\njoin = {join}");
            DraftKey::of(&toml::from_str(&text).unwrap())
        };
        assert_ne!(membership(true), membership(false));
    }
}
