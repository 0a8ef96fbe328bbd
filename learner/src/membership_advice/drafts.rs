//! From a likeness to a suggestion: the draft, one sentence, and the evidence behind each number of it.

use super::watch::{DEED_WINDOWS_MIN, Round, peer_in_words};
use super::{Behaviours, Deed, Likeness, Part, Shared};
use crate::justification::measures::{count, counted, decimal, number, span};
use crate::justification::services;
use crate::proportion::real;
use meshgate_policy::suggestion::{Evidence, EvidenceKind, Feature, Measure, Origin, Proposal, Suggestion};
use meshgate_policy::{EffectCounts, Endpoint, GroupId, Protocol};

/// Deeds of each kind that the evidence names.
const NAMED_MAX: usize = 5;

/// An endpoint that behaves like a group, with where that was seen.
pub(super) struct Sight<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) likeness: &'a Likeness,
    /// Since when it is watched, and when it was seen last, seconds since 1970.
    pub(super) span_s: (u64, u64),
    pub(super) behaviours: &'a Behaviours,
}

/// Returns the suggestion; none if the group is not in the policy any more.
pub(super) fn suggestion(round: &Round<'_>, sight: &Sight<'_>) -> Option<Suggestion> {
    let Sight { endpoint, likeness, span_s, .. } = *sight;
    let group = &round.policy.group(GroupId(likeness.group))?.name;
    let similarity = decimal("similarity", likeness.similarity, "");
    let members = count("members", whole(likeness.members), "endpoints");
    let usual = decimal("similarity of members", likeness.members_similarity, "");
    let shared = count("usual deeds shared", whole(likeness.shared.len()), "deeds");
    let all = likeness.shared.len() + likeness.missing.len();
    let deeds = count("usual deeds", whole(all), "deeds");
    let watched = span("span", span_s.1.saturating_sub(span_s.0));
    let mut measures =
        vec![similarity.clone(), usual.clone(), members.clone(), shared.clone(), deeds.clone()];
    let next = next_in_words(round, likeness, &mut measures);
    let justification = format!(
        "Endpoint '{}' behaves like group '{group}': in {} it was seen doing {} of the {} things that most of its {} \
         members do; its similarity is {}, theirs among themselves {} in the middle, {next} - suggest making it a \
         member.",
        endpoint.name, watched.text, shared.text, deeds.text, members.text, similarity.text, usual.text
    );
    let mut evidence = Vec::new();
    let mut add = |kind, sentence, measures| {
        let ns = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        evidence.push(Evidence { kind, sentence, measures, from_ns: ns(span_s.0), until_ns: ns(span_s.1) });
    };
    let text = format!(
        "Similarity is what both do over what either does, weighed by how few others do it: {} for the endpoint, {} in \
         the middle for {}, each against the others.",
        similarity.text,
        usual.text,
        counted(&members, "member"),
    );
    add(EvidenceKind::Volume, text, measures);
    let windows = count("windows least", DEED_WINDOWS_MIN, "windows");
    let text = format!(
        "It was watched for {}; what was seen in fewer than {} windows does not count.",
        watched.text, windows.text
    );
    add(EvidenceKind::Span, text, vec![watched, windows]);
    for one in likeness.shared.iter().take(NAMED_MAX) {
        let (text, measures) = shared_in_words(round, sight, one);
        add(EvidenceKind::Volume, text, measures);
    }
    for one in likeness.missing.iter().take(NAMED_MAX) {
        let (text, measures) = missing_in_words(round, likeness, one);
        add(EvidenceKind::Novelty, text, measures);
    }
    let draft = Proposal::Membership { endpoint: endpoint.name.clone(), group: group.clone(), join: true };
    let ns = |seconds: u64| seconds.saturating_mul(1_000_000_000);
    Some(Suggestion {
        origin: Origin::Steady,
        draft,
        alternatives: Vec::new(),
        confidence: likeness.confidence,
        relevance: 0.0,
        rank: 1,
        propensity: 1.0,
        justification,
        evidence,
        effect: EffectCounts::default(),
        over_permissiveness: 0.0,
        narrows: Vec::new(),
        shadows: Vec::new(),
        makes_explicit: false,
        features: features(likeness),
        base_version: round.policy.version,
        model_version: round.model_version.to_owned(),
        window_end_ns: ns(round.window_end_s),
        expires_ns: ns(round.window_end_s.saturating_add(round.settings.expiry_s)),
    })
}

/// Returns how like the next group it is, as a clause.
fn next_in_words(round: &Round<'_>, likeness: &Likeness, measures: &mut Vec<Measure>) -> String {
    let Some((other, similarity)) = likeness.next else { return "and no other group comes near".to_owned() };
    let next = decimal("similarity of the next group", similarity, "");
    let words =
        format!("and that with the next group, '{}', {}", round.policy.group_name(GroupId(other)), next.text);
    measures.push(next);
    words
}

fn shared_in_words(round: &Round<'_>, sight: &Sight<'_>, shared: &Shared) -> (String, Vec<Measure>) {
    let (deed, mut measures) = deed_in_words(round, shared.deed, "It uses", "It serves");
    let doing = count("members doing so", whole(shared.members), "endpoints");
    let members = count("members", whole(sight.likeness.members), "endpoints");
    let mut tallies = sight.behaviours.deeds(sight.endpoint.id.0, DEED_WINDOWS_MIN);
    let windows = tallies.find(|(deed, _)| *deed == shared.deed).map_or(0, |(_, tally)| tally.windows);
    let windows = count("windows", windows, "windows");
    let text = format!(
        "{deed}, as {} of {} members do; seen in {}.",
        doing.text,
        members.text,
        counted(&windows, "window")
    );
    measures.extend([doing, members, windows]);
    (text, measures)
}

fn missing_in_words(round: &Round<'_>, likeness: &Likeness, missing: &Shared) -> (String, Vec<Measure>) {
    let (deed, mut measures) =
        deed_in_words(round, missing.deed, "It was not seen using", "It was not seen serving");
    let doing = count("members doing so", whole(missing.members), "endpoints");
    let members = count("members", whole(likeness.members), "endpoints");
    let text = format!("{deed}, which {} of {} members do.", doing.text, members.text);
    measures.extend([doing, members]);
    (text, measures)
}

fn deed_in_words(round: &Round<'_>, deed: Deed, uses: &str, serves: &str) -> (String, Vec<Measure>) {
    let protocol = Protocol(deed.protocol);
    let (service, measures) = if protocol.has_ports() && deed.service_port == 0 {
        (format!("{protocol} on ports handed out at random"), Vec::new())
    } else if protocol.has_ports() {
        let port = number("port", deed.service_port.into());
        let name =
            services::name(protocol, deed.service_port).map_or_else(String::new, |name| format!(" ({name})"));
        (format!("{protocol} {}{name}", port.text), vec![port])
    } else if protocol.is_icmp() {
        let kind = number("icmp type", deed.service_port.into());
        (format!("{protocol} type {}", kind.text), vec![kind])
    } else {
        let protocol = number("protocol", deed.protocol.into());
        (format!("protocol {}", protocol.text), vec![protocol])
    };
    let (verb, relation) = match deed.part {
        Part::Uses => (uses, "of"),
        Part::Serves => (serves, "to"),
    };
    let peer = deed.peer.map_or_else(|| "anybody".to_owned(), |peer| peer_in_words(round, peer));
    (format!("{verb} {service} {relation} {peer}"), measures)
}

fn features(likeness: &Likeness) -> Vec<Feature> {
    let next = likeness.next.map_or(0.0, |(_, similarity)| similarity);
    [
        ("membership_similarity", likeness.similarity),
        ("membership_similarity_next", next),
        ("membership_similarity_members", likeness.members_similarity),
        ("membership_members", real(whole(likeness.members))),
        ("membership_shared", real(whole(likeness.shared.len()))),
        ("membership_missing", real(whole(likeness.missing.len()))),
    ]
    .map(|(name, value)| Feature { name: name.to_owned(), value })
    .into()
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
