//! Which zone an end of traffic lies in, and bytes of endpoints turned into bytes of zones.

use super::{ZONE_LABEL, Zone};
use crate::flow_book::{COUNTER_MAX, ZoneKey, ZoneSum};
use crate::policy_book::PolicyBook;
use meshgate_policy::{EndpointId, GroupId, PolicyVersion};
use std::collections::{BTreeMap, HashMap};

/// What two endpoints exchanged under one rule, as a collector tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Haul {
    /// Groups of the source address, sorted; `any` left out.
    pub source_groups: Vec<GroupId>,
    /// Groups of the destination address, likewise.
    pub destination_groups: Vec<GroupId>,
    /// The rule that decided; 0 = none.
    pub rule: u32,
    /// The endpoint that began; 0 = none, or not told apart.
    pub source_endpoint: EndpointId,
    /// The other endpoint, likewise.
    pub destination_endpoint: EndpointId,
    /// Bytes from source to destination.
    pub bytes_forward: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
}

/// The zones of the endpoints of one version.
#[derive(Debug, Default)]
pub struct Zones {
    version: PolicyVersion,
    by_endpoint: HashMap<EndpointId, Zone>,
}

impl Zones {
    /// Returns the zones of a version.
    pub fn of(book: &PolicyBook) -> Self {
        let labelled = book.authored().endpoints.iter().filter_map(|endpoint| {
            let zone = Zone::of_label(endpoint.labels.get(ZONE_LABEL)?);
            Some((book.numbering().endpoint(&endpoint.name)?, zone))
        });
        Self { version: book.version(), by_endpoint: labelled.collect() }
    }

    /// Returns the version whose zones these are.
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    /// Returns the zone of an endpoint.
    pub fn endpoint(&self, id: EndpointId) -> Zone {
        self.by_endpoint.get(&id).cloned().unwrap_or(Zone::Unknown)
    }

    /// Returns the zone of an end: of its endpoint, or `external` for an address that is in that group alone.
    fn end(&self, endpoint: EndpointId, groups: &[GroupId]) -> Zone {
        if groups == [GroupId::EXTERNAL] { Zone::External } else { self.endpoint(endpoint) }
    }

    /// Returns bytes by zones.
    pub fn sums(&self, hauls: &[Haul]) -> Vec<ZoneSum> {
        let mut sums: BTreeMap<ZoneKey, (u64, u64)> = BTreeMap::new();
        for haul in hauls {
            let Haul { source_groups, destination_groups, rule, .. } = haul;
            let key = ZoneKey {
                source_groups: source_groups.clone(),
                destination_groups: destination_groups.clone(),
                rule: *rule,
                source_zone: self.end(haul.source_endpoint, source_groups),
                destination_zone: self.end(haul.destination_endpoint, destination_groups),
            };
            let (forward, reverse) = sums.entry(key).or_default();
            *forward = forward.saturating_add(haul.bytes_forward).min(COUNTER_MAX);
            *reverse = reverse.saturating_add(haul.bytes_reverse).min(COUNTER_MAX);
        }
        let sum = |(key, (bytes_forward, bytes_reverse))| ZoneSum { key, bytes_forward, bytes_reverse };
        sums.into_iter().map(sum).collect()
    }
}
