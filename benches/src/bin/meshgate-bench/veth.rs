//! Forwarding between two veth devices: the dataplane with rules, flow tracking and flow records beside another forwarder, or
//! beside itself with few rules, alternated in one run.
//!
//! The generator runs on processor 0, the forwarder on processor 1, and what the kernel does for either runs where it was
//! caused. The sink is a plain receiver, which counts and drops at nft's `netdev` ingress; one that drops in XDP would slow
//! every sender over AF_XDP. A packet's cost is that of all processors, generator and kernel included: what a forwarder leaves to
//! the kernel is not free.

mod forwarders;
mod ground;
mod long;
mod measure;
mod nftables;
mod program;
mod rules;

use crate::BenchError;
use forwarders::{Forwarder, OwnSettings, Steering};
use ground::Ground;
use measure::{Load, Reading, measure, median};
use meshgate_benches::traffic::sizes::Sizes;
use meshgate_dataplane::last_good::LastGoodError;
use nftables::VerdictMap;
use std::path::PathBuf;
use std::time::Duration;

/// Rules of the other one where our own dataplane is held against itself.
const FEW_RULES: usize = 10;
/// Most flows of the traffic: half of what its ports make.
const FLOWS_MAX: i64 = 500_000;

/// Forwarding between two veth devices, in namespaces of its own
#[derive(Debug, clap::Args)]
pub struct Veth {
    /// Whom to alternate with; none: ourselves with 10 rules
    #[arg(long, value_enum, default_value = "testpmd")]
    peer: Peer,
    /// Pairs of measurements, one of each
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Seconds before it
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    warm_up: u32,
    /// Rules of our policy, and of the bridge's
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(rules::RULES_MIN..=4_000))]
    rules: u32,
    /// Flows
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(0..=FLOWS_MAX))]
    flows: u32,
    /// Of a hundred frames so many begin a new flow
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    new_flows: u8,
    /// Bytes of a frame with its check sequence, or imix
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// The bridge's map of verdicts
    #[arg(long, value_enum, default_value = "exact")]
    nft_map: VerdictMap,
    /// Where the bridge works
    #[arg(long, value_enum, default_value = "same")]
    bridge_on: Steering,
    /// Nobody reads the flow records
    #[arg(long)]
    unread: bool,
    /// Workers of our dataplane; more than one are not pinned
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Queues of each device
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    queues: u32,
    /// Instead: a minute in each direction at full load, then where every frame of packet memory is
    #[arg(long, conflicts_with_all = ["peer", "pairs"])]
    balance: bool,
    /// Instead: the same with half of what a sender of the network stack brings across at most
    #[arg(long, conflicts_with_all = ["peer", "pairs", "balance"])]
    half_load: bool,
    /// Seconds in each direction of these two
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(long::SECONDS_MIN..=86_400))]
    long_seconds: u32,
    /// Only remove what killed runs left; every run begins so
    #[arg(long, conflicts_with_all = ["peer", "pairs", "balance", "half_load"])]
    sweep: bool,
}

/// Whom our own dataplane is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    /// DPDK's testpmd, io mode, without rules
    Testpmd,
    /// Open vSwitch's userspace datapath with AF_XDP, without rules
    Ovs,
    /// The kernel's bridge with the same rules in nftables
    BridgeNft,
    /// Ourselves with 10 rules
    None,
}

impl Peer {
    /// Returns the name of its figure.
    fn bar(self) -> &'static str {
        match self {
            Self::Testpmd => "veth_vs_testpmd",
            Self::Ovs => "veth_vs_ovs",
            Self::BridgeNft => "veth_vs_bridge_nft",
            Self::None => "veth_vs_few_rules",
        }
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum VethError {
    /// Namespaces are root's.
    #[error("namespaces and devices need root")]
    NotRoot,
    /// A file or folder cannot be made or read.
    #[error("{path}: {1}", path = .0.display())]
    Folder(PathBuf, std::io::Error),
    /// A program of ours is not there.
    #[error("{path} is missing: cargo build --release -p meshgate-benches -p meshgate-dataplane", path = .0.display())]
    Missing(PathBuf),
    /// A program cannot be started.
    #[error("{0}: {1}")]
    Start(String, std::io::Error),
    /// A command failed.
    #[error("{0}: {1}")]
    Command(String, String),
    /// A program did not become ready.
    #[error("not ready: no \"{0}\" in:\n{1}")]
    NotReady(String, String),
    /// The policy cannot be kept for the dataplane.
    #[error(transparent)]
    State(LastGoodError),
    /// The policy of the run is refused.
    #[error("the policy is refused: {0}")]
    Policy(String),
    /// No packet came across.
    #[error("{0}: no packet arrived; it said:\n{1}")]
    NothingArrived(String, String),
}

/// Returns sizes as the generator is told them.
fn sent(sizes: Sizes) -> String {
    match sizes {
        Sizes::Fixed([bytes]) => bytes.to_string(),
        Sizes::InternetMix => "imix".to_owned(),
    }
}

impl Veth {
    /// Runs it and prints what came out.
    pub fn run(&self) -> Result<(), BenchError> {
        if self.sweep {
            return Ok(ground::sweep()?);
        }
        let other = self.other();
        if let Some(reason) = other.absence().filter(|_| !self.balance && !self.half_load) {
            println!("skipped: {reason}");
            return Ok(());
        }
        let ground = Ground::new(self.queues)?;
        let own = OwnSettings { workers: self.workers, is_read: !self.unread };
        let ours = Forwarder::Own { rules: self.rules as usize };
        let each = Duration::from_secs(self.long_seconds.into());
        match (self.balance, self.half_load) {
            (true, _) => long::balance(&ground, ours, own, &self.load(), each)?,
            (_, true) => long::half_load(&ground, ours, own, &self.load(), each)?,
            _ => self.alternate(&ground, own, other)?,
        }
        Ok(())
    }

    fn load(&self) -> Load {
        Load {
            flows: self.flows,
            new_flows_percent: self.new_flows,
            size: self.size,
            warm_up: Duration::from_secs(self.warm_up.into()),
            duration: Duration::from_secs(self.seconds.into()),
        }
    }

    /// Returns whom to alternate with.
    fn other(&self) -> Forwarder {
        let rules = self.rules as usize;
        match self.peer {
            Peer::Testpmd => Forwarder::Testpmd,
            Peer::Ovs => Forwarder::Ovs,
            Peer::BridgeNft => Forwarder::BridgeNft { rules, form: self.nft_map, steering: self.bridge_on },
            Peer::None => Forwarder::Own { rules: FEW_RULES },
        }
    }

    /// Measures pairs, either one first in turns.
    fn alternate(&self, ground: &Ground, own: OwnSettings, other: Forwarder) -> Result<(), VethError> {
        let ours = Forwarder::Own { rules: self.rules as usize };
        let (ours_name, other_name) = (ours.name(), other.name());
        println!(
            "sink: plain receiver (nft netdev ingress counter and drop); {}, {} flows, {} % of the frames new ones, one way; \
             flow records {}",
            self.size,
            self.flows,
            self.new_flows,
            if self.unread { "read by nobody" } else { "read by flow_reader" }
        );
        println!(
            "{ours_name} against {other_name}; ns a packet: of all processors (generator, forwarder, kernel), and of the forwarder's own threads"
        );
        let load = self.load();
        let mut pairs: Vec<[Reading; 2]> = Vec::new();
        let mut end = String::new();
        for pair in 0..self.pairs {
            let mut read = |forwarder: Forwarder| -> Result<Reading, VethError> {
                let (reading, said) = measure(ground, forwarder, own, &load)?;
                if forwarder == ours {
                    end = said;
                }
                Ok(reading)
            };
            let readings = if pair.is_multiple_of(2) {
                [read(ours)?, read(other)?]
            } else {
                let theirs = read(other)?;
                [read(ours)?, theirs]
            };
            let [mine, theirs] = readings;
            println!(
                "pair {}: {ours_name} {}, {other_name} {}, ratio {:.3}, load {}",
                pair + 1,
                shown(mine),
                shown(theirs),
                mine.kpps / theirs.kpps,
                load_average()
            );
            pairs.push(readings);
        }
        end.lines()
            .filter(|line| line.contains("workers stop") || line.starts_with("records "))
            .for_each(|line| println!("{line}"));
        self.conclude(&pairs, [&ours_name, &other_name]);
        Ok(())
    }

    /// Prints medians.
    fn conclude(&self, pairs: &[[Reading; 2]], names: [&str; 2]) {
        for (side, name) in names.iter().enumerate() {
            let of = |value: fn(&Reading) -> f64| median(pairs.iter().map(|pair| value(&pair[side])));
            println!(
                "{name}: median {:.0} kpps, {:.0} ns a packet of all processors",
                of(|r| r.kpps),
                of(|r| r.all_ns)
            );
        }
        let ratios: Vec<f64> = pairs.iter().map(|[mine, theirs]| mine.kpps / theirs.kpps).collect();
        let listed: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        println!("ratios: {}", listed.join(" "));
        println!("bar: {} = {:.3} ratio", self.peer.bar(), median(ratios));
    }
}

/// Returns a reading in words.
fn shown(reading: Reading) -> String {
    let own =
        reading.own_ns.map_or_else(|| "none of its own".to_owned(), |own| format!("{own:.0} of its own"));
    format!("{:.0} kpps ({:.0} ns, {own})", reading.kpps, reading.all_ns)
}

/// Returns the machine's load of the last minute.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
