//! What is permitted and still probably not meant: rules that never decide, rules that contradict each other.

use crate::words::rule_in_words;
use meshgate_policy::{ConflictKind, Extents, Policy, Rule, RuleId};
use std::collections::{HashMap, HashSet};

/// Warnings that are given; more are counted.
const WARNINGS_MAX: usize = 100;
/// Rules up to which every rule is compared with every other one. Comparisons grow with the square: above, only rules
/// that are new or changed are compared with all.
const RULES_COMPARED_MAX: usize = 5_000;
/// Rules that are new or changed and compared with all in a large policy.
const RULES_ASKED_MAX: usize = 200;

/// Returns warnings about `after` in sentences. In a large policy only about rules that `before` does not have.
pub fn warnings(before: &Policy, after: &Policy) -> Vec<String> {
    let extents = after.extents();
    let rules: HashMap<RuleId, &Rule> = after.rules.iter().map(|rule| (rule.id, rule)).collect();
    let mut warning = Warnings { policy: after, rules, sentences: Vec::new() };
    if after.rules.len() <= RULES_COMPARED_MAX {
        for rule in &after.rules {
            warning.shadowed(&extents, rule);
        }
        for pair in extents.conflicts() {
            warning.conflict(pair.first, pair.second, pair.kind);
        }
    } else {
        let old: HashSet<&Rule> = before.rules.iter().collect();
        let touched: Vec<&Rule> = after.rules.iter().filter(|rule| !old.contains(rule)).collect();
        for rule in touched.iter().take(RULES_ASKED_MAX) {
            warning.shadowed(&extents, rule);
            for conflict in extents.conflicts_of(rule) {
                warning.conflict(rule.id, conflict.rule, conflict.kind);
            }
        }
        if touched.len() > RULES_ASKED_MAX {
            let left_out = touched.len() - RULES_ASKED_MAX;
            warning
                .sentences
                .push(format!("{left_out} new or changed rules were not compared with the others"));
        }
    }
    warning.into_sentences()
}

struct Warnings<'a> {
    policy: &'a Policy,
    rules: HashMap<RuleId, &'a Rule>,
    sentences: Vec<String>,
}

impl Warnings<'_> {
    fn shadowed(&mut self, extents: &Extents<'_>, rule: &Rule) {
        let this = self.name(rule.id);
        if extents.is_empty(rule) {
            self.sentences.push(format!("{this} never decides: no packet can match it"));
            return;
        }
        match extents.shadowed_by(rule).as_slice() {
            [] => {}
            [one] => {
                let sentence =
                    format!("{this} never decides: {} decides all its packets before", self.name(*one));
                self.sentences.push(sentence);
            }
            [first, rest @ ..] => {
                let sentence = format!(
                    "{this} never decides: {} and {} more rules decide all its packets before",
                    self.name(*first),
                    rest.len()
                );
                self.sentences.push(sentence);
            }
        }
    }

    fn conflict(&mut self, first: RuleId, second: RuleId, kind: ConflictKind) {
        let (one, other) = (self.name(first), self.name(second));
        self.sentences.push(match kind {
            ConflictKind::Crosses => {
                format!("{one} and {other} overlap with opposite actions: the first decides where both match")
            }
            ConflictKind::Equal => {
                format!("{one} and {other} match the same packets with opposite actions: the second is without effect")
            }
            ConflictKind::Outranks => format!("{one} would decide before {other}, which is protected"),
        });
    }

    fn name(&self, id: RuleId) -> String {
        match self.rules.get(&id) {
            Some(rule) => format!("rule {id} ({})", rule_in_words(self.policy, rule)),
            None => format!("rule {id}"),
        }
    }

    fn into_sentences(self) -> Vec<String> {
        let mut sentences = self.sentences;
        if sentences.len() > WARNINGS_MAX {
            let more = sentences.len() - WARNINGS_MAX;
            sentences.truncate(WARNINGS_MAX);
            sentences.push(format!("{more} more warnings are not listed"));
        }
        sentences
    }
}
