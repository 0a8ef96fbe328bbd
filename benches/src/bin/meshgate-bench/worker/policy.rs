//! The policy by which the worker judges: clients behind one device, servers behind the other, rules between them.

use super::WorkerError;
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::published::Published;
use meshgate_dataplane::subscriber::Host;
use meshgate_policy::generate::Rng;
use meshgate_policy::{AuthoredPolicy, Mac, Name, Numbering, Policy, PolicyVersion, resolve};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Clients, and likewise servers.
pub const ENDPOINTS_OF_SIDE: usize = 64;
/// Groups of clients, and likewise of servers, between which rules are drawn.
const GROUPS_OF_SIDE: usize = 32;
/// Service that every client may use of every server.
pub const ALLOWED_PORT: u16 = 443;
/// Service that a rule denies.
pub const DENIED_PORT: u16 = 22;
/// Service of which no rule speaks.
pub const DEFAULT_PORT: u16 = 23;
/// Lowest port of the rules that are drawn; above the three.
const DRAWN_PORT_MIN: u64 = 1_024;
/// Rules that traffic needs: two services with TCP and with UDP, one allowed and one denied.
pub const RULES_MIN: usize = 4;
/// Names of the devices, and of the group and the endpoints behind each.
const SIDES: [(&str, &str); 2] = [("clients0", "client"), ("servers0", "server")];

/// Returns the MAC of an endpoint by side (0 the clients') and number.
pub fn mac(side: u8, number: usize) -> Mac {
    Mac([2, 0, 0, 0, side, octet(number)])
}

/// Returns the address of an endpoint by side (0 the clients') and number.
pub fn address(side: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, side, octet(number))
}

fn octet(number: usize) -> u8 {
    u8::try_from(number + 1).expect("there are fewer endpoints than numbers")
}

/// Returns a policy of so many rules as text.
fn policy_text(rules: usize, rng: &mut Rng) -> String {
    let mut text = String::new();
    for (side, (device, name)) in (0..).zip(SIDES) {
        for number in 0..ENDPOINTS_OF_SIDE {
            let (mac, address) = (mac(side, number), address(side, number));
            _ = write!(
                text,
                "[[endpoints]]\nname = \"{name}-{number}\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]\n\
                 home = {{ host = \"h\", device = \"{device}\" }}\n"
            );
        }
        let mut group = |group: &str, step: usize, first: usize| {
            let members: Vec<String> =
                (first..ENDPOINTS_OF_SIDE).step_by(step).map(|n| format!("\"{name}-{n}\"")).collect();
            _ = write!(text, "[[groups]]\nname = \"{group}\"\nmembers = [{}]\n", members.join(", "));
        };
        group(name, 1, 0);
        (0..GROUPS_OF_SIDE).for_each(|at| group(&format!("{name}{at}"), GROUPS_OF_SIDE, at));
    }
    let mut rule = |[from, to]: [&str; 2], protocol: &str, ports: &str, action: &str| {
        _ = write!(
            text,
            "[[relationships]]\nsource_group_name = \"{from}\"\ndestination_group_name = \"{to}\"\n\
             protocol = \"{protocol}\"\nport_range = \"{ports}\"\naction = \"{action}\"\n"
        );
    };
    for protocol in ["TCP", "UDP"] {
        rule(["client", "server"], protocol, &ALLOWED_PORT.to_string(), "allow");
        rule(["client", "server"], protocol, &DENIED_PORT.to_string(), "deny");
    }
    for at in RULES_MIN..rules {
        let ends = SIDES.map(|(_, name)| format!("{name}{}", rng.index(GROUPS_OF_SIDE)));
        let first = DRAWN_PORT_MIN + rng.below(u64::from(u16::MAX) - DRAWN_PORT_MIN);
        let last = (first + rng.below(1_000)).min(u16::MAX.into());
        let protocol = if at.is_multiple_of(2) { "TCP" } else { "UDP" };
        let action = if rng.chance(50) { "allow" } else { "deny" };
        rule([&ends[0], &ends[1]], protocol, &format!("{first}-{last}"), action);
    }
    text
}

/// Returns the policy, resolved.
fn policy(rules: usize, rng: &mut Rng) -> Result<Policy, WorkerError> {
    let mut authored: AuthoredPolicy = toml::from_str(&policy_text(rules, rng))?;
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored)?;
    resolve(&authored, &numbering, PolicyVersion(1))
        .map_err(|faults| WorkerError::Policy(faults.first().map(ToString::to_string).unwrap_or_default()))
}

/// Returns a policy of so many rules, compiled and proved as for any host.
pub fn published(rules: usize, rng: &mut Rng) -> Result<Published, WorkerError> {
    let name = Name::new("h").map_err(|error| WorkerError::Policy(error.to_string()))?;
    let devices = SIDES.map(|(device, _)| DeviceRole {
        name: device.to_owned(),
        role: Role::Endpoint,
        segment: Some(Name::default_name()),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
    });
    let host = Host { name, devices: devices.into(), workers: 1 };
    Ok(host.compile(&policy(rules, rng)?)?)
}
