//! The host stays safe: what is refused, and what a prepared device lets through.

use crate::ground::{Ground, is_root, run, succeeds, wait_until};
use meshgate_dataplane::device::prepare::{prepare, restore};
use meshgate_dataplane::device::topology::{WantedDevice, cautions, check, host_devices};
use std::fs;
use std::path::PathBuf;

/// A state file of one test, removed when dropped.
struct StateFile(PathBuf);

impl StateFile {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("meshgate-devices-{test}-{}.toml", std::process::id())))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn wanted(name: &str, uplink: bool) -> [WantedDevice; 1] {
    [WantedDevice { name: name.into(), uplink, take_uplink: false }]
}

fn refusals(name: &str, uplink: bool) -> Vec<String> {
    check(&wanted(name, uplink), &host_devices().unwrap()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_used_device_is_refused_prepared_and_put_back() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("used");
    let state = StateFile::new("used");
    ground.pair("tap7", "left", "far1", "10.9.1.1/24");
    run("ip link add name br7 type bridge");
    run("ip link set br7 up");
    fs::write("/proc/sys/net/ipv6/conf/tap7/disable_ipv6", "0").unwrap();
    run("ip address add 10.7.0.1/24 broadcast 10.7.0.255 dev tap7");
    run("ip address add fd07::1/64 dev tap7");
    run("ip route add default via 10.7.0.254 dev tap7");
    run("ip route add 10.77.0.0/16 via 10.7.0.253 dev tap7 metric 5");
    run("ip -6 route add fd77::/32 via fd07::2 dev tap7");
    run("ip link set tap7 master br7");
    let before = picture();
    let texts = refusals("tap7", false);
    assert!(texts[0].contains("belongs to br7") && texts[1].contains("carries 10.7.0.1/24"), "{texts:?}");
    assert!(texts[2].contains("speaks IPv6"), "{texts:?}");
    assert!(refusals("tap7", true).iter().any(|text| text.contains("would be cut off")));

    prepare(&["tap7"], &state.0).unwrap();
    assert_eq!(refusals("tap7", false), [""; 0]);
    assert_eq!(cautions(&wanted("tap7", false), &host_devices().unwrap()), []);
    // Prepared twice, as after a crash, the first record stays.
    prepare(&["tap7"], &state.0).unwrap();
    let restored = restore(&state.0).unwrap();
    assert!(restored.failures.is_empty(), "{:?}", restored.failures);
    assert_eq!(restored.devices, ["tap7"]);
    assert_eq!(picture(), before);
    assert!(!state.0.exists());
}

/// Returns everything about the device that prepare touches, as `ip` shows it.
fn picture() -> String {
    let mut lines: Vec<String> = Vec::new();
    let shows = [
        "ip -o address show dev tap7",
        "ip route show dev tap7",
        "ip -6 route show dev tap7",
        "ip -o link show dev tap7",
    ];
    for show in shows {
        lines.extend(run(show).lines().map(|line| line.replace(" tentative", "")));
    }
    for setting in ["ipv6/conf/tap7/disable_ipv6", "ipv4/conf/tap7/rp_filter", "ipv4/conf/tap7/arp_ignore"] {
        lines.push(fs::read_to_string(format!("/proc/sys/net/{setting}")).unwrap());
    }
    // The kernel's own link-local address is made anew, and duplicate detection begins again.
    lines.retain(|line| !line.contains("fe80:"));
    lines.sort();
    lines.join("\n")
}

#[test]
fn frames_reach_the_host_by_an_unprepared_device_and_nothing_by_a_prepared_one() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("fence");
    let state = StateFile::new("fence");
    ground.pair("tap7", "left", "far1", "10.9.1.1/24");
    for whom in ["all", "tap7"] {
        ground.write("here", &format!("/proc/sys/net/ipv4/conf/{whom}/rp_filter"), "0");
    }
    // The host has its address elsewhere; the machine behind tap7 sends to it all the same.
    run("ip address add 10.9.5.1/32 dev lo");
    let mac = ground.mac("here", "tap7");
    ground.on("left", "ip route add 10.9.5.1/32 dev far1");
    ground.on("left", &format!("ip neighbour add 10.9.5.1 lladdr {mac} dev far1 nud permanent"));
    let host = ground.udp("here", "10.9.5.1:6000");
    let machine = ground.udp("left", "10.9.1.1:6000");
    let mut datagram = [0; 16];
    machine.send_to(b"before", "10.9.5.1:6000").unwrap();
    wait_until("the frame reached the host", || host.recv(&mut datagram).is_ok());
    let caution = cautions(&wanted("tap7", false), &host_devices().unwrap())[0].to_string();
    assert!(caution.contains("reach this host's addresses"), "{caution}");

    prepare(&["tap7"], &state.0).unwrap();
    let filtered = filtered_packets();
    machine.send_to(b"after", "10.9.5.1:6000").unwrap();
    wait_until("the frame was filtered", || filtered_packets() > filtered);
    assert!(host.recv(&mut datagram).is_err());
    let restored = restore(&state.0).unwrap();
    assert!(restored.failures.is_empty(), "{:?}", restored.failures);
    machine.send_to(b"again", "10.9.5.1:6000").unwrap();
    wait_until("the frame reached the host", || host.recv(&mut datagram).is_ok());
}

/// Returns how many packets reverse path filtering dropped in the calling thread's namespace.
fn filtered_packets() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("IpExt:") || line.starts_with("TcpExt:"));
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        if let Some((_, value)) = pairs.find(|(name, _)| *name == "IPReversePathFilter") {
            return value.parse().unwrap();
        }
    }
    panic!("no counter of filtered packets");
}

#[test]
fn a_device_that_is_gone_or_another_one_is_left_alone() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("gone2");
    let state = StateFile::new("gone2");
    ground.pair("tap7", "left", "far1", "10.9.1.1/24");
    ground.pair("tap8", "right", "far2", "10.9.2.1/24");
    prepare(&["tap7", "tap8"], &state.0).unwrap();
    run("ip link del tap7");
    run("ip link set tap8 address 02:00:00:00:00:99");
    let restored = restore(&state.0).unwrap();
    assert_eq!((restored.gone, restored.devices.len()), (vec!["tap7".to_owned(), "tap8".to_owned()], 0));
    assert!(!state.0.exists());
    assert!(succeeds("ip link show dev tap8"));
}
