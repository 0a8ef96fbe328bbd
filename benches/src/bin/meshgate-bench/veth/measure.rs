//! One measurement: how many packets arrive, and what they cost.

use super::forwarders::{Forwarder, OwnSettings};
use super::ground::{Ground, Side};
use super::program::{self, Program};
use super::rules::PORTS;
use super::{VethError, sent};
use std::time::{Duration, Instant};

/// Nanoseconds of a clock tick of `/proc`: a hundredth of a second (proc(5), `USER_HZ`).
const TICK_NS: f64 = 1e7;
/// Time for a generator to begin: its set-up in the kernel takes some 20 ms, and the frames are made before.
const WARM_UP_MIN: Duration = Duration::from_millis(200);

/// What is sent, and how long is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Flows.
    pub flows: u32,
    /// Of a hundred frames so many begin a new flow.
    pub new_flows_percent: u8,
    /// As the generator is told it.
    pub size: meshgate_benches::traffic::sizes::Sizes,
    /// Before the measurement.
    pub warm_up: Duration,
    /// The measurement.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Thousand packets a second that arrived.
    pub kpps: f64,
    /// Nanoseconds of all processors for a packet that arrived: of the generator, of whoever forwards and reads, and of the
    /// kernel's own threads for what devices receive.
    pub all_ns: f64,
    /// Those of the forwarder's own threads; none where the kernel forwards.
    pub own_ns: Option<f64>,
}

/// The counters at one moment.
struct Moment {
    packets: u64,
    time: Instant,
    all_ticks: u64,
    own_ticks: Option<u64>,
}

/// Starts the generator at a side.
pub fn start_generator(ground: &Ground, from: Side, load: &Load) -> Result<Program, VethError> {
    let to = from.other();
    let size = sent(load.size);
    let line = format!(
        "taskset -c 0 {} eth0 --source-mac {} --destination-mac {} --sources {} --destinations {} --ports {}-{} \
         --flows {} --new-flows {} --size {size}",
        program::own("meshgate-pktgen")?,
        from.mac(),
        to.mac(),
        from.address(),
        to.address(),
        PORTS.0,
        PORTS.1,
        load.flows,
        load.new_flows_percent,
    );
    let mut generator = ground.start(from.name(), "generator", &line)?;
    generator.await_said("flows", 1)?;
    Ok(generator)
}

/// Measures a forwarder from the near side to the far one; returns also what it said at its end.
pub fn measure(
    ground: &Ground,
    forwarder: Forwarder,
    own: OwnSettings,
    load: &Load,
) -> Result<(Reading, String), VethError> {
    let running = forwarder.start(ground, own)?;
    let generator = start_generator(ground, Side::Near, load)?;
    program::rest(load.warm_up.max(WARM_UP_MIN));
    let now = || -> Result<Moment, VethError> {
        Ok(Moment {
            packets: ground.sunk(Side::Far)?,
            time: Instant::now(),
            all_ticks: generator.ticks() + running.all_ticks() + program::receiving_ticks(),
            own_ticks: running.ticks(),
        })
    };
    let before = now()?;
    program::rest(load.duration);
    let after = now()?;
    generator.finish();
    let said = running.finish(ground)?;
    let packets = (after.packets - before.packets) as f64;
    if packets == 0.0 {
        return Err(VethError::NothingArrived(forwarder.name(), said));
    }
    let seconds = after.time.duration_since(before.time).as_secs_f64();
    let each_ns = |before: u64, after: u64| (after - before) as f64 * TICK_NS / packets;
    let own_ns = before.own_ticks.zip(after.own_ticks).map(|(before, after)| each_ns(before, after));
    let all_ns = each_ns(before.all_ticks, after.all_ticks);
    Ok((Reading { kpps: packets / seconds / 1e3, all_ns, own_ns }, said))
}

/// Returns the median of numbers, of which there is at least one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
