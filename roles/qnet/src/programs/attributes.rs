//! What changes attributes, or makes sure that they last: `chmod`, `chown`, `sync`.

use super::text::Options;
use crate::client::OpenFlags;
use crate::procs::{Exit, Process};

/// Largest mode: permissions, and the bits for set-ID and sticky.
const MODE_MAX: u32 = 0o7777;

pub(super) async fn chmod(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    let Some((mode, names)) = options.rest.split_first().filter(|(_, names)| !names.is_empty()) else {
        return Err(process.usage("a mode and a path are needed").await);
    };
    let Some(mode) = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= MODE_MAX) else {
        return Err(process.usage("a mode is an octal number").await);
    };
    let mut status = 0;
    for name in names {
        if let Err(errno) = process.files().chmod(&process.path(name), mode).await {
            process.warn(name, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

pub(super) async fn chown(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    let Some((owner, names)) = options.rest.split_first().filter(|(_, names)| !names.is_empty()) else {
        return Err(process.usage("an owner and a path are needed").await);
    };
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let id = |text: &str| if text.is_empty() { Ok(None) } else { text.parse::<u32>().map(Some) };
    let (Ok(user), Ok(group)) = (id(user), id(group)) else {
        return Err(process.usage("owner and group are numbers").await);
    };
    let mut status = 0;
    for name in names {
        if let Err(errno) = process.files().chown(&process.path(name), user, group).await {
            process.warn(name, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

/// What was written survives a power cut, once this has ended.
pub(super) async fn sync(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    if options.rest.is_empty() {
        return Err(process.usage("a file is needed").await);
    }
    let mut status = 0;
    for name in &options.rest {
        let synced = async {
            let file = process.files().open(&process.path(name), OpenFlags::READ).await?;
            file.sync().await?;
            file.close().await
        };
        if let Err(errno) = synced.await {
            process.warn(name, errno).await;
            status = 1;
        }
    }
    Ok(status)
}
