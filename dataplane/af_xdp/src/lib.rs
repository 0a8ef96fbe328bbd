//! Safe AF_XDP sockets: packet memory, rings with owned packet handles, and redirect programs.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("af_xdp converts 32-bit numbers to usize and maps large areas; it needs a 64-bit target");

mod area;
mod assembly;
mod bind;
mod bpf;
mod bytes;
mod content;
mod device;
mod error;
mod exchange;
mod frame;
mod links;
mod members;
mod netlink;
mod owners;
mod patience;
mod pool;
mod prefetch;
mod ring;
mod socket;
mod sys;
mod umem;

pub use bpf::attachment::{AttachConfig, AttachMode, Attachment};
pub use device::{Device, DeviceIndex};
pub use error::{Error, FrameError};
pub use exchange::{Faults, Outstanding};
pub use frame::{CHUNKS_MAX, ChecksumRequest, Frame};
pub use pool::FramePool;
pub use prefetch::prefetch;
pub use socket::{Mode, Socket, SocketConfig, Statistics};
pub use umem::{FRAMES_TOTAL_MAX, HEADROOM_BYTES, TX_METADATA_BYTES, Umem, UmemConfig};
