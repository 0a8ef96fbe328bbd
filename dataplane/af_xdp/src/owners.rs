//! Who owns each chunk: user space, or one direction of one socket.

use std::sync::atomic::{AtomicU32, Ordering};

/// Names who owns a chunk: user space (a pool or a frame), or one direction of one socket's kernel side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The chunk is in a pool's free list or part of a frame.
    pub(crate) const USER: Owner = Owner(0);

    /// Largest number of a socket for which owners can be told apart.
    pub(crate) const SOCKET_MAX: u32 = u32::MAX / 2 - 1;

    /// The chunk was given to the kernel through the fill ring of this socket.
    pub(crate) fn filled_by(socket: u32) -> Owner {
        Owner(socket * 2 + 1)
    }

    /// The chunk was given to the kernel through the TX ring of this socket.
    pub(crate) fn sent_by(socket: u32) -> Owner {
        Owner(socket * 2 + 2)
    }
}

/// Holds the owner of every chunk.
///
/// This table is what makes the rings safe without trusting their contents: a descriptor from the kernel becomes a
/// frame, or a completion a free chunk, only if the chunk is owned by *that direction of that socket*. An entry is
/// changed only by the thread that is its owner, and a value that names a socket's direction is written only by that
/// socket's thread. Whoever finds its own name in an entry is therefore the only one who may change it, and a plain
/// load and store are enough where an exchange would otherwise be needed on every packet.
pub(crate) struct Owners(Box<[AtomicU32]>);

impl Owners {
    /// Makes the table; all chunks begin in user space.
    pub(crate) fn new(frames_total: u32) -> Owners {
        Owners((0..frames_total).map(|_| AtomicU32::new(Owner::USER.0)).collect())
    }

    /// Gives a chunk of user space, whose ownership the caller has, to the kernel.
    #[inline]
    pub(crate) fn lend(&self, chunk: u32, owner: Owner) {
        debug_assert_eq!(
            self.0[chunk as usize].load(Ordering::Relaxed),
            Owner::USER.0,
            "a frame is owned once"
        );
        self.0[chunk as usize].store(owner.0, Ordering::Relaxed);
    }

    /// Takes a chunk back from `owner`; false if it is not `owner` who has it, or no such chunk exists.
    #[inline]
    #[must_use]
    pub(crate) fn take_back(&self, chunk: u32, owner: Owner) -> bool {
        match self.0.get(chunk as usize) {
            Some(entry) if entry.load(Ordering::Relaxed) == owner.0 => {
                entry.store(Owner::USER.0, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Takes every chunk of `owner` back; for use after the kernel has let go of all of them.
    pub(crate) fn take_all_back(&self, owner: Owner) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.0).filter_map(move |(chunk, entry)| {
            let owned = entry.load(Ordering::Relaxed) == owner.0;
            owned.then(|| {
                entry.store(Owner::USER.0, Ordering::Relaxed);
                chunk
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_taken_back_once_and_only_from_its_owner() {
        let owners = Owners::new(2);
        owners.lend(1, Owner::filled_by(7));
        assert!(!owners.take_back(1, Owner::sent_by(7)));
        assert!(!owners.take_back(1, Owner::filled_by(8)));
        assert!(owners.take_back(1, Owner::filled_by(7)));
        assert!(!owners.take_back(1, Owner::filled_by(7)));
        assert!(!owners.take_back(2, Owner::filled_by(7)));
    }
}
