//! LAUNCH: what the node must know of this process and its options (section 3.1).

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{SystemTime, UNIX_EPOCH};

use keelson_hal::Entropy;
use keelson_lwk_wire::messages::{ExportedFd, Launch, LaunchFlags, limits};
use nix::unistd::{getgroups, getresgid, getresuid};
use rustix::fs::Mode;
use rustix::process::{Resource, getpgrp, getppid, getrlimit, getsid, umask};
use rustix::thread::transparent_huge_pages_are_disabled;

use super::options::Options;
use super::rank;
use super::search::Program;
use crate::link::HostEntropy;

/// By number.
const RESOURCES: [Resource; limits::RLIMITS] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// Limits as they were before this process raised its own.
pub fn rlimits() -> [(u64, u64); limits::RLIMITS] {
    RESOURCES.map(|resource| {
        let limit = getrlimit(resource);
        (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
    })
}

/// The environment for the program: ours, with what concerns mcexec itself taken out.
fn environment(options: &Options) -> Vec<Vec<u8>> {
    let mut variables: Vec<(Vec<u8>, Vec<u8>)> =
        std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect();
    // The host's preloads are for the host; the node's have a name of their own.
    let preload =
        variables.iter().find(|(name, _)| name == b"MCKERNEL_LD_PRELOAD").map(|(_, value)| value.clone());
    let own: [&[u8]; 4] =
        [b"LD_PRELOAD", b"MCKERNEL_LD_PRELOAD", b"MCKERNEL_RLIMIT_STACK", b"LWK_MCEXEC_ATTEMPT"];
    variables.retain(|(name, _)| !own.contains(&&name[..]));
    if let Some(value) = preload {
        variables.push((b"LD_PRELOAD".to_vec(), value));
    }
    // MPICH takes ranks that one daemon started for neighbours in memory: here the daemon's machine is none of theirs.
    let no_local = b"MPIR_CVAR_NOLOCAL";
    if options.node_by_rank.is_some() && !variables.iter().any(|(name, _)| name == no_local) {
        variables.push((no_local.to_vec(), b"1".to_vec()));
    }
    for (name, value) in &options.variables {
        variables.retain(|(known, _)| known != name.as_bytes());
        variables.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    }
    variables.into_iter().map(|(name, value)| [&name[..], b"=", &value].concat()).collect()
}

/// The message. `rlimits` and `masks` (blocked, ignored) are those of the start.
pub fn build(
    options: &Options,
    program: &Program,
    executable: u64,
    fds: Vec<ExportedFd>,
    masks: (u64, u64),
    rlimits: [(u64, u64); limits::RLIMITS],
) -> Launch {
    let mut entropy = [0; 32];
    HostEntropy.fill(&mut entropy);
    // There is no other way to read it.
    let mask = umask(Mode::empty());
    umask(mask);
    let mut launch = options.clone();
    if let Ok(text) = std::env::var("MCKERNEL_RLIMIT_STACK")
        && options.launch.stack == Options::default().launch.stack
    {
        // Deprecated, and without effect when it is wrong, as it was there.
        let _ = launch.stack(&text);
    }
    // As programs inherit it. A kernel that cannot tell has none to inherit.
    let no_thp = transparent_huge_pages_are_disabled().unwrap_or(false);
    launch.launch.flags.set(LaunchFlags::NO_THP, no_thp);
    launch.launch.alt_root = std::env::var("MCEXEC_ALT_ROOT").unwrap_or_default();
    let uids =
        getresuid().map_or([u32::MAX; 3], |ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()));
    let gids =
        getresgid().map_or([u32::MAX; 3], |ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()));
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let raw = |pid: Option<rustix::process::Pid>| pid.map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
    Launch {
        executable,
        path: program.path.clone(),
        argv: program.argv.clone(),
        envp: environment(options),
        cwd: std::env::current_dir().map_or_else(|_| b"/".to_vec(), |path| path.into_os_string().into_vec()),
        pid: std::process::id(),
        ppid: raw(getppid()),
        pgid: raw(Some(getpgrp())),
        sid: raw(getsid(None).ok()),
        uids,
        gids,
        groups: getgroups().unwrap_or_default().iter().map(|group| group.as_raw()).collect(),
        rlimits,
        umask: mask.bits(),
        blocked: masks.0,
        ignored: masks.1,
        rank: rank::rank(options, &rank::environment),
        helpers: None,
        wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        entropy,
        fds,
        options: launch.launch,
    }
}
