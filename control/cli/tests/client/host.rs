//! Hosts that follow the real control plane, and what the command line says of them.

use crate::control::Control;
use meshgate_proto::wire::{
    self, control_message::Message as FromControl, distribution_service_client::DistributionServiceClient,
    host_message::Message as FromHost,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A dataplane that enforces everything, or refuses everything with a reason, until it is dropped.
pub struct Host {
    _runtime: tokio::runtime::Runtime,
}

impl Host {
    pub fn start(server: &str, name: &'static str, refusal: Option<&'static str>) -> Self {
        Self::start_as("dataplane", server, name, refusal)
    }

    pub fn start_as(
        role: &'static str,
        server: &str,
        name: &'static str,
        refusal: Option<&'static str>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut client = runtime.block_on(DistributionServiceClient::connect(server.to_owned())).unwrap();
        let (to_control, messages) = mpsc::channel(8);
        let hello = wire::Hello { host: name.into(), role: role.into(), epoch: 1, ..Default::default() };
        runtime.spawn(async move {
            let send = |message| to_control.send(wire::HostMessage { message: Some(message) });
            send(FromHost::Hello(hello)).await.unwrap();
            let mut stream = client.subscribe(ReceiverStream::new(messages)).await.unwrap().into_inner();
            while let Ok(Some(wire::ControlMessage { nonce, audit_head, message })) = stream.message().await {
                let (version, digest) = match message {
                    Some(FromControl::Snapshot(policy)) => (policy.version, policy.digest),
                    Some(FromControl::Delta(delta)) => (delta.to_version, delta.digest),
                    _ => continue,
                };
                let answer = match refusal {
                    None => FromHost::Ack(wire::Ack { nonce, version, digest, audit_head, apply_ns: 1_000 }),
                    Some(reason) => {
                        FromHost::Nack(wire::Nack { nonce, version, reason: reason.into(), resync: false })
                    }
                };
                if send(answer).await.is_err() {
                    return;
                }
            }
        });
        Self { _runtime: runtime }
    }
}

#[test]
fn a_write_that_waits_returns_when_the_host_enforces_it() {
    let Some(control) = Control::start() else { return };
    let _host = Host::start(&control.server(), "h1", None);
    let knows_host = || control.done("status -o json").contains("\"h1\"");
    assert!((0..1_000).any(|_| knows_host()), "the host is known");
    let shown = control.done("groups create Web --prefix 10.0.0.0/24 --wait");
    assert_eq!(shown, "created group Web (version 1)\n");
    let status = control.done("status");
    assert!(status.contains("enforced by all of 1 connected dataplane\n"), "{status}");
    let line = status.lines().find(|line| line.starts_with("h1 ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    assert_eq!(words, ["h1", "dataplane", "connected", "1"]);
    assert_eq!(control.run("status --wait --version 1").status.code(), Some(0));
}

#[test]
fn a_host_that_refuses_is_named_with_its_reason() {
    let Some(control) = Control::start() else { return };
    let _good = Host::start(&control.server(), "h1", None);
    let _bad = Host::start(&control.server(), "h2", Some("group Web: too many prefixes"));
    let knows_both = || {
        let status = control.done("status -o json");
        status.contains("\"h1\"") && status.contains("\"h2\"")
    };
    assert!((0..1_000).any(|_| knows_both()), "both hosts are known");
    let output = control.run("groups create Web --prefix 10.0.0.0/24 --wait --timeout 2s");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    assert!(complaint.contains("h2 (") && !complaint.contains("h1 ("), "{complaint}");
    assert!(complaint.contains("group Web: too many prefixes"), "{complaint}");
    assert!(control.done("status").contains("h2 refused version 1: group Web: too many prefixes"));
}

#[test]
fn waiting_without_a_dataplane_is_in_vain_and_says_so() {
    let Some(control) = Control::start() else { return };
    let in_vain = |line: &str, version: u64| {
        let output = control.run(line);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{line}: {complaint}");
        let expected =
            format!("meshgate: version {version} is not enforced by any host: no dataplane is connected\n");
        assert_eq!(complaint, expected, "{line}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(in_vain("status --wait --timeout 1s", 0).contains("no host has connected yet"));
    // An observer reads every version and enforces none.
    let _learner = Host::start_as("observer", &control.server(), "learner", None);
    assert!((0..1_000).any(|_| control.done("status -o json").contains("\"learner\"")), "it is known");
    let said = in_vain("groups create Web --prefix 10.0.0.0/24 --wait --timeout 1s", 1);
    assert_eq!(said, "created group Web (version 1)\n");
    let said = in_vain("status --wait --timeout 1s", 1);
    assert!(said.contains("no dataplane is connected"), "{said}");
    let _host = Host::start(&control.server(), "h1", None);
    // It connects while it is waited for.
    assert_eq!(control.run("status --wait --timeout 10s").status.code(), Some(0));
}
