//! What accepting a suggestion writes, and the state of the policy after it. Pure.

use super::made::{as_kept, changes};
use super::suggestions::{Acceptance, AnswerFault};
use super::{KeeperFault, Kept};
use crate::inbox::{Judge, accepted_form};
use crate::policy_book::{BookFault, NextState};
use meshgate_policy::PolicyVersion;
use meshgate_policy::suggestion::{FiledSuggestion, Proposal};

/// Returns what the acceptance writes, and whether that differs from the draft.
pub(super) fn wanted(
    newest: &Kept,
    filed: &FiledSuggestion,
    acceptance: &Acceptance,
) -> Result<(Proposal, bool), KeeperFault> {
    let Acceptance { id, edited, alternative, expected_version, actor: _, comment: _ } = acceptance;
    let version = newest.book.version();
    if let Some(expected) = expected_version.filter(|expected| *expected != version) {
        return Err(BookFault::Conflict { expected, newest: version }.into());
    }
    let drafted = match *alternative {
        0 => None,
        number if edited.is_some() => return Err(AnswerFault::Both(number).into()),
        number => {
            let alternatives = &filed.suggestion.alternatives;
            let place = usize::try_from(number - 1).ok();
            let chosen = place.and_then(|place| alternatives.get(place));
            let none = || AnswerFault::Alternative(*id, number, alternatives.len());
            Some(chosen.ok_or_else(none)?.proposal.clone())
        }
    };
    // What a person wrote is theirs to answer for. A list of members alone has no other form: what speaks against the
    // change makes it impossible.
    let is_written = edited.as_ref().is_some_and(|edited| !matches!(edited, Proposal::Membership { .. }));
    let chosen = edited.clone().or(drafted);
    if !is_written
        && let Some(obstacle) =
            Judge::new(&newest.book).obstacle(chosen.as_ref().unwrap_or(&filed.suggestion.draft))
    {
        return Err(AnswerFault::Obstacle(*id, obstacle).into());
    }
    Ok(accepted_form(filed, chosen))
}

/// Returns the state after the proposal is written, and the proposal as it was written.
pub(super) fn next_state(
    newest: &Kept,
    wanted: Proposal,
    expected_version: Option<PolicyVersion>,
) -> Result<(NextState, Proposal), KeeperFault> {
    let next = newest.book.apply(changes(newest, &wanted)?, expected_version)?;
    let made = as_kept(&next.book, wanted, next.created_ids.first().copied());
    Ok((next, made))
}
