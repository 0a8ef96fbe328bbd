//! The commands of bpf(2) that are needed, as safe functions.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::bpf::instruction::Instruction;
use crate::sys::{self, Plain};

/// Command numbers of `enum bpf_cmd`.
mod command {
    /// Make a map.
    pub(super) const MAP_CREATE: u32 = 0;
    /// Read an element.
    pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
    /// Set an element.
    pub(super) const MAP_UPDATE_ELEM: u32 = 2;
    /// Load a program.
    pub(super) const PROG_LOAD: u32 = 5;
    /// Run a program on a given packet.
    pub(super) const PROG_TEST_RUN: u32 = 10;
    /// Attach a program.
    pub(super) const LINK_CREATE: u32 = 28;
}

/// Map type: numbers to fixed values.
const MAP_TYPE_ARRAY: u32 = 2;

/// Map type: queue numbers to AF_XDP sockets.
const MAP_TYPE_XSKMAP: u32 = 17;

/// Program type and attachment type of the XDP hook.
const PROG_TYPE_XDP: u32 = 6;
/// See `PROG_TYPE_XDP`.
const ATTACH_TYPE_XDP: u32 = 37;

/// Load flag: the program takes packets of several buffers.
const XDP_HAS_FRAGS: u32 = 1 << 5;

/// Longest explanation of the verifier that is kept.
const LOG_BYTES: usize = 16 * 1024;

/// What all our programs are licensed as, which the kernel asks for.
const LICENSE: &CStr = c"Apache-2.0";

/// Attributes of `MAP_CREATE`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MapCreate {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

// SAFETY: 32-bit integers and sixteen bytes, without padding.
unsafe impl Plain for MapCreate {}

/// Attributes of `MAP_LOOKUP_ELEM` and `MAP_UPDATE_ELEM`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MapElement {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

// SAFETY: two 32-bit and three 64-bit integers, without padding.
unsafe impl Plain for MapElement {}

/// Attributes of `PROG_LOAD`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device_index: u32,
    attach_type: u32,
}

// SAFETY: integers and sixteen bytes whose offsets are multiples of their sizes and whose sum is a multiple of 8.
unsafe impl Plain for ProgramLoad {}

const _: () = assert!(size_of::<ProgramLoad>() == 72);

/// Attributes of `LINK_CREATE`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LinkCreate {
    program_fd: u32,
    target_index: u32,
    attach_type: u32,
    flags: u32,
}

// SAFETY: four 32-bit integers.
unsafe impl Plain for LinkCreate {}

/// Attributes of `PROG_TEST_RUN`.
#[repr(C)]
#[derive(Clone, Copy)]
struct TestRun {
    program_fd: u32,
    result: u32,
    packet_bytes: u32,
    output_bytes: u32,
    packet: u64,
    output: u64,
    repeats: u32,
    duration: u32,
    context_bytes: u32,
    context_output_bytes: u32,
    context: u64,
    context_output: u64,
    flags: u32,
    processor: u32,
    batch: u32,
    padding: u32,
}

// SAFETY: integers whose offsets are multiples of their sizes and whose sum is a multiple of 8.
unsafe impl Plain for TestRun {}

const _: () = assert!(size_of::<TestRun>() == 80);

/// Returns a descriptor as the kernel's attribute.
fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open descriptor is not negative")
}

/// Returns an address as the kernel's attribute.
fn address<T: ?Sized>(place: &T) -> u64 {
    std::ptr::from_ref(place).cast::<u8>().expose_provenance() as u64
}

/// Makes a map from queue numbers to AF_XDP sockets.
pub(crate) fn create_socket_map(entries: u32) -> io::Result<OwnedFd> {
    create_map(MAP_TYPE_XSKMAP, 4, entries, *b"af_xdp_sockets\0\0")
}

/// Makes a map of one 64-bit counter.
pub(crate) fn create_counter() -> io::Result<OwnedFd> {
    create_map(MAP_TYPE_ARRAY, 8, 1, *b"af_xdp_counter\0\0")
}

/// Makes a map from the numbers below `entries` to values of so many bytes.
pub(crate) fn create_table(value_bytes: u32, entries: u32) -> io::Result<OwnedFd> {
    create_map(MAP_TYPE_ARRAY, value_bytes, entries, *b"af_xdp_table\0\0\0\0")
}

/// Makes a map with 32-bit keys.
fn create_map(map_type: u32, value_bytes: u32, entries: u32, name: [u8; 16]) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type,
        key_bytes: 4,
        value_bytes,
        entries,
        flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        name,
    };
    // SAFETY: the attributes hold no address.
    let fd = unsafe { sys::bpf(command::MAP_CREATE, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor.
    Ok(unsafe { sys::own(fd) })
}

/// Reads a counter made by `create_counter`.
pub(crate) fn read_counter(map: BorrowedFd<'_>) -> io::Result<u64> {
    let [value] = read_numbers(map)?;
    Ok(value)
}

/// Reads the first value of a map whose values are so many 64-bit numbers.
pub(crate) fn read_numbers<const N: usize>(map: BorrowedFd<'_>) -> io::Result<[u64; N]> {
    let key = 0u32;
    let mut value = [0u64; N];
    let value_address = std::ptr::from_mut(&mut value).expose_provenance() as u64;
    let mut attributes =
        MapElement { map_fd: number(map), reserved: 0, key: address(&key), value: value_address, flags: 0 };
    // SAFETY: the key leads to a 32-bit integer and the value to as many 64-bit ones, writable for the call, as the map
    // was made for by the callers of this crate.
    unsafe { sys::bpf(command::MAP_LOOKUP_ELEM, &mut attributes) }?;
    Ok(value)
}

/// Sets a value of a map that was made for values of as many bytes.
pub(crate) fn set_value(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attributes =
        MapElement { map_fd: number(map), reserved: 0, key: address(&key), value: address(value), flags: 0 };
    // SAFETY: the key leads to a 32-bit integer and the value to as many bytes as the values of the map have, which the
    // callers of this crate see to.
    unsafe { sys::bpf(command::MAP_UPDATE_ELEM, &mut attributes) }?;
    Ok(())
}

/// Sets the socket of a queue.
pub(crate) fn set_socket(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(socket);
    let mut attributes = MapElement {
        map_fd: number(map),
        reserved: 0,
        key: address(&queue),
        value: address(&value),
        flags: 0,
    };
    // SAFETY: key and value lead to two 32-bit integers, the sizes with which the map was made.
    unsafe { sys::bpf(command::MAP_UPDATE_ELEM, &mut attributes) }?;
    Ok(())
}

/// Loads an XDP program; the error comes with the last line of the verifier.
pub(crate) fn load(instructions: &[Instruction], multi_buffer: bool) -> Result<OwnedFd, (io::Error, String)> {
    let mut log = vec![0u8; LOG_BYTES];
    let quiet = ProgramLoad {
        program_type: PROG_TYPE_XDP,
        instruction_count: u32::try_from(instructions.len()).expect("our programs are short"),
        instructions: address(instructions),
        license: address(LICENSE),
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: if multi_buffer { XDP_HAS_FRAGS } else { 0 },
        name: *b"af_xdp_redirect\0",
        device_index: 0,
        attach_type: ATTACH_TYPE_XDP,
    };
    // SAFETY: instructions and license lead to as many instructions as counted and to a terminated string.
    let fd = unsafe { sys::bpf(command::PROG_LOAD, &mut { quiet }) }.or_else(|error| {
        // A second time for the explanation, which costs a buffer that success does not need.
        let log_bytes = u32::try_from(LOG_BYTES).expect("a constant of 16 KiB");
        let log_address = log.as_mut_ptr().expose_provenance() as u64;
        let mut talkative = ProgramLoad { log_level: 1, log_bytes, log: log_address, ..quiet };
        // SAFETY: as above, and the log has as many bytes as announced, writable for the call.
        unsafe { sys::bpf(command::PROG_LOAD, &mut talkative) }.map_err(|_| (error, last_line(&log)))
    })?;
    // SAFETY: the kernel has just made this descriptor.
    Ok(unsafe { sys::own(fd) })
}

/// Runs an XDP program on `repeats` copies of a packet and does with them what it says (`LIVE_FRAMES`).
pub(crate) fn run_live(program: BorrowedFd<'_>, packet: &[u8], repeats: u32) -> io::Result<()> {
    /// Flag: the verdict is carried out.
    const LIVE_FRAMES: u32 = 1 << 1;
    /// Packets between two looks at the scheduler; the most that the kernel handles at once without a longer pause.
    const BATCH: u32 = 64;
    let mut attributes = TestRun {
        program_fd: number(program),
        result: 0,
        packet_bytes: u32::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        output_bytes: 0,
        packet: address(packet),
        output: 0,
        repeats,
        duration: 0,
        context_bytes: 0,
        context_output_bytes: 0,
        context: 0,
        context_output: 0,
        flags: LIVE_FRAMES,
        processor: 0,
        batch: BATCH,
        padding: 0,
    };
    // SAFETY: the packet has as many bytes as announced; no other address is given.
    unsafe { sys::bpf(command::PROG_TEST_RUN, &mut attributes) }?;
    Ok(())
}

/// Returns the last line that says something, after a colon.
fn last_line(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let said = |line: &&str| !line.trim().is_empty() && !line.starts_with("processed ");
    text.lines().rev().find(said).map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

/// Attaches a program to a device; the attachment ends with the returned descriptor.
pub(crate) fn attach(program: BorrowedFd<'_>, device_index: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        program_fd: number(program),
        target_index: device_index,
        attach_type: ATTACH_TYPE_XDP,
        flags,
    };
    // SAFETY: the attributes hold no address.
    let fd = unsafe { sys::bpf(command::LINK_CREATE, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor.
    Ok(unsafe { sys::own(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_quoted_by_its_last_line() {
        let log = b"0: R1=ctx()\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\0\0junk";
        assert_eq!(last_line(log), ": R0 !read_ok");
        assert_eq!(last_line(&[0; 8]), "");
    }
}
