//! What a flow rests on and what is told of it.

use super::flow::Seldom;
use super::{Flow, FlowGrounds, FlowIndex, FlowKey, FlowTable, Pace, Sender, Step};
use crate::packet::IpPacket;
use meshgate_policy::{L4Key, PolicyKey};

/// What a record tells of a flow.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    flow: &'a Flow,
    seldom: &'a Seldom,
    /// What it was judged by.
    pub grounds: &'a FlowGrounds,
    /// Ports, or ICMP type and code, of the initiator's packets.
    pub l4: L4Key,
    now_ns: u64,
}

impl Account<'_> {
    /// Returns its name.
    pub fn key(&self) -> FlowKey {
        self.flow.key()
    }

    /// Returns the side that began it.
    pub fn initiator(&self) -> Sender {
        self.flow.initiator()
    }

    /// Returns whether the initiator's device, and the other's, are of this host.
    pub fn are_home(&self) -> (bool, bool) {
        self.flow.are_home()
    }

    /// Returns the time of the first packet, nanoseconds since 1970, a whole millisecond.
    pub fn first_ns(&self) -> u64 {
        self.flow.first_ns(self.seldom, self.now_ns)
    }

    /// Returns the time of the last packet, likewise.
    pub fn last_ns(&self) -> u64 {
        self.flow.last_ns(self.now_ns)
    }

    /// Returns what a side sent.
    pub fn pace(&self, side: Sender) -> Pace {
        self.flow.pace(side)
    }
}

impl FlowTable {
    /// Returns what the flow was judged by.
    #[inline]
    pub fn grounds(&self, index: FlowIndex) -> &FlowGrounds {
        self.grounds.get(self.get(index).grounds)
    }

    /// Returns the flow for change and what it was judged by, if it is confirmed; what is changed must leave it that.
    #[inline]
    pub fn confirmed_mut(&mut self, index: FlowIndex) -> Option<(&mut Flow, &FlowGrounds)> {
        let flow = &mut self.slab[index.0 as usize];
        let grounds = self.grounds.get(flow.grounds);
        (flow.standing() == super::Standing::Confirmed).then_some((flow, grounds))
    }

    /// Takes note of what the flow was judged by.
    pub fn set_grounds(&mut self, index: FlowIndex, grounds: &FlowGrounds) {
        let before = self.get(index).grounds;
        self.grounds.let_go(before);
        self.get_mut(index).grounds = self.grounds.keep(grounds);
    }

    /// Returns ports, or ICMP type and code, of the initiator's packets.
    pub fn l4(&self, index: FlowIndex) -> L4Key {
        let flow = self.get(index);
        if !flow.protocol().is_icmp() {
            return flow.ports_of_initiator();
        }
        let [kind, code] = self.seldom[index.0 as usize].said();
        L4Key { protocol: flow.protocol(), source_port: kind, destination_port: code }
    }

    /// Returns what stages 5 to 7 look at, in the flow's original direction.
    pub fn policy_key(&self, index: FlowIndex) -> PolicyKey {
        let flow = self.get(index);
        let (key, initiator) = (flow.key(), flow.initiator());
        PolicyKey {
            segment: key.segment(),
            source: key.side(initiator).0,
            destination: key.side(initiator.other()).0,
            l4: self.l4(index),
        }
    }

    /// Returns whether a packet is what its side of an echo may send: the side that asked asks and the other answers.
    /// Without this, who may be pinged could ping back. Of other protocols anything is in turn.
    pub fn is_in_turn(&self, index: FlowIndex, l4: &L4Key, side: Sender) -> bool {
        let flow = self.get(index);
        // Of ICMP only echoes have flows; what stands in the place of a port tells asking from answering.
        !l4.protocol.is_icmp() || (l4.source_port == self.l4(index).source_port) == (side == flow.initiator())
    }

    /// Takes a packet into account whose flow stands by itself: of TCP, SCTP, or without states.
    pub fn step(&mut self, index: FlowIndex, packet: &IpPacket, sender: Sender) -> Step {
        let is_in_turn = self.is_in_turn(index, &packet.l4, sender);
        let flow = self.get_mut(index);
        let initiator = flow.initiator();
        flow.state.step(packet, (sender, initiator), is_in_turn)
    }

    /// Returns what is to be told of the flow.
    pub fn account(&self, index: FlowIndex, now_ns: u64) -> Account<'_> {
        Account {
            flow: self.get(index),
            seldom: &self.seldom[index.0 as usize],
            grounds: self.grounds(index),
            l4: self.l4(index),
            now_ns,
        }
    }

    /// Returns when the flow was last reported while going on, or began.
    pub fn reported_ns(&self, index: FlowIndex, now_ns: u64) -> u64 {
        self.seldom[index.0 as usize].reported_ns(now_ns)
    }

    /// Takes note that the flow is reported; returns whether there is anything new.
    pub fn report(&mut self, index: FlowIndex, now_ns: u64) -> bool {
        self.seldom[index.0 as usize].set_reported(now_ns);
        self.get_mut(index).take_news()
    }

    /// Returns the payload of the longest segment that the low and the high side of a connection take; 0 = unsaid.
    pub fn segment_bytes_max(&self, index: FlowIndex) -> [u16; 2] {
        let said = self.seldom[index.0 as usize].said();
        if self.get(index).protocol().is_icmp() { [0; 2] } else { said }
    }

    /// Takes note of what a SYN of a side said about that.
    pub fn say_segment_bytes(&mut self, index: FlowIndex, side: Sender, bytes: u16) {
        self.seldom[index.0 as usize].say(side, bytes);
    }
}
