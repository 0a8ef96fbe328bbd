//! How values become bytes and values again: little-endian, one after the other, floats by their bits, so that what was
//! saved is what is read, to the bit. Reading never believes a length further than there are bytes.

use meshgate_policy::generate::Rng;
use std::collections::VecDeque;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// They end too early.
    #[error("the content ends too early")]
    Truncated,
    /// They say something that cannot be.
    #[error("the content is malformed: {0}")]
    Malformed(&'static str),
}

/// Bytes that grow.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub Vec<u8>);

/// Bytes that are taken from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes so many bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], SavedError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SavedError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes a length, which is at most as large as the bytes that are left: no element is smaller than a byte.
    pub fn length(&mut self) -> Result<usize, SavedError> {
        let length = usize::try_from(u64::read(self)?).map_err(|_| SavedError::Truncated)?;
        if length > self.0.len() { Err(SavedError::Truncated) } else { Ok(length) }
    }
}

/// A value that a checkpoint can hold.
pub trait Saved: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Writer);
    /// Takes a value.
    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError>;
}

/// Makes a struct one that a checkpoint can hold, field by field. A field that is forgotten does not compile. What is read
/// is refused where the named method says that it cannot be.
macro_rules! saved {
    (tuple $name:ident) => {
        impl $crate::checkpoint::saved::Saved for $name {
            fn write(&self, out: &mut $crate::checkpoint::saved::Writer) {
                let Self(value) = self;
                $crate::checkpoint::saved::Saved::write(value, out);
            }

            fn read(
                from: &mut $crate::checkpoint::saved::Reader<'_>,
            ) -> Result<Self, $crate::checkpoint::saved::SavedError> {
                Ok(Self($crate::checkpoint::saved::Saved::read(from)?))
            }
        }
    };
    ($name:ident { $($field:ident),* $(,)? } $(if $is_sound:ident)?) => {
        impl $crate::checkpoint::saved::Saved for $name {
            fn write(&self, out: &mut $crate::checkpoint::saved::Writer) {
                let Self { $($field),* } = self;
                $($crate::checkpoint::saved::Saved::write($field, out);)*
            }

            fn read(
                from: &mut $crate::checkpoint::saved::Reader<'_>,
            ) -> Result<Self, $crate::checkpoint::saved::SavedError> {
                $(let $field = $crate::checkpoint::saved::Saved::read(from)?;)*
                let value = Self { $($field),* };
                $(if !value.$is_sound() {
                    return Err($crate::checkpoint::saved::SavedError::Malformed(stringify!($name)));
                })?
                Ok(value)
            }
        }
    };
}
pub(crate) use saved;

macro_rules! saved_numbers {
    ($($number:ty),*) => {
        $(impl Saved for $number {
            fn write(&self, out: &mut Writer) {
                out.0.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
                let bytes = from.take(size_of::<Self>())?;
                Ok(Self::from_le_bytes(bytes.try_into().expect("as many bytes were taken as it has")))
            }
        })*
    };
}
saved_numbers!(u8, u16, u32, u64, u128, f32, f64);

impl Saved for bool {
    fn write(&self, out: &mut Writer) {
        u8::from(*self).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SavedError::Malformed("neither yes nor no")),
        }
    }
}

impl Saved for usize {
    fn write(&self, out: &mut Writer) {
        (*self as u64).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Self::try_from(u64::read(from)?).map_err(|_| SavedError::Malformed("a size"))
    }
}

impl Saved for String {
    fn write(&self, out: &mut Writer) {
        self.len().write(out);
        out.0.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let length = from.length()?;
        let text = std::str::from_utf8(from.take(length)?);
        text.map(str::to_owned).map_err(|_| SavedError::Malformed("a text"))
    }
}

impl<T: Saved> Saved for Vec<T> {
    fn write(&self, out: &mut Writer) {
        self.len().write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let length = from.length()?;
        (0..length).map(|_| T::read(from)).collect()
    }
}

impl<T: Saved> Saved for VecDeque<T> {
    fn write(&self, out: &mut Writer) {
        self.len().write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok(Vec::read(from)?.into())
    }
}

impl<T: Saved> Saved for Option<T> {
    fn write(&self, out: &mut Writer) {
        self.is_some().write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn write(&self, out: &mut Writer) {
        self.iter().for_each(|value| value.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let values: Vec<T> = (0..N).map(|_| T::read(from)).collect::<Result<_, _>>()?;
        Self::try_from(values).map_err(|_| SavedError::Truncated)
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl<A: Saved, B: Saved, C: Saved> Saved for (A, B, C) {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok((A::read(from)?, B::read(from)?, C::read(from)?))
    }
}

impl Saved for Rng {
    fn write(&self, out: &mut Writer) {
        self.rest().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok(Self::new(u64::read(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Everything = (Vec<(u8, u16, Option<u32>)>, [f32; 3], (String, bool, f64));

    fn everything() -> Everything {
        let list = vec![(1, 2, Some(3)), (4, 5, None)];
        (list, [0.1, f32::NEG_INFINITY, -0.0], ("gru".into(), true, 1e-300))
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut out = Writer::default();
        everything().write(&mut out);
        let mut from = Reader(&out.0);
        assert_eq!(Everything::read(&mut from), Ok(everything()));
        assert!(from.0.is_empty());
    }

    #[test]
    fn every_shorter_content_is_refused() {
        let mut out = Writer::default();
        everything().write(&mut out);
        for length in 0..out.0.len() {
            assert_eq!(Everything::read(&mut Reader(&out.0[..length])), Err(SavedError::Truncated));
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut out = Writer::default();
        u64::MAX.write(&mut out);
        assert_eq!(Vec::<u8>::read(&mut Reader(&out.0)), Err(SavedError::Truncated));
    }
}
