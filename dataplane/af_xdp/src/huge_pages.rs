//! Large lists that are met at random places: in pages of 2 MiB where the kernel has them.
//!
//! A processor knows the places of one or two thousand pages. Of a list of hundreds of megabytes in pages of 4 KiB nearly
//! every load asks for one that it does not know, and waits for the page table before it can wait for the memory.

/// Returns the values in a list whose memory is asked for in large pages. Where there are none it is a list like any other.
pub fn collect_in_huge_pages<T>(values: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::with_capacity(values.len());
    // Before the memory is touched: the kernel decides when it gives a page.
    let room = list.spare_capacity_mut();
    advise(room.as_mut_ptr().cast(), size_of_val(room));
    list.extend(values);
    list
}

/// Asks for large pages for the whole pages within a piece of memory that the caller owns.
#[cfg(not(miri))]
fn advise(first: *mut u8, bytes: usize) {
    let skipped = first.align_offset(PAGE_BYTES);
    let whole = bytes.saturating_sub(skipped) / PAGE_BYTES * PAGE_BYTES;
    if whole < HUGE_PAGE_BYTES {
        return;
    }
    let start = first.wrapping_add(skipped);
    // SAFETY: the pages lie within the caller's memory; the advice changes what backs them, and never what they hold.
    let result = unsafe { libc::madvise(start.cast(), whole, libc::MADV_HUGEPAGE) };
    // A kernel without large pages refuses, and everything works as without the advice.
    _ = result;
}

/// Does nothing where Miri interprets the program.
#[cfg(miri)]
fn advise(_first: *mut u8, _bytes: usize) {}

/// Bytes of an ordinary page.
#[cfg(not(miri))]
const PAGE_BYTES: usize = 4_096;
/// Bytes of a large page on x86-64 and, with ordinary pages of 4 KiB, on aarch64.
#[cfg(not(miri))]
const HUGE_PAGE_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_any_length_hold_their_values() {
        for length in [0, 1, 1_000, 3_000_000] {
            let list = collect_in_huge_pages(0..length);
            assert!(list.iter().copied().eq(0..length), "{length}");
        }
    }
}
