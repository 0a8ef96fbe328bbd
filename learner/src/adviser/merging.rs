//! Several steady services between the same two groups become one draft with all their ports: a person decides about who
//! may talk to whom once, and not port by port.
//!
//! Only drafts that would stand for themselves are merged: each is placed and weighed first, so that what a rule carries
//! already, what was rejected or what contradicts a rule does not come back as part of something larger. A doubtful one
//! stays alone, so that the answers of others do not speak for it. A service that becomes steady later is a draft of its
//! own.

use super::barring::Bars;
use super::desk::Desk;
use super::draft::{Cause, Draft};
use super::{draft_for, is_mostly_unanswered};
use crate::draft_key::DraftKey;
use crate::profile::{PatternPorts, SteadyPattern};
use hashbrown::HashSet;
use meshgate_policy::{Priority, Protocol, ProtocolMatch, RuleId, Side};
use std::collections::BTreeMap;

/// What drafts must have in common to be one.
type Common<'a> = (&'a Side, &'a Side, ProtocolMatch, Priority, &'a [RuleId]);

/// Returns the patterns that stand for several of the drafts each.
pub(super) fn merged_patterns(desk: &Desk<'_>, drafts: &[Draft<'_>]) -> Vec<SteadyPattern> {
    let is_doubtful =
        |draft: &&Draft<'_>| is_mostly_unanswered(&draft.past, desk.input.settings.steady_answered_share);
    let mut alike: BTreeMap<Common<'_>, Vec<&SteadyPattern>> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| !is_doubtful(draft)) {
        let Some(pattern) = single(draft) else { continue };
        let relationship = &draft.relationship;
        let common = (
            &draft.rule.source,
            &draft.rule.destination,
            relationship.protocol,
            relationship.priority,
            draft.narrows.as_slice(),
        );
        alike.entry(common).or_default().push(pattern);
    }
    alike
        .into_values()
        .filter(|patterns| patterns.len() > 1)
        .filter_map(|of| SteadyPattern::merged(&of))
        .collect()
}

/// Puts a draft for each merged pattern in the place of its parts, where the policy has a place for it.
pub(super) fn replace_parts<'a>(
    desk: &Desk<'_>,
    (bars, denied): (&Bars, &HashSet<DraftKey>),
    merged: &'a [SteadyPattern],
    drafts: &mut Vec<Draft<'a>>,
) {
    for pattern in merged {
        let Ok(whole) = draft_for(desk, (bars, denied), Cause::Steady(pattern)) else { continue };
        // Ports that a person did not want together stay apart.
        if desk.input.draft_log.is_barred(&whole.key, desk.input.window_end_s) {
            continue;
        }
        let is_part = |draft: &Draft<'_>| {
            !is_mostly_unanswered(&draft.past, desk.input.settings.steady_answered_share)
                && single(draft).is_some_and(|part| {
                    draft.rule.source == whole.rule.source
                        && draft.rule.destination == whole.rule.destination
                        && part.key.protocol == pattern.key.protocol
                        && whole.relationship.port_range.contains(part.key.service_port)
                })
        };
        drafts.retain(|draft| !is_part(draft));
        drafts.push(whole);
    }
}

/// Returns the pattern of a draft that is for one port.
fn single<'a>(draft: &Draft<'a>) -> Option<&'a SteadyPattern> {
    match draft.cause {
        Cause::Steady(pattern)
            if pattern.ports == PatternPorts::One && Protocol(pattern.key.protocol).has_ports() =>
        {
            Some(pattern)
        }
        Cause::Steady(_) | Cause::Anomaly(_) => None,
    }
}
