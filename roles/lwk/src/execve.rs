//! Another program in the same process (execve(2), section 3.8).

use crate::Errno;
use crate::load::{Executable, Load};
use crate::mm::{Mm, MmSettings};
use crate::process::Program;
use crate::run::{Outcome, Task};
use crate::sched::Seat;
use crate::signals::AltStack;
use crate::thread::{Attention, Thread};
use crate::{limits, restart, room};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use keelson_hal::user::Registers;

/// Longest path, with its zero.
const PATH_MAX: usize = 4096;
/// Longest argument, with its zero (MAX_ARG_STRLEN).
const ARGUMENT_MAX: usize = 128 << 10;
/// Least room for arguments and environment together.
const ARGUMENTS_LEAST: u64 = 128 << 10;
/// Most room, whatever the limit of the stack.
const ARGUMENTS_MOST: u64 = 6 << 20;

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;

/// execve(2) in the numbers of system calls.
const EXECVE: u32 = 59;

impl Task {
    /// execve(path, argv, envp) and execveat(directory, path, argv, envp, flags). What comes next when it was done.
    pub(crate) async fn sys_exec(&mut self, number: u32, args: [u64; 6]) -> Result<Option<Outcome>, Errno> {
        let [directory, path, argv, envp, flags] = match number {
            EXECVE => [AT_FDCWD as u64, args[0], args[1], args[2], 0],
            _ => [args[0], args[1], args[2], args[3], args[4]],
        };
        if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
            return Err(Errno::EINVAL);
        }
        let load = self.load_request(directory as i32, path, argv, envp, flags).await?;
        let process = self.thread.process.clone();
        // The memory policy outlives exec; the limit of the stack is one for the arguments too.
        let settings =
            MmSettings { policy: self.mm.policy(), limits: process.memory_limits(), ..process.memory };
        let mm = Mm::new(&process.system, settings)?;
        let mut loaded = process.loader.load(&mm, load).await?;
        loaded.program.place(process.files().fs());
        // Everything that can fail is behind us, but for a place and for another thread that was faster.
        let seat = self.seat_of_exec()?;
        let files = process.own_files()?;
        self.end_others().await?;
        self.release_futexes().await;
        if process.borrowed.lock().is_none() {
            self.mm.close().await;
        }
        process.peak.store(process.peak_memory(), Ordering::Relaxed);
        mm.set_small_pages(process.facts.small_pages.load(Ordering::Relaxed));
        drop(process.replace_mm(mm.clone()));
        self.mm = mm;
        process.return_loan();
        files.close_on_exec(process.pid);
        process.signals.actions.lock().forget_handlers();
        process.timers.exec();
        *self.thread.signals.stack.lock() = AltStack::default();
        // What it had registered lay in the memory that is gone.
        *self.thread.rseq.lock() = None;
        self.thread.robust_list.store(0, Ordering::Relaxed);
        self.thread.clear_child_tid.store(0, Ordering::Relaxed);
        self.thread.set_comm(loaded.program.name());
        process.announce(loaded.program.name());
        *process.program.lock() = Arc::new(loaded.program);
        process.facts.executed();
        self.context.registers = Registers { rip: loaded.entry, rsp: loaded.stack, ..Registers::default() };
        self.context.extended.reset();
        let moved = seat.map(|seat| self.thread.placement.lock().seat.replace(seat));
        let outcome = (self.thread.tid != process.pid).then(|| Outcome::Become(self.become_first()));
        process.executing.store(0, Ordering::Release);
        if moved.is_some() {
            let thread = match &outcome {
                Some(Outcome::Become(thread)) => thread,
                _ => &self.thread,
            };
            thread.demand_self(Attention::MOVE);
        }
        Ok(outcome)
    }

    async fn load_request(
        &self,
        directory: i32,
        path: u64,
        argv: u64,
        envp: u64,
        flags: u64,
    ) -> Result<Load, Errno> {
        let process = &self.thread.process;
        let path = self.mm.read_string_wait(path, PATH_MAX).await?;
        if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        let stack = process.limits.lock().soft(limits::STACK);
        let mut room = (stack / 4).clamp(ARGUMENTS_LEAST, ARGUMENTS_MOST);
        let mut arguments = self.read_strings(argv, &mut room).await?;
        if arguments.is_empty() {
            // Programs take it for granted that there is a name; Linux gives an empty one since 5.18.
            arguments.push(Vec::new());
        }
        let environment = self.read_strings(envp, &mut room).await?;
        let relative = directory != AT_FDCWD && !path.starts_with(b"/");
        let directory = if relative {
            Some(process.files().handle(directory as u32)?.ok_or(Errno::ENOTDIR)?)
        } else {
            None
        };
        let no_follow = flags & AT_SYMLINK_NOFOLLOW != 0;
        let own = path == b"/proc/self/exe";
        let path = if own { process.program.lock().executable.clone() } else { path };
        Ok(Load {
            executable: Executable::Path { directory, path: path.clone(), no_follow },
            program: Program { path, arguments, environment, ..Program::default() },
            ids: process.ids.lock().clone(),
            delegate: process.delegate.clone(),
        })
    }

    /// Reads an array of strings that ends with a null pointer; a null array is empty. E2BIG when `room` bytes are not enough,
    /// ENOMEM when there is no memory for so many.
    async fn read_strings(&self, array: u64, room: &mut u64) -> Result<Vec<Vec<u8>>, Errno> {
        let mut strings = Vec::new();
        let machine = &self.thread.process.system.machine;
        if array == 0 {
            return Ok(strings);
        }
        let mut at = array;
        loop {
            let mut word = [0; 8];
            self.mm.read_wait(at, &mut word).await?;
            let pointer = u64::from_le_bytes(word);
            if pointer == 0 {
                return Ok(strings);
            }
            let string = match self.mm.read_string_wait(pointer, ARGUMENT_MAX).await {
                Err(Errno::ENAMETOOLONG) => return Err(Errno::E2BIG),
                string => string?,
            };
            // The string, its zero and the pointer to it.
            *room = room.checked_sub(string.len() as u64 + 9).ok_or(Errno::E2BIG)?;
            // Each may be short, and there are hundreds of thousands of them then.
            if machine.is_short() {
                return Err(Errno::ENOMEM);
            }
            room::push(&mut strings, string)?;
            at = at.checked_add(8).ok_or(Errno::EFAULT)?;
        }
    }

    /// The child of a vfork has borrowed its parent's core so far: now it needs one of its own.
    fn seat_of_exec(&self) -> Result<Option<Seat>, Errno> {
        let guest = self.thread.placement.lock().seat.as_ref().is_some_and(Seat::is_guest);
        if guest { self.seat_or_overflow().map(Some) } else { Ok(None) }
    }

    /// Ends all other threads. When another thread does the same, this one ends instead.
    async fn end_others(&self) -> Result<(), Errno> {
        let process = &self.thread.process;
        let mine = process
            .executing
            .compare_exchange(0, self.thread.tid, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !mine {
            return Err(restart::ALWAYS);
        }
        process.end_threads();
        loop {
            let changed = process.changed.changed();
            if process.end().is_some() {
                return Err(restart::ALWAYS);
            }
            if process.thread_count() == 1 {
                return Ok(());
            }
            changed.await;
        }
    }

    /// The thread that executes a program has the number of its process afterwards.
    fn become_first(&self) -> Arc<Thread> {
        let (old, process) = (&self.thread, &self.thread.process);
        let thread = Thread::new(process.pid, process.clone(), self.core().number);
        thread.set_mask(old.signals.mask());
        *thread.name.lock() = *old.name.lock();
        let placement = core::mem::take(&mut *old.placement.lock());
        *thread.placement.lock() = placement;
        let thread = Arc::new(thread);
        let mut table = process.node.table.lock();
        table.remove_thread(old.tid);
        table.set_thread(process.pid, thread.clone());
        drop(table);
        process.replace_thread(old, thread.clone());
        thread
    }
}
