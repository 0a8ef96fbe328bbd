//! The groups of the addresses that records name, remembered, so that a record costs two look-ups.
//!
//! The collector owns this alone: policies are copied out of what it shares with the subscriber once a batch, when
//! they have changed, and no record waits for a lock.

use crate::group_index::{GroupIndex, Place};
use crate::policies::{GroupSet, Policies};
use crate::series::{Parties, Party, PartyId};
use hashbrown::HashMap;
use meshgate_policy::{GroupId, Name, Policy, PolicyVersion, SegmentId, address_from_bytes};
use std::net::IpAddr;

/// Addresses that are remembered over all versions: as many as a table of 2^16 places holds before it doubles.
pub const ADDRESSES_MAX: usize = (1 << 16) / 8 * 7;
/// Policies that have an index: the newest, and the one that most other records still name. An index of the largest
/// policy takes 25 MiB.
const INDEXES_MAX: usize = 2;

/// What is remembered of an address.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its groups.
    pub groups: GroupSet,
    /// Number of its groups as a party; none when there was no room for another party.
    pub party: Option<PartyId>,
    /// The host of the endpoint that owns it.
    pub home: Option<Name>,
}

/// An address as records name it: under a version, in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place16 {
    address: [u8; 16],
    version: PolicyVersion,
    segment: SegmentId,
}

/// The memberships of the addresses seen last.
#[derive(Debug, Default)]
pub struct Memberships {
    policies: Policies,
    /// By version, the newest first.
    indexes: Vec<(PolicyVersion, GroupIndex)>,
    numbers: HashMap<Place16, u32>,
    remembered: Vec<Membership>,
}

impl Memberships {
    /// Takes over the policies if they have changed.
    pub fn follow(&mut self, policies: &Policies) {
        if policies.revision() == self.policies.revision() {
            return;
        }
        self.policies = policies.clone();
        // A version can come again with other contents, after control was set back: nothing of the old is kept.
        self.forget();
        self.indexes.clear();
        if let Some(newest) = self.policies.newest() {
            self.indexes.push((newest.version, GroupIndex::of(newest)));
        }
    }

    /// Returns whether any policy is known.
    pub fn has_policy(&self) -> bool {
        self.policies.newest().is_some()
    }

    /// Returns how many addresses are remembered.
    pub fn len(&self) -> usize {
        self.remembered.len()
    }

    /// Returns whether no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.remembered.is_empty()
    }

    /// Returns the memberships of both addresses of a record, or none before any policy is known.
    pub fn both(
        &mut self,
        (version, segment): (PolicyVersion, SegmentId),
        [source, destination]: [[u8; 16]; 2],
        parties: &mut Parties,
    ) -> Option<(&Membership, &Membership)> {
        let version = self.policies.at(version)?.version;
        if self.remembered.len() + 2 > ADDRESSES_MAX {
            // A flood of addresses: begin again rather than choose among strangers.
            self.forget();
        }
        let source = self.number(Place16 { address: source, version, segment }, parties)?;
        let destination = self.number(Place16 { address: destination, version, segment }, parties)?;
        Some((self.remembered.get(source)?, self.remembered.get(destination)?))
    }

    fn number(&mut self, place: Place16, parties: &mut Parties) -> Option<usize> {
        if let Some(number) = self.numbers.get(&place) {
            return usize::try_from(*number).ok();
        }
        let number = self.remembered.len();
        let membership = self.look_up(place, parties)?;
        self.remembered.push(membership);
        self.numbers.insert(place, u32::try_from(number).ok()?);
        Some(number)
    }

    fn look_up(&mut self, place: Place16, parties: &mut Parties) -> Option<Membership> {
        let Place16 { address, version, segment } = place;
        let address = address_from_bytes(address);
        let policy = self.policies.at(version)?;
        let index = self.indexes.iter().find(|(indexed, _)| *indexed == version);
        let Place { groups, home } = match index {
            Some((_, index)) => index.place(segment, address),
            None if self.indexes.len() < INDEXES_MAX => {
                let index = GroupIndex::of(policy);
                let place = index.place(segment, address);
                self.indexes.push((version, index));
                place
            }
            None => scan(policy, segment, address),
        };
        let party = Party::Groups(groups.into());
        let number = parties.number(&party);
        // Addresses in the same groups share one list.
        let known = number.and_then(|number| parties.party(number)).unwrap_or(&party);
        let Party::Groups(groups) = known else { return None };
        Some(Membership { groups: GroupSet::clone(groups), party: number, home })
    }

    fn forget(&mut self) {
        self.numbers.clear();
        self.remembered.clear();
    }
}

/// Returns what an index would say, by the policy's own scan.
fn scan(policy: &Policy, segment: SegmentId, address: IpAddr) -> Place {
    let groups = policy.groups_of(segment, address).into_iter().filter(|group| *group != GroupId::ANY);
    let home = policy.endpoint_of(segment, address).and_then(|endpoint| endpoint.host.clone());
    Place { groups: groups.map(|group| group.0).collect(), home }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::{Action, address_bytes, generate};
    use std::sync::Arc;

    fn policies(versions: std::ops::RangeInclusive<u64>) -> Policies {
        let mut policies = Policies::default();
        for version in versions {
            let policy = generate::policy(version, generate::Shape::new(40, 12, 1));
            policies.insert(Arc::new(Policy { version: PolicyVersion(version), ..policy }));
        }
        policies
    }

    #[test]
    fn an_address_of_nobody_is_external_and_without_a_policy_it_is_nothing() {
        let (mut memberships, mut parties) = (Memberships::default(), Parties::default());
        let stranger = address_bytes([192, 0, 2, 1].into());
        let place = (PolicyVersion(9), SegmentId(1));
        assert!(memberships.both(place, [stranger, stranger], &mut parties).is_none());
        let mut policies = Policies::default();
        policies.insert(Arc::new(Policy { version: PolicyVersion(1), ..Policy::empty(Action::Deny) }));
        memberships.follow(&policies);
        let (source, destination) = memberships.both(place, [stranger, stranger], &mut parties).unwrap();
        assert_eq!(*source.groups, [GroupId::EXTERNAL.0]);
        assert_eq!((source.party, destination.party), (Some(PartyId(0)), Some(PartyId(0))));
    }

    #[test]
    fn every_version_is_answered_as_the_policy_itself_would() {
        let policies = policies(1..=5);
        let (mut memberships, mut parties) = (Memberships::default(), Parties::default());
        memberships.follow(&policies);
        for version in 1..=5 {
            let policy = policies.at(PolicyVersion(version)).unwrap();
            for address in policy.endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
                let bytes = address_bytes(*address);
                let place = (PolicyVersion(version), SegmentId(1));
                let (found, _) = memberships.both(place, [bytes, bytes], &mut parties).unwrap();
                let expected = scan(policy, SegmentId(1), *address);
                assert_eq!((&*found.groups, &found.home), (&*expected.groups, &expected.home));
            }
        }
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_and_shares_its_groups() {
        let (mut memberships, mut parties) = (Memberships::default(), Parties::default());
        memberships.follow(&policies(1..=1));
        let mut most = 0;
        for bits in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            let address = address_bytes(IpAddr::V4((0x5000_0000 | bits).into()));
            memberships.both((PolicyVersion(1), SegmentId(1)), [address, address], &mut parties).unwrap();
            most = most.max(memberships.len());
        }
        assert!(most <= ADDRESSES_MAX && most + 2 >= ADDRESSES_MAX && memberships.len() < most);
        assert!(parties.len() < 10);
    }
}
