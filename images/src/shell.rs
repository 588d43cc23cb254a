//! The operator's commands, on the serial console and over the network: to look at the machine, to run its role,
//! to stop it, and to see it fail.

mod command;
mod complaints;
mod conversation;
mod editor;
mod machine;
mod remote;
mod serial;
mod session;
mod ssh;
mod tty;

use crate::Node;
use alloc::rc::Rc;
use alloc::vec::Vec;
use conversation::Talk;
use core::fmt;
use core::time::Duration;
use keelson_exec::{Handle, yield_now};
use keelson_hal::Console;
use keelson_kernel::console;
use keelson_kernel::options::ConsoleChoice;
use keelson_net::Stack;
use serial::Serial;

pub use command::{Action, Chunks, Command, Reply};
pub use remote::OPTIONS as REMOTE_OPTIONS;
pub use session::Commands;
pub use ssh::OPTIONS as SSH_OPTIONS;
pub use tty::{Conversation, Interpreter, Tty};

/// How long a message may take to a virtio console.
const MIRROR_PERIOD: Duration = Duration::from_millis(50);
/// Ctrl-C.
const INTERRUPT: u8 = 0x03;

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

async fn serve(console: Rc<impl Console>, commands: Commands) {
    Talk::new(Serial(console)).converse(commands).await;
}

/// Opens the consoles over the network that the command line asks for.
pub fn listen(node: &Node, stack: &Stack, commands: &Commands) {
    remote::listen(&node.handle, stack, &node.config, commands);
    ssh::listen(&node.handle, stack, &node.config, &node.machine.entropy, &node.ssh, commands);
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
