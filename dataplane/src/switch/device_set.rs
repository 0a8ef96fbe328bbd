//! A set of devices, small enough to be passed by value.

/// Devices of one host: a word of bits for each 64, four words to pass around. More VMs than this share devices.
pub const DEVICES_MAX: usize = 256;
/// Devices in one word of the set.
const WORD_DEVICES: usize = 64;

const _: () = assert!(DEVICES_MAX.is_multiple_of(WORD_DEVICES));

/// A set of device numbers below [`DEVICES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceSet([u64; DEVICES_MAX / WORD_DEVICES]);

impl DeviceSet {
    /// The set of no device.
    pub const EMPTY: Self = Self([0; DEVICES_MAX / WORD_DEVICES]);

    /// Adds a device. A number that is too large is not added.
    pub fn insert(&mut self, device: u16) {
        if let Some(word) = self.0.get_mut(place(device)) {
            *word |= bit(device);
        }
    }

    /// Returns the set without a device.
    pub fn without(mut self, device: u16) -> Self {
        if let Some(word) = self.0.get_mut(place(device)) {
            *word &= !bit(device);
        }
        self
    }

    /// Returns the set of one device.
    pub fn of(device: u16) -> Self {
        let mut set = Self::EMPTY;
        set.insert(device);
        set
    }

    /// Returns the devices that are in both sets.
    pub fn intersection(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, others)| *word &= others);
        self
    }

    /// Returns whether the device is in the set.
    pub fn contains(self, device: u16) -> bool {
        self.0.get(place(device)).is_some_and(|word| word & bit(device) != 0)
    }

    /// Returns how many devices the set has.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns whether the set has no device.
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Returns the only device of the set; None if there is none or more than one.
    pub fn only(self) -> Option<u16> {
        let mut devices = self.iter();
        devices.next().filter(|_| devices.next().is_none())
    }

    /// Returns the devices in order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.0
            .into_iter()
            .zip((0..).step_by(WORD_DEVICES))
            .flat_map(|(word, first)| Bits(word).map(move |bit| first + bit))
    }
}

/// The numbers of the bits that are set in a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u16;
    fn next(&mut self) -> Option<u16> {
        let number = u16::try_from(self.0.trailing_zeros()).ok().filter(|_| self.0 != 0)?;
        self.0 &= self.0 - 1;
        Some(number)
    }
}

fn place(device: u16) -> usize {
    usize::from(device) / WORD_DEVICES
}

fn bit(device: u16) -> u64 {
    1 << (usize::from(device) % WORD_DEVICES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_at_the_edges_of_words_are_kept_apart_and_come_in_order() {
        let mut set = DeviceSet::EMPTY;
        for device in [255, 0, 64, 63, 256, u16::MAX] {
            set.insert(device);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        assert_eq!(
            (set.len(), set.contains(63), set.contains(62), set.contains(256)),
            (4, true, false, false)
        );
        assert_eq!(set.intersection(DeviceSet::of(64)), DeviceSet::of(64));
        assert_eq!(set.without(63).iter().collect::<Vec<_>>(), [0, 64, 255]);
    }

    #[test]
    fn only_the_single_device_of_a_set_is_the_only_one() {
        let mut set = DeviceSet::EMPTY;
        assert_eq!((set.only(), set.is_empty()), (None, true));
        set.insert(70);
        assert_eq!((set.only(), set.is_empty()), (Some(70), false));
        set.insert(71);
        assert_eq!(set.only(), None);
    }
}
