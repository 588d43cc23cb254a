//! How networks, NIDs and processes are written (LNet specification section 1.4).

use crate::nid::{LUSTRE_PID, NetId, Nid, NotExpressible, ProcessId, USERSPACE_FLAG, kind};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;

/// Names of the network types (section 1.3), and whether addresses are written as IP addresses.
const KINDS: &[(u8, &str, Written)] = &[
    (kind::TCP, "tcp", Written::Ip),
    (kind::O2IB, "o2ib", Written::Ip),
    (kind::LO, "lo", Written::Number),
    (13, "gni", Written::Number),
    (14, "gip", Written::Ip),
    (15, "ptlf", Written::Number),
    (16, "kfi", Written::Number),
    (17, "tofu", Written::Number),
    (18, "efa", Written::Ip),
    (19, "bxi3f", Written::Number),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Ip,
    Number,
}

fn lookup(kind: u8) -> Option<(&'static str, Written)> {
    KINDS.iter().find(|known| known.0 == kind).map(|known| (known.1, known.2))
}

/// Why a text is no network, NID or process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Not a known network type followed by nothing or a number up to 65535.
    Net,
    /// What stands before the `@` is neither an IP address nor a number.
    Address,
    /// The loopback network has the address 0 and the number 0 only.
    Loopback,
    /// What stands before the first `-` is not a PID.
    Pid,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Net => {
                "a network is a type such as tcp or o2ib, with a number up to 65535 for all but 0: tcp1"
            }
            NameError::Address => "a NID is an IP address, then @ and a network: 10.0.0.1@tcp1",
            NameError::Loopback => "the only NID on lo is 0@lo",
            NameError::Pid => "a process is a PID, then - and a NID: 12345-10.0.0.1@tcp",
        })
    }
}

impl core::error::Error for NameError {}

impl fmt::Display for NotExpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a NID with more than 4 address bytes does not fit this layout")
    }
}

impl core::error::Error for NotExpressible {}

impl fmt::Display for NetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == NetId::ANY {
            return f.write_str("<?>");
        }
        match (lookup(self.kind()), self.number()) {
            (Some((name, _)), 0) => f.write_str(name),
            (Some((name, _)), number) => write!(f, "{name}{number}"),
            (None, number) => write!(f, "<{}:{number}>", self.to_u32() >> 16),
        }
    }
}

impl FromStr for NetId {
    type Err = NameError;

    /// Reads `tcp`, `tcp0`, `tcp1` and so on for every known type.
    fn from_str(text: &str) -> Result<NetId, NameError> {
        let net = KINDS.iter().find_map(|(kind, name, _)| {
            let number = text.strip_prefix(name)?;
            if number.is_empty() {
                return Some(NetId::new(*kind, 0));
            }
            decimal(number)
                .and_then(|number| u16::try_from(number).ok())
                .map(|number| NetId::new(*kind, number))
        });
        match net {
            Some(net) if net.kind() == kind::LO && net.number() != 0 => Err(NameError::Loopback),
            Some(net) => Ok(net),
            None => Err(NameError::Net),
        }
    }
}

/// Digits only: no sign, as `str::parse` would take.
fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Nid::ANY {
            return f.write_str("<?>");
        }
        let net = self.net();
        match (lookup(net.kind()), self.ip(), self.nid4()) {
            (Some((_, Written::Ip)), Some(ip), _) => write!(f, "{ip}@{net}"),
            (Some((_, Written::Number)), _, Some(nid4)) => write!(f, "{}@{net}", nid4 as u32),
            (None, _, Some(nid4)) => write!(f, "{:x}@{net}", nid4 as u32),
            _ => {
                let [size, _, _, _, address @ ..] = self.large();
                for byte in address.iter().take(usize::from(size) + 4) {
                    write!(f, "{byte:02x}")?;
                }
                write!(f, "@{net}")
            }
        }
    }
}

impl fmt::Debug for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nid {
    type Err = NameError;

    /// Reads `10.0.0.1@tcp1`, `2001:db8::1@tcp`, a bare address (then the network is `tcp`), a number before
    /// the `@` for networks that are not IP's, `0@lo`, and `<?>` for "any".
    fn from_str(text: &str) -> Result<Nid, NameError> {
        if text == "<?>" {
            return Ok(Nid::ANY);
        }
        let (address, net) = match text.split_once('@') {
            Some((address, net)) => (address, net.parse()?),
            None => (text, NetId::TCP),
        };
        let number = decimal(address);
        if net == NetId::LOOPBACK {
            return if number == Some(0) { Ok(Nid::LOOPBACK) } else { Err(NameError::Loopback) };
        }
        match (lookup(net.kind()), number) {
            (Some((_, Written::Number)), Some(number)) => {
                Ok(Nid::new(net, IpAddr::V4(Ipv4Addr::from_bits(number))))
            }
            _ => address.parse().map(|ip| Nid::new(net, ip)).map_err(|_| NameError::Address),
        }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.pid & USERSPACE_FLAG == 0 { "" } else { "U" };
        write!(f, "{user}{}-{}", self.pid & !USERSPACE_FLAG, self.nid)
    }
}

impl FromStr for ProcessId {
    type Err = NameError;

    /// Reads `12345-10.0.0.1@tcp`, `U12345-...`, and a bare NID, which means [`LUSTRE_PID`].
    fn from_str(text: &str) -> Result<ProcessId, NameError> {
        let Some((pid, nid)) = text.split_once('-') else {
            return Ok(ProcessId { nid: text.parse()?, pid: LUSTRE_PID });
        };
        let (digits, flag) = match pid.strip_prefix('U') {
            Some(digits) => (digits, USERSPACE_FLAG),
            None => (pid, 0),
        };
        let number = decimal(digits).filter(|number| number & USERSPACE_FLAG == 0).ok_or(NameError::Pid)?;
        Ok(ProcessId { nid: nid.parse()?, pid: number | flag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nid(text: &str) -> Result<Nid, NameError> {
        text.parse()
    }

    #[test]
    fn nids_as_written() {
        let same = [
            "10.0.0.1@tcp1",
            "0@lo",
            "2001:db8::1@tcp",
            "10.0.0.1@o2ib65535",
            "27@gni",
            "1@kfi3",
            "10.9.8.7@efa",
            "255.255.255.255@tcp",
            "<?>",
        ];
        for text in same {
            assert_eq!(nid(text).unwrap().to_string(), text);
        }
        for (text, canonical) in
            [("10.0.0.1", "10.0.0.1@tcp"), ("10.0.0.1@tcp0", "10.0.0.1@tcp"), ("::1", "::1@tcp")]
        {
            assert_eq!(nid(text).unwrap().to_string(), canonical);
        }
        assert_eq!(Nid::from_nid4(0x0063_0004_0a00_0001).to_string(), "a000001@<99:4>");
    }

    #[test]
    fn what_is_no_nid() {
        for text in
            ["", "@", "10.0.0.1@", "10.0.0.1@tcp65536", "10.0.0.1@tcp-1", "10.0.0.1@tcp+1", "10.0.0.1@eth0"]
        {
            assert!(nid(text).is_err(), "{text}");
        }
        assert_eq!(nid("10.0.0.256@tcp"), Err(NameError::Address));
        assert_eq!(nid("1@tcp"), Err(NameError::Address));
        assert_eq!(nid("1@lo"), Err(NameError::Loopback));
        assert_eq!(nid("0@lo1"), Err(NameError::Loopback));
        assert_eq!(nid("10.0.0.1@ tcp"), Err(NameError::Net));
    }

    #[test]
    fn networks_as_written() {
        for (text, kind, number) in
            [("tcp", 2, 0), ("tcp3", 2, 3), ("o2ib", 5, 0), ("o2ib12", 5, 12), ("lo", 9, 0)]
        {
            assert_eq!(text.parse(), Ok(NetId::new(kind, number)));
            assert_eq!(NetId::new(kind, number).to_string(), text);
        }
        assert_eq!(NetId::new(99, 7).to_string(), "<99:7>");
        assert_eq!(NetId::ANY.to_string(), "<?>");
    }

    #[test]
    fn processes_as_written() {
        let process = |text: &str| text.parse::<ProcessId>();
        assert_eq!(process("12345-10.0.0.1@tcp"), process("10.0.0.1"));
        assert_eq!(ProcessId::lustre(Nid::LOOPBACK).to_string(), "12345-0@lo");
        let user = process("U70-10.0.0.1@tcp1").unwrap();
        assert_eq!((user.pid, user.to_string().as_str()), (70 | USERSPACE_FLAG, "U70-10.0.0.1@tcp1"));
        for text in ["x-10.0.0.1@tcp", "-10.0.0.1@tcp", "2147483648-10.0.0.1@tcp", "99999999999-10.0.0.1@tcp"]
        {
            assert_eq!(process(text), Err(NameError::Pid), "{text}");
        }
    }
}
