//! Stands in for a dataplane's exporter: offers flow records at a fixed rate through a real flow ring, and says what
//! became of each of them.
//!
//! - `record_source policy` prints the policy that the records are about: 2,000 endpoints, each in two of 64 groups.
//! - `record_source offer SOCKET RATE SECONDS`: waits for a reader, offers `RATE` records a second for so long, waits
//!   until the reader has taken what lies in the ring, and prints one line of counts.
//!
//! 100,000 flows live at a time; each is told by four records (start, two in between, end), in the order in which an
//! exporter tells them: flows overlap. A quarter of the endpoints are asked, on eight services.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program that prints a policy and figures")]

use flow_ring::{AllowedUids, HostName, Listener, Producer, RingConfig};
use meshgate_policy::generate::Rng;
use meshgate_policy::{FLOW_RECORD_VERSION, FlowRecord, ObservationPoint, RecordKind, address_bytes};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ENDPOINTS: usize = 2_000;
const TEAMS: usize = 60;
const ZONES: usize = 4;
/// Endpoints that are asked.
const SERVERS: usize = 40;
const SERVICES: [u16; 8] = [443, 80, 53, 22, 5_432, 6_379, 8_080, 9_092];
const FLOWS: usize = 100_000;
const KINDS: [RecordKind; 4] = [RecordKind::Start, RecordKind::Active, RecordKind::Active, RecordKind::End];
const SEED: u64 = 7;
/// Slots of the ring, as a dataplane has by default.
const SLOTS: u64 = 1 << 16;
/// How often records are offered: an exporter turns about as often.
const TURN: Duration = Duration::from_millis(1);
/// How long a reader may take to come, and to empty the ring at the end.
const PATIENCE: Duration = Duration::from_secs(60);
const USAGE: &str = "usage: record_source policy | record_source offer SOCKET RATE SECONDS";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["policy"] => print!("{}", policy()?),
        ["offer", socket, rate, seconds] => {
            let rate: u64 = rate.parse().map_err(|error| format!("RATE: {rate}: {error}"))?;
            let seconds: u64 = seconds.parse().map_err(|error| format!("SECONDS: {seconds}: {error}"))?;
            Source::open(Path::new(socket))?.run(rate, Duration::from_secs(seconds))?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// Returns the address of an endpoint: 10.64.0.1 and on, 250 in each third byte.
fn address(endpoint: usize) -> IpAddr {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(10, 64, byte(endpoint / 250), byte(endpoint % 250 + 1)))
}

fn policy() -> Result<String, std::fmt::Error> {
    use std::fmt::Write;
    let mut text = String::from("default_action = \"allow\"\n");
    for endpoint in 0..ENDPOINTS {
        let (team, zone) = (endpoint % TEAMS, endpoint % ZONES);
        let (high, low) = (endpoint / 256, endpoint % 256);
        writeln!(
            text,
            "[[endpoints]]\nname = \"vm-{endpoint}\"\nmac = \"02:64:00:00:{high:02x}:{low:02x}\""
        )?;
        writeln!(text, "addresses = [\"{}\"]", address(endpoint))?;
        writeln!(text, "labels = {{ team = \"{team}\", zone = \"{zone}\" }}")?;
    }
    for (label, count) in [("team", TEAMS), ("zone", ZONES)] {
        for number in 0..count {
            writeln!(text, "[[groups]]\nname = \"{label}-{number}\"")?;
            writeln!(text, "selector = {{ {label} = \"{number}\" }}")?;
        }
    }
    Ok(text)
}

/// Returns one record of each flow.
fn flows() -> Vec<FlowRecord> {
    let mut random = Rng::new(SEED);
    let flow = |number: usize| {
        let server = random.index(SERVERS);
        let destination_port = SERVICES[server % SERVICES.len()];
        FlowRecord {
            source: address_bytes(address(random.index(ENDPOINTS))),
            destination: address_bytes(address(server)),
            source_port: u16::try_from(number % 60_000).unwrap_or(0) + 1_024,
            destination_port,
            segment: 1,
            protocol: if destination_port == 53 { 17 } else { 6 },
            policy_version: 1,
            sampling_rate: 1,
            observation_point: ObservationPoint::SourceHome as u8,
            stage: 7,
            action: 1,
            ..FlowRecord::default()
        }
    };
    (0..FLOWS).map(flow).collect()
}

fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

struct Source {
    producer: Producer<FlowRecord>,
    listener: Listener,
    flows: Vec<FlowRecord>,
    /// Records offered.
    offered: u64,
}

impl Source {
    fn open(socket: &Path) -> Result<Self, Box<dyn Error>> {
        let config = RingConfig {
            slots: SLOTS,
            host: HostName::new("record-source")?,
            epoch: now_ns(),
            record_version: FLOW_RECORD_VERSION,
        };
        let producer = Producer::create(&config)?;
        let listener = Listener::bind(socket, AllowedUids::own_and(&[]))?;
        Ok(Self { producer, listener, flows: flows(), offered: 0 })
    }

    fn run(&mut self, rate: u64, span: Duration) -> Result<(), Box<dyn Error>> {
        self.until("a reader", |source| source.producer.consumer_alive())?;
        let start = Instant::now();
        while start.elapsed() < span {
            let due = u64::try_from(start.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000)?;
            let now_ns = now_ns();
            while self.offered < due {
                let record = self.next_record(now_ns);
                self.producer.offer(&record);
            }
            self.turn()?;
        }
        let took = start.elapsed();
        self.until("the reader to take the rest", |source| source.producer.counters().waiting == 0)?;
        let counters = self.producer.counters();
        println!(
            "offered {} delivered {} lost {} rate {:.0}",
            counters.produced,
            counters.delivered,
            counters.lost,
            f64::from(u32::try_from(self.offered)?) / took.as_secs_f64()
        );
        Ok(())
    }

    /// Returns the next record: every flow's first, then every flow's second, and so on; then the flows begin again.
    fn next_record(&mut self, now_ns: u64) -> FlowRecord {
        let turns = self.offered / FLOWS as u64;
        let turn = turns % KINDS.len() as u64;
        let index = usize::try_from(self.offered % FLOWS as u64).unwrap_or(0);
        let flow = &mut self.flows[index];
        if turn == 0 {
            flow.first_ns = now_ns;
        }
        let record = FlowRecord {
            kind: KINDS[usize::try_from(turn).unwrap_or(0)] as u8,
            sequence: self.offered,
            last_ns: now_ns,
            packets_forward: (turn + 1) * 5,
            bytes_forward: (turn + 1) * 900,
            packets_reverse: turn * 4,
            bytes_reverse: turn * 4_000,
            tcp_flags_reverse: if turn > 0 { 0x1a } else { 0 },
            ..*flow
        };
        self.offered += 1;
        record
    }

    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        self.producer.publish();
        self.listener.poll(&mut self.producer)?;
        self.producer.consumer_alive();
        std::thread::park_timeout(TURN);
        Ok(())
    }

    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while !done(self) {
            if start.elapsed() > PATIENCE {
                return Err(format!("waited {PATIENCE:?} for {what}").into());
            }
            self.turn()?;
        }
        Ok(())
    }
}
