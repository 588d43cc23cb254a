//! Procedures on the filesystem: FSSTAT, FSINFO, PATHCONF.

use super::dirs::MAX_PAGE;
use super::wire::{self, Status};
use super::{Abort, Context, Nfs3};
use crate::names::Names;
use keelson_oncrpc::{Decoder, Encoder};
use keelson_volume::Volume;

/// Clients round their transfers down to a multiple of this.
const TRANSFER_UNIT: u32 = 4096;

/// LINK, SYMLINK, HOMOGENEOUS and CANSETTIME (RFC 1813 section 3.3.19).
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

/// Longest name, as ext4 has it.
const NAME_MAX: u32 = 255;

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn fsstat(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let object = self.enter(context, 0, wire::handle(&mut input)?).await?;
        let attributes = self.volume.attributes(object.id).await?;
        let usage = self.volume.usage().await?;
        // What is reserved is reserved for the superuser.
        let available = if object.identity.is_root() { usage.free_bytes } else { usage.available_bytes };
        out.u32(Status::OK.0);
        self.put_object(out, &object, &attributes);
        out.u64(usage.total_bytes);
        out.u64(usage.free_bytes);
        out.u64(available);
        out.u64(usage.total_inodes);
        out.u64(usage.free_inodes);
        out.u64(usage.free_inodes);
        // May change at any moment.
        out.u32(0);
        Ok(())
    }

    pub(super) async fn fsinfo(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let object = self.enter(context, 0, wire::handle(&mut input)?).await?;
        let attributes = self.volume.attributes(object.id).await?;
        let transfer = self.max_transfer(context.call);
        out.u32(Status::OK.0);
        self.put_object(out, &object, &attributes);
        for _read_then_write in 0..2 {
            out.u32(transfer);
            out.u32(transfer);
            out.u32(TRANSFER_UNIT);
        }
        out.u32(MAX_PAGE.min(transfer));
        out.u64(self.volume.max_file_size());
        // Times are exact to the nanosecond.
        out.u32(0);
        out.u32(1);
        out.u32(PROPERTIES);
        Ok(())
    }

    pub(super) async fn pathconf(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        let object = self.enter(context, 0, wire::handle(&mut input)?).await?;
        let attributes = self.volume.attributes(object.id).await?;
        out.u32(Status::OK.0);
        self.put_object(out, &object, &attributes);
        out.u32(self.volume.max_links());
        out.u32(NAME_MAX);
        // Long names are refused, chown is restricted, names are case-sensitive and keep their case.
        for answer in [true, true, false, true] {
            out.bool(answer);
        }
        Ok(())
    }
}
