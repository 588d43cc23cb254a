//! Appliances on a switch, and what a person at their consoles sees.

use crate::Appliance;
use crate::world::{SOON, mended};
use keelson_qemu::{Bench, Drive, Ext4Image, Ext4Spec, Lan, Machine, MachineSpec, Nic, NicModel};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One LAN with nodes on it.
pub struct Site {
    /// The LAN.
    pub lan: Lan,
    /// The bench; last, so that it outlives the LAN and can print what happened.
    pub bench: Bench,
}

impl Site {
    /// An empty LAN.
    ///
    /// # Panics
    ///
    /// When the host refuses sockets or threads.
    pub fn new(name: &str) -> Site {
        let bench = Bench::new(name);
        Site { lan: bench.lan("lan").unwrap(), bench }
    }

    /// An appliance with one NIC on the LAN; `append` has its host name. The caller adds disks and starts it.
    ///
    /// # Panics
    ///
    /// When the switch has no room.
    pub fn spec(&self, name: &str, append: &str) -> MachineSpec {
        // Qnet needs no addresses, and nobody here gives any.
        let line = format!("ip=:::::eth0:off {append}");
        Appliance::qnet(&self.bench, name, &line)
            .nic(Nic::on(&self.lan.port(name).unwrap(), NicModel::Virtio))
    }

    /// A disk for one.
    ///
    /// # Panics
    ///
    /// When mke2fs fails.
    pub fn disk(&self, name: &str) -> Ext4Image {
        self.bench.ext4(name, &Ext4Spec::new(64 << 20)).unwrap()
    }

    /// An appliance without a disk, on the network.
    ///
    /// # Panics
    ///
    /// When it does not get there.
    pub fn node(&self, name: &str, append: &str) -> Machine {
        started(self.spec(name, append))
    }

    /// The same with a disk.
    ///
    /// # Panics
    ///
    /// When it does not get there.
    pub fn node_with_disk(&self, name: &str, append: &str) -> Machine {
        let disk = self.disk(name);
        started(self.spec(name, append).drive(Drive::file(disk.path())))
    }

    /// Every frame of the LAN that Qnet sent is understood by another implementation, Wireshark's. To be called when the
    /// machines have ended or have nothing to say.
    ///
    /// # Panics
    ///
    /// When a frame is not.
    pub fn assert_well_formed(&self) {
        let mut frames = 0;
        for pcap in self.captures() {
            frames += tshark(&pcap, "lwl4").len();
            let bad = tshark(&pcap, "(eth.type == 0x8204 || ip.proto == 106) && (_ws.malformed || !lwl4)");
            assert!(bad.is_empty(), "{}: {bad:#?}", pcap.display());
        }
        assert!(frames > 0, "no Qnet frames in the captures");
    }

    fn captures(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.bench.dir()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")).collect()
    }
}

/// Lines that tshark prints of the frames that a filter lets through.
fn tshark(pcap: &std::path::Path, filter: &str) -> Vec<String> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(pcap)
        .args(["-n", "-o", "lwl4.check_crc:FALSE", "-Y", filter])
        .output()
        .unwrap_or_else(|error| panic!("tshark: {error}; install it (Debian package tshark)"));
    // A capture of a machine that was killed may end in the middle of a frame.
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

/// Starts an appliance and waits until Qnet is mounted.
///
/// # Panics
///
/// When it is not.
pub fn started(spec: MachineSpec) -> Machine {
    let machine = spec.start().unwrap();
    machine.expect("qnet: mounted", SOON).unwrap();
    machine
}

/// Types a line at a node's console and returns what it printed, log lines left out.
///
/// # Panics
///
/// When the console does not answer.
pub fn console(machine: &Machine, line: &str) -> Vec<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mark = format!("end-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let before = machine.console().lines().len();
    machine.console().send_line(line).unwrap();
    machine.console().send_line(&format!("echo {mark}")).unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let lines = machine.console().lines();
        let new = mended(lines.iter().skip(before).map(|line| line.text.as_str()));
        if let Some(end) = new.iter().position(|text| *text == mark) {
            let printed = new.into_iter().take(end).skip_while(|text| !text.ends_with(line)).skip(1);
            return printed
                .filter(|text| !text.starts_with('[') && !text.ends_with(&format!("echo {mark}")))
                .collect();
        }
        assert!(
            Instant::now() < deadline,
            "\"{line}\" on {}:\n{}",
            machine.name(),
            machine.console().transcript()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Types a line until what it prints is as wanted.
///
/// # Panics
///
/// When it never is.
pub fn console_until(machine: &Machine, line: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let printed = console(machine, line);
        if wanted(&printed) {
            return printed;
        }
        assert!(Instant::now() < deadline, "\"{line}\" on {} prints {printed:#?}", machine.name());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A counter of `/proc/qnetstats`; of pairs the first number.
///
/// # Panics
///
/// When there is no such line.
pub fn counter(machine: &Machine, name: &str) -> u64 {
    let lines = console(machine, "cat /proc/qnetstats");
    let line = lines.iter().find_map(|line| {
        line.strip_prefix(name).filter(|rest| {
            rest.trim_start().starts_with([':', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        })
    });
    let value = line.map(|rest| rest.trim_start_matches([' ', ':']));
    let number = value.and_then(|value| value.split(',').next()?.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {lines:#?}"))
}
