//! Lines typed at the machine's terminals that are for programs of the node.

use crate::shell::{Conversation, Interpreter, Tty};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use keelson_exec::sync::Notify;
use keelson_qnet::api::{Credentials, PROCESS_MANAGER};
use keelson_qnet::io::Terminal;
use keelson_qnet::procs::{End, Group, Processes, SEARCH_PATH, Start, Stream, TerminalStream, signal};

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
        "programs of the node: ls /bin lists them, also on other nodes: ls /net"
    }

    fn converse(&self, tty: Rc<Tty>) -> Rc<dyn Conversation> {
        Rc::new(AtTerminal { processes: self.0.clone(), terminal: Rc::new(NodeTerminal(tty)) })
    }
}

struct AtTerminal {
    processes: Processes,
    terminal: Rc<NodeTerminal>,
}

impl Conversation for AtTerminal {
    fn line(&self, line: &str) -> Pin<Box<dyn Future<Output = ()>>> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Box::pin(run(self.processes.clone(), self.terminal.clone(), words))
    }
}

async fn run(processes: Processes, terminal: Rc<NodeTerminal>, words: Vec<String>) {
    let Some(name) = words.first().cloned() else { return };
    let stream: Rc<dyn Stream> = Rc::new(TerminalStream(terminal.clone()));
    let start = Start {
        path: &name,
        search: Some(SEARCH_PATH),
        args: words,
        env: Vec::new(),
        cwd: String::from("/"),
        umask: 0o022,
        who: Credentials::default(),
        parent: PROCESS_MANAGER,
        group: Group::Own,
        fds: (0..3).map(|fd| (fd, stream.clone())).collect::<BTreeMap<_, _>>(),
    };
    let text = match processes.spawn(start).await {
        Ok(pid) => {
            let mut running = Running { processes: &processes, pid: Some(pid) };
            let end = processes.wait(pid).await;
            running.pid = None;
            match end {
                Ok(End::Killed(signo)) => format!("{name}: ended by signal {signo}\n"),
                _ => return,
            }
        }
        Err(errno) => format!("{name}: {errno}; help lists the machine's commands, ls /bin the node's\n"),
    };
    terminal.0.write(text.as_bytes());
}

/// A process in the foreground: interrupted when nobody waits for it any more.
struct Running<'a> {
    processes: &'a Processes,
    pid: Option<u32>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = self.processes.signal(pid, signal::INT);
            self.processes.detach(pid);
        }
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
