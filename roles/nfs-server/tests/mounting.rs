//! rpcbind and MOUNT as tools and clients use them.

mod common;

use common::*;
use keelson_oncrpc::client::CallError;
use keelson_oncrpc::{AcceptStat, ReplyError, RpcVersions};

const RPCBIND: u32 = 100_000;

#[test]
fn getport_answers_over_tcp_and_udp() {
    let world = World::new("/ *(rw)");
    let client = Client { port: 111, ..world.client(0) };
    let getport = |program: u32, version: u32, protocol: u32| {
        let args = Args::default().u32(program).u32(version).u32(protocol).u32(0);
        let over_tcp = client.call([RPCBIND, 2, 3], args.clone()).expect("results").u32();
        let over_udp = call_datagram(&world, 111, [RPCBIND, 2, 3], args).expect("results").u32();
        assert_eq!(over_tcp, over_udp);
        over_tcp
    };
    assert_eq!(getport(100_003, 3, 6), 2049);
    assert_eq!(getport(100_003, 4, 6), 2049, "another version: any port of the program");
    assert_eq!(getport(100_005, 3, 17), 20_048);
    assert_eq!(getport(100_000, 2, 17), 111);
    assert_eq!((getport(100_021, 4, 6), getport(100_024, 1, 17)), (32_803, 32_765));
    assert_eq!(getport(100_227, 3, 6), 0, "ACLs are not served, so they are not announced");
    assert_eq!(getport(100_003, 3, 99), 0);
}

#[test]
fn getaddr_names_the_address_that_was_called() {
    let world = World::new("/ *(rw)");
    let client = Client { port: 111, ..world.client(0) };
    let look_up = |version, procedure, program: u32, wanted: u32, net_id: &str| {
        let args = Args::default().u32(program).u32(wanted).opaque(net_id).opaque("").opaque("");
        client.call([RPCBIND, version, procedure], args).expect("results").text()
    };
    assert_eq!(look_up(3, 3, 100_003, 3, "tcp"), "10.0.0.1.8.1");
    assert_eq!(look_up(4, 3, 100_005, 9, "udp"), "10.0.0.1.78.80");
    assert_eq!(look_up(4, 9, 100_005, 9, "udp"), "", "GETVERSADDR wants the exact version");
    assert_eq!(look_up(4, 3, 100_003, 3, "local"), "");
    assert_eq!(look_up(4, 3, 1, 1, "tcp"), "");
}

#[test]
fn dumps_list_every_program() {
    let world = World::new("/ *(rw)");
    let client = Client { port: 111, ..world.client(0) };
    let mut results = client.call([RPCBIND, 2, 4], Args::default()).expect("results");
    let mut lines = Vec::new();
    while results.bool() {
        lines.push((results.u32(), results.u32(), results.u32(), results.u32()));
    }
    results.end();
    assert!(lines.contains(&(100_000, 2, 6, 111)) && lines.contains(&(100_003, 3, 17, 2049)));
    assert_eq!(lines.len(), 24, "{lines:?}");
    let mut results = client.call([RPCBIND, 4, 4], Args::default()).expect("results");
    let mut found = false;
    while results.bool() {
        let (program, _version) = (results.u32(), results.u32());
        let line = (program, results.text(), results.text(), results.text());
        found |= line == (100_003, "tcp".into(), "0.0.0.0.8.1".into(), "superuser".into());
    }
    assert!(found);
}

#[test]
fn rpcbind_cannot_be_changed_or_misused() {
    let world = World::new("/ *(rw)");
    let client = Client { port: 111, ..world.client(0) };
    let set = Args::default().u32(1).u32(1).u32(6).u32(99);
    assert_eq!(client.call([RPCBIND, 2, 1], set).expect("results").u32(), 0);
    for (version, procedure) in [(2, 5), (3, 5), (4, 5), (4, 10)] {
        let refused = client.call([RPCBIND, version, procedure], Args::default()).err();
        let expected = CallError::Refused(ReplyError::Accepted(AcceptStat::ProcedureUnavailable));
        assert_eq!(refused, Some(expected));
    }
    let refused = client.call([RPCBIND, 5, 3], Args::default()).err();
    let versions = RpcVersions { lowest: 2, highest: 4 };
    let expected = ReplyError::Accepted(AcceptStat::ProgramMismatch(versions));
    assert_eq!(refused, Some(CallError::Refused(expected)));
    let time = client.call([RPCBIND, 3, 6], Args::default()).expect("results").u32();
    assert_eq!(time, 1_767_225_600);
}

#[test]
fn nfsacl_is_refused_at_once() {
    let world = World::new("/ *(rw)");
    let refused = world.client(0).call([100_227, 3, 0], Args::default()).err();
    assert_eq!(refused, Some(CallError::Refused(ReplyError::Accepted(AcceptStat::ProgramUnavailable))));
}

#[test]
fn paths_are_found_and_refused() {
    let world = World::new("/ 10.0.0.2(rw,no_root_squash);/only 10.0.0.3(rw);/gone *(rw)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let dir = client.mkdir(&root, "dir").expect("made");
    let sub = client.mkdir(&dir, "sub").expect("made");
    client.create(&dir, "file").expect("made");
    assert_eq!(client.mount("//dir/./sub/"), Ok(sub), "a directory below the export");
    assert_eq!(client.mount("/dir/file"), Err(NOTDIR));
    assert_eq!(client.mount("/dir/none"), Err(NOENT));
    assert_eq!(client.mount("/dir/../dir"), Err(ACCES));
    assert_eq!(client.mount("dir"), Err(ACCES));
    assert_eq!(client.mount("/only"), Err(NOENT), "covered by / too");
    assert_eq!(client.mount("/gone"), Err(NOENT));
    let stranger = world.client_at("10.0.0.9:900", 0);
    assert_eq!(stranger.mount("/dir"), Err(ACCES));
    assert_eq!(stranger.mount("/none"), Err(ACCES), "names cannot be probed");
    assert_eq!(world.client_at("10.0.0.2:1024", 0).mount("/"), Err(ACCES), "illegal port");
    let counters = world.server.counters();
    assert_eq!((counters.mount.granted.get(), counters.mount.refused.get()), (2, 9));
}

#[test]
fn a_symbolic_link_does_not_lead_out() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    client.mkdir(&root, "real").expect("made");
    let target = Args::default().sattr(None, None).opaque("real");
    client.make(10, &root, "link", target).expect("made");
    assert_eq!(client.mount("/link"), Err(NOTDIR));
}

#[test]
fn showmount_shows_exports_and_mounts_over_restarts() {
    let exports = "/ *(rw,no_root_squash);/a 10.0.0.0/8 *.example.org host(ro)";
    let world = World::new(exports);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    client.mkdir(&root, "a").expect("made");
    client.mount("/a").expect("mounted");
    for version in [1, 3] {
        let mut results = client.mountd(version, 5, Args::default());
        let mut lines = Vec::new();
        while results.bool() {
            let mut line = vec![results.text()];
            while results.bool() {
                line.push(results.text());
            }
            lines.push(line.join(" "));
        }
        results.end();
        assert_eq!(lines, ["/ *", "/a 10.0.0.0/8 *.example.org host"]);
    }
    let world = world.restart(exports);
    let client = world.client(0);
    let list = |client: &Client<'_>| {
        let mut results = client.mountd(3, 2, Args::default());
        let mut lines = Vec::new();
        while results.bool() {
            lines.push(format!("{}:{}", results.text(), results.text()));
        }
        lines
    };
    assert_eq!(list(&client), ["10.0.0.2:/", "10.0.0.2:/a"]);
    client.mountd(3, 3, Args::default().opaque("/a")).end();
    assert_eq!(list(&client), ["10.0.0.2:/"]);
    client.mountd(3, 4, Args::default()).end();
    assert_eq!(list(&client), [""; 0]);
    assert_eq!(client.mountd(1, 1, Args::default().opaque("/")).u32(), ACCES, "version 1 does not mount");
}
