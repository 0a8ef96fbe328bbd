//! The connection to control over which questions come, and the calls by which they are answered.

mod messages;

use super::Inspector;
use crate::capture::{Drain, Reached};
use crate::config::DEVICES_MAX;
use crate::inside::Inside;
use crate::subscriber::{SessionError, connect};
use meshgate_proto::wire;
use messages::{activity, capture_start, captured_packet, counts, diagnosis, filter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use wire::diagnostics_service_client::DiagnosticsServiceClient;
use wire::host_answer::Answer;
use wire::host_question::Question;

/// Pause before control is tried again, at first; doubled up to the second value.
const RETRY_PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// Pause before a control is tried again that knows no such questions.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
/// Questions that are answered at once; more are refused.
const ANSWERS_MAX: usize = 8;
/// Parts of an answer that wait to be sent.
const PARTS_MAX: usize = 2;
/// How often a capture looks for packets: its slots hold what 400,000 packets a second bring meanwhile.
const DRAIN_PERIOD: Duration = Duration::from_millis(10);

impl Inspector {
    /// Stays attached to control for as long as the future is polled.
    pub async fn run(self) {
        let mut pause = RETRY_PAUSE[0];
        loop {
            let began = Instant::now();
            let error = self.serve().await;
            if began.elapsed() > RETRY_PAUSE[1] {
                pause = RETRY_PAUSE[0];
            }
            let is_unknown = matches!(&error, SessionError::Status(s) if s.code() == Code::Unimplemented);
            // The subscriber, which goes to the same place, says what is wrong with the way there.
            tracing::debug!(%error, "not attached for questions");
            tokio::time::sleep(if is_unknown { UNKNOWN_PAUSE } else { pause }).await;
            pause = (pause * 2).min(RETRY_PAUSE[1]);
        }
    }

    /// Attaches and takes questions until the stream ends. What is being answered then is given up.
    async fn serve(&self) -> SessionError {
        let refused = |status| SessionError::Status(Box::new(status));
        let channel = match connect(&self.inside.config.control).await {
            Ok(channel) => channel,
            Err(error) => return error,
        };
        let mut client = DiagnosticsServiceClient::new(channel.clone());
        let host = self.inside.config.host.to_string();
        let attach = wire::AttachRequest { host, epoch: self.inside.epoch };
        let mut questions = match client.attach(attach).await {
            Ok(attached) => attached.into_inner(),
            Err(status) => return refused(status),
        };
        let places = Arc::new(Semaphore::new(ANSWERS_MAX));
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                question = questions.message() => match question {
                    Ok(Some(question)) => {
                        let answer = Answerer { inside: self.inside.clone(), channel: channel.clone(), inquiry: question.inquiry };
                        let place = Arc::clone(&places).try_acquire_owned();
                        answering.spawn(async move {
                            match place {
                                Ok(_place) => answer.give(question.question).await,
                                Err(_) => answer.refuse(format!("{ANSWERS_MAX} questions are being answered already")).await,
                            }
                        });
                    }
                    Ok(None) => return SessionError::Ended,
                    Err(status) => return refused(status),
                },
                Some(_) = answering.join_next() => {}
            }
        }
    }
}

/// Answers one question.
struct Answerer {
    inside: Inside,
    channel: Channel,
    inquiry: u64,
}

impl Answerer {
    async fn give(self, question: Option<Question>) {
        let inside = self.inside.clone();
        let answer = match question {
            Some(Question::Capture(question)) => return self.capture(question).await,
            Some(Question::Reload(wire::ReloadQuestion {})) => return self.reload().await,
            // Both read files, which may take some milliseconds.
            Some(Question::Diagnose(wire::DiagnoseQuestion {})) => {
                tokio::task::spawn_blocking(move || Answer::Diagnosis(diagnosis(&inside))).await
            }
            Some(Question::Observe(wire::ObserveQuestion { limit })) => {
                tokio::task::spawn_blocking(move || Answer::Activity(activity(&inside, limit))).await
            }
            None => return self.refuse("this dataplane is older than the question".to_owned()).await,
        };
        match answer {
            Ok(answer) => self.send(answer).await,
            Err(_) => self.refuse("the dataplane is stopping".to_owned()).await,
        }
    }

    async fn reload(&self) {
        let (wish, outcome) = oneshot::channel();
        let heard = match self.inside.reload.send(wish).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err("the dataplane is stopping".to_owned())),
            Err(_) => Err("this dataplane judges a capture; there is nothing to reload".to_owned()),
        };
        match heard {
            Ok(devices) => {
                let devices = u32::try_from(devices).unwrap_or(u32::MAX);
                self.send(Answer::Reloaded(wire::HostReloaded { devices })).await;
            }
            Err(reason) => self.refuse(reason).await,
        }
    }

    async fn refuse(&self, reason: String) {
        self.send(Answer::Refusal(reason)).await;
    }

    /// Sends an answer of one part.
    async fn send(&self, answer: Answer) {
        let parts = tokio_stream::once(self.part(answer));
        // Whoever asked may have gone; there is nobody to tell.
        _ = DiagnosticsServiceClient::new(self.channel.clone()).answer(parts).await;
    }

    fn part(&self, answer: Answer) -> wire::HostAnswer {
        let host = self.inside.config.host.to_string();
        wire::HostAnswer { inquiry: self.inquiry, host, answer: Some(answer) }
    }

    /// Answers with packets until a limit is reached or nobody takes them any more.
    async fn capture(self, question: wire::CaptureQuestion) {
        let begun = filter(question, &self.inside).and_then(|(filter, limits)| {
            let capture = self.inside.captures.start(filter, limits, DEVICES_MAX);
            Ok((capture.map_err(|busy| busy.to_string())?, limits))
        });
        let (capture, limits) = match begun {
            Ok(begun) => begun,
            Err(reason) => return self.refuse(reason).await,
        };
        let mut drain = Drain::new(capture, Instant::now());
        // A reader that stalls fills the window of its connection, so this one has it for itself.
        let Ok(channel) = connect(&self.inside.config.control).await else { return };
        let mut client = DiagnosticsServiceClient::new(channel);
        let (parts, stream) = mpsc::channel(PARTS_MAX);
        let producing = async {
            let start = capture_start(&self.inside, limits);
            self.produce(start, &mut drain, &parts).await;
            drop(parts);
        };
        // The call ends by itself when the last part is taken, or before, when nobody wants any more.
        let answering = client.answer(ReceiverStream::new(stream));
        tokio::pin!(answering);
        tokio::select! {
            () = producing => {
                _ = answering.await;
            }
            _ = &mut answering => {}
        }
    }

    async fn produce(
        &self,
        start: wire::CapturePart,
        drain: &mut Drain,
        parts: &mpsc::Sender<wire::HostAnswer>,
    ) {
        use wire::capture_part::Part;
        let send =
            |part: Part| parts.send(self.part(Answer::Capture(wire::CapturePart { part: Some(part) })));
        if parts.send(self.part(Answer::Capture(start))).await.is_err() {
            return;
        }
        let mut ticks = tokio::time::interval(DRAIN_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut packets = Vec::new();
            let taken = drain.batch(|packet| packets.push(captured_packet(packet)));
            if taken > 0 && send(Part::Packets(wire::CapturedPackets { packets })).await.is_err() {
                return;
            }
            if let Some(reached) = drain.reached(Instant::now(), taken) {
                return end(reached, drain, send).await;
            }
            if taken == 0 {
                ticks.tick().await;
            }
        }
    }
}

async fn end<F, E>(reached: Reached, drain: &Drain, send: impl Fn(wire::capture_part::Part) -> F)
where
    F: Future<Output = Result<(), E>>,
{
    let devices = drain.counts().into_iter().zip(0..).filter_map(counts).collect();
    let end = wire::CaptureEnd { limit: reached.word().to_owned(), devices };
    // Nobody may wait for it any more.
    _ = send(wire::capture_part::Part::End(end)).await;
}
