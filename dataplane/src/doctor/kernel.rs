//! The kernel: its version, its compiler of BPF programs, its clock.

use super::system::System;
use meshgate_policy::Finding;

/// First kernel on which packets of several chunks can be received and sent (`XDP_USE_SG`).
const MULTI_BUFFER: (u32, u32) = (6, 6);
/// First kernel that takes a checksum request with a packet to send (`XDP_TXMD_FLAGS_CHECKSUM`).
const TX_METADATA: (u32, u32) = (6, 8);
/// First kernel whose send budget can be raised (`XDP_MAX_TX_SKB_BUDGET`); before, a burst takes several calls.
const TX_BUDGET: (u32, u32) = (6, 17);
/// Clocks that are read without leaving user space; others cost a microsecond and more each time.
const FAST_CLOCKS: [&str; 6] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen", "vdso"];

/// Returns what is to be said of the kernel.
pub(super) fn findings(system: &System) -> Vec<Finding> {
    [Some(version(system)), compiler(system), clock(system)].into_iter().flatten().collect()
}

fn version(system: &System) -> Finding {
    let release = system.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let cure = "run a kernel of 6.8 or later; 6.12 is a long-term one";
    match parse(&release) {
        None => Finding::hint("kernel", format!("version {release:?} is not understood"), cure),
        Some(version) if version < MULTI_BUFFER => {
            let text = format!("{release}: no frames of several chunks, no checksum requests");
            Finding::problem("kernel", text, cure)
        }
        Some(version) if version < TX_METADATA => {
            let text = format!(
                "{release}: no checksum requests, so that what veths and taps leave unfinished is lost"
            );
            Finding::problem("kernel", text, cure)
        }
        Some(version) if version < TX_BUDGET => {
            let text = format!("{release}: sends 32 packets a call where later ones send a whole burst");
            Finding::hint("kernel", text, "6.17 or later saves system calls; nothing is lost without it")
        }
        Some(_) => Finding::ok("kernel", release),
    }
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn compiler(system: &System) -> Option<Finding> {
    let value = system.text("proc/sys/net/core/bpf_jit_enable")?;
    Some(match value.as_str() {
        "0" => Finding::problem(
            "kernel",
            "BPF programs are interpreted (net.core.bpf_jit_enable = 0)",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        _ => Finding::ok("kernel", "BPF programs are compiled"),
    })
}

fn clock(system: &System) -> Option<Finding> {
    let name = system.text("sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let text = format!("clock source {name}");
    Some(match FAST_CLOCKS.contains(&name.as_str()) {
        true => Finding::ok("clock", text),
        false => Finding::hint(
            "clock",
            format!("{text} is read by a system call, once a burst"),
            "boot with clocksource=tsc tsc=reliable where the processor's counter is constant",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::system::tests::Files;
    use super::*;
    use meshgate_policy::Severity;

    fn of(test: &str, files: &[(&str, &str)]) -> Vec<(Severity, String)> {
        let found = findings(&Files::new(test, files).system());
        found.into_iter().map(|finding| (finding.severity, finding.text)).collect()
    }

    #[test]
    fn an_old_kernel_is_a_problem_and_says_what_is_missing() {
        for (release, severity) in [
            ("5.15.0-91-generic", Severity::Problem),
            ("6.7.1", Severity::Problem),
            ("6.12.9-amd64", Severity::Hint),
            ("6.18.0", Severity::Ok),
            ("7.0-rc1", Severity::Ok),
            ("odd", Severity::Hint),
        ] {
            let found = of("kernel", &[("proc/sys/kernel/osrelease", release)]);
            assert_eq!(found[0].0, severity, "{release}");
        }
    }

    #[test]
    fn an_interpreter_and_a_slow_clock_are_found() {
        let found = of(
            "clock",
            &[
                ("proc/sys/kernel/osrelease", "6.18.0"),
                ("proc/sys/net/core/bpf_jit_enable", "0\n"),
                ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
            ],
        );
        assert_eq!((found[1].0, found[2].0), (Severity::Problem, Severity::Hint));
        assert!(found[2].1.contains("hpet"));
    }
}
