//! Where a draft would stand among the rules, and whether it may stand there.
//!
//! A draft inside broader rules of the other action is an exception from them and must stand before each of them, those
//! in shadow included: it must hold when they are enforced. It takes the lowest priority that does, so that it goes
//! before as little else as possible. What contradicts other rules in any other way is dropped, not moved: which of two
//! crossing rules is the exception is for a person to say.

use super::DropReason;
use super::desk::Desk;
use super::draft::{Cause, Draft};
use crate::profile::remembered::FlowKind;
use meshgate_policy::{Action, ConflictKind, Effect, Priority, Relation, Rule, RuleId, RuleKind, Side};
use meshgate_policy::{GroupId, IntraGroup, L4Match, limits};

/// Gives the draft its priority and says what it is an exception from, or why the policy has no place for it.
pub(super) fn policy_conflicts<'a>(desk: &Desk<'_>, mut draft: Draft<'a>) -> Result<Draft<'a>, DropReason> {
    if desk.extents.is_empty(&draft.rule) {
        return Err(DropReason::Empty);
    }
    let broader = broader_rules(desk, &draft.rule);
    if is_carried(desk, &draft.rule, &broader) {
        return Err(DropReason::Carried);
    }
    let is_steady = matches!(draft.cause, Cause::Steady(_));
    if is_steady && broader.is_empty() && desk.are_members(draft.cause.key()) {
        return Err(DropReason::Membership);
    }
    let priority = lowest_priority(&draft.rule, &broader)?;
    draft.rule.priority = priority;
    draft.relationship.priority = priority;
    if let Some(conflict) = desk.extents.conflicts_of(&draft.rule).first() {
        return Err(match conflict.kind {
            ConflictKind::Outranks => DropReason::Protected,
            ConflictKind::Crosses | ConflictKind::Equal => DropReason::Conflict,
        });
    }
    if desk.extents.packet_decided_by(&draft.rule).is_none() {
        return Err(DropReason::Shadowed);
    }
    if !decides_its_cause(desk, &draft) {
        return Err(DropReason::Outranked);
    }
    draft.narrows = broader.iter().map(|rule| rule.id).collect();
    draft.makes_explicit = makes_explicit(desk, &draft.rule);
    Ok(draft)
}

/// Returns the rules that would decide nothing any more with the draft: those behind it whose every packet it takes.
/// Rules that it covers only together with others are not found.
pub(super) fn shadows(desk: &Desk<'_>, draft: &Rule) -> Vec<RuleId> {
    let behind = desk.input.policy.rules.iter().filter(|rule| rule.order() > draft.order());
    let loses = |rule: &&Rule| {
        draft.l4.contains(&rule.l4)
            && desk.extents.contains(draft, rule)
            && desk.extents.packet_decided_by(rule).is_some()
    };
    behind.filter(loses).map(|rule| rule.id).collect()
}

/// Returns the rules of the other action that contain the draft, in final order.
fn broader_rules<'p>(desk: &Desk<'p>, draft: &Rule) -> Vec<&'p Rule> {
    let narrowed = desk.extents.narrows(draft);
    desk.input.policy.rules.iter().filter(|rule| narrowed.contains(&rule.id)).collect()
}

/// Returns whether a rule says already what the draft would: an enforced one of the same action that contains it and
/// stands before whatever the draft would be an exception from, or one in shadow that matches the same, which somebody
/// is trying out.
fn is_carried(desk: &Desk<'_>, draft: &Rule, broader: &[&Rule]) -> bool {
    let agrees =
        |rule: &&Rule| rule.action.is_allow() == draft.action.is_allow() && rule.l4.contains(&draft.l4);
    desk.input.policy.rules.iter().filter(agrees).any(|rule| {
        if rule.shadow {
            return desk.extents.relation(rule, draft) == Relation::Equal;
        }
        desk.extents.contains(rule, draft) && broader.iter().all(|other| rule.order() < other.order())
    })
}

/// Returns the lowest priority of drafts at which the rule stands before all of these.
fn lowest_priority(draft: &Rule, broader: &[&Rule]) -> Result<Priority, DropReason> {
    let before = |other: &&Rule| {
        // At equal priority deny goes before allow.
        if draft.action.is_allow() { other.priority.0.saturating_add(1) } else { other.priority.0 }
    };
    let lowest = broader.iter().map(before).fold(limits::DRAFT_PRIORITY_MIN, u16::max);
    if lowest > limits::PROTECTED_ABOVE_PRIORITY { Err(DropReason::Protected) } else { Ok(Priority(lowest)) }
}

/// Returns whether the draft would have decided what led to it, as far as groups tell.
fn decides_its_cause(desk: &Desk<'_>, draft: &Draft<'_>) -> bool {
    let key = draft.cause.key();
    let (is_allowed, rule) = match draft.cause {
        Cause::Steady(pattern) => (pattern.exchange.is_allowed, pattern.exchange.rule),
        Cause::Anomaly(anomaly) => {
            (anomaly.sums.flows == 0 || anomaly.sums.refused < anomaly.sums.flows, anomaly.sums.rule)
        }
    };
    let kind = FlowKind::of(key, is_allowed, rule);
    if desk.fitting_pairs(&draft.rule, &kind).0 == 0 {
        // Of ports that hardly come twice, the one of the cause stands for all.
        return matches!(draft.cause, Cause::Steady(pattern) if pattern.services().is_empty());
    }
    let effect = desk.effect_on(&draft.rule, &kind);
    !matches!(effect, Effect::None | Effect::Outranked)
}

/// Returns whether a deny changes no verdict: everything that it matches and no rule before it decides is refused by the
/// default. Errs towards no.
fn makes_explicit(desk: &Desk<'_>, draft: &Rule) -> bool {
    let policy = desk.input.policy;
    if draft.action.is_allow() || policy.default_action.is_allow() {
        return false;
    }
    let allows_some = |rule: &&Rule| {
        rule.action.is_allow()
            && !rule.shadow
            && rule.order() > draft.order()
            && desk.extents.overlaps(rule, draft)
    };
    // Stage 6 is as if each group had a rule of its own, behind all others.
    let members = |group: GroupId| Rule {
        id: RuleId(0),
        kind: RuleKind::Relationship,
        priority: Priority(0),
        action: Action::Allow,
        shadow: false,
        source: Side::Group(group),
        destination: Side::Group(group),
        l4: L4Match::Any,
    };
    let mut friendly = policy.groups.iter().filter(|group| group.intra_group == IntraGroup::Allow);
    !policy.rules.iter().any(|rule| allows_some(&rule))
        && !friendly.any(|group| desk.extents.overlaps(&members(group.id), draft))
}
