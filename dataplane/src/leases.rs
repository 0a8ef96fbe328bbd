//! Addresses that endpoints lease by DHCP, as this host hears of them.
//!
//! A worker overhears the exchange between a listed client and a listed server (only that passes; see
//! [`crate::binding`]), reads what is said ([`hear`]) and puts it into a bounded queue. Off the workers [`Leases`] puts
//! question and answer together: an address counts as leased when a listed server grants it in answer to a question
//! that came from the endpoint's own device. It is given up by release, decline, refusal (NAK), the grant of another
//! one, or the end of its time.
//!
//! Nothing is bound here. What is leased is reported to control, which makes it one of the endpoint's addresses in a
//! next version of the policy: every host then binds it and knows its groups, and what a rule says of the endpoint
//! holds for it everywhere. Binding it here at once would let the endpoint use an address that no classifier knows.
//! While control is away, no address is added and none is taken.

mod hear;
#[cfg(test)]
mod tests;

pub use hear::{Hearing, WORDS_MAX, hear};

use crossbeam::queue::ArrayQueue;
use hashbrown::HashMap;
use meshgate_policy::{EndpointId, is_group_address};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Words that may wait to be taken: what a hundred clients say that start at once. More are lost, and heard again when
/// the client renews its lease.
pub const QUEUE_WORDS: usize = 1_024;
/// Questions that may wait for an answer, one or two for each client that starts.
const QUESTIONS_MAX: usize = 4_096;
/// How long a question may wait: twice the longest pause between two tries (RFC 2131 section 4.1, RFC 8415 section 7.6
/// has 30 s for requests).
const QUESTION_NS: u64 = 128 * SECOND_NS;
/// Leases that are held or have just ended: four a client at a host with as many clients as it has questions.
const LEASES_MAX: usize = 16_384;
/// Addresses of one endpoint, both families; more than any client asks for.
const ADDRESSES_MAX: usize = 8;
/// How long the end of a lease is reported: far longer than control needs to hear of it.
const ENDED_NS: u64 = 60 * SECOND_NS;
/// A lease without an end (RFC 2131 section 3.3, RFC 8415 section 7.7).
const FOREVER_S: u32 = u32::MAX;
const SECOND_NS: u64 = 1_000_000_000;

/// What is overheard waits here, from all workers, for whoever talks to control.
pub type LeaseQueue = ArrayQueue<Heard>;

/// One thing that was said about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The client.
    pub client: EndpointId,
    /// Which exchange of this client it belongs to.
    pub exchange: Exchange,
    /// What was said.
    pub word: Word,
}

/// The number by which question and answer belong together; each family counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exchange {
    /// Whether it is DHCP, not DHCPv6.
    pub is_ipv4: bool,
    /// The number.
    pub number: u32,
}

/// What can be said about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The client asks, perhaps for this address.
    Asked(Option<IpAddr>),
    /// The server grants the address for so many seconds; 0 takes it back.
    Granted(IpAddr, u32),
    /// The server refuses what was asked for.
    Refused,
    /// The client gives the address back.
    GivenUp(IpAddr),
}

/// A lease as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The endpoint.
    pub client: EndpointId,
    /// The address.
    pub address: IpAddr,
    /// Seconds until its end; 0 if it has ended.
    pub seconds_left: u32,
}

/// The leases of the endpoints at home here.
#[derive(Debug, Default)]
pub struct Leases {
    questions: HashMap<(EndpointId, Exchange), Question>,
    held: BTreeMap<(EndpointId, IpAddr), State>,
    has_news: bool,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    wanted: Option<IpAddr>,
    asked_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until this time.
    Held(u64),
    /// Since this time.
    Ended(u64),
}

impl Leases {
    /// Takes in one thing that was said.
    pub fn take(&mut self, heard: Heard, now_ns: u64) {
        let Heard { client, exchange, word } = heard;
        match word {
            Word::Asked(wanted) => self.ask((client, exchange), wanted, now_ns),
            Word::GivenUp(address) => self.end(client, address, now_ns),
            Word::Granted(address, seconds) => {
                if self.is_asked(&(client, exchange), now_ns) {
                    self.grant(client, address, seconds, now_ns);
                }
            }
            Word::Refused => {
                if !self.is_asked(&(client, exchange), now_ns) {
                    return;
                }
                let wanted = self.questions.get(&(client, exchange)).and_then(|question| question.wanted);
                self.end_others(client, None, now_ns);
                if let Some(address) = wanted {
                    self.end(client, address, now_ns);
                }
            }
        }
    }

    /// Ends what is over, and forgets what ended long ago.
    pub fn advance(&mut self, now_ns: u64) {
        self.questions.retain(|_, question| now_ns < question.asked_ns.saturating_add(QUESTION_NS));
        for state in self.held.values_mut() {
            if matches!(state, State::Held(until_ns) if *until_ns <= now_ns) {
                *state = State::Ended(now_ns);
                self.has_news = true;
            }
        }
        self.held.retain(|_, state| match state {
            State::Held(_) => true,
            State::Ended(since_ns) => now_ns < since_ns.saturating_add(ENDED_NS),
        });
    }

    /// Returns whether something began or ended since the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Returns every lease, and those that have just ended.
    pub fn lines(&self, now_ns: u64) -> Vec<Lease> {
        let line = |(&(client, address), state): (&(EndpointId, IpAddr), &State)| {
            let seconds_left = match state {
                State::Held(u64::MAX) => FOREVER_S,
                State::Held(until_ns) => seconds(until_ns.saturating_sub(now_ns).div_ceil(SECOND_NS)),
                State::Ended(_) => 0,
            };
            Lease { client, address, seconds_left }
        };
        self.held.iter().map(line).collect()
    }

    fn ask(&mut self, key: (EndpointId, Exchange), wanted: Option<IpAddr>, now_ns: u64) {
        if self.questions.len() < QUESTIONS_MAX || self.questions.contains_key(&key) {
            self.questions.insert(key, Question { wanted, asked_ns: now_ns });
        }
    }

    fn is_asked(&self, key: &(EndpointId, Exchange), now_ns: u64) -> bool {
        let question = self.questions.get(key);
        question.is_some_and(|question| now_ns < question.asked_ns.saturating_add(QUESTION_NS))
    }

    fn grant(&mut self, client: EndpointId, address: IpAddr, seconds: u32, now_ns: u64) {
        if !can_be_leased(address) {
            return;
        }
        if seconds == 0 {
            return self.end(client, address, now_ns);
        }
        if address.is_ipv4() {
            // A client of DHCP has one lease.
            self.end_others(client, Some(address), now_ns);
        }
        let key = (client, address);
        let is_held = |state: &State| matches!(state, State::Held(_));
        let held = self.of(client).filter(|(_, state)| is_held(state)).count();
        let is_new = !self.held.get(&key).is_some_and(is_held);
        if is_new && (held >= ADDRESSES_MAX || self.held.len() >= LEASES_MAX) {
            return;
        }
        let until_ns = match seconds {
            FOREVER_S => u64::MAX,
            seconds => now_ns.saturating_add(u64::from(seconds) * SECOND_NS),
        };
        self.held.insert(key, State::Held(until_ns));
        self.has_news |= is_new;
    }

    /// Ends the leases of IPv4 addresses of a client, but for one.
    fn end_others(&mut self, client: EndpointId, kept: Option<IpAddr>, now_ns: u64) {
        let is_other = |address: &IpAddr| address.is_ipv4() && Some(*address) != kept;
        let others: Vec<IpAddr> = self.of(client).map(|(address, _)| address).filter(is_other).collect();
        others.into_iter().for_each(|address| self.end(client, address, now_ns));
    }

    /// Ends a lease. One that is not known is reported as ended, too: it may be from before this host started.
    fn end(&mut self, client: EndpointId, address: IpAddr, now_ns: u64) {
        let has_room = self.held.len() < LEASES_MAX;
        match self.held.get_mut(&(client, address)) {
            Some(State::Ended(_)) => {}
            Some(state) => {
                *state = State::Ended(now_ns);
                self.has_news = true;
            }
            None if has_room && can_be_leased(address) => {
                self.held.insert((client, address), State::Ended(now_ns));
                self.has_news = true;
            }
            None => {}
        }
    }

    fn of(&self, client: EndpointId) -> impl Iterator<Item = (IpAddr, &State)> {
        let of_client = self.held.iter().filter(move |((owner, _), _)| *owner == client);
        of_client.map(|((_, address), state)| (*address, state))
    }
}

fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(FOREVER_S - 1).min(FOREVER_S - 1)
}

/// Returns whether an interface can be given the address.
fn can_be_leased(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !is_group_address(address) && !address.is_unspecified() && !address.is_loopback() && !is_link_local
}
