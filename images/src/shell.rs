//! The operator's commands, on the serial console and over the network: to look at the machine, to run its role,
//! to stop it, and to see it fail.

mod command;
mod editor;
mod machine;
mod remote;
mod session;
mod tty;

use crate::Node;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;
use editor::{Editor, LINE_MAX, Outcome};
use keelson_exec::{Either, Handle, select, yield_now};
use keelson_hal::Console;
use keelson_kernel::console;
use keelson_kernel::options::ConsoleChoice;
use session::{Running, Session};

pub use command::{Action, Chunks, Command, Reply};
pub use remote::{OPTIONS, listen};
pub use session::Commands;
pub use tty::{Conversation, Interpreter, Tty};

/// How long a message may take to a virtio console.
const MIRROR_PERIOD: Duration = Duration::from_millis(50);
/// Bytes typed while a command runs that are kept.
const TYPED_AHEAD: usize = 4096;
/// Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// Ctrl-D: programs that read it know that nothing follows.
const END_OF_INPUT: u8 = 0x04;

/// Kibibytes as text.
pub struct Kib(pub u64);

impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0)
    }
}

/// Starts a shell on the node's serial console and on each virtio console, with `commands` beside its own;
/// returns all of them, for [`listen`]. The first virtio console also carries the log when `console=hvc0` asks
/// for it.
pub fn spawn(node: &Node, virtio: &[Rc<impl Console + 'static>], commands: Vec<Command>) -> Commands {
    spawn_with(node, virtio, commands, None)
}

/// The same with an interpreter of the role's own, for lines that begin with none of the commands.
pub fn spawn_with(
    node: &Node,
    virtio: &[Rc<impl Console + 'static>],
    mut commands: Vec<Command>,
    interpreter: Option<Rc<dyn Interpreter>>,
) -> Commands {
    commands.extend(machine::commands(node));
    let commands = Commands::new(commands);
    let commands = match interpreter {
        Some(interpreter) => commands.with_interpreter(interpreter),
        None => commands,
    };
    if let Some(console) = node.console.clone() {
        node.handle.spawn("shell", serve(console, commands.clone()));
    }
    for console in virtio {
        node.handle.spawn("shell", serve(console.clone(), commands.clone()));
    }
    if ConsoleChoice::all(&node.config).any(|choice| choice == ConsoleChoice::Virtio) {
        match virtio.first() {
            Some(console) => {
                node.handle.spawn("hvc0", mirror_log(node.handle.clone(), console.clone()));
            }
            None => log::warn!(target: "kernel", "console=hvc0: the machine has no virtio console"),
        }
    }
    commands
}

/// Copies the log, from its beginning, to a console that has a driver.
async fn mirror_log(handle: Handle, console: Rc<impl Console>) {
    let mut position = 0;
    let mut buffer = [0; 512];
    loop {
        let (count, next) = console::log::copy_from(position, &mut buffer);
        position = next;
        if count == 0 {
            handle.sleep(MIRROR_PERIOD).await;
        } else {
            console.write(&buffer[..count]);
            yield_now().await;
        }
    }
}

/// The keys of a console, those included that are typed while a command runs.
struct Keys<C> {
    console: Rc<C>,
    typed: VecDeque<u8>,
}

impl<C: Console> Keys<C> {
    async fn fill(&mut self) {
        let mut buffer = [0; 64];
        let count = poll_fn(|cx| self.console.poll_read(cx, &mut buffer)).await;
        let room = TYPED_AHEAD.saturating_sub(self.typed.len());
        self.typed.extend(&buffer[..count.min(room)]);
    }

    async fn next(&mut self) -> u8 {
        loop {
            match self.typed.pop_front() {
                Some(byte) => return byte,
                None => self.fill().await,
            }
        }
    }

    /// Waits for Ctrl-C, which also takes back what was typed before it.
    async fn interrupted(&mut self) {
        loop {
            if let Some(at) = self.typed.iter().rposition(|byte| *byte == INTERRUPT) {
                self.typed.drain(..=at);
                return;
            }
            self.fill().await;
        }
    }

    /// While a line is interpreted: gives programs that want input the lines that are typed, until Ctrl-C.
    async fn feed(&mut self, tty: &Tty) {
        loop {
            if let Either::First(()) = select(self.interrupted(), tty.input_wanted()).await {
                return;
            }
            let mut editor = Editor::default();
            loop {
                let byte = self.next().await;
                match editor.feed(byte) {
                    Outcome::Echo(text) => self.console.write(text),
                    Outcome::EchoByte(byte) => self.console.write(&[byte]),
                    Outcome::Nothing if byte == END_OF_INPUT => {
                        tty.type_in(&[END_OF_INPUT]);
                        break;
                    }
                    Outcome::Nothing => {}
                    Outcome::Cancelled if byte == INTERRUPT => return,
                    Outcome::Cancelled => self.console.write(b"\n"),
                    Outcome::TooLong => self.console.write(too_long().as_bytes()),
                    Outcome::Line(line) => {
                        self.console.write(b"\n");
                        tty.type_in(line.as_bytes());
                        tty.type_in(b"\n");
                        break;
                    }
                }
            }
        }
    }

    /// Lets the role's interpreter have the terminal until its line has ended.
    async fn interpret(&mut self, tty: &Tty, line: Interpretation) {
        let console = self.console.clone();
        let show = async {
            loop {
                console.write(&tty.output().await);
                yield_now().await;
            }
        };
        let is_over = match select(line, select(show, self.feed(tty))).await {
            Either::First(()) => true,
            Either::Second(Either::First(never)) => never,
            Either::Second(Either::Second(())) => false,
        };
        tty.rest();
        self.console.write(&tty.take_output());
        if !is_over {
            self.console.write(b"^C\n");
        }
    }
}

/// A line of the role's interpreter.
type Interpretation = core::pin::Pin<alloc::boxed::Box<dyn Future<Output = ()>>>;

async fn serve(console: Rc<impl Console>, commands: Commands) {
    let mut session = Session::new(commands);
    let mut editor = Editor::default();
    let mut keys = Keys { console: console.clone(), typed: VecDeque::new() };
    let prompt = |session: &Session| console.write(session.prompt().as_bytes());
    prompt(&session);
    let tty = session.tty();
    loop {
        // What was left to run behind may have something to say.
        let byte = match select(keys.next(), tty.output()).await {
            Either::First(byte) => byte,
            Either::Second(text) => {
                console.write(&text);
                continue;
            }
        };
        match editor.feed(byte) {
            Outcome::Echo(text) => console.write(text),
            Outcome::EchoByte(byte) => console.write(&[byte]),
            Outcome::Nothing => {}
            Outcome::Cancelled => {
                session.cancel();
                console.write(b"\n");
                prompt(&session);
            }
            Outcome::TooLong => {
                console.write(b"\n");
                console.write(too_long().as_bytes());
                prompt(&session);
            }
            Outcome::Line(line) => {
                console.write(b"\n");
                match session.line(line) {
                    Running::Interpreted(line) => keys.interpret(&tty, line).await,
                    Running::Answer(text) => match select(text, keys.interrupted()).await {
                        Either::First(text) => console.write(text.as_bytes()),
                        Either::Second(()) => console.write(b"interrupted\n"),
                    },
                }
                prompt(&session);
            }
        }
    }
}

fn too_long() -> alloc::string::String {
    alloc::format!("the line is longer than {LINE_MAX} characters; nothing was done\n")
}
