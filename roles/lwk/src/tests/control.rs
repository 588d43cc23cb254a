//! What tools are told, and what they can do to programs.

use super::*;
use crate::control::{Checks, Control, GRACE, Kernel, Piece, Postmortem};
use crate::cores::CoreState;
use crate::session::{Message, Outgoing, Session, Tool};
use keelson_exec::sim::SimLog;
use keelson_hal::log::KernelLog;
use keelson_lwk_wire::dump::{DumpRecord, Level};
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::{Ctrl, CtrlAnswer, CtrlReply, EventKind};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

const NANOSLEEP: u64 = 35;
const PAUSE: u64 = 34;
const GETCWD: u64 = 79;

/// What is below the node.
pub struct Machine {
    log: SimLog,
    off: Cell<bool>,
    /// Cores that were interrupted, and by what.
    interrupts: RefCell<Vec<(usize, u8)>>,
    /// The other cores do not run.
    stopped: Cell<bool>,
    /// Cores that do not stop.
    stuck: Cell<Option<usize>>,
}

impl Default for Machine {
    fn default() -> Machine {
        let (off, interrupts, stopped, stuck) = Default::default();
        Machine { log: SimLog::new(1000), off, interrupts, stopped, stuck }
    }
}

impl Kernel for Machine {
    fn log(&self) -> &dyn KernelLog {
        &self.log
    }
    fn memory_used(&self) -> u64 {
        12_345
    }
    fn interrupt(&self, core: usize, vector: u8) -> Result<(), String> {
        self.interrupts.borrow_mut().push((core, vector));
        if vector == 49 { Ok(()) } else { Err(format!("vector {vector} would do harm")) }
    }
    fn power_off(&self) {
        self.off.set(true);
    }
    fn postmortem(&self) -> Option<&dyn Postmortem> {
        Some(self)
    }
}

/// 128 pages of RAM: the second and those from the sixth to the 40th are the kernel's and not zero, the third and the fourth are
/// programs'.
const RAM: u64 = 128 << 12;
const USED: [u64; 36] = {
    let mut pages = [1; 36];
    let mut n = 1;
    while n < 36 {
        pages[n] = n as u64 + 4;
        n += 1;
    }
    pages
};

impl Postmortem for Machine {
    fn hold(&self) -> Vec<usize> {
        self.stopped.set(true);
        self.stuck.get().into_iter().collect()
    }
    fn release(&self) {
        self.stopped.set(false);
    }
    fn is_holding(&self) -> bool {
        self.stopped.get()
    }
    fn info(&self) -> Vec<u8> {
        vec![5; 100]
    }
    fn next(&self, from: u64, level: Level) -> Option<Piece> {
        let parts = [(0..2 << 12, true), (2 << 12..4 << 12, level == Level::All), (4 << 12..RAM, true)];
        let part = parts.into_iter().find(|(range, _)| range.end > from)?;
        Some(Piece { range: part.0.start.max(from)..part.0.end, wanted: part.1 })
    }
    fn is_zero(&self, range: Range<u64>) -> bool {
        USED.iter().all(|page| !range.contains(&(page << 12)))
    }
    fn read(&self, physical: u64, into: &mut [u8]) -> bool {
        let used = |byte: u64| USED.contains(&(byte >> 12));
        for (at, byte) in (physical..).zip(into.iter_mut()) {
            *byte = if used(at) { 1 + (at >> 12) as u8 } else { 0 };
        }
        physical + into.len() as u64 <= RAM
    }
    fn free_blocks(&self) -> Vec<(u64, u64)> {
        vec![(4096, 3), (8192, 0)]
    }
}

impl Machine {
    /// The control of a world.
    pub fn control(world: &World) -> Rc<Control> {
        Control::new(world.node.clone(), Rc::new(Machine::default()), "build 7".into())
    }
}

/// A world with tools.
struct Watched {
    world: World,
    machine: Rc<Machine>,
    control: Rc<Control>,
}

impl Watched {
    fn new(cores: usize) -> Watched {
        let world = World::new(cores);
        let machine = Rc::new(Machine::default());
        let control = Control::new(world.node.clone(), machine.clone(), "build 7".into());
        Watched { world, machine, control }
    }

    /// Sends a verb; what comes is in the session.
    fn send(&self, line: &str, roles: Roles) -> Arc<Session> {
        let mut words = line.split(' ').map(String::from);
        let ctrl = Ctrl { verb: words.next().unwrap(), args: words.collect() };
        let session = Arc::new(Session::default());
        let tool = Tool::new(session.clone(), 3, roles);
        self.world.cores[0].0.handle().spawn("tool", self.control.clone().answer(tool, ctrl));
        session
    }

    /// The answer to a verb of somebody who may do everything.
    fn ask(&self, line: &str) -> Result<String, Errno> {
        let session = self.send(line, Roles::all());
        self.for_a_while(Duration::from_millis(200));
        let Some(Outgoing::Message(Message::Control(3, CtrlReply { answer }))) = session.try_outgoing()
        else {
            panic!("{line}: no answer")
        };
        match answer {
            CtrlAnswer::Text(text) => Ok(text),
            CtrlAnswer::Failed { error, .. } => Err(error),
            CtrlAnswer::Binary(_) => panic!("{line}: bytes"),
        }
    }

    /// Lets time pass.
    fn for_a_while(&self, span: Duration) {
        let world = &self.world;
        let end = world.clock.now() + span;
        for _ in 0..100_000 {
            if world.round() {
                continue;
            }
            let next = world.cores[0].0.rest_until().min(end);
            if world.clock.now() >= end {
                return;
            }
            world.clock.advance(next.saturating_since(world.clock.now()));
        }
        panic!("the programs run for ever");
    }

    /// Starts a program that counts; what it counts to.
    fn counting(&self, pid: u32) -> impl Fn() -> usize + use<> {
        let (list, note) = notes();
        let path = format!("/bin/count{pid}");
        self.world.program(&path, move |cpu| {
            let time: Vec<u8> = [0u64, 10_000_000].iter().flat_map(|part| part.to_le_bytes()).collect();
            cpu.write(DATA, &time);
            for n in 0..10_000 {
                note(n);
                cpu.call(NANOSLEEP, &[DATA, 0]);
            }
        });
        self.world.launch(self.world.request(pid, &path)).expect("launched");
        move || list.lock().unwrap().len()
    }
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn the_node_says_what_it_is() {
    let watched = Watched::new(2);
    assert_eq!(watched.ask("get status"), Ok("RUNNING\n".into()));
    assert_eq!(watched.ask("get buildid"), Ok("build 7\n".into()));
    assert_eq!(watched.ask("query cpu"), Ok("1-2\n".into()));
    let (mem, free) = (watched.ask("query mem").unwrap(), watched.ask("query_free_mem --json").unwrap());
    assert_eq!(mem, format!("{0}@0,{0}@1\n", 4u64 << 30));
    assert!(free.starts_with("{\"free\":\"42949"), "{free}");
    assert_eq!(watched.ask("reboot"), Err(Errno::EINVAL));
    for admin in
        ["freeze", "thaw", "clear_kmsg", "noise reset", "shutdown", "dump", "info", "memory 0 1", "intr 1 49"]
    {
        let session = watched.send(admin, Roles::MONITOR | Roles::LAUNCH);
        watched.for_a_while(Duration::from_millis(10));
        let Some(Outgoing::Message(Message::Control(_, reply))) = session.try_outgoing() else { panic!() };
        assert!(matches!(reply.answer, CtrlAnswer::Failed { error: Errno::EPERM, .. }), "{admin}");
    }
    assert_eq!(watched.ask("get status"), Ok("RUNNING\n".into()));
}

#[test]
fn programs_are_seen() {
    let watched = Watched::new(3);
    let count = watched.counting(1000);
    watched.world.program("/bin/pause", |cpu| {
        cpu.call(PAUSE, &[]);
    });
    watched.world.launch(watched.world.request(1001, "/bin/pause")).unwrap();
    watched.for_a_while(Duration::from_millis(995));
    let ps = watched.ask("ps").unwrap();
    let rows = lines(&ps);
    assert_eq!(rows[0], ["NODE", "PID", "TID", "CPU", "STATE", "CALL", "TIME", "RSS", "COMMAND"]);
    assert_eq!(rows[1][..5], ["lwk", "1000", "1000", "0", "S"]);
    assert!(rows[1][5].starts_with("nanosleep,0.0"), "{ps}");
    assert_eq!(rows[2][..6], ["lwk", "1001", "1001", "1", "S", "pause,0.99s"], "{ps}");
    assert_eq!(rows[2][8], "/bin/pause");
    assert!(watched.ask("ps --json").unwrap().contains("\"tid\":1001,\"cpu\":\"1\",\"state\":\"S\""));
    let usage = watched.ask("rusage").unwrap();
    let figure = |name: &str| -> u64 {
        let row =
            lines(&usage).into_iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {usage}"));
        row[1].parse().unwrap()
    };
    assert!(figure("memory_stat_rss[4096]") + figure("memory_stat_rss[2097152]") > 0, "{usage}");
    assert_eq!((figure("num_threads"), figure("max_num_threads")), (2, 2));
    assert_eq!(figure("memory_total"), 8 << 30);
    assert!(figure("memory_max_usage") >= figure("memory_usage") && figure("memory_usage") > 0);
    assert_eq!(figure("memory_kmem_usage"), 12_345);
    assert!(count() > 90);
    let noise = watched.ask("noise").unwrap();
    assert_eq!(lines(&noise).len(), 6, "{noise}");
    assert_eq!(watched.ask("noise reset"), Ok(String::new()));
    let cores = watched.ask("cores").unwrap();
    assert_eq!(lines(&cores)[1][..2], ["0", "svc0"]);
    assert_eq!(lines(&cores)[4][..3], ["3", "2", "idle"]);
}

#[test]
fn cores_are_interrupted_on_purpose() {
    let watched = Watched::new(2);
    assert_eq!(watched.ask("intr 1 0x31"), Ok(String::new()));
    assert_eq!(watched.ask("intr 1 14"), Err(Errno::EINVAL));
    let _count = watched.counting(1000);
    // Its core is the first that computes.
    assert_eq!(watched.ask("intr 1 49"), Err(Errno::EBUSY));
    assert_eq!(*watched.machine.interrupts.borrow(), [(1, 49), (1, 14)]);
    for line in ["intr 1 49 --force", "intr 0 49", "intr 2 49"] {
        assert_eq!(watched.ask(line), Ok(String::new()), "{line}");
    }
    assert_eq!(watched.machine.interrupts.borrow()[2..], [(1, 49), (0, 49), (2, 49)]);
}

#[test]
fn programs_stop_and_go_on() {
    let watched = Watched::new(3);
    let count = watched.counting(1000);
    watched.for_a_while(Duration::from_millis(100));
    assert_eq!(watched.ask("thaw"), Err(Errno::EBUSY));
    assert_eq!(watched.ask("freeze"), Ok(String::new()));
    let before = count();
    // One that comes later stops before its first instruction.
    let late = watched.counting(1001);
    watched.for_a_while(Duration::from_secs(5));
    assert_eq!((count(), late()), (before, 0));
    assert_eq!(watched.ask("get status"), Ok("FROZEN\n".into()));
    let ps = watched.ask("ps").unwrap();
    assert_eq!(lines(&ps)[1][4..6], ["T", "-"], "{ps}");
    assert!(watched.ask("cores").unwrap().contains("frozen"));
    assert_eq!(watched.ask("freeze"), Ok(String::new()));
    assert_eq!(watched.ask("thaw"), Ok(String::new()));
    watched.for_a_while(Duration::from_secs(1));
    assert!(count() > before + 90 && late() > 90, "{} {}", count(), late());
    assert_eq!(watched.ask("get status"), Ok("RUNNING\n".into()));
    // The end of a program does not wait for the others.
    assert_eq!(watched.ask("freeze"), Ok(String::new()));
    let process = watched.world.node.process(1000).unwrap();
    process.signal(crate::signals::SigInfo::kernel(crate::signals::SIGKILL)).unwrap();
    watched.for_a_while(Duration::from_millis(50));
    assert_eq!(watched.world.status(1000), 9);
    assert!(watched.world.node.process(1001).is_some());
}

#[test]
fn a_frozen_node_ends_too() {
    let watched = Watched::new(2);
    let _count = watched.counting(1000);
    // This one does not want to.
    watched.world.program("/bin/stubborn", |cpu| {
        // rt_sigaction(SIGTERM, SIG_IGN)
        cpu.put(DATA, &[1, 0, 0, 0]);
        assert_eq!(cpu.call(13, &[15, DATA, 0, 8]), 0);
        loop {
            cpu.call(PAUSE, &[]);
        }
    });
    watched.world.launch(watched.world.request(1001, "/bin/stubborn")).unwrap();
    watched.for_a_while(Duration::from_millis(100));
    assert_eq!(watched.ask("freeze"), Ok(String::new()));
    assert_eq!(watched.ask("shutdown"), Ok(String::new()));
    assert_eq!(watched.ask("get status"), Ok("SHUTDOWN\n".into()));
    assert_eq!(watched.ask("freeze"), Err(Errno::EBUSY));
    assert_eq!(watched.world.status(1000), 15);
    let refused = watched.world.launch(watched.world.request(1002, "/bin/stubborn")).err();
    assert_eq!(refused, Some(Errno::ESHUTDOWN));
    watched.for_a_while(GRACE - Duration::from_secs(1));
    assert!(watched.world.node.process(1001).is_some() && !watched.machine.off.get());
    watched.for_a_while(Duration::from_secs(2));
    assert_eq!(watched.world.status(1001), 9);
    assert!(watched.machine.off.get());
}

#[test]
fn the_log_is_followed() {
    let watched = Watched::new(1);
    let say = |text: &str| watched.machine.log.push(format!("[    1.000000] 0 INFO  a: {text}\n").as_bytes());
    say("one");
    let session = watched.send("kmsg -f", Roles::MONITOR);
    let received = || -> Vec<String> {
        watched.for_a_while(Duration::from_millis(300));
        let mut texts = Vec::new();
        while let Some(Outgoing::Message(Message::Kmsg(3, lines))) = session.try_outgoing() {
            texts.extend(lines.lines.into_iter().map(|line| line.text));
        }
        texts
    };
    assert_eq!(received(), ["a: one"]);
    say("two");
    say("three");
    assert_eq!(received(), ["a: two", "a: three"]);
    assert_eq!(watched.ask("clear_kmsg"), Ok(String::new()));
    say("four");
    let session = watched.send("kmsg", Roles::MONITOR);
    watched.for_a_while(Duration::from_millis(300));
    let Some(Outgoing::Message(Message::Kmsg(3, lines))) = session.try_outgoing() else { panic!() };
    assert_eq!(lines.lines.len(), 1);
    assert!(matches!(session.try_outgoing(), Some(Outgoing::Message(Message::Control(3, _)))));
}

/// What a watcher was told.
fn told(session: &Session) -> Vec<EventKind> {
    core::iter::from_fn(|| match session.try_outgoing() {
        Some(Outgoing::Message(Message::Event(3, event))) => Some(event.kind),
        _ => None,
    })
    .collect()
}

#[test]
fn a_core_that_stays_in_the_kernel_hangs() {
    let watched = Watched::new(2);
    let session = watched.send("events -i 2", Roles::MONITOR);
    let core = watched.world.node.core(1).unwrap().clone();
    // Waiting for long is no hang.
    core.set_state(CoreState::Offload);
    watched.for_a_while(Duration::from_secs(7));
    assert_eq!(told(&session), []);
    // Nor is being in the kernel at each look, when it was elsewhere in between.
    core.set_state(CoreState::Kernel);
    for _ in 0..4 {
        core.count();
        watched.for_a_while(Duration::from_secs(2));
    }
    assert_eq!((told(&session), watched.ask("get status")), (vec![], Ok("RUNNING\n".into())));
    watched.for_a_while(Duration::from_secs(4));
    assert_eq!((told(&session), watched.ask("get status")), (vec![EventKind::Hungup], Ok("HUNGUP\n".into())));
    assert!(watched.ask("cores").unwrap().contains("hungup"));
    core.count();
    watched.for_a_while(Duration::from_secs(2));
    assert_eq!((told(&session), watched.ask("get status")), (vec![], Ok("RUNNING\n".into())));
}

#[test]
fn monitors_are_told_what_runs_out() {
    let watched = Watched::new(1);
    let session = watched.send("events", Roles::MONITOR);
    watched.world.cores[0].0.handle().spawn("watch", watched.control.clone().watch(Checks::default()));
    watched.for_a_while(Duration::from_secs(3));
    assert_eq!(told(&session), []);
    watched.world.machine.limit.store(3 << 20, Ordering::Relaxed);
    watched.machine.log.push(&[b'x'; 600]);
    watched.for_a_while(Duration::from_secs(3));
    // Once each.
    assert_eq!(told(&session), [EventKind::Oom, EventKind::KmsgFull]);
    watched.world.machine.limit.store(1 << 30, Ordering::Relaxed);
    watched.for_a_while(Duration::from_secs(2));
    watched.world.machine.limit.store(1 << 20, Ordering::Relaxed);
    watched.for_a_while(Duration::from_secs(2));
    assert_eq!(told(&session), [EventKind::Oom]);
    session.lost();
    watched.for_a_while(Duration::from_secs(2));
    assert!(told(&session).is_empty());
}

#[test]
fn the_node_looks_for_hangs_and_stalls_by_itself() {
    let watched = Watched::new(3);
    let session = watched.send("events", Roles::MONITOR);
    let seconds = Duration::from_secs;
    let checks = Checks { hangs: Some(seconds(2)), stalls: Some(seconds(5)) };
    watched.world.cores[0].0.handle().spawn("watch", watched.control.clone().watch(checks));
    watched.world.program("/bin/wait", |cpu| {
        cpu.call(GETCWD, &[DATA, 64]);
    });
    watched.world.program("/bin/pause", |cpu| {
        cpu.call(PAUSE, &[]);
    });
    watched.world.launch(watched.world.request(1000, "/bin/pause")).unwrap();
    watched.for_a_while(seconds(7));
    assert_eq!(told(&session), [], "a pause is neither");
    watched.world.host.silent.store(true, Ordering::Relaxed);
    watched.world.launch(watched.world.request(1001, "/bin/wait")).unwrap();
    watched.for_a_while(seconds(7));
    assert_eq!(told(&session), [EventKind::Stalled], "once for each call");
    assert_eq!(watched.world.node.core(2).unwrap().state(), CoreState::Offload);
    let idle = watched.world.node.core(3).unwrap().clone();
    idle.set_state(CoreState::Kernel);
    watched.for_a_while(seconds(5));
    assert_eq!(told(&session), [EventKind::Hungup]);
}

impl Watched {
    /// The bytes that a verb answers with, to its end.
    fn bytes(&self, line: &str) -> Vec<Vec<u8>> {
        let session = self.send(line, Roles::ADMIN);
        let mut answers = Vec::new();
        for _ in 0..100 {
            self.for_a_while(Duration::from_millis(20));
            while let Some(Outgoing::Message(message)) = session.try_outgoing() {
                let (reply, last) = match message {
                    Message::ControlPart(3, reply) => (reply, false),
                    Message::Control(3, reply) => (reply, true),
                    other => panic!("{line}: {other:?}"),
                };
                let CtrlAnswer::Binary(bytes) = reply.answer else { panic!("{line}: {:?}", reply.answer) };
                answers.push(bytes);
                if last {
                    return answers;
                }
            }
        }
        panic!("{line}: no end")
    }
}

/// Pages of memory and of zeros in a dump, its reports, and the number of pages in its last record.
fn taken_apart(answers: &[Vec<u8>]) -> (Vec<u64>, Vec<u64>, BTreeMap<String, String>, u64) {
    let mut records = answers.iter().map(|bytes| DumpRecord::decode(bytes).unwrap());
    assert!(matches!(records.next(), Some(DumpRecord::Begin { version: 1, .. })));
    assert_eq!(records.next(), Some(DumpRecord::Info(&[5; 100])));
    let (mut memory, mut zeros, mut reports, mut end) = (Vec::new(), Vec::new(), BTreeMap::new(), None);
    for record in records {
        assert_eq!(end, None);
        match record {
            DumpRecord::Text { name, text } => drop(reports.insert(name, text)),
            DumpRecord::Memory { physical, bytes } => {
                for (number, page) in (physical >> 12..).zip(bytes.chunks(4096)) {
                    assert!(page.iter().all(|byte| *byte == 1 + number as u8), "page {number}");
                    memory.push(number);
                }
            }
            DumpRecord::Zero { physical, len } => zeros.extend(physical >> 12..(physical + len) >> 12),
            DumpRecord::End { pages } => end = Some(pages),
            other => panic!("{other:?}"),
        }
    }
    (memory, zeros, reports, end.unwrap())
}

#[test]
fn a_dump_is_of_one_moment() {
    let watched = Watched::new(2);
    let count = watched.counting(1000);
    watched.for_a_while(Duration::from_millis(100));
    let (memory, zeros, reports, pages) = taken_apart(&watched.bytes("dump"));
    assert_eq!(memory, USED);
    let expected: Vec<u64> = (0..128).filter(|page| ![2, 3].contains(page) && !USED.contains(page)).collect();
    assert_eq!((zeros, pages), (expected, 126));
    let names: Vec<&str> = reports.keys().map(String::as_str).collect();
    assert_eq!(names, ["cores", "kargs", "kmsg", "maps.1000", "mem", "ps", "requests"]);
    assert!(
        reports["ps"].contains("/bin/count1000") && reports["mem"].contains("  4    3    12"),
        "{reports:?}"
    );
    // All goes on.
    assert!(!watched.machine.stopped.get());
    let before = count();
    watched.for_a_while(Duration::from_secs(1));
    assert!(count() > before + 90);
    let (_, zeros, _, pages) = taken_apart(&watched.bytes("dump -d 0"));
    assert_eq!((zeros.len(), pages), (128 - 36, 128));
}

#[test]
fn the_machine_can_stay_stopped_after_a_dump() {
    let watched = Watched::new(2);
    let count = watched.counting(1000);
    watched.for_a_while(Duration::from_millis(100));
    let (memory, zeros, reports, pages) = taken_apart(&watched.bytes("dump -i"));
    assert_eq!((memory, zeros, pages, reports.len()), (vec![], vec![], 0, 7));
    assert!(watched.machine.stopped.get());
    let before = count();
    watched.for_a_while(Duration::from_secs(1));
    assert_eq!(count(), before);
    assert_eq!(watched.ask("get status"), Ok("FROZEN\n".into()));
    assert_eq!(watched.bytes("memory 4090 10"), [[0, 0, 0, 0, 0, 0, 2, 2, 2, 2]]);
    assert_eq!(watched.ask("memory 0x80000 1"), Err(Errno::EFAULT));
    // A dump of a stopped machine leaves it so.
    assert_eq!(taken_apart(&watched.bytes("dump")).3, 126);
    assert!(watched.machine.stopped.get());
    assert_eq!(watched.ask("thaw"), Ok(String::new()));
    watched.for_a_while(Duration::from_secs(1));
    assert!(!watched.machine.stopped.get() && count() > before + 90);
    assert_eq!(watched.ask("thaw"), Err(Errno::EBUSY));
    assert_eq!(watched.bytes("info"), [[5; 100]]);
}

#[test]
fn a_dump_ends_with_whoever_wanted_it() {
    let watched = Watched::new(2);
    let count = watched.counting(1000);
    let session = watched.send("dump", Roles::ADMIN);
    // It does not read: no more than a few parts wait for it.
    watched.for_a_while(Duration::from_secs(1));
    assert!(watched.machine.stopped.get() && session.backlog() < 12);
    assert_eq!(watched.ask("dump"), Err(Errno::EBUSY));
    assert_eq!(watched.ask("thaw"), Err(Errno::EBUSY));
    let before = count();
    session.lost();
    watched.for_a_while(Duration::from_secs(1));
    assert!(!watched.machine.stopped.get() && count() > before + 90);
}

#[test]
fn nothing_is_said_of_programs_while_a_core_hangs() {
    let watched = Watched::new(2);
    let _count = watched.counting(1000);
    watched.machine.stuck.set(Some(1));
    let (memory, _, reports, _) = taken_apart(&watched.bytes("dump"));
    assert_eq!(memory, USED);
    assert!(reports["remarks"].contains("[1] did not stop"), "{reports:?}");
    assert!(!reports.contains_key("ps"));
}
