//! Makes devices ready to be opened, and undoes it.
//!
//! What a device was like is written to a state file before anything is changed, so that `restore` puts it back also
//! after a crash. Changes are made with `ip`, which every host with virtual machines has, and by writing settings; a
//! person can repeat each of them by hand. A device that was prepared before keeps its first record, because what
//! would be recorded the second time is our own doing.
//!
//! Restoring a device that was in a bridge connects its endpoint to that bridge, past every rule. So a dataplane that
//! ends leaves its devices prepared; restoring is a person's decision.

use super::netlink;
use super::topology::{FENCE, HostDevice, ListError, host_devices, setting_path};
use meshgate_policy::Mac;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest state file: some thousand devices with some addresses each.
const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a device could not be prepared or restored.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The devices of this host could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// No such device.
    #[error("device {0} does not exist; create it or remove it from the configuration")]
    Missing(String),
    /// A command failed.
    #[error("device {device}: {command}: {complaint}")]
    Command {
        /// The device.
        device: String,
        /// The command.
        command: String,
        /// What it, or the system, said.
        complaint: String,
    },
    /// A setting could not be read or written.
    #[error("device {device}: {path}: {source}")]
    Setting {
        /// The device.
        device: String,
        /// The setting.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The state file could not be read or written.
    #[error("state file {path}: {source}")]
    StateFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The state file is not one.
    #[error("state file {path}: {reason}")]
    StateFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The state file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Devices as they were, in the order in which they were prepared.
    #[serde(default)]
    device: Vec<Record>,
}

/// One device as it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Name.
    name: String,
    /// MAC, by which a device that was made anew under the same name is recognised.
    mac: Mac,
    /// Whether it was administratively up.
    up: bool,
    /// Bridge or bond to which it belonged.
    master: Option<String>,
    /// Addresses, as arguments of `ip address add`.
    addresses: Vec<String>,
    /// Routes, as arguments of `ip route add`.
    routes: Vec<String>,
    /// Settings that were changed: family, name, value.
    settings: Vec<(String, String, String)>,
}

/// What `restore` did.
#[derive(Debug, Default)]
pub struct Restored {
    /// Devices that are as they were.
    pub devices: Vec<String>,
    /// Devices that are gone or were made anew under the same name; nothing is left to restore.
    pub gone: Vec<String>,
    /// What failed. The devices concerned stay in the state file.
    pub failures: Vec<PrepareError>,
}

/// Makes devices ready: no addresses, no master, no IPv6, fenced, up. Devices that are ready stay as they are.
pub fn prepare(names: &[&str], state_file: &Path) -> Result<(), PrepareError> {
    let host = host_devices()?;
    let mut state = load(state_file)?.unwrap_or_default();
    let mut found = Vec::new();
    for &name in names {
        let device = host.iter().find(|device| device.name == name);
        found.push(device.ok_or_else(|| PrepareError::Missing(name.to_owned()))?);
    }
    for device in &found {
        let is_same = |record: &Record| record.name == device.name && record.mac.0 == device.mac;
        if !state.device.iter().any(is_same) {
            // An older record of this name belongs to a device that is gone.
            state.device.retain(|record| record.name != device.name);
            state.device.push(record(device)?);
        }
    }
    save(state_file, &state)?;
    found.into_iter().try_for_each(make_ready)
}

/// Puts all devices of a state file back. The file is removed when nothing is left in it; without one there is
/// nothing to do.
pub fn restore(state_file: &Path) -> Result<Restored, PrepareError> {
    let mut restored = Restored::default();
    let Some(state) = load(state_file)? else { return Ok(restored) };
    let host = host_devices()?;
    let mut left = State::default();
    for record in state.device {
        if !host.iter().any(|device| device.name == record.name && device.mac == record.mac.0) {
            restored.gone.push(record.name);
            continue;
        }
        let failures = put_back(&record);
        if failures.is_empty() {
            restored.devices.push(record.name);
        } else {
            restored.failures.extend(failures);
            left.device.push(record);
        }
    }
    if left.device.is_empty() {
        fs::remove_file(state_file)
            .map_err(|source| PrepareError::StateFile { path: state_file.into(), source })?;
    } else {
        save(state_file, &left)?;
    }
    Ok(restored)
}

/// Notes what a device is like.
fn record(device: &HostDevice) -> Result<Record, PrepareError> {
    let name = &device.name;
    let addresses = netlink::addresses().map_err(ListError::from)?;
    let links = netlink::links().map_err(ListError::from)?;
    let index = links.iter().find(|link| link.name == *name).map(|link| link.index);
    let own = addresses.iter().filter(|address| Some(address.link) == index);
    let mut settings = Vec::new();
    for (family, setting, _) in FENCE {
        let path = setting_path(name, family, setting);
        match fs::read_to_string(&path) {
            Ok(value) => settings.push((family.to_owned(), setting.to_owned(), value.trim().to_owned())),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PrepareError::Setting { device: name.clone(), path, source }),
        }
    }
    Ok(Record {
        name: name.clone(),
        mac: Mac(device.mac),
        up: device.up,
        master: device.master.clone(),
        addresses: own.filter_map(address_arguments).collect(),
        routes: routes(name)?,
        settings,
    })
}

/// Returns the arguments by which `ip address add` makes an address again; none for those that come by themselves.
fn address_arguments(address: &netlink::Address) -> Option<String> {
    let netlink::Address { link: _, address, prefix_bits, peer, broadcast, label, temporary } = address;
    let is_link_local = matches!(address, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local());
    if *temporary || is_link_local {
        return None;
    }
    let mut arguments = match peer {
        Some(peer) => format!("{address} peer {peer}/{prefix_bits}"),
        None => format!("{address}/{prefix_bits}"),
    };
    if let Some(broadcast) = broadcast {
        arguments.push_str(&format!(" broadcast {broadcast}"));
    }
    if let Some(label) = label {
        arguments.push_str(&format!(" label {label}"));
    }
    Some(arguments)
}

/// Returns the routes over a device that do not come back with its addresses, as `ip` prints and takes them.
fn routes(device: &str) -> Result<Vec<String>, PrepareError> {
    let mut routes = Vec::new();
    for family in ["-4", "-6"] {
        let printed = ip(device, &[family, "-o", "route", "show", "table", "all", "dev", device])?;
        routes.extend(printed.lines().filter(|line| is_kept_route(line)).map(|line| {
            // Words that `ip` prints but does not take.
            let words =
                line.split_whitespace().filter(|word| !matches!(*word, "linkdown" | "dead" | "onlink"));
            let mut route = family.to_owned();
            words.for_each(|word| {
                route.push(' ');
                route.push_str(word);
            });
            route
        }));
    }
    Ok(routes)
}

/// Returns whether a printed route is one that a person or a routing daemon made, over this device alone.
fn is_kept_route(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let from_kernel = words.windows(2).any(|pair| pair == ["proto", "kernel"] || pair == ["proto", "ra"]);
    let is_own = matches!(words.first(), None | Some(&("local" | "broadcast" | "anycast" | "multicast")));
    !from_kernel && !is_own && !words.contains(&"nexthop")
}

/// Changes a device so that it may be opened.
fn make_ready(device: &HostDevice) -> Result<(), PrepareError> {
    let name = device.name.as_str();
    // The fence first: from here on nothing of the device reaches the host, whatever fails next.
    for (family, setting, value) in FENCE {
        set(name, family, setting, value)?;
    }
    if device.master.is_some() {
        ip(name, &["link", "set", "dev", name, "nomaster"])?;
    }
    ip(name, &["address", "flush", "dev", name])?;
    if !device.up {
        ip(name, &["link", "set", "dev", name, "up"])?;
    }
    Ok(())
}

/// Puts one device back; returns what failed, having tried everything.
fn put_back(record: &Record) -> Vec<PrepareError> {
    let Record { name, mac: _, up, master, addresses, routes, settings } = record;
    let mut failures = Vec::new();
    let mut note = |result: Result<String, PrepareError>| failures.extend(result.err());
    for (family, setting, value) in settings {
        note(set(name, family, setting, value).map(|()| String::new()));
    }
    if let Some(master) = master {
        note(ip(name, &["link", "set", "dev", name, "master", master]));
    }
    note(ip(name, &["link", "set", "dev", name, if *up { "up" } else { "down" }]));
    for address in addresses {
        // `replace`, because a restore that failed half-way is repeated.
        let words = address.split_whitespace();
        note(ip(
            name,
            &["address", "replace"].into_iter().chain(words).chain(["dev", name]).collect::<Vec<_>>(),
        ));
    }
    // A route through a gateway needs the route to the gateway, whichever was printed first.
    let (mut waiting, mut refused) = (routes.clone(), Vec::new());
    for _ in 0..2 {
        refused.clear();
        waiting.retain(|route| match add_route(name, route) {
            Ok(_) => false,
            Err(error) => {
                refused.push(error);
                true
            }
        });
    }
    failures.extend(refused);
    failures
}

/// Adds a route as `routes` noted it: the family, then what `ip route` takes.
fn add_route(device: &str, route: &str) -> Result<String, PrepareError> {
    let (family, words) = route.split_once(' ').unwrap_or((route, ""));
    let words = words.split_whitespace();
    let arguments = [family, "route", "replace"].into_iter().chain(words).chain(["dev", device]);
    ip(device, &arguments.collect::<Vec<_>>())
}

/// Writes a setting of a device; one that this kernel does not have needs no value.
fn set(device: &str, family: &str, setting: &str, value: &str) -> Result<(), PrepareError> {
    let path = setting_path(device, family, setting);
    match fs::write(&path, value) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PrepareError::Setting { device: device.to_owned(), path, source })
        }
        _ => Ok(()),
    }
}

/// Runs `ip` and returns what it printed.
fn ip(device: &str, arguments: &[&str]) -> Result<String, PrepareError> {
    let failed = |complaint: String| PrepareError::Command {
        device: device.to_owned(),
        command: format!("ip {}", arguments.join(" ")),
        complaint,
    };
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(failed(complaint.lines().next().unwrap_or("failed without a word").to_owned()))
}

/// Reads the state file; none if there is none.
fn load(path: &Path) -> Result<Option<State>, PrepareError> {
    let failed = |source| PrepareError::StateFile { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(STATE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > STATE_BYTES_MAX {
        let reason = format!("more than {STATE_BYTES_MAX} bytes");
        return Err(PrepareError::StateFormat { path: path.into(), reason });
    }
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| PrepareError::StateFormat { path: path.into(), reason: error.message().to_owned() })
}

/// Writes the state file so that a crash leaves the old or the new one.
fn save(path: &Path, state: &State) -> Result<(), PrepareError> {
    let failed = |source| PrepareError::StateFile { path: path.into(), source };
    let text = toml::to_string(state)
        .map_err(|error| PrepareError::StateFormat { path: path.into(), reason: error.to_string() })?;
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_that_do_not_come_back_by_themselves_are_kept() {
        for (line, kept) in [
            ("default via 10.0.0.254 proto static metric 100", true),
            ("10.8.0.0/16 via 10.0.0.253", true),
            ("fd00:8::/32 via fd00::1 metric 1024 pref medium", true),
            ("10.0.0.0/24 proto kernel scope link src 10.0.0.1", false),
            ("local 10.0.0.1 table local proto kernel scope host src 10.0.0.1", false),
            ("broadcast 10.0.0.255 table local scope link", false),
            ("default via fe80::1 proto ra metric 1024", false),
            ("default proto static \\ nexthop via 10.0.0.1 weight 1 \\ nexthop via 10.0.0.2 weight 1", false),
            ("", false),
        ] {
            assert_eq!(is_kept_route(line), kept, "{line}");
        }
    }

    #[test]
    fn an_address_is_noted_as_it_is_added_again() {
        let plain = netlink::Address {
            link: 1,
            address: "10.0.0.1".parse().unwrap(),
            prefix_bits: 24,
            peer: None,
            broadcast: Some("10.0.0.255".parse().unwrap()),
            label: Some("tap7:1".into()),
            temporary: false,
        };
        assert_eq!(address_arguments(&plain).unwrap(), "10.0.0.1/24 broadcast 10.0.0.255 label tap7:1");
        let peer = netlink::Address {
            peer: Some("10.0.0.2".parse().unwrap()),
            broadcast: None,
            label: None,
            prefix_bits: 32,
            ..plain.clone()
        };
        assert_eq!(address_arguments(&peer).unwrap(), "10.0.0.1 peer 10.0.0.2/32");
        let own = netlink::Address { address: "fe80::1".parse().unwrap(), ..plain.clone() };
        assert_eq!(address_arguments(&own), None);
        assert_eq!(address_arguments(&netlink::Address { temporary: true, ..plain }), None);
    }

    #[test]
    fn a_state_file_survives_the_way_to_disk_and_a_foreign_one_is_refused() {
        let folder = std::env::temp_dir().join(format!("meshgate-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("devices.toml");
        assert!(load(&path).unwrap().is_none());
        assert!(restore(&path).unwrap().devices.is_empty());
        let record = Record {
            name: "tap7".into(),
            mac: Mac([2, 0, 0, 0, 0, 7]),
            up: true,
            master: Some("br0".into()),
            addresses: vec!["10.0.0.1/24".into()],
            routes: vec!["-4 default via 10.0.0.254".into()],
            settings: vec![("ipv4".into(), "rp_filter".into(), "0".into())],
        };
        save(&path, &State { device: vec![record] }).unwrap();
        let read = load(&path).unwrap().unwrap();
        assert_eq!((read.device.len(), read.device[0].routes.len()), (1, 1));
        fs::write(&path, "[[device]]\nname = 7\n").unwrap();
        let refused = load(&path).unwrap_err().to_string();
        assert!(refused.contains("devices.toml: "), "{refused}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_missing_device_changes_nothing() {
        let path = std::env::temp_dir().join(format!("meshgate-missing-{}", std::process::id()));
        let refused = prepare(&["no-such-device"], &path);
        assert!(matches!(refused, Err(PrepareError::Missing(name)) if name == "no-such-device"));
        assert!(!path.exists());
    }
}
