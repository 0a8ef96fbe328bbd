//! What was suggested and what became of it, so that nothing is suggested twice.

use crate::draft_key::DraftKey;
use crate::feedback::Verdict;
use meshgate_policy::suggestion::Reason;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Drafts that are remembered. A person answers a few a day; at some 200 bytes each this is a lifetime in 13 MB.
pub const DRAFTS_MAX: usize = 1 << 16;
/// How long a draft rests that was put off.
pub const LATER_REST_S: u64 = 86_400;
/// Seconds over which drafts are counted that were handed out: a person's day.
const DAY_S: u64 = 86_400;
/// How long an accepted draft is not repeated while the policy that has it is on its way. After that the policy itself
/// says that it has it; where it has not, somebody took it out again.
const ACCEPTED_REST_S: u64 = 600;

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftState {
    /// It waits for an answer.
    Open,
    /// It is not to be suggested again.
    Closed,
    /// It is not to be suggested before this time, seconds since 1970.
    Rests(u64),
}

/// Where a draft stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    state: DraftState,
    /// When it came to stand there, seconds since 1970.
    since_s: u64,
}

/// The drafts that were suggested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftLog {
    entries: BTreeMap<DraftKey, Entry>,
    /// When drafts were handed out within the last day, oldest first. Not kept over a restart: a day may then bring twice
    /// as many.
    opened_s: VecDeque<u64>,
}

/// What a checkpoint keeps of a [`DraftLog`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftLogState(Vec<(DraftKey, Entry)>);

impl DraftLog {
    /// Takes note that a draft waits for an answer. One that has its answer keeps it: answers can be faster than the
    /// word that the draft arrived.
    pub fn open(&mut self, key: DraftKey, now_s: u64) {
        if !self.is_barred(&key, now_s) {
            self.set(key, DraftState::Open, now_s);
            while self.opened_s.front().is_some_and(|opened_s| opened_s.saturating_add(DAY_S) <= now_s)
                || self.opened_s.len() >= DRAFTS_MAX
            {
                self.opened_s.pop_front();
            }
            self.opened_s.push_back(now_s);
        }
    }

    /// Returns how many drafts were handed out within the day before `now_s`.
    pub fn opened_within_a_day(&self, now_s: u64) -> usize {
        self.opened_s.iter().filter(|opened_s| now_s < opened_s.saturating_add(DAY_S)).count()
    }

    /// Takes note of the answer to a draft. A rejected draft does not come back, nor does one that a person wanted
    /// otherwise; one that was put off rests for a day.
    pub fn answer(&mut self, key: DraftKey, verdict: Verdict, reason: Option<Reason>, now_s: u64) {
        let state = match (verdict, reason) {
            (Verdict::Accepted, _) => DraftState::Rests(now_s.saturating_add(ACCEPTED_REST_S)),
            (Verdict::Rejected, Some(Reason::Later)) => DraftState::Rests(now_s.saturating_add(LATER_REST_S)),
            (Verdict::Edited | Verdict::Rejected, _) => DraftState::Closed,
        };
        self.set(key, state, now_s);
    }

    /// Takes note that the answer to a draft was taken back, so that it waits for one again.
    pub fn reopen(&mut self, key: DraftKey, now_s: u64) {
        self.set(key, DraftState::Open, now_s);
    }

    /// Takes note that an open draft reached nobody.
    pub fn withdraw(&mut self, key: &DraftKey) {
        if self.is_open(key) {
            self.entries.remove(key);
        }
    }

    /// Takes note that exactly these drafts are open. Answers stay: they may have come since somebody looked.
    pub fn reconcile(&mut self, open: &BTreeSet<DraftKey>, now_s: u64) {
        self.entries.retain(|key, entry| entry.state != DraftState::Open || open.contains(key));
        open.iter().for_each(|key| self.open(key.clone(), now_s));
    }

    /// Returns what became of a draft, if it was suggested.
    pub fn state(&self, key: &DraftKey) -> Option<DraftState> {
        self.entries.get(key).map(|entry| entry.state)
    }

    /// Returns whether a draft waits for an answer.
    pub fn is_open(&self, key: &DraftKey) -> bool {
        self.state(key) == Some(DraftState::Open)
    }

    /// Returns whether a draft must not be suggested at this time: it, or one that says the same and more ports, is open,
    /// was rejected or rests.
    pub fn is_barred(&self, key: &DraftKey, now_s: u64) -> bool {
        let bars = |state: DraftState| match state {
            DraftState::Open | DraftState::Closed => true,
            DraftState::Rests(until_s) => now_s < until_s,
        };
        // Those between the same groups lie together, as keys are in order of source and destination.
        let from = DraftKey {
            source: key.source.clone(),
            destination: key.destination.clone(),
            service: String::new(),
            action: String::new(),
        };
        let same_groups =
            |other: &DraftKey| other.source == key.source && other.destination == key.destination;
        let mut between = self.entries.range(from..).take_while(|(other, _)| same_groups(other));
        between.any(|(other, entry)| bars(entry.state) && other.covers(key))
    }

    /// Returns how many drafts are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what a checkpoint keeps.
    pub fn checkpoint(&self) -> DraftLogState {
        let mut entries: Vec<_> = self.entries.iter().map(|(key, entry)| (key.clone(), *entry)).collect();
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        DraftLogState(entries)
    }

    /// Returns what a checkpoint kept, within the bounds of this one.
    pub fn restore(state: DraftLogState) -> Self {
        Self { entries: state.0.into_iter().take(DRAFTS_MAX).collect(), opened_s: VecDeque::new() }
    }

    fn set(&mut self, key: DraftKey, state: DraftState, now_s: u64) {
        if self.entries.len() >= DRAFTS_MAX && !self.entries.contains_key(&key) {
            self.forget(now_s);
        }
        self.entries.insert(key, Entry { state, since_s: now_s });
    }

    /// Makes room: drops what has rested, and if that is nothing the oldest eighth. Control refuses a repeat in any case.
    fn forget(&mut self, now_s: u64) {
        let has_rested =
            |entry: &Entry| matches!(entry.state, DraftState::Rests(until_s) if until_s <= now_s);
        self.entries.retain(|_, entry| !has_rested(entry));
        if self.entries.len() < DRAFTS_MAX {
            return;
        }
        let mut ages: Vec<_> = self.entries.iter().map(|(key, entry)| (entry.since_s, key.clone())).collect();
        let part = ages.len() / 8;
        let (_, oldest_kept, _) = ages.select_nth_unstable(part);
        let oldest_kept = oldest_kept.clone();
        self.entries.retain(|key, entry| (entry.since_s, key) >= (oldest_kept.0, &oldest_kept.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> DraftKey {
        DraftKey {
            source: format!("a{number}"),
            destination: "b".into(),
            service: "TCP 80 - -".into(),
            action: "allow".into(),
        }
    }

    #[test]
    fn an_open_and_a_rejected_draft_are_barred_for_good() {
        let mut log = DraftLog::default();
        assert!(!log.is_barred(&key(0), 5));
        log.open(key(0), 5);
        assert!(log.is_barred(&key(0), u64::MAX) && log.is_open(&key(0)));
        log.answer(key(0), Verdict::Rejected, Some(Reason::TooBroad), 6);
        assert!(log.is_barred(&key(0), u64::MAX) && !log.is_open(&key(0)));
    }

    #[test]
    fn a_draft_that_was_put_off_rests_a_day() {
        let mut log = DraftLog::default();
        log.answer(key(0), Verdict::Rejected, Some(Reason::Later), 100);
        assert!(log.is_barred(&key(0), 100 + LATER_REST_S - 1));
        assert!(!log.is_barred(&key(0), 100 + LATER_REST_S));
    }

    #[test]
    fn an_answer_that_is_faster_than_the_word_of_arrival_stands() {
        let mut log = DraftLog::default();
        log.answer(key(0), Verdict::Rejected, Some(Reason::Later), 100);
        log.open(key(0), 101);
        assert_eq!(log.state(&key(0)), Some(DraftState::Rests(100 + LATER_REST_S)));
    }

    #[test]
    fn a_full_log_forgets_the_oldest() {
        let mut log = DraftLog::default();
        (0..=DRAFTS_MAX).for_each(|at| log.open(key(at), u64::try_from(at).unwrap()));
        assert_eq!(log.len(), DRAFTS_MAX - DRAFTS_MAX / 8 + 1);
        assert!(!log.is_open(&key(0)) && log.is_open(&key(DRAFTS_MAX)));
        assert_eq!(DraftLog::restore(log.checkpoint()).checkpoint(), log.checkpoint());
    }

    #[test]
    fn a_draft_of_several_ports_bars_each_of_them_and_no_other() {
        let ports = |ports: &str| DraftKey { service: format!("TCP {ports} - -"), ..key(0) };
        let mut log = DraftLog::default();
        log.open(ports("80,443,8000-8080"), 5);
        for barred in ["80", "443", "8080", "80,443", "8001-8002"] {
            assert!(log.is_barred(&ports(barred), 6), "{barred}");
        }
        for free in ["81", "79-80", "80,444", "0-65535"] {
            assert!(!log.is_barred(&ports(free), 6), "{free}");
        }
        assert!(!log.is_barred(&DraftKey { service: "UDP 80 - -".into(), ..key(0) }, 6));
        assert!(!log.is_barred(&DraftKey { action: "deny".into(), ..ports("80") }, 6));
        assert!(!log.is_barred(&DraftKey { destination: "c".into(), ..ports("80") }, 6));
    }

    #[test]
    fn drafts_are_counted_for_a_day() {
        let mut log = DraftLog::default();
        log.open(key(0), 100);
        log.open(key(1), 100 + DAY_S / 2);
        assert_eq!(log.opened_within_a_day(99 + DAY_S), 2);
        assert_eq!(log.opened_within_a_day(100 + DAY_S), 1);
        assert_eq!(log.opened_within_a_day(100 + 2 * DAY_S), 0);
    }
}
