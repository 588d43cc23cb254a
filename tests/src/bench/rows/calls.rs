//! Calls of the bench itself over one connection: nothing but the server's cost of a call.

use super::super::servers::{RANDOM_MIB, Servers, Side, failed};
use super::{DATA, HALF, Row};
use crate::nfs3::{Handle, NFS_PORT, Nfs, Procedure, Stable};
use crate::rpc::RpcClient;
use keelson_oncrpc::Encoder;
use keelson_qemu::{Result, Rng};
use std::io;
use std::time::{Duration, Instant};

/// Small calls.
const CALLS: usize = 3000;
/// Pieces read or written.
const PIECES: usize = 4096;
const PIECE: usize = 4096;
/// Calls under way where they are many.
const IN_FLIGHT: usize = 16;

pub fn rows() -> Vec<Row> {
    vec![
        small("NULL, one at a time", Procedure::Null, 1),
        small("GETATTR, one at a time", Procedure::GetAttr, 1),
        small("GETATTR, 16 in flight", Procedure::GetAttr, IN_FLIGHT),
    ]
}

/// Pieces of a file that the server has in its cache.
pub fn pieces() -> Vec<Row> {
    vec![
        random("READ 4 KiB, 16 in flight", |nfs, file| {
            let mut at = offsets();
            nfs.load(Procedure::Read, PIECES, IN_FLIGHT, |_, out| {
                out.opaque(file);
                out.u64(at());
                out.u32(PIECE as u32);
            })
        }),
        random("WRITE 4 KiB, 16 in flight", |nfs, file| {
            let mut at = offsets();
            nfs.load(Procedure::Write, PIECES, IN_FLIGHT, |_, out| {
                out.opaque(file);
                out.u64(at());
                out.u32(PIECE as u32);
                out.u32(Stable::Unstable as u32);
                out.opaque(&[3; PIECE]);
            })?;
            nfs.load(Procedure::Commit, 1, 1, |_, out: &mut Encoder| {
                out.opaque(file);
                out.u64(0);
                out.u32(0);
            })
        }),
    ]
}

fn small(name: &str, procedure: Procedure, in_flight: usize) -> Row {
    row(name, CALLS, HALF, move |servers, side| {
        let mut nfs = connect(servers, side)?;
        let start = Instant::now();
        nfs.load(procedure, CALLS, in_flight, |_, out| {
            if procedure != Procedure::Null {
                out.opaque(&side.root);
            }
        })
        .map_err(failed("call the server"))?;
        Ok(start.elapsed())
    })
}

fn random(name: &str, load: fn(&mut Nfs, &[u8]) -> std::result::Result<(), crate::rpc::RpcError>) -> Row {
    row(name, PIECES, DATA, move |servers, side| {
        let file = random_file(servers, side)?;
        let mut nfs = connect(servers, side)?;
        let start = Instant::now();
        load(&mut nfs, &file).map_err(failed("call the server"))?;
        Ok(start.elapsed())
    })
}

fn row(
    name: &str,
    amount: usize,
    target: f64,
    run: impl Fn(&Servers, &Side) -> Result<Duration> + 'static,
) -> Row {
    Row {
        name: name.into(),
        unit: "call",
        amount: amount as f64,
        target,
        rounds: usize::MAX,
        crowd: None,
        prepare: Box::new(|_, _, _| Ok(())),
        run: Box::new(move |servers, side, _| run(servers, side)),
    }
}

fn connect(servers: &Servers, side: &Side) -> Result<Nfs> {
    Ok(Nfs::new(RpcClient::tcp(&servers.endpoint, (side.address, NFS_PORT).into())?))
}

/// The handle of the large file.
pub fn random_file(servers: &Servers, side: &Side) -> Result<Handle> {
    let found = connect(servers, side)?.lookup(&side.root, b"random").map_err(failed("look up a file"))?;
    let missing = || failed("look up a file")(io::Error::other(format!("status {}", found.status)));
    found.value.as_ref().map(|found| found.handle.clone()).ok_or_else(missing)
}

/// Where pieces are, the same for both sides.
fn offsets() -> impl FnMut() -> u64 {
    let mut rng = Rng::new(7);
    move || rng.next_u64() % ((RANDOM_MIB << 20) / PIECE) as u64 * PIECE as u64
}
