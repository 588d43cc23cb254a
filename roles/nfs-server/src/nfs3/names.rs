//! Procedures on names: LOOKUP, REMOVE, RMDIR, RENAME, LINK.

use super::wire::{self, Status};
use super::{Abort, Context, Nfs3, Object, expect_directory};
use crate::identity::{MAY_EXECUTE, MAY_WRITE};
use crate::names::Names;
use keelson_oncrpc::{Decoder, Encoder};
use keelson_volume::{Attributes, FileType, Removed, Volume, VolumeError};

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn lookup(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let dir = self.enter(context, 0, handle).await?;
        let attributes = self.volume.attributes(dir.id).await?;
        expect_directory(&attributes)?;
        wire::check_name(name)?;
        if !dir.identity.may(&attributes, MAY_EXECUTE) {
            return Err(Status::ACCES.into());
        }
        let found = match name {
            // Nobody leaves an export through its root.
            b".." if dir.is_root => attributes,
            _ => self.volume.lookup(dir.id, name).await?,
        };
        out.u32(Status::OK.0);
        out.opaque(&self.handle(&dir.export, found.id));
        self.put_object(out, &dir, &found);
        self.put_object(out, &dir, &attributes);
        Ok(())
    }

    pub(super) async fn remove(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let (dir, attributes) = self.enter_dir_to_change(context, 0, handle).await?;
        wire::check_name(name)?;
        if wire::is_dots(name) {
            return Err(Status::INVAL.into());
        }
        self.check_may_take(&dir, &attributes, name).await?;
        let removed = self.volume.remove(dir.id, name).await?;
        self.finish_remove(&dir, removed, out).await
    }

    pub(super) async fn rmdir(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let (dir, attributes) = self.enter_dir_to_change(context, 0, handle).await?;
        wire::check_name(name)?;
        match name {
            b"." => return Err(Status::INVAL.into()),
            b".." => return Err(Status::EXIST.into()),
            _ => {}
        }
        self.check_may_take(&dir, &attributes, name).await?;
        let removed = self.volume.remove_dir(dir.id, name).await?;
        self.finish_remove(&dir, removed, out).await
    }

    pub(super) async fn rename(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (from_handle, from_name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let (to_handle, to_name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let (from, from_attributes) = self.enter_dir_to_change(context, 0, from_handle).await?;
        let (to, to_attributes) = self.enter_dir_to_change(context, 1, to_handle).await?;
        if from.export.id != to.export.id {
            return Err(Status::XDEV.into());
        }
        wire::check_name(from_name)?;
        wire::check_name(to_name)?;
        if wire::is_dots(from_name) || wire::is_dots(to_name) {
            return Err(Status::INVAL.into());
        }
        let moved = self.check_sticky(&from, &from_attributes, from_name).await?;
        match self.check_sticky(&to, &to_attributes, to_name).await {
            Ok(_) | Err(Abort::Status(Status::NOENT)) => {}
            Err(abort) => return Err(abort),
        }
        // A directory that changes its parent has its `..` rewritten.
        let reparented = moved.file_type == FileType::Directory && from.id != to.id;
        if reparented && !from.identity.may(&moved, MAY_WRITE) {
            return Err(Status::ACCES.into());
        }
        let rename = self.volume.rename(from.id, from_name, to.id, to_name);
        let renamed = self.limited(&from.identity, rename).await?;
        self.settle(&from, from.id).await?;
        if to.id != from.id {
            self.settle(&to, to.id).await?;
        }
        out.u32(Status::OK.0);
        self.put_change(out, &from, &renamed.from_dir);
        self.put_change(out, &to, &renamed.to_dir);
        Ok(())
    }

    pub(super) async fn link(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (dir_handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let object = self.enter_to_change(context, 0, handle).await?;
        let (dir, _) = self.enter_dir_to_change(context, 1, dir_handle).await?;
        if object.export.id != dir.export.id {
            return Err(Status::XDEV.into());
        }
        wire::check_new_name(name)?;
        let linked = self.limited(&dir.identity, self.volume.link(object.id, dir.id, name)).await?;
        self.settle(&dir, dir.id).await?;
        out.u32(Status::OK.0);
        self.put_object(out, &object, &linked.object);
        self.put_change(out, &dir, &linked.dir);
        Ok(())
    }

    /// Whether an entry may be taken from a directory. Looks at it only where that depends on it, and in the volume's root,
    /// where a name may be the server's own: to clients it is not there.
    async fn check_may_take(&self, dir: &Object, attributes: &Attributes, name: &[u8]) -> Result<(), Abort> {
        if dir.id != self.volume.root() && dir.identity.sticky_allows_all(attributes) {
            return Ok(());
        }
        self.check_sticky(dir, attributes, name).await.map(drop)
    }

    /// The same. Returns what it names.
    async fn check_sticky(
        &self,
        dir: &Object,
        attributes: &Attributes,
        name: &[u8],
    ) -> Result<Attributes, Abort> {
        let entry = self.volume.lookup(dir.id, name).await?;
        if !dir.identity.sticky_allows(attributes, &entry) {
            return Err(VolumeError::NotPermitted.into());
        }
        Ok(entry)
    }

    async fn finish_remove(&self, dir: &Object, removed: Removed, out: &mut Encoder) -> Result<(), Abort> {
        self.settle(dir, dir.id).await?;
        out.u32(Status::OK.0);
        self.put_change(out, dir, &removed.dir);
        Ok(())
    }
}
