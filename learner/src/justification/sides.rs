//! The two sides of a draft in words.

use meshgate_policy::{Name, Prefix, Side};

/// Addresses and networks that a sentence names; the draft lists them all.
const PREFIXES_NAMED_MAX: usize = 3;
/// Returns a side in words: a group by its name, else the addresses. Names and addresses stand between quotes, so that their
/// numbers are not taken for measures.
pub(super) fn side(group: &Name, side: &Side) -> String {
    let Side::Prefixes(prefixes) = side else { return format!("group '{group}'") };
    let shown = |prefix: &Prefix| {
        let address = prefix.address();
        if *prefix == Prefix::host(address) { address.to_string() } else { prefix.to_string() }
    };
    let named: Vec<String> = prefixes.iter().take(PREFIXES_NAMED_MAX).map(shown).collect();
    let others = if prefixes.len() > named.len() { " and others" } else { "" };
    format!("'{}'{others}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_named_by_its_group_or_its_first_addresses() {
        let any = Name::new("any").unwrap();
        let listed = |prefixes: &[&str]| {
            let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
            side(&any, &Side::Prefixes(prefixes))
        };
        assert_eq!(side(&any, &Side::Group(meshgate_policy::GroupId::ANY)), "group 'any'");
        assert_eq!(listed(&["10.0.0.1/32", "10.1.0.0/16"]), "'10.0.0.1, 10.1.0.0/16'");
        let many = listed(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"]);
        assert_eq!(many, "'10.0.0.1, 10.0.0.2, 10.0.0.3' and others");
    }
}
