//! What is watched: a series is one service between two parties, and a window is what all series did in one span.
//!
//! A party is a set of groups (live) or an address (in the evaluation on recorded flows without groups). Everything
//! behind this file works with numbers of parties, so that both go through the same code.

use crate::policies::GroupSet;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Parties that are known at once. Group sets are few; a flood of addresses must not grow memory.
pub const PARTIES_MAX: usize = 1 << 18;

/// Number of a party, given by [`Parties`] in order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartyId(pub u32);

/// One side of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The groups of an address, as numbers in order, `any` left out.
    Groups(GroupSet),
    /// An address.
    Address(IpAddr),
}

/// Numbers for parties.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    numbers: HashMap<Arc<Party>, PartyId>,
    parties: Vec<Arc<Party>>,
    /// Of each party the first one that is its kin.
    kin: Vec<PartyId>,
    /// The first party of each network.
    networks: HashMap<IpAddr, PartyId>,
}

impl Parties {
    /// Returns the number of a party; none when it is new and there is no room for more.
    pub fn number(&mut self, party: &Party) -> Option<PartyId> {
        if let Some(number) = self.numbers.get(party) {
            return Some(*number);
        }
        if self.parties.len() >= PARTIES_MAX {
            return None;
        }
        let number = PartyId(u32::try_from(self.parties.len()).ok()?);
        self.push(number, Arc::new(party.clone()));
        Some(number)
    }

    fn push(&mut self, number: PartyId, party: Arc<Party>) {
        self.kin.push(match &*party {
            Party::Groups(_) => number,
            Party::Address(address) => *self.networks.entry(network(*address)).or_insert(number),
        });
        self.parties.push(Arc::clone(&party));
        self.numbers.insert(party, number);
    }

    /// Returns who stands for everybody that is like this party: for an address the first one of its network, 24 bits or
    /// 64, for groups themselves.
    pub fn kin(&self, number: PartyId) -> PartyId {
        usize::try_from(number.0).ok().and_then(|place| self.kin.get(place)).copied().unwrap_or(number)
    }

    /// Returns the party with this number.
    pub fn party(&self, number: PartyId) -> Option<&Party> {
        self.parties.get(usize::try_from(number.0).ok()?).map(AsRef::as_ref)
    }

    /// Returns the groups of a party; empty for an address.
    pub fn groups(&self, number: PartyId) -> &[u32] {
        match self.party(number) {
            Some(Party::Groups(groups)) => groups,
            _ => &[],
        }
    }

    /// Returns how many parties are known.
    pub fn len(&self) -> usize {
        self.parties.len()
    }

    /// Returns whether no party is known.
    pub fn is_empty(&self) -> bool {
        self.parties.is_empty()
    }

    /// Returns all parties in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().map(AsRef::as_ref)
    }

    /// Returns the parties that got their numbers after the first `known`: what another copy lacks.
    pub fn since(&self, known: usize) -> &[Arc<Party>] {
        self.parties.get(known..).unwrap_or_default()
    }

    /// Takes in parties that another copy numbered, the first of them as `first`. Those that are known already must
    /// be the same ones, and none may be missing between.
    pub fn follow(&mut self, first: usize, parties: &[Arc<Party>]) -> Result<(), PartiesError> {
        for (number, party) in (first..).zip(parties) {
            match self.parties.get(number) {
                Some(known) if known == party => {}
                Some(_) => return Err(PartiesError::Other(number)),
                None if number > self.parties.len() => return Err(PartiesError::Missing(self.parties.len())),
                None if number >= PARTIES_MAX => return Err(PartiesError::TooMany),
                None if self.numbers.contains_key(party) => return Err(PartiesError::Twice(number)),
                None => {
                    let id = PartyId(u32::try_from(number).map_err(|_| PartiesError::TooMany)?);
                    self.push(id, Arc::clone(party));
                }
            }
        }
        Ok(())
    }
}

/// Returns the network of an address: its first 24 bits, or its first 64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Why numbers of parties do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartiesError {
    /// A number stands for another party here.
    #[error("party {0} is another one here")]
    Other(usize),
    /// A number was left out.
    #[error("party {0} is missing")]
    Missing(usize),
    /// A party has a number already.
    #[error("party {0} has another number already")]
    Twice(usize),
    /// There are more than [`PARTIES_MAX`].
    #[error("more than {PARTIES_MAX} parties")]
    TooMany,
}

impl Serialize for Parties {
    /// Writes the parties in order of their numbers.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|party| match party {
            Party::Groups(groups) => StoredParty::Groups(groups.to_vec()),
            Party::Address(address) => StoredParty::Address(*address),
        }))
    }
}

impl<'de> Deserialize<'de> for Parties {
    /// Reads what `Serialize` wrote; refuses a party that occurs twice, and too many.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Vec::<StoredParty>::deserialize(deserializer)?;
        let parties: Vec<_> = stored.into_iter().map(|party| Arc::new(Party::from(party))).collect();
        let mut all = Self::default();
        all.follow(0, &parties).map_err(serde::de::Error::custom)?;
        Ok(all)
    }
}

/// A party as checkpoints keep it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredParty {
    Groups(Vec<u32>),
    Address(IpAddr),
}

impl From<StoredParty> for Party {
    fn from(stored: StoredParty) -> Self {
        match stored {
            StoredParty::Groups(groups) => Self::Groups(groups.into()),
            StoredParty::Address(address) => Self::Address(address),
        }
    }
}

/// Tells one series from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Who began the flows.
    pub source: PartyId,
    /// Whom they were for.
    pub destination: PartyId,
    /// Segment.
    pub segment: u16,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub service_port: u16,
}

/// What a series did in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesSums {
    /// Flows that began, and refused attempts.
    pub flows: u64,
    /// Flows of these whose far side answered with something else than a refusal (TCP reset).
    pub answered: u64,
    /// Attempts that the policy refused.
    pub refused: u64,
    /// Packets from the initiators.
    pub packets_forward: u64,
    /// Packets back.
    pub packets_reverse: u64,
    /// Bytes from the initiators.
    pub bytes_forward: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
    /// Distinct initiating addresses, estimated.
    pub sources: u32,
    /// Distinct addresses that they were for, estimated.
    pub destinations: u32,
    /// The rule that decided last; 0 = none.
    pub rule: u32,
    /// Version of the policy that decided last.
    pub policy_version: u64,
}

/// Two addresses between which a series had flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressPair {
    /// The series.
    pub key: SeriesKey,
    /// Who began the flows.
    pub source: IpAddr,
    /// Whom they were for.
    pub destination: IpAddr,
    /// Whether one of them was answered.
    pub is_answered: bool,
}

/// What all series did in one span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Start, seconds since 1970, a multiple of the width.
    pub start_s: u64,
    /// Width in seconds.
    pub width_s: u32,
    /// Every series that was seen, in order of keys.
    pub series: Vec<(SeriesKey, SeriesSums)>,
    /// Addresses between which flows began or were answered, in order: as many as there was room for.
    pub pairs: Vec<AddressPair>,
    /// Records that went into it.
    pub records: u64,
    /// Records that never came.
    pub records_lost: u64,
    /// Records that found no room.
    pub records_left_out: u64,
}

/// A window that closed, on its way from the collector to who analyses it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClosedWindow {
    /// The window.
    pub window: Window,
    /// Number of the first of `parties`.
    pub first_party: usize,
    /// The parties that got numbers since the window that was handed over before: the receiver keeps its own copy
    /// with [`Parties::follow`], and neither side waits for the other.
    pub parties: Vec<Arc<Party>>,
}

impl Window {
    /// Returns the second after its last.
    pub fn end_s(&self) -> u64 {
        self.start_s + u64::from(self.width_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_keeps_its_number() {
        let mut parties = Parties::default();
        let web = Party::Groups([16, 17].into());
        let first = parties.number(&web).unwrap();
        parties.number(&Party::Address([10, 0, 0, 1].into())).unwrap();
        assert_eq!(parties.number(&web), Some(first));
        assert_eq!(parties.groups(first), [16, 17]);
        assert_eq!(parties.len(), 2);
    }
    #[test]
    fn a_copy_follows_in_pieces_and_notices_what_is_missing() {
        let mut parties = Parties::default();
        (0..4).for_each(|group| _ = parties.number(&Party::Groups([group].into())));
        let mut copy = Parties::default();
        copy.follow(0, &parties.since(0)[..2]).unwrap();
        assert_eq!(copy.follow(3, parties.since(3)), Err(PartiesError::Missing(2)));
        copy.follow(1, parties.since(1)).unwrap();
        assert!(copy.iter().eq(parties.iter()));
        assert_eq!(copy.follow(0, parties.since(1)), Err(PartiesError::Other(0)));
        assert_eq!(copy.follow(4, parties.since(3)), Err(PartiesError::Twice(4)));
    }

    #[test]
    fn parties_survive_a_checkpoint_and_one_that_is_there_twice_does_not() {
        let mut parties = Parties::default();
        parties.number(&Party::Groups([16, 17].into()));
        parties.number(&Party::Address([10, 0, 0, 1].into()));
        let text = serde_json::to_string(&parties).unwrap();
        assert!(serde_json::from_str::<Parties>(&text).unwrap().iter().eq(parties.iter()));
        let twice = r#"[{"groups":[16]},{"groups":[16]}]"#;
        assert!(serde_json::from_str::<Parties>(twice).unwrap_err().to_string().contains("party 1"));
    }
}
