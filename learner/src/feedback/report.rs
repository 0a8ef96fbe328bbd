//! What was learned from answers, for people.

use super::Answer;
use super::course::Turn;
use super::fitted::EntityEffect;
use super::ranking::{Labelled, Ranking};
use super::standpoint::LEARNED;
use crate::proportion::real;
use hashbrown::HashMap;
use meshgate_policy::FeedbackReport;
use meshgate_policy::feedback_report::{CalibrationBin, GateStep, LearnedEffect, PrecisionSpan};
use meshgate_policy::limits::{LEARNED_LISTED_MAX, LEARNED_NAME_BYTES_MAX};

/// Bins of the calibration, of as many answers each.
const BINS: usize = 5;
/// Answers of a bin below which there are none.
const BIN_ANSWERS_MIN: usize = 5;
/// Last answers that bins are made of.
const BINNED_MAX: usize = 500;
/// Answers of a span of precision.
const SPAN: usize = 20;
/// Effects that are told of each kind.
const EFFECTS_MAX: usize = 16;
/// Log odds below which something is not said to move anything.
const EFFECT_MIN: f64 = 0.05;

/// Returns the report of what was learned from these answers.
pub fn report<'a>(
    ranking: &mut Ranking,
    answers: impl DoubleEndedIterator<Item = &'a Answer> + Clone,
    withdrawn: u64,
) -> FeedbackReport {
    let experts = ranking.experts();
    let course = ranking.course().clone();
    let [_, long, short] = course.shares;
    let (features, entities) = experts.map_or_else(Default::default, |experts| experts.effects(&course));
    let learned = u64::try_from(ranking.taken_in()).unwrap_or(u64::MAX);
    let calibration = calibration(answers.clone());
    FeedbackReport {
        answers: learned,
        withdrawn,
        waiting: u64::try_from(ranking.waiting()).unwrap_or(u64::MAX),
        gate_open: course.is_open,
        evidence_nats: course.evidence,
        evidence_needed_nats: ranking.settings().evidence_needed,
        gate_steps: gate_steps(ranking),
        long_share: if long + short > 0.0 { long / (long + short) } else { 0.0 },
        changes: changes(ranking),
        calibration_error: error_of(&calibration),
        brier: brier(answers.clone()),
        calibration,
        precision: precision(ranking),
        features: feature_effects(&features, learned),
        entities: entity_effects(entities, answers),
    }
}

fn gate_steps(ranking: &Ranking) -> Vec<GateStep> {
    let steps = ranking.turns().iter().filter_map(|at| match at.turn {
        Turn::Gate(open) => {
            let answers = u64::try_from(at.answers).ok()?;
            Some(GateStep { answers, open, evidence_nats: at.evidence, time_ns: at.time_ns })
        }
        Turn::Change(_) => None,
    });
    let steps: Vec<GateStep> = steps.collect();
    steps[steps.len().saturating_sub(LEARNED_LISTED_MAX)..].to_vec()
}

fn changes(ranking: &Ranking) -> Vec<u64> {
    let changes = ranking.turns().iter().filter(|at| matches!(at.turn, Turn::Change(_)));
    changes.filter_map(|at| u64::try_from(at.answers).ok()).collect()
}

/// Returns the last answers with their confidence and whether they were a yes.
fn binned<'a>(answers: impl DoubleEndedIterator<Item = &'a Answer>) -> Vec<(f64, bool)> {
    let counted = answers.rev().filter(|answer| answer.counts()).take(BINNED_MAX);
    counted.map(|answer| (answer.confidence.clamp(0.0, 1.0), answer.is_yes())).collect()
}

fn calibration<'a>(answers: impl DoubleEndedIterator<Item = &'a Answer>) -> Vec<CalibrationBin> {
    let mut answers = binned(answers);
    if answers.len() < BINS * BIN_ANSWERS_MIN {
        return Vec::new();
    }
    answers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let count = answers.len();
    let bin = |bin: usize| {
        let part = &answers[bin * count / BINS..(bin + 1) * count / BINS];
        let size = real(part.len() as u64);
        CalibrationBin {
            answers: part.len() as u64,
            confidence: part.iter().map(|(confidence, _)| confidence).sum::<f64>() / size,
            accepted: real(part.iter().filter(|(_, yes)| *yes).count() as u64) / size,
        }
    };
    (0..BINS).map(bin).collect()
}

fn error_of(bins: &[CalibrationBin]) -> Option<f64> {
    let answers: u64 = bins.iter().map(|bin| bin.answers).sum();
    let weighted = |bin: &CalibrationBin| (bin.confidence - bin.accepted).abs() * real(bin.answers);
    (answers > 0).then(|| bins.iter().map(weighted).sum::<f64>() / real(answers))
}

fn brier<'a>(answers: impl DoubleEndedIterator<Item = &'a Answer>) -> Option<f64> {
    let answers = binned(answers);
    let squared = |(confidence, yes): &(f64, bool)| (confidence - f64::from(u8::from(*yes))).powi(2);
    let is_enough = answers.len() >= BINS * BIN_ANSWERS_MIN;
    is_enough.then(|| answers.iter().map(squared).sum::<f64>() / real(answers.len() as u64))
}

/// Returns how good the half of each span was that came first, by what was issued before each answer and by the static score.
fn precision(ranking: &Ranking) -> Vec<PrecisionSpan> {
    let all: Vec<(&Labelled, f64)> = ranking.issued().collect();
    let spans = all.chunks_exact(SPAN).map(|span| {
        let first_half = |score: fn(&(&Labelled, f64)) -> f64| {
            let mut order: Vec<&(&Labelled, f64)> = span.iter().collect();
            order.sort_by(|a, b| score(b).total_cmp(&score(a)));
            order[..SPAN / 2].iter().map(|(answer, _)| answer.reward).sum::<f64>() / real(SPAN as u64 / 2)
        };
        PrecisionSpan {
            from_ns: span[0].0.time_ns,
            answers: SPAN as u64,
            shown: first_half(|(_, issued)| *issued),
            by_static: first_half(|(answer, _)| answer.height),
        }
    });
    let spans: Vec<PrecisionSpan> = spans.collect();
    spans[spans.len().saturating_sub(LEARNED_LISTED_MAX)..].to_vec()
}

fn feature_effects(features: &[f64], answers: u64) -> Vec<LearnedEffect> {
    let effect = |(name, log_odds): (&&str, &f64)| LearnedEffect {
        name: (*name).to_owned(),
        log_odds: *log_odds,
        answers,
    };
    strongest(LEARNED.iter().zip(features).map(effect).collect())
}

fn entity_effects<'a>(
    entities: Vec<EntityEffect>,
    answers: impl Iterator<Item = &'a Answer>,
) -> Vec<LearnedEffect> {
    let names: HashMap<(usize, u64), String> = answers
        .flat_map(|answer| answer.entities().into_iter().enumerate())
        .map(|(place, (number, name))| ((place, number), name))
        .collect();
    let effect = |EntityEffect { place, number, log_odds, answers }| {
        let name: &str = names.get(&(place, number))?;
        let name = name[..name.floor_char_boundary(LEARNED_NAME_BYTES_MAX)].to_owned();
        Some(LearnedEffect { name, log_odds, answers })
    };
    strongest(entities.into_iter().filter_map(effect).collect())
}

fn strongest(mut effects: Vec<LearnedEffect>) -> Vec<LearnedEffect> {
    effects.retain(|effect| effect.log_odds.abs() >= EFFECT_MIN);
    effects.sort_by(|a, b| b.log_odds.abs().total_cmp(&a.log_odds.abs()).then_with(|| a.name.cmp(&b.name)));
    effects.truncate(EFFECTS_MAX);
    effects
}
