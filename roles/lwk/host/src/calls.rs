//! System calls, performed for the program.
//!
//! By safe interfaces only. What none of those offers is answered like this:
//!
//! | Call | Answer |
//! |---|---|
//! | mq_open and its family | ENOSYS |
//! | rt_sigqueueinfo to another process, kill with a real-time signal | EPERM, EINVAL |
//! | socket options beyond those in [`options`] | ENOPROTOOPT |
//! | control data beyond SCM_RIGHTS and SCM_CREDENTIALS | EOPNOTSUPP when sent, dropped when received |
//! | socket addresses of families beyond unix, inet, inet6, netlink | EAFNOSUPPORT |
//! | SIOCETHTOOL | EOPNOTSUPP |
//! | TIOCOUTQ, SIOCATMARK | ENOTTY |
//! | sync_file_range | done as fdatasync, which is more |
//! | F_SETLKW | waits without finding deadlocks: the node looks for those of its processes |

mod attributes;
mod directories;
pub mod exec;
mod interfaces;
mod io;
mod ioctl;
mod locks;
mod messages;
mod notify;
pub mod options;
mod paths;
mod process;
mod sockets;
mod task;
mod terminal;
mod xattr;

use std::sync::Arc;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::calls::{Output, PATH_OF};
use keelson_lwk_wire::messages::Hint;

use crate::fail::Fail;
pub use attributes::stat_of;
pub use io::{read_page, write_page};
pub use paths::change_directory;
pub use task::Task;

/// What a call comes to.
pub struct Reply {
    /// Its result.
    pub result: i64,
    /// Of a new handle.
    pub hint: Option<Hint>,
    /// Bytes for the program.
    pub outs: Vec<(Output, Vec<u8>)>,
}

impl Reply {
    /// A number.
    pub fn value(result: i64) -> Reply {
        Reply { result, hint: None, outs: Vec::new() }
    }

    /// Success.
    pub fn done() -> Reply {
        Reply::value(0)
    }

    /// With bytes for the program, where it has room for them.
    pub fn with(mut self, output: Option<Output>, bytes: impl Into<Vec<u8>>) -> Reply {
        if let Some(output) = output {
            self.outs.push((output, bytes.into()));
        }
        self
    }
}

/// Adds a handle for what a call opened.
fn opened(task: &Task<'_>, handle: crate::proxy::handles::Handle) -> Result<Reply, Fail> {
    let hint = handle.hint()?;
    let number = task.proxy.handles.add(handle)?;
    Ok(Reply { hint: Some(hint), ..Reply::value(number as i64) })
}

/// Performs a checked call.
pub fn perform(task: &Task<'_>) -> Result<Reply, Fail> {
    if task.proxy.rules.read_only && writes(task.nr()) {
        return Err(Fail(Errno::EROFS));
    }
    match task.nr() {
        0 | 17 | 19 | 295 | 327 => io::read(task),
        1 | 18 | 20 | 296 | 328 => io::write(task),
        8 => io::seek(task),
        40 => io::send_file(task),
        326 => io::copy_range(task),
        74 | 75 | 162 | 306 | 277 => io::sync(task),
        2 | 85 | 257 | 437 => paths::open(task),
        3 => process::close(task),
        72 => locks::fcntl(task),
        73 => locks::flock(task),
        16 => ioctl::ioctl(task),
        4 | 5 | 6 | 262 | 332 => attributes::stat(task),
        136..=138 => attributes::statfs(task),
        21 | 269 | 439 => attributes::access(task),
        76 | 77 | 285 => attributes::resize(task),
        90 | 91 | 268 => attributes::chmod(task),
        92 | 93 | 94 | 260 => attributes::chown(task),
        132 | 235 | 261 | 280 => attributes::set_times(task),
        89 | 267 => paths::read_link(task),
        PATH_OF => paths::path_of(task),
        79..=81 => paths::directory(task),
        82 | 264 | 316 | 83 | 258 | 84 | 86 | 265 | 87 | 263 | 88 | 266 | 133 | 259 => paths::change(task),
        78 | 217 => directories::entries(task),
        188..=199 => xattr::xattr(task),
        253 | 294 | 254 | 255 => notify::inotify(task),
        41 | 42 | 43 | 48 | 49 | 50 | 51 | 52 | 288 => sockets::socket(task),
        44 | 45 => sockets::transfer(task),
        46 | 47 => messages::message(task),
        54 | 55 => options::option(task),
        59 | 322 => exec::open(task),
        62 | 129 => process::kill(task),
        121 | 124 => process::group_or_session(task),
        // Of the table, but without a safe interface.
        64..=71 | 220 | 240..=245 => Err(Fail(Errno::ENOSYS)),
        _ => Err(Fail(Errno::ENOSYS)),
    }
}

/// Calls that change a file system whatever their arguments; open looks at its flags itself.
fn writes(nr: u32) -> bool {
    matches!(
        nr,
        18 | 296 | 328 | 76 | 77 | 285 | 326 | 82..=88 | 90..=94 | 132 | 133 | 188..=190 | 197..=199 | 235 | 258..=261 | 263..=266
            | 268 | 280 | 316
    )
}

/// Shorthand for calls that give nothing but success.
fn done<E: Into<Fail>>(result: Result<(), E>) -> Result<Reply, Fail> {
    result.map(|()| Reply::done()).map_err(Into::into)
}

/// What is behind a handle argument, which was checked when the request came.
type Held = Arc<crate::proxy::handles::Handle>;
