//! The compiled policy that workers judge by, and how it is swapped under them.
//!
//! A worker must neither wait nor free memory, so it can take part in a swap only by looking: once a burst it loads
//! the pointer and stores which generation it found. The publisher stores the new policy, waits until every worker has
//! found it, and drops the old one itself. A worker that sleeps counts as passed, because waking it loads first; what
//! it still holds is kept until it has let go. What may run at once: one publisher, any number of workers.

use crate::binding::Bindings;
use crate::classifier::Classifier;
use crate::counters::RuleCounters;
use arc_swap::{ArcSwap, Cache};
use hashbrown::HashMap;
use meshgate_policy::{Digest, Policy, PolicyVersion, RuleId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that changes with a policy, built off the workers and never changed after.
pub struct Published {
    /// Version of the policy.
    pub version: PolicyVersion,
    /// Digest of the policy.
    pub digest: Digest,
    /// Counts what was published in this run. Versions can repeat, after control was restored from a copy, and flows
    /// must be judged again then, too.
    pub generation: u64,
    /// Stages 5 to 7.
    pub classifier: Classifier,
    /// Stage 2.
    pub bindings: Bindings,
    /// Counters of the rules, by worker, then in the order of [`Policy::rules`].
    pub rules: Vec<Vec<RuleCounters>>,
}

impl Published {
    /// Returns the parts of a policy put together, with counters at zero for each worker.
    pub fn new(policy: &Policy, classifier: Classifier, bindings: Bindings, workers: usize) -> Self {
        let counters = || policy.rules.iter().map(|rule| RuleCounters::new(rule.id)).collect();
        Self {
            version: policy.version,
            digest: policy.digest(),
            generation: 0,
            classifier,
            bindings,
            rules: std::iter::repeat_with(counters).take(workers).collect(),
        }
    }
}

/// How far one worker has come. Written by the worker, read by the publisher.
#[derive(Debug, Default)]
struct Progress {
    /// Generation by which the worker judges its newest burst.
    generation: AtomicU64,
    asleep: AtomicBool,
}

/// Totals of one rule over all policies since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTotals {
    /// Flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The one side that swaps.
pub struct Publisher {
    current: Arc<ArcSwap<Published>>,
    workers: Vec<Arc<Progress>>,
    /// Policies that a sleeping worker still holds: whoever lets go last frees, and that must not be a worker.
    retired: Vec<Arc<Published>>,
    /// What is read beside the workers.
    reader: RuleReader,
}

/// Reads what rules decided, and what is in force. Cheap to clone.
#[derive(Clone)]
pub struct RuleReader {
    current: Arc<ArcSwap<Published>>,
    /// What rules counted under policies that are gone; bounded by the rules of the current policy. Held over a swap,
    /// so that no reader finds a rule's counts gone from the old policy and not yet here.
    past: Arc<Mutex<HashMap<RuleId, RuleTotals>>>,
}

/// One worker's view.
pub struct Subscription {
    cache: Cache<Arc<ArcSwap<Published>>, Arc<Published>>,
    progress: Arc<Progress>,
}

/// A swap under way: the old policy, and the generation of the new one.
#[must_use = "the old policy must be kept until every worker has passed"]
pub struct Swap {
    old: Arc<Published>,
    generation: u64,
    /// What rules had counted before the old policy.
    past: HashMap<RuleId, RuleTotals>,
}

impl Publisher {
    /// Returns the publisher of a first policy and a subscription for each worker.
    pub fn new(first: Published, workers: usize) -> (Self, Vec<Subscription>) {
        let current = Arc::new(ArcSwap::from_pointee(first));
        let progress: Vec<_> = std::iter::repeat_with(Arc::<Progress>::default).take(workers).collect();
        let subscription = |progress: &Arc<Progress>| Subscription {
            cache: Cache::new(Arc::clone(&current)),
            progress: Arc::clone(progress),
        };
        let subscriptions = progress.iter().map(subscription).collect();
        let reader = RuleReader { current: Arc::clone(&current), past: Arc::default() };
        let publisher = Self { current, workers: progress, retired: Vec::new(), reader };
        (publisher, subscriptions)
    }

    /// Returns what is published.
    pub fn current(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// Stores the new policy. Workers that begin a burst from here on judge by it.
    pub fn store(&self, mut new: Published) -> Swap {
        let generation = self.current.load().generation + 1;
        new.generation = generation;
        let mut counted = self.reader.past();
        let old = self.current.swap(Arc::new(new));
        // What the workers add to the old policy's counts until they have passed comes with `finish`.
        let so_far = totals(&old, &counted).into_iter().collect();
        let past = std::mem::replace(&mut *counted, so_far);
        drop(counted);
        // Between the swap above and asking whether workers sleep nothing may be reordered; the other half is in
        // `Subscription::wake`. Either a worker is seen awake, or it finds the new policy when it wakes.
        fence(Ordering::SeqCst);
        Swap { old, generation, past }
    }

    /// Returns whether every worker judges by the new policy, or sleeps.
    pub fn has_passed(&self, swap: &Swap) -> bool {
        self.workers.iter().all(|worker| {
            worker.generation.load(Ordering::Acquire) >= swap.generation
                || worker.asleep.load(Ordering::SeqCst)
        })
    }

    /// Takes over the counts of the old policy and frees it. Call when [`Self::has_passed`].
    pub fn finish(&mut self, swap: Swap) {
        let Swap { old, generation: _, past } = swap;
        let kept: HashMap<RuleId, RuleTotals> = totals(&old, &past).into_iter().collect();
        let current = self.current();
        *self.reader.past() = current.rules.first().map_or_else(HashMap::new, |rules| {
            rules.iter().filter_map(|rule| kept.get(&rule.rule).map(|totals| (rule.rule, *totals))).collect()
        });
        // A worker that sleeps holds what it judged by last; the rest is freed here.
        self.retired.push(old);
        self.retired.retain(|retired| Arc::strong_count(retired) > 1);
    }

    /// Returns what reads the rules' counts beside this.
    pub fn reader(&self) -> RuleReader {
        self.reader.clone()
    }

    /// Returns the totals of every rule of the current policy, in its order.
    pub fn rule_totals(&self) -> Vec<(RuleId, RuleTotals)> {
        self.reader.rule_totals()
    }
}

impl RuleReader {
    /// Returns version and digest of what is in force.
    pub fn in_force(&self) -> (PolicyVersion, Digest) {
        let current = self.current.load();
        (current.version, current.digest)
    }

    /// Returns the totals of every rule of the current policy, in its order.
    pub fn rule_totals(&self) -> Vec<(RuleId, RuleTotals)> {
        let past = self.past();
        // Loaded under the lock: what is in `past` belongs to it.
        totals(&self.current.load(), &past)
    }

    fn past(&self) -> MutexGuard<'_, HashMap<RuleId, RuleTotals>> {
        // Nothing panics while it holds the lock.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the rules of a policy counted, beginning with what they had counted before it.
fn totals(published: &Published, past: &HashMap<RuleId, RuleTotals>) -> Vec<(RuleId, RuleTotals)> {
    let rules = published.rules.first().map_or(0, Vec::len);
    let total = |at: usize| {
        let id = published.rules[0][at].rule;
        let mut totals = past.get(&id).copied().unwrap_or_default();
        for worker in &published.rules {
            totals.flows += worker[at].flows.get();
            totals.packets += worker[at].packets.get();
            totals.bytes += worker[at].bytes.get();
        }
        (id, totals)
    };
    (0..rules).map(total).collect()
}

impl Subscription {
    /// Begins a burst: returns the policy to judge it by.
    pub fn begin_burst(&mut self) -> &Arc<Published> {
        let published = self.cache.load();
        // Release: everything judged by the old policy comes before the publisher sees that it is over.
        self.progress.generation.store(published.generation, Ordering::Release);
        published
    }

    /// Says that the worker goes to sleep. The next thing it does must be [`Self::wake`].
    pub fn fall_asleep(&self) {
        self.progress.asleep.store(true, Ordering::SeqCst);
    }

    /// Says that the worker is awake, before it loads anything.
    pub fn wake(&self) {
        self.progress.asleep.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::Host;
    use meshgate_policy::{Action, Name};
    use std::sync::Weak;

    fn published(version: u64) -> Published {
        let host = Host { name: Name::new("h").unwrap(), devices: Vec::new(), workers: 2 };
        let policy = Policy { version: PolicyVersion(version), ..Policy::empty(Action::Deny) };
        host.compile(&policy).unwrap()
    }

    /// Returns a publisher of version 1, its workers, and a weak hold of what it published.
    fn setting() -> (Publisher, Vec<Subscription>, Weak<Published>) {
        let (publisher, workers) = Publisher::new(published(1), 2);
        let first = Arc::downgrade(&publisher.current());
        (publisher, workers, first)
    }

    #[test]
    fn a_swap_is_over_when_every_worker_has_begun_a_burst() {
        let (publisher, mut workers, _) = setting();
        let swap = publisher.store(published(2));
        assert!(!publisher.has_passed(&swap));
        assert_eq!(workers[0].begin_burst().version.0, 2);
        assert!(!publisher.has_passed(&swap));
        workers[1].begin_burst();
        assert!(publisher.has_passed(&swap));
    }

    #[test]
    fn a_sleeping_worker_counts_as_passed_and_wakes_to_the_new_policy() {
        let (publisher, mut workers, _) = setting();
        workers.iter_mut().for_each(|worker| {
            worker.begin_burst();
            worker.fall_asleep();
        });
        let swap = publisher.store(published(2));
        assert!(publisher.has_passed(&swap));
        workers[0].wake();
        assert_eq!(workers[0].begin_burst().version.0, 2);
    }

    #[test]
    fn the_publisher_frees_the_old_policy_and_no_worker_does() {
        let (mut publisher, mut workers, first) = setting();
        workers.iter_mut().for_each(|worker| _ = worker.begin_burst());
        let swap = publisher.store(published(2));
        workers.iter_mut().for_each(|worker| _ = worker.begin_burst());
        assert!(first.upgrade().is_some(), "the workers let go of it, and it is still there");
        publisher.finish(swap);
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn what_a_sleeping_worker_holds_is_freed_by_the_publisher_after_it_woke() {
        let (mut publisher, mut workers, first) = setting();
        workers.iter_mut().for_each(|worker| {
            worker.begin_burst();
            worker.fall_asleep();
        });
        let swap = publisher.store(published(2));
        assert!(publisher.has_passed(&swap));
        publisher.finish(swap);
        assert!(first.upgrade().is_some());
        workers.iter_mut().for_each(|worker| {
            worker.wake();
            worker.begin_burst();
        });
        assert!(first.upgrade().is_some(), "letting go of it did not free it");
        let swap = publisher.store(published(3));
        workers.iter_mut().for_each(|worker| _ = worker.begin_burst());
        publisher.finish(swap);
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn what_a_rule_counted_never_goes_back_over_a_swap() {
        let rule = "[[groups]]\nname = 'a'\n[[relationships]]\nsource_group_name = 'a'\n\
                    destination_group_name = 'a'\naction = 'allow'\n";
        let compiled = |version| {
            let mut authored: meshgate_policy::AuthoredPolicy = toml::from_str(rule).unwrap();
            let mut numbering = meshgate_policy::Numbering::default();
            numbering.assign(&mut authored).unwrap();
            let policy = meshgate_policy::resolve(&authored, &numbering, PolicyVersion(version)).unwrap();
            let host = Host { name: Name::new("h").unwrap(), devices: Vec::new(), workers: 1 };
            host.compile(&policy).unwrap()
        };
        let (mut publisher, mut workers) = Publisher::new(compiled(1), 1);
        let reader = publisher.reader();
        let packets = || reader.rule_totals()[0].1.packets;
        let old = Arc::clone(workers[0].begin_burst());
        old.rules[0][0].packets.add(5);
        let swap = publisher.store(compiled(2));
        assert_eq!((packets(), reader.in_force().0.0), (5, 2), "nothing is gone between store and finish");
        old.rules[0][0].packets.add(2);
        workers[0].begin_burst().rules[0][0].packets.add(1);
        assert_eq!(packets(), 6);
        publisher.finish(swap);
        assert_eq!(packets(), 8, "what the worker counted under the old policy has come");
    }

    #[test]
    fn a_burst_begun_before_the_swap_does_not_count_as_passed() {
        let (publisher, mut workers, _) = setting();
        let old = Arc::clone(workers[0].begin_burst());
        workers[1].begin_burst();
        let swap = publisher.store(published(2));
        assert!(!publisher.has_passed(&swap), "both still judge by {}", old.version);
    }

    #[test]
    fn a_thousand_swaps_under_a_spinning_worker_each_reach_it() {
        let (mut publisher, workers, _) = setting();
        let stopping = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stopping = &stopping;
            for mut subscription in workers {
                scope.spawn(move || {
                    let mut worker_version = 0;
                    while !stopping.load(Ordering::Relaxed) {
                        let version = subscription.begin_burst().version.0;
                        assert!(version >= worker_version, "versions never go back");
                        worker_version = version;
                    }
                });
            }
            for version in 2..1_000 {
                let swap = publisher.store(published(version));
                while !publisher.has_passed(&swap) {
                    std::thread::yield_now();
                }
                publisher.finish(swap);
            }
            stopping.store(true, Ordering::Relaxed);
        });
    }
}
