//! Where the node's keys come from: never the command line, unless somebody says that this is no secret.

use crate::Node;
use alloc::string::String;
use keelson_kernel::arch::port::Ports;
use keelson_kernel::fw_cfg;
use keelson_lwk::options::Keys;

/// QEMU's file (section 2).
const FW_CFG: &str = "opt/lwk/psk";
/// A few keys with their names and roles.
const LONGEST: usize = 4096;

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// None was given anywhere.
    Missing,
    /// One stands on the command line, which everybody can read.
    OnCommandLine,
    /// What was given is none.
    Malformed {
        /// Where it came from.
        from: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            KeyError::Missing => f.write_str(
                "no key: give the same 64 hexadecimal digits to the node (QEMU: -fw_cfg name=opt/lwk/psk,file=KEY; otherwise as \
                 initial RAM disk) and to the hosts, or insecure=1 to let every host in",
            ),
            KeyError::OnCommandLine => {
                f.write_str("psk= stands on the command line, which everybody can read; add insecure=1 if that does not matter")
            }
            KeyError::Malformed { from, why } => write!(f, "the keys from {from}: {why}"),
        }
    }
}

/// The keys; `None` when every host is let in. Hosts that come over the `network` need one.
pub fn find(node: &Node, network: bool) -> Result<Option<Keys>, KeyError> {
    let insecure = node.config.flag("insecure");
    let parse =
        |from, text: &str| Keys::parse(text).map(Some).map_err(|why| KeyError::Malformed { from, why });
    if let Some(text) = node.config.text("psk") {
        return if insecure { parse("psk=", text) } else { Err(KeyError::OnCommandLine) };
    }
    if let Some(bytes) = fw_cfg::read(&Ports, FW_CFG, LONGEST) {
        return parse("fw_cfg", &String::from_utf8_lossy(&bytes));
    }
    let keys = node.initrd.keys();
    if !keys.trim().is_empty() {
        return parse("the initial RAM disk", &keys);
    }
    if insecure || !network { Ok(None) } else { Err(KeyError::Missing) }
}
