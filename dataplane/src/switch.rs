//! Where a frame goes: MAC addresses to devices.
//!
//! A host is a switch among its devices, within each segment. Endpoints at home here are where the policy says
//! ([`Bindings::device_of`]) and nowhere else, so that nobody can draw their frames to himself by sending with their
//! MAC. MACs behind uplinks are learned. A frame to nobody known goes to uplinks only: whoever is unknown is not here.

mod device_set;
mod learned;
#[cfg(test)]
mod tests;

pub use device_set::{DEVICES_MAX, DeviceSet};
pub use learned::Learned;

use crate::binding::{Bindings, Role};
use crate::packet::Packet;
use crate::verdict::DropReason;
use meshgate_policy::{Mac, SegmentId};
use std::sync::Arc;

/// Addresses 01:80:c2:00:00:00 to :0f, which bridges must not forward (IEEE 802.1Q table 8-1).
const LINK_CONTROL: [u8; 5] = [0x01, 0x80, 0xc2, 0x00, 0x00];
/// Largest last byte of those addresses.
const LINK_CONTROL_LAST: u8 = 0x0f;

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The device.
    pub device: u16,
    /// The segment, as [`Bindings::source`] found it.
    pub segment: SegmentId,
}

/// Where a frame goes out; never where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// By one device.
    Device(u16),
    /// By each of these; never none.
    Flood(DeviceSet),
}

/// The switch as one worker uses it: what all of them have learned. Everything else is in the [`Bindings`] of the
/// moment, so that a new policy needs nothing done here.
#[derive(Debug)]
pub struct Switch {
    learned: Arc<Learned>,
    sweeps: usize,
}

impl Switch {
    /// Returns a switch that shares what was learned.
    pub fn new(learned: Arc<Learned>) -> Self {
        Self { learned, sweeps: 0 }
    }

    /// Forgets some of what is old. To be called now and then; one worker that does is enough.
    pub fn sweep(&mut self, now_ns: u64) {
        self.learned.sweep(self.sweeps, now_ns);
        self.sweeps += 1;
    }

    /// Returns where the frame goes, or why nowhere, and learns where its sender is.
    pub fn route(
        &self,
        bindings: &Bindings,
        ingress: Ingress,
        packet: &Packet,
        now_ns: u64,
    ) -> Result<Egress, DropReason> {
        let mac = packet.destination_mac;
        if is_link_control(mac) {
            return Err(DropReason::LinkControl);
        }
        // Which uplinks there are is asked for where it matters: most frames go from endpoint to endpoint.
        let uplinks = || bindings.uplinks(ingress.segment);
        self.learn(bindings, ingress, packet.source_mac, now_ns);
        if mac.is_group() {
            return flood(bindings.members(ingress.segment).without(ingress.device));
        }
        let learned = || self.learned.device_of(ingress.segment, mac, now_ns);
        let is_uplink = |device: &u16| uplinks().contains(*device);
        match bindings.device_of(ingress.segment, mac).or_else(|| learned().filter(is_uplink)) {
            Some(device) if device == ingress.device => Err(DropReason::Hairpin),
            Some(device) => Ok(Egress::Device(device)),
            None => flood(uplinks().without(ingress.device)),
        }
    }

    /// Learns a MAC that came in by an uplink. With one uplink there is nothing to learn: unknown frames go there.
    fn learn(&self, bindings: &Bindings, ingress: Ingress, mac: Mac, now_ns: u64) {
        let is_uplink = bindings.role(ingress.device) == Some(Role::Uplink);
        let has_choice = || bindings.uplinks(ingress.segment).len() > 1;
        if is_uplink && has_choice() && !mac.is_group() && bindings.device_of(ingress.segment, mac).is_none()
        {
            self.learned.note(ingress.segment, mac, ingress.device, now_ns);
        }
    }
}

fn is_link_control(mac: Mac) -> bool {
    let [first @ .., last] = mac.0;
    first == LINK_CONTROL && last <= LINK_CONTROL_LAST
}

fn flood(devices: DeviceSet) -> Result<Egress, DropReason> {
    Egress::to(devices).ok_or(DropReason::NoDevice)
}

impl Egress {
    /// Returns the way out by each of these devices; None if there are none.
    pub fn to(devices: DeviceSet) -> Option<Self> {
        match devices.only() {
            Some(device) => Some(Self::Device(device)),
            None if devices.is_empty() => None,
            None => Some(Self::Flood(devices)),
        }
    }
}
