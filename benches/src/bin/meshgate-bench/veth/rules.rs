//! The rules of a run, once as a policy and once as nftables reads them: groups of machines, of which two are here, and
//! relationships between groups, of which the last two let the traffic pass.

use super::ground::Side;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Endpoints that are at home elsewhere.
const FOREIGN_ENDPOINTS: usize = 254;
/// Groups of those, each of a few endpoints.
const FOREIGN_GROUPS: usize = 62;
/// Fewest rules: one for each direction.
pub const RULES_MIN: i64 = 2;
/// Priority of the two that match, below all others: a scan would find them last.
const MATCHING_PRIORITY: usize = 100;
/// Destination ports of the traffic, first to last: none that a stage before the rules looks at, such as DHCP's, and below
/// those of the rules that do not match.
pub const PORTS: (u16, u16) = (200, 263);

/// A group of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// That of a machine here.
    Own(Side),
    /// One of the others.
    Foreign(usize),
}

/// A rule between two groups.
#[derive(Clone, Copy, Debug)]
pub struct Relationship {
    /// Whence and whereto.
    pub groups: [Group; 2],
    /// TCP or UDP.
    pub is_tcp: bool,
    /// Destination ports, first to last.
    pub ports: (u16, u16),
    /// Allow or deny.
    pub allows: bool,
    /// Larger ones go first.
    pub priority: usize,
}

impl Group {
    /// Returns all.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Own(Side::Near), Self::Own(Side::Far)]
            .into_iter()
            .chain((0..FOREIGN_GROUPS).map(Self::Foreign))
    }

    /// Returns its name in the policy.
    fn name(self) -> String {
        match self {
            Self::Own(side) => side.name().to_owned(),
            Self::Foreign(number) => format!("group-{number}"),
        }
    }

    /// Returns the addresses of its members.
    pub fn addresses(self) -> Vec<Ipv4Addr> {
        match self {
            Self::Own(side) => vec![side.address()],
            Self::Foreign(number) => {
                (number..FOREIGN_ENDPOINTS).step_by(FOREIGN_GROUPS).map(foreign_address).collect()
            }
        }
    }
}

fn foreign_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, 0, foreign_octet(number))
}

fn foreign_octet(number: usize) -> u8 {
    u8::try_from(number + 1).expect("there are 254")
}

/// Returns so many relationships.
pub fn relationships(count: usize) -> Vec<Relationship> {
    let mut all: Vec<_> = (0..count.saturating_sub(2)).map(relationship).collect();
    for groups in [[Side::Near, Side::Far], [Side::Far, Side::Near]] {
        all.push(Relationship {
            groups: groups.map(Group::Own),
            is_tcp: false,
            ports: PORTS,
            allows: true,
            priority: MATCHING_PRIORITY,
        });
    }
    all
}

/// Returns one that never matches the traffic; every tenth is about one of the machines here.
fn relationship(number: usize) -> Relationship {
    let source = match number % 20 {
        0 => Group::Own(Side::Near),
        10 => Group::Own(Side::Far),
        _ => Group::Foreign(number % FOREIGN_GROUPS),
    };
    let destination = match number % 40 {
        0 => Group::Own(Side::Far),
        10 => Group::Own(Side::Near),
        _ => Group::Foreign((number / FOREIGN_GROUPS + number * 7 + 1) % FOREIGN_GROUPS),
    };
    // Above the ports of the traffic, and round again before the ports end.
    let first = u16::try_from(1_000 + number * 13 % 60_000).unwrap_or(1_000);
    Relationship {
        groups: [source, destination],
        is_tcp: !number.is_multiple_of(3),
        ports: (first, first + u16::try_from(number % 9).unwrap_or(0)),
        allows: !number.is_multiple_of(5),
        priority: 1_000 + number % 50,
    }
}

/// Returns the policy as a person writes it.
pub fn policy_text(count: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::from("default_action = \"deny\"\n");
    for side in [Side::Near, Side::Far] {
        let (name, mac, address) = (side.name(), side.mac(), side.address());
        writeln!(text, "[[endpoints]]\nname = \"{name}\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]")?;
        writeln!(text, "home = {{ host = \"bench\", device = \"{name}\" }}")?;
        writeln!(text, "[[groups]]\nname = \"{name}\"\nmembers = [\"{name}\"]")?;
    }
    for number in 0..FOREIGN_ENDPOINTS {
        let (group, last) = (number % FOREIGN_GROUPS, foreign_octet(number));
        writeln!(text, "[[endpoints]]\nname = \"vm-{number}\"\nmac = \"02:66:00:00:00:{last:02x}\"")?;
        writeln!(text, "addresses = [\"{}\"]\nlabels = {{ group = \"{group}\" }}", foreign_address(number))?;
    }
    for group in 0..FOREIGN_GROUPS {
        writeln!(text, "[[groups]]\nname = \"group-{group}\"\nselector = {{ group = \"{group}\" }}")?;
    }
    for Relationship { groups, is_tcp, ports, allows, priority } in relationships(count) {
        let [source, destination] = groups.map(Group::name);
        let (protocol, action) = (if is_tcp { "TCP" } else { "UDP" }, if allows { "allow" } else { "deny" });
        writeln!(text, "[[relationships]]\nsource_group_name = \"{source}\"")?;
        writeln!(text, "destination_group_name = \"{destination}\"\nprotocol = \"{protocol}\"")?;
        writeln!(
            text,
            "port_range = \"{}-{}\"\naction = \"{action}\"\npriority = {priority}",
            ports.0, ports.1
        )?;
    }
    Ok(text)
}
