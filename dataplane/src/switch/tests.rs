//! Tests of where frames go.

use super::*;
use crate::binding::DeviceRole;
use crate::packet::{ParseContext, Tags, build::Frame};
use meshgate_policy::{Action, Endpoint, EndpointFlags, EndpointId, Name, Policy, Segment};

const WEB: Mac = Mac([2, 0, 0, 0, 0, 1]);
const DATABASE: Mac = Mac([2, 0, 0, 0, 0, 2]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 9]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 99]);
const MULTICAST: Mac = Mac([1, 0, 0x5e, 0, 0, 1]);
const SEGMENT: SegmentId = SegmentId::DEFAULT;
const BLUE: SegmentId = SegmentId(2);
const SECOND_NS: u64 = 1_000_000_000;

/// Two endpoint devices (0, 1) and so many uplinks behind them; the segment `blue` is on device 1 and uplink 2.
fn bindings(uplinks: usize) -> Bindings {
    let name = |text: &str| Name::new(text).unwrap();
    let device = |number: usize, role, vlans: &[(Tags, Name)]| DeviceRole {
        name: format!("device{number}"),
        role,
        segment: Some(Name::default_name()),
        vlans: vlans.to_vec(),
        ethertypes: vec![0x88b5],
    };
    let blue = [(Tags::customer(7), name("blue"))];
    let mut devices = vec![device(0, Role::Endpoint, &[]), device(1, Role::Endpoint, &blue)];
    for number in 2..2 + uplinks {
        devices.push(device(number, Role::Uplink, if number == 2 { &blue } else { &[] }));
    }
    let mut policy = Policy::empty(Action::Deny);
    policy.segments.push(Segment { id: BLUE, name: name("blue"), tenant: Name::default_name() });
    policy.endpoints = [(1, WEB, "device0"), (2, DATABASE, "device1")]
        .map(|(number, mac, device)| Endpoint {
            id: EndpointId(number),
            name: name(device),
            segment: SEGMENT,
            mac,
            addresses: Vec::new(),
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: Some(name("here")),
            device: Some(device.to_owned()),
        })
        .to_vec();
    Bindings::build(&policy, &name("here"), &devices)
}

fn packet(source: Mac, destination: Mac) -> Packet {
    let bytes = Frame::between(source, destination).payload(&[0; 46]).bytes();
    Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap()
}

fn at(device: u16) -> Ingress {
    Ingress { device, segment: SEGMENT }
}

fn set(devices: &[u16]) -> Egress {
    let mut set = DeviceSet::EMPTY;
    devices.iter().for_each(|device| set.insert(*device));
    Egress::Flood(set)
}

#[test]
fn a_pinned_mac_is_reached_from_everywhere_but_its_own_device() {
    let (b, switch) = (bindings(1), Switch::new(Arc::default()));
    assert_eq!(switch.route(&b, at(0), &packet(WEB, DATABASE), 0), Ok(Egress::Device(1)));
    assert_eq!(switch.route(&b, at(2), &packet(FAR, DATABASE), 0), Ok(Egress::Device(1)));
    assert_eq!(switch.route(&b, at(1), &packet(STRANGER, DATABASE), 0), Err(DropReason::Hairpin));
}

#[test]
fn an_unknown_mac_is_sought_at_uplinks_only_and_never_where_the_frame_came_from() {
    let (one, two, none) = (bindings(1), bindings(2), bindings(0));
    let switch = Switch::new(Arc::default());
    let unknown = packet(WEB, STRANGER);
    assert_eq!(switch.route(&one, at(0), &unknown, 0), Ok(Egress::Device(2)));
    assert_eq!(switch.route(&two, at(0), &unknown, 0), Ok(set(&[2, 3])));
    assert_eq!(switch.route(&none, at(0), &unknown, 0), Err(DropReason::NoDevice));
    assert_eq!(switch.route(&one, at(2), &packet(FAR, STRANGER), 0), Err(DropReason::NoDevice));
    assert_eq!(switch.route(&two, at(2), &packet(FAR, STRANGER), 0), Ok(Egress::Device(3)));
}

#[test]
fn a_group_frame_goes_to_every_other_device_of_the_segment() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    for mac in [Mac::BROADCAST, MULTICAST] {
        assert_eq!(switch.route(&b, at(0), &packet(WEB, mac), 0), Ok(set(&[1, 2, 3])));
        assert_eq!(switch.route(&b, at(3), &packet(FAR, mac), 0), Ok(set(&[0, 1, 2])));
        let blue = |device| Ingress { device, segment: BLUE };
        assert_eq!(switch.route(&b, blue(1), &packet(WEB, mac), 0), Ok(Egress::Device(2)));
        assert_eq!(switch.route(&b, blue(2), &packet(WEB, mac), 0), Ok(Egress::Device(1)));
        let nowhere = Ingress { device: 0, segment: SegmentId(9) };
        assert_eq!(switch.route(&b, nowhere, &packet(WEB, mac), 0), Err(DropReason::NoDevice));
    }
}

#[test]
fn nothing_crosses_from_one_segment_to_another() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    let blue = Ingress { device: 2, segment: BLUE };
    assert_eq!(
        switch.route(&b, blue, &packet(FAR, WEB), 0),
        Err(DropReason::NoDevice),
        "pinned in the other"
    );
    switch.route(&b, at(3), &packet(FAR, WEB), 0).unwrap();
    assert_eq!(switch.route(&b, blue, &packet(STRANGER, FAR), 0), Err(DropReason::NoDevice), "learned there");
}

#[test]
fn a_mac_behind_an_uplink_is_learned_follows_its_station_and_ages() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    let to_far = packet(WEB, FAR);
    assert_eq!(switch.route(&b, at(0), &to_far, 0), Ok(set(&[2, 3])));
    switch.route(&b, at(2), &packet(FAR, WEB), 0).unwrap();
    assert_eq!(switch.route(&b, at(0), &to_far, SECOND_NS), Ok(Egress::Device(2)));
    assert_eq!(switch.route(&b, at(2), &packet(STRANGER, FAR), SECOND_NS), Err(DropReason::Hairpin));
    switch.route(&b, at(3), &packet(FAR, WEB), 2 * SECOND_NS).unwrap();
    assert_eq!(switch.route(&b, at(0), &to_far, 3 * SECOND_NS), Ok(Egress::Device(3)));
    assert_eq!(switch.route(&b, at(0), &to_far, (learned::AGE_S + 2) * SECOND_NS), Ok(set(&[2, 3])));
}

#[test]
fn an_endpoints_mac_on_an_uplink_does_not_move_the_endpoint() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    let _ = switch.route(&b, at(2), &packet(WEB, DATABASE), 0);
    assert_eq!(switch.route(&b, at(1), &packet(DATABASE, WEB), 0), Ok(Egress::Device(0)));
}

#[test]
fn macs_at_endpoint_devices_are_not_learned() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    let _ = switch.route(&b, at(1), &packet(STRANGER, WEB), 0);
    assert_eq!(switch.route(&b, at(0), &packet(WEB, STRANGER), 0), Ok(set(&[2, 3])));
}

#[test]
fn what_was_learned_at_a_device_that_left_the_segment_is_not_used() {
    let switch = Switch::new(Arc::default());
    switch.route(&bindings(3), at(4), &packet(FAR, WEB), 0).unwrap();
    assert_eq!(switch.route(&bindings(2), at(0), &packet(WEB, FAR), 0), Ok(set(&[2, 3])));
}

#[test]
fn link_control_addresses_are_not_forwarded() {
    let (b, switch) = (bindings(1), Switch::new(Arc::default()));
    for last in 0..=0x0f {
        let control = packet(WEB, Mac([1, 0x80, 0xc2, 0, 0, last]));
        assert_eq!(switch.route(&b, at(0), &control, 0), Err(DropReason::LinkControl));
    }
    let beyond = packet(WEB, Mac([1, 0x80, 0xc2, 0, 0, 0x10]));
    assert_eq!(switch.route(&b, at(0), &beyond, 0), Ok(set(&[1, 2])));
}

#[test]
fn a_mac_that_moves_with_every_frame_is_where_it_was_seen_last() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    for turn in 0..1_000u64 {
        let device = if turn.is_multiple_of(2) { 2 } else { 3 };
        switch.route(&b, at(device), &packet(FAR, WEB), turn).unwrap();
        assert_eq!(switch.route(&b, at(0), &packet(WEB, FAR), turn), Ok(Egress::Device(device)), "{turn}");
    }
}

#[test]
fn a_flood_of_macs_behind_an_uplink_reaches_no_endpoint_and_moves_none() {
    let (b, switch) = (bindings(2), Switch::new(Arc::default()));
    let invented = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 9, a, b, c, d])
    };
    for number in 0..100_000 {
        let _ = switch.route(&b, at(2), &packet(invented(number), WEB), number.into());
    }
    let (mut learned, mut flooded) = (0, 0);
    for number in 0..100_000 {
        match switch.route(&b, at(0), &packet(WEB, invented(number)), 100_000) {
            Ok(Egress::Device(2)) => learned += 1,
            egress => {
                assert_eq!(egress, Ok(set(&[2, 3])), "to uplinks, as before it was learned");
                flooded += 1;
            }
        }
    }
    assert!(learned > 8_000 && flooded > 80_000, "{learned} {flooded}: the table is bounded");
    assert_eq!(switch.route(&b, at(3), &packet(FAR, WEB), 100_000), Ok(Egress::Device(0)));
    assert_eq!(switch.route(&b, at(0), &packet(WEB, DATABASE), 100_000), Ok(Egress::Device(1)));
}

#[test]
fn the_hosts_own_device_is_like_an_endpoints() {
    let name = |text: &str| Name::new(text).unwrap();
    let device = |text: &str, role| DeviceRole {
        name: text.to_owned(),
        role,
        segment: Some(Name::default_name()),
        vlans: Vec::new(),
        ethertypes: vec![0x88b5],
    };
    let devices =
        [device("tap0", Role::Endpoint), device("host0", Role::Host), device("uplink0", Role::Uplink)];
    let mut policy = Policy::empty(Action::Deny);
    let endpoint = |number: u32, mac, device: &str| Endpoint {
        id: EndpointId(number),
        name: name(device),
        segment: SEGMENT,
        mac,
        addresses: Vec::new(),
        routes: Vec::new(),
        flags: EndpointFlags::default(),
        host: Some(name("here")),
        device: Some(device.to_owned()),
    };
    policy.endpoints = vec![endpoint(1, WEB, "tap0"), endpoint(2, DATABASE, "host0")];
    let (b, switch) = (Bindings::build(&policy, &name("here"), &devices), Switch::new(Arc::default()));
    assert_eq!(switch.route(&b, at(0), &packet(WEB, DATABASE), 0), Ok(Egress::Device(1)));
    assert_eq!(switch.route(&b, at(0), &packet(WEB, STRANGER), 0), Ok(Egress::Device(2)), "not to the host");
    assert_eq!(switch.route(&b, at(1), &packet(DATABASE, STRANGER), 0), Ok(Egress::Device(2)));
    assert!(b.source(1, &packet(DATABASE, WEB)).is_ok());
    assert_eq!(b.source(1, &packet(STRANGER, WEB)), Err(DropReason::SourceMac), "bound like an endpoint");
    assert_eq!(b.source(2, &packet(DATABASE, WEB)), Err(DropReason::SourceMac));
}
