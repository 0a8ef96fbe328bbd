//! Counts of the flows of the last days, by who, what for and what decided: what a draft is replayed against.
//!
//! Flows are counted by day, so that a day can be forgotten, and the counts of all days are kept beside them, so that a
//! replay does not add up a week. A flow of a kind for which there is no room is counted all the same, only not by kind.

use crate::series::{PartyId, SeriesKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Kinds of flows that are told apart. At some 40 bytes a kind and day they stay below 25 MB.
pub const KINDS_MAX: usize = 1 << 16;
/// Days that are kept, the current one included.
const DAYS_MAX: usize = 7;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Flows that a draft treats alike. The order puts those of one service together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowKind {
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub service_port: u16,
    /// Who began the flows.
    pub source: PartyId,
    /// Whom they were for.
    pub destination: PartyId,
    /// Segment.
    pub segment: u16,
    /// Whether they passed.
    pub is_allowed: bool,
    /// The rule that decided; 0 = none.
    pub rule: u32,
}

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RememberedFlows {
    /// Oldest first.
    days: VecDeque<Day>,
    totals: BTreeMap<FlowKind, u64>,
    flows: u64,
}

/// What a checkpoint keeps of [`RememberedFlows`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedState(Vec<DayState>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Day {
    start_s: u64,
    counts: BTreeMap<FlowKind, u64>,
    /// Flows of kinds for which there was no room.
    others: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DayState {
    start_s: u64,
    counts: Vec<(FlowKind, u64)>,
    others: u64,
}

impl FlowKind {
    /// Returns the kind of the flows of a series.
    pub fn of(key: &SeriesKey, is_allowed: bool, rule: u32) -> Self {
        let SeriesKey { source, destination, segment, protocol, service_port } = *key;
        Self { protocol, service_port, source, destination, segment, is_allowed, rule }
    }
}

impl RememberedFlows {
    /// Counts flows that were seen at `at_s`. What comes late goes into the newest day.
    pub fn add(&mut self, at_s: u64, kind: FlowKind, flows: u64) {
        self.open_day(at_s);
        let has_room = self.totals.len() < KINDS_MAX || self.totals.contains_key(&kind);
        let Some(day) = self.days.back_mut() else { return };
        // Sums that would overflow stop growing together, so that a day's end takes away what the day brought.
        let flows = flows.min(u64::MAX - self.flows);
        self.flows += flows;
        if has_room {
            *day.counts.entry(kind).or_default() += flows;
            *self.totals.entry(kind).or_default() += flows;
        } else {
            day.others += flows;
        }
    }

    /// Forgets the days that ended a week or more before `now_s`, the day of `now_s` included in the week.
    pub fn expire(&mut self, now_s: u64) {
        let days = u64::try_from(DAYS_MAX).unwrap_or(u64::MAX);
        let is_over = |day: &Day| day.start_s.saturating_add(days * DAY_S) <= now_s;
        while self.days.front().is_some_and(is_over) {
            self.forget_oldest();
        }
    }

    /// Returns how many flows there were, of all kinds.
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// Returns how many kinds are told apart.
    pub fn kinds(&self) -> usize {
        self.totals.len()
    }

    /// Returns the counts of all flows whose kinds are told apart.
    pub fn all(&self) -> impl Iterator<Item = (&FlowKind, u64)> {
        self.totals.iter().map(|(kind, flows)| (kind, *flows))
    }

    /// Returns the counts of the flows of one service.
    pub fn of_service(&self, protocol: u8, service_port: u16) -> impl Iterator<Item = (&FlowKind, u64)> {
        let end = |party: u32, segment, is_allowed, rule| {
            let (source, destination) = (PartyId(party), PartyId(party));
            FlowKind { protocol, service_port, source, destination, segment, is_allowed, rule }
        };
        let range = end(0, 0, false, 0)..=end(u32::MAX, u16::MAX, true, u32::MAX);
        self.totals.range(range).map(|(kind, flows)| (kind, *flows))
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> RememberedState {
        let state = |day: &Day| {
            let mut counts: Vec<_> = day.counts.iter().map(|(kind, flows)| (*kind, *flows)).collect();
            counts.sort_unstable();
            DayState { start_s: day.start_s, counts, others: day.others }
        };
        RememberedState(self.days.iter().map(state).collect())
    }

    /// Returns what a checkpoint kept, within the bounds of this one.
    pub fn restore(state: RememberedState) -> Self {
        let mut remembered = Self::default();
        let first = state.0.len().saturating_sub(DAYS_MAX);
        for DayState { start_s, counts, others } in state.0.into_iter().skip(first) {
            remembered.open_day(start_s);
            counts.into_iter().for_each(|(kind, flows)| remembered.add(start_s, kind, flows));
            if let Some(day) = remembered.days.back_mut() {
                let others = others.min(u64::MAX - remembered.flows);
                day.others += others;
                remembered.flows += others;
            }
        }
        remembered
    }

    /// Sees to it that the newest day is not before that of `at_s`.
    fn open_day(&mut self, at_s: u64) {
        let start_s = at_s - at_s % DAY_S;
        if self.days.back().is_none_or(|day| day.start_s < start_s) {
            self.days.push_back(Day { start_s, ..Day::default() });
        }
        while self.days.len() > DAYS_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(day) = self.days.pop_front() else { return };
        let mut forgotten = day.others;
        for (kind, flows) in day.counts {
            forgotten += flows;
            if let Some(total) = self.totals.get_mut(&kind) {
                *total -= flows;
                if *total == 0 {
                    self.totals.remove(&kind);
                }
            }
        }
        self.flows -= forgotten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn kind(port: u16, source: u32) -> FlowKind {
        FlowKind {
            protocol: 6,
            service_port: port,
            source: PartyId(source),
            destination: PartyId(9),
            segment: 1,
            is_allowed: true,
            rule: 0,
        }
    }

    #[test]
    fn flows_are_found_by_service_and_forgotten_after_a_week() {
        let mut remembered = RememberedFlows::default();
        remembered.add(NOW, kind(80, 1), 3);
        remembered.add(NOW + 2 * DAY_S, kind(80, 1), 4);
        remembered.add(NOW + 2 * DAY_S, kind(22, 1), 1);
        let of_80 = |remembered: &RememberedFlows| -> Vec<u64> {
            remembered.of_service(6, 80).map(|(_, flows)| flows).collect()
        };
        assert_eq!((of_80(&remembered), remembered.flows()), (vec![7], 8));
        remembered.expire(NOW + 7 * DAY_S);
        assert_eq!((of_80(&remembered), remembered.flows()), (vec![4], 5));
        remembered.expire(NOW + 30 * DAY_S);
        assert_eq!((remembered.kinds(), remembered.flows()), (0, 0));
    }

    #[test]
    fn kinds_without_room_are_counted_together() {
        let mut remembered = RememberedFlows::default();
        let max = u32::try_from(KINDS_MAX).unwrap();
        (0..=max).for_each(|source| remembered.add(NOW, kind(80, source), 1));
        assert_eq!((remembered.kinds(), remembered.flows()), (KINDS_MAX, u64::from(max) + 1));
        let again = RememberedFlows::restore(remembered.state());
        assert_eq!(again, remembered);
    }

    #[test]
    fn counts_at_the_end_of_their_range_do_not_overflow() {
        let mut remembered = RememberedFlows::default();
        remembered.add(NOW, kind(80, 1), u64::MAX);
        remembered.add(NOW, kind(80, 2), 7);
        remembered.add(NOW + DAY_S, kind(80, 1), 7);
        remembered.expire(NOW + 60 * DAY_S);
        assert_eq!(remembered.flows(), 0);
    }
}
