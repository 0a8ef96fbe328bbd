//! Sealed memory files and the words mapped from them. All pointer arithmetic of this crate is here.
//!
//! Memory that another process can write is only ever seen as `AtomicU64`: a plain reference to it would promise the
//! compiler that nobody else writes, and a race with the other process would be undefined behaviour. Memory that is
//! mapped read-only is only loaded `Relaxed` (with fences where order matters): those are the atomic loads which the
//! standard library guarantees to work on read-only pages.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::layout::WORD_BYTES;

/// Seals of both memories: the size is fixed, and so are the seals.
pub(crate) const SIZE_SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Seals of the data memory: whoever maps it after the producer maps it read-only.
pub(crate) const DATA_SEALS: libc::c_int = SIZE_SEALS | libc::F_SEAL_FUTURE_WRITE;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("relaxed 8-byte loads from read-only memory are guaranteed on 64-bit targets only");

/// Creates a memory file of `bytes` zeros that can be sealed and not executed.
pub(crate) fn create_file(name: &CStr, bytes: u64) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let file = match create_with(name, flags | libc::MFD_NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create_with(name, flags)?,
        other => other?,
    };
    file.set_len(bytes)?;
    Ok(file)
}

fn create_with(name: &CStr, flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Adds `seals` to a memory file.
pub(crate) fn seal(file: &File, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` lives, and the command takes an integer.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the seals of a memory file; any other file has none.
pub(crate) fn seals(file: &File) -> libc::c_int {
    // SAFETY: the descriptor is open as long as `file` lives, and the command takes no argument.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    answer.max(0)
}

/// A shared mapping of a whole memory file; unmapped when dropped.
struct Mapping {
    /// Page-aligned start.
    start: NonNull<AtomicU64>,
    /// Length in words.
    words: usize,
}

// SAFETY: the memory belongs to the process and not to a thread, and is accessed atomically only.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references permit atomic access only.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: impl AsFd, bytes: u64, protection: libc::c_int) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let fd = file.as_fd().as_raw_fd();
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: no address is asked for, so no existing mapping is replaced; the kernel checks the rest.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, words: bytes / WORD_BYTES })
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and maps `words` whole words until `self` is dropped; the file is sealed
        // against shrinking before it is mapped, so every page stays backed; any bits are a valid `AtomicU64`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no reference into it outlives `self`.
        let answer = unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * WORD_BYTES) };
        debug_assert_eq!(answer, 0, "unmapping an own mapping cannot fail");
    }
}

/// Words that this process may read, while another process writes them.
pub(crate) struct ReadWords(Mapping);

impl ReadWords {
    /// Maps `bytes` of a file that is sealed against shrinking.
    pub fn map(file: impl AsFd, bytes: u64) -> io::Result<Self> {
        Mapping::new(file, bytes, libc::PROT_READ).map(Self)
    }

    /// Returns a word without ordering it against any other.
    #[inline]
    pub fn load(&self, word: usize) -> u64 {
        self.0.words()[word].load(Ordering::Relaxed)
    }

    /// Returns a word; what the other process wrote before its releasing store of that word is visible afterwards.
    #[inline]
    pub fn load_acquire(&self, word: usize) -> u64 {
        let value = self.load(word);
        fence(Ordering::Acquire);
        value
    }

    /// Appends `count` consecutive records, the first of which starts at `word`. They are copies: nothing that is
    /// written to the shared memory afterwards can change them.
    ///
    /// Each word goes straight to its place in the vector. Through a record on the stack each copy would stall: the move
    /// from there loads wider than the words were stored, which defeats the processor's store forwarding.
    pub fn append_records<R: FromBytes>(&self, word: usize, count: usize, into: &mut Vec<R>) {
        let record_words = size_of::<R>() / WORD_BYTES;
        let words = &self.0.words()[word..word + count * record_words];
        into.reserve(count);
        let length = into.len();
        let spare = into.spare_capacity_mut().as_mut_ptr().cast::<u64>();
        for (index, word) in words.iter().enumerate() {
            // SAFETY: `reserve` made room for `count` records, which are `words.len()` words.
            let place = unsafe { spare.add(index) };
            // SAFETY: within the room, which nobody else refers to; the write needs no alignment.
            unsafe { place.write_unaligned(word.load(Ordering::Relaxed)) };
        }
        // SAFETY: `count` records behind `length` were written just now, and any bits are a record (`FromBytes`).
        unsafe { into.set_len(length + count) };
    }
}

/// Words that this process writes, while another process reads them.
pub(crate) struct WriteWords(Mapping);

impl WriteWords {
    /// Maps `bytes` of a file that is or will be sealed against shrinking before anybody else receives it.
    pub fn map(file: impl AsFd, bytes: u64) -> io::Result<Self> {
        Mapping::new(file, bytes, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }

    /// Returns the words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }

    /// Copies `record` to where it starts at `word`, without ordering it against anything.
    #[inline]
    pub fn store_record<R: IntoBytes + Immutable>(&self, word: usize, record: &R) {
        let record_words = size_of::<R>() / WORD_BYTES;
        let words = &self.words()[word..word + record_words];
        for (word, bytes) in words.iter().zip(record.as_bytes().chunks_exact(WORD_BYTES)) {
            let mut value = [0; WORD_BYTES];
            value.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_seals_refuse_every_way_to_write_or_resize_but_keep_the_first_mapping() {
        let file = create_file(c"flow_ring test", 8192).unwrap();
        let writer = WriteWords::map(&file, 8192).unwrap();
        seal(&file, DATA_SEALS).unwrap();

        assert!(WriteWords::map(&file, 8192).is_err());
        assert!(file.set_len(4096).is_err());
        assert!(file.set_len(16384).is_err());
        assert!(seal(&file, libc::F_SEAL_WRITE).is_err());
        let reader = ReadWords::map(&file, 8192).unwrap();
        writer.words()[1000].store(7, Ordering::Relaxed);
        assert_eq!(reader.load(1000), 7);
        assert_eq!(seals(&file) & DATA_SEALS, DATA_SEALS);
    }

    #[test]
    fn a_read_only_mapping_of_sealed_data_cannot_be_made_writable() {
        let file = create_file(c"flow_ring test", 4096).unwrap();
        let _writer = WriteWords::map(&file, 4096).unwrap();
        seal(&file, DATA_SEALS).unwrap();
        let reader = ReadWords::map(&file, 4096).unwrap();

        let start = reader.0.start.as_ptr().cast();
        // SAFETY: the range is one whole mapping of this test; widening its protection invalidates nothing.
        let answer = unsafe { libc::mprotect(start, 4096, libc::PROT_READ | libc::PROT_WRITE) };

        assert_eq!(answer, -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let file = create_file(c"flow_ring test", 4096).unwrap();
        let writer = WriteWords::map(&file, 4096).unwrap();
        let reader = ReadWords::map(&file, 4096).unwrap();
        let records: [[u32; 4]; 3] = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, u32::MAX]];
        for (index, record) in records.iter().enumerate() {
            writer.store_record(10 + index * 2, record);
        }
        let mut out = vec![[0; 4]];
        reader.append_records(10, 3, &mut out);
        assert_eq!(out[1..], records);
    }

    #[test]
    fn a_file_that_is_not_a_memory_file_has_no_seals() {
        assert_eq!(seals(&File::open("/dev/null").unwrap()), 0);
    }
}
