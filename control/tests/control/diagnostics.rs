//! Questions on their way through the real program: people ask, a host answers.

use crate::program::{Program, Scratch, commit, group};
use meshgate_proto::wire::{self, host_answer::Answer, host_question::Question};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use wire::capture_part::Part;
use wire::diagnostics_service_client::DiagnosticsServiceClient as Client;
use wire::distribution_service_client::DistributionServiceClient;

/// A host that takes questions and answers as the test says.
struct Host {
    name: &'static str,
    client: Client<Channel>,
    questions: Streaming<wire::HostQuestion>,
}

impl Host {
    async fn attach(program: &Program, name: &'static str, epoch: u64) -> Result<Self, Status> {
        let mut client = Client::new(program.channel().await);
        let attach = wire::AttachRequest { host: name.into(), epoch };
        let questions = client.attach(attach).await?.into_inner();
        Ok(Self { name, client, questions })
    }

    async fn question(&mut self) -> (u64, Question) {
        let question = self.questions.message().await.unwrap().unwrap();
        (question.inquiry, question.question.unwrap())
    }

    fn part(&self, inquiry: u64, answer: Answer) -> wire::HostAnswer {
        wire::HostAnswer { inquiry, host: self.name.into(), answer: Some(answer) }
    }

    /// Answers in one part and returns how the call ended.
    async fn answer(&mut self, inquiry: u64, answer: Answer) -> Result<(), Status> {
        let part = self.part(inquiry, answer);
        self.client.answer(tokio_stream::once(part)).await.map(drop)
    }
}

async fn people(program: &Program) -> Client<Channel> {
    Client::new(program.channel().await)
}

fn limits() -> Option<wire::CaptureLimits> {
    Some(wire::CaptureLimits { packets: 10, bytes: 1_000, span_ms: 1_000, snap_bytes: 64 })
}

fn packets(count: usize) -> Answer {
    let packet = wire::CapturedPacket { bytes: vec![7; 1_000], frame_bytes: 1_000, ..Default::default() };
    let packets = wire::CapturedPackets { packets: vec![packet; count] };
    Answer::Capture(wire::CapturePart { part: Some(Part::Packets(packets)) })
}

/// Subscribes as a dataplane of this name, so that control knows it.
async fn subscribe(program: &Program, name: &str) -> mpsc::Sender<wire::HostMessage> {
    let (to_control, messages) = mpsc::channel(8);
    let hello = wire::Hello { host: name.into(), role: "dataplane".into(), epoch: 1, ..Default::default() };
    let message = Some(wire::host_message::Message::Hello(hello));
    to_control.send(wire::HostMessage { message }).await.unwrap();
    let mut client = DistributionServiceClient::new(program.channel().await);
    let mut stream = client.subscribe(ReceiverStream::new(messages)).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
    to_control
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_goes_to_the_one_host_there_is_and_names_must_be_given_with_more() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut asker = people(&program).await;
    let observe = |host: &str| wire::ObserveRequest { host: host.into(), limit: 0 };
    let refused = asker.observe(observe("")).await.unwrap_err();
    assert_eq!(refused.message(), "no dataplane is connected that could be asked");
    let mut host = Host::attach(&program, "h1", 1).await.unwrap();
    let asked = tokio::spawn(async move { asker.observe(observe("")).await });
    let (inquiry, question) = host.question().await;
    assert_eq!(question, Question::Observe(wire::ObserveQuestion { limit: 10 }));
    let activity = wire::Activity { host: "h1".into(), flows_live: 7, ..Default::default() };
    host.answer(inquiry, Answer::Activity(activity.clone())).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().into_inner(), activity);
    let again = host.answer(inquiry, Answer::Activity(activity)).await.unwrap_err();
    assert_eq!(again.code(), Code::Cancelled, "an answer is given once");

    let _other = Host::attach(&program, "h2", 1).await.unwrap();
    let mut asker = people(&program).await;
    let refused = asker.observe(observe("")).await.unwrap_err();
    assert_eq!(refused.message(), "host: 2 dataplanes are connected, name one: h1, h2");
    let refused = asker.observe(observe("h3")).await.unwrap_err();
    assert!(refused.message().starts_with("host h3 cannot be asked: it is not connected"), "{refused}");
    let refused = asker.observe(wire::ObserveRequest { host: "h1".into(), limit: 1_001 }).await.unwrap_err();
    assert_eq!(refused.message(), "limit: 1001 is above 1000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_is_resolved_by_name_audited_and_handed_on_part_by_part() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut policies = program.policy().await;
    let web =
        wire::AuthoredGroup { name: "Web".into(), prefixes: vec!["10.0.0.0/8".into()], ..Default::default() };
    policies.commit(commit(vec![wire::change::Change::PutGroup(web)])).await.unwrap();
    let mut host = Host::attach(&program, "h1", 1).await.unwrap();
    let mut asker = people(&program).await;
    let request = wire::CaptureRequest {
        group_name: "Web".into(),
        source: "192.0.2.1".into(),
        protocol: "TCP".into(),
        destination_port: 80,
        verdict: "drop".into(),
        limits: limits(),
        ..Default::default()
    };
    let asked = tokio::spawn(async move { asker.capture(request).await });
    let (inquiry, question) = host.question().await;
    let Question::Capture(question) = question else { panic!("{question:?}") };
    let prefix = |address: [u8; 4], length| wire::Prefix { address: address.to_vec(), length };
    assert_eq!(question.either[0].prefixes, [prefix([10, 0, 0, 0], 8)]);
    assert_eq!(question.source.unwrap().prefixes, [prefix([192, 0, 2, 1], 32)]);
    assert_eq!((question.protocol, question.destination_port, question.limits), (Some(6), 80, limits()));
    let (parts, stream) = mpsc::channel(4);
    let mut client = host.client.clone();
    let answering = tokio::spawn(async move { client.answer(ReceiverStream::new(stream)).await });
    for count in [1, 2] {
        parts.send(host.part(inquiry, packets(count))).await.unwrap();
    }
    drop(parts);
    let mut captured = asked.await.unwrap().unwrap().into_inner();
    let mut counts = Vec::new();
    while let Some(wire::CapturePart { part }) = captured.message().await.unwrap() {
        let Some(Part::Packets(packets)) = part else { panic!("{part:?}") };
        counts.push(packets.packets.len());
    }
    assert_eq!(counts, [1, 2]);
    answering.await.unwrap().unwrap();
    let audit = wire::ListAuditRequest { limit: 1, before_sequence: 0 };
    let last = policies.list_audit(audit).await.unwrap().into_inner().entries.remove(0);
    assert_eq!(last.event, "capture");
    let begins =
        "host h1 verdict=drop group=Web source=192.0.2.1 protocol=TCP destination-port=80; at most 10";
    assert!(last.detail.starts_with(begins), "{}", last.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_ends_the_hosts_answer_and_one_that_stalls_holds_up_nobody() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut host = Host::attach(&program, "h1", 1).await.unwrap();
    let mut asker = people(&program).await;
    let request = wire::CaptureRequest { limits: limits(), ..Default::default() };
    let asked = tokio::spawn(async move { asker.capture(request).await });
    let (inquiry, _) = host.question().await;
    let (parts, stream) = mpsc::channel(1);
    let mut client = Client::new(program.channel().await);
    let answering = tokio::spawn(async move { client.answer(ReceiverStream::new(stream)).await });
    parts.send(host.part(inquiry, packets(200))).await.unwrap();
    let captured = asked.await.unwrap().unwrap().into_inner();
    // Nobody takes a part: soon no more can be sent.
    let mut sent = 0;
    while parts.try_reserve().is_ok() || sent < 20 {
        if parts.try_send(host.part(inquiry, packets(200))).is_ok() {
            sent += 1;
        }
        assert!(sent < 1_000, "nothing holds the host back");
        tokio::task::yield_now().await;
    }
    // Meanwhile another question is asked and answered.
    let mut asker = people(&program).await;
    let looked = tokio::spawn(async move { asker.observe(wire::ObserveRequest::default()).await });
    let (inquiry, _) = host.question().await;
    host.answer(inquiry, Answer::Activity(wire::Activity::default())).await.unwrap();
    looked.await.unwrap().unwrap();
    drop(captured);
    assert_eq!(answering.await.unwrap().unwrap_err().code(), Code::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_that_cannot_be_are_refused_by_field_and_nothing_is_asked() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    program.policy().await.commit(commit(vec![group("Empty")])).await.unwrap();
    let mut host = Host::attach(&program, "h1", 1).await.unwrap();
    let mut asker = people(&program).await;
    let base = || wire::CaptureRequest { limits: limits(), ..Default::default() };
    for (request, expected) in [
        (wire::CaptureRequest { group_name: "Lab".into(), ..base() }, "group_name: there is no group Lab"),
        (wire::CaptureRequest { group_name: "Empty".into(), ..base() }, "group_name: Empty has no addresses"),
        (wire::CaptureRequest { destination_port: 80, ..base() }, "destination_port: needs a protocol"),
        (wire::CaptureRequest { source_port: 70_000, ..base() }, "source_port: 70000 is above 65535"),
        (wire::CaptureRequest { rule: Some(0), ..base() }, "rule: 0 is not a number"),
        (wire::CaptureRequest { protocol: "X".into(), ..base() }, "protocol: "),
        (wire::CaptureRequest { device: "d".repeat(16), ..base() }, "device: 16 bytes, at most 15"),
        (wire::CaptureRequest { limits: None, ..base() }, "limits: are missing"),
        (wire::CaptureRequest { host: "h2".into(), ..base() }, "host h2 cannot be asked"),
    ] {
        let refused = asker.capture(request).await.unwrap_err();
        assert!(refused.message().starts_with(expected), "{expected}: {}", refused.message());
    }
    let asked = tokio::spawn(async move { asker.capture(base()).await });
    let (inquiry, _) = host.question().await;
    host.answer(inquiry, Answer::Refusal("verdict: \"x\" is none".into())).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap_err().message(), "host h1: verdict: \"x\" is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diagnosis_joins_what_control_and_hosts_see() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let _h1 = subscribe(&program, "h1").await;
    let _h2 = subscribe(&program, "h2").await;
    let mut host = Host::attach(&program, "h1", 1).await.unwrap();
    let mut asker = people(&program).await;
    let asked = tokio::spawn(async move { asker.diagnose(wire::DiagnoseRequest::default()).await });
    let (inquiry, question) = host.question().await;
    assert_eq!(question, Question::Diagnose(wire::DiagnoseQuestion {}));
    let finding = wire::Finding { topic: "kernel".into(), text: "old".into(), ..Default::default() };
    // A clock of 1970.
    let theirs = wire::HostDiagnosis { host: "h1".into(), findings: vec![finding], time_ns: 5 };
    host.answer(inquiry, Answer::Diagnosis(theirs)).await.unwrap();
    let hosts = asked.await.unwrap().unwrap().into_inner().hosts;
    let shown = |at: usize| {
        let lines = hosts[at].findings.iter().map(|f| format!("{}: {}", f.topic, f.text));
        (hosts[at].host.clone(), lines.collect::<Vec<_>>())
    };
    let (name, lines) = shown(0);
    assert_eq!((name.as_str(), lines[0].as_str()), ("h1", "control: connected"));
    assert!(lines[1].starts_with("policy: no version was ever committed"), "{lines:?}");
    assert!(lines[2].starts_with("clock: clock is at least ") && lines[2].ends_with("behind control's"));
    assert_eq!(lines[3], "kernel: old");
    let (name, lines) = shown(1);
    assert_eq!(name, "h2");
    assert!(lines[2].starts_with("control: host h2 cannot be asked"), "{lines:?}");
    let refused = people(&program).await.diagnose(wire::DiagnoseRequest { host: "h9".into() }).await;
    assert_eq!(refused.unwrap_err().message(), "host: there is no host h9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_process_is_turned_away_and_a_newer_one_takes_over() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let mut first = Host::attach(&program, "h1", 5).await.unwrap();
    let refused = Host::attach(&program, "h1", 4).await.err().unwrap();
    assert_eq!(refused.message(), "epoch: host h1 is attached with the newer epoch 5");
    let _second = Host::attach(&program, "h1", 6).await.unwrap();
    assert_eq!(first.questions.message().await.unwrap_err().code(), Code::Aborted);
}
