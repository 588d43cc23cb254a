//! Structures of one fixed layout: each is declared once, as a table of offsets, and read and written from it.
//!
//! Panic contract: nothing here panics in a release build. Where a field lies is checked when this crate is
//! compiled, and how many bytes there are before the first field is read; a mistake in this crate that gets past
//! both is reported by a debug build and reads zeros in a release build.

use crate::endian::Endian;
use crate::io::Dcmd;
use crate::nd::Nd;
use core::fmt;

/// Bytes end before what should be in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// What was being read.
    pub what: &'static str,
    /// Bytes it needs.
    pub need: usize,
    /// Bytes there are.
    pub have: usize,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {} bytes, {} are present", self.what, self.need, self.have)
    }
}

impl core::error::Error for Short {}

/// `bytes[start..end]`, or what is missing.
pub(crate) fn slice<'a>(
    what: &'static str,
    bytes: &'a [u8],
    start: usize,
    end: usize,
) -> Result<&'a [u8], Short> {
    bytes.get(start..end).ok_or(Short { what, need: end, have: bytes.len() })
}

/// The part of `bytes` before the first NUL, or all of it: strings that may or may not be terminated.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What a layout consists of.
pub(crate) trait Field: Sized {
    /// Bytes it takes.
    const LEN: usize;
    /// Reads it at an offset that the caller has checked.
    fn get(bytes: &[u8], at: usize, endian: Endian) -> Self;
    /// Writes it at an offset that the caller has checked.
    fn put(&self, bytes: &mut [u8], at: usize, endian: Endian);
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()) {
        Some(field) => *field,
        None => {
            debug_assert!(false, "layout longer than its bytes");
            [0; N]
        }
    }
}

#[inline]
fn store(bytes: &mut [u8], at: usize, value: &[u8]) {
    match bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        Some(field) => field.copy_from_slice(value),
        None => debug_assert!(false, "layout longer than its room"),
    }
}

macro_rules! integers {
    ($($type:ident $len:literal $read:ident $write:ident),* $(,)?) => {$(
        impl Field for $type {
            const LEN: usize = $len;
            #[inline]
            fn get(bytes: &[u8], at: usize, endian: Endian) -> $type {
                endian.$read(array(bytes, at))
            }
            #[inline]
            fn put(&self, bytes: &mut [u8], at: usize, endian: Endian) {
                store(bytes, at, &endian.$write(*self));
            }
        }
    )*};
}

integers!(
    u16 2 read_u16 write_u16,
    u32 4 read_u32 write_u32,
    u64 8 read_u64 write_u64,
    i16 2 read_i16 write_i16,
    i32 4 read_i32 write_i32,
    i64 8 read_i64 write_i64,
);

impl Field for u8 {
    const LEN: usize = 1;
    #[inline]
    fn get(bytes: &[u8], at: usize, _: Endian) -> u8 {
        let [byte] = array(bytes, at);
        byte
    }
    #[inline]
    fn put(&self, bytes: &mut [u8], at: usize, _: Endian) {
        store(bytes, at, &[*self]);
    }
}

impl Field for i8 {
    const LEN: usize = 1;
    #[inline]
    fn get(bytes: &[u8], at: usize, _: Endian) -> i8 {
        i8::from_ne_bytes(array(bytes, at))
    }
    #[inline]
    fn put(&self, bytes: &mut [u8], at: usize, _: Endian) {
        store(bytes, at, &self.to_ne_bytes());
    }
}

/// Types around one integer.
macro_rules! newtypes {
    ($($type:ident $inner:ident),* $(,)?) => {$(
        impl Field for $type {
            const LEN: usize = <$inner as Field>::LEN;
            #[inline]
            fn get(bytes: &[u8], at: usize, endian: Endian) -> $type {
                $type($inner::get(bytes, at, endian))
            }
            #[inline]
            fn put(&self, bytes: &mut [u8], at: usize, endian: Endian) {
                self.0.put(bytes, at, endian);
            }
        }
    )*};
}

newtypes!(Nd u32, Dcmd u32);

impl<T: Field + Copy + Default, const N: usize> Field for [T; N] {
    const LEN: usize = T::LEN * N;
    #[inline]
    fn get(bytes: &[u8], at: usize, endian: Endian) -> [T; N] {
        core::array::from_fn(|index| T::get(bytes, at + index * T::LEN, endian))
    }
    #[inline]
    fn put(&self, bytes: &mut [u8], at: usize, endian: Endian) {
        for (index, item) in self.iter().enumerate() {
            item.put(bytes, at + index * T::LEN, endian);
        }
    }
}

/// Declares a structure by its length, its name in messages, and the offsets of its fields. What lies between
/// the fields is reserved: written as zero, not read.
///
/// A `body struct` has room for a header that is not its own at the front, and so no `encode` of its own either:
/// without that header it would be of no use to anybody.
macro_rules! layout {
    ($(#[$meta:meta])* $vis:vis struct $name:ident: $len:literal, $what:literal { $($fields:tt)* }) => {
        $crate::layout::layout! {
            $(#[$meta])* $vis body struct $name: $len, $what { $($fields)* }
        }

        #[allow(dead_code)]
        impl $name {
            /// The structure as bytes, reserved ones zero.
            #[inline]
            pub fn encode(&self, endian: $crate::endian::Endian) -> [u8; $len] {
                let mut bytes = [0; $len];
                $crate::layout::Field::put(self, &mut bytes, 0, endian);
                bytes
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis body struct $name:ident: $len:literal, $what:literal {
            $($(#[$field_meta:meta])* $offset:literal $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        $vis struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        // Fields in order, not overlapping, within the structure.
        const _: () = {
            let mut end = 0;
            $(
                assert!(end <= $offset, "field overlaps the one before");
                end = $offset + <$type as $crate::layout::Field>::LEN;
            )*
            assert!(end <= $len, "field behind the end");
        };

        impl $crate::layout::Field for $name {
            const LEN: usize = $len;
            #[inline]
            fn get(bytes: &[u8], at: usize, endian: $crate::endian::Endian) -> $name {
                $name { $($field: <$type as $crate::layout::Field>::get(bytes, at + $offset, endian),)* }
            }
            #[inline]
            fn put(&self, bytes: &mut [u8], at: usize, endian: $crate::endian::Endian) {
                $($crate::layout::Field::put(&self.$field, bytes, at + $offset, endian);)*
            }
        }

        #[allow(dead_code)]
        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Reads the structure from the front of `bytes`.
            #[inline]
            pub fn decode(
                bytes: &[u8],
                endian: $crate::endian::Endian,
            ) -> Result<$name, $crate::layout::Short> {
                match bytes.first_chunk::<$len>() {
                    Some(bytes) => Ok(<$name as $crate::layout::Field>::get(bytes, 0, endian)),
                    None => Err($crate::layout::Short { what: $what, need: $len, have: bytes.len() }),
                }
            }
        }
    };
}

pub(crate) use layout;

#[cfg(test)]
mod tests {
    use super::*;

    layout! {
        /// Every kind of field, and gaps.
        struct Sample: 32, "sample" {
            0 byte: u8,
            1 small: i8,
            4 short: u16,
            6 list: [i16; 3],
            16 long: u64,
            24 tail: [u8; 4],
        }
    }

    #[test]
    fn both_orders() {
        let sample = Sample {
            byte: 1,
            small: -2,
            short: 0x0304,
            list: [5, -6, 7],
            long: 0x08090a0b_0c0d0e0f,
            tail: *b"tail",
        };
        let little = sample.encode(Endian::Little);
        let big = sample.encode(Endian::Big);
        assert_eq!(little[..12], [1, 0xfe, 0, 0, 4, 3, 5, 0, 0xfa, 0xff, 7, 0]);
        assert_eq!(big[..12], [1, 0xfe, 0, 0, 3, 4, 0, 5, 0xff, 0xfa, 0, 7]);
        assert_eq!((little[16], big[16]), (0x0f, 0x08));
        assert_eq!((&little[24..28], &big[24..28]), (&b"tail"[..], &b"tail"[..]));
        assert_eq!(Sample::decode(&little, Endian::Little), Ok(sample));
        assert_eq!(Sample::decode(&big, Endian::Big), Ok(sample));
        let short = Sample::decode(&big[..31], Endian::Big).unwrap_err();
        assert_eq!(short.to_string(), "sample needs 32 bytes, 31 are present");
    }
}
