//! Safe AF_XDP sockets: packet memory, rings with owned packet handles, and redirect programs.
//!
//! AF_XDP (`Documentation/networking/af_xdp.rst` in the kernel) hands the packets of one queue of a network device to
//! a process through shared memory. The memory, the *UMEM*, is cut into equal *chunks*; four rings per socket carry
//! chunk addresses back and forth. Whoever puts an address into a ring gives the chunk away; whoever takes one out
//! has it. Nothing but agreement keeps two sides from using a chunk at once, and that is why bindings usually mark
//! ring operations `unsafe` and leave the agreement to their user. This crate keeps the agreement itself. Every public
//! function is safe to call, and no sequence of calls leads to two owners of a chunk.
//!
//! ```no_run
//! use af_xdp::{AttachConfig, Attachment, Device, Socket, SocketConfig, Umem, UmemConfig};
//! use std::collections::VecDeque;
//!
//! # fn main() -> Result<(), af_xdp::Error> {
//! let (umem, mut pools) = Umem::new(&UmemConfig::default())?;
//! let mut pool = pools.remove(0);
//! let device = Device::named("veth0")?;
//! let attachment = Attachment::new(device.index, device.rx_queues, &AttachConfig::default())?;
//! let mut socket = Socket::bind(&umem, device.index, 0, &SocketConfig::default())?;
//! attachment.register(0, &socket)?;
//! let (mut burst, mut queued) = (Vec::with_capacity(64), VecDeque::with_capacity(64));
//! loop {
//!     socket.refill(&mut pool);
//!     socket.receive(&mut burst);
//!     for mut frame in burst.drain(..) {
//!         if let Some(addresses) = pool.bytes_mut(&mut frame).get_mut(..12) {
//!             addresses.rotate_left(6); // back to where it came from
//!         }
//!         queued.push_back(frame);
//!     }
//!     socket.send(&mut queued);
//!     socket.kick()?;
//!     socket.reclaim(&mut pool);
//! }
//! # }
//! ```
//!
//! # Ownership
//!
//! Four things can own a chunk, and at any time exactly one does:
//!
//! - a [`FramePool`], in its free list. A pool is one worker's slice of the memory; a chunk belongs to the slice in
//!   which it lies, its *home*, and pools never share chunks, so they need no lock;
//! - a [`Frame`], the handle of one whole packet of one or more chunks. It is neither `Clone` nor `Copy`, so it can be
//!   sent or released once. It is `Send`: moving it to another thread moves its chunks;
//! - the kernel, receiving: the chunk was given through the fill ring of one socket;
//! - the kernel, sending: the chunk was given through the TX ring of one socket.
//!
//! The bytes of a packet are reached through a pool *and* the frame: `pool.bytes(&frame)`, `pool.bytes_mut(&mut frame)`.
//! The pool lends the memory its lifetime, the frame proves the ownership. Two readers of one frame are possible, a
//! reader and a writer are not, by the ordinary rules of borrowing. A frame of another UMEM is refused with a panic:
//! that is a mistake of the program, and no packet can cause it.
//!
//! **The table of owners.** User space believes no descriptor. For every chunk a table says who has it, and if it is
//! the kernel, which direction of which socket. A received descriptor becomes a frame only if the table says *this
//! socket, receiving*; a completion frees a chunk only if it says *this socket, sending*. So a duplicated, foreign or
//! invented address is counted in [`Faults`] and has no other effect; a length beyond the chunk likewise; an index that
//! ran away stops its ring. The table costs one relaxed load and one relaxed store for a packet and direction: an entry
//! that names a socket's direction is changed by that socket's thread alone, so no atomic exchange is needed.
//!
//! # The life of a chunk
//!
//! ```text
//!            allocate                      send                   (kernel sends)
//!   pool ---------------> frame -----------------------> TX ring ---------------> completion ring
//!    ^  ^   release         ^                                                            |
//!    |  +-------------------+                                                            |
//!    |                      | receive                                                    |
//!    |                   RX ring <-- (kernel receives) <-- fill ring <--- refill --- pool|
//!    +----------------------------------- reclaim ---------------------------------------+
//! ```
//!
//! At every quiet point: *free in pools + [`outstanding`](Socket::outstanding) of all sockets + chunks of frames in
//! hand + [`stranded`](Umem::stranded_frames) = [`frames_total`](Umem::frames_total)*. A frame that is dropped instead
//! of released is missing from that sum, which is how such a mistake is found.
//!
//! A packet may be received by one worker and sent by another; it then completes in the sender's completion ring, and
//! [`reclaim`](Socket::reclaim) puts the chunk on the sending pool's *foreign* list. [`FramePool::take_foreign`] takes
//! it out to be sent home. Without that, one-way traffic drains the receiving slice dry.
//!
//! [`Socket::close`] gives back all chunks that are with the kernel, once the queue is seen to be free.
//!
//! # Traps, and what is done about them
//!
//! Kernel:
//! - **Sending may need many calls.** In copy mode one `sendto` sends 32 packets and says EAGAIN. The budget is raised
//!   where the kernel can (`XDP_MAX_TX_SKB_BUDGET`), and [`kick`](Socket::kick) repeats the call a bounded number of
//!   times. A packet that the device drops ends the call too, with EBUSY. What is left stays in the ring.
//! - **An invalid TX descriptor is never completed**, and a checksum request outside the packet blocks the ring for
//!   good. [`send`](Socket::send) checks both and moves such a frame aside.
//! - **TX metadata is checked on every descriptor.** The UMEM is registered with 24 bytes of it, and then the kernel
//!   refuses *any* packet with less room before it. `allocate` and `prepend` keep that room.
//! - **Options are built anew for each sending.** Carrying a received descriptor's bits over would have the kernel obey
//!   stale metadata.
//! - **A socket on a queue above the transmit queues in use receives, but never sends**, without an error:
//!   see [`Device::tx_queues`].
//! - **Modes belong to the registration.** A socket that shares a UMEM takes zero-copy and multi-buffer mode from the
//!   first one. Sockets of other modes get a registration of their own over the same memory.
//! - **EBUSY after closing.** The queue is let go in the background, and not at all while one ring is mapped. All
//!   mappings end with the socket, and [`bind`](Socket::bind) and [`Attachment::new`] wait for up to a second.
//! - **ENOBUFS means locked memory**, see [`Error::LockedMemory`].
//! - **poll(2) sends** in copy mode as a side effect.
//!
//! Devices:
//! - **Partial checksums.** A peer on a veth or tap leaves checksums to "the card". The received packet then holds only
//!   the pseudo-header's sum, and TCP hangs while ping passes. [`Frame::request_checksum`] passes the request on.
//! - **Super-frames.** A tap with offloads delivers TCP packets of up to 64 KiB even to a native program. With 2 KiB
//!   chunks they exceed [`CHUNKS_MAX`] and are counted as `long_packets`; with 4 KiB chunks they fit.
//! - **An MTU above about 3,500** needs multi-buffer in [`AttachConfig`] and [`SocketConfig`] alike.
//! - **A veth has one queue** unless made with more, and spreads by the sending processor.
//! - **A packet without a socket is dropped**, never passed to the host's stack, where no rule would judge it.
//!
//! # What is not there
//!
//! Unaligned chunks, hugepages, busy polling, timestamps, and more than one socket on a queue.
//!
//! The tests that need no kernel are written so that Miri can interpret them: the memory then comes from the allocator
//! (`cargo miri test --lib -- --skip device`).

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
mod huge_pages;
mod links;
mod members;
mod netlink;
mod offloads;
mod owners;
mod patience;
mod pool;
mod prefetch;
mod ring;
mod socket;
mod sys;
mod tap;
mod umem;

pub use bpf::attachment::{AttachConfig, AttachMode, Attachment};
pub use bpf::drop_counter::DropCounter;
pub use bpf::generator::{
    CHANGING_PORTS, ChangingPort, GENERATED_BYTES_MAX, GENERATED_BYTES_MIN, Generated, Generator, Template,
};
pub use device::{Device, DeviceIndex};
pub use error::{Error, FrameError};
pub use exchange::{Faults, Outstanding};
pub use frame::{CHUNKS_MAX, ChecksumRequest, Frame};
pub use huge_pages::collect_in_huge_pages;
pub use offloads::Offloads;
pub use pool::FramePool;
pub use prefetch::{prefetch, prefetch_whole};
pub use socket::{Mode, Socket, SocketConfig, Statistics};
pub use tap::{TapOffloads, open_tap};
pub use umem::{FRAMES_TOTAL_MAX, HEADROOM_BYTES, TX_METADATA_BYTES, Umem, UmemConfig};
