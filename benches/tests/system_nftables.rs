//! nftables as a second opinion: what programs that others wrote decide about the same packets.
//!
//! - Single packets: random policies, translated into a bridge table by `nftables/translate.rs`, and packets drawn at the
//!   boundaries of what the policies name. `MESHGATE_NFT_PACKETS` packets (5,000 otherwise; 100,000 for release).
//! - TCP exchanges: random honest exchanges with random tricks, through a routed forward chain with connection tracking.
//!   `MESHGATE_NFT_EXCHANGES` exchanges (1,000 otherwise).
//!
//! Differences that are meant stand, with their reasons, in the tables `EXPLAINED` of `nftables/packets.rs` and
//! `nftables/exchanges.rs`; they are counted and printed. Any other difference fails.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![expect(clippy::print_stdout, reason = "what was compared, and what differs by intent, is to be seen")]

#[path = "nftables/exchanges.rs"]
mod exchanges;
#[path = "../../dataplane/classifier/tests/random/generator.rs"]
mod generator;
mod ground;
#[path = "nftables/packets.rs"]
mod packets;
#[path = "nftables/script.rs"]
mod script;
#[path = "nftables/transit.rs"]
mod transit;
#[path = "nftables/translate.rs"]
mod translate;
#[path = "nftables/wire.rs"]
mod wire;

use ground::Ground;
use meshgate_dataplane::packet::build::Frame;
use meshgate_policy::Mac;
use std::collections::BTreeMap;
use wire::{Between, MACS, Wire};

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn print(explained: &BTreeMap<&'static str, usize>) {
    for (why, count) in explained {
        println!("{count:6} differences explained: {why}");
    }
}

#[test]
fn a_bridge_table_agrees_on_every_packet() {
    let Some(ground) = Ground::new("nftpackets", &["nft", "python3"]) else { return };
    let sentinel = |from: usize| Frame::between(Mac(MACS[from]), Mac(MACS[1 - from])).padded_to(60).bytes();
    let wire = Wire::new(&ground, Between::Bridge, [sentinel(0), sentinel(1)]);
    print(&packets::compare(&wire, from_environment("MESHGATE_NFT_PACKETS", 5_000)));
}

#[test]
fn a_forward_chain_with_connection_tracking_agrees_on_every_exchange() {
    let Some(ground) = Ground::new("nftstate", &["nft", "python3"]) else { return };
    let wire = Wire::new(&ground, Between::Router, [exchanges::sentinel(0), exchanges::sentinel(1)]);
    print(&exchanges::compare(&wire, from_environment("MESHGATE_NFT_EXCHANGES", 1_000)));
}
