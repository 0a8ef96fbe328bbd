//! Looking inside hosts: what the command line makes of the answers of a host, by way of the real control plane.

use crate::control::Control;
use meshgate_proto::wire::{
    self, capture_part::Part, diagnostics_service_client::DiagnosticsServiceClient, host_answer::Answer,
    host_question::Question,
};

/// A host that answers every question until it is dropped.
struct Inside {
    _runtime: tokio::runtime::Runtime,
}

impl Inside {
    fn start(control: &Control, packets: usize, is_cut_short: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut client = runtime.block_on(DiagnosticsServiceClient::connect(control.server())).unwrap();
        let attach = wire::AttachRequest { host: "h1".into(), epoch: 1 };
        let mut questions = runtime.block_on(client.attach(attach)).unwrap().into_inner();
        runtime.spawn(async move {
            let mut looks = 0;
            while let Ok(Some(wire::HostQuestion { inquiry, question })) = questions.message().await {
                let answers = match question.unwrap() {
                    Question::Capture(question) => capture(&question, packets, is_cut_short),
                    Question::Observe(_) => {
                        looks += 1;
                        vec![Answer::Activity(activity(looks))]
                    }
                    Question::Reload(_) => vec![Answer::Reloaded(wire::HostReloaded { devices: 2 })],
                    Question::Diagnose(_) => vec![Answer::Refusal("not here".into())],
                };
                let part =
                    move |answer| wire::HostAnswer { inquiry, host: "h1".into(), answer: Some(answer) };
                let stream = tokio_stream::iter(answers.into_iter().map(part));
                _ = client.answer(stream).await;
            }
        });
        Self { _runtime: runtime }
    }
}

fn capture(question: &wire::CaptureQuestion, packets: usize, is_cut_short: bool) -> Vec<Answer> {
    let device = wire::CaptureDevice { name: "tap0".into(), role: "endpoint".into(), number: 3 };
    let snap_bytes = question.limits.unwrap().snap_bytes;
    let start = wire::CaptureStart { host: "h1".into(), devices: vec![device], snap_bytes };
    let packet = wire::CapturedPacket {
        device: 3,
        bytes: vec![0xee; 60],
        frame_bytes: 60,
        reason: "rule-deny".into(),
        stage: 5,
        rule: 1,
        version: 2,
        ..Default::default()
    };
    let packets = wire::CapturedPackets { packets: vec![packet; packets] };
    let counts = wire::CaptureCounts { matched: 9, lost: 2, device: 3 };
    let end = wire::CaptureEnd { limit: "span".into(), devices: vec![counts] };
    let mut parts = vec![Part::Start(start), Part::Packets(packets)];
    if !is_cut_short {
        parts.push(Part::End(end));
    }
    parts.into_iter().map(|part| Answer::Capture(wire::CapturePart { part: Some(part) })).collect()
}

fn activity(looks: u64) -> wire::Activity {
    let report = wire::DeviceReport {
        name: "tap0".into(),
        role: "endpoint".into(),
        received_packets: 500 * looks,
        ..Default::default()
    };
    wire::Activity {
        host: "h1".into(),
        time_ns: looks * 1_000_000_000,
        devices: vec![wire::DeviceActivity { report: Some(report), receive_full: 0 }],
        counters: vec![wire::Counter { name: "drop.rule-deny".into(), value: 7 * looks }],
        rules: vec![wire::RuleCounter { rule: 1, flows: 1, packets: 10 * looks, bytes: 0 }],
        ..Default::default()
    }
}

fn with_policy(control: &Control) {
    control.done("groups create Web --prefix 10.0.0.0/24");
    control.done(
        "relationships create --source Web --destination Web --protocol TCP --port-range 22 --action deny",
    );
}

#[test]
fn a_capture_file_holds_the_packets_with_their_verdict_in_words() {
    let Some(control) = Control::start() else { return };
    with_policy(&control);
    let _host = Inside::start(&control, 7, false);
    let said = control.done("capture -w drops.pcapng --verdict drop --group Web --span 5s");
    let expected = "wrote 7 packets of host h1 to drops.pcapng (420 B); --span over; 2 more came faster than they could \
                    be taken: narrow the filter, or lower --snap\n";
    assert_eq!(said, expected);
    let piped = control.run("capture -w - --group Web");
    let file = control.read("drops.pcapng");
    assert!(piped.status.success() && piped.stdout.len() == file.len());
    assert_eq!(file[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let text = String::from_utf8_lossy(&file);
    let comment = "drop rule-deny, stage rules, rule 1 (deny Web -> Web TCP 22), policy version 2";
    assert_eq!(text.matches(comment).count(), 7);
    assert!(text.contains("tap0") && text.contains("endpoint of host h1"));
}

#[test]
fn a_capture_that_was_cut_short_fails_and_keeps_what_came() {
    let Some(control) = Control::start() else { return };
    with_policy(&control);
    let _host = Inside::start(&control, 3, true);
    let line = control.refused("capture -w cut.pcapng");
    assert_eq!(line, "host h1 went away after 3 packets; what was written until then is good");
    assert!(control.read("cut.pcapng").len() > 3 * 60);
}

#[test]
fn a_refused_capture_leaves_no_file_behind() {
    let Some(control) = Control::start() else { return };
    with_policy(&control);
    let line = control.refused("capture -w none.pcapng");
    assert_eq!(line, "no dataplane is connected that could be asked");
    let _host = Inside::start(&control, 3, false);
    assert_eq!(control.refused("capture -w none.pcapng --group Lab"), "group_name: there is no group Lab");
    assert!(!control.has("none.pcapng"));
    let line = control.refused("capture -w /nonexistent/x.pcapng");
    assert!(line.starts_with("cannot write /nonexistent/x.pcapng: No such file"), "{line}");
}

#[test]
fn a_look_once_shows_rates_and_rules_in_words_or_json() {
    let Some(control) = Control::start() else { return };
    with_policy(&control);
    let _host = Inside::start(&control, 0, false);
    let shown = control.done("top --once --interval 200ms");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let words = |begin: &str| -> Vec<String> {
        let line = shown.lines().find(|line| line.starts_with(begin)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words("tap0")[..3], ["tap0", "endpoint", "500"]);
    assert_eq!(words("rule-deny"), ["rule-deny", "7", "14"]);
    assert!(shown.contains("deny Web -> Web TCP 22"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&control.done("top --once --interval 200ms -o json")).unwrap();
    assert_eq!(json["devices"][0]["received_packets"], 500);
    assert_eq!(json["activity"]["host"], "h1");
}

#[test]
fn the_doctor_shows_what_control_sees_where_a_host_cannot_be_asked() {
    let Some(control) = Control::start() else { return };
    assert!(control.done("doctor").starts_with("no host has connected yet"));
    let _host = crate::host::Host::start(&control.server(), "h1", None);
    let knows_host = || control.done("status -o json").contains("\"h1\"");
    assert!((0..1_000).any(|_| knows_host()), "the host is known");
    let shown = control.done("doctor --all");
    assert!(shown.starts_with("h1: 1 problem, "), "{shown}");
    assert!(shown.contains("problem control: host h1 cannot be asked"), "{shown}");
    assert!(shown.contains("-> run meshgate-dataplane --config FILE --doctor"), "{shown}");
    assert!(shown.contains("ok      control: connected"), "{shown}");
    assert_eq!(control.refused("doctor --host h9"), "host: there is no host h9");
    let json: serde_json::Value = serde_json::from_str(&control.done("doctor -o json")).unwrap();
    assert_eq!(json[0]["findings"][0]["severity"], "ok");
}

#[test]
fn a_host_that_reads_its_configuration_again_says_so() {
    let Some(control) = Control::start() else { return };
    assert_eq!(control.refused("reload"), "no dataplane is connected that could be asked");
    let _host = Inside::start(&control, 0, false);
    assert_eq!(control.done("reload"), "h1: configuration read again, 2 devices\n");
    let line = control.refused("reload --host h9");
    assert!(line.starts_with("host h9 cannot be asked: it is not connected"), "{line}");
}
