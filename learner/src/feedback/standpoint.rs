//! A draft as the ranking that learns sees it: from the names and numbers that travel with a suggestion, so that an answer that
//! comes back from control says all of it again.

use super::level::Seen;
use super::point::ENTITIES;
use crate::draft_key::DraftKey;
use crate::proportion::real;
use meshgate_policy::suggestion::Feature;

/// Name of the score of the static ranking among the features.
pub const STATIC_SCORE: &str = "static_score";
/// Name of its height among the scores of its time.
pub const HEIGHT: &str = "height";

/// Features that are learned from; one that a draft lacks is zero.
pub const LEARNED: [&str; 22] = [
    "confidence",
    "relevance",
    "is_allow",
    "past_flows_ln",
    "past_windows_ln",
    "past_answered_share",
    "recently_answered_share",
    "past_refused_share",
    "newly_allowed_share",
    "newly_denied_share",
    "over_permissiveness",
    "narrowed_rules_ln",
    "makes_explicit",
    "p_value_exponent",
    "novelty_p_value_exponent",
    "count_p_value_exponent",
    "is_new_source",
    "is_new_pair",
    "is_new_series",
    "flows_ln",
    "refused_share",
    "answered_share",
];

/// Names of the entities among the features. Their numbers have 53 bits, which a double holds exactly.
pub const ENTITY_NAMES: [&str; ENTITIES] =
    ["source_entity", "destination_entity", "pair_entity", "service_entity"];
/// Bits of an entity's number.
const ENTITY_BITS: u32 = 53;

/// Returns a draft as the ranking sees it.
pub fn seen(features: &[Feature]) -> Seen {
    Seen {
        static_score: feature(features, STATIC_SCORE),
        features: LEARNED.iter().map(|name| feature(features, name)).collect(),
        entities: ENTITY_NAMES.map(|name| entity_of(feature(features, name))),
    }
}

/// Returns a feature by its name; 0 where it is missing or no number.
pub fn feature(features: &[Feature], name: &str) -> f64 {
    let found = features.iter().find(|feature| feature.name == name);
    found.map_or(0.0, |feature| if feature.value.is_finite() { feature.value } else { 0.0 })
}

/// Returns the features that say who and what a draft is about. They speak of the groups that were seen, also where the draft
/// names only some of their addresses.
pub fn entity_features(draft: &DraftKey) -> Vec<Feature> {
    let DraftKey { source, destination, service, action } = draft;
    let numbers = [
        number(&["source", source]),
        number(&["destination", destination]),
        number(&["pair", source, destination]),
        number(&["service", service, action]),
    ];
    let feature = |(name, number): (&str, u64)| Feature { name: name.to_owned(), value: real(number) };
    ENTITY_NAMES.into_iter().zip(numbers).map(feature).collect()
}

/// Returns a number that is the same in every run (FNV-1a over the parts and a byte between them), never 0.
pub fn number(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> (u64::BITS - ENTITY_BITS)).max(1)
}

/// Returns the number that a feature holds; nobody's where it holds none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number of 53 bits"
)]
fn entity_of(value: f64) -> u64 {
    let is_number = value >= 0.0 && value <= real(1 << ENTITY_BITS) && value.fract() == 0.0;
    if is_number { value as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_with_a_suggestion_says_all_of_it_again() {
        let draft = DraftKey {
            source: "web".into(),
            destination: "db".into(),
            service: "TCP 22 - -".into(),
            action: "deny".into(),
        };
        let mut features = entity_features(&draft);
        features.push(Feature { name: STATIC_SCORE.into(), value: 0.25 });
        features.push(Feature { name: "relevance".into(), value: 0.5 });
        features.push(Feature { name: "flows_ln".into(), value: f64::NAN });
        let seen = seen(&features);
        assert_eq!((seen.static_score, seen.features[1], seen.features[19]), (0.25, 0.5, 0.0));
        assert_eq!(seen.entities[0], number(&["source", "web"]));
        assert_eq!(seen.entities[2], number(&["pair", "web", "db"]));
        assert!(seen.entities.iter().all(|entity| *entity != 0));
        let odd = [("source_entity", -1.0), ("pair_entity", 0.5), ("service_entity", 1e300)];
        let odd = odd.map(|(name, value)| Feature { name: name.into(), value });
        assert_eq!(super::seen(&odd).entities, [0; ENTITIES]);
    }
}
