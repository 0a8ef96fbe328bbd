//! What can be wrong with a policy that people wrote: one line each, naming the object, the field and the reason.

use crate::address::AddressError;
use crate::ids::RuleId;
use crate::limits::FAULTS_LISTED_MAX;
use crate::name::Name;
use crate::protocol::L4MatchError;
use std::fmt;
use std::net::IpAddr;

/// One mistake of an authored policy. Displays as `group web: members: no endpoint "vm9"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The object at fault, like `relationship web -> db`.
    pub object: String,
    /// Its field at fault.
    pub field: &'static str,
    /// What is wrong with the field.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name that nothing of the kind has.
    #[error("no {kind} \"{name}\"")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name.
        name: Name,
    },
    /// A name that two things of one kind have.
    #[error("\"{0}\" is used twice")]
    Duplicate(Name),
    /// The name of a built-in group.
    #[error("\"{0}\" is a built-in group; choose another name")]
    BuiltIn(Name),
    /// A tenant other than `default`.
    #[error("no tenant \"{0}\"; this version has only \"default\"")]
    Tenant(Name),
    /// A name or rule that has not been given a number, which is control's duty.
    #[error("has not been given a number")]
    Unnumbered,
    /// A rule number that another rule has too; holds the number and the other rule.
    #[error("{0} is also the number of {1}")]
    RuleTwice(RuleId, String),
    /// More entries than the limit.
    #[error("{count} {what}, at most {max} are possible")]
    TooMany {
        /// How many there are.
        count: usize,
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A text longer than the limit.
    #[error("{bytes} bytes, at most {max} are possible")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// A label without a key.
    #[error("a label must have a key")]
    EmptyLabel,
    /// A MAC address that does not name one interface.
    #[error("{0}")]
    Mac(AddressError),
    /// A MAC address that another endpoint of the segment has; holds that endpoint.
    #[error("endpoint {0} of the same segment has it too")]
    MacTaken(Name),
    /// An IP address that another endpoint of the segment owns.
    #[error("{address} is owned by endpoint {other} of the same segment too")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The other endpoint.
        other: Name,
    },
    /// An address that no interface can own; holds the reason.
    #[error("{0} is {1}; an endpoint needs unicast addresses")]
    NotUnicast(IpAddr, &'static str),
    /// Routes of an endpoint that is not a router.
    #[error("only an endpoint with flags.router may have routes")]
    RoutesWithoutRouter,
    /// A text that the kernel does not take as a device name.
    #[error("{0:?} is not a device name (1 to 15 bytes without space, '/' or ':')")]
    Device(String),
    /// An address in more groups than an address may be in.
    #[error("{place} is in {count} groups ({examples}, ...), at most {max} are possible")]
    TooManyGroups {
        /// The address or prefix.
        place: String,
        /// How many groups hold it.
        count: usize,
        /// The first few of them.
        examples: String,
        /// How many may.
        max: usize,
    },
    /// Layer-4 fields that do not go together.
    #[error("{0}")]
    L4(L4MatchError),
    /// More faults than are listed; holds how many are not.
    #[error("{0} more faults are not listed")]
    More(usize),
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            // This error begins with the name of its field.
            Problem::L4(error) => write!(f, "{}: {error}", self.object),
            problem => write!(f, "{}: {}: {problem}", self.object, self.field),
        }
    }
}

impl std::error::Error for PolicyFault {}

/// The faults found so far: the first [`FAULTS_LISTED_MAX`] are kept, the rest is counted.
#[derive(Default)]
pub(crate) struct Faults {
    listed: Vec<PolicyFault>,
    unlisted: usize,
}

impl Faults {
    /// Notes a fault. The object is only put into words if the fault is listed.
    pub(crate) fn push(&mut self, object: &dyn fmt::Display, field: &'static str, problem: Problem) {
        if self.listed.len() < FAULTS_LISTED_MAX {
            self.listed.push(PolicyFault { object: object.to_string(), field, problem });
        } else {
            self.unlisted += 1;
        }
    }

    /// Notes a fault if `count` is above `max`. Returns whether it is not.
    pub(crate) fn limit(
        &mut self,
        object: &dyn fmt::Display,
        field: &'static str,
        (count, what, max): (usize, &'static str, usize),
    ) -> bool {
        if count > max {
            self.push(object, field, Problem::TooMany { count, what, max });
        }
        count <= max
    }

    /// Returns the faults, if there are any.
    pub(crate) fn into_result(mut self) -> Result<(), Vec<PolicyFault>> {
        if self.unlisted > 0 {
            let (object, problem) = ("policy".to_owned(), Problem::More(self.unlisted));
            self.listed.push(PolicyFault { object, field: "faults", problem });
        }
        if self.listed.is_empty() { Ok(()) } else { Err(self.listed) }
    }
}
