//! Exchanges of TCP segments written by hand, and how they are read.
//!
//! A case begins with `case: WHAT IT SHOWS`; each line behind it is a segment of the client (C) or the server (S):
//!
//! ```text
//!   C S  100 win 64240 scale 7            a SYN with number 100, that passes
//!   S SA 500 ack 101 win 65160 scale 7    -> syn-received    and after which the connection is there
//! ! S A  501+10 ack 999                   a segment of 10 bytes that is dropped and changes nothing
//! * C S  900 win 64240                    a SYN that begins a new connection
//! ```
//!
//! Flags are S, A, F, R and P. Without `win` the window is 502, without `scale` there is no such option. `#` begins a
//! remark. A case `case (numbers only): ...` has segments that no frame of the laboratory can hold.

use meshgate_dataplane::flow_table::TcpState;
use meshgate_dataplane::packet::{TcpFields, TcpFlags};
use std::path::Path;

/// What is to become of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Passes,
    IsDropped,
    BeginsAnew,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it stands, for messages.
    pub place: String,
    pub expected: Expected,
    pub is_client: bool,
    pub tcp: TcpFields,
    /// Where the connection is to stand afterwards.
    pub state: Option<TcpState>,
}

/// An exchange.
#[derive(Clone, Debug)]
pub struct Case {
    pub title: String,
    /// Whether it is to be sent through a worker, too.
    pub is_for_frames: bool,
    pub lines: Vec<Line>,
}

/// Returns all cases of `tests/state/tcp`.
pub fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/tcp");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let name = path.file_name().unwrap().to_string_lossy();
    for (number, text) in (1..).zip(std::fs::read_to_string(path).unwrap().lines()) {
        let place = format!("{name}:{number}");
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        if let Some(title) = text.strip_prefix("case") {
            let (marks, title) = title.split_once(':').expect("a case has a title");
            let is_for_frames = marks.trim().is_empty();
            cases.push(Case { title: title.trim().to_owned(), is_for_frames, lines: Vec::new() });
        } else {
            let line = line(text, &place).unwrap_or_else(|| panic!("{place}: {text:?} is no segment"));
            cases.last_mut().expect("a line follows a case").lines.push(line);
        }
    }
    cases
}

fn line(text: &str, place: &str) -> Option<Line> {
    let (text, state) = match text.split_once("->") {
        Some((text, state)) => (text, Some(state_named(state.trim())?)),
        None => (text, None),
    };
    let mut words = text.split_whitespace().peekable();
    let expected = match *words.peek()? {
        "!" => Expected::IsDropped,
        "*" => Expected::BeginsAnew,
        _ => Expected::Passes,
    };
    if expected != Expected::Passes {
        words.next();
    }
    let is_client = match words.next()? {
        "C" => true,
        "S" => false,
        _ => return None,
    };
    let flags = flags_named(words.next()?)?;
    let (sequence, payload_bytes) = match words.next()?.split_once('+') {
        Some((sequence, bytes)) => (sequence.parse().ok()?, bytes.parse().ok()?),
        None => (text.split_whitespace().find_map(|word| word.parse().ok())?, 0),
    };
    let mut tcp = TcpFields {
        flags,
        sequence,
        acknowledgment: 0,
        window: 502,
        window_scale: None,
        segment_bytes_max: None,
        payload_bytes,
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word {
            "ack" => tcp.acknowledgment = value.parse().ok()?,
            "win" => tcp.window = value.parse().ok()?,
            "scale" => tcp.window_scale = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(Line { place: place.to_owned(), expected, is_client, tcp, state })
}

fn flags_named(letters: &str) -> Option<TcpFlags> {
    letters.chars().try_fold(TcpFlags::default(), |flags, letter| {
        let flag = match letter {
            'S' => TcpFlags::SYN,
            'A' => TcpFlags::ACK,
            'F' => TcpFlags::FIN,
            'R' => TcpFlags::RST,
            'P' => TcpFlags::PSH,
            _ => return None,
        };
        Some(flags | flag)
    })
}

fn state_named(word: &str) -> Option<TcpState> {
    Some(match word {
        "syn-sent" => TcpState::SynSent,
        "syn-received" => TcpState::SynReceived,
        "established" => TcpState::Established,
        "closing" => TcpState::Closing,
        "last-ack" => TcpState::LastAck,
        "closed" => TcpState::Closed,
        "reset" => TcpState::Reset,
        _ => return None,
    })
}
