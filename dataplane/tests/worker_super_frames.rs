//! Frames longer than usual through the whole worker: TCP super-frames are cut, jumbo frames pass whole where they fit.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;

use lab::{DB0, Lab, UP0, WEB0, WEB1, mac, relationship, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{Packet, ParseContext, Tags, TcpFlags};
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::Name;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const PSH: TcpFlags = TcpFlags::PSH;

fn rules() -> String {
    relationship("any", "any", "", "allow")
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// Opens a connection from web-0 to db-0 whose sides take segments of this many bytes.
fn open(lab: &mut Lab, frames: [&Frame; 2], takes: [u16; 2]) {
    let option = |bytes: u16| [&[2, 4][..], &bytes.to_be_bytes()].concat();
    let syn = frames[0].clone().tcp(4_000, 5432, SYN).numbers(99, 0, 60_000).tcp_options(&option(takes[0]));
    assert_eq!(lab.send(WEB0, &syn), [DB0]);
    let answer = frames[1].clone().tcp(5432, 4_000, SYN | ACK).numbers(499, 100, 60_000);
    assert_eq!(lab.send(DB0, &answer.tcp_options(&option(takes[1]))), [WEB0]);
    assert_eq!(lab.send(WEB0, &frames[0].clone().tcp(4_000, 5432, ACK).numbers(100, 500, 60_000)), [DB0]);
}

/// Returns data of the connection, as a guest hands it over.
fn data(frame: &Frame, bytes: usize) -> Frame {
    let frame = frame.clone().tcp(4_000, 5432, ACK | PSH).numbers(100, 500, 60_000).tcp_options(&[1; 12]);
    frame.payload(&content(bytes)).partial_checksum()
}

/// Puts a frame in and returns what came out at a device.
fn pass(lab: &mut Lab, from: usize, frame: &Frame, to: usize) -> Vec<Vec<u8>> {
    lab.far[from].inject(&frame.bytes()).unwrap();
    lab.turn();
    lab.turn();
    lab.far[to].take_all_sent()
}

/// Expects right segments of at most this many bytes of IP packet, and returns the data in them.
fn joined(segments: &[Vec<u8>], ip_bytes_max: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for bytes in segments {
        let packet = Packet::parse(bytes, bytes.len(), ParseContext::default()).unwrap();
        let ip = packet.ip().unwrap();
        assert_eq!(ip.verify_across([&bytes[..]]), Ok(()));
        assert!(ip.ip_bytes <= ip_bytes_max, "{} bytes", ip.ip_bytes);
        let tcp = ip.tcp.unwrap();
        assert_eq!(tcp.sequence as usize, 100 + data.len());
        data.extend(&bytes[bytes.len() - tcp.payload_bytes as usize..]);
    }
    data
}

fn expect_all_home(lab: &mut Lab) {
    assert_eq!(lab.stop(), 0);
}

#[test]
fn data_that_a_guest_left_to_be_cut_is_cut_and_arrives() {
    for ([there, back], number) in [([v4(1, 3), v4(3, 1)], 21), ([v6(1, 3), v6(3, 1)], 22)] {
        let mut lab = Lab::new(&rules());
        open(&mut lab, [&there, &back], [1_460, 1_460]);
        let segments = pass(&mut lab, WEB0, &data(&there, 30_000), DB0);
        assert_eq!(segments.len(), number);
        assert_eq!(joined(&segments, 1_500), content(30_000));
        assert_eq!(lab.count(|counters| &counters.super_frames_cut), 1);
        assert_eq!(lab.count(|counters| &counters.super_frame_segments), number as u64);
        assert_eq!(lab.count(|counters| &counters.devices[WEB0].oversize_packets), 0);
        assert_eq!(lab.dropped(DropReason::OversizeFrame), 0);
        expect_all_home(&mut lab);
    }
}

#[test]
fn segments_are_no_longer_than_either_side_said_it_takes() {
    for (takes, ip_bytes_max) in [([1_460, 1_200], 1_240), ([1_000, 1_460], 1_040), ([9_000, 9_000], 1_500)] {
        let mut lab = Lab::new(&rules());
        open(&mut lab, [&v4(1, 3), &v4(3, 1)], takes);
        let segments = pass(&mut lab, WEB0, &data(&v4(1, 3), 20_000), DB0);
        assert_eq!(joined(&segments, ip_bytes_max), content(20_000));
        let first = Packet::parse(&segments[0], segments[0].len(), ParseContext::default()).unwrap();
        assert_eq!(first.ip().unwrap().ip_bytes, ip_bytes_max);
    }
}

#[test]
fn a_connection_seen_in_the_middle_is_cut_by_the_devices() {
    let mut lab = Lab::new(&rules());
    let segments = pass(&mut lab, WEB0, &data(&v4(1, 3), 20_000), DB0);
    assert_eq!(joined(&segments, 1_500), content(20_000));
}

#[test]
fn a_receiver_that_takes_next_to_nothing_gets_nothing() {
    let mut lab = Lab::new(&rules());
    open(&mut lab, [&v4(1, 3), &v4(3, 1)], [1_460, 8]);
    assert!(pass(&mut lab, WEB0, &data(&v4(1, 3), 20_000), DB0).is_empty());
    assert_eq!(lab.dropped(DropReason::OversizeFrame), 1);
    expect_all_home(&mut lab);
}

#[test]
fn what_is_just_too_long_for_its_device_is_cut_as_well() {
    let mut lab = Lab::new(&rules());
    open(&mut lab, [&v4(1, 3), &v4(3, 1)], [1_460, 1_460]);
    // Two bytes more than the MTU, which the room for tags hides from the length of the frame.
    let segments = pass(&mut lab, WEB0, &data(&v4(1, 3), 1_450), DB0);
    assert_eq!((segments.len(), joined(&segments, 1_500)), (2, content(1_450)));
}

#[test]
fn other_long_frames_are_dropped_and_counted_for_the_advice() {
    let mut lab = Lab::new(&rules());
    let cases = [
        v4(1, 3).udp(1, 2).payload(&[0; 4_000]).partial_checksum(),
        v4(1, 3).tcp(4_000, 5432, SYN).payload(&[0; 4_000]).partial_checksum(),
        v4(1, 3).tcp(4_000, 5432, ACK).payload(&[0; 4_000]),
        v4(1, 3).udp(1, 2).payload(&[0; 4_000]).fragment(0, true),
        Frame::between(mac(1), mac(3)).payload(&[0; 4_000]),
    ];
    for (number, case) in (1..).zip(&cases) {
        assert_eq!(lab.send(WEB0, case), [], "{case:?}");
        assert_eq!(lab.dropped(DropReason::OversizeFrame), number);
        assert_eq!(lab.count(|counters| &counters.devices[WEB0].oversize_packets), number);
    }
    // From a wire nothing comes that was left to be cut.
    let stranger = Frame::between(mac(9), mac(3)).ip([10, 0, 0, 9].into(), [10, 0, 0, 3].into());
    assert_eq!(lab.send(UP0, &data(&stranger, 4_000)), []);
    assert_eq!(lab.count(|counters| &counters.devices[UP0].oversize_packets), 1);
    expect_all_home(&mut lab);
}

#[test]
fn a_refused_super_frame_passes_in_no_part() {
    let mut lab = Lab::new(&relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"80\"", "allow"));
    assert_eq!(lab.send(WEB0, &data(&v4(1, 3), 20_000)), []);
    assert_eq!(lab.dropped(DropReason::DefaultDeny), 1);
    expect_all_home(&mut lab);
}

#[test]
fn a_burst_of_super_frames_is_sent_as_fast_as_the_device_takes_it() {
    let mut lab = Lab::new(&rules());
    open(&mut lab, [&v4(1, 3), &v4(3, 1)], [1_460, 1_460]);
    for _ in 0..10 {
        lab.far[WEB0].inject(&data(&v4(1, 3), 20_000).bytes()).unwrap();
    }
    lab.turn();
    lab.turn();
    // The far end takes 256 frames before it is full, another 256 wait, in whole super-frames but the last.
    let mut out = lab.far[DB0].take_all_sent().len();
    lab.turn();
    out += lab.far[DB0].take_all_sent().len();
    assert_eq!(out, 10 * 14);
    for _ in 0..60 {
        lab.far[WEB0].inject(&data(&v4(1, 3), 20_000).bytes()).unwrap();
    }
    lab.turn();
    lab.turn();
    assert!(lab.dropped(DropReason::TransmitFull) + lab.dropped(DropReason::NoMemory) > 0);
    for _ in 0..4 {
        lab.far[DB0].take_all_sent();
        lab.turn();
    }
    expect_all_home(&mut lab);
}

#[test]
fn a_super_frame_crosses_once_and_is_cut_by_the_worker_that_has_the_queue() {
    for (there, source) in [(v4(1, 2), WEB0), (v6(1, 2), WEB0), (v4(3, 2), DB0)] {
        let mut lab = Lab::with_workers(2, &rules(), |_| {});
        let segments = pass(&mut lab, source, &data(&there, 20_000), WEB1);
        assert_eq!(joined(&segments, 1_500), content(20_000));
        assert_eq!(lab.count(|counters| &counters.super_frames_cut), 1);
        expect_all_home(&mut lab);
    }
}

#[test]
fn segments_carry_the_tags_of_the_device_they_leave_by() {
    let mut devices = Lab::devices();
    devices[DB0].0.segment = None;
    devices[DB0].0.vlans = vec![(Tags::customer(100), Name::default_name())];
    let mut lab = Lab::on(&rules(), &devices);
    let segments = pass(&mut lab, WEB0, &data(&v4(1, 3), 20_000), DB0);
    assert_eq!(joined(&segments, 1_500), content(20_000));
    let first = Packet::parse(&segments[0], segments[0].len(), ParseContext::default()).unwrap();
    assert_eq!((first.tags.tags, segments[0].len()), (Tags::customer(100), 1_518));
}

/// Devices with an MTU of 9,000, but for the second one.
fn jumbo_lab() -> Lab {
    let mut devices = Lab::devices();
    devices.iter_mut().for_each(|(_, frame_bytes_max)| *frame_bytes_max = 9_022);
    devices[WEB1].1 = 1_522;
    Lab::on(&rules(), &devices)
}

#[test]
fn a_jumbo_frame_passes_whole_where_it_fits_and_ends_by_name_where_not() {
    for [there, narrow] in [[v4(1, 3), v4(1, 2)], [v6(1, 3), v6(1, 2)]] {
        let mut lab = jumbo_lab();
        let long = there.udp(1, 2).payload(&content(8_900));
        assert_eq!(pass(&mut lab, WEB0, &long, DB0), [long.bytes()]);
        let echo = v4(1, 3).echo_request(1, 1).payload(&content(8_900));
        assert_eq!(
            pass(&mut lab, WEB0, &echo, DB0),
            [echo.bytes()],
            "its checksum is verified over all buffers"
        );
        let wrong = echo.wrong_checksum();
        assert!(pass(&mut lab, WEB0, &wrong, DB0).is_empty());
        assert_eq!(lab.dropped(DropReason::BadL4Checksum), 1);
        let narrow = narrow.udp(1, 2).payload(&content(8_900));
        assert!(pass(&mut lab, WEB0, &narrow, WEB1).is_empty());
        assert_eq!(lab.dropped(DropReason::OversizeFrame), 1);
        assert_eq!(
            lab.count(|counters| &counters.devices[WEB0].oversize_packets),
            0,
            "no offload is to blame"
        );
        expect_all_home(&mut lab);
    }
}

#[test]
fn jumbo_segments_are_cut_for_a_device_with_a_smaller_mtu_and_super_frames_for_a_larger_one() {
    let mut lab = jumbo_lab();
    let segments = pass(&mut lab, WEB0, &data(&v4(1, 2), 8_900), WEB1);
    assert_eq!(joined(&segments, 1_500), content(8_900));
    let segments = pass(&mut lab, WEB0, &data(&v4(1, 3), 30_000), DB0);
    assert_eq!((segments.len(), joined(&segments, 9_000)), (4, content(30_000)));
    let mut whole = data(&v4(1, 3), 8_900).bytes();
    let out = pass(&mut lab, WEB0, &data(&v4(1, 3), 8_900), DB0);
    assert_eq!((out.len(), out[0].len()), (1, whole.len()));
    // All but the checksum, which was finished.
    whole[50..52].copy_from_slice(&out[0][50..52]);
    assert_eq!(out[0], whole);
    expect_all_home(&mut lab);
}
