//! The stream of decisions to a learner: first those that are stored, then each new one.
//!
//! A decision is never carried by the wake-up, only by the store: whoever is woken reads on from the last sequence it has
//! sent. So none is missed between two reads, none comes twice, and a slow learner costs a place in a table and no memory.

use super::fault::{exhausted, invalid};
use crate::keeper::Keeper;
use crate::store::{StoreError, Told};
use meshgate_policy::Name;
use meshgate_proto::wire;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Streams at once: every learner that is remembered, and some that look on.
pub(super) const WATCHERS_MAX: usize = 128;
/// Decisions that are read at once.
const PAGE_DECISIONS: u32 = 32;
/// Decisions between the store and the stream.
const STREAM_MESSAGES: usize = 4;

/// What a learner gets.
pub(super) type Decided = ReceiverStream<Result<wire::DecidedSuggestion, Status>>;

/// One stream.
struct Watcher {
    keeper: Arc<Keeper>,
    /// Empty for every learner.
    learner: String,
    /// The sequence of the last decision that was sent or is none of this learner's.
    sequence: u64,
    to_learner: mpsc::Sender<Result<wire::DecidedSuggestion, Status>>,
    _permit: OwnedSemaphorePermit,
}

/// Returns the decisions after a place.
pub(super) async fn watch_decisions(
    keeper: &Arc<Keeper>,
    request: wire::WatchDecisionsRequest,
    places: (&Arc<Semaphore>, watch::Receiver<bool>),
) -> Result<Decided, Status> {
    let wire::WatchDecisionsRequest { learner, after_sequence } = request;
    let (watchers, stopping) = places;
    if !learner.is_empty() {
        Name::new(&learner).map_err(|error| invalid("learner", error))?;
    }
    let newest = keeper.store().newest_decision().await?;
    if after_sequence > newest {
        let words =
            format!("after_sequence: {after_sequence} is above the newest decision, which is {newest}");
        return Err(Status::out_of_range(words));
    }
    let permit = Arc::clone(watchers).try_acquire_owned();
    let permit =
        permit.map_err(|_| exhausted(format!("{WATCHERS_MAX} streams are open, more are not possible")))?;
    let (to_learner, stream) = mpsc::channel(STREAM_MESSAGES);
    let keeper = Arc::clone(keeper);
    let watcher = Watcher { keeper, learner, sequence: after_sequence, to_learner, _permit: permit };
    tokio::spawn(watcher.run(stopping));
    Ok(ReceiverStream::new(stream))
}

impl Watcher {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let to_learner = self.to_learner.clone();
        let end = tokio::select! {
            end = self.serve() => end,
            // An error means that the sender is gone, which is an end too.
            _stop = stopping.wait_for(|stopping| *stopping) => Err(Status::unavailable("control is stopping")),
            () = to_learner.closed() => Ok(()),
        };
        if let Err(status) = end {
            let _gone = to_learner.try_send(Err(status));
        }
    }

    /// Sends until the learner has gone or the store fails.
    async fn serve(&mut self) -> Result<(), Status> {
        let mut newest = self.keeper.decisions();
        loop {
            // What is known here was on disk before, so a read that starts now finds it.
            let known = *newest.borrow_and_update();
            if !self.send_stored().await? {
                return Ok(());
            }
            self.sequence = self.sequence.max(known);
            if newest.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Sends what is stored. Returns whether the learner is still there.
    async fn send_stored(&mut self) -> Result<bool, StoreError> {
        loop {
            let page = self.keeper.store().told(&self.learner, self.sequence, PAGE_DECISIONS).await?;
            if page.is_empty() {
                return Ok(true);
            }
            for told in page {
                self.sequence = told.sequence();
                let message = match told {
                    Told::Decided(filed) => {
                        wire::DecidedSuggestion { suggestion: Some((*filed).into()), withdrawal: None }
                    }
                    Told::Withdrawn(withdrawal) => {
                        wire::DecidedSuggestion { suggestion: None, withdrawal: Some(withdrawal.into()) }
                    }
                };
                if self.to_learner.send(Ok(message)).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
}
