//! What the worker overhears of leases, from the frames that clients and servers exchange through it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod lab;

use lab::{DB0, Lab, WEB0, WEB1, mac};
use meshgate_dataplane::leases::{Heard, Word};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::build::dhcp::{DhcpMessage, v6_message};
use meshgate_policy::Mac;
use std::net::IpAddr;

const OTHERS: &str = r#"
[[endpoints]]
name = "server"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5"]
flags = { dhcp_server = true }
home = { host = "h", device = "web1" }

[[endpoints]]
name = "client"
mac = "02:00:00:00:00:06"
flags = { dhcp_client = true }
home = { host = "h", device = "web0" }
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn words(lab: &Lab) -> Vec<Word> {
    std::iter::from_fn(|| lab.assembly.leases.pop()).map(|Heard { word, .. }| word).collect()
}

fn of(kind: u8) -> DhcpMessage {
    DhcpMessage::new(kind, mac(6), 7)
}

fn from_client(message: &DhcpMessage) -> Frame {
    let frame = Frame::between(mac(6), Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    frame.udp(68, 67).payload(&message.bytes())
}

fn from_server(number: u8, to: &str, message: &DhcpMessage) -> Frame {
    let source = IpAddr::from([10, 0, 0, number]);
    let frame = Frame::between(mac(number), if to == "255.255.255.255" { Mac::BROADCAST } else { mac(6) });
    frame.ip(source, ip(to)).udp(67, 68).payload(&message.bytes())
}

#[test]
fn a_lease_is_heard_from_question_to_answer() {
    for workers in [1, 2] {
        hear_a_lease(&mut Lab::with_workers(workers, OTHERS, |_| {}));
    }
}

/// Question and answer may be heard by different workers.
fn hear_a_lease(lab: &mut Lab) {
    let ack = of(5).your_address([10, 0, 0, 50].into()).lease_s(3_600);
    lab.send(WEB0, &from_client(&of(1)));
    lab.send(WEB1, &from_server(5, "10.0.0.50", &of(2).your_address([10, 0, 0, 50].into())));
    lab.send(WEB0, &from_client(&of(3).option(50, &[10, 0, 0, 50])));
    assert_eq!(lab.send(WEB1, &from_server(5, "10.0.0.50", &ack)), [WEB0]);
    let granted = Word::Granted(ip("10.0.0.50"), 3_600);
    assert_eq!(words(lab), [Word::Asked(None), Word::Asked(Some(ip("10.0.0.50"))), granted]);
    lab.send(WEB1, &from_server(5, "255.255.255.255", &ack));
    assert_eq!(words(lab), [granted]);
    assert_eq!(lab.count(|counters| &counters.leases_heard), 4);
}

#[test]
fn an_answer_whose_checksum_the_servers_kernel_left_to_the_device_arrives_finished_and_is_heard() {
    let mut lab = Lab::new(OTHERS);
    let ack = of(5).your_address([10, 0, 0, 50].into()).lease_s(60);
    let frame = from_server(5, "10.0.0.50", &ack);
    lab.far[WEB1].inject(&frame.clone().partial_checksum().bytes()).unwrap();
    lab.turn();
    lab.turn();
    assert_eq!(lab.far[WEB0].take_all_sent(), [frame.bytes()]);
    assert_eq!(words(&lab), [Word::Granted(ip("10.0.0.50"), 60)]);
}

#[test]
fn who_is_not_listed_grants_nothing() {
    let mut lab = Lab::new(&format!("default_action = \"allow\"\n---\n{OTHERS}"));
    let ack = of(5).your_address([10, 0, 0, 50].into()).lease_s(60);
    assert_eq!(lab.send(DB0, &from_server(3, "10.0.0.50", &ack)), []);
    let outside = Frame::between(mac(99), Mac::BROADCAST).ip(ip("10.0.0.99"), ip("255.255.255.255"));
    let outside = outside.udp(67, 68).payload(&ack.bytes());
    assert_eq!(lab.send(lab::UP0, &outside), [WEB0], "it passes where the rules let it");
    let wrong = from_server(5, "10.0.0.50", &ack).wrong_checksum();
    assert_eq!(lab.send(WEB1, &wrong), []);
    assert_eq!(words(&lab), []);
}

#[test]
fn a_dhcpv6_lease_is_heard_too() {
    let mut lab = Lab::new(OTHERS);
    let address = "fd00::50".parse().unwrap();
    let link = |number| IpAddr::from(mac(number).link_local());
    let all = Mac([0x33, 0x33, 0, 1, 0, 2]);
    let request = Frame::between(mac(6), all).ip(link(6), ip("ff02::1:2")).udp(546, 547);
    lab.send(WEB0, &request.payload(&v6_message(3, 7, &[])));
    let reply = Frame::between(mac(5), mac(6)).ip(link(5), link(6)).udp(547, 546);
    lab.send(WEB1, &reply.payload(&v6_message(7, 7, &[(address, 60)])));
    assert_eq!(words(&lab), [Word::Asked(None), Word::Granted(address.into(), 60)]);
}

#[test]
fn a_full_queue_loses_and_counts() {
    let mut lab = Lab::new(OTHERS);
    let capacity = lab.assembly.leases.capacity();
    for _ in 0..capacity + 3 {
        lab.send(WEB0, &from_client(&of(1)));
    }
    assert_eq!(lab.count(|counters| &counters.leases_lost), 3);
    assert_eq!(words(&lab).len(), capacity);
}
