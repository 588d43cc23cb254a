//! Processes that wait for record locks of files of the host, and circles of them (fcntl(2), EDEADLK). Those that wait for files
//! in the memory of the node are in [`crate::files::RecordWaits`].
//!
//! The locks are the proxies', and a proxy waits by asking again: its kernel does not see it wait. So the node knows who waits,
//! and asks the host who has the lock. Whoever waits looks soon after it began, once it is known to wait, and then every second:
//! the last of a circle to begin sees it whole. What waits that long is rare, and what does not costs nothing.
//!
//! Locks between processes of different nodes, or of a node and its host, wait for ever as before.

use crate::delegate::{Call, Delegate, Handle};
use crate::files::flags::F_GETLK;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use keelson_lwk_wire::layout::Flock;
use spin::Mutex;

/// When a wait is looked at first.
pub const FIRST_LOOK: Duration = Duration::from_millis(20);
/// And from then on.
pub const LATER_LOOKS: Duration = Duration::from_secs(1);

/// `l_type` for no lock (asm-generic/fcntl.h).
const F_UNLCK: i16 = 2;
/// The call that asks.
const FCNTL: u32 = 72;
/// Processes in a circle, at most: as Linux, which looks no further either.
const MOST: usize = 10;

/// Who waits, on the whole node.
#[derive(Default)]
pub struct LockWaits {
    waits: Mutex<Vec<Arc<Wait>>>,
    next: AtomicU64,
}

/// A thread that waits.
struct Wait {
    number: u64,
    pid: u32,
    delegate: Arc<dyn Delegate>,
    handle: Handle,
    /// What it wants: `struct flock`.
    wanted: Vec<u8>,
}

/// An entry, for as long as it is there.
pub struct Waiting<'a> {
    waits: &'a LockWaits,
    own: Arc<Wait>,
}

impl LockWaits {
    /// Process `pid` waits for the lock that `wanted`, a `struct flock`, says.
    pub fn enter(
        &self,
        pid: u32,
        delegate: &Arc<dyn Delegate>,
        handle: Handle,
        wanted: &[u8],
    ) -> Waiting<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let own = Arc::new(Wait { number, pid, delegate: delegate.clone(), handle, wanted: wanted.to_vec() });
        self.waits.lock().push(own.clone());
        Waiting { waits: self, own }
    }

    fn of(&self, pid: u32, host: u64) -> Option<Arc<Wait>> {
        let waits = self.waits.lock();
        waits.iter().find(|wait| wait.pid == pid && wait.delegate.host() == host).cloned()
    }
}

impl Wait {
    /// The process that has the lock, or one of them. `None`: nobody, nobody that is known, or the host does not say.
    async fn owner(&self) -> Option<u32> {
        let arguments = [self.handle.0, F_GETLK.into(), 0, 0, 0, 0];
        let call = Call {
            number: FCNTL,
            arguments,
            input: alloc::vec![(2, self.wanted.clone())],
            output: alloc::vec![(2, Flock::LEN as u32)],
            ..Call::default()
        };
        let reply = self.delegate.call(call).await;
        let (_, bytes) = reply.output.first().filter(|_| reply.result == 0)?;
        let found = Flock::read(bytes)?;
        // A lock of an open description has owner -1.
        u32::try_from(found.pid).ok().filter(|pid| *pid > 0 && found.kind != F_UNLCK)
    }
}

impl Waiting<'_> {
    /// Whether it waits for a process that waits for itself in the end. Then it does not count as waiting any more: of a circle
    /// one gives up, and the others get their locks.
    pub async fn closes_circle(&self) -> bool {
        let mut chain = alloc::vec![self.own.clone()];
        while let Some(last) = chain.last().filter(|_| chain.len() <= MOST) {
            let Some(owner) = last.owner().await else { return false };
            if owner == self.own.pid {
                return self.give_up(&chain);
            }
            let Some(next) = self.waits.of(owner, self.own.delegate.host()) else { return false };
            chain.push(next);
        }
        false
    }

    /// False when one of the chain does not wait any more.
    fn give_up(&self, chain: &[Arc<Wait>]) -> bool {
        let mut waits = self.waits.waits.lock();
        let all = chain.iter().all(|link| waits.iter().any(|wait| wait.number == link.number));
        if all {
            waits.retain(|wait| wait.number != self.own.number);
        }
        all
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.waits.lock().retain(|wait| wait.number != self.own.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host::Host;
    use crate::testing::programs::now;

    /// The proxy of a process that waits for one that `owner` names.
    fn waits_for(owner: i32) -> (Host, Handle) {
        let host = Host::new();
        let (handle, _) = host.stream();
        host.lock_owner(owner);
        (host, handle)
    }

    fn enter<'a>(waits: &'a LockWaits, pid: u32, (host, handle): &(Host, Handle)) -> Waiting<'a> {
        let delegate: Arc<dyn Delegate> = Arc::new(host.clone());
        waits.enter(pid, &delegate, *handle, &[0; Flock::LEN])
    }

    #[test]
    fn the_last_of_a_circle_gives_up() {
        let waits = LockWaits::default();
        let hosts = [waits_for(102), waits_for(103), waits_for(101)];
        let first = enter(&waits, 101, &hosts[0]);
        let second = enter(&waits, 102, &hosts[1]);
        assert!(!now(first.closes_circle()), "103 does not wait");
        let third = enter(&waits, 103, &hosts[2]);
        assert!(now(third.closes_circle()));
        assert!(!now(first.closes_circle()), "there is no circle any more");
        drop((first, second, third));
        assert!(waits.waits.lock().is_empty());
    }

    #[test]
    fn what_is_no_circle() {
        let waits = LockWaits::default();
        let (free, open, ring) = (waits_for(0), waits_for(-1), [waits_for(202), waits_for(201)]);
        assert!(!now(enter(&waits, 101, &free).closes_circle()), "nobody has it");
        assert!(!now(enter(&waits, 101, &open).closes_circle()), "no process has it");
        // A circle of others is theirs to find.
        let others = (enter(&waits, 201, &ring[0]), enter(&waits, 202, &ring[1]));
        let host = waits_for(201);
        assert!(!now(enter(&waits, 101, &host).closes_circle()));
        let lost = waits_for(201);
        lost.0.lose();
        assert!(!now(enter(&waits, 101, &lost).closes_circle()));
        drop(others);
    }
}
