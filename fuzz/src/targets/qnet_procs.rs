//! Messages to the process manager of a Qnet node: spawn, wait, configuration strings, ids.

use crate::input::Input;
use crate::machine::{Machine, PRECIOUS, Teletype, somebody};
use keelson_qnet::api::{Connection, Credentials};
use keelson_qnet::client::ConsoleServer;
use keelson_qnet::procs::{NullStream, Stream, TerminalStream};
use keelson_qnet_wire::Nd;
use std::rc::Rc;
use std::time::Duration;

/// Messages of one input, and bytes of one.
const MOST_MESSAGES: usize = 24;
const LONGEST: usize = 4096;
/// How long a message may wait for its answer: `_PROC_WAIT` waits for a process.
const PATIENCE: Duration = Duration::from_secs(5);
/// Replies of the process manager: a configuration string, or what a process ended with.
const ROOM: usize = 512;

/// Messages of a user, and of root where the first byte is odd; then both are gone. A message has a byte that says
/// whose it is, two for its length, and itself.
pub fn qnet_procs(input: &[u8]) {
    let mut input = Input::new(input);
    let machine = Machine::new();
    let terminal = Rc::new(Teletype::default());
    let streams: Vec<Rc<dyn Stream>> = vec![
        Rc::new(NullStream),
        Rc::new(TerminalStream(terminal.clone())),
        Rc::new(TerminalStream(terminal.clone())),
    ];
    // What `on` offers to whom it starts: descriptors 0 to 2.
    let console = ConsoleServer::new(&machine.kernel, 1, Nd::LOCAL, streams);
    let console = console.unwrap_or_else(|errno| panic!("a console: {errno}"));
    // Whoever passes descriptors on is taken for the process that has them.
    let clients =
        [somebody(), Credentials::default()].map(|who| attach(&machine, Credentials { pid: 1, ..who }));
    let mut root_spoke = false;
    for _ in 0..MOST_MESSAGES {
        if input.is_empty() {
            break;
        }
        let (who, len) = (usize::from(input.u8() % 2), usize::from(input.u16()));
        root_spoke |= who == 1;
        message(&machine, &clients[who], input.bytes(len.min(LONGEST)));
        assert!(machine.processes.running() <= machine.processes.config().processes);
        assert!(machine.processes.zombies() <= machine.processes.config().zombies);
    }
    drop((clients, console));
    let leaks = terminal.written().windows(PRECIOUS.len()).any(|window| window == PRECIOUS);
    assert!(!leaks || root_spoke, "what only root may read");
    if root_spoke {
        // Root may do everything, and so the rest is not looked at.
        machine.processes.end_all();
        return;
    }
    machine.finish();
}

fn attach(machine: &Machine, who: Credentials) -> Rc<Connection> {
    let kernel = machine.kernel.clone();
    let connected = machine.run(async move { kernel.connect(Nd::LOCAL, 1, 1, &who).await });
    Rc::new(connected.unwrap_or_else(|errno| panic!("a connection: {errno}")))
}

fn message(machine: &Machine, connection: &Rc<Connection>, bytes: &[u8]) {
    let (connection, bytes, handle) = (connection.clone(), bytes.to_vec(), machine.executor.handle());
    machine.run(async move {
        let mut reply = [0; ROOM];
        let parts = [&bytes[..]];
        match handle.timeout(PATIENCE, connection.send(&parts, &mut reply)).await {
            Ok(Ok((_, len))) => assert!(len <= ROOM, "a reply of {len} bytes"),
            Ok(Err(errno)) => assert!(errno.0 > 0, "{errno:?}"),
            Err(_) => {}
        }
        assert!(connection.is_alive(), "{bytes:02x?} ended the connection");
    });
}
