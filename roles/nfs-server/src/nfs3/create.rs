//! Procedures that make objects: CREATE, MKDIR, SYMLINK, MKNOD.

use super::object::permitted_changes;
use super::wire::{self, Status};
use super::{Abort, Context, Nfs3, Object, expect_directory};
use crate::identity::{MAY_EXECUTE, MAY_WRITE};
use crate::names::Names;
use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use keelson_volume::{
    Attributes, Change, Created, DeviceNumber, FileType, NewObject, ObjectKind, SetAttributes, SetTime, Time,
    Volume, VolumeError,
};

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn create(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let how = input.u32()?;
        let (initial, verifier) = match how {
            0 | 1 => (wire::set_attributes(&mut input)?, None),
            2 => (SetAttributes::default(), Some(input.array::<8>()?)),
            other => return Err(DecodeError::BadValue(other).into()),
        };
        let (dir, attributes) = self.enter_dir_to_create(context, handle).await?;
        wire::check_new_name(name)?;
        if let Some(verifier) = verifier {
            let created = self.create_exclusive(&dir, &attributes, name, verifier).await?;
            return self.finish_create(&dir, created, out).await;
        }
        let created = match self.make(&dir, &attributes, name, ObjectKind::Regular, initial).await {
            Ok(created) if initial.size.is_some_and(|size| size > 0) => {
                let resized = SetAttributes { size: initial.size, ..SetAttributes::default() };
                let resize = self.volume.set_attributes(created.object.id, resized, None);
                let change = self.limited(&dir.identity, resize).await?;
                Created { object: change.after, ..created }
            }
            Ok(created) => created,
            Err(Abort::Status(Status::EXIST)) if how == 0 => self.open_existing(&dir, name, initial).await?,
            Err(abort) => return Err(abort),
        };
        self.finish_create(&dir, created, out).await
    }

    pub(super) async fn mkdir(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let initial = wire::set_attributes(&mut input)?;
        let (dir, attributes) = self.enter_dir_to_create(context, handle).await?;
        wire::check_new_name(name)?;
        let created = self.make(&dir, &attributes, name, ObjectKind::Directory, initial).await?;
        self.finish_create(&dir, created, out).await
    }

    pub(super) async fn symlink(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let initial = wire::set_attributes(&mut input)?;
        let target = wire::name(&mut input)?;
        let (dir, attributes) = self.enter_dir_to_create(context, handle).await?;
        wire::check_new_name(name)?;
        let initial = SetAttributes { mode: Some(0o777), ..initial };
        let created = self.make(&dir, &attributes, name, ObjectKind::Symlink(target), initial).await?;
        self.finish_create(&dir, created, out).await
    }

    pub(super) async fn mknod(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let (handle, name) = (wire::handle(&mut input)?, wire::name(&mut input)?);
        let file_type = input.u32()?;
        let mut initial = SetAttributes::default();
        if matches!(file_type, 3 | 4 | 6 | 7) {
            initial = wire::set_attributes(&mut input)?;
        }
        let mut device = || Ok::<_, DecodeError>(DeviceNumber { major: input.u32()?, minor: input.u32()? });
        let kind = match file_type {
            3 => Some(ObjectKind::BlockDevice(device()?)),
            4 => Some(ObjectKind::CharDevice(device()?)),
            6 => Some(ObjectKind::Socket),
            7 => Some(ObjectKind::Fifo),
            1 | 2 | 5 => None,
            other => return Err(DecodeError::BadValue(other).into()),
        };
        let (dir, attributes) = self.enter_dir_to_create(context, handle).await?;
        let kind = kind.ok_or(Status::BADTYPE)?;
        wire::check_new_name(name)?;
        let is_device = matches!(kind, ObjectKind::BlockDevice(_) | ObjectKind::CharDevice(_));
        if is_device && !dir.identity.is_root() {
            return Err(Status::PERM.into());
        }
        let created = self.make(&dir, &attributes, name, kind, initial).await?;
        self.finish_create(&dir, created, out).await
    }

    /// Enters a directory where an object is to be made. Permission to do so is asked for when the name
    /// turns out to be free: opening what exists must work in a directory that is not the caller's.
    async fn enter_dir_to_create(
        &self,
        context: &Context<'_>,
        handle: &[u8],
    ) -> Result<(Object, Attributes), Abort> {
        let dir = self.enter_to_change(context, 0, handle).await?;
        let attributes = self.volume.attributes(dir.id).await?;
        expect_directory(&attributes)?;
        if !dir.identity.may(&attributes, MAY_EXECUTE) {
            return Err(Status::ACCES.into());
        }
        Ok((dir, attributes))
    }

    /// Enters a directory whose entries are to change.
    pub(super) async fn enter_dir_to_change(
        &self,
        context: &Context<'_>,
        place: usize,
        handle: &[u8],
    ) -> Result<(Object, Attributes), Abort> {
        let dir = self.enter_to_change(context, place, handle).await?;
        let attributes = self.volume.attributes(dir.id).await?;
        expect_directory(&attributes)?;
        if !dir.identity.may(&attributes, MAY_WRITE | MAY_EXECUTE) {
            return Err(Status::ACCES.into());
        }
        Ok((dir, attributes))
    }

    /// Makes an object that belongs to the caller.
    async fn make(
        &self,
        dir: &Object,
        dir_attributes: &Attributes,
        name: &[u8],
        kind: ObjectKind<'_>,
        initial: SetAttributes,
    ) -> Result<Created, Abort> {
        let identity = &dir.identity;
        if !identity.may(dir_attributes, MAY_WRITE) {
            return match self.volume.lookup(dir.id, name).await {
                Ok(_) => Err(Status::EXIST.into()),
                Err(VolumeError::NotFound) => Err(Status::ACCES.into()),
                Err(error) => Err(error.into()),
            };
        }
        let inherits = dir_attributes.mode & 0o2000 != 0;
        let group = if inherits { dir_attributes.gid } else { identity.gid };
        let uid = initial.uid.unwrap_or(identity.uid);
        let gid = initial.gid.unwrap_or(group);
        let foreign_group = gid != group && !identity.in_group(gid);
        if !identity.is_root() && (uid != identity.uid || foreign_group) {
            return Err(Status::PERM.into());
        }
        let mut mode = initial.mode.unwrap_or(0);
        if matches!(kind, ObjectKind::Directory) {
            if inherits {
                mode |= 0o2000;
            }
        } else if !identity.is_root() && !identity.in_group(gid) {
            mode &= !0o2000;
        }
        let now_if_kept = |time| if time == SetTime::Keep { SetTime::Now } else { time };
        let (atime, mtime) = (now_if_kept(initial.atime), now_if_kept(initial.mtime));
        let new = NewObject { kind, mode, uid, gid, atime, mtime };
        Ok(self.limited(identity, self.volume.create(dir.id, name, new)).await?)
    }

    /// UNCHECKED on a name that exists: the file is opened, and cut if the client gave a size.
    async fn open_existing(
        &self,
        dir: &Object,
        name: &[u8],
        initial: SetAttributes,
    ) -> Result<Created, Abort> {
        let object = self.volume.lookup(dir.id, name).await?;
        match object.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(Status::ISDIR.into()),
            _ => return Err(Status::EXIST.into()),
        }
        let object = match initial.size {
            None => object,
            Some(_) => {
                let changes = SetAttributes { size: initial.size, ..SetAttributes::default() };
                let changes = permitted_changes(&dir.identity, &object, changes)?;
                let resize = self.volume.set_attributes(object.id, changes, None);
                let object = self.limited(&dir.identity, resize).await?.after;
                self.settle(dir, object.id).await?;
                object
            }
        };
        self.with_unchanged_dir(dir, object).await
    }

    /// EXCLUSIVE: the verifier is kept in the times of the new file, whose mode is 0 until the client sets
    /// it; a repeated call finds it there. Linux servers do the same.
    async fn create_exclusive(
        &self,
        dir: &Object,
        dir_attributes: &Attributes,
        name: &[u8],
        verifier: [u8; 8],
    ) -> Result<Created, Abort> {
        let [first, second] = [0, 4].map(|at| {
            let word = u32::from_be_bytes(core::array::from_fn(|byte| verifier[at + byte]));
            // The top bit is left out: some filesystems know signed seconds only.
            Time { seconds: i64::from(word & 0x7fff_ffff), nanos: 0 }
        });
        let initial = SetAttributes {
            mode: Some(0),
            mtime: SetTime::To(first),
            atime: SetTime::To(second),
            ..SetAttributes::default()
        };
        match self.make(dir, dir_attributes, name, ObjectKind::Regular, initial).await {
            Err(Abort::Status(Status::EXIST)) => {}
            result => return result,
        }
        let object = self.volume.lookup(dir.id, name).await?;
        let same = object.file_type == FileType::Regular
            && object.size == 0
            && (object.mtime, object.atime) == (first, second);
        if !same {
            return Err(VolumeError::Exists.into());
        }
        self.with_unchanged_dir(dir, object).await
    }

    async fn with_unchanged_dir(&self, dir: &Object, object: Attributes) -> Result<Created, Abort> {
        let unchanged = self.volume.attributes(dir.id).await?;
        Ok(Created { object, dir: Change { before: unchanged, after: unchanged } })
    }

    async fn finish_create(&self, dir: &Object, created: Created, out: &mut Encoder) -> Result<(), Abort> {
        self.settle(dir, dir.id).await?;
        out.u32(Status::OK.0);
        out.bool(true);
        out.opaque(&self.handle(&dir.export, created.object.id));
        self.put_object(out, dir, &created.object);
        self.put_change(out, dir, &created.dir);
        Ok(())
    }
}
