//! Lines typed at the machine's terminals that are for the node's shell.

use crate::shell::{Conversation, Interpreter, Tty};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::future::Future;
use core::pin::Pin;
use keelson_exec::sync::Notify;
use keelson_qnet::api::Credentials;
use keelson_qnet::io::Terminal;
use keelson_qnet::procs::Processes;
use keelson_qnet::sh::Shell;

/// The programs of a node, run by root.
pub struct Programs(Processes);

impl Programs {
    /// Those of these processes.
    pub fn new(processes: &Processes) -> Programs {
        Programs(processes.clone())
    }
}

impl Interpreter for Programs {
    fn help(&self) -> &'static str {
        "programs of the node: ls /bin lists them, use NAME tells more, ls /net shows other nodes"
    }

    fn converse(&self, tty: Rc<Tty>) -> Rc<dyn Conversation> {
        match Shell::new(&self.0, Rc::new(NodeTerminal(tty.clone())), &Credentials::default()) {
            Ok(shell) => Rc::new(AtTerminal(Rc::new(shell))),
            Err(errno) => Rc::new(Without {
                tty,
                why: format!("no shell: {errno}; end some processes and connect again\n"),
            }),
        }
    }
}

/// A shell in front of a terminal.
struct AtTerminal(Rc<Shell>);

impl Conversation for AtTerminal {
    fn line(&self, line: &str) -> Pin<Box<dyn Future<Output = ()>>> {
        let (shell, line) = (self.0.clone(), String::from(line));
        Box::pin(async move {
            shell.line(&line).await;
        })
    }
}

/// A terminal for which there was no shell.
struct Without {
    tty: Rc<Tty>,
    why: String,
}

impl Conversation for Without {
    fn line(&self, _: &str) -> Pin<Box<dyn Future<Output = ()>>> {
        self.tty.write(self.why.as_bytes());
        Box::pin(core::future::ready(()))
    }
}

/// A terminal of the machine as programs have it.
struct NodeTerminal(Rc<Tty>);

impl Terminal for NodeTerminal {
    fn write(&self, text: &[u8]) -> usize {
        self.0.write(text)
    }

    fn read(&self, room: &mut [u8]) -> usize {
        self.0.read(room)
    }

    fn has_input(&self) -> bool {
        self.0.has_input()
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn changed(&self) -> Rc<Notify> {
        self.0.changed()
    }
}
