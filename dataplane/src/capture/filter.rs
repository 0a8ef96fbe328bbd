//! Which packets a capture wants.

use super::sketch::Sketch;
use super::watch::Sight;
use crate::verdict::{DropReason, Verdict};
use meshgate_policy::{Prefix, RuleId};
use std::net::IpAddr;

/// Which ends of a packet are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WantedVerdict {
    /// Every end.
    #[default]
    Any,
    /// It passed.
    Allow,
    /// It was dropped, for whatever reason.
    Drop,
    /// It was dropped for this reason.
    Reason(DropReason),
}

/// A text that names no verdict; holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "verdict: {0:?} is not allow, drop or a drop reason such as default-deny; `meshgate status --counters` lists them"
)]
pub struct UnknownVerdict(pub String);

/// A set of addresses of both families: sorted ranges, both ends included. IPv4 in its mapped form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRanges(Vec<(u128, u128)>);

/// Which packets are wanted; everything that is set must fit. The default wants every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    /// How it ended.
    pub verdict: WantedVerdict,
    /// The rule that decided.
    pub rule: Option<RuleId>,
    /// The device by which it came in.
    pub device: Option<u16>,
    /// One side is in each of these.
    pub either: Vec<AddressRanges>,
    /// One side is in this...
    pub source: Option<AddressRanges>,
    /// ...and the other in this: both directions of a conversation fit.
    pub destination: Option<AddressRanges>,
    /// Protocol number.
    pub protocol: Option<u8>,
    /// Source and destination port of the direction from `source` to `destination`; 0 is any.
    pub ports: (u16, u16),
}

impl WantedVerdict {
    /// Returns the verdict that the text names; an empty text means any.
    pub fn from_word(text: &str) -> Result<Self, UnknownVerdict> {
        let reason = || DropReason::ALL.iter().find(|reason| reason.name() == text);
        match text {
            "" => Ok(Self::Any),
            "allow" => Ok(Self::Allow),
            "drop" => Ok(Self::Drop),
            _ => reason().map(|reason| Self::Reason(*reason)).ok_or_else(|| UnknownVerdict(text.to_owned())),
        }
    }

    fn fits(self, verdict: &Verdict) -> bool {
        match (self, verdict) {
            (Self::Any, _) | (Self::Allow, Verdict::Allow(_)) | (Self::Drop, Verdict::Drop(..)) => true,
            (Self::Reason(wanted), Verdict::Drop(reason, _)) => wanted == *reason,
            (Self::Allow, Verdict::Drop(..)) | (Self::Drop | Self::Reason(_), Verdict::Allow(_)) => false,
        }
    }
}

impl AddressRanges {
    /// Returns the set of all addresses of these prefixes.
    pub fn new(prefixes: &[Prefix]) -> Self {
        let mut ranges: Vec<(u128, u128)> = prefixes.iter().map(|prefix| range(*prefix)).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                // Prefixes nest or are disjoint, and sorted the wider one comes first or is found by its end.
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn contains(&self, address: u128) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        behind.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }
}

fn range(prefix: Prefix) -> (u128, u128) {
    let (first, bits) = match prefix.address() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let host_bits = bits - u32::from(prefix.length());
    (first, first | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0))
}

impl CaptureFilter {
    /// Returns whether the packet, which begins with `head`, is wanted. Fit for the packet path.
    pub fn wants(&self, sight: &Sight<'_>, head: &[u8]) -> bool {
        let Self { verdict, rule, device, .. } = self;
        verdict.fits(sight.verdict)
            && rule.is_none_or(|rule| sight.verdict.grounds().rule == Some(rule))
            && device.is_none_or(|device| device == sight.device)
            && (!self.asks_for_headers() || self.fits(&Sketch::of(head)))
    }

    fn asks_for_headers(&self) -> bool {
        let Self { either, source, destination, protocol, ports, .. } = self;
        !either.is_empty()
            || source.is_some()
            || destination.is_some()
            || protocol.is_some()
            || *ports != (0, 0)
    }

    fn fits(&self, sketch: &Sketch) -> bool {
        if self.protocol.is_some() && sketch.protocol != self.protocol {
            return false;
        }
        let reverse = Sketch {
            addresses: sketch.addresses.map(|(source, destination)| (destination, source)),
            ports: sketch.ports.map(|(source, destination)| (destination, source)),
            ..*sketch
        };
        let is_party = |ranges: &AddressRanges| {
            sketch.addresses.is_some_and(|(a, b)| ranges.contains(a) || ranges.contains(b))
        };
        self.either.iter().all(is_party) && (self.fits_one_way(sketch) || self.fits_one_way(&reverse))
    }

    fn fits_one_way(&self, sketch: &Sketch) -> bool {
        let has = |ranges: &Option<AddressRanges>, address: Option<u128>| match ranges {
            Some(ranges) => address.is_some_and(|address| ranges.contains(address)),
            None => true,
        };
        let is_port = |wanted: u16, port: Option<u16>| wanted == 0 || port == Some(wanted);
        let (source, destination) =
            (sketch.addresses.map(|pair| pair.0), sketch.addresses.map(|pair| pair.1));
        has(&self.source, source)
            && has(&self.destination, destination)
            && is_port(self.ports.0, sketch.ports.map(|ports| ports.0))
            && is_port(self.ports.1, sketch.ports.map(|ports| ports.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::Frame;
    use crate::verdict::Grounds;
    use meshgate_policy::{Mac, PolicyVersion, Stage};

    const GROUNDS: Grounds =
        Grounds { version: PolicyVersion(1), stage: Stage::Rules, rule: Some(RuleId(7)) };

    fn ranges(prefixes: &[&str]) -> AddressRanges {
        AddressRanges::new(&prefixes.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    fn bits(text: &str) -> u128 {
        range(Prefix::host(text.parse().unwrap())).0
    }

    fn wants(filter: &CaptureFilter, device: u16, verdict: Verdict, frame: &[u8]) -> bool {
        filter.wants(&Sight { device, verdict: &verdict, time_ns: 0 }, frame)
    }

    fn tcp(source: &str, destination: &str, ports: (u16, u16)) -> Vec<u8> {
        let (from, to) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let frame = Frame::between(from, to).ip(source.parse().unwrap(), destination.parse().unwrap());
        frame.udp(ports.0, ports.1).bytes()
    }

    #[test]
    fn ranges_hold_what_their_prefixes_hold_and_nothing_beside() {
        let set = ranges(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "fd00::/8", "::/128"]);
        for inside in ["10.0.0.0", "10.255.255.255", "10.1.2.3", "192.0.2.1", "fd00::", "fdff::1", "::"] {
            assert!(set.contains(bits(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.0", "192.0.2.2", "fe00::", "::1"] {
            assert!(!set.contains(bits(outside)), "{outside}");
        }
        let all = ranges(&["::/0"]);
        assert!(all.contains(0) && all.contains(u128::MAX));
        assert!(!AddressRanges::default().contains(0));
    }

    #[test]
    fn verdicts_are_told_by_word() {
        let (allow, deny) = (Verdict::Allow(GROUNDS), Verdict::Drop(DropReason::RuleDeny, GROUNDS));
        for (word, expected) in [
            ("", [true, true]),
            ("allow", [true, false]),
            ("drop", [false, true]),
            ("rule-deny", [false, true]),
            ("hairpin", [false, false]),
        ] {
            let filter =
                CaptureFilter { verdict: WantedVerdict::from_word(word).unwrap(), ..Default::default() };
            assert_eq!([allow, deny].map(|verdict| wants(&filter, 0, verdict, b"")), expected, "{word}");
        }
        let refusal = WantedVerdict::from_word("denied").unwrap_err().to_string();
        assert!(refusal.starts_with("verdict: \"denied\" is not allow, drop or a drop reason"), "{refusal}");
    }

    #[test]
    fn rule_and_device_must_be_the_wanted_ones() {
        let filter = CaptureFilter { rule: Some(RuleId(7)), device: Some(2), ..Default::default() };
        assert!(wants(&filter, 2, Verdict::Allow(GROUNDS), b""));
        assert!(!wants(&filter, 1, Verdict::Allow(GROUNDS), b""));
        assert!(!wants(&filter, 2, Verdict::Allow(Grounds { rule: None, ..GROUNDS }), b""));
    }

    #[test]
    fn both_directions_of_a_conversation_fit_a_five_tuple_and_no_other() {
        let filter = CaptureFilter {
            source: Some(ranges(&["10.0.0.1/32"])),
            destination: Some(ranges(&["10.0.1.0/24"])),
            protocol: Some(17),
            ports: (0, 5432),
            ..Default::default()
        };
        let fits = |source, destination, ports| {
            wants(&filter, 0, Verdict::Allow(GROUNDS), &tcp(source, destination, ports))
        };
        assert!(fits("10.0.0.1", "10.0.1.9", (40_000, 5432)));
        assert!(fits("10.0.1.9", "10.0.0.1", (5432, 40_000)));
        assert!(!fits("10.0.0.1", "10.0.1.9", (5432, 40_000)), "the port is that of the destination");
        assert!(!fits("10.0.0.1", "10.0.2.9", (40_000, 5432)));
        assert!(!wants(&filter, 0, Verdict::Allow(GROUNDS), b"short"));
    }

    #[test]
    fn a_group_fits_on_either_side_and_two_of_them_must_both() {
        let one = CaptureFilter { either: vec![ranges(&["10.0.0.1/32"])], ..Default::default() };
        let two = CaptureFilter {
            either: vec![ranges(&["10.0.0.1/32"]), ranges(&["10.0.0.2/32"])],
            ..Default::default()
        };
        let verdict = Verdict::Allow(GROUNDS);
        assert!(wants(&one, 0, verdict, &tcp("10.0.0.1", "10.0.0.9", (1, 2))));
        assert!(wants(&one, 0, verdict, &tcp("10.0.0.9", "10.0.0.1", (1, 2))));
        assert!(!wants(&one, 0, verdict, &tcp("10.0.0.8", "10.0.0.9", (1, 2))));
        assert!(wants(&two, 0, verdict, &tcp("10.0.0.2", "10.0.0.1", (1, 2))));
        assert!(!wants(&two, 0, verdict, &tcp("10.0.0.9", "10.0.0.1", (1, 2))));
    }
}
