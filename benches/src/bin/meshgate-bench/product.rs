//! Policies as people who run virtual machines write them, and packets between their endpoints.
//!
//! Every endpoint is in the group of its application, in that of its role (web, database, ...) and in that of its environment
//! (production, test, ...); every fourth one has a second role. Applications are many and small, roles and environments few
//! and large, so that groups overlap everywhere. Rules are mostly between applications; some name a role or an environment.

use meshgate_policy::generate::Rng;
use meshgate_policy::{
    Action, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, L4Key, L4Match, Mac, Name,
    Policy, PolicyKey, PolicyVersion, PortRange, PortSet, Priority, Protocol, Rule, RuleId, RuleKind,
    SegmentId, Side,
};
use std::net::{IpAddr, Ipv4Addr};

/// Ports of services that rules name.
const SERVICE_PORTS: [u16; 40] = [
    22, 25, 53, 80, 88, 110, 123, 135, 139, 143, 161, 389, 443, 445, 465, 514, 587, 636, 993, 995, 1433,
    1521, 2049, 2379, 3000, 3306, 3389, 5000, 5432, 5672, 5900, 6379, 6443, 8080, 8443, 9000, 9090, 9092,
    9200, 27017,
];
/// Ranges of ports that applications of their own listen on.
const OWN_RANGES: usize = 24;
/// Hosts of one subnet of 256 addresses.
const SUBNET_HOSTS: usize = 200;
/// Host part of a subnet's first host.
const FIRST_HOST: u8 = 10;
/// Endpoints that subnets of 10.0.0.0/8 have room for.
pub const ENDPOINTS_MAX: i64 = 200_000;
/// The first number of the groups.
const FIRST_GROUP: u32 = 100;
/// The first number of a rule.
const FIRST_RULE: u32 = 1;
/// Of a hundred endpoints so many have a second role.
const SECOND_ROLE_PERCENT: u64 = 25;

/// How large a policy is.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Shape {
    /// Endpoints
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=ENDPOINTS_MAX))]
    pub endpoints: u32,
    /// Groups: up to 5 environments, up to 10 roles, and applications
    #[arg(long, default_value_t = 65, value_parser = clap::value_parser!(u32).range(3..=10_000))]
    pub groups: u32,
    /// Rules
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=50_000))]
    pub rules: u32,
    /// Seed of the policy and of the packets
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The groups of a policy by what they stand for: the range of their places.
struct Kinds {
    applications: std::ops::Range<usize>,
    roles: std::ops::Range<usize>,
    environments: std::ops::Range<usize>,
}

impl Kinds {
    fn of(groups: usize) -> Self {
        let environments = (groups / 8).clamp(1, 5);
        let roles = (groups / 4).clamp(1, 10);
        let applications = groups - environments - roles;
        Self {
            applications: 0..applications,
            roles: applications..applications + roles,
            environments: applications + roles..groups,
        }
    }
}

/// Returns the policy of a shape.
pub fn policy(shape: Shape) -> Policy {
    let mut rng = Rng::new(shape.seed);
    let kinds = Kinds::of(shape.groups as usize);
    let mut members = vec![Vec::new(); shape.groups as usize];
    for endpoint in (1..=shape.endpoints).map(EndpointId) {
        let mut join = |group: usize| {
            if members[group].last() != Some(&endpoint) {
                members[group].push(endpoint);
            }
        };
        join(one_of(&kinds.applications, &mut rng));
        join(one_of(&kinds.environments, &mut rng));
        join(one_of(&kinds.roles, &mut rng));
        if rng.chance(SECOND_ROLE_PERCENT) {
            join(one_of(&kinds.roles, &mut rng));
        }
    }
    let group = |(at, endpoints): (u32, Vec<EndpointId>)| Group {
        id: GroupId(FIRST_GROUP + at),
        name: name(&format!("group-{at}")),
        segment: SegmentId::DEFAULT,
        prefixes: Vec::new(),
        endpoints,
        intra_group: IntraGroup::Allow,
    };
    let mut policy = Policy::empty(Action::Deny);
    policy.version = PolicyVersion(1);
    policy.groups = (0..).zip(members).map(group).collect();
    policy.endpoints = (1..=shape.endpoints).map(endpoint).collect();
    let own_ranges: Vec<PortRange> = (0..OWN_RANGES).filter_map(|_| own_range(&mut rng)).collect();
    policy.rules = (0..shape.rules).map(|at| rule(at, &kinds, &own_ranges, &mut rng)).collect();
    policy.rules.sort_by_key(Rule::order);
    policy
}

/// Returns a name of letters, digits and hyphens.
fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|_| Name::default_name())
}

fn one_of(places: &std::ops::Range<usize>, rng: &mut Rng) -> usize {
    places.start + rng.index(places.len())
}

/// Returns the address of an endpoint by its number, from 1 on.
fn address(number: u32) -> Ipv4Addr {
    let at = number as usize - 1;
    let (subnet, host) = (at / SUBNET_HOSTS, at % SUBNET_HOSTS);
    let [_, _, upper, lower] = u32::try_from(subnet).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(10, upper, lower, FIRST_HOST + u8::try_from(host).unwrap_or(0))
}

fn endpoint(number: u32) -> Endpoint {
    let [a, b, c, d] = number.to_be_bytes();
    Endpoint {
        id: EndpointId(number),
        name: name(&format!("vm-{number}")),
        segment: SegmentId::DEFAULT,
        mac: Mac([2, 0, a, b, c, d]),
        addresses: vec![IpAddr::V4(address(number))],
        routes: Vec::new(),
        flags: EndpointFlags::default(),
        host: None,
        device: None,
    }
}

/// Returns some neighbouring ports above those of services.
fn own_range(rng: &mut Rng) -> Option<PortRange> {
    let first = 10_000 + rng.u16() % 20_000;
    PortRange::new(first, first + rng.u16() % 16).ok()
}

fn rule(at: u32, kinds: &Kinds, own_ranges: &[PortRange], rng: &mut Rng) -> Rule {
    let mut side = || {
        let kind = match rng.below(20) {
            0..17 => &kinds.applications,
            17..19 => &kinds.roles,
            _ => &kinds.environments,
        };
        let place = one_of(kind, rng);
        Side::Group(GroupId(FIRST_GROUP + u32::try_from(place).unwrap_or(0)))
    };
    let (source, destination) = (side(), side());
    Rule {
        id: RuleId(FIRST_RULE + at),
        kind: RuleKind::Relationship,
        priority: Priority::default(),
        action: if rng.chance(85) { Action::Allow } else { Action::Deny },
        shadow: false,
        source,
        destination,
        l4: l4_match(own_ranges, rng),
    }
}

/// Returns what a rule lets through: mostly one or a few services or the ports of an application, now
/// and then a protocol or all.
fn l4_match(own_ranges: &[PortRange], rng: &mut Rng) -> L4Match {
    let protocol = if rng.chance(85) { Protocol::TCP } else { Protocol::UDP };
    let one = |port: u16| PortRange::new(port, port).ok();
    let ranges: Vec<PortRange> = match rng.below(20) {
        0 => return L4Match::Any,
        1 => return L4Match::Protocol(Protocol::ICMP),
        2..6 => rng.pick(own_ranges).copied().into_iter().collect(),
        6..9 => (0..3).filter_map(|_| one(rng.one_of(SERVICE_PORTS))).collect(),
        _ => one(rng.one_of(SERVICE_PORTS)).into_iter().collect(),
    };
    PortSet::new(ranges).map_or(L4Match::Protocol(protocol), |ports| L4Match::Ports(protocol, ports))
}

/// Returns packets between endpoints drawn uniformly, half of them to a service.
pub fn packets(shape: Shape, count: usize) -> Vec<PolicyKey> {
    let mut rng = Rng::new(shape.seed ^ 0x7061_636b_6574_7321);
    let endpoint = |rng: &mut Rng| address(1 + u32::try_from(rng.below(shape.endpoints.into())).unwrap_or(0));
    let packet = |_| {
        let (source, destination) = (endpoint(&mut rng), endpoint(&mut rng));
        let protocol = if rng.chance(80) { Protocol::TCP } else { Protocol::UDP };
        let port = if rng.chance(50) { rng.one_of(SERVICE_PORTS) } else { rng.u16() };
        PolicyKey {
            segment: SegmentId::DEFAULT,
            source: source.into(),
            destination: destination.into(),
            l4: L4Key::ports(protocol, 49_152 + rng.u16() % 16_384, port),
        }
    };
    (0..count).map(packet).collect()
}
