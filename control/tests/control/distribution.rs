//! Streams of hosts to the real program: what they are sent, and what is remembered of their answers.

use crate::program::{Program, Scratch, commit, group};
use meshgate_policy::{Delta, Policy};
use meshgate_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use wire::control_message::Message as FromControl;
use wire::distribution_service_client::DistributionServiceClient;
use wire::host_message::Message as FromHost;

/// A host that does what it is told by the test.
struct Host {
    to_control: mpsc::Sender<wire::HostMessage>,
    from_control: Streaming<wire::ControlMessage>,
}

impl Host {
    async fn connect(program: &Program, name: &str, epoch: u64, holds: Option<&Policy>) -> Self {
        let (to_control, messages) = mpsc::channel(8);
        let client = DistributionServiceClient::new(program.channel().await);
        let mut client = client.max_decoding_message_size(meshgate_proto::MESSAGE_BYTES_MAX);
        let stream = client.subscribe(ReceiverStream::new(messages)).await.unwrap();
        let host = Self { to_control, from_control: stream.into_inner() };
        host.say(FromHost::Hello(wire::Hello {
            host: name.into(),
            role: "dataplane".into(),
            version: holds.map_or(0, |policy| policy.version.0),
            digest: holds.map_or_else(Vec::new, |policy| policy.digest().0.to_vec()),
            epoch,
            devices: vec!["tap0".into()],
        }))
        .await;
        host
    }

    async fn say(&self, message: FromHost) {
        self.to_control.send(wire::HostMessage { message: Some(message) }).await.unwrap();
    }

    async fn hear(&mut self) -> (u64, FromControl) {
        let message = self.from_control.message().await.unwrap().unwrap();
        (message.nonce, message.message.unwrap())
    }

    async fn snapshot(&mut self) -> (u64, Policy) {
        let (nonce, message) = self.hear().await;
        let FromControl::Snapshot(message) = message else { panic!("{message:?}") };
        (nonce, Policy::try_from(message).unwrap())
    }

    async fn delta(&mut self) -> (u64, Delta) {
        let (nonce, message) = self.hear().await;
        let FromControl::Delta(message) = message else { panic!("{message:?}") };
        (nonce, Delta::try_from(message).unwrap())
    }

    async fn ack(&self, nonce: u64, policy: &Policy) {
        let (version, digest) = (policy.version.0, policy.digest().0.to_vec());
        self.say(FromHost::Ack(wire::Ack { nonce, version, digest, ..wire::Ack::default() })).await;
    }

    async fn nack(&self, nonce: u64, reason: &str, resync: bool) {
        self.say(FromHost::Nack(wire::Nack { nonce, version: 0, reason: reason.into(), resync })).await;
    }

    async fn end(mut self) -> tonic::Status {
        loop {
            if let Err(status) = self.from_control.message().await {
                return status;
            }
        }
    }
}

/// Asks for the hosts until the answer is as wanted: an ACK and a question travel on different streams.
async fn hosts_until(
    program: &Program,
    wanted: impl Fn(&wire::HostEntry) -> bool,
) -> wire::ListHostsResponse {
    let mut client = DistributionServiceClient::new(program.channel().await);
    loop {
        let answer = client.list_hosts(wire::ListHostsRequest {}).await.unwrap().into_inner();
        if answer.hosts.first().is_some_and(&wanted) {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_from_snapshot_by_deltas_and_comes_back_up_to_date() {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    let mut host = Host::connect(&program, "h1", 1, None).await;
    assert!(matches!(host.hear().await.1, FromControl::UpToDate(wire::UpToDate { version: 0 })));
    policies.commit(commit(vec![group("a")])).await.unwrap();
    let (nonce, first) = host.snapshot().await;
    host.ack(nonce, &first).await;
    let last = policies.commit(commit(vec![group("b")])).await.unwrap().into_inner();
    let (nonce, delta) = host.delta().await;
    let second = first.apply(&delta).unwrap();
    assert_eq!(second.digest().0.to_vec(), last.digest);
    host.ack(nonce, &second).await;
    let answer = hosts_until(&program, |host| host.version == 2).await;
    let entry = &answer.hosts[0];
    assert!(entry.connected && entry.commit_to_ack_ns > 0 && entry.digest == last.digest, "{entry:?}");

    let ended = tokio::spawn(host.end());
    assert!(program.terminate().success());
    assert_eq!(ended.await.unwrap().code(), Code::Unavailable);
    let program = Program::start(&scratch, "");
    let remembered = hosts_until(&program, |_| true).await;
    assert_eq!((remembered.hosts[0].version, remembered.hosts[0].connected), (2, false));
    let mut back = Host::connect(&program, "h1", 2, Some(&second)).await;
    assert!(matches!(back.hear().await.1, FromControl::UpToDate(wire::UpToDate { version: 2 })));
}

#[tokio::test]
async fn a_host_that_refuses_is_audited_and_gets_a_snapshot_when_it_asks() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    policies.commit(commit(vec![group("a")])).await.unwrap();
    let mut host = Host::connect(&program, "h1", 1, None).await;
    let (nonce, first) = host.snapshot().await;
    host.ack(nonce, &first).await;
    policies.commit(commit(vec![group("b")])).await.unwrap();
    let (nonce, _delta) = host.delta().await;
    host.nack(nonce, "digest differs", true).await;
    let (nonce, _second) = host.snapshot().await;
    host.nack(nonce, "too many groups", false).await;
    let answer = hosts_until(&program, |host| host.nack_reason == "too many groups").await;
    assert_eq!((answer.hosts[0].version, answer.hosts[0].nack_version), (1, 2));
    let audit = policies.list_audit(wire::ListAuditRequest { limit: 1, before_sequence: 0 }).await;
    let last = audit.unwrap().into_inner().entries.remove(0);
    assert_eq!((last.event.as_str(), last.actor.as_str()), ("host-nack", "host h1"));
    assert!(last.detail.starts_with("version 2: "), "{}", last.detail);
}

#[tokio::test]
async fn the_newer_process_of_a_name_ends_the_older_stream() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut old = Host::connect(&program, "h1", 1, None).await;
    old.hear().await;
    let mut new = Host::connect(&program, "h1", 2, None).await;
    new.hear().await;
    let status = old.end().await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Aborted, "host h1 has connected again, with epoch 2")
    );
    let late = Host::connect(&program, "h1", 1, None).await.end().await;
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(hosts_until(&program, |host| host.connected).await.hosts.len() == 1);
}

#[tokio::test]
async fn a_report_is_shown_and_too_large_a_one_ends_the_stream() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let host = Host::connect(&program, "h1", 1, None).await;
    let counter = wire::Counter { name: "allowed".into(), value: 7 };
    let report = |count| wire::HostReport { counters: vec![counter.clone(); count], ..Default::default() };
    host.say(FromHost::Report(report(1))).await;
    let shown = hosts_until(&program, |host| host.report.is_some()).await;
    assert_eq!(shown.hosts[0].report.as_ref().unwrap().counters[0].value, 7);
    host.say(FromHost::Report(report(2_000))).await;
    let status = host.end().await;
    assert_eq!(status.message(), "report.counters: 2000 entries, at most 1024 are possible");
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_hello_is_refused() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let (to_control, messages) = mpsc::channel(8);
    let mut client = DistributionServiceClient::new(program.channel().await);
    let from_control = client.subscribe(ReceiverStream::new(messages)).await.unwrap().into_inner();
    let host = Host { to_control, from_control };
    host.say(FromHost::Ack(wire::Ack::default())).await;
    assert_eq!(host.end().await.message(), "hello: is missing; it is the first message of a stream");
    let bad = wire::Hello { host: "h1".into(), role: "king".into(), ..wire::Hello::default() };
    let (to_control, messages) = mpsc::channel(8);
    let from_control = client.subscribe(ReceiverStream::new(messages)).await.unwrap().into_inner();
    let host = Host { to_control, from_control };
    host.say(FromHost::Hello(bad)).await;
    assert_eq!(host.end().await.message(), "hello.role: \"king\" is not one of dataplane, observer");
}

#[tokio::test]
async fn many_hosts_all_arrive_at_the_newest_version() {
    /// Hosts of the test: enough to need their order mixed, few enough for one connection each.
    const HOSTS: u64 = 40;
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    policies.commit(commit(vec![group("a")])).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..HOSTS {
        let mut host = Host::connect(&program, &format!("h{number}"), 1, None).await;
        tasks.spawn(async move {
            let (nonce, mut policy) = host.snapshot().await;
            host.ack(nonce, &policy).await;
            while policy.version.0 < 10 {
                let (nonce, delta) = host.delta().await;
                policy = policy.apply(&delta).unwrap();
                host.ack(nonce, &policy).await;
            }
            policy.digest().0.to_vec()
        });
    }
    let mut digest = Vec::new();
    for step in 2..=10 {
        digest = policies.commit(commit(vec![group(&format!("g{step}"))])).await.unwrap().into_inner().digest;
    }
    while let Some(arrived) = tasks.join_next().await {
        assert_eq!(arrived.unwrap(), digest);
    }
}

#[tokio::test]
async fn a_policy_of_more_than_4_mib_reaches_a_host() {
    /// Endpoints of the policy: its snapshot is some 5 MB, above gRPC's default limit.
    const ENDPOINTS: u32 = 60_000;
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    let endpoint = |number: u32| {
        let [_, high, middle, low] = number.to_be_bytes();
        wire::AuthoredEndpoint {
            name: format!("virtual-machine-{number}"),
            mac: format!("02:00:00:{high:02x}:{middle:02x}:{low:02x}"),
            addresses: vec![format!("10.{high}.{middle}.{low}"), format!("fd00::{number:x}")],
            labels: [("app".to_owned(), format!("app{}", number % 100))].into(),
            ..wire::AuthoredEndpoint::default()
        }
    };
    let selected = |number: u32| wire::AuthoredGroup {
        name: format!("app{number}"),
        selector: [("app".to_owned(), format!("app{number}"))].into(),
        ..wire::AuthoredGroup::default()
    };
    let policy = wire::AuthoredPolicy {
        endpoints: (1..=ENDPOINTS).map(endpoint).collect(),
        groups: (0..100).map(selected).collect(),
        ..wire::AuthoredPolicy::default()
    };
    let request = commit(vec![wire::change::Change::ReplaceAll(policy)]);
    let size = prost::Message::encoded_len(&request);
    let started = std::time::Instant::now();
    let answer = policies.commit(request).await.unwrap().into_inner();
    println!("commit of {size} bytes: {:?}", started.elapsed());
    let mut host = Host::connect(&program, "h1", 1, None).await;
    let (nonce, policy) = host.snapshot().await;
    println!("snapshot at the host after {:?}", started.elapsed());
    assert_eq!(policy.digest().0.to_vec(), answer.digest);
    host.ack(nonce, &policy).await;
    let started = std::time::Instant::now();
    policies.commit(commit(vec![group("one-more")])).await.unwrap();
    let (_, delta) = host.delta().await;
    println!("delta at the host {:?} after the commit began", started.elapsed());
    assert_eq!(delta.changes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_hears_leased_becomes_the_endpoints_address_everywhere_and_ends_with_the_lease() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    let endpoint = wire::AuthoredEndpoint {
        name: "vm".into(),
        mac: "02:00:00:00:00:06".into(),
        host: "h1".into(),
        device: "tap0".into(),
        flags: Some(wire::EndpointFlags { dhcp_client: true, ..wire::EndpointFlags::default() }),
        ..wire::AuthoredEndpoint::default()
    };
    policies.commit(commit(vec![wire::change::Change::PutEndpoint(endpoint)])).await.unwrap();
    let mut home = Host::connect(&program, "h1", 1, None).await;
    let mut other = Host::connect(&program, "h2", 1, None).await;
    let (nonce, first) = home.snapshot().await;
    home.ack(nonce, &first).await;
    let (nonce, _) = other.snapshot().await;
    other.ack(nonce, &first).await;
    let leased = |seconds_left| {
        let lease = wire::LeaseReport {
            endpoint: first.endpoints[0].id.0,
            address: vec![10, 0, 0, 50],
            seconds_left,
        };
        FromHost::Report(wire::HostReport { leases: vec![lease], ..wire::HostReport::default() })
    };
    // Of another host's endpoint: no version comes of it, so that the next one is the second.
    other.say(leased(60)).await;
    home.say(leased(60)).await;
    let (nonce, delta) = home.delta().await;
    let second = first.apply(&delta).unwrap();
    home.ack(nonce, &second).await;
    let (nonce, delta) = other.delta().await;
    assert_eq!(first.apply(&delta).unwrap(), second);
    other.ack(nonce, &second).await;
    assert_eq!(second.endpoints[0].addresses, ["10.0.0.50".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(second.version.0, 2);
    let newest = policies.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    assert_eq!(newest.policy.unwrap().endpoints[0].leased, ["10.0.0.50"]);
    home.say(leased(0)).await;
    let (_, delta) = home.delta().await;
    assert!(second.apply(&delta).unwrap().endpoints[0].addresses.is_empty());
}
