//! What the process may do: capabilities (capabilities(7)) and locked memory (setrlimit(2)).

use super::system::System;
use crate::config::Config;
use meshgate_policy::Finding;

/// A capability: its bit, its name, and what needs it.
type Capability = (u32, &'static str, &'static str);

/// What a dataplane cannot do without.
const NEEDED: [Capability; 3] = [
    (12, "CAP_NET_ADMIN", "to attach to devices"),
    (13, "CAP_NET_RAW", "to open AF_XDP sockets"),
    (39, "CAP_BPF", "to load the redirect program"),
];
const IPC_LOCK: u32 = 14;
/// Stands for CAP_BPF, which was split from it.
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;
/// What to do about a missing one.
const CURE: &str =
    "run as root, or in the unit: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_IPC_LOCK";

/// Returns what is to be said of the privileges of this process.
pub(super) fn findings(system: &System, config: &Config) -> Vec<Finding> {
    let Some(held) =
        system.field("proc/self/status", "CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok())
    else {
        return vec![Finding::hint(
            "privileges",
            "the capabilities of this process cannot be read",
            "mount /proc",
        )];
    };
    let has = |bit: u32| held >> bit & 1 == 1 || (bit == BPF && held >> SYS_ADMIN & 1 == 1);
    let missing: Vec<&Capability> = NEEDED.iter().filter(|(bit, ..)| !has(*bit)).collect();
    let mut findings: Vec<Finding> = missing
        .iter()
        .map(|(_, name, use_)| {
            Finding::problem("privileges", format!("{name} is missing, needed {use_}"), CURE)
        })
        .collect();
    if missing.is_empty() {
        findings.push(Finding::ok("privileges", "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are there"));
    }
    findings.push(locked_memory(system, config, has(IPC_LOCK)));
    findings
}

fn locked_memory(system: &System, config: &Config, is_exempt: bool) -> Finding {
    let needed_bytes = u64::from(config.frames) * u64::from(config.frame_bytes);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if is_exempt {
        return Finding::ok("privileges", "CAP_IPC_LOCK: locked memory has no limit");
    }
    let line = system.text("proc/self/limits").unwrap_or_default();
    let line = line.lines().find_map(|line| line.strip_prefix("Max locked memory")).unwrap_or_default();
    // Soft limit, hard limit, unit. The program raises the soft one by itself.
    match line.split_whitespace().nth(1) {
        Some("unlimited") => Finding::ok("privileges", "locked memory has no limit"),
        Some(bytes) if bytes.parse().is_ok_and(|limit: u64| limit >= needed_bytes) => {
            Finding::ok("privileges", format!("{} MiB of locked memory are enough", mib(needed_bytes)))
        }
        Some(bytes) => {
            let limit = mib(bytes.parse().unwrap_or(0));
            let text =
                format!("locked memory is limited to {limit} MiB, packet memory takes {}", mib(needed_bytes));
            Finding::problem("privileges", text, "in the unit: LimitMEMLOCK=infinity; or ulimit -l unlimited")
        }
        None => Finding::hint("privileges", "the limit of locked memory cannot be read", "mount /proc"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::tests::Files;
    use super::*;
    use meshgate_policy::Severity;
    use std::path::Path;

    fn of(test: &str, capabilities: u64, limit: &str) -> Vec<(Severity, String)> {
        let config = "host = 'a'\nframes = 16384\n[[device]]\nname = 'tap0'\nrole = 'endpoint'\n";
        let config = Config::parse(config, Path::new("dp.toml")).unwrap();
        let status = format!("Name:\tx\nCapEff:\t{capabilities:016x}\n");
        let limits = format!("Limit  Soft  Hard  Units\nMax locked memory   8388608   {limit}   bytes\n");
        let files = Files::new(test, &[("proc/self/status", &status), ("proc/self/limits", &limits)]);
        let found = findings(&files.system(), &config);
        found.into_iter().map(|finding| (finding.severity, finding.text)).collect()
    }

    #[test]
    fn root_lacks_nothing() {
        let found = of("root", 0x1ff_ffff_ffff, "8388608");
        assert!(found.iter().all(|(severity, _)| *severity == Severity::Ok), "{found:?}");
    }

    #[test]
    fn each_missing_capability_is_named_with_its_use() {
        let found = of("few", 1 << 12, "unlimited");
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[0], "CAP_NET_RAW is missing, needed to open AF_XDP sockets");
        assert_eq!(texts[1], "CAP_BPF is missing, needed to load the redirect program");
        assert!(of("old", 1 << 12 | 1 << 13 | 1 << 21, "unlimited").iter().all(|(s, _)| *s == Severity::Ok));
    }

    #[test]
    fn a_memory_limit_below_the_packet_memory_is_a_problem() {
        let (severity, text) = of("memory", 0, "8388608").pop().unwrap();
        assert_eq!(severity, Severity::Problem);
        assert_eq!(text, "locked memory is limited to 8 MiB, packet memory takes 64");
        assert_eq!(of("enough", 0, "67108864").pop().unwrap().0, Severity::Ok);
    }
}
