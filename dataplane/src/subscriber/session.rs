//! One connection to control, from hello to its end.

use super::{ApplyError, Subscriber};
use crate::leases::Lease;
use hyper_util::rt::TokioIo;
use meshgate_policy::{Policy, PolicyVersion};
use meshgate_proto::wire;
use meshgate_proto::wire::control_message::Message as FromControl;
use meshgate_proto::wire::distribution_service_client::DistributionServiceClient;
use meshgate_proto::wire::host_message::Message as ToControl;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// How often the host reports.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// How often what was overheard about leases is looked at: an endpoint waits this long at most before control hears of
/// its new address, and the queue has to hold no more than what is said meanwhile.
const LEASE_PERIOD: Duration = Duration::from_millis(50);
/// Messages that may wait to be sent; a report is skipped rather than queued.
const OUTBOX_MESSAGES: usize = 8;
/// Bytes of the largest message taken from control: a policy of the largest size allowed.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// How long a connection attempt may take, and how often a silent connection is probed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The address is none.
    #[error("{0:?} is no address of a control plane: write http://HOST:PORT or unix:/PATH")]
    Address(String),
    /// It cannot be reached.
    #[error("not reachable: {0}")]
    Connect(String),
    /// The other side ended the stream with this.
    #[error("{0}")]
    Status(Box<tonic::Status>),
    /// The other side ended the stream.
    #[error("the stream ended")]
    Ended,
}

impl Subscriber {
    /// Connects, subscribes, and serves the stream until it ends.
    pub(super) async fn session(&mut self) -> SessionError {
        let served = self.serve().await;
        self.reporter.connected.store(false, Ordering::Relaxed);
        match served {
            Ok(()) => SessionError::Ended,
            Err(error) => error,
        }
    }

    async fn serve(&mut self) -> Result<(), SessionError> {
        let channel = connect(&self.control).await?;
        let mut client = DistributionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let hello = wire::HostMessage { message: Some(ToControl::Hello(self.hello())) };
        outbox.send(hello).await.map_err(|_| SessionError::Ended)?;
        let subscribed = client.subscribe(ReceiverStream::new(messages)).await;
        let mut inbox = subscribed.map_err(|status| SessionError::Status(Box::new(status)))?.into_inner();
        tracing::info!(control = %self.control, "subscribed");
        self.reporter.connected.store(true, Ordering::Relaxed);
        let mut period = tokio::time::interval(REPORT_PERIOD);
        let mut hearing = tokio::time::interval(LEASE_PERIOD);
        loop {
            tokio::select! {
                message = inbox.message() => {
                    let message = message.map_err(|status| SessionError::Status(Box::new(status)))?;
                    let Some(message) = message else { return Ok(()) };
                    if let Some(answer) = self.answer(message).await {
                        let answer = wire::HostMessage { message: Some(answer) };
                        outbox.send(answer).await.map_err(|_| SessionError::Ended)?;
                        self.send_report(&outbox);
                    }
                }
                _ = period.tick() => self.send_report(&outbox),
                Some(change) = self.changes.recv() => self.take_devices(change).await,
                _ = hearing.tick() => {
                    if self.hear() {
                        self.send_report(&outbox);
                    }
                }
            }
        }
    }

    fn hello(&self) -> wire::Hello {
        let held = self.policy.as_ref();
        wire::Hello {
            host: self.host.name.to_string(),
            role: "dataplane".into(),
            version: held.map_or(0, |policy| policy.version.0),
            digest: held.map_or_else(Vec::new, |policy| policy.digest().0.to_vec()),
            epoch: self.epoch,
            devices: self.reporter.devices.read().into_iter().map(|(_, device)| device.name).collect(),
        }
    }

    fn send_report(&mut self, outbox: &mpsc::Sender<wire::HostMessage>) {
        self.advise();
        let now_ns = self.lease_time_ns();
        let leases = self.leases.lines(now_ns).into_iter().map(lease_message).collect();
        let report = wire::HostReport { leases, ..self.reporter.report(&self.publisher) };
        let report = ToControl::Report(report);
        // A full outbox means that control is slow; the next report says the same and more.
        _ = outbox.try_send(wire::HostMessage { message: Some(report) });
    }

    /// Logs what to do about a device that delivers super-frames, once a device.
    pub(super) fn advise(&mut self) {
        for (device, advice) in self.reporter.advice() {
            if self.advised.insert(device) {
                tracing::warn!("{advice}");
            }
        }
    }

    /// Does what a message asks for and returns the answer to it.
    async fn answer(&mut self, message: wire::ControlMessage) -> Option<ToControl> {
        let wire::ControlMessage { nonce, audit_head, message } = message;
        let (version, policy) = match message? {
            FromControl::UpToDate(wire::UpToDate { version }) => {
                tracing::info!(version, "policy is up to date");
                return self.acknowledge_current(nonce, audit_head);
            }
            FromControl::Snapshot(snapshot) => {
                let policy = |snapshot: wire::Policy| Policy::try_from(snapshot).map_err(|f| f.to_string());
                (snapshot.version, policy(snapshot))
            }
            FromControl::Delta(delta) => {
                let version = delta.to_version;
                match self.follow(delta) {
                    Ok(policy) => (version, Ok(policy)),
                    Err(reason) => return Some(refusal(nonce, version, reason, true)),
                }
            }
        };
        let applied = match policy {
            Ok(policy) => self.apply(policy).await.map_err(|error: ApplyError| error.to_string()),
            Err(fault) => Err(fault),
        };
        Some(match applied {
            Ok(took) => self.acknowledgement(nonce, audit_head, took),
            Err(reason) => refusal(nonce, version, reason, false),
        })
    }

    /// Returns the policy that a delta makes of the current one.
    fn follow(&self, delta: wire::PolicyDelta) -> Result<Policy, String> {
        let current = self.policy.as_ref().ok_or("a delta, and there is no policy to apply it to")?;
        super::follow(current, delta)
    }

    fn acknowledge_current(&self, nonce: u64, audit_head: Vec<u8>) -> Option<ToControl> {
        self.policy.as_ref().map(|_| self.acknowledgement(nonce, audit_head, Duration::ZERO))
    }

    fn acknowledgement(&self, nonce: u64, audit_head: Vec<u8>, took: Duration) -> ToControl {
        let published = self.publisher.current();
        let PolicyVersion(version) = published.version;
        tracing::info!(version, digest = %published.digest.short(), took_us = took.as_micros(), "policy enforced");
        ToControl::Ack(wire::Ack {
            nonce,
            version,
            digest: published.digest.0.to_vec(),
            audit_head,
            apply_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

fn lease_message(lease: Lease) -> wire::LeaseReport {
    let Lease { client, address, seconds_left } = lease;
    let address = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    wire::LeaseReport { endpoint: client.0, address, seconds_left }
}

fn refusal(nonce: u64, version: u64, reason: String, resync: bool) -> ToControl {
    tracing::error!(version, reason, "policy not enforced as asked");
    ToControl::Nack(wire::Nack { nonce, version, reason, resync })
}

/// Connects to `http://HOST:PORT` or `unix:/PATH`.
pub(crate) async fn connect(address: &str) -> Result<Channel, SessionError> {
    let unreachable = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        SessionError::Connect(cause)
    };
    let tune = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(CONNECT_TIMEOUT)
            .keep_alive_while_idle(true)
    };
    if let Some(path) = address.strip_prefix("unix:") {
        let path = path.to_owned();
        let open = move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let connector = tower::service_fn(open);
        return tune(Endpoint::from_static("http://unix"))
            .connect_with_connector(connector)
            .await
            .map_err(unreachable);
    }
    let endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|_| SessionError::Address(address.to_owned()))?;
    tune(endpoint).connect().await.map_err(unreachable)
}
