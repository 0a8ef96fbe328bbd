//! Who forwards between the two devices of the host.

use super::VethError;
use super::ground::{Ground, Side};
use super::nftables::{self, VerdictMap};
use super::program::{self, Program};
use super::rules;
use meshgate_dataplane::last_good::LastGood;
use meshgate_dataplane::subscriber::encode;
use meshgate_policy::{AuthoredPolicy, Numbering, Policy, PolicyVersion, resolve};
use std::time::Duration;

/// The processor of whoever forwards; the generator has number 0.
const PROCESSOR: usize = 1;
/// Longest wait of the reader for its dataplane's end.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// meshgate-dataplane with so many rules, flow tracking and flow records.
    Own {
        /// Rules.
        rules: usize,
    },
    /// DPDK's testpmd, io mode, two `net_af_xdp`, no rules.
    Testpmd,
    /// Open vSwitch's userspace datapath with two AF_XDP ports and one flow, no rules.
    Ovs,
    /// The kernel's bridge with the same rules in nftables.
    BridgeNft {
        /// Rules.
        rules: usize,
        /// Their form.
        form: VerdictMap,
        /// Where packets are filtered.
        steering: Steering,
    },
}

/// On which processors the bridge works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Steering {
    /// On that of the generator, which interrupts itself
    Same,
    /// Receives beside the generator, filters and sends on the other processor (RPS)
    Split,
    /// All on the other processor, in a thread of its own (threaded NAPI)
    Thread,
}

/// How our own dataplane runs.
#[derive(Clone, Copy, Debug)]
pub struct OwnSettings {
    /// Workers; one is pinned and spins, more are not.
    pub workers: u32,
    /// Whether somebody reads the flow records.
    pub is_read: bool,
}

/// A forwarder at work.
pub struct Running {
    /// The programs, the forwarder last; none where the kernel forwards.
    programs: Vec<Program>,
    /// Who reads flow records.
    reader: Option<Program>,
    /// Whether there is a bridge to be taken away.
    is_bridge: bool,
}

impl Forwarder {
    /// Returns how it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Own { rules } => format!("ours with {rules} rules"),
            Self::Testpmd => "testpmd".to_owned(),
            Self::Ovs => "ovs".to_owned(),
            Self::BridgeNft { .. } => "bridge+nft".to_owned(),
        }
    }

    /// Returns why it cannot run here.
    pub fn absence(&self) -> Option<String> {
        let missing = |names: &[&str]| {
            let name = names.iter().find(|name| !program::is_installed(name))?;
            Some(format!("{name} is not installed"))
        };
        match self {
            Self::Own { .. } => None,
            Self::Testpmd => missing(&["dpdk-testpmd", "stdbuf"]),
            Self::BridgeNft { .. } => missing(&["bridge", "ethtool"]),
            Self::Ovs => missing(&["ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl"]),
        }
    }

    /// Starts it; it forwards when this returns.
    pub fn start(&self, ground: &Ground, own: OwnSettings) -> Result<Running, VethError> {
        match *self {
            Self::Own { rules } => start_own(ground, rules, own),
            Self::Testpmd => start_testpmd(ground),
            Self::Ovs => start_ovs(ground),
            Self::BridgeNft { rules, form, steering } => start_bridge(ground, (rules, form), steering),
        }
    }
}

impl Running {
    /// Returns the processor time of the forwarder's own threads so far, in clock ticks; none where the kernel forwards.
    pub fn ticks(&self) -> Option<u64> {
        self.programs.last().map(Program::ticks)
    }

    /// Returns the processor time of all its programs so far, the reader of flow records included.
    pub fn all_ticks(&self) -> u64 {
        self.programs.iter().chain(&self.reader).map(Program::ticks).sum()
    }

    /// Ends it and returns what the forwarder said at its end.
    pub fn finish(self, ground: &Ground) -> Result<String, VethError> {
        let mut said = String::new();
        for program in self.programs.into_iter().rev() {
            let log = program.finish();
            if said.is_empty() {
                said = log;
            }
        }
        if let Some(mut reader) = self.reader {
            reader.await_end(READER_PATIENCE);
            said.push_str(&reader.log());
        }
        if self.is_bridge {
            end_bridge(ground)?;
        }
        ground.bare()?;
        Ok(said)
    }
}

/// Returns the policy of so many rules.
fn policy(rules: usize) -> Result<Policy, VethError> {
    let refused = |error: &dyn std::fmt::Display| VethError::Policy(error.to_string());
    let text = rules::policy_text(rules).map_err(|error| refused(&error))?;
    let mut authored: AuthoredPolicy = toml::from_str(&text).map_err(|error| refused(&error))?;
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).map_err(|error| refused(&error))?;
    resolve(&authored, &numbering, PolicyVersion(1))
        .map_err(|faults| VethError::Policy(faults.first().map(ToString::to_string).unwrap_or_default()))
}

/// Keeps the policy as the one accepted last, and starts the dataplane without control.
fn start_own(ground: &Ground, rules: usize, own: OwnSettings) -> Result<Running, VethError> {
    let state = ground.path(&format!("state-{rules}"));
    if !state.exists() {
        let policy = encode(&policy(rules)?);
        LastGood::open(&state).and_then(|kept| kept.write(&policy)).map_err(VethError::State)?;
    }
    let flows = ground.path("flows.sock");
    let pinning =
        if own.workers == 1 { format!("cpus = [{PROCESSOR}]\npolling = \"spin\"\n") } else { String::new() };
    let config = format!(
        "host = \"bench\"\ncontrol = \"unix:{}\"\nstate_dir = \"{}\"\nworkers = {}\n{pinning}\
         flow_ring = {{ socket = \"{}\" }}\n\
         device = [{{ name = \"near\", role = \"endpoint\" }}, {{ name = \"far\", role = \"endpoint\" }}]\n",
        ground.path("no-control.sock").display(),
        state.display(),
        own.workers,
        flows.display(),
    );
    let config = ground.write("dataplane.toml", &config)?;
    let line = format!("{} --config {}", program::own("meshgate-dataplane")?, config.display());
    let mut dataplane = ground.start("host", "ours", &line)?;
    dataplane.await_said("device taken", 2)?;
    let reader = if own.is_read {
        for _ in 0..200 {
            if flows.exists() {
                break;
            }
            program::rest(Duration::from_millis(20));
        }
        let line = format!("{} {}", program::own("flow_reader")?, flows.display());
        Some(ground.start("host", "reader", &line)?)
    } else {
        None
    };
    Ok(Running { programs: vec![dataplane], reader, is_bridge: false })
}

fn start_testpmd(ground: &Ground) -> Result<Running, VethError> {
    let line = format!(
        "stdbuf -oL dpdk-testpmd -l 0,{PROCESSOR} --main-lcore 0 --no-huge -m 512 --no-pci --no-telemetry \
         --file-prefix {} --vdev net_af_xdp0,iface=near --vdev net_af_xdp1,iface=far -- --forward-mode=io \
         --nb-cores=1 --total-num-mbufs=16384",
        ground.name()
    );
    let mut testpmd = ground.start("host", "testpmd", &line)?;
    testpmd.await_said("Press enter to exit", 1)?;
    Ok(Running { programs: vec![testpmd], reader: None, is_bridge: false })
}

/// Starts Open vSwitch with a database, sockets and processes of its own.
fn start_ovs(ground: &Ground) -> Result<Running, VethError> {
    let folder = ground.path("ovs");
    // Left from the pair before.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).map_err(|error| VethError::Folder(folder.clone(), error))?;
    let folder = folder.display();
    let schema = "/usr/share/openvswitch/vswitch.ovsschema";
    program::run(&format!("ovsdb-tool create {folder}/conf.db {schema}"))?;
    let environment = format!("env OVS_RUNDIR={folder} OVS_LOGDIR={folder}");
    let database = ground.start(
        "host",
        "ovsdb",
        &format!("{environment} ovsdb-server --remote=punix:{folder}/db.sock {folder}/conf.db"),
    )?;
    let line = format!("{environment} ovs-vswitchd unix:{folder}/db.sock");
    let mut switch = ground.start("host", "ovs", &line)?;
    switch.await_said("connected", 1)?;
    let control = format!("{environment} ovs-vsctl --db=unix:{folder}/db.sock --timeout=15");
    ground.on("host", &format!("{control} --no-wait init"))?;
    ground.on(
        "host",
        &format!("{control} --no-wait set Open_vSwitch . other_config:pmd-cpu-mask={}", 1 << PROCESSOR),
    )?;
    ground.on(
        "host",
        &format!("{control} add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure"),
    )?;
    for side in [Side::Near, Side::Far] {
        let name = side.name();
        ground.on(
            "host",
            &format!(
                "{control} add-port br0 {name} -- set interface {name} type=afxdp options:xdp-mode=native"
            ),
        )?;
        let error = ground.on("host", &format!("{control} get interface {name} error"))?;
        if error != "[]" {
            return Err(VethError::NotReady(format!("port {name}"), error));
        }
    }
    ground.on(
        "host",
        &format!("{environment} ovs-ofctl add-flow unix:{folder}/br0.mgmt in_port=near,actions=output:far"),
    )?;
    Ok(Running { programs: vec![database, switch], reader: None, is_bridge: false })
}

/// Puts both devices into a bridge that has nothing to learn, with the rules in nftables.
fn start_bridge(
    ground: &Ground,
    (rules, form): (usize, VerdictMap),
    steering: Steering,
) -> Result<Running, VethError> {
    let text = nftables::ruleset(rules, form).map_err(|error| VethError::Policy(error.to_string()))?;
    let file = ground.write("bridge.nft", &text)?;
    ground.on("host", &format!("nft -f {}", file.display()))?;
    ground.on("host", "ip link add bridge0 type bridge mcast_snooping 0 stp_state 0")?;
    // Else each packet would go through the hooks of IPv4 as well, without a rule there.
    for family in ["iptables", "ip6tables", "arptables"] {
        ground.on("host", &format!("sysctl -qw net.bridge.bridge-nf-call-{family}=0"))?;
    }
    for side in [Side::Near, Side::Far] {
        let name = side.name();
        // Without a program a veth takes redirected frames only where it may merge them.
        ground.on("host", &format!("ethtool -K {name} gro on"))?;
        ground.on("host", &format!("ip link set {name} master bridge0"))?;
        ground.on("host", &format!("bridge link set dev {name} learning off flood off"))?;
        ground.on("host", &format!("bridge fdb add {} dev {name} master static", side.mac()))?;
    }
    ground.on("host", "ip link set bridge0 up")?;
    let mask = format!("{:x}", 1 << PROCESSOR);
    steer(
        ground,
        [steering == Steering::Thread, steering == Steering::Split]
            .map(|is_on| if is_on { &mask } else { "0" }),
    )?;
    if steering == Steering::Thread {
        for thread in program::kernel_threads("napi/near-") {
            program::run(&format!("taskset -p {mask} {thread}"))?;
            program::run(&format!("renice -n -20 -p {thread}"))?;
        }
    }
    Ok(Running { programs: Vec::new(), reader: None, is_bridge: true })
}

/// Says whether a thread receives from the near device, and which processors filter what it receives.
fn steer(ground: &Ground, [thread, filters]: [&str; 2]) -> Result<(), VethError> {
    let is_on = if thread == "0" { "0" } else { "1" };
    for (file, value) in [("threaded", is_on), ("queues/rx-0/rps_cpus", filters)] {
        // A command without a shell redirects nothing: dd writes.
        let value = ground.write("value", value)?;
        ground.on("host", &format!("dd status=none if={} of=/sys/class/net/near/{file}", value.display()))?;
    }
    Ok(())
}

/// Takes the bridge away and leaves the devices as other forwarders expect them.
fn end_bridge(ground: &Ground) -> Result<(), VethError> {
    // Before merging is switched off: what receives from the device goes with it.
    steer(ground, ["0", "0"])?;
    ground.on("host", "ip link delete bridge0")?;
    ground.on("host", "nft delete table bridge rules")?;
    ground.on("host", "ethtool -K near gro off")?;
    ground.on("host", "ethtool -K far gro off").map(drop)
}
