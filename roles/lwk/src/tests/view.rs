//! What programs see of their node in /proc and /sys.

use super::*;
use crate::files::{FdTable, Vfs};
use crate::pseudo::NodeView;
use crate::view::View;
use keelson_hal::user::PageSize;

const OPEN: u64 = 2;
const STAT: u64 = 4;
const LSTAT: u64 = 6;

/// A world whose programs have /proc and /sys.
struct Shown {
    world: World,
    view: Arc<View>,
    vfs: Arc<Vfs>,
}

impl Shown {
    fn new(cores: usize) -> Shown {
        let world = World::new(cores);
        let view =
            Arc::new(View::new(world.node.clone(), &[PageSize::Huge, PageSize::Large, PageSize::Small]));
        let vfs = Arc::<Vfs>::default();
        vfs.show(view.clone());
        Shown { world, view, vfs }
    }

    fn request(&self, pid: u32, path: &str) -> LaunchRequest {
        let files = FdTable::of(self.vfs.clone(), 64);
        files.fs().launched_in(b"/home/user");
        let environment = vec![b"A=b".to_vec()];
        LaunchRequest { files: Arc::new(files), environment, ..self.world.request(pid, path) }
    }

    /// Runs a program as process 1000 to its end.
    fn run(&self, body: impl Fn(&mut Cpu) + Send + Sync + 'static) {
        self.world.program("/bin/test", body);
        self.world.launch(self.request(1000, "/bin/test")).expect("launched");
        self.world.run();
        assert_eq!(self.world.status(1000), 0);
    }
}

/// Reads a whole file.
fn file(cpu: &mut Cpu, path: &str) -> String {
    let at = cpu.text(DATA, path);
    let fd = cpu.call(OPEN, &[at, 0]);
    assert!(fd >= 0, "{path}: {fd}");
    let mut text = Vec::new();
    loop {
        let count = cpu.call(0, &[fd as u64, DATA + 0x1000, 0x1000]);
        assert!(count >= 0, "{path}: {count}");
        if count == 0 {
            break;
        }
        text.extend(cpu.read(DATA + 0x1000, count as usize));
    }
    assert_eq!(cpu.call(3, &[fd as u64]), 0);
    String::from_utf8(text).unwrap()
}

/// Writes to a file; the result.
fn store(cpu: &mut Cpu, path: &str, text: &str) -> i64 {
    let at = cpu.text(DATA, path);
    let fd = cpu.call(OPEN, &[at, 1]);
    assert!(fd >= 0, "{path}: {fd}");
    let from = cpu.text(DATA + 0x1000, text);
    let result = cpu.call(1, &[fd as u64, from, text.len() as u64]);
    assert_eq!(cpu.call(3, &[fd as u64]), 0);
    result
}

/// Mode of what lies at a path.
fn mode(cpu: &mut Cpu, call: u64, path: &str) -> Result<u32, i64> {
    let at = cpu.text(DATA, path);
    match cpu.call(call, &[at, DATA + 0x1000]) {
        0 => Ok(cpu.half(DATA + 0x1000 + 24)),
        error => Err(error),
    }
}

fn link(cpu: &mut Cpu, path: &str) -> String {
    let at = cpu.text(DATA, path);
    let count = cpu.call(89, &[at, DATA + 0x1000, 0x1000]);
    assert!(count > 0, "{path}: {count}");
    String::from_utf8(cpu.read(DATA + 0x1000, count as usize)).unwrap()
}

/// The value of a line of status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{name} in {status}")).trim()
}

#[test]
fn a_program_sees_itself() {
    Shown::new(2).run(|cpu| {
        cpu.compute(Duration::from_millis(30));
        let stat = file(cpu, "/proc/self/stat");
        assert!(stat.starts_with("1000 (test) R 77 1000 1000 0 "), "{stat}");
        let fields: Vec<&str> = stat.split_whitespace().collect();
        assert_eq!((fields.len(), fields[13], fields[38]), (52, "3", "0"), "{stat}");
        let status = file(cpu, "/proc/self/status");
        for (name, value) in [
            ("Name", "test"),
            ("State", "R (running)"),
            ("Pid", "1000"),
            ("PPid", "77"),
            ("Uid", "1000\t1000\t1000\t1000"),
            ("Groups", "100 4"),
            ("Threads", "1"),
            ("Umask", "0022"),
            ("Cpus_allowed_list", "0-1"),
            ("Mems_allowed_list", "0-1"),
        ] {
            assert_eq!(field(&status, name), value);
        }
        let resident: u64 = field(&status, "VmRSS").trim_end_matches(" kB").parse().unwrap();
        assert!(resident > 0);
        assert_eq!(file(cpu, "/proc/self/cmdline"), "/bin/test\0");
        assert_eq!(file(cpu, "/proc/1000/environ"), "A=b\0");
        assert_eq!(link(cpu, "/proc/self/exe"), "/bin/test");
        assert_eq!(link(cpu, "/proc/self/cwd"), "/home/user");
        assert!(
            file(cpu, "/proc/self/limits").contains("Max open files            1024                 1048576")
        );
    });
}

#[test]
fn maps_show_areas_with_their_names() {
    Shown::new(1).run(|cpu| {
        // A shared anonymous mapping, touched.
        let shared = cpu.call(9, &[0, 0x4000, 3, 0x21, u64::MAX, 0]) as u64;
        cpu.write(shared, b"x");
        let maps = file(cpu, "/proc/self/maps");
        let line = |start: u64| {
            let found = maps.lines().find(|line| line.starts_with(&format!("{start:08x}-")));
            found.unwrap_or_else(|| panic!("{start:x} in {maps}"))
        };
        assert!(line(DATA).starts_with("10000000-10100000 rw-p 00000000 00:00 0 "), "{maps}");
        assert!(line(shared).contains(" rw-s 00000000 ") && line(shared).ends_with("/dev/zero (deleted)"));
        let status = file(cpu, "/proc/self/status");
        let shmem: u64 = field(&status, "RssShmem").trim_end_matches(" kB").parse().unwrap();
        assert!(shmem >= 4, "{status}");
        let numa = file(cpu, "/proc/self/numa_maps");
        let data = numa.lines().find(|line| line.starts_with("10000000 default anon=")).expect("an area");
        assert!(data.contains(" N0=") && !data.contains(" N1="), "{data}");
        let smaps = file(cpu, "/proc/self/smaps");
        let of_data = smaps.split_once("10000000-10100000").expect("an area").1;
        let used = of_data.lines().find_map(|line| line.strip_prefix("Rss:")).expect("its memory").trim();
        assert_ne!(used, "0 kB");
    });
}

/// What is read is kept with the open file, and there may be many of those.
#[test]
fn no_text_is_made_where_the_kernel_is_short_of_memory() {
    let shown = Shown::new(1);
    let machine = shown.world.machine.clone();
    shown.run(move |cpu| {
        let at = cpu.text(DATA, "/proc/self/maps");
        let fd = cpu.call(OPEN, &[at, 0]) as u64;
        let mut read = |len: u64| cpu.call(0, &[fd, DATA + 0x1000, len]);
        assert_eq!(read(10), 10);
        machine.short.store(true, Ordering::Relaxed);
        assert_eq!(read(10), 10, "it is there already");
        assert_eq!(cpu.call(17, &[fd, DATA + 0x1000, 10, 0]), -12);
        machine.short.store(false, Ordering::Relaxed);
        assert_eq!(cpu.call(17, &[fd, DATA + 0x1000, 10, 0]), 10);
    });
}

#[test]
fn areas_by_the_thousand_have_their_lines() {
    Shown::new(1).run(|cpu| {
        // MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE; every second page may be read.
        let at = cpu.call(9, &[0, 2000 * 4096, 0, 0x4022, u64::MAX, 0]) as u64;
        for page in (0..2000).step_by(2) {
            assert_eq!(cpu.call(10, &[at + page * 4096, 4096, 1]), 0);
        }
        let end = at + 2000 * 4096;
        let own = |text: &str| {
            let start = |line: &str| u64::from_str_radix(line.split(['-', ' ']).next()?, 16).ok();
            text.lines().filter_map(start).filter(|start| (at..end).contains(start)).count()
        };
        assert_eq!(own(&file(cpu, "/proc/self/maps")), 2000);
        assert_eq!(own(&file(cpu, "/proc/self/smaps")), 2000);
        assert_eq!(own(&file(cpu, "/proc/self/numa_maps")), 2000);
        let (maps, rollup) = (file(cpu, "/proc/self/maps"), file(cpu, "/proc/self/smaps_rollup"));
        assert_eq!(rollup[..8], maps[..8]);
        assert!(rollup.lines().next().unwrap().ends_with(" [rollup]"));
    });
}

#[test]
fn names_and_wishes_are_written() {
    Shown::new(1).run(|cpu| {
        assert_eq!(store(cpu, "/proc/self/comm", "worker-with-a-long-name\n"), 24);
        assert_eq!(file(cpu, "/proc/self/comm"), "worker-with-a-l\n");
        assert_eq!(store(cpu, "/proc/self/oom_score_adj", "-500\n"), 5);
        assert_eq!(file(cpu, "/proc/self/oom_score_adj"), "-500\n");
        for wrong in ["1001", "-1001", "much"] {
            assert_eq!(store(cpu, "/proc/self/oom_score_adj", wrong), -22, "{wrong}");
        }
        assert_eq!(file(cpu, "/proc/self/oom_score_adj"), "-500\n");
    });
}

#[test]
fn the_roots_of_the_trees_are_the_nodes() {
    Shown::new(1).run(|cpu| {
        for path in ["/proc", "/sys", "/dev/shm", "/proc/", "/../proc", "/proc/self/fd"] {
            for call in [STAT, LSTAT] {
                let mode = mode(cpu, call, path).unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(mode & 0o170_000, 0o040_000, "{path}");
            }
        }
        assert_eq!(mode(cpu, LSTAT, "/proc/self").unwrap() & 0o170_000, 0o120_000);
        assert_eq!(mode(cpu, STAT, "/proc/self").unwrap() & 0o170_000, 0o040_000);
        assert_eq!(mode(cpu, STAT, "/proc/4711"), Err(-2));
    });
}

#[test]
fn processors_are_those_of_the_partition() {
    for (cores, online) in [(1, "0\n"), (3, "0-2\n"), (4, "0-3\n")] {
        let shown = Shown::new(cores);
        shown.run(move |cpu| {
            assert_eq!(file(cpu, "/sys/devices/system/cpu/online"), online);
            assert_eq!(file(cpu, "/proc/cpuinfo").matches("processor\t: ").count(), cores);
            if cores == 4 {
                // Cores 1 and 2 of the machine are on its first NUMA node.
                assert_eq!(file(cpu, "/sys/devices/system/node/node1/cpulist"), "2-3\n");
            }
            assert_eq!(file(cpu, "/sys/devices/system/node/node0/distance"), "10 20\n");
        });
        assert_eq!(shown.view.facts().threads_max as usize, cores + 4);
    }
}

#[test]
fn nodes_are_told_apart() {
    let shown = Shown::new(1);
    let facts = shown.view.facts();
    let other = View::new(shown.world.node.clone(), &[PageSize::Small]).facts();
    assert_ne!(facts.boot_id, other.boot_id);
    assert_ne!(facts.namespace, other.namespace);
    assert_eq!((facts.large_pages, other.large_pages), (vec![2 << 20, 1 << 30], vec![]));
    assert_ne!(shown.view.random(), shown.view.random());
    shown.world.clock.advance(Duration::from_secs(5));
    assert_eq!(shown.view.facts().booted, Duration::from_secs(1_700_000_000));
}

#[test]
fn time_and_memory_are_counted() {
    let shown = Shown::new(2);
    shown.run(|cpu| cpu.compute(Duration::from_millis(40)));
    shown.world.clock.advance(Duration::from_millis(60));
    let cpus = shown.view.cpus().unwrap();
    assert_eq!(cpus[0].times.0, Duration::from_millis(40));
    assert_eq!(cpus[1].times.0, Duration::ZERO);
    let (up, idle) = shown.view.uptime();
    assert_eq!(cpus.iter().map(|cpu| cpu.times.2).sum::<Duration>(), idle);
    assert_eq!(up * 2, idle + cpus.iter().map(|cpu| cpu.times.0 + cpu.times.1).sum::<Duration>());
    for node in shown.view.memory() {
        assert_eq!(node.total - node.free, node.cached + node.shared + node.anonymous);
    }
    // Its process is gone.
    assert_eq!(shown.view.processes(), Ok(Vec::new()));
    assert!(shown.view.process(1000).is_none());
    assert_eq!(shown.view.write(1000, 1000, "comm", b"x"), Err(Errno::ESRCH));
}

#[test]
fn others_are_seen_while_they_live() {
    let shown = Shown::new(2);
    shown.world.program("/bin/sleeper", |cpu| {
        cpu.put(DATA, &[3600, 0]);
        cpu.call(35, &[DATA, 0]);
    });
    shown.world.launch(shown.request(900, "/bin/sleeper")).expect("launched");
    assert_eq!(shown.view.thread(900, 900).map(|thread| thread.state), Some('R'), "about to run");
    shown.world.settle();
    let sleeper = shown.view.thread(900, 900).expect("it lives");
    assert_eq!((sleeper.name, sleeper.state), (b"sleeper".to_vec(), 'S'));
    shown.world.program("/bin/test", |cpu| {
        assert!(file(cpu, "/proc/900/stat").starts_with("900 (sleeper) S 77 "));
        assert!(file(cpu, "/proc/stat").contains("procs_running 1\n"));
    });
    shown.world.launch(shown.request(1000, "/bin/test")).expect("launched");
    shown.world.settle();
    assert_eq!(shown.world.status(1000), 0);
    assert_eq!(shown.view.processes(), Ok(vec![900]));
    assert!(shown.view.thread(900, 1000).is_none());
}
