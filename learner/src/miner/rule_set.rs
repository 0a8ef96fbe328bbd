//! Rules as a person gets them: the same two sides with several ports are one rule.

use super::bits::Bits;
use super::choice::Chosen;
use super::seen::{Seen, Service};
use super::width::Width;
use meshgate_policy::Protocol;
use std::collections::{BTreeMap, BTreeSet};

/// A rule for two sides and one protocol, with all its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedRule {
    /// How wide the source is, for the service of the first port: widths are read against one service.
    pub source: Width,
    /// How wide the destination is.
    pub destination: Width,
    /// Protocol.
    pub protocol: Protocol,
    /// Ports, in order.
    pub ports: BTreeSet<u16>,
    /// Who belongs to the source.
    pub sources: Bits,
    /// Who belongs to the destination.
    pub destinations: Bits,
}

/// Rules that were chosen together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<MinedRule>,
    /// What they cover of what was seen and of the futures of rehearsals, in tuples weighed as the miner was told; 0 for
    /// rules that it did not choose.
    pub worth: f64,
}

/// What rules permit, over the addresses of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permitted {
    /// Tuples that they permit: ordered pairs of different addresses that were seen, for each service of a rule, each
    /// once however many rules permit it.
    pub tuples: usize,
    /// Of these, tuples that were seen.
    pub seen: usize,
}

impl RuleSet {
    /// Returns the rules with ports merged: rules of one protocol between the same members are one.
    pub fn new(chosen: Vec<Chosen>) -> Self {
        let mut merged: BTreeMap<(Protocol, Bits, Bits), MinedRule> = BTreeMap::new();
        for Chosen { service, source, destination, sources, destinations } in chosen {
            let key = (service.protocol, sources.clone(), destinations.clone());
            let new = || MinedRule {
                source,
                destination,
                protocol: service.protocol,
                ports: BTreeSet::new(),
                sources,
                destinations,
            };
            merged.entry(key).or_insert_with(new).ports.insert(service.port);
        }
        Self { rules: merged.into_values().collect(), worth: 0.0 }
    }

    /// Returns whether a rule permits the pair to use the service.
    pub fn permits(&self, service: Service, (source, destination): (usize, usize)) -> bool {
        self.rules.iter().any(|rule| {
            rule.is_for(service) && rule.sources.contains(source) && rule.destinations.contains(destination)
        })
    }

    /// Returns how many of the distinct tuples of a span the rules permit.
    pub fn covered(&self, span: &Seen) -> usize {
        let of_service = |(service, pairs): (&Service, &Vec<(usize, usize)>)| {
            pairs.iter().filter(|pair| self.permits(*service, **pair)).count()
        };
        span.services.iter().map(of_service).sum()
    }

    /// Returns what the rules permit over the addresses of a span, and how much of it was seen in it.
    pub fn permitted(&self, span: &Seen) -> Permitted {
        let services: BTreeSet<Service> = self.rules.iter().flat_map(MinedRule::services).collect();
        let tuples = services.into_iter().map(|service| self.permitted_of(service, span)).sum();
        Permitted { tuples, seen: self.covered(span) }
    }

    fn permitted_of(&self, service: Service, span: &Seen) -> usize {
        let rules: Vec<_> = self.rules.iter().filter(|rule| rule.is_for(service)).collect();
        let from = |source: usize| {
            let mut reached = Bits::none(span.addresses.len());
            for rule in rules.iter().filter(|rule| rule.sources.contains(source)) {
                reached.insert_all(&rule.destinations);
            }
            let itself = usize::from(reached.contains(source));
            reached.common_len(&span.present) - itself
        };
        span.present.iter().map(from).sum()
    }
}

impl MinedRule {
    fn is_for(&self, service: Service) -> bool {
        self.protocol == service.protocol && self.ports.contains(&service.port)
    }

    fn services(&self) -> impl Iterator<Item = Service> + '_ {
        self.ports.iter().map(|port| Service { protocol: self.protocol, port: *port })
    }
}

impl Permitted {
    /// Returns the share of the permitted tuples that were never seen.
    pub fn over_permissiveness(self) -> f64 {
        if self.tuples == 0 { 0.0 } else { 1.0 - super::real(self.seen) / super::real(self.tuples) }
    }
}
