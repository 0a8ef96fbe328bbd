//! The order of drafts by what people answered to others, and the confidence that they see.

use super::desk::Desk;
use super::draft::{Cause, Draft};
use super::weighing::{CONFIDENCE_MAX, UNANSWERED_CONFIDENCE_MAX, is_mostly_unanswered};
use crate::feedback::level::Seen;
use crate::feedback::standpoint::{HEIGHT, seen};
use crate::proportion::real;
use meshgate_policy::suggestion::{Feature, Origin};

/// Answers at which the confidence that was learned counts as much as the static one.
const HALF_ANSWERS: f64 = 50.0;

/// What answers say of a draft.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    /// Probability of acceptance.
    confidence: f64,
    /// How much it counts beside the static confidence, 0 to 1.
    share: f64,
}

/// Returns the drafts, which are in the order of the static ranking, in that of the learned one for so many places, and leaves
/// what it saw of them in `weighed`. Before anything was learned the order stays as it is. What only makes the default explicit
/// stays last. What is unusual is not to get out of view; what is steady may.
pub(super) fn reorder<'a>(
    desk: &Desk<'_>,
    mut drafts: Vec<Draft<'a>>,
    places: usize,
    weighed: &mut Vec<Seen>,
) -> Vec<Draft<'a>> {
    let ranking = desk.input.ranking;
    for draft in &mut drafts {
        draft.features = draft.features();
    }
    weighed.extend(drafts.iter().map(|draft| seen(&draft.features)));
    let known = real(u64::try_from(ranking.in_force()).unwrap_or(u64::MAX));
    let share = known / (known + HALF_ANSWERS);
    // What only makes the default explicit goes last in any case: it needs no place.
    let is_alarm = |at: usize| drafts[at].cause.origin() == Origin::Anomaly && !drafts[at].makes_explicit;
    let order = ranking.rank(weighed, places, is_alarm);
    let mut left: Vec<Option<Draft<'a>>> = drafts.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for placed in order {
        let Some(mut draft) = left[placed.index].take() else { continue };
        draft.learned = Learned { confidence: placed.confidence, share };
        draft.features.push(Feature { name: HEIGHT.to_owned(), value: placed.height });
        ordered.push(draft);
    }
    ordered.sort_by_key(|draft| draft.makes_explicit);
    ordered
}

/// Gives a draft that has its width the confidence that people see: the static one, and more and more what was accepted.
pub(super) fn blend_confidence(desk: &Desk<'_>, draft: &mut Draft<'_>) {
    let Learned { confidence, share } = draft.learned;
    let blended = (1.0 - share) * draft.confidence + share * confidence;
    if blended.is_finite() {
        draft.confidence = blended.clamp(0.0, most_confidence(desk, draft));
    }
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
