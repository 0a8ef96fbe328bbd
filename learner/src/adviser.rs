//! From anomalies and steady patterns to suggestions: the seed's pseudocode, function for function.
//!
//! 1. Anomalies are given (the detector's work), steady patterns come from the profile.
//! 2. For each, `draft::generate_policy` writes a draft: a steady, answered exchange an allow, an anomaly a deny. A draft
//!    that conflicts with the policy (`placing::policy_conflicts`) is dropped, as is one that repeats what was suggested
//!    before. Each drop is counted by its reason.
//! 3. `rank_policies` orders the rest by confidence times relevance; `learned_order` changes that order by what people
//!    answered, once that has proven itself, and tells how sure to be of each.
//! 4. The best of them get their width (`widths`): groups, addresses, networks, whatever their addresses speak for; the other
//!    widths are their alternatives.
//! 5. They become suggestions, with their reasons in words.
//!
//! All of it is a function of its input: the same policy, profile, anomalies and answers give the same advice.

mod barring;
mod desk;
mod draft;
mod grounds;
mod learned_order;
mod merging;
mod names;
mod placing;
mod settings;
mod sides;
mod weighing;
mod widths;
mod wording;

pub use settings::AdviserSettings;

pub(crate) use draft::{Cause, Draft};
pub(crate) use weighing::{UNANSWERED_CONFIDENCE_MAX, is_mostly_unanswered};

use crate::detector::Anomaly;
use crate::draft_key::DraftKey;
use crate::draft_log::DraftLog;
use crate::feedback::level::Seen;
use crate::feedback::ranking::Ranking;
use crate::justification;
use crate::profile::{Profile, SteadyPattern};
use crate::series::Parties;
use barring::Bars;
use desk::Desk;
use grounds::Grounds;
use hashbrown::HashSet;
use meshgate_policy::suggestion::Suggestion;
use meshgate_policy::{Action, Policy};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Anomalies of one round that are looked at, least likely first. A scan makes thousands, and one round shows ten.
const ANOMALIES_MAX: usize = 256;
/// Steady patterns of one round that are looked at, those with most answered flows first.
const PATTERNS_MAX: usize = 1_024;

/// What a round of advice is given. The profile has observed the window and noted its anomalies.
#[derive(Clone, Copy)]
pub struct AdviserInput<'a> {
    /// The newest policy.
    pub policy: &'a Policy,
    /// The parties that series refer to.
    pub parties: &'a Parties,
    /// What is usual.
    pub profile: &'a Profile,
    /// What was not, in the window that closed.
    pub anomalies: &'a [Anomaly],
    /// What was suggested before.
    pub draft_log: &'a DraftLog,
    /// What was learned from answers.
    pub ranking: &'a Ranking,
    /// Settings.
    pub settings: &'a AdviserSettings,
    /// End of the window that closed, seconds since 1970.
    pub window_end_s: u64,
    /// Version of the network that judged; empty before there was one.
    pub model_version: &'a str,
}

/// What a round of advice gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advice {
    /// Suggestions, best first.
    pub suggestions: Vec<Suggestion>,
    /// How many drafts were dropped for which reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// The drafts that were ranked, as the ranking saw them.
    pub weighed: Vec<Seen>,
}

/// Why a draft was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// More causes in one round than are looked at.
    TooManyCauses,
    /// A side is in no group that a rule can name.
    NoGroup,
    /// A side is multicast or broadcast.
    Multicast,
    /// The service is none that a rule can name.
    NoService,
    /// Unusual only in that less came than expected.
    LackOfTraffic,
    /// The series is unusual in this window.
    OpenAnomaly,
    /// A deny for the same groups and service is suggested.
    Contradicted,
    /// The same draft is open, was rejected or rests.
    Repeated,
    /// No packet can match it.
    Empty,
    /// A rule says the same already.
    Carried,
    /// Members of the group may talk already.
    Membership,
    /// It contradicts a rule without being an exception from it.
    Conflict,
    /// It would have to go before a protected rule.
    Protected,
    /// It would decide no packet.
    Shadowed,
    /// Another rule decides what led to it.
    Outranked,
    /// Another draft of the round is the same.
    Duplicate,
    /// Its confidence is below the least.
    Unsure,
    /// Others of the round are better, or the day has had its suggestions.
    BelowTop,
}

impl DropReason {
    /// Returns the reason as reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyCauses => "too-many-causes",
            Self::NoGroup => "no-group",
            Self::Multicast => "multicast",
            Self::NoService => "no-service",
            Self::LackOfTraffic => "lack-of-traffic",
            Self::OpenAnomaly => "open-anomaly",
            Self::Contradicted => "contradicted",
            Self::Repeated => "repeated",
            Self::Empty => "empty",
            Self::Carried => "carried",
            Self::Membership => "membership",
            Self::Conflict => "conflict",
            Self::Protected => "protected",
            Self::Shadowed => "shadowed",
            Self::Outranked => "outranked",
            Self::Duplicate => "duplicate",
            Self::Unsure => "unsure",
            Self::BelowTop => "below-top",
        }
    }
}

/// Returns the best drafts for what was seen, with their reasons.
pub fn suggest_policy(input: &AdviserInput<'_>) -> Advice {
    let mut advice = Advice::default();
    let patterns = input.profile.steady(input.window_end_s, input.settings);
    let causes = causes(input, &patterns, &mut advice);
    if causes.is_empty() {
        return advice;
    }
    let desk = Desk::new(input);
    let bars = Bars::new(&desk);
    let mut potential_policies = Vec::new();
    // What is to be refused is not to be allowed, also where the deny is open or does not make it to the top.
    let mut denied = HashSet::new();
    for cause in causes {
        match draft_for(&desk, (&bars, &denied), cause) {
            Ok(draft) => {
                if draft.rule.action == Action::Deny {
                    denied.insert(opposite(&draft.key, Action::Allow));
                }
                potential_policies.push(draft);
            }
            Err(reason) => advice.count(reason, 1),
        }
    }
    let merged = merging::merged_patterns(&desk, &potential_policies);
    merging::replace_parts(&desk, (&bars, &denied), &merged, &mut potential_policies);
    let ranked = rank_policies(potential_policies, &mut advice);
    let ranked = learned_order::reorder(&desk, ranked, &mut advice.weighed);
    let today = input.draft_log.opened_within_a_day(input.window_end_s);
    let left_today = input.settings.suggestions_per_day_max.saturating_sub(today);
    let top = input.settings.suggestions_max.min(left_today);
    let best = widened(&desk, &bars, (ranked, top), &mut advice);
    let suggestion = |(rank, draft)| suggestion(&desk, draft, rank);
    match (1..).zip(&best).map(suggestion).collect() {
        Ok(suggestions) => advice.suggestions = suggestions,
        Err(reason) => advice.count(reason, best.len()),
    }
    advice
}

/// Returns the first drafts that have a width, so many at most. One that another of them covers is left out.
fn widened<'a>(
    desk: &Desk<'_>,
    bars: &Bars,
    (ranked, top): (Vec<Draft<'a>>, usize),
    advice: &mut Advice,
) -> Vec<Draft<'a>> {
    let mut best: Vec<Draft<'a>> = Vec::new();
    for mut draft in ranked {
        if best.len() >= top {
            advice.count(DropReason::BelowTop, 1);
            continue;
        }
        let chosen = widths::choose_width(desk, bars, &mut draft).and_then(|()| draft.proposal(desk));
        match chosen.map(|proposal| DraftKey::of(&proposal)) {
            Ok(key) if desk.input.draft_log.is_barred(&key, desk.input.window_end_s) => {
                advice.count(DropReason::Repeated, 1);
            }
            Ok(key) => {
                let says_more = |other: &Draft<'_>| {
                    other.rule.action == draft.rule.action && desk.extents.contains(&other.rule, &draft.rule)
                };
                if best.iter().any(says_more) {
                    advice.count(DropReason::Duplicate, 1);
                } else {
                    draft.key = key;
                    best.push(draft);
                }
            }
            Err(reason) => advice.count(reason, 1),
        }
    }
    best
}

impl Advice {
    fn count(&mut self, reason: DropReason, drafts: usize) {
        if drafts > 0 {
            *self.dropped.entry(reason).or_default() += u64::try_from(drafts).unwrap_or(u64::MAX);
        }
    }
}

/// Returns what may lead to a draft: anomalies first, then the steady patterns that are not among them.
fn causes<'a>(
    input: &AdviserInput<'a>,
    patterns: &'a [SteadyPattern],
    advice: &mut Advice,
) -> Vec<Cause<'a>> {
    let mut anomalies: Vec<&Anomaly> = input.anomalies.iter().collect();
    anomalies.sort_by(|a, b| a.p_value.total_cmp(&b.p_value).then_with(|| a.key.cmp(&b.key)));
    let unusual: HashSet<_> = anomalies.iter().map(|anomaly| anomaly.key).collect();
    let (open, mut usual): (Vec<&SteadyPattern>, Vec<&SteadyPattern>) =
        patterns.iter().partition(|pattern| unusual.contains(&pattern.key));
    advice.count(DropReason::OpenAnomaly, open.len());
    usual.sort_by_key(|pattern| (Reverse(pattern.exchange.answered), pattern.key));
    let too_many = anomalies.len().saturating_sub(ANOMALIES_MAX) + usual.len().saturating_sub(PATTERNS_MAX);
    advice.count(DropReason::TooManyCauses, too_many);
    let anomalies = anomalies.into_iter().take(ANOMALIES_MAX).map(Cause::Anomaly);
    anomalies.chain(usual.into_iter().take(PATTERNS_MAX).map(Cause::Steady)).collect()
}

/// Returns the draft for a cause, placed and weighed, or why there is none.
fn draft_for<'a>(
    desk: &Desk<'_>,
    (bars, denied): (&Bars, &HashSet<DraftKey>),
    cause: Cause<'a>,
) -> Result<Draft<'a>, DropReason> {
    let AdviserInput { profile, settings, .. } = *desk.input;
    let draft = draft::generate_policy(desk, cause)?;
    if bars.is_settled(desk, &draft.rule, &Grounds::of(profile.pairs(), cause)) {
        return Err(DropReason::Repeated);
    }
    let is_contradicted = denied.contains(&draft.key) || bars.is_contradicted(desk, &draft.rule);
    if draft.rule.action.is_allow() && is_contradicted {
        return Err(DropReason::Contradicted);
    }
    let mut draft = placing::policy_conflicts(desk, draft)?;
    draft.effect = desk.effect(&draft.rule, cause);
    weighing::weigh(desk, &mut draft);
    if draft.confidence < settings.confidence_min && matches!(cause, Cause::Anomaly(_)) {
        // A deny for groups that would refuse much of what is usual may do for the addresses alone.
        widths::choose_width(desk, bars, &mut draft)?;
        weighing::weigh(desk, &mut draft);
    }
    if draft.confidence < settings.confidence_min { Err(DropReason::Unsure) } else { Ok(draft) }
}

/// Returns the key of the draft with another action.
fn opposite(key: &DraftKey, action: Action) -> DraftKey {
    DraftKey { action: action.to_string(), ..key.clone() }
}

/// Returns the drafts by confidence times relevance, best first, ties by what they say; those that only make the default
/// explicit come last. Of drafts that say the same only the best is left.
fn rank_policies<'a>(mut drafts: Vec<Draft<'a>>, advice: &mut Advice) -> Vec<Draft<'a>> {
    drafts.sort_by(|a, b| {
        let by_score = || b.score().total_cmp(&a.score());
        let by_key = || a.key.cmp(&b.key).then_with(|| a.cause.key().cmp(b.cause.key()));
        a.makes_explicit.cmp(&b.makes_explicit).then_with(by_score).then_with(by_key)
    });
    let mut seen = HashSet::new();
    let all = drafts.len();
    drafts.retain(|draft| seen.insert(draft.key.clone()));
    advice.count(DropReason::Duplicate, all - drafts.len());
    drafts
}

/// Returns the draft in the form that goes to control.
fn suggestion(desk: &Desk<'_>, draft: &Draft<'_>, rank: u32) -> Result<Suggestion, DropReason> {
    let AdviserInput { policy, profile, settings, window_end_s, model_version, .. } = *desk.input;
    let flows_remembered = profile.remembered().flows();
    let reasons = justification::of(draft, settings, flows_remembered);
    Ok(Suggestion {
        origin: draft.cause.origin(),
        draft: draft.proposal(desk)?,
        alternatives: draft.alternatives.clone(),
        confidence: draft.confidence,
        relevance: draft.effect.relevance(),
        rank,
        propensity: 1.0,
        justification: reasons.sentence,
        evidence: reasons.evidence,
        effect: draft.effect,
        over_permissiveness: draft.over_permissiveness,
        narrows: draft.narrows.clone(),
        shadows: placing::shadows(desk, &draft.rule),
        makes_explicit: draft.makes_explicit,
        features: draft.features.clone(),
        base_version: policy.version,
        model_version: model_version.to_owned(),
        window_end_ns: window_end_s.saturating_mul(1_000_000_000),
        expires_ns: expires_s(draft.cause, settings, window_end_s).saturating_mul(1_000_000_000),
    })
}

/// Returns when a suggestion expires, seconds since 1970: what was unusual is yesterday's news before what holds is.
fn expires_s(cause: Cause<'_>, settings: &AdviserSettings, window_end_s: u64) -> u64 {
    window_end_s.saturating_add(match cause {
        Cause::Steady(_) => settings.expiry_s,
        Cause::Anomaly(_) => settings.anomaly_expiry_s,
    })
}

#[cfg(test)]
pub(crate) mod tests;
