//! Rows of flow files, with their text: a row that is not to change is written as it was read.

use super::BlendError;
use crate::flow_csv::{COLUMNS, FlowCsv};
use crate::recorded_flow::{FlowFileError, RecordedFlow, unpacked};
use csv::ByteRecord;
use std::fs::File;
use std::path::Path;

/// Rows of all files of an option: each takes about 600 bytes.
const ROWS_MAX: usize = 4_000_000;

/// Places of the columns that are looked at or changed, in the order of [`COLUMNS`].
pub(super) mod column {
    pub const TIME: usize = 0;
    pub const SOURCE: usize = 1;
    pub const DESTINATION: usize = 2;
    /// `bytes_out`, `bytes_in`, `pkts_out`, `pkts_in`.
    pub const COUNTS: std::ops::Range<usize> = 6..10;
    pub const DURATION: usize = 10;
    pub const STATE: usize = 11;
    pub const SERVICE: usize = 12;
    pub const LABEL: usize = 13;
    pub const LABEL_NAME: usize = 14;
}

/// A flow with the text of its row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What the text says.
    pub flow: RecordedFlow,
    /// The text, a value for each of [`COLUMNS`]; empty where the file has no such column.
    text: ByteRecord,
}

impl Row {
    /// Returns the value of a column.
    pub fn value(&self, column: usize) -> &str {
        // The columns that are asked for were read as text before.
        self.text.get(column).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// Returns the values of all columns.
    pub fn text(&self) -> &ByteRecord {
        &self.text
    }

    /// Returns whether the row says how many bytes or packets there were.
    pub fn has_counts(&self) -> bool {
        column::COUNTS.into_iter().any(|column| !self.value(column).is_empty())
    }

    /// Puts other values into some columns.
    pub fn replace(&mut self, changes: &[(usize, &str)]) {
        let changed = |column| changes.iter().find(|(place, _)| *place == column).map(|(_, value)| *value);
        let values = (0..COLUMNS.len()).map(|column| match changed(column) {
            Some(value) => value.as_bytes(),
            None => self.text.get(column).unwrap_or_default(),
        });
        self.text = values.collect();
    }
}

/// Returns the rows of a file, which must be in order of time.
pub(super) fn read(path: &Path, into: &mut Vec<Row>) -> Result<(), BlendError> {
    // Read twice in step: once for what the values mean, with every fault named, once for their text.
    let mut flows = FlowCsv::open(path)?;
    let mut rows = csv::Reader::from_reader(open(path)?);
    let unreadable = |error: csv::Error| FlowFileError::File { path: path.into(), source: error.into() };
    let head = rows.byte_headers().map_err(unreadable)?;
    let places = COLUMNS.map(|name| head.iter().position(|other| other.trim_ascii() == name.as_bytes()));
    let mut record = ByteRecord::new();
    let before = into.len();
    for flow in flows.by_ref() {
        let flow = flow?;
        if into.len() >= ROWS_MAX {
            return Err(BlendError::TooManyRows(path.into(), ROWS_MAX));
        }
        rows.read_byte_record(&mut record).map_err(unreadable)?;
        let value = |place: Option<usize>| place.and_then(|place| record.get(place)).unwrap_or_default();
        into.push(Row { flow, text: places.into_iter().map(value).collect() });
    }
    if flows.rows_unordered() > 0 {
        return Err(BlendError::Unordered(path.into(), flows.rows_unordered()));
    }
    if into.len() == before { Err(BlendError::Empty(path.into())) } else { Ok(()) }
}

fn open(path: &Path) -> Result<impl std::io::Read + use<>, FlowFileError> {
    let unreadable = |source| FlowFileError::File { path: path.into(), source };
    unpacked(File::open(path).map_err(unreadable)?).map_err(unreadable)
}
