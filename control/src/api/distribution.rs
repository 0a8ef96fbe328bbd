//! `DistributionService`: one stream a host, and the list of hosts. What to send is decided by the distributor's
//! sessions; here are the waiting, the limits in time, and the messages.

use super::fault::{exhausted, invalid};
use super::report::{report, report_message};
use crate::clock::now_ns;
use crate::distributor::{
    Content, DEVICES_MAX, Greeting, HOSTS_MAX, HostLine, Outgoing, Role, Session, Superseded,
};
use crate::keeper::Keeper;
use crate::store::StoredHost;
use meshgate_policy::limits::DEVICE_NAME_BYTES_MAX;
use meshgate_policy::{Digest, Name, PolicyVersion};
use meshgate_proto::wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::host_message::Message;

/// Time a host has to say hello.
const HELLO_WAIT_S: u64 = 10;
/// Time a host has to answer a version: far above what compiling the largest policy takes.
const ANSWER_WAIT_S: u64 = 120;
/// Messages between a session and its stream: one version, one "up to date", one end, one to spare.
const STREAM_MESSAGES: usize = 4;
/// Streams at once: every host, and as many again that are being replaced or have not said hello.
const STREAMS_MAX: usize = HOSTS_MAX * 2;

type Sender = mpsc::Sender<Result<wire::ControlMessage, Status>>;

/// The service.
#[derive(Debug)]
pub struct DistributionApi {
    keeper: Arc<Keeper>,
    stopping: watch::Receiver<bool>,
    streams: Arc<Semaphore>,
}

impl DistributionApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>, stopping: watch::Receiver<bool>) -> Self {
        Self { keeper, stopping, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

#[tonic::async_trait]
impl wire::distribution_service_server::DistributionService for DistributionApi {
    type SubscribeStream = ReceiverStream<Result<wire::ControlMessage, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit
            .map_err(|_| exhausted(format!("{STREAMS_MAX} streams are open, more are not possible")))?;
        let (to_host, stream) = mpsc::channel(STREAM_MESSAGES);
        let link = Link {
            keeper: Arc::clone(&self.keeper),
            from_host: request.into_inner(),
            to_host,
            stopping: self.stopping.clone(),
            _permit: permit,
        };
        // The answer begins before hello has come: a host may wait for it before it speaks.
        tokio::spawn(link.run());
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_hosts(
        &self,
        request: Request<wire::ListHostsRequest>,
    ) -> Result<Response<wire::ListHostsResponse>, Status> {
        let wire::ListHostsRequest {} = request.into_inner();
        let newest = self.keeper.distributor().newest();
        Ok(Response::new(wire::ListHostsResponse {
            version: newest.policy.version.0,
            digest: newest.digest.0.to_vec(),
            hosts: self.keeper.distributor().hosts().into_iter().map(host_entry).collect(),
        }))
    }
}

/// One stream.
struct Link {
    keeper: Arc<Keeper>,
    from_host: Streaming<wire::HostMessage>,
    to_host: Sender,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Link {
    async fn run(mut self) {
        let joined = async {
            let hello = timeout(Duration::from_secs(HELLO_WAIT_S), self.from_host.message()).await;
            let hello =
                hello.map_err(|_| Status::deadline_exceeded(format!("no hello within {HELLO_WAIT_S} s")))?;
            let greeting = greeting(hello?)?;
            Ok::<_, Status>(self.keeper.distributor().join(greeting, now_ns())?)
        };
        let (mut session, superseded) = match joined.await {
            Ok(joined) => joined,
            Err(status) => {
                tracing::warn!(reason = status.message(), "subscriber refused");
                // An error means that the host has gone already.
                let _gone = self.to_host.try_send(Err(status));
                return;
            }
        };
        tracing::info!(host = %session.host(), "subscribed");
        let end = self.serve(&mut session, superseded).await;
        session.leave(self.keeper.distributor(), now_ns());
        match end {
            Ok(()) => tracing::info!(host = %session.host(), "left"),
            Err(status) => {
                tracing::info!(host = %session.host(), reason = status.message(), "ended");
                let _gone = self.to_host.try_send(Err(status));
            }
        }
    }

    /// Sends and receives until either side ends the stream.
    async fn serve(&mut self, session: &mut Session, mut superseded: Superseded) -> Result<(), Status> {
        let mut newest = self.keeper.distributor().watch();
        let mut stopping = self.stopping.clone();
        let stopped = async move {
            // An error means that the sender is gone, which is an end too.
            let _stop = stopping.wait_for(|stopping| *stopping).await.map(drop);
        };
        tokio::pin!(stopped);
        let mut deadline = Instant::now();
        loop {
            newest.mark_unchanged();
            while let Some(outgoing) = session.next(self.keeper.distributor()) {
                deadline = Instant::now() + Duration::from_secs(ANSWER_WAIT_S);
                if self.to_host.send(Ok(control_message(&outgoing))).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                message = self.from_host.message() => match message {
                    Ok(Some(wire::HostMessage { message })) => self.take(session, message).await?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                epoch = &mut superseded => {
                    let epoch = epoch.unwrap_or_default();
                    let host = session.host();
                    return Err(Status::aborted(format!("host {host} has connected again, with epoch {epoch}")));
                }
                () = &mut stopped => {
                    return Err(Status::unavailable("control is stopping"));
                }
                () = sleep_until(deadline), if session.is_waiting() => {
                    let words = format!("no answer to the last version within {ANSWER_WAIT_S} s");
                    return Err(Status::deadline_exceeded(words));
                }
            }
        }
    }

    async fn take(&self, session: &mut Session, message: Option<Message>) -> Result<(), Status> {
        let distributor = self.keeper.distributor();
        match message.ok_or_else(|| invalid("message", "is missing"))? {
            Message::Hello(_) => return Err(invalid("hello", "was said already")),
            Message::Ack(wire::Ack { nonce, version, digest, audit_head, apply_ns }) => {
                if !session.has_sent(&audit_head) {
                    tracing::warn!(host = %session.host(), "has recorded another audit head than it was sent");
                }
                let digest = Digest::try_from(digest.as_slice()).map_err(|error| invalid("ack", error))?;
                let answer = (nonce, PolicyVersion(version), digest);
                session.ack(distributor, answer, now_ns()).map_err(|error| invalid("ack", error))?;
                tracing::info!(host = %session.host(), version, digest = digest.short(), apply_ns, "acknowledged");
            }
            Message::Nack(wire::Nack { nonce, version: _, reason, resync }) => {
                let news = session.nack(distributor, (nonce, reason, resync), now_ns());
                if let Some((version, reason)) = news.map_err(|error| invalid("nack", error))? {
                    tracing::warn!(host = %session.host(), version = version.0, reason, resync, "refused by host");
                    self.keeper.note_refusal(session.host(), version, &reason).await;
                }
            }
            Message::Report(message) => {
                let report = report(message)?;
                self.keeper.note_leases(session.host(), &report.leases);
                session.report(distributor, report, now_ns());
            }
        }
        Ok(())
    }
}

fn greeting(message: Option<wire::HostMessage>) -> Result<Greeting, Status> {
    let message = message.and_then(|wire::HostMessage { message }| message);
    let Some(Message::Hello(hello)) = message else {
        return Err(invalid("hello", "is missing; it is the first message of a stream"));
    };
    let wire::Hello { host, role, version, digest, epoch, devices } = hello;
    if devices.len() > DEVICES_MAX {
        let words = format!("hello.devices: {} entries, at most {DEVICES_MAX} are possible", devices.len());
        return Err(exhausted(words));
    }
    if let Some(long) = devices.iter().find(|device| device.len() > DEVICE_NAME_BYTES_MAX) {
        let words = format!("{} bytes, at most {DEVICE_NAME_BYTES_MAX} are possible", long.len());
        return Err(invalid("hello.devices", words));
    }
    if i64::try_from(epoch).is_err() {
        return Err(invalid("hello.epoch", format!("{epoch} is above {}", i64::MAX)));
    }
    let holds = match (version, digest.as_slice()) {
        (0, _) | (_, []) => None,
        (version, digest) => {
            let digest = Digest::try_from(digest).map_err(|error| invalid("hello", error))?;
            Some((PolicyVersion(version), digest))
        }
    };
    let shown: String = role.chars().take(64).collect();
    let role = Role::from_word(&role);
    Ok(Greeting {
        host: Name::new(&host).map_err(|error| invalid("hello.host", error))?,
        role: role
            .ok_or_else(|| invalid("hello.role", format!("{shown:?} is not one of dataplane, observer")))?,
        holds,
        epoch,
        devices,
    })
}

fn control_message(outgoing: &Outgoing) -> wire::ControlMessage {
    use wire::control_message::Message;
    let Outgoing { nonce, audit_head, content } = outgoing;
    let message = match content {
        Content::Snapshot(policy) => Message::Snapshot(policy.as_ref().into()),
        Content::Delta(delta) => Message::Delta(delta.as_ref().into()),
        Content::UpToDate(version) => Message::UpToDate(wire::UpToDate { version: version.0 }),
    };
    wire::ControlMessage { nonce: *nonce, audit_head: audit_head.0.to_vec(), message: Some(message) }
}

fn host_entry(line: HostLine) -> wire::HostEntry {
    let HostLine { kept, connected, devices: _, report } = line;
    let StoredHost {
        host,
        role,
        epoch: _,
        version,
        digest,
        nack_version,
        nack_reason,
        last_seen_ns,
        commit_to_ack_ns,
    } = kept;
    wire::HostEntry {
        host: host.to_string(),
        role,
        connected,
        version: version.0,
        digest: digest.0.to_vec(),
        nack_reason,
        nack_version: nack_version.0,
        last_seen_ns,
        commit_to_ack_ns,
        report: report.map(report_message),
    }
}
