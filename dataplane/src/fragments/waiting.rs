//! Parts that came before their first one.

use super::NONE;
use crate::verdict::DropReason;
use std::collections::VecDeque;

/// A part that waits no more.
#[derive(Debug)]
pub struct Returned<T> {
    /// The part.
    pub part: T,
    /// Nothing if it follows its first one, else why it ends.
    pub outcome: Result<(), DropReason>,
}

/// A waiting part, or a free place.
struct Waiting<T> {
    /// Next part of the same datagram, or next free place.
    next: u32,
    /// The part and its frames (chunks); None when free.
    part: Option<(T, u32)>,
    share: u32,
}

/// Waiting parts, in order for each datagram.
pub(super) struct WaitingParts<T> {
    slab: Vec<Waiting<T>>,
    /// First free place.
    free: u32,
    /// First and last waiting part of each datagram.
    ends: Vec<(u32, u32)>,
    /// Frames (chunks) that each share has here.
    shares: Vec<u32>,
    /// Frames (chunks) here, those to be taken included.
    frames: u32,
    frames_max: u32,
    /// To be taken.
    returned: VecDeque<(Returned<T>, u32)>,
}

impl<T> WaitingParts<T> {
    /// Returns room for parts of so many frames (chunks), of so many datagrams and shares.
    pub(super) fn new(frames_max: u32, datagrams: u32, shares: u32) -> Self {
        let empty =
            |next| Waiting { next: if next == frames_max { NONE } else { next }, part: None, share: 0 };
        Self {
            slab: (1..=frames_max).map(empty).collect(),
            free: if frames_max == 0 { NONE } else { 0 },
            ends: vec![(NONE, NONE); datagrams as usize],
            shares: vec![0; shares as usize],
            frames: 0,
            frames_max,
            returned: VecDeque::with_capacity(frames_max as usize),
        }
    }

    /// Returns whether a part of so many frames may wait, if a share may have one in `share_max` of all.
    pub(super) fn has_room(&self, share: u32, frames: u32, share_max: u32) -> bool {
        let own = self.shares[share as usize].saturating_add(frames);
        self.frames.saturating_add(frames) <= self.frames_max && own <= self.frames_max / share_max
    }

    /// Keeps a part, for which there is room.
    pub(super) fn push(&mut self, datagram: u32, share: u32, part: (T, u32)) {
        let place = self.free;
        // Each part has a frame at least, so that there are as many places as frames.
        let waiting = &mut self.slab[place as usize];
        self.free = waiting.next;
        (self.shares[share as usize], self.frames) =
            (self.shares[share as usize] + part.1, self.frames + part.1);
        (waiting.next, waiting.share, waiting.part) = (NONE, share, Some(part));
        let (first, last) = &mut self.ends[datagram as usize];
        match *last {
            NONE => *first = place,
            last => self.slab[last as usize].next = place,
        }
        *last = place;
    }

    /// Gives back all parts of a datagram, in the order in which they came.
    pub(super) fn give_back(&mut self, datagram: u32, outcome: Result<(), DropReason>) {
        let (mut place, _) = std::mem::replace(&mut self.ends[datagram as usize], (NONE, NONE));
        while place != NONE {
            let waiting = &mut self.slab[place as usize];
            if let Some((part, frames)) = waiting.part.take() {
                self.shares[waiting.share as usize] -= frames;
                self.returned.push_back((Returned { part, outcome }, frames));
            }
            let next = std::mem::replace(&mut waiting.next, self.free);
            self.free = place;
            place = next;
        }
    }

    /// Takes a part that was given back.
    pub(super) fn take_returned(&mut self) -> Option<Returned<T>> {
        let (returned, frames) = self.returned.pop_front()?;
        self.frames -= frames;
        Some(returned)
    }

    /// Returns how many frames (chunks) are here.
    pub(super) fn frames(&self) -> u32 {
        self.frames
    }
}
