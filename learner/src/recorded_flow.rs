//! A flow that somebody recorded: the form that files of flows and captures share.

use crate::capture::is_capture;
use crate::capture_flows::CaptureFlows;
use crate::flow_csv::FlowCsv;
use flate2::read::MultiGzDecoder;
use meshgate_policy::Protocol;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A flow as it was recorded. None means that the record does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFlow {
    /// Its first packet, nanoseconds since 1970.
    pub time_ns: u64,
    /// Address of the initiator.
    pub source: IpAddr,
    /// The other address.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Source port, or ICMP type.
    pub source_port: Option<u16>,
    /// Destination port, or ICMP code.
    pub destination_port: Option<u16>,
    /// Bytes from the initiator, IP headers included.
    pub bytes_forward: Option<u64>,
    /// Bytes back.
    pub bytes_reverse: Option<u64>,
    /// Packets from the initiator.
    pub packets_forward: Option<u64>,
    /// Packets back.
    pub packets_reverse: Option<u64>,
    /// From the first to the last packet.
    pub duration_ns: Option<u64>,
    /// Whether the far side answered with something else than a refusal.
    pub answered: Option<bool>,
    /// Whether an earlier record began the flow: its packets count, it does not.
    pub is_continued: bool,
    /// What somebody knows about it.
    pub labels: Labels,
}

/// Labels of a flow, closed: only the two methods of [`RecordedFlow`] that say what for let anyone read them, so that
/// nothing learns from them by accident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    texts: Option<Box<LabelTexts>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelTexts {
    label: Box<str>,
    name: Box<str>,
}

impl RecordedFlow {
    /// Returns a flow of which nothing else is known.
    pub fn between(time_ns: u64, source: IpAddr, destination: IpAddr) -> Self {
        Self {
            time_ns,
            source,
            destination,
            protocol: None,
            source_port: None,
            destination_port: None,
            bytes_forward: None,
            bytes_reverse: None,
            packets_forward: None,
            packets_reverse: None,
            duration_ns: None,
            answered: None,
            is_continued: false,
            labels: Labels::default(),
        }
    }

    /// Returns the flow with labels; empty ones are none.
    pub fn with_labels(mut self, label: &str, name: &str) -> Self {
        let is_labelled = !label.is_empty() || !name.is_empty();
        self.labels.texts =
            is_labelled.then(|| Box::new(LabelTexts { label: label.into(), name: name.into() }));
        self
    }

    /// Returns the label, for scoring only: never to be shown to a model.
    pub fn label_for_scoring(&self) -> Option<&str> {
        self.labels.texts.as_ref().map(|texts| texts.label.as_ref()).filter(|label| !label.is_empty())
    }

    /// Returns the name that goes with the label, for scoring only.
    pub fn label_name_for_scoring(&self) -> Option<&str> {
        self.labels.texts.as_ref().map(|texts| texts.name.as_ref()).filter(|name| !name.is_empty())
    }

    /// Returns the port of the service: the destination port, or the ICMP type; 0 if that is not known.
    pub fn service_port(&self) -> u16 {
        let is_icmp = self.protocol.is_some_and(Protocol::is_icmp);
        if is_icmp { self.source_port } else { self.destination_port }.unwrap_or(0)
    }
}

/// Why recorded flows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlowFileError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line cannot be read: it is too long, the file ends within it, or its compression is broken.
    #[error("{} line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A value is none of its column.
    #[error("{} line {line}: {column} {value:?} is not {wanted}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there, shortened.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// A column is missing, or there twice.
    #[error("{}: column {column} is {fault}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// `missing` or `there twice`.
        fault: &'static str,
    },
    /// The file is no capture, or one whose packets cannot be read.
    #[error("{}: {reason}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Flows of one or more files, in order of time.
pub type FlowSource = Box<dyn Iterator<Item = Result<RecordedFlow, FlowFileError>> + Send>;

/// First bytes of a gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file of recorded flows: a capture (pcap or pcapng) or flow CSV, plain or gzip. Its first bytes tell which.
pub fn open(path: &Path) -> Result<FlowSource, FlowFileError> {
    let unreadable = |source| FlowFileError::File { path: path.into(), source };
    let mut bytes = unpacked(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
    if is_capture(bytes.fill_buf().map_err(unreadable)?) {
        Ok(Box::new(CaptureFlows::new(path, bytes)?))
    } else {
        Ok(Box::new(FlowCsv::new(path, bytes)?))
    }
}

/// Returns the bytes of a file, unpacked if they are gzip.
pub fn unpacked(input: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut input = BufReader::new(input);
    let is_gzip = input.fill_buf()?.starts_with(&GZIP_MAGIC);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(input))) } else { Box::new(input) })
}

/// Flows of several files, merged by time.
pub struct MergedFlows {
    /// Each file with its next flow.
    heads: Vec<(RecordedFlow, FlowSource)>,
    /// What stopped a file.
    error: Option<FlowFileError>,
}

impl MergedFlows {
    /// Opens all files; each must be in order of time by itself.
    pub fn open(paths: &[PathBuf]) -> Result<Self, FlowFileError> {
        let mut merged = Self { heads: Vec::new(), error: None };
        for path in paths {
            merged.put_back(open(path)?);
        }
        match merged.error.take() {
            Some(error) => Err(error),
            None => Ok(merged),
        }
    }

    fn put_back(&mut self, mut source: FlowSource) {
        match source.next() {
            Some(Ok(flow)) => self.heads.push((flow, source)),
            Some(Err(error)) => self.error = Some(error),
            None => {}
        }
    }
}

impl Iterator for MergedFlows {
    type Item = Result<RecordedFlow, FlowFileError>;

    /// Returns the earliest flow that is left. After an error nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        // Files are few: looking at each is quicker than a heap.
        let earliest = self.heads.iter().enumerate().min_by_key(|(_, (flow, _))| flow.time_ns)?.0;
        let (flow, source) = self.heads.swap_remove(earliest);
        self.put_back(source);
        Some(Ok(flow))
    }
}
