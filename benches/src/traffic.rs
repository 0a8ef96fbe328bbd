//! Frames to be sent round and round: of seeded flows, or of a capture.
//!
//! A *cycle* is what the generator in the kernel is given: templates in the order in which they are sent. What is drawn is
//! drawn when the cycle is made, so that the same arguments always make the same frames.

pub mod addresses;
mod capture;
mod flows;
pub mod sizes;
mod spoken;

use addresses::AddressRange;
use af_xdp::{CHANGING_PORTS, ChangingPort, Template};
pub use capture::{CaptureRefusal, Captured, MacRewrite};
use flows::{Endpoints, Flow};
use meshgate_policy::Mac;
use meshgate_policy::generate::Rng;
use sizes::Sizes;
use std::collections::HashMap;

/// Fewest templates of a cycle: a multiple of the twelve frames of an Internet mix.
const CYCLE_MIN: usize = 65_520;
/// Most flows.
pub const FLOWS_MAX: u32 = 1 << 20;

/// What traffic of seeded flows is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTraffic {
    /// MACs of all frames: source, destination.
    pub macs: [Mac; 2],
    /// Where flows come from.
    pub sources: Vec<AddressRange>,
    /// Where they go to.
    pub destinations: Vec<AddressRange>,
    /// The services that they use, first to last.
    pub destination_ports: (u16, u16),
    /// Of a hundred flows so many are TCP, the others UDP.
    pub tcp_percent: u8,
    /// Flows that stay.
    pub flows: u32,
    /// Of a hundred frames so many are the first one of a new flow.
    pub new_flows_percent: u8,
    /// How long frames are.
    pub sizes: Sizes,
    /// Seed of all that is drawn.
    pub seed: u64,
}

/// Why traffic cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrafficRefusal {
    /// No source and destination are of the same family.
    #[error("no source address is of the family of a destination address")]
    Families,
    /// More flows are wanted than differ.
    #[error("{flows} flows are wanted, but addresses and ports make only {possible} that differ")]
    Flows {
        /// Wanted.
        flows: u32,
        /// Possible.
        possible: u64,
    },
    /// Flows are wanted, but none stays and none is new.
    #[error("neither flows that stay nor new ones: there is nothing to send")]
    Nothing,
    /// The first port is behind the last one.
    #[error("destination ports {0}-{1}: the first is above the last")]
    Ports(u16, u16),
}

/// The frames of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// In the order in which they are sent.
    pub templates: Vec<Template>,
    /// So many new flows differ before the first one comes again; zero where there are none.
    pub new_flows_before_repeat: u64,
}

impl FlowTraffic {
    /// Makes the cycle: each flow that stays comes as often as any other, in another order each round.
    pub fn cycle(&self) -> Result<Cycle, TrafficRefusal> {
        let (first, last) = self.destination_ports;
        if first > last {
            return Err(TrafficRefusal::Ports(first, last));
        }
        if self.flows == 0 && self.new_flows_percent == 0 {
            return Err(TrafficRefusal::Nothing);
        }
        let endpoints = Endpoints::of(self)?;
        let mut rng = Rng::new(self.seed);
        let staying = endpoints.distinct(self.flows, &mut rng)?;
        let entries = self.entries();
        let mut order = Rounds::new(staying.len());
        let mut sizes = Rounds::new(self.sizes.pack().len());
        let mut changing = ChangingPorts::default();
        let mut drawn = Vec::with_capacity(entries);
        for at in 0..entries {
            let wire_bytes = self.sizes.pack()[sizes.next(&mut rng)];
            if self.is_new(at) || staying.is_empty() {
                let flow = endpoints.draw(&mut rng);
                drawn.push((changing.first(flow), wire_bytes, true));
            } else {
                drawn.push((staying[order.next(&mut rng)], wire_bytes, false));
            }
        }
        let head_bytes = drawn.iter().map(|(flow, _, _)| flow.head_bytes()).max().unwrap_or(0);
        let template = |(flow, wire_bytes, is_new): (Flow, u16, bool)| {
            let changing = is_new.then(|| changing.field(flow));
            spoken::template(self.macs, flow, (wire_bytes, head_bytes), changing)
        };
        Ok(Cycle {
            templates: drawn.into_iter().map(template).collect(),
            new_flows_before_repeat: changing.before_repeat(),
        })
    }

    /// Returns how many templates the cycle has: each flow that stays has its turn in it.
    fn entries(&self) -> usize {
        let staying_percent = 100 - usize::from(self.new_flows_percent.min(100));
        let needed = (self.flows as usize * 100).checked_div(staying_percent).unwrap_or(0) + 1;
        if needed > CYCLE_MIN { needed } else { CYCLE_MIN }
    }

    /// Returns whether the template at this place begins a new flow; they are spread evenly.
    fn is_new(&self, at: usize) -> bool {
        let percent = usize::from(self.new_flows_percent);
        (at + 1) * percent / 100 > at * percent / 100
    }
}

/// Numbers from 0 on, all of them in a drawn order, again and again.
struct Rounds {
    order: Vec<usize>,
    at: usize,
}

impl Rounds {
    fn new(count: usize) -> Self {
        Self { order: (0..count).collect(), at: 0 }
    }

    fn next(&mut self, rng: &mut Rng) -> usize {
        if self.at == 0 {
            // Fisher and Yates.
            for place in (1..self.order.len()).rev() {
                self.order.swap(place, rng.index(place + 1));
            }
        }
        let number = self.order[self.at];
        self.at = (self.at + 1) % self.order.len();
        number
    }
}

/// The templates of new flows by what stays the same in them. Those of one kind share its source ports out.
#[derive(Default)]
struct ChangingPorts {
    kinds: HashMap<Flow, u32>,
}

impl ChangingPorts {
    /// Returns the flow with the first source port of its template.
    fn first(&mut self, mut flow: Flow) -> Flow {
        flow.source_port = CHANGING_PORTS;
        let of_kind = self.kinds.entry(flow).or_insert(0);
        flow.source_port |= low_bits(*of_kind);
        *of_kind += 1;
        flow
    }

    /// Returns how the port of a template goes on.
    fn field(&self, flow: Flow) -> ChangingPort {
        let kind = Flow { source_port: CHANGING_PORTS, ..flow };
        let step = low_bits(self.kinds.get(&kind).copied().unwrap_or(1));
        let (offset, checksum_offset) = flow.port_places();
        ChangingPort { offset, checksum_offset, step }
    }

    /// Returns how many flows differ: until the kind with the most templates has used its ports up.
    fn before_repeat(&self) -> u64 {
        let ports = u32::from(CHANGING_PORTS);
        let rounds = self.kinds.values().map(|of_kind| ports / of_kind).min().unwrap_or(0).max(1);
        self.kinds.values().map(|of_kind| u64::from(rounds) * u64::from((*of_kind).min(ports))).sum()
    }
}

/// Returns a number as one of the ports that change.
fn low_bits(number: u32) -> u16 {
    u16::try_from(number % u32::from(CHANGING_PORTS)).unwrap_or(0)
}

impl Cycle {
    /// Hands on the first frames that a generator sends of this cycle. What changes is reckoned here as the program in the
    /// kernel does it.
    pub fn frames(&self, count: u64, mut each: impl FnMut(&[u8])) {
        let page_bytes = |template: &Template| template.head.len().max(template.frame_bytes.into());
        let mut page = vec![0; self.templates.iter().map(page_bytes).max().unwrap_or(0)];
        let mut rounds = 0u16;
        let mut left = count;
        while left > 0 && !self.templates.is_empty() {
            for template in
                &self.templates[..self.templates.len().min(usize::try_from(left).unwrap_or(usize::MAX))]
            {
                page[..template.head.len()].copy_from_slice(&template.head);
                if let Some(changing) = template.changing {
                    changed(&mut page, changing, rounds);
                }
                each(&page[..template.frame_bytes.into()]);
                left -= 1;
            }
            rounds = rounds.wrapping_add(1);
        }
    }
}

/// Gives a frame the source port of a round, and the checksum that goes with it (RFC 1624).
fn changed(frame: &mut [u8], changing: ChangingPort, round: u16) {
    let [offset, checksum_offset] = [changing.offset, changing.checksum_offset].map(usize::from);
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let before = word(frame, offset);
    let after = before.wrapping_add(changing.step.wrapping_mul(round)) | CHANGING_PORTS;
    let mut sum = u32::from(!word(frame, checksum_offset)) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = match u16::try_from(sum ^ 0xffff).unwrap_or(0) {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[offset..offset + 2].copy_from_slice(&after.to_be_bytes());
    frame[checksum_offset..checksum_offset + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests;
