//! Where things lie in an address space (section 3.4).

/// Nothing is ever mapped below.
pub const LOWEST: u64 = 0x1_0000;
/// First address that programs cannot use.
pub const TOP: u64 = 0x7fff_ffff_f000;
/// Where the search for room for an interpreter begins.
pub const INTERPRETER: u64 = 0x1555_5540_0000;
/// Where the search for room for a mapping begins.
pub const MAPPINGS: u64 = 0x2aaa_aaa0_0000;
/// Where position-independent programs lie.
pub const PROGRAM: u64 = 0x5555_5540_0000;
/// End of the stack: the guard is above, up to [`TOP`], so that the first 2 MiB of a stack are one page.
pub const STACK_TOP: u64 = 0x7fff_ffe0_0000;
/// Most bytes of a stack, whatever the limit says: the vDSO lies below.
pub const STACK_MOST: u64 = 1 << 38;
/// Where the page of times lies; the vDSO's code follows.
pub const VVAR: u64 = STACK_TOP - STACK_MOST - 0x1000_0000;
/// Most areas of a process (`vm.max_map_count`).
pub const AREAS_MOST: usize = 65_530;
/// Room that is kept free below a stack that grows.
pub const STACK_GAP: u64 = 256 * 4096;
