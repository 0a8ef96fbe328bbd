//! The lease book: what hosts say that endpoints lease by DHCP, and what that makes of the policy. Pure: time and
//! policy are arguments.
//!
//! A host speaks for the endpoints at home there that are flagged `dhcp_client`, and for no others. What it reports is
//! its whole knowledge, so that nothing is lost with a message; what it does not report is not over: it may have been
//! restarted. A lease ends when the host says so or when its time is over, and only while the host is connected here,
//! because another control may be told of it.
//!
//! One address belongs to one endpoint. An address that somebody wrote stays with whom it was written for. Of two
//! endpoints that lease one address the newer lease counts: a server that grants it again knows that the old one is
//! over.

#[cfg(test)]
mod tests;

use crate::distributor::HOSTS_MAX;
use crate::policy_book::Change;
use crate::report::Lease;
use meshgate_policy::limits::ADDRESSES_PER_ENDPOINT_MAX;
use meshgate_policy::{
    AuthoredEndpoint, AuthoredPolicy, Endpoint, EndpointId, Name, Numbering, Policy, PolicyVersion,
    is_group_address,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

/// Leases of one endpoint; a host keeps as many.
const LEASES_PER_ENDPOINT_MAX: usize = 8;
/// How long an address that was leased when control started stays, if its host is connected and does not know of it. A
/// host that was restarted hears of a lease again when it is renewed, after half its time; a day's lease is common.
const UNKNOWN_KEPT_NS: u64 = 86_400 * SECOND_NS;
/// A lease without an end.
const FOREVER_S: u32 = u32::MAX;
const SECOND_NS: u64 = 1_000_000_000;

/// What hosts say.
#[derive(Debug, Default)]
pub struct LeaseBook {
    /// By endpoint, so that those of one are together.
    leases: BTreeMap<(EndpointId, IpAddr), Entry>,
    /// When each host first reported here.
    hosts: HashMap<Name, u64>,
    /// Whether something changed since the last settling.
    has_news: bool,
    /// When the next lease ends.
    next_end_ns: Option<u64>,
    /// The version that was settled last, and the hosts that were connected: another one may have other endpoints, and
    /// a host that comes back may have heard of no lease any more.
    settled: (PolicyVersion, HashSet<Name>),
}

/// A lease.
#[derive(Clone, Debug)]
struct Entry {
    host: Name,
    since_ns: u64,
    until_ns: u64,
}

/// The policy into which leases are settled.
#[derive(Clone, Copy, Debug)]
pub struct Settling<'a> {
    /// What is written.
    pub authored: &'a AuthoredPolicy,
    /// Its numbers.
    pub numbering: &'a Numbering,
    /// Its version.
    pub version: PolicyVersion,
    /// Hosts that are connected here.
    pub connected: &'a HashSet<Name>,
}

impl LeaseBook {
    /// Takes in a host's report.
    pub fn note(&mut self, policy: &Policy, host: &Name, leases: &[Lease], now_ns: u64) {
        if !self.hosts.contains_key(host) && self.hosts.len() < HOSTS_MAX {
            self.hosts.insert(host.clone(), now_ns);
            self.has_news = true;
        }
        for &Lease { endpoint, address, seconds_left } in leases {
            let id = EndpointId(endpoint);
            let is_its =
                |endpoint: &&Endpoint| endpoint.flags.dhcp_client && endpoint.host.as_ref() == Some(host);
            let Some(endpoint) = policy.endpoint(id).filter(is_its) else { continue };
            // An end is told for a while: most of the time it is nothing new.
            let is_over = seconds_left == 0 && !endpoint.addresses.contains(&address);
            let is_known = self.leases.contains_key(&(id, address));
            if !can_be_leased(address) || (is_over && !is_known) {
                continue;
            }
            let until_ns = match seconds_left {
                FOREVER_S => u64::MAX,
                seconds => now_ns.saturating_add(u64::from(seconds) * SECOND_NS),
            };
            self.enter((id, address), host, until_ns, now_ns);
        }
    }

    fn enter(&mut self, key: (EndpointId, IpAddr), host: &Name, until_ns: u64, now_ns: u64) {
        match self.leases.get_mut(&key) {
            Some(entry) => {
                let was_held = entry.until_ns > now_ns;
                // An end that is reported again and again is one end.
                self.has_news |= was_held != (until_ns > now_ns);
                if !was_held && until_ns > now_ns {
                    entry.since_ns = now_ns;
                }
                entry.until_ns = until_ns;
                entry.host = host.clone();
            }
            None => {
                let first = (key.0, IpAddr::from([0, 0, 0, 0]));
                let of_endpoint = self.leases.range(first..).take_while(|((id, _), _)| *id == key.0).count();
                if of_endpoint < 2 * LEASES_PER_ENDPOINT_MAX {
                    self.leases.insert(key, Entry { host: host.clone(), since_ns: now_ns, until_ns });
                    self.has_news = true;
                }
            }
        }
    }

    /// Returns whether settling could change something.
    pub fn is_due(&self, settling: &Settling<'_>, now_ns: u64) -> bool {
        let has_end = self.next_end_ns.is_some_and(|end_ns| end_ns <= now_ns);
        let (version, connected) = &self.settled;
        let is_same = *version == settling.version && *connected == *settling.connected;
        self.has_news || has_end || (!is_same && !self.hosts.is_empty())
    }

    /// Returns the changes that bring the policy in line with the leases.
    pub fn settle(&mut self, settling: &Settling<'_>, now_ns: u64) -> Vec<Change> {
        let wanted = self.wanted(settling, now_ns);
        let endpoints = settling.authored.endpoints.iter();
        let changes = endpoints.filter_map(|endpoint| {
            let leased = wanted.get(&endpoint.name).cloned().unwrap_or_default();
            (leased != endpoint.leased).then(|| Change::SetLeased(endpoint.name.clone(), leased))
        });
        let changes: Vec<Change> = changes.collect();
        self.leases.retain(|_, entry| entry.until_ns > now_ns || !settling.connected.contains(&entry.host));
        let kept = self.leases.values().map(|entry| entry.until_ns);
        let unknown_kept = self.hosts.values().map(|first_ns| first_ns.saturating_add(UNKNOWN_KEPT_NS));
        self.next_end_ns = kept.chain(unknown_kept).filter(|end_ns| *end_ns > now_ns).min();
        self.has_news = false;
        self.settled = (settling.version, settling.connected.clone());
        changes
    }

    /// Returns the addresses that each endpoint is to have by lease, sorted.
    fn wanted(&self, settling: &Settling<'_>, now_ns: u64) -> HashMap<Name, Vec<IpAddr>> {
        let written: HashSet<(&Name, IpAddr)> =
            settling.authored.endpoints.iter().flat_map(written).collect();
        let mut claims: Vec<(u64, &AuthoredEndpoint, IpAddr)> = Vec::new();
        for endpoint in settling.authored.endpoints.iter().filter(|endpoint| endpoint.flags.dhcp_client) {
            let Some(id) = settling.numbering.endpoint(&endpoint.name) else { continue };
            let claimed = self.claims_of(endpoint, id, settling, now_ns);
            claims.extend(claimed.into_iter().map(|(since_ns, address)| (since_ns, endpoint, address)));
        }
        // The newest first; of those alike, one that is always the same.
        claims.sort_by(|(a_ns, a, a_ip), (b_ns, b, b_ip)| {
            b_ns.cmp(a_ns).then_with(|| a.name.cmp(&b.name)).then_with(|| a_ip.cmp(b_ip))
        });
        let mut taken = HashSet::new();
        let mut wanted: HashMap<Name, Vec<IpAddr>> = HashMap::new();
        for (_, endpoint, address) in claims {
            let key = (&endpoint.segment, address);
            let leased = wanted.entry(endpoint.name.clone()).or_default();
            let has_room = endpoint.addresses.len() + leased.len() < ADDRESSES_PER_ENDPOINT_MAX;
            if has_room
                && leased.len() < LEASES_PER_ENDPOINT_MAX
                && !written.contains(&key)
                && taken.insert(key)
            {
                leased.push(address);
            }
        }
        wanted.values_mut().for_each(|leased| leased.sort_unstable());
        wanted
    }

    /// Returns the addresses that an endpoint leases, and since when; 0 for those that it leased before this control
    /// heard of them.
    fn claims_of(
        &self,
        endpoint: &AuthoredEndpoint,
        id: EndpointId,
        settling: &Settling<'_>,
        now_ns: u64,
    ) -> Vec<(u64, IpAddr)> {
        let Some(host) = endpoint.home.as_ref().map(|home| &home.host) else { return Vec::new() };
        let is_connected = settling.connected.contains(host);
        let is_early = |first_ns: &u64| now_ns < first_ns.saturating_add(UNKNOWN_KEPT_NS);
        let is_unknown_kept = !is_connected || self.hosts.get(host).is_none_or(is_early);
        let first = (id, IpAddr::from([0, 0, 0, 0]));
        let entries = self.leases.range(first..).take_while(|((of, _), _)| *of == id);
        let entries = entries.filter(|(_, entry)| entry.host == *host);
        let held = entries.filter(|(_, entry)| entry.until_ns > now_ns || !is_connected);
        let mut claims: Vec<(u64, IpAddr)> =
            held.map(|((_, address), entry)| (entry.since_ns, *address)).collect();
        let is_unknown = |address: &&IpAddr| !self.leases.contains_key(&(id, **address));
        if is_unknown_kept {
            claims.extend(endpoint.leased.iter().filter(is_unknown).map(|address| (0, *address)));
        }
        claims
    }
}

fn written(endpoint: &AuthoredEndpoint) -> impl Iterator<Item = (&Name, IpAddr)> {
    endpoint.addresses.iter().map(|address| (&endpoint.segment, *address))
}

/// Returns whether an interface can be given the address.
fn can_be_leased(address: IpAddr) -> bool {
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !is_group_address(address) && !address.is_unspecified() && !address.is_loopback() && !is_special
}
