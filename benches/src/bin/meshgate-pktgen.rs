//! Sends frames out of a device as fast as they go or at a rate, from inside the kernel, and tells how many arrived: seeded
//! flows of fixed sizes or an Internet mix, or a capture.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are what this program is for")]

use af_xdp::{Device, DropCounter, Generated, Generator};
use clap::Parser;
use meshgate_benches::device_counters::SentCounters;
use meshgate_benches::traffic::addresses::AddressRange;
use meshgate_benches::traffic::sizes::Sizes;
use meshgate_benches::traffic::{
    CaptureRefusal, Captured, Cycle, FLOWS_MAX, FlowTraffic, MacRewrite, TrafficRefusal,
};
use meshgate_dataplane::device::pcap::{PcapWriter, WriteError};
use meshgate_policy::Mac;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs of one call into the kernel. Each call's set-up pauses some 20 ms, so they must be few.
const RUNS_PER_CALL: u32 = 200_000_000;
/// Time between two looks at what was sent.
const LOOK: Duration = Duration::from_millis(2);
/// Time for what was sent to arrive.
const ARRIVAL: Duration = Duration::from_millis(100);
/// Time between two frames of a file that is written.
const WRITTEN_GAP_NS: u64 = 1_000;
const MAC_DEFAULT: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Sends frames out of a device from inside the kernel, until it is ended or as long as told. The other end of a veth needs an
/// XDP program or GRO. Needs CAP_NET_ADMIN and CAP_BPF.
#[derive(Debug, Parser)]
#[command(name = "meshgate-pktgen", version)]
struct Arguments {
    /// Device that sends
    #[arg(required_unless_present = "write")]
    device: Option<String>,
    /// Write the frames into this pcap file instead, as many as --packets says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "seconds", "rate"], requires = "packets")]
    write: Option<PathBuf>,
    #[command(flatten)]
    flows: FlowArguments,
    /// Replay a pcap or pcapng capture round and round instead, byte for byte: of its frames nothing is rewritten but
    /// MACs that are given
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sources", "destinations", "ports", "flows", "new_flows", "tcp", "size", "seed"])]
    capture: Option<PathBuf>,
    /// MAC of the sender [default: the device's; with --capture: those of the frames]
    #[arg(long, value_name = "MAC")]
    source_mac: Option<Mac>,
    /// MAC of the receiver [with --capture: those of the frames]
    #[arg(long, value_name = "MAC", required_unless_present = "capture")]
    destination_mac: Option<Mac>,
    /// Frames a second [default: as many as go]
    #[arg(long, value_name = "FRAMES")]
    rate: Option<NonZero<u32>>,
    /// Send so many frames
    #[arg(long, value_name = "FRAMES")]
    packets: Option<NonZero<u64>>,
    /// Count and drop in its driver what arrives at this device of the same namespace, the other end of the veth
    #[arg(long, value_name = "DEVICE", conflicts_with = "write")]
    drop_at: Option<String>,
    /// Send so long
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
}

/// What flows there are.
#[derive(Debug, clap::Args)]
struct FlowArguments {
    /// Source addresses, FIRST-LAST or one; IPv4 and IPv6 may stand beside each other
    #[arg(long, value_name = "RANGE", value_delimiter = ',', default_value = "10.0.0.1-10.0.0.254")]
    sources: Vec<AddressRange>,
    /// Destination addresses, likewise
    #[arg(long, value_name = "RANGE", value_delimiter = ',', default_value = "10.0.1.1-10.0.1.254")]
    destinations: Vec<AddressRange>,
    /// Destination port, or FIRST-LAST
    #[arg(long, value_parser = parse_ports, default_value = "9")]
    ports: (u16, u16),
    /// Flows that stay; each comes as often as any other
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(0..=i64::from(FLOWS_MAX)))]
    flows: u32,
    /// Of a hundred frames so many are the first one of a new flow
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    new_flows: u8,
    /// Of a hundred flows so many are TCP, the others UDP
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    tcp: u8,
    /// Bytes of a frame with its check sequence, 64 to 1518, or imix: 64, 570 and 1518 in shares of 7:4:1
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Reads a port or two.
fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok((first, last)),
        _ => Err("neither a port nor FIRST-LAST".to_owned()),
    }
}

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
enum PktgenError {
    #[error(transparent)]
    Traffic(#[from] TrafficRefusal),
    #[error(transparent)]
    Capture(#[from] CaptureRefusal),
    #[error(transparent)]
    Device(#[from] af_xdp::Error),
    #[error("counters of {0}: {1}")]
    Counters(String, std::io::Error),
    #[error(transparent)]
    Create(#[from] WriteError),
    #[error("{path}: {1}", path = .0.display())]
    Unwritable(PathBuf, std::io::Error),
    #[error("{path}: {1} of the frames did not fit", path = .0.display())]
    Unfit(PathBuf, u64),
    #[error("the thread that sends cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the sending ended by itself")]
    Ended,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (&arguments.write, &arguments.device) {
        (Some(file), _) => arguments.write_to(file),
        (None, Some(device)) => arguments.send_from(device),
        (None, None) => Ok(()),
    };
    match result {
        // The end of the process ends the thread in the kernel, as nothing else does.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshgate-pktgen: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    /// Makes what is sent, and says what it is.
    fn cycle(&self, own_mac: Mac) -> Result<Cycle, PktgenError> {
        if let Some(file) = &self.capture {
            let rewrite = MacRewrite { source: self.source_mac, destination: self.destination_mac };
            let Captured { cycle, unfit_frames, snapped_frames } = Captured::read(file, rewrite)?;
            println!(
                "{} frames of {}; left out: {snapped_frames} not there whole, {unfit_frames} too short or too long",
                cycle.templates.len(),
                file.display()
            );
            return Ok(cycle);
        }
        let FlowArguments { sources, destinations, ports, flows, new_flows, tcp, size, seed } = &self.flows;
        let traffic = FlowTraffic {
            macs: [self.source_mac.unwrap_or(own_mac), self.destination_mac.unwrap_or(MAC_DEFAULT)],
            sources: sources.clone(),
            destinations: destinations.clone(),
            destination_ports: *ports,
            tcp_percent: *tcp,
            flows: *flows,
            new_flows_percent: *new_flows,
            sizes: *size,
            seed: *seed,
        };
        let cycle = traffic.cycle()?;
        println!("{flows} flows, {new_flows} % of the frames new ones, {tcp} % TCP, {size}, seed {seed}");
        if cycle.new_flows_before_repeat > 0 {
            println!("after {} new flows the first ones come again", cycle.new_flows_before_repeat);
        }
        Ok(cycle)
    }

    /// Writes the frames into a file.
    fn write_to(&self, file: &std::path::Path) -> Result<(), PktgenError> {
        let cycle = self.cycle(MAC_DEFAULT)?;
        let writer = PcapWriter::create(file)?;
        let mut time_ns = 0;
        cycle.frames(self.packets.map_or(0, NonZero::get), |frame| {
            writer.write(time_ns, frame);
            time_ns += WRITTEN_GAP_NS;
        });
        writer.flush().map_err(|error| PktgenError::Unwritable(file.into(), error))?;
        match writer.counts().lost_frames {
            0 => Ok(()),
            lost => Err(PktgenError::Unfit(file.into(), lost)),
        }
    }

    /// Sends, and says what arrived.
    fn send_from(&self, name: &str) -> Result<(), PktgenError> {
        let device = Device::named(name)?;
        let cycle = self.cycle(Mac(device.mac))?;
        let generator = Generator::new(device.index, &cycle.templates, self.rate)?;
        let generator = std::sync::Arc::new(generator);
        let limit = self.packets.map_or(u64::MAX, NonZero::get);
        generator.stop_after(limit)?;
        let drops = match &self.drop_at {
            Some(other) => Some(DropCounter::new(Device::named(other)?.index)?),
            None => None,
        };
        let counters =
            || SentCounters::of(name).map_err(|error| PktgenError::Counters(name.to_owned(), error));
        let (before, began) = (counters()?, Instant::now());
        let sender = std::sync::Arc::clone(&generator);
        let sending = std::thread::Builder::new()
            .spawn(move || -> Result<(), af_xdp::Error> {
                loop {
                    sender.run(RUNS_PER_CALL)?;
                }
            })
            .map_err(PktgenError::Thread)?;
        let deadline = self.seconds.map(|seconds| began + Duration::from_secs(seconds.into()));
        while generator.generated()?.frames < limit
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            if sending.is_finished() {
                return match sending.join() {
                    Ok(Err(error)) => Err(error.into()),
                    _ => Err(PktgenError::Ended),
                };
            }
            std::thread::park_timeout(LOOK);
        }
        generator.stop_after(0)?;
        let (generated, taken) = (generator.generated()?, began.elapsed());
        std::thread::park_timeout(ARRIVAL);
        let arrived = match drops {
            Some(drops) => Arrived::At(drops.packets()?),
            None => Arrived::Of(counters()?.since(before)),
        };
        report(generated, taken, arrived);
        Ok(())
    }
}

/// What arrived, and who says so.
#[derive(Clone, Copy)]
enum Arrived {
    /// Counted at the other end.
    At(u64),
    /// Counted by the device that sends.
    Of(SentCounters),
}

/// Prints what was sent and what arrived.
fn report(generated: Generated, taken: Duration, arrived: Arrived) {
    let per_second = |frames: u64| frames as f64 / taken.as_secs_f64() / 1e6;
    let Generated { frames, bytes, changed } = generated;
    println!(
        "sent {frames} frames of {bytes} bytes in {:.3} s, {:.3} million a second; {changed} of new flows",
        taken.as_secs_f64(),
        per_second(frames)
    );
    let arrived = match arrived {
        Arrived::At(arrived) => {
            println!("arrived: {arrived}, counted and dropped in the driver of the other end");
            arrived
        }
        Arrived::Of(SentCounters { frames, dropped }) => {
            println!(
                "arrived: {frames}, refused {dropped} (counters of the device; a veth's say what its far end took)"
            );
            frames
        }
    };
    println!("bar: pktgen_arrived = {:.3} million/s", per_second(arrived));
}
