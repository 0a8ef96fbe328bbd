//! What may leave a host, judged from the frames alone: each is read again by `etherparse`, asked of the linear
//! [`Policy::decide`], and held against what came in. It knows nothing of the packet path's parser, bindings, table or
//! classifier.
//!
//! A frame that left is right if
//!
//! - it came in, at the device where its sender is, and was not changed but for padding cut off, or it is an answer to a
//!   frame that came in, by a rule that rejects;
//! - at a device of an endpoint it carries that endpoint's MAC and one of its addresses, or is for a group in both layers;
//! - its policy allows it, or it answers what was let out before and what the policy in force still allows;
//! - if it can change the state of a connection, its checksum is right.

use crate::lab::mac;
use etherparse::{Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, Ipv6Slice, TcpHeaderSlice};
use meshgate_policy::{L4Key, Mac, Policy, PolicyKey, Protocol, SegmentId};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Number of the uplink.
const UPLINK: usize = 3;
/// Largest frame without tags at a device of the laboratory: an MTU of 1,500.
const PLAIN_FRAME_BYTES_MAX: usize = 1_514;

/// A frame that left by a device.
pub struct Left {
    pub device: usize,
    pub bytes: Vec<u8>,
    pub is_partial: bool,
}

/// What the oracle reads of an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    hop_limit: u8,
    /// Number of the datagram, offset in it, whether more follows; None of a whole one.
    fragment: Option<(u32, u16, bool)>,
    l4: Vec<u8>,
}

/// Two sides, in the order of the first packet: addresses, protocol, ports or twice the identifier of an echo.
type Tuple = (IpAddr, IpAddr, u8, u16, u16);

/// What was let out, and by which policy it is judged.
pub struct Oracle {
    pub policy: Policy,
    /// Whether connections may still be taken up on the word of the side that answers.
    pub is_pickup_open: bool,
    /// First packets that were let out, by tuple, and what was asked of the policy.
    opened: HashSet<(Tuple, L4Key)>,
    /// Datagrams of which the first fragment was let out.
    datagrams: HashSet<(IpAddr, IpAddr, u8, u32)>,
    /// How many frames were held against the policy, and how many against what was let out before.
    pub asked: u64,
    pub answers: u64,
}

impl Oracle {
    pub fn new(policy: Policy, is_pickup_open: bool) -> Self {
        let (opened, datagrams) = (HashSet::new(), HashSet::new());
        Self { policy, is_pickup_open, opened, datagrams, asked: 0, answers: 0 }
    }

    /// Takes note of what left after frames came in at each device, and says what should not have.
    ///
    /// `parts` are the fragments that came in before, of which some may have waited.
    pub fn hear(
        &mut self,
        injected: &[HashSet<Vec<u8>>],
        parts: &[HashSet<Vec<u8>>],
        left: &[Left],
    ) -> Result<(), String> {
        let mut later = Vec::new();
        injected
            .iter()
            .flatten()
            .filter(|frame| frame.len() > PLAIN_FRAME_BYTES_MAX)
            .for_each(|frame| self.believe(frame));
        for frame in left {
            let fault =
                |what: String| Err(format!("{what}: left by device {}: {}", frame.device, hex(&frame.bytes)));
            let came_in = match where_from(injected, parts, frame) {
                Ok(Some(device)) => device,
                Ok(None) if is_answer(injected, frame) => continue,
                Ok(None) if is_cut(injected, frame) => home_of(frame),
                Ok(None) => return fault("nobody sent this".to_owned()),
                Err(_) if is_answer(&injected[frame.device..=frame.device], frame) => continue,
                Err(what) => return fault(what),
            };
            // An answer may look like what somebody sent, too.
            let may_be_answer = is_answer(&injected[frame.device..=frame.device], frame);
            if came_in == frame.device && !may_be_answer {
                return fault("it left by the device it came in by".to_owned());
            }
            match self.check(frame) {
                Ok(None) => {}
                Ok(Some(read)) if !may_be_answer => later.push((frame, read)),
                Err(what) if !may_be_answer => return fault(what),
                Ok(Some(_)) | Err(_) => {}
            }
        }
        // Frames are heard device by device, so that an answer may be heard before what it answers.
        for (frame, read) in later {
            let fault = |what| format!("{what}: left by device {}: {}", frame.device, hex(&frame.bytes));
            self.check_answer(&read).map_err(fault)?;
        }
        Ok(())
    }

    /// Takes note of a frame that may have been allowed and then found too long for the device it goes to: what it began
    /// goes on.
    fn believe(&mut self, frame: &[u8]) {
        let read = match l3_of(frame) {
            Ok((0x0800, l3)) => read_v4(l3),
            Ok((0x86dd, l3)) => read_v6(l3),
            _ => return,
        };
        let Ok(read) = read else { return };
        let Ok((tuple, l4)) = tuple_of(&read) else { return };
        let is_first = self.allows(read.source, read.destination, l4);
        if is_first {
            self.opened.insert((tuple, exchange_of(l4)));
        }
        let (reverse, asked) = ((tuple.1, tuple.0, tuple.2, tuple.4, tuple.3), reverse_of(l4));
        let is_answer =
            self.opened.contains(&(reverse, asked)) && self.allows(read.destination, read.source, asked);
        if is_first || is_answer {
            let id = read.fragment.filter(|(_, offset, _)| *offset == 0).map(|(id, ..)| id);
            self.datagrams.extend(id.map(|id| (read.source, read.destination, read.protocol, id)));
        }
    }

    /// Returns the packet if the policy does not allow it for itself: something must have been let out before.
    fn check(&mut self, left: &Left) -> Result<Option<Read>, String> {
        let (ethertype, l3) = l3_of(&left.bytes)?;
        let destination_mac = Mac(left.bytes[..6].try_into().unwrap());
        if ethertype == 0x0806 {
            return check_arp(left.device, destination_mac).map(|()| None);
        }
        let read = match ethertype {
            0x0800 => read_v4(l3)?,
            0x86dd => read_v6(l3)?,
            other => return Err(format!("nobody lists ethertype {other:#06x}")),
        };
        check_delivery(left.device, destination_mac, &read)?;
        if is_of_the_link(&read) {
            return Ok(None);
        }
        if read.fragment.is_some_and(|(_, offset, _)| offset > 0) {
            return Ok(Some(read));
        }
        check_sum(&read, left.is_partial)?;
        if let Some((id, ..)) = read.fragment {
            self.datagrams.insert((read.source, read.destination, read.protocol, id));
        }
        if quoted_by(&read).is_some() {
            return Ok(Some(read));
        }
        let (tuple, l4) = tuple_of(&read)?;
        if self.allows(read.source, read.destination, l4) {
            self.asked += 1;
            self.opened.insert((tuple, exchange_of(l4)));
            return Ok(None);
        }
        Ok(Some(read))
    }

    fn allows(&self, source: IpAddr, destination: IpAddr, l4: L4Key) -> bool {
        let key = PolicyKey { segment: SegmentId::DEFAULT, source, destination, l4 };
        self.policy.decide(&key).action.is_allow()
    }

    fn check_answer(&mut self, read: &Read) -> Result<(), String> {
        self.answers += 1;
        if let Some((id, offset, _)) = read.fragment
            && offset > 0
        {
            let datagram = (read.source, read.destination, read.protocol, id);
            let is_known = self.datagrams.contains(&datagram);
            return is_known.then_some(()).ok_or("a fragment of what was not let out".to_owned());
        }
        if let Some(quoted) = quoted_by(read) {
            return self.check_error(read, &quoted);
        }
        let (tuple, l4) = tuple_of(read)?;
        let reverse: Tuple = (tuple.1, tuple.0, tuple.2, tuple.4, tuple.3);
        let reverse_l4 = reverse_of(l4);
        let is_allowed = self.allows(read.destination, read.source, reverse_l4);
        let is_tcp = read.protocol == 6;
        let is_opened = self.opened.contains(&(reverse, reverse_l4)) || is_tcp && self.is_pickup_open;
        match (is_allowed, is_opened) {
            (true, true) => Ok(()),
            (false, _) => Err("the policy allows it in neither direction".to_owned()),
            (true, false) => Err("it answers what was not let out".to_owned()),
        }
    }

    /// An ICMP error goes to whoever sent what it quotes, which was let out.
    fn check_error(&self, read: &Read, quoted: &Read) -> Result<(), String> {
        if quoted.source != read.destination {
            return Err("an error to another than the quoted sender".to_owned());
        }
        let (tuple, l4) = tuple_of(quoted)?;
        let reverse: Tuple = (tuple.1, tuple.0, tuple.2, tuple.4, tuple.3);
        let forward = self.opened.contains(&(tuple, exchange_of(l4)))
            && self.allows(quoted.source, quoted.destination, l4);
        let back = reverse_of(l4);
        let backward =
            self.opened.contains(&(reverse, back)) && self.allows(quoted.destination, quoted.source, back);
        if forward || backward { Ok(()) } else { Err("an error about what was not let out".to_owned()) }
    }
}

/// Returns the device at which the frame came in.
fn where_from(
    injected: &[HashSet<Vec<u8>>],
    parts: &[HashSet<Vec<u8>>],
    left: &Left,
) -> Result<Option<usize>, String> {
    let home = home_of(left);
    let is_of = |frames: &HashSet<Vec<u8>>| {
        frames.contains(&left.bytes) || frames.iter().any(|frame| frame.starts_with(&left.bytes))
    };
    let came_in_by = |device: &usize| is_of(&injected[*device]) || is_of(&parts[*device]);
    let places: Vec<usize> = (0..injected.len()).filter(came_in_by).collect();
    match places.contains(&home) {
        true => Ok(Some(home)),
        false if places.is_empty() => Ok(None),
        false => Err("its sender is elsewhere".to_owned()),
    }
}

/// Returns the device behind which its sender is.
fn home_of(left: &Left) -> usize {
    let source = left.bytes.get(6..12);
    (0..UPLINK).find(|device| source == Some(&mac_of(*device).0)).unwrap_or(UPLINK)
}

/// Returns whether the frame may be a part of a segment that its sender left to the device to cut.
fn is_cut(injected: &[HashSet<Vec<u8>>], left: &Left) -> bool {
    let mut long = injected[home_of(left)].iter().filter(|frame| frame.len() > PLAIN_FRAME_BYTES_MAX);
    long.any(|frame| frame.get(..12) == left.bytes.get(..12))
}

/// Returns the MAC of the endpoint behind a device.
pub fn mac_of(device: usize) -> Mac {
    mac(u8::try_from(device + 1).unwrap())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn l3_of(frame: &[u8]) -> Result<(u16, &[u8]), String> {
    let at = |place: usize| frame.get(place..place + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    match at(12).ok_or("it has no ethertype")? {
        0x8100 | 0x88a8 => {
            // No device of the laboratory has a segment for a tag; a priority tag is none.
            if at(14).is_none_or(|tag| tag & 0xfff != 0) {
                return Err("a tag that no device has".to_owned());
            }
            Ok((at(16).ok_or("the tag ends it")?, &frame[18..]))
        }
        ethertype => Ok((ethertype, &frame[14..])),
    }
}

fn read_v4(l3: &[u8]) -> Result<Read, String> {
    let header = Ipv4HeaderSlice::from_slice(l3).map_err(|error| error.to_string())?;
    if header.to_header().calc_header_checksum() != header.header_checksum() {
        return Err("the checksum of the IPv4 header is wrong".to_owned());
    }
    if header.options().iter().any(|byte| *byte == 131 || *byte == 137) && has_source_route(header.options())
    {
        return Err("it has a source route".to_owned());
    }
    let l4 =
        l3.get(header.slice().len()..usize::from(header.total_len())).ok_or("a length that cannot be")?;
    let (offset, more) = (header.fragments_offset().value(), header.more_fragments());
    Ok(Read {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        hop_limit: header.ttl(),
        fragment: (offset > 0 || more).then_some((header.identification().into(), offset, more)),
        l4: l4.to_vec(),
    })
}

fn has_source_route(options: &[u8]) -> bool {
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        match kind {
            0 => return false,
            1 => at += 1,
            131 | 137 => return true,
            _ => at += usize::from(options.get(at + 1).copied().unwrap_or(0)).max(2),
        }
    }
    false
}

fn read_v6(l3: &[u8]) -> Result<Read, String> {
    let slice = Ipv6Slice::from_slice(l3).map_err(|error| error.to_string())?;
    let (header, payload) = (slice.header(), slice.payload());
    let first = slice.extensions().clone().into_iter();
    let mut fragment = None;
    for extension in first {
        match extension {
            etherparse::Ipv6ExtensionSlice::Fragment(part) => {
                let (offset, more) = (part.fragment_offset().value(), part.more_fragments());
                fragment = (offset > 0 || more).then_some((part.identification(), offset, more));
            }
            etherparse::Ipv6ExtensionSlice::Routing(routing)
                if routing.payload()[0] == 0 || routing.payload()[1] > 0 =>
            {
                return Err("it has a routing header that leads elsewhere".to_owned());
            }
            _ => {}
        }
    }
    Ok(Read {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: payload.ip_number.0,
        hop_limit: header.hop_limit(),
        fragment,
        l4: payload.payload.to_vec(),
    })
}

/// Frames of the uplink's side are for whoever is there; an endpoint gets its own.
fn check_delivery(device: usize, destination_mac: Mac, read: &Read) -> Result<(), String> {
    if device == UPLINK {
        return Ok(());
    }
    let number = u8::try_from(device + 1).unwrap();
    let is_group = match read.destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    let own = [
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into())),
        IpAddr::V6(mac(number).link_local()),
    ];
    let is_own = destination_mac == mac(number) && own.contains(&read.destination);
    if is_own || destination_mac.0[0] & 1 == 1 && is_group {
        Ok(())
    } else {
        Err("it is not for the endpoint that it went to".to_owned())
    }
}

fn check_arp(device: usize, destination_mac: Mac) -> Result<(), String> {
    let is_for = device == UPLINK || destination_mac.0[0] & 1 == 1 || destination_mac == mac_of(device);
    if is_for { Ok(()) } else { Err("ARP to another than the endpoint".to_owned()) }
}

/// Returns whether stage 2 alone decides: neighbour discovery, MLD, IGMP. The laboratory has no DHCP server, and nobody
/// leases.
fn is_of_the_link(read: &Read) -> bool {
    let kind = read.l4.first().copied();
    match (read.protocol, kind) {
        (58, Some(133..=137)) => read.hop_limit == 255,
        (58, Some(130..=132 | 143)) => read.hop_limit == 1,
        (2, Some(0x11 | 0x12 | 0x16 | 0x17 | 0x22)) => read.source.is_ipv4(),
        _ => false,
    }
}

fn tuple_of(read: &Read) -> Result<(Tuple, L4Key), String> {
    let (protocol, l4) = (Protocol(read.protocol), &read.l4);
    let word = |at: usize| l4.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (ports, key) = match read.protocol {
        6 | 17 | 132 => {
            let (source, destination) = (word(0).ok_or("no ports")?, word(2).ok_or("no ports")?);
            ((source, destination), L4Key::ports(protocol, source, destination))
        }
        1 | 58 => {
            let (kind, code) = (*l4.first().ok_or("no type")?, *l4.get(1).ok_or("no code")?);
            let id = word(4).unwrap_or(0);
            ((id, id), L4Key::icmp(protocol, kind, code))
        }
        _ => ((0, 0), L4Key::bare(protocol)),
    };
    Ok(((read.source, read.destination, read.protocol, ports.0, ports.1), key))
}

/// Returns by what an exchange is known: an echo by its identifier, whatever code the request carries.
fn exchange_of(l4: L4Key) -> L4Key {
    match (l4.protocol.0, l4.source_port) {
        (1, 8) | (58, 128) => L4Key { destination_port: 0, ..l4 },
        _ => l4,
    }
}

/// Returns what the other side would have asked: for an echo reply that is the request.
fn reverse_of(l4: L4Key) -> L4Key {
    let L4Key { protocol, source_port, destination_port } = l4;
    match (protocol.0, source_port) {
        (1, 0) => L4Key::icmp(protocol, 8, 0),
        (58, 129) => L4Key::icmp(protocol, 128, 0),
        // What is neither a reply nor has ports is asked of nobody.
        (1 | 58, _) => L4Key::icmp(protocol, 255, 255),
        _ if protocol.has_ports() => L4Key::ports(protocol, destination_port, source_port),
        _ => l4,
    }
}

/// Returns what an ICMP error quotes, with as much of its L4 header as there is.
fn quoted_by(read: &Read) -> Option<Read> {
    let kind = *read.l4.first()?;
    let quote = read.l4.get(8..)?;
    match (read.protocol, kind) {
        (1, 3 | 4 | 11 | 12) => {
            let header = Ipv4HeaderSlice::from_slice(quote).ok()?;
            Some(Read {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol: header.protocol().0,
                hop_limit: header.ttl(),
                fragment: None,
                l4: quote.get(header.slice().len()..)?.to_vec(),
            })
        }
        (58, 1..=4) => {
            let header = Ipv6HeaderSlice::from_slice(quote).ok()?;
            // Of a quote the lengths are what some router made of them.
            let rest = Ipv6ExtensionsSlice::from_slice_lax(header.next_header(), quote.get(40..)?);
            Some(Read {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol: rest.1.0,
                hop_limit: header.hop_limit(),
                fragment: None,
                l4: rest.2.to_vec(),
            })
        }
        _ => None,
    }
}

/// A segment that begins or ends a connection has a right checksum, or one that its sender left to the device.
fn check_sum(read: &Read, is_partial: bool) -> Result<(), String> {
    if read.protocol != 6 || read.fragment.is_some() || is_partial {
        return Ok(());
    }
    let header = TcpHeaderSlice::from_slice(&read.l4).map_err(|error| error.to_string())?;
    if !(header.syn() || header.fin() || header.rst()) {
        return Ok(());
    }
    let payload = &read.l4[header.slice().len()..];
    let sum = match (read.source, read.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload)
        }
        _ => return Err("two families".to_owned()),
    };
    if sum.ok() == Some(header.checksum()) { Ok(()) } else { Err("its checksum is wrong".to_owned()) }
}

/// Returns whether the frame can be an answer to a refused one: a reset, or "administratively prohibited", between
/// machines of which one sent something to the other. The sender of the refused one is always told; the other end of a
/// connection that a policy cut as well, where all devices are given.
fn is_answer(injected: &[HashSet<Vec<u8>>], left: &Left) -> bool {
    let Ok((ethertype, l3)) = l3_of(&left.bytes) else { return false };
    let (to, from) = (&left.bytes[..6], &left.bytes[6..12]);
    let is_between = |frame: &Vec<u8>| frame.get(..6) == Some(from) && frame.get(6..12) == Some(to);
    let is_along = |frame: &Vec<u8>| frame.get(..6) == Some(to) && frame.get(6..12) == Some(from);
    let is_told = injected.iter().flatten().any(is_between);
    if !is_told && (injected.len() == 1 || !injected.iter().flatten().any(is_along)) {
        return false;
    }
    let read = match ethertype {
        0x0800 => read_v4(l3),
        0x86dd => read_v6(l3),
        _ => return false,
    };
    let Ok(read) = read else { return false };
    match read.protocol {
        6 => read.l4.get(13).is_some_and(|flags| flags & 0x04 != 0),
        1 => read.l4.starts_with(&[3, 13]),
        58 => read.l4.starts_with(&[1, 1]),
        _ => false,
    }
}
