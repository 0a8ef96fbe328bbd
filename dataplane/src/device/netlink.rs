//! Asks the kernel over rtnetlink for links, addresses and default routes (rtnetlink(7)).
//!
//! Not sysfs, which shows the namespace in which it was mounted and not the one of the asking thread, and not
//! `/proc/net/fib_trie`, which does not say to which device an IPv4 address belongs. Only what is needed is read from
//! a message, as it comes; so a table of a million routes costs no memory.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of `struct nlmsghdr`, of `struct ifinfomsg`, of `struct ifaddrmsg` and of `struct rtmsg`.
const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const ROUTE_BYTES: usize = 12;

/// Largest part of an answer; the kernel fills at most 32 KiB at once.
const PART_BYTES: usize = 64 * 1024;

/// Message types.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;

/// `NLM_F_DUMP_INTR`: what was listed changed meanwhile.
const INTERRUPTED: u16 = 0x10;

/// Attempts to get a listing during which nothing changes.
const ATTEMPTS_MAX: usize = 8;

/// Device flags.
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

/// Address families as the kernel numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Flag of an IPv6 address that the kernel made up for privacy.
const IFA_F_TEMPORARY: u32 = 1;

/// Route type "to a gateway or a directly connected net", and the table of the kernel's own routes.
const RTN_UNICAST: u8 = 1;
const RT_TABLE_LOCAL: u8 = 255;

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Index.
    pub(super) index: u32,
    /// Name.
    pub(super) name: String,
    /// Kind of a virtual device: `veth`, `tun` (also tap), `bridge`; empty for a card.
    pub(super) kind: String,
    /// Ethernet address, or zero.
    pub(super) mac: [u8; 6],
    /// Largest payload of a frame.
    pub(super) mtu_bytes: u32,
    /// Whether it is administratively up.
    pub(super) up: bool,
    /// Whether it is the loopback device.
    pub(super) loopback: bool,
    /// Bridge or bond to which it belongs.
    pub(super) master: Option<u32>,
    /// Where XDP programs are attached, as the kernel numbers it (`XDP_ATTACHED_*`).
    pub(super) xdp_attached: u8,
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Index of the device.
    pub(super) link: u32,
    /// The address.
    pub(super) address: IpAddr,
    /// Length of its prefix.
    pub(super) prefix_bits: u8,
    /// Address at the other end of a point-to-point link.
    pub(super) peer: Option<IpAddr>,
    /// Broadcast address.
    pub(super) broadcast: Option<IpAddr>,
    /// Label of an IPv4 address, as `eth0:1`.
    pub(super) label: Option<String>,
    /// Whether the kernel made it up and will do so again.
    pub(super) temporary: bool,
}

/// Lists the devices of the calling thread's network namespace.
pub(super) fn links() -> io::Result<Vec<Link>> {
    dump(RTM_GETLINK, |kind, body, found| {
        found.extend((kind == RTM_NEWLINK).then(|| link(body)).flatten());
    })
}

/// Lists the addresses of all devices.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    dump(RTM_GETADDR, |kind, body, found| {
        found.extend((kind == RTM_NEWADDR).then(|| address(body)).flatten());
    })
}

/// Lists the devices that default routes lead to, of both families and all tables.
pub(super) fn default_route_links() -> io::Result<Vec<u32>> {
    dump(RTM_GETROUTE, |kind, body, found| {
        if kind == RTM_NEWROUTE {
            default_route(body, found);
        }
    })
}

/// Asks for a listing until none changes under way.
fn dump<T>(question: u16, mut take: impl FnMut(u16, &[u8], &mut Vec<T>)) -> io::Result<Vec<T>> {
    for _ in 0..ATTEMPTS_MAX {
        let mut found = Vec::new();
        if dump_once(question, &mut |kind, body| take(kind, body, &mut found))? {
            return Ok(found);
        }
    }
    Err(io::Error::other("the list of devices, addresses or routes keeps changing"))
}

/// Asks for a listing; returns whether it is of one moment.
fn dump_once(question: u16, take: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
    // No protocol stands for the first one, NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = u32::try_from(HEADER_BYTES + LINK_BYTES).expect("it is 32");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([question.to_ne_bytes(), DUMP.to_ne_bytes()].concat());
    // Sequence and sender are zero, for there is one question; so is the body, which means "of every family".
    message.resize(HEADER_BYTES + LINK_BYTES, 0);
    send(&socket, &message, SendFlags::empty())?;
    let mut part = vec![0; PART_BYTES];
    let mut one_moment = true;
    loop {
        let (_, length) = recv(&socket, &mut part[..], RecvFlags::empty())?;
        match read_part(part.get(..length).unwrap_or(&part), take) {
            Part::More { interrupted } => one_moment &= !interrupted,
            Part::Done { interrupted } => return Ok(one_moment && !interrupted),
            Part::Refused(error) => return Err(error),
        }
    }
}

/// What one part of an answer said beside its content.
enum Part {
    /// Another part follows.
    More {
        /// Whether something changed meanwhile.
        interrupted: bool,
    },
    /// It was the last one.
    Done {
        /// Whether something changed meanwhile.
        interrupted: bool,
    },
    /// The kernel refused the question, or cannot be understood.
    Refused(io::Error),
}

/// Takes the messages of one part.
fn read_part(mut part: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> Part {
    if part.is_empty() {
        return Part::Refused(io::ErrorKind::UnexpectedEof.into());
    }
    let mut interrupted = false;
    while let (Some(length), Some(kind), Some(flags)) = (u32_at(part, 0), u16_at(part, 4), u16_at(part, 6)) {
        let length = length as usize;
        let Some(body) = part.get(HEADER_BYTES..length) else {
            return Part::Refused(io::ErrorKind::InvalidData.into());
        };
        interrupted |= flags & INTERRUPTED != 0;
        match kind {
            NLMSG_DONE => return Part::Done { interrupted },
            NLMSG_ERROR => {
                let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                return Part::Refused(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ => take(kind, body),
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Part::More { interrupted }
}

/// Reads the message that describes a device.
fn link(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK_BYTES..)?) {
        match kind {
            1 => link.mac = value.try_into().unwrap_or_default(), // IFLA_ADDRESS
            3 => link.name = text(value),                         // IFLA_IFNAME
            4 => link.mtu_bytes = u32_at(value, 0).unwrap_or(0),  // IFLA_MTU
            10 => link.master = u32_at(value, 0),                 // IFLA_MASTER
            18 => {
                // IFLA_LINKINFO holds IFLA_INFO_KIND
                link.kind = attributes(value)
                    .find(|&(kind, _)| kind == 1)
                    .map_or_else(String::new, |(_, kind)| text(kind));
            }
            43 => {
                // IFLA_XDP holds IFLA_XDP_ATTACHED
                let attached = attributes(value).find(|&(kind, _)| kind == 2);
                link.xdp_attached = attached.and_then(|(_, value)| value.first().copied()).unwrap_or(0);
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Reads the message that describes an address.
fn address(body: &[u8]) -> Option<Address> {
    let (family, prefix_bits) = (*body.first()?, *body.get(1)?);
    let mut flags = u32::from(*body.get(2)?);
    let link = u32_at(body, 4)?;
    let (mut near, mut far, mut broadcast, mut label) = (None, None, None, None);
    for (kind, value) in attributes(body.get(ADDRESS_BYTES..)?) {
        match kind {
            1 => far = ip(family, value),       // IFA_ADDRESS
            2 => near = ip(family, value),      // IFA_LOCAL
            3 => label = Some(text(value)),     // IFA_LABEL
            4 => broadcast = ip(family, value), // IFA_BROADCAST
            8 => flags = u32_at(value, 0).unwrap_or(flags),
            _ => {}
        }
    }
    // Without a local address, as usual in IPv6, IFA_ADDRESS is the device's own.
    let address = near.or(far)?;
    let peer = far.filter(|&far| far != address);
    let temporary = family == AF_INET6 && flags & IFA_F_TEMPORARY != 0;
    Some(Address { link, address, prefix_bits, peer, broadcast, label, temporary })
}

/// Adds the devices of a route, if it is a default route.
fn default_route(body: &[u8], links: &mut Vec<u32>) {
    let [Some(&family), Some(&prefix_bits), Some(&table), Some(&kind)] =
        [0, 1, 4, 7].map(|place| body.get(place))
    else {
        return;
    };
    let is_ip = family == AF_INET || family == AF_INET6;
    if !is_ip || prefix_bits != 0 || table == RT_TABLE_LOCAL || kind != RTN_UNICAST {
        return;
    }
    for (kind, value) in attributes(body.get(ROUTE_BYTES..).unwrap_or_default()) {
        match kind {
            4 => links.extend(u32_at(value, 0)), // RTA_OIF
            9 => next_hops(value, links),        // RTA_MULTIPATH
            _ => {}
        }
    }
}

/// Adds the devices of a route that goes several ways (`struct rtnexthop`, 8 bytes and attributes).
fn next_hops(mut hops: &[u8], links: &mut Vec<u32>) {
    while let (Some(length), Some(link)) = (u16_at(hops, 0), u32_at(hops, 4)) {
        links.push(link);
        let length = usize::from(length).max(8).next_multiple_of(4);
        hops = hops.get(length..).unwrap_or_default();
    }
}

/// Goes through attributes: kind without its flag bits, and value. Ends where one makes no sense.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads an address of a family.
fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// Reads a text up to its terminator.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// Reads a 16-bit number in the machine's order.
fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    bytes.get(start..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Reads a 32-bit number in the machine's order.
fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    bytes.get(start..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
    }

    fn link_message() -> Vec<u8> {
        let head = [&[0; 4][..], &7u32.to_ne_bytes(), &IFF_UP.to_ne_bytes(), &[0; 4]].concat();
        let kind = attribute(18, &attribute(1, b"tun\0"));
        let parts = [
            attribute(3, b"tap7\0"),
            attribute(1, &[2, 0, 0, 0, 0, 7]),
            attribute(4, &1500u32.to_ne_bytes()),
            attribute(10, &3u32.to_ne_bytes()),
            kind,
            attribute(43, &attribute(2, &[2])),
        ];
        [head, parts.concat()].concat()
    }

    #[test]
    fn a_device_is_read_from_its_message() {
        let expected = Link {
            index: 7,
            name: "tap7".into(),
            kind: "tun".into(),
            mac: [2, 0, 0, 0, 0, 7],
            mtu_bytes: 1500,
            up: true,
            loopback: false,
            master: Some(3),
            xdp_attached: 2,
        };
        assert_eq!(link(&link_message()), Some(expected));
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let head = |family, bits, flags| [&[family, bits, flags, 0][..], &7u32.to_ne_bytes()].concat();
        let plain = [
            head(AF_INET, 24, 0x80),
            attribute(1, &[10, 0, 0, 9]),
            attribute(2, &[10, 0, 0, 1]),
            attribute(4, &[10, 0, 0, 255]),
            attribute(3, b"tap7:1\0"),
        ]
        .concat();
        let read = address(&plain).unwrap();
        assert_eq!((read.address.to_string(), read.prefix_bits), ("10.0.0.1".to_owned(), 24));
        assert_eq!(read.peer.unwrap().to_string(), "10.0.0.9");
        assert_eq!(read.broadcast.unwrap().to_string(), "10.0.0.255");
        assert_eq!((read.label.as_deref(), read.temporary), (Some("tap7:1"), false));
        let private = [head(AF_INET6, 64, 1), attribute(1, &[0xfd; 16])].concat();
        let read = address(&private).unwrap();
        assert!(read.temporary && read.peer.is_none() && read.address.is_ipv6());
    }

    #[test]
    fn only_default_routes_name_their_devices() {
        let route = |bits, table, kind, rest: &[u8]| {
            [&[AF_INET, bits, 0, 0, table, 3, 0, kind, 0, 0, 0, 0][..], rest].concat()
        };
        let to = |link: u32| attribute(4, &link.to_ne_bytes());
        let hop = |link: u32| [&8u16.to_ne_bytes()[..], &[0; 2], &link.to_ne_bytes()].concat();
        let mut links = Vec::new();
        default_route(&route(0, 254, 1, &to(5)), &mut links);
        default_route(&route(24, 254, 1, &to(6)), &mut links);
        default_route(&route(0, 255, 1, &to(7)), &mut links);
        default_route(&route(0, 254, 7, &to(8)), &mut links);
        default_route(&route(0, 254, 1, &attribute(9, &[hop(9), hop(10)].concat())), &mut links);
        assert_eq!(links, [5, 9, 10]);
    }

    #[test]
    fn an_answer_ends_is_refused_or_goes_on() {
        let mut seen = Vec::new();
        let mut take = |kind, body: &[u8]| seen.push((kind, body.len()));
        let two = [message(RTM_NEWLINK, 0, &[0; 20]), message(RTM_NEWLINK, INTERRUPTED, &[0; 16])].concat();
        assert!(matches!(read_part(&two, &mut take), Part::More { interrupted: true }));
        let done = message(NLMSG_DONE, 0, &[0; 4]);
        assert!(matches!(read_part(&done, &mut take), Part::Done { interrupted: false }));
        let refused = message(NLMSG_ERROR, 0, &(-1i32).to_ne_bytes());
        assert!(
            matches!(read_part(&refused, &mut take), Part::Refused(error) if error.raw_os_error() == Some(1))
        );
        assert!(matches!(read_part(&two[..30], &mut take), Part::Refused(_)));
        assert_eq!(seen, [(RTM_NEWLINK, 20), (RTM_NEWLINK, 16)]);
    }

    #[test]
    fn a_message_that_is_cut_or_spoiled_anywhere_is_no_accident() {
        let whole = link_message();
        for length in 0..whole.len() {
            let _ = (link(&whole[..length]), address(&whole[..length]));
            default_route(&whole[..length], &mut Vec::new());
            let mut spoiled = message(RTM_NEWLINK, 0, &whole);
            spoiled[length] ^= 0xff;
            read_part(&spoiled, &mut |_, body| {
                let _ = link(body);
            });
        }
    }

    #[test]
    fn the_loopback_device_of_this_machine_is_listed() {
        let links = links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.loopback));
        addresses().unwrap();
        default_route_links().unwrap();
    }
}
