//! Who calls: what the system says of the peer, and what the caller says of itself.

use super::fault::invalid;
use std::path::Path;
use tonic::transport::server::{TcpConnectInfo, UdsConnectInfo};
use tonic::{Request, Status};

/// Metadata by which a caller names the person behind it. Without certificates it is a claim, and kept as one.
const USER_KEY: &str = "x-meshgate-user";
/// Bytes of the longest name of a person.
const USER_BYTES_MAX: usize = 128;
/// The system's list of users.
const USERS_FILE: &str = "/etc/passwd";

/// Returns who calls: `root` (the peer of a Unix socket), `loopback`, or `alice (root)` for a peer that claims to act
/// for alice.
pub(super) fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = peer(request);
    let Some(user) = request.metadata().get(USER_KEY) else { return Ok(peer) };
    let user = user.to_str().map_err(|_| invalid(USER_KEY, "is not plain text"))?;
    match user.len() {
        0 => Ok(peer),
        bytes if bytes > USER_BYTES_MAX => {
            Err(invalid(USER_KEY, format!("{bytes} bytes, at most {USER_BYTES_MAX} are possible")))
        }
        _ => Ok(format!("{user} ({peer})")),
    }
}

fn peer<T>(request: &Request<T>) -> String {
    if let Some(uid) = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred) {
        return user_name(Path::new(USERS_FILE), uid.uid());
    }
    match request.extensions().get::<TcpConnectInfo>() {
        Some(_) => "loopback".to_owned(),
        None => "local".to_owned(),
    }
}

/// Returns the name of a user (passwd(5)), or `uid 1000` if the file has none.
fn user_name(file: &Path, uid: u32) -> String {
    let users = std::fs::read_to_string(file).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_the_system_or_by_number() {
        assert_eq!(user_name(Path::new(USERS_FILE), 0), "root");
        assert_eq!(user_name(Path::new("/nonexistent"), 7), "uid 7");
    }

    #[test]
    fn a_claim_stands_beside_the_peer_and_has_a_limit() {
        let mut request = Request::new(());
        assert_eq!(caller(&request).unwrap(), "local");
        request.metadata_mut().insert(USER_KEY, "alice".parse().unwrap());
        assert_eq!(caller(&request).unwrap(), "alice (local)");
        request.metadata_mut().insert(USER_KEY, "a".repeat(129).parse().unwrap());
        assert_eq!(caller(&request).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
