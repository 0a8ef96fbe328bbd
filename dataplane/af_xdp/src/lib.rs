//! Safe AF_XDP sockets: packet memory, rings with owned packet handles, and redirect programs.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("af_xdp converts 32-bit numbers to usize and maps large areas; it needs a 64-bit target");

mod area;
mod bytes;
mod content;
mod error;
mod frame;
mod links;
mod pool;
mod prefetch;
mod umem;

pub use error::{Error, FrameError};
pub use frame::{CHUNKS_MAX, ChecksumRequest, Frame};
pub use pool::FramePool;
pub use prefetch::prefetch;
pub use umem::{FRAMES_TOTAL_MAX, HEADROOM_BYTES, TX_METADATA_BYTES, Umem, UmemConfig};
