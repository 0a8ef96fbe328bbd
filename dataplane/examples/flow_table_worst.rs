//! Prints what the slowest of many random operations on a flow table at 95 % occupancy costs.
//!
//! `cargo run --release -p meshgate-dataplane --example flow_table_worst [OPERATIONS] [FLOWS]`
//!
//! Each operation takes a random flow: if it is in, it goes, otherwise it comes, until the table is as full as it is to
//! stay. Its cost is CPU time of the thread (`CLOCK_THREAD_CPUTIME_ID`), so that what others do on the machine while
//! this thread waits does not count; interrupts that are served on its time do, and so does asking for the time, which
//! is a system call of some hundred nanoseconds. What this costs alone is printed beside it. That nothing allocates is
//! seen by the test `worker_allocations`.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use meshgate_dataplane::flow_table::{
    Exchange, Flow, FlowGrounds, FlowIndex, FlowKey, FlowState, FlowTable, KeyedHash, Pace,
};
use meshgate_dataplane::meter::Parties;
use meshgate_policy::generate::Rng;
use meshgate_policy::{Action, L4Key, PolicyVersion, Protocol, SegmentId, Stage};
use rustix::time::{ClockId, clock_gettime};

/// Inserts and removes, unless the command line says otherwise.
const OPERATIONS: u64 = 100_000_000;
/// Flows that fit, unless the command line says otherwise: what a host has by default.
const FLOWS: u32 = 131_072;
/// Share of the table that is occupied, in percent.
const OCCUPIED_PERCENT: u64 = 95;
/// Longest operation that is let pass, in microseconds.
const WORST_MAX_US: u64 = 20;

fn cpu_time_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn flow(number: u32) -> Flow {
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
    Flow {
        key,
        initiator,
        state: FlowState::Exchange(Exchange::Unanswered),
        grounds,
        l4: L4Key::ports(Protocol::UDP, source.1, 53),
        first_ns: 0,
        last_ns: 0,
        reported_ns: 0,
        parties: Parties::default(),
        is_sampled: true,
        paces: [Pace::default(); 2],
        delivered: [u16::MAX; 2],
    }
}

/// What operations cost.
struct Costs {
    worst_ns: u64,
    beyond: u64,
    sum_ns: u64,
}

fn run(operations: u64, flows_max: u32) -> Costs {
    let mut table = FlowTable::new(flows_max, KeyedHash::random(), 0);
    let occupied_max =
        u32::try_from(u64::from(flows_max) * OCCUPIED_PERCENT / 100).expect("less than flows_max");
    let mut random = Rng::new(1);
    // As many numbers again, so that half of all are in.
    let mut number = || u32::try_from(random.below(u64::from(occupied_max) * 2)).expect("below a u32");
    while table.live() < occupied_max {
        let flow = flow(number());
        if table.find(&flow.key, table.hash_of(&flow.key)).is_none() {
            table.insert(flow);
        }
    }
    let mut costs = Costs { worst_ns: 0, beyond: 0, sum_ns: 0 };
    let mut done = 0;
    while done < operations {
        let flow = flow(number());
        let is_full = table.live() >= occupied_max;
        let begun_ns = cpu_time_ns();
        let found: Option<FlowIndex> = table.find(&flow.key, table.hash_of(&flow.key));
        match found {
            Some(index) => _ = std::hint::black_box(table.remove(index)),
            None if is_full => continue,
            None => {
                let index = table.insert(flow).expect("five in a hundred slots are free");
                table.look_again(index, done);
            }
        }
        let cost_ns = cpu_time_ns() - begun_ns;
        costs.worst_ns = costs.worst_ns.max(cost_ns);
        costs.beyond += u64::from(cost_ns > WORST_MAX_US * 1_000);
        costs.sum_ns += cost_ns;
        done += 1;
    }
    costs
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
    let Costs { worst_ns, beyond, sum_ns } = run(operations, flows_max);
    println!(
        "{operations} operations at {OCCUPIED_PERCENT} % of {flows_max} flows, {beyond} beyond {WORST_MAX_US} us"
    );
    println!("bar: flow_table_mean = {} ns", sum_ns / operations.max(1));
    println!("bar: flow_table_worst = {}.{:03} us", worst_ns / 1_000, worst_ns % 1_000);
}
