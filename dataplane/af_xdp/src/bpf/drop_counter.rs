//! A program that counts and drops whatever a device receives: the cheapest sink for measuring what arrives.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::bpf::calls;
use crate::bpf::instruction::{Instruction, Register, Verdict};
use crate::device::DeviceIndex;
use crate::error::Error;

/// Attach flag: in the driver (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// Drops and counts every packet that a device receives, as long as it lives. Native mode only.
#[derive(Debug)]
pub struct DropCounter {
    /// Keeps the program attached.
    _link: OwnedFd,
    /// The counter.
    map: OwnedFd,
    /// Which device.
    device: DeviceIndex,
}

impl DropCounter {
    /// Attaches the program to a device.
    pub fn new(device: DeviceIndex) -> Result<DropCounter, Error> {
        let failed =
            |operation, source, log| Error::Program { device: device.to_string(), operation, source, log };
        let map =
            calls::create_counter().map_err(|source| failed("make the counter", source, String::new()))?;
        let program = calls::load(&count_and_drop(map.as_raw_fd()), true)
            .map_err(|(source, log)| failed("load the drop counter", source, log))?;
        let link = calls::attach(program.as_fd(), device.get(), NATIVE)
            .map_err(|source| failed("attach the drop counter", source, String::new()))?;
        Ok(DropCounter { _link: link, map, device })
    }

    /// Returns the number of packets dropped so far.
    pub fn packets(&self) -> Result<u64, Error> {
        calls::read_counter(self.map.as_fd()).map_err(|source| Error::Program {
            device: self.device.to_string(),
            operation: "read the drop counter",
            source,
            log: String::new(),
        })
    }
}

/// Returns the program.
fn count_and_drop(map_fd: i32) -> [Instruction; 6] {
    let [value_low, value_high] = Instruction::load_map_value(Register::R1, map_fd);
    [
        value_low,
        value_high,
        Instruction::set(Register::R2, 1),
        Instruction::add_to_u64(Register::R1, Register::R2),
        Instruction::set(Register::R0, Verdict::Drop as i32),
        Instruction::exit(),
    ]
}
