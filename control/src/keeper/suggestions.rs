//! The keeper's part in suggestions: they are taken in, looked at and decided under the same lock as every other write,
//! so that a draft is judged by the version it would join.

use super::acceptance::{next_state, wanted};
use super::turn::shown_words;
use super::{COMMENT_BYTES_MAX, Keeper, KeeperFault, Kept, audit_detail, one_line};
use crate::audit::{Draft, Event};
use crate::clock::{now_ns, utc};
use crate::draft_key::DraftKey;
use crate::inbox::{Inbox, Judge, Listing, Obstacle, Refusal, Submitter, drafted_rule};
use crate::replay::{Matchable, REPLAYED_S, Replay};
use crate::store::{StoreError, SuggestionPage, Turn};
use meshgate_policy::automatic::AutomaticRun;
use meshgate_policy::suggestion::{Decision, FiledSuggestion, Proposal, Reason, State, Suggestion, Verdict};
use meshgate_policy::{Digest, EffectCounts, Name, PolicyVersion, Rule, Side, Withdrawal};
use std::sync::Arc;
use tokio::sync::watch;

/// Why a suggestion is not decided.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnswerFault {
    /// A number that no suggestion has.
    #[error("id: there is no suggestion {0}")]
    Unknown(u64),
    /// It was decided before.
    #[error("suggestion {id}: was {state} by {actor} at {time} already")]
    Decided {
        /// The suggestion.
        id: u64,
        /// What was decided.
        state: State,
        /// By whom.
        actor: String,
        /// When.
        time: String,
    },
    /// The draft would be refused or without effect; a person who wants it all the same says so by an edited form.
    #[error("suggestion {0}: {1}; accept an edited form of it, or reject it")]
    Obstacle(u64, Obstacle),
    /// It is open: there is nothing to take back.
    #[error("suggestion {0}: is open, there is no answer to withdraw")]
    NotAnswered(u64),
    /// It was taken back before.
    #[error("suggestion {0}: its answer was withdrawn already")]
    Withdrawn(u64),
    /// The same draft was suggested anew.
    #[error(
        "suggestion {id}: its draft was suggested anew as suggestion {newest}; answer that one, or {ANSWER_ONLY}"
    )]
    Superseded {
        /// The suggestion.
        id: u64,
        /// The newer one.
        newest: u64,
    },
    /// Its time was up; nobody said anything.
    #[error("suggestion {0}: expired, that is no answer to withdraw; what still holds is suggested anew")]
    Expired(u64),
    /// What an acceptance wrote is not in the policy any more.
    #[error(
        "suggestion {id}: {what}, which it made, was removed since: nothing is left to take out; {ANSWER_ONLY}"
    )]
    Removed {
        /// The suggestion.
        id: u64,
        /// What it made.
        what: String,
    },
    /// What an acceptance wrote is another one by now.
    #[error(
        "suggestion {id}: {what}, which it made, was changed since and is {found}; set it back and withdraw again, or \
         {ANSWER_ONLY}"
    )]
    Changed {
        /// The suggestion.
        id: u64,
        /// What it made.
        what: String,
        /// What it is now.
        found: String,
    },
    /// The policy refuses to be without what an acceptance wrote; holds the suggestion and why.
    #[error("suggestion {0}: {1}; {ANSWER_ONLY}")]
    NotUndone(u64, String),
    /// An edited form that brings a number along: it would replace that relationship.
    #[error("edited.id: {0} where none is possible: an accepted draft is a new rule")]
    Numbered(u32),
    /// An alternative that there is not; holds the suggestion, the number, and how many there are.
    #[error("alternative: suggestion {0} has {2} alternatives, there is no number {1}")]
    Alternative(u64, u32, usize),
    /// An alternative beside an edited form: one of the two is not what the person wants.
    #[error("alternative: {0} beside an edited form; only one of them can be accepted")]
    Both(u32),
}

/// What to do where an answer cannot be taken back together with what it made.
const ANSWER_ONLY: &str = "withdraw the answer only (`--answer-only`), and the policy stays as it is";

/// What a person says to accept a suggestion.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The suggestion.
    pub id: u64,
    /// The draft as the person wants it; none accepts it as it is.
    pub edited: Option<Proposal>,
    /// Number of the alternative that is accepted in place of the draft, from 1; 0 = the draft.
    pub alternative: u32,
    /// The version the person looked at; none skips the check.
    pub expected_version: Option<PolicyVersion>,
    /// Who decides.
    pub actor: String,
    /// What the person says.
    pub comment: String,
}

/// What a person says to reject a suggestion.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The suggestion.
    pub id: u64,
    /// Why.
    pub reason: Reason,
    /// Who decides.
    pub actor: String,
    /// What the person says.
    pub comment: String,
}

/// What became of an acceptance.
#[derive(Debug)]
pub struct Accepted {
    /// The decision.
    pub decision: Decision,
    /// When the version was committed, nanoseconds since 1970.
    pub committed_ns: u64,
    /// Its digest.
    pub digest: Digest,
}

/// A suggestion as a person looks at it.
#[derive(Debug)]
pub struct Look {
    /// The suggestion.
    pub filed: FiledSuggestion,
    /// What speaks against accepting it as it is.
    pub obstacle: Option<Obstacle>,
    /// The draft replayed against the roll-ups; none for one that was accepted, is no rule between groups, or names groups
    /// that are gone.
    pub effect: Option<EffectCounts>,
    /// The version that obstacle and effect speak of.
    pub version: PolicyVersion,
    /// Answers to it that were taken back, oldest first.
    pub withdrawals: Vec<Withdrawal>,
    /// Its automatic acceptance, if there was one.
    pub run: Option<AutomaticRun>,
    /// Why control does not accept it by itself, where its kind is switched on.
    pub left_to_people: Option<String>,
}

impl Keeper {
    /// Returns what wakes when there is a newer decision; holds its sequence.
    pub fn decisions(&self) -> watch::Receiver<u64> {
        self.decided.subscribe()
    }

    /// Takes drafts in: each gets a number or is refused. On disk when it returns.
    pub async fn submit(
        self: &Arc<Self>,
        learner: Name,
        suggestions: Vec<Suggestion>,
    ) -> Result<Vec<Result<u64, Refusal>>, KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.take_in(&learner, suggestions.clone()).await {
                // Another control was first; what it wrote is known by now.
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.take_in(&learner, suggestions).await,
                outcome => outcome,
            }
        });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Makes the draft, an alternative, or the edited form of it part of the next version. On disk when it returns.
    pub async fn accept(self: &Arc<Self>, acceptance: Acceptance) -> Result<Accepted, KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.make(acceptance.clone()).await {
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.make(acceptance).await,
                outcome => outcome,
            }
        });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Closes a suggestion without effect on the policy. On disk when it returns.
    pub async fn reject(self: &Arc<Self>, rejection: Rejection) -> Result<Decision, KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.close(rejection.clone()).await {
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.close(rejection).await,
                outcome => outcome,
            }
        });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Lists suggestions, each with what speaks against accepting it.
    pub async fn list(
        &self,
        listing: Listing,
    ) -> Result<(SuggestionPage, Vec<Option<Obstacle>>), KeeperFault> {
        let page = self.store.suggestions(listing).await?;
        let newest = self.newest();
        let judged = tokio::task::spawn_blocking(move || {
            let judge = Judge::new(&newest.book);
            let obstacle = |filed: &FiledSuggestion| match filed.state() {
                State::Open => judge.obstacle(&filed.suggestion.draft),
                State::Accepted | State::Edited | State::Rejected | State::Expired => None,
            };
            let obstacles = page.suggestions.iter().map(obstacle).collect();
            (page, obstacles)
        });
        judged.await.map_err(|_| KeeperFault::Stopping)
    }

    /// Returns a suggestion with what speaks against it and what it would have done to the flows of the last days.
    pub async fn look(&self, id: u64, now_ns: u64) -> Result<Look, KeeperFault> {
        let filed = self.store.suggestion(id).await?.ok_or(AnswerFault::Unknown(id))?;
        let newest = self.newest();
        let (draft, state) = (filed.suggestion.draft.clone(), filed.state());
        let judged = Arc::clone(&newest);
        let judged = tokio::task::spawn_blocking(move || {
            let obstacle = match state {
                State::Open => Judge::new(&judged.book).obstacle(&draft),
                State::Accepted | State::Edited | State::Rejected | State::Expired => None,
            };
            (obstacle, drafted_rule(&judged.book, &draft).ok().flatten())
        });
        let (obstacle, rule) = judged.await.map_err(|_| KeeperFault::Stopping)?;
        // Roll-ups have no addresses, so what a rule for addresses would have done cannot be told from them.
        let speaks_of_groups = |rule: &Rule| {
            ![&rule.source, &rule.destination].into_iter().any(|side| matches!(side, Side::Prefixes(_)))
        };
        let is_made = matches!(state, State::Accepted | State::Edited);
        let would = rule.filter(|rule| !is_made && speaks_of_groups(rule));
        let effect = match would {
            None => None,
            Some(rule) => {
                let from_s = (now_ns / 1_000_000_000).saturating_sub(REPLAYED_S);
                let replay = Replay::new(newest.book.policy(), &rule);
                Some(self.store.replay(from_s, Matchable::by(&rule), replay).await?)
            }
        };
        let (withdrawals, run) = (self.store.withdrawals(id).await?, self.store.run_of(id).await?);
        let left_to_people = self.left_to_people(&filed, Arc::clone(&newest)).await?;
        let version = newest.book.version();
        Ok(Look { filed, obstacle, effect, version, withdrawals, run, left_to_people })
    }

    async fn take_in(
        &self,
        learner: &Name,
        suggestions: Vec<Suggestion>,
    ) -> Result<Vec<Result<u64, Refusal>>, KeeperFault> {
        let mut head = self.writing.lock().await;
        // What is overdue must not keep the same from being suggested again.
        self.expire_at(&mut head, now_ns()).await?;
        let keys: Vec<DraftKey> = suggestions.iter().map(|one| DraftKey::of(&one.draft)).collect();
        let inbox = self.store.inbox(&keys).await?;
        let newest = self.newest();
        let submitter = Submitter { learner: learner.clone(), now_ns: now_ns() };
        let time_ns = submitter.now_ns;
        let judged = tokio::task::spawn_blocking(move || judge(&newest, inbox, &submitter, suggestions));
        let judged = judged.await.map_err(|_| KeeperFault::Stopping)?;
        let answers = judged.iter().map(|one| one.as_ref().map(|s| s.id).map_err(Clone::clone)).collect();
        let taken: Vec<FiledSuggestion> = judged.into_iter().filter_map(Result::ok).collect();
        if taken.is_empty() {
            return Ok(answers);
        }
        let ids = taken.iter().map(|suggestion| suggestion.id.to_string()).collect::<Vec<_>>().join(", ");
        let audit = Draft {
            time_ns,
            actor: format!("learner {learner}"),
            event: Event::SuggestionSubmit,
            detail: format!("suggestions {ids}"),
        };
        match self.store.take_in(&taken, *head, audit).await {
            Ok(next) => *head = next,
            Err(error) => {
                tracing::error!(%error, "suggestions refused");
                self.reload(&mut head).await;
                return Err(error.into());
            }
        }
        tracing::info!(%learner, ids, "suggestions taken in");
        Ok(answers)
    }

    async fn make(&self, acceptance: Acceptance) -> Result<Accepted, KeeperFault> {
        check_comment(&acceptance.comment)?;
        if let Some(id) = acceptance.edited.as_ref().and_then(Proposal::rule_id) {
            return Err(AnswerFault::Numbered(id.0).into());
        }
        let mut head = self.writing.lock().await;
        let filed = self.open_one(acceptance.id).await?;
        let shown = shown_words(&filed.suggestion);
        let newest = self.newest();
        let Acceptance { id, actor, comment, .. } = acceptance.clone();
        let trial = self.trial.clone();
        let work = tokio::task::spawn_blocking(move || {
            let (wanted, edited) = wanted(&newest, &filed, &acceptance)?;
            let (next, made) = next_state(&newest, wanted, acceptance.expected_version)?;
            trial.compile(&next)?;
            let digest = next.book.digest();
            Ok::<_, KeeperFault>((next, digest, edited, made))
        });
        let (next, digest, edited, made) = work.await.map_err(|_| KeeperFault::Stopping)??;
        let kept = Arc::new(Kept { book: next.book, digest, committed_ns: now_ns() });
        let (version, committed_ns) = (kept.book.version(), kept.committed_ns);
        let verdict = Verdict::Accepted { edited, version, made };
        let said = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        let words = format!("suggestion {id}{said}");
        let decision = self.decision(id, verdict, (&actor, comment), committed_ns);
        let event = if edited { Event::SuggestionEdit } else { Event::SuggestionAccept };
        let detail = audit_detail(&kept, &format!("suggestion {id} ({shown}){said}"));
        let audit = Draft { time_ns: committed_ns, actor: actor.clone(), event, detail };
        let version_row = Some(kept.by(&actor, &words));
        let turn = Turn { version: version_row, decision: Some(&decision), ..Turn::default() };
        self.finish(&mut head, turn, audit, Some(Arc::clone(&kept))).await?;
        tracing::info!(id, version = version.0, digest = %digest.short(), actor, "suggestion accepted");
        Ok(Accepted { decision, committed_ns, digest })
    }

    async fn close(&self, rejection: Rejection) -> Result<Decision, KeeperFault> {
        let Rejection { id, reason, actor, comment } = rejection;
        check_comment(&comment)?;
        let mut head = self.writing.lock().await;
        let shown = shown_words(&self.open_one(id).await?.suggestion);
        let time_ns = now_ns();
        let said = if comment.is_empty() { String::new() } else { format!(": {}", one_line(&comment)) };
        let detail = format!("suggestion {id} ({shown}): {reason}{said}");
        let audit = Draft { time_ns, actor: actor.clone(), event: Event::SuggestionReject, detail };
        let decision = self.decision(id, Verdict::Rejected(reason), (&actor, comment), time_ns);
        let turn = Turn { decision: Some(&decision), ..Turn::default() };
        self.finish(&mut head, turn, audit, None).await?;
        tracing::info!(id, %reason, actor, "suggestion rejected");
        Ok(decision)
    }

    /// Returns the suggestion if it is open; call it under the lock of writes.
    pub(super) async fn open_one(&self, id: u64) -> Result<FiledSuggestion, KeeperFault> {
        let filed = self.store.suggestion(id).await?.ok_or(AnswerFault::Unknown(id))?;
        if let Some(Decision { verdict, actor, time_ns, .. }) = &filed.decision {
            let (state, time) = (verdict.state(), utc(*time_ns));
            return Err(AnswerFault::Decided { id, state, actor: actor.clone(), time }.into());
        }
        Ok(filed)
    }

    /// Returns a decision with its place in the sequence; call it under the lock of writes.
    pub(super) fn decision(&self, id: u64, verdict: Verdict, said: (&str, String), time_ns: u64) -> Decision {
        let (actor, comment) = said;
        let sequence = *self.decided.borrow() + 1;
        let (actor, automatic) = (actor.to_owned(), false);
        Decision { sequence, suggestion: id, verdict, comment, actor, time_ns, automatic }
    }
}

pub(super) fn check_comment(comment: &str) -> Result<(), KeeperFault> {
    if comment.len() > COMMENT_BYTES_MAX { Err(KeeperFault::Comment(comment.len())) } else { Ok(()) }
}

fn judge(
    newest: &Kept,
    mut inbox: Inbox,
    submitter: &Submitter,
    suggestions: Vec<Suggestion>,
) -> Vec<Result<FiledSuggestion, Refusal>> {
    let judge = Judge::new(&newest.book);
    suggestions.into_iter().map(|suggestion| inbox.take(&judge, submitter, suggestion)).collect()
}

#[cfg(test)]
mod tests;
