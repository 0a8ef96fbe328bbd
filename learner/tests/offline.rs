//! Learning from recorded flows without a daemon: the same bytes twice, and a checkpoint that a replay goes on from.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files is a failed test")]

use clap::Parser;
use meshgate_learner::offline::{TrainArguments, TrainError, Trained, run};
use meshgate_learner::replay::{ReplayArguments, ReplayError, replay};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// 2024-05-01, a day's first second.
const START_S: u64 = 1_714_521_600;
/// Two groups, and nothing between them is decided.
const POLICY: &str = r#"
[[groups]]
name = "clients"
prefixes = ["10.0.0.0/24"]

[[groups]]
name = "servers"
prefixes = ["10.0.1.0/24"]
"#;

/// A folder of its own, which goes when the test ends well.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-offline-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("policy.toml"), POLICY).unwrap();
        fs::write(path.join("flows.csv"), flows(0..120)).unwrap();
        fs::write(path.join("later.csv"), flows(120..150)).unwrap();
        Self(path)
    }

    fn arguments(&self, out: &str) -> TrainArguments {
        TrainArguments {
            flows: vec![self.0.join("flows.csv")],
            policy: self.0.join("policy.toml"),
            until: "2024-05-01T01:30".parse().unwrap(),
            out: self.0.join(out),
            config: None,
            steps: 1,
        }
    }

    fn replay(&self, words: &[&str]) -> Result<u64, ReplayError> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            arguments: ReplayArguments,
        }
        let (policy, later) = (self.0.join("policy.toml"), self.0.join("later.csv"));
        let fixed = ["replay", "--policy", policy.to_str().unwrap(), later.to_str().unwrap()];
        let line = Line::try_parse_from(fixed.iter().chain(words)).unwrap();
        replay(&line.arguments).map(|replayed| replayed.windows)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns these minutes of four clients that ask two servers.
fn flows(minutes: std::ops::Range<u64>) -> String {
    let mut text =
        String::from("ts,src,dst,proto,sport,dport,bytes_out,bytes_in,pkts_out,pkts_in,dur,state,service\n");
    for minute in minutes {
        for client in 1..=4 {
            for server in 1..=2 {
                let bytes = 300 + 7 * ((minute * 5 + client * 3 + server) % 11);
                let _ = writeln!(
                    text,
                    "{},10.0.0.{client},10.0.1.{server},tcp,40000,{},{bytes},{},4,5,0.5,SF,",
                    START_S + minute * 60 + client,
                    if server == 1 { 443 } else { 5432 },
                    bytes * 9
                );
            }
        }
    }
    text
}

#[test]
fn the_same_flows_give_the_same_bytes_and_other_flows_others() {
    let ground = Ground::new("digest");
    let train = |arguments: &TrainArguments| -> Trained { run(arguments).unwrap() };
    let (one, other) = (train(&ground.arguments("one")), train(&ground.arguments("other")));
    assert_eq!(one, other);
    assert_eq!(fs::read(ground.0.join("one")).unwrap(), fs::read(ground.0.join("other")).unwrap());
    // After the first window there is nothing to learn from yet: a chunk has two rows.
    assert_eq!((one.windows, one.steps, one.flows), (90, 89, 720));
    let shorter =
        TrainArguments { until: "2024-05-01T01:29".parse().unwrap(), ..ground.arguments("shorter") };
    assert_ne!(train(&shorter).sha256, one.sha256);
    // An earlier checkpoint is replaced.
    assert_eq!(train(&ground.arguments("shorter")).sha256, one.sha256);
}

#[test]
fn a_replay_goes_on_from_the_checkpoint_and_names_what_is_none() {
    let ground = Ground::new("replay");
    run(&ground.arguments("learned")).unwrap();
    let learned = ground.0.join("learned");
    assert_eq!(ground.replay(&["--model", learned.to_str().unwrap()]).unwrap(), 30);
    let missing = ground.replay(&["--model", "/nowhere/learned"]).unwrap_err().to_string();
    assert_eq!(missing, "--model /nowhere/learned: there is no such file");
    let other = ground.replay(&["--model", ground.0.join("later.csv").to_str().unwrap()]).unwrap_err();
    assert!(other.to_string().contains("not a checkpoint"), "{other}");
    // Windows of another width hold other counts.
    let width = ground.replay(&["--window", "10", "--model", learned.to_str().unwrap()]).unwrap_err();
    assert!(width.to_string().starts_with("--model: "), "{width}");
}

#[test]
fn what_cannot_be_learned_from_or_written_to_is_refused_and_left_alone() {
    let ground = Ground::new("refused");
    let early = TrainArguments { until: "2024-04-01".parse().unwrap(), ..ground.arguments("none") };
    assert!(matches!(run(&early).unwrap_err(), TrainError::Empty(_)));
    assert!(!ground.0.join("none").exists());
    fs::write(ground.0.join("thesis"), "years of work").unwrap();
    let refused = run(&ground.arguments("thesis")).unwrap_err().to_string();
    assert!(refused.starts_with("--out: not a checkpoint"), "{refused}");
    assert_eq!(fs::read_to_string(ground.0.join("thesis")).unwrap(), "years of work");
    let policy = TrainArguments { policy: ground.0.join("no.toml"), ..ground.arguments("none") };
    assert!(run(&policy).unwrap_err().to_string().contains("no.toml"));
}
