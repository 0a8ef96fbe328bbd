//! Tagged frames through the whole worker: segments are kept apart, and each device gets the tags that it expects.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;

use lab::{DB0, Lab, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{
    ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, Packet, ParseContext, Tags, TcpFlags,
};
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{Mac, Name};

/// The segment `blue` has the addresses of the segment `default` once more.
const BLUE: &str = r#"
[[segments]]
name = "blue"

[[endpoints]]
name = "blue-0"
mac = "02:00:00:00:00:04"
addresses = ["10.0.0.1", "fd00::1"]
segment = "blue"
home = { host = "h", device = "web1" }

[[endpoints]]
name = "blue-1"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.3", "fd00::3"]
segment = "blue"
home = { host = "h", device = "db0" }
"#;

/// Segment `default` is untagged at web0, and has the tags below elsewhere; `blue` is everywhere but at web0.
const TAGS: [(&str, &str); 3] = [("100", "s200"), ("s100.7", "200"), ("30", "40.5")];

fn lab_with(rules: &str, frame_bytes_max: usize) -> Lab {
    let mut devices = Lab::devices();
    devices.iter_mut().for_each(|(_, bytes_max)| *bytes_max = frame_bytes_max);
    for ((device, _), (default, blue)) in devices[1..].iter_mut().zip(TAGS) {
        device.segment = None;
        device.vlans = vec![
            (Tags::from_text(default).unwrap(), Name::default_name()),
            (Tags::from_text(blue).unwrap(), Name::new("blue").unwrap()),
        ];
    }
    Lab::on(&format!("default_action = \"allow\"\n---\n{BLUE}{rules}"), &devices)
}

fn lab() -> Lab {
    lab_with("", 1_522)
}

/// Returns the frame with these tags (and priority) added.
fn tagged(frame: &Frame, text: &str, priority: u16) -> Frame {
    match Tags::from_text(text).unwrap() {
        Tags::Untagged => frame.clone(),
        Tags::Single(kind, number) => frame.clone().tagged(kind.ethertype(), number | priority),
        Tags::Double { outer: (kind, number), inner } => {
            frame.clone().tagged(kind.ethertype(), number | priority).vlan(inner | priority)
        }
    }
}

/// Puts a frame in and returns what came out, by device.
fn outcome(lab: &mut Lab, device: usize, frame: &Frame) -> Vec<(usize, Vec<u8>)> {
    lab.far[device].inject(&frame.bytes()).unwrap();
    lab.turn();
    lab.turn();
    let sent = |at: usize| lab.far[at].take_all_sent().into_iter().map(move |bytes| (at, bytes));
    (0..lab.far.len()).flat_map(sent).collect()
}

#[test]
fn a_frame_gets_the_tags_of_its_segment_at_the_device_it_leaves_by() {
    for frame in [v4(1, 2), v6(1, 2)] {
        let mut lab = lab();
        let there = frame.udp(1, 2).payload(b"content");
        assert_eq!(outcome(&mut lab, WEB0, &there), [(WEB1, tagged(&there, "100", 0).bytes())]);
    }
    for frame in [v4(2, 1), v6(2, 1)] {
        let mut lab = lab();
        let back = frame.udp(2, 1).payload(b"content");
        assert_eq!(outcome(&mut lab, WEB1, &tagged(&back, "100", 0x6000)), [(WEB0, back.bytes())]);
    }
    let mut lab = lab();
    let across = v4(2, 3).udp(2, 1).payload(b"content");
    let out = outcome(&mut lab, WEB1, &tagged(&across, "100", 0xa000));
    assert_eq!(out, [(DB0, tagged(&across, "s100.7", 0xa000).bytes())]);
    let across = v4(3, 2).udp(1, 2).payload(b"content");
    let out = outcome(&mut lab, DB0, &tagged(&across, "s100.7", 0xa000));
    assert_eq!(out, [(WEB1, tagged(&across, "100", 0xa000).bytes())]);
}

#[test]
fn every_copy_of_a_flooded_frame_has_the_tags_of_its_device() {
    let mut lab = lab();
    let request =
        Frame::between(mac(1), Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 3].into());
    let expected = [(WEB1, "100"), (DB0, "s100.7"), (UP0, "30")];
    let expected = expected.map(|(device, text)| (device, tagged(&request, text, 0).bytes()));
    assert_eq!(outcome(&mut lab, WEB0, &request), expected);
    let request =
        Frame::between(mac(4), Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 3].into());
    let expected = [(DB0, "200"), (UP0, "40.5")];
    let expected = expected.map(|(device, text)| (device, tagged(&request, text, 0x2000).bytes()));
    assert_eq!(outcome(&mut lab, WEB1, &tagged(&request, "s200", 0x2000)), expected);
}

#[test]
fn segments_with_the_same_addresses_have_nothing_to_do_with_each_other() {
    let mut lab = lab();
    let there = Frame::between(mac(4), mac(5)).ip([10, 0, 0, 1].into(), [10, 0, 0, 3].into()).udp(1, 2);
    assert_eq!(
        outcome(&mut lab, WEB1, &tagged(&there, "s200", 0)),
        [(DB0, tagged(&there, "200", 0).bytes())]
    );
    // The same in the segment of others: neither sender nor receiver is known there.
    assert_eq!(outcome(&mut lab, WEB1, &tagged(&there, "100", 0)), []);
    assert_eq!(lab.dropped(DropReason::SourceMac), 1);
    let to_default = Frame::between(mac(4), mac(3)).ip([10, 0, 0, 1].into(), [10, 0, 0, 3].into()).udp(1, 2);
    let out = outcome(&mut lab, WEB1, &tagged(&to_default, "s200", 0));
    assert!(
        out.iter().all(|(device, _)| *device == UP0),
        "what nobody has may be behind the uplink of its segment"
    );
}

#[test]
fn a_tag_that_the_device_has_no_segment_for_ends_the_frame() {
    let mut lab = lab();
    let frame = v4(1, 3).udp(1, 2);
    let of_trunk = v4(2, 3).udp(1, 2);
    let cases = [
        // At a device without tags, among them those of others.
        (WEB0, frame.clone().vlan(100)),
        (WEB0, frame.clone().tagged(ETHERTYPE_SERVICE_VLAN, 100)),
        // A trunk without untagged frames, with a number of its own in the other kind, with an inner tag added.
        (WEB1, of_trunk.clone()),
        (WEB1, of_trunk.clone().vlan(0)),
        (WEB1, of_trunk.clone().tagged(ETHERTYPE_SERVICE_VLAN, 100)),
        (WEB1, of_trunk.clone().vlan(200)),
        (WEB1, of_trunk.clone().vlan(100).vlan(7)),
        (DB0, v4(3, 1).udp(1, 2).tagged(ETHERTYPE_SERVICE_VLAN, 100)),
        (DB0, v4(3, 1).udp(1, 2).tagged(ETHERTYPE_SERVICE_VLAN, 100).vlan(8)),
    ];
    for (number, (device, frame)) in (1..).zip(cases) {
        assert_eq!(outcome(&mut lab, device, &frame), [], "{frame:?}");
        assert_eq!(lab.dropped(DropReason::UnknownVlan), number);
    }
}

#[test]
fn vlan_hopping_by_two_tags_ends_at_the_device_it_comes_from() {
    let mut lab = lab();
    // The outer tag would be taken off by a switch whose native VLAN it names; the inner one would then be believed.
    for (outer, inner) in [(1, 100), (100, 200), (0, 100), (30, 40), (100, 100)] {
        let frame = v4(1, 3).udp(1, 2).vlan(outer).vlan(inner);
        assert_eq!(outcome(&mut lab, WEB0, &frame), []);
        let service = v4(1, 3).udp(1, 2).tagged(ETHERTYPE_SERVICE_VLAN, outer).vlan(inner);
        assert_eq!(outcome(&mut lab, WEB0, &service), []);
        let trunk = v4(2, 1).udp(1, 2).vlan(outer).vlan(inner);
        assert_eq!(outcome(&mut lab, WEB1, &trunk), []);
    }
    let three = v4(3, 1).udp(1, 2).tagged(ETHERTYPE_SERVICE_VLAN, 100).vlan(7).vlan(9);
    assert_eq!(outcome(&mut lab, DB0, &three), []);
    assert_eq!(lab.dropped(DropReason::UnknownVlan), 16);
}

#[test]
fn a_priority_tag_counts_as_none_and_leaves_as_none() {
    let mut lab = lab();
    let there = v4(1, 2).udp(1, 2).payload(b"content");
    let out = outcome(&mut lab, WEB0, &there.clone().vlan(0xe000));
    assert_eq!(out, [(WEB1, tagged(&there, "100", 0xe000).bytes())]);
    let mut plain = Lab::new("default_action = \"allow\"\n---\n");
    let out = outcome(&mut plain, WEB0, &there.clone().tagged(ETHERTYPE_VLAN, 0xe000));
    assert_eq!(out, [(WEB1, there.bytes())]);
}

#[test]
fn an_unfinished_checksum_is_finished_where_the_tags_have_put_it() {
    for (from, to, tags, source, destination) in
        [(WEB0, WEB1, "", 1, 2), (WEB1, DB0, "100", 2, 3), (DB0, WEB0, "s100.7", 3, 1)]
    {
        for frame in [v4(source, destination), v6(source, destination)] {
            let mut lab = lab();
            let right = frame.tcp(1, 2, TcpFlags::SYN).payload(&[3; 33]);
            let partial = right.clone().partial_checksum();
            let sent = if tags.is_empty() { partial } else { tagged(&partial, tags, 0) };
            let out = outcome(&mut lab, from, &sent);
            assert_eq!(out.len(), 1);
            assert_eq!(out[0].0, to);
            let (bytes, right) = (&out[0].1, right.bytes());
            assert!(Packet::parse(bytes, bytes.len(), ParseContext::default()).is_ok());
            assert_eq!(bytes[bytes.len() - 53..], right[right.len() - 53..]);
        }
    }
}

#[test]
fn of_a_frame_in_several_buffers_only_the_first_one_changes() {
    let mut lab = lab_with("", 9_022);
    let content: Vec<u8> = (0..8_900u32).map(|index| index.to_be_bytes()[3]).collect();
    let there = v4(1, 3).udp(1, 2).payload(&content);
    assert_eq!(outcome(&mut lab, WEB0, &there), [(DB0, tagged(&there, "s100.7", 0).bytes())]);
    let back = v4(3, 1).udp(2, 1).payload(&content);
    assert_eq!(outcome(&mut lab, DB0, &tagged(&back, "s100.7", 0)), [(WEB0, back.bytes())]);
    assert_eq!(lab.stop(), 0);
}

#[test]
fn parts_that_waited_leave_with_the_tags_of_their_device() {
    let mut lab = lab();
    let parts = v4(1, 2).udp(1, 2).payload(&[4; 64]).cut(&[32]);
    assert_eq!(outcome(&mut lab, WEB0, &parts[1]), []);
    let expected = [0, 1].map(|number: usize| (WEB1, tagged(&parts[number], "100", 0).bytes()));
    assert_eq!(outcome(&mut lab, WEB0, &parts[0]), expected);
}

#[test]
fn rules_ask_for_the_segment_of_the_tags() {
    let deny = relationship("Web", "Db", "protocol = \"UDP\"", "deny");
    let mut lab = lab_with(&deny, 1_522);
    assert_eq!(outcome(&mut lab, WEB1, &tagged(&v4(2, 3).udp(1, 2), "100", 0)), []);
    assert_eq!(lab.dropped(DropReason::RuleDeny), 1);
    let blue = Frame::between(mac(4), mac(5)).ip([10, 0, 0, 1].into(), [10, 0, 0, 3].into()).udp(1, 2);
    assert_eq!(outcome(&mut lab, WEB1, &tagged(&blue, "s200", 0)).len(), 1);
}

#[test]
fn what_is_rejected_is_answered_under_the_tags_it_came_with() {
    let reject = relationship("Web", "Db", "protocol = \"TCP\"", "reject");
    let mut lab = lab_with(&reject, 1_522);
    for frame in [v4(2, 3), v6(2, 3)] {
        let out = outcome(&mut lab, WEB1, &tagged(&frame.tcp(1, 2, TcpFlags::SYN), "100", 0));
        assert_eq!(out.len(), 1);
        let (device, bytes) = &out[0];
        let packet = Packet::parse(bytes, bytes.len(), ParseContext::default()).unwrap();
        assert_eq!((*device, packet.tags.tags), (WEB1, Tags::customer(100)));
        assert!(packet.ip().unwrap().tcp.unwrap().flags.contains(TcpFlags::RST));
    }
}
