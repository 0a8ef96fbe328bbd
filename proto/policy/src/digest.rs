//! The digest of a policy: SHA-256 over one canonical encoding, so that "the same policy" is a comparison of 32 bytes.
//!
//! The encoding is written by hand rather than taken from the wire format, whose bytes are not canonical and may change.
//! It is not meant to be read back; it only has to be injective:
//! - integers have a fixed width and are big-endian;
//! - a list or text is its length as u32, then its elements or bytes;
//! - an enum is one byte of tag, then the variant's fields; an absent option is tag 0, a present one tag 1 and the value;
//! - an address is 4 or 6 as one byte, then its 4 or 16 bytes; a prefix is its address, then its length as one byte;
//! - a struct is its fields in the order of [`Encoder`]'s functions, the whole begins with [`MAGIC`].
//!
//! Every struct is taken apart completely, so that a new field does not compile until it has a place here. Any change
//! of the encoding changes every digest and therefore the last byte of [`MAGIC`].

use crate::address::{Mac, Prefix};
use crate::policy::{Endpoint, EndpointFlags, Group, IntraGroup, Policy, Segment};
use crate::ports::PortSet;
use crate::protocol::L4Match;
use crate::rule::{Action, Rule, RuleKind, Side};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::net::IpAddr;

/// First bytes of the encoding; the last one is its version.
const MAGIC: &[u8; 16] = b"meshgate policy\x02";
/// Hexadecimal digits of the short form: 48 bits, enough for people to tell versions apart, never for a comparison.
const SHORT_DIGITS: usize = 12;

/// SHA-256 of the canonical encoding of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(SHORT_DIGITS);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text or byte string that is not a digest. Holds its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digest: {0} characters or bytes that are not 64 hexadecimal digits or 32 bytes")]
pub struct DigestError(pub usize);

impl TryFrom<&[u8]> for Digest {
    type Error = DigestError;
    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError(bytes.len()))
    }
}

impl std::str::FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bad = DigestError(text.len());
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(bad);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad)?;
        }
        Ok(Self(bytes))
    }
}

impl Policy {
    /// Returns the digest of everything in the policy, its version included.
    pub fn digest(&self) -> Digest {
        let Self { version, segments, groups, endpoints, rules, default_action } = self;
        let mut encoder = Encoder(Sha256::new_with_prefix(MAGIC));
        encoder.bytes(&version.0.to_be_bytes());
        encoder.list(segments, Encoder::segment);
        encoder.list(groups, Encoder::group);
        encoder.list(endpoints, Encoder::endpoint);
        encoder.list(rules, Encoder::rule);
        encoder.action(*default_action);
        Digest(encoder.0.finalize().into())
    }
}

/// Feeds the hash. Each function writes one type of the policy.
struct Encoder(Sha256);

impl Encoder {
    fn segment(&mut self, segment: &Segment) {
        let Segment { id, name, tenant } = segment;
        self.bytes(&id.0.to_be_bytes());
        self.text(name.as_str());
        self.text(tenant.as_str());
    }

    fn group(&mut self, group: &Group) {
        let Group { id, name, segment, prefixes, endpoints, intra_group } = group;
        self.bytes(&id.0.to_be_bytes());
        self.text(name.as_str());
        self.bytes(&segment.0.to_be_bytes());
        self.list(prefixes, Self::prefix);
        self.list(endpoints, |encoder, endpoint| encoder.bytes(&endpoint.0.to_be_bytes()));
        self.bytes(&[match intra_group {
            IntraGroup::Allow => 0,
            IntraGroup::Deny => 1,
        }]);
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint { id, name, segment, mac, addresses, routes, flags, host, device } = endpoint;
        let EndpointFlags { router, dhcp_server, router_advertiser, dhcp_client } = *flags;
        let Mac(mac) = mac;
        self.bytes(&id.0.to_be_bytes());
        self.text(name.as_str());
        self.bytes(&segment.0.to_be_bytes());
        self.bytes(mac);
        self.list(addresses, |encoder, address| encoder.address(*address));
        self.list(routes, Self::prefix);
        self.bytes(&[router, dhcp_server, router_advertiser, dhcp_client].map(u8::from));
        self.optional_text(host.as_ref().map(crate::Name::as_str));
        self.optional_text(device.as_deref());
    }

    fn rule(&mut self, rule: &Rule) {
        let Rule { id, kind, priority, action, shadow, source, destination, l4 } = rule;
        self.bytes(&id.0.to_be_bytes());
        self.bytes(&[match kind {
            RuleKind::Relationship => 0,
            RuleKind::GroupRule => 1,
        }]);
        self.bytes(&priority.0.to_be_bytes());
        self.action(*action);
        self.bytes(&[u8::from(*shadow)]);
        self.side(source);
        self.side(destination);
        self.l4(l4);
    }

    fn side(&mut self, side: &Side) {
        match side {
            Side::Group(group) => {
                self.bytes(&[0]);
                self.bytes(&group.0.to_be_bytes());
            }
            Side::Prefixes(prefixes) => {
                self.bytes(&[1]);
                self.list(prefixes, Self::prefix);
            }
        }
    }

    fn l4(&mut self, l4: &L4Match) {
        match l4 {
            L4Match::Any => self.bytes(&[0]),
            L4Match::Protocol(protocol) => self.bytes(&[1, protocol.0]),
            L4Match::Ports(protocol, ports) => {
                self.bytes(&[2, protocol.0]);
                self.ports(ports);
            }
            L4Match::Icmp(protocol, kind, None) => self.bytes(&[3, protocol.0, *kind, 0]),
            L4Match::Icmp(protocol, kind, Some(code)) => self.bytes(&[3, protocol.0, *kind, 1, *code]),
        }
    }

    fn ports(&mut self, ports: &PortSet) {
        self.list(ports.ranges(), |encoder, range| {
            encoder.bytes(&range.first().to_be_bytes());
            encoder.bytes(&range.last().to_be_bytes());
        });
    }

    fn action(&mut self, action: Action) {
        self.bytes(&[match action {
            Action::Allow => 0,
            Action::Deny => 1,
            Action::Reject => 2,
        }]);
    }

    fn prefix(&mut self, prefix: &Prefix) {
        self.address(prefix.address());
        self.bytes(&[prefix.length()]);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.bytes(&[4]);
                self.bytes(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.bytes(&[6]);
                self.bytes(&v6.octets());
            }
        }
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.bytes(&[u8::from(text.is_some())]);
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.length(values.len());
        values.iter().for_each(|value| write(self, value));
    }

    /// Writes a length. Every list has a limit far below 2^32, so that the cut at 2^32 - 1 is never made.
    fn length(&mut self, length: usize) {
        self.bytes(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
