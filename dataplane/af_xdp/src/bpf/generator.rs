//! A packet generator inside the kernel: it runs a program on pages of packets and carries the verdict, a redirect to a
//! device, out (`BPF_F_TEST_XDP_LIVE_FRAMES`, `Documentation/bpf/bpf_prog_run.rst`). One processor makes several million
//! packets a second this way, more than any forwarder here takes, where sending over sockets would measure the sender.
//!
//! What is sent stands in a table of templates, through which the program goes round and round: it writes a template's bytes
//! to the beginning of the page, cuts the page to the length of the frame, counts and redirects. The kernel does not restore
//! a page's bytes before it comes round again, so that nothing may be left to what stood there.

use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};

use crate::bpf::calls;
use crate::bpf::program::{self, CONTROL_BYTES, Limits, TEMPLATE_HEADER_BYTES, Tables};
use crate::device::DeviceIndex;
use crate::error::Error;

/// Longest frame: a page without the room that the kernel keeps before and behind it.
pub const GENERATED_BYTES_MAX: usize = 3_400;
/// Shortest frame: an Ethernet header.
pub const GENERATED_BYTES_MIN: usize = 14;
/// Most templates, and most bytes of them: what the kernel is asked to keep in memory that cannot be swapped.
const TEMPLATES_MAX: usize = 1 << 22;
/// See `TEMPLATES_MAX`.
const TABLE_BYTES_MAX: usize = 1 << 30;
/// 64-bit numbers of the program's books.
const STATE_NUMBERS: usize = 8;
/// Source ports that a changing one takes: the upper half, so that the lower one is left to flows that stay.
pub const CHANGING_PORTS: u16 = 0x8000;

/// One frame to be generated, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its first bytes. Where the templates have heads of equal length, what follows is zero; where they have not, give
    /// whole frames.
    pub head: Vec<u8>,
    /// Bytes of the frame, without the check sequence; a head that is longer is cut.
    pub frame_bytes: u16,
    /// The field that is another one each time; none if every frame is the same.
    pub changing: Option<ChangingPort>,
}

/// A source port that is another one each time the frame is sent, so that each belongs to a new flow. It takes the upper
/// half of all ports, from the one in the head on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangingPort {
    /// Its place in the head.
    pub offset: u16,
    /// Place of the L4 checksum, which is right for the head and is kept right.
    pub checksum_offset: u16,
    /// By how much it grows.
    pub step: u16,
}

/// Counts what was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generated {
    /// Frames redirected to the device. What the device does with them, its own counters tell.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Those of them whose port changes.
    pub changed: u64,
}

/// Sends frames out of a device.
#[derive(Debug)]
pub struct Generator {
    /// Redirects to the device.
    program: OwnedFd,
    /// What the program reads and counts.
    tables: Tables,
    /// What each page holds at first: zeros, as long as the longest template.
    page: Vec<u8>,
    /// Which device.
    device: DeviceIndex,
}

impl Generator {
    /// Makes a generator that sends these frames in their order, at most so many a second, without a limit on how many. A
    /// veth sends only if its peer has an XDP program or GRO.
    pub fn new(
        device: DeviceIndex,
        templates: &[Template],
        frames_per_second: Option<NonZero<u32>>,
    ) -> Result<Generator, Error> {
        let failed =
            |operation, source, log| Error::Program { device: device.to_string(), operation, source, log };
        let table_failed = |source| failed("make the tables of the generator", source, String::new());
        check(templates)?;
        let head_bytes_max = templates.iter().map(|template| template.head.len()).max().unwrap_or(0);
        let frame_bytes_max = templates.iter().map(|template| usize::from(template.frame_bytes)).max();
        let page = vec![0; frame_bytes_max.unwrap_or(0).max(head_bytes_max)];
        let value_bytes = (TEMPLATE_HEADER_BYTES + head_bytes_max).next_multiple_of(8);
        let entries = u32::try_from(templates.len()).expect("checked against TEMPLATES_MAX");
        let tables = Tables {
            templates: calls::create_table(to_u32(value_bytes), entries).map_err(table_failed)?,
            state: calls::create_table(to_u32(STATE_NUMBERS * 8), 1).map_err(table_failed)?,
            control: calls::create_table(CONTROL_BYTES, 1).map_err(table_failed)?,
        };
        let mut value = Vec::with_capacity(value_bytes);
        for (place, template) in (0..).zip(templates) {
            program::write_template(template, page.len(), &mut value);
            value.resize(value_bytes, 0);
            calls::set_value(tables.templates.as_fd(), place, &value).map_err(table_failed)?;
        }
        let is_uniform = templates.iter().all(|template| template.head.len() == head_bytes_max);
        let limits =
            Limits { entries, head_bytes_max: to_u32(head_bytes_max), is_uniform, frames_per_second };
        let changes = templates.iter().any(|template| template.changing.is_some());
        let instructions = program::instructions(device, &tables, &limits, changes);
        let program = calls::load(&instructions, false)
            .map_err(|(source, log)| failed("load the generator", source, log))?;
        let generator = Generator { program, tables, page, device };
        generator.stop_after(u64::MAX)?;
        Ok(generator)
    }

    /// Sets how many frames are sent in all; a thread within `run` then only spins. Zero stops the sending.
    pub fn stop_after(&self, frames: u64) -> Result<(), Error> {
        calls::set_value(self.tables.control.as_fd(), 0, &frames.to_ne_bytes())
            .map_err(|source| self.failed("set the limit of the generator", source))
    }

    /// Runs the program so many times; each run sends one frame unless its time has not come or the limit is reached.
    /// Returns when that is done: no thread can end it before, only the end of the process.
    ///
    /// Setting a call up takes the kernel some 20 ms, so a call for less than a million frames sends in bursts, and
    /// what is measured is the pause.
    pub fn run(&self, times: u32) -> Result<(), Error> {
        calls::run_live(self.program.as_fd(), &self.page, times)
            .map_err(|source| self.failed("generate packets", source))
    }

    /// Returns what was generated so far.
    pub fn generated(&self) -> Result<Generated, Error> {
        let [frames, bytes, changed, ..] = calls::read_numbers::<STATE_NUMBERS>(self.tables.state.as_fd())
            .map_err(|source| self.failed("read what was generated", source))?;
        Ok(Generated { frames, bytes, changed })
    }

    /// Names the device in an error.
    fn failed(&self, operation: &'static str, source: std::io::Error) -> Error {
        Error::Program { device: self.device.to_string(), operation, source, log: String::new() }
    }
}

/// Returns a length, all of which are below the limits, as the kernel's type.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths are checked against GENERATED_BYTES_MAX")
}

/// Refuses what the program cannot send.
fn check(templates: &[Template]) -> Result<(), Error> {
    let refuse = |place, what| Err(Error::Template { place, what });
    if templates.is_empty() {
        return refuse(0, "there is none");
    }
    let head_bytes_max = templates.iter().map(|template| template.head.len()).max().unwrap_or(0);
    if templates.len() > TEMPLATES_MAX
        || templates.len() * (TEMPLATE_HEADER_BYTES + head_bytes_max + 8) > TABLE_BYTES_MAX
    {
        return refuse(templates.len(), "all together are more than 1 GiB or 4,194,304 frames");
    }
    for (place, template) in templates.iter().enumerate() {
        let lengths = GENERATED_BYTES_MIN..=GENERATED_BYTES_MAX;
        if !lengths.contains(&template.head.len()) || !lengths.contains(&usize::from(template.frame_bytes)) {
            return refuse(place, "its length is not 14 to 3400 bytes");
        }
        let reaches = |offset: u16| usize::from(offset) + 2 <= template.head.len();
        if template.changing.is_some_and(|port| !reaches(port.offset) || !reaches(port.checksum_offset)) {
            return refuse(place, "the field that changes is outside of it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_named() {
        let template =
            |bytes: u16| Template { head: vec![0; bytes.into()], frame_bytes: bytes, changing: None };
        let refusal = |templates: &[Template]| check(templates).unwrap_err().to_string();
        assert_eq!(refusal(&[]), "frame 0 to be generated: there is none");
        assert!(refusal(&[template(60), template(13)]).starts_with("frame 1 to be generated: its length"));
        assert!(refusal(&[template(3_401)]).contains("its length"));
        let changing = Some(ChangingPort { offset: 59, checksum_offset: 40, step: 1 });
        let outside = Template { changing, ..template(60) };
        assert!(refusal(&[outside]).contains("outside"));
        assert!(check(&[template(60), template(1514)]).is_ok());
    }
}
