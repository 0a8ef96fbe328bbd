//! A packet generator inside the kernel: it runs a program on copies of a packet and carries the verdict, a redirect
//! to a device, out (`BPF_F_TEST_XDP_LIVE_FRAMES`). One processor makes several million packets a second this way,
//! more than any forwarder here takes, where sending over sockets would measure the sender.

use std::os::fd::{AsFd, OwnedFd};

use crate::bpf::calls;
use crate::bpf::instruction::{Function, Instruction, Register};
use crate::device::DeviceIndex;
use crate::error::Error;

/// Names a 16-bit field that is different in every packet, so that they belong to many flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariedField {
    /// Its place in the packet. Nothing repairs checksums: take a field of no checksum, such as a port of a UDP packet
    /// without one.
    pub offset: u16,
    /// Which of its bits, in network order, are random.
    pub mask: u16,
}

/// Sends copies of a packet out of a device.
#[derive(Debug)]
pub struct Generator {
    /// Redirects to the device.
    program: OwnedFd,
    /// Which device.
    device: DeviceIndex,
}

impl Generator {
    /// Makes a generator for a device. A veth sends only if its peer has an XDP program or GRO.
    pub fn new(device: DeviceIndex, varied: Option<VariedField>) -> Result<Generator, Error> {
        let instructions = redirect_to_device(device, varied);
        let program = calls::load(&instructions, false).map_err(|(source, log)| Error::Program {
            device: device.to_string(),
            operation: "load the generator",
            source,
            log,
        })?;
        Ok(Generator { program, device })
    }

    /// Sends `packets` copies of `packet`, which has at least 14 bytes; returns when all are sent.
    ///
    /// Setting a call up takes the kernel some 20 ms, so a call for less than a million packets sends in bursts, and
    /// what is measured is the pause.
    pub fn run(&self, packet: &[u8], packets: u32) -> Result<(), Error> {
        calls::run_live(self.program.as_fd(), packet, packets).map_err(|source| Error::Program {
            device: self.device.to_string(),
            operation: "generate packets",
            source,
            log: String::new(),
        })
    }
}

/// Returns the program.
fn redirect_to_device(device: DeviceIndex, varied: Option<VariedField>) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    if let Some(VariedField { offset, mask }) = varied {
        let place = i16::try_from(offset).unwrap_or(i16::MAX);
        instructions.extend([
            Instruction::copy(Register::R6, Register::R1),
            Instruction::call(Function::Random),
            Instruction::and(Register::R0, i32::from(mask.to_be())),
            // data and data_end of struct xdp_md; the verifier wants the field proved to lie between them.
            Instruction::load_u32(Register::R2, Register::R6, 0),
            Instruction::load_u32(Register::R3, Register::R6, 4),
            Instruction::copy(Register::R4, Register::R2),
            Instruction::add(Register::R4, i32::from(place) + 2),
            Instruction::skip_if_greater(Register::R4, Register::R3, 1),
            Instruction::store_u16(Register::R2, place, Register::R0),
        ]);
    }
    instructions.extend([
        Instruction::set(Register::R1, device.get().cast_signed()),
        Instruction::set(Register::R2, 0),
        Instruction::call(Function::Redirect),
        Instruction::exit(),
    ]);
    instructions
}
