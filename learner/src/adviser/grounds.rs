//! The addresses behind a draft: who used the service of whom in its own series, and who else did.

use super::draft::Cause;
use crate::miner::seen::{Service, Use};
use crate::profile::pairs::SeenPairs;
use crate::profile::{PatternPorts, SteadyPattern};
use crate::series::SeriesKey;
use meshgate_policy::Protocol;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a draft rests on, address by address. Empty where the addresses are not known.
#[derive(Clone, Debug)]
pub(super) struct Grounds {
    /// The series of the cause.
    pub(super) key: SeriesKey,
    /// The services that it is for; one for all ports where they hardly come twice.
    pub(super) services: Vec<Service>,
    /// Uses by the parties of the cause with their times, in order of time.
    pub(super) own: Vec<(u64, Use)>,
    /// Uses of the services by anybody in the segment, once each.
    pub(super) all: BTreeSet<Use>,
    /// Sources of [`Self::own`].
    pub(super) sources: BTreeSet<IpAddr>,
    /// Destinations of [`Self::own`].
    pub(super) destinations: BTreeSet<IpAddr>,
}

impl Grounds {
    /// Returns the grounds of a cause.
    pub(super) fn of(pairs: &SeenPairs, cause: Cause<'_>) -> Self {
        let key = *cause.key();
        let is_own = |other: &&SeriesKey| other.source == key.source && other.destination == key.destination;
        let mut own: Vec<(u64, Use)> = Vec::new();
        let mut all = BTreeSet::new();
        let mut services = Vec::new();
        match cause {
            Cause::Steady(SteadyPattern { ports: PatternPorts::Spread { .. }, .. }) => {
                // Each port came once: they count as one service, by whatever number.
                let service = Service { protocol: Protocol(key.protocol), port: 0 };
                services.push(service);
                for series in pairs.between(&key) {
                    own.extend(uses(pairs, series, service));
                }
                all.extend(own.iter().map(|(_, used)| *used));
            }
            Cause::Steady(pattern) => {
                for (protocol, port) in pattern.services() {
                    let service = Service { protocol: Protocol(protocol), port };
                    services.push(service);
                    let series: Vec<&SeriesKey> = pairs.series_of(key.segment, (protocol, port)).collect();
                    all.extend(series.iter().flat_map(|key| uses(pairs, key, service)).map(|(_, used)| used));
                    own.extend(
                        series.iter().filter(|key| is_own(key)).flat_map(|key| uses(pairs, key, service)),
                    );
                }
            }
            Cause::Anomaly(_) => {
                let service = Service { protocol: Protocol(key.protocol), port: key.service_port };
                services.push(service);
                own.extend(
                    pairs
                        .latest_of(&key)
                        .map(|pair| (0, Use { source: pair.source, destination: pair.destination, service })),
                );
                let series = pairs.series_of(key.segment, (key.protocol, key.service_port));
                all.extend(series.flat_map(|key| uses(pairs, key, service)).map(|(_, used)| used));
            }
        }
        own.sort_unstable();
        let sources = own.iter().map(|(_, used)| used.source).collect();
        let destinations = own.iter().map(|(_, used)| used.destination).collect();
        Self { key, services, own, all, sources, destinations }
    }

    /// Returns whether the addresses are known.
    pub(super) fn is_known(&self) -> bool {
        !self.own.is_empty()
    }

    /// Returns who uses the services of one of these destinations, and who serves one of these sources.
    pub(super) fn roles(
        &self,
        sources: &BTreeSet<IpAddr>,
        destinations: &BTreeSet<IpAddr>,
    ) -> [BTreeSet<IpAddr>; 2] {
        let users = self.all.iter().filter(|used| destinations.contains(&used.destination));
        let servers = self.all.iter().filter(|used| sources.contains(&used.source));
        [users.map(|used| used.source).collect(), servers.map(|used| used.destination).collect()]
    }
}

/// Returns the uses by the pairs of a series, at the first and at the last time each was seen.
fn uses(pairs: &SeenPairs, key: &SeriesKey, service: Service) -> Vec<(u64, Use)> {
    let mut uses = Vec::new();
    for pair in pairs.of(key) {
        let used = Use { source: pair.source, destination: pair.destination, service };
        uses.push((pair.first_s, used));
        if pair.last_s > pair.first_s {
            uses.push((pair.last_s, used));
        }
    }
    uses
}
