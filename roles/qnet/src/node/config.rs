//! Settings of a node.

use crate::api::KernelConfig;
use crate::io::{IoConfig, NET_DIRECTORY};
use crate::l4;
use crate::nodes::Identity;
use alloc::string::String;
use keelson_qnet_wire::Errno;

/// Everything about a node that can be chosen.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Host name, `_CS_HOSTNAME`. With none, or "localhost", the node takes a name from its adapter's address.
    pub host: String,
    /// What the node is called instead: the option `host=`.
    pub alias: Option<String>,
    /// Domain, `_CS_DOMAIN`; empty for none.
    pub domain: String,
    /// Directory of the nodes.
    pub mount: String,
    /// Release that the node says it has (option `release=`).
    pub release: String,
    /// Date and time of the build, as the banner of `/proc/qnetstats` has them: `Nov 27 2026 at 14:25:36`.
    pub built: String,
    /// Connections, names, times.
    pub transport: l4::Options,
    /// Message passing; in it, users and what remote ones become.
    pub kernel: KernelConfig,
    /// Open files.
    pub io: IoConfig,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            host: String::new(),
            alias: None,
            domain: String::new(),
            mount: NET_DIRECTORY.into(),
            release: "6.5.0".into(),
            built: "Jan 01 1970 at 00:00:00".into(),
            transport: l4::Options::default(),
            kernel: KernelConfig::default(),
            io: IoConfig::default(),
        }
    }
}

impl NodeConfig {
    /// The name that follows from alias, host name and domain. `EINVAL` when there can be no such name; the log says
    /// why.
    pub(super) fn identity(&self) -> Result<Identity, Errno> {
        let name = self.alias.as_deref().unwrap_or(&self.host);
        Identity::new(name, &self.domain).map_err(|error| {
            log::error!(target: "qnet", "\"{name}\", domain \"{}\": {error}", self.domain);
            Errno::EINVAL
        })
    }
}
