//! Bytes as other implementations send them, and bytes that nobody should send.

use super::*;
use keelson_oncrpc::Buffer;
use proptest::prelude::*;

fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(8192), 0);
    write(&mut out);
    assert!(!out.overflowed());
    out.written().to_vec()
}

/// The example of a LOCK of version 4: bytes 4096 to the end, for writing, waiting.
fn lock_bytes(version: Version) -> Vec<u8> {
    encoded(|out| {
        out.opaque(&[1, 2, 3, 4]);
        out.bool(true);
        out.bool(true);
        out.opaque(b"client");
        out.opaque(&[7; 32]);
        out.opaque(b"17@client");
        out.u32(17);
        match version {
            Version::V4 => {
                out.u64(4096);
                out.u64(0);
            }
            _ => {
                out.u32(4096);
                out.u32(0);
            }
        }
        out.bool(false);
        out.u32(3);
    })
}

#[test]
fn a_lock_decodes_in_every_version() {
    for version in [Version::V1, Version::V3, Version::V4] {
        let bytes = lock_bytes(version);
        let args = LockArgs::decode(version, Decoder::new(&bytes)).expect("arguments");
        let lock = Lock {
            caller_name: b"client",
            file: &[7; 32],
            owner: b"17@client",
            svid: 17,
            offset: 4096,
            length: 0,
        };
        let cookie = &[1, 2, 3, 4][..];
        let wanted = LockArgs { cookie, block: true, exclusive: true, lock, reclaim: false, state: 3 };
        assert_eq!(args, wanted);
        assert_eq!(args.lock.owner_name(), b"\0\0\0\x1117@client");
        assert_eq!(split_owner_name(&args.lock.owner_name()), (17, &b"17@client"[..]));
    }
    assert_eq!(split_owner_name(b"v4"), (0, &b"v4"[..]));
}

#[test]
fn a_version_s_offsets_do_not_decode_as_another_s() {
    let short = lock_bytes(Version::V3);
    assert_eq!(LockArgs::decode(Version::V4, Decoder::new(&short)), Err(DecodeError::Truncated));
    let long = lock_bytes(Version::V4);
    assert!(LockArgs::decode(Version::V1, Decoder::new(&long)).is_err());
}

#[test]
fn every_cut_and_every_excess_is_refused() {
    let bytes = lock_bytes(Version::V4);
    for len in 0..bytes.len() {
        assert!(LockArgs::decode(Version::V4, Decoder::new(&bytes[..len])).is_err(), "{len}");
    }
    let longer = [&bytes[..], &[0; 4]].concat();
    assert_eq!(LockArgs::decode(Version::V4, Decoder::new(&longer)), Err(DecodeError::Trailing));
}

#[test]
fn objects_have_at_most_1024_bytes() {
    let with = |len: usize| {
        encoded(|out| {
            out.opaque(&alloc::vec![1; len]);
            out.u32(0);
        })
    };
    assert!(Res::decode(Decoder::new(&with(1024))).is_ok());
    let error = DecodeError::TooLong { length: 1025, maximum: 1024 };
    assert_eq!(Res::decode(Decoder::new(&with(1025))), Err(error));
}

#[test]
fn shares_have_only_two_bits() {
    let share = |deny, access| {
        encoded(|out| {
            [&b"c"[..], b"pc", &[7; 32], b"o"].into_iter().for_each(|object| out.opaque(object));
            out.u32(deny);
            out.u32(access);
            out.bool(false);
        })
    };
    let bytes = share(2, 3);
    let args = ShareArgs::decode(Decoder::new(&bytes)).expect("arguments");
    assert_eq!((args.deny, args.access, args.owner, args.reclaim), (2, 3, &b"o"[..], false));
    assert_eq!(ShareArgs::decode(Decoder::new(&share(4, 0))), Err(DecodeError::BadValue(4)));
    assert_eq!(ShareArgs::decode(Decoder::new(&share(0, 9))), Err(DecodeError::BadValue(9)));
}

#[test]
fn older_versions_say_what_they_can() {
    let test = |version, offset, length| {
        let holder = Holder { exclusive: true, svid: 9, owner: b"o", offset, length };
        let bytes = encoded(|out| holder.encode(version, b"c", out));
        let mut input = Decoder::new(&bytes);
        input.fixed(8 + 4 + 4 + 4 + 8).expect("cookie, status, kind, process, owner");
        (version.offset(&mut input).expect("an offset"), version.offset(&mut input).expect("a length"))
    };
    assert_eq!(test(Version::V4, 1 << 40, 1 << 41), (1 << 40, 1 << 41));
    assert_eq!(test(Version::V3, 10, u64::from(u32::MAX)), (10, u64::from(u32::MAX)));
    assert_eq!(test(Version::V1, 1 << 40, 1 << 41), (u64::from(u32::MAX), 0));
    assert_eq!(Version::V4.status(Status::FBIG), Status::FBIG);
    assert_eq!(Version::V3.status(Status::STALE_FH), Status::DENIED_NOLOCKS);
    assert_eq!(Version::V1.status(Status::DEADLCK), Status::DENIED);
    assert_eq!(Version::V1.status(Status::BLOCKED), Status::BLOCKED);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in [Version::V1, Version::V3, Version::V4] {
            let _ = LockArgs::decode(version, Decoder::new(&bytes));
            let _ = TestArgs::decode(version, Decoder::new(&bytes));
            let _ = CancelArgs::decode(version, Decoder::new(&bytes));
            let _ = UnlockArgs::decode(version, Decoder::new(&bytes));
        }
        let _ = ShareArgs::decode(Decoder::new(&bytes));
        let _ = Res::decode(Decoder::new(&bytes));
        let _ = free_all(Decoder::new(&bytes));
    }

    /// A callback carries the request's fields byte for byte.
    #[test]
    fn what_is_granted_is_what_was_asked(
        name in proptest::collection::vec(any::<u8>(), 0..300),
        owner in proptest::collection::vec(any::<u8>(), 0..100),
        svid: u32, offset: u64, length: u64, exclusive: bool
    ) {
        let lock = Lock { caller_name: &name, file: &[3; 32], owner: &owner, svid, offset, length };
        let args = TestArgs { cookie: b"cookie", exclusive, lock };
        let bytes = encoded(|out| args.encode(Version::V4, out));
        prop_assert_eq!(TestArgs::decode(Version::V4, Decoder::new(&bytes)), Ok(args));
        let short = Lock { offset: offset >> 32, length: length >> 32, ..lock };
        let args = TestArgs { lock: short, ..args };
        let bytes = encoded(|out| args.encode(Version::V1, out));
        prop_assert_eq!(TestArgs::decode(Version::V1, Decoder::new(&bytes)), Ok(args));
    }
}
