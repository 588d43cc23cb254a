//! The usual small world: a switch, a host of the test on it, and what a person at the console would do.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keelson_qemu::{
    Bench, Drive, Endpoint, Ext4Image, Ext4Spec, Lan, Machine, MachineSpec, Nic, NicModel, Port,
};

use crate::Appliance;
use crate::nfs3::{Handle, MOUNT_PORT, NFS_PORT, mount};
use crate::rpc::{MOUNT, NFS, RPCBIND, RpcClient};

/// For everything that happens at once on an idle host; CI shares two cores with everything else.
pub const SOON: Duration = Duration::from_secs(60);
/// For what must not happen.
pub const MOMENT: Duration = Duration::from_millis(700);
/// The appliance's address in [`World::appliance`].
pub const SERVER: &str = "10.0.0.1";

/// A switch with a host of the test on it.
pub struct World {
    /// The host: 10.0.0.9/24 and fd00::9/64.
    pub host: Endpoint,
    /// The appliance's end of the cable: one for all appliances of a test, so that the address stays at one
    /// MAC address, as the host remembers it.
    pub port: Port,
    /// The switch.
    pub lan: Lan,
    /// The bench; last, so that it outlives the others and can print what happened.
    pub bench: Bench,
}

impl World {
    /// Sets up switch and host.
    ///
    /// # Panics
    ///
    /// When the host refuses sockets or threads.
    pub fn new(name: &str) -> World {
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let host = bench.endpoint(&lan, "host", &["10.0.0.9/24", "fd00::9/64"]).unwrap();
        let port = lan.port("nfs").unwrap();
        World { host, port, lan, bench }
    }

    /// A small empty ext4 disk.
    ///
    /// # Panics
    ///
    /// When mke2fs fails.
    pub fn disk(&self) -> Ext4Image {
        self.bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap()
    }

    /// An appliance at 10.0.0.1 that exports everything to everybody; the caller adds disks.
    pub fn appliance(&self, append: &str) -> MachineSpec {
        let line = format!("ip={SERVER}/24:eth0 nfs.exports=\"/ *(rw,no_root_squash)\" {append}");
        Appliance::nfs(&self.bench, "nfs", &line).nic(Nic::on(&self.port, NicModel::Virtio))
    }

    /// The same with a disk, started and serving.
    ///
    /// # Panics
    ///
    /// When it does not serve.
    pub fn serving(&self, append: &str) -> Machine {
        let disk = self.disk();
        let machine = self.appliance(append).drive(Drive::file(disk.path())).start().unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        machine
    }

    /// NULL calls to all three programs over both transports, and a list of exports that names `/`.
    ///
    /// # Panics
    ///
    /// When an answer is missing or wrong.
    pub fn assert_serves(&self, server: &str) {
        for (program, version, port) in [(RPCBIND, 2, 111), (NFS, 3, NFS_PORT), (MOUNT, 3, MOUNT_PORT)] {
            let mut tcp = RpcClient::tcp(&self.host, at(server, port)).unwrap();
            tcp.null(program, version).unwrap();
            let mut udp = RpcClient::udp(&self.host, at(server, port)).unwrap();
            udp.null(program, version).unwrap();
            if program == MOUNT {
                let exports = tcp.call([MOUNT, 3, 5], |_| ()).unwrap();
                // One entry: "more", the length of the directory's name, "/" and padding.
                assert_eq!(
                    exports.get(..12),
                    Some(&[0, 0, 0, 1, 0, 0, 0, 1, b'/', 0, 0, 0][..]),
                    "{exports:02x?}"
                );
            }
        }
    }
}

/// Nothing failed in the machine: it runs, and its console shows no report of a panic or an exception.
///
/// # Panics
///
/// When something did.
pub fn assert_sound(machine: &Machine) {
    let lines = machine.console().lines();
    let report = lines.iter().find(|line| line.text.starts_with("*** "));
    assert!(report.is_none(), "{report:?}");
    assert!(machine.is_running());
}

/// A socket address from text and port.
///
/// # Panics
///
/// When `address` is none.
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// Types a command at the machine's shell and returns what it printed (log lines in between included).
///
/// # Panics
///
/// When the shell does not answer.
pub fn shell(machine: &Machine, command: &str) -> Vec<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // No command has this name, so the complaint about it marks the end of the output.
    let mark = format!("end-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let before = machine.console().lines().len();
    machine.console().send_line(command).unwrap();
    machine.console().send_line(&mark).unwrap();
    // "no such command", or "not found" where the role has an interpreter of its own.
    machine.expect(&format!("{mark}: no"), SOON).unwrap();
    let lines = machine.console().lines();
    let new = mended(lines.iter().skip(before).map(|line| line.text.as_str()));
    let output = new.into_iter().skip_while(|text| !text.ends_with(command)).skip(1);
    output.take_while(|text| !text.ends_with(&mark)).collect()
}

/// Lines of a console in which what is logged begins a line of its own, also where it came in the middle of what
/// was being typed.
pub(crate) fn mended<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let (mut whole, mut typed) = (Vec::new(), String::new());
    for line in lines {
        let record = line.find('[').filter(|at| is_record(&line[*at..]));
        match record {
            Some(at) => {
                typed.push_str(&line[..at]);
                whole.push(line[at..].to_string());
            }
            None => whole.push(std::mem::take(&mut typed) + line),
        }
    }
    whole
}

/// `[    0.123456] 0 INFO  target: text`.
fn is_record(text: &str) -> bool {
    let words = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    words.is_some_and(|(time, rest)| {
        let mut rest = rest.split_whitespace();
        let core = rest.next().is_some_and(|core| core.bytes().all(|byte| byte.is_ascii_digit()));
        let level =
            rest.next().is_some_and(|level| ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level));
        time.trim().parse::<f64>().is_ok() && core && level
    })
}

/// The handle of the exported root.
///
/// # Panics
///
/// When the server refuses to mount it.
pub fn root_handle(host: &Endpoint, server: &str) -> Handle {
    let mut rpc = RpcClient::tcp(host, at(server, MOUNT_PORT)).unwrap();
    mount(&mut rpc, "/").unwrap().expect("a handle")
}

/// Counters of `eth0`, as the shell's `ip` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NicCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tso: u64,
    /// Dropped and errors, both directions.
    pub lost: u64,
    pub doorbells: u64,
    pub interrupts: u64,
}

impl NicCounters {
    /// Types `ip` and reads what it says of the first interface.
    ///
    /// # Panics
    ///
    /// When it says something else.
    pub fn of(machine: &Machine) -> NicCounters {
        let text = shell(machine, "ip");
        let numbers = |with: &str| -> Vec<u64> {
            let line = text.iter().find(|line| line.contains(with));
            let line = line.unwrap_or_else(|| panic!("no line with {with:?} in {text:?}"));
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let (rx, tx, events) = (numbers("RX "), numbers("TX "), numbers(" doorbells"));
        NicCounters {
            rx_packets: rx[0],
            rx_bytes: rx[1],
            tx_packets: tx[0],
            tx_bytes: tx[1],
            tso: tx[3],
            lost: rx[2] + rx[3] + tx[2],
            doorbells: events[0],
            interrupts: events[1],
        }
    }

    /// What was counted since `before`.
    pub fn since(self, before: NicCounters) -> NicCounters {
        NicCounters {
            rx_packets: self.rx_packets - before.rx_packets,
            rx_bytes: self.rx_bytes - before.rx_bytes,
            tx_packets: self.tx_packets - before.tx_packets,
            tx_bytes: self.tx_bytes - before.tx_bytes,
            tso: self.tso - before.tso,
            lost: self.lost - before.lost,
            doorbells: self.doorbells - before.doorbells,
            interrupts: self.interrupts - before.interrupts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_does_not_cut_what_is_typed() {
        let log = "[    0.253459] 0 INFO  lnet: LNet: Accept secure, port 988";
        let lines =
            [&format!("> lctl {log}"), "list_nids", "[1] 2 WARNINGS", log, &format!("> end{log}"), "-7"];
        let mended = mended(lines);
        assert_eq!(mended, [log, "> lctl list_nids", "[1] 2 WARNINGS", log, log, "> end-7"]);
    }
}
