//! Whole calls to the role's programs.

use crate::input::Input;
use crate::service::{Played, Service, play, play_in};
use crate::world::{FRIENDS, SERVER, World};
use keelson_nfs_server::nlm_wire::{
    CancelArgs, Lock, LockArgs, Res, ShareArgs, TestArgs, UnlockArgs, Version, free_all,
};
use keelson_nfs_server::{
    MOUNT_PROGRAM, NFS_PROGRAM, NLM_PROGRAM, NSM_PROGRAM, RPCBIND_PROGRAM, RQUOTA_PROGRAM,
};
use keelson_oncrpc::{AuthSys, Buffer, Credential, Decoder, Encoder};
use std::net::SocketAddr;

/// A regular file among the handles that all know at first.
const FILE: usize = 2;

/// NFS version 3.
pub fn nfs3(input: &[u8]) {
    let service = Service { program: NFS_PROGRAM, versions: &[3], port: 2049 };
    finish(play(&service, Input::new(input)));
}

/// MOUNT.
pub fn mount(input: &[u8]) {
    let service = Service { program: MOUNT_PROGRAM, versions: &[1, 3], port: 20_048 };
    finish(play(&service, Input::new(input)));
}

/// RQUOTA.
pub fn rquota(input: &[u8]) {
    let service = Service { program: RQUOTA_PROGRAM, versions: &[1, 2], port: 875 };
    finish(play(&service, Input::new(input)));
}

/// rpcbind.
pub fn rpcbind(input: &[u8]) {
    let service = Service { program: RPCBIND_PROGRAM, versions: &[2, 3, 4], port: 111 };
    finish(play(&service, Input::new(input)));
}

/// NSM. The hosts have locks at first, so that their restarts mean something.
pub fn nsm(input: &[u8]) {
    let service = Service { program: NSM_PROGRAM, versions: &[1], port: 32_765 };
    let world = World::new();
    let file = world.handles.get(FILE).expect("a handle").clone();
    for (host, offset) in FRIENDS.into_iter().zip([0, 100]) {
        call(&world, host, (NLM_PROGRAM, 4, 2, 32_803), |out| {
            // LOCK: cookie, wait, exclusive, the lock, no reclaim, the host's state.
            out.opaque(b"nsm");
            out.bool(false);
            out.bool(true);
            for bytes in [&b"client"[..], &file, b"owner"] {
                out.opaque(bytes);
            }
            out.u32(1);
            out.u64(offset);
            out.u64(10);
            out.bool(false);
            out.u32(1);
        });
    }
    assert_eq!(world.counters().locks.locks, FRIENDS.len(), "they have their locks");
    finish(play_in(world, &service, Input::new(input)));
}

/// NLM: the wire format, then calls. Bit 0 of the first byte says how the hosts' locks end: they free them, or say that
/// they restarted. Whatever was done before, nothing is left then.
pub fn nlm(input: &[u8]) {
    wire(input);
    let service = Service { program: NLM_PROGRAM, versions: &[1, 3, 4], port: 32_803 };
    let mut input = Input::new(input);
    let end = input.u8();
    let played = play(&service, input);
    let [_locks, _hosts] = played.world.listings();
    for host in FRIENDS {
        match end & 1 {
            0 => call(&played.world, host, (NLM_PROGRAM, 4, 23, 32_803), |out| {
                out.opaque(b"client");
                out.u32(3);
            }),
            _ => call(&played.world, host, (NSM_PROGRAM, 1, 6, 32_765), |out| {
                out.opaque(b"client");
                // Up, and no number that an input could have said before by chance.
                out.u32(0x7fff_ff31);
            }),
        }
    }
    let counts = played.world.counters().locks;
    let left = [counts.locks, counts.waiters, counts.grants, counts.files, counts.shares];
    assert_eq!(left, [0; 5], "left of hosts without locks: {counts:?}");
    finish(played);
}

/// Hosts stay until the server has stopped.
fn finish(played: Played) {
    let Played { world, peers } = played;
    world.finish();
    drop(peers);
}

/// A call of a host's superuser; it must be answered.
fn call(
    world: &World,
    host: std::net::IpAddr,
    (program, version, procedure, port): (u32, u32, u32, u16),
    arguments: impl FnOnce(&mut Encoder),
) {
    let mut out = Encoder::new(Buffer::unpooled(400), 0);
    for word in [0x656e_6400 | procedure, 0, 2, program, version, procedure] {
        out.u32(word);
    }
    Credential::Sys(AuthSys::new(b"client", 0, 0, &[])).emit(&mut out);
    Credential::None.emit(&mut out);
    arguments(&mut out);
    debug_assert!(SERVER.is_ipv4());
    let reply = world.call_stream(SocketAddr::new(host, 901), port, out.written().to_vec());
    assert!(reply.is_some_and(|reply| reply.len() >= 24), "an answer of success");
}

/// What decodes is written as it was read: by those procedures that write, in the fields that all have in common.
fn wire(input: &[u8]) {
    for version in [Version::V1, Version::V3, Version::V4] {
        let decoder = Decoder::new(input);
        let locks = [
            TestArgs::decode(version, decoder).ok().map(|args| args.lock),
            LockArgs::decode(version, decoder).ok().map(|args| args.lock),
            CancelArgs::decode(version, decoder).ok().map(|args| args.lock),
            UnlockArgs::decode(version, decoder).ok().map(|args| args.lock),
        ];
        for lock in locks.into_iter().flatten() {
            written(version, lock);
        }
        if let Ok(result) = Res::decode(decoder) {
            let mut out = Encoder::new(Buffer::unpooled(2048), 0);
            result.encode(version, &mut out);
            let again = Res::decode(Decoder::new(out.written())).expect("a result");
            assert_eq!((again.cookie, again.status), (result.cookie, version.status(result.status)));
        }
    }
    let _ = ShareArgs::decode(Decoder::new(input));
    let _ = free_all(Decoder::new(input));
}

fn written(version: Version, lock: Lock<'_>) {
    let args = TestArgs { cookie: lock.owner, exclusive: lock.svid & 1 == 0, lock };
    let mut out = Encoder::new(Buffer::unpooled(8192), 0);
    args.encode(version, &mut out);
    assert!(!out.overflowed());
    assert_eq!(TestArgs::decode(version, Decoder::new(out.written())), Ok(args));
}
