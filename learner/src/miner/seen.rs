//! What was seen, as the miner needs it: which addresses there are, and who used which service of whom.

use super::bits::Bits;
use meshgate_policy::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses of one [`Addresses`] at most: beside each stands one bit in every side that is weighed.
pub const ADDRESSES_MAX: usize = 1 << 13;

/// A service: what a rule allows besides who with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port, or ICMP type; 0 where there is neither.
    pub port: u16,
}

/// One use of a service, whenever it was and however often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// Who began it.
    pub source: IpAddr,
    /// Whom it was for.
    pub destination: IpAddr,
    /// The service.
    pub service: Service,
}

/// Addresses with a number each, in order. What is seen later is numbered with what was seen before, so that the same
/// bits say who belongs to a side; [`Seen::present`] keeps the two apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    sorted: Vec<IpAddr>,
}

/// What was seen in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Numbers of all addresses, those of other spans included.
    pub addresses: Arc<Addresses>,
    /// Addresses that occur in this span: the universe over which permitted tuples are counted.
    pub present: Bits,
    /// Distinct pairs by service, in order.
    pub services: BTreeMap<Service, Vec<(usize, usize)>>,
}

impl Addresses {
    /// Returns the addresses of some uses. Beyond [`ADDRESSES_MAX`] the highest ones are left out.
    pub fn of<'u>(uses: impl IntoIterator<Item = &'u Use>) -> Self {
        let all: BTreeSet<IpAddr> =
            uses.into_iter().flat_map(|used| [used.source, used.destination]).collect();
        Self { sorted: all.into_iter().take(ADDRESSES_MAX).collect() }
    }

    /// Returns these addresses. Beyond [`ADDRESSES_MAX`] the highest ones are left out.
    pub fn listed(all: impl IntoIterator<Item = IpAddr>) -> Self {
        let all: BTreeSet<IpAddr> = all.into_iter().collect();
        Self { sorted: all.into_iter().take(ADDRESSES_MAX).collect() }
    }

    /// Returns all of them, in order.
    pub fn all(&self) -> &[IpAddr] {
        &self.sorted
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Returns the number of an address.
    pub fn number(&self, address: IpAddr) -> Option<usize> {
        self.sorted.binary_search(&address).ok()
    }

    /// Returns the address with this number.
    pub fn address(&self, number: usize) -> Option<IpAddr> {
        self.sorted.get(number).copied()
    }

    /// Returns the numbers of the addresses for which `belongs` holds.
    pub fn bits(&self, belongs: impl Fn(IpAddr) -> bool) -> Bits {
        Bits::where_true(self.sorted.len(), |number| self.sorted.get(number).is_some_and(|a| belongs(*a)))
    }
}

impl Seen {
    /// Returns what these uses show. Those of addresses without number are left out.
    pub fn new<'u>(addresses: &Arc<Addresses>, uses: impl IntoIterator<Item = &'u Use>) -> Self {
        let mut present = Bits::none(addresses.len());
        let mut services: BTreeMap<Service, BTreeSet<(usize, usize)>> = BTreeMap::new();
        for Use { source, destination, service } in uses {
            let (Some(source), Some(destination)) =
                (addresses.number(*source), addresses.number(*destination))
            else {
                continue;
            };
            present.insert(source);
            present.insert(destination);
            services.entry(*service).or_default().insert((source, destination));
        }
        let services = services.into_iter().map(|(service, pairs)| (service, pairs.into_iter().collect()));
        Self { addresses: Arc::clone(addresses), present, services: services.collect() }
    }

    /// Returns the distinct pairs of a service.
    pub fn pairs(&self, service: Service) -> &[(usize, usize)] {
        self.services.get(&service).map_or(&[], Vec::as_slice)
    }

    /// Returns how many distinct tuples (source, destination, protocol, service port) there are.
    pub fn tuples(&self) -> usize {
        self.services.values().map(Vec::len).sum()
    }
}
