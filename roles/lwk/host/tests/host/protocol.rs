//! What a node must not do: each ends the session.

use keelson_lwk_host::proxy::Outcome;
use keelson_lwk_wire::frame::{Flags, FrameType, Header};
use keelson_lwk_wire::messages::{
    Bye, ByeReason, Chdir, CloseBatch, CtrlReply, Data, Desc, Direction, Message, Part, SetPgid, SideReply,
    Subscribe, Syscall, Umask,
};

use crate::sim::*;

fn ends(act: impl FnOnce(&Bench)) -> String {
    let bench = bench();
    act(&bench);
    let outcome = bench.events.outcomes.recv_timeout(PATIENCE).unwrap();
    let bye = Bye::decode(&bench.sim.expect(FrameType::Bye).payload).unwrap();
    assert_eq!(bye.reason, ByeReason::Protocol);
    match outcome {
        Outcome::Protocol(text) => text,
        other => panic!("{other:?}"),
    }
}

fn syscall(bench: &Bench, nr: u32, args: [u64; 6], descs: Vec<Desc>, inline: &[u8]) {
    let header = Header { code: nr, ..Header::new(FrameType::Syscall) }.id(1);
    bench.sim.hi.send(&header, &Syscall { args, descs: descs.into(), inline });
}

#[test]
fn calls_that_are_not_in_the_table() {
    for nr in [9, 56, 101, 157, 231, 335, 1000] {
        assert_eq!(
            ends(|bench| syscall(bench, nr, [0; 6], vec![], b"")),
            format!("system call {nr} is not delegated")
        );
    }
}

#[test]
fn wrong_signatures() {
    let desc = Desc { addr: 1, len: 144, direction: Direction::Out, arg: 1, part: Part::Whole };
    let with = |desc: Desc| {
        ends(move |bench| {
            let file = bench.handle(std::fs::File::open("/proc/version").unwrap());
            syscall(bench, 5, [file, 1, 0, 0, 0, 0], vec![desc], b"");
        })
    };
    assert!(with(Desc { len: 1440, ..desc }).contains("not as in the table"));
    assert!(with(Desc { direction: Direction::In, ..desc }).contains("do not match"));
    assert!(with(Desc { arg: 0, ..desc }).contains("out of place"));
    assert!(ends(|bench| syscall(bench, 2, [1, 0, 0, 0, 0, 0], vec![], b"/etc")).contains("do not match"));
}

#[test]
fn unknown_handles() {
    assert_eq!(ends(|bench| syscall(bench, 8, [77, 0, 0, 0, 0, 0], vec![], b"")), "lseek: unknown handle 77");
    let close = CloseBatch { handles: vec![5] };
    assert!(
        ends(|bench| bench.sim.hi.send(&Header::new(FrameType::CloseBatch), &close))
            .contains("unknown handle")
    );
    let subscribe = Subscribe { handle: 9, events: 1, generation: 0 };
    assert!(
        ends(|bench| bench.sim.hi.send(&Header::new(FrameType::Subscribe), &subscribe))
            .contains("unknown handle")
    );
}

#[test]
fn frames_out_of_place() {
    let answer = CtrlReply { answer: keelson_lwk_wire::messages::CtrlAnswer::Text("x".into()) };
    assert!(
        ends(|bench| bench.sim.hi.send(&Header::new(FrameType::CtrlReply), &answer)).contains("unexpected")
    );
    // Twice the same id.
    let twice = ends(|bench| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = bench.handle(std::os::fd::OwnedFd::from(reader));
        let desc = Desc { addr: 1, len: 4, direction: Direction::Out, arg: 1, part: Part::Data };
        for _ in 0..2 {
            syscall(bench, 0, [pipe, 1, 4, 0, 0, 0], vec![desc], b"");
        }
        std::mem::forget(_writer);
    });
    assert_eq!(twice, "request 1 is there already");
    // DATA beyond the window, and out of order.
    let write = |bench: &Bench| {
        let (reader, writer) = std::io::pipe().unwrap();
        std::mem::forget(reader);
        let pipe = bench.handle(std::os::fd::OwnedFd::from(writer));
        let desc = Desc { addr: 1, len: 1 << 30, direction: Direction::In, arg: 1, part: Part::Data };
        let header = Header { code: 1, ..Header::new(FrameType::Syscall) }.id(1).with(Flags::MORE);
        let call = Syscall { args: [pipe, 1, 1 << 30, 0, 0, 0], descs: vec![desc].into(), inline: b"" };
        bench.sim.hi.send(&header, &call);
    };
    let data = Header::new(FrameType::Data).id(1);
    assert_eq!(
        ends(|bench| {
            write(bench);
            bench.sim.hi.send(&data, &Data { offset: 5, bytes: b"x" });
        }),
        "DATA out of order"
    );
    assert_eq!(
        ends(|bench| {
            write(bench);
            for piece in 0..40u64 {
                bench.sim.hi.send(&data, &Data { offset: piece << 18, bytes: &[0; 1 << 18] });
            }
        }),
        "DATA beyond the window"
    );
}

#[test]
fn side_effects() {
    let bench = bench();
    let reply = |kind: FrameType| {
        let frame = bench.sim.expect(kind);
        SideReply::decode(&frame.payload).unwrap().result
    };
    let before = {
        bench.sim.hi.send(&Header::new(FrameType::Umask).id(1), &Umask { mask: 0o27 });
        reply(FrameType::SideReply)
    };
    bench.sim.hi.send(&Header::new(FrameType::Umask).id(2), &Umask { mask: before as u32 });
    assert_eq!(reply(FrameType::SideReply), 0o27);
    bench.sim.hi.send(&Header::new(FrameType::Chdir).id(3), &Chdir { path: b"/no/such/place" });
    assert_eq!(reply(FrameType::SideReply), -2);
    bench.sim.hi.send(&Header::new(FrameType::SetPgid).id(4), &SetPgid { pid: 1, pgid: 1 });
    assert!(reply(FrameType::SideReply) < 0);
}
