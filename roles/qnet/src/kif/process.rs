//! Processes as far as message passing knows them: channels, credentials, group.

use super::table::Key;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use keelson_qnet_wire::kif::Cred;

/// The process manager.
pub const PROCESS_MANAGER: u32 = 1;

/// Largest process id: ids are signed on the wire, and negative ones name groups.
const LAST_PID: u32 = i32::MAX as u32;

/// A process.
pub(crate) struct Process {
    pub cred: Cred,
    /// Process group.
    pub group: u32,
    /// Its channels, by channel id.
    pub channels: Vec<(u32, Key)>,
    next_chid: u32,
}

/// All processes, by process id.
pub(crate) struct Processes {
    list: BTreeMap<u32, Process>,
    next_pid: u32,
    limit: usize,
}

impl Processes {
    /// The process manager alone.
    pub fn new(limit: usize) -> Processes {
        let mut processes = Processes { list: BTreeMap::new(), next_pid: PROCESS_MANAGER, limit };
        processes.create(Cred::default());
        processes
    }

    /// Adds a process, the leader of its own group. Its id is not given again before all others have been.
    pub fn create(&mut self, cred: Cred) -> Option<u32> {
        if self.list.len() >= self.limit {
            return None;
        }
        let mut pid = self.next_pid;
        while self.list.contains_key(&pid) {
            pid = following(pid);
        }
        self.next_pid = following(pid);
        let cred = Cred { pid: pid as i32, ..cred };
        self.list.insert(pid, Process { cred, group: pid, channels: Vec::new(), next_chid: 1 });
        Some(pid)
    }

    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.list.get(&pid)
    }

    pub fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.list.get_mut(&pid)
    }

    pub fn remove(&mut self, pid: u32) -> Option<Process> {
        self.list.remove(&pid)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Process)> {
        self.list.iter().map(|(pid, process)| (*pid, process))
    }

    /// The channel with these ids as a CONNECT has them.
    pub fn channel(&self, pid: i32, chid: u32) -> Option<Key> {
        let process = self.list.get(&u32::try_from(pid).ok()?)?;
        process.channels.iter().find(|(id, _)| *id == chid).map(|(_, key)| *key)
    }
}

impl Process {
    /// An id for a channel.
    pub fn take_chid(&mut self) -> u32 {
        let mut chid = self.next_chid;
        while self.channels.iter().any(|(id, _)| *id == chid) {
            chid = chid % CHIDS + 1;
        }
        self.next_chid = chid % CHIDS + 1;
        chid
    }
}

/// Channel ids are below the bit of global channels.
const CHIDS: u32 = (1 << 30) - 1;

fn following(pid: u32) -> u32 {
    if pid >= LAST_PID { PROCESS_MANAGER + 1 } else { pid + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_reused_at_once() {
        let mut processes = Processes::new(3);
        let first = processes.create(Cred::default()).unwrap();
        assert_eq!((first, processes.create(Cred::default())), (2, Some(3)));
        assert_eq!(processes.create(Cred::default()), None);
        processes.remove(first);
        assert_eq!(processes.create(Cred { euid: 9, ..Cred::default() }), Some(4));
        let process = processes.get_mut(4).unwrap();
        assert_eq!((process.cred.pid, process.cred.euid, process.group), (4, 9, 4));
        assert_eq!((process.take_chid(), process.take_chid()), (1, 2));
        processes.next_pid = LAST_PID;
        processes.remove(4);
        assert_eq!(processes.create(Cred::default()), Some(LAST_PID));
        processes.remove(LAST_PID);
        assert_eq!(processes.create(Cred::default()), Some(2));
    }
}
