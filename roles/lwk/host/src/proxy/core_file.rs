//! Core files: the node makes them, and sends them when the process is over.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{Flags, Frame, FrameType};
use keelson_lwk_wire::messages::{DumpData, DumpHeader, DumpKind, Message};

use crate::fail::Fail;

/// The core file of this process's program.
#[derive(Default)]
pub(super) enum CoreFile {
    /// Nothing was said of one.
    #[default]
    None,
    /// It is being received.
    Open { path: PathBuf, size: u64, file: File },
    /// There will be none: nobody wants it, or it cannot be written.
    Refused,
    /// It is here.
    Written(PathBuf),
}

impl CoreFile {
    /// Takes a DUMPHDR or DUMPDATA. The outer error is a violation of the protocol.
    pub(super) fn receive(
        &mut self,
        pattern: Option<&str>,
        frame: &Frame,
    ) -> Result<Result<(), Fail>, String> {
        if frame.header.kind == FrameType::DumpHeader {
            let header = DumpHeader::decode(&frame.payload).map_err(|error| error.to_string())?;
            if header.kind != DumpKind::Core || !matches!(self, CoreFile::None) {
                return Err("unexpected DUMPHDR".into());
            }
            *self = CoreFile::Refused;
            let opened = pattern.ok_or(Fail(Errno::ECANCELED)).and_then(open);
            return Ok(opened.map(|(path, file)| *self = CoreFile::Open { path, size: header.size, file }));
        }
        let data = DumpData::decode(&frame.payload).map_err(|error| error.to_string())?;
        let CoreFile::Open { path, size, file } = self else {
            return Err("DUMPDATA without DUMPHDR".into());
        };
        let end = data.offset.checked_add(data.bytes.len() as u64);
        if end.is_none_or(|end| end > *size) {
            return Err("DUMPDATA outside its file".into());
        }
        let mut done = file.write_all_at(data.bytes, data.offset);
        if frame.header.flags.contains(Flags::LAST) && done.is_ok() {
            // What was not sent is a hole.
            done = file.set_len(*size);
            *self = CoreFile::Written(std::mem::take(path));
        }
        if done.is_err() {
            *self = CoreFile::Refused;
        }
        Ok(done.map_err(Fail::from))
    }

    /// Where it is, once it is whole.
    pub(super) fn written(&self) -> Option<&Path> {
        match self {
            CoreFile::Written(path) => Some(path),
            _ => None,
        }
    }
}

/// Creates the file that a pattern names.
fn open(pattern: &str) -> Result<(PathBuf, File), Fail> {
    let path = PathBuf::from(OsStr::from_bytes(&expanded(pattern)));
    // As the kernel does: never through a link that somebody put there, readable by its owner only.
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = std::fs::OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_link).open(&path)?;
    Ok((path, file))
}

/// A pattern of core(5): `%p` process, `%u` user, `%g` group, `%h` host, `%t` time, `%%`. Others are dropped, as Linux does.
fn expanded(pattern: &str) -> Vec<u8> {
    let mut name = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let mut plain = [0; 4];
        match letter {
            '%' => match letters.next() {
                Some('%') => name.push(b'%'),
                Some('p') => name.extend(std::process::id().to_string().bytes()),
                Some('u') => name.extend(rustix::process::getuid().as_raw().to_string().bytes()),
                Some('g') => name.extend(rustix::process::getgid().as_raw().to_string().bytes()),
                Some('h') => name.extend(rustix::system::uname().nodename().to_bytes()),
                Some('t') => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    name.extend(now.as_secs().to_string().bytes());
                }
                _ => {}
            },
            letter => name.extend(letter.encode_utf8(&mut plain).bytes()),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files() {
        let pid = std::process::id();
        assert_eq!(expanded("core.%p"), format!("core.{pid}").into_bytes());
        assert_eq!(expanded("/tmp/100%%-%p-é%q%"), format!("/tmp/100%-{pid}-é").into_bytes());
        assert!(!expanded("%u.%g.%h.%t").is_empty());
    }
}
