//! `/dev/con`: a terminal, whose text goes to and comes from whatever the image has.

use super::access::Caller;
use super::manager::{DevctlAnswer, Io, OpenFile, Opening, ResourceManager, now, unknown_devctl};
use super::text::plain;
use alloc::boxed::Box;
use alloc::rc::Rc;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::io::{Dcmd, notify};
use keelson_volume::{Attributes, FileId, FileType};

/// Where a console's text goes and comes from. No method waits.
pub trait Terminal {
    /// Shows text; how many bytes there was room for.
    fn write(&self, text: &[u8]) -> usize;

    /// Takes what was typed; how many bytes there were. A read of 0 bytes takes nothing.
    fn read(&self, room: &mut [u8]) -> usize;

    /// Whether something was typed that nobody has taken.
    fn has_input(&self) -> bool;

    /// Whether there is room to show text.
    fn has_room(&self) -> bool;

    /// Notified when either may have become true.
    fn changed(&self) -> Rc<Notify>;
}

/// The console's resource manager.
pub struct Console {
    terminal: Rc<dyn Terminal>,
    mode: u32,
}

impl Console {
    /// A console of a terminal, with permission bits.
    pub fn new(terminal: Rc<dyn Terminal>, mode: u32) -> Console {
        Console { terminal, mode: mode & 0o777 }
    }
}

impl ResourceManager for Console {
    fn root(&self) -> FileId {
        FileId { inode: 1, discriminator: 0 }
    }

    fn attributes(&self, _: FileId) -> Io<'_, Attributes> {
        now(Ok(plain(1, FileType::CharDevice, self.mode)))
    }

    fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(Ok(Rc::new(OpenConsole(self.terminal.clone()))))
    }

    fn is_writable(&self) -> bool {
        true
    }
}

struct OpenConsole(Rc<dyn Terminal>);

impl OpenFile for OpenConsole {
    fn read<'a>(&'a self, _: u64, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            let changed = self.0.changed();
            loop {
                let wait = changed.notified();
                let len = self.0.read(room);
                if len > 0 || room.is_empty() {
                    return Ok(len);
                }
                wait.await;
            }
        })
    }

    fn write<'a>(&'a self, _: u64, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            let changed = self.0.changed();
            loop {
                let wait = changed.notified();
                let len = self.0.write(data);
                if len > 0 || data.is_empty() {
                    return Ok(len);
                }
                wait.await;
            }
        })
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn may_block(&self) -> bool {
        true
    }

    fn ready(&self) -> u32 {
        let input = if self.0.has_input() { notify::INPUT } else { 0 };
        let output = if self.0.has_room() { notify::OUTPUT } else { 0 };
        input | output
    }

    fn changed(&self) -> Option<Rc<Notify>> {
        Some(self.0.changed())
    }

    fn devctl<'a>(
        &'a self,
        dcmd: Dcmd,
        _data: &'a [u8],
        _room: usize,
        _caller: &'a Caller,
    ) -> Io<'a, DevctlAnswer> {
        now(match dcmd.low16() {
            Dcmd::CHR_ISATTY => {
                let data = if dcmd.from_device() { 1_i32.to_le_bytes().to_vec() } else { Default::default() };
                Ok(DevctlAnswer { ret_val: 1, data })
            }
            _ => Err(unknown_devctl(dcmd)),
        })
    }
}
