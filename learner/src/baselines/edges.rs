//! Edges: who sent to whom in which minute, in order of time.

use crate::series::network;
use hashbrown::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Edges of one recording. One takes about 200 bytes with its features and its place in the table of open edges, so
/// that a full recording stays below 2 GiB; four weeks of the DARPA lists are 169,000.
pub const EDGES_MAX: usize = 1 << 23;

/// Seconds of a minute, which is the span of an edge.
pub const MINUTE_S: u64 = 60;

/// Everything that one address sent to one other within one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Start of the minute, seconds since 1970.
    pub minute_s: u64,
    /// Number of the source address.
    pub source: u32,
    /// Number of the destination address.
    pub destination: u32,
    /// Number of (source, destination).
    pub pair: u32,
    /// Number of (network of the source, network of the destination): /24 or /64.
    pub network_pair: u32,
    /// Records that went into it.
    pub records: u32,
}

/// The edges of a recording: first those to learn from, then those to be scored. The order within a minute is that of
/// their first records.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    edges: Vec<Edge>,
    training: usize,
    addresses: Vec<IpAddr>,
    /// Pairs of addresses that occur.
    pub pairs: usize,
    /// Pairs of networks that occur.
    pub network_pairs: usize,
}

impl Edges {
    /// Returns all edges.
    pub fn all(&self) -> &[Edge] {
        &self.edges
    }

    /// Returns the edges to learn from.
    pub fn training(&self) -> &[Edge] {
        &self.edges[..self.training]
    }

    /// Returns the edges to be scored.
    pub fn test(&self) -> &[Edge] {
        &self.edges[self.training..]
    }

    /// Returns the addresses that occur, by number.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

/// There are more edges than a recording may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {EDGES_MAX} edges (source, destination, minute)")]
pub struct TooManyEdges;

/// Adds records into edges. `L` is what the caller knows of an edge beside what is in it.
pub struct EdgesBuilder<L> {
    places: HashMap<(u64, u32), usize>,
    edges: Vec<(Edge, L)>,
    addresses: Numbers<IpAddr>,
    pairs: Numbers<(u32, u32)>,
    network_pairs: Numbers<(IpAddr, IpAddr)>,
}

impl<L> Default for EdgesBuilder<L> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            edges: Vec::new(),
            addresses: Numbers::default(),
            pairs: Numbers::default(),
            network_pairs: Numbers::default(),
        }
    }
}

impl<L: Default> EdgesBuilder<L> {
    /// Adds a record to its edge and returns what the caller knows of that edge.
    pub fn add(&mut self, at_s: u64, source: IpAddr, destination: IpAddr) -> Result<&mut L, TooManyEdges> {
        let (source_number, destination_number) =
            (self.addresses.number(source), self.addresses.number(destination));
        let pair = self.pairs.number((source_number, destination_number));
        let minute_s = at_s - at_s % MINUTE_S;
        let place = *self.places.entry((minute_s, pair)).or_insert(self.edges.len());
        if place == self.edges.len() {
            if place >= EDGES_MAX {
                return Err(TooManyEdges);
            }
            let network_pair = self.network_pairs.number((network(source), network(destination)));
            let edge = Edge {
                minute_s,
                source: source_number,
                destination: destination_number,
                pair,
                network_pair,
                records: 0,
            };
            self.edges.push((edge, L::default()));
        }
        let (edge, known) = &mut self.edges[place];
        edge.records = edge.records.saturating_add(1);
        Ok(known)
    }

    /// Returns the edges in order of time, split at `train_until_s`, and beside each what is known of it.
    pub fn build(mut self, train_until_s: u64) -> (Edges, Vec<L>) {
        self.edges.sort_by_key(|(edge, _)| edge.minute_s);
        let training = self.edges.partition_point(|(edge, _)| edge.minute_s < train_until_s);
        let (edges, known) = self.edges.into_iter().unzip();
        let (pairs, network_pairs) = (self.pairs.len(), self.network_pairs.len());
        let mut addresses: Vec<(IpAddr, u32)> = self.addresses.0.into_iter().collect();
        addresses.sort_unstable_by_key(|(_, number)| *number);
        let addresses = addresses.into_iter().map(|(address, _)| address).collect();
        (Edges { edges, training, addresses, pairs, network_pairs }, known)
    }
}

/// Numbers from 0 in order of appearance.
struct Numbers<K>(HashMap<K, u32>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Numbers<K> {
    fn number(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.0.len()).expect("two for each of EDGES_MAX edges are far below 2^32");
        *self.0.entry(key).or_insert(next)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn records_of_one_minute_and_pair_are_one_edge() {
        let mut builder = EdgesBuilder::<u32>::default();
        for (at_s, destination) in [(60, "10.0.0.2"), (61, "10.0.0.3"), (119, "10.0.0.2"), (120, "10.0.0.2")]
        {
            *builder.add(at_s, address("10.0.0.1"), address(destination)).unwrap() += 1;
        }
        let (edges, known) = builder.build(120);
        assert_eq!(known, [2, 1, 1]);
        assert_eq!(edges.all().iter().map(|edge| edge.records).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!((edges.training().len(), edges.test().len()), (2, 1));
        assert_eq!((edges.addresses().len(), edges.pairs, edges.network_pairs), (3, 2, 1));
        assert_eq!(edges.addresses()[2], address("10.0.0.3"));
    }

    #[test]
    fn edges_come_in_order_of_time_and_within_a_minute_in_that_of_their_first_records() {
        let mut builder = EdgesBuilder::<()>::default();
        for (at_s, destination) in [(120, "10.0.0.9"), (60, "10.0.0.3"), (60, "10.0.0.2"), (60, "10.0.0.3")] {
            builder.add(at_s, address("10.0.0.1"), address(destination)).unwrap();
        }
        let (edges, _) = builder.build(0);
        let order: Vec<_> = edges.all().iter().map(|edge| (edge.minute_s, edge.destination)).collect();
        assert_eq!(order, [(60, 2), (60, 3), (120, 1)]);
    }

    #[test]
    fn a_network_is_24_bits_or_64() {
        assert_eq!(network(address("10.1.2.3")), address("10.1.2.0"));
        assert_eq!(network(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
    }
}
