//! One question over rtnetlink: what is known of a link? (`RTM_GETLINK`, rtnetlink(7).)

use std::io;
use std::os::fd::AsFd;

use crate::sys;

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// Bytes of `struct ifinfomsg`.
const LINK_BYTES: usize = 16;

/// Largest answer that is read. One link without statistics and virtual functions takes about 1.5 KiB.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Holds the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// The name.
    pub(crate) name: String,
    /// The Ethernet address, or zero.
    pub(crate) mac: [u8; 6],
    /// Largest payload of a frame.
    pub(crate) mtu_bytes: u32,
    /// Receive queues allocated.
    pub(crate) rx_queues: u32,
    /// Transmit queues allocated.
    pub(crate) tx_queues: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// Index of the device that this one belongs to.
    pub(crate) master: Option<u32>,
}

/// Asks for the link with the given index in the namespace of the calling thread.
pub(crate) fn link(index: u32) -> io::Result<Link> {
    let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    sys::send(socket.as_fd(), &question(index))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = sys::receive(socket.as_fd(), &mut answer)?;
    parse(&answer[..length])
}

/// Returns the message that asks for one link.
fn question(index: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + LINK_BYTES);
    let length = u32::try_from(HEADER_BYTES + LINK_BYTES).expect("it is 32");
    message.extend(length.to_ne_bytes());
    message.extend(libc::RTM_GETLINK.to_ne_bytes());
    let flags = u16::try_from(libc::NLM_F_REQUEST).expect("it is 1");
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence and sender: one question, one answer
    message.extend([0; 4]); // family and device type: any
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]); // flags and their mask: nothing is changed
    message
}

/// Reads the answer.
fn parse(answer: &[u8]) -> io::Result<Link> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = u16_at(answer, 4).ok_or_else(malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let code = u32_at(answer, HEADER_BYTES).ok_or_else(malformed)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
    }
    let length = u32_at(answer, 0).ok_or_else(malformed)? as usize;
    if kind != libc::RTM_NEWLINK || length > answer.len() {
        return Err(malformed());
    }
    let flags = u32_at(answer, HEADER_BYTES + 8).ok_or_else(malformed)?;
    let mut link = Link { up: flags & libc::IFF_UP.cast_unsigned() != 0, ..Link::default() };
    let mut rest = answer.get(HEADER_BYTES + LINK_BYTES..length).ok_or_else(malformed)?;
    while let Some((kind, value, after)) = next_attribute(rest) {
        link.take(kind, value);
        rest = after;
    }
    if link.name.is_empty() { Err(malformed()) } else { Ok(link) }
}

impl Link {
    /// Takes one attribute over; unknown ones are skipped.
    fn take(&mut self, kind: u16, value: &[u8]) {
        let number = u32_at(value, 0);
        match kind {
            libc::IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or(value);
                self.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS => self.mac = value.try_into().unwrap_or(self.mac),
            libc::IFLA_MTU => self.mtu_bytes = number.unwrap_or(self.mtu_bytes),
            libc::IFLA_MASTER => self.master = number,
            libc::IFLA_NUM_RX_QUEUES => self.rx_queues = number.unwrap_or(self.rx_queues),
            libc::IFLA_NUM_TX_QUEUES => self.tx_queues = number.unwrap_or(self.tx_queues),
            _ => {}
        }
    }
}

/// Splits the next attribute off: its kind without flag bits, its value, what follows.
fn next_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & 0x3fff;
    let value = bytes.get(4..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, after))
}

/// Reads a 16-bit number in the machine's order.
fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    let bytes = bytes.get(start..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// Reads a 32-bit number in the machine's order.
fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    let bytes = bytes.get(start..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question(5);
        bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        bytes[24..28].copy_from_slice(&1u32.to_ne_bytes());
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_answer_is_read_and_cut_anywhere_it_is_refused_or_poorer() {
        let mtu = 1500u32.to_ne_bytes();
        let bytes =
            answer(&[(libc::IFLA_IFNAME, b"tap7\0"), (libc::IFLA_MTU, &mtu), (libc::IFLA_ADDRESS, &[2; 6])]);
        let link = parse(&bytes).unwrap();
        assert_eq!((link.name.as_str(), link.mtu_bytes, link.mac, link.up), ("tap7", 1500, [2; 6], true));
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn attributes_with_impossible_lengths_end_the_list() {
        for length in [0u16, 3, 60_000] {
            let mut bytes = answer(&[(libc::IFLA_IFNAME, b"tap7\0"), (libc::IFLA_MTU, &[1, 0, 0, 0])]);
            bytes[44..46].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parse(&bytes).unwrap().mtu_bytes, 0);
        }
    }

    #[test]
    fn a_refusal_is_the_error_it_names() {
        let mut bytes = question(5);
        bytes[4..6].copy_from_slice(&2u16.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(parse(&bytes).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
