//! What is counted of a series: it, and everything wider that it is part of.

use crate::checkpoint::saved::saved;
use crate::series::{Parties, PartyId, SeriesKey};

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A service between two parties.
    Series,
    /// Two parties, in this direction.
    Pair,
    /// A party that begins flows.
    Source,
    /// A party that flows are for.
    Destination,
    /// A service of a destination, whoever asks for it.
    Service,
    /// Pairs of parties that are alike: for addresses two networks.
    KinPair,
    /// Sources that are alike: for addresses a network.
    KinSource,
    /// A source, and destinations that are alike.
    Sweep,
}

/// Kinds of entities.
pub(super) const KINDS: usize = 8;

/// Kinds whose rows are told of in a row of features; they come first.
pub(super) const COUNTED: usize = 7;
/// All kinds, in order of their numbers.
pub(super) const ALL: [Kind; KINDS] = [
    Kind::Series,
    Kind::Pair,
    Kind::Source,
    Kind::Destination,
    Kind::Service,
    Kind::KinPair,
    Kind::KinSource,
    Kind::Sweep,
];

/// Something that is counted, whatever its kind: its kind and its numbers, packed.
///
/// ```text
/// kind 8 | port 16 | protocol 8 | segment 16 | 16 unused | one party 32 | the other 32 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entity(u128);

saved!(tuple Entity);

impl Entity {
    fn new(kind: Kind, parties: [PartyId; 2], service: u128) -> Self {
        let [one, other] = parties.map(|party| u128::from(party.0));
        Self(u128::from(kind as u8) << 120 | service << 80 | one << 32 | other)
    }
}

impl Entity {
    /// Returns a source.
    pub(super) fn source(party: PartyId) -> Self {
        Self::new(Kind::Source, [party, PartyId(0)], 0)
    }

    /// Returns a destination.
    pub(super) fn destination(party: PartyId) -> Self {
        Self::new(Kind::Destination, [party, PartyId(0)], 0)
    }
}

/// The entities of a series, in order of their kinds.
pub(super) type Entities = [Entity; KINDS];

/// Returns the entities of a series.
pub(super) fn entities(key: &SeriesKey, parties: &Parties) -> Entities {
    let SeriesKey { source, destination, segment, protocol, service_port } = *key;
    let nobody = PartyId(0);
    let (kin_source, kin_destination) = (parties.kin(source), parties.kin(destination));
    let service = u128::from(service_port) << 24 | u128::from(protocol) << 16 | u128::from(segment);
    ALL.map(|kind| match kind {
        Kind::Series => Entity::new(kind, [source, destination], service),
        Kind::Pair => Entity::new(kind, [source, destination], 0),
        Kind::Source => Entity::source(source),
        Kind::Destination => Entity::destination(destination),
        Kind::Service => Entity::new(kind, [destination, nobody], service),
        Kind::KinPair => Entity::new(kind, [kin_source, kin_destination], 0),
        Kind::KinSource => Entity::new(kind, [kin_source, nobody], 0),
        Kind::Sweep => Entity::new(kind, [source, kin_destination], 0),
    })
}

/// Returns the entity of a kind.
pub(super) fn of_kind(entities: &Entities, kind: Kind) -> Entity {
    entities[usize::from(kind as u8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Party;

    #[test]
    fn every_kind_has_its_number_and_tells_what_it_must() {
        assert!(ALL.iter().enumerate().all(|(place, kind)| usize::from(*kind as u8) == place));
        let mut parties = Parties::default();
        for last in [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 1, 1]] {
            parties.number(&Party::Address(last.into())).unwrap();
        }
        let key = |source, destination, service_port| SeriesKey {
            source: PartyId(source),
            destination: PartyId(destination),
            segment: 1,
            protocol: 6,
            service_port,
        };
        let same = |one: SeriesKey, other: SeriesKey| {
            let (one, other) = (entities(&one, &parties), entities(&other, &parties));
            ALL.map(|kind| of_kind(&one, kind) == of_kind(&other, kind))
        };
        let web = key(0, 2, 80);
        assert_eq!(same(web, web), [true; KINDS]);
        // Another port: another series and service.
        assert_eq!(same(web, key(0, 2, 443)), [false, true, true, true, false, true, true, true]);
        // Another source of the same network.
        assert_eq!(same(web, key(1, 2, 80)), [false, false, false, true, true, true, true, false]);
        // The other way round nothing is the same.
        assert_eq!(same(web, key(2, 0, 80)), [false; KINDS]);
    }
}
