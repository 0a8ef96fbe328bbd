//! Packets, bytes and TCP flags of one direction of a flow, in twelve bytes.

/// Packets, bytes and TCP flags of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
    /// TCP flags, or-ed.
    pub tcp_flags: u8,
}

/// The same as a flow keeps it: 40 bits for packets and 48 for bytes, which is 281 TB. There a count stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct PackedPace {
    packets: u32,
    bytes: u32,
    bytes_above: u16,
    packets_above: u8,
    tcp_flags: u8,
}

impl PackedPace {
    /// Of no packet.
    pub(super) const EMPTY: Self =
        Self { packets: 0, bytes: 0, bytes_above: 0, packets_above: 0, tcp_flags: 0 };

    /// Counts a packet.
    #[inline]
    pub(super) fn count(&mut self, bytes: u32, tcp_flags: u8) {
        let is_over;
        (self.packets, is_over) = self.packets.overflowing_add(1);
        if is_over {
            match self.packets_above.checked_add(1) {
                Some(above) => self.packets_above = above,
                None => self.packets = u32::MAX,
            }
        }
        let is_over;
        (self.bytes, is_over) = self.bytes.overflowing_add(bytes);
        if is_over {
            match self.bytes_above.checked_add(1) {
                Some(above) => self.bytes_above = above,
                None => self.bytes = u32::MAX,
            }
        }
        self.tcp_flags |= tcp_flags;
    }

    /// Returns what was counted.
    pub(super) fn pace(&self) -> Pace {
        let Self { packets, bytes, bytes_above, packets_above, tcp_flags } = *self;
        Pace {
            packets: (u64::from(packets_above) << 32) | u64::from(packets),
            bytes: (u64::from(bytes_above) << 32) | u64::from(bytes),
            tcp_flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_beyond_32_bits_and_stay_at_their_end() {
        let mut pace = PackedPace { packets: u32::MAX, ..PackedPace::default() };
        pace.count(u32::MAX, 1);
        pace.count(u32::MAX, 8);
        let expected = Pace { packets: (1 << 32) + 1, bytes: 2 * u64::from(u32::MAX), tcp_flags: 9 };
        assert_eq!(pace.pace(), expected);
        let end = Pace { packets: (1 << 40) - 1, bytes: (1 << 48) - 1, tcp_flags: 0 };
        let mut pace = PackedPace {
            packets: u32::MAX,
            bytes: u32::MAX,
            bytes_above: u16::MAX,
            packets_above: u8::MAX,
            tcp_flags: 0,
        };
        assert_eq!(pace.pace(), end);
        pace.count(1, 0);
        assert_eq!(pace.pace(), end);
    }
}
