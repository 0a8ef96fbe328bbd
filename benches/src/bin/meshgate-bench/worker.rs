//! The whole worker on devices in memory: nanoseconds a packet for four kinds of traffic and several numbers of flows.
//!
//! Everything is on: checks of the sender, flow table, rules, flow records with a thread that takes them out of the ring,
//! counters. What is timed is the worker's turn, whole. The worker's own counters tell afterwards whether each packet was
//! judged as meant; if not, nothing is worth a figure and the command fails.

mod device;
mod host;
mod policy;
mod traffic;

use crate::BenchError;
use crate::timing::{Spread, Timing};
use af_xdp::Umem;
use device::DeviceAlone;
use host::{Counted, Site};
use meshgate_dataplane::assembly::AssemblyError;
use meshgate_dataplane::config::ConfigError;
use meshgate_dataplane::flow_table::{FlowTable, KeyedHash};
use meshgate_dataplane::subscriber::ApplyError;
use meshgate_policy::generate::Rng;
use meshgate_policy::{NumberingError, limits};
use std::collections::BTreeSet;
use traffic::{FLOWS_MAX, Kind, Outcome, Traffic};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct Worker {
    /// Rules of the policy
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(policy::RULES_MIN as i64..=limits::RULES_MAX as i64))]
    rules: u32,
    /// Flows in the table; may be given several times
    #[arg(long, default_values_t = [1, 1_024, 65_536, 1_048_576], value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX)))]
    flows: Vec<u32>,
    /// Kind of traffic; may be given several times, and is all of them where it is not
    #[arg(long, value_enum)]
    traffic: Vec<Kind>,
    /// Seed of the rules and of the order of the packets
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    timing: Timing,
}

/// Why the worker was not measured, or its figures are worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The built-in configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy is not written as policies are.
    #[error("the policy cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// There are too many names.
    #[error(transparent)]
    Numbering(#[from] NumberingError),
    /// The policy is refused.
    #[error("the policy is refused: {0}")]
    Policy(String),
    /// The policy cannot be compiled.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// There is no packet memory.
    #[error(transparent)]
    Memory(#[from] af_xdp::Error),
    /// The worker cannot be put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// Turns alternate one figure of two programs.
    #[error(
        "--in-turns measures one kind of traffic at one number of flows: give --traffic and --flows once each"
    )]
    SeveralInTurns,
    /// Packets were not judged as meant.
    #[error("{kind} at {flows} flows: {what}: {found}, expected {expected}")]
    Misjudged {
        /// The traffic.
        kind: &'static str,
        /// Flows in the table.
        flows: usize,
        /// What was counted.
        what: &'static str,
        /// How often.
        found: u64,
        /// How often it was meant to be.
        expected: u64,
    },
}

/// What was measured of one kind of traffic.
struct Figures {
    /// Nanoseconds a packet, the device included.
    worker: Spread,
    /// Nanoseconds a packet of the devices without a worker.
    device: Spread,
    /// Flow records made, and those of them that were lost.
    records: (u64, u64),
}

impl Worker {
    /// Runs it, prints what came out, and fails where packets were judged otherwise than meant.
    pub fn run(&self) -> Result<(), BenchError> {
        let kinds = match self.traffic.as_slice() {
            [] => vec![Kind::Established, Kind::NewFlow, Kind::Mixed, Kind::Deny],
            kinds => kinds.to_vec(),
        };
        let flows: BTreeSet<usize> = self.flows.iter().map(|flows| *flows as usize).collect();
        if self.timing.in_turns && (kinds.len(), flows.len()) != (1, 1) {
            return Err(WorkerError::SeveralInTurns.into());
        }
        let mut bars = Vec::new();
        println!(
            "ns a packet: median, least to most ({} repetitions, {} rules, frames of {} bytes in bursts of 64, one \
             thread's processor time); the devices' part is within it",
            self.timing.repetitions,
            self.rules,
            device::FRAME_BYTES
        );
        for flows in flows {
            let bytes =
                FlowTable::new(u32::try_from(flows).unwrap_or(u32::MAX), KeyedHash::random(), 0).bytes();
            println!("{flows} flows: a table of {bytes} bytes");
            bars.push(format!("bar: worker_flow_table_{flows} = {bytes} bytes"));
            for kind in &kinds {
                let Figures { worker, device, records: (made, lost) } = self.measure(*kind, flows)?;
                let name = kind.name();
                println!(
                    "  {name:<11} {:>7.1}, {:.1} to {:.1}; devices alone {:.1}; {made} flow records, {lost} lost",
                    worker.median, worker.least, worker.most, device.median
                );
                bars.push(format!("bar: worker_{name}_{flows} = {:.1} ns", worker.median));
                bars.push(format!("bar: worker_{name}_{flows}_devices = {:.1} ns", device.median));
            }
        }
        bars.iter().for_each(|bar| println!("{bar}"));
        Ok(())
    }

    /// Measures one kind of traffic at so many flows.
    fn measure(&self, kind: Kind, flows: usize) -> Result<Figures, WorkerError> {
        let mut rng = Rng::new(self.seed);
        let traffic = kind.traffic(flows, &mut rng);
        let wrong = |(what, found, expected)| WorkerError::Misjudged {
            kind: kind.name(),
            flows,
            what,
            found,
            expected,
        };
        let mut site = Site::new(traffic.table_flows, self.rules as usize, &mut rng)?;
        site.open(&traffic);
        let before = site.counted();
        differing(&[("flows opened before", before.live, traffic.known_flows as u64)]).map_err(wrong)?;
        let mut rounds = 0;
        let worker = self.timing.nanoseconds_per_item(traffic.packets(), || {
            site.turns(traffic.turns());
            rounds += 1;
        });
        let (after, taken) = site.stop();
        judged_as_meant(&traffic, rounds, &before, &after).map_err(wrong)?;
        differing(&[("records out of the ring", taken, after.records - after.records_lost)])
            .map_err(wrong)?;
        let (made, lost) = (after.records - before.records, after.records_lost - before.records_lost);
        Ok(Figures { worker, device: self.devices_alone(&traffic)?, records: (made, lost) })
    }

    /// Measures the devices without a worker.
    fn devices_alone(&self, traffic: &Traffic) -> Result<Spread, WorkerError> {
        let (_umem, mut pools) = Umem::new(&host::memory()?)?;
        let mut devices = DeviceAlone::new(pools.remove(0), traffic.loads());
        let timing = Timing { in_turns: false, ..self.timing };
        Ok(timing
            .nanoseconds_per_item(traffic.packets(), || (0..traffic.turns()).for_each(|_| devices.turn())))
    }
}

/// A number that was counted, and what it was meant to be.
type Expectation = (&'static str, u64, u64);

/// Checks what became of so many rounds of traffic.
fn judged_as_meant(
    traffic: &Traffic,
    rounds: u64,
    before: &Counted,
    after: &Counted,
) -> Result<(), Expectation> {
    let Outcome { allowed, begun, refused_by_rule, refused_by_default } = traffic.outcome;
    let since = |of: fn(&Counted) -> u64| of(after) - of(before);
    let refused = refused_by_rule + refused_by_default;
    differing(&[
        ("packets received", since(|c| c.received), traffic.packets() as u64 * rounds),
        ("packets allowed", since(|c| c.allowed), allowed * rounds),
        ("packets sent", since(|c| c.sent), allowed * rounds),
        ("flows begun", since(|c| c.begun), begun * rounds),
        ("packets refused by a rule", since(|c| c.refused_by_rule), refused_by_rule * rounds),
        ("packets refused by default", since(|c| c.refused_by_default), refused_by_default * rounds),
        ("packets dropped", since(|c| c.dropped), refused * rounds),
    ])
}

/// Returns the first number that is not what it was meant to be.
fn differing(expectations: &[Expectation]) -> Result<(), Expectation> {
    expectations.iter().find(|(_, found, expected)| found != expected).map_or(Ok(()), |wrong| Err(*wrong))
}
