//! The two legacy 8259 interrupt controllers: moved out of the way and masked.

use super::vector::PIC_BASE;
use crate::arch::port::write8;

/// Remaps the PICs to [`PIC_BASE`], so that a spurious IRQ 7 or 15 is not taken for an exception, and masks
/// everything (8259A datasheet, ICW1-ICW4 and OCW1).
pub fn disable() {
    // SAFETY: 20h, 21h, A0h, A1h belong to the PICs on every PC, and to nothing where there are none.
    unsafe {
        for (command, data, base, cascade) in [(0x20, 0x21, PIC_BASE, 1 << 2), (0xa0, 0xa1, PIC_BASE + 8, 2)]
        {
            write8(command, 0x11);
            write8(data, base);
            write8(data, cascade);
            write8(data, 0x01);
            write8(data, 0xff);
        }
    }
}
