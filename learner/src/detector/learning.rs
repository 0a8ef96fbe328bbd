//! What the detector takes along from a window that it has judged.

use super::baseline::Standing;
use super::calibrations::Sample;
use super::judgement::Judgement;
use super::series_state::{Seen, SeriesState};
use super::{Detector, calibrations, forests};
use crate::features::Row;
use crate::model::Hidden;
use crate::series::{PartyId, SeriesKey};
use hashbrown::HashMap;

/// Rows with a smaller p-value do not count as known on later days: a row in twenty that is usual is seen again soon enough,
/// and an attack that is half found is not learned.
const COUNTED_P_VALUE_MIN: f64 = 0.05;

impl Detector {
    /// Learns from what is usual; from everything while so much is unusual that it must be usual.
    pub(super) fn learn(&mut self, seen: &[Seen], judgements: &[Judgement], is_warm: bool) {
        let anomalies = judgements.iter().filter(|judgement| judgement.is_anomalous).count();
        self.anomalies += anomalies as u64;
        let of_parties = |party: fn(&SeriesKey) -> PartyId| {
            let mut parties: HashMap<PartyId, bool> = HashMap::new();
            for Judgement { key, is_anomalous, .. } in judgements {
                *parties.entry(party(key)).or_default() |= is_anomalous;
            }
            let anomalous = parties.values().filter(|is_anomalous| **is_anomalous).count();
            calibrations::Seen { all: parties.len(), anomalous }
        };
        let rows = calibrations::Seen { all: judgements.len(), anomalous: anomalies };
        // Without an anomaly all shares are zero, whoever was there.
        let [sources, destinations] = if anomalies == 0 {
            [rows; 2]
        } else {
            [of_parties(|key| key.source), of_parties(|key| key.destination)]
        };
        self.calibrations.watch(rows, sources, destinations);
        let is_gate_open = self.calibrations.is_gate_open();
        let epoch = self.baseline.open_epoch();
        let mut usual: Vec<Sample> = Vec::with_capacity(judgements.len());
        for (seen, judgement) in seen.iter().zip(judgements) {
            // What a habit leaves of it does not matter here: what is no news is not therefore usual.
            let p_value = self.calibrations.scores.p_value(judgement.evidence);
            let is_rare = p_value.is_some_and(|p_value| p_value <= COUNTED_P_VALUE_MIN);
            // In the first hours there is always a series that is the rarest.
            let is_suspect = judgement.is_anomalous || is_rare && !self.baseline.is_young();
            self.baseline.add(
                seen.key,
                seen.pacing.pair,
                match (is_warm && is_suspect && !is_gate_open, judgement.is_anomalous) {
                    (false, _) => Standing::Usual,
                    (true, false) => Standing::Suspect,
                    (true, true) => Standing::Reported,
                },
            );
            self.habits.add(&seen.step.entities, seen.step.new, judgement.evidence, self.windows);
            if is_gate_open || !judgement.is_anomalous {
                let Seen { key, row, pacing, .. } = *seen;
                let model = judgement.model_evidence();
                self.forests.push(forests::Sample { key, epoch, row, pacing, model });
                // While warming up nobody counts what is spent on the unknown: everything is.
                let counts = is_warm || !judgement.sample.is_strange;
                usual.push(Sample { count: judgement.sample.count.filter(|_| counts), ..judgement.sample });
            }
        }
        self.calibrations.learn(&usual, self.windows, self.baseline.is_young());
    }

    /// Brings the states of all series forward.
    pub(super) fn remember(
        &mut self,
        seen: &[Seen],
        states: Vec<SeriesState>,
        judged: &[Judgement],
        rows: &[Row],
    ) {
        let hidden: Vec<Hidden> = states.iter().map(|state| state.hidden).collect();
        let after = self.model.as_ref().map(|model| model.step(&hidden, rows));
        for (at, mut state) in states.into_iter().enumerate() {
            let Seen { key, sums, .. } = seen[at];
            state.baseline.add(sums.flows, judged[at].is_anomalous);
            if let Some(after) = after.as_ref().filter(|_| !self.is_forgetful) {
                state.hidden = after[at];
            }
            if let Some(kept) = self.series.entry(key, self.windows, || state.clone()) {
                *kept = state;
            }
        }
    }
}
