//! What tools are told, and what they can do to programs.

use super::*;
use crate::control::{Checks, Control, GRACE, Kernel};
use crate::cores::CoreState;
use crate::session::{Message, Outgoing, Session, Tool};
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::{Ctrl, CtrlAnswer, CtrlReply, EventKind};
use std::cell::Cell;
use std::sync::atomic::Ordering;

const NANOSLEEP: u64 = 35;
const PAUSE: u64 = 34;
const GETCWD: u64 = 79;

/// What is below the node.
#[derive(Default)]
pub struct Machine {
    log: RefCell<Vec<u8>>,
    off: Cell<bool>,
}

impl Kernel for Machine {
    fn log(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
        let log = self.log.borrow();
        let start = (position as usize).min(log.len());
        let count = into.len().min(log.len() - start);
        into[..count].copy_from_slice(&log[start..start + count]);
        (count, (start + count) as u64)
    }
    fn log_capacity(&self) -> u64 {
        1000
    }
    fn memory_used(&self) -> u64 {
        12_345
    }
    fn power_off(&self) {
        self.off.set(true);
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
    for admin in ["freeze", "thaw", "clear_kmsg", "noise reset", "shutdown"] {
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
    let say = |text: &str| {
        watched.machine.log.borrow_mut().extend(format!("[    1.000000] 0 INFO  a: {text}\n").as_bytes())
    };
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
    watched.machine.log.borrow_mut().resize(600, b'x');
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
