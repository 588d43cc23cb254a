//! The roles: what each image is called, reads and defaults to. Their binaries are in `src/bin`.

use crate::{Role, shell, storage};

/// The NFS server.
pub const NFS_SERVER: Role = Role {
    name: "nfs-server",
    default_line: "ip=dhcp",
    options: &[keelson_net::OPTIONS, shell::OPTIONS, storage::OPTIONS, keelson_nfs_server::OPTIONS],
    prefixes: &["nfs", "fs"],
};

/// All of them.
pub const ALL: &[&Role] = &[&NFS_SERVER];

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
    fn the_readme_lists_every_option() {
        let readme = include_str!("../../README.md");
        let tables = NFS_SERVER.tables();
        let wanted = keelson_config::markdown(&tables);
        let wanted = wanted.replace("\n### ", "\n#### ").replacen("### ", "#### ", 1);
        assert!(readme.contains(wanted.trim_end()), "README.md, \"All options\", should read:\n\n{wanted}");
    }
}
