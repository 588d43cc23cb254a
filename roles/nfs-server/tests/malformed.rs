//! Input that no client sends: answered or cut off, never fatal, and nobody else notices.

mod common;

use common::*;
use keelson_oncrpc::client::CallError;
use keelson_oncrpc::memory::{read_to_end, write_raw};
use keelson_oncrpc::{AcceptStat, ReplyError, RpcStream};
use proptest::prelude::*;
use std::time::Duration;

/// Sends bytes as they are to a port and returns what comes back before the connection ends.
fn raw(world: &World, port: u16, bytes: Vec<u8>) -> Vec<u8> {
    let to = format!("10.0.0.1:{port}").parse().unwrap();
    let stream = world.network.connect("10.0.0.2:901".parse().unwrap(), to).expect("the server listens");
    let (mut reader, mut writer) = stream.split();
    let handle = world.executor.handle();
    world.run(async move {
        write_raw(&mut writer, &bytes).await;
        // Dropping the writer is the end of the stream.
        handle.sleep(Duration::from_millis(1)).await;
        drop(writer);
        read_to_end(&mut reader).await
    })
}

/// A call with AUTH_SYS root, as a record.
fn record(program: u32, version: u32, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let credential = Args::default().u32(0).opaque("c").u32(0).u32(0).u32(0);
    let call = Args::default().u32(9).u32(0).u32(2).u32(program).u32(version).u32(procedure);
    let call = call.u32(1).opaque(&credential.0).u32(0).u32(0);
    let len = call.0.len() + arguments.len();
    [&(0x8000_0000 | len as u32).to_be_bytes()[..], &call.0, arguments].concat()
}

#[test]
fn arguments_that_do_not_decode_are_garbage() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let garbage = Some(CallError::Refused(ReplyError::Accepted(AcceptStat::GarbageArguments)));
    for procedure in 1..=21 {
        let absurd = Args::default().u32(u32::MAX);
        assert_eq!(client.call([100_003, 3, procedure], absurd).err(), garbage, "{procedure}: length");
        let long = Args::default().opaque([0; 65]);
        assert_eq!(client.call([100_003, 3, procedure], long).err(), garbage, "{procedure}: long handle");
        assert_eq!(
            client.call([100_003, 3, procedure], Args::default()).err(),
            garbage,
            "{procedure}: empty"
        );
        if ![1, 5, 18, 19, 20].contains(&procedure) {
            let cut = Args::default().opaque(&root);
            assert_eq!(client.call([100_003, 3, procedure], cut).err(), garbage, "{procedure}: truncated");
        }
    }
    let bad_enum = Args::default().opaque(&root).opaque("x").u32(3);
    assert_eq!(client.call([100_003, 3, 8], bad_enum).err(), garbage, "createmode 3");
    let absurd_data = Args::default().opaque(&root).u64(0).u32(u32::MAX).u32(0).u32(u32::MAX);
    assert_eq!(client.call([100_003, 3, 7], absurd_data).err(), garbage);
    let unavailable = CallError::Refused(ReplyError::Accepted(AcceptStat::ProcedureUnavailable));
    assert_eq!(client.call([100_003, 3, 22], Args::default()).err(), Some(unavailable));
    assert!(client.getattr(&root).is_ok());
}

#[test]
fn calls_without_identity_see_the_root_only() {
    let world = World::new("/ *(rw)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let anonymous = |procedure: u32, arguments: &Args| {
        let call = Args::default().u32(9).u32(0).u32(2).u32(100_003).u32(3).u32(procedure);
        let call = call.u32(0).u32(0).u32(0).u32(0);
        let len = (call.0.len() + arguments.0.len()) as u32 | 0x8000_0000;
        let reply = raw(&world, 2049, [&len.to_be_bytes()[..], &call.0, &arguments.0].concat());
        // MSG_ACCEPTED 0 or MSG_DENIED 1, then AUTH_ERROR 1 and AUTH_TOOWEAK 5.
        (reply[15], reply.get(16..24).map(<[u8]>::to_vec))
    };
    let handle = Args::default().opaque(&root);
    let too_weak = (1, Some(vec![0, 0, 0, 1, 0, 0, 0, 5]));
    assert_eq!(anonymous(0, &Args::default()).0, 0);
    // Port 901 is privileged, as the export wants it.
    assert_eq!(anonymous(1, &handle).0, 0);
    assert_eq!(anonymous(19, &handle).0, 0);
    assert_eq!(anonymous(4, &handle.clone().u32(1)), too_weak);
}

#[test]
fn absurd_records_end_the_connection_only() {
    let world = World::new("/ *(rw)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    for bytes in [vec![0xff; 64], vec![0; 5000], vec![0x80, 0, 0, 3, 1, 2, 3], vec![0x80, 0x20, 0, 0]] {
        assert_eq!(raw(&world, 2049, bytes), [0; 0]);
    }
    assert!(client.getattr(&root).is_ok());
    assert!(world.server.counters().rpc.too_long.get() >= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_streams_do_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        port in prop::sample::select(vec![111u16, 2049, 20_048]),
    ) {
        let world = World::new("/ *(rw)");
        raw(&world, port, bytes);
        prop_assert!(world.client(0).mount("/").is_ok());
    }

    #[test]
    fn random_arguments_do_no_harm(
        procedure in 0u32..24,
        words in proptest::collection::vec(prop_oneof![0u32..70, any::<u32>()], 0..30),
        at in 0usize..4,
    ) {
        let world = World::new("/ *(rw,no_root_squash)");
        let client = world.client(0);
        let root = client.mount("/").expect("mounted");
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        // With a good handle in front most of the time, so that more than the handle is tried.
        let handle = if at > 0 { Args::default().opaque(&root).0 } else { Vec::new() };
        let arguments = [handle, words].concat();
        for (port, program, version) in
            [(2049, 100_003, 3), (20_048, 100_005, 3), (20_048, 100_005, 1), (111, 100_000, 2), (111, 100_000, 4)]
        {
            let reply = raw(&world, port, record(program, version, procedure, &arguments));
            prop_assert!(reply.len() >= 24, "an answer in any case");
        }
        prop_assert!(client.getattr(&root).is_ok());
    }
}

#[test]
fn nlm_and_nsm_refuse_what_does_not_decode() {
    use common::locking::{NLM_PORT, STATD_PORT, Want};
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let file = client.file("file");
    let garbage = Some(CallError::Refused(ReplyError::Accepted(AcceptStat::GarbageArguments)));
    let unavailable = Some(CallError::Refused(ReplyError::Accepted(AcceptStat::ProcedureUnavailable)));
    let nlm = Client { port: NLM_PORT, ..client.clone() };
    let want = Want::of(&file, 1);
    for version in [1, 3, 4] {
        for procedure in (1..=23).filter(|procedure| ![11, 12, 13, 14].contains(procedure)) {
            let call = |args: Args| nlm.call([100_021, version, procedure], args).err();
            if (16..20).contains(&procedure) || (procedure >= 20 && version == 1) {
                assert_eq!(call(Args::default()), unavailable, "{version} {procedure}");
                continue;
            }
            assert_eq!(call(Args::default()), garbage, "{version} {procedure}: empty");
            assert_eq!(call(Args::default().u32(u32::MAX)), garbage, "{version} {procedure}: length");
            assert_eq!(call(Args::default().opaque([0; 1025])), garbage, "{version} {procedure}: long");
            if procedure <= 10 {
                let args = want.args(version, procedure);
                let cut = Args(args.0[..args.0.len() - 4].to_vec());
                assert_eq!(call(cut), garbage, "{version} {procedure}: cut");
                assert_eq!(call(args.u32(0)), garbage, "{version} {procedure}: excess");
            }
        }
        assert_eq!(nlm.call([100_021, version, 24], Args::default()).err(), unavailable);
    }
    let flag = Args::default().opaque("c").u32(2);
    assert_eq!(nlm.call([100_021, 4, 1], flag).err(), garbage, "neither true nor false");
    for version in [2, 5] {
        assert!(nlm.call([100_021, version, 1], want.args(4, 1)).is_err());
    }
    let statd = Client { port: STATD_PORT, ..client.clone() };
    for procedure in [1, 2, 3, 4, 6] {
        let call = |args: Args| statd.call([100_024, 1, procedure], args).err();
        assert_eq!(call(Args::default()), garbage, "{procedure}");
        assert_eq!(call(Args::default().opaque([0; 1025])), garbage, "{procedure}");
        assert_eq!(call(Args::default().opaque("x").u32(7).u32(7)), garbage, "{procedure}");
    }
    assert_eq!(world.server.counters().locks.locks, 0);
    assert_eq!(client.lock(&want), OK);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Valid handles with noise around them, to every procedure of the lock programs.
    #[test]
    fn lock_programs_survive_noise(
        noise in proptest::collection::vec(any::<u8>(), 0..120), procedure in 0u32..26, version in 1u32..5
    ) {
        use common::locking::{NLM_PORT, STATD_PORT, Want};
        let world = World::new("/ *(rw,no_root_squash)");
        let client = world.client(0);
        let file = client.file("file");
        let args = Args::default().opaque("c").u32(1).opaque("client").opaque(&file);
        let args = Args([&args.0, &noise[..]].concat());
        let nlm = Client { port: NLM_PORT, ..client.clone() };
        let _ = nlm.call([100_021, version, procedure], args.clone());
        let statd = Client { port: STATD_PORT, ..client.clone() };
        let _ = statd.call([100_024, 1, procedure], args);
        let _ = raw(&world, NLM_PORT, record(100_021, version, procedure, &noise));
        world.pass(100);
        prop_assert!(client.lock(&Want::of(&file, 1)) <= 1);
    }
}
