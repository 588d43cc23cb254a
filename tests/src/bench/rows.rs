//! What is measured.

use super::servers::{COLD_MIB, LONG, MANY, Servers, Side, failed};
use crate::nfs3::{NFS_PORT, Nfs, Procedure};
use crate::rpc::RpcClient;
use keelson_qemu::Result;
use std::time::{Duration, Instant};

/// MiB written and read again.
const BULK_MIB: usize = 64;
/// Files made, found and removed by one process.
const FILES: usize = 200;
/// Processes that make files at the same time, and files of each.
const WRITERS: usize = 8;
const FILES_EACH: usize = 25;
/// Small calls of the bench's own client.
const CALLS: usize = 3000;

/// Something done on one side in one round; what is measured results in the time it took.
pub type Work<T> = Box<dyn Fn(&Servers, &Side, usize) -> Result<T>>;

/// One row of the table.
pub struct Row {
    /// What is done.
    pub name: &'static str,
    /// Unit of `amount`.
    pub unit: &'static str,
    /// How much is done.
    pub amount: f64,
    /// Done before, not measured.
    pub prepare: Work<()>,
    /// Done and measured.
    pub run: Work<Duration>,
}

/// All rows, in an order in which later ones find what earlier ones left.
pub fn rows() -> Vec<Row> {
    vec![
        small_calls("NULL, one at a time", Procedure::Null, 1),
        small_calls("GETATTR, one at a time", Procedure::GetAttr, 1),
        small_calls("GETATTR, 16 in flight", Procedure::GetAttr, 16),
        shell(
            "write",
            "MB",
            mb(BULK_MIB),
            "rm -f $M/bulk; sync",
            &format!("dd if=/dev/zero of=$M/bulk bs=1M count={BULK_MIB} conv=fsync"),
        ),
        shell("read, cached by server", "MB", mb(BULK_MIB), FORGET, "dd if=$M/bulk of=/dev/null bs=1M"),
        shell("read, from disk", "MB", mb(COLD_MIB), FORGET, "dd if=$M/cold.$R of=/dev/null bs=1M"),
        shell("create", "call", FILES as f64, "mkdir $M/d$R", &each("> $M/d$R/$i")),
        shell(
            "create, 8 at once",
            "call",
            (WRITERS * FILES_EACH) as f64,
            "mkdir $M/p$R",
            &format!(
                "for p in $(seq {WRITERS}); do (for i in $(seq {FILES_EACH}); do > $M/p$R/$p-$i; done) & done; wait"
            ),
        ),
        shell("create and write 1 KiB", "file", FILES as f64, "mkdir $M/s$R", &each("echo $K > $M/s$R/$i")),
        shell("lookup", "call", FILES as f64, FORGET, &each("[ -e $M/d$R/$i ]")),
        shell(
            "list 5,000 with attributes",
            "entry",
            MANY as f64,
            FORGET,
            &format!("[ $(ls -l $M/many | wc -l) -ge {MANY} ]"),
        ),
        shell("remove", "file", FILES as f64, "true", "rm -r $M/d$R"),
    ]
}

/// Makes the client forget what it has cached; the server keeps its own cache.
const FORGET: &str = "sync; echo 3 > /proc/sys/vm/drop_caches";

fn mb(mib: usize) -> f64 {
    (mib << 20) as f64 / 1e6
}

fn each(action: &str) -> String {
    format!("for i in $(seq {FILES}); do {action}; done")
}

/// A row of the Linux client. In the scripts `$M` is the mounted directory, `$R` the round, `$K` 1 KiB of text.
fn shell(name: &'static str, unit: &'static str, amount: f64, prepare: &str, run: &str) -> Row {
    let script = |side: &Side, round: usize, text: &str| {
        format!("M={} R={round} K=$(printf %1023s | tr ' ' x)\n{text}", side.mount)
    };
    let (prepare, run) = (prepare.to_string(), run.to_string());
    Row {
        name,
        unit,
        amount,
        prepare: Box::new(move |servers, side, round| {
            servers.client.ok(&script(side, round, &prepare), LONG).map(drop)
        }),
        run: Box::new(move |servers, side, round| servers.client.time(&script(side, round, &run), LONG)),
    }
}

/// Calls of the bench itself: nothing but the server's cost of a call.
fn small_calls(name: &'static str, procedure: Procedure, in_flight: usize) -> Row {
    Row {
        name,
        unit: "call",
        amount: CALLS as f64,
        prepare: Box::new(|_, _, _| Ok(())),
        run: Box::new(move |servers, side, _| {
            let mut nfs = Nfs::new(RpcClient::tcp(&servers.endpoint, (side.address, NFS_PORT).into())?);
            let start = Instant::now();
            nfs.load(procedure, CALLS, in_flight, |_, out| {
                if procedure != Procedure::Null {
                    out.opaque(&side.root);
                }
            })
            .map_err(failed("call the server"))?;
            Ok(start.elapsed())
        }),
    }
}
