//! The same suite on PostgreSQL, where one can be started; else it says that it was skipped.

use crate::costs;
use crate::program::{Program, Scratch, commit, group};
use crate::suggestions;
use crate::suite;
use crate::{automatic, withdrawals};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where Debian's postgresql-15 has its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// A server that a crashed test leaves behind ends by itself after this.
const LIFE_MAX_S: &str = "600";

/// A PostgreSQL server on a free port of 127.0.0.1.
struct Postgres {
    child: Child,
    port: u16,
    _data: Scratch,
}

impl Postgres {
    /// Returns a server, or none where none can be started.
    fn start() -> Option<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !is_root || !Path::new(PROGRAMS).join("postgres").exists() {
            return None;
        }
        let data = Scratch::new();
        let directory = data.0.display().to_string();
        let chown = Command::new("chown").args(["postgres", &directory]).status().ok()?;
        let initdb = Command::new("runuser")
            .args(["-u", "postgres", "--", &format!("{PROGRAMS}/initdb"), "-A", "trust", "-D", &directory])
            .args(["--no-sync", "-E", "UTF8", "--locale=C"])
            .output()
            .ok()?;
        if !chown.success() || !initdb.status.success() {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let mut child = Command::new("timeout")
            .args([
                "-s",
                "INT",
                LIFE_MAX_S,
                "runuser",
                "-u",
                "postgres",
                "--",
                &format!("{PROGRAMS}/postgres"),
            ])
            // Only control is killed here, never the server.
            .args(["-c", "fsync=off"])
            .args(["-D", &directory, "-k", &directory, "-h", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stderr.take()?).lines();
        while !lines.next()?.ok()?.contains("ready to accept connections") {}
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port, _data: data })
    }

    /// Returns the configuration line of a new database.
    fn store(&self, name: &str) -> String {
        format!("store = '{}'", self.url(name))
    }

    /// Returns the URL of a new database.
    fn url(&self, name: &str) -> String {
        let port = self.port.to_string();
        let created = Command::new(format!("{PROGRAMS}/createdb"))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", name])
            .status();
        assert!(created.unwrap().success());
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _told = Command::new("kill").args(["-INT", &pid]).status();
        let _ended = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_holds_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped: no PostgreSQL");
        return;
    };
    suite::a_policy_lives_through_versions_and_a_restart(&postgres.store("versions")).await;
    suite::refusals_have_a_code_and_name_the_thing_at_fault(&postgres.store("refusals")).await;
    suite::roll_ups_are_counted_once_and_named(&postgres.store("flows")).await;
    suite::a_killed_program_loses_no_acknowledged_commit(&postgres.store("killed"), 5).await;
    suggestions::suggestions_live_from_submission_to_decision(&postgres.store("suggestions")).await;
    suggestions::refused_decisions_say_why(&postgres.store("refused")).await;
    suggestions::decisions_are_watched_without_loss(&postgres.store("watched")).await;
    suggestions::a_look_replays_the_draft(&postgres.store("replayed")).await;
    suggestions::learners_are_remembered(&postgres.store("learners")).await;
    suggestions::a_killed_program_loses_no_acknowledged_answer(&postgres.store("answered"), 5).await;
    withdrawals::a_withdrawn_answer_is_as_if_it_had_never_been_given(&postgres.store("withdrawn")).await;
    withdrawals::refused_withdrawals_say_why(&postgres.store("unwithdrawn")).await;
    withdrawals::a_killed_program_loses_no_acknowledged_withdrawal(&postgres.store("taken_back"), 5).await;
    withdrawals::gate_steps_are_audited_once(&postgres.store("gates")).await;
    withdrawals::automatic_acceptance_is_switched_and_shown(&postgres.store("switched")).await;
    automatic::everything_holds(&async |name: &str| postgres.url(name)).await;
    costs::costs_live_from_table_to_advice(&postgres.store("costs")).await;
    costs::refused_costs_say_why(&postgres.store("refused_costs")).await;
    two_controls_serve_one_policy(&postgres.store("shared")).await;
}

/// Each takes over what the other commits; of two writes against one version, one is refused.
async fn two_controls_serve_one_policy(store: &str) {
    let (one, other) = (Scratch::new(), Scratch::new());
    let (first, second) = (Program::start(&one, store), Program::start(&other, store));
    let (mut ones, mut others) = (first.policy().await, second.policy().await);
    ones.commit(commit(vec![group("a")])).await.unwrap();
    // The other may not have seen it yet; it is then told so, has read it, and succeeds at once.
    let answer = match others.commit(commit(vec![group("b")])).await {
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::Aborted, "{status}");
            others.commit(commit(vec![group("b")])).await.unwrap()
        }
        Ok(answer) => answer,
    };
    assert_eq!(answer.into_inner().version, 2);
    loop {
        let newest = ones.get_policy(meshgate_proto::wire::GetPolicyRequest::default()).await.unwrap();
        if newest.into_inner().version == 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
    suggestions::two_controls_serve_one_inbox(&first, &second).await;
}
