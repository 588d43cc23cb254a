//! The shell over SSH: the same commands, for who has a key that the command line names.
//!
//! `ssh NODE` is a shell whose lines are edited at the client: the protocol's crate has no terminals, so the client keeps its own
//! in line mode and says so. `exit` or the end of input ends it. `ssh NODE COMMAND` gives the command's output as it is and ends
//! with 0, or with 1 when there is no such command; commands that write files work only so. While a command runs nothing is
//! read but the end of the connection, which ends the command, so Ctrl-C at the client ends both.

use super::Commands;
use super::command::{Chunks, Reply, ended};
use super::complaints::Complaints;
use super::conversation::{End, Talk, Terminal};
use super::session::{Executed, Session};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::net::SocketAddr;
use core::time::Duration;
use embedded_io_async::Write;
use keelson_config::{Config, Kind, OptionSpec};
use keelson_exec::{Either, Handle, select, yield_now};
use keelson_hal::Entropy;
use keelson_net::{Stack, TcpListener, TcpOptions, TcpStream};
use keelson_ssh::{AuthorizedKey, Channel, Connection, Counters, Cut, Gone, HostKey, Limits, Request, Setup};

/// Connections at a time.
const CONNECTIONS: u64 = 8;
/// How long a peer that is turned away has to take the reason.
const FAREWELL: Duration = Duration::from_secs(1);
/// Input of a command is read in pieces of this size: less asking than byte by byte, and who pipes a file does not wait for
/// answers.
const PIPED: usize = 256;

/// The options of the SSH server.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "ssh.keys",
        Kind::Custom { form: "KEY[,KEY...]", check: |text| keys(text).map(drop) },
        "Who may enter by SSH, as root or admin: lines of .pub files of ed25519 keys. Without one the port is closed. Example: \
         ssh.keys=\"ssh-ed25519 AAAA... alice, ssh-ed25519 AAAA... bob\".",
    )
    .repeatable()
    .owner("ssh"),
    OptionSpec::new("ssh.port", Kind::Integer { min: 1, max: 65_535 }, "TCP port of the SSH server.")
        .default("22")
        .owner("ssh"),
    OptionSpec::new(
        "ssh.hostkey",
        Kind::Custom { form: "BASE64", check: |text| HostKey::parse(text).map(drop).map_err(|error| error.to_string()) },
        "What the node proves itself to SSH clients with: the private key file that ssh-keygen -t ed25519 -N '' writes, or the \
         Base64 of 32 random bytes. A secret, for the initial RAM disk rather than for the command line. Without it clients see \
         a new key after each boot.",
    )
    .secret()
    .owner("ssh"),
];

/// The keys of an `ssh.keys`.
fn keys(text: &str) -> Result<Vec<AuthorizedKey>, String> {
    let key = |line: &str| AuthorizedKey::parse(line).map_err(|error| error.to_string());
    text.split(',').map(str::trim).filter(|line| !line.is_empty()).map(key).collect()
}

/// Opens the SSH server if the command line names a key.
pub(super) fn listen(
    handle: &Handle,
    stack: &Stack,
    config: &Config,
    entropy: &Rc<impl Entropy + 'static>,
    counters: &Rc<Counters>,
    commands: &Commands,
) {
    // Every value was checked when the line was read.
    let keys: Vec<AuthorizedKey> =
        config.texts("ssh.keys").filter_map(|text| keys(text).ok()).flatten().collect();
    let port = config.integer("ssh.port").and_then(|port| u16::try_from(port).ok());
    let (false, Some(port)) = (keys.is_empty(), port) else {
        if config.is_set("ssh.port") || config.is_set("ssh.hostkey") {
            log::warn!(target: "sshd", "not listening: nobody may enter; add ssh.keys=\"ssh-ed25519 AAAA... NAME\"");
        }
        return;
    };
    let given = config.text("ssh.hostkey").and_then(|text| HostKey::parse(text).ok());
    let is_given = given.is_some();
    let host_key = given.unwrap_or_else(|| {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        HostKey::from_seed(&seed)
    });
    let options = TcpOptions {
        receive_buffer: 8192,
        backlog: 16,
        keep_alive: Some(Duration::from_secs(60)),
        ..TcpOptions::default()
    };
    let listener = match stack.listen(port, options) {
        Ok(listener) => listener,
        Err(error) => {
            log::error!(target: "sshd", "ssh.port={port}: {error}; choose another port");
            return;
        }
    };
    log::info!(target: "sshd", "listening on port {port}, host key {}", host_key.fingerprint());
    if !is_given {
        log::warn!(
            target: "sshd",
            "the host key is of this boot, so clients will see a new one after the next; give one with ssh.hostkey="
        );
    }
    let setup = Setup {
        host_key,
        keys,
        limits: Limits::default(),
        handle: handle.clone(),
        entropy: entropy.clone(),
        counters: counters.clone(),
    };
    let complaints = RefCell::new(Complaints::of("sshd"));
    let door = Rc::new(Door { setup, commands: commands.clone(), complaints });
    handle.spawn("sshd", door.open(listener));
}

/// Lets people in, or not.
struct Door {
    setup: Setup,
    commands: Commands,
    complaints: RefCell<Complaints>,
}

impl Door {
    async fn open(self: Rc<Door>, listener: TcpListener) {
        let Setup { handle, counters, .. } = &self.setup;
        // Counted here: a connection begins before its task runs.
        let open = Rc::new(Cell::new(0));
        loop {
            let mut stream = listener.accept().await;
            let peer = stream.peer();
            if open.get() >= CONNECTIONS {
                counters.count_cut(Cut::Full);
                let remedy = format!("{CONNECTIONS} connections are open; end one with exit");
                self.refused(peer, &remedy);
                // Clients show such lines when asked to say more (RFC 4253, section 4.2).
                let sorry = format!("{remedy}\r\n");
                let _ = handle.timeout(FAREWELL, stream.write_all(sorry.as_bytes())).await;
                continue;
            }
            open.set(open.get() + 1);
            let (door, open) = (self.clone(), open.clone());
            handle.spawn("sshd", async move {
                door.serve(stream).await;
                open.set(open.get() - 1);
            });
        }
    }

    async fn serve(&self, stream: TcpStream) {
        let peer = stream.peer();
        let (reader, writer) = stream.into_split();
        let name = RefCell::new(None);
        let refusals = Cell::new(0);
        let entered = |key: &AuthorizedKey| {
            log::info!(target: "sshd", "{} entered from {peer}, key {}", key.name(), key.fingerprint());
            *name.borrow_mut() = Some(key.name());
        };
        let refused = |why: &str| {
            refusals.set(refusals.get() + 1);
            self.refused(peer, why);
        };
        let session = async |request: Request, channel: &mut Channel<'_, '_, '_, _>| {
            run(&self.commands, request, channel).await
        };
        let end = Connection::new(&self.setup, reader, writer).serve(entered, refused, session).await;
        match name.take() {
            Some(name) => log::info!(target: "sshd", "{name} from {peer} ended: {end}"),
            None if refusals.get() == 0 => self.refused(peer, &end.to_string()),
            None => {}
        }
    }

    fn refused(&self, peer: SocketAddr, why: &str) {
        self.complaints.borrow_mut().refused(self.setup.handle.now(), peer, why);
    }
}

/// Runs a session; gives its exit status.
async fn run<W: Write>(
    commands: &Commands,
    request: Request,
    channel: &mut Channel<'_, '_, '_, W>,
) -> Result<u32, Gone> {
    let line = match request {
        Request::Shell => {
            Talk::new(Line { channel, piece: 1 }).converse(commands.clone()).await;
            return Ok(0);
        }
        Request::Exec(line) => line,
    };
    let session = Session::new(commands.clone());
    match session.execute(&line) {
        Executed::Unknown(text) => {
            channel.write_error(text.as_bytes()).await?;
            return Ok(1);
        }
        Executed::Replied(Reply::Text(text)) => channel.write(ended(text).as_bytes()).await?,
        Executed::Replied(Reply::Later(text)) => match select(text, channel.gone()).await {
            Either::First(text) => channel.write(ended(text).as_bytes()).await?,
            Either::Second(()) => return Err(Gone),
        },
        Executed::Replied(Reply::Stream(chunks)) => stream(chunks, channel).await?,
        Executed::Interpreted(line) => {
            let mut talk = Talk::new(Line { channel, piece: PIPED });
            talk.interpret(&session.tty(), line).await.map_err(|_| Gone)?;
        }
    }
    Ok(0)
}

/// Sends a file, a piece at a time.
async fn stream<W: Write>(
    mut chunks: Box<dyn Chunks>,
    channel: &mut Channel<'_, '_, '_, W>,
) -> Result<(), Gone> {
    loop {
        match select(poll_fn(|cx| chunks.poll_chunk(cx)), channel.gone()).await {
            Either::First(Some(chunk)) => channel.write(&chunk).await?,
            Either::First(None) => return Ok(()),
            Either::Second(()) => return Err(Gone),
        }
        // Who has always more would let nobody else run.
        yield_now().await;
    }
}

/// A session as a terminal: lines that the client has edited and shown.
struct Line<'l, 't, 'c, 's, W: Write> {
    channel: &'l mut Channel<'t, 'c, 's, W>,
    /// Bytes that are read at once: all of them have to come before anything is shown.
    piece: usize,
}

/// The connection knows more about its end.
const GONE: End = "gone";

impl<W: Write> Terminal for Line<'_, '_, '_, '_, W> {
    const ECHO: bool = false;
    const LEAVES: bool = true;
    const DUPLEX: bool = false;

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        let len = self.piece.min(buffer.len());
        self.channel.read(&mut buffer[..len]).await.map_err(|Gone| GONE)
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), End> {
        self.channel.write(text).await.map_err(|Gone| GONE)
    }

    async fn gone(&mut self) -> End {
        self.channel.gone().await;
        GONE
    }
}

#[cfg(test)]
mod tests;
