//! A control plane on a ground, and the client that people type.

use super::program::{Program, binary};
use super::{Ground, wait_until};
use serde_json::Value;
use std::process::{Command, Output};

/// What came of records, as a dataplane reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Made.
    pub produced: u64,
    /// Taken by a reader.
    pub delivered: u64,
    /// In a ring.
    pub waiting: u64,
    /// Left out by sampling.
    pub sampled_out: u64,
    /// Lost.
    pub lost: u64,
}

impl Balance {
    /// Returns whether every record is accounted for.
    pub fn is_exact(&self) -> bool {
        self.produced == self.delivered + self.waiting + self.sampled_out + self.lost
    }
}

impl Ground {
    /// Starts a control plane and returns when it answers.
    pub fn start_control(&self) -> Program {
        let dir = self.dir.display();
        let config = format!("listen = \"unix:{dir}/control.sock\"\nstate_dir = \"{dir}/control\"\n");
        let config = self.write("control.toml", &config);
        let line = format!("{} --config {}", binary("meshgate-control").display(), config.display());
        let program = self.start("host", "control", &line);
        wait_until("control answers", || self.meshgate(&["status"]).status.success());
        program
    }

    /// Calls the client.
    pub fn meshgate(&self, arguments: &[&str]) -> Output {
        let server = format!("unix:{}/control.sock", self.dir.display());
        Command::new(binary("meshgate")).env("MESHGATE_SERVER", server).args(arguments).output().unwrap()
    }

    /// Calls the client and returns its answer; panics with its complaint.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.meshgate(&[arguments, &["--output", "json"]].concat());
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes the endpoints and these rules the policy and returns when the dataplane enforces it.
    pub fn apply(&self, rules: &str) {
        let file = self.write("policy.toml", &self.policy(rules));
        self.ask(&["apply", "-f", &file.display().to_string(), "--wait", "--timeout", "30s"]);
    }

    /// Returns the newest version of the policy.
    pub fn version(&self) -> u64 {
        self.ask(&["status"])["version"].as_u64().unwrap()
    }

    /// Returns what control knows of the host; null if nothing.
    pub fn host_status(&self) -> Value {
        self.ask(&["status", "--counters"])["hosts"][0].clone()
    }

    /// Returns a counter of the dataplane, as control last heard it.
    pub fn counter(&self, name: &str) -> u64 {
        self.host_status()["report"]["counters"][name].as_u64().unwrap_or(0)
    }

    /// Returns what came of the flow records, as control last heard it.
    pub fn balance(&self) -> Balance {
        let records = &self.host_status()["report"]["records"];
        let of = |name: &str| records[name].as_u64().unwrap_or(0);
        Balance {
            produced: of("produced"),
            delivered: of("delivered"),
            waiting: of("waiting"),
            sampled_out: of("sampled_out"),
            lost: of("lost"),
        }
    }

    /// Waits until two reports in a row say the same, which balances, and returns it.
    pub fn settled_balance(&self) -> Balance {
        let mut last = Balance::default();
        let mut uptime = 0;
        wait_until("the records are at rest", || {
            let now_uptime = self.host_status()["report"]["uptime_ns"].as_u64().unwrap_or(0);
            if now_uptime == uptime {
                return false;
            }
            uptime = now_uptime;
            let before = std::mem::replace(&mut last, self.balance());
            last == before && last.produced > 0
        });
        assert!(last.is_exact(), "{last:?}");
        last
    }
}
