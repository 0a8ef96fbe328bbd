//! Keeps the host safe: which devices may be opened, and what else a person should know before.
//!
//! Opening a device takes every frame that arrives on it away from the host. So an uplink by which the host itself
//! is reached is refused unless the configuration says that this is meant; and an endpoint's device may have nothing
//! by which its frames reach the host or a bridge while no dataplane runs.

use super::netlink;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where the settings of the network are. They are those of the asking thread's namespace.
const SETTINGS: &str = "/proc/sys/net";

/// Settings that a device needs so that its frames reach nothing while no dataplane runs, with their values.
///
/// Addresses alone are not enough: Linux takes a packet for any of the host's addresses from any device (the weak
/// host model, RFC 1122 section 3.3.4.2), also from one without addresses. Reverse path filtering drops all of them
/// on a device without addresses and routes; the others are the second line, and keep ARP silent.
pub(super) const FENCE: [(&str, &str, &str); 4] = [
    ("ipv6", "disable_ipv6", "1"),
    ("ipv4", "rp_filter", "1"),
    ("ipv4", "forwarding", "0"),
    ("ipv4", "arp_ignore", "8"),
];

/// The devices of this host could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the devices of this host: {0}")]
pub struct ListError(#[from] io::Error);

/// A device that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedDevice {
    /// Name.
    pub name: String,
    /// Whether it leads to the rest of the network, not to an endpoint.
    pub uplink: bool,
    /// Whether an uplink may be taken although the host is reached by it.
    pub take_uplink: bool,
}

/// Where a program is attached to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpAttached {
    /// Nowhere.
    #[default]
    None,
    /// In the driver.
    Native,
    /// Behind the driver.
    Generic,
    /// On the card, alone or beside another program.
    Offloaded,
}

/// What is known of a device of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDevice {
    /// Name.
    pub name: String,
    /// Kind of a virtual device: `veth`, `tun` (also tap), `bridge`; empty for a card.
    pub kind: String,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest payload of a frame.
    pub mtu_bytes: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Bridge or bond to which it belongs.
    pub master: Option<String>,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether a default route leads to it.
    pub default_route: bool,
    /// Whether IPv6 is switched off on it.
    pub ipv6_disabled: bool,
    /// Whether its frames reach nothing while no dataplane runs, whatever addresses the host has elsewhere.
    pub fenced: bool,
    /// Where a program is attached to it.
    pub xdp: XdpAttached,
}

/// Why a device is not opened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such device.
    #[error("device {0} does not exist; create it or remove it from the configuration")]
    Missing(String),
    /// Two entries of the configuration have one name.
    #[error("device {0} is configured twice; remove one entry")]
    Repeated(String),
    /// The loopback device.
    #[error("device {0} is the loopback device of this host; configure a device of an endpoint or an uplink")]
    Loopback(String),
    /// The device is part of a bridge or bond.
    #[error(
        "device {device} belongs to {master}; start with --prepare-devices, or: ip link set dev {device} nomaster"
    )]
    Master {
        /// The device.
        device: String,
        /// The bridge or bond.
        master: String,
    },
    /// An endpoint's device has an address of this host.
    #[error(
        "device {device} carries {address}; start with --prepare-devices, or: ip address flush dev {device}"
    )]
    Address {
        /// The device.
        device: String,
        /// The address with its prefix length.
        address: String,
    },
    /// The device speaks IPv6 for this host.
    #[error(
        "device {0} speaks IPv6 for this host; start with --prepare-devices, or: \
         echo 1 > /proc/sys/net/ipv6/conf/{0}/disable_ipv6"
    )]
    Ipv6Enabled(String),
    /// The host is reached by the uplink.
    #[error(
        "uplink {device} carries {carries} of this host, which would be cut off; \
         configure another device, or set take_uplink = true if that is meant"
    )]
    UplinkInUse {
        /// The device.
        device: String,
        /// The address, or the default route.
        carries: String,
    },
}

/// What a person should know of a device that may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// The device is down.
    Down(String),
    /// Frames of the device reach the host's addresses on other devices while no dataplane runs.
    NotFenced(String),
    /// Devices among which frames are switched take frames of different length.
    MtuDiffers {
        /// The device.
        device: String,
        /// Its MTU.
        mtu_bytes: u32,
        /// The device with the smallest MTU.
        smallest: String,
        /// The smallest MTU.
        smallest_bytes: u32,
    },
}

impl Caution {
    /// Returns the device that it is about.
    pub fn device(&self) -> &str {
        match self {
            Self::Down(device) | Self::NotFenced(device) | Self::MtuDiffers { device, .. } => device,
        }
    }
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(device) => {
                write!(
                    f,
                    "device {device} is down; start with --prepare-devices, or: ip link set dev {device} up"
                )
            }
            Self::NotFenced(device) => write!(
                f,
                "frames of device {device} reach this host's addresses while no dataplane runs; \
                 start with --prepare-devices"
            ),
            Self::MtuDiffers { device, mtu_bytes, smallest, smallest_bytes } => write!(
                f,
                "device {device} has MTU {mtu_bytes}, but {smallest} only {smallest_bytes}; \
                 longer frames from the one to the other are lost"
            ),
        }
    }
}

/// Lists the devices of the calling thread's network namespace.
pub fn host_devices() -> Result<Vec<HostDevice>, ListError> {
    let links = netlink::links()?;
    let addresses = netlink::addresses()?;
    let default_routes = netlink::default_route_links()?;
    let name_of = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let describe = |link: &netlink::Link| HostDevice {
        name: link.name.clone(),
        kind: link.kind.clone(),
        mac: link.mac,
        mtu_bytes: link.mtu_bytes,
        up: link.up,
        loopback: link.loopback,
        // The master may be in another namespace and have no name here.
        master: link.master.map(|index| name_of(index).unwrap_or_else(|| format!("device #{index}"))),
        addresses: addresses
            .iter()
            .filter(|address| address.link == link.index)
            .map(|address| (address.address, address.prefix_bits))
            .collect(),
        default_route: default_routes.contains(&link.index),
        ipv6_disabled: has_setting(&link.name, "ipv6", "disable_ipv6", |value| value == 1),
        fenced: is_fenced(&link.name),
        xdp: match link.xdp_attached {
            0 => XdpAttached::None,
            1 => XdpAttached::Native,
            2 => XdpAttached::Generic,
            _ => XdpAttached::Offloaded,
        },
    };
    Ok(links.iter().map(describe).collect())
}

/// Returns where a setting of a device is.
pub(super) fn setting_path(device: &str, family: &str, setting: &str) -> PathBuf {
    Path::new(SETTINGS).join(family).join("conf").join(device).join(setting)
}

/// Returns whether a setting of a device has a value that serves; without the setting the family is not there.
fn has_setting(device: &str, family: &str, setting: &str, serves: impl Fn(u32) -> bool) -> bool {
    match std::fs::read_to_string(setting_path(device, family, setting)) {
        Ok(value) => value.trim().parse().is_ok_and(serves),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Returns whether the settings keep a device's frames from the host. The kernel takes the larger one of the value
/// for a device and the one for all.
fn is_fenced(device: &str) -> bool {
    let filters =
        ["all", device].iter().any(|whom| has_setting(whom, "ipv4", "rp_filter", |value| value >= 1));
    filters && has_setting(device, "ipv6", "disable_ipv6", |value| value == 1)
}

/// Returns every reason against opening the devices, in the order of the configuration; none if they may be opened.
pub fn check(wanted: &[WantedDevice], host: &[HostDevice]) -> Vec<Refusal> {
    let mut seen = BTreeSet::new();
    let mut refusals = Vec::new();
    for device in wanted {
        if !seen.insert(&device.name) {
            refusals.push(Refusal::Repeated(device.name.clone()));
            continue;
        }
        match host.iter().find(|found| found.name == device.name) {
            None => refusals.push(Refusal::Missing(device.name.clone())),
            Some(found) => check_device(device, found, &mut refusals),
        }
    }
    refusals
}

/// Adds the reasons against one device.
fn check_device(wanted: &WantedDevice, found: &HostDevice, refusals: &mut Vec<Refusal>) {
    let device = found.name.clone();
    if found.loopback {
        refusals.push(Refusal::Loopback(device));
        return;
    }
    if let Some(master) = found.master.clone() {
        refusals.push(Refusal::Master { device: device.clone(), master });
    }
    if wanted.uplink && wanted.take_uplink {
        return;
    }
    // A link-local address comes and goes with IPv6, which is judged by itself.
    let address = found.addresses.iter().find(|(address, _)| !is_link_local(address));
    let address = address.map(|(address, prefix_bits)| format!("{address}/{prefix_bits}"));
    match (wanted.uplink, address, found.default_route) {
        (true, Some(carries), _) => refusals.push(Refusal::UplinkInUse { device: device.clone(), carries }),
        (true, None, true) => {
            let carries = "the default route".to_owned();
            refusals.push(Refusal::UplinkInUse { device: device.clone(), carries });
        }
        (false, Some(address), _) => refusals.push(Refusal::Address { device: device.clone(), address }),
        _ => {}
    }
    if !found.ipv6_disabled {
        refusals.push(Refusal::Ipv6Enabled(device));
    }
}

/// Returns whether an address is one that IPv6 makes up for each device.
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Returns what a person should know of devices that may be opened.
pub fn cautions(wanted: &[WantedDevice], host: &[HostDevice]) -> Vec<Caution> {
    let found: Vec<_> = wanted
        .iter()
        .filter_map(|device| Some((device, host.iter().find(|found| found.name == device.name)?)))
        .collect();
    let mut cautions = Vec::new();
    for (device, found) in &found {
        if !found.up {
            cautions.push(Caution::Down(found.name.clone()));
        }
        if !found.fenced && !device.uplink {
            cautions.push(Caution::NotFenced(found.name.clone()));
        }
    }
    if let Some((_, smallest)) = found.iter().min_by_key(|(_, found)| found.mtu_bytes) {
        let longer = found.iter().filter(|(_, found)| found.mtu_bytes > smallest.mtu_bytes);
        cautions.extend(longer.map(|(_, found)| Caution::MtuDiffers {
            device: found.name.clone(),
            mtu_bytes: found.mtu_bytes,
            smallest: smallest.name.clone(),
            smallest_bytes: smallest.mtu_bytes,
        }));
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, uplink: bool) -> WantedDevice {
        WantedDevice { name: name.into(), uplink, take_uplink: false }
    }

    fn clean(name: &str) -> HostDevice {
        HostDevice {
            name: name.into(),
            up: true,
            mtu_bytes: 1500,
            ipv6_disabled: true,
            fenced: true,
            ..HostDevice::default()
        }
    }

    fn texts(wanted: &[WantedDevice], host: &[HostDevice]) -> Vec<String> {
        check(wanted, host).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn clean_devices_are_opened_without_a_word() {
        let host = [clean("tap7"), clean("eth1")];
        let wanted = [wanted("tap7", false), wanted("eth1", true)];
        assert_eq!((check(&wanted, &host), cautions(&wanted, &host)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_missing_a_repeated_and_the_loopback_device_are_named() {
        let host = [HostDevice { loopback: true, ..clean("lo") }, clean("tap7")];
        let wanted = ["tap8", "lo", "tap7", "tap7"].map(|name| wanted(name, false));
        assert_eq!(
            texts(&wanted, &host),
            [
                "device tap8 does not exist; create it or remove it from the configuration",
                "device lo is the loopback device of this host; configure a device of an endpoint or an uplink",
                "device tap7 is configured twice; remove one entry",
            ]
        );
    }

    #[test]
    fn an_endpoint_device_with_anything_of_the_host_is_refused_for_every_reason() {
        let used = HostDevice {
            master: Some("br0".into()),
            addresses: vec![("fe80::1".parse().unwrap(), 64), ("10.0.0.1".parse().unwrap(), 24)],
            ipv6_disabled: false,
            ..clean("tap7")
        };
        assert_eq!(
            texts(&[wanted("tap7", false)], &[used]),
            [
                "device tap7 belongs to br0; start with --prepare-devices, or: ip link set dev tap7 nomaster",
                "device tap7 carries 10.0.0.1/24; start with --prepare-devices, or: ip address flush dev tap7",
                "device tap7 speaks IPv6 for this host; start with --prepare-devices, or: \
                 echo 1 > /proc/sys/net/ipv6/conf/tap7/disable_ipv6",
            ]
        );
    }

    #[test]
    fn an_uplink_by_which_the_host_is_reached_is_refused_unless_it_is_meant() {
        let addressed = HostDevice {
            addresses: vec![("192.0.2.7".parse().unwrap(), 24)],
            default_route: true,
            ..clean("eth0")
        };
        let routed = HostDevice { default_route: true, ipv6_disabled: false, ..clean("eth0") };
        let mut uplink = wanted("eth0", true);
        assert_eq!(
            texts(std::slice::from_ref(&uplink), std::slice::from_ref(&addressed)),
            ["uplink eth0 carries 192.0.2.7/24 of this host, which would be cut off; \
              configure another device, or set take_uplink = true if that is meant"]
        );
        assert_eq!(texts(std::slice::from_ref(&uplink), std::slice::from_ref(&routed)).len(), 2);
        uplink.take_uplink = true;
        assert_eq!(check(&[uplink.clone()], &[addressed]), []);
        let bridged = HostDevice { master: Some("br0".into()), ..clean("eth0") };
        assert_eq!(check(&[uplink], &[bridged]).len(), 1);
        // What is meant for uplinks does not open an endpoint's device.
        let endpoint = WantedDevice { take_uplink: true, ..wanted("eth0", false) };
        assert_eq!(check(&[endpoint], &[routed]).len(), 1);
    }

    #[test]
    fn a_person_is_told_of_what_may_surprise() {
        let host = [
            HostDevice { up: false, fenced: false, ..clean("tap7") },
            HostDevice { mtu_bytes: 9000, fenced: false, ..clean("eth1") },
        ];
        let cautions = cautions(&[wanted("tap7", false), wanted("eth1", true)], &host);
        let texts: Vec<_> = cautions.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "device tap7 is down; start with --prepare-devices, or: ip link set dev tap7 up",
                "frames of device tap7 reach this host's addresses while no dataplane runs; \
                 start with --prepare-devices",
                "device eth1 has MTU 9000, but tap7 only 1500; longer frames from the one to the other are lost",
            ]
        );
    }

    #[test]
    fn the_devices_of_this_host_are_listed() {
        let host = host_devices().unwrap();
        let loopback = host.iter().find(|device| device.name == "lo").unwrap();
        assert!(loopback.loopback && loopback.master.is_none());
    }
}
