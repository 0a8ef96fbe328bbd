//! Prints the policy of `scripts/bench_veth.sh`: two endpoints that are at home on the host `bench`, 254 elsewhere, 64
//! groups, and 1,000 relationships of which the last two allow what the generator sends, one for each direction:
//! `veth_policy DEVICE MAC IPV4 DEVICE MAC IPV4`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program that prints a policy")]

use std::fmt::Write;

/// Endpoints that are at home elsewhere.
const FOREIGN_ENDPOINTS: usize = 254;
/// Groups of those, each of a few endpoints.
const FOREIGN_GROUPS: usize = 62;
/// Relationships in all.
const RELATIONSHIPS: usize = 1_000;
/// Priority of the two that match, below all others: a scan would find them last.
const MATCHING_PRIORITY: u16 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bound, []) = arguments.as_chunks::<3>() else {
        return Err("usage: veth_policy DEVICE MAC IPV4 DEVICE MAC IPV4".into());
    };
    let [near, far] = bound else {
        return Err("usage: veth_policy DEVICE MAC IPV4 DEVICE MAC IPV4".into());
    };
    let mut text = String::from("default_action = \"deny\"\n");
    for (name, [device, mac, address]) in [("near", near), ("far", far)] {
        writeln!(text, "[[endpoints]]\nname = \"{name}\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]")?;
        writeln!(text, "home = {{ host = \"bench\", device = \"{device}\" }}")?;
        writeln!(text, "[[groups]]\nname = \"{name}\"\nmembers = [\"{name}\"]")?;
    }
    for number in 0..FOREIGN_ENDPOINTS {
        let (group, last) = (number % FOREIGN_GROUPS, number + 1);
        writeln!(text, "[[endpoints]]\nname = \"vm-{number}\"\nmac = \"02:66:00:00:00:{last:02x}\"")?;
        writeln!(text, "addresses = [\"10.98.0.{last}\"]\nlabels = {{ group = \"{group}\" }}")?;
    }
    for group in 0..FOREIGN_GROUPS {
        writeln!(text, "[[groups]]\nname = \"group-{group}\"\nselector = {{ group = \"{group}\" }}")?;
    }
    for number in 0..RELATIONSHIPS - 2 {
        relationship(&mut text, number)?;
    }
    for (source, destination) in [("near", "far"), ("far", "near")] {
        writeln!(text, "[[relationships]]\nsource_group_name = \"{source}\"")?;
        writeln!(text, "destination_group_name = \"{destination}\"\nprotocol = \"UDP\"\nport_range = \"9\"")?;
        writeln!(text, "action = \"allow\"\npriority = {MATCHING_PRIORITY}")?;
    }
    print!("{text}");
    Ok(())
}

/// Writes one that never matches the generator's packets; every tenth is about one of the two endpoints.
fn relationship(text: &mut String, number: usize) -> std::fmt::Result {
    let source = match number % 20 {
        0 => "near".to_owned(),
        10 => "far".to_owned(),
        _ => format!("group-{}", number % FOREIGN_GROUPS),
    };
    let destination = match number % 20 {
        0 if number.is_multiple_of(40) => "far".to_owned(),
        10 if number % 40 == 10 => "near".to_owned(),
        _ => format!("group-{}", (number / FOREIGN_GROUPS + number * 7 + 1) % FOREIGN_GROUPS),
    };
    let (protocol, action) = (
        if number.is_multiple_of(3) { "UDP" } else { "TCP" },
        if number.is_multiple_of(5) { "deny" } else { "allow" },
    );
    let first_port = 1_000 + number * 13;
    writeln!(text, "[[relationships]]\nsource_group_name = \"{source}\"")?;
    writeln!(text, "destination_group_name = \"{destination}\"\nprotocol = \"{protocol}\"")?;
    writeln!(text, "port_range = \"{first_port}-{}\"\naction = \"{action}\"", first_port + number % 9)?;
    writeln!(text, "priority = {}", 1_000 + number % 50)
}
