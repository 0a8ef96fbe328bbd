//! Turns recorded flows into windows, by the same history that live records go through.
//!
//! Time comes from the flows. A flow counts at its first packet with all its packets, as that is what a record of it
//! says. Whether a flow was answered is taken as no where the record does not say: nothing is allowed for want of
//! knowledge. No policy refused anything in a recording, so nothing in it is refused.

use crate::flow_totals::Increment;
use crate::group_index::GroupIndex;
use crate::history::{History, Observation};
use crate::networks::Networks;
use crate::policies::GroupSet;
use crate::recorded_flow::{FlowFileError, RecordedFlow};
use crate::series::{Parties, Party, PartyId, SeriesKey, Window};
use hashbrown::HashMap;
use meshgate_policy::{
    Action, AuthoredPolicy, L4Key, Numbering, NumberingError, Policy, PolicyFault, PolicyKey, PolicyVersion,
    Protocol, SegmentId, address_bytes, resolve,
};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the largest policy file that is read: 50,000 rules and 200,000 endpoints have room.
const POLICY_BYTES_MAX: u64 = 256 << 20;
/// Addresses whose party is remembered: as many as a table of 2^16 places holds before it doubles.
const ADDRESSES_MAX: usize = (1 << 16) / 8 * 7;
/// Flows whose deciding rule is remembered.
const DECISIONS_MAX: usize = ADDRESSES_MAX;

/// Why a policy cannot be used for a recording.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is no policy.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There are no numbers for its names.
    #[error(transparent)]
    Numbering(#[from] NumberingError),
    /// It has faults.
    #[error("the policy has {} faults, the first is: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Faults(Vec<PolicyFault>),
}

/// What the parties of recorded flows are.
#[derive(Debug)]
pub enum Grouping {
    /// The groups of a policy, in its segment `default`.
    Policy(PolicyGroups),
    /// Private networks, and `external`.
    Networks(Networks),
    /// Addresses, each for itself.
    Addresses(Arc<Policy>),
}

/// The groups of a policy, and what decides by it.
#[derive(Debug)]
pub struct PolicyGroups {
    policy: Arc<Policy>,
    index: GroupIndex,
    decisions: HashMap<PolicyKey, u32>,
}

/// Time as records tell it: it goes on with the latest and never back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyntheticClock {
    now_ns: u64,
}

/// Figures of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedCounts {
    /// Flows read.
    pub flows: u64,
    /// Flows that found no room in their window, or whose addresses found none among the parties.
    pub left_out: u64,
    /// Flows of which it is not known whether they were answered.
    pub of_unknown_answer: u64,
}

/// The windows of recorded flows.
pub struct RecordedWindows<F> {
    flows: F,
    grouping: Grouping,
    history: History,
    parties: Parties,
    numbers: HashMap<IpAddr, PartyId>,
    clock: SyntheticClock,
    ready: VecDeque<Window>,
    counts: RecordedCounts,
    is_over: bool,
}

impl SyntheticClock {
    /// Lets time pass up to a record's, if that is later.
    pub fn advance(&mut self, time_ns: u64) {
        self.now_ns = self.now_ns.max(time_ns);
    }

    /// Returns the second since 1970.
    pub fn now_s(self) -> u64 {
        self.now_ns / 1_000_000_000
    }
}

impl Grouping {
    /// Returns the grouping by a policy file (TOML).
    pub fn by_policy_file(path: &Path) -> Result<Self, PolicyFileError> {
        let unreadable = |source| PolicyFileError::File { path: path.into(), source };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        let syntax = |reason| PolicyFileError::Syntax { path: path.into(), reason };
        if bytes > POLICY_BYTES_MAX {
            return Err(syntax(format!("{bytes} bytes, more than {POLICY_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let authored = toml::from_str(&text).map_err(|error| syntax(error.to_string()))?;
        Self::by_policy(authored)
    }

    /// Returns the grouping by a policy.
    pub fn by_policy(mut authored: AuthoredPolicy) -> Result<Self, PolicyFileError> {
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored)?;
        let policy = resolve(&authored, &numbering, PolicyVersion(1)).map_err(PolicyFileError::Faults)?;
        let index = GroupIndex::of(&policy);
        Ok(Self::Policy(PolicyGroups { policy: Arc::new(policy), index, decisions: HashMap::new() }))
    }

    /// Returns the grouping by private networks.
    pub fn by_networks() -> Self {
        Self::Networks(Networks::default())
    }

    /// Returns the grouping by address.
    pub fn by_address() -> Self {
        let policy = Policy { version: PolicyVersion(1), ..Policy::empty(Action::Allow) };
        Self::Addresses(Arc::new(policy))
    }

    /// Returns the policy whose groups these are, as far as it is known.
    pub fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::Policy(groups) => &groups.policy,
            Self::Networks(networks) => networks.policy(),
            Self::Addresses(policy) => policy,
        }
    }

    fn party(&mut self, address: IpAddr) -> Party {
        match self {
            Self::Policy(groups) => {
                let groups: GroupSet = groups.index.place(SegmentId::DEFAULT, address).groups.into();
                Party::Groups(groups)
            }
            Self::Networks(networks) => Party::Groups(networks.groups(address)),
            Self::Addresses(_) => Party::Address(address),
        }
    }

    /// Returns the rule that lets a flow pass; 0 if none does. A flow that was seen was not refused, so a rule that
    /// would refuse it did not decide.
    fn rule(&mut self, flow: &RecordedFlow) -> u32 {
        match self {
            Self::Policy(groups) => groups.rule(flow),
            Self::Networks(_) | Self::Addresses(_) => 0,
        }
    }
}

impl PolicyGroups {
    fn rule(&mut self, flow: &RecordedFlow) -> u32 {
        if self.policy.rules.is_empty() {
            return 0;
        }
        let l4 = L4Key {
            protocol: flow.protocol.unwrap_or_default(),
            // Rules look at it for ICMP only, where it is the type.
            source_port: flow
                .source_port
                .filter(|_| flow.protocol.is_some_and(Protocol::is_icmp))
                .unwrap_or(0),
            destination_port: flow.destination_port.unwrap_or(0),
        };
        let (source, destination) = (flow.source, flow.destination);
        let key = PolicyKey { segment: SegmentId::DEFAULT, source, destination, l4 };
        if let Some(rule) = self.decisions.get(&key) {
            return *rule;
        }
        let decision = self.policy.decide(&key);
        let rule = decision.rule.filter(|_| decision.action.is_allow()).map_or(0, |rule| rule.0);
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.clear();
        }
        self.decisions.insert(key, rule);
        rule
    }
}

impl<F: Iterator<Item = Result<RecordedFlow, FlowFileError>>> RecordedWindows<F> {
    /// Returns the windows of these flows.
    pub fn new(flows: F, grouping: Grouping, history: History) -> Self {
        Self {
            flows,
            grouping,
            history,
            parties: Parties::default(),
            numbers: HashMap::new(),
            clock: SyntheticClock::default(),
            ready: VecDeque::new(),
            counts: RecordedCounts::default(),
            is_over: false,
        }
    }

    /// Goes on numbering where another recording, or a daemon, ended: the first parties are these.
    pub fn following(self, parties: Parties) -> Self {
        Self { parties, ..self }
    }

    /// Returns the parties so far: all that the windows returned so far name.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Returns the policy whose groups the parties are. Networks make it grow; it knows all that windows name.
    pub fn policy(&self) -> &Arc<Policy> {
        self.grouping.policy()
    }

    /// Returns the figures so far.
    pub fn counts(&self) -> RecordedCounts {
        self.counts
    }

    /// Returns the next window that has closed; none at the end. After an error nothing follows.
    pub fn next_window(&mut self) -> Result<Option<Window>, FlowFileError> {
        while self.ready.is_empty() && !self.is_over {
            match self.flows.next() {
                Some(Ok(flow)) => self.add(&flow),
                Some(Err(error)) => {
                    self.is_over = true;
                    return Err(error);
                }
                None => {
                    self.is_over = true;
                    self.ready.extend(self.history.close_all());
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    fn add(&mut self, flow: &RecordedFlow) {
        self.clock.advance(flow.time_ns);
        let now_s = self.clock.now_s();
        self.ready.extend(self.history.close(now_s));
        self.counts.flows += 1;
        self.counts.of_unknown_answer += u64::from(flow.answered.is_none());
        let observation = self.observation(flow);
        if !observation.is_some_and(|observation| self.history.add(&observation, now_s)) {
            self.counts.left_out += 1;
        }
    }

    fn observation(&mut self, flow: &RecordedFlow) -> Option<Observation> {
        let key = SeriesKey {
            source: self.party(flow.source)?,
            destination: self.party(flow.destination)?,
            segment: SegmentId::DEFAULT.0,
            protocol: flow.protocol.map_or(0, |protocol| protocol.0),
            service_port: flow.service_port(),
        };
        let increment = Increment {
            flows: (!flow.is_continued).into(),
            answered: flow.answered.unwrap_or(false).into(),
            refused: 0,
            packets_forward: flow.packets_forward.unwrap_or(0),
            bytes_forward: flow.bytes_forward.unwrap_or(0),
            packets_reverse: flow.packets_reverse.unwrap_or(0),
            bytes_reverse: flow.bytes_reverse.unwrap_or(0),
        };
        Some(Observation {
            key,
            increment,
            source_address: address_bytes(flow.source),
            destination_address: address_bytes(flow.destination),
            rule: self.grouping.rule(flow),
            policy_version: self.grouping.policy().version.0,
            last_ns: flow.time_ns,
        })
    }

    fn party(&mut self, address: IpAddr) -> Option<PartyId> {
        if let Some(number) = self.numbers.get(&address) {
            return Some(*number);
        }
        let party = self.grouping.party(address);
        let number = self.parties.number(&party)?;
        if self.numbers.len() >= ADDRESSES_MAX {
            self.numbers.clear();
        }
        self.numbers.insert(address, number);
        Some(number)
    }
}

impl<F: Iterator<Item = Result<RecordedFlow, FlowFileError>>> Iterator for RecordedWindows<F> {
    type Item = Result<Window, FlowFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_window().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_csv::FlowCsv;

    const ROWS: &str = "ts,src,dst,proto,sport,dport,pkts_out,pkts_in,state
60,10.0.1.5,10.0.2.9,tcp,4000,443,3,2,SF
61,10.0.1.6,10.0.2.9,tcp,4001,443,1,0,S0
62,10.0.1.6,192.0.2.7,udp,4002,53,1,1,
300,10.0.2.9,10.0.1.5,icmp,8,0,1,1,OTH
";

    fn windows(grouping: Grouping) -> RecordedWindows<FlowCsv> {
        let flows = FlowCsv::new(Path::new("rows"), std::io::Cursor::new(ROWS)).unwrap();
        RecordedWindows::new(flows, grouping, History::new(60).unwrap())
    }

    fn described(windows: &mut RecordedWindows<FlowCsv>) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(window) = windows.next_window().unwrap() {
            for (key, sums) in &window.series {
                let name = |party| match windows.parties().party(party).unwrap() {
                    Party::Address(address) => address.to_string(),
                    Party::Groups(groups) => {
                        let names = groups
                            .iter()
                            .map(|id| windows.policy().group_name(meshgate_policy::GroupId(*id)));
                        names.collect::<Vec<_>>().join("+")
                    }
                };
                let (source, destination) = (name(key.source), name(key.destination));
                let (start_s, port) = (window.start_s, key.service_port);
                let rule = sums.rule;
                lines.push(format!(
                    "{start_s} {source} > {destination} {port}: {} of {}, rule {rule}",
                    sums.answered, sums.flows
                ));
            }
        }
        lines
    }

    #[test]
    fn without_a_policy_private_networks_are_the_groups() {
        let mut windows = windows(Grouping::by_networks());
        let expected = [
            "60 net-10.0.1.0-24 > net-10.0.2.0-24 443: 1 of 2, rule 0",
            "60 net-10.0.1.0-24 > external 53: 1 of 1, rule 0",
            "300 net-10.0.2.0-24 > net-10.0.1.0-24 8: 1 of 1, rule 0",
        ];
        assert_eq!(described(&mut windows), expected);
        assert_eq!(windows.policy().default_action, Action::Allow);
        assert_eq!(windows.counts(), RecordedCounts { flows: 4, left_out: 0, of_unknown_answer: 0 });
    }

    #[test]
    fn by_address_each_is_for_itself() {
        let lines = described(&mut windows(Grouping::by_address()));
        assert_eq!(lines[0], "60 10.0.1.5 > 10.0.2.9 443: 1 of 1, rule 0");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_policy_gives_its_groups_and_the_rule_that_lets_a_flow_pass() {
        let text = "
            [[groups]]
            name = \"Web\"
            prefixes = [\"10.0.1.0/24\"]
            [[groups]]
            name = \"Db\"
            prefixes = [\"10.0.2.0/24\"]
            [[relationships]]
            source_group_name = \"Web\"
            destination_group_name = \"Db\"
            protocol = \"tcp\"
            port_range = \"443\"
            action = \"allow\"
            [[relationships]]
            source_group_name = \"Db\"
            destination_group_name = \"Web\"
            action = \"deny\"
        ";
        let grouping = Grouping::by_policy(toml::from_str(text).unwrap()).unwrap();
        let expected = [
            "60 Web > Db 443: 1 of 2, rule 1",
            "60 Web > external 53: 1 of 1, rule 0",
            "300 Db > Web 8: 1 of 1, rule 0",
        ];
        assert_eq!(described(&mut windows(grouping)), expected);
    }

    #[test]
    fn a_policy_with_faults_is_refused_by_the_first() {
        let text = "[[relationships]]\nsource_group_name = \"Nobody\"\ndestination_group_name = \"any\"\naction = \"deny\"";
        let error = Grouping::by_policy(toml::from_str(text).unwrap()).unwrap_err().to_string();
        assert!(error.contains("Nobody"), "{error}");
        let missing = Grouping::by_policy_file(Path::new("/nonexistent.toml")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent.toml"), "{missing}");
    }

    #[test]
    fn an_error_in_the_flows_ends_the_windows() {
        let rows = format!("{ROWS}NaN,10.0.0.1,10.0.0.2,,,,,,\n");
        let flows = FlowCsv::new(Path::new("rows"), std::io::Cursor::new(rows)).unwrap();
        let windows = RecordedWindows::new(flows, Grouping::by_networks(), History::new(60).unwrap());
        let results: Vec<_> = windows.collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.last().unwrap().as_ref().unwrap_err().to_string().contains("rows line 6: ts"));
    }
}
