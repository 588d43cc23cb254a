//! The optional checksum of payloads: CRC-32 without final inversion (LNet specification section 3.10).

/// State before the first byte; also the checksum of nothing.
pub const CRC32_INITIAL: u32 = u32::MAX;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut remainder = index as u32;
        let mut bit = 0;
        while bit < 8 {
            let feedback = if remainder & 1 == 1 { 0xedb8_8320 } else { 0 };
            remainder = remainder >> 1 ^ feedback;
            bit += 1;
        }
        table[index] = remainder;
        index += 1;
    }
    table
}

/// Checksum of a whole payload.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32_update(CRC32_INITIAL, bytes)
}

/// Continues a checksum over the next bytes of a payload.
pub fn crc32_update(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        let [low, ..] = state.to_le_bytes();
        state >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}
