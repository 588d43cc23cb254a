//! One method for each procedure.

use keelson_oncrpc::Encoder;

use super::types::{
    Answer, Attributes, Created, How, Info, Limits, Page, Piece, Set, Space, Stable, Time, Wcc, Written,
    kind, status,
};
use super::wire::{attributes, page, parse, post, present, put_name, put_set, put_time, time, wcc};
use super::{Nfs, Outcome, Procedure};
use crate::rpc::RpcError;

impl Nfs {
    /// GETATTR.
    pub fn getattr(&mut self, object: &[u8]) -> Outcome<Attributes> {
        self.call(Procedure::GetAttr, |out| out.opaque(object), |_| Ok(()), attributes)
    }

    /// SETATTR; with a guard it must be the present ctime.
    pub fn setattr(&mut self, object: &[u8], set: Set, guard: Option<Time>) -> Outcome<(), Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            put_set(out, set);
            out.bool(guard.is_some());
            if let Some(time) = guard {
                put_time(out, time);
            }
        };
        self.call(Procedure::SetAttr, arguments, wcc, |_| Ok(()))
    }

    /// LOOKUP: handle and attributes; with the attributes of the directory.
    pub fn lookup(
        &mut self,
        folder: &[u8],
        name: &[u8],
    ) -> Result<Answer<Created, Option<Attributes>>, RpcError> {
        let reply = self.rpc.call(Procedure::Lookup.target(), |out| put_name(out, folder, name))?;
        Ok(parse(reply, |input| {
            let status = input.u32()?;
            let value = if status == status::OK {
                let handle = input.opaque(64)?.to_vec();
                let attributes = present(post(input)?);
                Some(Created { handle, attributes })
            } else {
                None
            };
            Ok(Answer { status, with: post(input)?, value })
        }))
    }

    /// ACCESS: which of the bits are allowed.
    pub fn access(&mut self, object: &[u8], bits: u32) -> Outcome<u32, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            out.u32(bits);
        };
        self.call(Procedure::Access, arguments, post, |input| input.u32())
    }

    /// READLINK.
    pub fn readlink(&mut self, object: &[u8]) -> Outcome<Vec<u8>, Option<Attributes>> {
        self.call(
            Procedure::ReadLink,
            |out| out.opaque(object),
            post,
            |input| Ok(input.opaque(4096)?.to_vec()),
        )
    }

    /// READ.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Outcome<Piece, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(count);
        };
        self.call(Procedure::Read, arguments, post, |input| {
            let announced = input.u32()? as usize;
            let eof = input.bool()?;
            let data = input.opaque(1 << 20)?.to_vec();
            assert_eq!(announced, data.len(), "READ's count is the length of its data");
            Ok(Piece { data, eof })
        })
    }

    /// WRITE.
    pub fn write(&mut self, file: &[u8], offset: u64, data: &[u8], stable: Stable) -> Outcome<Written, Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(data.len() as u32);
            out.u32(stable as u32);
            out.opaque(data);
        };
        self.call(Procedure::Write, arguments, wcc, |input| {
            Ok(Written { count: input.u32()?, committed: input.u32()?, verifier: input.array()? })
        })
    }

    /// CREATE.
    pub fn create(&mut self, folder: &[u8], name: &[u8], how: How) -> Outcome<Created, Wcc> {
        self.make(Procedure::Create, folder, name, |out| match how {
            How::Unchecked(set) | How::Guarded(set) => {
                out.u32(matches!(how, How::Guarded(_)).into());
                put_set(out, set);
            }
            How::Exclusive(verifier) => {
                out.u32(2);
                out.fixed(&verifier);
            }
        })
    }

    /// MKDIR.
    pub fn mkdir(&mut self, folder: &[u8], name: &[u8], mode: u32) -> Outcome<Created, Wcc> {
        self.make(Procedure::MkDir, folder, name, |out| put_set(out, Set::mode(mode)))
    }

    /// SYMLINK.
    pub fn symlink(&mut self, folder: &[u8], name: &[u8], target: &[u8]) -> Outcome<Created, Wcc> {
        self.make(Procedure::SymLink, folder, name, |out| {
            put_set(out, Set::default());
            out.opaque(target);
        })
    }

    /// MKNOD; the device numbers are sent for devices only.
    pub fn mknod(
        &mut self,
        folder: &[u8],
        name: &[u8],
        kind: u32,
        device: (u32, u32),
    ) -> Outcome<Created, Wcc> {
        self.make(Procedure::MkNod, folder, name, |out| {
            out.u32(kind);
            if (kind::BLOCK..=kind::FIFO).contains(&kind) && kind != kind::SYMLINK {
                put_set(out, Set::mode(0o640));
            }
            if matches!(kind, kind::BLOCK | kind::CHARACTER) {
                out.u32(device.0);
                out.u32(device.1);
            }
        })
    }

    fn make(
        &mut self,
        procedure: Procedure,
        folder: &[u8],
        name: &[u8],
        rest: impl FnOnce(&mut Encoder),
    ) -> Outcome<Created, Wcc> {
        let reply = self.rpc.call(procedure.target(), |out| {
            put_name(out, folder, name);
            rest(out);
        })?;
        Ok(parse(reply, |input| {
            let status = input.u32()?;
            let value = if status == status::OK {
                let handle = present(input.optional(|input| Ok(input.opaque(64)?.to_vec()))?);
                Some(Created { handle, attributes: present(post(input)?) })
            } else {
                None
            };
            Ok(Answer { status, with: wcc(input)?, value })
        }))
    }

    /// REMOVE.
    pub fn remove(&mut self, folder: &[u8], name: &[u8]) -> Outcome<(), Wcc> {
        self.call(Procedure::Remove, |out| put_name(out, folder, name), wcc, |_| Ok(()))
    }

    /// RMDIR.
    pub fn rmdir(&mut self, folder: &[u8], name: &[u8]) -> Outcome<(), Wcc> {
        self.call(Procedure::RmDir, |out| put_name(out, folder, name), wcc, |_| Ok(()))
    }

    /// RENAME; with both directories.
    pub fn rename(&mut self, from: (&[u8], &[u8]), to: (&[u8], &[u8])) -> Outcome<(), (Wcc, Wcc)> {
        let arguments = |out: &mut Encoder| {
            put_name(out, from.0, from.1);
            put_name(out, to.0, to.1);
        };
        self.call(Procedure::Rename, arguments, |input| Ok((wcc(input)?, wcc(input)?)), |_| Ok(()))
    }

    /// LINK; with the object's attributes and the directory.
    pub fn link(
        &mut self,
        object: &[u8],
        folder: &[u8],
        name: &[u8],
    ) -> Outcome<(), (Option<Attributes>, Wcc)> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            put_name(out, folder, name);
        };
        self.call(Procedure::Link, arguments, |input| Ok((post(input)?, wcc(input)?)), |_| Ok(()))
    }

    /// READDIR from a cookie.
    pub fn readdir(
        &mut self,
        folder: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Outcome<Page, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.u64(cookie);
            out.fixed(&verifier);
            out.u32(count);
        };
        self.call(Procedure::ReadDir, arguments, post, |input| page(input, false))
    }

    /// READDIRPLUS from a cookie.
    pub fn readdirplus(
        &mut self,
        folder: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Outcome<Page, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.u64(cookie);
            out.fixed(&verifier);
            out.u32(count);
            out.u32(count);
        };
        self.call(Procedure::ReadDirPlus, arguments, post, |input| page(input, true))
    }

    /// FSSTAT.
    pub fn fsstat(&mut self, root: &[u8]) -> Outcome<Space, Option<Attributes>> {
        self.call(
            Procedure::FsStat,
            |out| out.opaque(root),
            post,
            |input| {
                let bytes = [input.u64()?, input.u64()?, input.u64()?];
                let files = [input.u64()?, input.u64()?, input.u64()?];
                Ok(Space { bytes, files, invariant: input.u32()? })
            },
        )
    }

    /// FSINFO.
    pub fn fsinfo(&mut self, root: &[u8]) -> Outcome<Info, Option<Attributes>> {
        self.call(
            Procedure::FsInfo,
            |out| out.opaque(root),
            post,
            |input| {
                Ok(Info {
                    read: [input.u32()?, input.u32()?, input.u32()?],
                    write: [input.u32()?, input.u32()?, input.u32()?],
                    directory: input.u32()?,
                    max_file_size: input.u64()?,
                    time_delta: time(input)?,
                    properties: input.u32()?,
                })
            },
        )
    }

    /// PATHCONF.
    pub fn pathconf(&mut self, object: &[u8]) -> Outcome<Limits, Option<Attributes>> {
        self.call(
            Procedure::PathConf,
            |out| out.opaque(object),
            post,
            |input| {
                let (links, name) = (input.u32()?, input.u32()?);
                Ok((links, name, [input.bool()?, input.bool()?, input.bool()?, input.bool()?]))
            },
        )
    }

    /// COMMIT of a range (0, 0: the whole file): the write verifier.
    pub fn commit(&mut self, file: &[u8], offset: u64, count: u32) -> Outcome<[u8; 8], Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(count);
        };
        self.call(Procedure::Commit, arguments, wcc, |input| input.array())
    }
}
