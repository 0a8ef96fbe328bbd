//! What differs between two authored policies, one entry an object, in words.

use meshgate_policy::{AuthoredPolicy, RuleId};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It is new.
    Add,
    /// It is gone.
    Remove,
    /// It is another than before.
    Change,
}

/// One object that is not the same in both policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What happened to it.
    pub kind: DifferenceKind,
    /// `segment`, `endpoint`, `group`, `relationship`, `rule` or `default_action`.
    pub object: &'static str,
    /// Its name or number.
    pub name: String,
    /// Its fields, or those that changed: `priority: 1000 -> 2000`.
    pub detail: String,
}

/// Returns what differs: segments, endpoints, groups, relationships, rules, then the default.
pub fn diff(before: &AuthoredPolicy, after: &AuthoredPolicy) -> Vec<Difference> {
    let mut differences = Vec::new();
    let out = &mut differences;
    compare("segment", &before.segments, &after.segments, |s| &s.name, out);
    compare("endpoint", &before.endpoints, &after.endpoints, |e| &e.name, out);
    compare("group", &before.groups, &after.groups, |g| &g.name, out);
    compare("relationship", &before.relationships, &after.relationships, |r| Number(r.id), out);
    compare("rule", &before.rules, &after.rules, |r| Number(r.id), out);
    if before.default_action != after.default_action {
        out.push(Difference {
            kind: DifferenceKind::Change,
            object: "default_action",
            name: String::new(),
            detail: format!("{} -> {}", before.default_action, after.default_action),
        });
    }
    differences
}

/// The number of a rule as the key of a comparison.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Number(Option<RuleId>);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("(new)"),
        }
    }
}

fn compare<'a, T: Serialize + PartialEq, K: Ord + Display>(
    object: &'static str,
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> K,
    out: &mut Vec<Difference>,
) {
    let old: BTreeMap<K, &T> = before.iter().map(|entry| (key(entry), entry)).collect();
    let new: BTreeMap<K, &T> = after.iter().map(|entry| (key(entry), entry)).collect();
    for (name, entry) in &old {
        let (kind, detail) = match new.get(name) {
            None => (DifferenceKind::Remove, in_words(entry)),
            Some(other) if other != entry => (DifferenceKind::Change, field_changes(entry, other)),
            Some(_) => continue,
        };
        out.push(Difference { kind, object, name: name.to_string(), detail });
    }
    for (name, entry) in new.iter().filter(|(name, _)| !old.contains_key(name)) {
        let (kind, detail) = (DifferenceKind::Add, in_words(entry));
        out.push(Difference { kind, object, name: name.to_string(), detail });
    }
}

/// Fields that the name of an object says already.
const NAMED_FIELDS: [&str; 2] = ["name", "id"];

fn in_words<T: Serialize>(entry: &T) -> String {
    let fields = fields(entry);
    let words = fields.iter().filter(|(name, _)| !NAMED_FIELDS.contains(&name.as_str()));
    words.map(|(name, value)| format!("{name}: {}", text(Some(value)))).collect::<Vec<_>>().join("; ")
}

fn field_changes<T: Serialize>(before: &T, after: &T) -> String {
    let (old, new) = (fields(before), fields(after));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let words = |name: &String| format!("{name}: {} -> {}", text(old.get(name)), text(new.get(name)));
    changed.map(words).collect::<Vec<_>>().join("; ")
}

fn fields<T: Serialize>(entry: &T) -> BTreeMap<String, Value> {
    match serde_json::to_value(entry) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// Returns a value as people write it; a field that is left out has its default.
fn text(value: Option<&Value>) -> String {
    match value {
        None => "(default)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(entries)) => {
            format!("[{}]", entries.iter().map(|entry| text(Some(entry))).collect::<Vec<_>>().join(", "))
        }
        Some(Value::Object(fields)) => {
            let words = fields.iter().map(|(name, value)| format!("{name}={}", text(Some(value))));
            format!("{{{}}}", words.collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.to_string(),
    }
}
