//! The audit trail: who did what, each entry hashed together with the hash before it, so that whoever rewrites the
//! past has to rewrite everything since, and hosts, which have seen the head, tell.

use meshgate_policy::Digest;
use sha2::{Digest as _, Sha256};

/// First bytes of what is hashed; the last one is the version of the encoding.
const MAGIC: &[u8; 15] = b"meshgate audit\x01";
/// Bytes of the longest detail that is kept; a longer one is cut.
pub const DETAIL_BYTES_MAX: usize = 4_096;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new version was committed.
    Commit,
    /// An old version's content became the new version.
    Rollback,
    /// A host refused a version.
    HostNack,
    /// A learner handed in drafts.
    SuggestionSubmit,
    /// A draft became part of the policy as it was.
    SuggestionAccept,
    /// A draft became part of the policy in another form.
    SuggestionEdit,
    /// A draft was refused.
    SuggestionReject,
    /// An answer was taken back.
    SuggestionWithdraw,
    /// What a learner learned began or ceased to take part in its ranking.
    LearnerGate,
    /// Automatic acceptance of a kind was switched on or off.
    AutomaticSwitch,
    /// Control accepted a draft, in shadow.
    AutomaticAccept,
    /// What control had accepted decides from here on.
    AutomaticEnforce,
    /// What control had accepted stays.
    AutomaticKeep,
    /// What control had accepted was taken out of shadow, back to people.
    AutomaticDrop,
    /// What control had accepted and enforced was taken back, and its kind suspended.
    AutomaticRollback,
    /// People changed what control had accepted: it is theirs.
    AutomaticYield,
    /// A draft's time was up.
    SuggestionExpire,
    /// Packets of a host were copied for somebody to look at.
    Capture,
    /// The prices of traffic between zones were replaced.
    CostTable,
}

impl Event {
    /// Returns the event as it is written in the trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::HostNack => "host-nack",
            Self::SuggestionSubmit => "suggestion-submit",
            Self::SuggestionAccept => "suggestion-accept",
            Self::SuggestionEdit => "suggestion-edit",
            Self::SuggestionReject => "suggestion-reject",
            Self::SuggestionWithdraw => "suggestion-withdraw",
            Self::LearnerGate => "learner-gate",
            Self::AutomaticSwitch => "automatic-switch",
            Self::AutomaticAccept => "automatic-accept",
            Self::AutomaticEnforce => "automatic-enforce",
            Self::AutomaticKeep => "automatic-keep",
            Self::AutomaticDrop => "automatic-drop",
            Self::AutomaticRollback => "automatic-rollback",
            Self::AutomaticYield => "automatic-yield",
            Self::SuggestionExpire => "suggestion-expire",
            Self::Capture => "capture",
            Self::CostTable => "cost-table",
        }
    }
}

/// An entry that has not been given its place in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// Who.
    pub actor: String,
    /// What kind of thing.
    pub event: Event,
    /// What, in one line.
    pub detail: String,
}

/// An entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the trail, from 1 without gaps.
    pub sequence: u64,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// Who.
    pub actor: String,
    /// What kind of thing; the words of [`Event`].
    pub event: String,
    /// What, in one line.
    pub detail: String,
    /// SHA-256 over the hash before and this entry.
    pub hash: Digest,
}

/// The last entry of the trail; all zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Head {
    /// Returns the entry that follows this head.
    pub fn next(&self, draft: Draft) -> Entry {
        let Draft { time_ns, actor, event, mut detail } = draft;
        while detail.len() > DETAIL_BYTES_MAX {
            detail.pop();
        }
        let event = event.word().to_owned();
        let mut entry =
            Entry { sequence: self.sequence + 1, time_ns, actor, event, detail, hash: Digest::default() };
        entry.hash = entry.hash_after(self.hash);
        entry
    }

    /// Returns the head after the entry, or none if the entry does not follow this head.
    pub fn follow(&self, entry: &Entry) -> Option<Self> {
        let follows = entry.sequence == self.sequence + 1 && entry.hash == entry.hash_after(self.hash);
        follows.then_some(Self { sequence: entry.sequence, hash: entry.hash })
    }
}

impl Entry {
    fn hash_after(&self, previous: Digest) -> Digest {
        let Self { sequence, time_ns, actor, event, detail, hash: _ } = self;
        let mut hasher = Sha256::new_with_prefix(MAGIC);
        hasher.update(previous.0);
        hasher.update(sequence.to_be_bytes());
        hasher.update(time_ns.to_be_bytes());
        for text in [actor, event, detail] {
            hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Digest(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(detail: &str) -> Draft {
        Draft { time_ns: 1, actor: "root".into(), event: Event::Commit, detail: detail.into() }
    }

    #[test]
    fn a_trail_can_be_followed_from_the_start() {
        let first = Head::default().next(draft("version 1"));
        let head = Head::default().follow(&first).unwrap();
        let second = head.next(draft("version 2"));
        assert_eq!(head.follow(&second).unwrap().sequence, 2);
    }

    #[test]
    fn a_rewritten_or_left_out_entry_breaks_the_trail() {
        let first = Head::default().next(draft("version 1"));
        let head = Head::default().follow(&first).unwrap();
        let second = head.next(draft("version 2"));
        let forged = Entry { detail: "version 3".into(), ..second.clone() };
        assert_eq!(head.follow(&forged), None);
        assert_eq!(Head::default().follow(&second), None);
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let entry = Head::default().next(draft(&"\u{e9}".repeat(DETAIL_BYTES_MAX)));
        assert_eq!(entry.detail.len(), DETAIL_BYTES_MAX);
    }
}
