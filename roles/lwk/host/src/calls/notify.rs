//! inotify.

use std::ffi::OsString;

use keelson_lwk_wire::messages::FdKind;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::task::Dir;
use super::{Reply, Task, done, opened};
use crate::fail::Fail;
use crate::proxy::confine::{Last, own_link};
use crate::proxy::handles::Handle;

/// inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch
pub(super) fn inotify(task: &Task<'_>) -> Result<Reply, Fail> {
    match task.nr() {
        253 | 294 => {
            let flags = if task.nr() == 294 { task.int(0) } else { 0 };
            let fd = inotify::init(CreateFlags::from_bits_retain(flags) | CreateFlags::CLOEXEC)?;
            opened(task, Handle::of_kind(fd, FdKind::Inotify))
        }
        254 => {
            let handle = task.handle(0)?;
            let flags = WatchFlags::from_bits_retain(task.int(2));
            let last = if flags.contains(WatchFlags::DONT_FOLLOW) { Last::Itself } else { Last::Target };
            let watch = task.at(&Dir::Cwd, task.path(1)?, last, |dir, path| {
                // The call takes no directory: with --root the path is below one.
                let path = if task.proxy.rules.root.is_some() && !path.as_encoded_bytes().starts_with(b"/") {
                    let mut full: OsString = own_link(&dir);
                    full.push("/");
                    full.push(path);
                    full
                } else {
                    path.to_owned()
                };
                Ok(inotify::add_watch(&*handle, path.as_os_str(), flags)?)
            })?;
            Ok(Reply::value(watch.into()))
        }
        _ => done(inotify::remove_watch(&*task.handle(0)?, task.int(1) as i32)),
    }
}
