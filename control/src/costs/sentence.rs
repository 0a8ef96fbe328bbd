//! The sentence about one line of advice. It says what was carried and where members of both sides are, and claims
//! nothing beyond that.

use super::{MILLIONTHS, Question, Zone};
use meshgate_policy::GroupId;
use std::collections::BTreeMap;

/// Zones that a sentence names.
const ZONES_NAMED_MAX: usize = 3;
/// Millionths of a hundredth of the currency.
const HUNDREDTH: u64 = MILLIONTHS / 100;

/// What a sentence is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken<'a> {
    /// The carrier in words.
    pub(super) carrier: &'a str,
    /// Where the bytes came from.
    pub(super) from: &'a Zone,
    /// Where they went.
    pub(super) to: &'a Zone,
    /// How many.
    pub(super) bytes: u64,
    /// What they cost.
    pub(super) cost_millionths: Option<u64>,
    /// What the same carrier brought within zones.
    pub(super) bytes_within: u64,
    /// Groups of both sides; none if the rule is gone.
    pub(super) sides: Option<(&'a [GroupId], &'a [GroupId])>,
}

/// Members of a side.
#[derive(Debug, Default)]
struct Members {
    /// How many in each zone that is known.
    zones: BTreeMap<Zone, usize>,
    /// How many in none that is known.
    unknown: usize,
}

/// Returns the sentence.
pub(super) fn sentence(question: Question<'_>, spoken: &Spoken<'_>) -> String {
    let Spoken { carrier, from, to, bytes, cost_millionths, .. } = spoken;
    let route =
        if from == to { format!("within zone {from}") } else { format!("from zone {from} to zone {to}") };
    let days = if question.days == 1 { "1 day".to_owned() } else { format!("{} days", question.days) };
    let currency = question.table.currency();
    let cost = cost_millionths.map_or_else(
        || format!("the table has no price for {from} -> {to}"),
        |cost| format!("{} {currency}", cost_in_words(cost)),
    );
    format!(
        "{carrier} carried {} {route} in {days}: {cost}; {}.",
        bytes_in_words(*bytes),
        advice(question, spoken)
    )
}

fn advice(question: Question<'_>, spoken: &Spoken<'_>) -> String {
    let Spoken { from, to, bytes_within, .. } = *spoken;
    if from == to {
        return "both ends are in this zone already".to_owned();
    }
    if *from == Zone::External || *to == Zone::External {
        return "one end is outside, so only the zone of the other end can be chosen".to_owned();
    }
    let Some((source, destination)) = spoken.sides else {
        return "the rule is gone, so nobody knows which groups it was for".to_owned();
    };
    let sides = [Members::of(question, source), Members::of(question, destination)];
    if let [source, destination] = &sides
        && let common = source.common(destination)
        && !common.is_empty()
    {
        let within = match bytes_within {
            0 => "it carried nothing within a zone".to_owned(),
            bytes => format!("it carried {} within zones", bytes_in_words(bytes)),
        };
        return format!(
            "both sides have members in {}, which could exchange it there; in the same time {within}",
            named(&common)
        );
    }
    if sides.iter().any(|side| side.zones.is_empty()) {
        return "no member of one side has a label zone, so nobody knows whether it could stay within one"
            .to_owned();
    }
    let unknown: usize = sides.iter().map(|side| side.unknown).sum();
    let doubt = match unknown {
        0 => String::new(),
        1 => " (of 1 member the zone is not known)".to_owned(),
        count => format!(" (of {count} members the zone is not known)"),
    };
    "no zone has members of both sides, so it stays within one only if members move".to_owned() + &doubt
}

impl Members {
    fn of(question: Question<'_>, groups: &[GroupId]) -> Self {
        let policy = question.book.policy();
        let found = groups.iter().filter_map(|group| policy.group(*group));
        let mut ids: Vec<_> = found.flat_map(|group| group.endpoints.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut members = Self::default();
        for id in ids {
            match question.zones.endpoint(id) {
                Zone::Unknown => members.unknown += 1,
                zone => *members.zones.entry(zone).or_default() += 1,
            }
        }
        members
    }

    /// Returns the zones with members of both sides, and how many of each.
    fn common<'a>(&'a self, other: &Self) -> Vec<(&'a Zone, usize, usize)> {
        let both =
            |(zone, own): (&'a Zone, &usize)| other.zones.get(zone).map(|others| (zone, *own, *others));
        self.zones.iter().filter_map(both).collect()
    }
}

fn named(zones: &[(&Zone, usize, usize)]) -> String {
    let one = |(zone, own, others): &(&Zone, usize, usize)| format!("{zone} ({own} and {others})");
    let shown: Vec<String> = zones.iter().take(ZONES_NAMED_MAX).map(one).collect();
    let word = if zones.len() == 1 { "zone" } else { "zones" };
    match zones.len().saturating_sub(ZONES_NAMED_MAX) {
        0 => format!("{word} {}", shown.join(", ")),
        more => format!("{word} {} and {more} more", shown.join(", ")),
    }
}

/// Returns bytes in binary units, such as `1.2 TiB`.
pub(super) fn bytes_in_words(bytes: u64) -> String {
    let mut unit_bytes = 1_u64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if bytes / 1_024 < unit_bytes {
            break;
        }
        (unit_bytes, unit) = (unit_bytes * 1_024, larger);
    }
    if unit_bytes == 1 {
        return format!("{bytes} B");
    }
    // Tenths, cut: a sentence never says more than there was.
    let tenths = u128::from(bytes) * 10 / u128::from(unit_bytes);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Returns an amount with two places, such as `24.00`, rounded.
fn cost_in_words(millionths: u64) -> String {
    match millionths {
        0 => "0.00".to_owned(),
        1..HUNDREDTH => "less than 0.01".to_owned(),
        _ => {
            let hundredths = millionths.saturating_add(HUNDREDTH / 2) / HUNDREDTH;
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }
    }
}
