//! Names of services: `name_attach` and `name_open` on this node (section 11.4).
//!
//! A name is a path below `/dev/name/local` or `/dev/name/global`. Clients open it with `_IO_CONNECT` of file type 12,
//! wherever they are; this registry tells which channel it is.

use super::channel::{Channel, Received};
use super::connection::Connection;
use super::kernel::{Credentials, Kernel};
use super::message::Message;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Deref;
use keelson_qnet_wire::io::{ConnectSubtype, Extra, FileType, IoConnect, MsgType, ioflag};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Names of one node.
const NAMES: usize = 256;

/// Longest name.
const NAME_MAX: usize = 255;

/// Messages below are for resource managers, and not for services to define (`_IO_MAX`).
const IO_MAX: u16 = 0x1ff;

/// Where a name is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NameScope {
    /// `/dev/name/local`.
    Local,
    /// `/dev/name/global`.
    Global,
}

/// The registry.
#[derive(Default)]
pub(super) struct Names {
    list: BTreeMap<(NameScope, String), (u32, u32)>,
}

/// A service that others find by its name; see [`Kernel::name_attach`]. Dropping it takes the name away and destroys
/// the channel.
pub struct NameAttach {
    channel: Channel,
    kernel: Kernel,
    scope: NameScope,
    name: String,
}

impl Kernel {
    /// Makes a channel that clients find by a name. `EEXIST` when the name is taken, `EINVAL` when it is empty,
    /// absolute, or has empty or dotted components.
    pub fn name_attach(&self, pid: u32, name: &str, scope: NameScope) -> Result<NameAttach, Errno> {
        check(name)?;
        let channel = self.channel(pid)?;
        let mut names = self.0.names.borrow_mut();
        let key = (scope, name.to_string());
        if names.list.contains_key(&key) {
            drop(names);
            return Err(Errno::EEXIST);
        }
        if names.list.len() >= NAMES {
            drop(names);
            return Err(Errno::EAGAIN);
        }
        names.list.insert(key, (pid, channel.chid()));
        drop(names);
        Ok(NameAttach { channel, kernel: self.clone(), scope, name: name.to_string() })
    }

    /// Process and channel of a name of this node.
    pub fn name_lookup(&self, name: &str, scope: NameScope) -> Option<(u32, u32)> {
        self.0.names.borrow().list.get(&(scope, name.to_string())).copied()
    }

    /// All names of this node, in order.
    pub fn names(&self, scope: NameScope) -> Vec<String> {
        let names = self.0.names.borrow();
        names.list.keys().filter(|(other, _)| *other == scope).map(|(_, name)| name.clone()).collect()
    }

    /// Opens a service of this node by its name. `ENOENT` when there is none.
    pub async fn name_open(
        &self,
        name: &str,
        scope: NameScope,
        who: &Credentials,
    ) -> Result<Connection, Errno> {
        let (pid, chid) = self.name_lookup(name, scope).ok_or(Errno::ENOENT)?;
        let open = IoConnect {
            subtype: ConnectSubtype::OPEN,
            file_type: FileType::NAME,
            reply_max: IoConnect::REPLY_MAX,
            entry_max: IoConnect::ENTRY_MAX,
            key: 0,
            handle: 0,
            ioflag: ioflag::ACCESS,
            mode: 0,
            sflag: IoConnect::SH_DENYNO,
            access: 3,
            eflag: 0,
            path: b"",
            extra: Extra::None,
        };
        let mut room = [0; 64];
        let len = open.emit(&mut room, Endian::Little).map_err(|_| Errno::EMSGSIZE)?;
        let message = room.get(..len).unwrap_or_default();
        let (connection, _, _) =
            self.connect_and_send((Nd::LOCAL, pid, chid), who, &[message], &mut []).await?;
        Ok(connection)
    }
}

impl NameAttach {
    /// Receives what the service has to handle itself. Opening and closing succeed; other messages of the kind that
    /// resource managers understand are refused with `ENOSYS`. Messages of services have types above 0x1ff, or none.
    pub async fn receive(&self) -> Received {
        loop {
            match self.channel.receive().await {
                Received::Message(message) => match kind(&message) {
                    MsgType::IO_CONNECT | MsgType::IO_CLOSE | MsgType::IO_DUP => message.reply(0, &[]),
                    MsgType(0x100..=IO_MAX) => message.error(Errno::ENOSYS),
                    _ => return Received::Message(message),
                },
                other => return other,
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is known.
    pub fn scope(&self) -> NameScope {
        self.scope
    }
}

impl Deref for NameAttach {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for NameAttach {
    fn drop(&mut self) {
        let name = core::mem::take(&mut self.name);
        self.kernel.0.names.borrow_mut().list.remove(&(self.scope, name));
    }
}

/// Type of a message; one too short to have any is the service's own.
fn kind(message: &Message) -> MsgType {
    match message.data() {
        [low, high, ..] => MsgType(u16::from_le_bytes([*low, *high])),
        _ => MsgType(u16::MAX),
    }
}

fn check(name: &str) -> Result<(), Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let is_fine = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if name.split('/').all(is_fine) { Ok(()) } else { Err(Errno::EINVAL) }
}
