//! The processors that workers have: whether each has its own alone.

use super::system::{System, processor_list};
use crate::config::Config;
use meshgate_policy::Finding;
use std::collections::BTreeSet;

/// Names of other threads that are listed.
const NAMES_SHOWN: usize = 4;
/// Control groups above this one that are looked at.
const GROUPS_MAX: usize = 32;

/// Returns what is to be said of the processors.
pub(super) fn findings(system: &System, config: &Config) -> Vec<Finding> {
    let allowed = system.field("proc/self/status", "Cpus_allowed_list");
    let allowed = allowed.map(|list| processor_list(&list)).unwrap_or_default();
    let mut findings: Vec<Finding> = quota(system).into_iter().collect();
    if config.cpus.is_empty() {
        let isolated = system.processors("sys/devices/system/cpu/isolated").unwrap_or_default();
        // Isolated ones first, then the last ones: the first is where interrupts tend to go.
        let others = allowed.iter().rev().filter(|cpu| !isolated.contains(cpu));
        let own = isolated.intersection(&allowed).chain(others);
        let example: BTreeSet<usize> = own.take(usize::from(config.workers)).copied().collect();
        let text =
            format!("workers are not pinned; the kernel moves them among {} processors", allowed.len());
        let cure = format!("set cpus = [{}] in the configuration", list(&example));
        findings.push(Finding::hint("processor", text, cure));
    }
    findings.extend(config.cpus.iter().flat_map(|cpu| of_processor(system, *cpu, &allowed)));
    findings
}

fn of_processor(system: &System, cpu: usize, allowed: &BTreeSet<usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = format!("cpu {cpu}");
    if !allowed.is_empty() && !allowed.contains(&cpu) {
        let text = format!("this process may run on {} only", list(allowed));
        let cure = "choose of these by cpus =, or widen AllowedCPUs= of the unit (cpuset.cpus)";
        findings.push(Finding::problem("processor", text, cure).of(&subject));
        return findings;
    }
    let shared =
        [isolation(system, cpu), sibling(system, cpu), interrupts(system, cpu), neighbours(system, cpu)];
    let shared: Vec<Finding> = shared.into_iter().flatten().collect();
    if shared.is_empty() {
        findings.push(Finding::ok("processor", "its worker has it alone").of(&subject));
    }
    findings.extend(shared.into_iter().map(|finding| finding.of(&subject)));
    findings
}

fn isolation(system: &System, cpu: usize) -> Option<Finding> {
    let isolated = system.processors("sys/devices/system/cpu/isolated").unwrap_or_default();
    let text = "the scheduler may put other work on it";
    let cure = format!(
        "boot with isolcpus=managed_irq,domain,{cpu} nohz_full={cpu}, or an isolated cpuset partition"
    );
    (!isolated.contains(&cpu)).then(|| Finding::hint("processor", text, cure))
}

fn sibling(system: &System, cpu: usize) -> Option<Finding> {
    let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let mut siblings = system.processors(&path)?;
    siblings.remove(&cpu);
    (!siblings.is_empty()).then(|| {
        let text = format!("shares its core with processor {}", list(&siblings));
        let cure = "leave that one idle: isolate it too, or echo 0 > /sys/devices/system/cpu/cpuN/online";
        Finding::hint("processor", text, cure)
    })
}

/// Looks for interrupts of devices that are delivered to the processor and that have come.
fn interrupts(system: &System, cpu: usize) -> Option<Finding> {
    let table = system.text("proc/interrupts")?;
    let mut lines = table.lines();
    let column = lines.next()?.split_whitespace().position(|title| title == format!("CPU{cpu}"))?;
    let mut names = Vec::new();
    for line in lines {
        let (number, rest) = line.split_once(':')?;
        let Ok(number) = number.trim().parse::<u32>() else { continue };
        let come = rest.split_whitespace().nth(column).and_then(|count| count.parse().ok()).unwrap_or(0u64);
        let led = system.processors(&format!("proc/irq/{number}/effective_affinity_list"));
        if come > 0 && led.is_some_and(|led| led.contains(&cpu)) {
            names.push(rest.split_whitespace().last().unwrap_or_default().to_owned());
        }
    }
    (!names.is_empty()).then(|| {
        let text = format!("interrupts of {} are delivered to it", some(&names));
        let cure = "echo another processor > /proc/irq/N/smp_affinity_list, and IRQBALANCE_BANNED_CPULIST";
        Finding::hint("processor", text, cure)
    })
}

/// Looks for programs, not the kernel's own threads, that are pinned to this processor alone.
fn neighbours(system: &System, cpu: usize) -> Option<Finding> {
    let own = std::process::id().to_string();
    let is_process = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own;
    let pinned = |name: &String| {
        let status = format!("proc/{name}/status");
        let is_pinned = system
            .field(&status, "Cpus_allowed_list")
            .is_some_and(|allowed| processor_list(&allowed).into_iter().eq([cpu]));
        // Threads of the kernel have no command line.
        is_pinned && system.text(&format!("proc/{name}/cmdline")).is_some_and(|line| !line.is_empty())
    };
    let processes = system.names("proc").into_iter().filter(is_process).filter(pinned);
    let called = |name: String| {
        let called = system.field(&format!("proc/{name}/status"), "Name").unwrap_or_default();
        format!("{called} ({name})")
    };
    // The dataplane itself is not its own neighbour, when it is looked at from beside it.
    let names: Vec<String> =
        processes.map(called).filter(|name| !name.starts_with("meshgate-datap")).collect();
    (!names.is_empty()).then(|| {
        let text = format!("is also what {} is pinned to", some(&names));
        Finding::problem("processor", text, "move one of them to another processor")
    })
}

/// Looks for a control group whose processor time is limited (cgroups(7), `cpu.max`).
fn quota(system: &System) -> Option<Finding> {
    let groups = system.text("proc/self/cgroup")?;
    let mut group = groups.lines().find_map(|line| line.strip_prefix("0::"))?.trim_matches('/').to_owned();
    for _ in 0..GROUPS_MAX {
        let limit = system.text(&format!("sys/fs/cgroup/{group}/cpu.max")).unwrap_or_default();
        if let Some((quota, period)) = limit.split_once(' ').filter(|(quota, _)| *quota != "max") {
            let text = format!("control group /{group} stops workers after {quota} us in {period}");
            let cure = "remove CPUQuota= of the unit (cpu.max); a worker that is stopped drops what arrives meanwhile";
            return Some(Finding::problem("processor", text, cure));
        }
        let Some((above, _)) = group.rsplit_once('/') else { break };
        group = above.to_owned();
    }
    None
}

fn list(processors: &BTreeSet<usize>) -> String {
    let shown: Vec<String> = processors.iter().take(16).map(ToString::to_string).collect();
    let more = if processors.len() > 16 { ",..." } else { "" };
    shown.join(",") + more
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::tests::Files;
    use super::*;
    use meshgate_policy::Severity;
    use std::path::Path;

    fn of(test: &str, cpu: Option<usize>, files: &[(&str, &str)]) -> Vec<Finding> {
        let cpu = cpu.map_or_else(String::new, |cpu| format!("cpus = [{cpu}]\n"));
        let config = format!("host = 'a'\n{cpu}[[device]]\nname = 'tap0'\nrole = 'endpoint'\n");
        let config = Config::parse(&config, Path::new("dp.toml")).unwrap();
        let mut all = vec![("proc/self/status", "Cpus_allowed_list:\t0-3\n")];
        all.extend(files);
        findings(&Files::new(test, &all).system(), &config)
    }

    const QUIET: (&str, &str) = ("sys/devices/system/cpu/isolated", "2-3\n");

    #[test]
    fn a_worker_that_is_not_pinned_is_told_an_isolated_processor() {
        let found = of("unpinned", None, &[QUIET]);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Hint));
        assert_eq!(found[0].cure, "set cpus = [2] in the configuration");
    }

    #[test]
    fn an_isolated_processor_without_neighbours_is_well() {
        let found = of("alone", Some(2), &[QUIET]);
        assert_eq!((found.len(), found[0].severity, found[0].subject.as_str()), (1, Severity::Ok, "cpu 2"));
    }

    #[test]
    fn a_processor_outside_of_the_cpuset_is_a_problem() {
        let found = of("outside", Some(7), &[QUIET]);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Problem));
        assert_eq!(found[0].text, "this process may run on 0,1,2,3 only");
    }

    #[test]
    fn a_sibling_interrupts_and_pinned_programs_are_named() {
        let interrupts = "      CPU0  CPU1  CPU2\n 24:  5  0  9  PCI-MSI  eth0-rx-0\n 25:  5  0  0  PCI-MSI  eth0-tx-0\nLOC: 1 2 3  timer\n";
        let found = of(
            "shared",
            Some(2),
            &[
                QUIET,
                ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6\n"),
                ("proc/interrupts", interrupts),
                ("proc/irq/24/effective_affinity_list", "2\n"),
                ("proc/irq/25/effective_affinity_list", "0\n"),
                ("proc/4000001/status", "Name:\tqemu\nCpus_allowed_list:\t2\n"),
                ("proc/4000001/cmdline", "qemu\0-smp\0"),
                ("proc/4000002/status", "Name:\tksoftirqd/2\nCpus_allowed_list:\t2\n"),
                ("proc/4000002/cmdline", ""),
                ("proc/4000003/status", "Name:\tbash\nCpus_allowed_list:\t0-3\n"),
                ("proc/4000003/cmdline", "bash\0"),
            ],
        );
        let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
        let expected = [
            "shares its core with processor 6",
            "interrupts of eth0-rx-0 are delivered to it",
            "is also what qemu (4000001) is pinned to",
        ];
        assert_eq!(texts, expected);
        assert_eq!(found[2].severity, Severity::Problem);
    }

    #[test]
    fn a_quota_of_a_group_above_is_found() {
        let found = of(
            "quota",
            Some(2),
            &[
                QUIET,
                ("proc/self/cgroup", "0::/system.slice/meshgate.service\n"),
                ("sys/fs/cgroup/system.slice/meshgate.service/cpu.max", "max 100000\n"),
                ("sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"),
            ],
        );
        assert_eq!(found[0].severity, Severity::Problem);
        assert_eq!(found[0].text, "control group /system.slice stops workers after 50000 us in 100000");
    }
}
