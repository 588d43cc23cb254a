//! The NFS server appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use keelson_exec::Handle;
use keelson_ext4::Ext4Volume;
use keelson_hal::Entropy;
use keelson_images::devices::Devices;
use keelson_images::shell::{self, Command};
use keelson_images::storage::Medium;
use keelson_images::{Node, network, roles};
use keelson_kernel::Machine;
use keelson_kernel::power_button::PowerButton;
use keelson_net::Stack;
use keelson_nfs_server::{Names, NfsServer, ServerConfig};
use keelson_oncrpc::StackNetwork;
use keelson_volume::Volume;

keelson_kernel::entry!(image);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::NFS_SERVER);
    let devices = Devices::find(&node);
    let consoles = devices.consoles.clone();
    let (stack, commands) = serve(&node, devices);
    let commands = shell::spawn(&node, &consoles, commands);
    shell::listen(&node.handle, &stack, &node.config, &commands);
    node.run()
}

type Server = NfsServer<Ext4Volume, Dns>;

/// The role's place: empty until it serves.
type Serving = Rc<RefCell<Option<(Rc<Ext4Volume>, Server)>>>;

/// Starts network and role; returns the network and the shell commands they add.
fn serve(node: &Node, mut devices: Devices) -> (Stack, Vec<Command>) {
    let stack = network::start(node, core::mem::take(&mut devices.nics));
    let serving = Serving::default();
    if node.config.must_refuse() {
        log::error!(target: "nfs", "not serving because of the command line; correct it and boot again");
    } else {
        match Medium::find(node, &devices) {
            Ok(medium) => {
                node.handle
                    .spawn("nfs-start", start(Parts::of(node), stack.clone(), medium, serving.clone()));
            }
            Err(error) => log::error!(target: "nfs", "not serving: {error}"),
        }
    }
    node.handle.spawn("shutdown", node.shutdown.clone().serve(node.handle.clone(), stop(serving.clone())));
    if let Some(button) = PowerButton::find(node.machine.platform) {
        node.handle.spawn("power-button", node.shutdown.clone().watch_button(node.handle.clone(), button));
    }
    let commands = commands(&stack, &serving);
    (stack, commands)
}

/// What the role's start-up takes along from the node.
struct Parts {
    handle: Handle,
    entropy: Rc<dyn Entropy>,
    config: ServerConfig,
}

impl Parts {
    fn of(node: &Node) -> Parts {
        Parts {
            handle: node.handle.clone(),
            entropy: node.machine.entropy.clone(),
            config: ServerConfig {
                name: node.config.text("hostname").map(String::from),
                ..ServerConfig::from_options(&node.config)
            },
        }
    }
}

async fn start(parts: Parts, stack: Stack, medium: Medium, serving: Serving) {
    let volume = match medium.mount().await {
        Ok(volume) => volume,
        Err(error) => return log::error!(target: "nfs", "not serving: {error}"),
    };
    let names = Rc::new(Dns(stack.clone()));
    let network = StackNetwork::new(stack);
    let Parts { handle, entropy, config } = parts;
    match NfsServer::start(handle, Rc::new(network), names, volume.clone(), &*entropy, &config).await {
        Ok(server) => *serving.borrow_mut() = Some((volume, server)),
        Err(error) => log::error!(target: "nfs", "not serving: {error}"),
    }
}

/// Ends the role: no call is cut off, and the filesystem is left clean.
async fn stop(serving: Serving) {
    let taken = serving.borrow_mut().take();
    let Some((volume, server)) = taken else { return };
    server.stop().await;
    match volume.unmount().await {
        Ok(()) => log::info!(target: "nfs", "filesystem unmounted"),
        Err(error) => log::error!(target: "nfs", "unmounting: {error}; the journal will be replayed"),
    }
}

fn commands(stack: &Stack, serving: &Serving) -> Vec<Command> {
    let (addresses, statistics, server) = (stack.clone(), stack.clone(), serving.clone());
    Vec::from([
        Command::new(
            "ip",
            "[-s] addr|link|route|neigh: show; link set, addr add|del: change",
            move |words| network::ip(&addresses, words),
        ),
        Command::new("netstat", "what the network stack counted", move |_| network::statistics(&statistics)),
        Command::new("nfsstat", "what the server counted", move |_| match &*server.borrow() {
            Some((volume, server)) => counters(volume, server),
            None => String::from("not serving"),
        }),
    ])
}

fn counters(volume: &Ext4Volume, server: &Server) -> String {
    format!("{:#?}\n{:#?}\n{:#?}\n", server.counters(), volume.counters(), volume.cache_counters())
}

/// Client names by DNS.
struct Dns(Stack);

impl Names for Dns {
    async fn reverse(&self, address: IpAddr) -> Option<String> {
        self.0.reverse(address).await.ok()
    }

    async fn forward(&self, name: &str) -> Vec<IpAddr> {
        self.0.resolve(name).await.unwrap_or_default()
    }
}
