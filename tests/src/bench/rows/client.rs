//! Rows of the Linux client: its shell, and the program `measure` (`guest/measure`). In the scripts `$M` is the mounted
//! directory, `$R` the round, `$K` 1 KiB of text, `$MOUNT` mounts the directory anew.

use super::super::servers::{COLD_MIB, LONG, MANY, Side};
use super::{DATA, HALF, Row};

/// MiB written and read again.
const BULK_MIB: usize = 64;
/// Files made by one process of the shell.
const FILES: usize = 200;
/// Processes that make files at the same time, and files of each.
const WRITERS: usize = 8;
const FILES_EACH: usize = 25;
/// How often the large directory is listed, since CPU time is counted in hundredths of a second.
const LISTS: usize = 5;
/// Pieces of 4 KiB read or written through the client's cache, and written past it.
const PIECES: usize = 4096;
const DIRECT_WRITES: usize = 512;
/// Threads that read or write at once.
const THREADS: usize = 8;
/// Blocks of 4 KiB of the check in the NFS howto: more than its client of the time had memory for read-ahead.
const DD_BLOCKS: usize = 4098;
/// Locks taken and given up by one process, and by each of several on one file.
const LOCKS: usize = 500;
const CONTENDERS: usize = 8;
const LOCKS_EACH: usize = 25;

/// Makes the client forget what it has cached; the server keeps its own cache.
const FORGET: &str = "sync; echo 3 > /proc/sys/vm/drop_caches";

/// Contents of files.
pub fn data() -> Vec<Row> {
    let dd = mb(DD_BLOCKS * 4096);
    vec![
        row("write", "MB", mb(BULK_MIB << 20), DATA).doing(
            "rm -f $M/bulk; sync",
            &format!("dd if=/dev/zero of=$M/bulk bs=1M count={BULK_MIB} conv=fsync"),
        ),
        row("read, cached by server", "MB", mb(BULK_MIB << 20), DATA)
            .doing(FORGET, "dd if=$M/bulk of=/dev/null bs=1M"),
        row("read, from disk", "MB", mb(COLD_MIB << 20), DATA)
            .doing(FORGET, "dd if=$M/cold.$R of=/dev/null bs=1M"),
        row("dd bs=4k count=4098", "MB", dd, DATA)
            .doing("rm -f $M/dd; sync", &format!("dd if=/dev/zero of=$M/dd bs=4k count={DD_BLOCKS}")),
        row("dd back after a new mount", "MB", dd, DATA)
            .doing("umount $M && $MOUNT", "dd if=$M/dd of=/dev/null bs=4k"),
        row("random read 4 KiB, direct", "call", PIECES as f64, DATA)
            .doing("true", &format!("measure read $M/random {PIECES} {THREADS}")),
        row("random write 4 KiB, direct", "call", DIRECT_WRITES as f64, DATA)
            .doing("true", &format!("measure write $M/random {DIRECT_WRITES} {THREADS}")),
        row("random write 4 KiB, fsync", "call", PIECES as f64, DATA)
            .doing(FORGET, &format!("measure overwrite $M/random {PIECES}")),
    ]
}

/// Names and attributes.
pub fn names() -> Vec<Row> {
    let many = |name, action: &str, prepare| {
        let row = row(name, "call", MANY as f64, HALF);
        Row { rounds: 1, ..row.doing(prepare, &format!("measure {action} $M/n$R {MANY}")) }
    };
    let each = |action: &str| format!("for i in $(seq {FILES}); do {action}; done");
    let at_once = format!(
        "for p in $(seq {WRITERS}); do (for i in $(seq {FILES_EACH}); do > $M/p$R/$p-$i; done) & done; wait"
    );
    vec![
        many("create 5,000", "create", "mkdir $M/n$R"),
        many("stat 5,000", "stat", FORGET),
        many("unlink 5,000", "remove", "true"),
        row("create, 8 at once", "call", (WRITERS * FILES_EACH) as f64, HALF).doing("mkdir $M/p$R", &at_once),
        row("create and write 1 KiB", "file", FILES as f64, HALF)
            .doing("mkdir $M/s$R", &each("echo $K > $M/s$R/$i")),
        row("list 5,000 with attributes", "entry", (LISTS * MANY) as f64, HALF).doing(
            "true",
            &format!("for i in $(seq {LISTS}); do {FORGET}; [ $(ls -l $M/many | wc -l) -ge {MANY} ] || exit 1; done"),
        ),
    ]
}

/// Locks. The client asks the server for each, and asks anew when it was called back.
pub fn locks() -> Vec<Row> {
    let contended = (CONTENDERS * LOCKS_EACH) as f64;
    vec![
        row("fcntl, lock and unlock", "pair", LOCKS as f64, HALF)
            .doing("measure locks $M/lock 10 1", &format!("measure locks $M/lock {LOCKS} 1")),
        row("fcntl, 8 wait for one file", "pair", contended, HALF)
            .doing("true", &format!("measure locks $M/lock {LOCKS_EACH} {CONTENDERS}")),
    ]
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn row(name: &'static str, unit: &'static str, amount: f64, target: f64) -> Row {
    Row {
        name: name.into(),
        unit,
        amount,
        target,
        rounds: usize::MAX,
        crowd: None,
        prepare: Box::new(|_, _, _| Ok(())),
        run: Box::new(|_, _, _| Ok(Default::default())),
    }
}

impl Row {
    /// With these scripts.
    fn doing(mut self, prepare: &str, run: &str) -> Row {
        let script = |side: &Side, round: usize, text: &str| {
            let Side { mount, mount_command, .. } = side;
            format!("M={mount} R={round} MOUNT='{mount_command}' K=$(printf %1023s | tr ' ' x)\n{text}")
        };
        let (prepare, run) = (prepare.to_string(), run.to_string());
        self.prepare = Box::new(move |servers, side, round| {
            servers.client.ok(&script(side, round, &prepare), LONG).map(drop)
        });
        self.run =
            Box::new(move |servers, side, round| servers.client.time(&script(side, round, &run), LONG));
        self
    }
}
