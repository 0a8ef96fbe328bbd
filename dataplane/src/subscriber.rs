//! Receives policies from control and answers with ACK or NACK.
//!
//! A policy goes through wire -> [`Policy`] (digest checked) -> compile -> proof -> published to the workers -> kept
//! on disk -> ACK, all off the workers. Whatever fails on the way leaves the current policy in force and is answered
//! with a NACK that names it. Control gone means: go on with what is enforced, and try to reach it again.

mod session;

pub use session::SessionError;
pub(crate) use session::connect;

use crate::binding::{Bindings, DeviceRole};
use crate::classifier::{Classifier, CompileError, Compiler, Difference, ProofBudget};
use crate::last_good::{LastGood, LastGoodError};
use crate::leases::{LeaseQueue, Leases, QUEUE_WORDS};
use crate::published::{Published, Publisher};
use crate::reporter::Reporter;
use hashbrown::HashSet;
use meshgate_policy::{Action, Delta, Name, Policy};
use meshgate_proto::{check_policy, wire};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long workers may take to pass a swap before it is called a failure. A burst takes some microseconds.
const SWAP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const SWAP_POLL: Duration = Duration::from_micros(50);
/// Pause before control is tried again, at first; doubled up to the second value.
const RETRY_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Why a policy is not enforced.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What was compiled decides otherwise than the policy.
    #[error("the compiled policy differs from the policy: {0}")]
    Difference(Box<Difference>),
    /// It cannot be kept on disk, so that a restart would fall back.
    #[error(transparent)]
    Disk(#[from] LastGoodError),
    /// A worker did not take it.
    #[error("a worker did not begin a burst within {} s", SWAP_TIMEOUT.as_secs())]
    Stuck,
}

/// What a compiled policy depends on beside the policy.
#[derive(Clone)]
pub struct Host {
    /// Name of this host.
    pub name: Name,
    /// Devices in the order of the configuration.
    pub devices: Vec<DeviceRole>,
    /// Number of workers.
    pub workers: usize,
}

impl Host {
    /// Compiles a policy for this host and proves the result against it.
    pub fn compile(&self, policy: &Policy) -> Result<Published, ApplyError> {
        self.prove(policy, Classifier::compile(policy)?)
    }

    /// Does the same with the next version of what a compiler compiled last.
    pub fn compile_next(
        &self,
        compiler: &mut Compiler,
        policy: &Arc<Policy>,
    ) -> Result<Published, ApplyError> {
        match self.prove(policy, compiler.compile(policy)?) {
            Err(ApplyError::Difference(difference)) => {
                // What was kept may be at fault, and must not stand in the way of later versions.
                tracing::error!(%difference, "compiled once more, from the beginning");
                *compiler = Compiler::default();
                self.prove(policy, compiler.compile(policy)?)
            }
            proven => proven,
        }
    }

    fn prove(&self, policy: &Policy, classifier: Classifier) -> Result<Published, ApplyError> {
        classifier
            .prove(policy, ProofBudget::default())
            .map_err(|difference| ApplyError::Difference(Box::new(difference)))?;
        let bindings = Bindings::build(policy, &self.name, &self.devices);
        Ok(Published::new(policy, classifier, bindings, self.workers))
    }
}

/// Other devices, for which the policy in force is to be compiled anew.
pub struct DeviceChange {
    /// Devices by number.
    pub devices: Vec<DeviceRole>,
    /// Hears when all workers judge by them.
    pub done: oneshot::Sender<Result<(), ApplyError>>,
}

/// Keeps one host's policy in step with control.
pub struct Subscriber {
    host: Host,
    control: String,
    epoch: u64,
    publisher: Publisher,
    /// What is enforced; none before any policy was ever accepted.
    policy: Option<Arc<Policy>>,
    /// Knows what the next version need not find out again.
    compiler: Compiler,
    last_good: LastGood,
    reporter: Reporter,
    start_action: Action,
    /// Devices whose super-frames were spoken of.
    advised: HashSet<usize>,
    changes: mpsc::Receiver<DeviceChange>,
    /// What workers overheard about leases.
    overheard: Arc<LeaseQueue>,
    leases: Leases,
    /// From when the time of leases counts.
    started: Instant,
}

/// What a subscriber is made of.
pub struct SubscriberParts {
    /// What policies are compiled for.
    pub host: Host,
    /// Where control listens.
    pub control: String,
    /// Tells this run from others.
    pub epoch: u64,
    /// Swaps policies under the workers.
    pub publisher: Publisher,
    /// What the publisher began with, if that was an accepted policy.
    pub policy: Option<Arc<Policy>>,
    /// What compiled it.
    pub compiler: Compiler,
    /// Where accepted policies are kept.
    pub last_good: LastGood,
    /// What control is told.
    pub reporter: Reporter,
    /// What is enforced before any policy was ever accepted.
    pub start_action: Action,
    /// Brings other devices.
    pub changes: mpsc::Receiver<DeviceChange>,
    /// What workers overhear about leases.
    pub leases: Arc<LeaseQueue>,
}

impl Subscriber {
    /// Returns a subscriber that is not connected yet.
    pub fn new(parts: SubscriberParts) -> Self {
        let SubscriberParts { host, control, epoch, publisher, policy, compiler, last_good, .. } = parts;
        let SubscriberParts { reporter, start_action, changes, leases, .. } = parts;
        Self {
            host,
            control,
            epoch,
            publisher,
            policy,
            compiler,
            last_good,
            reporter,
            start_action,
            advised: HashSet::new(),
            changes,
            overheard: leases,
            leases: Leases::default(),
            started: Instant::now(),
        }
    }

    /// Stays subscribed for as long as the future is polled.
    pub async fn run(mut self) {
        let mut pause = RETRY_PAUSE[0];
        let mut told = String::new();
        loop {
            let began = Instant::now();
            let error = self.session().await.to_string();
            self.advise();
            // What ends or begins meanwhile is in the first report to whoever answers next.
            self.hear();
            if error != told {
                tracing::warn!(control = %self.control, error, "control lost; the current policy stays in force");
                told = error;
            }
            if began.elapsed() > RETRY_PAUSE[1] {
                pause = RETRY_PAUSE[0];
            }
            self.rest(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE[1]);
        }
    }

    /// Lets time pass before control is tried again. Devices may change meanwhile.
    async fn rest(&mut self, pause: Duration) {
        let end = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                Some(change) = self.changes.recv() => self.take_devices(change).await,
            }
        }
    }

    /// Takes in what was overheard about leases, and returns whether a lease began or ended.
    fn hear(&mut self) -> bool {
        let now_ns = self.lease_time_ns();
        // As many as fit in the queue: what comes meanwhile waits for the next time.
        for heard in std::iter::from_fn(|| self.overheard.pop()).take(QUEUE_WORDS) {
            self.leases.take(heard, now_ns);
        }
        self.leases.advance(now_ns);
        self.leases.take_news()
    }

    /// Returns the time by which leases are counted. It begins anywhere: only what is left of a lease is told.
    fn lease_time_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Brings a policy into force and returns how long that took.
    async fn apply(&mut self, policy: Policy) -> Result<Duration, ApplyError> {
        let began = Instant::now();
        let (published, policy) = self.compile(Arc::new(policy)).await?;
        self.last_good.write(&encode(&policy))?;
        // From here on the new policy is in force: there is no way back, only waiting until no burst knows the old one.
        self.policy = Some(policy);
        self.publish(published).await?;
        Ok(began.elapsed())
    }

    /// Compiles the policy in force for other devices and says when they are in force, too.
    async fn take_devices(&mut self, change: DeviceChange) {
        let DeviceChange { devices, done } = change;
        let before = std::mem::replace(&mut self.host.devices, devices);
        let policy = self.policy.clone().unwrap_or_else(|| Arc::new(Policy::empty(self.start_action)));
        let outcome = match self.compile(policy).await {
            Ok((published, _)) => self.publish(published).await,
            Err(error) => {
                self.host.devices = before;
                Err(error)
            }
        };
        // Whoever asked may have gone.
        _ = done.send(outcome);
    }

    async fn compile(&mut self, policy: Arc<Policy>) -> Result<(Published, Arc<Policy>), ApplyError> {
        let (host, mut compiler) = (self.host.clone(), std::mem::take(&mut self.compiler));
        let compile = move || {
            let published = host.compile_next(&mut compiler, &policy);
            (published.map(|published| (published, policy)), compiler)
        };
        // Compiling may take long; the connection must go on answering meanwhile.
        let compiled = tokio::task::spawn_blocking(compile).await;
        let (published, compiler) = compiled.expect("compiling returns errors and does not panic");
        self.compiler = compiler;
        published
    }

    async fn publish(&mut self, published: Published) -> Result<(), ApplyError> {
        let swap = self.publisher.store(published);
        let stored = Instant::now();
        while !self.publisher.has_passed(&swap) {
            if stored.elapsed() > SWAP_TIMEOUT {
                tracing::error!("a worker has not begun a burst for {} s", SWAP_TIMEOUT.as_secs());
                return Err(ApplyError::Stuck);
            }
            tokio::time::sleep(SWAP_POLL).await;
        }
        self.publisher.finish(swap);
        Ok(())
    }
}

/// Returns the bytes by which a policy is kept on disk: the wire's own form, its digest included.
pub fn encode(policy: &Policy) -> Vec<u8> {
    wire::Policy::from(policy).encode_to_vec()
}

/// Reads a policy kept on disk; the error says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Policy, String> {
    let message = wire::Policy::decode(bytes).map_err(|error| error.to_string())?;
    Policy::try_from(message).map_err(|fault| fault.to_string())
}

/// Returns the policy that a delta makes of another; the error says what is wrong with the delta, or with the policy that
/// it leads to.
pub fn follow(current: &Policy, delta: wire::PolicyDelta) -> Result<Policy, String> {
    let delta = Delta::try_from(delta).map_err(|fault| fault.to_string())?;
    let policy = current.apply(&delta).map_err(|error| error.to_string())?;
    check_policy(&policy).map_err(|fault| fault.to_string())?;
    Ok(policy)
}
