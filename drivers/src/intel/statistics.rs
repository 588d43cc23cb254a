//! What the chip counts by itself: 32-bit registers that stay at their largest value and are cleared by reading (8254x manual
//! section 13.7; 82574L datasheet section 10.2.11).

use core::cell::Cell;
use keelson_hal::Registers;

/// Names as `ethtool -S` has them, and registers.
const REGISTERS: [(&str, usize); 17] = [
    ("rx_crc_errors", 0x4000),
    ("rx_align_errors", 0x4004),
    ("rx_errors_symbol", 0x400c),
    ("rx_missed_errors", MISSED),
    ("collisions", 0x4028),
    ("rx_errors_sequence", 0x4038),
    ("rx_length_errors", 0x4040),
    ("rx_flow_control_xon", 0x4048),
    ("tx_flow_control_xon", 0x404c),
    ("rx_flow_control_xoff", 0x4050),
    ("tx_flow_control_xoff", 0x4054),
    ("rx_broadcast", 0x4078),
    ("multicast", 0x407c),
    ("rx_no_buffer_count", 0x40a0),
    ("rx_short_length_errors", 0x40a4),
    ("rx_long_length_errors", 0x40ac),
    ("rx_jabber_errors", 0x40b0),
];

/// Frames lost because the chip's own buffer was full: the host had given none back for too long.
const MISSED: usize = 0x4010;

/// The registers' sums.
#[derive(Default)]
pub(crate) struct Statistics {
    totals: [Cell<u64>; REGISTERS.len()],
}

impl Statistics {
    /// Frames lost for want of buffers. Costs the read of one register.
    pub fn missed(&self, registers: &dyn Registers) -> u64 {
        let found = REGISTERS.iter().position(|(_, offset)| *offset == MISSED);
        found.map_or(0, |index| self.sum(registers, index))
    }

    /// Names and sums. Costs the read of all registers.
    pub fn for_each(&self, registers: &dyn Registers, report: &mut dyn FnMut(&'static str, u64)) {
        for (index, (name, _)) in REGISTERS.iter().enumerate() {
            report(name, self.sum(registers, index));
        }
    }

    /// Adds what a register counted since it was read last.
    fn sum(&self, registers: &dyn Registers, index: usize) -> u64 {
        let (total, (_, offset)) = (&self.totals[index], REGISTERS[index]);
        total.set(total.get() + u64::from(registers.read32(offset)));
        total.get()
    }
}
