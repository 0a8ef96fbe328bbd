//! The frames of a capture, as they are.

use super::Cycle;
use af_xdp::{GENERATED_BYTES_MAX, GENERATED_BYTES_MIN, Template};
use meshgate_dataplane::device::pcap::{CaptureError, CaptureReader};
use meshgate_policy::Mac;
use std::path::{Path, PathBuf};

/// Most bytes of all frames together.
const CAPTURE_BYTES_MAX: usize = 512 << 20;
/// Most frames.
const CAPTURE_FRAMES_MAX: usize = 1 << 20;

/// Which MACs of the frames are replaced; nothing else ever is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacRewrite {
    /// Instead of all sources.
    pub source: Option<Mac>,
    /// Instead of all destinations.
    pub destination: Option<Mac>,
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureRefusal {
    /// It cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// It holds no frame that can be sent.
    #[error("{path}: no frame of 14 to {GENERATED_BYTES_MAX} bytes that is there whole", path = .0.display())]
    Empty(PathBuf),
    /// It holds too many.
    #[error("{path}: more than {CAPTURE_FRAMES_MAX} frames or {CAPTURE_BYTES_MAX} bytes", path = .0.display())]
    TooLarge(PathBuf),
}

/// A capture read.
#[derive(Debug)]
pub struct Captured {
    /// Its frames.
    pub cycle: Cycle,
    /// Frames left out because they are too short or too long for the generator.
    pub unfit_frames: u64,
    /// Frames left out because the capture holds only their beginning.
    pub snapped_frames: u64,
}

impl Captured {
    /// Reads a pcap or pcapng file.
    pub fn read(path: &Path, rewrite: MacRewrite) -> Result<Self, CaptureRefusal> {
        let mut reader = CaptureReader::open(path)?;
        let mut templates = Vec::new();
        let (mut longest, mut unfit_frames, mut snapped_frames) = (0, 0, 0);
        let mut bytes = Vec::new();
        while let Some(frame) = reader.next_frame(&mut bytes) {
            if bytes.len() < frame.wire_bytes as usize {
                snapped_frames += 1;
                continue;
            }
            if !(GENERATED_BYTES_MIN..=GENERATED_BYTES_MAX).contains(&bytes.len()) {
                unfit_frames += 1;
                continue;
            }
            for (place, mac) in [(0, rewrite.destination), (6, rewrite.source)] {
                if let Some(mac) = mac {
                    bytes[place..place + 6].copy_from_slice(&mac.0);
                }
            }
            longest = longest.max(bytes.len());
            let frame_bytes = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            templates.push(Template { head: bytes.clone(), frame_bytes, changing: None });
            // Each takes as much of the generator's table as the longest one.
            if templates.len() > CAPTURE_FRAMES_MAX || templates.len() * longest > CAPTURE_BYTES_MAX {
                return Err(CaptureRefusal::TooLarge(path.into()));
            }
        }
        if templates.is_empty() {
            return Err(CaptureRefusal::Empty(path.into()));
        }
        Ok(Self { cycle: Cycle { templates, new_flows_before_repeat: 0 }, unfit_frames, snapped_frames })
    }
}
