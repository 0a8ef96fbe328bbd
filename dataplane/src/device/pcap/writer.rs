//! Writes frames into a pcap file with nanoseconds, as tcpdump and Wireshark read it.

use super::LINK_ETHERNET;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// First word of a pcap file with nanoseconds.
const MAGIC_NS: u32 = 0xa1b2_3c4d;

/// Snap length of the header: the largest frame.
const SNAP_BYTES: u32 = 65_535;

/// Largest file, beyond which frames are only counted: a replay gone wrong must not fill the disk.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

const NS_PER_S: u64 = 1_000_000_000;

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write capture {path}: {source}")]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// What happened to the frames that a writer was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Frames in the file.
    pub written_frames: u64,
    /// Frames that the file did not take: it is full, or the disk is.
    pub lost_frames: u64,
}

/// One capture file being written. Clones write into the same file, frames in the order of their arrival.
#[derive(Clone)]
pub struct PcapWriter {
    /// The file, shared by the devices that write into it.
    file: Arc<Mutex<Output>>,
}

/// The file and what went into it.
struct Output {
    /// Where the bytes go.
    target: BufWriter<Box<dyn Write + Send>>,
    /// Bytes that may still be written.
    bytes_left: u64,
    /// What happened to the frames.
    counts: WriteCounts,
}

impl PcapWriter {
    /// Makes a file, or empties the one that is there.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let failed = |source| WriteError { path: path.into(), source };
        let file = File::create(path).map_err(failed)?;
        Self::new(file, FILE_BYTES_MAX).map_err(failed)
    }

    /// Writes to anything, at most `bytes_max` bytes.
    pub fn new(target: impl Write + Send + 'static, bytes_max: u64) -> io::Result<Self> {
        let mut target = BufWriter::new(Box::new(target) as Box<dyn Write + Send>);
        let version = [2u16.to_le_bytes(), 4u16.to_le_bytes()].concat();
        let words = [0, 0, SNAP_BYTES, u32::from(LINK_ETHERNET)].map(u32::to_le_bytes).concat();
        let header = [&MAGIC_NS.to_le_bytes()[..], &version, &words].concat();
        target.write_all(&header)?;
        let bytes_left = bytes_max.saturating_sub(length(&header));
        let output = Output { target, bytes_left, counts: WriteCounts::default() };
        Ok(Self { file: Arc::new(Mutex::new(output)) })
    }

    /// Adds a frame; one that the file does not take is counted.
    pub fn write(&self, time_ns: u64, frame: &[u8]) {
        let mut output = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if output.write(time_ns, frame).is_ok() {
            output.counts.written_frames += 1;
        } else {
            // After half a record nothing more can be read, so nothing more is written.
            output.bytes_left = 0;
            output.counts.lost_frames += 1;
        }
    }

    /// Brings everything written so far into the file.
    pub fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).target.flush()
    }

    /// Returns what happened to the frames so far.
    pub fn counts(&self) -> WriteCounts {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).counts
    }
}

impl Output {
    /// Writes one record, if it fits.
    fn write(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        // Seconds are 32 bits in this format: the year 2106 is its end.
        let seconds = u32::try_from(time_ns / NS_PER_S).unwrap_or(u32::MAX);
        let nanoseconds = u32::try_from(time_ns % NS_PER_S).expect("below 10^9");
        let bytes = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let header = [seconds, nanoseconds, bytes, bytes].map(u32::to_le_bytes).concat();
        self.bytes_left = self
            .bytes_left
            .checked_sub(length(&header) + u64::from(bytes))
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.target.write_all(&header)?;
        self.target.write_all(frame)
    }
}

/// Returns the length of a header.
fn length(header: &[u8]) -> u64 {
    u64::try_from(header.len()).expect("a header is short")
}

#[cfg(test)]
mod tests {
    use super::super::reader::CaptureReader;
    use super::*;
    use std::io::Cursor;

    /// Memory that a test can look into while the writer holds it.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let file = Shared::default();
        let writer = PcapWriter::new(file.clone(), FILE_BYTES_MAX).unwrap();
        writer.write(3 * NS_PER_S + 4, b"frame");
        writer.clone().write(u64::MAX, b"last");
        writer.flush().unwrap();
        let written = file.0.lock().unwrap().clone();
        let mut reader = CaptureReader::new(Path::new("memory"), Cursor::new(written)).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(reader.next_frame(&mut bytes).unwrap().time_ns, 3 * NS_PER_S + 4);
        assert_eq!(bytes, b"frame");
        assert!(reader.next_frame(&mut bytes).is_some());
        assert_eq!(writer.counts(), WriteCounts { written_frames: 2, lost_frames: 0 });
    }

    #[test]
    fn a_full_file_takes_no_more_and_counts() {
        let file = Shared::default();
        let writer = PcapWriter::new(file.clone(), 24 + 2 * 20).unwrap();
        for _ in 0..5 {
            writer.write(0, b"four");
        }
        writer.flush().unwrap();
        assert_eq!(writer.counts(), WriteCounts { written_frames: 2, lost_frames: 3 });
        assert_eq!(file.0.lock().unwrap().len(), 64);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let refused = PcapWriter::create(Path::new("/nonexistent/out.pcap")).err().unwrap().to_string();
        assert!(refused.starts_with("cannot write capture /nonexistent/out.pcap: "), "{refused}");
    }
}
