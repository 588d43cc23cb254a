//! Calls of the role's programs, as clients make them.

use super::Seed;
use super::steps::*;

/// A status monitor's odd number: up.
const UP: u32 = 5;

pub fn nfs3() -> Vec<Seed> {
    let look = |procedure, handle| step(ROOT, procedure, 0, args().handle(handle));
    let name = |handle, name: &str| args().handle(handle).opaque(name);
    let all = |handle| -> Vec<u8> { [1, 5, 18, 19, 20].map(|procedure| look(procedure, handle)).concat() };
    let write = |who, handle, offset: u64, stable: u32, data: &[u8]| {
        let args = args().handle(handle).u64(offset).u32(data.len() as u32).u32(stable).opaque(data);
        step(who, 7, 0, args)
    };
    let read =
        |who, handle, offset: u64, count: u32| step(who, 6, 0, args().handle(handle).u64(offset).u32(count));
    let list = |who, handle, procedure, count: u32| {
        let args = args().handle(handle).u64(0).u64(0).u32(count);
        step(who, procedure, 0, if procedure == 17 { args.u32(count) } else { args })
    };
    let create = |who, mode: u32, named: &str| {
        let args = name(known::ROOT, named).u32(mode);
        step(who, 8, 0, if mode == 2 { args.u64(0x1234_5678) } else { args.sattr(Some(0o644), None) })
    };
    vec![
        ("null", step(ROOT, 0, 0, args())),
        ("root", all(known::ROOT)),
        ("file", all(known::FILE)),
        ("symlink", all(known::LINK)),
        (
            "access",
            [ROOT, USER, OTHER, STRANGER]
                .map(|who| step(who, 4, 0, args().handle(known::PRIVATE).u32(63)))
                .concat(),
        ),
        (
            "lookup",
            ["file", "dir", ".", "..", "none", ""].map(|n| step(USER, 3, 0, name(known::ROOT, n))).concat(),
        ),
        ("lookup-up", step(ROOT, 3, 0, name(known::EXPORTED_DIR, ".."))),
        ("lookup-long", step(ROOT, 3, 0, name(known::ROOT, &"n".repeat(300)))),
        (
            "read",
            [
                read(ROOT, known::FILE, 0, 4096),
                read(USER, known::FILE, 8000, 1 << 20),
                read(USER, known::DIR, 0, 1),
            ]
            .concat(),
        ),
        (
            "write",
            [
                write(ROOT, known::FILE, 0, 0, b"unstable"),
                write(USER, known::FILE, 9000, 2, &[7; 513]),
                step(ROOT, 21, 0, args().handle(known::FILE).u64(0).u32(0)),
            ]
            .concat(),
        ),
        ("write-far", write(ROOT, known::FILE, 1 << 40, 1, b"far")),
        ("create", [0, 1, 2, 2].map(|mode| create(ROOT, mode, "new")).concat()),
        ("create-repeated", [create(ROOT, 1, "new"), create(ROOT | AGAIN, 1, "new")].concat()),
        ("create-over-udp", [create(ROOT | UDP, 1, "new"), create(ROOT | UDP | AGAIN, 1, "new")].concat()),
        (
            "mkdir",
            [
                step(ROOT, 9, 0, name(known::ROOT, "d").sattr(Some(0o755), None)),
                step(ROOT, 13, 0, name(known::ROOT, "d")),
            ]
            .concat(),
        ),
        (
            "symlink-made",
            [
                step(USER, 10, 0, name(known::DIR, "s").sattr(None, None).opaque("target")),
                step(ROOT, 5, 0, args().handle(12)),
            ]
            .concat(),
        ),
        (
            "mknod",
            [(3, 8), (4, 8), (6, 0), (7, 0)]
                .map(|(kind, major)| {
                    let args =
                        name(known::ROOT, ["", "", "", "chr", "blk", "", "sock", "fifo"][kind as usize])
                            .u32(kind)
                            .sattr(Some(0o600), None);
                    step(ROOT, 11, 0, if major > 0 { args.u32(major).u32(1) } else { args })
                })
                .concat(),
        ),
        (
            "remove",
            [
                step(ROOT, 12, 0, name(known::ROOT, "file")),
                look(1, known::FILE),
                read(ROOT, known::FILE, 0, 10),
            ]
            .concat(),
        ),
        (
            "rename",
            [
                step(ROOT, 14, 0, name(known::ROOT, "file").handle(known::DIR).opaque("moved")),
                step(ROOT, 14, 0, name(known::ROOT, "dir").handle(known::SUB).opaque("loop")),
                step(ROOT, 14, 0, name(known::DIR, "private").handle(known::ROOT).opaque("ro")),
            ]
            .concat(),
        ),
        (
            "link",
            [
                step(ROOT, 15, 0, args().handle(known::FILE).handle(known::DIR).opaque("hard")),
                step(ROOT, 15, 0, args().handle(known::DIR).handle(known::ROOT).opaque("dirs")),
            ]
            .concat(),
        ),
        (
            "readdir",
            [
                list(ROOT, known::ROOT, 16, 4096),
                list(USER, known::DIR, 16, 200),
                list(ROOT, known::FILE, 16, 4096),
                list(ROOT, known::ROOT, 16, 60),
            ]
            .concat(),
        ),
        (
            "readdirplus",
            [
                list(ROOT, known::ROOT, 17, 4096),
                list(USER, known::ROOT, 17, 600),
                list(OTHER, known::READ_ONLY, 17, 65_536),
            ]
            .concat(),
        ),
        (
            "setattr",
            [
                step(ROOT, 2, 0, args().handle(known::FILE).sattr(Some(0o4755), Some(100)).u32(0)),
                step(USER, 2, 0, args().handle(known::FILE).sattr(None, Some(1 << 50)).u32(0)),
                step(ROOT, 2, 0, args().handle(known::FILE).sattr(Some(0), None).u32(1).u32(1).u32(2)),
            ]
            .concat(),
        ),
        (
            "stranger",
            [
                look(1, known::ROOT),
                step(STRANGER, 1, 0, args().handle(known::ROOT)),
                write(STRANGER, known::FILE, 0, 2, b"x"),
                list(STRANGER, known::READ_ONLY, 16, 4096),
            ]
            .concat(),
        ),
        (
            "read-only",
            [
                write(ROOT, known::READ_ONLY, 0, 2, b"x"),
                step(OTHER | HIGH_PORT, 1, 0, args().handle(known::READ_ONLY)),
                step(ROOT, 8, 0, name(known::READ_ONLY, "x").u32(0).sattr(None, None)),
            ]
            .concat(),
        ),
        (
            "anonymous",
            [
                step(ROOT | ANONYMOUS, 1, 0, args().handle(known::ROOT)),
                step(ROOT | ANONYMOUS, 19, 0, args().handle(known::ROOT)),
                step(ROOT | ANONYMOUS, 4, 0, args().handle(known::FILE).u32(1)),
                step(ROOT | ANONYMOUS, 6, 0, args().handle(known::READ_ONLY).u64(0).u32(9)),
            ]
            .concat(),
        ),
        ("high-port", step(ROOT | HIGH_PORT, 1, 0, args().handle(known::ROOT))),
        (
            "quota",
            (0..4)
                .flat_map(|at| write(USER, known::SUB, at * 8192, 2, &[1; 900]))
                .chain(step(ROOT, 18, 0, args().handle(known::EXPORTED_DIR)))
                .collect(),
        ),
        (
            "bad-handle",
            [
                step(ROOT, 1, 0, args().opaque([0x31; 32])),
                step(ROOT, 1, 0, args().opaque([0; 64])),
                step(ROOT, 1, 0, args().opaque([0; 65])),
            ]
            .concat(),
        ),
        ("wrong-version", step(ROOT | version(1), 1, 0, args().handle(known::ROOT))),
        ("wrong-procedure", step(ROOT, 22, 0, args())),
        ("cut", step(ROOT, 3, 0, args().handle(known::ROOT).u32(9).raw(b"file"))),
    ]
}

pub fn mount() -> Vec<Seed> {
    let path = |who, procedure, path: &str| step(who | version(1), procedure, 0, args().opaque(path));
    let none = |who, procedure| step(who | version(1), procedure, 0, args());
    vec![
        ("null", none(ROOT, 0)),
        ("mount", [path(ROOT, 1, "/"), none(ROOT, 2), path(ROOT, 3, "/"), none(ROOT, 2)].concat()),
        (
            "below",
            ["/dir", "/dir/sub", "//ro/./", "", "/file", "/none", "/gone"].map(|p| path(ROOT, 1, p)).concat(),
        ),
        ("odd-paths", ["/dir/..", "dir", "/\u{fe}", "/dir\n", "/dir/\0"].map(|p| path(OTHER, 1, p)).concat()),
        ("stranger", ["/", "/ro", "/none"].map(|p| path(STRANGER, 1, p)).concat()),
        ("high-port", [path(ROOT | HIGH_PORT, 1, "/"), path(ROOT | HIGH_PORT, 1, "/ro")].concat()),
        ("exports", [none(STRANGER | UDP, 5), step(ROOT, 5, 0, args()), step(ROOT, 6, 0, args())].concat()),
        ("all", [path(ROOT, 1, "/dir"), path(OTHER, 1, "/ro"), none(ROOT, 4), none(OTHER, 2)].concat()),
        (
            "stored",
            [
                path(ROOT, 1, "/dir"),
                step(ROOT | version(1), 0, 6, args()),
                path(ROOT, 3, "/dir"),
                step(ROOT | version(1), 0, 6, args()),
            ]
            .concat(),
        ),
        ("first-version", [step(ROOT, 1, 0, args().opaque("/")), step(ROOT, 2, 0, args())].concat()),
        ("wrong-version", step(ROOT | version(3), 1, 0, args().opaque("/"))),
        ("long", path(ROOT, 1, &"/d".repeat(512))),
        ("too-long", path(ROOT, 1, &"/d".repeat(513))),
        ("wrong-procedure", none(ROOT, 7)),
    ]
}

/// A request for a lock.
#[derive(Clone, Copy)]
struct Want {
    who: u8,
    svid: u32,
    file: u8,
    range: (u64, u64),
    exclusive: bool,
    block: bool,
    reclaim: bool,
    state: u32,
}

const WANT: Want = Want {
    who: ROOT,
    svid: 1,
    file: known::FILE,
    range: (0, 10),
    exclusive: true,
    block: false,
    reclaim: false,
    state: 1,
};

impl Want {
    fn lock(&self, place: u8, args: Args) -> Args {
        let args =
            args.opaque("client").handle(self.file).opaque(format!("{}@client", self.svid)).u32(self.svid);
        match place {
            2 => args.u64(self.range.0).u64(self.range.1),
            _ => args.u32(self.range.0 as u32).u32(self.range.1 as u32),
        }
    }

    /// A procedure of the version at a place.
    fn ask(&self, place: u8, procedure: u8) -> Vec<u8> {
        self.ask_and_wait(place, procedure, 0)
    }

    fn ask_and_wait(&self, place: u8, procedure: u8, pause: u8) -> Vec<u8> {
        let args = args().opaque([7, 7, 7, self.svid as u8]);
        let (block, exclusive) = (self.block.into(), self.exclusive.into());
        let args = match procedure {
            1 | 5 | 6 | 10 => self.lock(place, args.u32(exclusive)),
            2 | 7 | 22 => {
                self.lock(place, args.u32(block).u32(exclusive)).u32(self.reclaim.into()).u32(self.state)
            }
            3 | 8 => self.lock(place, args.u32(block).u32(exclusive)),
            _ => self.lock(place, args),
        };
        step(self.who | version(place), procedure, pause, args)
    }
}

pub fn nlm() -> Vec<Seed> {
    let behave = |bytes: &[u8]| [&[0, BEHAVE, 0, bytes.len() as u8], bytes].concat();
    let other = Want { who: OTHER, svid: 2, ..WANT };
    let waiting = Want { block: true, ..other };
    let share = |who, procedure, deny: u32, access: u32| {
        let args =
            args().opaque("c").opaque("pc").handle(known::FILE).opaque("o").u32(deny).u32(access).u32(0);
        step(who | version(1), procedure, 0, args)
    };
    let free = |who| step(who | version(2), 23, 0, args().opaque("client").u32(3));
    let result = |who, cookie, status: u32| step(who | version(2), 15, 0, args().cookie(cookie).u32(status));
    let contended = [WANT.ask(2, 2), waiting.ask(2, 2)].concat();
    let freed = |pause| WANT.ask_and_wait(2, 4, pause);
    let story = |end: u8, parts: &[Vec<u8>]| [&[end][..], &parts.concat()].concat();
    vec![
        ("null", story(0, &[step(ROOT, 0, 0, args())])),
        (
            "lock",
            story(0, &[WANT.ask(2, 2), WANT.ask(2, 1), other.ask(2, 1), other.ask(2, 2), WANT.ask(2, 4)]),
        ),
        ("lock-old", story(1, &[WANT.ask(0, 2), other.ask(0, 1), other.ask(1, 2), WANT.ask(1, 4)])),
        ("granted-later", story(0, &[contended.clone(), freed(5)])),
        ("granted-to-silence", story(1, &[behave(&[0]), contended.clone(), freed(7)])),
        ("granted-and-refused", story(0, &[behave(&[2, 1]), contended.clone(), freed(5)])),
        ("granted-by-hand", story(0, &[behave(&[1]), contended.clone(), freed(4), result(OTHER, 0, 0)])),
        ("granted-to-noise", story(1, &[behave(&[3, 0, 0, 0, 1, 0, 0, 0, 0]), contended.clone(), freed(6)])),
        (
            "answer-of-another",
            story(
                0,
                &[behave(&[1]), contended.clone(), freed(4), result(STRANGER, 0, 0), result(ROOT, 0, 1)],
            ),
        ),
        ("cancelled", story(1, &[contended.clone(), waiting.ask(2, 3), freed(0)])),
        (
            "repeated",
            story(
                0,
                &[
                    WANT.ask(2, 2),
                    waiting.ask(2, 2),
                    waiting.ask(2, 2),
                    Want { who: waiting.who | AGAIN, ..waiting }.ask(2, 2),
                ],
            ),
        ),
        (
            "messages",
            story(
                0,
                &[6, 7, 8, 9].map(|procedure| Want { who: ROOT | UDP, ..WANT }.ask_and_wait(2, procedure, 5)),
            ),
        ),
        ("ours", story(0, &[WANT.ask(2, 5), WANT.ask_and_wait(2, 10, 4), result(ROOT, 9, 0)])),
        (
            "split",
            story(
                1,
                &[
                    Want { range: (0, 0), ..WANT }.ask(2, 2),
                    Want { range: (100, 50), ..WANT }.ask(2, 4),
                    Want { range: (120, 1), exclusive: false, ..WANT }.ask(2, 2),
                    Want { range: (u64::MAX, 1), ..WANT }.ask(2, 2),
                ],
            ),
        ),
        (
            "ranges",
            story(
                0,
                &[
                    Want { range: (u64::MAX - 1, 2), ..WANT }.ask(2, 2),
                    Want { range: (1 << 63, 1 << 63), ..other }.ask(2, 2),
                    Want { range: (5, u64::MAX), ..other }.ask(2, 1),
                ],
            ),
        ),
        (
            "deadlock",
            story(
                0,
                &[
                    WANT.ask(2, 2),
                    Want { range: (20, 5), ..other }.ask(2, 2),
                    waiting.ask(2, 2),
                    Want { range: (20, 5), block: true, ..WANT }.ask(2, 2),
                ],
            ),
        ),
        (
            "readers",
            story(
                1,
                &[1, 2, 3].map(|svid| Want { svid, exclusive: false, block: svid == 3, ..WANT }.ask(2, 2)),
            ),
        ),
        (
            "shares",
            story(
                0,
                &[
                    share(ROOT, 20, 2, 1),
                    share(OTHER, 20, 1, 2),
                    share(OTHER, 20, 0, 3),
                    share(ROOT, 21, 2, 1),
                ],
            ),
        ),
        ("monitored-not", story(0, &[WANT.ask(2, 22), other.ask(2, 22)])),
        ("freed", story(1, &[contended.clone(), free(ROOT), free(OTHER)])),
        ("freed-by-a-user", story(0, &[WANT.ask(2, 2), free(ROOT | HIGH_PORT)])),
        (
            "user",
            story(
                0,
                &[Want { who: USER, ..WANT }.ask(2, 2), Want { who: USER | HIGH_PORT, ..WANT }.ask(2, 4)],
            ),
        ),
        (
            "stranger",
            story(
                0,
                &[
                    Want { who: STRANGER, ..WANT }.ask(2, 2),
                    Want { who: STRANGER, ..WANT }.ask(2, 4),
                    free(STRANGER),
                ],
            ),
        ),
        (
            "anonymous",
            story(
                0,
                &[
                    Want { who: ROOT | ANONYMOUS, ..WANT }.ask(2, 2),
                    Want { file: known::READ_ONLY, ..WANT }.ask(2, 2),
                ],
            ),
        ),
        (
            "directory",
            story(
                0,
                &[
                    Want { file: known::DIR, ..WANT }.ask(2, 2),
                    Want { file: known::PRIVATE, who: USER, ..WANT }.ask(2, 2),
                ],
            ),
        ),
        ("reclaim", story(0, &[Want { reclaim: true, ..WANT }.ask(2, 2)])),
        (
            "restarted",
            story(
                1,
                &[
                    WANT.ask(2, 2),
                    Want { state: 3, svid: 9, ..WANT }.ask(2, 2),
                    Want { state: 4, ..WANT }.ask(2, 2),
                ],
            ),
        ),
        ("wrong-version", story(0, &[WANT.ask(3, 2), WANT.ask(0, 20), WANT.ask(2, 24)])),
        ("bare-arguments", WANT.lock(2, args().opaque("c").u32(1)).bytes().to_vec()),
        ("bare-result", args().opaque("cookie").u32(5).bytes().to_vec()),
    ]
}

pub fn nsm() -> Vec<Seed> {
    let name = |who, procedure, name: &str| step(who, procedure, 0, args().opaque(name));
    let notify = |who, name: &str, state: u32| step(who, 6, 4, args().opaque(name).u32(state));
    let monitor = |procedure| {
        let args = args().opaque("client").opaque("me").u32(100_021).u32(3).u32(99);
        step(ROOT, procedure, 0, if procedure == 2 { args.raw(&[9; 16]) } else { args })
    };
    vec![
        ("null", step(ROOT, 0, 0, args())),
        ("stat", ["10.0.0.2", "client", "nobody", ""].map(|n| name(ROOT, 1, n)).concat()),
        (
            "notify",
            [notify(ROOT, "client", UP), notify(ROOT, "client", UP), notify(OTHER, "client", 7)].concat(),
        ),
        ("notify-over-udp", notify(ROOT | UDP, "client.example.org", UP)),
        ("stranger", notify(STRANGER, "client", UP)),
        (
            "monitor",
            [monitor(2), monitor(3), step(ROOT, 4, 0, args().opaque("me").u32(1).u32(2).u32(3))].concat(),
        ),
        (
            "crash",
            [step(ROOT, 5, 6, args()), name(ROOT, 1, "client"), step(OTHER | UDP, 5, 7, args())].concat(),
        ),
        (
            "silent-hosts",
            [vec![0, BEHAVE, 0, 1, 0], step(ROOT, 5, 7, args()), notify(ROOT, "client", 9)].concat(),
        ),
        ("long", name(ROOT, 1, &"n".repeat(1024))),
        ("too-long", name(ROOT, 1, &"n".repeat(1025))),
        ("wrong", [step(ROOT | version(1), 1, 0, args().opaque("x")), step(ROOT, 7, 0, args())].concat()),
    ]
}

pub fn rquota() -> Vec<Seed> {
    let first = |who, procedure, path: &str, id: u32| step(who, procedure, 0, args().opaque(path).u32(id));
    let second =
        |who, kind: u32, id: u32| step(who | version(1), 1, 0, args().opaque("/dir").u32(kind).u32(id));
    vec![
        ("null", step(ROOT, 0, 0, args())),
        (
            "own",
            [first(USER, 1, "/dir", 1000), first(USER, 2, "/", 1000), first(USER, 1, "/dir", 1001)].concat(),
        ),
        (
            "root",
            [first(ROOT, 1, "/", 1000), first(ROOT | HIGH_PORT, 1, "/", 1000), first(OTHER, 1, "/", 0)]
                .concat(),
        ),
        (
            "groups",
            [
                second(USER, 1, 1000),
                second(USER, 1, 4),
                second(USER, 1, 9),
                second(USER, 0, 1000),
                second(USER, 2, 0),
            ]
            .concat(),
        ),
        (
            "paths",
            ["", "/none", "x", "/dir/..", "//dir/sub"].map(|path| first(USER | UDP, 1, path, 1000)).concat(),
        ),
        ("stranger", [first(STRANGER, 1, "/", 0), second(STRANGER, 1, 0)].concat()),
        ("anonymous", first(ROOT | ANONYMOUS, 1, "/ro", 0)),
        ("set", [first(ROOT, 3, "/", 0), first(ROOT, 4, "/", 0)].concat()),
        ("wrong", [step(ROOT, 5, 0, args()), step(ROOT | version(2), 1, 0, args().opaque("/"))].concat()),
        ("cut", step(USER, 1, 0, args().opaque("/dir"))),
    ]
}

pub fn rpcbind() -> Vec<Seed> {
    let port = |program: u32, protocol: u32| args().u32(program).u32(3).u32(protocol).u32(0);
    let address = |program: u32, net: &str| args().u32(program).u32(3).opaque(net).opaque("").opaque("me");
    let each = |procedure, args: &dyn Fn() -> Args| -> Vec<u8> {
        [1, 2].map(|place| step(ROOT | version(place), procedure, 0, args())).concat()
    };
    vec![
        ("null", step(ROOT, 0, 0, args())),
        ("getport", [6, 17, 1].map(|protocol| step(ROOT | UDP, 3, 0, port(100_003, protocol))).concat()),
        ("getport-none", step(STRANGER, 3, 0, port(9, 6))),
        ("dump", [step(ROOT, 4, 0, args()), step(STRANGER | UDP, 4, 0, args())].concat()),
        ("set", [step(ROOT, 1, 0, port(9, 6)), step(ROOT, 2, 0, port(100_003, 6))].concat()),
        (
            "getaddr",
            ["tcp", "udp", "tcp6", "udp6", "x", ""]
                .map(|net| step(ROOT | version(2), 3, 0, address(100_005, net)))
                .concat(),
        ),
        ("dump-new", each(4, &args)),
        ("time", each(6, &args)),
        ("uaddr2taddr", each(7, &|| args().opaque("10.0.0.1.8.1"))),
        ("uaddr2taddr-6", each(7, &|| args().opaque("fd00::1.8.1"))),
        ("uaddr2taddr-bad", each(7, &|| args().opaque("10.0.0.1.8.256"))),
        ("taddr2uaddr", each(8, &|| args().opaque([2, 0, 8, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]))),
        ("taddr2uaddr-6", each(8, &|| args().opaque([&[10, 0, 8, 1][..], &[0xfd; 24]].concat()))),
        ("getversaddr", step(ROOT | version(2), 9, 0, address(100_021, "udp"))),
        ("getaddrlist", step(ROOT | version(2), 11, 0, address(100_003, ""))),
        ("getstat", step(ROOT | version(2), 12, 0, args())),
        (
            "indirect",
            [5, 10].map(|procedure| step(ROOT | version(2), procedure, 0, port(100_003, 6))).concat(),
        ),
        ("wrong-version", step(ROOT | version(3), 3, 0, args())),
    ]
}
