//! Reads a dataplane's flow ring to its end, as a learner would, and prints how many records came:
//! `flow_reader SOCKET`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use flow_ring::{AllowedUids, Consumer, connect};
use meshgate_policy::{FLOW_RECORD_VERSION, FlowRecord};
use std::path::Path;
use std::time::Duration;

/// Records taken at once.
const BATCH_RECORDS: usize = 1_024;
/// Pause when there is none.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the dataplane may take to hand its ring over.
const HAND_OVER: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket] = arguments.as_slice() else { return Err("usage: flow_reader SOCKET".into()) };
    let ring = connect(Path::new(socket), &AllowedUids::own_and(&[]), HAND_OVER)?;
    let mut consumer = Consumer::<FlowRecord>::open(ring, FLOW_RECORD_VERSION)?;
    let mut records = Vec::with_capacity(BATCH_RECORDS);
    let (mut taken, mut producer_alive) = (0_u64, true);
    loop {
        records.clear();
        let batch = consumer.take(&mut records, BATCH_RECORDS)?;
        taken += records.len() as u64;
        if batch.count > 0 {
            continue;
        }
        if !producer_alive {
            println!("records {taken}");
            return Ok(());
        }
        // Asked before the next look: what was published before the end is found by that look.
        producer_alive = consumer.producer_alive();
        std::thread::park_timeout(PAUSE);
    }
}
