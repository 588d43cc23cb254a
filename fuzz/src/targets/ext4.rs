//! Damaged filesystems.

use keelson_ext4_gate::fuzz;

/// The input chooses an image and damages it; the engine refuses it, or it is read and written.
pub fn ext4(input: &[u8]) {
    if let Err(wrong) = fuzz::damage_by(input) {
        panic!("{wrong}");
    }
}
