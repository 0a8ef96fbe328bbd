//! Automatic acceptance switched on and off, and how it stands.

use super::suggestions::check_comment;
use super::{Keeper, KeeperFault, Kept, one_line};
use crate::audit::{Draft, Event};
use crate::automatic::{CANDIDATES_MAX, Kind, Objection, earned};
use crate::clock::now_ns;
use crate::inbox::Judge;
use crate::store::{StoreError, Turn};
use meshgate_policy::automatic::{AutomaticKind, AutomaticLine, AutomaticSettings, AutomaticState};
use meshgate_policy::suggestion::{FiledSuggestion, State};
use std::sync::Arc;

const DAY_NS: u64 = 86_400_000_000_000;

/// What an administrator says of a kind.
#[derive(Clone, Debug)]
pub struct Switching {
    /// The kind.
    pub kind: AutomaticKind,
    /// Whether it is switched on.
    pub is_on: bool,
    /// What is asked from here on; none asks what was asked before.
    pub settings: Option<AutomaticSettings>,
    /// Who switches.
    pub actor: String,
    /// Why.
    pub comment: String,
}

impl Keeper {
    /// Switches a kind on, with new settings, or off. On disk when it returns.
    pub async fn switch_automatic(
        self: &Arc<Self>,
        switching: Switching,
    ) -> Result<AutomaticLine, KeeperFault> {
        let kind = switching.kind;
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.switch(switching.clone()).await {
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.switch(switching).await,
                outcome => outcome,
            }
        });
        let kept = task.await.map_err(|_| KeeperFault::Stopping)??;
        debug_assert_eq!(kept.kind, kind, "a switch is of the kind that was asked for");
        self.automatic_line(kept, now_ns()).await
    }

    /// Says of every kind how it stands.
    pub async fn automatic_lines(&self, now_ns: u64) -> Result<Vec<AutomaticLine>, KeeperFault> {
        let known = self.store.automatic_kinds().await?;
        let mut lines = Vec::new();
        for kind in AutomaticKind::ALL {
            let kept = known.iter().find(|known| known.kind == kind).cloned();
            lines.push(self.automatic_line(kept.unwrap_or_else(|| Kind::off(kind)), now_ns).await?);
        }
        Ok(lines)
    }

    /// Returns why control does not accept an open suggestion by itself, where its kind is switched on.
    pub(super) async fn left_to_people(
        &self,
        filed: &FiledSuggestion,
        newest: Arc<Kept>,
    ) -> Result<Option<String>, KeeperFault> {
        let kind = AutomaticKind::of(&filed.suggestion);
        let known = self.store.automatic_kinds().await?;
        let on = known.into_iter().find(|known| known.kind == kind && known.state == AutomaticState::On);
        let Some(Kind { settings, .. }) = on.filter(|_| filed.state() == State::Open) else {
            return Ok(None);
        };
        if !self.store.never_answered(kind, CANDIDATES_MAX).await?.contains(&filed.id) {
            return Ok(Some("its draft was answered before".to_owned()));
        }
        if let Some(expected) = self.expected(&filed.suggestion.draft, &newest, now_ns()).await?
            && let Some(objection) = Objection::of_replay(&filed.suggestion.draft, &settings, &expected)
        {
            return Ok(Some(objection.to_string()));
        }
        let suggestion = filed.suggestion.clone();
        let asked = settings.clone();
        let objection = tokio::task::spawn_blocking(move || {
            Objection::to(&suggestion, &asked, &Judge::new(&newest.book), None)
        });
        if let Some(objection) = objection.await.map_err(|_| KeeperFault::Stopping)? {
            return Ok(Some(objection.to_string()));
        }
        let unearned = !self.earned_of(filed.learner.as_str(), kind, &settings).await?.is_earned;
        Ok(unearned.then(|| format!("the confidence of {kind} suggestions is not earned yet")))
    }

    async fn automatic_line(&self, kept: Kind, now_ns: u64) -> Result<AutomaticLine, KeeperFault> {
        let Kind { kind, state, since_ns, actor, comment, settings } = kept;
        let earned_by = self.earned_by(kind, &settings).await?;
        // Of several learners the one that is furthest.
        let furthest = earned_by.into_values().max_by(|a, b| {
            let by_answers = a.is_earned.cmp(&b.is_earned).then(a.answers.cmp(&b.answers));
            by_answers.then(a.lower.total_cmp(&b.lower))
        });
        let live = self.store.live_runs().await?;
        Ok(AutomaticLine {
            earned: furthest.unwrap_or_else(|| earned(&[], &settings)),
            accepted_today: self.store.runs_begun(kind, now_ns.saturating_sub(DAY_NS)).await?,
            live: live.into_iter().filter(|run| run.kind == kind).collect(),
            kind,
            state,
            since_ns,
            actor,
            comment,
            settings,
        })
    }

    async fn switch(&self, switching: Switching) -> Result<Kind, KeeperFault> {
        let Switching { kind, is_on, settings, actor, comment } = switching;
        check_comment(&comment)?;
        let mut head = self.writing.lock().await;
        let known = self.store.automatic_kinds().await?.into_iter().find(|known| known.kind == kind);
        let before = known.unwrap_or_else(|| Kind::off(kind));
        let since_ns = now_ns();
        let state = if is_on { AutomaticState::On } else { AutomaticState::Off };
        let settings = settings.unwrap_or_else(|| before.settings.clone());
        let kept = Kind { kind, state, since_ns, actor: actor.clone(), comment, settings };
        let detail = switch_words(&kept, before.state);
        let audit = Draft { time_ns: since_ns, actor, event: Event::AutomaticSwitch, detail };
        let turn = Turn { kind: Some(&kept), ..Turn::default() };
        self.finish(&mut head, turn, audit, None).await?;
        tracing::info!(%kind, %state, "automatic acceptance switched");
        Ok(kept)
    }
}

fn switch_words(kept: &Kind, before: AutomaticState) -> String {
    let Kind { kind, state, since_ns: _, actor: _, comment, settings } = kept;
    let said = if comment.is_empty() { String::new() } else { format!(": {}", one_line(comment)) };
    if *state != AutomaticState::On {
        return format!("{kind}: {before} -> {state}{said}");
    }
    let AutomaticSettings {
        confidence,
        answers,
        margin,
        shadow_hours,
        rollback_hours,
        per_day,
        over_permissiveness_max,
        shadow,
        rollback,
    } = settings;
    format!(
        "{kind}: {before} -> {state}, confidence {confidence}, answers {answers}, margin {margin}, shadow {shadow_hours} h, \
         rollback {rollback_hours} h, {per_day} a day, over-permissiveness at most {over_permissiveness_max}, in shadow {} \
         times and {} flows, in force {} times and {} flows{said}",
        shadow.factor, shadow.flows, rollback.factor, rollback.flows
    )
}
