//! Policy files: TOML, YAML or JSON, read with every mistake placed by line and column, and written so that reading
//! gives the same policy again.

use crate::failure::Failure;
use clap::ValueEnum;
use meshgate_policy::{AuthoredPolicy, Numbering, PolicyFault, PolicyVersion, resolve};
use serde::Deserializer;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Bytes of the largest policy file: about twice the largest policy that the limits permit.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How a policy file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tom's obvious minimal language.
    #[value(help = None::<&str>)]
    Toml,
    /// YAML.
    #[value(help = None::<&str>)]
    Yaml,
    /// JSON.
    #[value(help = None::<&str>)]
    Json,
}

/// Why a policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is larger than any policy.
    #[error("{0} is larger than {FILE_BYTES_MAX} bytes, which no policy is")]
    TooLarge(String),
    /// Its name says nothing of its format.
    #[error("{0}: the name does not end in .toml, .yaml, .yml or .json; say which with --format")]
    Format(String),
    /// It holds nothing, which would delete everything.
    #[error("{0} is empty; to delete everything on purpose write default_action = \"deny\" and nothing else")]
    Empty(String),
    /// A place in it cannot be understood.
    #[error("{path}:{line}:{column}: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It can be read, and its parts do not go together. One line a fault.
    #[error("{}", Faulty(path, faults))]
    Faults {
        /// The file.
        path: String,
        /// Everything that is wrong.
        faults: Vec<PolicyFault>,
    },
}

struct Faulty<'a>(&'a str, &'a [PolicyFault]);

impl fmt::Display for Faulty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, faults) = self;
        for (at, fault) in faults.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{path}: {fault}")?;
        }
        Ok(())
    }
}

/// Reads a policy file, `-` for standard input (TOML if no format is given), and checks it as the control plane would.
pub fn read(path: &Path, format: Option<Format>) -> Result<AuthoredPolicy, FileError> {
    let is_input = path == Path::new("-");
    let name = name_of(path);
    let format = match format.or_else(|| format_of(path)) {
        Some(format) => format,
        None if is_input => Format::Toml,
        None => return Err(FileError::Format(name)),
    };
    let text = text_of(path)?;
    let policy = parse(&text, format, &name)?;
    check(&policy, name)?;
    Ok(policy)
}

/// Returns what a file is called in messages.
pub fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Returns the text of a file, `-` for standard input.
pub fn text_of(path: &Path) -> Result<String, FileError> {
    let name = name_of(path);
    if path == Path::new("-") { read_all(std::io::stdin().lock(), &name) } else { read_file(path, &name) }
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "toml" => Some(Format::Toml),
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        _ => None,
    }
}

fn read_file(path: &Path, name: &str) -> Result<String, FileError> {
    let file = std::fs::File::open(path).map_err(|cause| FileError::Read { path: name.to_owned(), cause })?;
    read_all(file, name)
}

fn read_all(from: impl Read, name: &str) -> Result<String, FileError> {
    let mut text = String::new();
    let read = from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|cause| FileError::Read { path: name.to_owned(), cause })?;
    let is_too_large = u64::try_from(bytes).is_ok_and(|bytes| bytes > FILE_BYTES_MAX);
    if is_too_large { Err(FileError::TooLarge(name.to_owned())) } else { Ok(text) }
}

/// Reads the text of a policy file.
fn parse(text: &str, format: Format, name: &str) -> Result<AuthoredPolicy, FileError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(FileError::Empty(name.to_owned()));
    }
    let at = |(line, column): (usize, usize), reason| FileError::Syntax {
        path: name.to_owned(),
        line,
        column,
        reason,
    };
    match format {
        Format::Toml => {
            toml::Deserializer::parse(text).map_err(Mistake::bare).and_then(keyed).map_err(|error| {
                let offset = error.inner.span().map_or(0, |span| span.start);
                at(place(text, offset), error.reason(error.inner.message()))
            })
        }
        Format::Yaml => keyed(serde_norway::Deserializer::from_str(text)).map_err(|error| {
            let place = error.inner.location().map_or((1, 1), |place| (place.line(), place.column()));
            at(place, error.reason(&error.inner.to_string()))
        }),
        Format::Json => {
            let mut reader = serde_json::Deserializer::from_str(text);
            let policy = keyed(&mut reader);
            let policy = policy.and_then(|policy| reader.end().map(|()| policy).map_err(Mistake::bare));
            policy.map_err(|error| {
                at((error.inner.line(), error.inner.column()), error.reason(&error.inner.to_string()))
            })
        }
    }
}

/// What a reader does not like, and the path of keys to it; no path where the text has no form at all.
struct Mistake<E> {
    keys: String,
    inner: E,
}

impl<E> Mistake<E> {
    fn bare(inner: E) -> Self {
        Self { keys: String::new(), inner }
    }

    /// Returns the message of the reader in one line, behind the path of keys and without the place at its end.
    fn reason(&self, message: &str) -> String {
        let message = message.rsplit_once(" at line ").map_or(message, |(reason, _)| reason);
        let reason = message.lines().collect::<Vec<_>>().join("; ");
        // One of the readers says a part of the path itself.
        let reason = match reason.split_once(": ") {
            Some((path, rest)) if !path.is_empty() && self.keys.starts_with(path) => rest,
            _ => &reason,
        };
        let quotes = reason.starts_with("invalid type: integer") && reason.ends_with("expected a string");
        let hint = if quotes { "; write it in quotes" } else { "" };
        if self.keys.is_empty() {
            format!("{reason}{hint}")
        } else {
            format!("{}: {reason}{hint}", self.keys)
        }
    }
}

/// Reads the policy and keeps the path of keys to a mistake.
fn keyed<'de, D: Deserializer<'de>>(reader: D) -> Result<AuthoredPolicy, Mistake<D::Error>> {
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let keys = error.path().to_string();
        Mistake { keys: if keys == "." { String::new() } else { keys }, inner: error.into_inner() }
    })
}

/// Returns line and column, both from 1, of a byte offset.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Resolves the policy as the control plane would, for its faults only.
fn check(policy: &AuthoredPolicy, path: String) -> Result<(), FileError> {
    let mut numbered = policy.clone();
    let mut numbering = Numbering::default();
    if numbering.assign(&mut numbered).is_err() {
        return Ok(()); // Numbers are the control plane's business; it will say so itself.
    }
    let resolved = resolve(&numbered, &numbering, PolicyVersion(1));
    resolved.map(|_| ()).map_err(|faults| FileError::Faults { path, faults })
}

/// Returns the policy as the text of a policy file.
pub fn write(policy: &AuthoredPolicy, format: Format, version: u64) -> Result<String, Failure> {
    let unwritable = |format, reason: String| Failure::Unwritable { format, reason };
    let head = format!(
        "# Meshgate policy, version {version}. `meshgate apply -f FILE` makes it the policy again.\n"
    );
    match format {
        Format::Toml => {
            let text = toml::to_string(policy).map_err(|error| unwritable("TOML", error.to_string()))?;
            Ok(head + &text)
        }
        Format::Yaml => {
            let text =
                serde_norway::to_string(policy).map_err(|error| unwritable("YAML", error.to_string()))?;
            Ok(head + &text)
        }
        Format::Json => crate::session::json(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
default_action = "deny"

[[segments]]
name = "blue"

[[endpoints]]
name = "web-1"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1", "fd00::1"]
labels = { role = "web", "odd key" = "x: y" }
home = { host = "h1", device = "tap0" }
flags = { router = true }
routes = ["10.9.0.0/16"]

[[groups]]
name = "WebServers"
selector = { role = "web" }
intra_group = "deny"

[[groups]]
name = "Office"
segment = "blue"
prefixes = ["192.0.2.0/24"]

[[relationships]]
id = 7
sourceGroupName = "WebServers"
destinationGroupName = "Office"
protocol = "TCP"
portRange = "22"
action = "allow"
priority = 60001
note = 'quotes " and # marks'

[[rules]]
group_name = "WebServers"
direction = "ingress"
protocol = "ICMP"
icmp_type = 8
action = "reject"
mode = "shadow"
"#;

    #[test]
    fn what_is_written_reads_as_the_same_policy_in_every_format() {
        let policy = parse(POLICY, Format::Toml, "p").unwrap();
        check(&policy, "p".into()).unwrap();
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            let text = write(&policy, format, 3).unwrap();
            assert_eq!(parse(&text, format, "p").unwrap(), policy, "{format:?}:\n{text}");
        }
        let empty = write(&AuthoredPolicy::default(), Format::Toml, 0).unwrap();
        assert_eq!(parse(&empty, Format::Toml, "p").unwrap(), AuthoredPolicy::default());
    }

    fn refusal(text: &str, format: Format) -> String {
        parse(text, format, "p").unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_column() {
        let text = POLICY.replace("portRange", "portRang");
        let shown = refusal(&text, Format::Toml);
        assert!(
            shown.starts_with("p:31:1: relationships[0].portRang: unknown field `portRang`, expected one of"),
            "{shown}"
        );
        let yaml = "default_action: deny\ngroups:\n- name: Web\n  selektor: {a: b}\n";
        let shown = refusal(yaml, Format::Yaml);
        assert!(shown.starts_with("p:4:3: groups[0].selektor: unknown field `selektor`"), "{shown}");
    }

    #[test]
    fn a_bad_value_is_placed_under_its_key() {
        let text = POLICY.replace("\"22\"", "\"8080-80\"");
        let shown = refusal(&text, Format::Toml);
        assert_eq!(
            shown,
            "p:31:13: relationships[0].portRange: port range 8080-80 is backwards: 8080 is above 80"
        );
        let text = POLICY.replace("\"22\"", "22");
        let shown = refusal(&text, Format::Toml);
        assert_eq!(
            shown,
            "p:31:13: relationships[0].portRange: invalid type: integer `22`, expected a string; write it in quotes"
        );
        let shown = refusal("default_action: deny\ngroups:\n- name: a b\n", Format::Yaml);
        assert!(shown.starts_with("p:3:3: groups[0].name: name \"a b\": character ' '"), "{shown}");
    }

    #[test]
    fn a_yaml_port_needs_no_quotes() {
        let yaml = "relationships:\n- {sourceGroupName: any, destinationGroupName: any, protocol: TCP, \
                    portRange: 22, action: allow}\n";
        assert_eq!(parse(yaml, Format::Yaml, "p").unwrap().relationships[0].port_range.to_string(), "22");
    }

    #[test]
    fn an_empty_file_never_deletes_everything() {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            assert!(refusal("# nothing\n \n", format).starts_with("p is empty"), "{format:?}");
        }
    }

    #[test]
    fn every_fault_of_the_whole_is_a_line_of_its_own() {
        let text =
            POLICY.replace("name = \"Office\"", "name = \"Lab\"").replace("role = \"web\"", "r = \"w\"");
        let text = text.replace("protocol = \"TCP\"", "protocol = \"ICMP\"");
        let policy = parse(&text, Format::Toml, "p").unwrap();
        let shown = check(&policy, "p".into()).unwrap_err().to_string();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(
            shown.contains("no group \"Office\"") && shown.contains("port_range: ICMP has no ports"),
            "{shown}"
        );
    }
}
