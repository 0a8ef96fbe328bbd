//! The real program in a directory of its own, and a client of it.

use meshgate_proto::{MESSAGE_BYTES_MAX, wire};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tonic::transport::{Channel, Endpoint};

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// A directory that is gone with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("meshgate-control-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a configuration that listens on a Unix socket; `more` is added as it is.
    pub fn configure(&self, more: &str) -> PathBuf {
        let (socket, state) = (self.0.join("c.sock"), self.0.join("state"));
        let text =
            format!("listen = 'unix:{}'\nstate_dir = '{}'\n{more}\n", socket.display(), state.display());
        let file = self.0.join("control.toml");
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the command of the program with a configuration.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate-control"));
    command.arg("--config").arg(config).env_remove("MESHGATE_LOG");
    command
}

/// The program while it runs; killed when dropped.
pub struct Program {
    child: Child,
    pub socket: PathBuf,
}

impl Program {
    /// Starts the program and returns when it listens.
    pub fn start(scratch: &Scratch, more: &str) -> Self {
        let config = scratch.configure(more);
        let mut child = command(&config).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        loop {
            let Some(Ok(line)) = lines.next() else { panic!("the program has ended:\n{log}") };
            log.push_str(&line);
            log.push('\n');
            if line.contains("listening") {
                break;
            }
        }
        // A full pipe would stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, socket: scratch.0.join("c.sock") }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the program to end and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket.display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn policy(&self) -> Policies {
        let client = wire::policy_service_client::PolicyServiceClient::new(self.channel().await);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

pub type Policies = wire::policy_service_client::PolicyServiceClient<Channel>;

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Returns a group without members.
pub fn group(name: &str) -> wire::change::Change {
    wire::change::Change::PutGroup(wire::AuthoredGroup {
        name: name.into(),
        ..wire::AuthoredGroup::default()
    })
}

/// Returns the seed's relationship between two groups.
pub fn relationship(source: &str, destination: &str, ports: &str) -> wire::change::Change {
    wire::change::Change::PutRelationship(wire::GroupRelationship {
        source_group_name: source.into(),
        destination_group_name: destination.into(),
        protocol: "TCP".into(),
        port_range: ports.into(),
        action: "allow".into(),
        ..wire::GroupRelationship::default()
    })
}

/// Returns a request that commits changes against any version.
pub fn commit(changes: Vec<wire::change::Change>) -> wire::CommitRequest {
    let changes = changes.into_iter().map(|change| wire::Change { change: Some(change) }).collect();
    wire::CommitRequest { expected_version: None, changes, comment: "why".into() }
}
