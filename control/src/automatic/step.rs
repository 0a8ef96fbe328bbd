//! The next step of an acceptance that control made.

use super::{Watched, real};
use meshgate_policy::automatic::{AutomaticRun, RunStage, Tolerance};

const NS_PER_HOUR: u64 = 3_600_000_000_000;
const S_PER_HOUR: u64 = 3_600;
/// Of ten hours of a period, nine must have been seen.
const SEEN_OF_TEN_MIN: u64 = 9;
/// Flows that must have been expected for their absence to say something.
const EXPECTED_MIN: f64 = 20.0;
/// Of ten flows that were expected, one must have been seen.
const SEEN_ONE_OF: f64 = 10.0;
/// Of ten records, fewer than one may have been lost.
const LOST_ONE_OF_MAX: u64 = 10;

/// How the relationship of an acceptance stands in the newest version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As control wrote it.
    AsWritten,
    /// Somebody changed or removed it.
    Changed,
}

/// What has to be known to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// How its relationship stands.
    pub standing: Standing,
    /// Whether it denies.
    pub denies: bool,
    /// Whether its kind is switched on.
    pub is_on: bool,
    /// What speaks against it under the newest version.
    pub objection: Option<String>,
    /// What was seen since the stage began.
    pub watched: Watched,
    /// The time, nanoseconds since 1970.
    pub now_ns: u64,
}

/// A step, with the reason that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The relationship is people's from here on.
    Yield(String),
    /// It never decided; it leaves the policy, and a person decides.
    Drop(String),
    /// It decides from here on.
    Enforce(String),
    /// It decided too much, or nobody saw what; it leaves the policy, a person decides, and its kind rests.
    RollBack(String),
    /// It stays and is not watched any more.
    Keep(String),
}

/// Returns the step that is due, if one is.
pub fn next_step(run: &AutomaticRun, facts: &RunFacts) -> Option<NextStep> {
    if !run.stage.is_live() {
        return None;
    }
    if facts.standing == Standing::Changed {
        let words = format!("rule {} was changed or removed by people", run.relationship);
        return Some(NextStep::Yield(words));
    }
    let elapsed_ns = facts.now_ns.saturating_sub(run.since_ns);
    match run.stage {
        RunStage::Shadow => in_shadow(run, facts, elapsed_ns),
        _ => in_force(run, facts, elapsed_ns),
    }
}

fn in_shadow(run: &AutomaticRun, facts: &RunFacts, elapsed_ns: u64) -> Option<NextStep> {
    if !facts.is_on {
        return Some(NextStep::Drop(format!(
            "{} suggestions are not accepted automatically any more",
            run.kind
        )));
    }
    let Watched { changed, .. } = facts.watched;
    let expected = expected_in(run.expected.changed, run.expected.replayed_s, elapsed_ns);
    // What is refused must stay little however much there was before: a replay of busy traffic lets nothing pass.
    let Tolerance { factor: _, flows } = run.settings.shadow;
    let most = if facts.denies { f64::from(flows) } else { most(&run.settings.shadow, expected) };
    if real(changed) > most {
        return Some(NextStep::Drop(format!(
            "in shadow it would have changed the verdict of {changed} flows, where its replay spoke of {expected:.0} \
             for as long and {most:.0} are let pass"
        )));
    }
    let period_ns = u64::from(run.settings.shadow_hours).saturating_mul(NS_PER_HOUR);
    if elapsed_ns < period_ns {
        return None;
    }
    let silence = || {
        (expected >= EXPECTED_MIN && real(changed) * SEEN_ONE_OF < expected).then(|| {
            format!("it would have changed the verdict of {changed} flows, {expected:.0} were expected")
        })
    };
    if let Some(gap) = gap(&facts.watched).or_else(silence) {
        let is_over = elapsed_ns >= period_ns.saturating_mul(2);
        return is_over.then(|| NextStep::Drop(format!("too little was seen of it in shadow: {gap}")));
    }
    if let Some(objection) = &facts.objection {
        return Some(NextStep::Drop(format!("since it was accepted, things have changed: {objection}")));
    }
    Some(NextStep::Enforce(format!(
        "{} h in shadow: {changed} flows would have changed their verdict, {expected:.0} were expected",
        elapsed_ns / NS_PER_HOUR
    )))
}

fn in_force(run: &AutomaticRun, facts: &RunFacts, elapsed_ns: u64) -> Option<NextStep> {
    let Watched { decided, .. } = facts.watched;
    let replayed = expected_in(run.expected.decided, run.expected.replayed_s, elapsed_ns);
    let shadowed = expected_in(run.expected.shadow_changed, run.expected.shadow_s, elapsed_ns);
    let expected = replayed.max(shadowed);
    let most = most(&run.settings.rollback, expected);
    if real(decided) > most {
        return Some(NextStep::RollBack(format!(
            "it decided {decided} flows, where {expected:.0} were expected for as long and {most:.0} are let pass"
        )));
    }
    let period_ns = u64::from(run.settings.rollback_hours).saturating_mul(NS_PER_HOUR);
    if elapsed_ns < period_ns {
        return None;
    }
    // Unseen hours do not count as watched: it is watched for longer, and not for ever.
    if let Some(gap) = gap(&facts.watched) {
        let is_over = elapsed_ns >= period_ns.saturating_mul(2);
        return is_over.then(|| NextStep::RollBack(format!("too little was seen of it in force: {gap}")));
    }
    Some(NextStep::Keep(format!(
        "{} h in force: it decided {decided} flows, {expected:.0} were expected",
        elapsed_ns / NS_PER_HOUR
    )))
}

/// Returns how many flows go with a time, at the rate of `flows` in `span_s`. The first hour counts as a whole, so that a
/// short burst is held against more than a moment.
fn expected_in(flows: u64, span_s: u64, elapsed_ns: u64) -> f64 {
    if span_s == 0 {
        return 0.0;
    }
    let elapsed_s = (elapsed_ns / 1_000_000_000).max(S_PER_HOUR);
    real(flows) * real(elapsed_s) / real(span_s)
}

fn most(tolerance: &Tolerance, expected: f64) -> f64 {
    tolerance.factor * expected + f64::from(tolerance.flows)
}

/// Returns what is missing for silence to mean something.
fn gap(watched: &Watched) -> Option<String> {
    let Watched { seen, lost, hours, hours_seen, .. } = *watched;
    if hours_seen.saturating_mul(10) < hours.saturating_mul(SEEN_OF_TEN_MIN) || hours == 0 {
        return Some(format!("roll-ups came in {hours_seen} of {hours} hours"));
    }
    let all = seen.saturating_add(lost);
    (lost.saturating_mul(LOST_ONE_OF_MAX) >= all && lost > 0)
        .then(|| format!("{lost} records were lost beside {seen} flows"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::RuleId;
    use meshgate_policy::automatic::{AutomaticKind, AutomaticSettings, Expected};

    const BEGUN_NS: u64 = 1_000 * NS_PER_HOUR;

    /// An acceptance whose replay saw 100 flows in 100 hours, 70 of them changed, with the default settings.
    fn run(stage: RunStage) -> AutomaticRun {
        AutomaticRun {
            suggestion: 3,
            decision: 9,
            kind: AutomaticKind::Anomaly,
            relationship: RuleId(4),
            stage,
            since_ns: BEGUN_NS,
            settings: AutomaticSettings {
                rollback: Tolerance { factor: 3.0, flows: 50 },
                ..AutomaticSettings::default()
            },
            expected: Expected {
                replayed_s: 100 * S_PER_HOUR,
                changed: 70,
                decided: 100,
                shadow_s: 24 * S_PER_HOUR,
                shadow_changed: 48,
            },
            steps: Vec::new(),
        }
    }

    fn facts(hours: u64, watched: Watched) -> RunFacts {
        let now_ns = BEGUN_NS + hours * NS_PER_HOUR;
        let watched = Watched { seen: 1_000, hours, hours_seen: hours, ..watched };
        RunFacts {
            standing: Standing::AsWritten,
            denies: false,
            is_on: true,
            objection: None,
            watched,
            now_ns,
        }
    }

    fn changed(changed: u64) -> Watched {
        Watched { changed, ..Watched::default() }
    }

    fn decided(decided: u64) -> Watched {
        Watched { decided, ..Watched::default() }
    }

    #[test]
    fn what_does_as_its_replay_said_is_promoted_when_the_period_is_over() {
        let run = run(RunStage::Shadow);
        assert_eq!(next_step(&run, &facts(23, changed(17))), None);
        let words = "24 h in shadow: 17 flows would have changed their verdict, 17 were expected";
        assert_eq!(next_step(&run, &facts(24, changed(17))), Some(NextStep::Enforce(words.into())));
    }

    #[test]
    fn what_would_change_much_more_than_its_replay_said_is_dropped_at_once() {
        let run = run(RunStage::Shadow);
        // In an hour 0.7 were expected, twice that and 20 are let pass.
        assert_eq!(next_step(&run, &facts(1, changed(21))), None);
        let step = next_step(&run, &facts(1, changed(22)));
        let words = "in shadow it would have changed the verdict of 22 flows, where its replay spoke of 1 for as long \
                     and 21 are let pass";
        assert_eq!(step, Some(NextStep::Drop(words.into())));
        assert_eq!(next_step(&run, &facts(0, changed(21))), None, "the first hour counts as a whole");
    }

    #[test]
    fn what_a_deny_would_refuse_is_bounded_whatever_its_replay_said() {
        let run = run(RunStage::Shadow);
        let denies = |changed_flows| RunFacts { denies: true, ..facts(24, changed(changed_flows)) };
        assert!(matches!(next_step(&run, &denies(20)), Some(NextStep::Enforce(_))));
        let words = "in shadow it would have changed the verdict of 21 flows, where its replay spoke of 17 for as long \
                     and 20 are let pass";
        assert_eq!(next_step(&run, &denies(21)), Some(NextStep::Drop(words.into())));
        assert!(matches!(next_step(&run, &facts(24, changed(21))), Some(NextStep::Enforce(_))), "an allow");
    }

    #[test]
    fn what_was_expected_and_not_seen_is_a_gap() {
        let run = run(RunStage::Shadow);
        // 0.7 an hour: 21 in thirty.
        assert_eq!(next_step(&run, &facts(30, changed(2))), None, "its collector may be dead");
        assert!(matches!(next_step(&run, &facts(30, changed(3))), Some(NextStep::Enforce(_))));
        let words = "too little was seen of it in shadow: it would have changed the verdict of 3 flows, 34 were expected";
        assert_eq!(next_step(&run, &facts(48, changed(3))), Some(NextStep::Drop(words.into())));
        assert!(
            matches!(next_step(&run, &facts(28, changed(0))), Some(NextStep::Enforce(_))),
            "20 say little"
        );
    }

    #[test]
    fn silence_is_no_witness() {
        let run = run(RunStage::Shadow);
        let unseen = |hours, hours_seen| {
            let facts = facts(hours, Watched::default());
            RunFacts { watched: Watched { hours_seen, ..facts.watched }, ..facts }
        };
        assert_eq!(next_step(&run, &unseen(24, 21)), None, "it goes on waiting");
        assert!(matches!(next_step(&run, &unseen(24, 22)), Some(NextStep::Enforce(_))));
        assert_eq!(next_step(&run, &unseen(47, 0)), None);
        let words = "too little was seen of it in shadow: roll-ups came in 0 of 48 hours";
        assert_eq!(next_step(&run, &unseen(48, 0)), Some(NextStep::Drop(words.into())));
        let mut lossy = facts(48, Watched { lost: 112, ..changed(30) });
        let words = "too little was seen of it in shadow: 112 records were lost beside 1000 flows";
        assert_eq!(next_step(&run, &lossy), Some(NextStep::Drop(words.into())));
        lossy.watched.lost = 111;
        assert!(matches!(next_step(&run, &lossy), Some(NextStep::Enforce(_))));
    }

    #[test]
    fn what_people_say_meanwhile_goes_before() {
        let changed_by_people = |stage| {
            let facts = RunFacts { standing: Standing::Changed, ..facts(30, decided(1_000_000)) };
            next_step(&run(stage), &facts)
        };
        let words = "rule 4 was changed or removed by people".to_owned();
        assert_eq!(changed_by_people(RunStage::Shadow), Some(NextStep::Yield(words.clone())));
        assert_eq!(changed_by_people(RunStage::Enforced), Some(NextStep::Yield(words)));
        let off = RunFacts { is_on: false, ..facts(3, changed(0)) };
        let words = "anomaly suggestions are not accepted automatically any more";
        assert_eq!(next_step(&run(RunStage::Shadow), &off), Some(NextStep::Drop(words.into())));
        assert_eq!(next_step(&run(RunStage::Enforced), &off), None, "what decides is watched to its end");
        let objection = Some("it would decide before rule 7 (x)".to_owned());
        let facts = RunFacts { objection, ..facts(24, changed(0)) };
        let words = "since it was accepted, things have changed: it would decide before rule 7 (x)";
        assert_eq!(next_step(&run(RunStage::Shadow), &facts), Some(NextStep::Drop(words.into())));
    }

    #[test]
    fn what_refuses_much_more_than_expected_is_taken_back_and_what_does_not_stays() {
        let run = run(RunStage::Enforced);
        // The shadow period saw two an hour, more than the replay: in ten hours 20, three times that and 50 are let pass.
        assert_eq!(next_step(&run, &facts(10, decided(110))), None);
        let words = "it decided 111 flows, where 20 were expected for as long and 110 are let pass";
        assert_eq!(next_step(&run, &facts(10, decided(111))), Some(NextStep::RollBack(words.into())));
        let words = "24 h in force: it decided 40 flows, 48 were expected";
        assert_eq!(next_step(&run, &facts(24, decided(40))), Some(NextStep::Keep(words.into())));
        let unseen = |hours| {
            let watched = Watched { hours_seen: 0, hours, ..Watched::default() };
            next_step(&run, &RunFacts { watched, ..facts(hours, decided(0)) })
        };
        assert_eq!(unseen(47), None, "nobody looked: it is watched for longer");
        let words = "too little was seen of it in force: roll-ups came in 0 of 48 hours";
        assert_eq!(unseen(48), Some(NextStep::RollBack(words.into())), "and not for ever");
    }

    #[test]
    fn what_has_ended_stays_so() {
        for stage in [RunStage::Kept, RunStage::Dropped, RunStage::RolledBack, RunStage::TakenOver] {
            assert_eq!(next_step(&run(stage), &facts(100, decided(1_000_000))), None);
        }
    }
}
