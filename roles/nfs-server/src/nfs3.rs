//! NFS version 3 (RFC 1813 section 3.3): all 22 procedures.
//!
//! Each procedure decodes its arguments, enters the objects its handles name (export, client, identity) and
//! writes its results. When it fails on the way, what it wrote is dropped and the failure form of that
//! procedure is written in one place, with the attributes of the objects that were entered: a client that
//! was refused an export learns nothing of it.

mod create;
mod dirs;
mod io;
mod names;
mod object;
mod volume;
mod wire;

pub use wire::Status;

use crate::exports::{Export, ExportOptions, Exports, Refusal};
use crate::handle::{Handle, HandleCodec};
use crate::identity::Identity;
use crate::names::Names;
use alloc::rc::Rc;
use core::cell::Cell;
use core::future::Future;
use keelson_oncrpc::{
    AuthStat, Call, Credential, DecodeError, Decoder, Encoder, Failure, Overflow, Program, Repetition, Reply,
    Service, Transport,
};
use keelson_volume::{Attributes, Change, FileId, FileType, Volume, VolumeError};
use wire::{put_attributes, put_post_op, put_wcc};

/// Program number of NFS.
pub const NFS_PROGRAM: u32 = 100_003;

/// Number of procedures of version 3.
const PROCEDURES: usize = 22;

/// Names of the procedures by number, as nfsstat(8) has them.
pub const PROCEDURE_NAMES: [&str; PROCEDURES] = [
    "null",
    "getattr",
    "setattr",
    "lookup",
    "access",
    "readlink",
    "read",
    "write",
    "create",
    "mkdir",
    "symlink",
    "mknod",
    "remove",
    "rmdir",
    "rename",
    "link",
    "readdir",
    "readdirplus",
    "fsstat",
    "fsinfo",
    "pathconf",
    "commit",
];

/// Ports below this one are the privileged user's on the client.
pub(crate) const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Largest transfer over UDP: what Linux clients negotiate, and a datagram that fits 64 KiB.
const UDP_TRANSFER: u32 = 32 * 1024;

/// Calls by procedure, and calls that were refused.
#[derive(Clone, Default, Debug)]
pub struct NfsCounters {
    /// By procedure number.
    pub calls: [Cell<u64>; PROCEDURES],
    /// Answered with another status than OK.
    pub failed: Cell<u64>,
    /// Handles that were not made here.
    pub bad_handles: Cell<u64>,
    /// Answered with DQUOT.
    pub over_quota: Cell<u64>,
    /// Bytes read by clients.
    pub bytes_read: Cell<u64>,
    /// Bytes written by clients.
    pub bytes_written: Cell<u64>,
}

/// The program.
pub struct Nfs3<V, N> {
    pub(crate) volume: Rc<V>,
    pub(crate) exports: Rc<Exports<N>>,
    pub(crate) handles: HandleCodec,
    /// Largest READ and WRITE over TCP.
    pub(crate) max_transfer: u32,
    pub(crate) counters: NfsCounters,
}

/// An object that a call may act on, and as whom.
struct Object {
    id: FileId,
    is_root: bool,
    export: Rc<Export>,
    options: ExportOptions,
    identity: Identity,
}

/// Why a procedure ended early.
enum Abort {
    /// With an NFS status.
    Status(Status),
    /// With an RPC error.
    Rpc(Failure),
}

impl From<Status> for Abort {
    fn from(status: Status) -> Abort {
        Abort::Status(status)
    }
}

impl From<VolumeError> for Abort {
    fn from(error: VolumeError) -> Abort {
        Abort::Status(error.into())
    }
}

impl From<DecodeError> for Abort {
    fn from(error: DecodeError) -> Abort {
        Abort::Rpc(error.into())
    }
}

impl From<Overflow> for Abort {
    fn from(overflow: Overflow) -> Abort {
        Abort::Rpc(overflow.into())
    }
}

/// A call on its way, with the objects entered so far: they appear in the reply if it fails.
struct Context<'a> {
    call: &'a Call<'a>,
    entered: [Cell<Option<Entered>>; 2],
}

#[derive(Clone, Copy)]
struct Entered {
    id: FileId,
    fsid: u64,
}

/// What a failed reply carries after its status.
enum FailureForm {
    Nothing,
    Attributes,
    Wcc,
    TwoWcc,
    AttributesAndWcc,
}

impl FailureForm {
    fn of(procedure: u32) -> FailureForm {
        match procedure {
            1 => FailureForm::Nothing,
            2 | 7..=13 | 21 => FailureForm::Wcc,
            14 => FailureForm::TwoWcc,
            15 => FailureForm::AttributesAndWcc,
            _ => FailureForm::Attributes,
        }
    }
}

impl<V: Volume + 'static, N: Names> Service for Nfs3<V, N> {
    fn programs(&self) -> &[Program] {
        &[Program { number: NFS_PROGRAM, versions: &[3] }]
    }

    /// What RFC 1813 section 4.3 calls non-idempotent: SETATTR (with a guard, which the first execution made stale; and
    /// of a length that has changed since), and everything that makes, removes or renames a name. A WRITE that comes
    /// again after its client wrote other data there, or cut the file, brings back the old.
    fn repetition(&self, call: &Call<'_>) -> Repetition {
        match call.procedure {
            2 | 8..=15 => Repetition::Wrong,
            7 => Repetition::Overwrites,
            _ => Repetition::Harmless,
        }
    }

    async fn call(&self, call: &Call<'_>, arguments: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        if let Some(counter) = self.counters.calls.get(call.procedure as usize) {
            counter.set(counter.get() + 1);
        }
        let start = reply.results().position();
        let context = Context { call, entered: Default::default() };
        let status = match self.execute(&context, arguments, reply).await {
            Ok(()) => return Ok(()),
            Err(Abort::Rpc(failure)) => return Err(failure),
            Err(Abort::Status(status)) => status,
        };
        self.counters.failed.set(self.counters.failed.get() + 1);
        let out = reply.results();
        out.rewind(start);
        out.u32(status.0);
        let [first, second] = [context.attributes(self, 0).await, context.attributes(self, 1).await];
        let wcc = |out: &mut Encoder, after: &Option<(Attributes, u64)>| {
            out.bool(false);
            put_post_op(out, after.as_ref().map(|(attributes, fsid)| (attributes, *fsid)));
        };
        let attributes = |out: &mut Encoder, object: &Option<(Attributes, u64)>| {
            put_post_op(out, object.as_ref().map(|(attributes, fsid)| (attributes, *fsid)));
        };
        match FailureForm::of(call.procedure) {
            FailureForm::Nothing => {}
            FailureForm::Attributes => attributes(out, &first),
            FailureForm::Wcc => wcc(out, &first),
            FailureForm::TwoWcc => {
                wcc(out, &first);
                wcc(out, &second);
            }
            FailureForm::AttributesAndWcc => {
                attributes(out, &first);
                wcc(out, &second);
            }
        }
        Ok(())
    }
}

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    async fn execute(
        &self,
        context: &Context<'_>,
        arguments: Decoder<'_>,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        match context.call.procedure {
            1 => self.getattr(context, arguments, reply.results()).await,
            2 => self.setattr(context, arguments, reply.results()).await,
            3 => self.lookup(context, arguments, reply.results()).await,
            4 => self.access(context, arguments, reply.results()).await,
            5 => self.readlink(context, arguments, reply).await,
            6 => self.read(context, arguments, reply).await,
            7 => self.write(context, arguments, reply.results()).await,
            8 => self.create(context, arguments, reply.results()).await,
            9 => self.mkdir(context, arguments, reply.results()).await,
            10 => self.symlink(context, arguments, reply.results()).await,
            11 => self.mknod(context, arguments, reply.results()).await,
            12 => self.remove(context, arguments, reply.results()).await,
            13 => self.rmdir(context, arguments, reply.results()).await,
            14 => self.rename(context, arguments, reply.results()).await,
            15 => self.link(context, arguments, reply.results()).await,
            16 => self.readdir(context, arguments, reply).await,
            17 => self.readdirplus(context, arguments, reply).await,
            18 => self.fsstat(context, arguments, reply.results()).await,
            19 => self.fsinfo(context, arguments, reply.results()).await,
            20 => self.pathconf(context, arguments, reply.results()).await,
            21 => self.commit(context, arguments, reply.results()).await,
            _ => Err(Abort::Rpc(Failure::ProcedureUnavailable)),
        }
    }

    /// Checks that the caller may act on what `handle` names, and as whom. `place` is the object's place in
    /// a failed reply.
    async fn enter(&self, context: &Context<'_>, place: usize, handle: &[u8]) -> Result<Object, Abort> {
        let Handle { export, id, is_root } = self.handles.decode(handle).inspect_err(|status| {
            if *status == Status::BADHANDLE {
                self.counters.bad_handles.set(self.counters.bad_handles.get() + 1);
            }
        })?;
        let peer = context.call.origin.peer;
        let Some(export) = self.exports.by_id(export) else {
            self.exports.refuse_gone(export, peer.ip());
            return Err(Status::STALE.into());
        };
        let Some(options) = self.exports.options_for(&export, peer.ip()).await else {
            self.exports.refuse(&export, peer.ip(), Refusal::UnmatchedHost);
            return Err(Status::ACCES.into());
        };
        if options.secure && peer.port() >= FIRST_UNPRIVILEGED_PORT {
            self.exports.refuse(&export, peer.ip(), Refusal::IllegalPort);
            return Err(Status::PERM.into());
        }
        let identity = match &context.call.credential {
            Credential::Sys(credential) => Identity::of(credential, &options),
            // A mount looks at the root before it has an identity.
            Credential::None if options.anonymous_calls || context.call.procedure == 19 => {
                Identity::anonymous(&options)
            }
            Credential::None if context.call.procedure == 1 && is_root => Identity::anonymous(&options),
            Credential::None => return Err(Abort::Rpc(Failure::Auth(AuthStat::TooWeak))),
        };
        let object = Object { id, is_root, export, options, identity };
        if let Some(entered) = context.entered.get(place) {
            entered.set(Some(Entered { id, fsid: self.fsid(&object.export) }));
        }
        Ok(object)
    }

    /// As [`Nfs3::enter`], for changing the object.
    async fn enter_to_change(
        &self,
        context: &Context<'_>,
        place: usize,
        handle: &[u8],
    ) -> Result<Object, Abort> {
        let object = self.enter(context, place, handle).await?;
        if !object.options.writable {
            self.exports.refuse(&object.export, context.call.origin.peer.ip(), Refusal::ReadOnly);
            return Err(Status::ROFS.into());
        }
        Ok(object)
    }

    /// One value for everything below an export.
    fn fsid(&self, export: &Export) -> u64 {
        match export.fsid {
            Some(fsid) => fsid,
            None => u64::from_be_bytes(core::array::from_fn(|at| self.volume.id().0[at])),
        }
    }

    /// The handle of an object reached from another one.
    fn handle(&self, export: &Export, id: FileId) -> [u8; crate::handle::HANDLE_LEN] {
        let is_root = export.root.get() == Some(id);
        self.handles.encode(Handle { export: export.id, id, is_root })
    }

    /// Largest transfer that a call may ask for.
    fn max_transfer(&self, call: &Call<'_>) -> u32 {
        match call.origin.transport {
            Transport::Tcp => self.max_transfer,
            Transport::Udp => self.max_transfer.min(UDP_TRANSFER),
        }
    }

    /// Runs an operation that may take space: quotas stop everybody but the superuser.
    async fn limited<T>(
        &self,
        identity: &Identity,
        operation: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, VolumeError> {
        let result = match identity.is_root() {
            true => operation.await,
            false => self.volume.limited(operation).await,
        };
        if matches!(result, Err(VolumeError::Quota)) {
            self.counters.over_quota.set(self.counters.over_quota.get() + 1);
        }
        result
    }

    /// Makes a change survive before it is acknowledged, where the export promises that.
    async fn settle(&self, object: &Object, id: FileId) -> Result<(), Abort> {
        if object.options.sync {
            self.volume.commit(id).await?;
        }
        Ok(())
    }

    fn put_object(&self, out: &mut Encoder, object: &Object, attributes: &Attributes) {
        put_post_op(out, Some((attributes, self.fsid(&object.export))));
    }

    fn put_change(&self, out: &mut Encoder, object: &Object, change: &Change) {
        put_wcc(out, change, self.fsid(&object.export));
    }
}

impl Context<'_> {
    /// Attributes of an object for a failed reply.
    async fn attributes<V: Volume + 'static, N: Names>(
        &self,
        nfs: &Nfs3<V, N>,
        place: usize,
    ) -> Option<(Attributes, u64)> {
        let entered = self.entered.get(place)?.get()?;
        let attributes = nfs.volume.attributes(entered.id).await.ok()?;
        Some((attributes, entered.fsid))
    }
}

/// Fails unless the object is a directory.
fn expect_directory(attributes: &Attributes) -> Result<(), Status> {
    if attributes.file_type == FileType::Directory { Ok(()) } else { Err(Status::NOTDIR) }
}
