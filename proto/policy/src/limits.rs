//! Limits of a policy, checked where people write it. What they do not keep out (rules that together tell too much apart) is
//! found by compiling: control does so with every version before it is kept, with the classifier that hosts compile with.

/// Groups one address may be in, CIDR ancestors included. Sixteen columns pairs stay within one look-up loop.
pub const GROUPS_PER_ENDPOINT_MAX: usize = 16;
/// Groups of a policy.
pub const GROUPS_MAX: usize = 10_000;
/// Endpoints of a policy.
pub const ENDPOINTS_MAX: usize = 200_000;
/// Rules of both kinds of a policy, disabled ones included.
pub const RULES_MAX: usize = 50_000;
/// Segments of a policy: the flow key spends 16 bits on them, the VLAN tag space is 4,094.
pub const SEGMENTS_MAX: usize = 4_094;
/// Addresses of one endpoint, link-local ones included.
pub const ADDRESSES_PER_ENDPOINT_MAX: usize = 32;
/// Prefixes of one group.
pub const PREFIXES_PER_GROUP_MAX: usize = 10_000;
/// Prefixes of all groups of a policy together: as many as endpoints, so that one address trie holds both.
pub const GROUP_PREFIXES_MAX: usize = 200_000;
/// Prefixes of the peer of one group rule.
pub const PREFIXES_PER_RULE_MAX: usize = 256;
/// Prefixes of the peers of all group rules of a policy together.
pub const RULE_PREFIXES_MAX: usize = 200_000;
/// Prefixes behind one router endpoint.
pub const ROUTES_PER_ENDPOINT_MAX: usize = 256;
/// Group memberships of all endpoints together: every endpoint in every group it may be in.
pub const MEMBERSHIPS_MAX: usize = ENDPOINTS_MAX * GROUPS_PER_ENDPOINT_MAX;
/// Conflicts that one question lists. Nobody reads more, and pairs grow with the square of the rules.
pub const CONFLICTS_LISTED_MAX: usize = 10_000;
/// Faults of one refused policy that are listed; the rest is counted.
pub const FAULTS_LISTED_MAX: usize = 200;
/// Port ranges of one rule.
pub const PORT_RANGES_PER_RULE_MAX: usize = 64;
/// Labels of one endpoint, and requirements of one selector.
pub const LABELS_MAX: usize = 64;
/// Bytes of one label key or value.
pub const LABEL_BYTES_MAX: usize = 253;
/// Bytes of a free note on a rule.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Bytes of a device name: the kernel's `IFNAMSIZ` less its terminating zero.
pub const DEVICE_NAME_BYTES_MAX: usize = 15;
/// Rules with a larger priority are `protected`: no draft of the learner may outrank them.
pub const PROTECTED_ABOVE_PRIORITY: u16 = 60_000;
/// Smallest priority that a draft of the learner may carry.
pub const DRAFT_PRIORITY_MIN: u16 = 100;
/// Bytes of a single word of a learner: a name, a unit, a number as text, a version of a model.
pub const WORD_BYTES_MAX: usize = 128;
/// Kinds of drafts that a learner may report as dropped.
pub const DROPPED_KINDS_MAX: usize = 32;
/// Entries that each list of a learner's report of what it learned from answers may hold.
pub const LEARNED_LISTED_MAX: usize = 64;
/// Bytes of the name of something that was learned about: two names of groups and the words between them.
pub const LEARNED_NAME_BYTES_MAX: usize = 256;
/// Bytes of who decided something, as a learner keeps it: a user's name and what the system says of the peer.
pub const ACTOR_BYTES_MAX: usize = 256;
/// Alternatives of one suggestion.
pub const ALTERNATIVES_MAX: usize = 8;
/// Groups that one suggestion makes: one for each side of its rule.
pub const PROPOSED_GROUPS_MAX: usize = 2;
