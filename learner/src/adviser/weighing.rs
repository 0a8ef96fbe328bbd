//! How sure a draft is, and how much more it permits than was seen. Nothing here is learned: the formulas are the prior
//! that answers will later be held against.

use super::desk::Desk;
use super::draft::{Cause, Draft};
use super::grounds::Grounds;
use super::widths;
use crate::detector::Anomaly;
use crate::feedback::standpoint::{STATIC_SCORE, entity_features};
use crate::profile::Exchange;
use crate::proportion::{real, saturation, share, share_at_least};
use meshgate_policy::Rule;
use meshgate_policy::suggestion::Feature;

/// No draft is surer than this: there is always what was not seen.
pub(super) const CONFIDENCE_MAX: f64 = 0.99;
/// Confidence that an allow does not exceed whose attempts were refused or not answered.
pub(crate) const UNANSWERED_CONFIDENCE_MAX: f64 = 0.5;
/// Answered flows at which the flows count half.
const HALF_FLOWS: f64 = 10.0;
/// p-value below which a difference is not told any more: no calibration span is long enough for it.
const P_VALUE_MIN: f64 = 1e-9;

/// Gives the draft its confidence and its over-permissiveness.
pub(super) fn weigh(desk: &Desk<'_>, draft: &mut Draft<'_>) {
    match draft.cause {
        Cause::Steady(_) => {
            draft.confidence = allow_confidence(desk, &draft.past);
            draft.over_permissiveness = over_permissiveness(desk, draft);
        }
        Cause::Anomaly(anomaly) => draft.confidence = deny_confidence(desk, draft, anomaly),
    }
}

/// Returns whether too much of an exchange was refused or not answered, in all or of late, for a sure allow.
pub(crate) fn is_mostly_unanswered(exchange: &Exchange, answered_share_min: f64) -> bool {
    exchange.answered_share() < answered_share_min || exchange.recently_answered_share() < answered_share_min
}

/// Returns the confidence of an allow: what the answered share is at least (Wilson, 95 %), times how far windows and
/// flows have come towards enough. Both count what was answered only, so that refused and unanswered attempts can but
/// lower it.
fn allow_confidence(desk: &Desk<'_>, exchange: &Exchange) -> f64 {
    let settings = desk.input.settings;
    let windows = saturation(exchange.windows_answered, f64::from(settings.steady_windows.max(1)));
    let flows = saturation(exchange.answered, HALF_FLOWS);
    let confidence = share_at_least(exchange.answered, exchange.flows) * windows * flows;
    let is_doubtful = is_mostly_unanswered(exchange, settings.steady_answered_share);
    confidence.min(if is_doubtful { UNANSWERED_CONFIDENCE_MAX } else { CONFIDENCE_MAX })
}

/// Returns the confidence of a deny: e / (1 + e) for a p-value of 10^-e (0.67 at 0.01, 0.75 at 0.001: rare is not yet
/// wrong), times how little the series has an answered past, times the share that the unusual flows are of all that
/// would be refused.
fn deny_confidence(desk: &Desk<'_>, draft: &Draft<'_>, anomaly: &Anomaly) -> f64 {
    let p_value = if anomaly.p_value.is_finite() { anomaly.p_value.clamp(P_VALUE_MIN, 1.0) } else { 1.0 };
    let exponent = -p_value.log10();
    let rarity = exponent / (1.0 + exponent);
    let newness = 1.0 - allow_confidence(desk, &draft.past);
    let unusual = unusual_flows(desk, anomaly);
    let would_be_refused = draft.effect.newly_denied.max(unusual);
    // One more on both sides: an anomaly of bytes may have begun no flow.
    let aim = share(unusual.saturating_add(1), would_be_refused.saturating_add(1));
    (rarity * newness * aim).clamp(0.0, CONFIDENCE_MAX)
}

/// Returns the flows of all unusual windows of the series.
fn unusual_flows(desk: &Desk<'_>, anomaly: &Anomaly) -> u64 {
    let known = desk.input.profile.exchange(&anomaly.key).map_or(0, |exchange| exchange.unusual.flows);
    known.max(anomaly.sums.flows)
}

/// Returns the share of the pairs of addresses permitted by an allow that were not seen. How many pairs were seen is known
/// only from above (each source with each destination, and no more than flows), so there are at least as many unseen.
fn over_permissiveness(desk: &Desk<'_>, draft: &Draft<'_>) -> f64 {
    let permitted = desk.extents.address_pairs(&draft.rule);
    let exchange = &draft.past;
    let seen = (f64::from(exchange.sources) * f64::from(exchange.destinations)).min(real(exchange.flows));
    if permitted > 0.0 { (1.0 - seen / permitted).clamp(0.0, 1.0) } else { 0.0 }
}

/// Returns the share of the tuples that a rule permits which were never seen, where the addresses are known.
pub(super) fn unseen_share(desk: &Desk<'_>, rule: &Rule, grounds: &Grounds) -> f64 {
    let services = u64::try_from(grounds.services.len()).unwrap_or(u64::MAX);
    let permitted = desk.extents.address_pairs(rule) * real(services);
    let seen = real(widths::covered(desk, rule, grounds));
    if permitted > 0.0 { (1.0 - seen / permitted).clamp(0.0, 1.0) } else { 0.0 }
}

impl Draft<'_> {
    /// Returns what is known of the draft in numbers of like size: kept with each answer, for a ranking that learns.
    pub(super) fn features(&self) -> Vec<Feature> {
        let log = |count: u64| real(count).ln_1p();
        let flag = |flag: bool| f64::from(u8::from(flag));
        let past = &self.past;
        let effect = &self.effect;
        let mut features = vec![
            ("confidence", self.confidence),
            ("relevance", effect.relevance()),
            ("is_allow", flag(self.rule.action.is_allow())),
            ("past_flows_ln", log(past.flows)),
            ("past_windows_ln", log(past.windows)),
            ("past_answered_share", past.answered_share()),
            ("recently_answered_share", past.recently_answered_share()),
            ("past_refused_share", share(past.refused, past.flows)),
            ("newly_allowed_share", share(effect.newly_allowed, effect.matched)),
            ("newly_denied_share", share(effect.newly_denied, effect.matched)),
            ("over_permissiveness", self.over_permissiveness),
            ("narrowed_rules_ln", log(u64::try_from(self.narrows.len()).unwrap_or(u64::MAX))),
            ("makes_explicit", flag(self.makes_explicit)),
        ];
        if let Cause::Anomaly(anomaly) = self.cause {
            let exponent = |p_value: f64| -p_value.clamp(P_VALUE_MIN, 1.0).log10();
            features.extend([
                ("p_value_exponent", exponent(anomaly.p_value)),
                ("novelty_p_value_exponent", exponent(anomaly.novelty_p_value)),
                ("count_p_value_exponent", exponent(anomaly.count_p_value)),
                ("is_new_source", flag(anomaly.is_new_source)),
                ("is_new_pair", flag(anomaly.is_new_pair)),
                ("is_new_series", flag(anomaly.is_new_series)),
                ("flows_ln", log(anomaly.sums.flows)),
                ("refused_share", share(anomaly.sums.refused, anomaly.sums.flows)),
                ("answered_share", share(anomaly.sums.answered, anomaly.sums.flows)),
            ]);
        }
        features.push((STATIC_SCORE, self.score()));
        let mut features: Vec<Feature> =
            features.into_iter().map(|(name, value)| Feature { name: name.to_owned(), value }).collect();
        features.extend(entity_features(&self.key));
        features
    }
}
