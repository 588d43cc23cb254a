//! The shell over the network: the same commands, one line at a time, for `nc`, `telnet` and programs.
//!
//! Lines end in LF or CR LF. Nothing is echoed; each answer is followed by the prompt `> `, so that a program
//! knows when it is complete. `exit` or the end of the stream ends a session. Telnet's negotiations are skipped,
//! its interrupt and Ctrl-C end a command that is being waited for.
//!
//! There is no password and no encryption: whoever can send from an address in `console.allow` is the
//! administrator. So nobody is allowed by default, and every refusal is logged.

use super::editor::{Editor, Outcome};
use super::session::{Running, Session};
use super::tty::Tty;
use super::{Commands, END_OF_INPUT, INTERRUPT, Interpretation, TYPED_AHEAD, too_long};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::pending;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_config::{Config, Kind, OptionSpec};
use keelson_exec::{Either, Handle, select};
use keelson_hal::Instant;
use keelson_net::{Cidr, Stack, TcpListener, TcpOptions, TcpStream};

/// Sessions at a time.
const SESSIONS: usize = 4;
/// A session without input for this long is ended, and so is one that does not take its output.
const IDLE: Duration = Duration::from_secs(600);
/// Most bytes of one answer.
const OUTPUT_MAX: usize = 1 << 20;
/// This many refusals are logged in this time; more are counted, and named as a number when the next is logged.
const COMPLAINTS: u32 = 10;
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
/// How long a peer that is turned away has to take the reason.
const FAREWELL: Duration = Duration::from_secs(1);

/// The options of the remote console.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "console.port",
        Kind::Integer { min: 1, max: 65_535 },
        "TCP port of the remote console: the commands of the serial console for nc or telnet, without password \
         or encryption. Off when not given; nobody may connect but whom console.allow names.",
    )
    .owner("console"),
    OptionSpec::new(
        "console.allow",
        Kind::Custom { form: "ADDRESS[/PREFIX],...", check: |text| networks(text).map(drop) },
        "Who may connect to console.port: addresses and networks. Example: console.allow=10.0.0.0/24,10.1.0.9.",
    )
    .repeatable()
    .owner("console"),
];

/// The networks of a `console.allow`.
fn networks(text: &str) -> Result<Vec<Cidr>, String> {
    let network = |text: &str| {
        let host = text.parse::<IpAddr>().map(Cidr::host).ok();
        host.or_else(|| text.parse().ok())
            .ok_or_else(|| format!("\"{text}\" is not an address or ADDRESS/PREFIX, such as 10.0.0.0/24"))
    };
    text.split(',').map(network).collect()
}

/// Opens the remote console if the command line asks for it.
pub fn listen(handle: &Handle, stack: &Stack, config: &Config, commands: &Commands) {
    let port = config.integer("console.port").and_then(|port| u16::try_from(port).ok());
    // Every value was checked when the line was read.
    let allowed: Vec<Cidr> =
        config.texts("console.allow").filter_map(|text| networks(text).ok()).flatten().collect();
    let Some(port) = port else {
        if !allowed.is_empty() {
            log::warn!(target: "console", "console.allow does nothing without console.port=PORT");
        }
        return;
    };
    if allowed.is_empty() {
        log::warn!(
            target: "console",
            "console.port={port} stays closed: nobody may connect; add console.allow=NETWORK, such as 10.0.0.0/24"
        );
        return;
    }
    let options = TcpOptions {
        receive_buffer: 4096,
        backlog: 2 * SESSIONS,
        keep_alive: Some(Duration::from_secs(60)),
        ..TcpOptions::default()
    };
    match stack.listen(port, options) {
        Ok(listener) => {
            log::info!(target: "console", "remote console on TCP port {port} for {}", list(&allowed));
            let door = Door { handle: handle.clone(), allowed, commands: commands.clone() };
            handle.spawn("console", door.open(listener));
        }
        Err(error) => {
            log::error!(target: "console", "console.port={port}: {error}; choose another port");
        }
    }
}

fn list(networks: &[Cidr]) -> String {
    networks.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ")
}

/// Lets people in, or not.
struct Door {
    handle: Handle,
    allowed: Vec<Cidr>,
    commands: Commands,
}

impl Door {
    async fn open(self, listener: TcpListener) {
        let sessions = Rc::new(Cell::new(0));
        let mut complaints = Complaints::default();
        loop {
            let mut stream = listener.accept().await;
            let peer = stream.peer();
            if !self.allowed.iter().any(|network| network.contains(peer.ip())) {
                let remedy = format!("not in console.allow={}", list(&self.allowed));
                complaints.refused(self.handle.now(), peer, &remedy);
                stream.abort();
            } else if sessions.get() >= SESSIONS {
                let remedy = format!("{SESSIONS} sessions are open; end one with exit");
                complaints.refused(self.handle.now(), peer, &remedy);
                // A fresh connection has room for a line; a peer that does not take it learns from the end.
                let sorry = format!("{remedy}\n");
                let _ = self.handle.timeout(FAREWELL, stream.write_all(sorry.as_bytes())).await;
            } else {
                sessions.set(sessions.get() + 1);
                let (handle, commands, open) = (self.handle.clone(), self.commands.clone(), sessions.clone());
                self.handle.spawn("console", async move {
                    log::info!(target: "console", "session from {peer}");
                    let why = Terminal::new(handle, stream).converse(commands).await;
                    log::info!(target: "console", "session from {peer} ended: {why}");
                    open.set(open.get() - 1);
                });
            }
        }
    }
}

/// Logs refusals, but no flood of them.
#[derive(Default)]
struct Complaints {
    period_ends: Instant,
    said: u32,
    unsaid: u64,
}

impl Complaints {
    fn refused(&mut self, now: Instant, peer: SocketAddr, remedy: &str) {
        if now >= self.period_ends {
            self.period_ends = now + COMPLAINT_PERIOD;
            self.said = 0;
        }
        if self.said >= COMPLAINTS {
            self.unsaid += 1;
            return;
        }
        self.said += 1;
        match core::mem::take(&mut self.unsaid) {
            0 => log::warn!(target: "console", "refused {peer}: {remedy}"),
            more => {
                log::warn!(target: "console", "refused {peer}: {remedy} ({more} more since the last refusal)")
            }
        }
    }
}

/// Why a session ended.
type End = &'static str;

/// One session's stream, and what came in before it was wanted.
struct Terminal {
    handle: Handle,
    stream: TcpStream,
    telnet: Telnet,
    typed: VecDeque<u8>,
    /// The peer sends no more.
    ended: bool,
}

impl Terminal {
    fn new(handle: Handle, stream: TcpStream) -> Terminal {
        Terminal { handle, stream, telnet: Telnet::Text, typed: VecDeque::new(), ended: false }
    }

    async fn converse(mut self, commands: Commands) -> End {
        let end = self.serve(commands).await.unwrap_or_else(|end| end);
        // Delivers what was written, unless the peer is gone.
        drop(self.stream);
        end
    }

    async fn serve(&mut self, commands: Commands) -> Result<End, End> {
        let mut session = Session::new(commands);
        let mut editor = Editor::default();
        let tty = session.tty();
        self.write(session.prompt()).await?;
        loop {
            // What was left to run behind may have something to say.
            let byte = match select(self.next(), tty.output()).await {
                Either::First(Ok(Some(byte))) => byte,
                Either::First(Ok(None)) => return Ok("closed by the peer"),
                Either::First(Err(end)) => return Err(end),
                Either::Second(text) => {
                    self.write_bytes(&text).await?;
                    continue;
                }
            };
            match editor.feed(byte) {
                Outcome::Echo(_) | Outcome::EchoByte(_) | Outcome::Nothing => continue,
                Outcome::Cancelled => session.cancel(),
                Outcome::TooLong => self.write(&too_long()).await?,
                Outcome::Line(line) if session.is_idle() && matches!(line.trim(), "exit" | "quit") => {
                    return Ok("exit");
                }
                Outcome::Line(line) => match session.line(line) {
                    Running::Interpreted(line) => self.interpret(&tty, line).await?,
                    Running::Answer(text) => self.answer(text).await?,
                },
            }
            self.write(session.prompt()).await?;
        }
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
    async fn interpret(&mut self, tty: &Tty, mut line: Interpretation) -> Result<(), End> {
        let changed = tty.changed();
        let outcome = loop {
            let change = changed.notified();
            if let Some(at) = self.typed.iter().rposition(|byte| *byte == INTERRUPT) {
                self.typed.drain(..=at);
                break "interrupted\n";
            }
            if tty.wants_input()
                && let Some(typed) = self.take_line()
            {
                tty.type_in(&typed);
                continue;
            }
            match select(select(&mut line, tty.output()), select(self.more(), change)).await {
                Either::First(Either::First(())) => break "",
                Either::First(Either::Second(text)) => self.write_bytes(&text).await?,
                Either::Second(Either::First(more)) => more?,
                Either::Second(Either::Second(())) => {}
            }
        };
        drop(line);
        tty.rest();
        self.write_bytes(&tty.take_output()).await?;
        self.write(outcome).await
    }

    /// A line that came in, with its end; the end of input when nothing will follow.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        match self.typed.iter().position(|byte| *byte == b'\n') {
            Some(at) => Some(self.typed.drain(..=at).filter(|byte| *byte != b'\r').collect()),
            None if self.ended => {
                let mut rest: Vec<u8> = self.typed.drain(..).collect();
                rest.push(END_OF_INPUT);
                Some(rest)
            }
            None => None,
        }
    }

    /// Waits for more from the peer, as long as there is room for it and any can come.
    async fn more(&mut self) -> Result<(), End> {
        if self.ended || self.typed.len() >= TYPED_AHEAD {
            pending::<()>().await;
        }
        self.fill().await
    }

    async fn write(&mut self, text: &str) -> Result<(), End> {
        self.write_bytes(text.as_bytes()).await
    }

    async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self.handle.timeout(IDLE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("connection lost"),
            Err(_) => Err("the peer does not take its output"),
        }
    }

    /// Waits for more bytes from the peer, or for the end of what it sends.
    async fn fill(&mut self) -> Result<(), End> {
        let mut buffer = [0; 256];
        let count = self.stream.read(&mut buffer).await.map_err(|_| "connection lost")?;
        self.ended = count == 0;
        self.typed.extend(buffer[..count].iter().filter_map(|byte| self.telnet.feed(*byte)));
        Ok(())
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
            let handle = self.handle.clone();
            handle.timeout(IDLE, self.fill()).await.map_err(|_| "nothing typed for too long")??;
        }
    }

    /// While a command runs: waits for Ctrl-C, which also takes back what was typed before it, or for the loss of
    /// the connection. What else is typed is kept.
    async fn interrupted(&mut self) -> Result<(), End> {
        loop {
            if let Some(at) = self.typed.iter().rposition(|byte| *byte == INTERRUPT) {
                self.typed.drain(..=at);
                return Ok(());
            }
            // The rest waits in the connection.
            self.more().await?;
        }
    }
}

/// As much of an answer as is sent.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(OUTPUT_MAX)]
}

/// What Telnet mixes into the text (RFC 854): skipped, but for the interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telnet {
    Text,
    /// After IAC.
    Command,
    /// After WILL, WONT, DO, DONT: the option follows.
    Negotiation,
    /// Between SB and SE; true after an IAC.
    Parameters(bool),
}

impl Telnet {
    const SE: u8 = 240;
    const BREAK: u8 = 243;
    const INTERRUPT_PROCESS: u8 = 244;
    const SB: u8 = 250;
    const WILL: u8 = 251;
    const DONT: u8 = 254;
    const IAC: u8 = 255;

    /// Takes a byte of the stream; gives the byte of text it stands for, if it does.
    fn feed(&mut self, byte: u8) -> Option<u8> {
        let (next, text) = match (*self, byte) {
            (Telnet::Text, Telnet::IAC) => (Telnet::Command, None),
            (Telnet::Text, _) => (Telnet::Text, Some(byte)),
            (Telnet::Command, Telnet::BREAK | Telnet::INTERRUPT_PROCESS) => (Telnet::Text, Some(INTERRUPT)),
            (Telnet::Command, Telnet::SB) => (Telnet::Parameters(false), None),
            (Telnet::Command, Telnet::WILL..=Telnet::DONT) => (Telnet::Negotiation, None),
            (Telnet::Command | Telnet::Negotiation, _) => (Telnet::Text, None),
            (Telnet::Parameters(true), Telnet::SE) => (Telnet::Text, None),
            (Telnet::Parameters(after), _) => (Telnet::Parameters(byte == Telnet::IAC && !after), None),
        };
        *self = next;
        text
    }
}

#[cfg(test)]
mod tests;
