//! What earlier drafts and their answers say about a new one.
//!
//! The log knows drafts by what they say in words. Whether one covers the other is a question of addresses, so those that
//! stand in the way are read as rules of this version; what names a group that is gone stands in nobody's way.

use super::DropReason;
use super::desk::Desk;
use super::grounds::Grounds;
use crate::draft_key::DraftKey;
use crate::draft_log::Standing;
use hashbrown::HashMap;
use meshgate_policy::{
    Action, Endpoint, GroupId, L4Match, Name, PortSet, Prefix, Priority, ProtocolMatch, Rule, RuleId,
    RuleKind, Side,
};

/// The drafts that stand in the way, as rules.
#[derive(Default)]
pub(super) struct Bars {
    /// Drafts that are open, rest, or were answered for good.
    settled: Vec<Rule>,
    /// Those of them that wait for an answer.
    open: Vec<Rule>,
    /// Drafts that covered more than they should.
    too_broad: Vec<Rule>,
    /// What people made of drafts, newest first.
    preferred: Vec<Rule>,
}

impl Bars {
    pub(super) fn new(desk: &Desk<'_>) -> Self {
        let mut bars = Self::default();
        let log = desk.input.draft_log;
        if log.is_empty() && log.preferred().next().is_none() {
            return bars;
        }
        let groups = desk.input.policy.groups.iter().map(|group| (group.name.as_str(), group.id));
        let groups: HashMap<&str, GroupId> = groups.collect();
        let reader = Reader { desk, groups };
        for (key, standing) in log.standing(desk.input.window_end_s) {
            let Some(rule) = reader.rule(key) else { continue };
            if log.is_open(key) {
                bars.open.push(rule.clone());
            }
            match standing {
                Standing::Settled => bars.settled.push(rule),
                Standing::TooBroad => bars.too_broad.push(rule),
            }
        }
        bars.preferred = log.preferred().filter_map(|key| reader.rule(key)).collect();
        bars
    }

    /// Returns whether a draft that is open or was answered covers all that led to this one.
    pub(super) fn is_settled(&self, desk: &Desk<'_>, rule: &Rule, grounds: &Grounds) -> bool {
        self.settled.iter().any(|settled| covers(desk, settled, rule, grounds))
    }

    /// Returns whether a draft of the other action that waits for an answer lies within this one, or contains it.
    pub(super) fn is_contradicted(&self, desk: &Desk<'_>, rule: &Rule) -> bool {
        let contradicts = |open: &&Rule| {
            !same_action(open, rule)
                && (desk.extents.contains(open, rule) || desk.extents.contains(rule, open))
        };
        self.open.iter().any(|open| contradicts(&open))
    }

    /// Returns why a rule may not be drafted for what led to it: a wider one, or one as wide, was too broad; and where
    /// one was that covered this too, only narrower ones will do.
    pub(super) fn width_fault(&self, desk: &Desk<'_>, rule: &Rule, grounds: &Grounds) -> Option<DropReason> {
        let is_as_wide = |broad: &&Rule| same_action(broad, rule) && desk.extents.contains(rule, broad);
        let is_beside =
            |broad: &&Rule| covers(desk, broad, rule, grounds) && !desk.extents.contains(broad, rule);
        let is_barred = self.too_broad.iter().any(|broad| is_as_wide(&broad) || is_beside(&broad));
        is_barred.then_some(DropReason::Repeated)
    }

    /// Returns what people made of drafts for the same service, newest first.
    pub(super) fn preferred<'b>(&'b self, rule: &'b Rule) -> impl Iterator<Item = &'b Rule> {
        self.preferred.iter().filter(move |preferred| same_action(preferred, rule) && preferred.l4 == rule.l4)
    }
}

fn same_action(a: &Rule, b: &Rule) -> bool {
    a.action.is_allow() == b.action.is_allow()
}

/// Returns whether the earlier rule is for this service and all addresses that led to the new one.
fn covers(desk: &Desk<'_>, earlier: &Rule, rule: &Rule, grounds: &Grounds) -> bool {
    same_action(earlier, rule)
        && earlier.l4.contains(&rule.l4)
        && desk.holds_party(&earlier.source, grounds.key.source, &grounds.sources)
        && desk.holds_party(&earlier.destination, grounds.key.destination, &grounds.destinations)
}

/// Reads keys as rules.
struct Reader<'a, 'd> {
    desk: &'a Desk<'d>,
    groups: HashMap<&'a str, GroupId>,
}

impl Reader<'_, '_> {
    fn rule(&self, key: &DraftKey) -> Option<Rule> {
        let DraftKey { source, destination, service, action } = key;
        let mut words = service.split(' ');
        let mut word = || words.next();
        let protocol: ProtocolMatch = word()?.parse().ok()?;
        let ports: PortSet = word()?.parse().ok()?;
        let mut number = || word().map(|text| text.parse::<u8>().ok());
        let (icmp_type, icmp_code) = (number()?, number()?);
        Some(Rule {
            id: RuleId(0),
            kind: RuleKind::Relationship,
            priority: Priority::default(),
            action: action.parse::<Action>().ok()?,
            shadow: false,
            source: self.side(source)?,
            destination: self.side(destination)?,
            l4: L4Match::new(protocol, &ports, icmp_type, icmp_code).ok()?,
        })
    }

    fn side(&self, text: &str) -> Option<Side> {
        if !text.contains(['/', '@']) {
            let group = GroupId::built_in(text).or_else(|| self.groups.get(text).copied());
            return group.map(Side::Group);
        }
        let mut prefixes = Vec::new();
        for entry in text.split(',') {
            match entry.strip_prefix('@') {
                Some(name) => {
                    let name = Name::new(name).ok()?;
                    let named = |endpoint: &&Endpoint| endpoint.name == name;
                    let owner = self.desk.input.policy.endpoints.iter().find(named)?;
                    prefixes.extend(owner.addresses.iter().copied().map(Prefix::host));
                }
                None => prefixes.push(entry.parse().ok()?),
            }
        }
        prefixes.sort_unstable();
        Some(Side::Prefixes(prefixes))
    }
}
