//! Answers taken back: the suggestion is open again as if it had never been answered, and what an acceptance made leaves
//! the policy in the same transaction.

use super::made::{Departed, made_in_words, standing, undoing};
use super::suggestions::check_comment;
use super::{AnswerFault, Keeper, KeeperFault, Kept, audit_detail, one_line};
use crate::audit::{Draft, Event};
use crate::clock::now_ns;
use crate::draft_key::DraftKey;
use crate::policy_book::Change;
use crate::store::{StoreError, Turn};
use meshgate_policy::automatic::{AutomaticRun, RunStage, RunStep};
use meshgate_policy::suggestion::{Decision, FiledSuggestion, Proposal, Verdict};
use meshgate_policy::{Digest, Mode, Withdrawal};
use std::sync::Arc;

/// What a person says to take an answer back.
#[derive(Clone, Debug)]
pub struct Retraction {
    /// The suggestion.
    pub id: u64,
    /// Whether the policy stays as it is, whatever became of what was accepted.
    pub answer_only: bool,
    /// Who takes it back.
    pub actor: String,
    /// What the person says.
    pub comment: String,
}

/// What became of it.
#[derive(Debug)]
pub struct TakenBack {
    /// The withdrawal.
    pub withdrawal: Withdrawal,
    /// Digest of the version without what was accepted; none where it is as it was: a rejection was taken back, or
    /// the answer only.
    pub digest: Option<Digest>,
}

impl Keeper {
    /// Takes the answer to a suggestion back. On disk when it returns.
    pub async fn withdraw(self: &Arc<Self>, retraction: Retraction) -> Result<TakenBack, KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.take_back(retraction.clone()).await {
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.take_back(retraction).await,
                outcome => outcome,
            }
        });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    async fn take_back(&self, retraction: Retraction) -> Result<TakenBack, KeeperFault> {
        let Retraction { id, answer_only, actor, comment } = retraction;
        check_comment(&comment)?;
        let mut head = self.writing.lock().await;
        let (filed, decision) = self.answered_one(id, answer_only).await?;
        let run = self.store.run_of(id).await?.filter(|run| run.decision == decision.sequence);
        let time_ns = now_ns();
        let changes = match answer_only {
            true => None,
            false => removal(id, &decision, run.as_ref(), &self.newest())?,
        };
        let kept = match changes {
            None => None,
            Some(changes) => {
                Some(self.prepared(changes, time_ns).await.map_err(|fault| not_undone(id, fault))?.0)
            }
        };
        let withdrawal = Withdrawal {
            sequence: *self.decided.borrow() + 1,
            suggestion: id,
            decision: decision.sequence,
            comment: comment.clone(),
            actor: actor.clone(),
            time_ns,
            version: kept.as_ref().map(|kept| kept.book.version()),
        };
        let said = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        let words = format!("suggestion {id} withdrawn{said}");
        let ended = run.filter(|run| run.stage != RunStage::TakenOver).map(|run| {
            let only = if answer_only { ", the answer only" } else { "" };
            let words = format!("by {actor}{only}{said}");
            (run.stage, after(run, RunStage::Withdrawn, time_ns, words))
        });
        let turn = Turn {
            version: kept.as_deref().map(|kept| kept.by(&actor, &words)),
            withdrawal: Some(&withdrawal),
            run: ended.as_ref().map(|(from, run)| (run, *from)),
            ..Turn::default()
        };
        let detail = withdrawn_detail(&filed, &decision, kept.as_deref(), &said);
        let audit = Draft { time_ns, actor: actor.clone(), event: Event::SuggestionWithdraw, detail };
        self.finish(&mut head, turn, audit, kept.clone()).await?;
        tracing::info!(id, actor, "answer withdrawn");
        Ok(TakenBack { withdrawal, digest: kept.map(|kept| kept.digest) })
    }

    /// Returns the suggestion with the answer that stands, if it may be taken back; call it under the lock of writes.
    async fn answered_one(
        &self,
        id: u64,
        answer_only: bool,
    ) -> Result<(FiledSuggestion, Decision), KeeperFault> {
        let filed = self.store.suggestion(id).await?.ok_or(AnswerFault::Unknown(id))?;
        let decision = filed.decision.clone().ok_or(AnswerFault::NotAnswered(id))?;
        if decision.verdict == Verdict::Expired {
            return Err(AnswerFault::Expired(id).into());
        }
        // An answer that was taken back still closes a suggestion whose draft came anew.
        if self.store.withdrawals(id).await?.iter().any(|taken| taken.decision == decision.sequence) {
            return Err(AnswerFault::Withdrawn(id).into());
        }
        if answer_only {
            return Ok((filed, decision));
        }
        // What was put off may have been suggested anew; open twice it would be answered twice.
        let newest = self.store.newest_with_draft(&DraftKey::of(&filed.suggestion.draft)).await?;
        if newest == id { Ok((filed, decision)) } else { Err(AnswerFault::Superseded { id, newest }.into()) }
    }
}

/// Says of a policy that cannot be without what was accepted what to do.
fn not_undone(id: u64, fault: KeeperFault) -> KeeperFault {
    match fault {
        KeeperFault::Book(fault) => AnswerFault::NotUndone(id, fault.to_string()).into(),
        fault => fault,
    }
}

/// Returns the changes that take what an acceptance made out of the policy; none for a rejection.
fn removal(
    id: u64,
    decision: &Decision,
    run: Option<&AutomaticRun>,
    newest: &Kept,
) -> Result<Option<Vec<Change>>, KeeperFault> {
    let Verdict::Accepted { made, .. } = &decision.verdict else { return Ok(None) };
    let made = written(made, run.map(|run| run.stage));
    match standing(&made, newest) {
        Ok(()) => Ok(Some(undoing(newest, &made)?)),
        Err(Departed { what, found: None }) => Err(AnswerFault::Removed { id, what }.into()),
        Err(Departed { what, found: Some(found) }) => Err(AnswerFault::Changed { id, what, found }.into()),
    }
}

/// Returns what was made as control last wrote it: an automatic one was promoted since it was accepted.
pub(super) fn written(made: &Proposal, stage: Option<RunStage>) -> Proposal {
    match stage {
        Some(RunStage::Enforced | RunStage::Kept) => made.clone().in_mode(Mode::Enforce),
        _ => made.clone(),
    }
}

/// Returns an acceptance after a step.
pub(super) fn after(run: AutomaticRun, stage: RunStage, time_ns: u64, words: String) -> AutomaticRun {
    let mut steps = run.steps;
    steps.push(RunStep { stage, time_ns, words });
    AutomaticRun { stage, since_ns: time_ns, steps, ..run }
}

fn withdrawn_detail(filed: &FiledSuggestion, decision: &Decision, kept: Option<&Kept>, said: &str) -> String {
    let shown = super::turn::shown_words(&filed.suggestion);
    let was = match &decision.verdict {
        Verdict::Rejected(reason) => format!("rejected ({reason})"),
        Verdict::Expired => "expired".to_owned(),
        Verdict::Accepted { made, .. } => format!("{} as {}", decision.verdict.state(), made_in_words(made)),
    };
    let id = filed.id;
    let words = format!(
        "suggestion {id} ({shown}): decision {}, {was} by {}{said}",
        decision.sequence, decision.actor
    );
    kept.map_or_else(|| one_line(&words), |kept| audit_detail(kept, &words))
}
