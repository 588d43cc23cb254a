//! Little-endian fields at fixed places of a record.
//!
//! Every function panics when the field is not inside the slice: callers hold records whose length they checked, and
//! offsets that are constants or were checked against it.

/// The field of 16 bits at `offset`.
pub fn u16_at(raw: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([raw[offset], raw[offset + 1]])
}

/// The field of 32 bits at `offset`.
pub fn u32_at(raw: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes([raw[offset], raw[offset + 1], raw[offset + 2], raw[offset + 3]])
}

/// Sets the field of 16 bits at `offset`.
pub fn put_u16(raw: &mut [u8], offset: usize, value: u16) {
    raw[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

/// Sets the field of 32 bits at `offset`.
pub fn put_u32(raw: &mut [u8], offset: usize, value: u32) {
    raw[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}
