//! What the machine is (section 4.4): uname, sysinfo, random bytes.

use super::Caller;
use crate::Errno;
use crate::view::state_of;
use alloc::vec::Vec;
use keelson_hal::Instant;

/// Bytes of a field of `struct utsname`.
const FIELD: usize = 65;

/// What uname(2) says: programs look for a Linux that is new enough.
pub const RELEASE: &str = "5.10.0-lwk";

/// `uname -v`.
pub const VERSION: &str = "#1 SMP LWK";

/// getrandom: `GRND_NONBLOCK`, `GRND_RANDOM`, `GRND_INSECURE`.
const RANDOM_FLAGS: u64 = 7;

/// uname(buffer).
pub fn sys_uname(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let node = &caller.thread.process.node;
    let fields = ["Linux", &node.settings.name, RELEASE, VERSION, "x86_64", "(none)"];
    let mut bytes = [0; FIELD * 6];
    for (place, field) in bytes.chunks_exact_mut(FIELD).zip(fields) {
        let len = field.len().min(FIELD - 1);
        place[..len].copy_from_slice(&field.as_bytes()[..len]);
    }
    caller.mm().write(args[0], &bytes)?;
    Ok(0)
}

/// sysinfo(buffer): of the partition.
pub fn sys_sysinfo(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let machine = &process.system.machine;
    let (mut free, mut total) = (0, 0);
    for node in 0..machine.nodes() {
        let (of_node, all) = machine.memory(node);
        (free, total) = (free + of_node, total + all);
    }
    let up = process.system.clock.now().saturating_since(Instant::ZERO).as_secs();
    let threads: Vec<_> = process.node.processes().iter().flat_map(|process| process.threads()).collect();
    // Load averages of 1, 5 and 15 minutes with 16 binary places: as in /proc/loadavg what runs now.
    let load = (threads.iter().filter(|thread| state_of(thread) == 'R').count() as u64) << 16;
    let mut bytes = [0; 112];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, up);
    put(8, load);
    put(16, load);
    put(24, load);
    put(32, total);
    put(40, free);
    // Processes, in 16 bits; the unit of memory behind the fields for high memory.
    put(80, (threads.len() as u64).min(0xffff));
    put(104, 1);
    caller.mm().write(args[0], &bytes)?;
    Ok(0)
}

/// getrandom(buffer, count, flags).
pub fn sys_getrandom(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, count, flags, ..] = args;
    if flags & !RANDOM_FLAGS != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let count = count.min(0x7fff_ffff >> 12 << 12);
    let mm = caller.mm();
    let mut block = [0; 256];
    let mut done = 0;
    while done < count {
        let part = &mut block[..(count - done).min(256) as usize];
        caller.thread.process.system.entropy.fill(part);
        let stored = mm.write(at.checked_add(done).ok_or(Errno::EFAULT)?, part);
        match stored {
            Ok(()) => done += part.len() as u64,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
        // A long wish must not keep a signal waiting.
        if done >= 256 && caller.thread.wanted() {
            break;
        }
    }
    Ok(done)
}
