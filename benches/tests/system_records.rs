//! Every flow record is accounted for: produced = delivered + waiting + sampled out + lost, whatever its reader does.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use flow_ring::{AllowedUids, Consumer};
use ground::program::{Program, binary};
use ground::{DB, Ground, WEB, relationship, wait_until};
use meshgate_dataplane::device::pcap::PcapWriter;
use meshgate_dataplane::packet::build::Frame;
use meshgate_policy::{FLOW_RECORD_VERSION, FlowRecord};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Slots of the shared ring: the smallest, so that a stopped reader fills it at once.
const SLOTS: u64 = 64;
/// How late a reader of a replay comes: after the time that the replay takes for its last report.
const LATE: Duration = Duration::from_secs(2);
/// Flows made at a time: more than the ring holds.
const FLOWS: u16 = 200;

fn socket(ground: &Ground) -> PathBuf {
    ground.dir.join("flows.sock")
}

/// Starts control and a dataplane with the ring, under a policy that lets datagrams pass.
fn start(ground: &Ground, keys: &str) -> (Program, Program) {
    let control = ground.start_control();
    let ring = format!("flow_ring = {{ socket = {:?}, slots = {SLOTS} }}\n{keys}", socket(ground));
    let dataplane = ground.start_dataplane(&ring);
    ground.apply(&relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"7000-7999\"", "allow"));
    // A refused attempt: afterwards the endpoints know each other's MAC, and no datagram waits for it.
    assert!(!ground.can_connect(WEB.name, &DB.v4(), 7000));
    (control, dataplane)
}

/// Makes flows that were not there before, one record each, and returns when the dataplane has reported them.
fn make_flows(ground: &Ground, first_port: u16) {
    let before = ground.balance().produced;
    ground.inside(WEB.name, || {
        let socket = UdpSocket::bind((WEB.v4(), 0)).unwrap();
        for port in first_port..first_port + FLOWS {
            socket.send_to(b"a flow", (DB.v4(), port)).unwrap();
        }
    });
    let expected = before + u64::from(FLOWS);
    wait_until("every flow has its record", || ground.balance().produced >= expected);
}

fn open_reader(ground: &Ground) -> Consumer<FlowRecord> {
    let mut reader = None;
    wait_until("the ring is handed over", || {
        let handed = flow_ring::connect(&socket(ground), &AllowedUids::own_and(&[]), Duration::from_secs(5));
        reader = handed.ok().and_then(|handed| Consumer::open(handed, FLOW_RECORD_VERSION).ok());
        reader.is_some()
    });
    reader.unwrap()
}

#[test]
fn records_balance_with_a_reader_that_is_absent_stopped_running_and_gone() {
    let Some(ground) = Ground::with_endpoints("reader", &[]) else { return };
    let (_control, _dataplane) = start(&ground, "");
    make_flows(&ground, 7000);
    let absent = ground.settled_balance();
    assert_eq!((absent.delivered, absent.waiting), (0, SLOTS), "{absent:?}");
    assert!(absent.lost >= u64::from(FLOWS) - SLOTS, "{absent:?}");

    let mut reader = open_reader(&ground);
    let mut records = Vec::new();
    let batch = reader.take(&mut records, 10).unwrap();
    assert_eq!((batch.count, records.len()), (10, 10));
    make_flows(&ground, 7200);
    let stopped = ground.settled_balance();
    assert_eq!(
        (stopped.delivered, stopped.waiting),
        (0, SLOTS),
        "what is held is not delivered: {stopped:?}"
    );

    let mut taken = records.len() as u64;
    let mut drain = |reader: &mut Consumer<FlowRecord>| {
        let mut records = Vec::new();
        taken += reader.take(&mut records, 1_000).unwrap().count as u64;
        taken
    };
    wait_until("everything that waits is taken", || drain(&mut reader) >= SLOTS);
    reader.release();
    let running = ground.settled_balance();
    assert_eq!((running.delivered, running.waiting), (drain(&mut reader), 0), "{running:?}");
    drop(reader);
    make_flows(&ground, 7400);
    let gone = ground.settled_balance();
    assert_eq!((gone.delivered, gone.waiting), (running.delivered, SLOTS), "{gone:?}");
}

#[test]
fn records_balance_when_the_learner_is_killed_in_the_middle() {
    let Some(ground) = Ground::with_endpoints("learner", &[]) else { return };
    let (_control, _dataplane) = start(&ground, "");
    let dir = ground.dir.display();
    let config = format!(
        "collector = \"learner\"\ncontrol = \"unix:{dir}/control.sock\"\nflow_ring = \"{dir}/flows.sock\"\n"
    );
    let config = ground.write("learner.toml", &config);
    let line = format!("{} --config {}", binary("meshgate-learner").display(), config.display());
    let mut delivered = 0;
    for round in 0..3 {
        let learner = ground.start("host", "learner", &line);
        wait_until("the learner takes what waits", || {
            let balance = ground.balance();
            balance.waiting == 0 && (round == 0 || balance.delivered > delivered)
        });
        make_flows(&ground, 7000 + 300 * round);
        learner.kill();
        let balance = ground.settled_balance();
        assert!(balance.delivered > delivered, "{balance:?}");
        delivered = balance.delivered;
        make_flows(&ground, 7200 + 300 * round);
        ground.settled_balance();
    }
}

#[test]
fn records_balance_when_most_are_left_out_by_sampling() {
    let Some(ground) = Ground::with_endpoints("sampled", &[]) else { return };
    let (_control, _dataplane) = start(&ground, "sampling_rate = 10");
    make_flows(&ground, 7000);
    let balance = ground.settled_balance();
    let kept = balance.produced - balance.sampled_out;
    assert!(kept > 0 && kept < u64::from(FLOWS) / 2, "{balance:?}");
}

#[test]
fn a_replay_ends_when_a_reader_that_came_late_has_taken_its_records() {
    let Some(ground) = Ground::with_endpoints("replay", &[]) else { return };
    ground.keep_policy(&relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"7000\"", "allow"));
    let capture = ground.dir.join("in.pcap");
    let frame = Frame::between(WEB.mac().parse().unwrap(), DB.mac().parse().unwrap());
    let frame = frame.ip(WEB.v4().parse().unwrap(), DB.v4().parse().unwrap()).udp(40_000, 7000);
    let writer = PcapWriter::create(&capture).unwrap();
    writer.write(1_000_000_000_000_000_000, &frame.bytes());
    writer.flush().unwrap();
    let config = ground.config(&format!("flow_ring = {{ socket = {:?} }}", socket(&ground)));
    let config = ground.write("replay.toml", &config);
    let (program, capture) = (binary("meshgate-dataplane"), capture.display());
    let line = format!("{} --config {} --replay {capture}", program.display(), config.display());
    let mut replay = ground.start("host", "replay", &line);
    replay.await_log("the capture is judged", |log| log.contains("capture judged"));
    let judged = Instant::now();
    wait_until("the reader is late", || judged.elapsed() > LATE);
    let mut reader = open_reader(&ground);
    let mut records = Vec::new();
    reader.take(&mut records, 10).unwrap();
    assert!(records.iter().any(|record| record.packets_forward == 1), "{} records", records.len());
    assert!(replay.is_running(), "what is held is not taken");
    reader.release();
    assert!(replay.wait().success(), "{}", replay.log());
}
