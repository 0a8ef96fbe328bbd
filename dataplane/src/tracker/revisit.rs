//! What happens to flows without a packet: timeouts, reports of those that go on, judging again.

use super::Tracker;
use crate::flow_table::{FlowIndex, FlowState, SctpState, Standing, TcpState};
use crate::published::Published;
use crate::timing_wheel::REVISIT_MAX_NS;
use meshgate_policy::{EndReason, RecordKind};

/// Flows looked at in one turn of the worker, so that timeouts never delay packets by more than some microseconds.
const REVISITS_PER_TURN: usize = 64;

impl Tracker {
    /// Does what is due. Returns whether more is due already.
    pub fn advance(&mut self, now_ns: u64, published: &Published) -> bool {
        let mut left = REVISITS_PER_TURN;
        while left > 0 {
            let Some(index) = self.table.pop_due(now_ns) else { break };
            self.revisit(index, now_ns, published);
            left -= 1;
        }
        self.meter.advance(now_ns);
        self.count_flows();
        left == 0
    }

    /// Puts the records that were made into their queue. [`Self::advance`] does so, too.
    pub fn hand_on(&mut self) {
        self.meter.hand_on();
    }

    /// Ends every flow; for the end of the worker.
    pub fn stop(&mut self, now_ns: u64, published: &Published) {
        let mut place = 0;
        while let Some(index) = self.table.next_live(place) {
            place = index.following();
            self.end(index, EndReason::Stopped, now_ns, published);
        }
        self.meter.flush();
        self.count_flows();
    }

    /// Says how many flows are in the table.
    fn count_flows(&self) {
        self.counters.flows_live.set(u64::from(self.table.live()));
        self.counters.flows_refused.set(u64::from(self.table.refused()));
        self.counters.flows_unconfirmed.set(u64::from(self.table.flows_of(Standing::Unconfirmed)));
    }

    /// Makes the flow due when its silence would end it, when it is to be reported, or when every flow must have been
    /// judged by a new policy: whichever is first.
    pub(super) fn schedule(&mut self, index: FlowIndex, now_ns: u64) {
        let flow = self.table.get(index);
        let idle_at = flow.idle_at_ns(&self.config.timeouts, now_ns);
        let report_at = match flow.state {
            FlowState::Refused => idle_at,
            _ => self.report_at_ns(index, now_ns),
        };
        self.table.look_again(index, idle_at.min(report_at).min(now_ns.saturating_add(REVISIT_MAX_NS)));
    }

    /// Returns when a flow that goes on is to be reported.
    fn report_at_ns(&self, index: FlowIndex, now_ns: u64) -> u64 {
        self.table.reported_ns(index, now_ns).saturating_add(self.config.active_report_ns)
    }

    fn revisit(&mut self, index: FlowIndex, now_ns: u64, published: &Published) {
        let flow = self.table.get(index);
        if flow.idle_at_ns(&self.config.timeouts, now_ns) <= now_ns {
            match flow.state {
                // Nobody of the allowed direction spoke up: the tuple is refused, as after a wrong answer.
                FlowState::Reversed(_) => self.cut(index, now_ns, published),
                _ => self.end(index, end_of(&self.table.get(index).state), now_ns, published),
            }
            return;
        }
        let is_refused = flow.state == FlowState::Refused;
        if !is_refused && self.current_grounds(index, now_ns, published).is_err() {
            return;
        }
        let is_report_due = now_ns >= self.report_at_ns(index, now_ns);
        if !is_refused && is_report_due && self.table.report(index, now_ns) {
            self.record(index, (RecordKind::Active, EndReason::None), now_ns, published);
        }
        self.schedule(index, now_ns);
    }
}

fn end_of(state: &FlowState) -> EndReason {
    match state {
        FlowState::Tcp(connection) => match connection.state() {
            TcpState::Closed => EndReason::Closed,
            TcpState::Reset => EndReason::Reset,
            _ => EndReason::Idle,
        },
        FlowState::Sctp(association) if association.state() == SctpState::Closed => EndReason::Closed,
        _ => EndReason::Idle,
    }
}
