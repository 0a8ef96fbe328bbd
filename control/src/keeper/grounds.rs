//! What an automatic acceptance rests on: what each learner has earned, and what the draft would have done to past flows.

use super::{Keeper, Kept};
use crate::automatic::earned;
use crate::inbox::drafted_rule;
use crate::replay::{Matchable, REPLAYED_S, Replay};
use crate::store::StoreError;
use meshgate_policy::EffectCounts;
use meshgate_policy::automatic::{AutomaticKind, AutomaticSettings, Earned, Expected};
use meshgate_policy::suggestion::Proposal;
use std::collections::HashMap;

const NS_PER_S: u64 = 1_000_000_000;

impl Keeper {
    /// Returns by learner what people's answers say of its suggestions of a kind.
    pub(super) async fn earned_by(
        &self,
        kind: AutomaticKind,
        settings: &AutomaticSettings,
    ) -> Result<HashMap<String, Earned>, StoreError> {
        let mut by_learner = HashMap::new();
        for learner in self.store.learners_of(kind).await? {
            let earned = self.earned_of(&learner, kind, settings).await?;
            by_learner.insert(learner, earned);
        }
        Ok(by_learner)
    }

    /// Returns what people's answers say of the suggestions of one learner and kind.
    pub(super) async fn earned_of(
        &self,
        learner: &str,
        kind: AutomaticKind,
        settings: &AutomaticSettings,
    ) -> Result<Earned, StoreError> {
        let said = self.store.people_said(learner, kind, settings.confidence, settings.answers).await?;
        Ok(earned(&said, settings))
    }

    /// Returns what the draft would have done to the flows of the last days; none where there are no roll-ups.
    pub(super) async fn expected(
        &self,
        draft: &Proposal,
        newest: &Kept,
        now_ns: u64,
    ) -> Result<Option<Expected>, StoreError> {
        let now_s = now_ns / NS_PER_S;
        let from_s = now_s.saturating_sub(REPLAYED_S);
        let Some(oldest_s) = self.store.oldest_bucket(from_s).await? else { return Ok(None) };
        let Ok(Some(rule)) = drafted_rule(&newest.book, draft) else { return Ok(None) };
        let replay = Replay::new(newest.book.policy(), &rule);
        let counts = self.store.replay(from_s, Matchable::by(&rule), replay).await?;
        let EffectCounts { newly_allowed, newly_denied, attributed, .. } = counts;
        let changed = newly_allowed.saturating_add(newly_denied);
        let decided = changed.saturating_add(attributed);
        let replayed_s = now_s.saturating_sub(oldest_s);
        Ok(Some(Expected { replayed_s, changed, decided, shadow_s: 0, shadow_changed: 0 }))
    }
}
