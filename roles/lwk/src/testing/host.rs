//! A host for tests: a small file system in memory behind the interface of the proxy, and streams that make calls wait.

// Not every test needs everything.
#![allow(dead_code)]

use crate::Errno;
use crate::delegate::{Call, Delegate, Handle, Opened, Pending, Readiness, Reply};
use keelson_lwk_wire::layout;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

const DIRECTORY: u32 = 0o040755;
const REGULAR: u32 = 0o100644;
const LINK: u32 = 0o120777;
const FIFO: u32 = 0o010600;

/// The host. Clones are the same one.
#[derive(Clone, Default)]
pub struct Host(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<Vec<u8>, u64>,
    inodes: HashMap<u64, Inode>,
    handles: HashMap<u64, Open>,
    next: u64,
    cwd: Vec<u8>,
    log: Vec<Call>,
    closed: Vec<Handle>,
    cancelled: HashSet<u32>,
    waiting: Vec<Waker>,
    subscriptions: HashMap<u64, (u32, Arc<dyn Readiness>)>,
    lost: bool,
    lock_owner: i32,
    /// RLIMIT_FSIZE of the proxy.
    largest: Option<u64>,
    /// Where files are that were opened through links.
    real: BTreeMap<Vec<u8>, Vec<u8>>,
}

struct Inode {
    mode: u32,
    content: Vec<u8>,
}

struct Open {
    inode: u64,
    path: Vec<u8>,
    at: u64,
    flags: u32,
}

impl Host {
    /// A host with `/`, `/tmp` and `/dev`.
    pub fn new() -> Host {
        let host = Host::default();
        {
            let mut state = host.0.lock().unwrap();
            state.next = 0x7000_0000_0001;
            state.cwd = b"/tmp".to_vec();
            for path in [&b"/"[..], b"/tmp", b"/dev", b"/proc", b"/sys"] {
                state.create(path, DIRECTORY, b"");
            }
        }
        host
    }

    /// A file with this content.
    pub fn file(&self, path: &str, content: &[u8]) {
        self.0.lock().unwrap().create(path.as_bytes(), REGULAR, content);
    }

    /// What is opened as `path` lies at `real`, for all who ask.
    pub fn lies_at(&self, path: &str, real: &str) {
        self.0.lock().unwrap().real.insert(path.into(), real.into());
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        Some(state.inodes[state.nodes.get(path.as_bytes())?].content.clone())
    }

    /// A handle whose reads wait until [`Host::feed`].
    pub fn stream(&self) -> (Handle, Opened) {
        let mut state = self.0.lock().unwrap();
        let inode = state.create(b"", FIFO, b"");
        let handle = state.open(inode, b"", 2);
        (handle, state.opened(inode))
    }

    /// Bytes arrive at a stream.
    pub fn feed(&self, handle: Handle, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        let inode = state.handles[&handle.0].inode;
        state.inodes.get_mut(&inode).unwrap().content.extend_from_slice(bytes);
        let wakers = std::mem::take(&mut state.waiting);
        let ready = state.subscriptions.get(&handle.0).map(|(_, ready)| ready.clone());
        let events = state.events(handle.0);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if let Some(ready) = ready {
            ready.ready(events);
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().log.clone()
    }

    /// Numbers of the calls since this was asked last.
    pub fn numbers(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.lock().unwrap().log).iter().map(|call| call.number).collect()
    }

    /// Handles that were released without a call.
    pub fn closed(&self) -> Vec<Handle> {
        self.0.lock().unwrap().closed.clone()
    }

    /// Process `owner` has all locks; 0 is nobody, -1 an open description.
    pub fn lock_owner(&self, owner: i32) {
        self.0.lock().unwrap().lock_owner = owner;
    }

    /// Events that the node wants to hear of.
    pub fn subscribed(&self, handle: Handle) -> Option<u32> {
        self.0.lock().unwrap().subscriptions.get(&handle.0).map(|(events, _)| *events)
    }

    /// The connection breaks.
    pub fn lose(&self) {
        self.0.lock().unwrap().lost = true;
    }
}

impl State {
    fn create(&mut self, path: &[u8], mode: u32, content: &[u8]) -> u64 {
        self.next += 1;
        let number = self.next;
        self.inodes.insert(number, Inode { mode, content: content.to_vec() });
        if !path.is_empty() {
            self.nodes.insert(path.to_vec(), number);
        }
        number
    }

    fn open(&mut self, inode: u64, path: &[u8], flags: u32) -> Handle {
        self.next += 1;
        self.handles.insert(self.next, Open { inode, path: path.to_vec(), at: 0, flags });
        Handle(self.next)
    }

    fn opened(&self, inode: u64) -> Opened {
        let Inode { mode, content } = &self.inodes[&inode];
        let seekable = *mode != FIFO;
        let size = content.len() as u64;
        let stat = layout::Stat {
            dev: 0x801,
            ino: inode,
            mode: *mode,
            nlink: 1,
            size: size as i64,
            blksize: 4096,
            ..Default::default()
        };
        Opened { stat, seekable, terminal: false }
    }

    fn events(&self, handle: u64) -> u32 {
        let ready =
            self.handles.get(&handle).is_some_and(|open| !self.inodes[&open.inode].content.is_empty());
        4 | u32::from(ready)
    }

    fn stat(&self, inode: u64) -> Vec<u8> {
        self.opened(inode).stat.to_bytes().to_vec()
    }

    fn path(&self, directory: u64, call: &Call, argument: u8) -> Result<Vec<u8>, Errno> {
        let (_, text) = call.input.iter().find(|(index, _)| *index == argument).ok_or(Errno::EFAULT)?;
        let text = text.strip_suffix(b"\0").ok_or(Errno::EFAULT)?;
        if text.starts_with(b"/") {
            return Ok(if text == b"/" { text.to_vec() } else { text.trim_ascii_end().to_vec() });
        }
        let base = match directory as i32 {
            -100 => self.cwd.clone(),
            _ => self.handles.get(&directory).ok_or(Errno::EBADF)?.path.clone(),
        };
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        let base = if base == b"/" { Vec::new() } else { base };
        Ok([&base[..], b"/", text].concat())
    }

    fn node(&self, path: &[u8]) -> Result<u64, Errno> {
        self.nodes.get(path).copied().ok_or(Errno::ENOENT)
    }

    /// The answer; `None` when it has to wait.
    fn answer(&mut self, call: &Call) -> Option<Result<Reply, Errno>> {
        let [a, _, c, d, ..] = call.arguments;
        if call.number == 0 {
            let open = &self.handles[&a];
            let inode = &self.inodes[&open.inode];
            if inode.mode == FIFO && inode.content.is_empty() {
                return (open.flags & 0o4000 != 0).then_some(Err(Errno::EAGAIN));
            }
        }
        if call.number == 72 && call.arguments[1] == 7 {
            // Somebody else has the lock.
            return None;
        }
        Some(self.serve(call, a, c, d))
    }

    fn serve(&mut self, call: &Call, a: u64, c: u64, d: u64) -> Result<Reply, Errno> {
        let mut reply = Reply::default();
        let input = |argument: u8| call.input.iter().find(|(index, _)| *index == argument).map(|(_, b)| b);
        let room = call.output.first().map_or(0, |(_, len)| *len as usize);
        // The same with flags, of which this host knows RWF_APPEND.
        let (number, d) = match call.number {
            327 | 328 if d == u64::MAX => (call.number - 327, 0),
            327 | 328 => (call.number - 310, d),
            number => (number, d),
        };
        let c = if call.number == 327 { room as u64 } else { c };
        let appends = call.number == 328 && call.arguments[5] & 0x10 != 0;
        match number {
            0 | 17 => {
                let open = self.handles.get_mut(&a).ok_or(Errno::EBADF)?;
                let inode = self.inodes.get_mut(&open.inode).unwrap();
                let at = if number == 17 { d } else { open.at } as usize;
                let bytes: Vec<u8> = if inode.mode == FIFO {
                    inode.content.drain(..room.min(inode.content.len())).collect()
                } else {
                    inode.content.iter().skip(at).take((c as usize).min(room)).copied().collect()
                };
                if number == 0 {
                    open.at += bytes.len() as u64;
                }
                reply.result = bytes.len() as i64;
                reply.output = vec![(1, bytes)];
            }
            1 | 18 => {
                let bytes = input(1).ok_or(Errno::EFAULT)?;
                let open = self.handles.get_mut(&a).ok_or(Errno::EBADF)?;
                let inode = self.inodes.get_mut(&open.inode).unwrap();
                let at = if number == 18 { d } else { open.at } as usize;
                let at = if appends || open.flags & 0o2000 != 0 { inode.content.len() } else { at };
                if self.largest.is_some_and(|largest| (at + bytes.len()) as u64 > largest) {
                    return Err(Errno::EFBIG);
                }
                if inode.mode != FIFO {
                    let size = inode.content.len().max(at + bytes.len());
                    inode.content.resize(size, 0);
                    inode.content[at..at + bytes.len()].copy_from_slice(bytes);
                }
                if number == 1 {
                    open.at = (at + bytes.len()) as u64;
                }
                reply.result = bytes.len() as i64;
            }
            3 => {
                self.handles.remove(&a).ok_or(Errno::EBADF)?;
            }
            5 => {
                let inode = self.handles.get(&a).ok_or(Errno::EBADF)?.inode;
                reply.output = vec![(1, self.stat(inode))];
            }
            8 => {
                let open = self.handles.get_mut(&a).ok_or(Errno::EBADF)?;
                let size = self.inodes[&open.inode].content.len() as u64;
                let base = [0, open.at, size][(c as usize).min(2)];
                open.at = base.checked_add_signed(call.arguments[1] as i64).ok_or(Errno::EINVAL)?;
                reply.result = open.at as i64;
            }
            4 | 6 => {
                let path = self.path(-100i64 as u64, call, 0)?;
                let inode = self.node(&path)?;
                reply.output = vec![(1, self.stat(inode))];
            }
            16 => return Err(Errno::ENOTTY),
            72 => match call.arguments[1] {
                4 => self.handles.get_mut(&a).ok_or(Errno::EBADF)?.flags = c as u32,
                5 => {
                    let mut lock = input(2).ok_or(Errno::EFAULT)?.clone();
                    match self.lock_owner {
                        0 => lock[0] = 2, // F_UNLCK: nobody has it
                        owner => lock[24..28].copy_from_slice(&owner.to_le_bytes()),
                    }
                    reply.output = vec![(2, lock)];
                }
                _ => {}
            },
            74 | 75 => {}
            77 => {
                let inode = self.handles.get(&a).ok_or(Errno::EBADF)?.inode;
                self.inodes.get_mut(&inode).unwrap().content.resize(call.arguments[1] as usize, 0);
            }
            79 => {
                let text = [&self.cwd[..], b"\0"].concat();
                reply.result = text.len() as i64;
                reply.output = vec![(0, text)];
            }
            80 => {
                let path = self.path(-100i64 as u64, call, 0)?;
                self.node(&path)?;
                self.cwd = path;
            }
            81 => self.cwd = self.handles.get(&a).ok_or(Errno::EBADF)?.path.clone(),
            105 | 117 => {}
            keelson_lwk_wire::calls::PATH_OF => {
                let path = &self.handles.get(&a).ok_or(Errno::EBADF)?.path;
                let path = self.real.get(path).unwrap_or(path).clone();
                reply.result = path.len() as i64;
                reply.output = vec![(1, path)];
            }
            160 => self.largest = Some(call.arguments[1]),
            217 => {
                let open = self.handles.get_mut(&a).ok_or(Errno::EBADF)?;
                if open.at == 0 {
                    open.at = 1;
                    reply.result = 24;
                    reply.output = vec![(1, vec![0; 24])];
                }
            }
            257 => {
                let path = self.path(a, call, 1)?;
                let flags = c as u32;
                let inode = match self.node(&path) {
                    Ok(_) if flags & 0o300 == 0o300 => return Err(Errno::EEXIST),
                    Ok(inode) => inode,
                    Err(_) if flags & 0o100 != 0 => self.create(&path, REGULAR, b""),
                    Err(error) => return Err(error),
                };
                if flags & 0o1000 != 0 {
                    self.inodes.get_mut(&inode).unwrap().content.clear();
                }
                reply.result = self.open(inode, &path, flags).0 as i64;
                reply.opened = Some(self.opened(inode));
            }
            258 => {
                let path = self.path(a, call, 1)?;
                if self.node(&path).is_ok() {
                    return Err(Errno::EEXIST);
                }
                self.create(&path, DIRECTORY, b"");
            }
            262 => {
                let inode = match self.path(a, call, 1) {
                    Err(Errno::ENOENT) if d & 0x1000 != 0 => self.handles.get(&a).ok_or(Errno::EBADF)?.inode,
                    path => self.node(&path?)?,
                };
                reply.output = vec![(2, self.stat(inode))];
            }
            263 => {
                let path = self.path(a, call, 1)?;
                self.nodes.remove(&path).ok_or(Errno::ENOENT)?;
            }
            266 => {
                let path = self.path(call.arguments[1], call, 2)?;
                let target = input(0).ok_or(Errno::EFAULT)?.clone();
                self.create(&path, LINK, &target);
            }
            267 => {
                let path = self.path(a, call, 1)?;
                let inode = &self.inodes[&self.node(&path)?];
                if inode.mode != LINK {
                    return Err(Errno::EINVAL);
                }
                let text = inode.content.strip_suffix(b"\0").unwrap_or(&inode.content);
                let text = &text[..text.len().min(room)];
                reply.result = text.len() as i64;
                reply.output = vec![(2, text.to_vec())];
            }
            269 | 439 => {
                let path = self.path(a, call, 1)?;
                self.node(&path)?;
            }
            264 | 316 => {
                let (from, to) = (self.path(a, call, 1)?, self.path(c, call, 3)?);
                let inode = self.nodes.remove(&from).ok_or(Errno::ENOENT)?;
                self.nodes.insert(to, inode);
            }
            _ => return Err(Errno::ENOSYS),
        }
        reply.events = self.events(a);
        Ok(reply)
    }
}

impl Delegate for Host {
    fn host(&self) -> u64 {
        1
    }

    fn call(&self, call: Call) -> Pending {
        let state = self.0.clone();
        let mut logged = false;
        Box::pin(poll_fn(move |cx| {
            let mut state = state.lock().unwrap();
            if !std::mem::replace(&mut logged, true) {
                state.log.push(call.clone());
                state.cancelled.remove(&call.tid);
            }
            if state.lost {
                return Poll::Ready(Reply { result: -5, ..Reply::default() });
            }
            let answer = match state.answer(&call) {
                Some(answer) => answer,
                None if state.cancelled.remove(&call.tid) => Err(Errno::EINTR),
                None => {
                    state.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            let failed = |error: Errno| Reply { result: error.as_result(), ..Reply::default() };
            Poll::Ready(answer.unwrap_or_else(failed))
        }))
    }

    fn cancel(&self, tid: u32) {
        let mut state = self.0.lock().unwrap();
        state.cancelled.insert(tid);
        let wakers = std::mem::take(&mut state.waiting);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn close(&self, handles: &[Handle]) {
        let mut state = self.0.lock().unwrap();
        for handle in handles {
            state.handles.remove(&handle.0);
            state.closed.push(*handle);
        }
    }

    fn subscribe(&self, handle: Handle, events: u32, ready: Arc<dyn Readiness>) -> Result<(), Errno> {
        let mut state = self.0.lock().unwrap();
        if events == 0 {
            state.subscriptions.remove(&handle.0);
            return Ok(());
        }
        state.subscriptions.insert(handle.0, (events, ready.clone()));
        let now = state.events(handle.0);
        drop(state);
        ready.ready(now);
        Ok(())
    }

    fn page_in(
        &self,
        handle: Handle,
        offset: u64,
        len: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, Errno>>>> {
        let state = self.0.lock().unwrap();
        let content = &state.inodes[&state.handles[&handle.0].inode].content;
        let bytes = content.iter().skip(offset as usize).take(len as usize).copied().collect();
        Box::pin(std::future::ready(Ok(bytes)))
    }

    fn page_out(
        &self,
        handle: Handle,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Errno>>>> {
        let mut state = self.0.lock().unwrap();
        let inode = state.handles[&handle.0].inode;
        let content = &mut state.inodes.get_mut(&inode).unwrap().content;
        let end = offset as usize + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(&bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_alive(&self) -> bool {
        !self.0.lock().unwrap().lost
    }
}
