//! The shell over the network: the same commands, one line at a time, for `nc`, `telnet` and programs.
//!
//! Lines end in LF or CR LF. Nothing is echoed; each answer is followed by the prompt `> `, so that a program
//! knows when it is complete. `exit` or the end of the stream ends a session. Telnet's negotiations are skipped,
//! its interrupt and Ctrl-C end a command that is being waited for.
//!
//! There is no password and no encryption: whoever can send from an address in `console.allow` is the
//! administrator. So nobody is allowed by default, and every refusal is logged.

use super::complaints::Complaints;
use super::conversation::{End, Talk, Terminal};
use super::{Commands, INTERRUPT};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::IpAddr;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_config::{Config, Kind, OptionSpec};
use keelson_exec::Handle;
use keelson_net::{Cidr, Stack, TcpListener, TcpOptions, TcpStream};

/// Sessions at a time.
const SESSIONS: usize = 4;
/// A session without input for this long is ended, and so is one that does not take its output.
const IDLE: Duration = Duration::from_secs(600);
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
        let mut complaints = Complaints::of("console");
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
                    let why = Talk::new(Remote::new(handle, stream)).converse(commands).await;
                    log::info!(target: "console", "session from {peer} ended: {why}");
                    open.set(open.get() - 1);
                });
            }
        }
    }
}

/// One session's stream.
struct Remote {
    handle: Handle,
    stream: TcpStream,
    telnet: Telnet,
}

impl Remote {
    fn new(handle: Handle, stream: TcpStream) -> Remote {
        Remote { handle, stream, telnet: Telnet::Text }
    }
}

impl Terminal for Remote {
    const ECHO: bool = false;
    const LEAVES: bool = true;
    const DUPLEX: bool = true;

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            let count = self.stream.read(buffer).await.map_err(|_| "connection lost")?;
            let mut kept = 0;
            for at in 0..count {
                if let Some(byte) = self.telnet.feed(buffer[at]) {
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            // Nothing but negotiations is not the end.
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }

    async fn read_at_prompt(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        let handle = self.handle.clone();
        handle.timeout(IDLE, self.read(buffer)).await.map_err(|_| "nothing typed for too long")?
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self.handle.timeout(IDLE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("connection lost"),
            Err(_) => Err("the peer does not take its output"),
        }
    }
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
