//! Nodes that MPI jobs spread over, and the host that launches them.

use super::node::{KEY, restrict};
use super::{LwkNode, Shape, output};
use crate::world::SOON;
use keelson_qemu::{Bench, Machine, Namespace};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Makes the library that has MPI_Finalize of this MPICH end, as docs/lwk-compute.md says.
const BUILD: &str = "\
$TOOLS/lwk-mpi-env --mpich-finish >finish.c
mpicc.mpich -O2 -Wall -Wextra -fPIC -c finish.c && gcc -shared -o mpich-finish.so finish.o";

/// What each launcher is started behind. UCX takes the interfaces that there are from /sys/class/net, which only a mount of its own
/// shows for another network namespace. Nothing but /sys has to be a mount for that: in a chroot the root is none.
const PREPARE: &str = "\
mount --make-rprivate /sys
mount -t sysfs sysfs /sys
eval \"$(lwk-mpi-env)\"";

/// Launches with what is recommended and with nothing else: `exec`, so that signals go to mpiexec.
const LAUNCH: &str = "\
exec mpiexec.mpich -genv \"$PRELOAD\" \"$PWD/mpich-finish.so\" \"$@\"";

/// The same with Open MPI, which wants to be told that there may be more ranks than processors, and that this is root.
const LAUNCH_OPEN_MPI: &str = "\
exec mpirun.openmpi --oversubscribe --allow-run-as-root \"$@\"";

/// Running nodes `n0`, `n1`, ..., each at a cable of its own: nothing leads from one to another but the host.
pub struct Job {
    /// The machines.
    pub nodes: Vec<Machine>,
    /// Where the host's ends of the cables are.
    pub namespace: Namespace,
    dir: PathBuf,
    // Last: everything above lives in it.
    _bench: Bench,
}

impl Job {
    /// Boots so many nodes. `lwkctl` is the host's program.
    ///
    /// # Panics
    ///
    /// When they do not come up.
    pub fn start(name: &str, lwkctl: &str, count: usize, shape: Shape<'_>) -> Job {
        let bench = Bench::new(name);
        let namespace = Namespace::new().unwrap();
        let dir = bench.dir().to_path_buf();
        fs::write(dir.join("psk"), KEY).unwrap();
        let key = dir.join("key");
        fs::write(&key, format!("default {KEY}\n")).unwrap();
        restrict(&key);
        let mut table = String::new();
        let mut nodes = Vec::new();
        for n in 0..count {
            let tap = namespace.tap(&[&format!("10.0.{n}.9/24")]).unwrap();
            let line = format!("ip=10.0.{n}.1/24:eth0 hostname=n{n} {}", shape.line);
            nodes.push(LwkNode::machine(&bench, &format!("n{n}"), &tap, shape, &line).start().unwrap());
            table += &format!("{n} n{n} 10.0.{n}.1:8810 {}\n", key.display());
        }
        fs::write(dir.join("nodes"), table).unwrap();
        let tools = dir.join("bin");
        fs::create_dir(&tools).unwrap();
        for tool in ["mcexec", "lwk-rsh", "lwk-mpi-env"] {
            symlink(lwkctl, tools.join(tool)).unwrap();
        }
        let mut build = Command::new("sh");
        build.args(["-ec", BUILD]).env("TOOLS", &tools).current_dir(&dir);
        let built = output(build, b"");
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success() && errors.is_empty(), "{BUILD}\n{errors}\nis libmpich-dev installed?");
        for node in &nodes {
            node.expect("lwk: hosts may connect", SOON).unwrap();
        }
        Job { nodes, namespace, dir, _bench: bench }
    }

    /// Threads of programs that a node has, as its console lists them.
    ///
    /// # Panics
    ///
    /// When the console does not answer.
    pub fn threads(&self, node: &Machine) -> usize {
        let console = node.console();
        let before = console.lines().len();
        console.send_line("mcps").unwrap();
        // What comes after it says that the list is complete.
        console.send_line("mcps-end").unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            let lines: Vec<String> = console.lines().into_iter().skip(before).map(|line| line.text).collect();
            if lines.iter().any(|line| line.contains("mcps-end: no such command")) {
                let numbers = |line: &&String| {
                    line.split_whitespace().take(3).filter(|word| word.parse::<u32>().is_ok()).count() == 3
                };
                return lines.iter().filter(numbers).count();
            }
            assert!(Instant::now() < deadline, "{}: {lines:?}", node.name());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// MPICH's `mpiexec` with these words, in the namespace, as docs/lwk-compute.md says to call it.
    pub fn mpiexec(&self, words: &[&str]) -> Command {
        let preload = if words.contains(&"mcexec") { "MCKERNEL_LD_PRELOAD" } else { "LD_PRELOAD" };
        // Both cables lead here and nowhere else: one is enough, and makes half as many connections.
        let mut command = self.launch(LAUNCH, &[&format!("PRELOAD={preload}"), "UCX_NET_DEVICES=tap0"]);
        command.args(words);
        command
    }

    /// Open MPI's `mpirun` with these words.
    pub fn mpirun(&self, words: &[&str]) -> Command {
        let mut command = self.launch(LAUNCH_OPEN_MPI, &[]);
        command.args(words);
        command
    }

    fn launch(&self, script: &str, variables: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.namespace.command("env");
        // Whoever runs the tests in the background may have taught them to ignore Ctrl-C.
        command.arg("--default-signal=INT");
        command.args(variables);
        command.arg(format!("PATH={}:{path}", self.dir.join("bin").display()));
        command.arg(format!("LWK_CONF={}", self.dir.join("nodes").display()));
        let script = format!("{PREPARE}\n{script}");
        command.args(["unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", &script, "launch"]);
        command.current_dir(&self.dir);
        command
    }
}
