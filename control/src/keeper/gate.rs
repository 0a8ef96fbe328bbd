//! Gates of learners: when what was learned from answers began or ceased to take part in a ranking stands in the trail.

use super::{Keeper, KeeperFault};
use crate::audit::{Draft, Event};
use crate::clock::utc;
use crate::store::StoreError;
use meshgate_policy::feedback_report::GateStep;
use meshgate_policy::{FeedbackReport, Name};

/// Gate steps of one learner that come to stand in the trail within a day: a gate moves with answers, of which a person
/// gives some dozens. Beyond it a report is a fault, and must not fill the trail.
pub const GATE_STEPS_PER_DAY_MAX: u64 = 32;
const DAY_NS: u64 = 86_400_000_000_000;

impl Keeper {
    /// Notes the steps of a report that are newer than those noted before. A step that is reported again, also after a
    /// restart of either side, is known by its time.
    pub async fn note_gate(
        &self,
        learner: &Name,
        report: &FeedbackReport,
        now_ns: u64,
    ) -> Result<(), KeeperFault> {
        if report.gate_steps.is_empty() {
            return Ok(());
        }
        let from_ns = now_ns.saturating_sub(DAY_NS);
        let mut memory = self.store.gate_memory(learner.as_str(), from_ns).await?;
        for step in fresh(&report.gate_steps, memory.newest_ns, now_ns) {
            if memory.today >= GATE_STEPS_PER_DAY_MAX {
                tracing::warn!(%learner, "its gate moves more often than answers come; not audited");
                return Ok(());
            }
            // A later step would hide this one: what was noted is known by the newest time.
            if !self.note_step(learner, step, report.evidence_needed_nats, now_ns).await? {
                return Ok(());
            }
            memory.today += 1;
        }
        Ok(())
    }

    /// Returns false if another control wrote meanwhile, so that this step may not be noted.
    async fn note_step(
        &self,
        learner: &Name,
        step: GateStep,
        needed_nats: f64,
        now_ns: u64,
    ) -> Result<bool, KeeperFault> {
        let GateStep { answers, open, evidence_nats, time_ns } = step;
        let verb = if open { "opened" } else { "closed" };
        let detail = format!(
            "gate {verb} at {} after {answers} answers: evidence {evidence_nats:.2} nats, {needed_nats:.2} open it",
            utc(time_ns)
        );
        let actor = format!("learner {learner}");
        let audit = Draft { time_ns: now_ns, actor, event: Event::LearnerGate, detail };
        let mut head = self.writing.lock().await;
        match self.store.note_gate_step(learner.as_str(), time_ns, *head, audit).await {
            Ok(next) => {
                *head = next;
                Ok(true)
            }
            Err(error) => {
                self.reload(&mut head).await;
                // Another control noted it, or wrote something else: the next report tells.
                if matches!(error, StoreError::Conflict) { Ok(false) } else { Err(error.into()) }
            }
        }
    }
}

/// Returns the steps after a time, oldest first. One from the future waits until that is reached: it would hide all
/// that come before it.
fn fresh(steps: &[GateStep], after_ns: u64, now_ns: u64) -> Vec<GateStep> {
    let mut fresh: Vec<GateStep> =
        steps.iter().copied().filter(|step| step.time_ns > after_ns && step.time_ns <= now_ns).collect();
    fresh.sort_by_key(|step| step.time_ns);
    fresh.dedup_by_key(|step| step.time_ns);
    fresh
}
