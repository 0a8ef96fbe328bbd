//! Names for groups that nobody has made yet: what their endpoints' names have in common, else what they serve or use.

use super::desk::Desk;
use super::draft::Draft;
use meshgate_policy::{Direction, Name, Prefix, Side};

/// Letters that endpoints' names must share to name their group: two say nothing.
const SHARED_MIN: usize = 3;
/// Bytes of a name, with room for a number behind it.
const NAME_BYTES_MAX: usize = 56;
/// Numbers that are tried behind a name that is taken.
const TRIES: u32 = 100;

/// Returns a name for a group of these addresses that no group has.
pub(super) fn new_name(
    desk: &Desk<'_>,
    draft: &Draft<'_>,
    prefixes: &[Prefix],
    direction: Direction,
) -> Option<Name> {
    let segment = draft.cause.key().segment;
    let owners: Option<Vec<&str>> =
        prefixes.iter().map(|prefix| Some(desk.endpoint_of(segment, *prefix)?.name.as_str())).collect();
    let shared = owners.and_then(|names| shared_start(&names));
    let base = shared.unwrap_or_else(|| match direction {
        Direction::Ingress => format!("servers-of-{}", service(draft)),
        Direction::Egress => format!("clients-of-{}-{}", partner(desk, draft), service(draft)),
    });
    free_name(desk, &base)
}

/// Returns what the names begin with, without a number or separator at its end.
fn shared_start(names: &[&str]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let shared = first
        .char_indices()
        .find(|(at, letter)| !rest.iter().all(|name| name[*at..].starts_with(*letter)))
        .map_or(*first, |(at, _)| &first[..at]);
    let word = shared.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.".contains(c));
    (word.len() >= SHARED_MIN).then(|| word.to_owned())
}

/// Returns the other side in a word.
fn partner(desk: &Desk<'_>, draft: &Draft<'_>) -> String {
    match &draft.rule.destination {
        Side::Group(group) => desk.input.policy.group_name(*group),
        Side::Prefixes(prefixes) => {
            prefixes.first().map_or_else(String::new, |prefix| match prefixes.len() {
                1 => prefix.address().to_string(),
                more => format!("{}-and-{}-more", prefix.address(), more - 1),
            })
        }
    }
}

/// Returns protocol and ports in a word, such as `tcp-443`.
fn service(draft: &Draft<'_>) -> String {
    let terms = &draft.relationship;
    let protocol = terms.protocol.to_string().to_lowercase();
    if terms.port_range.is_all() { protocol } else { format!("{protocol}-{}", terms.port_range) }
}

/// Returns the text as a name that no group has, with a number behind it where one has.
fn free_name(desk: &Desk<'_>, text: &str) -> Option<Name> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let base: String = text.chars().map(plain).take(NAME_BYTES_MAX).collect();
    let is_free = |name: &Name| !desk.has_group(name);
    let numbered = (2..TRIES).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone()).chain(numbered).filter_map(|text| Name::new(&text).ok()).find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_name_their_group_by_what_they_share() {
        assert_eq!(shared_start(&["web-1", "web-12", "web-2"]).as_deref(), Some("web"));
        assert_eq!(shared_start(&["billing.db01"]).as_deref(), Some("billing.db"));
        assert_eq!(shared_start(&["app-1", "api-1"]), None);
        assert_eq!(shared_start(&["a", "ab"]), None);
        assert_eq!(shared_start(&["web", "web-1"]).as_deref(), Some("web"));
        assert_eq!(shared_start(&[]), None);
    }
}
