//! A learner on a ground, and traffic that it has something to learn from.

use super::program::{Program, binary};
use super::{DB, Ground, WEB};
use serde_json::Value;
use std::path::PathBuf;

/// Seconds for which one service is asked before the next: twice what makes it steady.
const SERVICE_S: u32 = 8;

impl Ground {
    /// Starts the learner with windows of a second and a checkpoint every second.
    pub fn start_learner(&self) -> Program {
        let dir = self.dir.display();
        let config = format!(
            "collector = \"l\"\ncontrol = \"unix:{dir}/control.sock\"\nflow_ring = \"{dir}/flows.sock\"\n\
             checkpoint = \"{}\"\ncheckpoint_every_s = 1\nwindow_s = 1\ntraining_share = 0.5\n\
             [adviser]\nsteady_windows = 4\nsteady_span_windows = 4\n",
            self.checkpoint().display()
        );
        let config = self.write("learner.toml", &config);
        self.start(
            "host",
            "learner",
            &format!("{} --config {}", binary("meshgate-learner").display(), config.display()),
        )
    }

    /// Starts a dataplane whose flow records a learner can read.
    pub fn start_exporting_dataplane(&self) -> Program {
        let ring = format!("flow_ring = {{ socket = \"{}/flows.sock\" }}", self.dir.display());
        self.start_dataplane(&format!("active_report_s = 1\n{ring}"))
    }

    /// Returns where the learner keeps what it knows.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("learner.checkpoint")
    }

    /// Returns how the learner is doing, as control last heard; null before it said anything.
    pub fn learner_status(&self) -> Value {
        self.ask(&["learner", "status"])["learners"][0].clone()
    }

    /// Returns a figure of it; 0 before it said anything.
    pub fn learner_number(&self, name: &str) -> u64 {
        self.learner_status()[name].as_u64().unwrap_or(0)
    }

    /// Makes endpoints and default the policy, and lets the learner's world begin: requests that are answered.
    pub fn begin_watching(&self) -> Program {
        let policy = self.policy("").replacen("default_action = \"deny\"", "default_action = \"allow\"", 1);
        let file = self.write("policy.toml", &policy);
        self.ask(&["apply", "-f", &file.display().to_string(), "--wait", "--timeout", "30s"]);
        // One service after the other: those that are steady at once become one draft.
        let request = format!("timeout 1 bash -c \"exec 3<>/dev/tcp/{}/$p\"", DB.v4());
        let script = format!(
            "while :; do for p in 80 81 82 83; do end=$((SECONDS + {SERVICE_S})); \
             while [ $SECONDS -lt $end ]; do {request}; sleep 0.1; done; done; done"
        );
        let script = self.write("requests.sh", &script);
        self.start(WEB.name, "requests", &format!("bash {}", script.display()))
    }
}

/// Starts servers that answer on four ports.
pub fn servers(ground: &Ground) -> Vec<Program> {
    let serve = |port: u16| {
        ground.start(
            DB.name,
            &format!("server-{port}"),
            &format!("socat TCP-LISTEN:{port},fork,reuseaddr PIPE"),
        )
    };
    (80..84).map(serve).collect()
}

/// Returns the numbers of the suggestions that wait for an answer.
pub fn open(ground: &Ground) -> Vec<String> {
    let listed = ground.ask(&["suggestions", "list"]);
    listed["suggestions"].as_array().unwrap().iter().map(|s| s["id"].to_string()).collect()
}
