//! Deltas between versions, both ways. Whether a delta fits the policy it is applied to is said by `Policy::apply`.

use crate::fault::{At, WireFault};
use crate::field::{action_from_wire, entries, given, messages};
use crate::policy::{group_id, segment_id};
use crate::wire;
use meshgate_policy::limits::{ENDPOINTS_MAX, GROUPS_MAX, RULES_MAX, SEGMENTS_MAX};
use meshgate_policy::{
    Delta, Digest, Endpoint, EndpointId, Group, PolicyVersion, Rule, RuleId, Segment, SegmentId,
};

impl TryFrom<wire::PolicyDelta> for Delta {
    type Error = WireFault;
    fn try_from(message: wire::PolicyDelta) -> Result<Self, WireFault> {
        let wire::PolicyDelta {
            from_version,
            to_version,
            digest,
            segments,
            segments_removed,
            groups,
            groups_removed,
            endpoints,
            endpoints_removed,
            rules,
            rules_removed,
            default_action,
        } = message;
        let endpoint_number = |id| given(id).map(EndpointId);
        Ok(Self {
            from: PolicyVersion(from_version),
            to: PolicyVersion(to_version),
            digest: Digest::try_from(digest.as_slice()).at("digest")?,
            default_action: action_from_wire(default_action).at("default_action")?,
            segments: messages(segments, "segments", SEGMENTS_MAX + 1, Segment::try_from)?,
            groups: messages(groups, "groups", GROUPS_MAX, Group::try_from)?,
            endpoints: messages(endpoints, "endpoints", ENDPOINTS_MAX, Endpoint::try_from)?,
            rules: messages(rules, "rules", RULES_MAX, Rule::try_from)?,
            removed_segments: entries(segments_removed, "segments_removed", SEGMENTS_MAX + 1, segment_id)?,
            removed_groups: entries(groups_removed, "groups_removed", GROUPS_MAX, group_id)?,
            removed_endpoints: entries(
                endpoints_removed,
                "endpoints_removed",
                ENDPOINTS_MAX,
                endpoint_number,
            )?,
            removed_rules: entries(rules_removed, "rules_removed", RULES_MAX, |id| given(id).map(RuleId))?,
        })
    }
}

impl From<&Delta> for wire::PolicyDelta {
    fn from(delta: &Delta) -> Self {
        let Delta {
            from,
            to,
            digest,
            default_action,
            segments,
            groups,
            endpoints,
            rules,
            removed_segments,
            removed_groups,
            removed_endpoints,
            removed_rules,
        } = delta;
        Self {
            from_version: from.0,
            to_version: to.0,
            digest: digest.0.to_vec(),
            segments: segments.iter().map(Into::into).collect(),
            segments_removed: removed_segments.iter().map(|SegmentId(id)| (*id).into()).collect(),
            groups: groups.iter().map(Into::into).collect(),
            groups_removed: removed_groups.iter().map(|id| id.0).collect(),
            endpoints: endpoints.iter().map(Into::into).collect(),
            endpoints_removed: removed_endpoints.iter().map(|id| id.0).collect(),
            rules: rules.iter().map(Into::into).collect(),
            rules_removed: removed_rules.iter().map(|id| id.0).collect(),
            default_action: wire::Action::from(*default_action).into(),
        }
    }
}
