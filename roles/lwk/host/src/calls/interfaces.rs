//! What sockets tell about network interfaces: the SIOCGIF requests, answered from getifaddrs(3) and /sys/class/net.

use std::net::IpAddr;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::{Ifconf, Sockaddr};
use keelson_lwk_wire::messages::{FdKind, Part};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;

use super::{Reply, Task};
use crate::fail::Fail;
use crate::proxy::handles::Handle;

/// Bytes of an interface's name, its NUL included (IFNAMSIZ).
const NAME: usize = 16;
/// Bytes of `struct ifreq`.
const REQUEST: usize = 40;

/// A request about interfaces.
pub(super) fn ioctl(task: &Task<'_>, handle: &Handle) -> Result<Reply, Fail> {
    if handle.kind != FdKind::Socket {
        return Err(Fail(Errno::ENOTTY));
    }
    match task.int(1) {
        0x8912 => list(task),
        0x8946 => Err(Fail(Errno::EOPNOTSUPP)),
        request => {
            let mut ifreq: [u8; REQUEST] = *task.input(2)?.first_chunk().ok_or(Fail(Errno::EFAULT))?;
            answer(request, handle, &mut ifreq)?;
            Ok(Reply::done().with(task.checked.output(2, Part::Whole), ifreq))
        }
    }
}

fn put(ifreq: &mut [u8; REQUEST], at: usize, field: &[u8]) {
    for (to, from) in ifreq.iter_mut().skip(at).zip(field) {
        *to = *from;
    }
}

fn answer(request: u32, handle: &Handle, ifreq: &mut [u8; REQUEST]) -> Result<(), Fail> {
    if request == 0x8910 {
        // SIOCGIFNAME
        let index = ifreq
            .get(NAME..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let name = rustix::net::netdevice::index_to_name(handle, index)?;
        put(ifreq, 0, &[0; NAME]);
        put(ifreq, 0, name.as_bytes());
        return Ok(());
    }
    let name: Vec<u8> = ifreq.iter().take(NAME).copied().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8(name).map_err(|_| Fail(Errno::ENODEV))?;
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Fail(Errno::ENODEV));
    }
    // The kernel's word on whether there is one.
    let index = rustix::net::netdevice::name_to_index(handle, &name)?;
    let sys = |file: &str| -> Result<String, Fail> {
        Ok(std::fs::read_to_string(format!("/sys/class/net/{name}/{file}"))?.trim().to_owned())
    };
    let number = |file: &str| sys(file)?.parse::<i32>().map_err(|_| Fail(Errno::EIO));
    match request {
        0x8913 => put(ifreq, NAME, &(flags(&name)? as u16).to_le_bytes()),
        0x8915 => put(ifreq, NAME, &address(&name, |interface| interface.address)?),
        0x8917 => put(ifreq, NAME, &address(&name, |interface| interface.destination)?),
        0x8919 => put(ifreq, NAME, &address(&name, |interface| interface.broadcast)?),
        0x891b => put(ifreq, NAME, &address(&name, |interface| interface.netmask)?),
        0x891d => put(ifreq, NAME, &0i32.to_le_bytes()),
        0x8921 => put(ifreq, NAME, &number("mtu")?.to_le_bytes()),
        0x8927 => {
            put(ifreq, NAME, &[0; 16]);
            put(ifreq, NAME, &(number("type")? as u16).to_le_bytes());
            let bytes: Option<Vec<u8>> =
                sys("address")?.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            put(ifreq, NAME + 2, &bytes.unwrap_or_default());
        }
        0x8933 => put(ifreq, NAME, &index.to_le_bytes()),
        0x8942 => put(ifreq, NAME, &number("tx_queue_len")?.to_le_bytes()),
        _ => return Err(Fail(Errno::ENOTTY)),
    }
    Ok(())
}

fn interfaces(name: &str) -> Result<impl Iterator<Item = InterfaceAddress>, Fail> {
    let name = name.to_owned();
    Ok(getifaddrs()?.filter(move |interface| interface.interface_name == name))
}

fn flags(name: &str) -> Result<i32, Fail> {
    Ok(interfaces(name)?.next().ok_or(Fail(Errno::ENODEV))?.flags.bits())
}

fn ipv4(address: Option<SockaddrStorage>) -> Option<Vec<u8>> {
    let ip = IpAddr::V4(address?.as_sockaddr_in()?.ip());
    match ip {
        IpAddr::V4(ip) => Some(Sockaddr::Inet { ip: ip.octets(), port: 0 }.to_bytes()),
        IpAddr::V6(_) => None,
    }
}

fn address(name: &str, which: fn(InterfaceAddress) -> Option<SockaddrStorage>) -> Result<Vec<u8>, Fail> {
    let has_one = |interface: &InterfaceAddress| ipv4(interface.address).is_some();
    let interface = interfaces(name)?.find(has_one).ok_or(Fail(Errno::EADDRNOTAVAIL))?;
    // A netmask may come without its family.
    Ok(ipv4(which(interface)).unwrap_or_else(|| Sockaddr::Inet { ip: [0; 4], port: 0 }.to_bytes()))
}

/// SIOCGIFCONF: name and address of each IPv4 interface; without a buffer only how many bytes that takes.
fn list(task: &Task<'_>) -> Result<Reply, Fail> {
    let ifconf = Ifconf::read(task.input(2)?).ok_or(Fail(Errno::EFAULT))?;
    let mut entries = Vec::new();
    for interface in getifaddrs()? {
        if let Some(address) = ipv4(interface.address) {
            let mut entry = [0; REQUEST];
            put(&mut entry, 0, interface.interface_name.as_bytes());
            put(&mut entry, NAME, &address);
            entries.push(entry);
        }
    }
    let nested = task.checked.output(2, Part::Nested);
    if let Some(room) = nested {
        entries.truncate(room.len as usize / REQUEST);
    } else if ifconf.buffer != 0 {
        entries.clear();
    }
    let after = Ifconf { len: (entries.len() * REQUEST) as i32, ..ifconf };
    let reply = Reply::done().with(task.checked.output(2, Part::Whole), after.to_bytes());
    Ok(if nested.is_some() { reply.with(nested, entries.concat()) } else { reply })
}
