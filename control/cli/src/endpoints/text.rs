//! Endpoints in words, for people.

use super::{Endpoints, Shown};
use crate::table::{block, list, numbers, or_dash, pairs, table, words};
use meshgate_policy::{AuthoredEndpoint, Home, Name};

/// Returns the addresses, leased ones marked as such.
fn addresses_text(endpoint: &AuthoredEndpoint) -> String {
    let leased = endpoint.leased.iter().map(|address| format!("{address} (leased)"));
    list(&endpoint.addresses.iter().map(ToString::to_string).chain(leased).collect::<Vec<_>>())
}

fn home_text(home: Option<&Home>) -> String {
    home.map_or_else(String::new, |Home { host, device }| format!("{host}/{device}"))
}

pub(super) fn list_text(answer: &Endpoints<'_>, is_filtered: bool) -> String {
    if answer.endpoints.is_empty() {
        return if is_filtered {
            "no endpoint carries these labels\n".to_owned()
        } else {
            "no endpoints yet; create one with `meshgate endpoints create NAME --mac MAC --address IP`\n"
                .to_owned()
        };
    }
    // Most installations have one segment; its column would say nothing.
    let has_segments = answer.endpoints.iter().any(|shown| shown.endpoint.segment != Name::default_name());
    let row = |Shown { id, endpoint, groups: _ }: &Shown<'_>| {
        let mut row = vec![id.to_string(), endpoint.name.to_string()];
        row.extend(has_segments.then(|| endpoint.segment.to_string()));
        row.extend([
            endpoint.mac.to_string(),
            addresses_text(endpoint),
            or_dash(&home_text(endpoint.home.as_ref())),
            or_dash(&pairs(&endpoint.labels)),
        ]);
        row
    };
    let mut columns = vec![numbers("ID"), words("NAME")];
    columns.extend(has_segments.then(|| words("SEGMENT")));
    columns.extend([words("MAC"), words("ADDRESSES"), words("HOME"), words("LABELS")]);
    table(&columns, answer.endpoints.iter().map(row).collect())
}

pub(super) fn show_text(Shown { id, endpoint, groups }: &Shown<'_>) -> String {
    let flags = &endpoint.flags;
    let may = [
        (flags.router, "route"),
        (flags.dhcp_server, "serve DHCP"),
        (flags.router_advertiser, "advertise routers"),
        (flags.dhcp_client, "lease addresses by DHCP"),
    ];
    let may: Vec<&str> = may.into_iter().filter(|(flag, _)| *flag).map(|(_, word)| word).collect();
    block(&[
        ("endpoint", endpoint.name.to_string()),
        ("id", id.to_string()),
        ("segment", endpoint.segment.to_string()),
        ("mac", endpoint.mac.to_string()),
        ("addresses", list(&endpoint.addresses)),
        ("leased", if endpoint.leased.is_empty() { String::new() } else { list(&endpoint.leased) }),
        ("labels", pairs(&endpoint.labels)),
        ("home", home_text(endpoint.home.as_ref())),
        ("may", may.join(", ")),
        ("routes", if endpoint.routes.is_empty() { String::new() } else { list(&endpoint.routes) }),
        ("groups", list(groups)),
    ])
}
