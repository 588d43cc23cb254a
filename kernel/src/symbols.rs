//! Placeholder until the real one is merged.
/// Finds nothing.
pub fn find(_table: &[u8], _base: usize, _address: usize) -> Option<(&str, usize)> {
    None
}
