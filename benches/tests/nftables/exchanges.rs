//! TCP exchanges: what the state of a connection says to each of their segments, asked of the worker and of the kernel's
//! connection tracking.

use crate::generator::Random;
use crate::script::{Exchange, Segment, exchange};
use crate::transit::{End, Transit};
use crate::wire::{MACS, ROUTER_MACS, Sent, Wire};
use meshgate_dataplane::packet::build::Frame;
use meshgate_policy::{AuthoredPolicy, Mac, Numbering, PolicyVersion, resolve};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// First port of the clients; each exchange has its own.
const CLIENT_PORT_FIRST: u16 = 20_000;

/// What the machine behind the first device may do to the one behind the second.
const POLICY: &str = r#"
default_action = "deny"
[[groups]]
name = "Clients"
prefixes = ["10.1.0.0/16", "fd01::/16"]
[[groups]]
name = "Servers"
prefixes = ["10.2.0.0/16", "fd02::/16"]
[[relationships]]
source_group_name = "Clients"
destination_group_name = "Servers"
protocol = "TCP"
port_range = "80-89"
action = "allow"
"#;

/// The same, for nftables, with what lets the sentinels pass.
const CHAIN: &str = "
table inet second {
chain forward {
type filter hook forward priority 0; policy drop
udp dport 9 accept
ct state invalid drop
ct state established,related accept
ip saddr 10.1.0.0/16 ip daddr 10.2.0.0/16 tcp dport 80-89 ct state new accept
ip6 saddr fd01::/16 ip6 daddr fd02::/16 tcp dport 80-89 ct state new accept
}
}
";

/// A difference that is meant: what is sent, whether it passes here (and not there, or the other way round), and why.
struct Explained {
    what: &'static str,
    passes_here: bool,
    why: &'static str,
}

const EXPLAINED: &[Explained] = &[
    Explained { what: "a stray ACK in a connection", passes_here: false, why: BELOW },
    Explained { what: "data far behind", passes_here: false, why: BELOW },
    Explained { what: "data that acknowledges what is long past", passes_here: false, why: BELOW },
    Explained {
        what: "an answer to another SYN",
        passes_here: false,
        why: "a SYN-ACK must acknowledge the SYN, as its receiver demands (RFC 9293 section 3.10.7.3); connection \
              tracking leaves that to the receiver",
    },
    Explained {
        what: "data instead of an answer",
        passes_here: false,
        why: "an ACK in answer to a SYN may come of a half-open connection (RFC 9293 figure 9), but carries no data \
              then; connection tracking lets any ACK pass there",
    },
    Explained {
        what: "data with a wrong checksum",
        passes_here: true,
        why: "stage 1 verifies the checksums of what changes state, SYN, FIN and RST; connection tracking those of all \
              segments (nf_conntrack_checksum). The receiver drops such data",
    },
];

/// The lower bounds of connection tracking are no bounds for verdicts.
const BELOW: &str = "numbers below the window: connection tracking takes them for late duplicates and lets them pass \
                     without taking note (tcp_in_window, NFCT_TCP_IGNORE); here they are outside the window";

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Comparison {
    segments: usize,
    passed: usize,
    explained: BTreeMap<&'static str, usize>,
    /// The first of each kind, and how often it was met.
    unexplained: BTreeMap<String, (usize, String)>,
}

/// Compares so many exchanges, each up to its first difference: behind it the two hold different states.
pub fn compare(wire: &Wire<'_>, count: usize) -> BTreeMap<&'static str, usize> {
    // A connection begins by a SYN only, and windows count: the strictest that connection tracking can be.
    wire.set("net.netfilter.nf_conntrack_tcp_loose", 0);
    wire.set("net.netfilter.nf_conntrack_tcp_be_liberal", 0);
    wire.load(CHAIN);
    let exchanges: Vec<Exchange> = (0..count).map(|seed| exchange(&mut Random::new(seed as u64))).collect();
    let routed: Vec<Sent> = frames(&exchanges, &ROUTER_MACS);
    let mut answers = wire.send(&routed).into_iter();
    let switched = frames(&exchanges, &[MACS[1], MACS[0]]);
    let mut switched = switched.iter();
    let mut transit = Transit::new(&policy());
    let mut comparison = Comparison::default();
    for (seed, exchange) in exchanges.iter().enumerate() {
        let mut is_agreed = true;
        for at in 0..exchange.len() {
            let (side, bytes) = switched.next().expect("a frame for each segment");
            let (end, second) =
                (transit.send(*side, bytes), answers.next().expect("an answer for each frame"));
            if is_agreed {
                is_agreed = comparison.note((seed, exchange, at), (end, second));
            }
        }
    }
    println!("{count} exchanges, {} segments compared, {} passed", comparison.segments, comparison.passed);
    for (kind, (times, first)) in &comparison.unexplained {
        println!("{times:6} unexplained: {kind}\n{first}");
    }
    assert!(comparison.unexplained.is_empty(), "differences without a reason");
    comparison.explained
}

impl Comparison {
    /// Takes note of the two verdicts on a segment; returns whether they are the same.
    fn note(&mut self, (seed, exchange, at): (usize, &Exchange, usize), (end, second): (End, bool)) -> bool {
        let (segment, passes_here) = (&exchange[at], end == End::Passed);
        self.segments += 1;
        self.passed += usize::from(passes_here);
        if passes_here == second {
            let is_honest_and_dropped = segment.is_honest && !passes_here;
            assert!(!is_honest_and_dropped, "seed {seed}: both drop what an honest stack sends: {segment:?}");
            return true;
        }
        let known = EXPLAINED.iter().find(|e| e.what == segment.what && e.passes_here == passes_here);
        if let Some(known) = known {
            *self.explained.entry(known.why).or_default() += 1;
            return false;
        }
        let kind =
            format!("{}: here {end:?}, there {}", segment.what, if second { "passed" } else { "dropped" });
        let story = || {
            let lines = exchange[..=at].iter().map(|segment| format!("    {segment}\n"));
            format!("  seed {seed}:\n{}", lines.collect::<String>())
        };
        self.unexplained.entry(kind).or_insert_with(|| (0, story())).0 += 1;
        false
    }
}

fn policy() -> meshgate_policy::Policy {
    let mut authored: AuthoredPolicy = toml::from_str(POLICY).expect("the policy is written right");
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).expect("there are numbers for two groups");
    resolve(&authored, &numbering, PolicyVersion(1)).expect("the policy has no faults")
}

/// Returns the frames of all exchanges, to these MACs.
fn frames(exchanges: &[Exchange], towards: &[[u8; 6]; 2]) -> Vec<Sent> {
    let numbered = (0..).zip(exchanges);
    numbered
        .flat_map(|(number, exchange)| exchange.iter().map(move |segment| (number, segment)))
        .map(|(number, segment)| (segment.side, frame(number, segment, towards).bytes()))
        .collect()
}

/// Returns the address of a machine, in the family of an exchange.
fn address(side: usize, is_v6: bool) -> IpAddr {
    let text = match (side, is_v6) {
        (0, false) => "10.1.0.1",
        (_, false) => "10.2.0.1",
        (0, true) => "fd01::1",
        (_, true) => "fd02::1",
    };
    text.parse().expect("an address")
}

/// Returns a datagram that passes whatever the state is.
pub fn sentinel(side: usize) -> Vec<u8> {
    let frame = Frame::between(Mac(MACS[side]), Mac(ROUTER_MACS[side]));
    frame.ip(address(side, false), address(1 - side, false)).udp(9, 9).payload(b"sentinel").bytes()
}

fn frame(number: u16, segment: &Segment, towards: &[[u8; 6]; 2]) -> Frame {
    let side = segment.side;
    let is_v6 = number % 2 == 1;
    let (client, server) = (CLIENT_PORT_FIRST + number, segment.server_port);
    let (source, destination) = if side == 0 { (client, server) } else { (server, client) };
    let frame = Frame::between(Mac(MACS[side]), Mac(towards[side]))
        .ip(address(side, is_v6), address(1 - side, is_v6))
        .tcp(source, destination, segment.flags)
        .numbers(segment.sequence, segment.acknowledgment, segment.window)
        .tcp_options(segment.options)
        .payload(&vec![0x55; segment.payload_bytes as usize]);
    if segment.is_checksum_wrong { frame.wrong_checksum() } else { frame }
}
