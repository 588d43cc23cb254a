//! Small facts of processes and threads: arch_prctl, prctl, personality (section 4.4).

use super::{Caller, put_words};
use crate::Errno;
use crate::mm::Mm;
use crate::signals::is_signal;
use core::sync::atomic::Ordering;
use keelson_hal::user::Registers;

/// First address that a program cannot have.
const USER_END: u64 = 1 << 47;

/// arch_prctl(code, address).
pub(crate) fn arch_prctl(registers: &mut Registers, mm: &Mm, args: [u64; 6]) -> Result<u64, Errno> {
    let [code, address, ..] = args;
    match code {
        // ARCH_SET_GS, ARCH_SET_FS.
        0x1001 | 0x1002 if address >= USER_END => return Err(Errno::EPERM),
        0x1001 => registers.gs_base = address,
        0x1002 => registers.fs_base = address,
        // ARCH_GET_FS, ARCH_GET_GS.
        0x1003 => put_words(mm, address, &[registers.fs_base])?,
        0x1004 => put_words(mm, address, &[registers.gs_base])?,
        // ARCH_GET_CPUID: programs may always use the instruction. ARCH_SET_CPUID: and nothing here makes it fault.
        0x1011 => return Ok(1),
        0x1012 => return Err(Errno::ENODEV),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// set_tid_address(word).
pub fn sys_set_tid_address(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    caller.thread.clear_child_tid.store(args[0], Ordering::Relaxed);
    Ok(u64::from(caller.thread.tid))
}

/// personality(persona): the query, none, and ADDR_NO_RANDOMIZE.
pub fn sys_personality(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const QUERY: u32 = 0xffff_ffff;
    const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
    let persona = &caller.thread.process.facts.personality;
    match args[0] as u32 {
        QUERY => Ok(u64::from(persona.load(Ordering::Relaxed))),
        new @ (0 | ADDR_NO_RANDOMIZE) => Ok(u64::from(persona.swap(new, Ordering::Relaxed))),
        _ => Err(Errno::EINVAL),
    }
}

/// prctl(option, ...).
pub fn sys_prctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [option, value, third, fourth, fifth, _] = args;
    let (thread, facts) = (caller.thread, &caller.thread.process.facts);
    let mm = caller.mm();
    let rest_is_zero = third == 0 && fourth == 0 && fifth == 0;
    let flag = |flag: &core::sync::atomic::AtomicBool| u64::from(flag.load(Ordering::Relaxed));
    match option as u32 {
        // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG.
        1 if value == 0 || u32::try_from(value).is_ok_and(is_signal) => {
            facts.parent_death.store(value as u32, Ordering::Relaxed);
        }
        2 => mm.write(value, &facts.parent_death.load(Ordering::Relaxed).to_le_bytes())?,
        // PR_GET_DUMPABLE, PR_SET_DUMPABLE.
        3 => return Ok(flag(&facts.dumpable)),
        4 if value <= 1 => facts.dumpable.store(value == 1, Ordering::Relaxed),
        // PR_SET_NAME, PR_GET_NAME.
        15 => {
            let mut name = [0; 16];
            // Not beyond the end of the name: the next page may be missing.
            for (index, byte) in name[..15].iter_mut().enumerate() {
                let at = value.checked_add(index as u64).ok_or(Errno::EFAULT)?;
                mm.read(at, core::slice::from_mut(byte))?;
                if *byte == 0 {
                    break;
                }
            }
            thread.set_comm(&name);
            thread.become_helper_by_name();
        }
        16 => {
            let name = *thread.name.lock();
            mm.write(value, &name)?;
        }
        // PR_CAPBSET_DROP, PR_SET_SECUREBITS: nobody has capabilities here.
        24 if value <= 40 => return Err(Errno::EPERM),
        28 => return Err(Errno::EPERM),
        // PR_GET_SECUREBITS: none.
        27 => {}
        // PR_GET_TSC, PR_SET_TSC: PR_TSC_ENABLE only.
        25 => mm.write(value, &1u32.to_le_bytes())?,
        26 if value == 1 => {}
        // PR_SET_TIMERSLACK, PR_GET_TIMERSLACK.
        29 => {
            let born = thread.born_slack.load(Ordering::Relaxed);
            thread.slack.store(if value == 0 { born } else { value }, Ordering::Relaxed);
        }
        30 => return Ok(thread.slack.load(Ordering::Relaxed)),
        // PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER.
        36 => facts.subreaper.store(value != 0, Ordering::Relaxed),
        37 => mm.write(value, &(flag(&facts.subreaper) as u32).to_le_bytes())?,
        // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS.
        38 if value == 1 && rest_is_zero => facts.no_new_privileges.store(true, Ordering::Relaxed),
        39 if value == 0 && rest_is_zero => return Ok(flag(&facts.no_new_privileges)),
        // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE.
        41 if rest_is_zero => {
            facts.small_pages.store(value != 0, Ordering::Relaxed);
            mm.set_small_pages(value != 0);
        }
        42 if value == 0 && rest_is_zero => return Ok(flag(&facts.small_pages)),
        // PR_SET_VMA: names of areas are not kept.
        0x5356_4d41 if value == 0 => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
