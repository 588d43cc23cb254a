//! Finding every function of a segment.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::access::{Address, ConfigAccess};
use super::function::Function;

/// Bit 7 of the header type: the device has functions beyond 0.
const MULTI_FUNCTION: u8 = 0x80;

/// All functions of `segment` on the first bus of `buses` and behind its bridges, in ascending order of
/// address. Bus numbers are those that firmware gave; a bridge that points backwards, outside `buses` or at
/// a bus found already is not followed.
pub fn enumerate(access: &impl ConfigAccess, segment: u16, buses: RangeInclusive<u8>) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut seen = [false; 256];
    let mut todo = alloc::vec![*buses.start()];
    seen[usize::from(*buses.start())] = true;
    while let Some(bus) = todo.pop() {
        for device in 0..32 {
            let at = |function| Address { segment, bus, device, function };
            for function in functions_of(access, at(0)) {
                let Some(found) = Function::read(access, at(function)) else { continue };
                if let Some((secondary, _)) = found.bridge_to {
                    let fresh =
                        secondary > bus && buses.contains(&secondary) && !seen[usize::from(secondary)];
                    if fresh {
                        seen[usize::from(secondary)] = true;
                        todo.push(secondary);
                    } else {
                        log::warn!(target: "pci", "{}: bridge to bus {secondary:02x} not followed", found.address);
                    }
                }
                functions.push(found);
            }
        }
    }
    functions.sort_by_key(|function| function.address);
    functions
}

/// The function numbers worth a look. Without the multi-function bit a device may answer for all eight.
fn functions_of(access: &impl ConfigAccess, at: Address) -> core::ops::Range<u8> {
    if access.read16(at, 0) == 0xffff {
        0..0
    } else if access.read8(at, 0x0e) & MULTI_FUNCTION != 0 {
        0..8
    } else {
        0..1
    }
}
