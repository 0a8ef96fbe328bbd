//! A mapped memory area: the packet memory of a UMEM, or one ring that is shared with the kernel.
//!
//! The area knows nothing of frames and rings. It hands out slices of itself, and leaves to its caller to prove that
//! nobody else writes to that range; the bounds it checks itself.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use crate::error::Error;

/// Alignment of the area; the kernel refuses a UMEM that does not start on a page.
const PAGE_BYTES: usize = 4096;

/// Holds one zeroed mapping and gives it back when dropped.
pub(crate) struct Area {
    /// First byte of the mapping.
    base: NonNull<u8>,
    /// Length of the mapping.
    bytes: usize,
}

// SAFETY: the area is plain memory without thread affinity; all access goes through the unsafe methods below, whose
// callers prove that they own the range.
unsafe impl Send for Area {}
// SAFETY: as above: a shared `Area` allows no access without an unsafe block that proves ownership of the range.
unsafe impl Sync for Area {}

impl Area {
    /// Maps `bytes` zeroed bytes; `bytes` must be a positive multiple of the page size.
    pub(crate) fn new(bytes: usize) -> Result<Area, Error> {
        assert!(bytes > 0 && bytes.is_multiple_of(PAGE_BYTES), "checked by UmemConfig");
        let base = map(bytes)?;
        Ok(Area { base, bytes })
    }

    /// Maps one ring of an AF_XDP socket; `page_offset` says which.
    pub(crate) fn of_ring(socket: BorrowedFd<'_>, bytes: usize, page_offset: i64) -> std::io::Result<Area> {
        // SAFETY: a mapping at an address of the kernel's choice touches no existing memory; what the kernel writes
        // to it is read through atomics only.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                page_offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Area {
            base: NonNull::new(base.cast::<u8>()).expect("mmap never returns null without MAP_FIXED"),
            bytes,
        })
    }

    /// Returns the address at which the kernel finds the area.
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// Returns the length of the area.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns a pointer to `count` values of `T` that begin at `start`, checked for bounds and alignment.
    pub(crate) fn place<T>(&self, start: usize, count: usize) -> NonNull<T> {
        let place = self.range(start, count * size_of::<T>()).cast::<T>();
        assert!(place.is_aligned(), "the kernel aligns what it places in a ring");
        place
    }

    /// Checks the range and returns a pointer to its start.
    fn range(&self, start: usize, length: usize) -> NonNull<u8> {
        assert!(start <= self.bytes && length <= self.bytes - start, "range lies inside the area");
        // SAFETY: `start` is at most `self.bytes` (asserted above), so the pointer stays within the mapping or one
        // past its end.
        unsafe { self.base.add(start) }
    }

    /// Returns the bytes of a range.
    ///
    /// # Safety
    /// Until the result is dropped, nobody (this program or the kernel) writes to the range.
    pub(crate) unsafe fn slice(&self, start: usize, length: usize) -> &[u8] {
        let first = self.range(start, length);
        // SAFETY: `range` checked the bounds; the mapping is initialised (zeroed) and outlives `&self`; that nobody
        // writes meanwhile is the caller's promise.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), length) }
    }

    /// Returns the bytes of a range for writing.
    ///
    /// # Safety
    /// Until the result is dropped, nobody else (this program or the kernel) reads or writes the range.
    #[expect(
        clippy::mut_from_ref,
        reason = "ranges are owned by frames, not by the area; see the safety section"
    )]
    pub(crate) unsafe fn slice_mut(&self, start: usize, length: usize) -> &mut [u8] {
        let first = self.range(start, length);
        // SAFETY: `range` checked the bounds; the mapping is initialised (zeroed) and outlives `&self`; that nobody
        // else touches it meanwhile is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), length) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        unmap(self.base, self.bytes);
    }
}

/// Maps anonymous memory. Untouched pages cost nothing until the kernel pins them.
#[cfg(not(miri))]
fn map(bytes: usize) -> Result<NonNull<u8>, Error> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(Error::Memory { bytes, source: std::io::Error::last_os_error() });
    }
    let base = NonNull::new(base.cast::<u8>()).expect("mmap never returns null without MAP_FIXED");
    keep_from_children(base, bytes);
    Ok(base)
}

/// Keeps a mapping out of forked processes: one of a ring would hold the queue bound, and packet memory, being
/// pinned, would be copied whole at every fork.
fn keep_from_children(base: NonNull<u8>, bytes: usize) {
    // SAFETY: our own mapping; the advice changes what a child gets and nothing here.
    let result = unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTFORK) };
    debug_assert_eq!(result, 0, "every kernel with AF_XDP knows the advice");
}

/// Gives a mapping back.
#[cfg(not(miri))]
fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: `base` and `bytes` are exactly what `map` got, and the owner is being dropped: nothing borrows from it.
    // A kernel that still holds the UMEM has pinned the pages itself and is not affected.
    let result = unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "unmapping our own mapping cannot fail");
}

/// Allocates from the ordinary allocator where Miri interprets the program and no mmap exists.
#[cfg(miri)]
fn map(bytes: usize) -> Result<NonNull<u8>, Error> {
    // SAFETY: `bytes` is positive (asserted in `Area::new`).
    let base = unsafe { std::alloc::alloc_zeroed(layout(bytes)) };
    NonNull::new(base).ok_or_else(|| Error::Memory { bytes, source: std::io::ErrorKind::OutOfMemory.into() })
}

/// Gives an allocation back.
#[cfg(miri)]
fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: allocated by `map` above with the same layout, and the owner is being dropped.
    unsafe { std::alloc::dealloc(base.as_ptr(), layout(bytes)) };
}

/// Returns the layout of an area of `bytes`.
#[cfg(miri)]
fn layout(bytes: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(bytes, PAGE_BYTES).expect("sizes are limited by UmemConfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_zeroed_and_page_aligned() {
        let area = Area::new(2 * PAGE_BYTES).unwrap();
        assert!(area.base.cast::<[u8; PAGE_BYTES]>().addr().get().is_multiple_of(PAGE_BYTES));
        // SAFETY: the only access in this test.
        let bytes = unsafe { area.slice(0, area.bytes) };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    #[should_panic(expected = "range lies inside the area")]
    fn a_range_beyond_the_area_is_refused() {
        let area = Area::new(PAGE_BYTES).unwrap();
        // SAFETY: the only access in this test.
        let _ = unsafe { area.slice(PAGE_BYTES - 1, 2) };
    }
}
