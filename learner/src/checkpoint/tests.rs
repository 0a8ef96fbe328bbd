//! That a checkpoint goes on to the bit, and that everything else is refused by name.

use super::*;
use crate::detector::DetectorConfig;
use crate::features::FEATURES;
use crate::series::{Parties, PartyId, SeriesKey, SeriesSums, Window};

fn hyperparameters() -> Hyperparameters {
    Hyperparameters { batch_chunks: 8, trimmed_from_step: 5, ..Hyperparameters::default() }
}

fn rows(number: u16) -> Vec<(SeriesKey, [f32; FEATURES])> {
    let row = |series: u16| {
        let (source, destination) = (PartyId(series.into()), PartyId(100));
        let key = SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 443 };
        let mut row = [f32::from(series); FEATURES];
        row[0] = f32::from((number * 7 + series * 3) % 5);
        row[14..17].fill(if number == 0 { 1.0 } else { 0.0 });
        (key, row)
    };
    (0..6).map(row).collect()
}

fn window(number: u16) -> Window {
    let sums = SeriesSums { flows: u64::from(number % 5) + 3, ..SeriesSums::default() };
    let series = rows(number).into_iter().map(|(key, _)| (key, sums)).collect();
    Window { start_s: u64::from(number), width_s: 1, series, ..Window::default() }
}

struct Learner {
    trainer: Trainer,
    detector: Detector,
}

impl Learner {
    fn new() -> Self {
        let detector = Detector::new(DetectorConfig::default());
        Self { trainer: Trainer::new(hyperparameters()), detector }
    }

    /// Lives through a window, with a step of training and a new model.
    fn live(&mut self, number: u16) -> Vec<crate::detector::Judgement> {
        let judgements = self.detector.judge(&window(number), &Parties::default(), &mut rows(number));
        self.trainer.observe(&rows(number), number.into());
        self.trainer.train(|steps| steps < 1);
        if number % 3 == 2 {
            self.detector.adopt(self.trainer.model());
        }
        judgements
    }
}

fn encoded() -> Vec<u8> {
    let mut learner = Learner::new();
    (0..4).for_each(|number| {
        learner.live(number);
    });
    encode(&learner.trainer, &learner.detector, &[("profile".into(), vec![1, 2, 3])])
}

#[test]
fn a_learner_that_was_saved_goes_on_to_the_bit() {
    let mut learner = Learner::new();
    (0..40).for_each(|number| {
        learner.live(number);
    });
    let bytes = encode(&learner.trainer, &learner.detector, &[]);
    let Checkpoint { trainer, mut detector, .. } = decode(&bytes, &hyperparameters()).unwrap();
    detector.resume(DetectorConfig::default(), &Parties::default());
    let mut resumed = Learner { trainer, detector };
    for number in 40..60 {
        assert_eq!(learner.live(number), resumed.live(number), "window {number}");
    }
    let bits = |learner: &Learner| {
        learner.trainer.weights().values.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(&learner), bits(&resumed));
    assert_eq!(
        encode(&learner.trainer, &learner.detector, &[]),
        encode(&resumed.trainer, &resumed.detector, &[])
    );
}

#[test]
fn sections_of_others_come_back() {
    let checkpoint = decode(&encoded(), &hyperparameters()).unwrap();
    assert_eq!(checkpoint.sections, [("profile".to_owned(), vec![1, 2, 3])]);
    assert_eq!(checkpoint.trainer.steps(), 3);
}

#[test]
fn a_checkpoint_that_lost_its_end_is_truncated() {
    let bytes = encoded();
    for length in (1..bytes.len()).step_by(bytes.len() / 50) {
        let refusal = decode(&bytes[..length], &hyperparameters()).unwrap_err();
        assert!(matches!(refusal, CheckpointError::Truncated { .. }), "{length}: {refusal}");
    }
}

#[test]
fn every_other_file_is_refused_by_name() {
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = encoded();
        change(&mut bytes);
        decode(&bytes, &hyperparameters()).unwrap_err()
    };
    assert!(matches!(refusal(&Vec::clear), CheckpointError::Foreign));
    assert!(matches!(refusal(&|bytes| bytes[0] = b'P'), CheckpointError::Foreign));
    assert!(matches!(refusal(&|bytes| bytes[8] = 1), CheckpointError::Older(1)));
    assert!(matches!(refusal(&|bytes| bytes[8] = 3), CheckpointError::Newer(3)));
    assert!(matches!(refusal(&|bytes| bytes[12] ^= 1), CheckpointError::OtherFeatures));
    assert!(matches!(refusal(&|bytes| bytes[40] ^= 1), CheckpointError::Damaged));
    assert!(matches!(refusal(&|bytes| bytes[5_000] ^= 1), CheckpointError::Damaged));
    assert!(matches!(refusal(&|bytes| bytes.push(0)), CheckpointError::Damaged));
    let other = Hyperparameters { seed: 2, ..hyperparameters() };
    assert!(matches!(decode(&encoded(), &other), Err(CheckpointError::OtherHyperparameters)));
}

#[test]
fn a_content_that_makes_no_sense_is_refused_even_with_a_hash_that_fits() {
    let bytes = encoded();
    let mut state = 1u64;
    for _ in 0..200 {
        let mut content = bytes[HEAD_BYTES..].to_vec();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = usize::try_from(state >> 33).unwrap() % content.len();
        content[at] ^= 0x81;
        // Either a value that can be, or a refusal; never a panic.
        if let Ok(mut checkpoint) = content_of(&content, &hyperparameters()) {
            checkpoint.detector.resume(DetectorConfig::default(), &Parties::default());
            checkpoint.detector.judge(&window(9), &Parties::default(), &mut rows(9));
        }
        assert!(content_of(&content[..at], &hyperparameters()).is_err());
    }
}

#[test]
fn a_file_is_replaced_whole_and_a_missing_one_is_none() {
    let folder = std::env::temp_dir().join(format!("meshgate-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("learner.checkpoint");
    assert!(load(&path, &hyperparameters()).unwrap().is_none());
    store(&path, b"something that is not ours").unwrap();
    assert!(matches!(load(&path, &hyperparameters()), Err(CheckpointError::Foreign)));
    store(&path, &encoded()).unwrap();
    assert!(load(&path, &hyperparameters()).unwrap().is_some());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let nowhere = folder.join("missing").join("learner.checkpoint");
    assert!(matches!(store(&nowhere, b""), Err(CheckpointError::Unusable(..))));
    std::fs::remove_dir_all(&folder).unwrap();
}
