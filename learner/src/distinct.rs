//! How many different addresses there were, in 32 bytes.
//!
//! Exact counting keeps every address, which under a flood is what must not happen. This is HyperLogLog (Flajolet,
//! Fusy, Gandouet, Meunier 2007) with 64 registers of four bits: an address is hashed, six bits choose the register,
//! and the register keeps the longest run of zeros seen in the rest. Below 2.5 times the registers the empty ones are
//! counted instead (linear counting). The standard error is 1.04 / sqrt(64) = 13 %, or 0.12 in `ln(1 + n)`, less below
//! a hundred; one address counts as 1 exactly. Four bits end at runs of 15, so that counts stop near 1.4 million.

/// Registers. A power of two.
const REGISTERS: usize = 64;
/// Largest value of a register.
const RANK_MAX: u32 = 15;
/// Bias correction for 64 registers (the paper, figure 3).
const ALPHA: f64 = 0.709;

/// Estimates how many different addresses it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DistinctAddresses {
    /// Two registers a byte.
    registers: [u8; REGISTERS / 2],
}

impl DistinctAddresses {
    /// Shows it an address, as flow records carry it.
    pub fn add(&mut self, address: [u8; 16]) {
        let hash = mix(u128::from_be_bytes(address));
        let register = usize::try_from(hash >> 58).expect("six bits are left");
        let rank = ((hash << 6).leading_zeros() + 1).min(RANK_MAX);
        let shift = (register & 1) * 4;
        let byte = &mut self.registers[register / 2];
        let rank = u8::try_from(rank).expect("at most 15");
        if (*byte >> shift) & 0xf < rank {
            *byte = *byte & !(0xf << shift) | rank << shift;
        }
    }

    /// Returns the estimate.
    pub fn estimate(&self) -> u32 {
        let ranks = self.registers.iter().flat_map(|byte| [byte & 0xf, byte >> 4]);
        let (mut empty, mut sum) = (0_u32, 0.0);
        for rank in ranks {
            empty += u32::from(rank == 0);
            sum += 0.5_f64.powi(rank.into());
        }
        let registers = 64.0;
        let raw = ALPHA * registers * registers / sum;
        let count = if raw <= 2.5 * registers && empty > 0 {
            registers * (registers / f64::from(empty)).ln()
        } else {
            raw
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1.5 million: sixty-four registers of at most 15"
        )]
        let count = count.round() as u32;
        count
    }
}

/// Returns 64 well-mixed bits of an address: the finalizer of MurmurHash3 on both halves. Fixed, so that a replay
/// counts what the first run counted.
fn mix(address: u128) -> u64 {
    let high = u64::try_from(address >> 64).expect("64 bits are left");
    let low = u64::try_from(address & u128::from(u64::MAX)).expect("64 bits are left");
    finalize(finalize(high ^ 0x9e37_79b9_7f4a_7c15) ^ low)
}

fn finalize(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::address_bytes;
    use std::net::IpAddr;

    fn estimate(addresses: impl Iterator<Item = u32>) -> u32 {
        let mut distinct = DistinctAddresses::default();
        addresses.for_each(|bits| distinct.add(address_bytes(IpAddr::V4(bits.into()))));
        distinct.estimate()
    }

    #[test]
    fn nothing_is_none_and_one_address_is_one_however_often_it_comes() {
        assert_eq!(estimate(std::iter::empty()), 0);
        assert_eq!(estimate(std::iter::repeat_n(0x0a00_0001, 1_000)), 1);
    }

    #[test]
    fn a_handful_is_counted_nearly_exactly() {
        for count in 2..=8 {
            let wrong = (0..100).filter(|run| {
                let first = 0x0a00_0000 + run * 1_000;
                estimate(first..first + count).abs_diff(count) > 1
            });
            assert!(wrong.count() <= 5, "{count}");
        }
    }

    #[test]
    fn the_error_is_the_one_that_is_stated() {
        for count in [50, 1_000, 30_000, 300_000] {
            let runs = 30_u32;
            let squares = (0..runs).map(|run| {
                let first = run * 1_000_003;
                (f64::from(estimate(first..first + count)) / f64::from(count) - 1.0).powi(2)
            });
            let error = (squares.sum::<f64>() / f64::from(runs)).sqrt();
            assert!(error < 0.18, "{count}: {error}");
        }
    }

    #[test]
    fn the_count_is_bounded() {
        assert!(DistinctAddresses { registers: [0xff; 32] }.estimate() < 1_500_000);
    }
}
