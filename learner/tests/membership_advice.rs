//! Membership advice on a recorded network whose roles are known by something else than behaviour: eight teams have the
//! same machines at the same places of their networks. One machine after the other is hidden from its group; is it found?

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use meshgate_learner::analyst::{Analyst, AnalystSettings};
use meshgate_learner::checkpoint;
use meshgate_learner::draft_key::DraftKey;
use meshgate_learner::feedback::{Answer, Verdict};
use meshgate_learner::justification::check_numbers;
use meshgate_learner::membership_advice::{Actor, Behaviours, Deed, MembershipLimits, Part, likenesses};
use meshgate_learner::networks::is_internal;
use meshgate_learner::recorded_flow::MergedFlows;
use meshgate_learner::series::{AddressPair, ClosedWindow, Parties, Party, SeriesKey, SeriesSums, Window};
use meshgate_policy::suggestion::{Proposal, Reason, Suggestion};
use meshgate_policy::{AuthoredPolicy, GroupId, Numbering, Policy, PolicyVersion, SegmentId, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

const MINUTE_NS: u64 = 60_000_000_000;
/// Peers in no group: of the house, and outside.
const INTERNAL: u32 = 1 << 20;
const EXTERNAL: u32 = 1 << 21;
/// Minutes in which something must have been seen.
const MINUTES_MIN: u64 = 2;
/// Members of a group that is looked at; one is hidden, so that three are left at least.
const MEMBERS_MIN: usize = 4;

/// Who used what of whom, once a minute.
type Uses = BTreeSet<(u64, IpAddr, IpAddr, u8, u16)>;

fn uses(path: PathBuf) -> Uses {
    let mut uses = Uses::new();
    for flow in MergedFlows::open(&[path]).unwrap() {
        let flow = flow.unwrap();
        if let Some(protocol) = flow.protocol.filter(|_| flow.answered != Some(false)) {
            let minute = flow.time_ns / MINUTE_NS;
            uses.insert((minute, flow.source, flow.destination, protocol.0, flow.service_port()));
        }
    }
    uses
}

/// Returns the place of a machine in its team's network, the same for all teams.
fn place(address: IpAddr) -> Option<u32> {
    let IpAddr::V4(v4) = address else { return None };
    let [a, b, network, host] = v4.octets();
    let kind = match (a, b, network) {
        (10, 47, 1..=8) => 1,
        (10, 47, 21..=28) => 2,
        (10, 10, _) => 3,
        _ => return None,
    };
    Some(kind << 8 | u32::from(host))
}

/// Returns what everybody does where one machine is in no group, in order of `machines`.
fn actors(uses: &Uses, machines: &[IpAddr], hidden: Option<IpAddr>) -> Vec<Actor> {
    let numbers: BTreeMap<IpAddr, u32> = machines.iter().copied().zip(0..).collect();
    let group = |address: IpAddr| place(address).filter(|_| Some(address) != hidden);
    let peer =
        |address: IpAddr| group(address).unwrap_or(if is_internal(address) { INTERNAL } else { EXTERNAL });
    let mut behaviours = Behaviours::default();
    for (minute, source, destination, protocol, port) in uses {
        let sides = [(Part::Uses, *source, *destination), (Part::Serves, *destination, *source)];
        for (part, own, other) in sides {
            let Some(number) = numbers.get(&own) else { continue };
            for deed in Deed::of(part, *protocol, *port, peer(other)) {
                behaviours.note(*number, deed, *minute);
            }
        }
    }
    let actor = |address: &IpAddr| Actor {
        groups: group(*address).into_iter().collect(),
        deeds: behaviours.deeds(numbers[address], MINUTES_MIN).map(|(deed, _)| deed).collect(),
    };
    machines.iter().map(actor).collect()
}

#[test]
fn a_machine_that_is_hidden_from_its_role_is_found_again() {
    let Some(data) = std::env::var_os("MESHGATE_DATA") else {
        println!("skipped: no data");
        return;
    };
    let uses = uses(PathBuf::from(data).join("flows/wrccdc2018_first15min.csv.gz"));
    let machines: BTreeSet<IpAddr> =
        uses.iter().flat_map(|(_, source, destination, ..)| [*source, *destination]).collect();
    let machines: Vec<IpAddr> = machines.into_iter().filter(|address| is_internal(*address)).collect();
    let limits = MembershipLimits::default();
    let all = actors(&uses, &machines, None);
    let mut active: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (number, actor) in all.iter().enumerate().filter(|(_, actor)| actor.deeds.len() >= limits.shared_min)
    {
        actor.groups.iter().for_each(|group| active.entry(*group).or_default().push(number));
    }
    active.retain(|_, members| members.len() >= MEMBERS_MIN);
    let standing = likenesses(&all, &limits);
    let (mut tried, mut right, mut wrong) = (0, 0, 0);
    for (group, members) in &active {
        let (mut found, mut elsewhere) = (0, Vec::new());
        for member in members {
            let actors = actors(&uses, &machines, Some(machines[*member]));
            let advice = likenesses(&actors, &limits);
            match advice.iter().find(|one| one.actor == *member) {
                Some(one) if one.group == *group => found += 1,
                Some(one) => elsewhere.push(format!("{} -> {}", machines[*member], name(one.group))),
                None => {}
            }
        }
        println!("{}: {found} of {} found again; elsewhere: {elsewhere:?}", name(*group), members.len());
        (tried, right, wrong) = (tried + members.len(), right + found, wrong + elsewhere.len());
    }
    println!(
        "wrccdc2018: {} roles, {tried} machines hidden one by one: {right} found again, {wrong} suggested for another \
         role, {} not suggested; {} of {} machines suggested with nobody hidden",
        active.len(),
        tried - right - wrong,
        standing.len(),
        machines.len()
    );
    standing.iter().for_each(|one| {
        println!("nobody hidden: {} -> {} ({:.2})", machines[one.actor], name(one.group), one.confidence);
    });
    assert!(tried >= 100 && right >= 25 && wrong * 8 <= right, "{right} right, {wrong} wrong of {tried}");
}

fn name(group: u32) -> String {
    let network = ["?", "10.47.1-8", "10.47.21-28", "10.10.*"][usize::try_from(group >> 8).unwrap().min(3)];
    format!("{network}.{}", group & 0xff)
}

/// A shop: four web servers, four databases, a backup, a name server; and a fifth web server that is in no group.
struct Shop {
    policy: Policy,
    parties: Parties,
    told: usize,
    second: u64,
}

const START_S: u64 = 1_790_000_000;

impl Shop {
    fn new(web: &str) -> Self {
        let names = ["w1", "w2", "w3", "w4", "w5", "d1", "d2", "d3", "d4", "b1", "n1"];
        let mut text = String::from("default_action = 'allow'\n");
        for (at, name) in names.iter().enumerate() {
            text += &format!(
                "[[endpoints]]\nname = '{name}'\nmac = '02:00:00:00:00:{at:02x}'\naddresses = ['10.0.0.{at}']\n"
            );
        }
        for (group, members) in
            [("Web", web), ("Db", "'d1', 'd2', 'd3', 'd4'"), ("Backup", "'b1'"), ("Names", "'n1'")]
        {
            text += &format!("[[groups]]\nname = '{group}'\nmembers = [{members}]\n");
        }
        let mut authored: AuthoredPolicy = toml::from_str(&text).unwrap();
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        let policy = resolve(&authored, &numbering, PolicyVersion(1)).unwrap();
        Self { policy, parties: Parties::default(), told: 0, second: 0 }
    }

    /// Returns the address of an endpoint; of another name, that of somebody outside.
    fn address(&self, name: &str) -> IpAddr {
        let found = self.policy.endpoints.iter().find(|endpoint| endpoint.name.as_str() == name);
        found.map_or([192, 0, 2, 9].into(), |endpoint| endpoint.addresses[0])
    }

    fn pair(&mut self, source: &str, destination: &str, port: u16) -> AddressPair {
        let (source, destination) = (self.address(source), self.address(destination));
        let policy = &self.policy;
        let mut party = |address| {
            let groups = policy.groups_of(SegmentId::DEFAULT, address).into_iter();
            let groups: Vec<u32> = groups.filter(|id| *id != GroupId::ANY).map(|id| id.0).collect();
            self.parties.number(&Party::Groups(groups.into())).unwrap()
        };
        let key = SeriesKey {
            source: party(source),
            destination: party(destination),
            segment: SegmentId::DEFAULT.0,
            protocol: 6,
            service_port: port,
        };
        AddressPair { key, source, destination, is_answered: true }
    }

    /// Returns a second of the usual.
    fn window(&mut self) -> ClosedWindow {
        let mut pairs = Vec::new();
        for web in ["w1", "w2", "w3", "w4", "w5"] {
            pairs.push(self.pair("guest", web, 443));
            pairs.push(self.pair(web, "d1", 5432));
        }
        for db in ["d1", "d2", "d3", "d4"] {
            pairs.push(self.pair("w1", db, 5432));
            pairs.push(self.pair(db, "b1", 873));
        }
        for anybody in ["w1", "w2", "w3", "w4", "w5", "d1", "d2", "d3", "d4", "b1"] {
            pairs.push(self.pair(anybody, "n1", 53));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut series: BTreeMap<SeriesKey, SeriesSums> = BTreeMap::new();
        for pair in &pairs {
            let sums = series.entry(pair.key).or_default();
            (sums.flows, sums.answered) = (sums.flows + 1, sums.answered + 1);
        }
        let series = series.into_iter().collect();
        let window =
            Window { start_s: START_S + self.second, width_s: 1, series, pairs, ..Window::default() };
        self.second += 1;
        let parties = self.parties.since(self.told).to_vec();
        let first_party = std::mem::replace(&mut self.told, self.parties.len());
        ClosedWindow { window, first_party, parties }
    }
}

fn settings() -> AnalystSettings {
    let mut settings = AnalystSettings { window_s: 1, ..AnalystSettings::default() };
    settings.adviser.steady_span_windows = 20;
    settings
}

fn memberships(analyst: &mut Analyst, shop: &mut Shop, windows: u64) -> Vec<Suggestion> {
    let mut suggestions = Vec::new();
    for _ in 0..windows {
        let window = shop.window();
        suggestions.extend(analyst.observe(&window, &shop.policy).unwrap().suggestions);
    }
    suggestions.retain(|suggestion| suggestion.draft.kind() == "membership");
    suggestions
}

const FOUR: &str = "'w1', 'w2', 'w3', 'w4'";

#[test]
fn the_analyst_suggests_the_group_of_an_endpoint_with_reasons_that_can_be_checked() {
    let (mut analyst, mut shop) = (Analyst::new(settings()), Shop::new(FOUR));
    let suggestions = memberships(&mut analyst, &mut shop, 60);
    assert_eq!(suggestions.len(), 1, "{suggestions:?}");
    let one = &suggestions[0];
    let name = |text: &str| text.parse().unwrap();
    assert_eq!(one.draft, Proposal::Membership { endpoint: name("w5"), group: name("Web"), join: true });
    check_numbers(one).unwrap();
    println!("{} ({:.2})", one.justification, one.confidence);
    one.evidence.iter().for_each(|evidence| println!("- {}", evidence.sentence));
    assert!(
        one.justification.starts_with("Endpoint 'w5' behaves like group 'Web': in 29 s it was seen doing ")
    );
    let serves = "It serves TCP 443 (HTTPS) to 'external', as 4 of 4 members do; seen in 30 windows.";
    assert!(one.evidence.iter().any(|evidence| evidence.sentence == serves), "{:?}", one.evidence);
    assert!((0.3..=1.0).contains(&one.confidence), "{}", one.confidence);
}

#[test]
fn an_answer_ends_it_and_a_checkpoint_keeps_what_was_seen() {
    let (mut analyst, mut shop) = (Analyst::new(settings()), Shop::new(FOUR));
    assert_eq!(memberships(&mut analyst, &mut shop, 29), []);
    let found = checkpoint::decode(&analyst.checkpoint(), &settings().hyperparameters).unwrap();
    let mut resumed = Analyst::resume(settings(), found).unwrap();
    let suggestions = memberships(&mut resumed, &mut shop, 1);
    assert_eq!(suggestions.len(), 1, "what was seen before the restart counts");
    resumed.answer(
        Answer {
            sequence: 1,
            suggestion: 1,
            draft: DraftKey::of(&suggestions[0].draft),
            features: Vec::new(),
            rank: 1,
            propensity: 1.0,
            confidence: 0.5,
            verdict: Verdict::Rejected,
            reason: Some(Reason::WrongRule),
            proposed: None,
            edited: None,
            overlap: 1.0,
            actor: "alice".into(),
            time_ns: START_S * 1_000_000_000,
        },
        None,
    );
    assert_eq!(memberships(&mut resumed, &mut shop, 90), []);
}

#[test]
fn where_everybody_is_in_the_right_group_nothing_is_suggested() {
    let (mut analyst, mut shop) = (Analyst::new(settings()), Shop::new("'w1', 'w2', 'w3', 'w4', 'w5'"));
    assert_eq!(memberships(&mut analyst, &mut shop, 90), []);
}
