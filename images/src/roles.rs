//! The roles: what each image is called, reads and defaults to. Their binaries are in `src/bin`.

use crate::{Role, crash_dump, shell, storage};
use keelson_config::OptionSpec;

/// Tables of the options that every image reads.
pub const COMMON: &[&[OptionSpec]] = &[
    keelson_kernel::options::OPTIONS,
    keelson_net::OPTIONS,
    keelson_ops::http::OPTIONS,
    keelson_ops::syslog::OPTIONS,
    keelson_ops::sntp::OPTIONS,
    crash_dump::OPTIONS,
    shell::REMOTE_OPTIONS,
    shell::SSH_OPTIONS,
];

/// The NFS server.
pub const NFS_SERVER: Role = Role {
    name: "nfs-server",
    default_line: "ip=dhcp",
    options: &[storage::OPTIONS, keelson_nfs_server::OPTIONS],
    prefixes: &["nfs", "fs"],
};

/// The LNet router.
pub const LNET_ROUTER: Role = Role {
    name: "lnet-router",
    default_line: "ip=dhcp",
    options: &[keelson_lnet::options::OPTIONS],
    prefixes: &["lnet", "ksocklnd"],
};

/// The Qnet node.
pub const QNET_NODE: Role = Role {
    name: "qnet-node",
    // Qnet itself needs no addresses; who wants IP says so.
    default_line: "",
    options: &[storage::OPTIONS, keelson_qnet::options::OPTIONS],
    prefixes: &["qnet", "fs"],
};

/// The LWK compute node.
pub const LWK_COMPUTE: Role = Role {
    name: "lwk-compute",
    default_line: "ip=dhcp",
    options: &[keelson_lwk::options::OPTIONS],
    prefixes: &["lwk"],
};

/// All of them.
pub const ALL: &[&Role] = &[&NFS_SERVER, &LNET_ROUTER, &QNET_NODE, &LWK_COMPUTE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_tables_are_sound() {
        for role in ALL {
            assert_eq!(keelson_config::lint(&role.tables()), [""; 0], "{}", role.name);
        }
    }

    #[test]
    fn the_page_lists_every_option() {
        let page = include_str!("../../docs/options.md");
        // Each table once: roles share most of them.
        let mut tables = NFS_SERVER.tables();
        tables.push(keelson_lnet::options::OPTIONS);
        tables.push(keelson_qnet::options::OPTIONS);
        tables.push(keelson_lwk::options::OPTIONS);
        let wanted = keelson_config::markdown(&tables);
        let wanted = wanted.replace("\n### ", "\n## ").replacen("### ", "## ", 1);
        assert!(page.contains(wanted.trim_end()), "docs/options.md should read:\n\n{wanted}");
    }
}
