//! Abstract names of sockets.

use super::UnixSocket;
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use spin::Mutex;

/// The abstract names of the node.
#[derive(Default)]
pub struct Names {
    entries: Mutex<BTreeMap<Vec<u8>, Weak<UnixSocket>>>,
}

impl Names {
    /// bind(2) to an abstract name; without one the socket gets five hexadecimal digits (unix(7), "autobind").
    pub fn bind(self: &Arc<Self>, socket: &Arc<UnixSocket>, name: Option<&[u8]>) -> Result<(), Errno> {
        let mut state = socket.state.lock();
        if state.name.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut entries = self.entries.lock();
        let is_free =
            |name: &[u8]| entries.get(name).is_none_or(|other: &Weak<UnixSocket>| other.strong_count() == 0);
        let name = match name {
            Some(name) if is_free(name) => name.to_vec(),
            Some(_) => return Err(Errno::EADDRINUSE),
            None => (0..0x10_0000)
                .map(|number| format!("{number:05x}").into_bytes())
                .find(|name| is_free(name))
                .ok_or(Errno::ENOSPC)?,
        };
        entries.insert(name.clone(), Arc::downgrade(socket));
        drop(entries);
        state.name = Some(name);
        state.names = Some(self.clone());
        Ok(())
    }

    /// The socket with this name; ECONNREFUSED.
    pub fn find(&self, name: &[u8]) -> Result<Arc<UnixSocket>, Errno> {
        self.entries.lock().get(name).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
    }

    /// Forgets a name whose socket is gone.
    pub(super) fn remove(&self, name: &[u8]) {
        let mut entries = self.entries.lock();
        if entries.get(name).is_some_and(|socket| socket.strong_count() == 0) {
            entries.remove(name);
        }
    }
}
