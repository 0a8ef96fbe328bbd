//! Sends UDP datagrams of 18 bytes, frames of 64 on a wire, at a steady rate through the network stack:
//! `paced_sender DESTINATION PORT FLOWS RATE SECONDS`.
//!
//! Each flow has a socket, so that they spread over the queues of the device. `RATE` is in packets a second, 0 for as many as
//! go. Every millisecond sends its share at once; a sender that was kept from its processor makes up for some
//! milliseconds at most: more would be a burst, not a pace. Prints how many were sent and how long it took.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what was sent is what this program tells")]

use std::error::Error;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Bytes of a datagram: the smallest frame has no padding then.
const PAYLOAD_BYTES: usize = 18;
/// Time from one batch to the next.
const TICK: Duration = Duration::from_millis(1);
const TICKS_PER_SECOND: u64 = 1_000;
/// Time that is made up for.
const LATE_MAX: Duration = Duration::from_millis(4);
/// Packets between two looks at the clock where the rate is not limited.
const UNPACED_BATCH: u64 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [destination, port, flows, rate, seconds] = arguments.as_slice() else {
        return Err("usage: paced_sender DESTINATION PORT FLOWS RATE SECONDS".into());
    };
    let destination: IpAddr = destination.parse()?;
    let (port, flows, rate): (u16, usize, u64) = (port.parse()?, flows.parse()?, rate.parse()?);
    let duration = Duration::from_secs(seconds.parse()?);
    let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sockets = (0..flows.max(1)).map(|_| {
        let socket = UdpSocket::bind(any)?;
        socket.connect((destination, port))?;
        Ok(socket)
    });
    let sockets: Vec<UdpSocket> = sockets.collect::<std::io::Result<_>>()?;
    let mut sockets = sockets.iter().cycle();
    let payload = [0x55; PAYLOAD_BYTES];
    let (began, mut sent, mut next) = (Instant::now(), 0u64, Instant::now());
    while began.elapsed() < duration {
        let batch = if rate == 0 { UNPACED_BATCH } else { rate.div_ceil(TICKS_PER_SECOND) };
        for socket in sockets.by_ref().take(usize::try_from(batch)?) {
            // A full queue refuses: that datagram is not sent.
            sent += u64::from(socket.send(&payload).is_ok());
        }
        if rate > 0 {
            next = (next + TICK).max(Instant::now() - LATE_MAX);
            #[expect(clippy::disallowed_methods, reason = "a pace is a matter of time")]
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    println!("sent {sent} in {:.3} s", began.elapsed().as_secs_f64());
    Ok(())
}
