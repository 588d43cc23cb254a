//! The NFS server appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::vec::Vec;
use keelson_images::shell::{self, Command};
use keelson_images::{Node, Role};
use keelson_kernel::Machine;

const ROLE: Role = Role { name: "nfs-server", default_line: "", options: &[], prefixes: &["nfs"] };

keelson_kernel::entry!(appliance);

fn appliance(machine: Machine) -> ! {
    let node = Node::start(machine, &ROLE);
    let commands = serve(&node);
    shell::spawn(&node, commands);
    node.run()
}

/// Drivers, network and the role are built here; returns the shell commands they add.
fn serve(_node: &Node) -> Vec<Command> {
    Vec::new()
}
