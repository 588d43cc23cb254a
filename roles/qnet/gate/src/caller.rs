//! A process that calls the counting service of another node, message by message, and knows what must have become of
//! each.

use crate::errors::{LONGEST, is_of_network};
use crate::ledger::Ledger;
use crate::machine::{Machine, SERVICE};
use crate::service::{HEAD, Kind, REPLY_HEAD, Tag, hash, message};
use keelson_ext4_gate::random::Random;
use keelson_qnet::client::{File, OpenFlags};
use keelson_qnet_wire::Errno;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of messages: within a frame, within what travels with the send, pulled, pulled in several pieces.
const LENGTHS: [usize; 7] = [0, 10, 900, 8_000, 9_000, 60_000, 150_000];

/// The process; what it remembers survives its node's power, as if it had a disk.
pub struct Caller {
    /// Number: no two in a world have the same.
    pub id: u32,
    target: Rc<Machine>,
    /// Any failure is a defect.
    calm: bool,
    ledger: Rc<Ledger>,
    random: RefCell<Random>,
    left: Cell<usize>,
    connections: Cell<u32>,
    /// What it waits for since it began.
    doing: RefCell<String>,
}

/// What it knows of one connection.
struct Account {
    connection: u32,
    sent: Cell<u32>,
    answered: Cell<u32>,
    pulsed: Cell<u32>,
    broken: Cell<bool>,
}

impl Caller {
    /// A process with so many operations to do.
    pub fn new(
        id: u32,
        target: &Rc<Machine>,
        operations: usize,
        calm: bool,
        ledger: &Rc<Ledger>,
        random: Random,
    ) -> Rc<Caller> {
        Rc::new(Caller {
            id,
            target: target.clone(),
            calm,
            ledger: ledger.clone(),
            random: RefCell::new(random),
            left: Cell::new(operations),
            connections: Cell::new(0),
            doing: RefCell::default(),
        })
    }

    /// It has done all it was to do.
    pub fn is_done(&self) -> bool {
        self.left.get() == 0
    }

    /// What it does now.
    pub fn doing(&self) -> String {
        format!("caller {} ({} left): {}", self.id, self.left.get(), self.doing.borrow())
    }

    /// Works on a node until all is done or the power goes.
    pub async fn run(self: Rc<Caller>, home: Rc<Machine>) {
        while !self.is_done() && !self.ledger.has_failed() {
            let pause = self.random.borrow_mut().below(3_000);
            let Some(running) = home.running() else { return };
            running.handle.sleep(Duration::from_micros(pause)).await;
            self.session(&home).await;
        }
    }

    fn step(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    /// An operation ended so; whether it went well.
    fn judge<T>(&self, what: &str, result: &Result<T, Errno>) -> bool {
        self.ledger.note(|| format!("caller {}: {what}: {:?}", self.id, result.as_ref().err()));
        self.ledger.finished(result.is_ok());
        if let Err(errno) = result
            && (self.calm || !is_of_network(*errno))
        {
            self.ledger.fail(format!("caller {}: {what}: {errno}", self.id));
        }
        result.is_ok()
    }

    async fn within<T>(
        &self,
        home: &Machine,
        what: String,
        work: impl Future<Output = Result<T, Errno>>,
    ) -> Result<T, Errno> {
        *self.doing.borrow_mut() = what.clone();
        let Some(running) = home.running() else { return Err(Errno::ESRCH) };
        match running.handle.timeout(LONGEST, work).await {
            Ok(result) => {
                self.judge(&what, &result);
                result
            }
            Err(_) => {
                self.ledger.fail(format!("caller {}: {what}: no end after {LONGEST:?}", self.id));
                Err(Errno::ETIMEDOUT)
            }
        }
    }

    /// One connection, from its opening to its end.
    async fn session(&self, home: &Rc<Machine>) {
        let connection = self.connections.get() + 1;
        self.connections.set(connection);
        let path = format!("/net/{}/dev/name/local/{SERVICE}", self.target.name);
        let files = home.files();
        self.step();
        let opened =
            self.within(home, format!("opens {path}"), files.open(&path, OpenFlags::READ_WRITE)).await;
        let Ok(service) = opened else {
            if let Some(running) = home.running() {
                running.handle.sleep(Duration::from_millis(250)).await;
            }
            return;
        };
        let boots = self.target.boots();
        let account = Account {
            connection,
            sent: Cell::new(0),
            answered: Cell::new(0),
            pulsed: Cell::new(0),
            broken: Cell::new(false),
        };
        let length = 1 + self.random.borrow_mut().below(12);
        for _ in 0..length {
            if !self.step() || account.broken.get() || self.ledger.has_failed() {
                break;
            }
            self.operation(home, &service, &account).await;
        }
        // Closing it says that everything before was done.
        if !account.broken.get() && self.one(home, &service, &account, Kind::Count, 0).await.is_ok() {
            self.settle(&account, boots);
        }
    }

    /// It ended well: everything was executed, once.
    fn settle(&self, account: &Account, boots: u32) {
        if self.target.boots() != boots {
            return;
        }
        let executed = &self.target.executed;
        let connection = account.connection;
        let (messages, pulses) =
            (executed.messages(self.id, connection), executed.pulses(self.id, connection));
        if pulses != account.pulsed.get() {
            let sent = account.pulsed.get();
            self.ledger.fail(format!(
                "caller {} connection {connection}: {pulses} of {sent} pulses arrived",
                self.id
            ));
        }
        if messages < account.answered.get() || messages > account.sent.get() {
            let (sent, answered) = (account.sent.get(), account.answered.get());
            let caller = self.id;
            self.ledger.fail(format!(
                "caller {caller} connection {connection}: {messages} executed, {sent} sent, {answered} answered"
            ));
        }
    }

    async fn operation(&self, home: &Rc<Machine>, service: &File, account: &Account) {
        let (kind, length) = {
            let mut random = self.random.borrow_mut();
            (random.below(10), *random.pick(&LENGTHS))
        };
        let result = match kind {
            // A pulse needs a message before it, by which the service knows whose it is.
            0..=2 if account.answered.get() > 0 => self.pulses(home, service, account).await,
            3 => self.interrupted(home, service, account).await,
            4 => self.several(home, service, account).await,
            5 => self.one(home, service, account, Kind::Slow, length).await,
            6 => self.one(home, service, account, Kind::Written, length).await,
            7 => self.one(home, service, account, Kind::Count, length).await,
            _ => self.one(home, service, account, Kind::Echo, length).await,
        };
        account.broken.set(account.broken.get() || result.is_err());
    }

    fn next(&self, account: &Account) -> Tag {
        account.sent.set(account.sent.get() + 1);
        let number = account.sent.get();
        Tag { client: self.id, connection: account.connection, number, settled: number - 1 }
    }

    /// A message and its reply.
    async fn one(
        &self,
        home: &Rc<Machine>,
        service: &File,
        account: &Account,
        kind: Kind,
        length: usize,
    ) -> Result<(), Errno> {
        let tag = self.next(account);
        let what = format!("{kind:?} {tag:?} of {length} bytes");
        self.within(home, what, self.send(service, account, kind, tag, length)).await
    }

    async fn send(
        &self,
        service: &File,
        account: &Account,
        kind: Kind,
        tag: Tag,
        length: usize,
    ) -> Result<(), Errno> {
        let bytes = message(kind, tag, length);
        let with_echo = matches!(kind, Kind::Echo | Kind::Written);
        let mut reply = vec![0; REPLY_HEAD + if with_echo { bytes.len() } else { 0 }];
        let (status, len) = service.connection().send(&[&bytes[..7], &bytes[7..]], &mut reply).await?;
        account.answered.set(account.answered.get() + 1);
        let right = status == bytes.len() as i32
            && len == reply.len()
            && reply[..HEAD] == bytes[..HEAD]
            && reply[HEAD..REPLY_HEAD] == hash(&bytes).to_le_bytes()
            && (!with_echo || reply[REPLY_HEAD..] == bytes);
        if !right {
            self.ledger
                .fail(format!("{tag:?}: a reply of {len} bytes, status {status}, that is not its own"));
        }
        Ok(())
    }

    /// Three messages at once, of three threads.
    async fn several(&self, home: &Rc<Machine>, service: &File, account: &Account) -> Result<(), Errno> {
        let first = self.next(account);
        // They are of three threads: whichever finds room is sent.
        let other = |tag: Tag| Tag { settled: first.settled, ..tag };
        let tags = [first, other(self.next(account)), other(self.next(account))];
        let send = |at: usize, length| self.send(service, account, Kind::Echo, tags[at], length);
        let all = async {
            let two = keelson_exec::join(send(0, 70_000), send(1, 10));
            let ((one, other), last) = keelson_exec::join(two, send(2, 5_000)).await;
            one.and(other).and(last)
        };
        self.within(home, format!("{:?} and two more", tags[0]), all).await
    }

    async fn pulses(&self, home: &Rc<Machine>, service: &File, account: &Account) -> Result<(), Errno> {
        for _ in 0..5 {
            let value = account.pulsed.get() + 1;
            match service.connection().pulse(10, 3, value as i32) {
                Ok(()) => account.pulsed.set(value),
                // No room now: later.
                Err(Errno::EAGAIN) => break,
                Err(errno) => {
                    self.judge::<()>(&format!("pulse {value}"), &Err(errno));
                    return Err(errno);
                }
            }
        }
        let Some(running) = home.running() else { return Err(Errno::ESRCH) };
        running.handle.sleep(Duration::from_micros(200)).await;
        self.ledger.finished(true);
        Ok(())
    }

    /// A request that would never end, and a client that does not want to wait.
    async fn interrupted(&self, home: &Rc<Machine>, service: &File, account: &Account) -> Result<(), Errno> {
        let tag = self.next(account);
        let Some(running) = home.running() else { return Err(Errno::ESRCH) };
        let (patience, drops) = {
            let mut random = self.random.borrow_mut();
            (Duration::from_micros(random.below(30_000)), random.once_in(2))
        };
        let bytes = message(Kind::Block, tag, 0);
        let (parts, interrupted) = ([&bytes[..]], running.handle.sleep(patience));
        if drops {
            // The process gives up without a word to itself.
            let mut nothing = [];
            let sent = service.connection().send(&parts, &mut nothing);
            let ended = running.handle.timeout(patience, sent).await;
            return match ended {
                Err(_) => Ok(()),
                Ok(Err(errno)) if is_of_network(errno) && !self.calm => Err(errno),
                Ok(result) => {
                    self.ledger.fail(format!("{tag:?} ended before its time: {result:?}"));
                    Err(Errno::EPROTO)
                }
            };
        }
        let mut nothing = [];
        let sent = service.connection().send_until(&parts, &mut nothing, interrupted);
        let what = format!("{tag:?}, which is interrupted");
        let turned = async {
            match sent.await {
                Err(Errno::EINTR) => Ok(()),
                Ok(_) => Err(Errno::EPROTO),
                Err(errno) => Err(errno),
            }
        };
        self.within(home, what, turned).await
    }
}
