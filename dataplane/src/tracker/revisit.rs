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

    /// Ends every flow; for the end of the worker.
    pub fn stop(&mut self) {
        let mut place = 0;
        while let Some(index) = self.table.next_live(place) {
            place = index.following();
            self.end(index, EndReason::Stopped);
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
    pub(super) fn schedule(&mut self, index: FlowIndex) {
        let now_ns = self.table.get(index).last_ns;
        self.schedule_from(index, now_ns);
    }

    fn schedule_from(&mut self, index: FlowIndex, now_ns: u64) {
        let flow = self.table.get(index);
        let idle_at = flow.idle_at_ns(&self.config.timeouts);
        let report_at = match flow.state {
            FlowState::Refused => idle_at,
            _ => flow.reported_ns.saturating_add(self.config.active_report_ns),
        };
        self.table.look_again(index, idle_at.min(report_at).min(now_ns.saturating_add(REVISIT_MAX_NS)));
    }

    fn revisit(&mut self, index: FlowIndex, now_ns: u64, published: &Published) {
        let flow = self.table.get(index);
        if flow.idle_at_ns(&self.config.timeouts) <= now_ns {
            match flow.state {
                // Nobody of the allowed direction spoke up: the tuple is refused, as after a wrong answer.
                FlowState::Reversed(_) => self.cut(index, now_ns),
                _ => self.end(index, end_of(&self.table.get(index).state)),
            }
            return;
        }
        let is_refused = flow.state == FlowState::Refused;
        if !is_refused && self.rejudge_if_stale(index, now_ns, published).is_some() {
            return;
        }
        let flow = self.table.get_mut(index);
        let is_report_due = now_ns >= flow.reported_ns.saturating_add(self.config.active_report_ns);
        if !is_refused && is_report_due {
            let is_news = flow.last_ns > flow.reported_ns;
            flow.reported_ns = now_ns;
            if is_news {
                self.meter.record(self.table.get(index), RecordKind::Active, EndReason::None);
            }
        }
        self.schedule_from(index, now_ns);
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
