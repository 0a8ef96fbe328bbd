//! Which parts of a datagram came.
//!
//! Every part is remembered by itself, neighbours are not merged: only so can an exact copy be told from an overlap.

/// Parts of one datagram that are remembered. The smallest MTU in use for IPv4, 576 bytes, cuts the longest datagram
/// into 119, that of IPv6, 1,280 bytes, into 54; whoever sends more cuts for another reason.
pub const PARTS_MAX: usize = 128;

const _: () = assert!(PARTS_MAX <= u8::MAX as usize);

/// What a part says of itself: bytes `start` to `end` of the datagram's payload, and whether that is its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub start: u16,
    /// The byte behind the last one; larger than `start`.
    pub end: u16,
    /// Whether no part follows.
    pub is_last: bool,
}

/// What a part is to those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It brings bytes that were not there.
    New,
    /// It is the copy of a part that came.
    Duplicate,
    /// It overlaps a part that came, or the datagram would have two ends.
    Conflict,
    /// There is no room to remember it.
    TooMany,
}

/// The parts of one datagram.
#[derive(Clone)]
pub(super) struct Coverage {
    /// First and last byte but one of each, sorted; none overlaps another.
    parts: [(u16, u16); PARTS_MAX],
    count: u8,
    /// Bytes that came.
    bytes: u32,
    /// Where the datagram ends, once its last part came.
    end: Option<u16>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { parts: [(0, 0); PARTS_MAX], count: 0, bytes: 0, end: None }
    }
}

impl Coverage {
    /// Forgets all parts.
    pub(super) fn clear(&mut self) {
        (self.count, self.bytes, self.end) = (0, 0, None);
    }

    /// Takes note of a part, unless it is not new.
    pub(super) fn add(&mut self, part: Part) -> Fit {
        let Part { start, end, is_last } = part;
        let count = usize::from(self.count);
        let known = &self.parts[..count];
        // Parts come in order as a rule: then this looks at one.
        let place = match known.last() {
            Some((last, _)) if *last >= start => known.partition_point(|(other, _)| *other < start),
            _ => count,
        };
        let is_end = self.end == Some(end);
        if known.get(place) == Some(&(start, end)) && is_last == is_end {
            return Fit::Duplicate;
        }
        let overlaps_before = place > 0 && known[place - 1].1 > start;
        let overlaps_behind = known.get(place).is_some_and(|(other, _)| *other < end);
        let ends_twice = is_last && self.end.is_some_and(|known_end| known_end != end);
        let is_beyond = self.end.is_some_and(|known_end| end > known_end);
        let is_before_end = is_last && known.last().is_some_and(|(_, last_end)| *last_end > end);
        if start >= end || overlaps_before || overlaps_behind || ends_twice || is_beyond || is_before_end {
            return Fit::Conflict;
        }
        if count == PARTS_MAX {
            return Fit::TooMany;
        }
        self.parts.copy_within(place..count, place + 1);
        self.parts[place] = (start, end);
        self.count += 1;
        self.bytes += u32::from(end - start);
        if is_last {
            self.end = Some(end);
        }
        Fit::New
    }

    /// Returns whether every byte came.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| u32::from(end) == self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u16, end: u16, is_last: bool) -> Part {
        Part { start, end, is_last }
    }

    #[test]
    fn parts_in_any_order_make_a_whole() {
        let parts = [part(0, 16, false), part(16, 48, false), part(48, 56, false), part(56, 59, true)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut coverage = Coverage::default();
            for (at, number) in order.into_iter().enumerate() {
                assert!(!coverage.is_complete());
                assert_eq!(coverage.add(parts[number]), Fit::New, "{order:?}");
                assert_eq!(coverage.add(parts[order[at / 2]]), Fit::Duplicate, "{order:?}");
            }
            assert!(coverage.is_complete());
        }
    }

    #[test]
    fn what_shares_a_byte_with_another_part_conflicts() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.add(part(16, 32, false)), Fit::New);
        for (start, end) in [(0, 24), (8, 17), (16, 24), (16, 40), (24, 32), (24, 48), (0, 48), (31, 32)] {
            assert_eq!(coverage.add(part(start, end, false)), Fit::Conflict, "{start} to {end}");
        }
        assert_eq!(coverage.add(part(32, 40, false)), Fit::New);
        assert_eq!(coverage.add(part(8, 16, false)), Fit::New);
    }

    #[test]
    fn a_datagram_has_one_end_and_nothing_behind_it() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.add(part(16, 24, false)), Fit::New);
        assert_eq!(coverage.add(part(8, 16, true)), Fit::Conflict, "an end before a part that came");
        assert_eq!(coverage.add(part(24, 29, true)), Fit::New);
        assert_eq!(coverage.add(part(32, 40, false)), Fit::Conflict, "a part behind the end");
        assert_eq!(coverage.add(part(32, 40, true)), Fit::Conflict, "another end");
        assert_eq!(
            coverage.add(part(24, 29, false)),
            Fit::Conflict,
            "the last part as one that is not the last"
        );
        assert_eq!(coverage.add(part(16, 24, true)), Fit::Conflict, "a middle part as the last one");
        assert_eq!(coverage.add(part(24, 29, true)), Fit::Duplicate);
        assert_eq!(coverage.add(part(0, 16, false)), Fit::New);
        assert!(coverage.is_complete());
    }

    #[test]
    fn more_parts_than_are_remembered_are_too_many() {
        let mut coverage = Coverage::default();
        for number in 0..u16::try_from(PARTS_MAX).unwrap() {
            assert_eq!(coverage.add(part(number * 16, number * 16 + 8, false)), Fit::New);
        }
        assert_eq!(coverage.add(part(8, 16, false)), Fit::TooMany);
        assert_eq!(coverage.add(part(0, 8, false)), Fit::Duplicate);
        coverage.clear();
        assert_eq!(coverage.add(part(0, 8, false)), Fit::New);
    }

    #[test]
    fn random_parts_agree_with_a_list_of_bytes() {
        let mut rng = meshgate_policy::generate::Rng::new(7);
        let mut below = |bound: u64| u16::try_from(rng.below(bound)).unwrap();
        for _ in 0..2_000 {
            let mut coverage = Coverage::default();
            let (mut owner, mut known, mut end) = ([0u8; 128], Vec::new(), None);
            for number in 1..=12u8 {
                let start = below(12) * 8;
                let part = part(start, start + 8 * (1 + below(3)), below(6) == 0);
                let bytes = usize::from(part.start)..usize::from(part.end);
                let is_free = owner[bytes.clone()].iter().all(|owner| *owner == 0);
                let covered_end = owner.iter().rposition(|owner| *owner != 0).map_or(0, |last| last + 1);
                let has_one_end = match (part.is_last, end) {
                    (true, None) => covered_end <= bytes.end,
                    (true, Some(_)) => false,
                    (false, Some(end)) => bytes.end < end,
                    (false, None) => true,
                };
                let expected = if known.contains(&part) {
                    Fit::Duplicate
                } else if is_free && has_one_end {
                    Fit::New
                } else {
                    Fit::Conflict
                };
                assert_eq!(coverage.add(part), expected, "{part:?} after {known:?}");
                if expected == Fit::New {
                    owner[bytes.clone()].fill(number);
                    known.push(part);
                    end = if part.is_last { Some(bytes.end) } else { end };
                }
                let is_whole = end.is_some_and(|end| owner[..end].iter().all(|owner| *owner != 0));
                assert_eq!(coverage.is_complete(), is_whole);
            }
        }
    }
}
