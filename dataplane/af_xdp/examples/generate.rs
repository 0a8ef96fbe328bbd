//! Sends packets out of one device and counts them where they arrive: the other half of measuring a forwarder.
//!
//! `generate SOURCE SINK [MILLIONS]`, as root. With pairs `a0`-`a1` and `b0`-`b1` and `forward a1 b1` running in the
//! same namespace, `generate a0 b0` prints what comes through. The sink drops in its driver, which makes senders of
//! AF_XDP about a quarter slower than a sink in the stack would: name it beside the figure.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use af_xdp::{Device, DropCounter, Error, Generator, Template};

/// Packets of one call; its set-up takes some 20 ms, which is lost in a million.
const PACKETS_PER_CALL: u32 = 1_000_000;

/// Returns a packet of 60 bytes with an experimental ethertype from `source` to `sink`.
fn packet(source: &Device, sink: &Device) -> [u8; 60] {
    let mut packet = [0; 60];
    packet[..6].copy_from_slice(&sink.mac);
    packet[6..12].copy_from_slice(&source.mac);
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    packet
}

/// Sends and prints a line for each call.
#[expect(clippy::print_stdout, reason = "this program exists to print")]
fn run(source: &str, sink: &str, calls: u32) -> Result<(), Error> {
    let (source, sink) = (Device::named(source)?, Device::named(sink)?);
    let counter = DropCounter::new(sink.index)?;
    let head = packet(&source, &sink).to_vec();
    let template = Template { head, frame_bytes: 60, changing: None };
    let generator = Generator::new(source.index, &[template], None)?;
    for _ in 0..calls {
        let before = counter.packets()?;
        let started = Instant::now();
        generator.run(PACKETS_PER_CALL)?;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let arrived = counter.packets()? - before;
        let offered = u64::from(PACKETS_PER_CALL) / milliseconds;
        println!("offered {offered} kpps, arrived {} kpps", arrived / milliseconds);
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "this is where a program says what went wrong")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let calls = arguments.get(2).map_or(Ok(5), |text| text.parse());
    let ([source, sink] | [source, sink, _], Ok(calls)) = (arguments.as_slice(), calls) else {
        eprintln!("usage: generate SOURCE SINK [MILLIONS]");
        return ExitCode::from(2);
    };
    match run(source, sink, calls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
