//! Prints what the slowest of many random operations on a flow table at 95 % occupancy costs.
//!
//! `cargo run --release -p meshgate-dataplane --example flow_table_worst [OPERATIONS] [FLOWS]`
//!
//! Each operation takes a random flow: if it is in, it goes, otherwise it comes, until the table is as full as it is to
//! stay. Its cost is CPU time of the thread (`CLOCK_THREAD_CPUTIME_ID`), so that what others do on the machine while
//! this thread waits does not count. Interrupts and what a hypervisor does count all the same, and cost more than any
//! operation. They do not come at the same place twice, but what an operation does is the same each time the sequence
//! is run: so the sequence is run several times, and an operation costs what it cost in the fastest of them. What asking
//! for the time costs is contained in every figure, and printed. That nothing allocates is seen by the test
//! `worker_allocations`.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use meshgate_dataplane::flow_table::{
    Beginning, Exchange, FlowGrounds, FlowKey, FlowState, FlowTable, KeyedHash,
};
use meshgate_policy::generate::Rng;
use meshgate_policy::{Action, L4Key, PolicyVersion, Protocol, SegmentId, Stage};
use rustix::time::{ClockId, clock_gettime};

/// Inserts and removes, unless the command line says otherwise.
const OPERATIONS: u64 = 100_000_000;
/// Flows that fit, unless the command line says otherwise: what a host has by default.
const FLOWS: u32 = 131_072;
/// Share of the table that is occupied, in percent.
const OCCUPIED_PERCENT: u64 = 95;
/// Times that the sequence is run.
const PASSES: usize = 3;
/// Cost in the first pass from which an operation is measured again in the others.
const SLOW_NS: u64 = 5_000;

fn cpu_time_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn flow(number: u32) -> Beginning {
    let [a, b, c, d] = number.to_be_bytes();
    let source = ([10, a, b, c].into(), u16::from(d));
    let (key, initiator) = FlowKey::new(SegmentId(1), Protocol::UDP, source, ([10, 9, 9, 9].into(), 53));
    let grounds = FlowGrounds {
        version: PolicyVersion(1),
        generation: 0,
        rule: 0,
        rule_index: u32::MAX,
        shadow_rule: 0,
        stage: Stage::Default,
        action: Action::Allow,
    };
    Beginning {
        key,
        initiator,
        state: FlowState::Exchange(Exchange::Unanswered),
        grounds,
        l4: L4Key::ports(Protocol::UDP, source.1, 53),
        are_home: (true, true),
        is_sampled: true,
        now_ns: 0,
    }
}

/// A table at its occupancy, and the sequence of operations.
struct Sequence {
    table: FlowTable,
    random: Rng,
    occupied_max: u32,
}

impl Sequence {
    fn new(flows_max: u32) -> Self {
        let occupied = u64::from(flows_max) * OCCUPIED_PERCENT / 100;
        let occupied_max = u32::try_from(occupied).expect("less than flows_max");
        let table = FlowTable::new(flows_max, KeyedHash::seeded(1), 0);
        let mut sequence = Self { table, random: Rng::new(1), occupied_max };
        while sequence.table.live() < occupied_max {
            sequence.next(0, false);
        }
        sequence
    }

    /// Does an operation and returns what it cost, if that is to be measured.
    fn next(&mut self, now_ns: u64, is_measured: bool) -> u64 {
        loop {
            // As many numbers again, so that half of all are in.
            let number = self.random.below(u64::from(self.occupied_max) * 2);
            let flow = flow(u32::try_from(number).expect("below a u32"));
            let is_full = self.table.live() >= self.occupied_max;
            let begun_ns = if is_measured { cpu_time_ns() } else { 0 };
            match self.table.find(&flow.key, self.table.hash_of(&flow.key)) {
                Some(index) => _ = std::hint::black_box(self.table.remove(index)),
                None if is_full => continue,
                None => {
                    let index = self.table.insert(&flow).expect("five in a hundred slots are free");
                    self.table.look_again(index, now_ns);
                }
            }
            return if is_measured { cpu_time_ns() - begun_ns } else { 0 };
        }
    }
}

/// Runs the sequence and returns the sum of all costs, and those operations that were slow, by number.
fn first_pass(operations: u64, flows_max: u32) -> (u64, Vec<(u64, u64)>) {
    let mut sequence = Sequence::new(flows_max);
    let (mut sum_ns, mut slow) = (0, Vec::new());
    for number in 0..operations {
        let cost_ns = sequence.next(number, true);
        sum_ns += cost_ns;
        if cost_ns >= SLOW_NS {
            slow.push((number, cost_ns));
        }
    }
    (sum_ns, slow)
}

/// Runs the sequence again and keeps what was faster.
fn further_pass(operations: u64, flows_max: u32, slow: &mut [(u64, u64)]) {
    let mut sequence = Sequence::new(flows_max);
    let mut slow = slow.iter_mut().peekable();
    for number in 0..operations {
        match slow.next_if(|(slow, _)| *slow == number) {
            Some((_, cost_ns)) => *cost_ns = (*cost_ns).min(sequence.next(number, true)),
            None => _ = sequence.next(number, false),
        }
    }
}

/// Returns what asking for the time costs: its mean and its worst, in nanoseconds.
fn clock_costs(times: u64) -> (u64, u64) {
    let (mut worst, first) = (0, cpu_time_ns());
    let mut last = first;
    for _ in 0..times {
        let now = cpu_time_ns();
        worst = worst.max(now - last);
        last = now;
    }
    ((last - first) / times.max(1), worst)
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let operations = arguments.next().unwrap_or(OPERATIONS);
    let flows_max = arguments.next().map_or(FLOWS, |flows| u32::try_from(flows).expect("a u32"));
    let (clock_mean_ns, clock_worst_ns) = clock_costs(operations.min(10_000_000));
    println!("the clock alone: mean {clock_mean_ns} ns, worst {clock_worst_ns} ns");
    let (sum_ns, mut slow) = first_pass(operations, flows_max);
    let worst =
        |slow: &[(u64, u64)]| slow.iter().map(|(_, cost_ns)| *cost_ns).max().unwrap_or(0).max(SLOW_NS);
    println!("{operations} operations at {OCCUPIED_PERCENT} % of {flows_max} flows");
    println!("pass 1: {} slower than {SLOW_NS} ns, worst {} ns", slow.len(), worst(&slow));
    for pass in 2..=PASSES {
        further_pass(operations, flows_max, &mut slow);
        slow.retain(|(_, cost_ns)| *cost_ns >= SLOW_NS);
        println!("pass {pass}: {} of them again, worst {} ns", slow.len(), worst(&slow));
    }
    let worst_ns = worst(&slow);
    println!("bar: flow_table_mean = {} ns", sum_ns / operations.max(1));
    println!("bar: flow_table_worst = {}.{:03} us", worst_ns / 1_000, worst_ns % 1_000);
}
