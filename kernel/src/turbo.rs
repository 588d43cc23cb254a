//! Frequencies above the nominal one (Turbo Boost, Core Performance Boost): they come and go with temperature and with what other
//! cores do, so that the same work takes now this long and now that.

use crate::arch::cpu::{self, rdmsr, wrmsr};
use crate::smp::{self, NoAnswer};
use core::sync::atomic::{AtomicBool, Ordering};

/// IA32_MISC_ENABLE; bit 38 disables turbo (Intel SDM volume 4, table 2-2).
const MISC_ENABLE: u32 = 0x1a0;
const TURBO_DISABLE: u64 = 1 << 38;
/// HWCR; bit 25 disables boost (AMD BKDG for family 15h, MSRC001_0015: CpbDis).
const HWCR: u32 = 0xc001_0015;
const BOOST_DISABLE: u64 = 1 << 25;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Which switch a processor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turbo {
    /// A virtual machine: what runs it decides.
    Host,
    /// None.
    Absent,
    /// IA32_MISC_ENABLE.
    Intel,
    /// HWCR.
    Amd,
}

/// Turns turbo on or off on all cores, where there is a switch for it; says which.
///
/// # Errors
///
/// A core that has other work already.
pub fn set(on: bool) -> Result<Turbo, NoAnswer> {
    // SAFETY: asked for on Intel's processors of family 6 only, all of which have the register.
    let misc_enable = || unsafe { rdmsr(MISC_ENABLE) };
    let switch = find(cpu::cpuid(0, 0).ebx, |leaf| cpu::cpuid(leaf, 0), misc_enable);
    if matches!(switch, Turbo::Intel | Turbo::Amd) {
        WANTED.store(on, Ordering::Release);
        smp::on_each(if switch == Turbo::Intel { set_intel } else { set_amd })?;
    }
    Ok(switch)
}

/// The switch of a processor of `vendor` (the first four letters, CPUID leaf 0).
fn find(
    vendor: u32,
    cpuid: impl Fn(u32) -> core::arch::x86_64::CpuidResult,
    misc_enable: impl Fn() -> u64,
) -> Turbo {
    if cpuid(1).ecx & 1 << 31 != 0 {
        return Turbo::Host;
    }
    match &vendor.to_le_bytes() {
        // Leaf 6 denies turbo while it is disabled. The register exists on all processors of family 6.
        b"Genu" if cpuid(1).eax >> 8 & 0xf == 6 => {
            let available = cpuid(6).eax & 1 << 1 != 0 || misc_enable() & TURBO_DISABLE != 0;
            if available { Turbo::Intel } else { Turbo::Absent }
        }
        b"Auth" | b"Hygo"
            if cpuid(0x8000_0000).eax >= 0x8000_0007 && cpuid(0x8000_0007).edx & 1 << 9 != 0 =>
        {
            Turbo::Amd
        }
        _ => Turbo::Absent,
    }
}

fn set_intel() {
    change(MISC_ENABLE, TURBO_DISABLE);
}

fn set_amd() {
    change(HWCR, BOOST_DISABLE);
}

/// Sets the bit that disables, or clears it.
fn change(register: u32, disable: u64) {
    // SAFETY: `find` saw that the register exists.
    let before = unsafe { rdmsr(register) };
    let after = if WANTED.load(Ordering::Acquire) { before & !disable } else { before | disable };
    if after != before {
        // SAFETY: as above, and the bit; it changes nothing but the clock's rate.
        unsafe { wrmsr(register, after) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::arch::x86_64::CpuidResult;

    fn leaves(known: &[(u32, [u32; 4])]) -> impl Fn(u32) -> CpuidResult {
        move |leaf| {
            let [eax, ebx, ecx, edx] =
                known.iter().find(|(known, _)| *known == leaf).map_or([0; 4], |(_, r)| *r);
            CpuidResult { eax, ebx, ecx, edx }
        }
    }

    #[test]
    fn the_switch_is_the_vendors() {
        let (intel, amd) = (u32::from_le_bytes(*b"Genu"), u32::from_le_bytes(*b"Auth"));
        let family_6 = (1, [0x5_0654, 0, 0, 0]);
        let has_turbo = (6, [0x77, 0, 0, 0]);
        assert_eq!(find(intel, leaves(&[family_6, has_turbo]), || 0), Turbo::Intel);
        assert_eq!(
            find(intel, leaves(&[family_6]), || TURBO_DISABLE),
            Turbo::Intel,
            "disabled by the firmware"
        );
        assert_eq!(find(intel, leaves(&[family_6]), || 0), Turbo::Absent);
        assert_eq!(
            find(intel, leaves(&[(1, [0xf00, 0, 0, 0])]), || panic!("no such register")),
            Turbo::Absent
        );
        let boost = [(0x8000_0000, [0x8000_0008, 0, 0, 0]), (0x8000_0007, [0, 0, 0, 1 << 9])];
        assert_eq!(find(amd, leaves(&boost), || panic!("no such register")), Turbo::Amd);
        assert_eq!(find(amd, leaves(&[]), || panic!("no such register")), Turbo::Absent);
        let guest = (1, [0x5_0654, 0, 1 << 31, 0]);
        assert_eq!(find(intel, leaves(&[guest, has_turbo]), || panic!("not asked")), Turbo::Host);
    }
}
