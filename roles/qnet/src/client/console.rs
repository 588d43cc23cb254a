//! The channel by which a program on another node uses descriptors of this one (section 14.4): `_IO_DUP`, `_IO_READ`,
//! `_IO_WRITE`, `_IO_STAT`, `isatty`, `_IO_CLOSE`.
//!
//! They are for one node only. The channel ends with the [`ConsoleServer`]: what the program writes then fails.

use crate::api::{Channel, Kernel, Message, MessageInfo, Received};
use crate::io::while_wanted;
use crate::procs::{Stream, write_all};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use keelson_exec::TaskHandle;
use keelson_qnet_wire::io::{
    Dcmd, IoDevctl, IoDevctlReply, IoDup, IoReadWrite, IoRequest, Parts, Stat, Xtype,
};
use keelson_qnet_wire::proc::FdInfo;
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Bytes that are moved at once.
const PIECE: usize = 65_536;

/// Descriptors that are taken over at once: those of a few programs that inherit from each other.
const DESCRIPTORS: usize = 256;

/// Mode of what is no file: a character device.
const DEVICE: u32 = 0x2000 | 0o620;

/// Serves descriptors to another node.
pub struct ConsoleServer {
    shared: Rc<Shared>,
    task: TaskHandle,
    pid: u32,
    chid: u32,
}

struct Shared {
    kernel: Kernel,
    /// The node whose programs may use them.
    peer: Nd,
    streams: Vec<Rc<dyn Stream>>,
    /// Server connection that records name: there is none, so it is the channel.
    token: i32,
    owner: i32,
    /// Descriptors that were taken over: server connection and client's number.
    taken: RefCell<BTreeMap<(i32, i32), usize>>,
}

impl ConsoleServer {
    /// Serves the descriptors of a process to programs of a node: entry `n` of the list is its descriptor `n`.
    pub fn new(
        kernel: &Kernel,
        pid: u32,
        peer: Nd,
        streams: Vec<Rc<dyn Stream>>,
    ) -> Result<ConsoleServer, Errno> {
        let channel = kernel.channel(pid)?;
        let chid = channel.chid();
        let owner = i32::try_from(pid).map_err(|_| Errno::EINVAL)?;
        let token = chid as i32;
        let shared = Rc::new(Shared {
            kernel: kernel.clone(),
            peer,
            streams,
            token,
            owner,
            taken: RefCell::default(),
        });
        let task = kernel.executor().spawn("console", shared.clone().run(channel));
        Ok(ConsoleServer { shared, task, pid, chid })
    }

    /// The records by which a program on a node takes the descriptors over; `remote_nd` is that node's number for this
    /// one.
    pub fn records(&self, remote_nd: Nd) -> Vec<FdInfo> {
        let record = |fd: i32| FdInfo {
            fd,
            nd: remote_nd,
            srcnd: Nd::LOCAL,
            pid: self.pid as i32,
            chid: self.chid as i32,
            scoid: self.shared.token,
            coid: fd,
        };
        (0..self.shared.streams.len() as i32).map(record).collect()
    }

    /// Descriptors that are taken over now.
    pub fn taken(&self) -> usize {
        self.shared.taken.borrow().len()
    }
}

impl Drop for ConsoleServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn place(info: &MessageInfo) -> (i32, i32) {
    (info.scoid, info.coid)
}

impl Shared {
    async fn run(self: Rc<Self>, channel: Channel) {
        // Ended with the channel, so that nobody goes on with descriptors that are given back.
        let mut requests = Requests(Vec::new());
        loop {
            match channel.receive().await {
                Received::Message(message) => {
                    let shared = self.clone();
                    let task = self.kernel.executor().spawn("console", async move {
                        match shared.answer(&message).await {
                            Ok((status, data)) => message.reply(status, &data),
                            Err(errno) => message.error(errno),
                        }
                    });
                    requests.0.retain(|task| !task.is_finished());
                    requests.0.push(task);
                }
                Received::Disconnect { scoid } => {
                    self.taken.borrow_mut().retain(|(connection, _), _| *connection as u32 != scoid);
                }
                Received::Pulse(_) | Received::Unblock { .. } => {}
            }
        }
    }

    fn stream(&self, info: &MessageInfo) -> Result<(usize, Rc<dyn Stream>), Errno> {
        let index = *self.taken.borrow().get(&place(info)).ok_or(Errno::EBADF)?;
        let stream = self.streams.get(index).ok_or(Errno::EBADF)?;
        Ok((index, stream.clone()))
    }

    /// Of several parts in one message only the first is done: programs that only know descriptors send one.
    async fn answer(&self, message: &Message) -> Result<(i32, Vec<u8>), Errno> {
        let part = Parts::new(message.data(), Endian::Little).next().ok_or(Errno::EINVAL)?;
        let part = part.map_err(|error| error.errno())?;
        let request = IoRequest::decode(part, Endian::Little).map_err(|error| error.errno())?;
        match request {
            IoRequest::Dup(dup) => self.dup(message.info(), dup).map(|()| (0, Vec::new())),
            IoRequest::Close => {
                let closed = self.taken.borrow_mut().remove(&place(message.info()));
                closed.map(|_| (0, Vec::new())).ok_or(Errno::EBADF)
            }
            IoRequest::Write(write, here) => {
                let head = part.bytes.len() - here.len();
                let done = self.write(message, write, head).await?;
                Ok((done as i32, Vec::new()))
            }
            IoRequest::Read(read) => self.read(message, read).await,
            IoRequest::Stat => {
                let (index, _) = self.stream(message.info())?;
                let ino = index as u64 + 1;
                let dev = Stat::dev_of(message.info().srcnd, 1);
                let stat = Stat { ino, dev, mode: DEVICE, nlink: 1, blksize: 4096, ..Stat::default() };
                Ok((0, stat.encode(Endian::Little).to_vec()))
            }
            IoRequest::Devctl(devctl, _) => self.devctl(message, devctl).await,
            IoRequest::Lseek(_) => {
                self.stream(message.info())?;
                Err(Errno::ESPIPE)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn dup(&self, info: &MessageInfo, dup: IoDup) -> Result<(), Errno> {
        if !info.nd.same_node(self.peer) {
            return Err(Errno::EBADF);
        }
        let mut taken = self.taken.borrow_mut();
        let source = dup.info;
        let index = if source.scoid == self.token && source.pid == self.owner {
            usize::try_from(source.coid).ok().filter(|index| *index < self.streams.len())
        } else {
            // A program hands on what it has.
            taken.get(&place(&source)).copied()
        };
        let index = index.ok_or(Errno::EBADF)?;
        if taken.len() >= DESCRIPTORS {
            return Err(Errno::EMFILE);
        }
        taken.insert(place(info), index);
        Ok(())
    }

    /// Writes the data, which may have to be fetched, piece by piece.
    async fn write(&self, message: &Message, write: IoReadWrite, head: usize) -> Result<usize, Errno> {
        let (_, stream) = self.stream(message.info())?;
        if !matches!(write.xtype, Xtype::None) {
            return Err(Errno::ESPIPE);
        }
        let nbytes = usize::try_from(write.nbytes).map_err(|_| Errno::EINVAL)?;
        let total = nbytes.min(message.len().saturating_sub(head));
        let mut buffer = vec![0; PIECE.min(total)];
        let mut done = 0;
        while done < total {
            let piece = buffer.get_mut(..PIECE.min(total - done)).ok_or(Errno::EIO)?;
            let len = message.read(head + done, piece).await?;
            let piece = piece.get(..len).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            match while_wanted(message, write_all(&*stream, piece)).await {
                Ok(()) => done += len,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    async fn read(&self, message: &Message, read: IoReadWrite) -> Result<(i32, Vec<u8>), Errno> {
        let (_, stream) = self.stream(message.info())?;
        if matches!(read.xtype, Xtype::Offset(_)) {
            return Err(Errno::ESPIPE);
        }
        let nbytes = usize::try_from(read.nbytes).map_err(|_| Errno::EINVAL)?;
        let room = usize::try_from(message.info().dstmsglen).unwrap_or(0);
        let mut data = vec![0; nbytes.min(room).min(PIECE)];
        let len = while_wanted(message, stream.read(&mut data)).await?;
        data.truncate(len);
        Ok((len as i32, data))
    }

    async fn devctl(&self, message: &Message, devctl: IoDevctl) -> Result<(i32, Vec<u8>), Errno> {
        let (_, stream) = self.stream(message.info())?;
        if devctl.dcmd.low16() != Dcmd::CHR_ISATTY {
            return Err(crate::io::unknown_devctl(devctl.dcmd));
        }
        if !stream.is_terminal().await? {
            return Err(Errno::ENOTTY);
        }
        let mut data = if devctl.dcmd.from_device() { 1_i32.to_le_bytes().to_vec() } else { Vec::new() };
        data.truncate(usize::try_from(devctl.nbytes).unwrap_or(0));
        let head = IoDevctlReply { ret_val: 1, nbytes: data.len() as i32 };
        Ok((0, [&head.encode(Endian::Little)[..], &data].concat()))
    }
}

/// Requests under way.
struct Requests(Vec<TaskHandle>);

impl Drop for Requests {
    fn drop(&mut self) {
        self.0.iter().for_each(TaskHandle::abort);
    }
}
