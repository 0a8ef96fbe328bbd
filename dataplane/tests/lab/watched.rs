//! The system's allocator, with a count of who calls it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, watched where a thread asks for it.
struct Watched;

thread_local! {
    /// Whether this thread is being watched.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Calls of the allocator while it was.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    if IS_WATCHED.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

// SAFETY: every call goes to the system's allocator as it came; counting touches constant-initialised cells of the
// thread, which neither allocate nor have a destructor.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Does something and returns how often it called the allocator.
pub fn calls_of(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    IS_WATCHED.set(true);
    work();
    IS_WATCHED.set(false);
    CALLS.get() - before
}
