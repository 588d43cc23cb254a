//! What must hold of an image before it is written.

use crate::elf::Linked;
use std::process::Command;

/// Largest boot file.
const BUDGET: usize = 4 << 20;
/// The boot tables in entry.s map this much.
const MAPPED: usize = 8 << 20;

/// Checks the linked image and its flat form.
pub fn run(linked: &Linked, payload: &[u8]) -> Result<(), String> {
    if linked.entry64 != 0x200 {
        return Err(format!("the 64-bit entry is at {:#x} instead of 0x200", linked.entry64));
    }
    if !linked.relocations.is_empty() {
        return Err(format!("relocations left: {}", linked.relocations.join(", ")));
    }
    for segment in &linked.segments {
        if segment.flags & 3 == 3 {
            return Err(format!("the segment at {:#x} is writable and executable", segment.offset));
        }
        if segment.offset % 4096 != 0 {
            return Err(format!("the segment at {:#x} does not start on a page", segment.offset));
        }
    }
    if payload.len() > MAPPED {
        return Err(format!("the image takes {} KiB; the boot tables map 8 MiB", payload.len() / 1024));
    }
    Ok(())
}

/// Checks the size of the boot file.
pub fn budget(len: usize) -> Result<(), String> {
    if len > BUDGET {
        return Err(format!("the boot file has {} KiB, the budget is {} KiB", len / 1024, BUDGET / 1024));
    }
    Ok(())
}

/// Fails when any instruction of the ELF file at `path` writes below the stack pointer: interrupts use that
/// memory. Disassembles with objdump.
pub fn red_zone(path: &std::path::Path) -> Result<(), String> {
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(path)
        .output()
        .map_err(|error| format!("cannot run objdump (package binutils): {error}"))?;
    if !output.status.success() {
        return Err(format!("objdump: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find(|line| uses_red_zone(line)) {
        Some(line) => Err(format!("red-zone access: {}", line.trim())),
        None => Ok(()),
    }
}

/// True for a line of disassembly with an operand like `-0x8(%rsp)`.
fn uses_red_zone(line: &str) -> bool {
    line.match_indices("(%rsp").any(|(at, _)| {
        let displacement = line[..at].rsplit([' ', ',', '\t', '*', ':']).next().unwrap_or("");
        displacement.starts_with("-0x") && !line.contains("lea ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_zone_operands_are_recognised() {
        assert!(uses_red_zone("  1000:\tmov    %rax,-0x8(%rsp)"));
        assert!(uses_red_zone("  1000:\tmovups -0x18(%rsp,%rcx,8),%xmm0"));
        assert!(!uses_red_zone("  1000:\tmov    %rax,0x8(%rsp)"));
        assert!(!uses_red_zone("  1000:\tmov    %rax,(%rsp)"));
        assert!(!uses_red_zone("  1000:\tmov    %rax,-0x8(%rbp)"));
    }

    #[test]
    fn the_budget_is_a_bar() {
        assert!(budget(BUDGET).is_ok());
        assert!(budget(BUDGET + 1).is_err());
    }
}
