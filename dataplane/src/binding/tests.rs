//! Tests of who may send and who may receive: one packet that passes beside every one that does not.

use super::*;
use crate::packet::build::{Frame, dhcp::DhcpMessage, dhcp::v6_message};
use crate::packet::{ArpOperation, ArpPacket, ParseContext, TcpFlags};
use crate::switch::Egress;
use crate::verdict::DropReason;
use DropReason::{
    DestinationBinding, DhcpSpoof, Ethertype, MulticastQuery, NeighbourSpoof, Redirect, RogueDhcpServer,
    RouterAdvertisement, SourceAddress, SourceMac, UnknownVlan,
};
use meshgate_policy::{Action, Protocol, Segment};
use std::net::Ipv4Addr;

const WEB: Mac = Mac([2, 0, 0, 0, 0, 1]);
const DATABASE: Mac = Mac([2, 0, 0, 0, 0, 2]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 3]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 4]);
const TWIN: Mac = Mac([2, 0, 0, 0, 0, 5]);
const LOST: Mac = Mac([2, 0, 0, 0, 0, 6]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 99]);

const WEB_TAP: u16 = 0;
const DATABASE_TAP: u16 = 1;
const ROUTER_TAP: u16 = 2;
const UPLINK: u16 = 3;
const BLUE: SegmentId = SegmentId(2);
const BLUE_VLAN: u16 = 20;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn endpoint(number: u32, mac: Mac, addresses: &[&str], device: Option<&str>) -> Endpoint {
    Endpoint {
        id: EndpointId(number),
        name: name(&format!("endpoint-{number}")),
        segment: SegmentId::DEFAULT,
        mac,
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        routes: vec!["192.168.0.0/16".parse().unwrap()],
        flags: EndpointFlags::default(),
        host: Some(name("here")),
        device: device.map(str::to_owned),
    }
}

fn policy() -> Policy {
    let mut policy = Policy::empty(Action::Deny);
    policy.segments.push(Segment { id: BLUE, name: name("blue"), tenant: Name::default_name() });
    let router_flags =
        EndpointFlags { router: true, dhcp_server: true, router_advertiser: true, dhcp_client: false };
    let client_flags = EndpointFlags { dhcp_client: true, ..EndpointFlags::default() };
    policy.endpoints = vec![
        endpoint(1, WEB, &["10.0.0.1", "fd00::1"], Some("tap0")),
        endpoint(2, DATABASE, &["10.0.0.2", "fd00::2", "fe80::2"], Some("tap1")),
        Endpoint { flags: router_flags, ..endpoint(3, ROUTER, &["10.0.0.254", "fd00::254"], Some("tap2")) },
        Endpoint { host: Some(name("there")), ..endpoint(4, FAR, &["10.0.0.9", "fd00::9"], Some("tap1")) },
        Endpoint { flags: client_flags, ..endpoint(5, TWIN, &["10.0.0.11"], Some("tap0")) },
        endpoint(6, LOST, &["10.0.0.13"], None),
        Endpoint { segment: BLUE, ..endpoint(7, WEB, &["10.0.0.1"], Some("tap0")) },
        Endpoint { segment: BLUE, ..endpoint(8, DATABASE, &["10.0.0.2"], Some("tap1")) },
    ];
    policy
}

fn devices() -> Vec<DeviceRole> {
    let device = |text: &str, role| DeviceRole {
        name: text.to_owned(),
        role,
        segment: Some(Name::default_name()),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
    };
    let tagged = vec![(Tags::customer(BLUE_VLAN), name("blue"))];
    vec![
        DeviceRole { vlans: tagged.clone(), ethertypes: vec![0x88b5], ..device("tap0", Role::Endpoint) },
        device("tap1", Role::Endpoint),
        device("tap2", Role::Host),
        DeviceRole { vlans: tagged, ..device("uplink0", Role::Uplink) },
    ]
}

fn bindings() -> Bindings {
    Bindings::build(&policy(), &name("here"), &devices())
}

fn packet(frame: &Frame) -> Packet {
    let bytes = frame.bytes();
    Packet::parse(&bytes, bytes.len(), ParseContext::default()).unwrap()
}

fn sent_by(device: u16, frame: &Frame) -> Result<(), DropReason> {
    bindings().source(device, &packet(frame)).map(|_| ())
}

fn delivered_to(device: u16, frame: &Frame) -> Result<(), DropReason> {
    bindings().destination(device, SegmentId::DEFAULT, &packet(frame))
}

fn udp(source_mac: Mac, source: &str, destination: &str) -> Frame {
    Frame::between(source_mac, STRANGER).ip(ip(source), ip(destination)).udp(1, 2)
}

fn udp_to(destination_mac: Mac, destination: &str) -> Frame {
    let source = if ip(destination).is_ipv4() { "10.0.0.77" } else { "fd00::77" };
    Frame::between(STRANGER, destination_mac).ip(ip(source), ip(destination)).udp(1, 2)
}

fn arp(operation: ArpOperation, source_mac: Mac, sender_mac: Mac, sender: &str, target: &str) -> Frame {
    let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    Frame::between(source_mac, Mac::BROADCAST).arp(ArpPacket {
        operation,
        sender_mac,
        sender_address: v4(sender),
        target_mac: Mac::default(),
        target_address: v4(target),
    })
}

fn request(source_mac: Mac, sender: &str, target: &str) -> Frame {
    arp(ArpOperation::Request, source_mac, source_mac, sender, target)
}

#[test]
fn the_sender_is_named_by_device_tag_and_mac() {
    let b = bindings();
    let of = |device, frame: &Frame| {
        let sender = b.source(device, &packet(frame)).unwrap();
        (sender.segment, sender.endpoint)
    };
    let sender = |segment, number| (segment, Some(EndpointId(number)));
    let frame = udp(WEB, "10.0.0.1", "10.0.0.2");
    assert_eq!(of(WEB_TAP, &frame), sender(SegmentId::DEFAULT, 1));
    assert_eq!(of(WEB_TAP, &frame.clone().vlan(BLUE_VLAN)), sender(BLUE, 7));
    assert_eq!(of(WEB_TAP, &udp(TWIN, "10.0.0.11", "10.0.0.2")), sender(SegmentId::DEFAULT, 5));
    assert_eq!(of(UPLINK, &udp(STRANGER, "10.0.0.77", "10.0.0.2")), (SegmentId::DEFAULT, None));
}

#[test]
fn a_tag_without_segment_and_a_device_out_of_the_list_are_refused() {
    assert_eq!(sent_by(WEB_TAP, &udp(WEB, "10.0.0.1", "10.0.0.2").vlan(21)), Err(UnknownVlan));
    assert_eq!(sent_by(9, &udp(WEB, "10.0.0.1", "10.0.0.2")), Err(UnknownVlan));
    let mut untagged = devices();
    untagged[0].segment = None;
    let b = Bindings::build(&policy(), &name("here"), &untagged);
    assert_eq!(b.source(WEB_TAP, &packet(&udp(WEB, "10.0.0.1", "10.0.0.2"))), Err(UnknownVlan));
}

#[test]
fn an_endpoint_sends_with_its_own_mac_from_its_own_device() {
    assert_eq!(sent_by(WEB_TAP, &udp(STRANGER, "10.0.0.1", "10.0.0.2")), Err(SourceMac));
    assert_eq!(sent_by(WEB_TAP, &udp(DATABASE, "10.0.0.2", "10.0.0.1")), Err(SourceMac));
    assert_eq!(sent_by(DATABASE_TAP, &udp(WEB, "10.0.0.1", "10.0.0.2")), Err(SourceMac));
    assert_eq!(sent_by(DATABASE_TAP, &udp(FAR, "10.0.0.9", "10.0.0.2")), Err(SourceMac), "at home elsewhere");
    assert_eq!(sent_by(WEB_TAP, &udp(LOST, "10.0.0.13", "10.0.0.2")), Err(SourceMac), "bound to no device");
}

#[test]
fn an_endpoint_sends_from_its_own_addresses_only() {
    assert_eq!(sent_by(WEB_TAP, &udp(WEB, "fd00::1", "fd00::2")), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &udp(WEB, "fe80::ff:fe00:1", "fd00::2")), Ok(()), "link-local of its MAC");
    assert_eq!(
        sent_by(DATABASE_TAP, &udp(DATABASE, "fe80::2", "fd00::1")),
        Ok(()),
        "a listed link-local one"
    );
    for foreign in ["10.0.0.2", "10.0.0.11", "192.168.1.1"] {
        assert_eq!(sent_by(WEB_TAP, &udp(WEB, foreign, "10.0.0.254")), Err(SourceAddress), "{foreign}");
    }
    for foreign in ["fd00::2", "fe80::2", "fe80::ff:fe00:2"] {
        assert_eq!(sent_by(WEB_TAP, &udp(WEB, foreign, "fd00::254")), Err(SourceAddress), "{foreign}");
    }
}

#[test]
fn a_router_sends_for_its_routes_and_others_do_not() {
    assert_eq!(sent_by(ROUTER_TAP, &udp(ROUTER, "192.168.1.1", "10.0.0.1")), Ok(()));
    assert_eq!(sent_by(ROUTER_TAP, &udp(ROUTER, "192.169.0.1", "10.0.0.1")), Err(SourceAddress));
}

#[test]
fn the_address_of_none_is_for_dhcp_discovery_only() {
    let from_none =
        |destination: &str| Frame::between(WEB, Mac::BROADCAST).ip(ip("0.0.0.0"), ip(destination));
    let message = |kind| DhcpMessage::new(kind, WEB, 7).bytes();
    for kind in [1, 3, 4] {
        let sought = from_none("255.255.255.255").udp(68, 67).payload(&message(kind));
        assert_eq!(sent_by(WEB_TAP, &sought), Ok(()), "{kind}");
    }
    for kind in [7, 8, 9] {
        let other = from_none("255.255.255.255").udp(68, 67).payload(&message(kind));
        assert_eq!(sent_by(WEB_TAP, &other), Err(SourceAddress), "{kind}");
    }
    let bootp = from_none("255.255.255.255").udp(68, 67).payload(&[1; 240]);
    assert_eq!(sent_by(WEB_TAP, &bootp), Err(SourceAddress));
    let from_elsewhere = from_none("255.255.255.255").udp(69, 67).payload(&message(1));
    assert_eq!(sent_by(WEB_TAP, &from_elsewhere), Err(SourceAddress));
    let to_one = Frame::between(WEB, DATABASE).ip(ip("0.0.0.0"), ip("10.0.0.2")).udp(68, 67);
    assert_eq!(sent_by(WEB_TAP, &to_one.payload(&message(1))), Err(SourceAddress));
    let query =
        from_none("224.0.0.1").hop_limit(1).protocol(Protocol(2)).payload(&[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]);
    assert_eq!(sent_by(WEB_TAP, &query), Err(SourceAddress));
    let discover = Frame::between(STRANGER, Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    assert_eq!(sent_by(UPLINK, &discover.udp(68, 67).payload(&[1; 9])), Ok(()));
}

#[test]
fn a_dhcp_client_names_nobody_but_itself() {
    let from = |mac, source: &str, message: &DhcpMessage| {
        let frame = Frame::between(mac, ROUTER).ip(ip(source), ip("10.0.0.254"));
        frame.udp(68, 67).payload(&message.bytes())
    };
    let release = |mac| DhcpMessage::new(7, mac, 7);
    assert_eq!(sent_by(WEB_TAP, &from(WEB, "10.0.0.1", &release(WEB))), Ok(()));
    let foreign = [
        release(DATABASE),
        release(WEB).client_address([10, 0, 0, 2].into()),
        release(WEB).relay([10, 0, 0, 1].into()),
        release(WEB).option(61, &[1, 2, 0, 0, 0, 0, 2]),
    ];
    for message in &foreign {
        assert_eq!(sent_by(WEB_TAP, &from(WEB, "10.0.0.1", message)), Err(DhcpSpoof), "{message:?}");
    }
    let relayed = Frame::between(ROUTER, FAR).ip(ip("10.0.0.254"), ip("10.0.0.9")).udp(67, 67);
    let relayed = relayed.payload(&foreign[2].bytes());
    assert_eq!(sent_by(ROUTER_TAP, &relayed), Ok(()), "a relay is listed as a server");
    let relay_6 = Frame::between(WEB, STRANGER).ip(ip("fd00::1"), ip("fd00::2")).udp(547, 547);
    assert_eq!(sent_by(WEB_TAP, &relay_6.payload(&[12; 40])), Err(DhcpSpoof));
}

#[test]
fn only_a_flagged_endpoint_answers_as_a_dhcp_server() {
    let answer = |mac, source: &str, destination: &str, port| {
        Frame::between(mac, STRANGER).ip(ip(source), ip(destination)).udp(port, port + 1).payload(&[2; 240])
    };
    assert_eq!(sent_by(WEB_TAP, &answer(WEB, "10.0.0.1", "10.0.0.2", 67)), Err(RogueDhcpServer));
    assert_eq!(sent_by(ROUTER_TAP, &answer(ROUTER, "10.0.0.254", "10.0.0.2", 67)), Ok(()));
    let v6_answer =
        Frame::between(WEB, STRANGER).ip(ip("fd00::1"), ip("fd00::2")).udp(547, 546).payload(&[7; 20]);
    assert_eq!(sent_by(WEB_TAP, &v6_answer), Err(RogueDhcpServer));
}

#[test]
fn only_a_flagged_endpoint_advertises_itself_as_router() {
    let advertisement = |mac: Mac| {
        let all = Mac([0x33, 0x33, 0, 0, 0, 1]);
        Frame::between(mac, all).ip(mac.link_local().into(), ip("ff02::1")).router_advertisement()
    };
    assert_eq!(sent_by(WEB_TAP, &advertisement(WEB)), Err(RouterAdvertisement));
    let hidden = advertisement(WEB).extension(60, &[0; 7]);
    assert_eq!(sent_by(WEB_TAP, &hidden), Err(RouterAdvertisement), "behind an extension header (RFC 7113)");
    assert_eq!(sent_by(ROUTER_TAP, &advertisement(ROUTER)), Ok(()));
}

#[test]
fn only_a_router_redirects() {
    let redirect = |mac: Mac| {
        Frame::between(mac, WEB)
            .ip(mac.link_local().into(), ip("fd00::1"))
            .neighbour_redirect(v6("fe80::9"), v6("fd00::9"))
    };
    assert_eq!(sent_by(DATABASE_TAP, &redirect(DATABASE)), Err(Redirect));
    assert_eq!(sent_by(ROUTER_TAP, &redirect(ROUTER)), Ok(()));
    let v4 = |mac, source| {
        Frame::between(mac, WEB).ip(ip(source), ip("10.0.0.1")).icmp(5, 1, [10, 0, 0, 9]).payload(&[0; 28])
    };
    assert_eq!(sent_by(DATABASE_TAP, &v4(DATABASE, "10.0.0.2")), Err(Redirect));
    assert_eq!(sent_by(ROUTER_TAP, &v4(ROUTER, "10.0.0.254")), Ok(()));
}

#[test]
fn an_endpoint_speaks_arp_for_itself_only() {
    assert_eq!(sent_by(WEB_TAP, &request(WEB, "10.0.0.1", "10.0.0.2")), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &request(WEB, "10.0.0.1", "10.0.0.1")), Ok(()), "gratuitous");
    assert_eq!(sent_by(WEB_TAP, &request(WEB, "0.0.0.0", "10.0.0.1")), Ok(()), "a probe for its own address");
    let spoofs = [
        request(WEB, "10.0.0.2", "10.0.0.254"),
        request(WEB, "0.0.0.0", "10.0.0.2"),
        arp(ArpOperation::Reply, WEB, WEB, "10.0.0.254", "10.0.0.2"),
        arp(ArpOperation::Reply, WEB, WEB, "0.0.0.0", "10.0.0.1"),
        arp(ArpOperation::Reply, WEB, STRANGER, "10.0.0.1", "10.0.0.2"),
    ];
    for spoof in spoofs {
        assert_eq!(sent_by(WEB_TAP, &spoof), Err(NeighbourSpoof), "{spoof:?}");
    }
    assert_eq!(
        sent_by(ROUTER_TAP, &arp(ArpOperation::Reply, ROUTER, ROUTER, "192.168.3.4", "10.0.0.1")),
        Ok(()),
        "a router for what is behind it"
    );
}

#[test]
fn an_endpoint_speaks_neighbour_discovery_for_itself_only() {
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 2]);
    let from = |source: &str| Frame::between(WEB, group).ip(ip(source), ip("ff02::1:ff00:2"));
    let solicited = |source: &str, target: &str| from(source).neighbour_solicitation(v6(target));
    assert_eq!(sent_by(WEB_TAP, &solicited("fd00::1", "fd00::2")), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &solicited("::", "fd00::1")), Ok(()), "detection of its own address");
    assert_eq!(sent_by(WEB_TAP, &solicited("::", "fd00::2")), Err(NeighbourSpoof), "detection of another's");
    assert_eq!(sent_by(WEB_TAP, &solicited("fd00::2", "fd00::254")), Err(SourceAddress));
    let advertised = |target: &str, mac| {
        Frame::between(WEB, DATABASE)
            .ip(ip("fd00::1"), ip("fd00::2"))
            .neighbour_advertisement(v6(target), mac)
    };
    assert_eq!(sent_by(WEB_TAP, &advertised("fd00::1", WEB)), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &advertised("fe80::ff:fe00:1", WEB)), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &advertised("fd00::254", WEB)), Err(NeighbourSpoof));
    assert_eq!(sent_by(WEB_TAP, &advertised("fd00::1", STRANGER)), Err(NeighbourSpoof));
    let with_foreign_mac = from("fd00::1")
        .neighbour_solicitation(v6("fd00::2"))
        .payload(&[&v6("fd00::2").octets()[..], &[1, 1, 2, 0, 0, 0, 0, 99]].concat());
    assert_eq!(sent_by(WEB_TAP, &with_foreign_mac), Err(NeighbourSpoof));
}

#[test]
fn other_ethertypes_pass_where_the_device_lists_them() {
    let frame = Frame::between(WEB, DATABASE).payload(&[0; 46]);
    assert_eq!(sent_by(WEB_TAP, &frame), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &frame.clone().ethertype(0x88cc)), Err(Ethertype));
    assert_eq!(sent_by(UPLINK, &Frame::between(STRANGER, WEB).payload(&[0; 46])), Err(Ethertype));
    assert_eq!(sent_by(WEB_TAP, &Frame::between(STRANGER, WEB).payload(&[0; 46])), Err(SourceMac));
}

#[test]
fn an_uplink_cannot_pass_for_an_endpoint_that_is_at_home_here() {
    assert_eq!(sent_by(UPLINK, &udp(WEB, "10.0.0.77", "10.0.0.2")), Err(SourceMac));
    assert_eq!(sent_by(UPLINK, &udp(LOST, "10.0.0.77", "10.0.0.2")), Err(SourceMac), "bound to no device");
    assert_eq!(sent_by(UPLINK, &udp(STRANGER, "10.0.0.1", "10.0.0.2")), Err(SourceAddress));
    assert_eq!(sent_by(UPLINK, &udp(STRANGER, "fe80::ff:fe00:1", "fd00::2")), Err(SourceAddress));
    assert_eq!(sent_by(UPLINK, &udp(FAR, "10.0.0.9", "10.0.0.2")), Ok(()), "at home elsewhere");
    assert_eq!(
        sent_by(UPLINK, &udp(TWIN, "10.0.0.77", "10.0.0.2").vlan(BLUE_VLAN)),
        Ok(()),
        "another segment"
    );
}

#[test]
fn a_group_or_no_mac_sends_nothing() {
    for mac in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), Mac::default()] {
        assert_eq!(sent_by(UPLINK, &udp(mac, "10.0.0.77", "10.0.0.2")), Err(SourceMac));
        assert_eq!(sent_by(WEB_TAP, &udp(mac, "10.0.0.1", "10.0.0.2")), Err(SourceMac));
    }
}

#[test]
fn arp_from_an_uplink_names_the_macs_of_the_policy() {
    assert_eq!(sent_by(UPLINK, &request(FAR, "10.0.0.9", "10.0.0.1")), Ok(()));
    assert_eq!(sent_by(UPLINK, &request(STRANGER, "10.0.0.77", "10.0.0.1")), Ok(()));
    assert_eq!(sent_by(UPLINK, &request(STRANGER, "0.0.0.0", "10.0.0.77")), Ok(()));
    let spoofs = [
        request(STRANGER, "10.0.0.9", "10.0.0.1"),
        request(STRANGER, "10.0.0.1", "10.0.0.2"),
        arp(ArpOperation::Reply, STRANGER, WEB, "10.0.0.1", "10.0.0.2"),
        arp(ArpOperation::Reply, STRANGER, WEB, "10.0.0.77", "10.0.0.2"),
        arp(ArpOperation::Reply, STRANGER, FAR, "10.0.0.77", "10.0.0.2"),
    ];
    for spoof in spoofs {
        assert_eq!(sent_by(UPLINK, &spoof), Err(NeighbourSpoof), "{spoof:?}");
    }
}

#[test]
fn neighbour_discovery_from_an_uplink_names_the_macs_of_the_policy() {
    let advertised = |target: &str, mac| {
        Frame::between(STRANGER, WEB)
            .ip(ip("fd00::77"), ip("fd00::1"))
            .neighbour_advertisement(v6(target), mac)
    };
    assert_eq!(sent_by(UPLINK, &advertised("fd00::77", STRANGER)), Ok(()));
    assert_eq!(sent_by(UPLINK, &advertised("fd00::9", FAR)), Ok(()));
    assert_eq!(sent_by(UPLINK, &advertised("fe80::ff:fe00:4", FAR)), Ok(()));
    assert_eq!(sent_by(UPLINK, &advertised("fd00::9", STRANGER)), Err(NeighbourSpoof));
    assert_eq!(sent_by(UPLINK, &advertised("fe80::ff:fe00:4", STRANGER)), Err(NeighbourSpoof));
    assert_eq!(sent_by(UPLINK, &advertised("fd00::2", DATABASE)), Err(NeighbourSpoof), "at home here");
    assert_eq!(sent_by(UPLINK, &advertised("fd00::77", DATABASE)), Err(NeighbourSpoof));
    let solicited =
        Frame::between(STRANGER, WEB).ip(ip("fd00::9"), ip("fd00::1")).neighbour_solicitation(v6("fd00::1"));
    assert_eq!(sent_by(UPLINK, &solicited), Err(NeighbourSpoof));
    let detection = Frame::between(STRANGER, WEB)
        .ip(ip("::"), ip("ff02::1:ff00:1"))
        .neighbour_solicitation(v6("fd00::77"));
    assert_eq!(sent_by(UPLINK, &detection), Ok(()));
    let advertisement =
        Frame::between(STRANGER, WEB).ip(STRANGER.link_local().into(), ip("ff02::1")).router_advertisement();
    assert_eq!(sent_by(UPLINK, &advertisement), Ok(()));
}

#[test]
fn a_frame_is_delivered_to_its_endpoint_in_both_layers() {
    assert_eq!(delivered_to(WEB_TAP, &udp_to(WEB, "10.0.0.1")), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &udp_to(TWIN, "10.0.0.11")), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &udp_to(WEB, "fe80::ff:fe00:1")), Ok(()));
    assert_eq!(delivered_to(ROUTER_TAP, &udp_to(ROUTER, "192.168.1.1")), Ok(()));
    let refused = [
        (WEB_TAP, WEB, "10.0.0.2"),
        (WEB_TAP, WEB, "10.0.0.11"),
        (WEB_TAP, DATABASE, "10.0.0.1"),
        (WEB_TAP, STRANGER, "10.0.0.1"),
        (WEB_TAP, WEB, "192.168.1.1"),
        (WEB_TAP, WEB, "224.0.0.5"),
        (WEB_TAP, WEB, "ff02::1"),
        (ROUTER_TAP, ROUTER, "8.8.8.8"),
    ];
    for (device, mac, address) in refused {
        assert_eq!(delivered_to(device, &udp_to(mac, address)), Err(DestinationBinding), "{mac} {address}");
    }
    assert_eq!(delivered_to(UPLINK, &udp_to(WEB, "10.0.0.2")), Ok(()), "an uplink takes everything");
    assert_eq!(delivered_to(9, &udp_to(WEB, "10.0.0.1")), Err(DropReason::NoDevice));
}

#[test]
fn a_frame_for_a_group_is_for_that_group_in_both_layers() {
    let group = |mac: [u8; 6], address: &str| delivered_to(WEB_TAP, &udp_to(Mac(mac), address));
    assert_eq!(group([0xff; 6], "255.255.255.255"), Ok(()));
    assert_eq!(group([1, 0, 0x5e, 0x7f, 2, 3], "239.255.2.3"), Ok(()));
    assert_eq!(group([0x33, 0x33, 0, 0, 0, 1], "ff02::1"), Ok(()));
    for (mac, address) in [
        ([0xff; 6], "10.0.0.1"),
        ([0xff; 6], "10.0.0.255"),
        ([0xff; 6], "224.0.0.1"),
        ([1, 0, 0x5e, 0, 0, 1], "255.255.255.255"),
        ([1, 0, 0x5e, 0, 0, 1], "224.0.0.2"),
        ([1, 0, 0x5e, 0, 0, 1], "10.0.0.1"),
        ([0x33, 0x33, 0, 0, 0, 2], "ff02::1"),
        ([0x33, 0x33, 0, 0, 0, 1], "fd00::1"),
    ] {
        assert_eq!(group(mac, address), Err(DestinationBinding), "{mac:?} {address}");
    }
}

#[test]
fn arp_is_delivered_to_all_or_to_the_one_it_is_for() {
    let to =
        |mac, target: [u8; 4]| Frame::between(STRANGER, mac).arp_reply([10, 0, 0, 77].into(), target.into());
    assert_eq!(delivered_to(WEB_TAP, &to(Mac::BROADCAST, [10, 0, 0, 9])), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &to(WEB, [10, 0, 0, 1])), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &to(WEB, [0, 0, 0, 0])), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &to(WEB, [10, 0, 0, 2])), Err(DestinationBinding));
    assert_eq!(
        delivered_to(WEB_TAP, &to(Mac([1, 0, 0x5e, 0, 0, 1]), [10, 0, 0, 1])),
        Err(DestinationBinding)
    );
}

#[test]
fn an_endpoint_in_another_segment_is_not_found_at_the_device() {
    let frame = packet(&udp_to(WEB, "10.0.0.1"));
    assert_eq!(bindings().destination(WEB_TAP, BLUE, &frame), Ok(()));
    assert_eq!(bindings().destination(DATABASE_TAP, BLUE, &frame), Err(DestinationBinding));
}

const ROUTER_ALERT_6: [u8; 7] = [0, 5, 2, 0, 0, 1, 0];

fn passage_of(device: u16, frame: &Frame) -> Passage {
    bindings().source(device, &packet(frame)).unwrap().passage
}

/// An MLD report of the web server for no group.
fn report() -> Frame {
    let link =
        Frame::between(WEB, Mac([0x33, 0x33, 0, 0, 0, 0x16])).ip(WEB.link_local().into(), ip("ff02::16"));
    link.hop_limit(1).icmp(143, 0, [0; 4])
}

#[test]
fn only_what_no_rule_can_name_passes_without_rules() {
    let group = |mac, address: &str| Frame::between(WEB, Mac(mac)).ip(WEB.link_local().into(), ip(address));
    for frame in [
        request(WEB, "10.0.0.1", "10.0.0.2"),
        group([0x33, 0x33, 0xff, 0, 0, 1], "ff02::1:ff00:1").neighbour_solicitation(v6("fd00::1")),
        group([0x33, 0x33, 0, 0, 0, 2], "ff02::2").router_solicitation(),
        report().extension(0, &ROUTER_ALERT_6),
        Frame::between(WEB, STRANGER).payload(&[0; 9]),
    ] {
        assert_eq!(passage_of(WEB_TAP, &frame), Passage::WithoutRules, "{frame:?}");
    }
    for frame in [
        report(),
        udp(WEB, "10.0.0.1", "10.0.0.2"),
        Frame::between(WEB, STRANGER).ip(ip("10.0.0.1"), ip("10.0.0.2")).tcp(1, 2, TcpFlags::SYN),
        Frame::between(WEB, STRANGER).ip(ip("fd00::1"), ip("fd00::2")).echo_request(1, 1),
    ] {
        assert_eq!(passage_of(WEB_TAP, &frame), Passage::ToRules, "{frame:?}");
    }
}

/// A DHCP message to all, from an endpoint without an address.
fn discover(mac: Mac) -> Frame {
    let frame = Frame::between(mac, Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    frame.udp(68, 67).payload(&DhcpMessage::new(1, mac, 7).bytes())
}

/// An answer to the twin, which is a DHCP client, about an address that nobody has.
fn offer(server: Mac, source: &str) -> Frame {
    let message = DhcpMessage::new(2, TWIN, 7).your_address([10, 0, 0, 50].into());
    Frame::between(server, TWIN).ip(ip(source), ip("10.0.0.50")).udp(67, 68).payload(&message.bytes())
}

#[test]
fn a_lease_is_agreed_on_without_rules_between_a_listed_client_and_a_listed_server() {
    assert_eq!(passage_of(WEB_TAP, &discover(TWIN)), Passage::WithoutRules);
    assert_eq!(passage_of(WEB_TAP, &discover(WEB)), Passage::ToRules, "not flagged as a client");
    assert_eq!(passage_of(ROUTER_TAP, &offer(ROUTER, "10.0.0.254")), Passage::WithoutRules);
    assert_eq!(passage_of(UPLINK, &offer(STRANGER, "10.0.0.77")), Passage::ToRules, "not listed");
    let to_server = |mac, address: &str| {
        let message = DhcpMessage::new(7, TWIN, 7).client_address([10, 0, 0, 11].into()).bytes();
        Frame::between(TWIN, mac).ip(ip("10.0.0.11"), ip(address)).udp(68, 67).payload(&message)
    };
    assert_eq!(passage_of(WEB_TAP, &to_server(ROUTER, "10.0.0.254")), Passage::WithoutRules);
    assert_eq!(passage_of(WEB_TAP, &to_server(DATABASE, "10.0.0.2")), Passage::ToRules);
    assert_eq!(passage_of(WEB_TAP, &to_server(ROUTER, "10.0.0.2")), Passage::ToRules);
    let six = |kind| {
        let frame = Frame::between(TWIN, Mac([0x33, 0x33, 0, 1, 0, 2]));
        frame.ip(TWIN.link_local().into(), ip("ff02::1:2")).udp(546, 547).payload(&v6_message(kind, 7, &[]))
    };
    assert_eq!(passage_of(WEB_TAP, &six(1)), Passage::WithoutRules);
}

#[test]
fn a_lease_reaches_its_client_before_the_address_is_the_clients() {
    assert_eq!(delivered_to(WEB_TAP, &offer(ROUTER, "10.0.0.254")), Ok(()));
    assert_eq!(delivered_to(WEB_TAP, &offer(STRANGER, "10.0.0.77")), Err(DestinationBinding), "not listed");
    assert_eq!(
        delivered_to(WEB_TAP, &offer(ROUTER, "10.0.0.77")),
        Err(DestinationBinding),
        "not its address"
    );
    let to = |mac| {
        Frame::between(ROUTER, mac).ip(ip("10.0.0.254"), ip("10.0.0.50")).udp(67, 68).payload(&[2; 240])
    };
    assert_eq!(delivered_to(WEB_TAP, &to(WEB)), Err(DestinationBinding), "no client");
    let other_port = Frame::between(ROUTER, TWIN).ip(ip("10.0.0.254"), ip("10.0.0.50")).udp(67, 69);
    assert_eq!(delivered_to(WEB_TAP, &other_port), Err(DestinationBinding));
}

#[test]
fn dhcp_that_is_broadcast_reaches_those_it_concerns() {
    let b = bindings();
    let everywhere = Egress::Flood(b.members(SegmentId::DEFAULT));
    let reached = |frame: &Frame| match b.receivers(everywhere, SegmentId::DEFAULT, &packet(frame)) {
        Ok(Egress::Flood(devices)) => devices.iter().collect(),
        Ok(Egress::Device(device)) => vec![device],
        Err(reason) => panic!("{reason}"),
    };
    assert_eq!(reached(&discover(TWIN)), [ROUTER_TAP, UPLINK], "servers and uplinks");
    let ack = Frame::between(ROUTER, Mac::BROADCAST).ip(ip("10.0.0.254"), ip("255.255.255.255"));
    assert_eq!(reached(&ack.udp(67, 68).payload(&[2; 240])), [WEB_TAP, UPLINK], "clients and uplinks");
    let other = Frame::between(WEB, Mac::BROADCAST).ip(ip("10.0.0.1"), ip("255.255.255.255")).udp(1, 2);
    assert_eq!(reached(&other), [WEB_TAP, DATABASE_TAP, ROUTER_TAP, UPLINK]);
    let none = b.receivers(Egress::Device(DATABASE_TAP), SegmentId::DEFAULT, &packet(&discover(TWIN)));
    assert_eq!(none, Err(DropReason::NoDevice));
}

#[test]
fn only_a_router_asks_for_members_of_multicast_groups() {
    let query = |mac: Mac| {
        let frame =
            Frame::between(mac, Mac([0x33, 0x33, 0, 0, 0, 1])).ip(mac.link_local().into(), ip("ff02::1"));
        frame.hop_limit(1).extension(0, &ROUTER_ALERT_6).icmp(130, 0, [0; 4]).payload(&[0; 16])
    };
    assert_eq!(sent_by(WEB_TAP, &query(WEB)), Err(MulticastQuery));
    assert_eq!(sent_by(WEB_TAP, &query(WEB).hop_limit(9)), Err(MulticastQuery), "in whatever form");
    assert_eq!(sent_by(ROUTER_TAP, &query(ROUTER)), Ok(()));
    assert_eq!(sent_by(UPLINK, &query(STRANGER)), Ok(()));
    let igmp = |mac, source: &str| {
        let frame = Frame::between(mac, Mac([1, 0, 0x5e, 0, 0, 1])).ip(ip(source), ip("224.0.0.1"));
        frame.hop_limit(1).protocol(Protocol(2)).payload(&[0x11, 0, 0xee, 0xff, 0, 0, 0, 0])
    };
    assert_eq!(sent_by(WEB_TAP, &igmp(WEB, "10.0.0.1")), Err(MulticastQuery));
    assert_eq!(sent_by(ROUTER_TAP, &igmp(ROUTER, "10.0.0.254")), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &report().extension(0, &ROUTER_ALERT_6)), Ok(()), "a report");
}

#[test]
fn an_icmp_router_advertisement_counts_as_one() {
    let advertisement = |mac, source: &str| {
        let frame = Frame::between(mac, Mac([1, 0, 0x5e, 0, 0, 1])).ip(ip(source), ip("224.0.0.1"));
        frame.hop_limit(1).icmp(9, 0, [1, 2, 0, 9]).payload(&[10, 0, 0, 1, 0, 0, 0, 0])
    };
    assert_eq!(sent_by(WEB_TAP, &advertisement(WEB, "10.0.0.1")), Err(RouterAdvertisement));
    assert_eq!(sent_by(ROUTER_TAP, &advertisement(ROUTER, "10.0.0.254")), Ok(()));
}

#[test]
fn a_frame_of_an_endpoint_is_for_a_group_in_both_layers_or_in_none() {
    let frame = |mac, source: &str, to: &str| Frame::between(WEB, Mac(mac)).ip(ip(source), ip(to)).udp(1, 2);
    assert_eq!(sent_by(WEB_TAP, &frame([1, 0, 0x5e, 1, 2, 3], "10.0.0.1", "239.129.2.3")), Ok(()));
    assert_eq!(sent_by(WEB_TAP, &frame([0x33, 0x33, 0, 0, 0, 0xfb], "fd00::1", "ff02::fb")), Ok(()));
    for (mac, source, to) in [
        ([0xff; 6], "10.0.0.1", "10.0.0.2"),
        ([0xff; 6], "10.0.0.1", "10.0.0.255"),
        ([1, 0, 0x5e, 0, 0, 1], "10.0.0.1", "10.0.0.2"),
        ([1, 0, 0x5e, 0, 0, 1], "10.0.0.1", "224.0.0.2"),
        (DATABASE.0, "10.0.0.1", "224.0.0.1"),
        (DATABASE.0, "10.0.0.1", "255.255.255.255"),
        ([0xff; 6], "fd00::1", "ff02::1"),
        ([0x33, 0x33, 0, 0, 0, 1], "fd00::1", "fd00::2"),
        ([0x33, 0x33, 0, 0, 0, 1], "fd00::1", "ff02::2"),
        (DATABASE.0, "fd00::1", "ff02::1"),
    ] {
        assert_eq!(sent_by(WEB_TAP, &frame(mac, source, to)), Err(DestinationBinding), "{mac:?} {to}");
    }
    let arp_to_group = Frame::between(WEB, Mac([1, 0, 0x5e, 0, 0, 1]));
    assert_eq!(
        sent_by(WEB_TAP, &arp_to_group.arp_request([10, 0, 0, 1].into(), [10, 0, 0, 2].into())),
        Err(DestinationBinding)
    );
    let subnet = Frame::between(STRANGER, Mac::BROADCAST).ip(ip("10.0.0.77"), ip("10.0.0.255")).udp(1, 2);
    assert_eq!(sent_by(UPLINK, &subnet), Ok(()), "of an uplink it is decided where it is delivered");
}

#[test]
fn a_router_with_a_wide_route_does_not_claim_what_others_own() {
    let mut policy = policy();
    policy.endpoints[2].routes = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let b = Bindings::build(&policy, &name("here"), &devices());
    let sent = |frame: &Frame| b.source(ROUTER_TAP, &packet(frame)).map(|_| ());
    let reply = |sender: &str| arp(ArpOperation::Reply, ROUTER, ROUTER, sender, "10.0.0.1");
    assert_eq!(sent(&reply("8.8.8.8")), Ok(()));
    for owned in ["10.0.0.2", "10.0.0.9", "10.0.0.13", "0.0.0.0", "224.0.0.1"] {
        assert_eq!(sent(&reply(owned)), Err(NeighbourSpoof), "{owned}");
    }
    let advertised = |target: &str| {
        let frame = Frame::between(ROUTER, WEB).ip(ROUTER.link_local().into(), ip("fd00::1"));
        sent(&frame.neighbour_advertisement(v6(target), ROUTER))
    };
    assert_eq!(advertised("2001:db8::1"), Ok(()));
    assert_eq!(advertised("fd00::2"), Err(NeighbourSpoof));
    assert_eq!(advertised("fe80::ff:fe00:2"), Err(NeighbourSpoof), "formed from another's MAC");
}

#[test]
fn only_a_router_says_that_it_is_one() {
    let advertised = |mac: Mac, flags: u8| {
        let frame = Frame::between(mac, FAR).ip(mac.link_local().into(), ip("fd00::9"));
        frame.hop_limit(255).icmp(136, 0, [flags, 0, 0, 0]).payload(&mac.link_local().octets())
    };
    assert_eq!(sent_by(WEB_TAP, &advertised(WEB, 0xe0)), Err(NeighbourSpoof));
    assert_eq!(sent_by(WEB_TAP, &advertised(WEB, 0x60)), Ok(()));
    assert_eq!(sent_by(ROUTER_TAP, &advertised(ROUTER, 0xe0)), Ok(()));
    assert_eq!(sent_by(UPLINK, &advertised(STRANGER, 0xe0)), Ok(()));
}

#[test]
fn nobody_behind_an_uplink_tries_whether_an_endpoints_address_is_free() {
    let probe = |mac, target: &str| sent_by(UPLINK, &request(mac, "0.0.0.0", target));
    assert_eq!(probe(STRANGER, "10.0.0.77"), Ok(()));
    assert_eq!(probe(FAR, "10.0.0.9"), Ok(()), "its own");
    assert_eq!(probe(STRANGER, "10.0.0.1"), Err(NeighbourSpoof));
    assert_eq!(probe(STRANGER, "10.0.0.9"), Err(NeighbourSpoof));
    assert_eq!(probe(FAR, "10.0.0.77"), Err(NeighbourSpoof));
    let detection = |mac, target: &str| {
        let frame = Frame::between(mac, STRANGER).ip(ip("::"), ip("ff02::1:ff00:9"));
        sent_by(UPLINK, &frame.neighbour_solicitation(v6(target)))
    };
    assert_eq!(detection(STRANGER, "fd00::77"), Ok(()));
    assert_eq!(detection(FAR, "fd00::9"), Ok(()), "its own");
    assert_eq!(detection(STRANGER, "fd00::1"), Err(NeighbourSpoof));
    assert_eq!(detection(STRANGER, "fe80::ff:fe00:1"), Err(NeighbourSpoof));
    assert_eq!(detection(STRANGER, "fd00::9"), Err(NeighbourSpoof));
}

#[test]
fn a_neighbour_message_without_an_option_speaks_for_the_mac_of_its_frame() {
    let advertised = |mac, target: &str| {
        let frame = Frame::between(mac, WEB).ip(ip("fd00::77"), ip("fd00::1")).hop_limit(255);
        sent_by(UPLINK, &frame.icmp(136, 0, [0x60, 0, 0, 0]).payload(&v6(target).octets()))
    };
    assert_eq!(advertised(STRANGER, "fd00::77"), Ok(()));
    assert_eq!(advertised(FAR, "fd00::9"), Ok(()));
    assert_eq!(advertised(STRANGER, "fd00::9"), Err(NeighbourSpoof));
    let redirect = Frame::between(STRANGER, WEB).ip(STRANGER.link_local().into(), ip("fd00::1"));
    assert_eq!(sent_by(UPLINK, &redirect.clone().neighbour_redirect(v6("fd00::9"), v6("fd00::9"))), Ok(()));
    assert_eq!(
        sent_by(UPLINK, &redirect.neighbour_redirect(v6("fd00::2"), v6("fd00::2"))),
        Err(NeighbourSpoof)
    );
}

#[test]
fn look_ups_tell_segments_apart() {
    let b = bindings();
    assert_eq!(b.endpoint_of(SegmentId::DEFAULT, ip("10.0.0.1")), Some(EndpointId(1)));
    assert_eq!(b.endpoint_of(BLUE, ip("10.0.0.1")), Some(EndpointId(7)));
    assert_eq!(b.endpoint_of(BLUE, ip("fd00::1")), None);
    assert_eq!(b.endpoint_of(SegmentId::DEFAULT, ip("10.0.0.77")), None);
    assert_eq!(b.device_of(SegmentId::DEFAULT, WEB), Some(WEB_TAP));
    assert_eq!(b.device_of(SegmentId::DEFAULT, FAR), None);
    assert_eq!(b.device_of(BLUE, DATABASE), None, "its device is not in its segment");
    assert_eq!(b.unbound(), [EndpointId(6), EndpointId(8)]);
}

#[test]
fn devices_of_a_segment_and_their_tags_are_known() {
    let b = bindings();
    let numbers = |set: DeviceSet| set.iter().collect::<Vec<_>>();
    assert_eq!(numbers(b.members(SegmentId::DEFAULT)), [WEB_TAP, DATABASE_TAP, ROUTER_TAP, UPLINK]);
    assert_eq!(numbers(b.members(BLUE)), [WEB_TAP, UPLINK]);
    assert_eq!(numbers(b.uplinks(BLUE)), [UPLINK]);
    assert!(b.members(SegmentId(3)).is_empty());
    assert_eq!(b.tags(UPLINK, SegmentId::DEFAULT), Some(Tags::Untagged));
    assert_eq!(b.tags(UPLINK, BLUE), Some(Tags::customer(BLUE_VLAN)));
    assert_eq!(b.tags(DATABASE_TAP, BLUE), None);
}

#[test]
fn the_empty_policy_binds_nobody() {
    let b = Bindings::build(&Policy::empty(Action::Allow), &name("here"), &devices());
    assert_eq!(b.source(WEB_TAP, &packet(&udp(WEB, "10.0.0.1", "10.0.0.2"))), Err(SourceMac));
    assert!(b.source(UPLINK, &packet(&udp(WEB, "10.0.0.1", "10.0.0.2"))).is_ok());
}
