//! Endpoints by segment and MAC, as each packet asks for two of them: one cache line at one place holds the answer.
//!
//! Open addressing with linear probing, at most half full, made once for a policy and never changed. MACs are a policy's,
//! not a packet's: who only sends can ask for any, and place none. Who may choose some of them does not know by what number
//! keys are multiplied (Dietzfelbinger and others 1997).

use super::{Bound, MacKey, mac_key};
use meshgate_policy::SegmentId;
use std::hash::{BuildHasher, RandomState};

/// The place of no endpoint.
const NOBODY: u32 = u32::MAX;
/// No device of this host.
const NO_DEVICE: u16 = u16::MAX;

/// What packets ask of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Station {
    key: MacKey,
    /// Its place among the endpoints.
    place: u32,
    device: u16,
    /// Whether its home is this host.
    pub(super) is_home: bool,
    /// Its first address as a number, IPv4 in mapped form; 0 without one. Of most endpoints that is all.
    pub(super) number: u128,
}

/// Two of them are a cache line.
const _: () = assert!(size_of::<Station>() == 32);

/// The endpoints of a policy.
#[derive(Clone, Debug)]
pub(super) struct Stations {
    /// As many as a power of two.
    stations: Box<[Station]>,
    /// An odd number whose product with a key spreads it over the upper bits.
    spread: u64,
    /// How far a product is shifted to give a place.
    shift: u32,
}

impl Stations {
    /// Returns endpoints, each with its segment, in the order of their places. Of two with one key the later one counts.
    pub(super) fn new<'a>(endpoints: impl ExactSizeIterator<Item = (SegmentId, &'a Bound)>) -> Self {
        let length = (2 * endpoints.len()).next_power_of_two().max(2);
        let free = Station { key: 0, place: NOBODY, device: NO_DEVICE, is_home: false, number: 0 };
        let mut stations = Self {
            stations: vec![free; length].into(),
            spread: RandomState::new().hash_one(0) | 1,
            shift: u64::BITS - length.trailing_zeros(),
        };
        for (place, (segment, bound)) in (0..).zip(endpoints) {
            let key = mac_key(segment, bound.mac);
            let at = stations.place_of(key);
            stations.stations[at] = Station {
                key,
                place,
                device: bound.device.unwrap_or(NO_DEVICE),
                is_home: bound.is_home,
                number: bound.number,
            };
        }
        stations
    }

    /// Returns the endpoint with this key.
    #[inline]
    pub(super) fn get(&self, key: MacKey) -> Option<&Station> {
        Some(&self.stations[self.place_of(key)]).filter(|station| station.place != NOBODY)
    }

    /// Returns where the endpoint with this key stands, or would.
    #[inline]
    fn place_of(&self, key: MacKey) -> usize {
        let mask = self.stations.len() - 1;
        let mut at = usize::try_from(key.wrapping_mul(self.spread) >> self.shift).unwrap_or(0) & mask;
        while self.stations[at].key != key && self.stations[at].place != NOBODY {
            at = (at + 1) & mask;
        }
        at
    }
}

impl Station {
    /// Returns its place among the endpoints.
    #[inline]
    pub(super) fn place(&self) -> usize {
        self.place as usize
    }

    /// Returns the device it is behind, if that is of this host.
    #[inline]
    pub(super) fn device(&self) -> Option<u16> {
        Some(self.device).filter(|device| *device != NO_DEVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::{Endpoint, EndpointFlags, EndpointId, Mac, Name};

    fn mac(number: u32) -> Mac {
        let [_, b, c, d] = number.to_be_bytes();
        Mac([2, 0, 0, b, c, d])
    }

    fn bound(number: u32) -> Bound {
        let endpoint = Endpoint {
            id: EndpointId(number),
            name: Name::new("e").unwrap(),
            segment: SegmentId::DEFAULT,
            mac: mac(number),
            addresses: Vec::new(),
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: None,
            device: None,
        };
        Bound::new(&endpoint, false, Some(7))
    }

    #[test]
    fn everybody_is_found_in_his_segment_and_nobody_else() {
        for count in [0, 1, 2, 3, 1_000] {
            let everybody: Vec<Bound> = (0..count).map(bound).collect();
            let segments = (0..count).map(|number| SegmentId(u16::from(number % 2 == 0)));
            let stations = Stations::new(segments.clone().zip(&everybody));
            for (number, segment) in (0..).zip(segments) {
                let found = stations.get(mac_key(segment, mac(number))).unwrap();
                assert_eq!((found.place(), found.device()), (number as usize, Some(7)));
                let other = SegmentId(1 - segment.0);
                assert!(stations.get(mac_key(other, mac(number))).is_none());
            }
            assert!((count..count + 1_000).all(|stranger| {
                let key = |segment| mac_key(SegmentId(segment), mac(stranger));
                stations.get(key(0)).is_none() && stations.get(key(1)).is_none()
            }));
            assert!(stations.get(0).is_none());
        }
    }
}
