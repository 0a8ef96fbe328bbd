//! Times of a flow in whole milliseconds, of which the lower bits are kept: the rest is that of the present.
//!
//! Rounded up, so that no flow ends before its time. A time is read with the present at hand, and is right if it lies within
//! half of what its bits count: 24 days for 32 bits, more than twice what a flow may be silent, 17 years for 40.

const MILLISECOND_NS: u64 = 1_000_000;
/// Bits in which the beginning of a flow is kept.
const LONG_BITS: u32 = 40;

/// Returns the lower 32 bits of a time.
#[inline]
pub(super) fn short(now_ns: u64) -> u32 {
    lower_half(milliseconds(now_ns))
}

/// Returns the time near the present with these lower 32 bits, in nanoseconds.
#[inline]
pub(super) fn of_short(kept: u32, now_ns: u64) -> u64 {
    let now_ms = milliseconds(now_ns);
    let ago = lower_half(now_ms).wrapping_sub(kept).cast_signed();
    nanoseconds(now_ms, ago.into())
}

/// Returns the lower 40 bits of a time: 32 of them, and those above.
pub(super) fn long(now_ns: u64) -> (u32, u8) {
    let [a, b, c, d, above, ..] = milliseconds(now_ns).to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), above)
}

/// Returns the time near the present with these lower 40 bits, in nanoseconds.
pub(super) fn of_long((kept, above): (u32, u8), now_ns: u64) -> u64 {
    let (now_ms, kept) = (milliseconds(now_ns), u64::from(kept) | (u64::from(above) << 32));
    let unused = u64::BITS - LONG_BITS;
    let ago = (now_ms.wrapping_sub(kept) << unused).cast_signed() >> unused;
    nanoseconds(now_ms, ago)
}

#[inline]
fn milliseconds(now_ns: u64) -> u64 {
    now_ns.div_ceil(MILLISECOND_NS)
}

#[inline]
fn nanoseconds(now_ms: u64, ago_ms: i64) -> u64 {
    now_ms.saturating_sub_signed(ago_ms).saturating_mul(MILLISECOND_NS)
}

#[inline]
fn lower_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NS: u64 = 86_400_000_000_000;
    const NOW: u64 = 1_800_000_000_000_000_000;

    #[test]
    fn a_time_is_read_as_it_was_kept_rounded_up_to_a_millisecond() {
        for then in [0, 1, 999_999, MILLISECOND_NS, NOW - 1, NOW, NOW + 1, NOW + 5 * DAY_NS] {
            let rounded = then.div_ceil(MILLISECOND_NS) * MILLISECOND_NS;
            for later in [0, 1, DAY_NS, 24 * DAY_NS] {
                assert_eq!(of_short(short(then), then + later), rounded);
                assert_eq!(of_long(long(then), then + later), rounded);
            }
            assert_eq!(of_long(long(then), then + 5_000 * DAY_NS), rounded);
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_no_time_old() {
        for back in [1, MILLISECOND_NS, DAY_NS] {
            assert!(of_short(short(NOW), NOW - back) >= NOW);
            assert!(of_long(long(NOW), NOW - back) >= NOW);
        }
    }
}
