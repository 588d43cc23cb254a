//! A Debian Linux guest: a real NFS client, a real knfsd, a real anything that Debian packages.
//!
//! Kernel and tools come from Debian's packages, unpacked (not installed) into `target/guest`; the initial RAM disk
//! is made here, with just the programs, libraries and kernel modules needed. Nothing is scraped from a screen:
//! commands travel over a virtio-serial port and come back with exit status, output and error output.

mod agent;
mod cpio;
mod elf;
mod initramfs;
mod knfsd;
mod modules;
mod overlay;
mod packages;
mod statd;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use agent::{Job, Output};
pub use cpio::Cpio;
pub use knfsd::{Grace, Knfsd, WireProtocols};

use crate::bench::Bench;
use crate::error::{Error, Result};
use crate::lan::{Lan, Port};
use crate::machine::{Board, Drive, Exit, Machine, MachineSpec, Nic, NicModel};
use agent::Agent;
use initramfs::Initramfs;

/// Description of a Linux guest.
#[derive(Clone)]
pub struct LinuxSpec {
    name: String,
    board: Board,
    cpus: u32,
    memory_mib: u32,
    nics: Vec<(Nic, Vec<String>)>,
    drives: Vec<Drive>,
    append: String,
    args: Vec<String>,
    contents: Initramfs,
}

impl LinuxSpec {
    /// A guest with one CPU and 512 MiB on q35, without network or disks.
    pub fn new(name: &str) -> LinuxSpec {
        LinuxSpec {
            name: name.into(),
            board: Board::Q35,
            cpus: 1,
            memory_mib: 512,
            nics: vec![],
            drives: vec![],
            append: String::new(),
            args: vec![],
            contents: Initramfs::default(),
        }
    }

    /// Machine type; q35 unless said. Not [`Board::Microvm`]: under emulation Debian's kernel finds no clock there.
    pub fn board(mut self, board: Board) -> Self {
        self.board = board;
        self
    }

    /// Number of CPUs.
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Memory in MiB.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Puts a virtio NIC with this address (`"10.0.0.2/24"`, IPv6 too) on a new port of `lan`; the first is `eth0`.
    ///
    /// # Panics
    /// If the port can not be made (no file descriptors left).
    pub fn on(self, lan: &Lan, address: &str) -> Self {
        let port = lan.port(&self.name).expect("a new switch port");
        self.on_port(&port, &[address])
    }

    /// Puts a virtio NIC with several addresses (or none, for DHCP) on a port.
    pub fn on_port(self, port: &Port, addresses: &[&str]) -> Self {
        self.nic(Nic::on(port, NicModel::Virtio), addresses)
    }

    /// Adds any NIC. Debian's cloud kernel knows virtio only (no e1000).
    pub fn nic(mut self, nic: Nic, addresses: &[&str]) -> Self {
        self.nics.push((nic, addresses.iter().map(|a| a.to_string()).collect()));
        self
    }

    /// Adds a virtio disk; the first is `/dev/vda`.
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// Adds a Debian package to fetch programs from.
    pub fn package(mut self, name: &str) -> Self {
        self.contents.packages.push(name.into());
        self
    }

    /// Puts a program of the packages into the guest (`"usr/bin/fio"`), with the libraries it needs.
    pub fn program(mut self, path: &str) -> Self {
        self.contents.programs.push(path.into());
        self
    }

    /// Puts a kernel module and what it needs where modprobe finds it.
    pub fn module(mut self, name: &str) -> Self {
        self.contents.modules.push(name.into());
        self
    }

    /// Puts a file of the host into the guest. Programs must be linked statically.
    pub fn file(mut self, from: &Path, to: &str) -> Self {
        self.contents.files.push((from.into(), to.into()));
        self
    }

    /// Puts a whole tree of the host into the guest: `overlay("/x")` makes `/x/usr/sbin/tool` the guest's
    /// `/usr/sbin/tool`. For what no Debian package has; a file replaces the guest's own of that name.
    ///
    /// Permissions of files and symbolic links are kept; everything belongs to root. Unlike [`LinuxSpec::program`] this looks
    /// for nothing: libraries beyond those of the guest's own programs must be in the tree, too, and kernel modules
    /// in it are for `insmod` (modprobe knows only those named with [`LinuxSpec::module`]).
    pub fn overlay(mut self, root: impl AsRef<Path>) -> Self {
        self.contents.overlays.push(root.as_ref().into());
        self
    }

    /// Adds words to QEMU's command line.
    pub fn args(mut self, words: &[String]) -> Self {
        self.args.extend_from_slice(words);
        self
    }

    /// Adds to the kernel command line.
    pub fn append(mut self, words: &str) -> Self {
        self.append = format!("{} {words}", self.append);
        self
    }

    /// The kernel and the initial RAM disk it boots from; fetched and built if this is the first time.
    pub fn files(&self) -> Result<(PathBuf, PathBuf)> {
        self.contents.prepare()
    }
}

/// A running Linux guest.
pub struct LinuxGuest {
    machine: Machine,
    agent: Agent,
    boot_time: Duration,
}

impl LinuxGuest {
    /// How long a boot may take. About 5 s is usual; a host with other work is slow.
    const BOOT: Duration = Duration::from_secs(120);

    /// Boots a guest and waits until it takes commands.
    pub fn boot(bench: &Bench, spec: LinuxSpec) -> Result<LinuxGuest> {
        let (kernel, initramfs) = spec.contents.prepare()?;
        // No keyboard controller and no mitigations: only boot time would be spent on them.
        let mut append = String::from(
            "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on i8042.noaux i8042.nokbd \
             cryptomgr.notests",
        );
        append += &format!(" guest.name={}{}", spec.name, spec.append);
        for (i, (_, addresses)) in spec.nics.iter().enumerate() {
            append += &format!(" guest.ip=eth{i}:{}", addresses.join(","));
        }
        let mut machine: MachineSpec = bench
            .machine(&spec.name)
            .board(spec.board)
            .cpus(spec.cpus)
            .memory_mib(spec.memory_mib)
            .kernel(kernel)
            .initrd(initramfs)
            .append(&append)
            .channel("agent")
            .no_reboot()
            .args(spec.args.iter().map(String::as_str));
        machine = spec.nics.into_iter().fold(machine, |machine, (nic, _)| machine.nic(nic));
        machine = spec.drives.into_iter().fold(machine, MachineSpec::drive);
        LinuxGuest::connect(machine.start()?)
    }

    fn connect(machine: Machine) -> Result<LinuxGuest> {
        let agent = Agent::connect(machine.name(), machine.channel("agent")?);
        if !agent.wait_ready(Self::BOOT) {
            return Err(Error::Timeout {
                waiting_for: format!("the boot of Linux guest {}", machine.name()),
                after: Self::BOOT,
                seen: machine.console().transcript(),
            });
        }
        let boot_time = machine.started().elapsed();
        Ok(LinuxGuest { machine, agent, boot_time })
    }

    /// The machine it runs on: console, power, cost.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// From the start of QEMU until the guest took commands.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Runs a shell script and waits for its end, whatever its exit status.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<Output> {
        self.spawn(script)?.wait(timeout)
    }

    /// Runs a shell script that must succeed, and returns its standard output.
    pub fn ok(&self, script: &str, timeout: Duration) -> Result<String> {
        let output = self.run(script, timeout)?;
        if output.status != 0 {
            let what =
                format!("`{script}` gave status {}:\n{}{}", output.status, output.stdout, output.stderr);
            return Err(Error::machine(self.machine.name(), what));
        }
        Ok(output.stdout)
    }

    /// Starts a shell script and lets it run; any number can run at once.
    pub fn spawn(&self, script: &str) -> Result<Job> {
        self.agent.spawn(script)
    }

    /// Kills a job with all its children; its [`Job::wait`] then gives status 137.
    pub fn kill(&self, job: &Job) -> Result<()> {
        self.agent.kill(job)
    }

    /// Writes a file in the guest.
    pub fn write_file(&self, path: &str, contents: &[u8]) -> Result<()> {
        self.agent.write_file(path, contents)
    }

    /// Shuts down properly: file systems are unmounted and synced.
    pub fn power_off(self) -> Result<Exit> {
        // The script does not live to report; what counts is that the machine ends.
        let _ = self.spawn("umount -a -f -t nfs; umount -a -t ext4; sync; poweroff -f")?;
        self.machine.wait(Duration::from_secs(30))
    }

    /// Cuts the power and boots again on the same ports and disks.
    pub fn restart(self) -> Result<LinuxGuest> {
        LinuxGuest::connect(self.machine.restart()?)
    }

    /// Time in the guest that a script takes: start and end are the guest's own, without the way to and from it.
    pub fn time(&self, script: &str, timeout: Duration) -> Result<Duration> {
        let start = Instant::now();
        let timed = format!(
            "t0=$(cut -d' ' -f1 /proc/uptime)\n{script}\nst=$?\n\
            t1=$(cut -d' ' -f1 /proc/uptime); echo; echo \"$t0 $t1\"; exit $st"
        );
        let output = self.ok(&timed, timeout)?;
        let mut words = output.lines().last().unwrap_or("").split(' ').map(|word| word.parse::<f64>());
        match (words.next(), words.next()) {
            (Some(Ok(from)), Some(Ok(to))) => Ok(Duration::from_secs_f64((to - from).max(0.0))),
            _ => Ok(start.elapsed()),
        }
    }
}
