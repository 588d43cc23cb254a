//! From the start of a server to its first answer.

use super::servers::{LONG, OTHER, failed};
use crate::nfs3::NFS_PORT;
use crate::rpc::{NFS, RpcClient, reserved_port};
use keelson_qemu::{Bench, Endpoint, Knfsd, LinuxGuest, LinuxSpec, Machine, MachineSpec, Result};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// How often the appliance is booted; the median counts.
const BOOTS: usize = 3;

/// Milliseconds from the start of QEMU to the first reply, and of CPU time until then.
pub type Boot = (f64, f64);

pub fn boot_keelson(endpoint: &Endpoint, address: &str, spec: MachineSpec) -> Result<(Boot, Machine)> {
    let mut boots = Vec::new();
    loop {
        let machine = spec.clone().start()?;
        let boot = first_reply(endpoint, address, &machine)?;
        boots.push(boot);
        if boots.len() == BOOTS {
            boots.sort_by(|a, b| a.0.total_cmp(&b.0));
            return Ok((boots[BOOTS / 2], machine));
        }
        machine.kill();
    }
}

pub fn boot_knfsd(bench: &Bench, endpoint: &Endpoint, spec: LinuxSpec) -> Result<(Boot, LinuxGuest)> {
    let guest = LinuxGuest::boot(bench, spec)?;
    guest.ok("mount -t ext4 /dev/vda /srv", LONG)?;
    guest.start_knfsd(&Knfsd::export("/srv", "rw,sync,no_root_squash"))?;
    let boot = first_reply(endpoint, OTHER, guest.machine())?;
    Ok((boot, guest))
}

/// Asks for the address, the port and a NULL call until they are answered.
fn first_reply(endpoint: &Endpoint, server: &str, machine: &Machine) -> Result<Boot> {
    let address: IpAddr = server.parse().expect("a constant");
    wait_for_arp(endpoint, address)?;
    let deadline = machine.started() + LONG;
    loop {
        let (from, to) = (reserved_port(), SocketAddr::new(address, NFS_PORT));
        let stream = endpoint.tcp_connect_from(from, to, Duration::from_millis(500));
        let replied =
            stream.and_then(|stream| RpcClient::over(stream).null(NFS, 3).map_err(failed("call the server")));
        match replied {
            Ok(()) => {
                let (time, cpu) = (machine.started().elapsed(), machine.usage()?.cpu);
                return Ok((time.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3));
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Asks who has `address` until somebody answers. The endpoint itself would ask once per second only; it takes
/// in the answer.
fn wait_for_arp(endpoint: &Endpoint, address: IpAddr) -> Result<()> {
    let IpAddr::V4(address) = address else { return Ok(()) };
    let answers = endpoint.frames(Some(0x0806));
    let mut request = [0xff; 6].to_vec();
    request.extend(endpoint.mac());
    // ARP (RFC 826): Ethernet, IPv4, address lengths, request.
    request.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(endpoint.mac());
    request.extend([10, 0, 0, 9]);
    request.extend([0; 6]);
    request.extend(address.octets());
    request.resize(60, 0);
    let deadline = Instant::now() + LONG;
    loop {
        endpoint.send_frame(&request);
        match answers.receive(Duration::from_millis(5)) {
            Ok(frame) if frame.get(28..32) == Some(&address.octets()) => return Ok(()),
            Ok(_) => {}
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
    }
}
