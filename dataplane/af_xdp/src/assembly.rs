//! Putting packets of several chunks together again as their descriptors arrive.

use crate::frame::{CHUNKS_MAX, Frame};
use crate::links::Span;
use crate::umem::Umem;

/// Holds the packet whose last descriptor has not arrived. It may span two calls of `receive`.
#[derive(Default)]
pub(crate) struct Assembly {
    /// The chunks so far.
    frame: Option<Frame>,
    /// Tells that the packet is given up and its remaining chunks are to be skipped.
    skipping: bool,
}

impl Assembly {
    /// Tells whether the next descriptor begins a packet.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.frame.is_none() && !self.skipping
    }

    /// Returns the number of chunks held.
    pub(crate) fn chunks(&self) -> usize {
        self.frame.as_ref().map_or(0, Frame::chunks)
    }

    /// Takes the unfinished packet away.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.frame.take()
    }

    /// Adds the next part, or none if its descriptor was refused, which gives the whole packet up.
    ///
    /// Returns the packet if this was its last part, and whether it is given up here for having too many. Chunks of
    /// a packet given up go to `spare`.
    pub(crate) fn add(
        &mut self,
        umem: &Umem,
        part: Option<Span>,
        last: bool,
        spare: &mut Vec<u32>,
    ) -> (Option<Frame>, bool) {
        let too_long = part.is_some() && self.chunks() == CHUNKS_MAX;
        match part {
            Some(part) if !self.skipping && !too_long => match &mut self.frame {
                None => self.frame = Some(umem.frame(part)),
                Some(frame) => umem.shared.link(frame, part),
            },
            part => {
                spare.extend(part.map(|part| part.chunk));
                if let Some(frame) = self.frame.take() {
                    spare.extend(umem.shared.spans(&frame).map(|span| span.chunk));
                }
                self.skipping = true;
            }
        }
        if last {
            self.skipping = false;
            return (self.frame.take(), too_long);
        }
        (None, too_long)
    }
}
