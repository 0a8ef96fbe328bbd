//! A minute in each direction: whether the rate stays, and where every frame of packet memory is afterwards.

use super::VethError;
use super::forwarders::{Forwarder, OwnSettings};
use super::ground::{Ground, Side};
use super::measure::{Load, start_generator};
use super::program::{self, Program};
use super::rules::PORTS;
use std::time::{Duration, Instant};

/// Time over which the first and the last rate are taken.
const SPAN: Duration = Duration::from_secs(10);
/// Before the first rate, and behind the last one, so that a sender that ends by itself sends all the while.
const MARGIN: Duration = Duration::from_secs(1);
/// Shortest time in each direction.
pub const SECONDS_MIN: i64 = 22;
/// Longest time for a paced sender to end behind its own.
const PATIENCE: Duration = Duration::from_secs(20);
/// Flows of the paced sender: each has a socket.
const PACED_FLOWS: u32 = 64;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The generator, as fast as it goes.
    Generator,
    /// The network stack, so many packets a second; zero: as many as go.
    Paced(u64),
}

/// Sends as fast as the generator goes.
pub fn balance(
    ground: &Ground,
    ours: Forwarder,
    own: OwnSettings,
    load: &Load,
    each: Duration,
) -> Result<(), VethError> {
    let running = ours.start(ground, own)?;
    for side in [Side::Near, Side::Far] {
        one_way(ground, side, Sender::Generator, load, each)?;
    }
    end(&running.finish(ground)?);
    Ok(())
}

/// Sends half of what the network stack brings across at most.
pub fn half_load(
    ground: &Ground,
    ours: Forwarder,
    own: OwnSettings,
    load: &Load,
    each: Duration,
) -> Result<(), VethError> {
    ground.address()?;
    let running = ours.start(ground, own)?;
    let (before, began) = (ground.sunk(Side::Far)?, Instant::now());
    let mut sender = start_paced(ground, Side::Near, 0, SPAN)?;
    sender.await_end(SPAN + PATIENCE);
    let arrived = ground.sunk(Side::Far)? - before;
    let taken_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = arrived * 1_000 / taken_ms / 2;
    println!("as many as go: {}, {arrived} arrived; half of that: {rate} a second", sender.log().trim());
    running.finish(ground)?;
    let running = ours.start(ground, own)?;
    for side in [Side::Near, Side::Far] {
        one_way(ground, side, Sender::Paced(rate), load, each)?;
    }
    end(&running.finish(ground)?);
    Ok(())
}

/// Sends one way and prints the first and the last rate.
fn one_way(
    ground: &Ground,
    from: Side,
    sender: Sender,
    load: &Load,
    each: Duration,
) -> Result<(), VethError> {
    let to = from.other();
    let before = ground.sunk(to)?;
    let mut program = match sender {
        Sender::Generator => start_generator(ground, from, load)?,
        Sender::Paced(rate) => start_paced(ground, from, rate, each)?,
    };
    program::rest(MARGIN);
    let first = arriving(ground, to)?;
    program::rest(each.saturating_sub(MARGIN + SPAN + SPAN + MARGIN));
    let last = arriving(ground, to)?;
    if let Sender::Paced(_) = sender {
        program.await_end(PATIENCE);
    }
    let said = program.finish();
    let said = said.lines().find(|line| line.starts_with("sent ")).unwrap_or_default();
    println!(
        "{} s from {} to {}: {said} {} packets arrived; kpps of the first and the last 10 s: {first:.0} {last:.0}, \
         ratio {:.3}",
        each.as_secs(),
        from.name(),
        to.name(),
        ground.sunk(to)? - before,
        last / first
    );
    Ok(())
}

/// Returns the thousand packets a second that arrive there meanwhile.
fn arriving(ground: &Ground, side: Side) -> Result<f64, VethError> {
    let (before, began) = (ground.sunk(side)?, Instant::now());
    program::rest(SPAN);
    Ok((ground.sunk(side)? - before) as f64 / began.elapsed().as_secs_f64() / 1e3)
}

/// Starts a sender of the network stack.
fn start_paced(ground: &Ground, from: Side, rate: u64, each: Duration) -> Result<Program, VethError> {
    let line = format!(
        "{} {} {} {PACED_FLOWS} {rate} {}",
        program::own("paced_sender")?,
        from.other().address(),
        PORTS.0,
        each.as_secs()
    );
    ground.start(from.name(), "paced", &line)
}

/// Prints what the dataplane said of its packet memory at its end, and what the reader read.
fn end(said: &str) {
    said.lines()
        .filter(|line| line.contains("workers stop") || line.starts_with("records "))
        .for_each(|line| println!("{line}"));
}
