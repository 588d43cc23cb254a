//! `_PROC_SPAWN`, built field by field from the tables of section 14.4, and what is refused (section 23, point 7).

use keelson_qnet_wire::proc::{FdInfo, FdReply, FdRequest, Inheritance, Spawn, SpawnError, SpawnFlags};
use keelson_qnet_wire::{Endian, Errno, Nd};

fn put(bytes: &mut Vec<u8>, at: usize, value: &[u8]) {
    bytes.resize(bytes.len().max(at + value.len()), 0);
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// `on -f beta ls -l` as its caller sends it.
fn message() -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, 0, &0x10u16.to_le_bytes());
    put(&mut bytes, 4, &10u16.to_le_bytes()); // searchlen
    put(&mut bytes, 6, &3u16.to_le_bytes()); // pathlen
    put(&mut bytes, 8, &0x2_0100u32.to_le_bytes()); // search, node
    put(&mut bytes, 48, &4u32.to_le_bytes()); // node
    put(&mut bytes, 56, &10u32.to_le_bytes()); // priority
    put(&mut bytes, 96, &3u16.to_le_bytes()); // nfds
    put(&mut bytes, 98, &2u16.to_le_bytes()); // nargv
    put(&mut bytes, 100, &1u16.to_le_bytes()); // narge
    put(&mut bytes, 104, &12u32.to_le_bytes()); // nbytes
    for fd in [0u32, 1, 2] {
        bytes.extend(fd.to_le_bytes());
    }
    bytes.extend(b"/bin:/usr\0ls\0ls\0-l\0TZ=UT\0");
    // The remote block, not aligned.
    bytes.extend(7u32.to_le_bytes()); // key
    bytes.extend(0o22u32.to_le_bytes()); // umask
    for short in [1u16, 11, 2, 1] {
        bytes.extend(short.to_le_bytes()); // nfds, root_len, cwd_len, flags
    }
    bytes.extend(b"/net/beta/\0/\0"); // 13 bytes
    bytes.extend([0; 3]);
    for word in [1i32, 9, 0, 40_971, 1, 5, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

#[test]
fn parts() {
    let bytes = message();
    let spawn = Spawn::decode(&bytes, Endian::Little).unwrap();
    let inherit = Inheritance {
        flags: SpawnFlags::SEARCH_PATH | SpawnFlags::SETND,
        nd: Nd(4),
        priority: 10,
        ..Inheritance::default()
    };
    assert_eq!((spawn.inherit, spawn.search, spawn.path), (inherit, &b"/bin:/usr"[..], &b"ls"[..]));
    assert_eq!(spawn.fd_map().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(spawn.argv.iter().collect::<Vec<_>>(), [&b"ls"[..], b"-l"]);
    assert_eq!(spawn.envp.iter().collect::<Vec<_>>(), [&b"TZ=UT"[..]]);
    let remote = spawn.remote.unwrap();
    assert_eq!((remote.key, remote.umask, remote.fds_all_in), (7, 0o22, true));
    assert_eq!((remote.root, remote.cwd), (&b"/net/beta/"[..], &b"/"[..]));
    let fd = FdInfo { fd: 1, nd: Nd(9), srcnd: Nd(0), pid: 40_971, chid: 1, scoid: 5, coid: 1 };
    assert_eq!(remote.fds().collect::<Vec<_>>(), [fd]);
    let mut again = vec![0xee; bytes.len()];
    assert_eq!(spawn.emit(&mut again, Endian::Little), Ok(bytes.len()));
    assert_eq!(again, bytes);
}

/// The message with bytes replaced.
fn with(at: usize, value: &[u8]) -> Result<(), SpawnError> {
    let mut bytes = message();
    put(&mut bytes, at, value);
    Spawn::decode(&bytes, Endian::Little).map(drop)
}

#[test]
fn rejections() {
    assert_eq!(with(2, &[5, 0]), Err(SpawnError::Subtype(5)));
    for (at, field) in [(96, "nfds"), (98, "nargv"), (100, "narge")] {
        assert_eq!(with(at, &[1, 4]), Err(SpawnError::Count { field, count: 1025 }));
    }
    assert_eq!(with(98, &[3, 0]), Err(SpawnError::Strings { nargv: 3, narge: 1 }));
    for (at, value) in
        [(4, &[0xff; 2][..]), (6, &[0xff; 2]), (96, &[0, 4]), (104, &[0xff; 4]), (104, &[0, 1])]
    {
        assert!(matches!(with(at, value), Err(SpawnError::Short(_))), "{at}");
    }
    let strings = 108 + 12;
    assert_eq!(with(strings + 9, b"x"), Err(SpawnError::Unterminated("search path")));
    assert_eq!(with(strings + 12, b"x"), Err(SpawnError::Unterminated("path")));
    assert_eq!(with(strings + 24, b"x"), Err(SpawnError::Strings { nargv: 2, narge: 1 }));
    let remote = strings + 25;
    assert_eq!(with(remote + 8, &[1, 4]), Err(SpawnError::Count { field: "remote nfds", count: 1025 }));
    assert!(matches!(with(remote + 8, &[2]), Err(SpawnError::Short(_))));
    assert!(matches!(with(remote + 10, &[0xff; 2]), Err(SpawnError::Short(_))));
    assert_eq!(with(remote + 16 + 10, b"x"), Err(SpawnError::Unterminated("remote root")));
    assert_eq!(with(remote + 16 + 12, b"x"), Err(SpawnError::Unterminated("remote cwd")));
    for len in (0..message().len()).filter(|len| *len != remote) {
        assert!(Spawn::decode(&message()[..len], Endian::Little).is_err(), "{len}");
    }
    assert_eq!(Spawn::decode(&message()[..remote], Endian::Little).map(|spawn| spawn.remote), Ok(None));
}

#[test]
fn errors_have_numbers_and_words() {
    let count = SpawnError::Count { field: "nargv", count: 1025 };
    assert_eq!((count.errno(), SpawnError::Subtype(5).errno()), (Errno::E2BIG, Errno::ENOSYS));
    assert_eq!(count.to_string(), "_PROC_SPAWN nargv is 1025; 1024 are allowed");
    assert_eq!(SpawnError::Unterminated("path").errno(), Errno::EINVAL);
}

#[test]
fn asking_for_descriptors() {
    let request = FdRequest { flags: FdRequest::LIST, nfds: 3, base: 0, ppid: 40_971 };
    let expected = [0x10, 0, 1, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0x0b, 0xa0, 0, 0];
    assert_eq!(request.encode(Endian::Little), expected);
    let reply = [1, 0, 2, 0];
    assert!(FdReply::decode(&reply, Endian::Little).is_err(), "no records");
    let mut reply = reply.to_vec();
    reply.extend([0; 56]);
    let reply = FdReply::decode(&reply, Endian::Little).unwrap();
    assert!(reply.more && reply.fds().eq([FdInfo::default(); 2]));
}
