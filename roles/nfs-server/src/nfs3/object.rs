//! Procedures on one object: GETATTR, SETATTR, ACCESS, READLINK.

use super::wire::{self, Status};
use super::{Abort, Context, Nfs3, put_attributes};
use crate::identity::{Identity, MAY_EXECUTE, MAY_READ, MAY_WRITE};
use crate::names::Names;
use keelson_oncrpc::{Decoder, Encoder, Reply};
use keelson_volume::{Attributes, ClearSetid, FileType, SetAttributes, SetTime, Volume};

/// Bits of ACCESS (RFC 1813 section 3.3.4).
mod access {
    pub const READ: u32 = 0x01;
    pub const LOOKUP: u32 = 0x02;
    pub const MODIFY: u32 = 0x04;
    pub const EXTEND: u32 = 0x08;
    pub const DELETE: u32 = 0x10;
    pub const EXECUTE: u32 = 0x20;
}

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn getattr(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let object = self.enter(context, 0, wire::handle(&mut input)?).await?;
        let attributes = self.volume.attributes(object.id).await?;
        out.u32(Status::OK.0);
        put_attributes(out, &attributes, self.fsid(&object.export));
        Ok(())
    }

    pub(super) async fn setattr(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let changes = wire::set_attributes(&mut input)?;
        let guard = wire::guard(&mut input)?;
        let object = self.enter_to_change(context, 0, handle).await?;
        let present = self.volume.attributes(object.id).await?;
        let changes = permitted_changes(&object.identity, &present, changes)?;
        let set = self.volume.set_attributes(object.id, changes, guard);
        let change = self.limited(&object.identity, set).await?;
        self.settle(&object, object.id).await?;
        out.u32(Status::OK.0);
        self.put_change(out, &object, &change);
        Ok(())
    }

    pub(super) async fn access(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let asked = input.u32()?;
        let object = self.enter(context, 0, handle).await?;
        let attributes = self.volume.attributes(object.id).await?;
        let mut granted = access_bits(&object.identity, &attributes);
        if !object.options.writable || self.volume.is_read_only() {
            granted &= !(access::MODIFY | access::EXTEND | access::DELETE);
        }
        out.u32(Status::OK.0);
        self.put_object(out, &object, &attributes);
        out.u32(granted & asked);
        Ok(())
    }

    pub(super) async fn readlink(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        let object = self.enter(context, 0, wire::handle(&mut input)?).await?;
        let target = self.volume.read_link(object.id).await?;
        let attributes = self.volume.attributes(object.id).await?;
        reply.reserve(128 + target.len()).await?;
        let out = reply.results();
        out.u32(Status::OK.0);
        self.put_object(out, &object, &attributes);
        out.opaque(&target);
        Ok(())
    }
}

fn access_bits(identity: &Identity, object: &Attributes) -> u32 {
    let rights = identity.rights(object);
    let is_directory = object.file_type == FileType::Directory;
    let mut bits = 0;
    if rights & MAY_READ != 0 {
        bits |= access::READ;
    }
    if rights & MAY_WRITE != 0 {
        bits |= access::MODIFY | access::EXTEND;
    }
    if rights & MAY_EXECUTE != 0 {
        bits |= if is_directory { access::LOOKUP } else { access::EXECUTE };
    }
    if is_directory && rights & MAY_WRITE != 0 && rights & MAY_EXECUTE != 0 {
        bits |= access::DELETE;
    }
    bits
}

/// Checks that the caller may make the changes, and adds what follows from them.
pub(super) fn permitted_changes(
    identity: &Identity,
    object: &Attributes,
    mut changes: SetAttributes,
) -> Result<SetAttributes, Status> {
    let owns = identity.owns(object);
    let root = identity.is_root();
    if changes.mode.is_some() && !owns {
        return Err(Status::PERM);
    }
    if changes.uid.is_some_and(|uid| !root && (uid != object.uid || !owns)) {
        return Err(Status::PERM);
    }
    if changes.gid.is_some_and(|gid| !root && (!owns || (gid != object.gid && !identity.in_group(gid)))) {
        return Err(Status::PERM);
    }
    match (changes.size, object.file_type) {
        (None, _) => {}
        (Some(_), FileType::Regular) if identity.may_write_content(object) => {}
        (Some(_), FileType::Regular) => return Err(Status::ACCES),
        (Some(_), FileType::Directory) => return Err(Status::ISDIR),
        (Some(_), _) => return Err(Status::INVAL),
    }
    for time in [changes.atime, changes.mtime] {
        match time {
            SetTime::To(_) if !owns => return Err(Status::PERM),
            SetTime::Now if !owns && !identity.rights(object) & MAY_WRITE != 0 => return Err(Status::ACCES),
            _ => {}
        }
    }
    // A set-group-ID bit may only be given by a member of the group.
    let group = changes.gid.unwrap_or(object.gid);
    if let Some(mode) = &mut changes.mode
        && object.file_type != FileType::Directory
        && !root
        && !identity.in_group(group)
    {
        *mode &= !0o2000;
    }
    // A program given to somebody else loses its powers; Linux does that for the superuser too. Another length takes
    // nothing away, as with Linux's server (POSIX leaves it open): it brings nothing in, and what a write brings in does.
    let given_away = changes.uid.is_some() || changes.gid.is_some();
    if object.file_type == FileType::Regular && given_away {
        let mode = changes.mode.unwrap_or(object.mode);
        let kept = ClearSetid::Yes.left_of(mode);
        if kept != mode {
            changes.mode = Some(kept);
        }
    }
    Ok(changes)
}
