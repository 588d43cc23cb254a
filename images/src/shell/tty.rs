//! The role's own interpreter: what runs lines whose first word is no command of the machine.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use keelson_exec::sync::Notify;

/// Output that waits until the terminal takes it.
const OUTPUT: usize = 16 << 10;
/// Input that waits until a program takes it.
const INPUT: usize = 4096;

/// What the role has to say about lines that are not the machine's.
pub trait Interpreter {
    /// One line of help.
    fn help(&self) -> &'static str;

    /// A conversation at a terminal.
    fn converse(&self, tty: Rc<Tty>) -> Rc<dyn Conversation>;
}

/// A conversation with an interpreter.
pub trait Conversation {
    /// Runs a line to its end. Dropped when the person at the terminal interrupts it or is gone.
    fn line(&self, line: &str) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// A terminal as an interpreter and its programs have it: text goes out as it is made, lines come in as they are typed.
#[derive(Default)]
pub struct Tty {
    output: RefCell<VecDeque<u8>>,
    input: RefCell<VecDeque<u8>>,
    /// A program has found no input.
    wants_input: Cell<bool>,
    changed: Rc<Notify>,
}

impl Tty {
    /// Shows text; how many bytes there was room for.
    pub fn write(&self, text: &[u8]) -> usize {
        let mut output = self.output.borrow_mut();
        let len = text.len().min(OUTPUT.saturating_sub(output.len()));
        output.extend(text.get(..len).unwrap_or_default());
        drop(output);
        // Not for nothing: whoever waits for room would wake itself.
        if len > 0 {
            self.changed.notify();
        }
        len
    }

    /// Takes what was typed; how many bytes there were.
    pub fn read(&self, room: &mut [u8]) -> usize {
        let mut input = self.input.borrow_mut();
        let len = input.len().min(room.len());
        room.iter_mut().zip(input.drain(..len)).for_each(|(to, from)| *to = from);
        drop(input);
        let wants = len == 0 && !room.is_empty();
        if self.wants_input.replace(wants) != wants {
            self.changed.notify();
        }
        len
    }

    /// Whether something was typed that nobody has taken.
    pub fn has_input(&self) -> bool {
        !self.input.borrow().is_empty()
    }

    /// Whether there is room to show text.
    pub fn has_room(&self) -> bool {
        self.output.borrow().len() < OUTPUT
    }

    /// Notified when any of this may have changed.
    pub fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    /// Takes text to be shown.
    pub(super) fn take_output(&self) -> Vec<u8> {
        let taken: Vec<u8> = self.output.borrow_mut().drain(..).collect();
        if !taken.is_empty() {
            self.changed.notify();
        }
        taken
    }

    /// Waits for text to be shown.
    pub(super) async fn output(&self) -> Vec<u8> {
        loop {
            let changed = self.changed.notified();
            let taken = self.take_output();
            if !taken.is_empty() {
                return taken;
            }
            changed.await;
        }
    }

    /// Whether a program wants input and has none.
    pub(super) fn wants_input(&self) -> bool {
        self.wants_input.get() && !self.has_input()
    }

    /// Gives a program what was typed.
    pub(super) fn type_in(&self, text: &[u8]) {
        let mut input = self.input.borrow_mut();
        let len = text.len().min(INPUT.saturating_sub(input.len()));
        input.extend(text.get(..len).unwrap_or_default());
        drop(input);
        self.changed.notify();
    }

    /// A line has ended, and with it every program: nobody reads any more.
    pub(super) fn rest(&self) {
        self.wants_input.set(false);
        self.input.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Waker};

    #[test]
    fn output_is_bounded() {
        let tty = Tty::default();
        assert_eq!(tty.write(&[b'x'; OUTPUT + 7]), OUTPUT);
        assert!(!tty.has_room());
        let changed = tty.changed();
        let mut waiting = core::pin::pin!(changed.notified());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(tty.write(b"y"), 0);
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "who waits for room woke itself");
        assert_eq!(tty.take_output().len(), OUTPUT);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert!(tty.has_room() && tty.take_output().is_empty());
    }

    #[test]
    fn input_is_asked_for() {
        let tty = Tty::default();
        let mut room = [0; 4];
        tty.type_in(b"typed before\n");
        assert_eq!((tty.read(&mut room), &room), (4, b"type"));
        assert!(!tty.wants_input.get() && tty.has_input());
        tty.rest();
        assert_eq!(tty.read(&mut room), 0);
        assert!(tty.wants_input.get() && !tty.has_input());
        assert_eq!(tty.read(&mut []), 0);
        assert!(!tty.wants_input.get(), "a read of nothing asks for nothing");
        tty.type_in(&[b'z'; INPUT + 1]);
        assert_eq!(tty.input.borrow().len(), INPUT);
    }
}
