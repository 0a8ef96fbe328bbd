//! The configuration file of the dataplane: TOML, unknown keys refused.

mod flow_ring;
mod timeouts;

pub use flow_ring::FlowRingConfig;
pub use timeouts::TimeoutConfig;

use crate::binding::{DeviceRole, Role};
use crate::flow_table::FLOWS_MAX;
use crate::metrics::MetricsListen;
use crate::packet::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, Tags};
use meshgate_policy::{Action, Mac, Name, limits::DEVICE_NAME_BYTES_MAX};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Devices of one host.
pub const DEVICES_MAX: usize = 64;
/// Most workers of one host.
const WORKERS_MAX_U32: u32 = 64;
const _: () = assert!(WORKERS_MAX_U32 as usize == crate::worker::WORKERS_MAX);
/// Ethertypes of tags: behind them is what a rule would have to judge. 802.1Q, 802.1ad, what was in use before it, and
/// provider backbone bridges.
const TAG_ETHERTYPES: [u16; 6] = [ETHERTYPE_VLAN, ETHERTYPE_SERVICE_VLAN, 0x9100, 0x9200, 0x9300, 0x88e7];
/// Bytes of the largest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration is refused. Each names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is no TOML of the right form.
    #[error("{0}: {1}")]
    Syntax(PathBuf, String),
    /// A value is out of its range.
    #[error("{0}: {1}: {2}")]
    Value(PathBuf, String, String),
}

/// Everything a dataplane is told at start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this host, unique among all hosts of the control plane.
    pub host: Name,
    /// Where control listens: `http://127.0.0.1:7600` or `unix:/run/meshgate/control.sock`.
    #[serde(default = "default_control")]
    pub control: String,
    /// Where the last accepted policy is kept.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// What happens to packets before any policy was ever accepted.
    #[serde(default = "deny")]
    pub start_action: Action,
    /// Worker threads, 1 to 64. Each has queues of devices, a share of packet memory and of flows.
    #[serde(default = "one")]
    pub workers: u16,
    /// Processors that the workers are pinned to, one for each; empty leaves it to the kernel.
    #[serde(default)]
    pub cpus: Vec<usize>,
    /// How workers wait for frames.
    #[serde(default)]
    pub polling: Polling,
    /// Turns without work before an adaptive worker sleeps.
    #[serde(default = "default_idle_spins")]
    pub idle_spins: u32,
    /// Frames of packet memory, shared by all devices.
    #[serde(default = "default_frames")]
    pub frames: u32,
    /// Bytes of one frame: 2048 or 4096.
    #[serde(default = "default_frame_bytes")]
    pub frame_bytes: u32,
    /// Flows that can be tracked at once.
    #[serde(default = "default_flows_max")]
    pub flows_max: u32,
    /// How often a flow that goes on is reported.
    #[serde(default = "default_active_report_s")]
    pub active_report_s: u32,
    /// One in how many flows is recorded.
    #[serde(default = "one")]
    pub sampling_rate: u16,
    /// Whether connections are taken up in the middle.
    #[serde(default = "yes")]
    pub pickup: bool,
    /// How long after the start they are taken up on the word of the answering side.
    #[serde(default = "default_pickup_window_s")]
    pub pickup_window_s: u32,
    /// Whether an uplink may be taken that carries an address or the default route.
    #[serde(default)]
    pub take_uplink: bool,
    /// Where flow records are handed to a learner; none keeps them from leaving.
    #[serde(default)]
    pub flow_ring: Option<FlowRingConfig>,
    /// How long flows may be silent.
    #[serde(default)]
    pub timeouts: TimeoutConfig,
    /// Where counters are offered to Prometheus: `127.0.0.1:9600` or `unix:/run/meshgate/metrics.sock`; none keeps them.
    #[serde(default)]
    pub metrics: Option<MetricsListen>,
    /// Whether that may be an address that others reach: whoever does sees names of devices and numbers of rules.
    #[serde(default)]
    pub metrics_beyond_loopback: bool,
    /// Devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceConfig>,
}

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polling {
    /// Spin while there is work, then sleep until a device is ready.
    #[default]
    Adaptive,
    /// Never sleep. Takes the whole core.
    Spin,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name, as the kernel knows it.
    pub name: String,
    /// Role: `endpoint`, `uplink` or `host`.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// Segment of untagged frames. If absent, `default`; for a device with `vlans`, none: untagged frames are dropped.
    #[serde(default)]
    pub segment: Option<Name>,
    /// Segments of tagged frames, by VLAN number: `100`, `s100` for a service tag (0x88a8), `s100.7` or `100.7` for a
    /// customer tag within another one. A frame with other tags than those listed is dropped.
    #[serde(default)]
    pub vlans: BTreeMap<String, Name>,
    /// In a replay: MACs of the senders whose frames enter here. Otherwise without meaning.
    #[serde(default)]
    pub macs: Vec<Mac>,
    /// Ethertypes that pass beside IPv4, IPv6 and ARP.
    #[serde(default)]
    pub ethertypes: Vec<u16>,
    /// Whether senders behind this device may leave L4 checksums to it, as a kernel does at the far end of a veth or
    /// tap. Such a checksum is finished on the way out; where none may come, its packet counts as `bad-l4-checksum`.
    /// If absent, yes for `endpoint` and `host`, no for `uplink`: what a wire brings is complete. To be set to true
    /// for an uplink that is a veth or tap with a kernel behind it.
    #[serde(default)]
    pub partial_checksums: Option<bool>,
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable(path.to_owned(), error);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, CONFIG_BYTES_MAX), &mut text)
            .map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// Reads and checks a text; the path is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax(path.to_owned(), one_line(text, &error)))?;
        match config.fault() {
            Some((key, fault)) => Err(ConfigError::Value(path.to_owned(), key, fault)),
            None => Ok(config),
        }
    }

    /// Returns the first key beside `device` and `take_uplink` whose value is another in the other configuration.
    pub fn fixed_difference(&self, other: &Self) -> Option<&'static str> {
        let same = [
            ("host", self.host == other.host),
            ("control", self.control == other.control),
            ("state_dir", self.state_dir == other.state_dir),
            ("start_action", self.start_action == other.start_action),
            ("workers", self.workers == other.workers),
            ("cpus", self.cpus == other.cpus),
            ("polling", self.polling == other.polling),
            ("idle_spins", self.idle_spins == other.idle_spins),
            ("frames", self.frames == other.frames),
            ("frame_bytes", self.frame_bytes == other.frame_bytes),
            ("flows_max", self.flows_max == other.flows_max),
            ("flow_ring", self.flow_ring == other.flow_ring),
            ("metrics", self.metrics == other.metrics),
        ];
        let named = same.into_iter().find(|(_, is_same)| !is_same).map(|(key, _)| key);
        let (devices, take_uplink) = (other.devices.clone(), other.take_uplink);
        // What is not listed above is found, too: a new key must not be forgotten.
        let alike = Self { devices, take_uplink, ..self.clone() };
        named.or_else(|| (alike != *other).then_some("a setting"))
    }

    /// Returns the first key whose value is out of its range, and why.
    fn fault(&self) -> Option<(String, String)> {
        let within = |key: &str, value: u32, first: u32, last: u32| {
            let fault = format!("{value} is not within {first} to {last}");
            (!(first..=last).contains(&value)).then(|| (key.to_owned(), fault))
        };
        let sizes = [
            within("frames", self.frames, 256, 1 << 22),
            within("flows_max", self.flows_max, 16, FLOWS_MAX),
            within("active_report_s", self.active_report_s, 1, 86_400),
            within("pickup_window_s", self.pickup_window_s, 0, 86_400),
            within("idle_spins", self.idle_spins, 0, 1_000_000),
            within("sampling_rate", self.sampling_rate.into(), 1, u16::MAX.into()),
            within("workers", self.workers.into(), 1, WORKERS_MAX_U32),
        ];
        if let Some(fault) = sizes.into_iter().flatten().next() {
            return Some(fault);
        }
        let fault = |key: &str, fault: String| Some((key.to_owned(), fault));
        if !matches!(self.frame_bytes, 2_048 | 4_096) {
            return fault("frame_bytes", format!("{} is neither 2048 nor 4096", self.frame_bytes));
        }
        if self.start_action == Action::Reject {
            return fault("start_action", "only allow and deny can be a default".into());
        }
        if !self.cpus.is_empty() && self.cpus.len() != usize::from(self.workers) {
            let (cpus, workers) = (self.cpus.len(), self.workers);
            return fault("cpus", format!("{cpus} processors for {workers} workers; one for each is needed"));
        }
        if let Some(cpu) = (1..self.cpus.len()).find(|at| self.cpus[..*at].contains(&self.cpus[*at])) {
            return fault("cpus", format!("processor {} is listed twice", self.cpus[cpu]));
        }
        if let Some(MetricsListen::Tcp(address)) = &self.metrics
            && !address.ip().is_loopback()
            && !self.metrics_beyond_loopback
        {
            let words = format!(
                "{address} is not a loopback address; set metrics_beyond_loopback = true if that is meant"
            );
            return fault("metrics", words);
        }
        if let Some(ring) = &self.flow_ring
            && !(ring.slots.is_power_of_two() && (64..=1 << 24).contains(&ring.slots))
        {
            return fault(
                "flow_ring.slots",
                format!("{} is no power of two within 64 to 16777216", ring.slots),
            );
        }
        self.timeouts.fault().or_else(|| self.device_fault())
    }

    fn device_fault(&self) -> Option<(String, String)> {
        if self.devices.is_empty() || self.devices.len() > DEVICES_MAX {
            let count = self.devices.len();
            return Some(("device".into(), format!("{count} devices; there must be 1 to {DEVICES_MAX}")));
        }
        for (at, device) in self.devices.iter().enumerate() {
            let key = |field: &str| format!("device[{at}].{field}");
            let name = device.name.as_str();
            let is_name = !name.is_empty()
                && name.len() <= DEVICE_NAME_BYTES_MAX
                && !name.contains(|c: char| c == '/' || c.is_whitespace());
            if !is_name {
                return Some((key("name"), format!("{name:?} is not a device name of 1 to 15 bytes")));
            }
            if self.devices[..at].iter().any(|other| other.name == name) {
                return Some((key("name"), format!("{name} is listed twice")));
            }
            if let Some((field, fault)) = device.tag_fault() {
                return Some((key(field), fault));
            }
        }
        None
    }
}

impl DeviceConfig {
    /// Returns the device as bindings see it.
    pub fn binding(&self) -> DeviceRole {
        DeviceRole {
            name: self.name.clone(),
            role: self.role,
            segment: self.untagged_segment(),
            vlans: self
                .vlans
                .iter()
                .filter_map(|(tags, name)| Some((Tags::from_text(tags)?, name.clone())))
                .collect(),
            ethertypes: self.ethertypes.clone(),
        }
    }

    fn untagged_segment(&self) -> Option<Name> {
        let usual = || self.vlans.is_empty().then(Name::default_name);
        self.segment.clone().or_else(usual)
    }

    /// Returns the first key about tags with a wrong value, and why. A segment has one form at a device: if it had two,
    /// frames of one would never reach those who expect the other.
    fn tag_fault(&self) -> Option<(&'static str, String)> {
        let is_unreadable = |text: &&String| Tags::from_text(text).is_none();
        if let Some(text) = self.vlans.keys().find(is_unreadable) {
            let expected = "a VLAN number of 1 to 4094, or one like s100, s100.7 or 100.7";
            return Some(("vlans", format!("{text:?} is not {expected}")));
        }
        let untagged = self.untagged_segment();
        let names: Vec<_> = untagged.iter().chain(self.vlans.values()).collect();
        let repeated = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        if let Some((_, name)) = repeated {
            return Some(("vlans", format!("segment {name} is there twice")));
        }
        let tag = self.ethertypes.iter().find(|ethertype| TAG_ETHERTYPES.contains(ethertype));
        tag.map(|ethertype| ("ethertypes", format!("{ethertype:#06x} is a tag; list it as vlans")))
    }

    /// Returns whether frames with partial checksums may arrive here.
    pub fn may_be_partial(&self) -> bool {
        self.partial_checksums.unwrap_or(self.role != Role::Uplink)
    }
}

/// Returns the word by which people write a role.
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Endpoint => "endpoint",
        Role::Uplink => "uplink",
        Role::Host => "host",
    }
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let word = String::deserialize(from)?;
    let role = [Role::Endpoint, Role::Uplink, Role::Host].into_iter().find(|role| role_word(*role) == word);
    role.ok_or_else(|| D::Error::custom(format!("role {word:?} is not one of endpoint, uplink, host")))
}

/// Returns a parser's complaint in one line, with the line of the file.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map(|span| text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1);
    let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

fn default_control() -> String {
    "http://127.0.0.1:7600".into()
}

fn default_state_dir() -> PathBuf {
    "/var/lib/meshgate/dataplane".into()
}

fn deny() -> Action {
    Action::Deny
}

fn default_idle_spins() -> u32 {
    2_000
}

fn default_frames() -> u32 {
    16_384
}

fn default_frame_bytes() -> u32 {
    4_096
}

fn default_flows_max() -> u32 {
    131_072
}

fn default_active_report_s() -> u32 {
    60
}

fn default_pickup_window_s() -> u32 {
    120
}

fn one() -> u16 {
    1
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("dp.toml")).map_err(|error| error.to_string())
    }

    const DEVICE: &str = "[[device]]\nname = \"tap0\"\nrole = \"endpoint\"\n";

    #[test]
    fn the_smallest_configuration_is_a_host_and_a_device() {
        let config = parse(&format!("host = \"a\"\n{DEVICE}")).unwrap();
        assert_eq!(config.start_action, Action::Deny);
        assert_eq!(config.devices[0].role, Role::Endpoint);
    }

    #[test]
    fn partial_checksums_are_a_matter_of_the_device_and_else_of_its_role() {
        for (role, expected) in [("endpoint", true), ("host", true), ("uplink", false)] {
            let device = DEVICE.replace("endpoint", role);
            let of = |line: &str| parse(&format!("host = \"a\"\n{device}{line}")).unwrap().devices.remove(0);
            assert_eq!(of("").may_be_partial(), expected, "{role}");
            assert!(of("partial_checksums = true").may_be_partial(), "{role}");
            assert!(!of("partial_checksums = false").may_be_partial(), "{role}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse(&format!("host = \"a\"\npolicing = 1\n{DEVICE}")).unwrap_err();
        assert!(error.starts_with("dp.toml: line 2: unknown field `policing`"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        for (line, key) in [
            ("frames = 1", "frames"),
            ("frame_bytes = 3000", "frame_bytes"),
            ("workers = 0", "workers"),
            ("workers = 65", "workers"),
            ("workers = 2\ncpus = [1]", "cpus"),
            ("workers = 2\ncpus = [1, 1]", "cpus"),
            ("start_action = \"reject\"", "start_action"),
            ("metrics = \"0.0.0.0:9600\"", "metrics"),
            ("flow_ring = { socket = \"/s\", slots = 100 }", "flow_ring.slots"),
        ] {
            let error = parse(&format!("host = \"a\"\n{line}\n{DEVICE}")).unwrap_err();
            assert!(error.starts_with(&format!("dp.toml: {key}: ")), "{error}");
        }
    }

    #[test]
    fn a_device_with_vlans_has_untagged_frames_only_where_it_says_so() {
        let of = |lines: &str| parse(&format!("host = \"a\"\n{DEVICE}{lines}"));
        let segment = |lines: &str| of(lines).unwrap().devices[0].binding().segment;
        assert_eq!(segment(""), Some(Name::default_name()));
        assert_eq!(segment("vlans = { 7 = \"blue\", s7 = \"red\", \"s7.8\" = \"green\" }"), None);
        assert_eq!(segment("segment = \"blue\"\nvlans = { 7 = \"red\" }"), Some(Name::new("blue").unwrap()));
        let fault = |lines: &str| of(lines).unwrap_err();
        assert!(fault("vlans = { 4095 = \"blue\" }").contains("device[0].vlans: \"4095\" is not"));
        assert!(
            fault("segment = \"blue\"\nvlans = { 7 = \"blue\" }").contains("segment blue is there twice")
        );
        assert!(fault("vlans = { 7 = \"blue\", 8 = \"blue\" }").contains("twice"));
        assert!(fault("ethertypes = [33024]").contains("device[0].ethertypes: 0x8100 is a tag"));
    }

    #[test]
    fn no_device_a_repeated_one_and_a_bad_name_are_refused() {
        assert!(parse("host = \"a\"").unwrap_err().contains("0 devices"));
        assert!(parse(&format!("host = \"a\"\n{DEVICE}{DEVICE}")).unwrap_err().contains("listed twice"));
        let long = DEVICE.replace("tap0", "a-name-of-16-byt");
        assert!(parse(&format!("host = \"a\"\n{long}")).unwrap_err().contains("device[0].name"));
    }
}
