//! Tests of leases: what is read out of messages, and what begins and ends one.

use super::*;
use crate::packet::build::dhcp::{DhcpMessage, v6_message};
use crate::packet::{DhcpClient, DhcpRole};
use meshgate_policy::Mac;

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 6]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 7]);
const SERVER: Mac = Mac([2, 0, 0, 0, 0, 5]);
const ENDPOINT: EndpointId = EndpointId(6);
const START: u64 = 1_000 * SECOND_NS;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn lessee(mac: Mac) -> Option<EndpointId> {
    (mac == CLIENT).then_some(ENDPOINT)
}

fn said(
    role: DhcpRole,
    is_ipv4: bool,
    (source_mac, destination_mac): (Mac, Mac),
    payload: &[u8],
) -> Vec<Heard> {
    hear(&Hearing { role, is_ipv4, source_mac, destination_mac, payload }, lessee).into_iter().collect()
}

fn client() -> DhcpRole {
    DhcpRole::Client(DhcpClient { seeks_address: true, speaks_for_itself: true })
}

fn asked(message: &DhcpMessage) -> Vec<Heard> {
    said(client(), true, (CLIENT, Mac::BROADCAST), &message.bytes())
}

fn answered(message: &DhcpMessage) -> Vec<Heard> {
    said(DhcpRole::Server, true, (SERVER, CLIENT), &message.bytes())
}

fn of(kind: u8) -> DhcpMessage {
    DhcpMessage::new(kind, CLIENT, 7)
}

fn heard(is_ipv4: bool, word: Word) -> Heard {
    Heard { client: ENDPOINT, exchange: Exchange { is_ipv4, number: 7 }, word }
}

#[test]
fn dhcp_messages_say_who_asks_gets_and_gives_up() {
    let address = [10, 0, 0, 50];
    let wanted = Some(ip("10.0.0.50"));
    assert_eq!(asked(&of(1)), [heard(true, Word::Asked(None))]);
    assert_eq!(asked(&of(3).option(50, &address)), [heard(true, Word::Asked(wanted))]);
    assert_eq!(asked(&of(3).client_address(address.into())), [heard(true, Word::Asked(wanted))]);
    assert_eq!(asked(&of(4).option(50, &address)), [heard(true, Word::GivenUp(ip("10.0.0.50")))]);
    assert_eq!(asked(&of(7).client_address(address.into())), [heard(true, Word::GivenUp(ip("10.0.0.50")))]);
    let ack = of(5).your_address(address.into());
    assert_eq!(answered(&ack.clone().lease_s(60)), [heard(true, Word::Granted(ip("10.0.0.50"), 60))]);
    assert_eq!(answered(&of(6)), [heard(true, Word::Refused)]);
    assert_eq!(answered(&ack.clone()), [], "an answer to an inform");
    assert_eq!(answered(&ack.clone().lease_s(60).lease_s(90)), [], "two times");
    assert_eq!(answered(&of(2).your_address(address.into()).lease_s(60)), [], "an offer is none");
    assert_eq!(answered(&of(3)), [], "a server does not ask");
    assert_eq!(asked(&ack.lease_s(60)), [], "a client does not grant");
}

#[test]
fn a_dhcp_message_about_another_client_than_its_frames_says_nothing() {
    let ack = of(5).your_address([10, 0, 0, 50].into()).lease_s(60).bytes();
    let to = |mac| said(DhcpRole::Server, true, (SERVER, mac), &ack).len();
    assert_eq!((to(CLIENT), to(Mac::BROADCAST), to(OTHER)), (1, 1, 0));
    assert_eq!(said(client(), true, (OTHER, Mac::BROADCAST), &of(3).bytes()), []);
    let others = DhcpMessage::new(5, OTHER, 7).your_address([10, 0, 0, 50].into()).lease_s(60).bytes();
    assert_eq!(said(DhcpRole::Server, true, (SERVER, OTHER), &others), [], "not flagged, or not here");
}

#[test]
fn dhcpv6_messages_say_who_asks_gets_and_gives_up() {
    let (first, second): (std::net::Ipv6Addr, std::net::Ipv6Addr) =
        ("fd00::50".parse().unwrap(), "fd00::51".parse().unwrap());
    let all = Mac([0x33, 0x33, 0, 1, 0, 2]);
    let asks = |kind| said(client(), false, (CLIENT, all), &v6_message(kind, 7, &[(first, 0)]));
    for kind in [1, 3, 5, 6] {
        assert_eq!(asks(kind), [heard(false, Word::Asked(None))], "{kind}");
    }
    for kind in [8, 9] {
        assert_eq!(asks(kind), [heard(false, Word::GivenUp(first.into()))], "{kind}");
    }
    assert_eq!((asks(4), asks(11)), (vec![], vec![]));
    let reply = v6_message(7, 7, &[(first, 60), (second, 0)]);
    let granted =
        [Word::Granted(first.into(), 60), Word::Granted(second.into(), 0)].map(|word| heard(false, word));
    assert_eq!(said(DhcpRole::Server, false, (SERVER, CLIENT), &reply), granted);
    assert_eq!(said(DhcpRole::Server, false, (SERVER, OTHER), &reply), []);
    let advertise = v6_message(2, 7, &[(first, 60)]);
    assert_eq!(said(DhcpRole::Server, false, (SERVER, CLIENT), &advertise), []);
}

#[test]
fn cut_messages_say_nothing_and_long_ones_say_a_bounded_number_of_words() {
    let ack = of(5).your_address([10, 0, 0, 50].into()).lease_s(60).bytes();
    for cut in 0..ack.len() - 1 {
        assert_eq!(said(DhcpRole::Server, true, (SERVER, CLIENT), &ack[..cut]), [], "{cut}");
    }
    let many: Vec<_> = (0..40).map(|n| (std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n), 60)).collect();
    let reply = v6_message(7, 7, &many);
    assert_eq!(said(DhcpRole::Server, false, (SERVER, CLIENT), &reply).len(), WORDS_MAX);
    for cut in 0..reply.len() {
        said(DhcpRole::Server, false, (SERVER, CLIENT), &reply[..cut]);
    }
}

/// Takes in words of exchange 7 and returns what is held, with the seconds left.
fn after(leases: &mut Leases, words: &[Word], now_ns: u64) -> Vec<(String, u32)> {
    for word in words {
        let is_ipv4 = match word {
            Word::Granted(address, _) | Word::GivenUp(address) => address.is_ipv4(),
            _ => true,
        };
        leases.take(heard(is_ipv4, *word), now_ns);
    }
    leases.advance(now_ns);
    leases.lines(now_ns).into_iter().map(|lease| (lease.address.to_string(), lease.seconds_left)).collect()
}

fn lines(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
    expected.iter().map(|(address, seconds)| ((*address).to_owned(), *seconds)).collect()
}

#[test]
fn a_grant_counts_only_in_answer_to_a_question() {
    let mut leases = Leases::default();
    let grant = Word::Granted(ip("10.0.0.50"), 60);
    assert_eq!(after(&mut leases, &[grant], START), []);
    let other = Heard { exchange: Exchange { is_ipv4: true, number: 8 }, ..heard(true, Word::Asked(None)) };
    leases.take(other, START);
    assert_eq!(after(&mut leases, &[grant], START), [], "of another exchange");
    leases.take(Heard { client: EndpointId(9), ..heard(true, Word::Asked(None)) }, START);
    assert_eq!(after(&mut leases, &[grant], START), [], "of another client");
    assert!(!leases.take_news());
    assert_eq!(after(&mut leases, &[Word::Asked(None), grant], START), lines(&[("10.0.0.50", 60)]));
    assert!(leases.take_news() && !leases.take_news());
    let late = Leases::default();
    let mut leases = late;
    assert_eq!(after(&mut leases, &[Word::Asked(None)], START), []);
    assert_eq!(after(&mut leases, &[grant], START + QUESTION_NS), [], "too late");
}

#[test]
fn a_lease_ends_with_its_time_and_lives_on_when_it_is_renewed() {
    let mut leases = Leases::default();
    let words = [Word::Asked(None), Word::Granted(ip("10.0.0.50"), 60)];
    after(&mut leases, &words, START);
    assert!(leases.take_news());
    let half = START + 30 * SECOND_NS;
    assert_eq!(after(&mut leases, &words, half), lines(&[("10.0.0.50", 60)]));
    assert!(!leases.take_news(), "a renewal is no news");
    assert_eq!(after(&mut leases, &[], half + 59 * SECOND_NS), lines(&[("10.0.0.50", 1)]));
    assert_eq!(after(&mut leases, &[], half + 60 * SECOND_NS), lines(&[("10.0.0.50", 0)]));
    assert!(leases.take_news());
    assert_eq!(after(&mut leases, &[], half + 60 * SECOND_NS + ENDED_NS), []);
    let forever = [Word::Asked(None), Word::Granted(ip("10.0.0.50"), FOREVER_S)];
    assert_eq!(after(&mut leases, &forever, START), lines(&[("10.0.0.50", FOREVER_S)]));
}

#[test]
fn release_decline_refusal_and_another_grant_end_a_lease() {
    let granted = [Word::Asked(Some(ip("10.0.0.50"))), Word::Granted(ip("10.0.0.50"), 60)];
    let over = lines(&[("10.0.0.50", 0)]);
    for end in [Word::GivenUp(ip("10.0.0.50")), Word::Refused, Word::Granted(ip("10.0.0.50"), 0)] {
        let mut leases = Leases::default();
        after(&mut leases, &granted, START);
        assert_eq!(after(&mut leases, &[end], START), over, "{end:?}");
    }
    let mut leases = Leases::default();
    after(&mut leases, &granted, START);
    let moved = after(&mut leases, &[Word::Granted(ip("10.0.0.51"), 60)], START);
    assert_eq!(moved, lines(&[("10.0.0.50", 0), ("10.0.0.51", 60)]));
    let six = Heard { exchange: Exchange { is_ipv4: false, number: 7 }, ..heard(false, Word::Asked(None)) };
    leases.take(six, START);
    let both =
        after(&mut leases, &[Word::Granted(ip("fd00::50"), 60), Word::Granted(ip("fd00::51"), 60)], START);
    let expected = [("10.0.0.50", 0), ("10.0.0.51", 60), ("fd00::50", 60), ("fd00::51", 60)];
    assert_eq!(both, lines(&expected), "DHCPv6 grants several");
}

#[test]
fn the_end_of_a_lease_from_before_the_start_is_told() {
    let mut leases = Leases::default();
    assert_eq!(after(&mut leases, &[Word::GivenUp(ip("10.0.0.50"))], START), lines(&[("10.0.0.50", 0)]));
    assert!(leases.take_news());
    let mut leases = Leases::default();
    let refused = [Word::Asked(Some(ip("10.0.0.50"))), Word::Refused];
    assert_eq!(after(&mut leases, &refused, START), lines(&[("10.0.0.50", 0)]));
}

#[test]
fn addresses_that_no_interface_can_have_are_not_leased() {
    for address in ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"] {
        let mut leases = Leases::default();
        assert_eq!(
            after(&mut leases, &[Word::Asked(None), Word::Granted(ip(address), 60)], START),
            [],
            "{address}"
        );
    }
    for address in ["::", "::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1"] {
        let mut leases = Leases::default();
        leases.take(heard(false, Word::Asked(None)), START);
        assert_eq!(after(&mut leases, &[Word::Granted(ip(address), 60)], START), [], "{address}");
    }
}

#[test]
fn questions_leases_and_addresses_of_one_client_are_bounded() {
    let mut leases = Leases::default();
    for number in 0..2 * u32::try_from(QUESTIONS_MAX).unwrap() {
        let exchange = Exchange { is_ipv4: false, number };
        leases.take(Heard { client: ENDPOINT, exchange, word: Word::Asked(None) }, START);
    }
    assert_eq!(leases.questions.len(), QUESTIONS_MAX);
    for number in 0..1_000 {
        let address = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into();
        leases.take(heard(false, Word::Granted(address, 60)), START);
    }
    assert_eq!(leases.held.len(), ADDRESSES_MAX);
    leases.advance(START + QUESTION_NS);
    assert_eq!(leases.questions.len(), 0);
}
