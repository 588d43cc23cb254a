//! What it costs: `cargo test --release -p keelson-ext4 --lib speed -- --ignored --nocapture`.

use super::*;

/// Nanoseconds that this thread ran, whatever else the machine does.
fn ran() -> u64 {
    let said = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    said.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

fn measure(what: &str, count: usize, mut work: impl FnMut(usize)) {
    let start = ran();
    for number in 0..count {
        work(number);
    }
    eprintln!("  {what}: {} ns", (ran() - start) / count as u64);
}

#[test]
#[ignore = "measures"]
fn speed() {
    for (block_size, count) in [("4096", 100), ("4096", 10_000), ("4096", 100_000), ("1024", 100_000)] {
        eprintln!("{count} names, blocks of {block_size}");
        let mut fixture = Fixture::new(64, &["-b", block_size, "-N", "64"]);
        let name = |number: usize| format!("file-{number:06}").into_bytes();
        let (dir, file) = (fixture.dir, fixture.files[0]);
        measure("insert", count, |number| {
            fixture.bench.run(|engine| insert(engine, dir, &name(number), file)).expect("insert");
        });
        fixture.bench.commit();
        let inode = fixture.inode();
        let rounds = 100_000;
        measure("lookup", rounds, |number| {
            let name = name(number * 7919 % count);
            let found = fixture.bench.run(|engine| engine.dir_lookup(&inode, &name)).expect("look up");
            assert!(found.is_some());
        });
        measure("lookup of what is not there", rounds, |number| {
            let name = format!("none-{number:06}");
            let found =
                fixture.bench.run(|engine| engine.dir_lookup(&inode, name.as_bytes())).expect("look up");
            assert!(found.is_none());
        });
        let start = ran();
        let (mut cookie, mut listed) = (0, 0);
        loop {
            let page = fixture.page(cookie, 32_768).expect("list");
            listed += page.entries.len();
            cookie = page.entries.last().map_or(cookie, |last| last.cookie);
            if page.end {
                break;
            }
        }
        eprintln!("  list: {} ns per name", (ran() - start) / listed as u64);
        measure("remove and insert", rounds, |number| {
            let name = name(number * 7919 % count);
            let done = fixture.bench.run(|engine| {
                let mut inode = engine.inode(dir)?;
                engine.dir_remove(&mut inode, &name)?;
                engine.dir_insert(&mut inode, &name, file, FILE)?;
                engine.put_inode(&inode)
            });
            done.expect("remove and insert");
        });
    }
}
