//! A process whose system calls a test makes in its place.

// Not every test needs everything.
#![allow(dead_code)]

use super::host::Host;
use super::{Machine, TestClock, system};
use crate::Errno;
use crate::files::FdTable;
use crate::mm::{Map, Mm, MmSettings};
use crate::process::Process;
use crate::syscalls::Caller;
use crate::system::System;
use crate::thread::Thread;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use keelson_hal::user::Protection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// First address of the memory that [`Program`] has.
pub const MEMORY: u64 = 0x10_0000;
/// Bytes of it; behind it nothing is mapped.
pub const MEMORY_BYTES: u64 = 4 << 20;

/// A process with one thread, memory and a host.
pub struct Program {
    /// Its machine.
    pub system: Arc<System>,
    /// Its machine, as tests change it.
    pub machine: Arc<Machine>,
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// Its host.
    pub host: Host,
    /// Its only thread.
    pub thread: Arc<Thread>,
    next: AtomicU64,
}

impl Program {
    /// A process with `files`.
    pub fn with_files(files: FdTable) -> Program {
        Program::with(files, MmSettings::default())
    }

    /// A process without open files whose memory has these settings.
    pub fn with_memory(settings: MmSettings) -> Program {
        Program::with(FdTable::default(), settings)
    }

    fn with(files: FdTable, settings: MmSettings) -> Program {
        let (system, machine, clock) = system();
        let mm = memory(&system, settings);
        let host = Host::new();
        let process = Process::new(100, system.clone(), mm, Arc::new(files), Arc::new(host.clone()));
        let thread = Arc::new(Thread::new(100, Arc::new(process), 1));
        Program { system, machine, clock, host, thread, next: AtomicU64::new(MEMORY) }
    }

    /// A child of it as fork makes one, on a node of its own and with empty memory.
    pub fn child(&self, pid: u32) -> Program {
        let delegate = &self.thread.process.delegate;
        let files = self.files().fork(delegate, delegate, || false).unwrap();
        let (system, machine, clock) = (self.system.clone(), self.machine.clone(), self.clock.clone());
        let mm = memory(&system, MmSettings::default());
        let process = Process::new(pid, system.clone(), mm, Arc::new(files), delegate.clone());
        let thread = Arc::new(Thread::new(pid, Arc::new(process), 1));
        Program { system, machine, clock, host: self.host.clone(), thread, next: AtomicU64::new(MEMORY) }
    }

    /// A process without open files.
    pub fn new() -> Program {
        Program::with_files(FdTable::default())
    }

    /// As system calls see it.
    pub fn caller(&self) -> Caller<'_> {
        Caller { thread: &self.thread }
    }

    /// Its descriptors.
    pub fn files(&self) -> Arc<FdTable> {
        self.thread.process.files()
    }

    /// Memory that nobody uses yet, filled with zeros.
    pub fn room(&self, len: u64) -> u64 {
        let at = self.next.fetch_add(len.next_multiple_of(16), Ordering::Relaxed);
        assert!(at + len <= MEMORY + MEMORY_BYTES, "the program has more memory");
        at
    }

    /// Puts bytes into memory; where.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        let at = self.room(bytes.len() as u64);
        self.thread.process.mm().write(at, bytes).unwrap();
        at
    }

    /// Puts a string with its zero.
    pub fn text(&self, text: &str) -> u64 {
        self.put(&[text.as_bytes(), b"\0"].concat())
    }

    /// Bytes in memory.
    pub fn bytes(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.thread.process.mm().read(at, &mut bytes).unwrap();
        bytes
    }
}

fn memory(system: &Arc<System>, settings: MmSettings) -> Arc<Mm> {
    let mm = Mm::new(system, settings).unwrap();
    // MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE
    let (flags, protection) = (0x32, Protection::READ_WRITE);
    let map = Map { at: MEMORY, len: MEMORY_BYTES, protection, flags, ..Map::default() };
    assert_eq!(mm.mmap(&map), Ok(MEMORY));
    mm
}

/// The result of a call that does not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match once(pin!(future)) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the call waits"),
    }
}

/// Polls a call once.
pub fn once<T>(future: core::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A result that is an error.
pub fn fails<T: core::fmt::Debug>(result: Result<T, Errno>) -> Errno {
    result.expect_err("an error")
}
