//! Protocols and the layer-4 part of a rule's match.

use crate::ports::PortSet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An IP protocol number (IANA "Protocol Numbers"; in IPv6 the number behind the extension headers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Returns whether packets of the protocol begin with a source and a destination port that rules may name.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// Returns whether packets of the protocol begin with an ICMP type and code.
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.pad("ICMP"),
            Self::TCP => f.pad("TCP"),
            Self::UDP => f.pad("UDP"),
            Self::ICMPV6 => f.pad("ICMPv6"),
            Self::SCTP => f.pad("SCTP"),
            Self(number) => f.pad(&number.to_string()),
        }
    }
}

/// A text that names no protocol. Holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol {0:?} is not any, TCP, UDP, SCTP, ICMP, ICMPv6 or a number of 0 to 255")]
pub struct ProtocolError(pub String);

/// The protocol a person wrote: one, or any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProtocolMatch {
    /// Every protocol.
    #[default]
    Any,
    /// This protocol.
    Is(Protocol),
}

impl fmt::Display for ProtocolMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::Is(protocol) => protocol.fmt(f),
        }
    }
}

impl FromStr for ProtocolMatch {
    type Err = ProtocolError;
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        match text.to_ascii_lowercase().as_str() {
            "" | "any" => Ok(Self::Any),
            "tcp" => Ok(Self::Is(Protocol::TCP)),
            "udp" => Ok(Self::Is(Protocol::UDP)),
            "sctp" => Ok(Self::Is(Protocol::SCTP)),
            "icmp" => Ok(Self::Is(Protocol::ICMP)),
            "icmpv6" => Ok(Self::Is(Protocol::ICMPV6)),
            number => match number.parse() {
                Ok(number) if is_number => Ok(Self::Is(Protocol(number))),
                _ => Err(ProtocolError(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for ProtocolMatch {
    type Error = ProtocolError;
    fn try_from(text: String) -> Result<Self, ProtocolError> {
        text.parse()
    }
}

impl From<ProtocolMatch> for String {
    fn from(protocol: ProtocolMatch) -> Self {
        protocol.to_string()
    }
}

/// The layer-4 part of a packet that rules look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L4Key {
    /// The protocol.
    pub protocol: Protocol,
    /// Source port, or ICMP type, or 0.
    pub source_port: u16,
    /// Destination port, or ICMP code, or 0.
    pub destination_port: u16,
}

impl L4Key {
    /// Returns the key of a packet with ports.
    pub fn ports(protocol: Protocol, source_port: u16, destination_port: u16) -> Self {
        Self { protocol, source_port, destination_port }
    }

    /// Returns the key of an ICMP packet.
    pub fn icmp(protocol: Protocol, kind: u8, code: u8) -> Self {
        Self { protocol, source_port: kind.into(), destination_port: code.into() }
    }

    /// Returns the key of a packet of a protocol whose payload rules do not look at.
    pub fn bare(protocol: Protocol) -> Self {
        Self { protocol, source_port: 0, destination_port: 0 }
    }
}

/// The layer-4 part of a rule. Only combinations that a packet can have can be built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L4Match {
    /// Every packet.
    Any,
    /// Every packet of the protocol.
    Protocol(Protocol),
    /// Packets of TCP, UDP or SCTP with a destination port of the set.
    Ports(Protocol, PortSet),
    /// ICMP or ICMPv6 messages of a type and, if given, a code.
    Icmp(Protocol, u8, Option<u8>),
}

/// Why the layer-4 fields of a rule do not go together. The message begins with the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum L4MatchError {
    /// Ports with a protocol that has none.
    #[error("port_range: {0} has no ports; only TCP, UDP and SCTP do")]
    PortsWithout(ProtocolMatch),
    /// Type or code with a protocol that is not ICMP.
    #[error("icmp_type: {0} has no ICMP type; only ICMP and ICMPv6 do")]
    IcmpWithout(ProtocolMatch),
    /// A code without a type.
    #[error("icmp_code: a code needs icmp_type")]
    CodeWithoutType,
}

impl L4MatchError {
    /// Returns the field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::PortsWithout(_) => "port_range",
            Self::IcmpWithout(_) => "icmp_type",
            Self::CodeWithoutType => "icmp_code",
        }
    }
}

impl L4Match {
    /// Returns the match that the four fields of a rule describe, or which field does not fit.
    pub fn new(
        protocol: ProtocolMatch,
        ports: &PortSet,
        icmp_type: Option<u8>,
        icmp_code: Option<u8>,
    ) -> Result<Self, L4MatchError> {
        let with_ports = matches!(protocol, ProtocolMatch::Is(p) if p.has_ports());
        let with_icmp = matches!(protocol, ProtocolMatch::Is(p) if p.is_icmp());
        if !ports.is_all() && !with_ports {
            return Err(L4MatchError::PortsWithout(protocol));
        }
        if icmp_type.or(icmp_code).is_some() && !with_icmp {
            return Err(L4MatchError::IcmpWithout(protocol));
        }
        match (protocol, icmp_type, icmp_code) {
            (_, None, Some(_)) => Err(L4MatchError::CodeWithoutType),
            (ProtocolMatch::Is(protocol), Some(kind), code) => Ok(Self::Icmp(protocol, kind, code)),
            (ProtocolMatch::Is(protocol), None, None) if !ports.is_all() => {
                Ok(Self::Ports(protocol, ports.clone()))
            }
            (ProtocolMatch::Is(protocol), None, None) => Ok(Self::Protocol(protocol)),
            (ProtocolMatch::Any, _, _) => Ok(Self::Any),
        }
    }

    /// Returns whether a packet with this key fits.
    pub fn matches(&self, key: L4Key) -> bool {
        match self {
            Self::Any => true,
            Self::Protocol(protocol) => key.protocol == *protocol,
            Self::Ports(protocol, ports) => key.protocol == *protocol && ports.contains(key.destination_port),
            Self::Icmp(protocol, kind, code) => {
                key.protocol == *protocol
                    && key.source_port == u16::from(*kind)
                    && code.is_none_or(|code| key.destination_port == u16::from(code))
            }
        }
    }
}

impl fmt::Display for L4Match {
    /// Writes `any`, `TCP`, `TCP 80,443`, `ICMP type 8 code 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Ports(protocol, ports) => write!(f, "{protocol} {ports}"),
            Self::Icmp(protocol, kind, None) => write!(f, "{protocol} type {kind}"),
            Self::Icmp(protocol, kind, Some(code)) => write!(f, "{protocol} type {kind} code {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_in_any_case_and_by_number() {
        assert_eq!("tcp".parse::<ProtocolMatch>().unwrap().to_string(), "TCP");
        assert_eq!("47".parse::<ProtocolMatch>().unwrap(), ProtocolMatch::Is(Protocol(47)));
        for text in ["tpc", "256", "-1", "+6"] {
            assert!(text.parse::<ProtocolMatch>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_with_icmp_are_refused_by_field_name() {
        let ports: PortSet = "80".parse().unwrap();
        let error = L4Match::new(ProtocolMatch::Is(Protocol::ICMP), &ports, None, None).unwrap_err();
        assert!(error.to_string().starts_with("port_range: ICMP"));
        assert!(L4Match::new(ProtocolMatch::Any, &ports, None, None).is_err());
    }

    #[test]
    fn a_type_with_tcp_and_a_code_without_type_are_refused() {
        let all = PortSet::all();
        let tcp = ProtocolMatch::Is(Protocol::TCP);
        let icmp = ProtocolMatch::Is(Protocol::ICMP);
        assert_eq!(L4Match::new(tcp, &all, Some(8), None), Err(L4MatchError::IcmpWithout(tcp)));
        assert_eq!(L4Match::new(icmp, &all, None, Some(0)), Err(L4MatchError::CodeWithoutType));
    }
}
