//! READDIR and READDIRPLUS.
//!
//! The cookie verifier is always zero: cookies stay valid while a directory changes.

use super::wire::{self, Status};
use super::{Abort, Context, Nfs3, Object, expect_directory};
use crate::identity::MAY_READ;
use crate::names::Names;
use keelson_oncrpc::{Decoder, Encoder, Reply, padded};
use keelson_volume::{Attributes, DirEntry, Volume};

/// Largest directory page.
pub(super) const MAX_PAGE: u32 = 64 * 1024;

/// Bytes of an entry besides its name: "another follows", file number, name length, cookie.
const ENTRY_LEN: usize = 4 + 8 + 4 + 8;

/// What READDIRPLUS adds to an entry: attributes and handle, each with its "follows".
const PLUS_LEN: usize = 4 + wire::ATTRIBUTES_LEN + 4 + 4 + crate::handle::HANDLE_LEN;

/// How much longer an entry is with that than the volume counts, which counts as READDIR does: five times with
/// names of 8 bytes, four with 20. Too small a factor makes the volume look up attributes for nothing.
const PLUS_FACTOR: usize = 5;

/// The end of a list: "no other follows" and eof.
const LIST_END: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Plus,
}

impl<V: Volume + 'static, N: Names> Nfs3<V, N> {
    pub(super) async fn readdir(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (cookie, _verifier, count) = (input.u64()?, input.array::<8>()?, input.u32()?);
        let dir = self.enter(context, 0, handle).await?;
        self.list(context, &dir, cookie, count, Form::Plain, reply).await
    }

    pub(super) async fn readdirplus(
        &self,
        context: &Context<'_>,
        mut input: Decoder<'_>,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        let handle = wire::handle(&mut input)?;
        let (cookie, _verifier) = (input.u64()?, input.array::<8>()?);
        // dircount limits names and cookies alone; maxcount limits everything and is the one that matters.
        let (_dircount, maxcount) = (input.u32()?, input.u32()?);
        let dir = self.enter(context, 0, handle).await?;
        if !dir.options.readdirplus {
            return Err(Status::NOTSUPP.into());
        }
        self.list(context, &dir, cookie, maxcount, Form::Plus, reply).await
    }

    async fn list(
        &self,
        context: &Context<'_>,
        dir: &Object,
        mut cookie: u64,
        count: u32,
        form: Form,
        reply: &mut Reply,
    ) -> Result<(), Abort> {
        let attributes = self.volume.attributes(dir.id).await?;
        expect_directory(&attributes)?;
        if !dir.identity.may(&attributes, MAY_READ) {
            return Err(Status::ACCES.into());
        }
        let limit = count.min(MAX_PAGE).min(self.max_transfer(context.call)) as usize;
        reply.reserve(limit + 4).await?;
        let out = reply.results();
        // The status does not count: count limits the body of the successful result.
        out.u32(Status::OK.0);
        let start = out.position();
        self.put_object(out, dir, &attributes);
        out.u64(0);
        let first = out.position();
        let left = |out: &Encoder| (start + limit).saturating_sub(out.position() + LIST_END);
        let end = 'pages: loop {
            let page = match form {
                Form::Plain => self.volume.read_dir(dir.id, cookie, left(out)).await?,
                Form::Plus => self.volume.read_dir_plus(dir.id, cookie, left(out) / PLUS_FACTOR).await?,
            };
            if page.entries.is_empty() {
                break true;
            }
            for entry in &page.entries {
                let plus = if form == Form::Plus { PLUS_LEN } else { 0 };
                if ENTRY_LEN + padded(entry.name.len()) + plus > left(out) {
                    break 'pages false;
                }
                self.put_entry(out, dir, &attributes, entry, form).await;
                cookie = entry.cookie;
            }
            if page.end {
                break true;
            }
            // Nearly full will do: the rest would take several more looks into the directory.
            if left(out) < limit / 8 {
                break false;
            }
        };
        if out.position() == first && !end {
            return Err(Status::TOOSMALL.into());
        }
        if left(out) == 0 && out.position() + LIST_END > start + limit {
            return Err(Status::TOOSMALL.into());
        }
        out.bool(false);
        out.bool(end);
        Ok(())
    }

    async fn put_entry(
        &self,
        out: &mut Encoder,
        dir: &Object,
        dir_attributes: &Attributes,
        entry: &DirEntry,
        form: Form,
    ) {
        let leaves_export = dir.is_root && entry.name == b"..";
        out.bool(true);
        out.u64(if leaves_export { dir.id.inode } else { entry.inode });
        out.opaque(&entry.name);
        out.u64(entry.cookie);
        if form == Form::Plain {
            return;
        }
        let found = match &entry.name[..] {
            b"." => Some(*dir_attributes),
            b".." if leaves_export => None,
            b".." => self.volume.lookup(dir.id, b"..").await.ok(),
            _ => entry.attributes,
        };
        match found {
            Some(attributes) => {
                self.put_object(out, dir, &attributes);
                out.bool(true);
                out.opaque(&self.handle(&dir.export, attributes.id));
            }
            // The client looks it up itself when it needs it.
            None => {
                out.bool(false);
                out.bool(false);
            }
        }
    }
}
