//! Figures, not tests: `cargo test --release -p keelson-ext4 --test measure -- --ignored --nocapture`.

mod common;

use common::{mount, run};
use keelson_ext4::dev::{FileDisk, mke2fs};
use keelson_ext4::{Ext4Volume, Options};
use keelson_volume::{ClearSetid, NewObject, ObjectKind, SetTime, Volume};
use std::time::Instant;

const FILES: usize = 2000;
const BYTES: usize = 128 << 20;
const CHUNK: usize = 64 << 10;

/// Microseconds that this thread has had of a processor: on a busy host the clock tells little.
fn processor_us() -> f64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    said.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

fn timed(volume: &Ext4Volume, what: &str, count: usize, unit: &str, work: impl FnOnce()) {
    let (before, start, processor) = (volume.cache_counters(), Instant::now(), processor_us());
    work();
    let processor = processor_us() - processor;
    let seconds = start.elapsed().as_secs_f64();
    let after = volume.cache_counters();
    println!(
        "{what}: {:.0} {unit}/s, {:.1} us each, {:.1} us of a processor; per {unit}: {:.2} flushes, {:.2} writes of {:.1} KiB, {:.2} reads",
        count as f64 / seconds,
        seconds * 1e6 / count as f64,
        processor / count as f64,
        (after.flushes - before.flushes) as f64 / count as f64,
        (after.writes - before.writes) as f64 / count as f64,
        (after.write_bytes - before.write_bytes) as f64
            / 1024.0
            / (after.writes - before.writes).max(1) as f64,
        (after.reads - before.reads) as f64 / count as f64,
    );
}

#[test]
#[ignore = "measures"]
fn figures() {
    let scratch = mke2fs(512, &["-b", "4096"]);
    let start = Instant::now();
    let volume =
        mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount");
    println!("mount: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let root = volume.root();
    let new = NewObject {
        kind: ObjectKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        atime: SetTime::Now,
        mtime: SetTime::Now,
    };
    let create = |name: String| run(volume.create(root, name.as_bytes(), new)).expect("create").object.id;
    timed(&volume, "create, commit each", FILES, "file", || {
        for number in 0..FILES {
            create(format!("synced {number}"));
            run(volume.commit(root)).expect("commit");
        }
    });
    timed(&volume, "create, one commit", FILES, "file", || {
        for number in 0..FILES {
            create(format!("batched {number}"));
        }
        run(volume.commit(root)).expect("commit");
    });
    timed(&volume, "lookup", FILES, "file", || {
        for number in 0..FILES {
            run(volume.lookup(root, format!("batched {number}").as_bytes())).expect("lookup");
        }
    });
    timed(&volume, "remove, one commit", FILES, "file", || {
        for number in 0..FILES {
            run(volume.remove(root, format!("batched {number}").as_bytes())).expect("remove");
        }
        run(volume.commit(root)).expect("commit");
    });
    let data = vec![0xA5; CHUNK];
    // As much as goes into memory, again and again: what letting data in costs by itself.
    let file = create("small".into());
    let fitting = 2 << 20;
    run(volume.write(file, 0, &vec![1; fitting], ClearSetid::Yes)).expect("write");
    timed(&volume, "overwrite 64 KiB in memory", FILES, "write", || {
        for index in 0..FILES {
            let offset = index * CHUNK % fitting;
            run(volume.write(file, offset as u64, &data, ClearSetid::Yes)).expect("write");
        }
    });
    let mut buffer = vec![0; CHUNK];
    timed(&volume, "read 64 KiB from memory", FILES, "read", || {
        for index in 0..FILES {
            let offset = (index * CHUNK % fitting) as u64;
            assert_eq!(run(volume.read(file, offset, &mut buffer)), Ok(CHUNK));
        }
    });
    run(volume.commit(file)).expect("commit");
    let file = create("large".into());
    let chunks = BYTES / CHUNK;
    timed(&volume, "write 64 KiB, one commit", chunks, "write", || {
        for index in 0..chunks {
            run(volume.write(file, (index * CHUNK) as u64, &data, ClearSetid::Yes)).expect("write");
        }
        run(volume.commit(file)).expect("commit");
    });
    timed(&volume, "read 64 KiB", chunks, "read", || {
        for index in 0..chunks {
            assert_eq!(run(volume.read(file, (index * CHUNK) as u64, &mut buffer)), Ok(CHUNK));
        }
    });
    timed(&volume, "overwrite 4 KiB", FILES, "write", || {
        for index in 0..FILES {
            run(volume.write(file, (index * 7919 % 30_000 * 4096) as u64, &data[..4096], ClearSetid::Yes))
                .expect("write");
        }
        run(volume.commit(file)).expect("commit");
    });
    println!("{:?}\n{:?}", volume.counters(), volume.cache_counters());
}
