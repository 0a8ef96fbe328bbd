//! The learner as a program: killed in the middle of learning it goes on from its checkpoint and loses no answer, traffic
//! does not notice; what is no checkpoint of ours is refused by name and learning begins anew.

mod ground;

use ground::learner::{open, servers};
use ground::{DB, Ground, WEB, wait_until};

/// Kills of one run.
const KILLS: u64 = 20;

#[test]
fn twenty_kills_lose_no_answer_and_no_traffic() {
    let Some(ground) = Ground::with_endpoints("learner-kills", &["socat", "iperf3"]) else { return };
    let _control = ground.start_control();
    let _dataplane = ground.start_exporting_dataplane();
    let _servers = servers(&ground);
    let iperf_server = ground.start(DB.name, "iperf-server", "iperf3 --server --forceflush");
    let mut learner = ground.start_learner();
    let _requests = ground.begin_watching();
    iperf_server.await_log("it listens", |log| log.contains("Server listening"));
    let mut transfer =
        ground.start(WEB.name, "transfer", &format!("iperf3 --client {} --time 60 --bitrate 50M", DB.v4()));
    wait_until("a first suggestion is there", || !open(&ground).is_empty());
    let (mut steps_before, mut answered) = (0, 0);
    for kill in 1..=KILLS {
        wait_until("the learner trains on", || ground.learner_number("training_steps") > steps_before);
        if let Some(id) = open(&ground).first() {
            ground.ask(&["suggestions", "reject", id, "--reason", "wrong-rule"]);
            answered += 1;
        }
        learner.kill();
        learner = ground.start_learner();
        if kill > 1 {
            learner.await_log("it goes on from the checkpoint", |log| {
                log.contains("goes on from the checkpoint")
            });
        }
        assert!(!learner.log().contains("refused"), "{}", learner.log());
        wait_until("every answer is taken in", || {
            ground.learner_status()["epoch"].as_u64().is_some()
                && ground.learner_number("decision_sequence") == answered
        });
        steps_before = ground.learner_number("training_steps");
    }
    assert!(answered >= 4, "{answered} answers");
    let all = ground.ask(&["suggestions", "list", "--state", "all"]);
    let drafts: Vec<_> =
        all["suggestions"].as_array().unwrap().iter().map(|s| s["draft"].to_string()).collect();
    let distinct: std::collections::BTreeSet<_> = drafts.iter().collect();
    assert_eq!(drafts.len(), distinct.len(), "a draft came twice: {drafts:#?}");
    let status = transfer.wait();
    assert!(status.success(), "traffic noticed: {}", transfer.log());
}

/// Milliseconds for which a window stays open after its end, for records that come late.
const GRACE_MS: u64 = 2_000;
/// Milliseconds between the close of a window and its alert in the inbox, at most.
const ALERT_MS_MAX: u64 = 2_000;

#[test]
fn an_anomaly_is_in_the_inbox_within_two_seconds_of_the_close_of_its_window() {
    let Some(ground) = Ground::with_endpoints("learner-alert", &["socat"]) else { return };
    let _control = ground.start_control();
    let _dataplane = ground.start_exporting_dataplane();
    let _servers = servers(&ground);
    let _learner = ground.start_learner();
    let _requests = ground.begin_watching();
    // All services in every window: calibration wants many scores.
    let request = format!("timeout 1 bash -c \"exec 3<>/dev/tcp/{}/$p\"", DB.v4());
    let script = format!("while :; do for p in 80 81 82 83; do {request}; done; sleep 0.2; done");
    let script = ground.write("all.sh", &script);
    let _all = ground.start(WEB.name, "all", &format!("bash {}", script.display()));
    for _ in 0..4 {
        // Calibration takes longer than anything else that is waited for.
        let is_calibrated = || {
            let scores = ground.learner_number("calibration_scores");
            scores > 0 && scores >= ground.learner_number("calibration_scores_needed")
        };
        if (0..100).any(|_| {
            ground::rest(std::time::Duration::from_millis(200));
            is_calibrated()
        }) {
            break;
        }
    }
    let burst = format!(
        "for i in $(seq 200); do timeout 0.2 bash -c 'exec 3<>/dev/tcp/{}/22' & sleep 0.02; done; wait",
        WEB.v4()
    );
    let burst = ground.write("burst.sh", &burst);
    let _burst = ground.start(DB.name, "burst", &format!("bash {}", burst.display()));
    let alert = || {
        let listed = ground.ask(&["suggestions", "list"]);
        let all = listed["suggestions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|suggestion| suggestion["origin"] == "anomaly")
    };
    wait_until("an anomaly is in the inbox", || alert().is_some());
    let alert = alert().unwrap();
    let ms = |name: &str| alert[name].as_u64().unwrap() / 1_000_000;
    let waited_ms = ms("submitted_ns").saturating_sub(ms("window_end_ns") + GRACE_MS);
    println!("window closed -> inbox {waited_ms} ms");
    assert!(waited_ms <= ALERT_MS_MAX, "{waited_ms} ms: {alert:#}");
    let (expires, ended) = (alert["expires_ns"].as_u64().unwrap(), alert["window_end_ns"].as_u64().unwrap());
    assert_eq!((expires - ended) / 1_000_000_000, 3 * 86_400, "what was unusual is soon forgotten");
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name_and_learning_begins_anew() {
    let Some(ground) = Ground::with_endpoints("learner-checkpoints", &["socat"]) else { return };
    let _control = ground.start_control();
    let _dataplane = ground.start_exporting_dataplane();
    let _servers = servers(&ground);
    let learner = ground.start_learner();
    let _requests = ground.begin_watching();
    wait_until("a checkpoint is kept", || ground.checkpoint().exists());
    let (status, _) = learner.terminate();
    assert!(status.success());
    let whole = std::fs::read(ground.checkpoint()).unwrap();
    let mut older = whole.clone();
    older[8..12].copy_from_slice(&0_u32.to_le_bytes());
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, shown) in [
        (whole[..whole.len() / 2].to_vec(), "truncated"),
        (b"PK\x03\x04 something else".repeat(40), "not a checkpoint of this learner"),
        (older, "older than"),
        (damaged, "damaged"),
    ] {
        std::fs::write(ground.checkpoint(), bytes).unwrap();
        let learner = ground.start_learner();
        learner.await_log("it says why", |log| log.contains("learning begins anew") && log.contains(shown));
        wait_until("it keeps a checkpoint of its own", || ground.checkpoint().exists());
        let (status, log) = learner.terminate();
        assert!(status.success(), "{log}");
    }
    std::fs::write(ground.checkpoint(), &whole).unwrap();
    let learner = ground.start_learner();
    learner.await_log("a good one is taken", |log| log.contains("goes on from the checkpoint"));
}
