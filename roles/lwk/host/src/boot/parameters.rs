//! The further words of a line of the node table: how the node is booted.
//!
//! ```text
//! boot=qemu|ipmi|manual         qemu
//! accel=tcg|kvm                 tcg                  QEMU: emulated, or on the host's processor
//! net=user|tap:IFNAME           user                 QEMU: forwarded from the node's address, or a tap that is there; a node at
//!                                                    serial ports has no network but a tap
//! mac=XX:XX:XX:XX:XX:XX         from the index       QEMU with a tap
//! smp=N                         what cpus= needs     QEMU: processors of the machine
//! ports=N                       20                   QEMU, address unix:DIR: sessions at a time
//! bmc=HOST  bmc_user=NAME  bmc_password=FILE         IPMI: lanplus, and the file that ipmitool -f reads
//! pxe=FILE  pxe_image=PATH  pxe_key=PATH             IPMI: PXELINUX's file of this node, written at boot; image and key as its
//!                                                    TFTP server names them
//! ```

use std::path::PathBuf;

use crate::nodes::Node;

use super::ports;
use super::problem::Problem;

/// How a node is booted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Boot {
    /// A virtual machine of this host.
    Qemu(Qemu),
    /// A machine with a BMC.
    Ipmi(Ipmi),
    /// By hand.
    Manual,
}

/// A virtual machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Qemu {
    /// On the host's processor.
    pub kvm: bool,
    /// A tap that is there; otherwise QEMU forwards a port.
    pub tap: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Processors, when more than needed.
    pub processors: Option<usize>,
    /// Serial ports for sessions.
    pub ports: Option<u16>,
}

/// A machine with a BMC.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ipmi {
    /// Host name or address of the BMC.
    pub bmc: String,
    /// Who logs in there.
    pub user: Option<String>,
    /// File with the password.
    pub password: Option<PathBuf>,
    /// PXELINUX's file of this node.
    pub pxe: Option<PathBuf>,
    /// The image, as its TFTP server names it.
    pub image: Option<String>,
    /// The key, likewise.
    pub key: Option<String>,
}

const KNOWN: &str = "boot accel net mac smp ports bmc bmc_user bmc_password pxe pxe_image pxe_key";

/// Reads the words of a node.
pub fn read(node: &Node) -> Result<Boot, Problem> {
    let words: Vec<&str> = node.parameters.iter().map(String::as_str).collect();
    parse(&words).map_err(|reason| Problem::usage(format!("node {}", node.name), reason))
}

/// Reads words.
///
/// # Errors
///
/// In words: the parameter, and what is accepted.
pub fn parse(words: &[&str]) -> Result<Boot, String> {
    let (mut boot, mut qemu, mut ipmi) = ("qemu", Qemu::default(), Ipmi::default());
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word}: expected: name=value"))?;
        let wrong = |accepted: &str| Err(format!("{word}: accepted is {accepted}"));
        match (name, value) {
            (_, "") => return Err(format!("{word}: no value")),
            ("boot", "qemu" | "ipmi" | "manual") => boot = value,
            ("boot", _) => return wrong("qemu, ipmi or manual"),
            ("accel", "tcg" | "kvm") => qemu.kvm = value == "kvm",
            ("accel", _) => return wrong("tcg or kvm"),
            ("net", "user") => qemu.tap = None,
            ("net", _) => match value.strip_prefix("tap:").filter(|name| is_interface(name)) {
                Some(tap) => qemu.tap = Some(tap.to_owned()),
                None => return wrong("user, or tap: and the name of an interface"),
            },
            ("mac", _) if is_mac(value) => qemu.mac = Some(value.to_owned()),
            ("mac", _) => return wrong("six bytes such as 52:54:00:00:00:01"),
            ("smp", _) => match value.parse() {
                Ok(count @ 2..=64) => qemu.processors = Some(count),
                _ => return wrong("a number of processors from 2 to 64"),
            },
            ("ports", _) => match value.parse() {
                Ok(count @ 1..=ports::MOST) => qemu.ports = Some(count),
                _ => return wrong("a number of ports from 1 to 240"),
            },
            ("bmc", _) => ipmi.bmc = value.to_owned(),
            ("bmc_user", _) => ipmi.user = Some(value.to_owned()),
            ("bmc_password", _) => ipmi.password = Some(value.into()),
            ("pxe", _) => ipmi.pxe = Some(value.into()),
            ("pxe_image", _) => ipmi.image = Some(value.to_owned()),
            ("pxe_key", _) => ipmi.key = Some(value.to_owned()),
            _ => return Err(format!("{word}: no such parameter; there are {KNOWN}")),
        }
    }
    match boot {
        "manual" => Ok(Boot::Manual),
        "ipmi" if ipmi.bmc.is_empty() => Err("boot=ipmi needs bmc=HOST".into()),
        "ipmi" if ipmi.pxe.is_some() && ipmi.image.is_none() => Err("pxe= needs pxe_image=PATH".into()),
        "ipmi" => Ok(Boot::Ipmi(ipmi)),
        _ => Ok(Boot::Qemu(qemu)),
    }
}

/// IFNAMSIZ, and nothing that means something to QEMU.
fn is_interface(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..16).contains(&name.len()) && name.bytes().all(usual)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        assert_eq!(parse(&[]), Ok(Boot::Qemu(Qemu::default())));
        let Ok(Boot::Qemu(qemu)) =
            parse(&["accel=kvm", "net=tap:tap0", "mac=52:54:00:00:00:0f", "smp=8", "ports=240"])
        else {
            panic!("not QEMU")
        };
        assert!(qemu.kvm);
        assert_eq!((qemu.tap.as_deref(), qemu.processors, qemu.ports), (Some("tap0"), Some(8), Some(240)));
        let ipmi = parse(&["boot=ipmi", "bmc=bmc1", "bmc_user=admin", "bmc_password=/etc/lwk/bmc"]);
        assert!(matches!(ipmi, Ok(Boot::Ipmi(Ipmi { user: Some(_), pxe: None, .. }))));
        assert_eq!(parse(&["boot=manual"]), Ok(Boot::Manual));
    }

    #[test]
    fn mistakes_are_named() {
        for (word, message) in [
            ("boot=x", "boot=x: accepted is qemu, ipmi or manual"),
            ("accel=", "accel=: no value"),
            ("net=tap:a,b", "net=tap:a,b: accepted is user, or tap: and the name of an interface"),
            ("smp=1", "smp=1: accepted is a number of processors from 2 to 64"),
            ("ports=0", "ports=0: accepted is a number of ports from 1 to 240"),
            ("ports=241", "ports=241: accepted is a number of ports from 1 to 240"),
            ("mac=1:2:3:4:5:6", "mac=1:2:3:4:5:6: accepted is six bytes such as 52:54:00:00:00:01"),
            ("boot=ipmi", "boot=ipmi needs bmc=HOST"),
            ("fast", "fast: expected: name=value"),
        ] {
            assert_eq!(parse(&[word]), Err(message.to_owned()));
        }
        assert!(parse(&["speed=9"]).unwrap_err().starts_with("speed=9: no such parameter; there are boot "));
    }
}
