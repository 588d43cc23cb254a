//! NFS version 3 and MOUNT as a test speaks them: one method for each procedure (RFC 1813), results as they came.
//!
//! Nothing is cached, retried or repaired here, so that a test sees what the server says. Methods return the
//! status and what came with it; [`Answer::ok`] is for calls that must succeed. XDR that does not parse, or does
//! not end where it should, is a panic: a server that sends it has failed any test.

mod mount;
mod procedures;
mod types;
mod wire;

use keelson_oncrpc::{DecodeError, Decoder, Encoder};

use crate::rpc::{NFS, RpcClient, RpcError, Target};

pub use mount::{MOUNT_PORT, NFS_PORT, Transport, find_and_mount, mount};
pub use types::{
    Answer, Attributes, Before, Created, Entry, Handle, How, Info, Limits, Page, Piece, Procedure, Set,
    SetTime, Space, Stable, Time, Wcc, Written, kind, status,
};
use wire::parse;

/// Calls of NFS version 3.
pub struct Nfs {
    /// The connection.
    pub rpc: RpcClient,
}

/// The result of a call: the network may fail, the server may refuse to execute.
pub type Outcome<T, W = ()> = Result<Answer<T, W>, RpcError>;

impl Procedure {
    /// What to call.
    pub fn target(self) -> Target {
        [NFS, 3, self as u32]
    }
}

impl Nfs {
    /// Calls over a connection to the NFS port.
    pub fn new(rpc: RpcClient) -> Nfs {
        Nfs { rpc }
    }

    fn call<T, W>(
        &mut self,
        procedure: Procedure,
        arguments: impl FnOnce(&mut Encoder),
        with: impl FnOnce(&mut Decoder<'_>) -> Result<W, DecodeError>,
        value: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    ) -> Outcome<T, W> {
        let reply = self.rpc.call(procedure.target(), arguments)?;
        Ok(parse(reply, |input| {
            let status = input.u32()?;
            let with = with(input)?;
            let value = if status == status::OK { Some(value(input)?) } else { None };
            Ok(Answer { status, with, value })
        }))
    }

    /// NULL.
    pub fn null(&mut self) -> Result<(), RpcError> {
        self.rpc.null(NFS, 3)
    }

    /// Load: `count` calls, of which `in_flight` are under way at a time, with arguments by number. Of the results only
    /// the status is looked at, so that the load costs the client little.
    ///
    /// # Panics
    /// If a call does not succeed.
    pub fn load(
        &mut self,
        procedure: Procedure,
        count: usize,
        in_flight: usize,
        arguments: impl FnMut(usize, &mut Encoder),
    ) -> Result<(), RpcError> {
        self.rpc.calls(procedure.target(), count, in_flight, arguments, |number, results| {
            let status = Decoder::new(results).u32();
            let succeeded = status == Ok(status::OK) || procedure == Procedure::Null && results.is_empty();
            assert!(succeeded, "{procedure:?} number {number}: {status:?}");
        })
    }

    /// A whole directory, page by page, without `.` and `..`.
    ///
    /// # Panics
    /// If a page can not be read, is empty without being the last, or a cookie comes twice.
    pub fn list(&mut self, folder: &[u8], page_size: u32, plus: bool) -> Result<Vec<Entry>, RpcError> {
        let (mut cookie, mut verifier, mut entries) = (0, [0; 8], Vec::<Entry>::new());
        loop {
            let page = match plus {
                true => self.readdirplus(folder, cookie, verifier, page_size)?.ok(),
                false => self.readdir(folder, cookie, verifier, page_size)?.ok(),
            };
            verifier = page.verifier;
            let Some(last) = page.entries.last() else {
                assert!(page.eof, "an empty page that is not the last: a client would ask for ever");
                break;
            };
            cookie = last.cookie;
            entries.extend(page.entries);
            if page.eof {
                break;
            }
        }
        let mut cookies: Vec<u64> = entries.iter().map(|entry| entry.cookie).collect();
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), entries.len(), "no cookie comes twice");
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        Ok(entries)
    }
}
