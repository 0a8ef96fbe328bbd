//! Policies and changes of policies as bytes, from control or from the file of the last accepted one: each is refused by
//! the name of what is wrong, or is a policy that keeps every promise that the dataplane builds on.
//!
//! An input is a byte that says which of the two it is, then the message. No digest is guessed by chance, so that a
//! message whose digest alone is wrong is tried again with the right one, as if control had meant it.

use super::input::Input;
use crate::lab::{authored, relationship};
use meshgate_dataplane::classifier::{Classifier, CompileError};
use meshgate_dataplane::subscriber;
use meshgate_policy::{Action, Delta, DeltaError, Numbering, Policy, PolicyVersion, Side};
use meshgate_proto::wire;
use prost::Message;
use std::collections::HashSet;
use std::sync::OnceLock;

/// Longest message of a test.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// Returns the policy to which changes are applied.
pub fn base() -> &'static Policy {
    static BASE: OnceLock<Policy> = OnceLock::new();
    BASE.get_or_init(|| {
        let rules = relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow");
        authored(&rules, &mut Numbering::default(), 1)
    })
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let is_delta = input.byte() & 1 == 1;
    let message = input.rest();
    let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
    let policy = if is_delta { changed(message) } else { whole(message) };
    if let Some(policy) = policy {
        check_promises(&policy, if is_delta { Some(base()) } else { None }, message.len());
        check_use(&policy);
    }
}

/// Returns the policy of a message that is one, or would be one with the right digest.
fn whole(bytes: &[u8]) -> Option<Policy> {
    match subscriber::decode(bytes) {
        Ok(policy) => return Some(policy),
        Err(fault) => assert!(!fault.is_empty(), "a refusal says what is wrong"),
    }
    let mut message = wire::Policy::decode(bytes).ok()?;
    message.digest = digest_of(&message)?;
    Policy::try_from(message).ok()
}

/// Returns the digest that a message ought to carry, if its parts are each right: as that of the change from nothing.
fn digest_of(message: &wire::Policy) -> Option<Vec<u8>> {
    let wire::Policy { version, digest: _, segments, groups, endpoints, rules, default_action } =
        message.clone();
    let delta = wire::PolicyDelta {
        from_version: version.checked_sub(1)?,
        to_version: version,
        digest: vec![0; 32],
        segments,
        groups,
        endpoints,
        rules,
        default_action,
        ..wire::PolicyDelta::default()
    };
    let nothing =
        Policy { version: PolicyVersion(version - 1), segments: Vec::new(), ..Policy::empty(Action::Deny) };
    sealed(&nothing, delta.try_into().ok()?).map(|delta| delta.digest.0.to_vec())
}

/// Returns the policy that a change makes of the base.
fn changed(bytes: &[u8]) -> Option<Policy> {
    let mut message = wire::PolicyDelta::decode(bytes).ok()?;
    if message.digest.is_empty() {
        message.digest = vec![0; 32];
    }
    let delta = sealed(base(), message.try_into().ok()?)?;
    subscriber::follow(base(), wire::PolicyDelta::from(&delta)).ok()
}

/// Returns the change with the digest of what it leads to, if it leads anywhere.
fn sealed(from: &Policy, mut delta: Delta) -> Option<Delta> {
    match from.apply(&delta) {
        Ok(_) => Some(delta),
        Err(DeltaError::WrongDigest { found, .. }) => {
            delta.digest = found;
            Some(delta)
        }
        Err(_) => None,
    }
}

/// Numbers exist, lists are in order, nobody owns what another owns, and nothing was made out of nothing.
fn check_promises(policy: &Policy, base: Option<&Policy>, message_bytes: usize) {
    let Policy { segments, groups, endpoints, rules, .. } = policy;
    let parts = |policy: &Policy| {
        policy.segments.len() + policy.groups.len() + policy.endpoints.len() + policy.rules.len()
    };
    assert!(parts(policy) <= message_bytes + base.map_or(0, parts), "more than the bytes can say");
    assert!(segments.is_sorted_by(|a, b| a.id < b.id), "segments");
    assert!(groups.is_sorted_by(|a, b| a.id < b.id), "groups");
    assert!(endpoints.is_sorted_by(|a, b| a.id < b.id), "endpoints");
    assert!(rules.is_sorted_by(|a, b| a.order() < b.order()), "rules");
    let (mut addresses, mut macs, mut ids) = (HashSet::new(), HashSet::new(), HashSet::new());
    let has_segment = |id| segments.iter().any(|segment| segment.id == id);
    for endpoint in endpoints {
        assert!(has_segment(endpoint.segment), "{} is nowhere", endpoint.name);
        assert!(macs.insert((endpoint.segment, endpoint.mac)), "{} twice", endpoint.mac);
        assert!(endpoint.addresses.is_sorted_by(|a, b| a < b) && endpoint.routes.is_sorted_by(|a, b| a < b));
        for address in &endpoint.addresses {
            assert!(addresses.insert((endpoint.segment, *address)), "{address} twice");
        }
    }
    for group in groups {
        assert!(has_segment(group.segment) && !group.id.is_built_in(), "{} is nowhere", group.name);
        assert!(group.prefixes.is_sorted_by(|a, b| a < b) && group.endpoints.is_sorted_by(|a, b| a < b));
        let unknown = group.endpoints.iter().find(|id| policy.endpoint(**id).is_none());
        assert_eq!(unknown, None, "{} has a member that is not there", group.name);
    }
    for rule in rules {
        assert!(ids.insert(rule.id), "rule {} twice", rule.id);
        for side in [&rule.source, &rule.destination] {
            match side {
                Side::Group(id) => {
                    assert!(id.built_in_name().is_some() || policy.group(*id).is_some(), "{id}");
                }
                Side::Prefixes(prefixes) => assert!(!prefixes.is_empty(), "rule {} has no peer", rule.id),
            }
        }
    }
}

/// The policy can be kept, read back, and compiled, unless a limit that no message can show says otherwise.
fn check_use(policy: &Policy) {
    assert_eq!(subscriber::decode(&subscriber::encode(policy)).as_ref(), Ok(policy), "kept and read back");
    if let Err(error) = Classifier::compile(policy) {
        assert!(matches!(error, CompileError::GroupsPerAddress { .. }), "{error}");
    }
}
