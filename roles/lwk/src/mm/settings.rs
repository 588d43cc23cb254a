//! What the node and the launcher want of a process's memory (sections 2, 3.5 and 6.1).

use super::policy::Policy;
use keelson_hal::user::PageSize;

/// When anonymous memory gets its pages (`prefault=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prefault {
    /// Private anonymous memory when it is mapped.
    #[default]
    Anon,
    /// When it is touched.
    None,
    /// Shared anonymous memory too.
    All,
}

/// How fork duplicates memory (`fork=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Duplicate {
    /// At once: the child has no faults.
    #[default]
    Copy,
    /// At the first write.
    CopyOnWrite,
}

/// Soft limits that concern memory, in bytes (getrlimit(2)). `u64::MAX` is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub locked: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { address_space: u64::MAX, data: u64::MAX, stack: 8 << 20, locked: u64::MAX }
    }
}

/// The settings of an address space. A fork has those of its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmSettings {
    /// 1 GiB pages may be used (`hugepages=`).
    pub huge: bool,
    /// 2 MiB pages may be used.
    pub large: bool,
    /// They are used without being asked for (`thp=`).
    pub automatic: bool,
    /// When anonymous memory gets its pages.
    pub prefault: Prefault,
    /// How fork duplicates.
    pub duplicate: Duplicate,
    /// Least bytes by which the heap grows (`-h`); up to 4 KiB means exactly as asked.
    pub extend_heap_by: u64,
    /// Shared files of /dev/shm are filled where they are mapped (`--mpol-shm-premap`).
    pub shm_premap: bool,
    /// Bytes of the stack that are there at the start (`-s`).
    pub stack_premap: u64,
    /// Limits.
    pub limits: Limits,
    /// Memory policy of the process.
    pub policy: Policy,
    /// Smaller mappings do not follow `policy`, and larger ones are filled by those who touch them when there are several NUMA
    /// nodes (`-M`).
    pub policy_threshold: u64,
    /// The policy does not concern the heap.
    pub policy_not_heap: bool,
    /// The policy does not concern the stack.
    pub policy_not_stack: bool,
    /// The policy does not concern the bss.
    pub policy_not_bss: bool,
    /// Programs get a vDSO (not with `--disable-vdso`).
    pub vdso: bool,
}

impl Default for MmSettings {
    fn default() -> MmSettings {
        MmSettings {
            huge: true,
            large: true,
            automatic: true,
            prefault: Prefault::Anon,
            duplicate: Duplicate::Copy,
            extend_heap_by: super::PAGE,
            shm_premap: false,
            stack_premap: 2 << 20,
            limits: Limits::default(),
            policy: Policy::default(),
            policy_threshold: 0,
            policy_not_heap: false,
            policy_not_stack: false,
            policy_not_bss: false,
            vdso: true,
        }
    }
}

impl MmSettings {
    /// True when pages of `size` may be used.
    pub fn allows(&self, size: PageSize) -> bool {
        match size {
            PageSize::Huge => self.huge,
            PageSize::Large => self.large,
            PageSize::Small => true,
        }
    }
}
