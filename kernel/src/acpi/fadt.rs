//! Fixed hardware: power management registers and the reset register (FADT, signature `FACP`, section 5.2.9).

use super::bytes::{u16_at, u32_at, u64_at};
use super::tables::Table;

/// What the kernel uses of the table. Register addresses prefer the 64-bit fields of newer revisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fadt {
    /// Physical address of the DSDT.
    pub dsdt: u64,
    /// Interrupt of power button and the like.
    pub sci_interrupt: u16,
    /// Port that switches firmware over to ACPI mode; 0 when it is in it already.
    pub smi_command: u32,
    /// Value to write there.
    pub acpi_enable: u8,
    /// Event registers: status, and enable in the second half.
    pub pm1a_event: Option<GenericAddress>,
    /// Length in bytes of the event block.
    pub pm1_event_len: u8,
    /// Control register, where the sleep type is written.
    pub pm1a_control: Option<GenericAddress>,
    /// The second half of control, on machines that have one.
    pub pm1b_control: Option<GenericAddress>,
    /// The 3.579545 MHz timer.
    pub pm_timer: Option<GenericAddress>,
    /// Properties of the machine.
    pub flags: FadtFlags,
    /// Register of the CMOS clock with the century; 0 for none.
    pub century_register: u8,
    /// IA-PC boot flags: bit 0 legacy devices, bit 1 an 8042 keyboard controller, bit 2 no VGA, bit 5 no CMOS clock.
    pub boot_flags: u16,
    /// Register and value that reset the machine, when it has them.
    pub reset: Option<(GenericAddress, u8)>,
    /// On hardware-reduced machines, instead of PM1 control.
    pub sleep_control: Option<GenericAddress>,
}

/// The `Flags` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FadtFlags(pub u32);

impl FadtFlags {
    /// Bit 8: the PM timer counts 32 bits instead of 24.
    pub fn timer_is_32_bit(self) -> bool {
        self.0 & 1 << 8 != 0
    }

    /// Bit 10: the reset register works.
    pub fn reset_supported(self) -> bool {
        self.0 & 1 << 10 != 0
    }

    /// Bit 20: there are no PM1 blocks, no PM timer and no SCI.
    pub fn hardware_reduced(self) -> bool {
        self.0 & 1 << 20 != 0
    }
}

/// Where a register is (section 5.2.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenericAddress {
    /// Memory, port or something else.
    pub space: AddressSpace,
    /// Width of the register in bits; firmware often leaves it 0.
    pub bit_width: u8,
    /// Address in that space.
    pub address: u64,
}

/// The spaces registers live in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressSpace {
    /// Physical memory.
    Memory,
    /// I/O ports.
    Port,
    /// Configuration space of a device on bus 0: device in bits 47:32, function in 31:16, offset in 15:0.
    PciConfig,
    /// Anything else.
    Other(u8),
}

impl GenericAddress {
    fn parse(bytes: &[u8], offset: usize) -> Option<GenericAddress> {
        let address = u64_at(bytes, offset.checked_add(4)?)?;
        let space = match *bytes.get(offset)? {
            0 => AddressSpace::Memory,
            1 => AddressSpace::Port,
            2 => AddressSpace::PciConfig,
            other => AddressSpace::Other(other),
        };
        (address != 0).then_some(GenericAddress { space, bit_width: *bytes.get(offset + 1)?, address })
    }

    /// The port's number, for a register in port space.
    pub fn port(&self) -> Option<u16> {
        if self.space == AddressSpace::Port { self.address.try_into().ok() } else { None }
    }
}

impl Fadt {
    /// Reads a table with the signature `FACP`. Fields that an old, short table lacks count as zero.
    pub fn parse(table: Table<'_>) -> Option<Fadt> {
        let bytes = table.bytes;
        let flags = FadtFlags(u32_at(bytes, 112)?);
        // A register has a port number in the original table and a full address since ACPI 2.0.
        let register = |port_at: usize, len_at: usize, address_at: usize| {
            let bits = bytes.get(len_at).copied().unwrap_or(0).saturating_mul(8);
            let port = u32_at(bytes, port_at).filter(|port| *port != 0);
            let port = port.map(|port| GenericAddress {
                space: AddressSpace::Port,
                bit_width: bits,
                address: port.into(),
            });
            GenericAddress::parse(bytes, address_at).or(port)
        };
        let reset = GenericAddress::parse(bytes, 116).zip(bytes.get(128).copied());
        Some(Fadt {
            dsdt: u64_at(bytes, 140).filter(|phys| *phys != 0).unwrap_or(u32_at(bytes, 40)?.into()),
            sci_interrupt: u16_at(bytes, 46)?,
            smi_command: u32_at(bytes, 48)?,
            acpi_enable: *bytes.get(52)?,
            pm1a_event: register(56, 88, 148),
            pm1_event_len: *bytes.get(88)?,
            pm1a_control: register(64, 89, 172),
            pm1b_control: register(68, 89, 184),
            pm_timer: register(76, 91, 208),
            flags,
            century_register: *bytes.get(108)?,
            boot_flags: u16_at(bytes, 109)?,
            reset: reset.filter(|_| flags.reset_supported()),
            sleep_control: GenericAddress::parse(bytes, 244),
        })
    }
}
