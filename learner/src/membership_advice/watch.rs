//! Watches what endpoints do, window after window, and says who behaves like which group.

use super::drafts::{Sight, suggestion};
use super::{Actor, Behaviours, Deed, MembershipLimits, Part, likenesses};
use crate::adviser::AdviserSettings;
use crate::draft_key::DraftKey;
use crate::draft_log::DraftLog;
use crate::group_index::GroupIndex;
use crate::series::{Parties, PartyId, Window};
use hashbrown::HashMap;
use meshgate_policy::suggestion::Suggestion;
use meshgate_policy::{Endpoint, GroupId, Policy, PolicyVersion};
use std::net::IpAddr;

/// Windows in which something must have been seen before it counts as what somebody does.
pub(super) const DEED_WINDOWS_MIN: u64 = 3;
/// How long a deed is remembered that is not seen any more.
const KEPT_S: u64 = 7 * 86_400;
/// Suggestions of one round: each takes a person's thought.
const ROUND_MAX: usize = 3;

/// What a round of advice is given beside what was watched.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The newest policy.
    pub policy: &'a Policy,
    /// The parties that peers refer to.
    pub parties: &'a Parties,
    /// What was suggested before.
    pub draft_log: &'a DraftLog,
    /// Settings.
    pub settings: &'a AdviserSettings,
    /// Width of a window in seconds.
    pub width_s: u32,
    /// End of the window that closed, seconds since 1970.
    pub window_end_s: u64,
    /// Version of the network that judged; empty before there was one.
    pub model_version: &'a str,
    /// Suggestions of rules that were made in the same round, and come first.
    pub rules: usize,
}

/// Watches endpoints of the policy. An address of no endpoint cannot join a group and is passed over.
#[derive(Debug, Default)]
pub struct MembershipWatch {
    behaviours: Behaviours,
    /// Which endpoint owns an address in a segment, under a version.
    owners: HashMap<(u16, IpAddr), u32>,
    version: Option<PolicyVersion>,
}

impl MembershipWatch {
    /// Returns a watch that knows what was seen before.
    pub fn new(behaviours: Behaviours) -> Self {
        Self { behaviours, ..Self::default() }
    }

    /// Returns what endpoints were seen doing.
    pub fn behaviours(&self) -> &Behaviours {
        &self.behaviours
    }

    /// Takes in who was answered by whom in a window.
    pub fn observe(&mut self, window: &Window, parties: &Parties, policy: &Policy) {
        self.follow(policy);
        let is_multicast = |party| parties.groups(party).contains(&GroupId::MULTICAST.0);
        for pair in window.pairs.iter().filter(|pair| pair.is_answered) {
            let key = pair.key;
            let sides =
                [(Part::Uses, pair.source, key.destination), (Part::Serves, pair.destination, key.source)];
            for (part, own, peer) in sides {
                let Some(endpoint) = self.owners.get(&(key.segment, own)).copied() else { continue };
                if is_multicast(peer) {
                    continue;
                }
                for deed in Deed::of(part, key.protocol, key.service_port, peer.0) {
                    self.behaviours.note(endpoint, deed, window.end_s());
                }
            }
        }
    }

    /// Returns membership drafts, the surest first, and forgets what was long ago.
    pub fn advise(&mut self, round: &Round<'_>) -> Vec<Suggestion> {
        let Round { policy, draft_log, settings, width_s, window_end_s, .. } = *round;
        self.follow(policy);
        self.behaviours.forget(window_end_s.saturating_sub(KEPT_S));
        let today = draft_log.opened_within_a_day(window_end_s).saturating_add(round.rules);
        let left = settings.suggestions_per_day_max.saturating_sub(today).min(ROUND_MAX);
        let watched_s = u64::from(settings.steady_span_windows) * u64::from(width_s);
        let endpoints: Vec<&Endpoint> = self
            .behaviours
            .endpoints()
            .filter_map(|id| policy.endpoint(meshgate_policy::EndpointId(id)))
            .collect();
        if left == 0 || endpoints.is_empty() {
            return Vec::new();
        }
        let index = GroupIndex::of(policy);
        let actors: Vec<Actor> = endpoints.iter().map(|endpoint| self.actor(&index, endpoint)).collect();
        let found = likenesses(&actors, &MembershipLimits::default());
        let drafted = found.iter().filter_map(|likeness| {
            let endpoint = endpoints[likeness.actor];
            let span_s = self.behaviours.span_s(endpoint.id.0)?;
            let is_watched = span_s.1.saturating_sub(span_s.0) >= watched_s;
            let drafted =
                suggestion(round, &Sight { endpoint, likeness, span_s, behaviours: &self.behaviours })?;
            let is_barred = draft_log.is_barred(&DraftKey::of(&drafted.draft), window_end_s);
            (is_watched && !is_barred && drafted.confidence >= settings.confidence_min).then_some(drafted)
        });
        let first = u32::try_from(round.rules).unwrap_or(u32::MAX);
        let ranked = |(place, drafted)| Suggestion { rank: first.saturating_add(place), ..drafted };
        (1..).zip(drafted.take(left)).map(ranked).collect()
    }

    fn actor(&self, index: &GroupIndex, endpoint: &Endpoint) -> Actor {
        let places = endpoint.addresses.iter().map(|address| index.place(endpoint.segment, *address));
        let groups = places.flat_map(|place| place.groups).filter(|group| !GroupId(*group).is_built_in());
        let deeds = self.behaviours.deeds(endpoint.id.0, DEED_WINDOWS_MIN);
        Actor { groups: groups.collect(), deeds: deeds.map(|(deed, _)| deed).collect() }
    }

    fn follow(&mut self, policy: &Policy) {
        if self.version == Some(policy.version) {
            return;
        }
        self.version = Some(policy.version);
        let owned = |endpoint: &Endpoint| {
            let (segment, id) = (endpoint.segment.0, endpoint.id.0);
            endpoint.addresses.iter().map(move |address| ((segment, *address), id)).collect::<Vec<_>>()
        };
        self.owners = policy.endpoints.iter().flat_map(owned).collect();
    }
}

/// Returns the names of all groups of a party, each in quotes.
pub(super) fn peer_in_words(round: &Round<'_>, peer: u32) -> String {
    let groups = round.parties.groups(PartyId(peer));
    let names: Vec<String> =
        groups.iter().map(|group| format!("'{}'", round.policy.group_name(GroupId(*group)))).collect();
    if names.is_empty() { "addresses in no group".to_owned() } else { names.join(" and ") }
}
