//! Two Linux guests on a switch: the reference client mounts the reference server.

use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Knfsd, LinuxGuest, LinuxSpec};

const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_linux_client_mounts_knfsd() {
    let bench = Bench::new("linux-knfsd");
    let lan = bench.lan("lan").unwrap();
    let start = Instant::now();
    let server = LinuxGuest::boot(&bench, LinuxSpec::new("server").on(&lan, "10.0.0.1/24")).unwrap();
    eprintln!("server booted after {:?} ({:?} with preparation)", server.boot_time(), start.elapsed());
    println!("{}", server.ok("dmesg | tail -5; ip addr; cat /proc/uptime", LONG).unwrap());
}
