//! The generator's program, instruction by instruction, and the tables that it reads and writes.
//!
//! ```text
//! template: u32 bytes to cut off the page     u32 bytes of the frame
//!           u16 place of the changing port    u16 place of the checksum     u16 next port    u16 step
//!           u16 sum of the checksum without the port    u16 bytes of the head    u32 unused    head
//! state:    u64 frames, bytes, changed, place of the next template, due time, beginning    control: u64 limit of frames
//! ```

use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::bpf::generator::{CHANGING_PORTS, ChangingPort, Template};
use crate::bpf::instruction::{Function, Instruction, Register, Verdict};
use crate::device::DeviceIndex;

/// Bytes before the head of a template.
pub(crate) const TEMPLATE_HEADER_BYTES: usize = 24;
/// Bytes of the control table's value.
pub(crate) const CONTROL_BYTES: u32 = 8;

/// Places in a template.
mod template {
    pub(super) const CUT: i16 = 0;
    pub(super) const FRAME_BYTES: i16 = 4;
    pub(super) const PORT_OFFSET: i16 = 8;
    pub(super) const CHECKSUM_OFFSET: i16 = 10;
    pub(super) const PORT: i16 = 12;
    pub(super) const STEP: i16 = 14;
    pub(super) const SUM: i16 = 16;
    pub(super) const HEAD_BYTES: i16 = 18;
    pub(super) const HEAD: i16 = 24;
}

/// Places in the state.
mod state {
    pub(super) const FRAMES: i16 = 0;
    pub(super) const BYTES: i16 = 8;
    pub(super) const CHANGED: i16 = 16;
    pub(super) const NEXT: i16 = 24;
    pub(super) const DUE: i16 = 32;
    pub(super) const BEGAN: i16 = 40;
}

/// Bits behind the point of a time in nanoseconds: at ten million frames a second a gap is right to one in 100,000.
const TIME_FRACTION_BITS: i32 = 10;
/// Nanoseconds by which the generator may be late and make up for it: more would be a burst, not a rate.
const LATE_NS_MAX: u64 = 4_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The maps of the program.
#[derive(Debug)]
pub(crate) struct Tables {
    /// What is sent.
    pub(crate) templates: OwnedFd,
    /// What was sent. Written by the program alone.
    pub(crate) state: OwnedFd,
    /// What may be sent. Read by the program alone.
    pub(crate) control: OwnedFd,
}

/// What the program is made for.
#[derive(Debug)]
pub(crate) struct Limits {
    /// How many templates there are.
    pub(crate) entries: u32,
    /// Bytes of the longest head.
    pub(crate) head_bytes_max: u32,
    /// Whether all heads are as long as that one.
    pub(crate) is_uniform: bool,
    /// Most frames a second.
    pub(crate) frames_per_second: Option<NonZero<u32>>,
}

/// Replaces `value` by what the table holds for a template; the page has so many bytes.
pub(crate) fn write_template(template: &Template, page_bytes: usize, value: &mut Vec<u8>) {
    let word = |offset: u16| {
        let at = usize::from(offset);
        u16::from_be_bytes([template.head[at], template.head[at + 1]])
    };
    let Template { head, frame_bytes, changing } = template;
    let head_bytes = u16::try_from(head.len()).expect("checked against GENERATED_BYTES_MAX");
    let cut = u32::try_from(page_bytes).expect("a page is short") - u32::from(*frame_bytes);
    let fields = changing.map_or([0; 5], |ChangingPort { offset, checksum_offset, step }| {
        let port = word(offset);
        let sum = ones_complement_sum(!word(checksum_offset), !port);
        [offset, checksum_offset, port | CHANGING_PORTS, step, sum]
    });
    value.clear();
    value.extend(cut.to_ne_bytes());
    value.extend(u32::from(*frame_bytes).to_ne_bytes());
    fields.iter().chain([&head_bytes]).for_each(|field| value.extend(field.to_ne_bytes()));
    value.extend([0; 4]);
    value.extend(head);
}

/// Adds as RFC 1071 does.
fn ones_complement_sum(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u16::from(carry)
}

/// Instructions that may jump to the end at which a page is given back unsent.
#[derive(Default)]
struct Assembler {
    instructions: Vec<Instruction>,
    ends: Vec<usize>,
}

impl Assembler {
    fn put(&mut self, instructions: impl IntoIterator<Item = Instruction>) {
        self.instructions.extend(instructions);
    }

    /// Adds a jump to the end.
    fn end_if(&mut self, jump: Instruction) {
        self.ends.push(self.instructions.len());
        self.instructions.push(jump);
    }

    /// Adds the end, and has all jumps to it lead there.
    fn finish(mut self) -> Vec<Instruction> {
        let end = self.instructions.len();
        for at in self.ends {
            let count = i16::try_from(end - at - 1).expect("the program is short");
            self.instructions[at] = self.instructions[at].over(count);
        }
        self.instructions.push(Instruction::set(Register::R0, Verdict::Drop as i32));
        self.instructions.push(Instruction::exit());
        self.instructions
    }
}

/// Returns the program. R6 is the context, R7 the state, R8 the template.
pub(crate) fn instructions(
    device: DeviceIndex,
    tables: &Tables,
    limits: &Limits,
    changes: bool,
) -> Vec<Instruction> {
    let mut program = Assembler::default();
    begin(&mut program, tables);
    if let Some(rate) = limits.frames_per_second {
        wait(&mut program, rate);
    }
    choose(&mut program, tables, limits.entries);
    if changes {
        change_port(&mut program, limits.head_bytes_max);
    }
    write(&mut program, limits);
    program.put([
        Instruction::load_u64(Register::R1, Register::R7, state::FRAMES),
        Instruction::add(Register::R1, 1),
        Instruction::store_u64(Register::R7, state::FRAMES, Register::R1),
        Instruction::load_u64(Register::R1, Register::R7, state::BYTES),
        Instruction::load_u32(Register::R2, Register::R8, template::FRAME_BYTES),
        Instruction::add_register(Register::R1, Register::R2),
        Instruction::store_u64(Register::R7, state::BYTES, Register::R1),
        Instruction::set(Register::R1, device.get().cast_signed()),
        Instruction::set(Register::R2, 0),
        Instruction::call(Function::Redirect),
        Instruction::exit(),
    ]);
    program.finish()
}

/// Loads the registers that stay, and ends where the limit is reached.
fn begin(program: &mut Assembler, tables: &Tables) {
    program.put([Instruction::copy(Register::R6, Register::R1)]);
    program.put(Instruction::load_map_value(Register::R7, tables.state.as_raw_fd()));
    program.put(Instruction::load_map_value(Register::R1, tables.control.as_raw_fd()));
    program.put([
        Instruction::load_u64(Register::R1, Register::R1, 0),
        Instruction::load_u64(Register::R2, Register::R7, state::FRAMES),
    ]);
    program.end_if(Instruction::skip_if_not_less(Register::R2, Register::R1, 0));
}

/// Ends where the next frame's time has not come.
fn wait(program: &mut Assembler, frames_per_second: NonZero<u32>) {
    let gap = (NS_PER_S << TIME_FRACTION_BITS) / u64::from(frames_per_second.get());
    program.put([
        Instruction::call(Function::Time),
        Instruction::load_u64(Register::R1, Register::R7, state::BEGAN),
        Instruction::skip_if_is_not(Register::R1, 0, 2),
        Instruction::copy(Register::R1, Register::R0),
        Instruction::store_u64(Register::R7, state::BEGAN, Register::R1),
        Instruction::subtract(Register::R0, Register::R1),
        Instruction::shift_left(Register::R0, TIME_FRACTION_BITS),
        Instruction::load_u64(Register::R2, Register::R7, state::DUE),
    ]);
    program.end_if(Instruction::skip_if_greater(Register::R2, Register::R0, 0));
    program.put([Instruction::copy(Register::R3, Register::R2)]);
    program.put(Instruction::load_u64_constant(Register::R4, LATE_NS_MAX << TIME_FRACTION_BITS));
    program.put([
        Instruction::add_register(Register::R3, Register::R4),
        Instruction::skip_if_not_less(Register::R3, Register::R0, 2),
        Instruction::copy(Register::R2, Register::R0),
        Instruction::subtract(Register::R2, Register::R4),
    ]);
    program.put(Instruction::load_u64_constant(Register::R3, gap));
    program.put([
        Instruction::add_register(Register::R2, Register::R3),
        Instruction::store_u64(Register::R7, state::DUE, Register::R2),
    ]);
}

/// Looks the next template up.
fn choose(program: &mut Assembler, tables: &Tables, entries: u32) {
    const KEY: i16 = -4;
    program.put([
        Instruction::load_u64(Register::R1, Register::R7, state::NEXT),
        Instruction::store_u32(Register::R10, KEY, Register::R1),
        Instruction::add(Register::R1, 1),
        Instruction::skip_if_is_not(Register::R1, entries.cast_signed(), 1),
        Instruction::set(Register::R1, 0),
        Instruction::store_u64(Register::R7, state::NEXT, Register::R1),
    ]);
    program.put(Instruction::load_map(Register::R1, tables.templates.as_raw_fd()));
    program.put([
        Instruction::copy(Register::R2, Register::R10),
        Instruction::add(Register::R2, i32::from(KEY)),
        Instruction::call(Function::MapLookup),
    ]);
    program.end_if(Instruction::skip_if_is(Register::R0, 0, 0));
    program.put([Instruction::copy(Register::R8, Register::R0)]);
}

/// Gives the template's head its next source port, and the checksum that goes with it.
fn change_port(program: &mut Assembler, head_bytes_max: u32) {
    let last = head_bytes_max.cast_signed() - 2;
    let mut change = Assembler::default();
    change.end_if(Instruction::skip_if_greater_than(Register::R1, last, 0));
    change.put([Instruction::load_u16(Register::R2, Register::R8, template::CHECKSUM_OFFSET)]);
    change.end_if(Instruction::skip_if_greater_than(Register::R2, last, 0));
    change.put([
        Instruction::load_u16(Register::R3, Register::R8, template::PORT),
        Instruction::load_u16(Register::R4, Register::R8, template::SUM),
        // Twice: the first fold may carry once more.
        Instruction::add_register(Register::R4, Register::R3),
        Instruction::copy(Register::R5, Register::R4),
        Instruction::shift_right(Register::R5, 16),
        Instruction::and(Register::R4, 0xffff),
        Instruction::add_register(Register::R4, Register::R5),
        Instruction::exclusive_or(Register::R4, 0xffff),
        // A checksum of zero means none in UDP (RFC 768); the other form of zero is right for all.
        Instruction::skip_if_is_not(Register::R4, 0, 1),
        Instruction::set(Register::R4, 0xffff),
        Instruction::to_network_order_u16(Register::R4),
        Instruction::copy(Register::R5, Register::R3),
        Instruction::to_network_order_u16(Register::R5),
        Instruction::add_register(Register::R1, Register::R8),
        Instruction::add_register(Register::R2, Register::R8),
        Instruction::store_u16(Register::R1, template::HEAD, Register::R5),
        Instruction::store_u16(Register::R2, template::HEAD, Register::R4),
        Instruction::load_u16(Register::R4, Register::R8, template::STEP),
        Instruction::add_register(Register::R3, Register::R4),
        Instruction::or(Register::R3, i32::from(CHANGING_PORTS)),
        Instruction::store_u16(Register::R8, template::PORT, Register::R3),
        Instruction::load_u64(Register::R1, Register::R7, state::CHANGED),
        Instruction::add(Register::R1, 1),
        Instruction::store_u64(Register::R7, state::CHANGED, Register::R1),
    ]);
    let count = i16::try_from(change.instructions.len()).expect("the program is short");
    program.put([
        Instruction::load_u16(Register::R1, Register::R8, template::PORT_OFFSET),
        Instruction::skip_if_is(Register::R1, 0, count),
    ]);
    let first = program.instructions.len();
    program.put(change.instructions);
    program.ends.extend(change.ends.into_iter().map(|at| at + first));
}

/// Writes the head to the page and cuts the page to the length of the frame.
fn write(program: &mut Assembler, limits: &Limits) {
    let length_max = limits.head_bytes_max.cast_signed();
    if limits.is_uniform {
        program.put([Instruction::set(Register::R4, length_max)]);
    } else {
        program.put([Instruction::load_u16(Register::R4, Register::R8, template::HEAD_BYTES)]);
        program.end_if(Instruction::skip_if_greater_than(Register::R4, length_max, 0));
        program.end_if(Instruction::skip_if_is(Register::R4, 0, 0));
    }
    program.put([
        Instruction::copy(Register::R1, Register::R6),
        Instruction::set(Register::R2, 0),
        Instruction::copy(Register::R3, Register::R8),
        Instruction::add(Register::R3, i32::from(template::HEAD)),
        Instruction::call(Function::StoreBytes),
    ]);
    program.end_if(Instruction::skip_if_is_not(Register::R0, 0, 0));
    program.put([
        Instruction::load_u32(Register::R2, Register::R8, template::CUT),
        Instruction::skip_if_is(Register::R2, 0, 4),
        Instruction::negate(Register::R2),
        Instruction::copy(Register::R1, Register::R6),
        Instruction::call(Function::AdjustTail),
    ]);
    program.end_if(Instruction::skip_if_is_not(Register::R0, 0, 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changing_port_is_taken_out_of_the_checksum() {
        let mut head = vec![0; 60];
        (head[34], head[35]) = (0x80, 0x07);
        (head[40], head[41]) = (0x12, 0x34);
        let changing = Some(ChangingPort { offset: 34, checksum_offset: 40, step: 3 });
        let mut value = Vec::new();
        write_template(&Template { head, frame_bytes: 60, changing }, 100, &mut value);
        let word = |at: i16| {
            let at = usize::try_from(at).unwrap();
            u16::from_ne_bytes([value[at], value[at + 1]])
        };
        assert_eq!(word(template::CUT), 40);
        assert_eq!((word(template::PORT), word(template::STEP)), (0x8007, 3));
        assert_eq!(!ones_complement_sum(word(template::SUM), 0x8007), 0x1234);
        assert_eq!(value.len(), TEMPLATE_HEADER_BYTES + 60);
    }
}
