//! Quotas: given in exports and in a file, enforced by NFS, told by RQUOTA.

mod common;

use common::*;
use keelson_nfs_server::{RQUOTA_PROGRAM, ServerConfig};
use keelson_oncrpc::client::CallError;
use keelson_oncrpc::{AcceptStat, ReplyError};

const RW: &str = "/ *(rw,no_root_squash,uquota=40K:5,uquota=8=0,gquota=30=16K)";
const BLOCK: usize = 4096;

fn world(exports: &str) -> (World, Vec<u8>) {
    let world = World::new(exports);
    let root = world.client(0).mount("/").expect("mounted");
    assert_eq!(world.client(0).setattr(&root, Args::default().sattr(Some(0o777), None), None).0, OK);
    (world, root)
}

/// The answer of GETQUOTA without the unit: status, and if it is 1, limit and use of space in KiB, of inodes.
fn quota(client: &Client<'_>, version: u32, path: &str, kind: u32, id: u32) -> (u32, Option<[u32; 4]>) {
    let client = Client { port: 875, ..client.clone() };
    let args = Args::default().opaque(path);
    let args = if version == 2 { args.u32(kind) } else { args };
    let mut results = client.call([RQUOTA_PROGRAM, version, 1], args.u32(id)).expect("results");
    let status = results.u32();
    let quota = (status == 1).then(|| {
        let words: [u32; 10] = core::array::from_fn(|_| results.u32());
        assert_eq!((words[0], words[1], words[3], words[6], words[8], words[9]), (1024, 1, 0, 0, 0, 0));
        [words[2], words[4], words[5], words[7]]
    });
    results.end();
    (status, quota)
}

#[test]
fn writing_stops_at_the_limit_and_goes_on_below_it() {
    let (world, root) = world(RW);
    let user = world.client(7);
    let file = user.create(&root, "f").expect("made");
    user.write(&file, 0, 2, &[1; 9 * BLOCK]).expect("below the limit");
    user.write(&file, 9 * BLOCK as u64, 0, &[1; BLOCK]).expect("to the limit");
    assert_eq!(user.write(&file, 10 * BLOCK as u64, 0, b"x"), Err(DQUOT));
    assert_eq!(user.write(&file, 10 * BLOCK as u64, 2, b"x"), Err(DQUOT));
    user.write(&file, 0, 2, &[2; 10 * BLOCK]).expect("over what is there");
    assert_eq!(user.mkdir(&root, "d").unwrap_err(), DQUOT, "a directory takes a block");
    assert_eq!(quota(&user, 2, "/", 0, 7), (1, Some([40, 40, 5, 1])));
    let size = |size| Args::default().sattr(None, Some(size));
    assert_eq!(user.setattr(&file, size(1), None).0, OK);
    user.mkdir(&root, "d").expect("made");
    assert_eq!(quota(&user, 1, "/", 0, 7), (1, Some([40, 8, 5, 2])));
    for name in ["2", "3", "4"] {
        user.create(&root, name).expect("made");
    }
    assert_eq!(user.create(&root, "5").unwrap_err(), DQUOT, "an inode too many");
    assert_eq!(user.make(10, &root, "s", Args::default().sattr(None, None).opaque("x")).unwrap_err(), DQUOT);
    assert_eq!(user.link(&file, &root, "another name"), OK);
    assert_eq!(user.remove(12, &root, "2"), OK);
    user.create(&root, "5").expect("made again");
    assert_eq!(world.server.counters().nfs.over_quota.get(), 5);

    // The superuser, and whoever has no limit.
    let superuser = world.client(0);
    superuser.write(&file, 0, 2, &[1; 20 * BLOCK]).expect("root is not stopped");
    assert_eq!(quota(&user, 2, "/", 0, 7), (1, Some([40, 84, 5, 5])), "above the limit");
    assert_eq!(user.write(&file, 20 * BLOCK as u64, 0, b"x"), Err(DQUOT));
    let free = world.client(8);
    let theirs = free.create(&root, "free").expect("made");
    free.write(&theirs, 0, 0, &[1; 30 * BLOCK]).expect("no limit");
    assert_eq!(quota(&free, 2, "/", 0, 8), (1, Some([0, 120, 0, 1])));
}

#[test]
fn giving_files_away_counts_for_whom_they_are_given_to() {
    let (world, root) = world(RW);
    let user = Client { groups: vec![30], ..world.client(7) };
    let file = user.create(&root, "f").expect("made");
    user.write(&file, 0, 0, &[1; 5 * BLOCK]).expect("written");
    let group = |gid: u32| Args::default().u32(0).u32(0).u32(1).u32(gid).u32(0).u32(0).u32(0);
    assert_eq!(user.setattr(&file, group(30), None).0, DQUOT, "five blocks, four allowed");
    assert_eq!(user.getattr(&file).expect("attributes").gid, 7, "nothing changed");
    assert_eq!(user.setattr(&file, Args::default().sattr(None, Some(4 * BLOCK as u64)), None).0, OK);
    assert_eq!(user.setattr(&file, group(30), None).0, OK);
    assert_eq!(quota(&user, 2, "/", 1, 30), (1, Some([16, 16, 0, 1])));
    assert_eq!(user.write(&file, 5 * BLOCK as u64, 0, b"x"), Err(DQUOT));
    let owner = |uid: u32| Args::default().u32(0).u32(1).u32(uid).u32(0).u32(0).u32(0).u32(0);
    assert_eq!(world.client(0).setattr(&file, owner(9), None).0, OK);
    let root_client = world.client(0);
    assert_eq!(quota(&root_client, 2, "/", 0, 9), (1, Some([40, 16, 5, 1])));
    assert_eq!(quota(&root_client, 2, "/", 0, 7), (1, Some([40, 0, 5, 0])));
}

#[test]
fn limits_hold_after_a_restart_and_follow_a_reload() {
    let (world, root) = world(RW);
    let file = world.client(7).create(&root, "f").expect("made");
    world.client(7).write(&file, 0, 2, &[1; 10 * BLOCK]).expect("to the limit");
    let world = world.restart(RW);
    let user = world.client(7);
    assert_eq!(user.write(&file, 10 * BLOCK as u64, 2, b"x"), Err(DQUOT));
    world.put_file("quota", "user 7 44K\nuser * 1K # the line counts\nnobody\n");
    let answer = world.exportfs(&["-r"]);
    assert!(answer.contains("/.keelson/quota line 3: 'nobody': expected user|group ID|* BYTES"), "{answer}");
    user.write(&file, 10 * BLOCK as u64, 2, b"x").expect("a limit of one's own");
    assert_eq!(user.write(&file, 11 * BLOCK as u64, 2, b"x"), Err(DQUOT));
    assert_eq!(quota(&world.client(0), 2, "/", 0, 6), (1, Some([40, 0, 5, 0])));
    let world = world.restart("/ *(rw)");
    assert_eq!(quota(&world.client(0), 2, "/", 0, 6), (1, Some([1, 0, 0, 0])), "now the file's");
}

#[test]
fn squashed_callers_are_limited_too() {
    let (world, _) = world(
        "/ 10.0.0.2(rw,no_root_squash) *(rw,uquota=4K,anonuid=5,anongid=5);/all *(rw,all_squash,anonuid=6)",
    );
    let root = world.client(0).mount("/").expect("mounted");
    let all = world.client(0).mkdir(&root, "all").expect("made");
    assert_eq!(world.client(0).setattr(&all, Args::default().sattr(Some(0o777), None), None).0, OK);
    let squashed = world.client_at("10.0.0.9:900", 0);
    let file = squashed.create(&root, "f").expect("made");
    squashed.write(&file, 0, 0, b"x").expect("written");
    assert_eq!(squashed.write(&file, BLOCK as u64, 0, b"x"), Err(DQUOT), "no superuser here");
    assert_eq!(quota(&squashed, 2, "/", 0, 0), (1, Some([4, 4, 0, 1])), "what it is here");
    let other = world.client_at("10.0.0.9:900", 1000);
    let all = other.mount("/all").expect("mounted");
    other.create(&all, "g").expect("made");
    assert_eq!(quota(&other, 2, "/all", 0, 1000), (1, Some([4, 0, 0, 1])), "uid 6");
    assert_eq!(quota(&squashed, 2, "/all", 0, 1000), (3, None), "nobody is root there");
}

#[test]
fn who_may_ask_for_whom() {
    let (world, _) = world("/ 10.0.0.2(rw,no_root_squash,uquota=40K) 10.0.0.3(ro)");
    let user = Client { groups: vec![30], ..world.client(7) };
    assert_eq!(quota(&user, 2, "/anything/below", 0, 7), (1, Some([40, 0, 0, 0])));
    assert_eq!(quota(&user, 2, "", 0, 7).0, 1);
    assert_eq!(quota(&user, 2, "/", 0, 8), (3, None), "somebody else's");
    assert_eq!(quota(&user, 2, "/", 1, 31), (3, None), "a foreign group's");
    assert_eq!(quota(&user, 2, "/", 1, 30), (2, None), "groups have no quotas here");
    assert_eq!(quota(&world.client(0), 2, "/", 0, 7).0, 1, "root may");
    assert_eq!(quota(&world.client_at("10.0.0.2:40000", 0), 2, "/", 0, 7), (3, None), "who says to be root");
    let ordinary = Client { groups: vec![30], ..world.client_at("10.0.0.2:40000", 7) };
    assert_eq!(quota(&ordinary, 2, "/", 0, 7).0, 1, "the quota command is no privileged program");
    assert_eq!(quota(&world.client_at("10.0.0.9:900", 0), 2, "/", 0, 7), (3, None), "unmatched host");
    assert_eq!(quota(&user, 2, "/../etc", 0, 7), (3, None));
    let counters = world.server.counters().rquota;
    assert_eq!((counters.answered.get(), counters.no_quota.get(), counters.refused.get()), (4, 1, 5));
}

#[test]
fn every_form_of_the_program() {
    let (world, _) = world("/ *(rw,no_root_squash)");
    let client = Client { port: 875, ..world.client(7) };
    assert_eq!(quota(&client, 1, "/", 0, 7), (2, None), "no quotas at all");
    let ask = |version, procedure, args| client.call([RQUOTA_PROGRAM, version, procedure], args);
    let active = Args::default().opaque("/").u32(7);
    assert_eq!(ask(1, 2, active).expect("results").u32(), 2);
    for procedure in [3, 4] {
        let set = Args::default().u32(0).opaque("/").u32(7).fixed(&[0; 40]);
        assert_eq!(ask(1, procedure, set.clone()).expect("results").u32(), 3, "nothing is set from outside");
        assert_eq!(ask(2, procedure, set).expect("results").u32(), 3);
    }
    let refused = |stat| Some(CallError::Refused(ReplyError::Accepted(stat)));
    assert_eq!(ask(1, 5, Args::default()).err(), refused(AcceptStat::ProcedureUnavailable));
    assert_eq!(ask(1, 1, Args::default()).err(), refused(AcceptStat::GarbageArguments));
    let long = Args::default().opaque("/".repeat(1025)).u32(7);
    assert_eq!(ask(1, 1, long).err(), refused(AcceptStat::GarbageArguments));
    let odd = Args::default().opaque("/").u32(2).u32(7);
    assert_eq!(ask(2, 1, odd).err(), refused(AcceptStat::GarbageArguments));
    assert!(matches!(ask(3, 1, Args::default()).err(), Some(CallError::Refused(_))));
    let args = Args::default().opaque("/").u32(0);
    assert_eq!(call_datagram(&world, 875, [RQUOTA_PROGRAM, 1, 1], args).expect("results").u32(), 2);
    let rpcbind = Client { port: 111, ..client };
    let args = Args::default().u32(RQUOTA_PROGRAM).u32(2).u32(17).u32(0);
    assert_eq!(rpcbind.call([100_000, 2, 3], args).expect("results").u32(), 875);
}

#[test]
fn the_smaller_of_two_quotas_counts() {
    let exports = "/ *(rw,uquota=8K);/a *(rw,uquota=4K:9)".to_string();
    let world = World::with_files(ServerConfig { exports, ..ServerConfig::default() }, &[]);
    assert_eq!(quota(&world.client(0), 2, "/", 0, 6), (1, Some([4, 0, 9, 0])));
    assert!(world.exportfs(&["-r"]).contains("quota of EveryUser: given twice, the smaller one counts"));
}
