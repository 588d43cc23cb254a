//! Byte order of a sender.

/// Byte order of a sender (section 2.4). Our nodes send little-endian and read both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Conversions of one integer type.
macro_rules! integer {
    ($($read:ident $write:ident $type:ident $len:literal),* $(,)?) => {$(
        #[doc = concat!("Value of the bytes of a `", stringify!($type), "`.")]
        #[inline]
        pub fn $read(self, bytes: [u8; $len]) -> $type {
            match self {
                Endian::Little => $type::from_le_bytes(bytes),
                Endian::Big => $type::from_be_bytes(bytes),
            }
        }

        #[doc = concat!("Bytes of a `", stringify!($type), "`.")]
        #[inline]
        pub fn $write(self, value: $type) -> [u8; $len] {
            match self {
                Endian::Little => value.to_le_bytes(),
                Endian::Big => value.to_be_bytes(),
            }
        }
    )*};
}

impl Endian {
    integer!(
        read_u16 write_u16 u16 2,
        read_u32 write_u32 u32 4,
        read_u64 write_u64 u64 8,
        read_i16 write_i16 i16 2,
        read_i32 write_i32 i32 4,
        read_i64 write_i64 i64 8,
    );
}
