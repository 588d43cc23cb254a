//! Core files: the node builds them, and sends them when the process is over.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use keelson_lwk_wire::frame::{Flags, Frame, FrameType};
use keelson_lwk_wire::messages::{DumpData, DumpHeader, DumpKind, Message};

/// A core file that is being received.
pub(super) struct CoreFile {
    id: u64,
    size: u64,
    /// `None`: nobody wants it, or it cannot be written. The rest is skipped.
    file: Option<File>,
}

impl CoreFile {
    fn open(pattern: &str) -> std::io::Result<File> {
        let name = pattern.replace("%p", &std::process::id().to_string());
        // As the kernel does: never through a link that somebody put there, readable by its owner only.
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(no_link)
            .open(name)
    }

    /// Gives the file its size: what was not sent is a hole.
    pub(super) fn finish(self) {
        if let Some(file) = self.file {
            // A full disk has spoilt the file already.
            let _ = file.set_len(self.size);
        }
    }
}

/// Takes a DUMPHDR or DUMPDATA.
pub(super) fn receive(
    core: &mut Option<CoreFile>,
    pattern: Option<&str>,
    frame: &Frame,
) -> Result<(), String> {
    if frame.header.kind == FrameType::DumpHeader {
        let header = DumpHeader::decode(&frame.payload).map_err(|error| error.to_string())?;
        if header.kind != DumpKind::Core || core.is_some() {
            return Err("unexpected DUMPHDR".into());
        }
        let file = pattern.and_then(|pattern| CoreFile::open(pattern).ok());
        *core = Some(CoreFile { id: frame.header.id, size: header.size, file });
        return Ok(());
    }
    let data = DumpData::decode(&frame.payload).map_err(|error| error.to_string())?;
    let Some(open) = core.as_mut().filter(|core| core.id == frame.header.id) else {
        return Err("DUMPDATA without DUMPHDR".into());
    };
    let end = data.offset.checked_add(data.bytes.len() as u64);
    if end.is_none_or(|end| end > open.size) {
        return Err("DUMPDATA outside its file".into());
    }
    if open.file.as_ref().is_some_and(|file| file.write_all_at(data.bytes, data.offset).is_err()) {
        open.file = None;
    }
    if frame.header.flags.contains(Flags::LAST)
        && let Some(done) = core.take()
    {
        done.finish();
    }
    Ok(())
}
