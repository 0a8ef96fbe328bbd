//! Hosts of a recording: what they mostly do, and which of them can stand in for a victim.

use super::campaigns::{first_address, is_host};
use super::rows::Row;
use meshgate_policy::generate::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Flows that a host must have had before the first attack may be: fewer are no behaviour that an attack could differ from.
const ACTIVE_FLOWS_MIN: usize = 5;
/// Bits of a neighbourhood: the usual size of a subnet, IPv4 and IPv6.
const NEIGHBOURHOOD_BITS: [u8; 2] = [24, 64];

/// What a host mostly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It is asked more often than it asks, such as a domain controller.
    Serves,
    /// It asks at least as often as it is asked, such as a workstation.
    Asks,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Serves => "mostly serves",
            Self::Asks => "mostly asks",
        })
    }
}

/// How often each address began a flow, and how often one came to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    flows: BTreeMap<IpAddr, [usize; 2]>,
}

impl Activity {
    /// Counts the flows of hosts. Who is there at a broadcast address is not known.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut activity = Self::default();
        for flow in rows.into_iter().map(|row| &row.flow) {
            for (place, address) in [flow.source, flow.destination].into_iter().enumerate() {
                if is_host(address) {
                    activity.flows.entry(address).or_default()[place] += 1;
                }
            }
        }
        activity
    }

    /// Returns what an address mostly does; one that does nothing serves nobody.
    pub fn role(&self, address: IpAddr) -> Role {
        let [begun, taken] = self.flows.get(&address).copied().unwrap_or_default();
        if taken > begun { Role::Serves } else { Role::Asks }
    }
}

/// Hosts of the benign recording that can stand in for others.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    /// Active private hosts, in order of address.
    active: BTreeMap<IpAddr, Role>,
}

impl Hosts {
    /// Returns the private hosts that were active in these rows: those before the first attack may be, so that a host is
    /// not new by itself.
    pub fn active_in<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let activity = Activity::of(rows);
        let active = activity.flows.iter().filter(|(address, flows)| {
            is_private(**address) && flows.iter().sum::<usize>() >= ACTIVE_FLOWS_MIN
        });
        Self { active: active.map(|(address, _)| (*address, activity.role(*address))).collect() }
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.active.len()
    }

    /// Draws a host for an address, none of `taken`: of this role and from the neighbourhood of `near`, and one that is not
    /// in `used`, as far as there are such, each rather than what is named behind it. None if no host is left.
    pub fn draw(&self, role: Role, like: IpAddr, around: &Around<'_>, random: &mut Rng) -> Option<IpAddr> {
        let is_left =
            |address: &IpAddr| address.is_ipv4() == like.is_ipv4() && !around.taken.contains(address);
        let lacks = |(address, other): (&IpAddr, &Role)| {
            let is_near = around.near.is_some_and(|near| neighbourhood(near) == neighbourhood(*address));
            (*other != role, !is_near, around.used.contains(address))
        };
        let left = || self.active.iter().filter(|(address, _)| is_left(address));
        let least = left().map(lacks).min()?;
        let chosen: Vec<IpAddr> =
            left().filter(|host| lacks(*host) == least).map(|(address, _)| *address).collect();
        random.pick(&chosen).copied()
    }
}

/// What a draw has to look to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// Hosts that already stand in for somebody in this campaign.
    pub taken: &'a BTreeSet<IpAddr>,
    /// Hosts that did in earlier runs of it.
    pub used: &'a BTreeSet<IpAddr>,
    /// A host near which it should be.
    pub near: Option<IpAddr>,
}

fn neighbourhood(address: IpAddr) -> IpAddr {
    first_address(address, NEIGHBOURHOOD_BITS[0], NEIGHBOURHOOD_BITS[1])
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}
