//! Against the tables of QEMU 7.2 machines (`-smp 2`), and against damaged ones.

use super::*;
use proptest::prelude::*;

/// A few pieces of physical memory. Fixture files hold them as address (8 bytes), length (4), bytes.
struct Pieces(Vec<(u64, Vec<u8>)>);

impl Pieces {
    fn load(mut file: &[u8]) -> Pieces {
        let mut pieces = Vec::new();
        while let Some((header, rest)) = file.split_first_chunk::<12>() {
            let phys = u64::from_le_bytes(header[..8].try_into().unwrap());
            let len = u32::from_le_bytes(header[8..].try_into().unwrap()) as usize;
            pieces.push((phys, rest[..len].to_vec()));
            file = &rest[len..];
        }
        Pieces(pieces)
    }

    fn piece(&mut self, signature: &[u8; 4]) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(_, bytes)| bytes.starts_with(signature)).unwrap().1
    }
}

impl PhysicalMemory for Pieces {
    fn bytes(&self, phys: u64, len: usize) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(phys.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(len)?)
        })
    }
}

fn pc() -> Pieces {
    Pieces::load(include_bytes!("fixtures/pc.acpi"))
}
fn q35() -> Pieces {
    Pieces::load(include_bytes!("fixtures/q35.acpi"))
}
fn microvm() -> Pieces {
    Pieces::load(include_bytes!("fixtures/microvm.acpi"))
}

/// `-smp 5` in two nodes of 1 and 2 GiB, three processors in the first, 21 apart.
fn numa() -> Pieces {
    Pieces::load(include_bytes!("fixtures/numa.acpi"))
}

fn open(memory: &Pieces) -> Tables<'_, Pieces> {
    let rsdp = Rsdp::read(memory, find_rsdp(memory).unwrap()).unwrap();
    Tables::open(memory, &rsdp).unwrap()
}

fn fix_checksum(table: &mut [u8]) {
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

#[test]
fn processors_and_interrupts_of_each_machine() {
    for (memory, overrides) in [(pc(), 5), (q35(), 5), (microvm(), 0)] {
        let madt = Madt::parse(open(&memory).find(b"APIC").unwrap()).unwrap();
        assert_eq!(madt.local_apic, 0xfee0_0000);
        assert_eq!(madt.processors().map(|cpu| cpu.apic_id).collect::<Vec<_>>(), [0, 1]);
        let io_apics: Vec<_> =
            madt.entries().filter(|entry| matches!(entry, MadtEntry::IoApic { .. })).collect();
        assert_eq!(io_apics[0], MadtEntry::IoApic { id: 0, address: 0xfec0_0000, gsi_base: 0 });
        let found = madt.entries().filter(|entry| matches!(entry, MadtEntry::Override { .. })).count();
        assert_eq!(found, overrides);
    }
}

#[test]
fn the_pit_of_a_pc_arrives_at_input_2() {
    let memory = pc();
    let madt = Madt::parse(open(&memory).find(b"APIC").unwrap()).unwrap();
    assert!(madt.has_8259);
    assert!(madt.entries().any(|entry| entry == MadtEntry::Override { source: 0, gsi: 2, flags: 0 }));
    assert!(madt.entries().any(|entry| entry == MadtEntry::LocalNmi { uid: None, flags: 0, lint: 1 }));
}

#[test]
fn power_registers_of_each_machine() {
    let fadt = |memory: &Pieces| Fadt::parse(open(memory).find(b"FACP").unwrap()).unwrap();
    let (pc, q35, microvm) = (fadt(&pc()), fadt(&q35()), fadt(&microvm()));

    assert_eq!(pc.pm1a_control.unwrap().port(), Some(0x604));
    assert_eq!(pc.pm_timer.unwrap().port(), Some(0x608));
    assert_eq!(pc.reset, None);
    assert_eq!(pc.century_register, 0x32);

    assert_eq!(q35.pm1a_event.unwrap().port(), Some(0x600));
    assert_eq!(q35.pm1a_control.unwrap().port(), Some(0x604));
    assert_eq!(q35.pm1b_control, None);
    let (register, value) = q35.reset.unwrap();
    assert_eq!((register.port(), value), (Some(0xcf9), 0xf));
    assert!(!q35.flags.hardware_reduced());

    assert!(microvm.flags.hardware_reduced());
    assert_eq!(microvm.pm1a_control, None);
    assert_eq!(microvm.sleep_control.unwrap().space, AddressSpace::Memory);
    assert_eq!(microvm.reset.unwrap().0.space, AddressSpace::Memory);
}

#[test]
fn soft_off_is_found_in_each_dsdt() {
    for (memory, expected) in [(pc(), 0), (q35(), 0), (microvm(), 5)] {
        let tables = open(&memory);
        let fadt = Fadt::parse(tables.find(b"FACP").unwrap()).unwrap();
        let dsdt = tables.dsdt(&fadt).unwrap();
        assert_eq!(find_s5(dsdt.bytes).unwrap().a, expected);
    }
}

#[test]
fn pci_and_hpet() {
    let memory = q35();
    let regions: Vec<_> = mcfg_regions(open(&memory).find(b"MCFG").unwrap()).collect();
    assert_eq!(regions, [EcamRegion { base: 0xb000_0000, segment: 0, start_bus: 0, end_bus: 255 }]);
    assert_eq!(Hpet::parse(open(&memory).find(b"HPET").unwrap()).unwrap().base, 0xfed0_0000);
    assert!(open(&pc()).find(b"MCFG").is_none());
}

#[test]
fn processors_and_memory_lie_where_the_srat_says() {
    let memory = numa();
    let srat = Srat::new(open(&memory).find(b"SRAT").unwrap());
    let processor = |apic_id, domain| Affinity::Processor { apic_id, domain };
    let ram = |start, end, domain| Affinity::Memory { range: start..end, domain };
    assert_eq!(
        srat.entries().collect::<Vec<_>>(),
        [
            processor(0, 0),
            processor(1, 0),
            processor(2, 0),
            processor(3, 1),
            processor(4, 1),
            ram(0, 0xa_0000, 0),
            ram(0x10_0000, 1 << 30, 0),
            ram(1 << 30, 2 << 30, 1),
            ram(4 << 30, 5 << 30, 1),
        ]
    );
    assert!(open(&q35()).find(b"SRAT").is_none());
}

#[test]
fn entries_that_are_off_or_make_no_sense_are_left_out() {
    const MEMORY: usize = 48 + 5 * 16;
    let mut memory = numa();
    let srat = memory.piece(b"SRAT");
    // Processor 0 is not enabled, domain 1 of processor 3 has more than 8 bits, the first range ends beyond everything.
    srat[48 + 4] = 0;
    srat[48 + 3 * 16 + 9] = 7;
    srat[MEMORY + 8..MEMORY + 16].fill(0xff);
    for (revision, domain) in [(3, 0x701), (1, 1)] {
        let srat = memory.piece(b"SRAT");
        srat[8] = revision;
        fix_checksum(srat);
        let found: Vec<_> = Srat::new(open(&memory).find(b"SRAT").unwrap()).entries().collect();
        assert_eq!(found.len(), 7);
        assert_eq!(found[2], Affinity::Processor { apic_id: 3, domain });
    }
    memory.piece(b"SRAT")[48 + 2 * 16 + 1] = 0;
    let srat = memory.piece(b"SRAT");
    fix_checksum(srat);
    assert_eq!(Srat::new(open(&memory).find(b"SRAT").unwrap()).entries().count(), 1);
}

#[test]
fn large_apic_numbers_have_entries_of_their_own() {
    let mut memory = numa();
    let srat = memory.piece(b"SRAT");
    // In place of the first two: type 2, 24 bytes, domain 0x01000001, APIC 0x300; eight bytes of a type that nobody knows.
    srat[48..80].fill(0);
    srat[48..50].copy_from_slice(&[2, 24]);
    srat[52..56].copy_from_slice(&0x0100_0001u32.to_le_bytes());
    srat[56..60].copy_from_slice(&0x300u32.to_le_bytes());
    srat[60] = 1;
    srat[72..74].copy_from_slice(&[77, 8]);
    fix_checksum(srat);
    let first = Srat::new(open(&memory).find(b"SRAT").unwrap()).entries().next();
    assert_eq!(first, Some(Affinity::Processor { apic_id: 0x300, domain: 0x0100_0001 }));
}

#[test]
fn distances_are_believed_when_they_can_be() {
    let mut memory = numa();
    let slit = |memory: &Pieces| {
        let slit = Slit::parse(open(memory).find(b"SLIT").unwrap())?;
        Some([(0, 0), (0, 1), (1, 0)].map(|(from, to)| slit.distance(from, to).unwrap()))
    };
    assert_eq!(slit(&memory), Some([10, 21, 21]));
    assert_eq!(Slit::parse(open(&memory).find(b"SLIT").unwrap()).unwrap().distance(0, 2), None);
    for (at, value) in [(44, 11), (45, 10), (46, 0), (36, 3), (43, 1)] {
        let mut damaged = numa();
        let table = damaged.piece(b"SLIT");
        table[at] = value;
        fix_checksum(table);
        assert_eq!(slit(&damaged), None, "byte {at}");
    }
    let table = memory.piece(b"SLIT");
    table[45] = 255;
    fix_checksum(table);
    assert_eq!(slit(&memory), Some([10, 255, 21]));
}

#[test]
fn a_damaged_table_is_left_out_and_the_rest_stays() {
    let mut memory = q35();
    memory.piece(b"MCFG")[40] ^= 1;
    let tables = open(&memory);
    assert!(tables.find(b"MCFG").is_none());
    assert!(tables.find(b"APIC").is_some());
    assert!(tables.iter().any(|table| table == Err(TableError::Checksum(*b"MCFG"))));
}

#[test]
fn lengths_that_lie() {
    for len in [0u32, 35, 1 << 20, u32::MAX] {
        let mut memory = q35();
        memory.piece(b"APIC")[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(open(&memory).find(b"APIC").is_none());
    }
}

#[test]
fn an_entry_of_no_length_ends_the_madt() {
    let mut memory = q35();
    let madt = memory.piece(b"APIC");
    madt[44 + 8 + 1] = 0;
    fix_checksum(madt);
    let madt = Madt::parse(open(&memory).find(b"APIC").unwrap()).unwrap();
    assert_eq!(madt.entries().count(), 1);
}

#[test]
fn a_root_table_that_lists_itself_is_no_loop() {
    let mut memory = q35();
    let root_phys = memory.0.iter().find(|(_, bytes)| bytes.starts_with(b"RSDT")).unwrap().0;
    let root = memory.piece(b"RSDT");
    root[36..40].copy_from_slice(&(root_phys as u32).to_le_bytes());
    fix_checksum(root);
    assert!(open(&memory).find(b"FACP").is_none());
    assert!(open(&memory).find(b"HPET").is_some());
}

#[test]
fn root_pointers() {
    let memory = microvm();
    let good = memory.0[0].1.clone();
    assert_eq!(good.len(), 36);
    assert_eq!(Rsdp::parse(&good[..19]), Err(RsdpError::Unreadable));
    assert_eq!(Rsdp::parse(&good[..35]), Err(RsdpError::Unreadable));
    let mut bad = good.clone();
    bad[24] ^= 0x80;
    assert_eq!(Rsdp::parse(&bad), Err(RsdpError::Checksum));
    bad[0] = b'X';
    assert_eq!(Rsdp::parse(&bad), Err(RsdpError::Signature));
}

/// Reads everything there is to read.
fn read_all(memory: &Pieces) {
    let Some(phys) = find_rsdp(memory) else { return };
    let Ok(rsdp) = Rsdp::read(memory, phys) else { return };
    let Ok(tables) = Tables::open(memory, &rsdp) else { return };
    for table in tables.iter().flatten() {
        // Every parser sees every table, as a table under a wrong signature would reach it.
        if let Some(madt) = Madt::parse(table) {
            madt.processors().for_each(drop);
        }
        if let Some(fadt) = Fadt::parse(table) {
            let _ = tables.dsdt(&fadt).map(|dsdt| find_s5(dsdt.bytes));
        }
        mcfg_regions(table).for_each(drop);
        Hpet::parse(table);
        find_s5(table.bytes);
        let (srat, slit) = (Srat::new(table), Slit::parse(table));
        srat.entries().for_each(drop);
        let _ = crate::numa::Topology::read(&srat, slit.as_ref());
    }
}

proptest! {
    #[test]
    fn any_damage_is_survived(
        machine in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..300, any::<u8>()), 1..12),
        cut in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let mut memory = [pc, q35, microvm, numa][machine]();
        for (piece, at, value) in damage {
            let index = piece.index(memory.0.len());
            let bytes = &mut memory.0[index].1;
            let at = at % bytes.len();
            bytes[at] = value;
            if index > 0 {
                fix_checksum(bytes);
            }
        }
        if let Some((piece, at)) = cut {
            let index = piece.index(memory.0.len());
            let len = at.index(memory.0[index].1.len());
            memory.0[index].1.truncate(len);
        }
        read_all(&memory);
    }

    #[test]
    fn any_bytes_are_no_root_pointer_or_a_sound_one(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = Rsdp::parse(&bytes);
    }
}
