//! Campaigns: what attackers did in one go, cut out of recordings of attacks.
//!
//! A file that labels its attack flows is one campaign, named by the file. A file without labels, whose `label_name` says
//! what the whole capture shows, is a campaign for each such name. Which addresses of a campaign are victims follows from
//! where most of its flows have their ends: that network is the attacked one, and its hosts are victims; whatever is
//! outside of it belongs to the attacker. Flows to or from groups of hosts (broadcast, multicast) and to link-local
//! addresses have no host to be mapped onto, and are left out.

use super::BlendError;
use super::hosts::{Activity, Role};
use super::rows::{self, Row};
use meshgate_policy::is_group_address;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Bits of the attacked network: wide enough for a site of several subnets, IPv4 and IPv6.
const SITE_BITS_V4: u8 = 16;
const SITE_BITS_V6: u8 = 48;

/// One campaign as it was recorded.
#[derive(Clone, Debug)]
pub(super) struct Campaign {
    /// Its name: the file's, or the technique's.
    pub name: String,
    /// Its flows, in order of time. There is at least one.
    pub rows: Vec<Row>,
    /// Hosts of the attacked network, with what they mostly do; in the order of their addresses.
    pub victims: BTreeMap<IpAddr, Role>,
    /// Addresses of the attacker.
    pub outside: BTreeSet<IpAddr>,
}

impl Campaign {
    /// Returns the time of its first flow, in nanoseconds since 1970.
    pub fn begin_ns(&self) -> u64 {
        self.rows.first().map_or(0, |row| row.flow.time_ns)
    }

    /// Returns the time from its first flow to its last.
    pub fn span_ns(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.flow.time_ns) - self.begin_ns()
    }
}

/// The campaigns of some files.
#[derive(Clone, Debug, Default)]
pub(super) struct Campaigns {
    /// In order of files and names.
    pub campaigns: Vec<Campaign>,
    /// Flows of the files that no label marks as attack.
    pub rows_benign: usize,
    /// Flows that have no single host at an end.
    pub rows_without_host: usize,
}

impl Campaigns {
    /// Reads the files.
    pub fn read(paths: &[PathBuf]) -> Result<Self, BlendError> {
        let mut campaigns = Self::default();
        for path in paths {
            campaigns.add(path)?;
        }
        Ok(campaigns)
    }

    fn add(&mut self, path: &Path) -> Result<(), BlendError> {
        let mut rows = Vec::new();
        rows::read(path, &mut rows)?;
        let activity = Activity::of(&rows);
        let stem = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let stem = stem.split('.').next().unwrap_or_default();
        let mut parts: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let flow = &row.flow;
            let Some(name) = campaign_name(&row, stem) else {
                self.rows_benign += 1;
                continue;
            };
            if [flow.source, flow.destination].into_iter().all(is_host) {
                parts.entry(name.to_owned()).or_default().push(row);
            } else {
                self.rows_without_host += 1;
            }
        }
        if parts.is_empty() {
            return Err(BlendError::NoAttack(path.into()));
        }
        self.campaigns.extend(parts.into_iter().map(|(name, rows)| campaign(name, rows, &activity)));
        Ok(())
    }
}

/// Returns whether a label marks an attack. Zeek-like files write benign as `0`, the DARPA lists as `-`.
pub(super) fn is_attack_label(label: &str) -> bool {
    !matches!(label, "" | "-" | "0")
}

/// Returns the campaign that a row belongs to, if any.
fn campaign_name<'a>(row: &'a Row, stem: &'a str) -> Option<&'a str> {
    match (row.flow.label_for_scoring(), row.flow.label_name_for_scoring()) {
        (Some(label), _) => is_attack_label(label).then_some(stem),
        (None, name) => name,
    }
}

/// Returns whether an address is of one host, and one that others than its neighbours can talk to.
pub(super) fn is_host(address: IpAddr) -> bool {
    let is_local = match address {
        // A last byte of 255 is a broadcast address in every network of 24 bits, which is what captures hold.
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[3] == 255,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(is_local || address.is_unspecified() || address.is_loopback() || is_group_address(address))
}

fn campaign(name: String, rows: Vec<Row>, activity: &Activity) -> Campaign {
    // Ends of flows in each site, then how many of them began one: an attacked host mostly calls out.
    let mut ends: BTreeMap<IpAddr, [usize; 2]> = BTreeMap::new();
    for flow in rows.iter().map(|row| &row.flow) {
        let [all, begun] = ends.entry(site(flow.source)).or_default();
        *all += 1;
        *begun += 1;
        ends.entry(site(flow.destination)).or_default()[0] += 1;
    }
    let attacked = ends.iter().max_by_key(|(_, ends)| **ends).map(|(site, _)| *site);
    let addresses = rows.iter().flat_map(|row| [row.flow.source, row.flow.destination]);
    let (inside, outside): (BTreeSet<_>, BTreeSet<_>) =
        addresses.partition(|address| Some(site(*address)) == attacked);
    let victims = inside.into_iter().map(|address| (address, activity.role(address))).collect();
    Campaign { name, rows, victims, outside }
}

/// Returns the first address of the site of an address.
fn site(address: IpAddr) -> IpAddr {
    first_address(address, SITE_BITS_V4, SITE_BITS_V6)
}

/// Returns the first address of the network of so many bits in which an address lies.
pub(super) fn first_address(address: IpAddr, bits_v4: u8, bits_v6: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits_v4)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits_v6)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}
