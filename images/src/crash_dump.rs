//! What a kernel that fails sends to a TFTP server: its memory, as a core file.
//!
//! ```text
//!   well:    events of the stack -> which way to the server -> kept
//!   failed:  the NIC of that way is reset -> a new driver, polled -> netdump -> the server
//! ```
//!
//! The network stack may be what failed, and is not asked then.

use crate::Node;
use crate::devices::Again;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr};
use keelson_config::{Kind, OptionSpec};
use keelson_hal::{Clock, MacAddress};
use keelson_kernel::mm::RescueDma;
use keelson_kernel::panic::dump;
use keelson_kernel::postmortem::CoreFile;
use keelson_kernel::time::KernelClock;
use keelson_net::{InterfaceId, InterfaceStatus, Stack};
use keelson_netdump::{Source, TFTP_PORT, Target, put};
use keelson_ops::civil::Timestamp;

/// Progress is told about this often, in bytes.
const STEP: u64 = 16 << 20;

/// The options of this module.
pub const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "dump",
    Kind::Custom { form: "tftp://ADDRESS[:PORT][/PREFIX]", check: |text| Server::parse(text).map(drop) },
    "Where a kernel that fails sends its memory, before panic= is done: to a TFTP server that lets files be made (in.tftpd \
     --create), as a core file for gdb, PREFIXROLE-MAC-TIME.core. Costs 8 MiB of memory. Without it there is no dump.",
)
.owner("operations")];

/// Who gets the dump.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Server {
    address: Ipv4Addr,
    port: u16,
    prefix: String,
}

impl Server {
    fn parse(text: &str) -> Result<Server, String> {
        let accepted = || {
            String::from(
                "accepted is tftp://ADDRESS[:PORT][/PREFIX] with an IPv4 address: tftp://10.0.0.1/dumps/",
            )
        };
        let rest = text.strip_prefix("tftp://").ok_or_else(accepted)?;
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (address, port) = match host.split_once(':') {
            Some((address, port)) => {
                (address, port.parse().ok().filter(|port| *port != 0).ok_or_else(accepted)?)
            }
            None => (host, TFTP_PORT),
        };
        let address = address.parse().map_err(|_| accepted())?;
        if prefix.len() > MOST_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("accepted are prefixes of up to {MOST_PREFIX} printable characters"));
        }
        Ok(Server { address, port, prefix: prefix.to_owned() })
    }
}

/// The file's name has to have room for the rest.
const MOST_PREFIX: usize = 64;

/// The way to the server, as it was last known.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Way {
    interface: InterfaceId,
    name: String,
    mac: MacAddress,
    address: Ipv4Addr,
    next_hop: Ipv4Addr,
    mtu: usize,
}

/// Prepares for a dump, if one is asked for.
pub(crate) fn prepare(node: &Node, stack: &Stack, nics: Vec<(InterfaceId, Again)>) {
    // Checked when the line was read.
    let Some(server) = node.config.text("dump").and_then(|text| Server::parse(text).ok()) else { return };
    let way = Rc::new(RefCell::new(None));
    let (address, last_known, role) = (server.address, way.clone(), node.role.name);
    let clock = node.machine.clock.clone();
    let dumper = Box::new(move |core: &CoreFile| {
        // A failure in the middle of a change leaves it borrowed.
        let way = last_known.try_borrow().ok().and_then(|way| way.clone());
        match send(core, &server, way, &nics, role, &clock) {
            Ok(done) => log::info!(target: "dump", "{done}"),
            Err(error) => log::error!(target: "dump", "not sent to {}: {error}", server.address),
        }
    });
    if !dump::appoint(dumper) {
        log::error!(target: "dump", "dump=: no memory is left for it; there will be no dump");
        return;
    }
    node.handle.spawn("dump", look_for_ways(stack.clone(), address, way));
}

/// Keeps up with the network.
async fn look_for_ways(stack: Stack, server: Ipv4Addr, way: Rc<RefCell<Option<Way>>>) {
    let mut events = stack.events();
    let mut was_told = false;
    loop {
        let found = way_to(&stack, server);
        // Before there is an address there is nothing to tell.
        let is_news = *way.borrow() != found || !was_told && has_address(&stack);
        if is_news {
            was_told = true;
            match &found {
                Some(way) => log::info!(target: "dump", "a dump would be sent to {server} by {}", way.name),
                None => log::warn!(target: "dump", "no way to {server}: there would be no dump"),
            }
            way.replace(found);
        }
        events.next().await;
    }
}

fn has_address(stack: &Stack) -> bool {
    stack.interfaces().iter().any(|status| status.addresses.iter().any(|cidr| cidr.addr.is_ipv4()))
}

/// The way to `server` that the stack has now.
fn way_to(stack: &Stack, server: Ipv4Addr) -> Option<Way> {
    let way = stack.way_to(server.into())?;
    let (IpAddr::V4(address), IpAddr::V4(next_hop)) = (way.source, way.next_hop) else { return None };
    let InterfaceStatus { id, name, mac, mtu, .. } =
        stack.interfaces().into_iter().find(|status| status.id == way.interface)?;
    Some(Way { interface: id, name, mac, address, next_hop, mtu })
}

/// Sends the dump: what was done, in words, or why it was not.
fn send(
    core: &CoreFile,
    server: &Server,
    way: Option<Way>,
    nics: &[(InterfaceId, Again)],
    role: &str,
    clock: &KernelClock,
) -> Result<String, String> {
    let way = way.ok_or("there was no way to it")?;
    let again = nics.iter().find(|(id, _)| *id == way.interface).ok_or("its network device is gone")?;
    let mut device = again.1(Rc::new(RescueDma))?;
    let target = Target {
        mac: way.mac,
        address: way.address,
        next_hop: way.next_hop,
        server: server.address,
        port: server.port,
        mtu: way.mtu,
        file: file_name(&server.prefix, role, way.mac, clock)?,
    };
    log::info!(
        target: "dump",
        "sending {} KiB to {} as {} by {}",
        core.len() >> 10,
        server.address,
        target.file,
        way.name
    );
    let begin = clock.now();
    let mut next = STEP;
    let mut progress = |bytes| {
        if bytes >= next && bytes < core.len() {
            log::info!(target: "dump", "{} of {} MiB", bytes >> 20, core.len() >> 20);
            next = bytes + STEP;
        }
    };
    let sent = put(&mut *device, clock, &target, &mut File(core), &mut progress)
        .map_err(|error| error.to_string())?;
    let took = clock.now().saturating_since(begin);
    Ok(format!(
        "sent: {} KiB in {} ms, blocks of {} bytes, {} of them again",
        sent.bytes >> 10,
        took.as_millis(),
        sent.block_size,
        sent.resent
    ))
}

/// `lnet-router-525400123456-20261129T070000Z.core`, behind the prefix.
fn file_name(
    prefix: &str,
    role: &str,
    MacAddress(mac): MacAddress,
    clock: &KernelClock,
) -> Result<heapless::String<128>, String> {
    let mut name = heapless::String::new();
    let [a, b, c, d, e, f] = mac;
    let now = Timestamp(clock.wall()).to_string();
    // Without fractions and what some filesystems do not like.
    let now = now.split('.').next().unwrap_or_default().replace(['-', ':'], "");
    write!(name, "{prefix}{role}-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}-{now}Z.core")
        .map_err(|_| String::from("the file's name is too long"))?;
    Ok(name)
}

struct File<'a>(&'a CoreFile);

impl Source for File<'_> {
    fn size(&self) -> u64 {
        self.0.len()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) {
        self.0.read(offset, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_as_documented() {
        let server = |address: &str, port, prefix: &str| {
            Ok(Server { address: address.parse().unwrap(), port, prefix: prefix.into() })
        };
        assert_eq!(Server::parse("tftp://10.0.0.1"), server("10.0.0.1", 69, ""));
        assert_eq!(Server::parse("tftp://10.0.0.1/"), server("10.0.0.1", 69, ""));
        assert_eq!(Server::parse("tftp://10.0.0.1:6969/dumps/a-"), server("10.0.0.1", 6969, "dumps/a-"));
        for wrong in [
            "",
            "10.0.0.1",
            "tftp://",
            "tftp://host",
            "tftp://10.0.0.1:0",
            "tftp://10.0.0.1:x",
            "http://10.0.0.1",
            "tftp://[fe80::1]/",
            "tftp://10.0.0.1/a b",
        ] {
            assert!(Server::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Server::parse(&format!("tftp://10.0.0.1/{}", "x".repeat(65))).is_err());
    }

    #[test]
    fn names_tell_role_machine_and_time() {
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0xab, 0xcd]);
        let name = file_name("dumps/", "lnet-router", mac, &KernelClock).unwrap();
        let time =
            name.strip_prefix("dumps/lnet-router-52540012abcd-").and_then(|rest| rest.strip_suffix("Z.core"));
        let time = time.unwrap_or_else(|| panic!("{name}"));
        assert!(time.len() == 15 && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'T'), "{name}");
        assert!(file_name(&"x".repeat(64), "lnet-router", mac, &KernelClock).is_ok());
    }
}
