//! The order of drafts by what people answered to others, and the confidence that they see.

use super::desk::Desk;
use super::draft::{Cause, Draft};
use super::weighing::{CONFIDENCE_MAX, UNANSWERED_CONFIDENCE_MAX, is_mostly_unanswered};
use crate::feedback::level::Seen;
use crate::feedback::standpoint::{HEIGHT, seen};
use crate::proportion::real;
use meshgate_policy::suggestion::Feature;

/// Answers at which the confidence that was learned counts as much as the static one.
const HALF_ANSWERS: f64 = 50.0;

/// Returns the drafts, which are in the order of the static ranking, in that of the learned one, and leaves what it saw of them
/// in `weighed`. Before anything was learned the order stays as it is. What only makes the default explicit stays last.
pub(super) fn reorder<'a>(
    desk: &Desk<'_>,
    mut drafts: Vec<Draft<'a>>,
    weighed: &mut Vec<Seen>,
) -> Vec<Draft<'a>> {
    let ranking = desk.input.ranking;
    for draft in &mut drafts {
        draft.features = draft.features();
    }
    weighed.extend(drafts.iter().map(|draft| seen(&draft.features)));
    let known = real(u64::try_from(ranking.in_force()).unwrap_or(u64::MAX));
    let learned_share = known / (known + HALF_ANSWERS);
    let mut left: Vec<Option<Draft<'a>>> = drafts.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for placed in ranking.rank(weighed) {
        let Some(mut draft) = left[placed.index].take() else { continue };
        let confidence = (1.0 - learned_share) * draft.confidence + learned_share * placed.confidence;
        draft.confidence = confidence.min(most_confidence(desk, &draft));
        draft.features.push(Feature { name: HEIGHT.to_owned(), value: placed.height });
        ordered.push(draft);
    }
    ordered.sort_by_key(|draft| draft.makes_explicit);
    ordered
}

/// Returns what no answer raises the confidence of a draft above.
fn most_confidence(desk: &Desk<'_>, draft: &Draft<'_>) -> f64 {
    match draft.cause {
        Cause::Steady(_) if is_mostly_unanswered(&draft.past, desk.input.settings.steady_answered_share) => {
            UNANSWERED_CONFIDENCE_MAX
        }
        Cause::Steady(_) | Cause::Anomaly(_) => CONFIDENCE_MAX,
    }
}
