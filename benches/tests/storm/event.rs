//! What can happen in the storm.

use meshgate_policy::generate::Rng;

/// What can happen, and how often of all.
const EVENTS: [(Event, u64); 12] = [
    (Event::NewPolicy, 23),
    (Event::Flap, 16),
    (Event::HastyFlap, 8),
    (Event::Reload, 12),
    (Event::WrongReload, 6),
    (Event::KillDataplane, 8),
    (Event::StopDataplane, 5),
    (Event::KillControl, 5),
    (Event::KillLearner, 3),
    (Event::KillInNewPolicy, 5),
    (Event::KillInFlap, 5),
    (Event::KillInReload, 4),
];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Other ports are open.
    NewPolicy,
    /// A device goes and returns when that was noticed.
    Flap,
    /// A device goes and returns at once.
    HastyFlap,
    /// A device is left out of the configuration, then taken in again.
    Reload,
    /// The configuration is read again while it is wrong.
    WrongReload,
    /// The dataplane is killed.
    KillDataplane,
    /// The dataplane is told to end, and has to give account of its packet memory.
    StopDataplane,
    /// Control is killed.
    KillControl,
    /// The learner is killed, where there is one: it is not always built.
    KillLearner,
    /// Either program is killed while a policy is on its way.
    KillInNewPolicy,
    /// The dataplane is killed while a device is away.
    KillInFlap,
    /// The dataplane is killed while it reads its configuration again.
    KillInReload,
}

impl Event {
    /// Returns what happens next.
    pub fn draw(random: &mut Rng) -> Self {
        let mut drawn = random.below(EVENTS.iter().map(|(_, weight)| weight).sum());
        for (event, weight) in EVENTS {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return event,
            }
        }
        unreachable!("what is drawn is below the sum of all")
    }
}
