//! What the calls refuse.

use super::*;

#[test]
fn mmap_refuses_what_linux_refuses() {
    let mm = mm();
    let refused = |at, len, flags| mm.mmap(&anonymous(at, len, RW, flags)).unwrap_err();
    assert_eq!(refused(0, 0, ANON), Errno::EINVAL);
    assert_eq!(refused(0, 4096, map::ANONYMOUS), Errno::EINVAL);
    assert_eq!(refused(0, u64::MAX, ANON), Errno::ENOMEM);
    assert_eq!(refused(4096, 4096, ANON | map::FIXED), Errno::EPERM);
    assert_eq!(refused(0x12345, 4096, ANON | map::FIXED), Errno::EINVAL);
    assert_eq!(refused(layout::TOP - 4096, 8192, ANON | map::FIXED), Errno::ENOMEM);
    assert_eq!(refused(u64::MAX - 4095, 8192, ANON | map::FIXED), Errno::ENOMEM);
    assert_eq!(refused(0, 4096, map::SHARED_VALIDATE | map::ANONYMOUS | map::SYNC), Errno::EOPNOTSUPP);
    assert_eq!(refused(0, 4096, ANON | map::HUGETLB | 25 << 26), Errno::EINVAL);
    let at = mm.mmap(&anonymous(0x10_0000, 4096, RW, ANON)).unwrap();
    assert_eq!(at, 0x10_0000);
    assert_eq!(refused(at, 4096, ANON | map::FIXED_NOREPLACE), Errno::EEXIST);
    assert_eq!(mm.munmap(at + 1, 4096), Err(Errno::EINVAL));
    assert_eq!(mm.munmap(at, 0), Err(Errno::EINVAL));
    assert_eq!(mm.munmap(0, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(mm.mprotect(at, 8192, RW, false), Err(Errno::ENOMEM));
}

/// mremap(2) of MAP_HUGETLB takes any length, and addresses of whole pages only.
#[test]
fn lengths_of_large_mappings_are_rounded_up() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 8 * MIB, RW, ANON | map::HUGETLB)).unwrap();
    assert_eq!(mm.mremap(at + 4096, MIB, MIB, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(mm.mremap(at, 8 * MIB - 4096, 5 * MIB, 0, 0, 0), Ok(at));
    assert_eq!(mm.area(at).unwrap().len(), 6 * MIB);
    let to = at + 64 * MIB;
    assert_eq!(mm.mremap(at, MIB, MIB, 3, to + 4096, 0), Err(Errno::EINVAL));
    assert_eq!(mm.mremap(at, MIB, MIB, 3, to, 0), Ok(to));
    assert_eq!((mm.area(at).is_none(), mm.area(to).unwrap().len()), (true, 2 * MIB));
}

#[test]
fn limits_hold() {
    let mm = mm();
    mm.set_limits(Limits { address_space: 64 * 1024, data: 32 * 1024, locked: 8192, ..Limits::default() });
    assert_eq!(mm.mmap(&anonymous(0, 128 * 1024, Protection::READ, ANON)), Err(Errno::ENOMEM));
    assert_eq!(mm.mmap(&anonymous(0, 48 * 1024, RW, ANON)), Err(Errno::ENOMEM));
    let at = mm.mmap(&anonymous(0, 48 * 1024, Protection::READ, ANON)).unwrap();
    assert_eq!(mm.mprotect(at, 48 * 1024, RW, false), Err(Errno::ENOMEM));
    mm.mprotect(at, 16 * 1024, RW, false).unwrap();
    assert_eq!(mm.mlock(at, 12 * 1024, Fill::Now, 0), Err(Errno::ENOMEM));
    mm.mlock(at, 8192, Fill::Now, 0).unwrap();
    mm.mlock(at, 8192, Fill::Now, 0).unwrap();
    assert_eq!(mm.mmap(&anonymous(0, 4096, RW, ANON | map::LOCKED)), Err(Errno::EAGAIN));
    assert_eq!(mm.madvise(at, 4096, madv::DONTNEED), Err(Errno::EINVAL));
    mm.munlock(at, 8192).unwrap();
    mm.madvise(at, 4096, madv::DONTNEED).unwrap();
}
