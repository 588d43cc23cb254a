//! A connection: login, then one session after the other.

use crate::counters::count;
use crate::stream::{Inbox, Stream, StreamError};
use crate::{AuthorizedKey, Counters, Cut, Fingerprint, HostKey};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_exec::{Either, Handle, select};
use keelson_hal::Entropy;
use rand_core::{TryCryptoRng, TryRng};
use zssh::{AuthMethod, Behavior, Error, Pipe, PublicKey, SecretKey, Transport};

/// Who may be named as the user. There is only the administrator.
const USERS: [&str; 2] = ["root", "admin"];
/// This many refused keys of a connection are named; all are counted.
const NAMED: usize = 4;

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time from the first byte to the first command or shell.
    pub login: Duration,
    /// Bytes that come in until then. OpenSSH's take about 4 KiB.
    pub login_bytes: usize,
    /// Keys that are refused before the connection is cut.
    pub attempts: u32,
    /// Time without input when there should be some, or without taking output.
    pub idle: Duration,
    /// Largest packet, in bytes.
    pub packet: usize,
    /// Bytes that are read before somebody wants them.
    pub read_ahead: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            login: Duration::from_secs(20),
            login_bytes: 16 << 10,
            attempts: 3,
            idle: Duration::from_secs(600),
            packet: 8 << 10,
            read_ahead: 4 << 10,
        }
    }
}

/// What all connections have in common.
pub struct Setup {
    /// What the node proves itself with.
    pub host_key: HostKey,
    /// Who may enter.
    pub keys: Vec<AuthorizedKey>,
    /// What a connection may take.
    pub limits: Limits,
    /// Timers.
    pub handle: Handle,
    /// Random bytes.
    pub entropy: Rc<dyn Entropy>,
    /// What is counted.
    pub counters: Rc<Counters>,
}

/// What somebody wants to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Type lines.
    Shell,
    /// This one line.
    Exec(Rc<str>),
}

/// The other side of a session is gone, or has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer closed it.
    Closed,
    /// It was cut.
    Cut(Cut),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Closed => "closed by the peer",
            End::Cut(Cut::Full) => "too many connections",
            End::Cut(Cut::SlowLogin) => "no login in time",
            End::Cut(Cut::Verbose) => "too much was sent before a key",
            End::Cut(Cut::Attempts) => "too many keys were tried",
            End::Cut(Cut::Idle) => "nothing sent or taken for too long",
            End::Cut(Cut::Protocol) => "what came is no SSH, or not allowed here",
            End::Cut(Cut::Broken) => "connection lost",
        })
    }
}

/// A connection before it is served.
pub struct Connection<'a, R, W> {
    setup: &'a Setup,
    reader: R,
    writer: W,
}

impl<'a, R: Read, W: Write> Connection<'a, R, W> {
    /// A connection over these halves of a stream.
    pub fn new(setup: &'a Setup, reader: R, writer: W) -> Connection<'a, R, W> {
        Connection { setup, reader, writer }
    }

    /// Serves it to its end. `entered` hears whose key was proved; `refused` hears what was refused, and why; `session` is called
    /// for each session, one after the other, and gives the exit status.
    pub async fn serve(
        self,
        entered: impl FnOnce(&AuthorizedKey),
        refused: impl Fn(&str),
        session: impl AsyncFnMut(Request, &mut Channel<'_, '_, '_, W>) -> Result<u32, Gone>,
    ) -> End {
        let counters = &self.setup.counters;
        count(&counters.accepted, 1);
        counters.open.set(counters.open.get() + 1);
        let end = self.run(entered, refused, session).await;
        counters.open.set(counters.open.get() - 1);
        if let End::Cut(why) = end {
            counters.count_cut(why);
        }
        end
    }

    async fn run(
        self,
        entered: impl FnOnce(&AuthorizedKey),
        refused: impl Fn(&str),
        session: impl AsyncFnMut(Request, &mut Channel<'_, '_, '_, W>) -> Result<u32, Gone>,
    ) -> End {
        let limits = self.setup.limits;
        let inbox = Inbox::new(limits.read_ahead, limits.login_bytes);
        let login = Login { refused: RefCell::default(), attempts: Cell::new(0), offers: Cell::new(0) };
        let mut packet = vec![0; limits.packet];
        let node = Node {
            stream: Stream { inbox: inbox.clone(), writer: self.writer },
            random: Random(self.setup.entropy.clone()),
            host_key: SecretKey::Ed25519 { secret_key: self.setup.host_key.signing() },
            setup: self.setup,
            login: &login,
        };
        let transport = Transport::new(&mut packet, node);
        let talk = talk(transport, self.setup, &inbox, entered, session);
        let end = match select(talk, inbox.fill(self.reader)).await {
            Either::First(end) => end,
            Either::Second(()) => End::Closed,
        };
        for why in login.refused.borrow().iter() {
            refused(why);
        }
        end
    }
}

async fn talk<'s, W: Write>(
    mut transport: Transport<'_, Node<'s, W>>,
    setup: &'s Setup,
    inbox: &Rc<Inbox>,
    entered: impl FnOnce(&AuthorizedKey),
    mut session: impl AsyncFnMut(Request, &mut Channel<'_, '_, '_, W>) -> Result<u32, Gone>,
) -> End {
    let Setup { handle, limits, counters, .. } = setup;
    let mut entered = Some(entered);
    let (mut patience, mut impatience) = (limits.login, Cut::SlowLogin);
    loop {
        let channel = match handle.timeout(patience, transport.accept()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return end_of(error),
            Err(_) => return End::Cut(impatience),
        };
        inbox.trust();
        (patience, impatience) = (limits.idle, Cut::Idle);
        if let (Some(entered), Some(key)) = (entered.take(), setup.keys.get(channel.user())) {
            count(&counters.entered, 1);
            entered(key);
        }
        count(&counters.sessions, 1);
        let request = match channel.request() {
            zssh::Request::Shell => Request::Shell,
            zssh::Request::Exec(line) => Request::Exec(line),
        };
        let mut channel = Channel { channel, inbox, setup, end: None };
        let status = session(request, &mut channel).await;
        let Channel { channel, end, .. } = channel;
        match (status, end) {
            (_, Some(end)) => return end,
            (Err(Gone), None) => return End::Closed,
            (Ok(status), None) => match handle.timeout(limits.idle, channel.exit(status)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return end_of(error),
                Err(_) => return End::Cut(Cut::Idle),
            },
        }
    }
}

fn end_of(error: Error<StreamError>) -> End {
    match error {
        Error::UnexpectedEof | Error::ChannelClosed | Error::ClientDisconnect(_) => End::Closed,
        Error::IO(StreamError::Broken) => End::Cut(Cut::Broken),
        Error::IO(StreamError::Verbose) => End::Cut(Cut::Verbose),
        Error::IO(StreamError::Attempts) => End::Cut(Cut::Attempts),
        Error::Protocol(_) | Error::ServerDisconnect(_) => End::Cut(Cut::Protocol),
    }
}

/// A session's input and output. One at a time: what is sent while nobody reads waits at the peer.
pub struct Channel<'t, 'c, 's, W: Write> {
    channel: zssh::Channel<'t, 'c, Node<'s, W>>,
    inbox: &'c Rc<Inbox>,
    setup: &'s Setup,
    end: Option<End>,
}

impl<W: Write> Channel<'_, '_, '_, W> {
    /// Reads until the buffer is full, or the end of input: less than the buffer's length then. A future that is dropped before
    /// its end leaves a connection that is good for nothing.
    ///
    /// # Errors
    ///
    /// When the connection ended.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gone> {
        let read = self.channel.read_exact_stdin(buffer);
        let outcome = self.setup.handle.timeout(self.setup.limits.idle, read).await;
        self.judge(outcome)
    }

    /// Writes output, as fast as it is taken.
    ///
    /// # Errors
    ///
    /// When the connection ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.send(bytes, Pipe::Stdout).await
    }

    /// Writes what is no output but about it.
    ///
    /// # Errors
    ///
    /// When the connection ended.
    pub async fn write_error(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.send(bytes, Pipe::Stderr).await
    }

    async fn send(&mut self, bytes: &[u8], pipe: Pipe) -> Result<(), Gone> {
        // In pieces: time is for each.
        for piece in bytes.chunks(self.setup.limits.packet) {
            let idle = self.setup.limits.idle;
            let outcome = match pipe {
                Pipe::Stdout => self.setup.handle.timeout(idle, self.channel.write_all_stdout(piece)).await,
                Pipe::Stderr => self.setup.handle.timeout(idle, self.channel.write_all_stderr(piece)).await,
            };
            self.judge(outcome)?;
            count(&self.setup.counters.output, piece.len() as u64);
        }
        Ok(())
    }

    /// Waits, while something else is waited for, until the peer is gone.
    pub fn gone(&self) -> impl Future<Output = ()> + use<'_, W> {
        self.inbox.gone()
    }

    fn judge<T, Elapsed>(
        &mut self,
        outcome: Result<Result<T, Error<StreamError>>, Elapsed>,
    ) -> Result<T, Gone> {
        let end = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => end_of(error),
            Err(_) => End::Cut(Cut::Idle),
        };
        self.end = Some(end);
        Err(Gone)
    }
}

/// What is remembered of a login.
struct Login {
    /// Refusals with their reasons, the first few.
    refused: RefCell<Vec<String>>,
    attempts: Cell<u32>,
    /// How often a key that may enter was offered: once as a question, once with its proof.
    offers: Cell<u32>,
}

/// The node as the protocol sees it.
struct Node<'s, W> {
    stream: Stream<W>,
    random: Random,
    host_key: SecretKey,
    setup: &'s Setup,
    login: &'s Login,
}

impl<W: Write> Node<'_, W> {
    fn judge(&self, user: &str, method: &AuthMethod) -> Result<usize, String> {
        let AuthMethod::PublicKey(PublicKey::Ed25519 { public_key }) = method else {
            // How every client begins: it asks what there is.
            return Err(String::new());
        };
        let key = public_key.as_bytes();
        let known = self.setup.keys.iter().position(|known| known.is(key));
        if !USERS.contains(&user) {
            return Err(format!(
                "user \"{}\": only {} may enter",
                user.escape_default(),
                USERS.join(" and ")
            ));
        }
        known.ok_or_else(|| format!("key {} is none of those that may enter", Fingerprint::of(key)))
    }

    fn refuse(&self, why: String) {
        count(&self.setup.counters.refused, 1);
        let mut refused = self.login.refused.borrow_mut();
        if refused.len() < NAMED {
            refused.push(why);
        }
        self.attempt();
    }

    fn attempt(&self) {
        self.login.attempts.set(self.login.attempts.get() + 1);
        if self.login.attempts.get() >= self.setup.limits.attempts {
            self.stream.inbox.turn_away();
        }
    }
}

impl<W: Write> Behavior for Node<'_, W> {
    type Stream = Stream<W>;
    type Random = Random;
    type User = usize;
    type Command = Rc<str>;

    fn stream(&mut self) -> &mut Stream<W> {
        &mut self.stream
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn host_secret_key(&self) -> &SecretKey {
        &self.host_key
    }

    fn server_id(&self) -> &'static str {
        concat!("SSH-2.0-Keelson_", env!("CARGO_PKG_VERSION"))
    }

    fn allow_user(&mut self, user: &str, method: &AuthMethod) -> Option<usize> {
        match self.judge(user, method) {
            Ok(key) => {
                // A proof that is wrong is answered by the protocol, which tells nobody.
                self.login.offers.set(self.login.offers.get() + 1);
                if self.login.offers.get() > 2 {
                    self.attempt();
                }
                Some(key)
            }
            Err(why) => {
                if !why.is_empty() {
                    self.refuse(why);
                }
                None
            }
        }
    }

    fn allow_shell(&self) -> bool {
        true
    }

    fn parse_command(&mut self, command: &str) -> Rc<str> {
        Rc::from(command)
    }
}

/// The node's random numbers, as the protocol wants them.
struct Random(Rc<dyn Entropy>);

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Random {}
