//! Keeps freed memory for the next step of training.
//!
//! A step allocates and frees tens of megabytes in blocks of a few. By default the C library gives blocks of that size back
//! to the system at once, or trims the end of its heap, and the system clears every page anew when the next step asks for it,
//! which takes a good part of a step. The GNU library learns from what is freed (`mallopt(3)`, `M_MMAP_THRESHOLD`): after one block of
//! nearly 32 MiB was freed, blocks up to that size come from the heap, and it is trimmed only when twice as much is free at its
//! end. Other libraries do not care.

/// Bytes of the block: the most that the GNU library learns from (`DEFAULT_MMAP_THRESHOLD_MAX`) without what it adds.
const BLOCK_BYTES: usize = (32 << 20) - (64 << 10);

/// Makes the allocator keep up to 64 MiB of freed memory. To be called once, before there is much to free. The block itself
/// is never touched and takes no memory.
pub fn keep() {
    // Unlooked at, the block would be optimised away.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
}
