//! An SCTP association as the host between its ends sees it (RFC 9260), by the first chunk of each packet.
//!
//! It begins by INIT only. Each side tells the other by which verification tag it wants to be addressed, in INIT and
//! INIT ACK; from then on the tag proves that the sender has seen the other side's word, as sequence numbers do in TCP.
//! What INIT and INIT ACK say is first `offered` and counts when a COOKIE ECHO carries it: so a forged INIT in an
//! association that stands changes nothing, and a restart of one end (RFC 9260 section 5.2) still works. Chunks behind
//! the first one of a packet are not looked at: an ABORT behind another chunk ends the association for its ends, and
//! here when its time is over. Packets of further addresses of a multi-homed end belong to no flow and are dropped.

use super::{Sender, Step};
use crate::meter::side_index;
use crate::packet::SctpFields;

/// Types of chunks (RFC 9260 section 3.2) that change the state of an association.
mod chunk {
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// Where an association stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SctpState {
    /// An INIT has passed.
    CookieWait,
    /// A COOKIE ECHO has passed: both sides have answered.
    CookieEchoed,
    /// A COOKIE ACK has passed.
    Established,
    /// A SHUTDOWN has passed.
    Closing,
    /// A SHUTDOWN COMPLETE or an ABORT has passed.
    Closed,
}

/// An association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    /// What packets of the low and the high side must carry; 0 = not known.
    tags: [u32; 2],
    /// Likewise, once a COOKIE ECHO carries it.
    offered: [u32; 2],
    state: SctpState,
}

/// Returns whether the packet begins an association.
pub(crate) fn is_init(sctp: &SctpFields) -> bool {
    sctp.chunk == chunk::INIT
}

impl Association {
    /// Returns the association that this INIT begins.
    pub fn opened(init: &SctpFields, from: Sender) -> Self {
        let mut offered = [0; 2];
        offered[side_index(from.other())] = init.initiate_tag;
        Self { tags: [0; 2], offered, state: SctpState::CookieWait }
    }

    /// Returns where the association stands.
    pub fn state(&self) -> SctpState {
        self.state
    }

    /// Returns whether packets of this side carry this tag.
    pub fn has_tag(&self, side: Sender, tag: u32) -> bool {
        let at = side_index(side);
        tag != 0 && (self.tags[at] == tag || self.offered[at] == tag)
    }

    /// Takes a packet of a side into account. `initiator` is the side that began the association.
    pub fn step(&mut self, sctp: &SctpFields, from: Sender, initiator: Sender) -> Step {
        let (own, other) = (side_index(from), side_index(from.other()));
        let is_addressed = sctp.tag != 0 && sctp.tag == self.tags[own];
        let may_end = if sctp.is_tag_reflected {
            self.has_tag(from.other(), sctp.tag)
        } else {
            self.has_tag(from, sctp.tag)
        };
        match sctp.chunk {
            chunk::INIT if self.state == SctpState::Closed => return Step::Restart,
            // The other side may begin at the same time, but not in an association that stands.
            chunk::INIT if from == initiator || self.state == SctpState::CookieWait => {
                self.offered[other] = sctp.initiate_tag;
            }
            chunk::INIT_ACK if sctp.tag != 0 && sctp.tag == self.offered[own] => {
                self.offered[other] = sctp.initiate_tag;
            }
            chunk::COOKIE_ECHO if sctp.tag != 0 && sctp.tag == self.offered[own] => {
                if self.tags != self.offered {
                    (self.tags, self.state) = (self.offered, SctpState::CookieEchoed);
                }
            }
            chunk::COOKIE_ACK if is_addressed => {
                if self.state == SctpState::CookieEchoed {
                    self.state = SctpState::Established;
                }
            }
            chunk::ABORT if may_end => self.state = SctpState::Closed,
            chunk::SHUTDOWN_COMPLETE if may_end && self.state == SctpState::Closing => {
                self.state = SctpState::Closed;
            }
            chunk::SHUTDOWN | chunk::SHUTDOWN_ACK if is_addressed => {
                if self.state != SctpState::Closed {
                    self.state = SctpState::Closing;
                }
            }
            chunk::INIT | chunk::INIT_ACK | chunk::COOKIE_ECHO | chunk::ABORT => return Step::Invalid,
            _ if is_addressed => {}
            _ => return Step::Invalid,
        }
        Step::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sender::{High, Low};
    use chunk::{ABORT, COOKIE_ACK, COOKIE_ECHO, INIT, INIT_ACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE};

    const DATA: u8 = 0;

    fn packet(chunk: u8, tag: u32, initiate_tag: u32) -> SctpFields {
        SctpFields { tag, chunk, is_tag_reflected: false, initiate_tag }
    }

    /// Returns an association that the low side, to be addressed by 7, began with the high side, by 9.
    fn established() -> Association {
        let mut association = Association::opened(&packet(INIT, 0, 7), Low);
        for (from, sctp) in [
            (High, packet(INIT_ACK, 7, 9)),
            (Low, packet(COOKIE_ECHO, 9, 0)),
            (High, packet(COOKIE_ACK, 7, 0)),
        ] {
            assert_eq!(association.step(&sctp, from, Low), Step::Pass);
        }
        assert_eq!(association.state(), SctpState::Established);
        association
    }

    #[test]
    fn an_association_opens_carries_and_closes() {
        let mut association = established();
        for (from, chunk, tag, state) in [
            (Low, DATA, 9, SctpState::Established),
            (High, DATA, 7, SctpState::Established),
            (Low, SHUTDOWN, 9, SctpState::Closing),
            (High, SHUTDOWN_ACK, 7, SctpState::Closing),
            (Low, SHUTDOWN_COMPLETE, 9, SctpState::Closed),
        ] {
            assert_eq!(association.step(&packet(chunk, tag, 0), from, Low), Step::Pass);
            assert_eq!(association.state(), state);
        }
        assert_eq!(association.step(&packet(INIT, 0, 11), High, Low), Step::Restart);
    }

    #[test]
    fn a_packet_with_another_tag_is_dropped_and_changes_nothing() {
        let before = established();
        for chunk in [DATA, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK] {
            for (from, tag) in [(Low, 7), (High, 9), (Low, 0), (High, 12)] {
                let mut association = before;
                assert_eq!(association.step(&packet(chunk, tag, 1), from, Low), Step::Invalid);
                assert_eq!(association, before, "chunk {chunk} of {from:?}");
            }
        }
    }

    #[test]
    fn nothing_but_the_answer_passes_before_the_cookie() {
        let mut association = Association::opened(&packet(INIT, 0, 7), Low);
        assert_eq!(association.step(&packet(DATA, 7, 0), High, Low), Step::Invalid);
        assert_eq!(association.step(&packet(COOKIE_ECHO, 0, 0), Low, Low), Step::Invalid);
        assert_eq!(association.step(&packet(INIT_ACK, 8, 9), High, Low), Step::Invalid);
        assert_eq!(association.step(&packet(ABORT, 7, 0), High, Low), Step::Pass);
        assert_eq!(association.state(), SctpState::Closed);
    }

    #[test]
    fn an_abort_may_carry_the_tag_of_the_other_side_if_it_says_so() {
        let mut association = established();
        let reflected = SctpFields { is_tag_reflected: true, ..packet(ABORT, 9, 0) };
        assert_eq!(association.step(&reflected, High, Low), Step::Pass);
        assert_eq!(association.state(), SctpState::Closed);
    }

    #[test]
    fn an_end_that_was_restarted_begins_anew_and_a_forged_beginning_changes_nothing() {
        let mut association = established();
        assert_eq!(association.step(&packet(INIT, 0, 21), Low, Low), Step::Pass);
        assert_eq!(association.step(&packet(DATA, 9, 0), Low, Low), Step::Pass);
        assert_eq!(association.step(&packet(DATA, 7, 0), High, Low), Step::Pass);
        assert_eq!(association.step(&packet(INIT_ACK, 21, 23), High, Low), Step::Pass);
        assert_eq!(association.step(&packet(COOKIE_ECHO, 23, 0), Low, Low), Step::Pass);
        assert_eq!(association.step(&packet(DATA, 7, 0), High, Low), Step::Invalid);
        assert_eq!(association.step(&packet(COOKIE_ACK, 21, 0), High, Low), Step::Pass);
        assert_eq!(association.state(), SctpState::Established);
        assert_eq!(association.step(&packet(INIT, 0, 31), High, Low), Step::Invalid);
    }

    #[test]
    fn both_sides_may_begin_at_once() {
        let mut association = Association::opened(&packet(INIT, 0, 7), Low);
        for (from, sctp) in [
            (High, packet(INIT, 0, 9)),
            (High, packet(INIT_ACK, 7, 9)),
            (Low, packet(INIT_ACK, 9, 7)),
            (Low, packet(COOKIE_ECHO, 9, 0)),
            (High, packet(COOKIE_ECHO, 7, 0)),
            (High, packet(COOKIE_ACK, 7, 0)),
            (Low, packet(COOKIE_ACK, 9, 0)),
        ] {
            assert_eq!(association.step(&sctp, from, Low), Step::Pass, "{sctp:?}");
        }
        assert_eq!(association.state(), SctpState::Established);
    }
}
