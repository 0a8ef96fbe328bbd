//! Questions of control to a running dataplane, by a control plane that this test is.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;

use lab::{Lab, WEB0, relationship, v4};
use meshgate_dataplane::config::Config;
use meshgate_dataplane::device::offload::Source;
use meshgate_dataplane::inside::{Inside, ReloadWish};
use meshgate_dataplane::inspector::Inspector;
use meshgate_dataplane::metrics::{Metrics, MetricsListen, exposition};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::reporter::{DeviceFacts, Reporter, SharedFacts};
use meshgate_dataplane::top_flows::TopFlows;
use meshgate_proto::wire::diagnostics_service_server::{DiagnosticsService, DiagnosticsServiceServer};
use meshgate_proto::wire::{self, capture_part::Part, host_answer::Answer, host_question::Question};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// The parts of one answer.
type Answers = mpsc::Receiver<wire::HostAnswer>;

/// Control's end: questions go in, the streams of answers come out.
struct Control {
    questions: Mutex<Option<mpsc::Receiver<Result<wire::HostQuestion, Status>>>>,
    attached: mpsc::Sender<wire::AttachRequest>,
    answers: mpsc::Sender<Answers>,
}

#[tonic::async_trait]
impl DiagnosticsService for Control {
    type AttachStream = ReceiverStream<Result<wire::HostQuestion, Status>>;
    type CaptureStream = tokio_stream::Empty<Result<wire::CapturePart, Status>>;

    async fn attach(
        &self,
        request: Request<wire::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.attached.send(request.into_inner()).await.unwrap();
        let questions = self.questions.lock().await.take();
        let questions = questions.ok_or_else(|| Status::unavailable("once is enough"))?;
        Ok(Response::new(ReceiverStream::new(questions)))
    }

    async fn answer(
        &self,
        request: Request<Streaming<wire::HostAnswer>>,
    ) -> Result<Response<wire::AnswerResponse>, Status> {
        let gone = || Status::cancelled("nobody waits for this answer any more");
        let mut stream = request.into_inner();
        let (parts, answer) = mpsc::channel(1);
        self.answers.send(answer).await.unwrap();
        loop {
            tokio::select! {
                message = stream.message() => match message? {
                    Some(message) => parts.send(message).await.map_err(|_| gone())?,
                    None => return Ok(Response::new(wire::AnswerResponse {})),
                },
                () = parts.closed() => return Err(gone()),
            }
        }
    }

    async fn diagnose(
        &self,
        _: Request<wire::DiagnoseRequest>,
    ) -> Result<Response<wire::DiagnoseResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn capture(
        &self,
        _: Request<wire::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn observe(&self, _: Request<wire::ObserveRequest>) -> Result<Response<wire::Activity>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn reload(
        &self,
        _: Request<wire::ReloadRequest>,
    ) -> Result<Response<wire::ReloadResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A laboratory whose inside is looked at from a control plane.
struct Ground {
    lab: Lab,
    inside: Inside,
    directory: PathBuf,
    questions: mpsc::Sender<Result<wire::HostQuestion, Status>>,
    answers: mpsc::Receiver<Answers>,
    attached: mpsc::Receiver<wire::AttachRequest>,
    reloads: mpsc::Receiver<ReloadWish>,
}

impl Ground {
    fn new() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("meshgate-inside-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let lab = Lab::new(&relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"5432\"", "allow"));
        let socket = directory.join("control.sock");
        let devices: String = ["web0", "web1", "db0", "up0"]
            .map(|name| format!("[[device]]\nname = \"{name}\"\nrole = \"endpoint\"\n"))
            .concat();
        let text = format!("host = \"h\"\ncontrol = \"unix:{}\"\n{devices}", socket.display());
        let config = Config::parse(&text, Path::new("inside")).unwrap();
        let facts = |device: &meshgate_dataplane::config::DeviceConfig| DeviceFacts {
            name: device.name.clone(),
            role: "endpoint".into(),
            mode: "memory".into(),
            source: Source::Guest,
            frame_bytes_max: 1_518,
            is_open: true,
        };
        let reporter = Reporter {
            workers: lab.assembly.counters.clone(),
            queues: lab.assembly.queues.clone(),
            exporter: Arc::default(),
            devices: SharedFacts::new(config.devices.iter().map(|device| Some(facts(device))).collect()),
            started: Instant::now(),
            connected: Arc::default(),
        };
        let (reload, reloads) = mpsc::channel(1);
        let inside = Inside {
            reload,
            epoch: 5,
            reporter,
            rules: lab.assembly.publisher.reader(),
            top_flows: Arc::new(TopFlows::new(config.active_report_s)),
            captures: Arc::clone(&lab.assembly.captures),
            config: Arc::new(config),
        };
        let (questions, to_host) = mpsc::channel(4);
        let (from_host, answers) = mpsc::channel(4);
        let (attaching, attached) = mpsc::channel(64);
        let control =
            Control { questions: Mutex::new(Some(to_host)), attached: attaching, answers: from_host };
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let router = tonic::transport::Server::builder().add_service(DiagnosticsServiceServer::new(control));
        tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        tokio::spawn(Inspector::new(inside.clone()).run());
        Self { lab, inside, directory, questions, answers, attached, reloads }
    }

    async fn ask(&mut self, inquiry: u64, question: Question) -> Answers {
        self.put(inquiry, question).await;
        self.answers.recv().await.unwrap()
    }

    async fn put(&self, inquiry: u64, question: Question) {
        self.questions.send(Ok(wire::HostQuestion { inquiry, question: Some(question) })).await.unwrap();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn next(answers: &mut Answers) -> Option<(u64, Answer)> {
    let wire::HostAnswer { inquiry, host, answer } = answers.recv().await?;
    assert_eq!(host, "h");
    Some((inquiry, answer.unwrap()))
}

fn capture(packets: u64) -> wire::CaptureQuestion {
    let limits = wire::CaptureLimits { packets, bytes: 1 << 20, span_ms: 60_000, snap_bytes: 64 };
    wire::CaptureQuestion { limits: Some(limits), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_attaches_and_says_what_it_finds_of_itself() {
    let mut ground = Ground::new();
    let attached = ground.attached.recv().await.unwrap();
    assert_eq!((attached.host.as_str(), attached.epoch), ("h", 5));
    let mut answers = ground.ask(7, Question::Diagnose(wire::DiagnoseQuestion {})).await;
    let Some((7, Answer::Diagnosis(diagnosis))) = next(&mut answers).await else { panic!("another answer") };
    let topics: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.topic.as_str()).collect();
    for topic in ["kernel", "privileges", "processor", "device", "running"] {
        assert!(topics.contains(&topic), "{topic} in {topics:?}");
    }
    assert!(diagnosis.time_ns > 1_700_000_000_000_000_000);
    assert!(next(&mut answers).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_brings_packets_until_its_limit_and_then_what_it_counted() {
    let mut ground = Ground::new();
    let mut answers = ground.ask(1, Question::Capture(capture(3))).await;
    let Some((1, Answer::Capture(wire::CapturePart { part: Some(Part::Start(start)) }))) =
        next(&mut answers).await
    else {
        panic!("no start")
    };
    assert_eq!((start.devices[2].name.as_str(), start.snap_bytes), ("db0", 64));
    for port in [5432, 22, 5432, 22, 22] {
        ground.lab.send(WEB0, &v4(1, 3).tcp(40_000, port, TcpFlags::SYN));
    }
    let mut packets = Vec::new();
    let end = loop {
        match next(&mut answers).await {
            Some((_, Answer::Capture(wire::CapturePart { part: Some(Part::Packets(batch)) }))) => {
                packets.extend(batch.packets);
            }
            Some((_, Answer::Capture(wire::CapturePart { part: Some(Part::End(end)) }))) => break end,
            other => panic!("{other:?}"),
        }
    };
    let shown: Vec<(bool, &str, u32)> =
        packets.iter().map(|packet| (packet.allowed, packet.reason.as_str(), packet.stage)).collect();
    assert_eq!(shown, [(true, "", 5), (false, "default-deny", 7), (true, "", 4)]);
    assert!(packets[0].rule > 0 && packets[0].version == 1 && packets[0].frame_bytes == 54);
    assert_eq!(end.limit, "packets");
    let [counts] = &end.devices[..] else { panic!("{end:?}") };
    assert!(counts.device == 0 && counts.matched >= 3 && counts.lost == 0, "{counts:?}");
    assert!(next(&mut answers).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_ends_when_nobody_takes_it_any_more() {
    let mut ground = Ground::new();
    let answers = ground.ask(1, Question::Capture(capture(1_000))).await;
    let mut refused = ground.ask(2, Question::Capture(capture(1))).await;
    let Some((2, Answer::Refusal(reason))) = next(&mut refused).await else { panic!("no refusal") };
    assert_eq!(reason, "another capture is running here; wait until it ends");
    drop(answers);
    // The host hears of it a little later.
    for inquiry in 3.. {
        let mut again = ground.ask(inquiry, Question::Capture(capture(1))).await;
        match next(&mut again).await.unwrap().1 {
            Answer::Capture(_) => break,
            Answer::Refusal(_) => assert!(inquiry < 10_000, "the capture did not end"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_cannot_be_answered_is_refused_by_field() {
    let mut ground = Ground::new();
    let limits = Some(wire::CaptureLimits { packets: 0, bytes: 1, span_ms: 1, snap_bytes: 1 });
    let with = |change: fn(&mut wire::CaptureQuestion)| {
        let mut question = capture(1);
        change(&mut question);
        question
    };
    let questions = [
        (with(|question| question.limits = None), "limits: are missing"),
        (wire::CaptureQuestion { limits, ..capture(1) }, "limits.packets: 0 is not within"),
        (with(|question| question.device = "nope".into()), "device: there is no nope; there are web0, web1"),
        (with(|question| question.verdict = "maybe".into()), "verdict: \"maybe\" is not allow"),
        (with(|question| question.protocol = Some(256)), "protocol: is above 255"),
        (with(|question| question.source_port = 70_000), "source_port: 70000 is above 65535"),
    ];
    for (inquiry, (question, expected)) in (1..).zip(questions) {
        let mut answers = ground.ask(inquiry, Question::Capture(question)).await;
        let Some((_, Answer::Refusal(reason))) = next(&mut answers).await else { panic!("{expected}") };
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_devices_rules_and_the_largest_flows() {
    let mut ground = Ground::new();
    ground.lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, TcpFlags::SYN));
    ground.lab.send(WEB0, &v4(1, 3).tcp(40_001, 22, TcpFlags::SYN));
    ground.inside.top_flows.note(&ground.lab.records().into_iter().map(recent).collect::<Vec<_>>());
    let mut answers = ground.ask(1, Question::Observe(wire::ObserveQuestion { limit: 10 })).await;
    let Some((_, Answer::Activity(activity))) = next(&mut answers).await else { panic!("another answer") };
    let web0 = activity.devices[WEB0].report.as_ref().unwrap();
    assert_eq!((web0.name.as_str(), web0.received_packets, web0.dropped_packets), ("web0", 2, 1));
    assert_eq!((activity.rules.len(), activity.rules[0].packets), (1, 1));
    let flow = &activity.flows[0];
    assert_eq!((&flow.source[..], flow.destination_port), (&[10, 0, 0, 1][..], 5432));
    let counters: BTreeMap<_, _> = activity.counters.iter().map(|c| (c.name.as_str(), c.value)).collect();
    assert_eq!((counters["allowed"], counters["drop.default-deny"]), (1, 1));
    assert_eq!((activity.version, activity.host.as_str()), (1, "h"));
}

/// Returns the record as of now: the laboratory lives in another year.
fn recent(record: meshgate_policy::FlowRecord) -> meshgate_policy::FlowRecord {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ns = u64::try_from(now.as_nanos()).unwrap();
    meshgate_policy::FlowRecord { first_ns: now_ns, last_ns: now_ns, ..record }
}

/// Reads a page as a scraper does: names with labels, and values. Panics where the format is broken.
fn parsed(page: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut family) = (BTreeMap::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            name.clone_into(&mut family);
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert_eq!(name, family, "a sample stands below its type");
            assert!(sample.matches('"').count().is_multiple_of(2), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_read_as_a_scraper_reads_them() {
    let mut ground = Ground::new();
    ground.lab.send(WEB0, &v4(1, 3).tcp(40_000, 5432, TcpFlags::SYN));
    ground.lab.send(WEB0, &v4(1, 3).tcp(40_000, 22, TcpFlags::SYN));
    let samples = parsed(&exposition(&ground.inside));
    for (sample, value) in [
        ("meshgate_policy_version", 1.0),
        ("meshgate_control_connected", 0.0),
        ("meshgate_allowed_packets_total", 1.0),
        (r#"meshgate_dropped_packets_total{reason="default-deny",device="web0",stage="default"}"#, 1.0),
        (r#"meshgate_device_received_packets_total{device="web0",role="endpoint"}"#, 2.0),
        (r#"meshgate_frames_owned{worker="0"}"#, 1_024.0),
        (r#"meshgate_flows{state="live"}"#, 1.0),
        (r#"meshgate_rule_packets_total{rule="1"}"#, 1.0),
        (r#"meshgate_events_total{event="flows.created"}"#, 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stalls_or_floods_holds_up_no_other() {
    let ground = Ground::new();
    let listen = MetricsListen::try_from("127.0.0.1:0".to_owned()).unwrap();
    let metrics = Metrics::open(&listen, ground.inside.clone()).unwrap();
    let address = metrics.address().unwrap();
    tokio::spawn(Metrics::run(Some(metrics)));
    let scrape = move |request: Vec<u8>| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // What comes after the answer may be refused.
        _ = stream.write_all(&request);
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer);
        answer
    };
    let page = tokio::task::spawn_blocking(move || {
        let _stalled: Vec<_> = (0..5)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /met").unwrap();
                stream
            })
            .collect();
        let flood = scrape(vec![b'x'; 8 * 1024]);
        assert!(flood.starts_with("HTTP/1.1 400 "), "{flood}");
        scrape(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec())
    });
    let page = page.await.unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(&format!("Content-Length: {}", body.len())));
    assert!(parsed(body).len() > 20);
    let socket = ground.directory.join("m.sock");
    let listen = MetricsListen::Unix(socket.clone());
    drop(Metrics::open(&listen, ground.inside.clone()).unwrap());
    assert!(Metrics::open(&listen, ground.inside.clone()).is_ok(), "a socket nobody listens at is replaced");
    let error = Metrics::open(&MetricsListen::Tcp(address), ground.inside.clone()).err().unwrap().to_string();
    assert!(error.starts_with(&format!("metrics: {address}: ")), "{error}");
}

#[tokio::test]
async fn a_wish_to_reload_is_handed_on_and_its_outcome_brought_back() {
    let mut ground = Ground::new();
    for outcome in [Ok(3), Err("dp.toml: line 2: unknown field `x`".to_owned())] {
        ground.put(7, Question::Reload(wire::ReloadQuestion {})).await;
        ground.reloads.recv().await.unwrap().send(outcome.clone()).unwrap();
        let answer = ground.answers.recv().await.unwrap().recv().await.unwrap().answer;
        match outcome {
            Ok(_) => assert_eq!(answer, Some(Answer::Reloaded(wire::HostReloaded { devices: 3 }))),
            Err(fault) => assert_eq!(answer, Some(Answer::Refusal(fault))),
        }
    }
    ground.reloads.close();
    let answer = ground.ask(8, Question::Reload(wire::ReloadQuestion {})).await.recv().await.unwrap();
    assert!(matches!(answer.answer, Some(Answer::Refusal(why)) if why.contains("nothing to reload")));
}
