//! Attempts to pass for somebody else, through the whole worker, under a policy that lets everything pass: whatever is
//! dropped here, stage 2 drops. Beside every attempt stands the honest packet that it is one step away from.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod lab;

use lab::{DB0, Lab, UP0, WEB0, WEB1, mac, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::build::dhcp::{DhcpMessage, v6_message};
use meshgate_dataplane::packet::{ArpOperation, ArpPacket, TcpFlags};
use meshgate_dataplane::verdict::DropReason::{
    self, DestinationBinding, DhcpSpoof, Hairpin, LinkFragment, MulticastQuery, NeighbourSpoof, NoDevice,
    Redirect, RogueDhcpServer, RouterAdvertisement, SourceAddress, SourceMac, UnknownVlan,
};
use meshgate_policy::{Mac, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// Beside the laboratory's own: a router and DHCP server behind web1 (5), a DHCP client behind web0 (6), and a
/// machine at home on another host (9).
const OTHERS: &str = r#"
default_action = "allow"
---
[[endpoints]]
name = "router"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5", "fd00::5"]
routes = ["192.168.0.0/16", "2001:db8::/32"]
flags = { router = true, router_advertiser = true, dhcp_server = true }
home = { host = "h", device = "web1" }

[[endpoints]]
name = "client"
mac = "02:00:00:00:00:06"
flags = { dhcp_client = true }
home = { host = "h", device = "web0" }

[[endpoints]]
name = "far"
mac = "02:00:00:00:00:09"
addresses = ["10.0.0.9", "fd00::9"]
home = { host = "there", device = "tap9" }
"#;

const STRANGER: u8 = 99;
const ROUTER: u8 = 5;
const CLIENT: u8 = 6;
const FAR: u8 = 9;
const ALL_NODES: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
const ROUTER_ALERT_6: [u8; 7] = [0, 5, 2, 0, 0, 1, 0];

fn lab() -> Lab {
    Lab::new(OTHERS.trim_start())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn six(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Asserts that the frame ends here for this reason.
fn refused(lab: &mut Lab, device: usize, frame: &Frame, reason: DropReason) {
    let before = lab.dropped(reason);
    assert_eq!(lab.send(device, frame), [], "{frame:?}");
    assert_eq!(lab.dropped(reason), before + 1, "{reason}: {frame:?}");
}

fn passes(lab: &mut Lab, device: usize, frame: &Frame, devices: &[usize]) {
    assert_eq!(lab.send(device, frame), devices, "{frame:?}");
}

fn arp(operation: ArpOperation, from: u8, to: Mac, sender: (Mac, [u8; 4]), target: [u8; 4]) -> Frame {
    Frame::between(mac(from), to).arp(ArpPacket {
        operation,
        sender_mac: sender.0,
        sender_address: sender.1.into(),
        target_mac: Mac::default(),
        target_address: target.into(),
    })
}

fn link_local(number: u8) -> IpAddr {
    mac(number).link_local().into()
}

// Whose MAC, whose address.

#[test]
fn a_foreign_mac_sends_nothing() {
    let mut lab = lab();
    for frame in [v4(1, 3), v6(1, 3)] {
        passes(&mut lab, WEB0, &frame.udp(1, 2), &[DB0]);
    }
    for frame in [v4(2, 3), v6(2, 3), v4(STRANGER, 3), v6(STRANGER, 3), v4(FAR, 3), v6(FAR, 3)] {
        refused(&mut lab, WEB0, &frame.udp(1, 2), SourceMac);
    }
    for mac in [Mac::BROADCAST, ALL_NODES, Mac::default()] {
        let frame = Frame::between(mac, lab::mac(3)).ip(ip("10.0.0.1"), ip("10.0.0.3")).udp(1, 2);
        refused(&mut lab, WEB0, &frame, SourceMac);
        refused(&mut lab, UP0, &frame, SourceMac);
    }
}

#[test]
fn a_foreign_ipv4_source_address_sends_nothing() {
    let mut lab = lab();
    for source in ["10.0.0.2", "10.0.0.9", "10.0.0.77", "8.8.8.8", "192.168.1.1", "169.254.1.1"] {
        let frame = Frame::between(mac(1), mac(3)).ip(ip(source), ip("10.0.0.3")).udp(1, 2);
        refused(&mut lab, WEB0, &frame, SourceAddress);
    }
}

#[test]
fn a_foreign_ipv6_source_address_sends_nothing() {
    let mut lab = lab();
    for source in ["fd00::2", "fd00::9", "fd00::77", "2001:db8::1", "fe80::ff:fe00:2", "fe80::1"] {
        let frame = Frame::between(mac(1), mac(3)).ip(ip(source), ip("fd00::3")).udp(1, 2);
        refused(&mut lab, WEB0, &frame, SourceAddress);
    }
    let own = Frame::between(mac(1), mac(3)).ip(link_local(1), ip("fd00::3")).udp(1, 2);
    passes(&mut lab, WEB0, &own, &[DB0]);
}

#[test]
fn only_a_router_sends_and_receives_for_its_routes() {
    let mut lab = lab();
    for (far, near) in [("192.168.7.7", "10.0.0.3"), ("2001:db8::7", "fd00::3")] {
        let sent = |number| Frame::between(mac(number), mac(3)).ip(ip(far), ip(near)).udp(1, 2);
        passes(&mut lab, WEB1, &sent(ROUTER), &[DB0]);
        refused(&mut lab, WEB1, &sent(2), SourceAddress);
        let received = |number| Frame::between(mac(3), mac(number)).ip(ip(near), ip(far)).udp(2, 1);
        passes(&mut lab, DB0, &received(ROUTER), &[WEB1]);
        refused(&mut lab, DB0, &received(2), DestinationBinding);
    }
}

#[test]
fn a_spoofed_source_behind_extension_headers_or_options_is_still_one() {
    let mut lab = lab();
    let chained = Frame::between(mac(1), mac(3)).ip(ip("fd00::2"), ip("fd00::3"));
    refused(&mut lab, WEB0, &chained.extension(60, &[0; 7]).extension(51, &[1; 11]).udp(1, 2), SourceAddress);
    let optioned = Frame::between(mac(1), mac(3)).ip(ip("10.0.0.2"), ip("10.0.0.3"));
    refused(&mut lab, WEB0, &optioned.ipv4_options(&[148, 4, 0, 0]).udp(1, 2), SourceAddress);
}

#[test]
fn the_unspecified_address_sends_nothing_but_what_has_none_yet() {
    let mut lab = lab();
    let frame = |to: &str, mac: Mac| Frame::between(lab::mac(1), mac).ip(ip("0.0.0.0"), ip(to));
    let discover = DhcpMessage::new(1, mac(1), 7).bytes();
    passes(
        &mut lab,
        WEB0,
        &frame("255.255.255.255", Mac::BROADCAST).udp(68, 67).payload(&discover),
        &[WEB1, UP0],
    );
    let inform = DhcpMessage::new(8, mac(1), 7).bytes();
    let wrong = frame("255.255.255.255", Mac::BROADCAST).udp(68, 67).payload(&inform);
    refused(&mut lab, WEB0, &wrong, SourceAddress);
    let unicast = frame("10.0.0.3", mac(3)).udp(68, 67).payload(&discover);
    refused(&mut lab, WEB0, &unicast, SourceAddress);
    let syn = frame("10.0.0.3", mac(3)).tcp(1, 80, TcpFlags::SYN);
    refused(&mut lab, WEB0, &syn, DropReason::MartianAddress);
    let six = Frame::between(mac(1), mac(3)).ip(ip("::"), ip("fd00::3")).udp(1, 2);
    refused(&mut lab, WEB0, &six, DropReason::MartianAddress);
}

// Uplinks.

#[test]
fn an_uplink_cannot_use_the_mac_or_address_of_an_endpoint_that_is_at_home_here() {
    let mut lab = lab();
    for (near, far, stranger) in [("10.0.0.1", "10.0.0.9", "10.0.0.77"), ("fd00::1", "fd00::9", "fd00::77")] {
        let to = if near.contains(':') { "fd00::3" } else { "10.0.0.3" };
        let frame =
            |number, source: &str| Frame::between(mac(number), mac(3)).ip(ip(source), ip(to)).udp(1, 2);
        passes(&mut lab, UP0, &frame(STRANGER, stranger), &[DB0]);
        passes(&mut lab, UP0, &frame(FAR, far), &[DB0]);
        refused(&mut lab, UP0, &frame(1, stranger), SourceMac);
        refused(&mut lab, UP0, &frame(STRANGER, near), SourceAddress);
        refused(&mut lab, UP0, &frame(FAR, near), SourceAddress);
    }
    let formed = Frame::between(mac(STRANGER), mac(3)).ip(link_local(1), ip("fd00::3")).udp(1, 2);
    refused(&mut lab, UP0, &formed, SourceAddress);
}

#[test]
fn an_endpoints_frame_that_comes_back_by_an_uplink_moves_nobody() {
    let mut lab = lab();
    refused(&mut lab, UP0, &v4(1, 3).udp(1, 2), SourceMac);
    passes(&mut lab, DB0, &v4(3, 1).udp(2, 1), &[WEB0]);
}

#[test]
fn an_unknown_mac_is_sought_at_uplinks_only() {
    let mut lab = lab();
    for frame in [v4(1, STRANGER), v6(1, STRANGER)] {
        passes(&mut lab, WEB0, &frame.udp(1, 2), &[UP0]);
    }
    let from_uplink = Frame::between(mac(STRANGER), mac(98)).ip(ip("10.0.0.77"), ip("10.0.0.98")).udp(1, 2);
    refused(&mut lab, UP0, &from_uplink, NoDevice);
    refused(&mut lab, WEB1, &v4(2, ROUTER).udp(1, 2), Hairpin);
}

// To whom.

#[test]
fn an_allowed_address_with_the_mac_of_another_machine_reaches_nobody() {
    let mut lab = lab();
    for (source, to) in [("10.0.0.1", "10.0.0.3"), ("fd00::1", "fd00::3")] {
        let frame = |number| Frame::between(mac(1), mac(number)).ip(ip(source), ip(to)).udp(1, 2);
        passes(&mut lab, WEB0, &frame(3), &[DB0]);
        refused(&mut lab, WEB0, &frame(2), DestinationBinding);
        let from_uplink = if to.contains(':') { "fd00::77" } else { "10.0.0.77" };
        let frame = Frame::between(mac(STRANGER), mac(2)).ip(ip(from_uplink), ip(to)).udp(1, 2);
        refused(&mut lab, UP0, &frame, DestinationBinding);
    }
}

#[test]
fn a_foreign_address_in_a_frame_for_an_endpoint_reaches_nobody() {
    let mut lab = lab();
    for (source, to) in [("10.0.0.1", "8.8.8.8"), ("fd00::1", "2001:db9::8")] {
        let frame = Frame::between(mac(1), mac(3)).ip(ip(source), ip(to)).udp(1, 2);
        refused(&mut lab, WEB0, &frame, DestinationBinding);
    }
}

#[test]
fn a_unicast_address_in_a_group_frame_reaches_nobody() {
    let mut lab = lab();
    let groups = [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), ALL_NODES];
    for (source, outside, to) in [("10.0.0.1", "10.0.0.77", "10.0.0.3"), ("fd00::1", "fd00::77", "fd00::3")] {
        for group in groups {
            let frame =
                |number, source: &str| Frame::between(mac(number), group).ip(ip(source), ip(to)).udp(1, 2);
            refused(&mut lab, WEB0, &frame(1, source), DestinationBinding);
            refused(&mut lab, UP0, &frame(STRANGER, outside), DestinationBinding);
        }
    }
}

#[test]
fn a_group_address_in_a_unicast_frame_reaches_nobody() {
    let mut lab = lab();
    for (source, outside, group) in [
        ("10.0.0.1", "10.0.0.77", "224.0.0.251"),
        ("10.0.0.1", "10.0.0.77", "255.255.255.255"),
        ("fd00::1", "fd00::77", "ff02::fb"),
    ] {
        let frame =
            |number, source: &str| Frame::between(mac(number), mac(3)).ip(ip(source), ip(group)).udp(1, 2);
        refused(&mut lab, WEB0, &frame(1, source), DestinationBinding);
        refused(&mut lab, UP0, &frame(STRANGER, outside), DestinationBinding);
        let out = Frame::between(mac(1), mac(STRANGER)).ip(ip(source), ip(group)).udp(1, 2);
        refused(&mut lab, WEB0, &out, DestinationBinding);
    }
}

#[test]
fn a_group_frame_whose_mac_is_of_another_group_reaches_nobody() {
    let mut lab = lab();
    let mdns = [
        ("10.0.0.1", "224.0.0.251", Mac([1, 0, 0x5e, 0, 0, 0xfb])),
        ("fd00::1", "ff02::fb", Mac([0x33, 0x33, 0, 0, 0, 0xfb])),
    ];
    for (source, group, own) in mdns {
        let frame = |mac| Frame::between(lab::mac(1), mac).ip(ip(source), ip(group)).udp(5_353, 5_353);
        passes(&mut lab, WEB0, &frame(own), &[WEB1, DB0, UP0]);
        for other in [Mac::BROADCAST, ALL_NODES, Mac([1, 0, 0x5e, 0, 0, 1])] {
            refused(&mut lab, WEB0, &frame(other), DestinationBinding);
        }
    }
}

#[test]
fn multicast_goes_by_rules_that_name_the_built_in_group() {
    let rule = lab::relationship("Web", "multicast", "protocol = \"UDP\"\nport_range = \"5353\"", "allow");
    let mut lab = Lab::new(&rule);
    for (source, group, mac) in [
        (1, ip("224.0.0.251"), Mac([1, 0, 0x5e, 0, 0, 0xfb])),
        (1, ip("ff02::fb"), Mac([0x33, 0x33, 0, 0, 0, 0xfb])),
        (1, ip("255.255.255.255"), Mac::BROADCAST),
    ] {
        let own = if group.is_ipv4() { ip("10.0.0.1") } else { ip("fd00::1") };
        let frame = |port| Frame::between(lab::mac(source), mac).ip(own, group).udp(5_353, port);
        passes(&mut lab, WEB0, &frame(5_353), &[WEB1, DB0, UP0]);
        refused(&mut lab, WEB0, &frame(5_354), DropReason::DefaultDeny);
    }
}

// VLANs.

#[test]
fn a_tag_that_the_device_has_no_segment_for_goes_nowhere() {
    let mut lab = lab();
    for frame in [v4(1, 3), v6(1, 3)] {
        refused(&mut lab, WEB0, &frame.clone().vlan(10).udp(1, 2), UnknownVlan);
        refused(&mut lab, UP0, &frame.vlan(10).udp(1, 2), UnknownVlan);
    }
}

// ARP.

#[test]
fn arp_of_an_endpoint_speaks_for_its_own_mac_and_address() {
    let mut lab = lab();
    let own = (mac(1), [10, 0, 0, 1]);
    let all = Mac::BROADCAST;
    let (request, reply) = (ArpOperation::Request, ArpOperation::Reply);
    passes(&mut lab, WEB0, &arp(request, 1, all, own, [10, 0, 0, 3]), &[WEB1, DB0, UP0]);
    passes(&mut lab, WEB0, &arp(request, 1, all, own, [10, 0, 0, 1]), &[WEB1, DB0, UP0]);
    passes(&mut lab, WEB0, &arp(reply, 1, all, own, [10, 0, 0, 1]), &[WEB1, DB0, UP0]);
    passes(&mut lab, WEB0, &arp(request, 1, mac(3), own, [10, 0, 0, 3]), &[DB0]);
    passes(&mut lab, WEB0, &arp(reply, 1, mac(3), own, [10, 0, 0, 3]), &[DB0]);
    passes(&mut lab, WEB0, &arp(request, 1, all, (mac(1), [0; 4]), [10, 0, 0, 1]), &[WEB1, DB0, UP0]);
    for (what, operation, to, sender, target) in [
        ("poisoning request", request, all, (mac(1), [10, 0, 0, 2]), [10, 0, 0, 3]),
        ("poisoning reply", reply, mac(3), (mac(1), [10, 0, 0, 2]), [10, 0, 0, 3]),
        ("gratuitous for another", request, all, (mac(1), [10, 0, 0, 2]), [10, 0, 0, 2]),
        ("gratuitous reply for another", reply, all, (mac(1), [10, 0, 0, 2]), [10, 0, 0, 2]),
        ("proxy", reply, mac(3), (mac(1), [8, 8, 8, 8]), [10, 0, 0, 3]),
        ("body unlike the frame", reply, mac(3), (mac(2), [10, 0, 0, 1]), [10, 0, 0, 3]),
        ("true claim for another", reply, mac(3), (mac(2), [10, 0, 0, 2]), [10, 0, 0, 3]),
        ("body with a group's MAC", reply, mac(3), (all, [10, 0, 0, 1]), [10, 0, 0, 3]),
        ("probe for another's address", request, all, (mac(1), [0; 4]), [10, 0, 0, 2]),
        ("reply without an address", reply, mac(3), (mac(1), [0; 4]), [10, 0, 0, 3]),
    ] {
        let frame = arp(operation, 1, to, sender, target);
        let before = lab.dropped(NeighbourSpoof);
        assert_eq!(lab.send(WEB0, &frame), [], "{what}");
        assert_eq!(lab.dropped(NeighbourSpoof), before + 1, "{what}");
    }
}

#[test]
fn an_arp_reply_reaches_only_the_one_it_is_for() {
    let mut lab = lab();
    let wrong = arp(ArpOperation::Reply, 1, mac(3), (mac(1), [10, 0, 0, 1]), [10, 0, 0, 2]);
    refused(&mut lab, WEB0, &wrong, DestinationBinding);
    let to_group =
        arp(ArpOperation::Request, 1, Mac([1, 0, 0x5e, 0, 0, 1]), (mac(1), [10, 0, 0, 1]), [10, 0, 0, 3]);
    refused(&mut lab, WEB0, &to_group, DestinationBinding);
}

#[test]
fn a_router_proxies_arp_for_its_routes_and_for_nobody_who_is_there() {
    let mut lab = lab();
    let reply = |sender| arp(ArpOperation::Reply, ROUTER, mac(3), (mac(ROUTER), sender), [10, 0, 0, 3]);
    passes(&mut lab, WEB1, &reply([192, 168, 1, 1]), &[DB0]);
    refused(&mut lab, WEB1, &reply([10, 0, 0, 1]), NeighbourSpoof);
}

#[test]
fn arp_from_an_uplink_names_the_policys_mac_or_nobody_known() {
    let mut lab = lab();
    let (request, reply) = (ArpOperation::Request, ArpOperation::Reply);
    let known = arp(reply, FAR, mac(1), (mac(FAR), [10, 0, 0, 9]), [10, 0, 0, 1]);
    passes(&mut lab, UP0, &known, &[WEB0]);
    let unknown = arp(reply, STRANGER, mac(1), (mac(STRANGER), [10, 0, 0, 77]), [10, 0, 0, 1]);
    passes(&mut lab, UP0, &unknown, &[WEB0]);
    for (what, operation, sender, target) in [
        ("claims a home endpoint's address", reply, (mac(STRANGER), [10, 0, 0, 3]), [10, 0, 0, 1]),
        ("asks in a home endpoint's name", request, (mac(STRANGER), [10, 0, 0, 3]), [10, 0, 0, 1]),
        ("names a home endpoint's MAC", reply, (mac(3), [10, 0, 0, 3]), [10, 0, 0, 1]),
        ("claims a far endpoint's address", reply, (mac(STRANGER), [10, 0, 0, 9]), [10, 0, 0, 1]),
        ("gives a far endpoint's MAC away", reply, (mac(FAR), [10, 0, 0, 77]), [10, 0, 0, 1]),
        ("probes for a home endpoint's address", request, (mac(STRANGER), [0; 4]), [10, 0, 0, 1]),
        ("probes for a far endpoint's address", request, (mac(STRANGER), [0; 4]), [10, 0, 0, 9]),
    ] {
        let frame = arp(operation, STRANGER, mac(1), sender, target);
        let before = lab.dropped(NeighbourSpoof);
        assert_eq!(lab.send(UP0, &frame), [], "{what}");
        assert_eq!(lab.dropped(NeighbourSpoof), before + 1, "{what}");
    }
}

// Neighbour discovery.

fn advertisement(from: u8, source: IpAddr, target: &str, option: Mac) -> Frame {
    Frame::between(mac(from), mac(3)).ip(source, ip("fd00::3")).neighbour_advertisement(six(target), option)
}

#[test]
fn neighbour_discovery_of_an_endpoint_speaks_for_its_own_mac_and_address() {
    let mut lab = lab();
    passes(&mut lab, WEB0, &advertisement(1, ip("fd00::1"), "fd00::1", mac(1)), &[DB0]);
    passes(&mut lab, WEB0, &advertisement(1, link_local(1), "fe80::ff:fe00:1", mac(1)), &[DB0]);
    for (what, source, target, option) in [
        ("another's target", ip("fd00::1"), "fd00::2", mac(1)),
        ("another's link-local target", ip("fd00::1"), "fe80::ff:fe00:2", mac(1)),
        ("nobody's target", ip("fd00::1"), "fd00::77", mac(1)),
        ("option unlike the frame", ip("fd00::1"), "fd00::1", mac(2)),
        ("true claim for another", ip("fd00::1"), "fd00::2", mac(2)),
    ] {
        let before = lab.dropped(NeighbourSpoof);
        assert_eq!(lab.send(WEB0, &advertisement(1, source, target, option)), [], "{what}");
        assert_eq!(lab.dropped(NeighbourSpoof), before + 1, "{what}");
    }
    refused(&mut lab, WEB0, &advertisement(1, ip("fd00::2"), "fd00::2", mac(1)), SourceAddress);
}

#[test]
fn an_unsolicited_advertisement_to_all_speaks_for_its_own_address() {
    let mut lab = lab();
    let frame = |target: &str, flags: u8| {
        let option = [2, 1, 2, 0, 0, 0, 0, 1];
        let frame = Frame::between(mac(1), ALL_NODES).ip(ip("fd00::1"), ip("ff02::1")).hop_limit(255);
        frame.icmp(136, 0, [flags, 0, 0, 0]).payload(&[&six(target).octets()[..], &option].concat())
    };
    const OVERRIDE: u8 = 0x20;
    passes(&mut lab, WEB0, &frame("fd00::1", OVERRIDE), &[WEB1, DB0, UP0]);
    passes(&mut lab, WEB0, &frame("fd00::1", 0), &[WEB1, DB0, UP0]);
    refused(&mut lab, WEB0, &frame("fd00::2", OVERRIDE), NeighbourSpoof);
    refused(&mut lab, WEB0, &frame("fd00::2", 0), NeighbourSpoof);
    refused(&mut lab, WEB0, &frame("fd00::1", OVERRIDE | 0x80), NeighbourSpoof);
    refused(&mut lab, WEB0, &frame("fd00::1", OVERRIDE | 0x40), DropReason::BadHeader);
}

#[test]
fn a_solicitation_names_its_senders_mac_and_detects_its_own_addresses() {
    let mut lab = lab();
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 2]);
    let from = |source: &str| Frame::between(mac(1), group).ip(ip(source), ip("ff02::1:ff00:2"));
    passes(&mut lab, WEB0, &from("fd00::1").neighbour_solicitation(six("fd00::2")), &[WEB1, DB0, UP0]);
    passes(&mut lab, WEB0, &from("::").neighbour_solicitation(six("fd00::1")), &[WEB1, DB0, UP0]);
    refused(&mut lab, WEB0, &from("::").neighbour_solicitation(six("fd00::2")), NeighbourSpoof);
    let optimistic = from("fd00::1").neighbour_solicitation(six("fd00::2")).payload(&six("fd00::2").octets());
    passes(&mut lab, WEB0, &optimistic, &[WEB1, DB0, UP0]);
    let option = |mac: u8| [&six("fd00::2").octets()[..], &[1, 1, 2, 0, 0, 0, 0, mac]].concat();
    let solicited = from("fd00::1").neighbour_solicitation(six("fd00::2"));
    refused(&mut lab, WEB0, &solicited.clone().payload(&option(2)), NeighbourSpoof);
    refused(&mut lab, WEB0, &solicited.clone().hop_limit(254), DropReason::BadHeader);
    let twice = [&option(1)[..], &[1, 1, 2, 0, 0, 0, 0, 2]].concat();
    refused(&mut lab, WEB0, &solicited.payload(&twice), DropReason::BadHeader);
    refused(&mut lab, WEB0, &from("fd00::2").neighbour_solicitation(six("fd00::3")), SourceAddress);
}

#[test]
fn neighbour_discovery_from_an_uplink_names_the_policys_mac_or_nobody_known() {
    let mut lab = lab();
    passes(&mut lab, UP0, &advertisement(FAR, ip("fd00::9"), "fd00::9", mac(FAR)), &[DB0]);
    passes(&mut lab, UP0, &advertisement(STRANGER, ip("fd00::77"), "fd00::77", mac(STRANGER)), &[DB0]);
    for (what, target, option) in [
        ("a home endpoint's address", "fd00::1", mac(STRANGER)),
        ("a home endpoint's address and MAC", "fd00::1", mac(1)),
        ("a home endpoint's MAC", "fd00::77", mac(1)),
        ("a far endpoint's address", "fd00::9", mac(STRANGER)),
        ("a far endpoint's MAC", "fd00::77", mac(FAR)),
        ("a link-local address formed from a home MAC", "fe80::ff:fe00:1", mac(STRANGER)),
    ] {
        let before = lab.dropped(NeighbourSpoof);
        assert_eq!(lab.send(UP0, &advertisement(STRANGER, ip("fd00::77"), target, option)), [], "{what}");
        assert_eq!(lab.dropped(NeighbourSpoof), before + 1, "{what}");
    }
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
    let detection = Frame::between(mac(STRANGER), group).ip(ip("::"), ip("ff02::1:ff00:1"));
    refused(&mut lab, UP0, &detection.clone().neighbour_solicitation(six("fd00::1")), NeighbourSpoof);
    passes(&mut lab, UP0, &detection.neighbour_solicitation(six("fd00::77")), &[WEB0, WEB1, DB0]);
}

// Routers.

fn router_advertisement(from: u8) -> Frame {
    Frame::between(mac(from), ALL_NODES).ip(link_local(from), ip("ff02::1")).router_advertisement()
}

#[test]
fn router_advertisements_come_from_routers_also_when_they_hide() {
    let mut lab = lab();
    passes(&mut lab, WEB1, &router_advertisement(ROUTER), &[WEB0, DB0, UP0]);
    refused(&mut lab, WEB0, &router_advertisement(1), RouterAdvertisement);
    let hidden = router_advertisement(1).extension(0, &[0; 7]).extension(60, &[0; 7]);
    refused(&mut lab, WEB0, &hidden, RouterAdvertisement);
    refused(&mut lab, WEB0, &router_advertisement(1).fragment(0, false), RouterAdvertisement);
    let part = router_advertisement(1).payload(&[0; 32]).extension(60, &[0; 7]).fragment(0, true);
    refused(&mut lab, WEB0, &part, LinkFragment);
    let unicast = Frame::between(mac(1), mac(3)).ip(link_local(1), link_local(3)).router_advertisement();
    refused(&mut lab, WEB0, &unicast, RouterAdvertisement);
    let old = Frame::between(mac(1), Mac([1, 0, 0x5e, 0, 0, 1])).ip(ip("10.0.0.1"), ip("224.0.0.1"));
    let old = old.hop_limit(1).icmp(9, 0, [1, 2, 0, 9]).payload(&[10, 0, 0, 1, 0, 0, 0, 0]);
    refused(&mut lab, WEB0, &old, RouterAdvertisement);
    let far = |frame: Frame| frame.hop_limit(254);
    refused(&mut lab, WEB1, &far(router_advertisement(ROUTER)), DropReason::BadHeader);
}

#[test]
fn redirects_come_from_routers() {
    let mut lab = lab();
    let six = |from| {
        let frame = Frame::between(mac(from), mac(3)).ip(link_local(from), ip("fd00::3"));
        frame.neighbour_redirect(lab::mac(from).link_local(), six("2001:db8::9"))
    };
    passes(&mut lab, WEB1, &six(ROUTER), &[DB0]);
    refused(&mut lab, WEB0, &six(1), Redirect);
    refused(&mut lab, WEB0, &six(1).extension(60, &[0; 7]), Redirect);
    let four = |from: u8, source: &str| {
        let frame = Frame::between(mac(from), mac(3)).ip(ip(source), ip("10.0.0.3"));
        frame.icmp(5, 1, [10, 0, 0, from]).payload(&[0; 28])
    };
    passes(&mut lab, WEB1, &four(ROUTER, "10.0.0.5"), &[DB0]);
    refused(&mut lab, WEB0, &four(1, "10.0.0.1"), Redirect);
}

#[test]
fn queries_for_members_come_from_routers_and_reports_have_the_right_form() {
    let mut lab = lab();
    let query = |from| {
        let frame = Frame::between(mac(from), ALL_NODES).ip(link_local(from), ip("ff02::1")).hop_limit(1);
        frame.extension(0, &ROUTER_ALERT_6).icmp(130, 0, [0; 4]).payload(&[0; 16])
    };
    passes(&mut lab, WEB1, &query(ROUTER), &[WEB0, DB0, UP0]);
    refused(&mut lab, WEB0, &query(1), MulticastQuery);
    refused(&mut lab, WEB0, &query(1).hop_limit(64), MulticastQuery);
    let igmp = |from, source: &str| {
        let frame = Frame::between(mac(from), Mac([1, 0, 0x5e, 0, 0, 1])).ip(ip(source), ip("224.0.0.1"));
        frame.hop_limit(1).protocol(Protocol(2)).payload(&[0x11, 0, 0xee, 0xff, 0, 0, 0, 0])
    };
    passes(&mut lab, WEB1, &igmp(ROUTER, "10.0.0.5"), &[WEB0, DB0, UP0]);
    refused(&mut lab, WEB0, &igmp(1, "10.0.0.1"), MulticastQuery);
    refused(&mut lab, WEB0, &igmp(1, "10.0.0.1").fragment(0, true), LinkFragment);
}

#[test]
fn a_membership_report_without_its_form_is_asked_for_by_rules() {
    let mut lab = Lab::new("");
    let bare = Frame::between(mac(1), Mac([0x33, 0x33, 0, 0, 0, 0x16])).ip(link_local(1), ip("ff02::16"));
    let bare = bare.hop_limit(1).icmp(143, 0, [0; 4]);
    passes(&mut lab, WEB0, &bare.clone().extension(0, &ROUTER_ALERT_6), &[WEB1, DB0, UP0]);
    refused(&mut lab, WEB0, &bare.clone(), DropReason::DefaultDeny);
    refused(&mut lab, WEB0, &bare.extension(0, &ROUTER_ALERT_6).hop_limit(2), DropReason::DefaultDeny);
    let igmp = Frame::between(mac(1), Mac([1, 0, 0x5e, 1, 1, 1])).ip(ip("10.0.0.1"), ip("225.1.1.1"));
    let igmp = igmp.hop_limit(1).protocol(Protocol(2)).payload(&[0x16, 0, 0x07, 0xfd, 225, 1, 1, 1]);
    passes(&mut lab, WEB0, &igmp.clone().ipv4_options(&[148, 4, 0, 0]), &[WEB1, DB0, UP0]);
    refused(&mut lab, WEB0, &igmp, DropReason::DefaultDeny);
}

// DHCP.

#[test]
fn a_dhcp_server_that_is_not_listed_answers_nobody() {
    let mut lab = lab();
    let offer = DhcpMessage::new(2, mac(CLIENT), 7).your_address([10, 0, 0, 50].into()).bytes();
    let answer = |from: u8, source: &str, port| {
        let frame = Frame::between(mac(from), mac(CLIENT)).ip(ip(source), ip("10.0.0.50"));
        frame.udp(port, 68).payload(&offer)
    };
    passes(&mut lab, WEB1, &answer(ROUTER, "10.0.0.5", 67), &[WEB0]);
    for port in [67, 9_999] {
        refused(&mut lab, DB0, &answer(3, "10.0.0.3", port), RogueDhcpServer);
    }
    let all = Frame::between(mac(3), Mac::BROADCAST).ip(ip("10.0.0.3"), ip("255.255.255.255"));
    refused(&mut lab, DB0, &all.udp(67, 68).payload(&offer), RogueDhcpServer);
    refused(&mut lab, UP0, &answer(STRANGER, "10.0.0.77", 67), DestinationBinding);
    let part = answer(3, "10.0.0.3", 67).payload(&[2; 240]).fragment(0, true);
    refused(&mut lab, DB0, &part, LinkFragment);
    let six = |from| {
        let frame = Frame::between(mac(from), mac(CLIENT)).ip(link_local(from), link_local(CLIENT));
        frame.udp(547, 546).payload(&v6_message(7, 7, &[(six("fd00::50"), 60)]))
    };
    passes(&mut lab, WEB1, &six(ROUTER), &[WEB0]);
    refused(&mut lab, DB0, &six(3), RogueDhcpServer);
}

#[test]
fn a_dhcp_client_neither_starves_a_server_nor_gives_up_what_is_anothers() {
    let mut lab = lab();
    let broadcast = |message: &DhcpMessage| {
        let frame = Frame::between(mac(CLIENT), Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
        frame.udp(68, 67).payload(&message.bytes())
    };
    let of = |kind, number| DhcpMessage::new(kind, mac(number), 7);
    passes(&mut lab, WEB0, &broadcast(&of(1, CLIENT)), &[WEB1, UP0]);
    for (what, message) in [
        ("an invented client", of(1, 77)),
        ("another client", of(3, 3)),
        ("another by identifier", of(4, CLIENT).option(61, &[1, 2, 0, 0, 0, 0, 3])),
        ("an invented relay", of(1, CLIENT).relay([10, 0, 0, 6].into())),
        ("another's address", of(3, CLIENT).client_address([10, 0, 0, 3].into())),
    ] {
        let before = lab.dropped(DhcpSpoof);
        assert_eq!(lab.send(WEB0, &broadcast(&message)), [], "{what}");
        assert_eq!(lab.dropped(DhcpSpoof), before + 1, "{what}");
    }
    let release = DhcpMessage::new(7, mac(1), 7).client_address([10, 0, 0, 3].into()).bytes();
    let release =
        Frame::between(mac(1), mac(ROUTER)).ip(ip("10.0.0.1"), ip("10.0.0.5")).udp(68, 67).payload(&release);
    refused(&mut lab, WEB0, &release, DhcpSpoof);
}

#[test]
fn a_lease_is_agreed_on_under_a_policy_that_denies_all_else() {
    let others = OTHERS.trim_start().replace("\"allow\"", "\"deny\"");
    let mut lab = Lab::new(&others);
    let to_all = Frame::between(mac(CLIENT), Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    let discover = to_all.udp(68, 67).payload(&DhcpMessage::new(1, mac(CLIENT), 7).bytes());
    passes(&mut lab, WEB0, &discover, &[WEB1, UP0]);
    let ack = DhcpMessage::new(5, mac(CLIENT), 7).your_address([10, 0, 0, 50].into()).lease_s(60).bytes();
    let ack = Frame::between(mac(ROUTER), mac(CLIENT))
        .ip(ip("10.0.0.5"), ip("10.0.0.50"))
        .udp(67, 68)
        .payload(&ack);
    passes(&mut lab, WEB1, &ack, &[WEB0]);
    let early = Frame::between(mac(CLIENT), mac(3)).ip(ip("10.0.0.50"), ip("10.0.0.3")).udp(1, 2);
    refused(&mut lab, WEB0, &early, SourceAddress);
    let unlisted = Frame::between(mac(1), Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    let unlisted = unlisted.udp(68, 67).payload(&DhcpMessage::new(1, mac(1), 7).bytes());
    refused(&mut lab, WEB0, &unlisted, DropReason::DefaultDeny);
}
