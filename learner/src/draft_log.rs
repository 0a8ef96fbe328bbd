//! What was suggested and what became of it, so that nothing is suggested twice.

use crate::draft_key::DraftKey;
use crate::feedback::Verdict;
use meshgate_policy::suggestion::{Proposal, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Drafts that are remembered. A person answers a few a day; at some 200 bytes each this is a lifetime in 13 MB.
pub const DRAFTS_MAX: usize = 1 << 16;
/// How long a draft rests that was put off.
pub const LATER_REST_S: u64 = 86_400;
/// Seconds over which drafts are counted that were handed out: a person's day.
const DAY_S: u64 = 86_400;
/// Seconds after which a draft that was handed out has arrived, or reached nobody.
const ON_ITS_WAY_S: u64 = 60;
/// Edited forms that are remembered: the newest of a service counts.
const PREFERRED_MAX: usize = 256;
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
    /// It covered more than it should: neither it nor a wider one is to be suggested again, a narrower one may be.
    TooBroad,
}

/// How a draft that was suggested stands in the way of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What led to it has its draft.
    Settled,
    /// What led to it may have a narrower one.
    TooBroad,
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
    /// When drafts were handed out within the last day, oldest first.
    opened_s: VecDeque<u64>,
    /// What people made of drafts, newest last.
    preferred: VecDeque<DraftKey>,
}

/// What a checkpoint keeps of a [`DraftLog`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftLogState {
    entries: Vec<(DraftKey, Entry)>,
    opened_s: Vec<u64>,
    preferred: Vec<DraftKey>,
}

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
    /// otherwise; one that was put off rests for a day, and one that was too broad leaves room for narrower ones.
    pub fn answer(&mut self, key: DraftKey, verdict: Verdict, reason: Option<Reason>, now_s: u64) {
        let state = match (verdict, reason) {
            (Verdict::Accepted, _) => DraftState::Rests(now_s.saturating_add(ACCEPTED_REST_S)),
            (Verdict::Rejected, Some(Reason::Later)) => DraftState::Rests(now_s.saturating_add(LATER_REST_S)),
            (Verdict::Rejected, Some(Reason::TooBroad)) => DraftState::TooBroad,
            (Verdict::Edited | Verdict::Rejected, _) => DraftState::Closed,
        };
        self.set(key, state, now_s);
    }

    /// Takes note that the answer to a draft was taken back, so that it waits for one again.
    pub fn reopen(&mut self, key: DraftKey, now_s: u64) {
        self.set(key, DraftState::Open, now_s);
    }

    /// Takes note of what a person made of a draft: the form to choose for the like.
    pub fn prefer(&mut self, made: &Proposal) {
        let key = DraftKey::of(made);
        self.preferred.retain(|known| *known != key);
        if self.preferred.len() >= PREFERRED_MAX {
            self.preferred.pop_front();
        }
        self.preferred.push_back(key);
    }

    /// Takes note that these, in their order, are the forms that people chose themselves: one was taken back.
    pub fn restore_preferred<'a>(&mut self, made: impl Iterator<Item = &'a Proposal>) {
        self.preferred.clear();
        made.for_each(|made| self.prefer(made));
    }

    /// Returns what people made of drafts, newest first.
    pub fn preferred(&self) -> impl Iterator<Item = &DraftKey> {
        self.preferred.iter().rev()
    }

    /// Takes note that an open draft reached nobody.
    pub fn withdraw(&mut self, key: &DraftKey) {
        if self.is_open(key) {
            self.entries.remove(key);
        }
    }

    /// Takes note that exactly these drafts are open, and those that are on their way. Answers stay: they may have come since
    /// somebody looked. What is open no more and has no answer has expired, and may be suggested again.
    pub fn reconcile(&mut self, open: &BTreeSet<DraftKey>, now_s: u64) {
        let is_on_its_way = |entry: &Entry| now_s < entry.since_s.saturating_add(ON_ITS_WAY_S);
        self.entries.retain(|key, entry| {
            entry.state != DraftState::Open || open.contains(key) || is_on_its_way(entry)
        });
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
    /// was rejected or rests; or one that says the same, maybe for fewer ports, was too broad.
    pub fn is_barred(&self, key: &DraftKey, now_s: u64) -> bool {
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
        between.any(|(other, entry)| match entry.state.standing(now_s) {
            Some(Standing::Settled) => other.covers(key),
            Some(Standing::TooBroad) => key.covers(other),
            None => false,
        })
    }

    /// Returns the drafts that stand in the way at this time.
    pub fn standing(&self, now_s: u64) -> impl Iterator<Item = (&DraftKey, Standing)> {
        self.entries.iter().filter_map(move |(key, entry)| Some((key, entry.state.standing(now_s)?)))
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
        DraftLogState {
            entries,
            opened_s: self.opened_s.iter().copied().collect(),
            preferred: self.preferred.iter().cloned().collect(),
        }
    }

    /// Returns what a checkpoint kept, within the bounds of this one.
    pub fn restore(state: DraftLogState) -> Self {
        let DraftLogState { entries, opened_s, preferred } = state;
        Self {
            entries: entries.into_iter().take(DRAFTS_MAX).collect(),
            opened_s: opened_s.into_iter().take(DRAFTS_MAX).collect(),
            preferred: preferred.into_iter().take(PREFERRED_MAX).collect(),
        }
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

impl DraftState {
    /// Returns how a draft in this state stands in the way of others.
    fn standing(self, now_s: u64) -> Option<Standing> {
        match self {
            Self::Open | Self::Closed => Some(Standing::Settled),
            Self::Rests(until_s) => (now_s < until_s).then_some(Standing::Settled),
            Self::TooBroad => Some(Standing::TooBroad),
        }
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
        let again = DraftLog::restore(log.checkpoint());
        assert_eq!(again.opened_within_a_day(99 + DAY_S), 2, "a restart brings no second day");
    }

    #[test]
    fn a_draft_that_was_too_broad_bars_itself_and_more_ports_and_no_single_one() {
        let ports = |ports: &str| DraftKey { service: format!("TCP {ports} - -"), ..key(0) };
        let mut log = DraftLog::default();
        log.open(ports("80,443"), 5);
        log.answer(ports("80,443"), Verdict::Rejected, Some(Reason::TooBroad), 6);
        assert!(log.is_barred(&ports("80,443"), 7) && log.is_barred(&ports("80,443,8080"), 7));
        assert!(!log.is_barred(&ports("80"), 7) && !log.is_barred(&ports("443"), 7));
        let standing: Vec<Standing> = log.standing(7).map(|(_, standing)| standing).collect();
        assert_eq!(standing, [Standing::TooBroad]);
    }

    #[test]
    fn what_control_has_closed_without_an_answer_may_come_again() {
        let mut log = DraftLog::default();
        (0..3).for_each(|number| log.open(key(number), 100));
        log.answer(key(1), Verdict::Rejected, Some(Reason::WrongRule), 101);
        log.reconcile(&BTreeSet::from([key(0)]), 100 + ON_ITS_WAY_S - 1);
        assert!(log.is_open(&key(2)), "it is on its way");
        log.reconcile(&BTreeSet::from([key(0)]), 100 + ON_ITS_WAY_S);
        assert!(log.is_open(&key(0)) && !log.is_barred(&key(2), 200) && log.is_barred(&key(1), 200));
    }

    #[test]
    fn the_newest_edited_forms_are_remembered() {
        let made = |port: usize| -> Proposal {
            let text = format!(
                r#"{{"kind":"relationship","source_group_name":"a","destination_group_name":"b","protocol":"TCP",
                "port_range":"{port}","action":"allow"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let mut log = DraftLog::default();
        (0..=PREFERRED_MAX).for_each(|port| log.prefer(&made(port)));
        log.prefer(&made(7));
        let newest = log.preferred().next().unwrap();
        assert_eq!((newest, log.preferred().count()), (&DraftKey::of(&made(7)), PREFERRED_MAX));
        assert_eq!(DraftLog::restore(log.checkpoint()), log);
    }
}
