//! What the kernel counts of a network device.

use std::io;

/// Where the counters of the devices of the calling thread's network namespace stand. Unlike sysfs, which shows the namespace
/// in which it was mounted.
const TABLE: &str = "/proc/thread-self/net/dev";

/// Counts what a device sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounters {
    /// Frames sent. Of a veth that is fed by an XDP redirect: those that the far end took out of its ring.
    pub frames: u64,
    /// Frames dropped instead. Of a veth likewise: those that found the ring full.
    pub dropped: u64,
}

impl SentCounters {
    /// Reads the counters of a device.
    pub fn of(device: &str) -> io::Result<Self> {
        let table = std::fs::read_to_string(TABLE)?;
        Self::parse(&table, device)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{TABLE} has no device {device}")))
    }

    /// Finds a device in the table: behind its name eight columns of what was received, then what was sent.
    fn parse(table: &str, device: &str) -> Option<Self> {
        let columns =
            table.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
        let mut sent = columns.split_whitespace().skip(9);
        let frames = sent.next()?.parse().ok()?;
        let dropped = sent.nth(1)?.parse().ok()?;
        Some(Self { frames, dropped })
    }

    /// Returns what was counted since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(before.frames),
            dropped: self.dropped.saturating_sub(before.dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_behind_what_was_received_are_read() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n  eth01: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n   \
                     eth0: 1 2 3 4 5 6 7 8 100 200 300 400 500 600 700 800\n";
        let sent = SentCounters::parse(table, "eth0").unwrap();
        assert_eq!(sent, SentCounters { frames: 200, dropped: 400 });
        assert_eq!(SentCounters::parse(table, "eth"), None);
        assert!(SentCounters::of("lo").is_ok());
        assert!(SentCounters::of("no-such0").unwrap_err().to_string().contains("no-such0"));
    }
}
