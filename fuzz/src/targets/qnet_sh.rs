//! The shell of a Qnet node and the programs of its archive, with whatever somebody types who is not root.

use crate::machine::{Machine, PRECIOUS, Teletype, somebody};
use keelson_qnet::sh::{LINE_MAX, Outcome, Shell};
use std::rc::Rc;
use std::time::Duration;

/// Lines of one input, and bytes of all: what a file and a pipe can be made to do grows with each.
const MOST_LINES: usize = 16;
const MOST_BYTES: usize = 1024;
/// How long a line may take until Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines at one terminal; what does not end by itself is interrupted.
pub fn qnet_sh(input: &[u8]) {
    let machine = Machine::new();
    let terminal = Rc::new(Teletype::default());
    let shell = Shell::new(&machine.processes, terminal.clone(), &somebody());
    let shell = Rc::new(shell.unwrap_or_else(|errno| panic!("a shell: {errno}")));
    if input.len() > LINE_MAX {
        too_long(&machine, &shell, input);
    }
    let text = String::from_utf8_lossy(&input[..input.len().min(MOST_BYTES)]).into_owned();
    for line in text.lines().take(MOST_LINES) {
        let (typed, text, handle) = (shell.clone(), line.to_string(), machine.executor.handle());
        let outcome = machine.run(async move { handle.timeout(PATIENCE, typed.line(&text)).await });
        match outcome {
            Ok(Outcome::Status(status)) => assert!((0..=255).contains(&status), "{line}: {status}"),
            Ok(Outcome::Exit(status)) => {
                assert!((0..=255).contains(&status), "{line}: {status}");
                break;
            }
            Err(_) => {}
        }
        assert!(shell.cwd().starts_with('/'), "{}", shell.cwd());
    }
    drop(shell);
    let leaks = terminal.written().windows(PRECIOUS.len()).any(|window| window == PRECIOUS);
    assert!(!leaks || contains(text.as_bytes(), PRECIOUS), "what only root may read");
    machine.finish();
}

/// Refused before it is looked at.
fn too_long(machine: &Machine, shell: &Rc<Shell>, input: &[u8]) {
    let (shell, line) = (shell.clone(), String::from_utf8_lossy(input).into_owned());
    assert_eq!(machine.run(async move { shell.line(&line).await }), Outcome::Status(2));
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
