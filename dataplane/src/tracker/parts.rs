//! Later parts of a datagram: they follow the flow of the first one as long as that may go on.

use super::known::cut_reason;
use super::{Tracker, verdict_grounds};
use crate::flow_table::FlowState;
use crate::fragments::Allowance;
use crate::packet::IpPacket;
use crate::published::Published;
use crate::verdict::{DropReason, Grounds, Verdict};
use meshgate_policy::Stage;

/// A part behind the first one, as far as its flow takes note of it.
#[derive(Clone, Copy, Debug)]
pub struct FollowingPart {
    /// Bytes with IP headers.
    pub ip_bytes: u32,
    /// Where the part ends in the datagram's payload.
    pub end: u16,
}

/// Returns, of the first part of a TCP segment, the sequence number that the first byte of its header would have. So the
/// end of a later part is a number by its place alone.
pub fn number_at_header(first: &IpPacket) -> Option<u32> {
    let tcp = first.tcp?;
    let header_bytes = u32::from(first.l4_bytes).saturating_sub(tcp.payload_bytes);
    Some(tcp.sequence.wrapping_sub(header_bytes))
}

impl Tracker {
    /// Returns the verdict on a part whose first part was allowed, and counts it as the flow's. Of a TCP segment the flow
    /// has to learn how far it goes, or the acknowledgment of all of it would be one of something never sent.
    ///
    /// A flow that has ended meanwhile takes nothing back: the part belongs to what was allowed. Under another policy
    /// than that of the first part nobody can say whether it still would be.
    pub fn follow(
        &mut self,
        allowance: &Allowance,
        part: FollowingPart,
        now_ns: u64,
        published: &Published,
    ) -> Verdict {
        let Allowance { grounds: of_first, generation, place, number_at_header } = allowance;
        let Some(index) = self.table.find(&place.key, place.hash) else {
            return match *generation == published.generation {
                true => Verdict::Allow(Grounds { stage: Stage::Fragments, ..*of_first }),
                false => Self::drop(DropReason::FragmentRefused, published, of_first.rule),
            };
        };
        let flow = self.table.get(index);
        if flow.state == FlowState::Refused {
            let rule = self.table.grounds(index).rule_id();
            return Self::drop(DropReason::CutFlow, published, rule);
        }
        let grounds = match self.current_grounds(index, now_ns, published) {
            Ok(grounds) => grounds,
            Err(refusing) => return Self::drop(cut_reason(&refusing), published, refusing.rule_id()),
        };
        let flow = self.table.get_mut(index);
        flow.count(place.sender, part.ip_bytes, 0, now_ns);
        if let (FlowState::Tcp(connection), Some(number)) = (&mut flow.state, number_at_header) {
            connection.went_on_to(number.wrapping_add(part.end.into()), place.sender);
        }
        self.count_rule(&grounds, part.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::Fragments, ..verdict_grounds(&grounds) })
    }
}
