//! MPI jobs of Debian's MPICH and Open MPI over two LWK nodes: the ordinary launcher on the host starts mcexec for each rank.

use keelson_tests::lwk::{Job, Link, Shape, output, program, program_by};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Seconds for a job that takes 15 on a machine with nothing else to do: mpiexec ends it then.
const PATIENCE: &str = "240";
/// mpiexec's words for four ranks, two on each node.
const BY_RANK: [&str; 6] = ["-n", "4", "mcexec", "--allow-root", "--node-by-rank=n0,n1", "-n"];
/// The same by a launcher that thinks it logs in to the nodes.
const BY_AGENT: [&str; 11] = [
    "-launcher",
    "rsh",
    "-launcher-exec",
    "lwk-rsh",
    "-hosts",
    "n0,n1",
    "-n",
    "4",
    "mcexec",
    "--allow-root",
    "-n",
];

fn compiled(name: &str) -> PathBuf {
    program(FOLDER, name, Link::Dynamic, &[])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program as four ranks; what it printed.
fn job(nodes: &Job, words: &[&str], name: &str) -> String {
    let mut command = nodes.mpiexec(words);
    command.arg(compiled(name)).env("MPIEXEC_TIMEOUT", PATIENCE);
    let ended = output(command, b"");
    let (stdout, errors) = (text(&ended.stdout), text(&ended.stderr));
    assert!(ended.status.success(), "{name} {words:?}: {}\n{stdout}\n{errors}", ended.status);
    stdout
}

/// Runs it on the nodes and as four ranks on the host, and wants the same output.
fn same(nodes: &Job, words: &[&str], name: &str) {
    let ours = job(nodes, &[words, &["2"]].concat(), name);
    assert!(ours.contains("end: "), "{ours}");
    assert_eq!(ours, job(nodes, &["-n", "4"], name), "{name} {words:?}");
}

#[test]
fn jobs_on_two_nodes() {
    let nodes = Job::start("lwk-mpi", LWKCTL, 2, Shape { cpus: 3, ..Shape::default() });
    same(&nodes, &BY_RANK, "mpi-ring.c");
    same(&nodes, &BY_AGENT, "mpi-allreduce.c");
    same(&nodes, &BY_RANK, "mpi-stencil.c");
    ctrl_c_ends_all_ranks(&nodes);
    // Nothing was left behind: every core is free for the next one.
    a_rank_that_dies_ends_the_job(&nodes);
    open_mpi(&nodes);
}

/// Open MPI's ranks have two or three threads that look after messages, and find each other by way of a daemon on the host.
fn open_mpi(nodes: &Job) {
    for name in ["mpi-ring.c", "mpi-allreduce.c"] {
        let compiled = program_by("mpicc.openmpi", FOLDER, name, Link::Dynamic, &[]);
        let run = |words: &[&str]| {
            let mut command = nodes.mpirun(&["-n", "4", "--timeout", PATIENCE]);
            command.args(words).arg(&compiled);
            let ended = output(command, b"");
            let (stdout, errors) = (text(&ended.stdout), text(&ended.stderr));
            assert!(ended.status.success(), "{name} {words:?}: {}\n{stdout}\n{errors}", ended.status);
            stdout
        };
        let ours = run(&["mcexec", "--allow-root", "--node-by-rank=n0,n1", "-n", "2"]);
        assert!(ours.contains("end: "), "{ours}");
        assert_eq!(ours, run(&[]), "{name} with Open MPI");
    }
    nobody_is_left(nodes);
}

fn ctrl_c_ends_all_ranks(nodes: &Job) {
    let mut command = nodes.mpiexec(&BY_RANK);
    command.arg("2").arg(compiled("mpi-end.c")).arg("wait").env("MPIEXEC_TIMEOUT", PATIENCE);
    // A terminal would send it to the whole group.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut mpiexec = command.spawn().expect("mpiexec (Debian package mpich)");
    let mut line = String::new();
    let mut stdout = BufReader::new(mpiexec.stdout.take().expect("a pipe was asked for"));
    stdout.read_line(&mut line).expect("text");
    assert_eq!(line, "all are here\n", "{}", rest(&mut mpiexec));
    let kill = Command::new("sh").args(["-c", &format!("kill -INT -{}", mpiexec.id())]).status();
    assert!(kill.expect("kill").success());
    let deadline = Instant::now() + Duration::from_secs(30);
    while mpiexec.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < deadline, "mpiexec goes on after Ctrl-C");
        thread::sleep(Duration::from_millis(20));
    }
    let mut said = rest(&mut mpiexec);
    stdout.read_to_string(&mut said).expect("text");
    assert!(said.contains("Sending Ctrl-C to processes as requested"), "{said}");
    nobody_is_left(nodes);
}

fn rest(mpiexec: &mut Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = &mut mpiexec.stderr {
        // What is no text is worth no complaint here.
        let _ = stderr.read_to_string(&mut said);
    }
    said
}

fn a_rank_that_dies_ends_the_job(nodes: &Job) {
    let mut command = nodes.mpiexec(&BY_RANK);
    command.arg("2").arg(compiled("mpi-end.c")).arg("crash").env("MPIEXEC_TIMEOUT", PATIENCE);
    let ended = output(command, b"");
    let said = text(&ended.stdout) + &text(&ended.stderr);
    for words in ["all are here", "BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES", "(signal 11)"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!ended.status.success());
    nobody_is_left(nodes);
}

/// Waits until no node has a thread of a program any more.
fn nobody_is_left(nodes: &Job) {
    for node in &nodes.nodes {
        let deadline = Instant::now() + Duration::from_secs(20);
        while nodes.threads(node) > 0 {
            assert!(Instant::now() < deadline, "{} threads are left", nodes.threads(node));
            thread::sleep(Duration::from_millis(200));
        }
    }
}
