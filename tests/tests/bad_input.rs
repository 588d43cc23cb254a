//! Input nobody should send: each kind gets the answer the standards name, or its connection closed, and nothing
//! else notices.

use std::io::{Read, Write};

use keelson_oncrpc::{AuthSys, Buffer, Credential, Encoder};
use keelson_qemu::{Machine, Rng, TcpStream};
use keelson_tests::nfs3::{Transport, kind};
use keelson_tests::rpc::{
    LAST, MOUNT, NFS, RPCBIND, Records, Refusal, RpcClient, RpcError, message, next_xid, parse_reply,
};
use keelson_tests::world::{MOMENT, SERVER, SOON, World, assert_sound, at, root_handle, shell};

/// A world in which the appliance serves.
fn start(name: &str) -> (World, Machine) {
    let world = World::new(name);
    let machine = world.serving("");
    (world, machine)
}

/// Everything still works: all programs on both transports, a real call, memory, and no failure on the console.
fn assert_undisturbed(world: &World, machine: &Machine) {
    world.assert_serves(SERVER);
    let (mut nfs, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    assert_eq!(nfs.getattr(&root).unwrap().ok().kind, kind::DIRECTORY);
    let memory = shell(machine, "mem").join("\n");
    assert!(memory.contains("allocations refused 0"), "{memory}");
    assert_sound(machine);
}

fn connect(world: &World) -> TcpStream {
    let stream = world.host.tcp_connect(at(SERVER, 2049), SOON).unwrap();
    stream.set_timeout(SOON);
    stream
}

fn marked(mark: u32, body: &[u8]) -> Vec<u8> {
    [&mark.to_be_bytes()[..], body].concat()
}

fn null_call(xid: u32) -> Vec<u8> {
    message(xid, [2, NFS, 3, 0], &[])
}

/// The server ends the connection without saying anything.
fn assert_closed(mut stream: TcpStream, what: &str) {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => {}
        Ok(_) => panic!("{what}: an answer where the connection should have been closed"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what}: {error}"),
    }
}

#[test]
fn records_that_are_none() {
    let (world, machine) = start("records");
    let call = null_call(7);
    let cases: [(&str, Vec<u8>); 8] = [
        ("a fragment of 2 GiB", marked(u32::MAX, &[])),
        ("a fragment of 1 MiB and 4 KiB and one byte", marked(LAST | ((1 << 20) + 4097), &[])),
        (
            "fragments that add up to too much",
            marked(1000, &[0; 1000]).into_iter().chain(marked(u32::MAX, &[])).collect(),
        ),
        ("empty fragments without end", marked(0, &[]).repeat(300)),
        ("an empty record", marked(LAST, &[])),
        ("a record of three bytes", marked(LAST | 3, b"abc")),
        ("a reply", marked(LAST | 24, &[&[0, 0, 0, 7, 0, 0, 0, 1][..], &[0; 16]].concat())),
        ("text", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let mut stream = connect(&world);
        stream.write_all(&bytes).unwrap();
        assert_closed(stream, what);
        // At once, from the same host.
        RpcClient::tcp(&world.host, at(SERVER, 2049)).unwrap().null(NFS, 3).unwrap();
    }
    for cut in [1, 3, 4, 5, 20, call.len() + 3] {
        let mut stream = connect(&world);
        let record = marked(LAST | call.len() as u32, &call);
        stream.write_all(&record[..cut]).unwrap();
        stream.shutdown_write();
        assert_closed(stream, &format!("the end after {cut} bytes"));
    }
    assert_undisturbed(&world, &machine);
}

#[test]
fn strange_but_proper_records_are_answered() {
    let (world, machine) = start("strange-records");
    let (mut stream, mut records) = (connect(&world), Records::default());
    // One byte per fragment, with empty fragments between.
    let call = null_call(1);
    for (i, byte) in call.iter().enumerate() {
        let last = if i + 1 == call.len() { LAST } else { 0 };
        stream.write_all(&marked(0, &[])).unwrap();
        stream.write_all(&marked(1 | last, &[*byte])).unwrap();
    }
    records.read(&mut stream).unwrap();
    assert!(parse_reply(records.record()).unwrap().is_empty());
    // One byte per segment.
    for byte in marked(LAST | call.len() as u32, &call) {
        stream.write_all(&[byte]).unwrap();
        while !stream.is_flushed() {
            std::thread::yield_now();
        }
    }
    records.read(&mut stream).unwrap();
    assert!(parse_reply(records.record()).unwrap().is_empty());
    // A hundred calls in one write: a hundred replies, each once.
    let calls: Vec<u8> =
        (100..200u32).flat_map(|xid| marked(LAST | call.len() as u32, &null_call(xid))).collect();
    stream.write_all(&calls).unwrap();
    let mut seen: Vec<u32> = Vec::new();
    for _ in 0..100 {
        records.read(&mut stream).unwrap();
        seen.push(u32::from_be_bytes(*records.record().first_chunk().unwrap()));
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(100..200));
    assert_undisturbed(&world, &machine);
}

#[test]
fn calls_that_are_refused() {
    let (world, machine) = start("refusals");
    let with_auth = |flavor: u32, length: u32, body: &[u8]| {
        let words = [0, 0, 2, NFS, 3, 1, flavor, length].into_iter().flat_map(u32::to_be_bytes);
        [&words.collect::<Vec<u8>>()[..], body, &[0; 8]].concat()
    };
    let mut groups = Encoder::new(Buffer::unpooled(256), 0);
    Credential::Sys(AuthSys::new(b"x", 0, 0, &[])).emit(&mut groups);
    let too_many: Vec<u8> = [&groups.written()[8..24], &17u32.to_be_bytes()[..], &[0; 68]].concat();
    let call = |target| message(0, target, &[]);
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("RPC version 1", call([1, NFS, 3, 0]), Refusal::RpcMismatch(2, 2)),
        ("RPC version 3", call([3, NFS, 3, 0]), Refusal::RpcMismatch(2, 2)),
        ("an unknown program", call([2, 100_099, 3, 0]), Refusal::ProgramUnavailable),
        ("program 0", call([2, 0, 0, 0]), Refusal::ProgramUnavailable),
        ("NFS version 2", call([2, NFS, 2, 0]), Refusal::ProgramMismatch(3, 3)),
        ("NFS version 4", call([2, NFS, 4, 1]), Refusal::ProgramMismatch(3, 3)),
        ("procedure 22", call([2, NFS, 3, 22]), Refusal::ProcedureUnavailable),
        ("procedure 2^32-1", call([2, NFS, 3, u32::MAX]), Refusal::ProcedureUnavailable),
        ("no arguments", call([2, NFS, 3, 1]), Refusal::GarbageArguments),
        ("RPCSEC_GSS", with_auth(6, 4, &[0; 4]), Refusal::Auth(1)),
        ("an unknown flavour", with_auth(99, 0, &[]), Refusal::Auth(1)),
        ("a credential of 404 bytes", with_auth(1, 404, &[0; 404]), Refusal::Auth(1)),
        ("a credential of 2^32-1 bytes", with_auth(1, u32::MAX, &[]), Refusal::Auth(1)),
        ("an empty AUTH_SYS", with_auth(1, 0, &[]), Refusal::Auth(1)),
        ("AUTH_SYS with 17 groups", with_auth(1, too_many.len() as u32, &too_many), Refusal::Auth(1)),
    ];
    for (what, mut bytes, expected) in cases {
        for mut client in [
            RpcClient::tcp(&world.host, at(SERVER, 2049)).unwrap(),
            RpcClient::udp(&world.host, at(SERVER, 2049)).unwrap(),
        ] {
            let xid = next_xid();
            bytes[..4].copy_from_slice(&xid.to_be_bytes());
            match client.send_raw(&bytes, xid) {
                Err(RpcError::Refused(refusal)) => assert_eq!(refusal, expected, "{what}"),
                other => panic!("{what}: {other:?} instead of {expected:?}"),
            }
            // The connection is still good.
            client.null(NFS, 3).unwrap();
        }
    }
    for (program, port, versions) in [(MOUNT, 20_048, (1, 3)), (RPCBIND, 111, (2, 4))] {
        let mut client = RpcClient::tcp(&world.host, at(SERVER, port)).unwrap();
        let refused = client.null(program, 9).unwrap_err();
        let expected = Refusal::ProgramMismatch(versions.0, versions.1);
        assert!(matches!(refused, RpcError::Refused(found) if found == expected), "{refused}");
        let refused = client.null(NFS, 3).unwrap_err();
        assert!(matches!(refused, RpcError::Refused(Refusal::ProgramUnavailable)), "{refused}");
    }
    assert_undisturbed(&world, &machine);
}

#[test]
fn datagrams_cut_short() {
    let (world, machine) = start("cut-datagrams");
    let root = root_handle(&world.host, SERVER);
    let udp = world.host.udp(0).unwrap();
    let to = at(SERVER, 2049);
    // GETATTR and, for a longer body, WRITE; each cut at every length.
    let mut getattr = Encoder::new(Buffer::unpooled(256), 0);
    getattr.opaque(&root);
    let mut write = Encoder::new(Buffer::unpooled(512), 0);
    write.opaque(&root);
    write.u64(0);
    write.u32(100);
    write.u32(2);
    write.opaque(&[7; 100]);
    for (procedure, arguments) in [(1, getattr.written()), (7, write.written())] {
        let full = message(0x77, [2, NFS, 3, procedure], arguments);
        for cut in 0..full.len() {
            udp.send_to(&full[..cut], to).unwrap();
            if cut < 12 {
                continue; // no call at all: silence
            }
            let (reply, from) =
                udp.receive(SOON).unwrap_or_else(|e| panic!("procedure {procedure} cut at {cut}: {e}"));
            assert_eq!(from, to);
            let error = parse_reply(&reply).unwrap_err();
            assert!(matches!(error, RpcError::Refused(_)), "procedure {procedure} cut at {cut}: {error}");
        }
    }
    assert!(udp.receive(MOMENT).is_err(), "an answer to what is no call");
    assert_undisturbed(&world, &machine);
}

#[test]
fn absurd_lengths_in_every_procedure() {
    let (world, machine) = start("lengths");
    let root = root_handle(&world.host, SERVER);
    let mut handle = Encoder::new(Buffer::unpooled(128), 0);
    handle.opaque(&root);
    let handle = handle.written();
    const ABSURD: [u8; 4] = [0xff; 4];
    let after_handle = |rest: &[u8]| [handle, rest].concat();
    let name_too_long = after_handle(&[0, 1, 0, 0]);
    let mut cases: Vec<(u32, u32, u32, Vec<u8>)> = Vec::new();
    for procedure in 1..22 {
        cases.push((NFS, 3, procedure, vec![]));
        cases.push((NFS, 3, procedure, ABSURD.to_vec()));
        cases.push((NFS, 3, procedure, [&65u32.to_be_bytes()[..], &[0; 68]].concat()));
        cases.push((NFS, 3, procedure, handle[..handle.len() - 1].to_vec()));
        // Those that take more than a handle and a word.
        if !matches!(procedure, 1 | 4 | 5 | 18 | 19 | 20) {
            cases.push((NFS, 3, procedure, after_handle(&ABSURD)));
            cases.push((NFS, 3, procedure, after_handle(&[])));
        }
        if matches!(procedure, 3 | 8..=14) {
            cases.push((NFS, 3, procedure, name_too_long.clone()));
        }
    }
    // WRITE with data of 4 GiB less one, and with more data than its record holds.
    let head = [[0u8; 8].as_slice(), &[0xff; 4], &[0, 0, 0, 2]].concat();
    cases.push((NFS, 3, 7, after_handle(&[&head[..], &ABSURD].concat())));
    cases.push((NFS, 3, 7, after_handle(&[&head[..], &[0, 0, 0x10, 0], &[1; 100]].concat())));
    // MKDIR with a proper name and a discriminant that is none.
    cases.push((NFS, 3, 9, after_handle(&[0, 0, 0, 1, b'd', 0, 0, 0, 0, 0, 0, 9])));
    // SYMLINK with a target of 4 GiB.
    let link = [&[0, 0, 0, 1, b'l', 0, 0, 0][..], &[0; 24], &ABSURD].concat();
    cases.push((NFS, 3, 10, after_handle(&link)));
    for version in [1, 3] {
        for procedure in [1, 3] {
            cases.push((MOUNT, version, procedure, vec![]));
            cases.push((MOUNT, version, procedure, ABSURD.to_vec()));
            cases.push((MOUNT, version, procedure, [&1028u32.to_be_bytes()[..], &[b'/'; 1028]].concat()));
        }
    }
    for (version, procedure) in [(2, 3), (3, 3), (4, 3), (4, 9)] {
        cases.push((RPCBIND, version, procedure, vec![]));
        cases.push((RPCBIND, version, procedure, [&[0; 8][..], &ABSURD].concat()));
    }
    let ports = [(NFS, 2049), (MOUNT, 20_048), (RPCBIND, 111)];
    let mut clients: Vec<(u32, RpcClient)> = ports
        .into_iter()
        .flat_map(|(program, port)| {
            let address = at(SERVER, port);
            [
                (program, RpcClient::tcp(&world.host, address).unwrap()),
                (program, RpcClient::udp(&world.host, address).unwrap()),
            ]
        })
        .collect();
    for (program, version, procedure, arguments) in cases {
        for (_, client) in clients.iter_mut().filter(|(served, _)| *served == program) {
            let xid = next_xid();
            let call = message(xid, [2, program, version, procedure], &arguments);
            let what =
                format!("program {program} version {version} procedure {procedure} with {arguments:02x?}");
            match client.send_raw(&call, xid) {
                Err(RpcError::Refused(Refusal::GarbageArguments)) => {}
                // Version 1 cannot mount at all.
                Err(RpcError::Refused(Refusal::ProcedureUnavailable)) if program != NFS => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    assert_undisturbed(&world, &machine);
}

#[test]
fn random_arguments_are_always_answered() {
    let (world, machine) = start("random-arguments");
    let root = root_handle(&world.host, SERVER);
    let mut handle = Encoder::new(Buffer::unpooled(128), 0);
    handle.opaque(&root);
    let handle = handle.written();
    let mut rng = Rng::new(0x5eed);
    let mut clients =
        [(NFS, 2049, 22), (MOUNT, 20_048, 6), (RPCBIND, 111, 13)].map(|(program, port, procedures)| {
            (program, procedures, RpcClient::tcp(&world.host, at(SERVER, port)).unwrap())
        });
    for round in 0..1500 {
        let (program, procedures, client) = &mut clients[if round % 4 > 1 { 0 } else { round % 3 }];
        let version = if *program == RPCBIND { 2 + rng.below(3) as u32 } else { 3 };
        let procedure = rng.below(*procedures) as u32;
        // Often a handle, then words that are mostly small: lengths, booleans and counts that nearly fit.
        let mut arguments = if rng.chance(0.7) { handle.to_vec() } else { vec![] };
        for _ in 0..rng.below(24) {
            let word = if rng.chance(0.8) { rng.below(6) as u32 } else { rng.next_u64() as u32 };
            arguments.extend_from_slice(&word.to_be_bytes());
        }
        if !arguments.is_empty() && rng.chance(0.3) {
            let at = rng.below(arguments.len() as u64) as usize;
            arguments[at] ^= 1 << rng.below(8);
        }
        let xid = next_xid();
        let call = message(xid, [2, *program, version, procedure], &arguments);
        match client.send_raw(&call, xid) {
            Ok(_) | Err(RpcError::Refused(_)) => {}
            Err(error) => {
                panic!("program {program} version {version} procedure {procedure}, {arguments:02x?}: {error}")
            }
        }
    }
    assert_undisturbed(&world, &machine);
}
