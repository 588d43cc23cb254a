//! Dumps of an LWK node: whole ones with changes, and files that are none.

use super::Seed;

/// Numbers of the kinds of input: a file, changes to a node's dump, changes to one of QEMU's.
const FILE: u8 = 0;
const NODE: u8 = 1;
const MACHINE: u8 = 2;

/// Inputs of `lwk_dump`.
pub fn dumps() -> Vec<Seed> {
    let change = |kind: u8, changes: &[(u32, &[u8])]| {
        let mut input = Vec::from([kind]);
        for (at, bytes) in changes {
            input.extend(at.to_be_bytes());
            input.push(bytes.len() as u8);
            input.extend(*bytes);
        }
        input
    };
    let all = &[0xff; 8][..];
    // In a node's dump memory begins behind a page, in QEMU's too; the kernel's block is at 0x9000 of it.
    let block = |offset: u32| 0x1000 + 0x9000 + offset;
    Vec::from([
        ("node-whole", change(NODE, &[])),
        ("machine-whole", change(MACHINE, &[])),
        ("node-cut-off", change(NODE, &[(0x1_0000, &[])])),
        ("machine-cut-off", change(MACHINE, &[(0x8000, &[])])),
        ("empty", change(FILE, &[])),
        ("elf-header-only", [&[FILE, 0x7f][..], b"ELF\x02\x01\x01"].concat()),
        ("segments-without-end", change(NODE, &[(56, &[0xff, 0xff])])),
        ("machine-without-notes", change(MACHINE, &[(56, &[1, 0])])),
        // Where the first segment of memory is in RAM: its end is that of the address space.
        (
            "machine-memory-at-the-end",
            change(MACHINE, &[(64 + 56 + 24, &[0x00, 0x10, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff])]),
        ),
        ("machine-memory-odd", change(MACHINE, &[(64 + 56 + 24, &[7]), (64 + 56 + 32, &[0, 0x80, 1])])),
        ("machine-block-elsewhere", change(MACHINE, &[(block(16), all)])),
        ("machine-end-of-ram", change(MACHINE, &[(block(112), all)])),
        ("machine-log-is-long", change(MACHINE, &[(block(72), all)])),
        ("machine-cores", change(MACHINE, &[(block(120), &[65])])),
        ("machine-root", change(MACHINE, &[(block(56), all)])),
        ("machine-tables-in-a-circle", change(MACHINE, &[(0x1000 + 0x3000, &[0x07, 0x30])])),
    ])
}
