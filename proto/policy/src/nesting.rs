//! How many groups an address is in, over every way prefixes nest.
//!
//! The groups of an address are those of all prefixes around it and those of the endpoint that owns it. They change only
//! where a prefix begins or an endpoint's address lies, so it suffices to walk these places in order of their addresses
//! with the stack of prefixes that are open there: sorting is all the cost.

use crate::address::Prefix;
use crate::fault::{Faults, Problem};
use crate::ids::{EndpointId, GroupId, SegmentId};
use crate::limits::GROUPS_PER_ENDPOINT_MAX;
use crate::policy::{Endpoint, Group};
use crate::resolve::Named;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Groups that a fault lists by name.
const EXAMPLES: usize = 3;

/// What lies at a prefix. Groups go first, so that they are open when an endpoint's address is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The group at this index has the prefix.
    Group(usize),
    /// The endpoint at this index owns the address.
    Endpoint(usize),
}

/// The prefixes around the place that is looked at.
#[derive(Default)]
struct Open {
    stack: Vec<(Prefix, GroupId)>,
    /// How many open prefixes each group has.
    groups: BTreeMap<GroupId, u32>,
}

/// Notes every endpoint and prefix whose addresses are in more groups than an address may be in.
pub(crate) fn check_memberships(endpoints: &[Endpoint], groups: &[Group], faults: &mut Faults) {
    let own = groups_of_endpoints(groups);
    let of = |endpoint: &Endpoint| own.get(&endpoint.id).map_or(&[][..], Vec::as_slice);
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.addresses.is_empty()) {
        let held = of(endpoint).to_vec();
        report(&Named("endpoint", &endpoint.name), &"it", (&held, groups), faults);
    }
    let (mut open, mut segment) = (Open::default(), SegmentId(0));
    for (place_segment, prefix, place) in places(endpoints, groups) {
        if place_segment != segment {
            (open, segment) = (Open::default(), place_segment);
        }
        open.close_until(prefix);
        match place {
            Place::Group(at) => {
                let is_new = open.open(prefix, groups[at].id);
                if is_new && open.groups.len() > GROUPS_PER_ENDPOINT_MAX {
                    let held: Vec<GroupId> = open.groups.keys().copied().collect();
                    report(&Named("group", &groups[at].name), &prefix, (&held, groups), faults);
                }
            }
            Place::Endpoint(at) => {
                let own = of(&endpoints[at]);
                let added = own.iter().filter(|group| !open.groups.contains_key(group));
                if open.groups.len() + added.clone().count() > GROUPS_PER_ENDPOINT_MAX {
                    let held: Vec<GroupId> = added.chain(open.groups.keys()).copied().collect();
                    let object = Named("endpoint", &endpoints[at].name);
                    report(&object, &prefix.address(), (&held, groups), faults);
                }
            }
        }
    }
}

impl Open {
    /// Closes the prefixes that do not hold `prefix`.
    fn close_until(&mut self, prefix: Prefix) {
        while let Some((_, group)) = self.stack.pop_if(|(open, _)| !open.contains_prefix(prefix)) {
            if let Some(count) = self.groups.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    self.groups.remove(&group);
                }
            }
        }
    }

    /// Opens a prefix of a group. Returns whether the group was not open before.
    fn open(&mut self, prefix: Prefix, group: GroupId) -> bool {
        self.stack.push((prefix, group));
        let count = self.groups.entry(group).or_default();
        *count += 1;
        *count == 1
    }
}

/// Returns all places in the order of the walk.
fn places(endpoints: &[Endpoint], groups: &[Group]) -> Vec<(SegmentId, Prefix, Place)> {
    let of_group = |(at, group): (usize, &'_ Group)| {
        let segment = group.segment;
        group.prefixes.iter().map(move |prefix| (segment, *prefix, Place::Group(at))).collect::<Vec<_>>()
    };
    let of_endpoint = |(at, endpoint): (usize, &'_ Endpoint)| {
        let segment = endpoint.segment;
        let place = move |address: &std::net::IpAddr| (segment, Prefix::host(*address), Place::Endpoint(at));
        endpoint.addresses.iter().map(place).collect::<Vec<_>>()
    };
    let mut places: Vec<_> = groups.iter().enumerate().flat_map(of_group).collect();
    places.extend(endpoints.iter().enumerate().flat_map(of_endpoint));
    places.sort_unstable();
    places
}

fn groups_of_endpoints(groups: &[Group]) -> HashMap<EndpointId, Vec<GroupId>> {
    let mut own: HashMap<EndpointId, Vec<GroupId>> = HashMap::new();
    for group in groups {
        for endpoint in &group.endpoints {
            own.entry(*endpoint).or_default().push(group.id);
        }
    }
    own
}

/// Notes a fault if `held` are too many groups.
fn report(
    object: &Named<'_>,
    place: &dyn fmt::Display,
    (held, groups): (&[GroupId], &[Group]),
    faults: &mut Faults,
) {
    let (count, max) = (held.len(), GROUPS_PER_ENDPOINT_MAX);
    if count <= max {
        return;
    }
    let name = |id: &GroupId| groups.iter().find(|group| group.id == *id).map(|group| group.name.to_string());
    let examples = held.iter().take(EXAMPLES).filter_map(name).collect::<Vec<_>>().join(", ");
    let problem = Problem::TooManyGroups { place: place.to_string(), count, examples, max };
    faults.push(object, "groups", problem);
}
