//! What the firmware says about this machine, read once at boot.

use crate::acpi::{self, Affinity, EcamRegion, Fadt, Hpet, Madt, MadtEntry, SleepType, Srat, Tables};
use crate::boot::BootInfo;
use crate::irq::Wire;
use crate::mm::DirectMap;
use crate::numa;
use crate::smp::MAX_CORES;
use crate::time::PmTimer;
use heapless::Vec;

/// Where PCs have their first I/O APIC; QEMU's microvm without ACPI tables has it there too.
const DEFAULT_IO_APIC: u32 = 0xfec0_0000;
/// I/O APICs that are used.
const IO_APICS_MAX: usize = 8;
/// ISA interrupts, which firmware may have rerouted.
const ISA_WIRES: usize = 16;

/// The machine as far as the kernel cares.
#[derive(Debug, Default)]
pub struct Platform {
    /// APIC numbers of the enabled processors.
    pub processors: Vec<u32, MAX_CORES>,
    /// Enabled processors beyond [`MAX_CORES`].
    pub processors_ignored: usize,
    /// NUMA nodes of processors, by APIC number, where they have other than the first.
    nodes: Vec<(u32, usize), MAX_CORES>,
    /// I/O APICs beyond those.
    pub io_apics_ignored: usize,
    /// Address and first wire of each I/O APIC.
    pub io_apics: Vec<(u64, u32), IO_APICS_MAX>,
    /// Wire of each ISA interrupt where it is not the one of the same number.
    overrides: [Option<(u32, Wire)>; ISA_WIRES],
    /// Power and reset registers.
    pub fadt: Option<Fadt>,
    /// Sleep type for power-off.
    pub soft_off: Option<SleepType>,
    /// The high precision event timer.
    pub hpet: Option<Hpet>,
    /// Windows of PCI configuration space.
    pub ecam: Vec<EcamRegion, 8>,
    /// Problems worth a line in the log.
    pub remarks: Vec<&'static str, 8>,
}

impl Platform {
    /// Reads the ACPI tables, if there are any; a machine without has one processor and the usual I/O APIC.
    pub fn find(boot: &BootInfo) -> Platform {
        let mut platform = Platform::default();
        platform.read_tables(boot);
        if platform.io_apics.is_empty() {
            // An empty list has room.
            let _ = platform.io_apics.push((DEFAULT_IO_APIC.into(), 0));
        }
        platform
    }

    fn remark(&mut self, text: &'static str) {
        // A remark too many is not worth a failure.
        let _ = self.remarks.push(text);
    }

    fn read_tables(&mut self, boot: &BootInfo) {
        let Some(address) = boot.rsdp.or_else(|| acpi::find_rsdp(&DirectMap)) else {
            return self.remark("no ACPI tables: one core, power-off by exit code only");
        };
        let Ok(rsdp) = acpi::Rsdp::read(&DirectMap, address) else {
            return self.remark("the ACPI root pointer is damaged");
        };
        let Ok(tables) = Tables::open(&DirectMap, &rsdp) else {
            return self.remark("the ACPI root table is damaged");
        };
        match tables.find(b"APIC").and_then(Madt::parse) {
            Some(madt) => self.read_madt(&madt),
            None => self.remark("no MADT: one core"),
        }
        if let Some(srat) = tables.find(b"SRAT").map(Srat::new) {
            self.read_srat(&srat);
        }
        if let Some(mcfg) = tables.find(b"MCFG") {
            self.ecam.extend(acpi::mcfg_regions(mcfg).take(self.ecam.capacity()));
        }
        self.hpet = tables.find(b"HPET").and_then(Hpet::parse);
        self.fadt = tables.find(b"FACP").and_then(Fadt::parse);
        if let Some(fadt) = &self.fadt {
            self.soft_off = tables.dsdt(fadt).ok().and_then(|dsdt| acpi::find_s5(dsdt.body()));
        }
    }

    fn read_madt(&mut self, madt: &Madt<'_>) {
        for entry in madt.entries() {
            match entry {
                MadtEntry::Processor(processor) if processor.enabled => {
                    let kept = self.processors.push(processor.apic_id).is_ok();
                    self.processors_ignored += usize::from(!kept);
                }
                MadtEntry::IoApic { address, gsi_base, .. } => {
                    let kept = self.io_apics.push((address.into(), gsi_base)).is_ok();
                    self.io_apics_ignored += usize::from(!kept);
                }
                MadtEntry::Override { source, gsi, flags } => {
                    if let Some(place) = self.overrides.get_mut(usize::from(source)) {
                        *place = Some((gsi, wire(flags)));
                    }
                }
                MadtEntry::WakeupMailbox(_) => self.remark("cores that start by mailbox are not started"),
                _ => {}
            }
        }
    }

    fn read_srat(&mut self, srat: &Srat<'_>) {
        if let Some(error) = numa::problem() {
            return self.remark(error.text());
        }
        for entry in srat.entries() {
            if let Affinity::Processor { apic_id, domain } = entry
                && self.processors.contains(&apic_id)
                && let Some(node @ 1..) = numa::topology().node_of_domain(domain)
            {
                // There are not more than processors, unless the table names one twice.
                let _ = self.nodes.push((apic_id, node));
            }
        }
    }

    /// NUMA node of the processor with this APIC number.
    pub(crate) fn node_of(&self, apic_id: u32) -> usize {
        self.nodes.iter().find(|(id, _)| *id == apic_id).map_or(0, |(_, node)| *node)
    }

    /// The ACPI timer, where it is a port.
    pub(crate) fn pm_timer(&self) -> Option<PmTimer> {
        let fadt = self.fadt.as_ref()?;
        Some(PmTimer { port: fadt.pm_timer.as_ref()?.port()?, wide: fadt.flags.timer_is_32_bit() })
    }

    /// Where ISA interrupt `irq` arrives, and how.
    pub fn isa_wire(&self, irq: u8) -> (u32, Wire) {
        let rerouted = self.overrides.get(usize::from(irq)).copied().flatten();
        rerouted.unwrap_or((irq.into(), Wire::ISA))
    }
}

/// Flags of an interrupt override: polarity in bits 1:0, trigger in bits 3:2; 3 is low or level, anything
/// else as ISA has it.
fn wire(flags: u16) -> Wire {
    Wire { active_low: flags & 3 == 3, level: flags >> 2 & 3 == 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_wires_follow_overrides() {
        let mut platform = Platform::default();
        platform.overrides[9] = Some((9, wire(0xd)));
        platform.overrides[0] = Some((2, wire(0)));
        assert_eq!(platform.isa_wire(4), (4, Wire::ISA));
        assert_eq!(platform.isa_wire(0), (2, Wire::ISA));
        assert_eq!(platform.isa_wire(9), (9, Wire::LEVEL_HIGH));
        assert_eq!(wire(0xf), Wire::PCI);
    }
}
