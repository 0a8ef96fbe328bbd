//! Automatic acceptance, done: each step is decided by `automatic` and written as one transaction, with its audit entry,
//! under the lock of writes. A process that dies between two steps leaves a whole state behind, from which any control
//! goes on; of two that take the same step, the second finds the trail or the stage moved on and lets it be.

use super::made::{as_kept, changes, standing, undoing};
use super::turn::shown_words;
use super::withdrawal::{after, written};
use super::{Event, Keeper, KeeperFault, Kept, audit_detail};
use crate::audit::{Draft, Head};
use crate::automatic::{
    ACTOR, CANDIDATES_MAX, Kind, LIVE_RUNS_MAX, NextStep, Objection, RunFacts, Standing, denies, next_step,
};
use crate::inbox::{Judge, Listing, accepted_form};
use crate::policy_book::Change;
use crate::store::{StoreError, Turn};
use meshgate_policy::automatic::{
    AutomaticKind, AutomaticRun, AutomaticState, Earned, Expected, RunStage, RunStep,
};
use meshgate_policy::suggestion::{Decision, FiledSuggestion, Proposal, State, Verdict};
use meshgate_policy::{Mode, Withdrawal};
use std::collections::HashSet;
use std::sync::Arc;

const NS_PER_S: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * NS_PER_S;

/// A draft that may be accepted, with what that rests on.
struct Candidate {
    filed: FiledSuggestion,
    kind: Kind,
    earned: Earned,
    expected: Expected,
    /// The version by which nothing speaks against it.
    judged_by: Arc<Kept>,
}

impl Keeper {
    /// Takes every step that is due at a time: acceptances that were begun go on, then new ones begin.
    pub async fn act_automatically(self: &Arc<Self>, now_ns: u64) -> Result<(), KeeperFault> {
        let keeper = Arc::clone(self);
        // A task of its own, like every write: whoever waits for it may be stopped.
        let task = tokio::spawn(async move { keeper.act(now_ns).await });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    async fn act(&self, now_ns: u64) -> Result<(), KeeperFault> {
        for run in self.store.live_runs().await? {
            let suggestion = run.suggestion;
            if let Err(error) = self.go_on(run, now_ns).await {
                pass_over(suggestion, &error);
            }
        }
        let kinds = self.store.automatic_kinds().await?;
        for kind in kinds.into_iter().filter(|kind| kind.state == AutomaticState::On) {
            self.begin_due(kind, now_ns).await?;
        }
        Ok(())
    }

    /// Takes the step of an acceptance that is due, if one is.
    async fn go_on(&self, run: AutomaticRun, now_ns: u64) -> Result<(), KeeperFault> {
        let span = (run.since_ns / NS_PER_S, now_ns / NS_PER_S);
        let watched = self.store.watched_flows(run.relationship, span.0, span.1).await?;
        let mut head = self.writing.lock().await;
        let newest = self.newest();
        // What was read before the lock may be over.
        let Some(run) = self.store.run_of(run.suggestion).await?.filter(|now| now.stage == run.stage) else {
            return Ok(());
        };
        let Some(filed) = self.store.suggestion(run.suggestion).await? else { return Ok(()) };
        let own = filed.decision.as_ref().filter(|decision| decision.sequence == run.decision);
        let made = own.and_then(|decision| accepted(decision, run.stage));
        let is_own = made.as_ref().is_some_and(|own| standing(own, &newest).is_ok());
        let kinds = self.store.automatic_kinds().await?;
        let is_on = kinds.iter().any(|kind| kind.kind == run.kind && kind.state == AutomaticState::On);
        let standing = if is_own { Standing::AsWritten } else { Standing::Changed };
        let denies = denies(&filed.suggestion.draft);
        let mut facts = RunFacts { standing, denies, is_on, objection: None, watched, now_ns };
        let mut step = next_step(&run, &facts);
        if matches!(step, Some(NextStep::Enforce(_))) {
            facts.objection = self.objection(&filed, &run, newest).await?;
            step = next_step(&run, &facts);
        }
        let Some(step) = step else { return Ok(()) };
        let expected = match run.stage {
            RunStage::Shadow => Expected {
                shadow_s: span.1.saturating_sub(span.0),
                shadow_changed: watched.changed,
                ..run.expected
            },
            _ => run.expected,
        };
        let going = Going { run: AutomaticRun { expected, ..run }, filed, made, now_ns };
        self.take_step(&mut head, going, step).await
    }

    async fn objection(
        &self,
        filed: &FiledSuggestion,
        run: &AutomaticRun,
        newest: Arc<Kept>,
    ) -> Result<Option<String>, KeeperFault> {
        let trust = self.earned_of(filed.learner.as_str(), run.kind, &run.settings).await?;
        if !trust.is_earned {
            return Ok(Some(format!(
                "of the last {} answers to such suggestions {} were a yes, which does not earn it any more",
                trust.answers, trust.accepted
            )));
        }
        let (suggestion, settings) = (filed.suggestion.clone(), run.settings.clone());
        let own = Some(run.relationship);
        let judged = tokio::task::spawn_blocking(move || {
            let judge = Judge::new(&newest.book);
            Objection::to(&suggestion, &settings, &judge, own).map(|objection| objection.to_string())
        });
        judged.await.map_err(|_| KeeperFault::Stopping)
    }

    async fn take_step(&self, head: &mut Head, going: Going, step: NextStep) -> Result<(), KeeperFault> {
        let newest = self.newest();
        let (stage, event, words, changes) = match (step, &going.made) {
            (NextStep::Enforce(words), Some(made)) => {
                let enforced = changes(&newest, &made.clone().in_mode(Mode::Enforce))?;
                (RunStage::Enforced, Event::AutomaticEnforce, words, Some(enforced))
            }
            (NextStep::Drop(words), Some(made)) => {
                (RunStage::Dropped, Event::AutomaticDrop, words, Some(undoing(&newest, made)?))
            }
            (NextStep::RollBack(words), Some(made)) => {
                (RunStage::RolledBack, Event::AutomaticRollback, words, Some(undoing(&newest, made)?))
            }
            (NextStep::Keep(words), _) => (RunStage::Kept, Event::AutomaticKeep, words, None),
            // Without what control wrote there is nothing of its own to change.
            (
                NextStep::Yield(words)
                | NextStep::Enforce(words)
                | NextStep::Drop(words)
                | NextStep::RollBack(words),
                _,
            ) => (RunStage::TakenOver, Event::AutomaticYield, words, None),
        };
        self.write_step(head, going, Ending { stage, event, words }, changes).await
    }

    /// Writes a step: the version, the withdrawal and the suspension that go with it, the acceptance, the audit entry.
    async fn write_step(
        &self,
        head: &mut Head,
        going: Going,
        ending: Ending,
        changes: Option<Vec<Change>>,
    ) -> Result<(), KeeperFault> {
        let (Going { run, filed, made: _, now_ns }, Ending { stage, event, words }) = (going, ending);
        let id = run.suggestion;
        let kept = match changes {
            None => None,
            Some(changes) => Some(self.prepared(changes, now_ns).await?.0),
        };
        let withdrawal = matches!(stage, RunStage::Dropped | RunStage::RolledBack).then(|| Withdrawal {
            sequence: *self.decided.borrow() + 1,
            suggestion: id,
            decision: run.decision,
            comment: words.clone(),
            actor: ACTOR.to_owned(),
            time_ns: now_ns,
            version: kept.as_ref().map(|kept| kept.book.version()),
        });
        let suspended = match stage {
            RunStage::RolledBack => Some(self.suspended(&run, &words, now_ns).await?),
            _ => None,
        };
        let comment = format!("suggestion {id}, accepted automatically: {stage}: {words}");
        let shown = shown_words(&filed.suggestion);
        let also = if suspended.is_some() { format!("; {} is suspended", run.kind) } else { String::new() };
        let said = format!("suggestion {id} ({shown}): {stage}: {words}{also}");
        let detail = kept.as_ref().map_or_else(|| said.clone(), |kept| audit_detail(kept, &said));
        let audit = Draft { time_ns: now_ns, actor: ACTOR.to_owned(), event, detail };
        let from = run.stage;
        let run = after(run, stage, now_ns, words);
        let turn = Turn {
            version: kept.as_deref().map(|kept| kept.by(ACTOR, &comment)),
            withdrawal: withdrawal.as_ref(),
            run: Some((&run, from)),
            kind: suspended.as_ref(),
            ..Turn::default()
        };
        self.finish(head, turn, audit, kept.clone()).await?;
        tracing::info!(id, %stage, "automatic acceptance");
        Ok(())
    }

    /// Returns the kind of an acceptance that was taken back, suspended.
    async fn suspended(&self, run: &AutomaticRun, words: &str, now_ns: u64) -> Result<Kind, StoreError> {
        let known = self.store.automatic_kinds().await?.into_iter().find(|kind| kind.kind == run.kind);
        let known = known.unwrap_or_else(|| Kind::off(run.kind));
        // What an administrator has switched off stays off.
        let state = match known.state {
            AutomaticState::Off => AutomaticState::Off,
            AutomaticState::On | AutomaticState::Suspended => AutomaticState::Suspended,
        };
        let comment = format!("suggestion {} was taken back: {words}", run.suggestion);
        Ok(Kind { state, since_ns: now_ns, actor: ACTOR.to_owned(), comment, ..known })
    }

    /// Begins as many acceptances of a kind as are due.
    async fn begin_due(&self, kind: Kind, now_ns: u64) -> Result<(), KeeperFault> {
        let settings = &kind.settings;
        let earned_by = self.earned_by(kind.kind, settings).await?;
        if !earned_by.values().any(|earned| earned.is_earned) || self.room(&kind, now_ns).await? == 0 {
            return Ok(());
        }
        let newest = self.newest();
        for filed in self.unopposed(&kind, Arc::clone(&newest), now_ns).await? {
            let id = filed.id;
            // What one learner earned, another does not spend.
            let earned = earned_by.get(filed.learner.as_str()).filter(|earned| earned.is_earned);
            let Some(earned) = earned.copied() else { continue };
            let Some(expected) = self.expected(&filed.suggestion.draft, &newest, now_ns).await? else {
                return Ok(());
            };
            // Less than a shadow period of past says too little of what it would do.
            if expected.replayed_s < u64::from(kind.settings.shadow_hours) * 3_600 {
                return Ok(());
            }
            if Objection::of_replay(&filed.suggestion.draft, settings, &expected).is_some() {
                continue;
            }
            let judged_by = Arc::clone(&newest);
            let candidate = Candidate { filed, kind: kind.clone(), earned, expected, judged_by };
            match self.begin(candidate, now_ns).await {
                // The version is another one by now: the next round judges by it.
                Ok(_) => return Ok(()),
                Err(error) => pass_over(id, &error),
            }
        }
        Ok(())
    }

    /// Returns how many acceptances of a kind may begin.
    async fn room(&self, kind: &Kind, now_ns: u64) -> Result<usize, StoreError> {
        let live = self.store.live_runs().await?.len();
        let today = self.store.runs_begun(kind.kind, now_ns.saturating_sub(DAY_NS)).await?;
        let left = usize::try_from(kind.settings.per_day.saturating_sub(today)).unwrap_or(usize::MAX);
        Ok(LIVE_RUNS_MAX.saturating_sub(live).min(left))
    }

    /// Returns the open suggestions of a kind that nobody has answered and nothing speaks against.
    async fn unopposed(
        &self,
        kind: &Kind,
        newest: Arc<Kept>,
        now_ns: u64,
    ) -> Result<Vec<FiledSuggestion>, KeeperFault> {
        let ids = self.store.never_answered(kind.kind, CANDIDATES_MAX).await?;
        let wanted: HashSet<u64> = ids.into_iter().collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let listing = Listing { state: Some(State::Open), limit: CANDIDATES_MAX };
        let mut open = self.store.suggestions(listing).await?.suggestions;
        open.retain(|FiledSuggestion { id, suggestion, .. }| {
            let is_of_kind = AutomaticKind::of(suggestion) == kind.kind;
            // What is overdue is about to be closed.
            wanted.contains(id) && is_of_kind && !suggestion.is_overdue(now_ns)
        });
        // A list comes without features, and one of them counts.
        let mut whole = Vec::new();
        for filed in open {
            whole.extend(self.store.suggestion(filed.id).await?);
        }
        let mut open = whole;
        let settings = kind.settings.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let judge = Judge::new(&newest.book);
            open.retain(|filed| Objection::to(&filed.suggestion, &settings, &judge, None).is_none());
            open.sort_by(|a, b| {
                b.suggestion.confidence.total_cmp(&a.suggestion.confidence).then(a.id.cmp(&b.id))
            });
            open
        });
        judged.await.map_err(|_| KeeperFault::Stopping)
    }

    /// Accepts a candidate in shadow. Returns false, and does nothing, if what it rests on is over.
    async fn begin(&self, candidate: Candidate, now_ns: u64) -> Result<bool, KeeperFault> {
        let Candidate { filed, kind, earned, expected, judged_by } = candidate;
        let id = filed.id;
        let mut head = self.writing.lock().await;
        let is_newest = Arc::ptr_eq(&self.newest(), &judged_by);
        let is_on = self.store.automatic_kinds().await?.contains(&kind);
        if !is_newest || !is_on || self.room(&kind, now_ns).await? == 0 {
            return Ok(false);
        }
        let filed = self.open_one(id).await?;
        let is_earned = self.earned_of(filed.learner.as_str(), kind.kind, &kind.settings).await?.is_earned;
        if !is_earned || filed.suggestion.is_overdue(now_ns) {
            return Ok(false);
        }
        let (wanted, _) = accepted_form(&filed, None);
        let wanted = wanted.in_mode(Mode::Shadow);
        let (kept, created) = self.prepared(changes(&judged_by, &wanted)?, now_ns).await?;
        let made = as_kept(&kept.book, wanted, created.first().copied());
        // Only what is a rule can be in shadow; an objection says so before.
        let Some(number) = made.rule_id() else { return Ok(false) };
        let verdict = Verdict::Accepted { edited: false, version: kept.book.version(), made };
        let decision = self.decision(id, verdict, (ACTOR, String::new()), now_ns);
        let decision = Decision { automatic: true, ..decision };
        let words = begun_words(&earned, &expected);
        let step = RunStep { stage: RunStage::Shadow, time_ns: now_ns, words: words.clone() };
        let run = AutomaticRun {
            suggestion: id,
            decision: decision.sequence,
            kind: kind.kind,
            relationship: number,
            stage: RunStage::Shadow,
            since_ns: now_ns,
            settings: kind.settings,
            expected,
            steps: vec![step],
        };
        let shown = shown_words(&filed.suggestion);
        let detail = audit_detail(&kept, &format!("suggestion {id} ({shown}): shadow: {words}"));
        let audit = Draft { time_ns: now_ns, actor: ACTOR.to_owned(), event: Event::AutomaticAccept, detail };
        let comment = format!("suggestion {id}, accepted automatically: shadow");
        let version = Some(kept.by(ACTOR, &comment));
        let turn = Turn { version, decision: Some(&decision), new_run: Some(&run), ..Turn::default() };
        self.finish(&mut head, turn, audit, Some(Arc::clone(&kept))).await?;
        tracing::info!(id, relationship = number.0, "accepted automatically, in shadow");
        Ok(true)
    }
}

/// An acceptance that is about to take a step.
struct Going {
    run: AutomaticRun,
    filed: FiledSuggestion,
    /// What it made as control wrote it, if its decision stands.
    made: Option<Proposal>,
    now_ns: u64,
}

/// Where a step leads, and how it stands in the trail.
struct Ending {
    stage: RunStage,
    event: Event,
    words: String,
}

/// Returns what an acceptance made as control wrote it.
fn accepted(decision: &Decision, stage: RunStage) -> Option<Proposal> {
    match &decision.verdict {
        Verdict::Accepted { made, .. } => Some(written(made, Some(stage))),
        Verdict::Rejected(_) | Verdict::Expired => None,
    }
}

fn begun_words(earned: &Earned, expected: &Expected) -> String {
    let Earned { answers, accepted, lower, .. } = earned;
    let Expected { replayed_s, changed, decided, .. } = expected;
    format!(
        "people accepted {accepted} of the last {answers} like it, surely {:.1} %; in the last {} h it would have decided \
         {decided} flows and changed the verdict of {changed}",
        lower * 100.0,
        replayed_s / 3_600
    )
}

/// A step that another control took first, or that cannot be taken now, is looked at again in the next round.
fn pass_over(suggestion: u64, error: &KeeperFault) {
    match error {
        KeeperFault::Store(StoreError::Conflict) => tracing::debug!(suggestion, "another control was first"),
        error => tracing::error!(suggestion, %error, "automatic acceptance not gone on with"),
    }
}
