//! Messages to the process manager: spawn, wait, configuration strings, ids (sections 13.1 and 14).

use super::entry::{End, Spawner};
use super::remote;
use super::table::Processes;
use crate::api::Message;
use crate::io::{Caller, Namespace, Order, ProcServices, while_wanted};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::MsgType;
use keelson_qnet_wire::proc::{ProcWait, Siginfo, SysConf, SysConfReply, spawn_subtype, type_and_subtype};
use keelson_qnet_wire::{Endian, Errno};

/// Longest message that is read: a spawn with all its strings.
const MESSAGE_MAX: usize = 262_144;

/// Length of `_PROC_GETSETID`'s reply: parent, session, and the six ids (openqnx sys/procmsg.h).
const IDS_LEN: usize = 48;

impl Processes {
    /// Puts `/proc` into a table of names.
    pub fn mount(&self, namespace: &Namespace) -> Result<(), Errno> {
        namespace.mount("/proc", Rc::new(super::ProcDirectory::new(self)), Order::After).map(|_| ())
    }

    async fn answer(&self, message: &Message) -> Result<(i32, Vec<u8>), Errno> {
        if message.len() > MESSAGE_MAX {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; message.len()];
        let len = message.read(0, &mut bytes).await?;
        let bytes = bytes.get(..len).unwrap_or_default();
        let caller = Caller::new(message.credentials(), message.info());
        let (kind, subtype) = type_and_subtype(bytes, Endian::Little).map_err(|_| Errno::EINVAL)?;
        match kind {
            MsgType::SYS_CONF => self.sysconf(bytes),
            MsgType::PROC_SPAWN if subtype == spawn_subtype::START => {
                let Some(_permit) = self.spawns().try_acquire() else { return Err(Errno::EAGAIN) };
                // Given up with its client: nobody would know of the process.
                let pid = while_wanted(message, remote::spawn(self, &caller, bytes)).await?;
                Ok((pid as i32, Vec::new()))
            }
            MsgType::PROC_WAIT => {
                let wait = ProcWait::decode(bytes, Endian::Little).map_err(|_| Errno::EINVAL)?;
                let info = while_wanted(message, self.wait_for(&caller, wait)).await?;
                Ok((0, info.encode(Endian::Little).to_vec()))
            }
            MsgType::PROC_GETSETID if subtype == 0 => self.ids(&caller, bytes),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn sysconf(&self, bytes: &[u8]) -> Result<(i32, Vec<u8>), Errno> {
        let asked = SysConf::decode(bytes, Endian::Little).map_err(|_| Errno::EINVAL)?;
        if asked.cmd != SysConf::STRING {
            return Err(Errno::EINVAL);
        }
        let system = self.system();
        let text = match asked.name {
            SysConf::HOSTNAME => system.host_name(),
            SysConf::RELEASE => system.release(),
            SysConf::DOMAIN => system.domain(),
            _ => return Err(Errno::EINVAL),
        };
        let value = text.len() as i64 + 1;
        let mut reply = SysConfReply { matched: 1, value }.encode(Endian::Little).to_vec();
        let room = usize::try_from(asked.value).unwrap_or(0);
        let string = [text.as_bytes(), &[0]].concat();
        reply.extend_from_slice(string.get(..room.min(string.len())).unwrap_or_default());
        Ok((0, reply))
    }

    /// A process may be waited for by whoever has started it, and by root.
    async fn wait_for(&self, caller: &Caller, wait: ProcWait) -> Result<Siginfo, Errno> {
        if wait.idtype != ProcWait::PID || wait.options & ProcWait::EXITED == 0 {
            return Err(Errno::EINVAL);
        }
        let pid = u32::try_from(wait.id).map_err(|_| Errno::ECHILD)?;
        let entry = self.entry(pid).ok_or(Errno::ECHILD)?;
        let asker = Spawner { nd: caller.nd, pid: caller.credentials.pid };
        let is_parent = u32::try_from(asker.pid) == Ok(entry.parent.get());
        let is_child = match entry.spawner {
            Some(spawner) => spawner.nd.same_node(asker.nd) && spawner.pid == asker.pid,
            None => caller.nd == keelson_qnet_wire::Nd::LOCAL && is_parent,
        };
        if !is_child && !caller.is_root() {
            return Err(Errno::ECHILD);
        }
        let (code, status) = match self.wait(pid).await? {
            End::Exited(status) => (Siginfo::EXITED, status),
            End::Killed(signo) => (Siginfo::KILLED, signo),
        };
        Ok(Siginfo { signo: Siginfo::SIGCHLD, code, pid: wait.id, status })
    }

    /// Who a process is; 0 is whoever asks.
    fn ids(&self, caller: &Caller, bytes: &[u8]) -> Result<(i32, Vec<u8>), Errno> {
        let pid = bytes.get(4..8).and_then(|pid| pid.first_chunk()).ok_or(Errno::EINVAL)?;
        let pid = match i32::from_le_bytes(*pid) {
            0 => caller.credentials.pid,
            pid => pid,
        };
        let entry = u32::try_from(pid).ok().and_then(|pid| self.entry(pid)).ok_or(Errno::ESRCH)?;
        let who = &entry.who;
        let group = self.kernel().process_group(entry.pid).unwrap_or(entry.pid);
        let words = [
            entry.pid,
            entry.parent.get(),
            group,
            who.sid as u32,
            who.ruid,
            who.euid,
            who.suid,
            who.rgid,
            who.egid,
            who.sgid,
            entry.umask,
            0,
        ];
        let reply: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        debug_assert_eq!(reply.len(), IDS_LEN);
        Ok((0, reply))
    }
}

impl ProcServices for Processes {
    fn message(&self, message: Message) {
        let processes = self.clone();
        self.kernel().executor().spawn("proc", async move {
            match processes.answer(&message).await {
                Ok((status, data)) => message.reply(status, &data),
                Err(errno) => message.error(errno),
            }
        });
    }
}
