//! A conversation at a terminal: what is typed becomes lines, answers are shown, whatever carries both.

use super::editor::{Editor, LINE_MAX, Outcome};
use super::session::{Interpretation, Running, Session};
use super::tty::Tty;
use super::{Commands, INTERRUPT};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::pending;
use keelson_exec::{Either, select, yield_now};

/// Bytes typed while a command runs that are kept.
const TYPED_AHEAD: usize = 4096;
/// Most bytes of one answer.
pub(super) const OUTPUT_MAX: usize = 1 << 20;
/// Ctrl-D: programs that read it know that nothing follows.
pub(super) const END_OF_INPUT: u8 = 0x04;

/// Why a conversation ended.
pub(super) type End = &'static str;

/// What carries a conversation.
pub(super) trait Terminal {
    /// Keys come one by one, to be shown and edited here. Otherwise lines come as they are sent.
    const ECHO: bool;
    /// Somebody can leave it, with `exit`.
    const LEAVES: bool;
    /// It is read while a command runs, and a read can be given up. Otherwise it is read only when somebody wants input.
    const DUPLEX: bool;

    /// Reads what comes; nothing when nothing will.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End>;

    /// The same when the other side has to do something, which may not take for ever.
    async fn read_at_prompt(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        self.read(buffer).await
    }

    /// Shows text.
    async fn write(&mut self, text: &[u8]) -> Result<(), End>;

    /// Waits until nobody is there any more, where that can be.
    async fn gone(&mut self) -> End {
        pending().await
    }
}

/// A terminal, and what came in before it was wanted.
pub(super) struct Talk<T> {
    terminal: T,
    typed: VecDeque<u8>,
    /// The other side sends no more.
    ended: bool,
}

/// What a program that wants input gets.
enum Input {
    Text(Vec<u8>),
    Interrupt,
    /// Nothing as yet.
    None,
}

impl<T: Terminal> Talk<T> {
    pub fn new(terminal: T) -> Talk<T> {
        Talk { terminal, typed: VecDeque::new(), ended: false }
    }

    /// Converses until somebody leaves or is gone.
    pub async fn converse(mut self, commands: Commands) -> End {
        self.serve(commands).await.unwrap_or_else(|end| end)
    }

    async fn serve(&mut self, commands: Commands) -> Result<End, End> {
        let mut session = Session::new(commands);
        let mut editor = Editor::default();
        let tty = session.tty();
        self.write(session.prompt()).await?;
        loop {
            // What was left to run behind may have something to say.
            let byte = match self.key_or_output(&tty).await? {
                Either::First(Some(byte)) => byte,
                Either::First(None) => return Ok("closed by the peer"),
                Either::Second(text) => {
                    self.terminal.write(&text).await?;
                    continue;
                }
            };
            match editor.feed(byte) {
                Outcome::Echo(text) => {
                    self.echo(text).await?;
                    continue;
                }
                Outcome::EchoByte(byte) => {
                    self.echo(&[byte]).await?;
                    continue;
                }
                Outcome::Nothing => continue,
                Outcome::Cancelled => {
                    session.cancel();
                    self.echo(b"\n").await?;
                }
                Outcome::TooLong => {
                    self.echo(b"\n").await?;
                    self.write(&too_long()).await?;
                }
                Outcome::Line(line)
                    if T::LEAVES && session.is_idle() && matches!(line.trim(), "exit" | "quit") =>
                {
                    return Ok("exit");
                }
                Outcome::Line(line) => {
                    self.echo(b"\n").await?;
                    match session.line(line) {
                        Running::Interpreted(line) => self.interpret(&tty, line).await?,
                        Running::Answer(text) => self.answer(text).await?,
                    }
                }
            }
            self.write(session.prompt()).await?;
        }
    }

    /// The next key, `None` when there will be none; or what a program says.
    async fn key_or_output(&mut self, tty: &Tty) -> Result<Either<Option<u8>, Vec<u8>>, End> {
        if T::DUPLEX {
            return match select(self.next(), tty.output()).await {
                Either::First(key) => key.map(Either::First),
                Either::Second(text) => Ok(Either::Second(text)),
            };
        }
        let text = tty.take_output();
        if text.is_empty() { self.next().await.map(Either::First) } else { Ok(Either::Second(text)) }
    }

    async fn answer(&mut self, text: impl Future<Output = String>) -> Result<(), End> {
        let text = match select(text, self.interrupted()).await {
            Either::First(text) => text,
            Either::Second(Ok(())) => String::from("interrupted\n"),
            Either::Second(Err(end)) => return Err(end),
        };
        self.write(bounded(&text)).await?;
        if text.len() > OUTPUT_MAX {
            self.write(&format!("\n... {} bytes more\n", text.len() - OUTPUT_MAX)).await?;
        }
        Ok(())
    }

    /// Lets the role's interpreter have the terminal until its line has ended, or Ctrl-C.
    pub async fn interpret(&mut self, tty: &Tty, mut line: Interpretation) -> Result<(), End> {
        let changed = tty.changed();
        let mut editor = Editor::default();
        let interrupted = loop {
            let change = changed.notified();
            if self.take_interrupt() {
                break true;
            }
            let text = tty.take_output();
            if !text.is_empty() {
                self.terminal.write(&text).await?;
                yield_now().await;
                continue;
            }
            if tty.wants_input() {
                match self.take_input(&mut editor).await? {
                    Input::Text(text) => {
                        tty.type_in(&text);
                        continue;
                    }
                    Input::Interrupt => break true,
                    Input::None if !T::DUPLEX => {
                        self.fill().await?;
                        continue;
                    }
                    Input::None => {}
                }
            }
            match select(&mut line, select(self.more(), change)).await {
                Either::First(()) => break false,
                Either::Second(Either::First(more)) => more?,
                Either::Second(Either::Second(())) => {}
            }
        };
        drop(line);
        tty.rest();
        self.terminal.write(&tty.take_output()).await?;
        match (interrupted, T::ECHO) {
            (true, true) => self.write("^C\n").await,
            (true, false) => self.write("interrupted\n").await,
            (false, _) => Ok(()),
        }
    }

    /// A line that came in, with its end; the end of input when nothing will follow.
    async fn take_input(&mut self, editor: &mut Editor) -> Result<Input, End> {
        if T::ECHO {
            return self.edit_input(editor).await;
        }
        Ok(match self.typed.iter().position(|byte| *byte == b'\n') {
            Some(at) => Input::Text(self.typed.drain(..=at).filter(|byte| *byte != b'\r').collect()),
            None if self.ended => {
                let mut rest: Vec<u8> = self.typed.drain(..).collect();
                rest.push(END_OF_INPUT);
                Input::Text(rest)
            }
            None => Input::None,
        })
    }

    async fn edit_input(&mut self, editor: &mut Editor) -> Result<Input, End> {
        while let Some(byte) = self.typed.pop_front() {
            match editor.feed(byte) {
                Outcome::Echo(text) => self.echo(text).await?,
                Outcome::EchoByte(byte) => self.echo(&[byte]).await?,
                Outcome::Nothing if byte == END_OF_INPUT => {
                    return Ok(Input::Text(Vec::from([END_OF_INPUT])));
                }
                Outcome::Nothing => {}
                Outcome::Cancelled if byte == INTERRUPT => return Ok(Input::Interrupt),
                Outcome::Cancelled => self.echo(b"\n").await?,
                Outcome::TooLong => self.write(&too_long()).await?,
                Outcome::Line(line) => {
                    self.echo(b"\n").await?;
                    return Ok(Input::Text((line + "\n").into_bytes()));
                }
            }
        }
        Ok(if self.ended { Input::Text(Vec::from([END_OF_INPUT])) } else { Input::None })
    }

    async fn write(&mut self, text: &str) -> Result<(), End> {
        self.terminal.write(text.as_bytes()).await
    }

    /// Shows what was typed, to who types at a terminal that does not.
    async fn echo(&mut self, text: &[u8]) -> Result<(), End> {
        if T::ECHO { self.terminal.write(text).await } else { Ok(()) }
    }

    /// Waits for more, as long as there is room for it and any can come.
    async fn more(&mut self) -> Result<(), End> {
        if !T::DUPLEX {
            return Err(self.terminal.gone().await);
        }
        // People see that what they type is not shown; of what a program sends nothing may be lost, so the rest waits.
        if self.ended || (!T::ECHO && self.typed.len() >= TYPED_AHEAD) {
            pending::<()>().await;
        }
        self.fill().await
    }

    /// Waits for more, or for the end.
    async fn fill(&mut self) -> Result<(), End> {
        let mut buffer = [0; 256];
        let count = self.terminal.read(&mut buffer).await?;
        self.keep(&buffer[..count]);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.ended = bytes.is_empty();
        let room = if T::ECHO { TYPED_AHEAD.saturating_sub(self.typed.len()) } else { usize::MAX };
        self.typed.extend(bytes.iter().take(room));
    }

    /// The next byte; `None` when there will be none.
    async fn next(&mut self) -> Result<Option<u8>, End> {
        loop {
            if let Some(byte) = self.typed.pop_front() {
                return Ok(Some(byte));
            }
            if self.ended {
                return Ok(None);
            }
            let mut buffer = [0; 256];
            let count = self.terminal.read_at_prompt(&mut buffer).await?;
            self.keep(&buffer[..count]);
        }
    }

    /// Whether Ctrl-C was typed, which also takes back what was typed before it.
    fn take_interrupt(&mut self) -> bool {
        let at = self.typed.iter().rposition(|byte| *byte == INTERRUPT);
        if let Some(at) = at {
            self.typed.drain(..=at);
        }
        at.is_some()
    }

    /// While a command runs: waits for Ctrl-C, or for the loss of the other side. What else is typed is kept.
    async fn interrupted(&mut self) -> Result<(), End> {
        while !self.take_interrupt() {
            self.more().await?;
        }
        Ok(())
    }
}

/// As much of an answer as is shown.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(OUTPUT_MAX)]
}

fn too_long() -> String {
    format!("the line is longer than {LINE_MAX} characters; nothing was done\n")
}
