//! MOUNT, versions 1 and 3 (RFC 1813 appendix I, RFC 1094 appendix A): from paths to handles.
//!
//! Version 1 lists exports and mounts for tools, but does not mount: its handles are NFS version 2's. A path
//! is only looked at when an export that covers it is the caller's, so that nobody can probe for names.

use crate::exports::{Export, Exports, normalise};
use crate::handle::{Handle, HandleCodec};
use crate::names::Names;
use crate::nfs3::{FIRST_UNPRIVILEGED_PORT, Status};
use crate::state::MOUNTS;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::{Cell, RefCell};
use core::fmt::Write;
use keelson_oncrpc::{Call, Decoder, Failure, Flavor, Program, Reply, Service};
use keelson_volume::{FileId, FileType, Volume, VolumeError};

/// Program number of MOUNT.
pub const MOUNT_PROGRAM: u32 = 100_005;

/// Longest path.
const MAX_PATH: usize = 1024;

/// Mounts remembered; the oldest makes room.
const MAX_MOUNTS: usize = 1024;

/// Bytes of mount list kept on the volume.
const MAX_STORED: usize = 60 * 1024;

/// What happened to mounts.
#[derive(Clone, Default, Debug)]
pub struct MountCounters {
    /// Mounts granted.
    pub granted: Cell<u64>,
    /// Mounts refused.
    pub refused: Cell<u64>,
}

/// The program.
pub(crate) struct Mount<V, N> {
    volume: Rc<V>,
    exports: Rc<Exports<N>>,
    handles: HandleCodec,
    mounts: RefCell<VecDeque<Mounted>>,
    changed: Cell<bool>,
    pub counters: MountCounters,
}

/// Information only: clients that crash never unmount.
#[derive(Clone, PartialEq, Eq)]
struct Mounted {
    client: String,
    path: String,
}

impl<V: Volume + 'static, N: Names> Mount<V, N> {
    /// Starts with the list of mounts that was stored last.
    pub async fn load(volume: Rc<V>, exports: Rc<Exports<N>>, handles: HandleCodec) -> Mount<V, N> {
        // The list is information only: an error reading it leaves it empty.
        let stored = volume.read_state(MOUNTS).await.ok().flatten().unwrap_or_default();
        let text = String::from_utf8(stored).unwrap_or_default();
        let parse = |line: &str| {
            let (client, path) = line.split_once(' ')?;
            Some(Mounted { client: client.into(), path: path.into() })
        };
        let mounts = text.lines().filter_map(parse).take(MAX_MOUNTS).collect();
        let mounts = RefCell::new(mounts);
        Mount {
            volume,
            exports,
            handles,
            mounts,
            changed: Cell::new(false),
            counters: MountCounters::default(),
        }
    }

    /// Stores the list of mounts if it changed since the last time.
    pub async fn store(&self) {
        if !self.changed.replace(false) {
            return;
        }
        let mut text = String::new();
        for mounted in self.mounts.borrow().iter() {
            // A name with a line end would forge an entry; it is left out of the stored list.
            let line_len = mounted.client.len() + mounted.path.len() + 2;
            if text.len() + line_len <= MAX_STORED && !mounted.path.contains('\n') {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{} {}", mounted.client, mounted.path);
            }
        }
        if let Err(error) = self.volume.write_state(MOUNTS, text.as_bytes()).await {
            log::debug!(target: "nfs", "the list of mounts was not stored: {error}");
        }
    }

    async fn mount(&self, call: &Call<'_>, path: &[u8]) -> Result<Handle, Status> {
        // An empty path is the root, as for Linux's mountd: libnfs sends it for files in the root directory.
        let path = if path.is_empty() { b"/" } else { path };
        let text = core::str::from_utf8(path).ok().and_then(normalise);
        let result = match &text {
            Some(text) => self.resolve(call, text).await,
            None => Err((Status::ACCES, "not an absolute path without '..'")),
        };
        let shown = String::from_utf8_lossy(path);
        let client = call.origin.peer.ip().to_canonical();
        match result {
            Ok(handle) => {
                self.counters.granted.set(self.counters.granted.get() + 1);
                log::info!(target: "nfs", "{client} mounts {}", shown.escape_debug());
                self.note(client.to_string(), text.unwrap_or_default());
                Ok(handle)
            }
            Err((status, reason)) => {
                self.counters.refused.set(self.counters.refused.get() + 1);
                log::warn!(target: "nfs", "refused {client} mounting {}: {reason}", shown.escape_debug());
                Err(status)
            }
        }
    }

    async fn resolve(&self, call: &Call<'_>, path: &str) -> Result<Handle, (Status, &'static str)> {
        let peer = call.origin.peer;
        let covering = self.exports.covering(path);
        if covering.is_empty() {
            return Err((
                Status::ACCES,
                "no export entry; export it with nfs.exports=, /.keelson/exports or exportfs -o",
            ));
        }
        for export in covering {
            let Some(options) = self.exports.options_for(&export, peer.ip()).await else { continue };
            if options.secure && peer.port() >= FIRST_UNPRIVILEGED_PORT {
                return Err((
                    Status::ACCES,
                    "illegal port (the export is secure: only ports below 1024 may call); export it insecure",
                ));
            }
            let root = self.walk(self.volume.root(), &export.path).await.map_err(reason)?;
            export.root.set(Some(root));
            let below = path.strip_prefix(&export.path[..]).unwrap_or_default();
            let id = self.walk(root, below).await.map_err(reason)?;
            return Ok(Handle { export: export.id, id, is_root: id == root });
        }
        Err((Status::ACCES, "unmatched host; name its address or network in the line of the export"))
    }

    /// Follows directories from `start`; symbolic links are not followed.
    async fn walk(&self, start: FileId, path: &str) -> Result<FileId, VolumeError> {
        let mut at = self.volume.attributes(start).await?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.volume.lookup(at.id, name.as_bytes()).await?;
            if at.file_type != FileType::Directory {
                return Err(VolumeError::NotDirectory);
            }
        }
        Ok(at.id)
    }

    /// Finds the directories of all exports, so that their roots are known before the first mount: a client
    /// may still hold handles of an earlier run.
    pub async fn find_roots(&self) {
        for export in self.exports.table().list() {
            match self.walk(self.volume.root(), &export.path).await {
                Ok(root) => export.root.set(Some(root)),
                Err(error) => {
                    log::warn!(target: "nfs", "export {} cannot be mounted now: {error}", export.path);
                }
            }
        }
    }

    fn note(&self, client: String, path: String) {
        let entry = Mounted { client, path };
        let mut mounts = self.mounts.borrow_mut();
        if mounts.contains(&entry) {
            return;
        }
        if mounts.len() >= MAX_MOUNTS {
            mounts.pop_front();
        }
        mounts.push_back(entry);
        self.changed.set(true);
    }

    fn forget(&self, gone: impl Fn(&Mounted) -> bool) {
        let mut mounts = self.mounts.borrow_mut();
        let before = mounts.len();
        mounts.retain(|mounted| !gone(mounted));
        if mounts.len() != before {
            self.changed.set(true);
        }
    }
}

fn reason(error: VolumeError) -> (Status, &'static str) {
    let text = match error {
        VolumeError::NotFound => "no such directory",
        VolumeError::NotDirectory => "not a directory",
        VolumeError::Io => "input/output error",
        _ => "the volume refused",
    };
    (error.into(), text)
}

impl<V: Volume + 'static, N: Names> Service for Mount<V, N> {
    fn programs(&self) -> &[Program] {
        &[Program { number: MOUNT_PROGRAM, versions: &[1, 3] }]
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        let client = call.origin.peer.ip().to_canonical().to_string();
        match (call.procedure, call.version) {
            (1, 1) => {
                input.opaque(MAX_PATH)?;
                reply.results().u32(Status::ACCES.0);
            }
            (1, _) => {
                let path = input.opaque(MAX_PATH)?;
                let result = self.mount(call, path).await;
                let out = reply.results();
                match result {
                    Ok(handle) => {
                        out.u32(Status::OK.0);
                        out.opaque(&self.handles.encode(handle));
                        out.u32(1);
                        out.u32(Flavor::SYS.0);
                    }
                    Err(status) => out.u32(mount_status(status)),
                }
            }
            (2, _) => {
                let mounts = self.mounts.borrow().clone();
                reply.reserve(mounts.iter().map(|m| m.client.len() + m.path.len() + 20).sum()).await?;
                for mounted in &mounts {
                    let out = reply.results();
                    out.bool(true);
                    out.opaque(mounted.client.as_bytes());
                    out.opaque(mounted.path.as_bytes());
                }
                reply.results().bool(false);
            }
            (3, _) => {
                let path = input.opaque(MAX_PATH)?;
                let path = core::str::from_utf8(path).ok().and_then(normalise).unwrap_or_default();
                log::info!(target: "nfs", "{client} unmounts {}", path.escape_debug());
                self.forget(|mounted| mounted.client == client && mounted.path == path);
            }
            (4, _) => self.forget(|mounted| mounted.client == client),
            (5, _) | (6, 1) => {
                let table = self.exports.table();
                reply.reserve(table.list().iter().map(|export| listed_len(export)).sum()).await?;
                for export in table.list() {
                    put_export(export, reply);
                }
                reply.results().bool(false);
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

/// An upper bound for the bytes that [`put_export`] writes.
fn listed_len(export: &Export) -> usize {
    /// Longest text of an address with its prefix, and list overhead.
    const SLACK: usize = 64;
    let client = |client: &crate::exports::ExportClient| match &client.spec {
        crate::exports::ClientSpec::Name(text)
        | crate::exports::ClientSpec::Wildcard(text)
        | crate::exports::ClientSpec::Netgroup(text) => text.len() + SLACK,
        _ => SLACK,
    };
    export.path.len() + SLACK + export.clients.iter().map(client).sum::<usize>()
}

fn put_export(export: &Export, reply: &mut Reply) {
    let out = reply.results();
    out.bool(true);
    out.opaque(export.path.as_bytes());
    for client in &export.clients {
        out.bool(true);
        out.opaque(client.spec.to_string().as_bytes());
    }
    out.bool(false);
}

/// MOUNT knows fewer errors than NFS (RFC 1813 appendix I, `mountstat3`).
fn mount_status(status: Status) -> u32 {
    const SERVERFAULT: u32 = 10_006;
    match status {
        Status::PERM
        | Status::NOENT
        | Status::IO
        | Status::ACCES
        | Status::NOTDIR
        | Status::INVAL
        | Status::NAMETOOLONG
        | Status::NOTSUPP => status.0,
        _ => SERVERFAULT,
    }
}
