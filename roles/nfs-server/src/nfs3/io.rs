//! READ, WRITE and COMMIT. The payload goes from the record to the volume and from the volume to the reply
//! without a copy on the way.

use super::wire::{self, Status};
use super::{Abort, Context, Nfs3};
use crate::names::Names;
use keelson_oncrpc::{DecodeError, Decoder, Encoder, Reply};
use keelson_volume::{Change, ClearSetid, FileType, Stability, Volume};

/// Bytes of the results of READ before the data: status, attributes, count, eof, length.
const READ_HEAD: usize = 4 + 4 + 84 + 4 + 4 + 4;

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn read(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (offset, count) = (input.u64()?, input.u32()?);
        let object = self.enter(context, 0, handle).await?;
        let before = self.volume.attributes(object.id).await?;
        match before.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(Status::ISDIR.into()),
            _ => return Err(Status::INVAL.into()),
        }
        if !object.identity.may_read_content(&before) {
            return Err(Status::ACCES.into());
        }
        let count = count.min(self.max_transfer(context.call));
        // A short file asks for a small buffer only.
        let left = before.size.saturating_sub(offset);
        let count = u64::from(count).min(left) as usize;
        reply.reserve(READ_HEAD + count + 4).await?;
        let out = reply.results();
        let start = out.position();
        let data = out.space(READ_HEAD + count).and_then(|space| space.get_mut(READ_HEAD..));
        let data = data.ok_or(keelson_oncrpc::Overflow)?;
        let got = self.volume.read(object.id, offset, data).await?.min(count);
        let after = self.volume.attributes(object.id).await?;
        out.u32(Status::OK.0);
        self.put_object(out, &object, &after);
        out.u32(got as u32);
        out.bool(offset.saturating_add(got as u64) >= after.size);
        out.u32(got as u32);
        debug_assert_eq!(out.position(), start + READ_HEAD);
        out.advance(got);
        self.counters.bytes_read.set(self.counters.bytes_read.get() + got as u64);
        Ok(())
    }

    pub(super) async fn write(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (offset, count) = (input.u64()?, input.u32()?);
        let stable = match input.u32()? {
            0 => Stability::Unstable,
            1 => Stability::DataSync,
            2 => Stability::FileSync,
            other => return Err(DecodeError::BadValue(other).into()),
        };
        let data = input.opaque(input.remaining().len())?;
        let object = self.enter_to_change(context, 0, handle).await?;
        if data.len() != count as usize {
            return Err(Status::INVAL.into());
        }
        let before = self.volume.attributes(object.id).await?;
        match before.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(Status::ISDIR.into()),
            _ => return Err(Status::INVAL.into()),
        }
        if !object.identity.may_write_content(&before) {
            return Err(Status::ACCES.into());
        }
        if offset.checked_add(count.into()).is_none_or(|end| end > self.volume.max_file_size()) {
            return Err(Status::FBIG.into());
        }
        let clear = match &object.identity {
            root if root.is_root() => ClearSetid::No,
            member if member.in_group(before.gid) => ClearSetid::Yes,
            _ => ClearSetid::Stranger,
        };
        // The verifier of before the write: should it change meanwhile, the client sends the data again.
        let verifier = self.volume.write_verifier();
        let write = self.volume.write(object.id, offset, data, clear);
        let change = self.limited(&object.identity, write).await?;
        if stable != Stability::Unstable {
            self.settle(&object, object.id).await?;
        }
        out.u32(Status::OK.0);
        self.put_change(out, &object, &change);
        out.u32(count);
        out.u32(if stable == Stability::Unstable { 0 } else { 2 });
        out.fixed(&verifier);
        self.counters.bytes_written.set(self.counters.bytes_written.get() + u64::from(count));
        Ok(())
    }

    /// The range is widened to the whole file.
    pub(super) async fn commit(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (_offset, _count) = (input.u64()?, input.u32()?);
        let object = self.enter_to_change(context, 0, handle).await?;
        let before = self.volume.attributes(object.id).await?;
        if before.file_type != FileType::Regular {
            return Err(Status::INVAL.into());
        }
        if !object.identity.may_write_content(&before) {
            return Err(Status::ACCES.into());
        }
        self.settle(&object, object.id).await?;
        let after = self.volume.attributes(object.id).await?;
        out.u32(Status::OK.0);
        self.put_change(out, &object, &Change { before, after });
        // Taken after the commit: if data was lost meanwhile, the client must learn it now.
        out.fixed(&self.volume.write_verifier());
        Ok(())
    }
}
