//! Which file a request is about, and whether its caller may lock it.

use super::wire::Status;
use super::{Caller, Nlm, NlmCounters};
use crate::exports::ExportOptions;
use crate::handle::Handle;
use crate::identity::{Identity, MAY_READ, MAY_WRITE};
use crate::names::Names;
use keelson_oncrpc::{Call, Credential};
use keelson_volume::{FileId, FileType, Volume, VolumeError};

/// What a request does to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Asks for something: the caller must have a right to the file.
    Take,
    /// Gives up what it has: possible also when the export is gone, or its rights are.
    GiveUp,
}

impl<V: Volume + 'static, N: Names> Nlm<V, N> {
    /// The file of a request, if the caller may lock it.
    pub(super) async fn file(
        &self,
        call: &Call<'_>,
        handle: &[u8],
        intent: Intent,
    ) -> Result<FileId, Status> {
        let counters = &self.manager.counters;
        let Ok(Handle { export, id, .. }) = self.handles.decode(handle) else {
            NlmCounters::count(&counters.stale);
            return Err(Status::STALE_FH);
        };
        let caller = Caller::of(call);
        let export = self.exports.by_id(export);
        let options = match &export {
            Some(export) => self.exports.options_for(export, caller.peer.ip()).await,
            None => None,
        };
        if options.is_some_and(|options| options.secure) && !caller.is_privileged() {
            NlmCounters::count(&counters.refused);
            log::debug!(target: "lockd", "refused {}: illegal port", caller.peer);
            return Err(Status::FAILED);
        }
        if intent == Intent::GiveUp {
            return Ok(id);
        }
        if export.is_none() {
            NlmCounters::count(&counters.stale);
            return Err(Status::STALE_FH);
        }
        let Some(options) = options else {
            NlmCounters::count(&counters.refused);
            return Err(Status::FAILED);
        };
        self.check_rights(call, id, &options).await.map(|()| id)
    }

    /// Only regular files are locked, and only by those who may open them. The owner always may: the mode may
    /// have changed since.
    async fn check_rights(&self, call: &Call<'_>, id: FileId, options: &ExportOptions) -> Result<(), Status> {
        let counters = &self.manager.counters;
        let attributes = match self.volume.attributes(id).await {
            Ok(attributes) => attributes,
            Err(VolumeError::Stale | VolumeError::NotFound) => {
                NlmCounters::count(&counters.stale);
                self.manager.file_is_gone(id);
                return Err(Status::STALE_FH);
            }
            Err(VolumeError::TryLater) => return Err(Status::DENIED_NOLOCKS),
            Err(_) => return Err(Status::FAILED),
        };
        let identity = match &call.credential {
            Credential::Sys(credential) => Identity::of(credential, options),
            Credential::None => Identity::anonymous(options),
        };
        let may = identity.owns(&attributes) || identity.rights(&attributes) & (MAY_READ | MAY_WRITE) != 0;
        if attributes.file_type != FileType::Regular || !may {
            NlmCounters::count(&counters.refused);
            log::debug!(
                target: "lockd",
                "refused {}: user {} may not lock inode {}", call.origin.peer, identity.uid, id.inode
            );
            return Err(Status::FAILED);
        }
        Ok(())
    }
}
