//! Stage 1 through the whole worker, where everything is allowed: frames that end for their form alone, both families.

mod lab;

use lab::{DB0, Lab, WEB0, relationship, v4, v6};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{EXTENSION_HEADERS_MAX, TcpFlags};
use meshgate_dataplane::verdict::DropReason;

fn lab() -> Lab {
    Lab::new(&relationship("any", "any", "", "allow"))
}

/// Expects that the frame passes nowhere and ends for this reason.
fn expect_drop(bytes: &[u8], reason: DropReason, what: &str) {
    let mut lab = lab();
    assert_eq!(lab.send_bytes(WEB0, bytes), [], "{what}");
    let named: Vec<_> = DropReason::ALL.iter().filter(|reason| lab.dropped(**reason) > 0).collect();
    assert_eq!(named, [&reason], "{what}");
    assert_eq!(lab.stop(), 0);
}

fn datagram(frame: Frame) -> Frame {
    frame.udp(4_000, 53).payload(&[5; 32])
}

#[test]
fn source_routes_and_routing_headers_that_lead_elsewhere_end() {
    let route = |kind| datagram(v4(1, 3)).ipv4_options(&[kind, 7, 4, 10, 0, 0, 2]).bytes();
    expect_drop(&route(131), DropReason::SourceRoute, "loose source route");
    expect_drop(&route(137), DropReason::SourceRoute, "strict source route");
    let hidden = datagram(v4(1, 3)).ipv4_options(&[1, 1, 148, 4, 0, 0, 131, 3, 4]);
    expect_drop(&hidden.bytes(), DropReason::SourceRoute, "behind other options");
    let routed = |kind, left| {
        let address = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let rest = [&[2, kind, left, 0, 0, 0, 0][..], &address].concat();
        datagram(v6(1, 3)).extension(43, &rest).bytes()
    };
    expect_drop(&routed(0, 1), DropReason::SourceRoute, "routing header 0");
    expect_drop(&routed(0, 0), DropReason::SourceRoute, "routing header 0 at its end");
    expect_drop(&routed(2, 1), DropReason::SourceRoute, "mobile IPv6");
    expect_drop(&routed(4, 1), DropReason::SourceRoute, "segment routing");
    let behind = datagram(v6(1, 3)).extension(60, &[0; 7]).extension(43, &[0, 0, 1, 0, 0, 0, 0]);
    expect_drop(&behind.bytes(), DropReason::SourceRoute, "behind other headers");
}

#[test]
fn chains_of_headers_that_are_long_or_out_of_order_end() {
    let chain = |headers| (0..headers).fold(v6(1, 3), |frame, _| frame.extension(60, &[0; 7]));
    assert_eq!(lab().send(WEB0, &datagram(chain(EXTENSION_HEADERS_MAX))), [DB0]);
    let long = datagram(chain(EXTENSION_HEADERS_MAX + 1)).bytes();
    expect_drop(&long, DropReason::ExtensionHeaders, "one header more");
    let very_long = datagram(chain(100)).bytes();
    expect_drop(&very_long, DropReason::ExtensionHeaders, "a hundred headers");
    let late = datagram(v6(1, 3)).extension(60, &[0; 7]).extension(0, &[0; 7]).bytes();
    expect_drop(&late, DropReason::ExtensionHeaders, "hop-by-hop options behind others");
    let twice = datagram(v6(1, 3)).extension(44, &[0; 7]).fragment(0, false).bytes();
    expect_drop(&twice, DropReason::ExtensionHeaders, "two fragment headers");
    let beyond = datagram(v6(1, 3)).extension(60, &[200, 0, 0, 0, 0, 0, 0]).bytes();
    expect_drop(&beyond, DropReason::Truncated, "a header longer than the packet");
}

#[test]
fn lengths_that_do_not_agree_end_in_both_families() {
    for frame in [v4(1, 3), v6(1, 3)] {
        let cases = [
            datagram(frame.clone()),
            frame.clone().tcp(4_000, 80, TcpFlags::SYN),
            frame.clone().echo_request(1, 1).payload(&[0; 8]),
            frame.clone().sctp(1, 2),
        ];
        for case in cases {
            let bytes = case.bytes();
            for cut in [1, 5, 20] {
                let what = format!("{cut} bytes missing of {case:?}");
                expect_drop(&bytes[..bytes.len() - cut], DropReason::Truncated, &what);
            }
        }
        let l3_bytes = if frame.clone().udp(1, 2).bytes()[12] == 8 { 20 } else { 40 };
        let mut udp = datagram(frame.clone()).no_checksum().bytes();
        udp[14 + l3_bytes + 4..][..2].copy_from_slice(&[1, 0]);
        expect_drop(&udp, DropReason::Truncated, "a UDP length beyond the packet");
        udp[14 + l3_bytes + 4..][..2].copy_from_slice(&[0, 7]);
        expect_drop(&udp, DropReason::BadHeader, "a UDP length below its header");
        let mut tcp = frame.clone().tcp(4_000, 80, TcpFlags::ACK).bytes();
        tcp[14 + l3_bytes + 12] = 0x40;
        expect_drop(&tcp, DropReason::BadHeader, "a TCP header below 20 bytes");
        tcp[14 + l3_bytes + 12] = 0xf0;
        expect_drop(&tcp, DropReason::Truncated, "a TCP header beyond the packet");
        let mut version = datagram(frame).bytes();
        version[14] ^= 0x30;
        expect_drop(&version, DropReason::BadHeader, "another version than the ethertype");
    }
    let mut header = datagram(v4(1, 3)).bytes();
    header[14] = 0x44;
    expect_drop(&header, DropReason::BadHeader, "an IPv4 header below 20 bytes");
    header[14] = 0x45;
    header[24] ^= 1;
    expect_drop(&header, DropReason::BadIpChecksum, "a wrong IPv4 header checksum");
}

#[test]
fn wrong_checksums_of_what_changes_state_end_in_both_families() {
    for frame in [v4(1, 3), v6(1, 3)] {
        for flags in [TcpFlags::SYN, TcpFlags::RST, TcpFlags::FIN | TcpFlags::ACK] {
            let wrong = frame.clone().tcp(4_000, 80, flags).wrong_checksum().bytes();
            expect_drop(&wrong, DropReason::BadL4Checksum, "TCP");
        }
        let wrong = frame.echo_request(1, 1).wrong_checksum().bytes();
        expect_drop(&wrong, DropReason::BadL4Checksum, "echo");
    }
}
