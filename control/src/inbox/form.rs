//! The form of a suggestion: numbers, texts and lists within their limits, and a draft of the kind that learners may make.

use meshgate_policy::limits::{
    ALTERNATIVES_MAX, DRAFT_PRIORITY_MIN, NOTE_BYTES_MAX, PREFIXES_PER_RULE_MAX, PROPOSED_GROUPS_MAX,
    PROTECTED_ABOVE_PRIORITY, WORD_BYTES_MAX,
};
use meshgate_policy::suggestion::{Alternative, Evidence, Measure, Proposal, Suggestion};
use meshgate_policy::{
    Action, AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, EffectCounts, Mode, Name, Priority,
    RuleId,
};

/// Pieces of evidence of one suggestion: more than a person reads.
pub const EVIDENCE_MAX: usize = 16;
/// Numbers of one piece of evidence: more than a sentence holds.
pub const MEASURES_MAX: usize = 32;
/// Features of one suggestion: the window's features twice over.
pub const FEATURES_MAX: usize = 64;
/// Rules that one suggestion narrows, or shadows.
pub const RULES_NAMED_MAX: usize = 256;
/// Bytes of the sentence of a piece of evidence.
pub const SENTENCE_BYTES_MAX: usize = 1_024;
/// Endpoints of a group that a suggestion makes: more than a person reads through.
pub const MEMBERS_MAX: usize = 1_024;
/// Bytes of the justification.
pub const JUSTIFICATION_BYTES_MAX: usize = 2_048;

/// A field of a suggestion that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FormFault {
    /// A share that is none, or not a number.
    #[error("{0}: {1} is not within 0 to 1")]
    Share(String, f64),
    /// A probability of something that happened.
    #[error("propensity: {0} is not above 0 and at most 1")]
    Propensity(f64),
    /// Not a finite number.
    #[error("{0}: {1} is not a finite number")]
    NotFinite(String, f64),
    /// A number below the least possible one.
    #[error("{0}: {1} is below {2}")]
    Below(String, u64, u64),
    /// A number above the largest possible one.
    #[error("{0}: {1} is above {2}")]
    Above(String, u64, u64),
    /// A text that must say something.
    #[error("{0}: is empty")]
    Empty(String),
    /// A text longer than the limit.
    #[error("{0}: {1} bytes, at most {2} are possible")]
    TooLong(String, usize, usize),
    /// A list longer than the limit.
    #[error("{0}: {1} entries, at most {2} are possible")]
    TooMany(String, usize, usize),
    /// A span that ends before it begins.
    #[error("{0}: ends before it begins")]
    Backwards(String),
    /// A draft that brings a number along.
    #[error("{0}: control gives the number, a draft has none")]
    Numbered(String),
    /// A tenant that does not exist.
    #[error("{0}: no tenant \"{1}\"; this version has only \"default\"")]
    Tenant(String, Name),
    /// A mode that drafts may not have.
    #[error("{0}: {1}; a draft has the mode enforce")]
    Mode(String, Mode),
    /// An action that drafts may not have.
    #[error("{0}: reject; a draft allows or denies")]
    Reject(String),
    /// A group to be made whose members would not be listed.
    #[error("{0}: a group that a draft makes lists its members")]
    Selector(String),
    /// A group to be made that the rule is not about.
    #[error("{0}: \"{1}\" is no side of the rule")]
    Unused(String, Name),
}

/// Returns what of the suggestion cannot be used, if anything.
pub fn check_form(suggestion: &Suggestion) -> Result<(), FormFault> {
    let Suggestion {
        origin: _,
        draft,
        alternatives,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence,
        effect,
        over_permissiveness,
        narrows,
        shadows,
        makes_explicit: _,
        features,
        base_version,
        model_version,
        window_end_ns,
        expires_ns,
    } = suggestion;
    check_draft("draft", draft)?;
    count("alternatives", alternatives.len(), ALTERNATIVES_MAX)?;
    for (at, alternative) in alternatives.iter().enumerate() {
        check_alternative(&format!("alternatives[{at}]"), alternative)?;
    }
    share("confidence", *confidence)?;
    share("relevance", *relevance)?;
    share("over_permissiveness", *over_permissiveness)?;
    if *rank == 0 {
        return Err(FormFault::Below("rank".to_owned(), 0, 1));
    }
    if !(*propensity > 0.0 && *propensity <= 1.0) {
        return Err(FormFault::Propensity(*propensity));
    }
    if justification.is_empty() {
        return Err(FormFault::Empty("justification".to_owned()));
    }
    text("justification", justification, JUSTIFICATION_BYTES_MAX)?;
    text("model_version", model_version, WORD_BYTES_MAX)?;
    count("evidence", evidence.len(), EVIDENCE_MAX)?;
    count("narrows", narrows.len(), RULES_NAMED_MAX)?;
    count("shadows", shadows.len(), RULES_NAMED_MAX)?;
    count("features", features.len(), FEATURES_MAX)?;
    storable("base_version", base_version.0)?;
    storable("window_end_ns", *window_end_ns)?;
    storable("expires_ns", *expires_ns)?;
    check_effect(effect)?;
    for (at, evidence) in evidence.iter().enumerate() {
        check_evidence(&format!("evidence[{at}]"), evidence)?;
    }
    for (at, feature) in features.iter().enumerate() {
        text(&format!("features[{at}].name"), &feature.name, WORD_BYTES_MAX)?;
        finite(&format!("features[{at}].value"), feature.value)?;
    }
    Ok(())
}

fn check_alternative(path: &str, alternative: &Alternative) -> Result<(), FormFault> {
    let Alternative { proposal, over_permissiveness, coverage } = alternative;
    check_draft(&format!("{path}.proposal"), proposal)?;
    share(&format!("{path}.over_permissiveness"), *over_permissiveness)?;
    share(&format!("{path}.coverage"), *coverage)
}

fn check_draft(path: &str, draft: &Proposal) -> Result<(), FormFault> {
    match draft {
        Proposal::Relationship(draft) => check_relationship(path, draft),
        Proposal::Rule(draft) => {
            let AuthoredGroupRule { id, tenant, action, priority, mode, note, .. } = draft;
            check_rule(path, (*id, tenant, *action), (*priority, *mode, note))
        }
        Proposal::Grouped { groups, relationship } => {
            check_groups(path, groups, relationship)?;
            check_relationship(path, relationship)
        }
        Proposal::Membership { .. } => Ok(()),
    }
}

/// Checks that each group to be made is one side of the rule, and is what people could have written.
fn check_groups(
    path: &str,
    groups: &[AuthoredGroup],
    relationship: &AuthoredRelationship,
) -> Result<(), FormFault> {
    let field = |field: &str| format!("{path}.groups.{field}");
    count(&format!("{path}.groups"), groups.len(), PROPOSED_GROUPS_MAX)?;
    for group in groups {
        let AuthoredGroup { name, tenant, segment: _, members, selector, prefixes, intra_group: _ } = group;
        if *tenant != Name::default_name() {
            return Err(FormFault::Tenant(field("tenant"), tenant.clone()));
        }
        if !selector.is_empty() {
            return Err(FormFault::Selector(field("selector")));
        }
        if members.is_empty() && prefixes.is_empty() {
            return Err(FormFault::Empty(field("members")));
        }
        count(&field("members"), members.len(), MEMBERS_MAX)?;
        count(&field("prefixes"), prefixes.len(), PREFIXES_PER_RULE_MAX)?;
        if ![&relationship.source_group_name, &relationship.destination_group_name].contains(&name) {
            return Err(FormFault::Unused(field("name"), name.clone()));
        }
    }
    Ok(())
}

fn check_relationship(path: &str, draft: &AuthoredRelationship) -> Result<(), FormFault> {
    let AuthoredRelationship { id, tenant, action, priority, mode, note, .. } = draft;
    check_rule(path, (*id, tenant, *action), (*priority, *mode, note))
}

fn check_rule(
    path: &str,
    (id, tenant, action): (Option<RuleId>, &Name, Action),
    (priority, mode, note): (Priority, Mode, &str),
) -> Result<(), FormFault> {
    let field = |field: &str| format!("{path}.{field}");
    if id.is_some() {
        return Err(FormFault::Numbered(field("id")));
    }
    if *tenant != Name::default_name() {
        return Err(FormFault::Tenant(field("tenant"), tenant.clone()));
    }
    if mode != Mode::Enforce {
        return Err(FormFault::Mode(field("mode"), mode));
    }
    if action == Action::Reject {
        return Err(FormFault::Reject(field("action")));
    }
    if priority.0 < DRAFT_PRIORITY_MIN {
        return Err(FormFault::Below(field("priority"), priority.0.into(), DRAFT_PRIORITY_MIN.into()));
    }
    if priority.is_protected() {
        let max = PROTECTED_ABOVE_PRIORITY.into();
        return Err(FormFault::Above(field("priority"), priority.0.into(), max));
    }
    text(&field("note"), note, NOTE_BYTES_MAX)
}

/// Checks counts that contain each other: a flow that changes is matched, one that is matched was seen.
fn check_effect(effect: &EffectCounts) -> Result<(), FormFault> {
    let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = *effect;
    storable("effect.flows_seen", seen)?;
    let within = |field: &str, count, max| {
        if count > max { Err(FormFault::Above(field.to_owned(), count, max)) } else { Ok(()) }
    };
    within("effect.flows_matched", matched, seen)?;
    within("effect.flows_newly_allowed", newly_allowed, matched)?;
    within("effect.flows_newly_denied", newly_denied, matched - newly_allowed)?;
    within("effect.flows_attributed", attributed, matched - newly_allowed - newly_denied)
}

fn check_evidence(path: &str, evidence: &Evidence) -> Result<(), FormFault> {
    let Evidence { kind: _, sentence, measures, from_ns, until_ns } = evidence;
    if sentence.is_empty() {
        return Err(FormFault::Empty(format!("{path}.sentence")));
    }
    text(&format!("{path}.sentence"), sentence, SENTENCE_BYTES_MAX)?;
    count(&format!("{path}.measures"), measures.len(), MEASURES_MAX)?;
    if from_ns > until_ns {
        return Err(FormFault::Backwards(format!("{path}.until_ns")));
    }
    for (at, Measure { name, value, unit, text: shown }) in measures.iter().enumerate() {
        let at = |field: &str| format!("{path}.measures[{at}].{field}");
        text(&at("name"), name, WORD_BYTES_MAX)?;
        finite(&at("value"), *value)?;
        text(&at("unit"), unit, WORD_BYTES_MAX)?;
        text(&at("text"), shown, WORD_BYTES_MAX)?;
    }
    Ok(())
}

fn share(field: &str, value: f64) -> Result<(), FormFault> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(FormFault::Share(field.to_owned(), value)) }
}

fn finite(field: &str, value: f64) -> Result<(), FormFault> {
    if value.is_finite() { Ok(()) } else { Err(FormFault::NotFinite(field.to_owned(), value)) }
}

fn text(field: &str, text: &str, bytes_max: usize) -> Result<(), FormFault> {
    if text.len() <= bytes_max {
        Ok(())
    } else {
        Err(FormFault::TooLong(field.to_owned(), text.len(), bytes_max))
    }
}

fn count(field: &str, count: usize, max: usize) -> Result<(), FormFault> {
    if count <= max { Ok(()) } else { Err(FormFault::TooMany(field.to_owned(), count, max)) }
}

/// Refuses a number that the store cannot hold.
fn storable(field: &str, number: u64) -> Result<(), FormFault> {
    let max = i64::MAX.unsigned_abs();
    if number <= max { Ok(()) } else { Err(FormFault::Above(field.to_owned(), number, max)) }
}
