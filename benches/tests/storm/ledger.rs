//! Which policies could be in force at a moment: one may be from when it was handed to control until a later one was
//! known to be enforced by the host.

use super::now_ns;
use meshgate_policy::{AuthoredPolicy, Numbering, Policy, PolicyKey, PolicyVersion, resolve};

/// How long after a policy has gone a frame that it allowed may be on its way: through rings, a veth and the capture, on
/// a machine that does other things.
const ON_ITS_WAY_NS: u64 = 300_000_000;

/// A policy and its time.
struct Edition {
    policy: Policy,
    begun_ns: u64,
    /// When it was known to be enforced; none while it is not.
    enforced_ns: Option<u64>,
}

/// All policies of a run.
#[derive(Default)]
pub struct Ledger {
    editions: Vec<Edition>,
}

impl Ledger {
    /// Notes that a policy is about to be handed to control.
    pub fn begin(&mut self, text: &str) {
        let mut authored: AuthoredPolicy = toml::from_str(text).unwrap();
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        let version = PolicyVersion(u64::try_from(self.editions.len() + 1).unwrap());
        let policy = resolve(&authored, &numbering, version).unwrap();
        self.editions.push(Edition { policy, begun_ns: now_ns(), enforced_ns: None });
    }

    /// Notes that the policy handed over last is enforced.
    pub fn confirm(&mut self) {
        if let Some(edition) = self.editions.last_mut() {
            edition.enforced_ns.get_or_insert(now_ns());
        }
    }

    /// Returns how many policies there were.
    pub fn len(&self) -> usize {
        self.editions.len()
    }

    /// Returns whether any policy that could be in force at this time allows the packet.
    pub fn may_allow(&self, key: &PolicyKey, at_ns: u64) -> bool {
        let mut later_enforced_ns = u64::MAX;
        for edition in self.editions.iter().rev() {
            let is_possible =
                edition.begun_ns <= at_ns && at_ns <= later_enforced_ns.saturating_add(ON_ITS_WAY_NS);
            if is_possible && edition.policy.decide(key).action.is_allow() {
                return true;
            }
            later_enforced_ns = later_enforced_ns.min(edition.enforced_ns.unwrap_or(u64::MAX));
        }
        false
    }
}
