//! `pidin` and `on`.

use crate::args::PidinReport;
use crate::failure::Failure;
use crate::interrupt::{self, QuietTerminal, SIGINT};
use crate::json::Object;
use crate::session::Session;
use crate::stdio::{Input, Output};
use keelson_exec::sync::Notify;
use keelson_exec::{Either, select};
use keelson_qnet::client::pidin::{self, Form, Pidin, PidinError, ProcessView};
use keelson_qnet::client::{SpawnRequest, Spawned, Where, Zone, spawn};
use keelson_qnet::io::Io;
use keelson_qnet::procs::Stream;
use keelson_qnet_wire::Errno;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

/// Typed bytes that wait for the remote program.
const TYPED: usize = 65_536;
/// How long a program may take to end after the user has gone.
const GRACE: Duration = Duration::from_secs(5);
/// Mask for files that a remote program makes.
const UMASK: u32 = 0o022;

/// One line for each node, and one for each of its processors.
pub async fn pidin_net(session: &Session, wait: Duration) -> Result<(), Failure> {
    session.host.handle().sleep(wait).await;
    if !session.options.json {
        return show(session, Form::Net, None).await;
    }
    let files = session.files();
    for entry in files.read_dir("/net").await.map_err(Failure::remote("/net"))? {
        let machine = pidin::machine(&files, &format!("/net/{}", entry.name)).await;
        let object = Object::new().text("name", &entry.name).number("nd", entry.ino);
        let object = match machine {
            Ok(machine) => machine_object(object, &machine),
            Err(errno) => object.number("errno", errno.0).text("error", errno.name().unwrap_or("unknown")),
        };
        session.print(String::new, || object).await?;
    }
    Ok(())
}

/// Processes of a node.
pub async fn pidin(session: &Session, node: &str, report: PidinReport) -> Result<(), Failure> {
    session.node(node).await?;
    let form = match report {
        PidinReport::Threads => Form::Threads,
        PidinReport::Arguments => Form::Arguments,
        PidinReport::Memory => Form::Memory,
        PidinReport::Info => Form::Info,
    };
    if session.options.json {
        objects(session, node, form).await
    } else {
        show(session, form, Some(node)).await
    }
}

/// As QNX's program prints it.
async fn show(session: &Session, form: Form, node: Option<&str>) -> Result<(), Failure> {
    let request = Pidin { form, node, only: None, zone: &Zone::default() };
    let files = session.files();
    let shown = pidin::print(&files, request, async |text: &str| session.output.write(text.as_bytes()).await);
    shown.await.map_err(|error| match error {
        PidinError::Ask { path, errno } => Failure::remote(path)(errno),
        PidinError::Output(gone) => gone.into(),
    })
}

async fn objects(session: &Session, node: &str, form: Form) -> Result<(), Failure> {
    let (files, root) = (session.files(), format!("/net/{node}"));
    if form == Form::Info {
        let machine = pidin::machine(&files, &root).await.map_err(Failure::remote(format!("{root}/proc")))?;
        return session
            .print(String::new, || machine_object(Object::new().text("name", node), &machine))
            .await;
    }
    let ids = pidin::process_ids(&files, &root).await.map_err(Failure::remote(format!("{root}/proc")))?;
    for pid in ids {
        let view = match pidin::process(&files, &root, pid, form).await {
            Ok(view) => view,
            // It has ended meanwhile.
            Err(Errno::ENOENT | Errno::ESRCH) => continue,
            Err(errno) => return Err(Failure::remote(format!("{root}/proc/{pid}/as"))(errno)),
        };
        session.print(String::new, || process_object(&view)).await?;
    }
    Ok(())
}

fn machine_object(object: Object, machine: &pidin::MachineView) -> Object {
    object
        .text("release", &machine.release)
        .number("total", machine.total)
        .number("free", machine.free)
        .number("boot_time", machine.boot_time)
        .number("processes", machine.processes as u64)
        .number("threads", machine.threads as u64)
        .list("cpus", machine.cpus.iter().map(|cpu| cpu.name.as_str()))
}

fn process_object(view: &ProcessView) -> Object {
    let states: Vec<String> = view.threads.iter().map(|thread| thread.state.to_string()).collect();
    let object = Object::new().number("pid", view.info.pid).number("parent", view.info.parent);
    let object = object.text("name", &view.name).list("states", states.iter().map(String::as_str));
    let object = object.list("arguments", view.arguments.iter().map(String::as_str));
    object.list("objects", view.maps.iter().map(|(_, name)| name.as_str()))
}

/// Runs a program on a node; its exit status.
pub async fn on(session: &Session, node: &str, words: &[String], is_root: bool) -> Result<i32, Failure> {
    session.node(node).await?;
    let processes = session.host.processes().map_err(Failure::remote("make a process"))?;
    let process =
        processes.register("qnetctl", &session.host.user()).map_err(Failure::remote("make a process"))?;
    let env: Vec<String> = std::env::var("TERM").map(|term| format!("TERM={term}")).into_iter().collect();
    let place = if is_root { Where::Root(node) } else { Where::Node(node) };
    let request = SpawnRequest { place, args: words, env: &env, cwd: "/", umask: UMASK, priority: None };
    let (typed, signals) = Typed::new(session);
    let (stdin, reading) = (Rc::new(typed.clone()), typed);
    let streams: Vec<Rc<dyn Stream>> =
        vec![stdin, Rc::new(Shown::new(&session.output, 1)), Rc::new(Shown::new(&session.errors, 2))];
    let doing = format!("{node}: {}", words.join(" "));
    let spawned = spawn(&session.files(), process.pid(), &request, streams).await;
    let spawned = spawned.map_err(Failure::remote(&*doing))?;
    let end = select(spawned.wait(), forward(session, &spawned, &reading, &signals)).await;
    let status = match end {
        Either::First(Ok(end)) => end.status(),
        Either::First(Err(errno)) => return Err(Failure::remote(doing)(errno)),
        Either::Second(status) => status,
    };
    session.errors.drained().await?;
    Ok(status)
}

/// Sends signals on. It only ends when the user has gone and the program does not.
async fn forward(session: &Session, spawned: &Spawned, typed: &Typed, signals: &Signals) -> i32 {
    let from_terminal = async {
        loop {
            let called = session.host.reactor().called();
            let more = called.notified();
            typed.gather();
            for signo in signals.take() {
                // It may have ended already; then the wait knows.
                let _ = spawned.signal(signo);
            }
            if typed.0.terminal.is_none() {
                std::future::pending::<()>().await;
            }
            more.await;
        }
    };
    let from_parent = async {
        let Some(parent) = session.guarded_by else { return std::future::pending().await };
        interrupt::parent_ended(session, parent).await;
        let _ = spawned.signal(SIGINT);
        session.host.handle().sleep(GRACE).await;
        128 + SIGINT
    };
    let ended: Either<Infallible, i32> = select(from_terminal, from_parent).await;
    match ended {
        Either::First(never) => match never {},
        Either::Second(status) => status,
    }
}

/// Signals that were typed and not yet sent.
#[derive(Clone, Default)]
struct Signals(Rc<RefCell<VecDeque<i32>>>);

impl Signals {
    fn take(&self) -> Vec<i32> {
        self.0.borrow_mut().drain(..).collect()
    }
}

/// Standard input, for the remote program. A terminal is read before the program wants it, for the sake of Ctrl-C.
#[derive(Clone)]
struct Typed(Rc<TypedState>);

struct TypedState {
    input: Rc<Input>,
    called: Rc<Notify>,
    terminal: Option<QuietTerminal>,
    waiting: RefCell<VecDeque<u8>>,
    signals: Signals,
    /// The end of input was typed.
    ended: Cell<bool>,
}

impl Typed {
    fn new(session: &Session) -> (Typed, Signals) {
        let signals = Signals::default();
        let state = TypedState {
            input: session.input.clone(),
            called: session.host.reactor().called(),
            terminal: QuietTerminal::take(),
            waiting: RefCell::default(),
            signals: signals.clone(),
            ended: Cell::new(false),
        };
        (Typed(Rc::new(state)), signals)
    }

    /// Takes over what was typed at a terminal.
    fn gather(&self) {
        let Some(terminal) = &self.0.terminal else { return };
        let mut waiting = self.0.waiting.borrow_mut();
        let mut room = [0; 1024];
        while waiting.len() < TYPED {
            let len = self.0.input.take(&mut room);
            for byte in room.iter().take(len) {
                match terminal.signal_of(*byte) {
                    // What was typed before is forgotten, as a terminal does.
                    Some(signo) => {
                        waiting.clear();
                        self.0.signals.0.borrow_mut().push_back(signo);
                    }
                    None => waiting.push_back(*byte),
                }
            }
            if len == 0 {
                break;
            }
        }
        self.0.ended.set(self.0.input.has_ended());
    }

    /// What there is; `None` when nothing is there yet.
    fn take(&self, room: &mut [u8]) -> Option<usize> {
        if self.0.terminal.is_none() {
            let len = self.0.input.take(room);
            return (len > 0 || self.0.input.has_ended()).then_some(len);
        }
        self.gather();
        let mut waiting = self.0.waiting.borrow_mut();
        let len = room.len().min(waiting.len());
        room.iter_mut().zip(waiting.drain(..len)).for_each(|(to, from)| *to = from);
        (len > 0 || self.0.ended.get()).then_some(len)
    }
}

impl Stream for Typed {
    fn read<'a>(&'a self, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            loop {
                let more = self.0.called.notified();
                if room.is_empty() {
                    return Ok(0);
                }
                if let Some(len) = self.take(room) {
                    return Ok(len);
                }
                more.await;
            }
        })
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        Box::pin(std::future::ready(Ok(self.0.terminal.is_some())))
    }
}

/// Standard output or error, for the remote program.
struct Shown {
    output: Rc<Output>,
    is_terminal: bool,
}

impl Shown {
    fn new(output: &Rc<Output>, number: i32) -> Shown {
        let is_terminal = match number {
            1 => rustix::termios::isatty(rustix::stdio::stdout()),
            _ => rustix::termios::isatty(rustix::stdio::stderr()),
        };
        Shown { output: output.clone(), is_terminal }
    }
}

impl Stream for Shown {
    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move { self.output.write(data).await.map(|()| data.len()).map_err(|_| Errno::EPIPE) })
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        Box::pin(std::future::ready(Ok(self.is_terminal)))
    }
}
