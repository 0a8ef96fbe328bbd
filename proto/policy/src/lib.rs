//! The words that all programs of Meshgate share.
//!
//! A policy has three forms. [`AuthoredPolicy`] is what people wrote: names, labels, selectors. `resolve` turns it
//! into [`Policy`]: numbers, in final order, which is what the wire carries, what a host keeps on disk and what the
//! digest covers. A dataplane compiles that into its classifier; [`Policy::decide`] is the plain linear form of the
//! same question and the oracle that the classifier is held against.
//!
//! Nothing here does I/O, waits, or knows the wire format.
#![forbid(unsafe_code)]

mod address;
mod address_set;
mod authored;
mod authored_decide;
pub mod automatic;
pub mod cases;
mod decide;
mod delta;
mod digest;
mod effect;
mod fault;
pub mod feedback_report;
mod finding;
mod flow_record;
pub mod generate;
mod ids;
mod learner_report;
pub mod limits;
mod name;
mod nesting;
mod numbering;
mod overlap;
mod policy;
mod ports;
mod protocol;
mod resolve;
mod resolve_rules;
mod rule;
mod shadows;
pub mod suggestion;
mod withdrawal;
mod witness;

pub use address::{AddressError, Mac, Prefix, is_group_address};
pub use authored::{
    AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, Direction, Home,
};
pub use authored_decide::{AuthoredDecision, AuthoredKey};
pub use decide::{Decision, PolicyKey, ShadowDecision, Stage};
pub use delta::{Delta, DeltaError};
pub use digest::{Digest, DigestError};
pub use effect::{Effect, EffectCounts, SeenFlows};
pub use fault::{PolicyFault, Problem};
pub use feedback_report::FeedbackReport;
pub use finding::{Finding, Severity};
pub use flow_record::{
    EndReason, FLOW_RECORD_VERSION, FlowRecord, ObservationPoint, RecordKind, address_bytes,
    address_from_bytes,
};
pub use ids::{EndpointId, GroupId, PolicyVersion, RuleId, SegmentId};
pub use learner_report::{LearnerLine, LearnerReport};
pub use name::{Name, NameError};
pub use numbering::{Numbering, NumberingError};
pub use overlap::{Extents, Relation};
pub use policy::{Endpoint, EndpointFlags, Group, IntraGroup, Policy, Segment};
pub use ports::{PortError, PortRange, PortSet};
pub use protocol::{L4Key, L4Match, L4MatchError, Protocol, ProtocolError, ProtocolMatch};
pub use resolve::resolve;
pub use rule::{Action, Mode, Priority, Rule, RuleKind, RuleOrder, Side, UnknownWord};
pub use shadows::{Conflict, ConflictKind, ConflictPair};
pub use withdrawal::Withdrawal;
