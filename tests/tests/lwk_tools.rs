//! The tools of a compute node's host, each against a node that runs a program: what they say is so, and what they do happens.

use keelson_qemu::{Bench, Exit, Namespace};
use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use keelson_tests::world::{MOMENT, SOON};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Adds nodes to the table: the same with the key that may only look, and one that is not there.
fn with_more_nodes(node: &LwkNode) {
    let key = node.dir().join("watcher");
    fs::write(&key, format!("watcher {}\n", LwkNode::WATCHER)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let table = node.dir().join("nodes");
    let mut text = fs::read_to_string(&table).unwrap();
    text += &format!("1 watched 10.0.0.1:8810 {0}\n2 absent 10.0.0.77:8810 {0}\n", key.display());
    fs::write(&table, text).unwrap();
}

/// Runs a tool: exit code, output, errors.
fn tool(node: &LwkNode, line: &str) -> (i32, String, String) {
    let mut words = line.split(' ');
    let mut command = node.tool(words.next().unwrap());
    let ended = output(
        {
            command.args(words);
            command
        },
        b"",
    );
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap_or(-1), text(ended.stdout), text(ended.stderr))
}

/// The output of a tool that does what it is asked.
fn said(node: &LwkNode, line: &str) -> String {
    let (code, out, errors) = tool(node, line);
    assert_eq!((code, errors.as_str()), (0, ""), "{line}");
    out
}

/// A program that counts on the node, and how far it is.
struct Counting {
    child: Child,
    lines: Arc<AtomicU64>,
}

impl Counting {
    fn start(node: &LwkNode) -> Counting {
        let program = program(FOLDER, "count.c", Link::Static, &[]);
        let mut command = node.mcexec(&[], &program, &[]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let counted = Arc::<AtomicU64>::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = counted.clone();
        // It ends with the program.
        thread::spawn(move || {
            for _ in stdout.lines().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let counting = Counting { child, lines };
        counting.goes_on();
        counting
    }

    fn count(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Waits until it has counted further.
    fn goes_on(&self) {
        let (start, before) = (Instant::now(), self.count());
        while self.count() < before + 2 {
            assert!(start.elapsed() < SOON, "the program does not count");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // It has ended when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_tools_say_and_do() {
    let line = "ikc_vector=200 kmsg_size=100K";
    let node = LwkNode::start("lwk-tools", LWKCTL, Shape { cpus: 3, line, ..Shape::default() });
    with_more_nodes(&node);
    let mut counting = Counting::start(&node);
    let pid = counting.child.id().to_string();

    assert_eq!(said(&node, "ihkosctl 0 get status"), "RUNNING\n");
    assert_eq!(said(&node, "ihkosctl node get status --json"), "{\"status\":\"RUNNING\"}\n");
    assert!(said(&node, "ihkosctl 0 get buildid").trim().len() > 3);
    assert_eq!(said(&node, "ihkosctl 0 query cpu"), "1-2\n");
    let bytes =
        |text: &str| -> u64 { text.trim().strip_suffix("@0").expect("bytes of node 0").parse().unwrap() };
    let (all, free) =
        (bytes(&said(&node, "ihkosctl 0 query mem")), bytes(&said(&node, "ihkosctl 0 query_free_mem")));
    assert!(free < all && all <= 1 << 30, "{free} of {all}");

    // Seen by both, where and how it runs.
    for line in ["ihkosctl 0 ps", "mcps --node 0"] {
        let text = said(&node, line);
        let row: Vec<&str> = text.lines().nth(1).expect("a program").split_whitespace().collect();
        assert_eq!((row[0], row[1], row[2]), ("node", pid.as_str(), pid.as_str()), "{text}");
        assert!(["0", "1"].contains(&row[3]) && ["R", "K", "D", "S"].contains(&row[4]), "{text}");
        assert!(row[8].ends_with("lwk-count-static-gcc") && row[7].parse::<u64>().unwrap() > 0, "{text}");
    }
    let figure = |name: &str| -> u64 {
        let text = said(&node, "ihkosctl 0 rusage");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    };
    assert_eq!((figure("num_threads"), figure("max_num_threads")), (1, 1));
    let used = figure("cpuacct_usage");
    counting.goes_on();
    assert!(figure("cpuacct_usage") > used && figure("memory_max_usage") > 0);
    let stat = said(&node, "mcstat 1 2");
    let rows: Vec<Vec<f64>> = stat
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row.len() == 7 && row[0] > row[1] && row[5] == 1.0),
        "{stat}"
    );
    assert!(rows[1][4] >= rows[0][4], "{stat}");

    stops_and_goes_on(&node, &counting);
    an_interrupt_arrives(&node);
    the_log_is_passed_on(&node);

    // To look is not to change; and no program either.
    assert_eq!(said(&node, "ihkosctl watched get status"), "RUNNING\n");
    for line in ["ihkosctl watched freeze", "ihkosctl watched shutdown -f", "ihkosctl watched noise reset"] {
        let (code, _, errors) = tool(&node, line);
        assert!(code == 4 && errors.contains("its key is not for admin"), "{line}: {code} {errors}");
    }
    let (code, _, errors) = tool(&node, "mcexec --allow-root --node=watched true");
    assert!(code == 121 && errors.contains("its key is not for launch"), "{code} {errors}");
    let (code, _, errors) = tool(&node, "ihkosctl --timeout=2 absent get status");
    assert!(code == 3 && errors.starts_with("ihkosctl: node absent: cannot be reached"), "{code} {errors}");

    // The end.
    assert_eq!(said(&node, "ihkosctl 0 shutdown --wait"), "");
    assert_eq!(node.machine.wait(SOON).unwrap(), Exit::PowerOff);
    let ended = counting.child.wait().unwrap();
    assert_eq!(ended.signal(), Some(15), "{ended:?}");
}

fn stops_and_goes_on(node: &LwkNode, counting: &Counting) {
    assert_eq!(said(node, "ihkosctl 0 noise reset"), "");
    assert_eq!(tool(node, "ihkosctl 0 thaw").0, 5);
    assert_eq!(said(node, "ihkosctl 0 freeze"), "");
    assert_eq!(said(node, "ihkosctl 0 get status"), "FROZEN\n");
    // What it wrote before may still be under way.
    thread::sleep(MOMENT);
    let before = counting.count();
    thread::sleep(2 * MOMENT);
    assert_eq!(counting.count(), before, "it counts though it is frozen");
    let cores = said(node, "ihkosctl 0 cores");
    assert_eq!(cores.matches("frozen").count(), 3, "{cores}");
    let ps = said(node, "mcps --node=0");
    assert!(ps.lines().nth(1).is_some_and(|row| row.split_whitespace().nth(4) == Some("T")), "{ps}");
    assert_eq!(said(node, "ihkosctl 0 thaw"), "");
    counting.goes_on();
    assert_eq!(said(node, "ihkosctl 0 get status"), "RUNNING\n");
    // Nothing interrupted the program but the one who froze it.
    let noise = said(node, "ihkosctl 0 noise");
    let heads: Vec<&str> = noise.lines().next().unwrap().split_whitespace().collect();
    let core: Vec<&str> = noise.lines().nth(2).unwrap().split_whitespace().collect();
    let of = |name: &str| core[heads.iter().position(|head| *head == name).unwrap()].parse::<u64>().unwrap();
    assert_eq!((of("TIMER"), of("DEVICE"), of("SPURIOUS")), (0, 0, 0), "{noise}");
    assert!(of("SYSCALL") > 0, "{noise}");
}

/// What interrupted a core: a figure of `noise`.
fn interrupts(node: &LwkNode, core: &str, title: &str) -> u64 {
    let noise = said(node, "ihkosctl 0 noise");
    let mut lines = noise.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let titles = lines.next().unwrap();
    let row = lines.find(|row| row[0] == core).unwrap_or_else(|| panic!("core {core}: {noise}"));
    row[titles.iter().position(|other| *other == title).unwrap()].parse().unwrap()
}

fn an_interrupt_arrives(node: &LwkNode) {
    let ps = said(node, "ihkosctl 0 ps");
    let cpu: usize = ps.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
    let (busy, idle) = if cpu == 0 { ("1", "2") } else { ("2", "1") };
    // 200 is the cores' own, as the command line says; 207 no device has. The idle one has nothing else to do.
    for (vector, title) in [("200", "DOORBELL"), ("207", "DEVICE")] {
        let before = interrupts(node, idle, title);
        assert_eq!(said(node, &format!("ihkosctl 0 intr {idle} {vector}")), "");
        let start = Instant::now();
        while interrupts(node, idle, title) != before + 1 {
            assert!(start.elapsed() < SOON, "{title} {before}, then {}", interrupts(node, idle, title));
        }
    }
    let (code, _, errors) = tool(node, &format!("ihkosctl 0 intr {busy} 200"));
    assert!(code == 5 && errors.contains("runs a program, which --force would disturb"), "{code} {errors}");
    let before = interrupts(node, busy, "DEVICE");
    assert_eq!(said(node, &format!("ihkosctl 0 intr {busy} 0xcf --force")), "");
    let start = Instant::now();
    while interrupts(node, busy, "DEVICE") != before + 1 {
        assert!(start.elapsed() < SOON);
    }
    for (line, message) in [
        ("intr 9 200", "there is no core 9; 3 run, from 0"),
        ("intr 0 49", "vector 49: accepted are 64 to 207, and 200 of the cores' calls"),
        ("intr 0 64", "a device interrupts by vector 64; 207 is free"),
        ("intr 1", "intr: accepted are a core, a vector, and --force"),
    ] {
        let (code, _, errors) = tool(node, &format!("ihkosctl 0 {line}"));
        assert!(code != 0 && errors.contains(message), "{line}: {code} {errors}");
    }
}

/// Stops when the test is done with it.
struct Monitor(Child);

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn the_log_is_passed_on(node: &LwkNode) {
    let log = said(node, "ihkosctl 0 kmsg");
    assert!(
        log.lines().any(|line| line.contains("info    lwk: hosts may connect to TCP port 8810")),
        "{log}"
    );
    assert!(log.contains("lwk: processors call each other by interrupt vector 200"), "{log}");
    assert_eq!(said(node, "ihkosctl 0 clear_kmsg"), "");
    assert!(!said(node, "ihkosctl 0 kmsg").contains("hosts may connect"));

    let path = node.dir().join("syslog");
    let syslog = UnixDatagram::bind(&path).unwrap();
    syslog.set_read_timeout(Some(SOON)).unwrap();
    let mut command = node.tool("ihkmond");
    command.args(["--foreground", "--node=watched", "-f", "LOG_LOCAL3", "-i", "1", "--syslog"]).arg(&path);
    let noticed = node.dir().join("noticed");
    command.arg("--on-event").arg(format!("echo $LWK_EVENT $LWK_INDEX $LWK_TEXT >{}", noticed.display()));
    let monitor = Monitor(command.spawn().unwrap());
    // Something for the log: a program is frozen.
    assert_eq!(said(node, "ihkosctl 0 freeze"), "");
    assert_eq!(said(node, "ihkosctl 0 thaw"), "");
    let message = loop {
        let mut buffer = [0; 2000];
        let len = syslog.recv(&mut buffer).expect("a line of the node's log");
        let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if message.contains("lwk: all programs are being frozen") {
            break message;
        }
    };
    // local3 is 19, info 6.
    assert!(message.starts_with("<158>1 20"), "{message}");
    assert!(message.contains(" watched mckernel - kmsg [mckernel instanceid=\"1\"] ["), "{message}");

    // A processor that does not come back from the kernel, until it does.
    node.machine.console().send_line("hang 2 6").unwrap();
    let start = Instant::now();
    while !fs::read_to_string(&noticed)
        .is_ok_and(|text| text == "HUNGUP 1 core 2 (CPU 1) hangs in the kernel\n")
    {
        assert!(start.elapsed() < SOON, "nobody noticed");
        thread::sleep(Duration::from_millis(50));
    }
    while said(node, "ihkosctl 0 get status") != "RUNNING\n" {
        assert!(start.elapsed() < SOON, "it is not noticed that it hangs no more");
        thread::sleep(Duration::from_millis(50));
    }
    drop(monitor);
}

#[test]
fn a_vector_that_a_device_has_is_an_error() {
    let bench = Bench::new("lwk-tools-vector");
    let namespace = Namespace::new().unwrap();
    let tap = namespace.tap(&["10.0.0.9/24"]).unwrap();
    fs::write(bench.dir().join("psk"), format!("watcher {}\n", LwkNode::WATCHER)).unwrap();
    // The first one that devices get.
    let shape = Shape { cpus: 2, line: "ikc_vector=64", ..Shape::default() };
    let machine = LwkNode::spec(&bench, "node", &tap, shape).start().unwrap();
    let message = "lwk: no programs: cmdline: ikc_vector: a device interrupts by vector 64; 239 is free";
    machine.expect(message, SOON).unwrap();
}
