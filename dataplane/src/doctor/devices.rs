//! The devices: whether they may be taken, how frames are moved, what about them costs or loses frames.

use super::running::Running;
use crate::binding::Role;
use crate::config::{Config, DeviceConfig};
use crate::device::offload::frame_bytes_max;
use crate::device::topology::{self, HostDevice, WantedDevice, XdpAttached, host_devices};
use af_xdp::{HEADROOM_BYTES, Offloads};
use meshgate_policy::{Finding, Severity};

/// What the kernel says of one configured device.
#[derive(Clone, Debug, Default)]
pub struct DeviceSight {
    /// The device; none if it is not there.
    pub found: Option<HostDevice>,
    /// Queues to receive and to transmit.
    pub queues: (u32, u32),
    /// What it does for the packets of this host; none if it does not tell.
    pub offloads: Option<Offloads>,
}

/// Asks the kernel for each device of the configuration, in its order.
pub(super) fn sights(config: &Config) -> Result<Vec<DeviceSight>, topology::ListError> {
    let host = host_devices()?;
    let sight = |device: &DeviceConfig| {
        let queues = af_xdp::Device::named(&device.name).map(|found| (found.rx_queues, found.tx_queues));
        DeviceSight {
            found: host.iter().find(|found| found.name == device.name).cloned(),
            queues: queues.unwrap_or_default(),
            offloads: Offloads::of(&device.name).ok(),
        }
    };
    Ok(config.devices.iter().map(sight).collect())
}

/// Returns what is to be said of the devices.
pub(super) fn findings(
    config: &Config,
    sights: Result<Vec<DeviceSight>, topology::ListError>,
    running: Option<&Running>,
) -> Vec<Finding> {
    let sights = match sights {
        Ok(sights) => sights,
        Err(error) => return vec![Finding::hint("device", error.to_string(), "run this on the host itself")],
    };
    let host: Vec<HostDevice> = sights.iter().filter_map(|sight| sight.found.clone()).collect();
    let wanted = |device: &DeviceConfig| WantedDevice {
        name: device.name.clone(),
        uplink: device.role == Role::Uplink,
        take_uplink: config.take_uplink,
    };
    let wanted: Vec<WantedDevice> = config.devices.iter().map(wanted).collect();
    let mut findings = Vec::new();
    for ((device, wanted), sight) in config.devices.iter().zip(&wanted).zip(&sights) {
        let refusals = topology::check(std::slice::from_ref(wanted), &host);
        let mut found: Vec<Finding> =
            refusals.iter().map(|refusal| told(Severity::Problem, &refusal.to_string())).collect();
        if let Some(host_device) = &sight.found {
            found.extend(of_device(config, device, (sight, host_device), running));
        }
        findings.extend(found.into_iter().map(|finding| finding.of(&device.name)));
    }
    let cautions = topology::cautions(&wanted, &host);
    findings.extend(
        cautions.iter().map(|caution| told(Severity::Hint, &caution.to_string()).of(caution.device())),
    );
    findings
}

/// Returns a finding of words that hold the cure behind a semicolon.
fn told(severity: Severity, words: &str) -> Finding {
    let (text, cure) = words.split_once("; ").unwrap_or((words, "see the README on devices"));
    Finding::new(severity, "device", text, cure)
}

fn of_device(
    config: &Config,
    device: &DeviceConfig,
    (sight, found): (&DeviceSight, &HostDevice),
    running: Option<&Running>,
) -> Vec<Finding> {
    let reported =
        running.and_then(|running| running.device(&device.name)).map(|device| device.mode.as_str());
    let mut findings = vec![mode(found, reported)];
    findings.extend(queues(&device.name, sight.queues));
    findings.extend(frame_size(config, found));
    findings.extend(sight.offloads.iter().flat_map(|offloads| offload(device, found, *offloads)));
    findings
}

/// Says where the redirect program runs: what the dataplane said of it, else what the kernel says is attached.
fn mode(found: &HostDevice, reported: Option<&str>) -> Finding {
    let cure = match found.kind.as_str() {
        "" => "use a card whose driver knows XDP, or update its driver; ethtool -i names it",
        _ => "look in the log of the start for the reason",
    };
    match (reported, found.xdp) {
        (Some(mode), _) if mode.contains("native") && !mode.contains("generic") => {
            Finding::ok("device", mode)
        }
        (Some(mode), _) if mode.contains("generic") => Finding::hint(
            "device",
            format!("{mode}: each frame is copied into the kernel's own buffer first"),
            cure,
        ),
        (Some(mode), _) => Finding::ok("device", mode),
        (None, XdpAttached::Native) => Finding::ok("device", "a program runs in its driver"),
        (None, XdpAttached::Generic) => {
            let text =
                "a program runs in generic mode: each frame is copied into the kernel's own buffer first";
            Finding::hint("device", text, cure)
        }
        (None, XdpAttached::Offloaded) => Finding::problem(
            "device",
            "another program runs on the card",
            "ip link set dev DEV xdpoffload off",
        ),
        (None, XdpAttached::None) => Finding::ok("device", "free: no program is attached"),
    }
}

fn queues(name: &str, (receive, transmit): (u32, u32)) -> Option<Finding> {
    (transmit < receive && receive > 0).then(|| {
        let text = format!("receives on {receive} queues and transmits on {transmit}");
        Finding::hint("device", text, format!("ethtool -L {name} combined {transmit}, or rx {transmit}"))
    })
}

fn frame_size(config: &Config, found: &HostDevice) -> Option<Finding> {
    let room = (config.frame_bytes - HEADROOM_BYTES) as usize;
    let longest = frame_bytes_max(found.mtu_bytes);
    (longest > room).then(|| {
        let text = format!(
            "frames of up to {longest} bytes (MTU {}) take {} pieces of packet memory each",
            found.mtu_bytes,
            longest.div_ceil(room)
        );
        let cure = match config.frame_bytes {
            2_048 => "set frame_bytes = 4096, or a smaller MTU",
            _ => "that is so with jumbo frames; a smaller MTU is faster",
        };
        Finding::hint("device", text, cure)
    })
}

fn offload(device: &DeviceConfig, found: &HostDevice, offloads: Offloads) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_card = found.kind.is_empty();
    if is_card && found.xdp != XdpAttached::Native && (offloads.lro || offloads.gro) {
        let text = "joins received packets before a program in generic mode sees them (gro or lro is on)";
        let cure = format!("ethtool -K {} gro off lro off", device.name);
        findings.push(Finding::hint("device", text, cure));
    }
    if is_card && !offloads.receive_checksum && device.may_be_partial() {
        let text = "does not check received checksums, while unfinished ones are taken from it";
        let cure = format!("ethtool -K {} rx on, or partial_checksums = false", device.name);
        findings.push(Finding::hint("device", text, cure));
    }
    if found.kind == "tun" && offloads.tcp_segmentation {
        let text = "its guest takes and sends super-frames (TCP segmentation offload is on)";
        let cure = "QEMU: host_tso4=off,host_tso6=off,guest_tso4=off,guest_tso6=off; or in the guest: ethtool -K DEV tso off";
        findings.push(Finding::hint("device", text, cure));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::running::DeviceRunning;
    use super::*;
    use std::path::Path;

    fn config(frame_bytes: u32) -> Config {
        let text =
            format!("host = 'a'\nframe_bytes = {frame_bytes}\n[[device]]\nname = 'eth1'\nrole = 'uplink'\n");
        Config::parse(&text, Path::new("dp.toml")).unwrap()
    }

    fn sight(change: impl FnOnce(&mut HostDevice)) -> DeviceSight {
        let mut found = HostDevice {
            name: "eth1".into(),
            mtu_bytes: 1_500,
            up: true,
            ipv6_disabled: true,
            fenced: true,
            ..HostDevice::default()
        };
        change(&mut found);
        DeviceSight {
            found: Some(found),
            queues: (2, 2),
            offloads: Some(Offloads { receive_checksum: true, ..Offloads::default() }),
        }
    }

    fn of(sight: DeviceSight, running: Option<&Running>) -> Vec<(Severity, String)> {
        let found = findings(&config(4_096), Ok(vec![sight]), running);
        assert!(found.iter().all(|finding| finding.subject == "eth1"), "{found:?}");
        assert!(
            found.iter().all(|finding| finding.cure.is_empty() == (finding.severity == Severity::Ok)),
            "{found:?}"
        );
        found.into_iter().map(|finding| (finding.severity, finding.text)).collect()
    }

    #[test]
    fn a_device_that_is_ready_is_well() {
        assert_eq!(of(sight(|_| ()), None), [(Severity::Ok, "free: no program is attached".to_owned())]);
    }

    #[test]
    fn what_would_refuse_the_start_is_a_problem_with_its_cure() {
        let found = of(sight(|device| device.addresses = vec![("10.0.0.1".parse().unwrap(), 8)]), None);
        assert_eq!(found[0].0, Severity::Problem);
        assert!(found[0].1.contains("carries 10.0.0.1/8"), "{found:?}");
        let missing = DeviceSight::default();
        assert_eq!(of(missing, None), [(Severity::Problem, "device eth1 does not exist".to_owned())]);
        assert!(
            of(sight(|device| device.up = false), None).iter().any(|(_, text)| text == "device eth1 is down")
        );
    }

    #[test]
    fn the_mode_is_what_the_dataplane_says_else_what_is_attached() {
        let device =
            |mode: &str| DeviceRunning { name: "eth1".into(), mode: mode.into(), ..DeviceRunning::default() };
        let running = |mode| Running { devices: vec![device(mode)], ..Running::default() };
        let mode = |reported: Option<&Running>, xdp| of(sight(|device| device.xdp = xdp), reported)[0].0;
        assert_eq!(mode(None, XdpAttached::Native), Severity::Ok);
        assert_eq!(mode(None, XdpAttached::Generic), Severity::Hint);
        assert_eq!(mode(Some(&running("af_xdp native copy")), XdpAttached::None), Severity::Ok);
        let generic = running("af_xdp generic (native: Operation not supported) copy");
        assert_eq!(mode(Some(&generic), XdpAttached::Native), Severity::Hint);
    }

    #[test]
    fn queues_frame_size_and_offloads_are_compared() {
        let mut odd = sight(|device| device.mtu_bytes = 9_000);
        odd.queues = (4, 1);
        odd.offloads = Some(Offloads { lro: true, ..Offloads::default() });
        let found = of(odd, None);
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[1], "receives on 4 queues and transmits on 1");
        assert!(texts[2].starts_with("frames of up to 9022 bytes (MTU 9000) take 3 pieces"), "{texts:?}");
        assert!(texts[3].starts_with("joins received packets"), "{texts:?}");
    }

    #[test]
    fn a_tap_with_super_frames_is_told_how_to_do_without() {
        let mut tap = sight(|device| device.kind = "tun".into());
        tap.offloads = Some(Offloads { tcp_segmentation: true, ..Offloads::default() });
        assert!(
            of(tap, None)
                .iter()
                .any(|(severity, text)| *severity == Severity::Hint && text.contains("super-frames"))
        );
    }
}
