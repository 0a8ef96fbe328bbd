//! Reads flow CSV, plain or gzip, a line at a time.
//!
//! Columns, in any order: `ts` (epoch seconds), `src`, `dst`, and, where they are known, `proto`, `sport`, `dport`,
//! `bytes_out`, `bytes_in` (IP bytes), `pkts_out`, `pkts_in`, `dur` (seconds), `state` (Zeek's `conn_state`),
//! `service`, `label`, `label_name`. An empty value is unknown; other columns are passed over. Rows are in order of
//! time; a row that is not takes the time of the one before it, and is counted.

use crate::conn_state;
use crate::recorded_flow::{FlowFileError, RecordedFlow, unpacked};
use csv::ByteRecord;
use meshgate_policy::{Protocol, ProtocolMatch};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Bytes of the longest line. The longest of the known files has 200.
pub const LINE_BYTES_MAX: usize = 16 * 1_024;
/// The last second that is a time: nanoseconds must fit.
const TIME_S_MAX: u64 = 10_000_000_000;
/// Bytes of a value that errors repeat.
const VALUE_SHOWN_BYTES: usize = 64;
const NS_PER_S: u64 = 1_000_000_000;

/// The columns that are read.
#[derive(Clone, Copy)]
enum Column {
    Time,
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    BytesOut,
    BytesIn,
    PacketsOut,
    PacketsIn,
    Duration,
    State,
    Service,
    Label,
    LabelName,
}

/// Their names, in the order of the enum.
pub(crate) const COLUMNS: [&str; 15] = [
    "ts",
    "src",
    "dst",
    "proto",
    "sport",
    "dport",
    "bytes_out",
    "bytes_in",
    "pkts_out",
    "pkts_in",
    "dur",
    "state",
    "service",
    "label",
    "label_name",
];
/// Those without which there is no flow.
const REQUIRED: usize = 3;

/// The flows of one file.
pub struct FlowCsv {
    path: PathBuf,
    rows: csv::Reader<BoundedLines<Box<dyn BufRead + Send>>>,
    /// Where each column stands.
    places: [Option<usize>; COLUMNS.len()],
    row: ByteRecord,
    time_ns: u64,
    rows_unordered: u64,
    is_over: bool,
}

impl FlowCsv {
    /// Opens a file and reads its head.
    pub fn open(path: &Path) -> Result<Self, FlowFileError> {
        let file = File::open(path).map_err(|source| FlowFileError::File { path: path.into(), source })?;
        Self::new(path, file)
    }

    /// Reads from anything; `path` only names it in errors.
    pub fn new(path: &Path, input: impl Read + Send + 'static) -> Result<Self, FlowFileError> {
        let text = unpacked(input).map_err(|source| FlowFileError::File { path: path.into(), source })?;
        let mut rows = csv::ReaderBuilder::new().flexible(false).from_reader(BoundedLines::new(text));
        let names = match rows.byte_headers() {
            Ok(names) => names.clone(),
            Err(error) => return Err(line_error(path, 1, &error)),
        };
        let places = places(path, &names)?;
        let row = ByteRecord::new();
        Ok(Self { path: path.into(), rows, places, row, time_ns: 0, rows_unordered: 0, is_over: false })
    }

    /// Returns how many rows were earlier than the one before them.
    pub fn rows_unordered(&self) -> u64 {
        self.rows_unordered
    }

    fn read(&mut self) -> Result<Option<RecordedFlow>, FlowFileError> {
        let line = self.rows.position().line();
        match self.rows.read_byte_record(&mut self.row) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => return Err(line_error(&self.path, line, &error)),
        }
        let line = self.row.position().map_or(line, csv::Position::line);
        let mut flow = Fields { path: &self.path, line, row: &self.row, places: &self.places }.flow()?;
        self.rows_unordered += u64::from(flow.time_ns < self.time_ns);
        self.time_ns = self.time_ns.max(flow.time_ns);
        flow.time_ns = self.time_ns;
        Ok(Some(flow))
    }
}

impl Iterator for FlowCsv {
    type Item = Result<RecordedFlow, FlowFileError>;

    /// Returns the next flow. After an error nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Returns where the columns stand.
fn places(path: &Path, names: &ByteRecord) -> Result<[Option<usize>; COLUMNS.len()], FlowFileError> {
    let mut places = [None; COLUMNS.len()];
    for (column, place) in COLUMNS.into_iter().zip(&mut places) {
        let mut found = names.iter().enumerate().filter(|(_, name)| name.trim_ascii() == column.as_bytes());
        *place = found.next().map(|(at, _)| at);
        if found.next().is_some() {
            return Err(FlowFileError::Column { path: path.into(), column, fault: "there twice" });
        }
    }
    match COLUMNS.into_iter().zip(places).take(REQUIRED).find(|(_, place)| place.is_none()) {
        Some((column, _)) => Err(FlowFileError::Column { path: path.into(), column, fault: "missing" }),
        None => Ok(places),
    }
}

fn line_error(path: &Path, line: u64, error: &csv::Error) -> FlowFileError {
    let line = error.position().map_or(line, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} values, and the head names {expected_len}")
        }
        _ => "not CSV".to_owned(),
    };
    FlowFileError::Line { path: path.into(), line, reason }
}

/// The values of one row.
struct Fields<'a> {
    path: &'a Path,
    line: u64,
    row: &'a ByteRecord,
    places: &'a [Option<usize>; COLUMNS.len()],
}

impl Fields<'_> {
    fn flow(&self) -> Result<RecordedFlow, FlowFileError> {
        let time_ns = self.required(Column::Time, "a time in seconds since 1970", nanoseconds)?;
        let address = |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let source = self.required(Column::Source, "an address", address)?;
        let destination = self.required(Column::Destination, "an address", address)?;
        let count = "a count";
        let mut flow = RecordedFlow {
            source_port: self.optional(Column::SourcePort, "a port", port)?,
            destination_port: self.optional(Column::DestinationPort, "a port", port)?,
            bytes_forward: self.optional(Column::BytesOut, count, whole)?,
            bytes_reverse: self.optional(Column::BytesIn, count, whole)?,
            packets_forward: self.optional(Column::PacketsOut, count, whole)?,
            packets_reverse: self.optional(Column::PacketsIn, count, whole)?,
            duration_ns: self.optional(Column::Duration, "a time in seconds", nanoseconds)?,
            ..RecordedFlow::between(time_ns, source, destination)
        };
        let protocol = |text: &str| protocol(text, source);
        flow.protocol = self.optional(Column::Protocol, "a protocol", protocol)?.flatten();
        let text = |column| self.optional(column, "text", |text| Some(text.to_owned()));
        let (state, service) = (text(Column::State)?.unwrap_or_default(), text(Column::Service)?);
        flow.answered = conn_state::answered(&flow, &state, &service.unwrap_or_default());
        let (label, name) = (text(Column::Label)?, text(Column::LabelName)?);
        Ok(flow.with_labels(&label.unwrap_or_default(), &name.unwrap_or_default()))
    }

    /// Returns the value of a column; none if it is empty or there is no such column.
    fn optional<T>(
        &self,
        column: Column,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, FlowFileError> {
        let place = self.places[column as usize];
        let bytes = place.and_then(|place| self.row.get(place)).unwrap_or_default().trim_ascii();
        if bytes.is_empty() {
            return Ok(None);
        }
        let value = std::str::from_utf8(bytes).ok().and_then(read);
        value.map(Some).ok_or_else(|| self.fault(column, bytes, wanted))
    }

    fn required<T>(
        &self,
        column: Column,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, FlowFileError> {
        self.optional(column, wanted, read)?.ok_or_else(|| self.fault(column, b"", wanted))
    }

    fn fault(&self, column: Column, value: &[u8], wanted: &'static str) -> FlowFileError {
        let shown = &value[..value.len().min(VALUE_SHOWN_BYTES)];
        FlowFileError::Value {
            path: self.path.into(),
            line: self.line,
            column: COLUMNS[column as usize],
            value: String::from_utf8_lossy(shown).into_owned(),
            wanted,
        }
    }
}

/// Returns nanoseconds of decimal seconds. Digits behind the ninth are cut; `1e-06` is read too.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(seconds) || !is_plain(fraction) {
        return nanoseconds_of_exponent(text);
    }
    let seconds = seconds.parse::<u64>().ok().filter(|seconds| *seconds <= TIME_S_MAX)?;
    let digits = &fraction[..fraction.len().min(9)];
    let scale = 10_u64.pow(9 - u32::try_from(digits.len()).ok()?);
    let rest = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? * scale };
    Some(seconds * NS_PER_S + rest)
}

fn nanoseconds_of_exponent(text: &str) -> Option<u64> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let seconds = text.parse::<f64>().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "ten digits are exact in 53 bits")]
    let is_time = (0.0..=TIME_S_MAX as f64).contains(&seconds);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "handed on only if between 0 and TIME_S_MAX seconds, which fit as nanoseconds"
    )]
    let time_ns = (seconds * 1e9) as u64;
    is_time.then_some(time_ns)
}

/// Returns a count. Tables that passed through floating point write `3.0`.
fn whole(text: &str) -> Option<u64> {
    let digits = text.strip_suffix(".0").unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn port(text: &str) -> Option<u16> {
    whole(text).and_then(|port| u16::try_from(port).ok())
}

/// Returns the protocol; `Some(None)` where the record says that it does not know. ICMP between IPv6 addresses is
/// ICMPv6.
fn protocol(text: &str, source: IpAddr) -> Option<Option<Protocol>> {
    if text == "-" || text == "unknown_transport" {
        return Some(None);
    }
    match text.parse().ok()? {
        ProtocolMatch::Any => Some(None),
        ProtocolMatch::Is(Protocol::ICMP) if source.is_ipv6() => Some(Some(Protocol::ICMPV6)),
        ProtocolMatch::Is(protocol) => Some(Some(protocol)),
    }
}

/// Passes text on and refuses a line that is too long, or a quoted value that goes over the end of its line: either
/// would let a file fill memory with a single row.
struct BoundedLines<R> {
    inner: R,
    line_bytes: usize,
    is_quoted: bool,
}

impl<R> BoundedLines<R> {
    fn new(inner: R) -> Self {
        Self { inner, line_bytes: 0, is_quoted: false }
    }
}

impl<R: Read> Read for BoundedLines<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        for byte in &into[..length] {
            self.line_bytes += 1;
            match byte {
                b'\n' if self.is_quoted => {
                    return Err(io::Error::other("a quoted value goes over the end of its line"));
                }
                b'\n' => self.line_bytes = 0,
                b'"' => self.is_quoted = !self.is_quoted,
                _ => {}
            }
            if self.line_bytes > LINE_BYTES_MAX {
                return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const HEAD: &str = "ts,src,dst,proto,sport,dport,bytes_out,bytes_in,pkts_out,pkts_in,dur,state,service,label,label_name\n";

    fn read_bytes(bytes: &[u8]) -> Result<Vec<RecordedFlow>, FlowFileError> {
        FlowCsv::new(Path::new("flows.csv"), io::Cursor::new(bytes.to_vec()))?.collect()
    }

    fn read(rows: &str) -> Result<Vec<RecordedFlow>, FlowFileError> {
        read_bytes(format!("{HEAD}{rows}").as_bytes())
    }

    fn fault(rows: &str) -> String {
        read(rows).unwrap_err().to_string()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_row_with_everything_is_read_whole() {
        let flows = read(
            "1588205198.903350,10.0.1.4,10.0.0.4,tcp,60595,445,1307,2133,12,11,10.5,RSTO,\"krb,smb\",1,c2\n",
        )
        .unwrap();
        let flow = &flows[0];
        let expected = RecordedFlow {
            protocol: Some(Protocol::TCP),
            source_port: Some(60_595),
            destination_port: Some(445),
            bytes_forward: Some(1_307),
            bytes_reverse: Some(2_133),
            packets_forward: Some(12),
            packets_reverse: Some(11),
            duration_ns: Some(10_500_000_000),
            answered: Some(true),
            ..RecordedFlow::between(1_588_205_198_903_350_000, [10, 0, 1, 4].into(), [10, 0, 0, 4].into())
        };
        assert_eq!(*flow, expected.with_labels("1", "c2"));
        assert_eq!((flow.label_for_scoring(), flow.label_name_for_scoring()), (Some("1"), Some("c2")));
    }

    #[test]
    fn empty_values_are_unknown_and_so_is_what_has_no_column() {
        let flow = read("5,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n").unwrap().remove(0);
        let bare = RecordedFlow::between(5_000_000_000, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!(flow, bare);
        let short = read_bytes(b"ts,src,dst,label\r\n5,10.0.0.1,10.0.0.2,-\r\n").unwrap();
        assert_eq!(short, [bare.with_labels("-", "")]);
    }

    #[test]
    fn icmp_of_version_six_is_its_own_protocol_and_its_service_is_the_type() {
        let flow = read("5,fe80::1,ff02::2,icmp,133,134,168,0,3,0,8,OTH,,,\n").unwrap().remove(0);
        assert_eq!((flow.protocol, flow.service_port()), (Some(Protocol::ICMPV6), 133));
        assert_eq!(flow.answered, Some(false));
    }

    #[test]
    fn seconds_are_read_to_the_nanosecond() {
        let cases = [
            ("0", 0),
            ("18.836741", 18_836_741_000),
            ("1.0015780925750732422", 1_001_578_092),
            ("1e-06", 1_000),
        ];
        cases.iter().for_each(|(text, expected)| assert_eq!(nanoseconds(text), Some(*expected), "{text}"));
        for text in ["NaN", "inf", "-1", "-0.5", "1e400", "99999999999", "+1", "1.5.5", "0x10", "1e-", "."] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }

    #[test]
    fn values_that_are_none_are_refused_by_file_line_and_column() {
        let good = "5,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n";
        let cases = [
            ("NaN,10.0.0.1,10.0.0.2,,,,,,,,,,,,", "ts \"NaN\""),
            ("-5,10.0.0.1,10.0.0.2,,,,,,,,,,,,", "ts \"-5\""),
            (",10.0.0.1,10.0.0.2,,,,,,,,,,,,", "ts \"\""),
            ("5,10.0.0.256,10.0.0.2,,,,,,,,,,,,", "src \"10.0.0.256\""),
            ("5,10.0.0.1,,,,,,,,,,,,,", "dst \"\""),
            ("5,10.0.0.1,10.0.0.2,quic,,,,,,,,,,,", "proto \"quic\""),
            ("5,10.0.0.1,10.0.0.2,,-1,,,,,,,,,,", "sport \"-1\""),
            ("5,10.0.0.1,10.0.0.2,,,65536,,,,,,,,,", "dport \"65536\""),
            ("5,10.0.0.1,10.0.0.2,,,,1.5,,,,,,,,", "bytes_out \"1.5\""),
            ("5,10.0.0.1,10.0.0.2,,,,,,,99999999999999999999,,,,,", "pkts_in"),
            ("5,10.0.0.1,10.0.0.2,,,,,,,,inf,,,,", "dur \"inf\""),
            ("5,10.0.0.1", "2 values, and the head names 15"),
        ];
        for (row, expected) in cases {
            let text = fault(&format!("{good}{row}\n"));
            assert!(text.starts_with("flows.csv line 3: ") && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn heads_without_a_needed_column_or_with_one_twice_are_refused() {
        let head = |text: &str| read_bytes(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(head("ts,src\n"), "flows.csv: column dst is missing");
        assert_eq!(head("ts,src,dst,dst\n"), "flows.csv: column dst is there twice");
        assert!(head("").contains("missing"));
    }

    #[test]
    fn long_lines_and_open_quotes_end_the_reading() {
        let long = "x".repeat(LINE_BYTES_MAX);
        assert!(fault(&format!("5,10.0.0.1,10.0.0.2,,,,,,,,,,{long},,\n")).contains("longer than"));
        let open = "5,10.0.0.1,10.0.0.2,,,,,,,,,,\"x\n".to_owned() + &"y\n".repeat(100);
        assert!(fault(&open).contains("quoted"));
    }

    #[test]
    fn gzip_is_read_and_a_truncated_file_is_an_error_that_names_it() {
        let rows: String = (0..5_000)
            .map(|at| format!("{at},10.0.0.1,10.0.{}.{},,,,,,,,,,,,\n", at / 256, at % 256))
            .collect();
        let packed = gzip(format!("{HEAD}{rows}").as_bytes());
        assert_eq!(read_bytes(&packed).unwrap().len(), 5_000);
        let mut flows =
            FlowCsv::new(Path::new("cut.csv.gz"), io::Cursor::new(packed[..packed.len() / 2].to_vec()))
                .unwrap();
        let error = flows.find_map(Result::err).unwrap().to_string();
        assert!(error.starts_with("cut.csv.gz line "), "{error}");
        assert!(flows.next().is_none());
        assert!(read_bytes(&packed[..1]).is_err() && read_bytes(&packed[..2]).is_err());
    }

    #[test]
    fn a_row_out_of_order_takes_the_time_of_the_one_before() {
        let text = format!("{HEAD}9,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n5,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n");
        let mut flows = FlowCsv::new(Path::new("x"), io::Cursor::new(text.into_bytes())).unwrap();
        let times: Vec<u64> = flows.by_ref().map(|flow| flow.unwrap().time_ns).collect();
        assert_eq!((times, flows.rows_unordered()), (vec![9_000_000_000; 2], 1));
    }
}
