//! The thread of the analyst: windows and answers come in, suggestions go out, and the time between is for learning.
//!
//! It never waits for control: suggestions go into a bounded queue, and what finds it full counts as not suggested and is
//! drafted again. It never keeps a window waiting for a step of training longer than that step takes.

use crate::analyst::{Analyst, Findings};
use crate::checkpoint;
use crate::collector::{SharedPolicies, lock};
use crate::draft_key::DraftKey;
use crate::feedback::Answer;
use crate::series::ClosedWindow;
use crate::status::Status;
use crossbeam::channel::{Receiver, RecvTimeoutError, TryRecvError, select};
use meshgate_policy::suggestion::Suggestion;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Longest time without a look at what else is to be done.
const LOOK: Duration = Duration::from_millis(200);

/// What control says of suggestions.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A person answered.
    Answered(Box<Answer>),
    /// An answer was taken back.
    Withdrawn {
        /// Place among the decisions.
        sequence: u64,
        /// Number of the suggestion.
        suggestion: u64,
        /// When, nanoseconds since 1970.
        time_ns: u64,
    },
    /// Control accepted a draft by itself.
    Automatic {
        /// Place among the decisions.
        sequence: u64,
        /// What the draft said.
        draft: DraftKey,
        /// When, nanoseconds since 1970.
        time_ns: u64,
    },
    /// A suggestion was not taken.
    Refused(DraftKey),
    /// Exactly these drafts wait at control for an answer.
    Open(BTreeSet<DraftKey>),
}

/// What the thread is connected to.
pub struct Wiring {
    /// Closed windows, from the collector.
    pub windows: Receiver<ClosedWindow>,
    /// What control says.
    pub news: Receiver<News>,
    /// Suggestions, to control.
    pub suggestions: mpsc::Sender<Suggestion>,
    /// Policies, newest first of all.
    pub policies: SharedPolicies,
    /// Where figures go.
    pub status: Status,
}

/// When what is done beside windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Rhythm {
    /// Share of the time between windows that is for learning, 0 to 1.
    pub training_share: f64,
    /// Where checkpoints go; none keeps nothing.
    pub checkpoint: Option<PathBuf>,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
}

/// The running analyst.
pub struct Analysis {
    analyst: Analyst,
    wiring: Wiring,
    rhythm: Rhythm,
    /// Learning time that has been earned and not used.
    budget: Duration,
    kept_at: Instant,
}

impl Analysis {
    /// Returns an analysis that has not begun.
    pub fn new(mut analyst: Analyst, wiring: Wiring, rhythm: Rhythm) -> Self {
        wiring.status.set_analyst(analyst.status());
        Self { analyst, wiring, rhythm, budget: Duration::ZERO, kept_at: Instant::now() }
    }

    /// Works until the collector has ended, then keeps a last checkpoint.
    pub fn run(mut self) {
        loop {
            match self.next_window() {
                Ok(Some(window)) => self.analyse(&window),
                Ok(None) => {}
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            self.learn();
            self.wiring.status.set_analyst(self.analyst.status());
            if self.kept_at.elapsed() >= self.rhythm.checkpoint_every {
                self.keep();
            }
        }
        self.keep();
    }

    /// Waits for a window, and takes in what control says meanwhile.
    fn next_window(&mut self) -> Result<Option<ClosedWindow>, TryRecvError> {
        while let Ok(news) = self.wiring.news.try_recv() {
            self.hear(news);
        }
        let (windows, news) = (self.wiring.windows.clone(), self.wiring.news.clone());
        select! {
            recv(windows) -> window => window.map(Some).map_err(|_| TryRecvError::Disconnected),
            recv(news) -> news => {
                match news {
                    Ok(news) => self.hear(news),
                    // Control's side ends before the collector: wait for windows alone.
                    Err(_) => match windows.recv_timeout(LOOK) {
                        Ok(window) => return Ok(Some(window)),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Err(TryRecvError::Disconnected),
                    },
                }
                Ok(None)
            }
            default(LOOK) => Ok(None),
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Answered(answer) => {
                let policy = lock(&self.wiring.policies).newest().cloned();
                self.analyst.answer(*answer, policy.as_deref());
            }
            News::Withdrawn { sequence, suggestion, time_ns } => {
                self.analyst.retract(sequence, suggestion, time_ns);
            }
            News::Automatic { sequence, draft, time_ns } => self.analyst.pass(sequence, draft, time_ns),
            News::Refused(draft) => self.analyst.withdraw(&draft),
            News::Open(open) => self.analyst.reconcile(&open, now_s()),
        }
    }

    fn analyse(&mut self, closed: &ClosedWindow) {
        self.budget = Duration::from_secs(closed.window.width_s.into()).mul_f64(self.rhythm.training_share);
        let Some(policy) = lock(&self.wiring.policies).newest().cloned() else { return };
        match self.analyst.observe(closed, &policy) {
            Ok(findings) => self.hand_on(findings),
            Err(error) => tracing::error!(%error, "a window cannot be read: its parties do not fit"),
        }
    }

    fn hand_on(&mut self, findings: Findings) {
        if !findings.anomalies.is_empty() {
            tracing::info!(anomalies = findings.anomalies.len(), "unusual");
        }
        for suggestion in findings.suggestions {
            let draft = DraftKey::of(&suggestion.draft);
            if self.wiring.suggestions.try_send(suggestion).is_err() {
                self.analyst.withdraw(&draft);
            }
        }
    }

    /// Learns until the budget is used up or something else is to be done.
    fn learn(&mut self) {
        let (begun, budget) = (Instant::now(), self.budget);
        let Wiring { windows, news, .. } = &self.wiring;
        self.analyst.train(|_| windows.is_empty() && news.is_empty() && begun.elapsed() < budget);
        self.budget = budget.saturating_sub(begun.elapsed());
    }

    fn keep(&mut self) {
        self.kept_at = Instant::now();
        let Some(path) = &self.rhythm.checkpoint else { return };
        let bytes = self.analyst.checkpoint();
        match checkpoint::store(path, &bytes) {
            Ok(()) => tracing::debug!(path = %path.display(), bytes = bytes.len(), "checkpoint kept"),
            Err(error) => tracing::error!(%error, "checkpoint not kept; the one before stays"),
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
