//! An assembler for the few BPF instructions that our programs need (RFC 9669).

/// One instruction in the kernel's layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Class, source bit and operation.
    code: u8,
    /// Destination register in the low four bits, source register in the high four.
    registers: u8,
    /// Signed offset of memory accesses and jumps.
    offset: i16,
    /// Signed constant.
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// A register. R0 holds results, R1 to R5 arguments; R6 survives calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// Results and the verdict.
    R0 = 0,
    /// The context at the start; first argument.
    R1 = 1,
    /// Second argument.
    R2 = 2,
    /// Third argument.
    R3 = 3,
    /// Fourth argument.
    R4 = 4,
    /// Fifth argument.
    R5 = 5,
    /// Survives calls.
    R6 = 6,
    /// Survives calls.
    R7 = 7,
    /// Survives calls.
    R8 = 8,
    /// End of the stack, which grows down from here; cannot be written.
    R10 = 10,
}

/// A function of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// `bpf_map_lookup_elem(map, key)`.
    MapLookup = 1,
    /// `bpf_ktime_get_ns()`.
    Time = 5,
    /// `bpf_redirect(device, flags)`.
    Redirect = 23,
    /// `bpf_redirect_map(map, key, verdict on a miss)`.
    RedirectMap = 51,
    /// `bpf_xdp_adjust_tail(context, bytes)`.
    AdjustTail = 65,
    /// `bpf_xdp_store_bytes(context, offset, bytes, length)`.
    StoreBytes = 190,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is dropped (`XDP_DROP`).
    Drop = 1,
}

/// What a constant of two instructions means to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Constant {
    /// The map of a descriptor (`BPF_PSEUDO_MAP_FD`).
    Map = 1,
    /// The value of the first element of the map of a descriptor (`BPF_PSEUDO_MAP_VALUE`).
    MapValue = 2,
}

impl Instruction {
    /// Puts an instruction together.
    const fn new(code: u8, destination: Register, source: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, registers: destination as u8 | source << 4, offset, immediate }
    }

    /// `destination = *(u16 *)(source + offset)`.
    pub(crate) const fn load_u16(destination: Register, source: Register, offset: i16) -> Instruction {
        Instruction::new(0x69, destination, source as u8, offset, 0)
    }

    /// `destination = *(u32 *)(source + offset)`.
    pub(crate) const fn load_u32(destination: Register, source: Register, offset: i16) -> Instruction {
        Instruction::new(0x61, destination, source as u8, offset, 0)
    }

    /// `destination = *(u64 *)(source + offset)`.
    pub(crate) const fn load_u64(destination: Register, source: Register, offset: i16) -> Instruction {
        Instruction::new(0x79, destination, source as u8, offset, 0)
    }

    /// `*(u16 *)(place + offset) = value`.
    pub(crate) const fn store_u16(place: Register, offset: i16, value: Register) -> Instruction {
        Instruction::new(0x6b, place, value as u8, offset, 0)
    }

    /// `*(u32 *)(place + offset) = value`.
    pub(crate) const fn store_u32(place: Register, offset: i16, value: Register) -> Instruction {
        Instruction::new(0x63, place, value as u8, offset, 0)
    }

    /// `*(u64 *)(place + offset) = value`.
    pub(crate) const fn store_u64(place: Register, offset: i16, value: Register) -> Instruction {
        Instruction::new(0x7b, place, value as u8, offset, 0)
    }

    /// `*(u64 *)place += value`, atomically.
    pub(crate) const fn add_to_u64(place: Register, value: Register) -> Instruction {
        Instruction::new(0xdb, place, value as u8, 0, 0)
    }

    /// `destination = value`.
    pub(crate) const fn set(destination: Register, value: i32) -> Instruction {
        Instruction::new(0xb7, destination, 0, 0, value)
    }

    /// `destination = source`.
    pub(crate) const fn copy(destination: Register, source: Register) -> Instruction {
        Instruction::new(0xbf, destination, source as u8, 0, 0)
    }

    /// `destination += value`.
    pub(crate) const fn add(destination: Register, value: i32) -> Instruction {
        Instruction::new(0x07, destination, 0, 0, value)
    }

    /// `destination += source`.
    pub(crate) const fn add_register(destination: Register, source: Register) -> Instruction {
        Instruction::new(0x0f, destination, source as u8, 0, 0)
    }

    /// `destination -= source`.
    pub(crate) const fn subtract(destination: Register, source: Register) -> Instruction {
        Instruction::new(0x1f, destination, source as u8, 0, 0)
    }

    /// `destination |= value`.
    pub(crate) const fn or(destination: Register, value: i32) -> Instruction {
        Instruction::new(0x47, destination, 0, 0, value)
    }

    /// `destination &= value`.
    pub(crate) const fn and(destination: Register, value: i32) -> Instruction {
        Instruction::new(0x57, destination, 0, 0, value)
    }

    /// `destination ^= value`.
    pub(crate) const fn exclusive_or(destination: Register, value: i32) -> Instruction {
        Instruction::new(0xa7, destination, 0, 0, value)
    }

    /// `destination <<= bits`.
    pub(crate) const fn shift_left(destination: Register, bits: i32) -> Instruction {
        Instruction::new(0x67, destination, 0, 0, bits)
    }

    /// `destination >>= bits`.
    pub(crate) const fn shift_right(destination: Register, bits: i32) -> Instruction {
        Instruction::new(0x77, destination, 0, 0, bits)
    }

    /// `destination = -destination`.
    pub(crate) const fn negate(destination: Register) -> Instruction {
        Instruction::new(0x87, destination, 0, 0, 0)
    }

    /// `destination = htobe16(destination)`.
    pub(crate) const fn to_network_order_u16(destination: Register) -> Instruction {
        Instruction::new(0xdc, destination, 0, 0, 16)
    }

    /// Skips `count` instructions if `left == right`.
    pub(crate) const fn skip_if_is(left: Register, right: i32, count: i16) -> Instruction {
        Instruction::new(0x15, left, 0, count, right)
    }

    /// Skips `count` instructions if `left != right`.
    pub(crate) const fn skip_if_is_not(left: Register, right: i32, count: i16) -> Instruction {
        Instruction::new(0x55, left, 0, count, right)
    }

    /// Skips `count` instructions if `left > right`.
    pub(crate) const fn skip_if_greater(left: Register, right: Register, count: i16) -> Instruction {
        Instruction::new(0x2d, left, right as u8, count, 0)
    }

    /// Skips `count` instructions if `left > right`.
    pub(crate) const fn skip_if_greater_than(left: Register, right: i32, count: i16) -> Instruction {
        Instruction::new(0x25, left, 0, count, right)
    }

    /// Skips `count` instructions if `left >= right`.
    pub(crate) const fn skip_if_not_less(left: Register, right: Register, count: i16) -> Instruction {
        Instruction::new(0x3d, left, right as u8, count, 0)
    }

    /// Returns the same jump over `count` instructions.
    pub(crate) const fn over(self, count: i16) -> Instruction {
        Instruction { offset: count, ..self }
    }

    /// `destination = value`, 64 bits in two instructions.
    pub(crate) const fn load_u64_constant(destination: Register, value: u64) -> [Instruction; 2] {
        let (low, high) = ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
        [
            Instruction::new(0x18, destination, 0, 0, low.cast_signed()),
            Instruction { code: 0, registers: 0, offset: 0, immediate: high.cast_signed() },
        ]
    }

    /// `destination = map`, in two instructions.
    pub(crate) const fn load_map(destination: Register, fd: i32) -> [Instruction; 2] {
        Instruction::load_constant(destination, Constant::Map, fd)
    }

    /// `destination = &map[0]`, in two instructions.
    pub(crate) const fn load_map_value(destination: Register, fd: i32) -> [Instruction; 2] {
        Instruction::load_constant(destination, Constant::MapValue, fd)
    }

    /// Loads 64 bits of the given meaning.
    const fn load_constant(destination: Register, meaning: Constant, value: i32) -> [Instruction; 2] {
        [
            Instruction::new(0x18, destination, meaning as u8, 0, value),
            Instruction { code: 0, registers: 0, offset: 0, immediate: 0 },
        ]
    }

    /// `r0 = function(r1, ..)`.
    pub(crate) const fn call(function: Function) -> Instruction {
        Instruction::new(0x85, Register::R0, 0, 0, function as i32)
    }

    /// `return r0`.
    pub(crate) const fn exit() -> Instruction {
        Instruction::new(0x95, Register::R0, 0, 0, 0)
    }
}

/// Returns the program that hands each packet to the socket of its receive queue, and drops it where there is none.
///
/// A miss must not pass: the packet of a queue without a socket would go to the host's own stack, around every rule.
pub(crate) fn redirect_to_socket(map_fd: i32) -> [Instruction; 6] {
    /// Offset of `rx_queue_index` in `struct xdp_md`.
    const RX_QUEUE_INDEX: i16 = 16;
    let [map_low, map_high] = Instruction::load_map(Register::R1, map_fd);
    [
        Instruction::load_u32(Register::R2, Register::R1, RX_QUEUE_INDEX),
        map_low,
        map_high,
        Instruction::set(Register::R3, Verdict::Drop as i32),
        Instruction::call(Function::RedirectMap),
        Instruction::exit(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of a little-endian machine.
    fn bytes(instruction: Instruction) -> [u8; 8] {
        let Instruction { code, registers, offset, immediate } = instruction;
        let [o0, o1] = offset.to_le_bytes();
        let [i0, i1, i2, i3] = immediate.to_le_bytes();
        [code, registers, o0, o1, i0, i1, i2, i3]
    }

    #[test]
    fn instructions_have_the_standard_encoding() {
        assert_eq!(
            bytes(Instruction::load_u32(Register::R2, Register::R1, 16)),
            [0x61, 0x12, 16, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes(Instruction::set(Register::R3, -1)), [0xb7, 3, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes(Instruction::load_map(Register::R1, 7)[0]), [0x18, 0x11, 0, 0, 7, 0, 0, 0]);
        assert_eq!(bytes(Instruction::call(Function::RedirectMap)), [0x85, 0, 0, 0, 51, 0, 0, 0]);
        assert_eq!(bytes(Instruction::exit()), [0x95, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_packet_without_a_socket_is_dropped() {
        assert!(redirect_to_socket(3).contains(&Instruction::set(Register::R3, 1)));
    }
}
