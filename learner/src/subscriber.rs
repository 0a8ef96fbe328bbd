//! Reads policies from control, as an observer: it acknowledges and enforces nothing.

use crate::collector::{SharedPolicies, lock};
use crate::link::{LinkError, connect};
use meshgate_policy::{Delta, Policy};
use meshgate_proto::wire;
use meshgate_proto::wire::control_message::Message as FromControl;
use meshgate_proto::wire::distribution_service_client::DistributionServiceClient;
use meshgate_proto::wire::host_message::Message as ToControl;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Messages that may wait to be sent.
const OUTBOX_MESSAGES: usize = 8;
/// Bytes of the largest message taken from control.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Pause before control is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the policies in step with control for as long as the future is polled.
pub async fn run(control: String, collector: String, epoch: u64, policies: SharedPolicies) {
    loop {
        let ended = match session(&control, &collector, epoch, &policies).await {
            Ok(()) => LinkError::Ended,
            Err(error) => error,
        };
        tracing::warn!(%control, error = %ended, "control lost; group sets stay as they are");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn session(
    control: &str,
    collector: &str,
    epoch: u64,
    policies: &SharedPolicies,
) -> Result<(), LinkError> {
    let status = |status| LinkError::Status(Box::new(status));
    let channel = connect(control).await?;
    let mut client = DistributionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
    let hello = ToControl::Hello(hello(collector, epoch, policies));
    send(&outbox, hello).await?;
    let mut inbox = client.subscribe(ReceiverStream::new(messages)).await.map_err(status)?.into_inner();
    tracing::info!(%control, "subscribed");
    while let Some(message) = inbox.message().await.map_err(status)? {
        if let Some(answer) = answer(message, policies) {
            send(&outbox, answer).await?;
        }
    }
    Ok(())
}

async fn send(outbox: &mpsc::Sender<wire::HostMessage>, message: ToControl) -> Result<(), LinkError> {
    outbox.send(wire::HostMessage { message: Some(message) }).await.map_err(|_| LinkError::Ended)
}

fn hello(collector: &str, epoch: u64, policies: &SharedPolicies) -> wire::Hello {
    let held = lock(policies).newest().cloned();
    wire::Hello {
        host: collector.to_owned(),
        role: "observer".into(),
        version: held.as_ref().map_or(0, |policy| policy.version.0),
        digest: held.map_or_else(Vec::new, |policy| policy.digest().0.to_vec()),
        epoch,
        devices: Vec::new(),
    }
}

/// Takes a policy in and returns the answer.
fn answer(message: wire::ControlMessage, policies: &SharedPolicies) -> Option<ToControl> {
    let wire::ControlMessage { nonce, audit_head, message } = message;
    let (version, policy) = match message? {
        FromControl::UpToDate(wire::UpToDate { version: _ }) => return None,
        FromControl::Snapshot(snapshot) => {
            (snapshot.version, Policy::try_from(snapshot).map_err(|fault| (fault.to_string(), false)))
        }
        FromControl::Delta(delta) => {
            (delta.to_version, follow(delta, policies).map_err(|fault| (fault, true)))
        }
    };
    Some(match policy {
        Ok(policy) => {
            let digest = policy.digest().0.to_vec();
            tracing::info!(version, "policy read");
            lock(policies).insert(Arc::new(policy));
            ToControl::Ack(wire::Ack { nonce, version, digest, audit_head, apply_ns: 0 })
        }
        Err((reason, resync)) => {
            tracing::error!(version, reason, "policy not understood");
            ToControl::Nack(wire::Nack { nonce, version, reason, resync })
        }
    })
}

fn follow(delta: wire::PolicyDelta, policies: &SharedPolicies) -> Result<Policy, String> {
    let delta = Delta::try_from(delta).map_err(|fault| fault.to_string())?;
    let current = lock(policies).newest().cloned().ok_or("a delta, and there is no policy to apply it to")?;
    current.apply(&delta).map_err(|error| error.to_string())
}
