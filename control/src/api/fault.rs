//! Faults as gRPC statuses: whose mistake it is decides the code, the message names the thing at fault.

use crate::distributor::JoinFault;
use crate::explain::QuestionFault;
use crate::keeper::{AnswerFault, KeeperFault};
use crate::policy_book::BookFault;
use crate::store::StoreError;
use meshgate_proto::WireFault;
use std::fmt::Display;
use tonic::{Code, Status};

/// Bytes of the longest message of a status: it travels in a header, which clients bound.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Returns the status of a field that cannot be used.
pub(super) fn invalid(field: &str, problem: impl Display) -> Status {
    status(Code::InvalidArgument, &format!("{field}: {problem}"))
}

/// Returns the status of a message that cannot be used; `field` is where the message was.
pub(super) fn refused(field: &str, fault: &WireFault) -> Status {
    status(Code::InvalidArgument, &format!("{field}.{fault}"))
}

/// Returns the status of more than is taken.
pub(super) fn exhausted(problem: impl Display) -> Status {
    status(Code::ResourceExhausted, &problem.to_string())
}

fn status(code: Code, message: &str) -> Status {
    if message.len() <= MESSAGE_BYTES_MAX {
        return Status::new(code, message);
    }
    // Whole lines, as many as fit, and how many there are beyond.
    let mut kept = String::new();
    let mut lines = message.lines().peekable();
    while let Some(line) = lines.next_if(|line| kept.len() + line.len() < MESSAGE_BYTES_MAX - 64) {
        kept.push_str(line);
        kept.push('\n');
    }
    if kept.is_empty() {
        kept.extend(message.chars().take(MESSAGE_BYTES_MAX / 8));
        kept.push('\n');
    }
    Status::new(code, format!("{kept}and {} more lines", lines.count()))
}

impl From<KeeperFault> for Status {
    fn from(fault: KeeperFault) -> Self {
        let code = match &fault {
            KeeperFault::Book(book) => match book {
                BookFault::Conflict { .. } => Code::Aborted,
                BookFault::TooManyChanges(_) | BookFault::Numbering(_) | BookFault::Compile(_) => {
                    Code::ResourceExhausted
                }
                BookFault::Unknown(..) => Code::NotFound,
                BookFault::Exists(..) => Code::AlreadyExists,
                BookFault::Twice(..) | BookFault::Policy(_) => Code::InvalidArgument,
                BookFault::Referenced { .. } => Code::FailedPrecondition,
            },
            KeeperFault::Answer(answer) => match answer {
                AnswerFault::Unknown(_) => Code::NotFound,
                AnswerFault::Decided { .. }
                | AnswerFault::Obstacle(..)
                | AnswerFault::NotAnswered(_)
                | AnswerFault::Expired(_)
                | AnswerFault::Superseded { .. }
                | AnswerFault::Withdrawn(_)
                | AnswerFault::Removed { .. }
                | AnswerFault::NotUndone(..)
                | AnswerFault::Changed { .. } => Code::FailedPrecondition,
                AnswerFault::Numbered(_) | AnswerFault::Alternative(..) | AnswerFault::Both(_) => {
                    Code::InvalidArgument
                }
            },
            KeeperFault::Store(StoreError::Conflict) | KeeperFault::CostRevision { .. } => Code::Aborted,
            KeeperFault::Store(StoreError::TooLarge(..)) | KeeperFault::Comment(_) => Code::InvalidArgument,
            KeeperFault::Store(StoreError::Corrupt(..)) => Code::DataLoss,
            KeeperFault::Store(_) | KeeperFault::Stopping => Code::Unavailable,
            KeeperFault::NoVersion(_) => Code::NotFound,
        };
        status(code, &fault.to_string())
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        KeeperFault::Store(error).into()
    }
}

impl From<QuestionFault> for Status {
    fn from(fault: QuestionFault) -> Self {
        let code = match fault {
            QuestionFault::Segment(_) | QuestionFault::Endpoint(..) => Code::NotFound,
            QuestionFault::NoAddress(..) => Code::FailedPrecondition,
            QuestionFault::Text(..) | QuestionFault::Families(..) => Code::InvalidArgument,
        };
        status(code, &fault.to_string())
    }
}

impl From<JoinFault> for Status {
    fn from(fault: JoinFault) -> Self {
        let code = match fault {
            JoinFault::Older(..) => Code::FailedPrecondition,
            JoinFault::Full => Code::ResourceExhausted,
        };
        status(code, &fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_line_and_says_so() {
        let lines: Vec<String> = (0..1_000).map(|i| format!("group g{i}: is wrong")).collect();
        let status = status(Code::InvalidArgument, &lines.join("\n"));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        assert!(status.message().ends_with("more lines"), "{}", status.message());
    }
}
