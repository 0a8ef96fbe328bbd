//! Why a call failed, in one line that says what to do.

use crate::server::Server;
use meshgate_proto::WireFault;
use std::error::Error;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers at the address.
    #[error("cannot reach the control plane at {server}: {cause}; {}", cure(server))]
    Unreachable {
        /// The address.
        server: Server,
        /// What the system said.
        cause: String,
    },
    /// No answer in time.
    #[error("no answer from the control plane at {0} in time; give it longer with --timeout")]
    Timeout(Server),
    /// The control plane refused; holds its words.
    #[error("{0}")]
    Refused(String),
    /// The policy is another one than the change was made against; holds the control plane's words.
    #[error("{0}; somebody else changed the policy meanwhile, run the command again")]
    Conflict(String),
    /// The control plane does not offer the call.
    #[error("the control plane at {0} does not know this call; is it older than this program?")]
    Unknown(Server),
    /// The answer holds something that no policy can hold.
    #[error("the answer of the control plane is not understood: {0}")]
    Answer(WireFault),
    /// The answer lacks what was asked for.
    #[error("the answer of the control plane holds no {0}")]
    Missing(&'static str),
}

fn cure(server: &Server) -> &'static str {
    match server {
        Server::Tcp(_) => {
            "is meshgate-control running there? Name another address with --server or MESHGATE_SERVER"
        }
        Server::Unix(_) => {
            "is meshgate-control running with this socket? Name another one with --server unix:PATH"
        }
    }
}

impl CallError {
    /// Returns the error of a connection that could not be made.
    pub fn unreachable(server: &Server, error: &dyn Error) -> Self {
        Self::Unreachable { server: server.clone(), cause: root_cause(error) }
    }

    /// Returns the error of a call that was answered with a status.
    pub fn refused(server: &Server, status: &Status) -> Self {
        let message = plain(status.message());
        match status.code() {
            Code::Unavailable if status.source().is_some() => Self::Unreachable {
                server: server.clone(),
                cause: status.source().map_or(message, root_cause),
            },
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout(server.clone()),
            Code::Unimplemented => Self::Unknown(server.clone()),
            Code::Aborted => Self::Conflict(message),
            code if message.is_empty() => Self::Refused(format!("refused: {}", code.description())),
            _ => Self::Refused(message),
        }
    }
}

/// Returns the innermost cause, which is what the system said.
fn root_cause(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    one_line(&inner.to_string())
}

/// Returns a message without the places of single changes, which the person who typed a command has not numbered: the
/// object at fault is named after them. Several faults stay one line each.
fn plain(message: &str) -> String {
    let without_place =
        |line: &str| match line.strip_prefix("changes[").and_then(|rest| rest.split_once("]: ")) {
            Some((index, rest)) if index.bytes().all(|digit| digit.is_ascii_digit()) => rest.to_owned(),
            _ => line.to_owned(),
        };
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(without_place)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the text with line ends turned into semicolons.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_by_its_message_only() {
        let server: Server = "http://127.0.0.1:7600".parse().unwrap();
        let status = Status::invalid_argument("relationship web -> db: port_range: ICMP has no ports");
        let shown = CallError::refused(&server, &status).to_string();
        assert_eq!(shown, "relationship web -> db: port_range: ICMP has no ports");
        let shown = CallError::refused(&server, &Status::new(Code::Internal, "")).to_string();
        assert_eq!(shown, "refused: Internal error");
    }

    #[test]
    fn several_faults_stay_one_line_each_without_the_numbers_of_changes() {
        let server: Server = "http://127.0.0.1:7600".parse().unwrap();
        let status = Status::not_found("changes[0]: there is no group Lab\n\ngroup a: name: is used twice");
        let shown = CallError::refused(&server, &status).to_string();
        assert_eq!(shown, "there is no group Lab\ngroup a: name: is used twice");
    }

    #[test]
    fn a_call_that_ran_out_of_time_names_the_address() {
        let server: Server = "unix:/run/m.sock".parse().unwrap();
        let shown = CallError::refused(&server, &Status::deadline_exceeded("x")).to_string();
        assert!(shown.contains("unix:/run/m.sock") && shown.contains("--timeout"), "{shown}");
    }
}
