//! Load and faults (specification section 16): many clients at once, clients that vanish or misbehave, a disk that fails,
//! a disk that is full, a machine that has hardly any memory. The appliance serves whom it can, says what is wrong, and
//! is afterwards as it was.
//!
//! What is asked for is in counts and in the order of events, not in times: the machine is emulated and shares the host.

mod crowd;
mod disk_errors;
mod disk_full;
mod half_open;
mod memory;

use std::net::IpAddr;

use keelson_qemu::{Capture, Endpoint, Machine};
use keelson_tests::nfs3::{Handle, How, Nfs, Set, Transport};
use keelson_tests::world::{SERVER, World, shell};

/// Hosts with an address and a cable of their own: 10.0.0.100 and following.
fn hosts(world: &World, count: usize) -> Vec<Endpoint> {
    let host = |number: usize| {
        let address = format!("10.0.0.{}/24", 100 + number);
        let host = world.bench.endpoint(&world.lan, &format!("host{number}"), &[&address]).unwrap();
        host.port().capture(Capture::Off);
        host
    };
    world.port.capture(Capture::Off);
    (0..count).map(host).collect()
}

/// The appliance's address.
fn server() -> IpAddr {
    SERVER.parse().unwrap()
}

/// A mounted client.
fn mounted(host: &Endpoint) -> (Nfs, Handle) {
    Transport::Tcp.mount(host, server(), "/")
}

fn create(nfs: &mut Nfs, folder: &[u8], name: &str) -> Handle {
    nfs.create(folder, name.as_bytes(), How::Unchecked(Set::mode(0o644))).unwrap().ok().handle
}

/// A number that a command prints behind (`stalled: 3`) or in front of (`3 tcp_syn_dropped`) its name; 0 when it does
/// not, since zeros are left out.
fn counter(machine: &Machine, command: &str, name: &str) -> u64 {
    let text = shell(machine, command).join(" ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let digits = |word: &str| word.trim_end_matches(',').parse().ok();
    let Some(place) = words.iter().position(|word| word.trim_end_matches(':') == name) else { return 0 };
    if !words[place].ends_with(':') {
        return place.checked_sub(1).and_then(|before| digits(words[before])).unwrap_or(0);
    }
    words[place..].iter().skip(1).find_map(|word| digits(word)).unwrap_or(0)
}
