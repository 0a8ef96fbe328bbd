//! A hint to the processor that memory will soon be read.

/// Asks for the cache line at the start of `place` without waiting for it.
///
/// It is only a hint: it reads nothing, cannot fault, and does nothing where the processor has no such instruction.
/// It takes a reference, so crates that forbid unsafe code may use it on the packets of a burst.
#[inline]
pub fn prefetch<T: ?Sized>(place: &T) {
    let place = std::ptr::from_ref(place).cast::<u8>();
    hint(place);
}

/// Asks for every cache line of `place` without waiting for them.
#[inline]
pub fn prefetch_whole<T>(place: &T) {
    let first = std::ptr::from_ref(place).cast::<u8>();
    (0..size_of::<T>()).step_by(CACHE_LINE_BYTES).for_each(|offset| hint(first.wrapping_add(offset)));
}

/// Bytes of a cache line of the processors we know.
const CACHE_LINE_BYTES: usize = 64;

/// Issues the instruction.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn hint(place: *const u8) {
    // SAFETY: a prefetch neither reads nor faults, whatever the address; every x86-64 has SSE.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast()) };
}

/// Issues the instruction.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline]
fn hint(place: *const u8) {
    // SAFETY: a prefetch neither reads nor faults, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) place, options(nostack, readonly, preserves_flags));
    }
}

/// Does nothing where no instruction is known.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline]
fn hint(_place: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_may_be_named_even_an_empty_one() {
        prefetch(&[0u8; 64]);
        prefetch::<[u8]>(&[]);
        prefetch(&0u64);
        prefetch_whole(&[0u64; 40]);
        prefetch_whole(&());
    }
}
