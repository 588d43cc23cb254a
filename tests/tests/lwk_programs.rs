//! The LWK node runs Linux programs: the same binary, once on the node and once on the host, writes the same and ends the same.

use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

fn node(name: &str, shape: Shape<'_>) -> LwkNode {
    LwkNode::start(name, LWKCTL, shape)
}

fn compiled(name: &str, link: Link) -> PathBuf {
    program(FOLDER, name, link, &[])
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn small_programs_of_every_kind() {
    let node = node("lwk-small", Shape::default());
    for link in Link::ALL {
        let hello = node.same(&compiled("hello.c", link), &["one", "", "two words"], b"");
        assert_eq!(hello.status.code(), Some(42));
        node.same(&compiled("exceptions.cc", link), &[], b"");
    }
    // A proxy that leaves when its program has ended is not missed.
    for _ in 0..20 {
        node.run(&compiled("hello.c", Link::Static), &[], b"");
    }
    let console = node.machine.console();
    assert!(!console.contains("its host is gone"), "{}", console.transcript());
}

/// A node that no server of NTP tells the time has its host's: what a program writes there is not from the future.
#[test]
fn the_time_of_day_is_the_hosts() {
    let node = node("lwk-time", Shape::default());
    let program = compiled("now.c", Link::Static);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    for _ in 0..3 {
        let before = now();
        let told: u128 = text(&node.run(&program, &[], b"")).trim().parse().unwrap();
        assert!((before..=now()).contains(&told), "{told}, not from {before} on");
    }
}

#[test]
fn threads_memory_and_signals() {
    let node = node("lwk-threads", Shape::default());
    for link in [Link::Static, Link::Dynamic] {
        for name in
            ["threads.c", "memory.c", "signals.c", "rseq.c", "affinity.c", "priorities.c", "refusals.c"]
        {
            // A child needs a processor of its own.
            node.same(&compiled(name, link), &[], b"");
        }
        node.same(&program(FOLDER, "openmp.c", link, &["-fopenmp"]), &[], b"");
        // A heap that grows by more than was asked for is one for malloc(3) too.
        let memory = compiled("memory.c", link);
        let ended = output(node.mcexec(&["--extend-heap-by=2M"], &memory, &[]), b"");
        let linux = node.reference(&memory, &[], b"");
        assert_eq!((text(&ended), ended.status), (text(&linux), linux.status), "{ended:?}");
    }
}

#[test]
fn processes_pipes_and_shells() {
    let node = node("lwk-processes", Shape { line: "allow_oversubscribe=8", ..Shape::default() });
    for link in [Link::Static, Link::Dynamic] {
        for name in [
            "processes.c",
            "signalfd.c",
            "files.c",
            "opens.c",
            "ends.c",
            "corners.c",
            "sigio.c",
            "locks.c",
            "exclusive.c",
            "buffers.c",
            "proc.c",
            "segments.c",
        ] {
            node.same(&compiled(name, link), &[], b"");
        }
    }
    let busybox = installed("busybox", "busybox-static");
    for script in [
        "echo one two three | tr ' ' '\\n' | sort -r | md5sum",
        "for i in 1 2 3; do echo $i; done | while read n; do echo got $n; done; exit 6",
        "mkdir -p d/e; echo text >d/e/f; tar cf d.tar d; rm -r d; tar xf d.tar; cat d/e/f; ls -R d; rm -r d d.tar",
        "sleep 0.1 & wait; kill -TERM $$",
        "dd if=/dev/zero bs=64k count=32 2>/dev/null | md5sum",
        "timeout 0.3 sleep 5; echo $?",
        "find /proc/self/ -maxdepth 0; test -e /dev/null && cat </dev/null",
    ] {
        node.same(&busybox, &["sh", "-c", script], b"");
    }
    node.same(&busybox, &["sh"], b"echo from standard input; cat\nthis line\n");
}

/// A program finds the library beside itself, by whatever path it was started, and /proc shows where files are.
#[test]
fn programs_are_where_they_are() {
    let node = node("lwk-places", Shape { line: "allow_oversubscribe=8", ..Shape::default() });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("lwk/places.c");
    let compile = |words: &[&str], libraries: &[&str]| {
        let mut gcc = Command::new("gcc");
        gcc.args(words).arg(&source).args(libraries).current_dir(node.dir());
        let done = output(gcc, b"");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    for folder in ["places/bin", "places/lib"] {
        fs::create_dir_all(node.dir().join(folder)).unwrap();
    }
    compile(&["-DLIBRARY", "-shared", "-fPIC", "-o", "places/lib/libbeside.so"], &[]);
    let beside = ["-Lplaces/lib", "-lbeside", "-Wl,-rpath,$ORIGIN/../lib"];
    compile(&["-o", "places/bin/places"], &beside);
    symlink("places/bin/places", node.dir().join("link")).unwrap();
    let words = ["places/bin", "./places", "..", "bin/places"];
    for program in ["./link", "places/bin/places"] {
        node.same(Path::new(program), &words, b"");
    }
    node.same(&node.dir().join("link"), &words, b"");
}

/// What a program leaves behind does not keep others from running, and an operator finds and removes it.
#[test]
fn segments_that_are_left_behind() {
    let (segments, busybox) = (compiled("segments.c", Link::Static), installed("busybox", "busybox-static"));
    let (ipcs, ipcrm) = (installed("ipcs", "util-linux"), installed("ipcrm", "util-linux"));
    let shape = Shape { memory: 512, ..Shape::default() };
    let errors = |ended: &Output| String::from_utf8_lossy(&ended.stderr).into_owned();
    {
        let node = node("lwk-segments", shape);
        let left = text(&node.run(&segments, &["leave", "16"], b""));
        assert!(left.ends_with(" segments: No space left on device\n"), "{left}");
        assert_eq!(node.run(&busybox, &["true"], b"").status.code(), Some(0));
        let rows =
            || text(&node.run(&ipcs, &["-m"], b"")).lines().filter(|line| line.contains("16777216")).count();
        assert!(rows() > 10 && left.starts_with(&rows().to_string()), "{left}");
        let removed = node.run(&ipcrm, &["--all=shm"], b"");
        assert!(removed.status.success(), "{}", errors(&removed));
        assert_eq!(rows(), 0);
    }
    {
        let node = node("lwk-segments-forced", Shape { line: "shm_rmid_forced=1 shmall=2M", ..shape });
        // Each goes when nobody has it attached any more: there is always room for the next one.
        assert_eq!(text(&node.run(&segments, &["leave", "1"], b"")), "100 segments\n");
    }
    // Who lets them have everything is told why nothing runs any more.
    let node = node("lwk-segments-all", Shape { line: "shmall=16G", ..shape });
    for (program, words) in [(&segments, &["leave", "16"][..]), (&busybox, &["true"][..])] {
        let ended = node.run(program, words, b"");
        assert!(!ended.status.success());
        let why =
            " MiB are in System V segments that nobody has attached; see ipcs -m, remove them with ipcrm";
        assert!(errors(&ended).contains(why), "{ended:?}");
    }
}

/// What mcexec is asked for is done, or refused in words.
#[test]
fn options_are_kept() {
    let node = node("lwk-options", Shape::default());
    let busybox = installed("busybox", "busybox-static");
    let run = |options: &[&str], words: &[&str]| output(node.mcexec(options, &busybox, words), b"");
    for cpu in ["0", "1", "2"] {
        // The 39th word of stat is the processor (proc(5)); nothing in front of it has a blank here.
        let ended = run(&["-c", cpu], &["awk", "{ print $39 }", "/proc/self/stat"]);
        assert_eq!(text(&ended), format!("{cpu}\n"), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let limit = run(&["-s", ",4m"], &["sh", "-c", "ulimit -s"]);
    assert_eq!(text(&limit), "4096\n");
    let vdso = |options: &[&str]| text(&run(options, &["grep", "-c", "vdso", "/proc/self/maps"]));
    assert_eq!((vdso(&[]), vdso(&["--disable-vdso"])), ("1\n".into(), "0\n".into()));
    let ended = run(&["-m", "+0"], &["true"]);
    assert!(ended.status.success(), "{ended:?}");
    for (option, value) in [("-c", Some("3")), ("-O", None)] {
        let ended = run(&std::iter::once(option).chain(value).collect::<Vec<_>>(), &["true"]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(122) && said.contains(&format!(" {option}")), "{said}");
    }
    let listed = text(&output(node.mcexec(&[], &installed("vmstat", "procps"), &["1", "2"]), b""));
    assert_eq!(listed.lines().count(), 4, "{listed}");
}

#[test]
fn a_program_has_as_many_files_as_it_may() {
    let node = node("lwk-nofile", Shape::default());
    let many = compiled("nofile.c", Link::Static);
    let limited = |limits: &str, command: Command| {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={limits}")).arg(command.get_program()).args(command.get_args());
        limited.current_dir(node.dir());
        let ended = output(limited, b"");
        (text(&ended), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    // Room for mcexec's own is below the hard limit, or above it for root, unless a container keeps that from it.
    let mut above = Command::new("prlimit");
    above.args(["--nofile=100:100", "prlimit", "--nofile=400:400", "true"]);
    let may_raise = output(above, b"").status.success();
    for limits in ["100:400", "100:100"].into_iter().take(if may_raise { 2 } else { 1 }) {
        let ours = limited(limits, node.mcexec(&[], &many, &[]));
        let all = "the last one is 99, then: Too many open files\nchild: 99\n";
        assert_eq!(ours, (all.into(), String::new()), "{limits}");
        assert_eq!(limited(limits, Command::new(&many)), ours, "{limits}");
    }
}

#[test]
fn python_sqlite_and_gzip() {
    let node = node("lwk-python", Shape { line: "allow_oversubscribe=8", ..Shape::default() });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lwk/script.py");
    let script = script.to_str().expect("a path in UTF-8");
    node.same(&installed("python3", "python3"), &[script], b"");

    let sql = b"create table t (n integer primary key, text text);\n\
        begin; with recursive c(n) as (select 1 union all select n + 1 from c where n < 2000)\n\
        insert into t select n, 'row ' || n from c; commit;\n\
        create index i on t (text); delete from t where n % 3 = 0; vacuum;\n\
        select count(*), sum(n), max(text) from t; pragma integrity_check;\n";
    let sqlite = installed("sqlite3", "sqlite3");
    let ours = node.run(&sqlite, &["node.db"], sql);
    let linux = node.reference(&sqlite, &["host.db"], sql);
    assert_eq!(
        (text(&ours), ours.status),
        (text(&linux), linux.status),
        "{}",
        String::from_utf8_lossy(&ours.stderr)
    );
    let check = output(
        reading(&sqlite, &node.dir().join("node.db"), "pragma integrity_check; select sum(n) from t"),
        b"",
    );
    assert_eq!(text(&check), "ok\n1334667\n");

    // 64 MiB that compress like text.
    let large = node.dir().join("large");
    let line: Vec<u8> =
        (0..64u32 << 20).map(|n| b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 23).collect();
    fs::write(&large, &line).unwrap();
    let gzip = installed("gzip", "gzip");
    let packed = node.run(&gzip, &["-1", "-c", "large"], b"");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    fs::write(node.dir().join("packed.gz"), &packed.stdout).unwrap();
    let unpacked = output(local(&gzip, &["-dc"], &node.dir().join("packed.gz")), b"");
    assert!(unpacked.stdout == line, "{} bytes came back", unpacked.stdout.len());
}

#[test]
fn an_epoll_server_on_a_socket_of_the_host() {
    let node = node("lwk-server", Shape::default());
    node.same(&compiled("server.c", Link::Static), &[], b"");
    node.same(&compiled("server.c", Link::Dynamic), &[], b"");
}

#[test]
fn programs_that_crash_end_as_on_linux() {
    let node = node("lwk-crash", Shape { memory: 512, ..Shape::default() });
    let crash = compiled("crash.c", Link::Static);
    for (how, signal) in [
        ("wild", 11),
        ("null-call", 11),
        ("kernel", 11),
        ("noncanonical", 11),
        ("divide", 8),
        ("privileged", 11),
        ("illegal", 4),
        ("breakpoint", 5),
        ("abort", 6),
        ("stack", 11),
        ("data", 11),
        ("text", 11),
        ("pipe", 13),
    ] {
        let ended = node.run(&crash, &[how], b"");
        assert_eq!(text(&ended), format!("{how}\n"), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.signal(), Some(signal), "{how}: {:?}", ended.status);
    }
    // Out of memory: an end like that by Linux's killer, or a refusal that the program sees; the node goes on.
    let ended = node.run(&crash, &["memory"], b"");
    assert!(ended.status.signal() == Some(9) || ended.status.code() == Some(9), "{:?}", ended.status);
    assert_eq!(node.run(&compiled("hello.c", Link::Static), &[], b"").status.code(), Some(42));
}

#[test]
fn a_crash_leaves_a_core_file_that_gdb_reads() {
    let node = node("lwk-core", Shape::default());
    for link in [Link::Static, Link::Dynamic] {
        let program = compiled("core.c", link);
        for (who, caller) in [("own", "main"), ("thread", "in_a_thread")] {
            let child = crashing(&node, &["--node=0"], &program, who);
            let pid = child.id();
            let ended = child.wait_with_output().unwrap();
            assert_eq!(ended.status.signal(), Some(11), "{}", String::from_utf8_lossy(&ended.stderr));
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(said, format!("mcexec: core dumped, core.{pid}\n"));
            let ours = backtrace(&program, &node.dir().join(format!("core.{pid}")));
            let (own, linux) = (node.dir().join(format!("core.{pid}")), host_core(&node, &program, who));
            assert_eq!(ours, backtrace(&program, &linux));
            assert_eq!(threads(&program, &own), threads(&program, &linux), "{who}");
            assert_eq!(ours[..2], ["innermost", "deeper"]);
            assert!(ours.iter().any(|name| name == caller), "{ours:?}");
        }
        // A child's is its own, and its parent is told.
        let ended = crashing(&node, &["--core=dump-%p"], &program, "child").wait_with_output().unwrap();
        let said = text(&ended);
        let child = said.strip_suffix(": signal 11, core file 1\n").unwrap_or_else(|| panic!("{ended:?}"));
        assert_eq!(
            backtrace(&program, &node.dir().join(format!("dump-{child}")))[..2],
            ["innermost", "deeper"]
        );
    }
    let program = compiled("core.c", Link::Static);
    let ended = crashing(&node, &["--core=off"], &program, "child").wait_with_output().unwrap();
    assert!(text(&ended).ends_with(": signal 11, core file 0\n"), "{ended:?}");
}

/// Starts a program that may leave a core file.
fn crashing(node: &LwkNode, options: &[&str], program: &Path, who: &str) -> Child {
    let mcexec = node.mcexec(options, program, &[who]);
    let mut command = Command::new("prlimit");
    command.arg("--core=unlimited").arg(mcexec.get_program()).args(mcexec.get_args()).current_dir(node.dir());
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("prlimit (Debian package util-linux)")
}

/// The core file of a run on the host. gdb asks the kernel for it: where it would be left else is the host's affair.
fn host_core(node: &LwkNode, program: &Path, who: &str) -> PathBuf {
    let core = node.dir().join("host-core");
    let words = ["-batch", "-nx", "-ex", "run", "-ex"];
    let ended = gdb(|gdb| {
        gdb.args(words).arg(format!("generate-core-file {}", core.display()));
        gdb.args(["-ex", "kill", "--args"]).arg(program).arg(who)
    });
    assert!(core.exists(), "{ended:?}");
    core
}

/// The functions that gdb finds on the stack of the thread that crashed, innermost first.
fn backtrace(program: &Path, core: &Path) -> Vec<String> {
    let ended = gdb(|gdb| gdb.args(["-batch", "-nx", "-ex", "bt"]).arg(program).arg(core));
    let (said, errors) = (text(&ended), String::from_utf8_lossy(&ended.stderr));
    let frame = |line: &str| {
        let words: Vec<&str> = line.strip_prefix('#')?.split_whitespace().collect();
        // "#0  f (...)" or "#1  0x... in f (...)"
        let name = if words.get(2) == Some(&"in") { words.get(3) } else { words.get(1) };
        name.map(|name| (*name).to_owned())
    };
    // It shows the first frame by itself when it opens the file.
    let start = said.rfind("\n#0").unwrap_or_default();
    let functions: Vec<String> = said[start..].lines().filter_map(frame).collect();
    assert!(functions.len() > 1, "{}: {said}\n{errors}", core.display());
    functions
}

/// The threads that gdb knows by their handles of pthread_create(3), by what glibc's library for that finds in the core file.
fn threads(program: &Path, core: &Path) -> usize {
    let ended = gdb(|gdb| gdb.args(["-batch", "-nx", "-ex", "info threads"]).arg(program).arg(core));
    let said = text(&ended);
    let listed = said.rfind("Target Id").unwrap_or_default();
    said[listed..].lines().filter(|line| line.contains("Thread 0x")).count()
}

fn gdb(words: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut gdb = Command::new("gdb");
    words(&mut gdb).output().expect("gdb (Debian package gdb)")
}

#[test]
fn a_thread_more_than_there_are_processors() {
    let node = node("lwk-threads-max", Shape { cpus: 3, line: "helpers=0", ..Shape::default() });
    let threads = compiled("threads.c", Link::Static);
    let ended = node.run(&threads, &[], b"");
    assert_eq!(text(&ended), "pthread_create: Invalid argument\n");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_thread_after_the_other_on_the_last_processor() {
    let node = node("lwk-joins", Shape { cpus: 3, line: "helpers=0", ..Shape::default() });
    node.same(&compiled("joins.c", Link::Static), &[], b"");
}

#[test]
fn a_thread_more_where_it_is_allowed() {
    let node =
        node("lwk-oversubscribe", Shape { cpus: 2, line: "allow_oversubscribe=8", ..Shape::default() });
    node.same(&compiled("threads.c", Link::Static), &[], b"");
}

/// A program of Debian's.
fn installed(name: &str, package: &str) -> PathBuf {
    let path = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
    let found = path.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed (Debian package {package})"))
}

/// A database read on the host.
fn reading(sqlite: &Path, database: &Path, statement: &str) -> Command {
    let mut command = Command::new(sqlite);
    command.arg(database).arg(statement);
    command
}

fn local(program: &Path, words: &[&str], file: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg(file);
    command
}
