use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

#[test]
fn offsets() {
    let stat = Stat { dev: 1, mode: 0o100644, size: -2, ctime_nsec: 9, ..Stat::default() }.to_bytes();
    assert_eq!(stat.len(), 144);
    assert_eq!((stat[0], stat[24], stat[25], stat[48], stat[112]), (1, 0xa4, 0x81, 0xfe, 9));
    let statx = Statx { mode: 0o40755, ino: 3, dev_minor: 7, mnt_id: 5, ..Statx::default() }.to_bytes();
    assert_eq!((statx.len(), statx[28], statx[32], statx[140], statx[144]), (256, 0xed, 3, 7, 5));
    assert_eq!(EpollEvent { events: 1, data: 2 }.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Statfs { frsize: 1, ..Statfs::default() }.to_bytes()[72], 1);
    let mut termios = Termios { line: 3, ..Termios::default() };
    termios.cc[18] = 8;
    assert_eq!((termios.to_bytes()[16], termios.to_bytes()[35]), (3, 8));
    assert_eq!(Termios2 { base: termios, ispeed: 1, ospeed: 2 }.to_bytes()[40], 2);
    let fault = SigInfo::fault(11, 1, 0x1234_5678_9abc);
    assert_eq!(fault.address(), 0x1234_5678_9abc);
    assert_eq!(fault.to_bytes()[16..24], 0x1234_5678_9abcu64.to_le_bytes());
}

#[test]
fn devices() {
    for (a, b) in [(8, 1), (136, 300), (4095, 0xf_ffff), (0, 0)] {
        let dev = makedev(a, b);
        assert_eq!((major(dev), minor(dev)), (a, b));
        assert_eq!(new_decode_dev(new_encode_dev(a, b)), (a, b));
    }
    assert_eq!(makedev(8, 1), 0x801);
}

#[test]
fn control_data() {
    let mut control = Vec::new();
    // Two messages: credentials, which stay as they are, and three descriptors.
    control.extend(Cmsghdr { len: 28, level: 1, kind: 2 }.to_bytes());
    control.extend([9; 12]);
    control.resize(32, 0);
    control.extend(Cmsghdr { len: 28, level: 1, kind: 1 }.to_bytes());
    control.extend([3i32, 4, 5].iter().flat_map(|fd| fd.to_le_bytes()));
    let before = control.clone();
    let mut seen = Vec::new();
    each_right(&mut control, |fd| {
        seen.push(fd);
        fd + 100
    });
    assert_eq!(seen, [3, 4, 5]);
    assert_eq!(control[..48], before[..48]);
    assert_eq!(control[48..52], 103i32.to_le_bytes());
}

fn address() -> impl Strategy<Value = Sockaddr> {
    let name = proptest::collection::vec(1u8..255, 1..100);
    prop_oneof![
        Just(Sockaddr::Unspec),
        Just(Sockaddr::UnixUnnamed),
        name.clone().prop_map(Sockaddr::UnixPath),
        name.prop_map(Sockaddr::UnixAbstract),
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| Sockaddr::Inet { ip, port }),
        any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| Sockaddr::Inet6 {
            ip,
            port,
            flow,
            scope
        }),
        any::<(u32, u32)>().prop_map(|(pid, groups)| Sockaddr::Netlink { pid, groups }),
    ]
}

proptest! {
    #[test]
    fn addresses(address in address()) {
        prop_assert_eq!(Sockaddr::parse(&address.to_bytes()), Some(address));
    }

    #[test]
    fn arbitrary_addresses(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
        if let Some(address) = Sockaddr::parse(&bytes) {
            prop_assert_eq!(Sockaddr::parse(&address.to_bytes()), Some(address));
        }
    }

    #[test]
    fn arbitrary_control(mut bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
        each_right(&mut bytes, |fd| fd.wrapping_add(1));
    }

    #[test]
    fn structures(bytes in any::<[u8; 128]>()) {
        // What is between fields is not kept: once through, it stays the same.
        let info = SigInfo::from_bytes(&bytes);
        prop_assert_eq!(SigInfo::from_bytes(&info.to_bytes()), info);
        let header = Msghdr::read(&bytes).unwrap();
        prop_assert_eq!(Msghdr::from_bytes(&header.to_bytes()), header);
        let termios = Termios2::from_bytes(bytes.first_chunk().unwrap());
        prop_assert_eq!(&termios.to_bytes()[..], &bytes[..44]);
    }

    #[test]
    fn directories(names in proptest::collection::vec(proptest::collection::vec(1u8..255, 1..60), 0..20), most in 0usize..1000) {
        let (mut new, mut old) = (Vec::new(), Vec::new());
        let entry = |index: usize| Dirent { ino: index as u64, off: index as i64 + 1, kind: 8, name: &names[index] };
        let fit = (0..names.len()).take_while(|index| push_dirent(&mut new, most, &entry(*index))).count();
        prop_assert!(new.len() <= most);
        prop_assert_eq!(Dirents(&new).collect::<Vec<_>>(), (0..fit).map(entry).collect::<Vec<_>>());
        let fit = (0..names.len()).take_while(|index| push_old_dirent(&mut old, most, &entry(*index))).count();
        prop_assert!(old.len() <= most);
        prop_assert_eq!(DirentsOld(&old).collect::<Vec<_>>(), (0..fit).map(entry).collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_directories(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Dirents(&bytes).count() <= bytes.len());
        prop_assert!(DirentsOld(&bytes).count() <= bytes.len());
    }
}
