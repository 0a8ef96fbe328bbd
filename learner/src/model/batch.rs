//! Chunks of rows as the network takes them.

use super::standardiser::Scale;
use crate::features::{FEATURES, Row};

/// Chunks of rows to learn from, standardised, laid out time by time and padded at the end.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Rows of the longest chunk, T.
    pub length: usize,
    /// Chunks, B.
    pub chunks: usize,
    /// Inputs. [T * B, FEATURES]
    pub rows: Vec<f32>,
    /// 1 for a row, 0 for padding. [T * B]
    pub mask: Vec<f32>,
}

impl Batch {
    /// Returns the batch of these chunks.
    pub fn of(chunks: &[&[Row]], scale: &Scale) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len()).max().unwrap_or(0);
        let mut batch = Self { length, chunks: chunks.len(), ..Self::default() };
        for at in 0..length {
            for chunk in chunks {
                let row = chunk.get(at).map_or([0.0; FEATURES], |row| scale.standardise(row));
                batch.rows.extend_from_slice(&row);
                batch.mask.push(if at < chunk.len() { 1.0 } else { 0.0 });
            }
        }
        batch
    }

    /// Returns some of the columns. [T * B, until - from]
    pub(super) fn columns(&self, from: usize, until: usize) -> Vec<f32> {
        self.rows.chunks_exact(FEATURES).flat_map(|row| &row[from..until]).copied().collect()
    }
}
