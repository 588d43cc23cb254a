//! The operator's commands on the serial console: to look at the machine, to stop it, and to see it fail.

use crate::Node;
use crate::editor::{Editor, Outcome};
use crate::shutdown::Then;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::future::poll_fn;
use core::time::Duration;
use keelson_exec::{Handle, yield_now};
use keelson_hal::Console;
use keelson_kernel::options::ConsoleChoice;
use keelson_kernel::panic::provoke;
use keelson_kernel::{console, mm, smp};

const PROMPT: &[u8] = b"> ";
/// How long a message may take to a virtio console.
const MIRROR_PERIOD: Duration = Duration::from_millis(50);

/// What a command does: the words after its name come in, text for the terminal goes out.
pub type Action = Box<dyn Fn(&[&str]) -> String>;

/// One command of the shell.
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Does it.
    pub run: Action,
}

impl Command {
    /// A command.
    pub fn new(name: &'static str, help: &'static str, run: impl Fn(&[&str]) -> String + 'static) -> Command {
        Command { name, help, run: Box::new(run) }
    }
}

/// Kibibytes as text.
pub struct Kib(pub u64);

impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0)
    }
}

/// Starts a shell on the node's serial console and on each virtio console, with `commands` beside its own.
/// The first virtio console also carries the log when `console=hvc0` asks for it.
pub fn spawn(node: &Node, virtio: &[Rc<impl Console + 'static>], mut commands: Vec<Command>) {
    commands.extend(machine_commands(node));
    commands.sort_by_key(|command| command.name);
    let commands = Rc::new(commands);
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

async fn serve(console: Rc<impl Console>, commands: Rc<Vec<Command>>) {
    let mut editor = Editor::default();
    let mut buffer = [0; 64];
    console.write(PROMPT);
    loop {
        let count = poll_fn(|cx| console.poll_read(cx, &mut buffer)).await;
        for byte in &buffer[..count] {
            match editor.feed(*byte) {
                Outcome::Echo(text) => console.write(text),
                Outcome::EchoByte(byte) => console.write(&[byte]),
                Outcome::Nothing => {}
                Outcome::Cancelled => {
                    console.write(b"\n");
                    console.write(PROMPT);
                }
                Outcome::Line(line) => {
                    console.write(b"\n");
                    console.write(execute(&line, &commands).as_bytes());
                    console.write(PROMPT);
                }
            }
        }
    }
}

/// Runs one line; the result ends in a newline unless it is empty.
fn execute(line: &str, commands: &[Command]) -> String {
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next() else { return String::new() };
    let arguments: Vec<&str> = words.collect();
    if name == "help" {
        return help(commands);
    }
    match commands.iter().find(|command| command.name == name) {
        Some(command) => {
            let mut text = (command.run)(&arguments);
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }
        None => alloc::format!("{name}: no such command; try help\n"),
    }
}

fn help(commands: &[Command]) -> String {
    let mut text = String::new();
    for command in commands {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<10} {}", command.name, command.help);
    }
    text
}

fn machine_commands(node: &Node) -> Vec<Command> {
    let (tasks, uptime, ram) = (node.handle.clone(), node.handle.clone(), node.machine.boot.ram());
    let help = keelson_config::help(&node.role.tables());
    let ends = |then| {
        let shutdown = node.shutdown.clone();
        move |_: &[&str]| {
            shutdown.request(then);
            String::new()
        }
    };
    Vec::from([
        Command::new("poweroff", "end the work and switch the machine off", ends(Then::PowerOff)),
        Command::new("reboot", "end the work and start the machine again", ends(Then::Reboot)),
        Command::new("panic", "panic on core [N], to see the report", |words| fail_on(words.first())),
        Command::new("fault", "write to unmapped memory", |_| provoke::page_fault()),
        Command::new("overflow", "use up the stack", |_| provoke::stack_overflow()),
        Command::new("dmesg", "the log's last 64 KiB", |_| {
            String::from_utf8_lossy(&console::log::contents()).into_owned()
        }),
        Command::new("mem", "memory in use", move |_| memory(ram)),
        Command::new("cpus", "cores that run", |_| cores()),
        Command::new("options", "the options of the kernel command line", move |_| help.clone()),
        Command::new("top", "tasks and how often they ran", move |_| task_list(&tasks)),
        Command::new("uptime", "time since boot", move |_| {
            alloc::format!("{:?}", Duration::from_millis(uptime.now().as_millis()))
        }),
    ])
}

fn fail_on(core: Option<&&str>) -> String {
    match core.map(|text| text.parse()) {
        None | Some(Ok(0)) => panic!("asked for on the console"),
        Some(Ok(core)) => match smp::run_on(core, || panic!("asked for on the console")) {
            Ok(()) => String::new(),
            Err(error) => alloc::format!("core {core}: {error:?}"),
        },
        Some(Err(error)) => alloc::format!("no core number: {error}"),
    }
}

fn memory(ram: u64) -> String {
    let (frames, heap) = (mm::frames::statistics(), mm::heap::counts());
    alloc::format!(
        "RAM {}, managed {}, free {}\nused {}, at most {}; allocations refused {}\n\
         heap {} of {} in {} allocations; {} made since boot\n",
        Kib(ram >> 10),
        Kib(frames.total * 4),
        Kib(frames.free * 4),
        Kib(frames.used() * 4),
        Kib(frames.high_water * 4),
        frames.failures,
        Kib(heap.used as u64 >> 10),
        Kib(heap.claimed as u64 >> 10),
        heap.allocations,
        heap.allocations_made,
    )
}

fn cores() -> String {
    let mut text = String::new();
    for core in 0..smp::online() {
        let _ = writeln!(text, "core {core}: APIC {}", smp::apic_id(core));
    }
    text
}

fn task_list(handle: &Handle) -> String {
    let mut text = String::new();
    handle.for_each_task(|name, polls| {
        let _ = writeln!(text, "{polls:>10} {name}");
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lines_find_their_command() {
        let commands = [Command::new("echo", "repeats", |words| words.join("+"))];
        assert_eq!(execute("  echo a  b ", &commands), "a+b\n");
        assert_eq!(execute("", &commands), "");
        assert_eq!(execute("ls", &commands), "ls: no such command; try help\n");
        assert_eq!(execute("help", &commands), "echo       repeats\n");
        assert_eq!(Kib(3).to_string(), "3 KiB");
    }
}
