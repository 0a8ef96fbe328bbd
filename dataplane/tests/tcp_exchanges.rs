//! Exchanges written by hand, against the state of a connection alone and through the whole worker.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

mod lab;
#[path = "state/script.rs"]
mod script;

use lab::{DB0, Lab, WEB0, relationship, v4};
use meshgate_dataplane::flow_table::{Connection, Sender, Step};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::packet::{TcpFields, TcpFlags};
use meshgate_dataplane::verdict::DropReason;
use script::{Case, Expected, Line};

const CLIENT: Sender = Sender::Low;

fn side(line: &Line) -> Sender {
    if line.is_client { CLIENT } else { CLIENT.other() }
}

fn begun(tcp: &TcpFields, from: Sender) -> Connection {
    match tcp.flags.contains(TcpFlags::SYN) {
        true => Connection::opened(tcp, from),
        false => Connection::taken_up(tcp, from),
    }
}

/// Plays a case to a connection.
fn play(case: &Case) {
    let (first, rest) = case.lines.split_first().expect("a case has lines");
    let mut initiator = side(first);
    let mut connection = begun(&first.tcp, initiator);
    for line in rest {
        let before = connection;
        let step = connection.step(&line.tcp, side(line), initiator);
        let expected = match line.expected {
            Expected::Passes => Step::Pass,
            Expected::IsDropped => Step::Invalid,
            Expected::BeginsAnew => Step::Restart,
        };
        assert_eq!(step, expected, "{}: {}\n{connection:#?}", line.place, case.title);
        if step != Step::Pass {
            assert_eq!(connection, before, "{}: {}", line.place, case.title);
        }
        if step == Step::Restart {
            initiator = side(line);
            connection = begun(&line.tcp, initiator);
        }
        if let Some(state) = line.state {
            assert_eq!(connection.state(), state, "{}: {}", line.place, case.title);
        }
    }
}

fn frame(line: &Line) -> Frame {
    let (from, to, ports) = if line.is_client { (1, 3, (40_000, 5432)) } else { (3, 1, (5432, 40_000)) };
    let TcpFields { flags, sequence, acknowledgment, window, window_scale, payload_bytes, .. } = line.tcp;
    let frame = v4(from, to).tcp(ports.0, ports.1, flags).numbers(sequence, acknowledgment, window);
    let frame = frame.payload(&vec![0x55; payload_bytes as usize]);
    match window_scale {
        Some(shift) => frame.tcp_options(&[1, 3, 3, shift]),
        None => frame,
    }
}

/// Sends a case through a worker whose policy lets both sides begin.
fn send(case: &Case) {
    let both = ["Web", "Db"].map(|from| {
        let to = if from == "Web" { "Db" } else { "Web" };
        relationship(from, to, "protocol = \"TCP\"", "allow")
    });
    let mut lab = Lab::new(&both.concat());
    let mut dropped = 0;
    for line in &case.lines {
        let (from, to) = if line.is_client { (WEB0, DB0) } else { (DB0, WEB0) };
        let expected = if line.expected == Expected::IsDropped { vec![] } else { vec![to] };
        dropped += u64::from(line.expected == Expected::IsDropped);
        assert_eq!(lab.send(from, &frame(line)), expected, "{}: {}", line.place, case.title);
        assert_eq!(lab.dropped(DropReason::InvalidState), dropped, "{}: {}", line.place, case.title);
        assert_eq!(lab.count(|counters| &counters.flows_live), 1, "{}", line.place);
    }
}

#[test]
fn every_exchange_goes_as_it_is_written() {
    let cases = script::cases();
    cases.iter().for_each(play);
    println!(
        "{} exchanges, {} segments",
        cases.len(),
        cases.iter().map(|case| case.lines.len()).sum::<usize>()
    );
    assert!(cases.len() >= 40, "{} cases", cases.len());
}

#[test]
fn every_exchange_goes_so_through_the_worker() {
    script::cases().iter().filter(|case| case.is_for_frames).for_each(send);
}

#[test]
fn every_exchange_goes_so_with_all_numbers_shifted_to_their_end() {
    for shift in [0x8000_0000, u32::MAX - 500, u32::MAX - 100_000] {
        for mut case in script::cases() {
            for line in &mut case.lines {
                line.tcp.sequence = line.tcp.sequence.wrapping_add(shift);
                line.tcp.acknowledgment = line.tcp.acknowledgment.wrapping_add(shift);
                line.place = format!("{} shifted by {shift}", line.place);
            }
            play(&case);
        }
    }
}
