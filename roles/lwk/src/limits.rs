//! Resource limits (getrlimit(2)).

/// Without limit.
pub const INFINITY: u64 = u64::MAX;
/// CPU time in seconds.
pub const CPU: usize = 0;
/// Largest file.
pub const FSIZE: usize = 1;
/// Data segment.
pub const DATA: usize = 2;
/// Stack.
pub const STACK: usize = 3;
/// Core file.
pub const CORE: usize = 4;
/// Resident memory; without effect.
pub const RSS: usize = 5;
/// Processes and threads of the user.
pub const NPROC: usize = 6;
/// Open files.
pub const NOFILE: usize = 7;
/// Locked memory.
pub const MEMLOCK: usize = 8;
/// Address space.
pub const AS: usize = 9;
/// Queued signals.
pub const SIGPENDING: usize = 11;
/// 20 less the lowest nice value.
pub const NICE: usize = 13;
/// The highest real-time priority.
pub const RTPRIO: usize = 14;
/// How many resources there are.
pub const COUNT: usize = 16;

/// A limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What holds.
    pub soft: u64,
    /// How far the program may raise it.
    pub hard: u64,
}

impl Limit {
    /// Soft and hard alike.
    pub const fn both(value: u64) -> Limit {
        Limit { soft: value, hard: value }
    }
}

/// The limits of a process, by resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits(pub [Limit; COUNT]);

impl Default for Limits {
    /// As Linux starts a user's programs.
    fn default() -> Limits {
        let mut limits = [Limit::both(INFINITY); COUNT];
        limits[STACK] = Limit { soft: 8 << 20, hard: INFINITY };
        limits[CORE] = Limit { soft: 0, hard: INFINITY };
        limits[NOFILE] = Limit { soft: 1024, hard: 1 << 20 };
        limits[SIGPENDING] = Limit::both(31_000);
        // Bytes in message queues.
        limits[12] = Limit::both(819_200);
        limits[NICE] = Limit::both(0);
        limits[RTPRIO] = Limit::both(0);
        Limits(limits)
    }
}

impl Limits {
    /// The limit of a resource that exists.
    pub fn get(&self, resource: usize) -> Option<Limit> {
        self.0.get(resource).copied()
    }

    /// What holds for a resource; no limit for one that does not exist.
    pub fn soft(&self, resource: usize) -> u64 {
        self.get(resource).map_or(INFINITY, |limit| limit.soft)
    }
}
