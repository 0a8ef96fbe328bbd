//! The store on SQLite; `tests/postgres.rs` runs whole programs on PostgreSQL.

use super::learners::LEARNERS_MAX;
use super::*;
use crate::audit::{Draft, Event, Head};
use crate::config::sqlite_url;
use crate::flow_book::{Bucket, Delivery, FlowKey, FlowQuery, FlowSum, Width, ZoneKey, ZoneSum};
use crate::policy_book::PolicyBook;
use crate::replay::{Matchable, Replay};
use meshgate_policy::suggestion::Verdict;
use meshgate_policy::{
    Action, EffectCounts, GroupId, L4Match, LearnerLine, LearnerReport, Name, Policy, Priority, Protocol,
    Rule, RuleId, RuleKind, Side,
};
use std::path::PathBuf;

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-store-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self) -> String {
        sqlite_url(&self.0.join("control.sqlite"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn sum(bytes_forward: u64, source: &[u32]) -> FlowSum {
    let key = FlowKey {
        segment: 1,
        source_groups: source.iter().copied().map(GroupId).collect(),
        destination_groups: vec![GroupId(17)],
        protocol: 6,
        service_port: 443,
        action: Action::Allow,
        stage: 5,
        rule: 7,
        shadow_rule: 0,
    };
    FlowSum {
        key,
        flows: 1,
        packets_forward: 2,
        bytes_forward,
        packets_reverse: 0,
        bytes_reverse: 0,
        first_ns: 5,
        last_ns: 9,
    }
}

fn bucket(width: Width, start_s: u64, sums: Vec<FlowSum>) -> Bucket {
    Bucket { width, start_s, sums, records_lost: 1, zones: Vec::new() }
}

fn delivery(buckets: Vec<Bucket>) -> Delivery {
    Delivery { collector: Name::new("c1").unwrap(), epoch: 1, buckets }
}

fn query() -> FlowQuery {
    FlowQuery { limit: 100, ..FlowQuery::default() }
}

#[tokio::test]
async fn a_foreign_database_and_a_newer_schema_are_refused_by_name() {
    let scratch = Scratch::new("foreign");
    let store = Store::open(&scratch.url()).await.unwrap();
    store.run("UPDATE meta SET value = '99' WHERE name = 'schema'").await;
    let newer = Store::open(&scratch.url()).await.unwrap_err().to_string();
    assert!(newer.ends_with("control.sqlite: its schema is 99, this program knows up to 7"), "{newer}");
    store.run("UPDATE meta SET value = 'bank' WHERE name = 'application'").await;
    assert!(matches!(Store::open(&scratch.url()).await, Err(StoreError::NotOurs(..))));
    store.run("DROP TABLE meta").await;
    let foreign = Store::open(&scratch.url()).await.unwrap_err().to_string();
    assert!(foreign.contains("is not a database of meshgate-control (it has a table"), "{foreign}");
}

/// Makes a database as the program of an older schema left it.
async fn with_schema(scratch: &Scratch, schema: i64, rows: &[&'static str]) {
    let url = format!("{}?mode=rwc", scratch.url());
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let old: Vec<_> = MIGRATIONS.iter().filter(|migration| migration.version <= schema).cloned().collect();
    sqlx::migrate::Migrator::with_migrations(old).run(&mut connection).await.unwrap();
    for row in rows {
        sqlx::query(*row).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date() {
    let scratch = Scratch::new("upgrade");
    with_schema(&scratch, 1, &[]).await;
    let store = Store::open(&scratch.url()).await.unwrap();
    assert_eq!(store.newest_decision().await.unwrap(), 0);
    store.close().await;
    Store::open(&scratch.url()).await.unwrap();
}

#[tokio::test]
async fn fractions_that_were_kept_as_texts_become_numbers() {
    let scratch = Scratch::new("fractions");
    let suggestion = r#"INSERT INTO suggestions VALUES ('default', 1, 'l1', 'open', 'anomaly', 'k',
        '{"source_group_name":"a","destination_group_name":"b","action":"deny"}', '0.5', '0.25', 1, '1', 'why',
        '{"form":1,"content":[{"kind":"volume","sentence":"say \"value\":\"7\"","measures":[{"name":"p","value":"0.30000000000000004","unit":"","text":"p"},{"name":"n","value":"7","unit":"flows","text":"7"}],"from_ns":1,"until_ns":2}]}',
        5, 1, 0, 0, 0, '0', '', '', 0, '{"form":1,"content":[{"name":"x","value":"-0"},{"name":"y","value":"0.1"}]}',
        1, '', 0, 0)"#;
    let odd = r#"INSERT INTO suggestions SELECT tenant, 2, learner, state, origin, draft_key, draft, confidence,
        relevance, rank, propensity, justification, evidence, flows_seen, flows_matched, flows_newly_allowed,
        flows_newly_denied, flows_attributed, over_permissiveness, narrows, shadows, makes_explicit,
        REPLACE(features, 'x', '\"}'), base_version, model_version, window_end_ns, submitted_ns FROM suggestions"#;
    let learner = r#"INSERT INTO learners VALUES ('default', 'l1', 1, 5, '{"form":1,"content":{"learner":"l1","epoch":1,
        "model_version":"","records_read":0,"records_lost":0,"window_s":60,"windows_closed":0,"windows_left_out":0,
        "series_live":0,"series_left_out":0,"training_steps":0,"training_loss":0.5,"calibration_scores":0,
        "calibration_scores_needed":0,"suggestions_submitted":0,"drafts_dropped":[{"name":"carried","value":"3"}],
        "decision_sequence":0,"uptime_ns":0}}')"#;
    with_schema(&scratch, 3, &[suggestion, odd, learner]).await;
    let store = Store::open(&scratch.url()).await.unwrap();
    let kept = store.suggestion(1).await.unwrap().unwrap().suggestion;
    let measures: Vec<f64> = kept.evidence[0].measures.iter().map(|measure| measure.value).collect();
    assert_eq!((measures, kept.evidence[0].sentence.as_str()), (vec![0.1 + 0.2, 7.0], r#"say "value":"7""#));
    let features: Vec<u64> = kept.features.iter().map(|feature| feature.value.to_bits()).collect();
    assert_eq!(features, [(-0.0_f64).to_bits(), 0.1_f64.to_bits()]);
    assert_eq!(store.suggestion(2).await.unwrap().unwrap().suggestion.features, []);
    let learners = store.learners().await.unwrap();
    assert_eq!((learners[0].reported_ns, learners[0].report.drafts_dropped[0].value), (5, 3.0));
}

#[tokio::test]
async fn decisions_of_an_older_schema_stand() {
    let scratch = Scratch::new("standing");
    let suggestion = r#"INSERT INTO suggestions VALUES ('default', 1, 'l1', 'rejected', 'anomaly', 'k',
        '{"source_group_name":"a","destination_group_name":"b","action":"deny"}', '0.5', '0.25', 1, '1', 'why',
        '', 5, 1, 0, 0, 0, '0', '', '', 0, '', 1, '', 0, 0)"#;
    let decision =
        "INSERT INTO decisions VALUES ('default', 1, 1, 'rejected', 'later', 'c', 'alice', 7, 0, '')";
    with_schema(&scratch, 4, &[suggestion, decision]).await;
    let store = Store::open(&scratch.url()).await.unwrap();
    let kept = store.suggestion(1).await.unwrap().unwrap().decision.unwrap();
    assert_eq!((kept.sequence, kept.actor.as_str(), kept.automatic), (1, "alice", false));
    assert_eq!(store.newest_decision().await.unwrap(), 1);
    assert_eq!(store.told("l1", 0, 10).await.unwrap().len(), 1);
    store.run("INSERT INTO decisions SELECT tenant, 2, suggestion_id, verdict, reason, comment, actor, time_ns, version, \
               made, 0, 2 FROM decisions").await;
    assert_eq!(
        store.suggestion(1).await.unwrap().unwrap().decision.unwrap().sequence,
        1,
        "the other was withdrawn"
    );
}

#[tokio::test]
async fn what_a_rule_did_is_added_up_over_whole_buckets() {
    let scratch = Scratch::new("watched");
    let store = Store::open(&scratch.url()).await.unwrap();
    assert_eq!(store.oldest_bucket(0).await.unwrap(), None);
    let of = |action, rule, shadow_rule, flows| {
        let plain = sum(1, &[16]);
        FlowSum { key: FlowKey { action, rule, shadow_rule, ..plain.key }, flows, ..plain }
    };
    let sums = vec![of(Action::Allow, 3, 9, 5), of(Action::Deny, 9, 0, 7), of(Action::Allow, 3, 0, 100)];
    let buckets = vec![
        bucket(Width::Minute, 3_600, sums.clone()),
        bucket(Width::Hour, 3_600, sums.clone()),
        bucket(Width::Hour, 7_200, sums),
    ];
    store.ingest(&delivery(buckets)).await.unwrap();
    // The second hour is not over: only whole buckets count.
    let watched = store.watched_flows(RuleId(9), 3_595, 7_300).await.unwrap();
    let expected =
        crate::automatic::Watched { seen: 112, changed: 5, decided: 7, lost: 1, hours: 2, hours_seen: 2 };
    assert_eq!(watched, expected);
    let before = store.watched_flows(RuleId(9), 0, 3_600).await.unwrap();
    assert_eq!((before.seen, before.hours, before.hours_seen), (0, 1, 0));
    assert_eq!(store.oldest_bucket(3_601).await.unwrap(), Some(7_200));
}

#[tokio::test]
async fn drafts_and_decisions_of_before_are_relationships() {
    let scratch = Scratch::new("kinds");
    let suggestion = r#"INSERT INTO suggestions VALUES ('default', 1, 'l1', 'accepted', 'anomaly', 'k',
        '{"source_group_name":"a","destination_group_name":"b","action":"deny"}', '0.5', '0.25', 1, '1', 'why',
        '{"form":1,"content":[]}', 5, 1, 0, 0, 0, '0', '', '', 0, '{"form":1,"content":[]}', 1, '', 0, 0)"#;
    let accepted = r#"INSERT INTO decisions VALUES ('default', 1, 1, 'accepted', '', '', 'alice', 7, 2,
        '{"id":3,"source_group_name":"a","destination_group_name":"b","action":"deny"}')"#;
    with_schema(&scratch, 4, &[suggestion, accepted]).await;
    let store = Store::open(&scratch.url()).await.unwrap();
    let filed = store.suggestion(1).await.unwrap().unwrap();
    assert_eq!((filed.suggestion.draft.kind(), filed.suggestion.expires_ns), ("relationship", 0));
    assert_eq!(filed.suggestion.alternatives, []);
    let Some(Verdict::Accepted { made, .. }) = filed.decision.map(|decision| decision.verdict) else {
        panic!("it was accepted");
    };
    assert_eq!((made.kind(), made.rule_id()), ("relationship", Some(RuleId(3))));
}

fn silent() -> LearnerReport {
    let text = r#"{"learner":"x","epoch":0,"model_version":"","records_read":0,"records_lost":0,"window_s":60,
        "windows_closed":0,"windows_left_out":0,"series_live":0,"series_left_out":0,"training_steps":0,
        "training_loss":null,"calibration_scores":0,"calibration_scores_needed":0,"suggestions_submitted":0,
        "drafts_dropped":[],"decision_sequence":0,"uptime_ns":0}"#;
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn the_newest_report_of_each_learner_is_kept() {
    let scratch = Scratch::new("learners");
    let store = Store::open(&scratch.url()).await.unwrap();
    let report = |name: &str, epoch, records_read| LearnerReport {
        learner: Name::new(name).unwrap(),
        epoch,
        records_read,
        training_loss: Some(0.1 + 0.2),
        ..silent()
    };
    assert!(store.keep_learner(&report("b", 2, u64::MAX), 10).await.unwrap());
    assert!(store.keep_learner(&report("b", 2, 7), 11).await.unwrap());
    assert!(!store.keep_learner(&report("b", 1, 9), 12).await.unwrap(), "from an older start");
    let lines = store.learners().await.unwrap();
    assert_eq!(lines, [LearnerLine { report: report("b", 2, 7), reported_ns: 11 }]);
    for number in 0..LEARNERS_MAX {
        let name = format!("a{number}");
        assert!(store.keep_learner(&report(&name, 1, 0), 100 + u64::from(number)).await.unwrap());
    }
    let lines = store.learners().await.unwrap();
    assert!(lines.len() == 64 && lines.iter().all(|line| line.report.learner.as_str() != "b"));
}

#[tokio::test]
async fn a_draft_is_replayed_against_every_flow_once() {
    let scratch = Scratch::new("replay");
    let store = Store::open(&scratch.url()).await.unwrap();
    let of = |source, port, action, flows| {
        let one = sum(1, &[source]);
        FlowSum { key: FlowKey { service_port: port, action, rule: 0, ..one.key.clone() }, flows, ..one }
    };
    let sums = vec![
        of(16, 443, Action::Allow, 3),
        of(16, 443, Action::Deny, 2),
        of(16, 80, Action::Allow, 1),
        of(18, 443, Action::Allow, 4),
    ];
    // The same flows in two widths, and others before the span.
    let buckets = vec![
        bucket(Width::Minute, 7_200, sums.clone()),
        bucket(Width::Hour, 7_200, sums.clone()),
        bucket(Width::Hour, 3_600, sums),
    ];
    store.ingest(&delivery(buckets)).await.unwrap();
    let draft = Rule {
        id: RuleId(9),
        kind: RuleKind::Relationship,
        priority: Priority(1_000),
        action: Action::Deny,
        shadow: false,
        source: Side::Group(GroupId(16)),
        destination: Side::Group(GroupId(17)),
        l4: L4Match::Ports(Protocol::TCP, "443".parse().unwrap()),
    };
    let policy = Policy::empty(Action::Allow);
    let replay = Replay::new(&policy, &draft);
    let counts = store.replay(7_200, Matchable::by(&draft), replay).await.unwrap();
    let expected = EffectCounts { seen: 10, matched: 5, newly_denied: 3, attributed: 2, newly_allowed: 0 };
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let scratch = Scratch::new("garbage");
    std::fs::write(scratch.0.join("control.sqlite"), vec![7; 8192]).unwrap();
    let refusal = Store::open(&scratch.url()).await.unwrap_err().to_string();
    assert!(
        refusal.contains("control.sqlite: cannot be opened: ") && refusal.lines().count() == 1,
        "{refusal}"
    );
}

#[tokio::test]
async fn a_version_of_another_control_is_a_conflict() {
    let scratch = Scratch::new("conflict");
    let store = Store::open(&scratch.url()).await.unwrap();
    let book = PolicyBook::default();
    let commit =
        || NewVersion { book: &book, digest: book.digest(), author: "a", comment: "", committed_ns: 1 };
    let draft = || Draft { time_ns: 1, actor: "a".into(), event: Event::Commit, detail: "d".into() };
    let head = store.commit(commit(), Head::default(), draft()).await.unwrap();
    assert!(matches!(store.commit(commit(), head, draft()).await, Err(StoreError::Conflict)));
    assert!(matches!(store.append(Head::default(), draft()).await, Err(StoreError::Conflict)));
    assert_eq!(store.audit_head().await.unwrap(), head);
    store.run("UPDATE audit SET detail = 'nothing'").await;
    assert_eq!(store.audit_break().await.unwrap(), Some(1));
}

#[tokio::test]
async fn flows_in_buckets_of_several_widths_are_counted_once() {
    let scratch = Scratch::new("widths");
    let store = Store::open(&scratch.url()).await.unwrap();
    let tens = (0..12).map(|i| bucket(Width::Ten, 3_600 + i * 10, vec![sum(10, &[16])]));
    let minutes = (0..2).map(|i| bucket(Width::Minute, 3_600 + i * 60, vec![sum(60, &[16])]));
    store.ingest(&delivery(tens.chain(minutes).collect())).await.unwrap();
    let answer = store.query_flows(&query()).await.unwrap();
    assert_eq!((answer.sums.len(), answer.sums[0].bytes_forward, answer.records_lost), (1, 120, 2));
    let cut = FlowQuery { from_s: 3_630, until_s: Some(3_720), ..query() };
    assert_eq!(store.query_flows(&cut).await.unwrap().sums[0].bytes_forward, 90);
}

#[tokio::test]
async fn a_wide_bucket_that_was_overtaken_counts_again_when_it_comes_again() {
    let scratch = Scratch::new("stale");
    let store = Store::open(&scratch.url()).await.unwrap();
    let (ten, minute, hour) = (Width::Ten, Width::Minute, Width::Hour);
    // Each delivery, and what the flows are added up to then: which buckets are counted shows in the sum.
    for (buckets, bytes) in [
        (vec![(hour, 3_600, 300), (minute, 3_600, 60), (ten, 3_600, 10)], 300),
        (vec![(ten, 3_610, 1)], 11),
        (vec![(minute, 3_600, 61)], 61),
        (vec![(minute, 3_660, 6)], 67),
        (vec![(ten, 3_670, 2)], 63),
        (vec![(hour, 3_600, 301), (ten, 3_680, 1)], 301),
        (vec![(ten, 7_200, 1)], 302),
    ] {
        let buckets = buckets
            .into_iter()
            .map(|(width, start_s, bytes)| bucket(width, start_s, vec![sum(bytes, &[16])]));
        store.ingest(&delivery(buckets.collect())).await.unwrap();
        assert_eq!(store.query_flows(&query()).await.unwrap().sums[0].bytes_forward, bytes);
    }
    let other = Delivery { epoch: 2, ..delivery(vec![bucket(ten, 3_600, vec![sum(5, &[16])])]) };
    store.ingest(&other).await.unwrap();
    let answer = store.query_flows(&query()).await.unwrap();
    assert_eq!(answer.sums[0].bytes_forward, 307, "another run overtakes nothing");
}

#[tokio::test]
async fn an_overtaken_bucket_counts_once_what_overtook_it_is_forgotten() {
    let scratch = Scratch::new("overtaken");
    let store = Store::open(&scratch.url()).await.unwrap();
    let one = |width, bytes| bucket(width, 3_600, vec![sum(bytes, &[16])]);
    store.ingest(&delivery(vec![one(Width::Minute, 60), one(Width::Hour, 300)])).await.unwrap();
    store.ingest(&delivery(vec![one(Width::Ten, 10)])).await.unwrap();
    for (now_s, bytes) in [(3_600, 10), (3_600 * 26, 60), (86_400 * 15, 300)] {
        store.forget(now_s, Retention::default(), 5).await.unwrap();
        assert_eq!(store.query_flows(&query()).await.unwrap().sums[0].bytes_forward, bytes);
    }
}

#[tokio::test]
async fn a_repeated_bucket_replaces_the_first() {
    let scratch = Scratch::new("repeat");
    let store = Store::open(&scratch.url()).await.unwrap();
    for bytes in [5, 7] {
        let sums = (0..450).map(|i| sum(bytes, &[16, 18 + i])).collect();
        store.ingest(&delivery(vec![bucket(Width::Hour, 7_200, sums)])).await.unwrap();
    }
    let answer = store.query_flows(&FlowQuery { limit: 400, ..query() }).await.unwrap();
    assert_eq!((answer.sums.len(), answer.left_out, answer.sums[0].bytes_forward), (400, 50, 7));
    let one = FlowQuery { source_group: Some(GroupId(18)), ..query() };
    let one = store.query_flows(&one).await.unwrap();
    assert_eq!(one.sums[0].key.source_groups, [GroupId(16), GroupId(18)]);
    assert_eq!(one.sums.len(), 1);
    let none = FlowQuery { action: Some(Action::Deny), ..query() };
    assert!(store.query_flows(&none).await.unwrap().sums.is_empty());
}

#[tokio::test]
async fn old_buckets_are_forgotten_by_width() {
    let scratch = Scratch::new("retention");
    let store = Store::open(&scratch.url()).await.unwrap();
    let buckets =
        vec![bucket(Width::Ten, 3_600, vec![sum(1, &[16])]), bucket(Width::Hour, 3_600, vec![sum(1, &[16])])];
    store.ingest(&delivery(buckets)).await.unwrap();
    store.forget(3_600 * 26, Retention::default(), 5).await.unwrap();
    let left = store.query_flows(&query()).await.unwrap();
    assert_eq!((left.sums[0].flows, left.records_lost), (1, 1));
    store.forget(u64::from(u32::MAX), Retention::default(), 5).await.unwrap();
    assert!(store.query_flows(&query()).await.unwrap().sums.is_empty());
}

#[test]
fn a_store_is_named_without_its_password() {
    assert_eq!(public_name("postgres://u:secret@h:1/db"), "postgres://h:1/db");
    assert_eq!(public_name("sqlite:/a@b"), "sqlite:/a@b");
}

#[tokio::test]
async fn zone_sums_that_are_too_many_are_counted() {
    let scratch = Scratch::new("zone-sums");
    let store = Store::open(&scratch.url()).await.unwrap();
    let zone = |rule: u32, bytes_forward| ZoneSum {
        key: ZoneKey {
            source_groups: Vec::new(),
            destination_groups: Vec::new(),
            rule,
            source_zone: "a".parse().unwrap(),
            destination_zone: "b".parse().unwrap(),
        },
        bytes_forward,
        bytes_reverse: 0,
    };
    let zones = vec![zone(1, 10), zone(2, 30), zone(3, 20)];
    let told = Bucket { zones, ..bucket(Width::Hour, 3_600, Vec::new()) };
    store.ingest(&delivery(vec![told])).await.unwrap();
    let all = store.zone_sums(0, 3).await.unwrap();
    assert_eq!((all.sums.len(), all.left_out), (3, 0));
    let largest = store.zone_sums(0, 1).await.unwrap();
    assert_eq!((largest.sums, largest.left_out), (vec![zone(2, 30)], 2));
}
