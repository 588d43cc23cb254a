//! The NFS server appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use keelson_exec::Handle;
use keelson_ext4::Ext4Volume;
use keelson_hal::Entropy;
use keelson_images::devices::Devices;
use keelson_images::operations::nfsstat::nfsstat;
use keelson_images::operations::{self, Standing};
use keelson_images::shell::{self, Command};
use keelson_images::storage::{self, Medium, TextDisk};
use keelson_images::{Node, network, roles};
use keelson_kernel::Machine;
use keelson_kernel::power_button::PowerButton;
use keelson_net::Stack;
use keelson_nfs_server::{MAX_TEXT, Names, NfsServer, ServerConfig};
use keelson_oncrpc::StackNetwork;
use keelson_volume::Volume;

keelson_kernel::entry!(image);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::NFS_SERVER);
    let devices = Devices::find_with_disks(&node);
    let consoles = devices.consoles.clone();
    let (stack, commands) = serve(&node, devices);
    let commands = shell::spawn(&node, &consoles, commands);
    shell::listen(&node, &stack, &commands);
    node.run()
}

type Server = NfsServer<Ext4Volume, Dns>;

/// The role's place: empty until it serves.
type Serving = Rc<RefCell<Option<(Rc<Ext4Volume>, Rc<Server>)>>>;

/// What is known of the role's start, for those who ask for its health.
fn show(watch: &operations::Watch, serving: Serving, standing: Standing) {
    watch.check("nfs", move || standing.look());
    watch.source(move |to: &mut _| {
        if let Some((volume, server)) = &*serving.borrow() {
            operations::nfs::collect(volume, server, to);
        }
    });
}

/// Least memory to serve with, in bytes as the firmware reports them: of a machine of 32 MiB. With it a crowd of clients at
/// its busiest stays within what there is; with less a machine that is out of memory would end.
const LEAST_MEMORY: u64 = 30 << 20;

/// The option with the disk that exports are read from.
const EXPORTS_DISK: &str = "nfs.exports_disk";

/// Starts network and role; returns the network and the shell commands they add.
fn serve(node: &Node, mut devices: Devices) -> (Stack, Vec<Command>) {
    let stack = network::start(node, core::mem::take(&mut devices.nics));
    let (serving, standing) = (Serving::default(), Standing::default());
    operations::watch(node, &stack, &devices.consoles, |watch| {
        show(watch, serving.clone(), standing.clone());
        watch.source(operations::disks::source(&devices.disks));
    });
    let mut exports_disk = None;
    let refuse = |why: String| {
        log::error!(target: "nfs", "{why}");
        standing.fails(why);
    };
    if node.config.must_refuse() {
        refuse(String::from("not serving because of the command line; correct it and boot again"));
    } else if node.machine.boot.ram() < LEAST_MEMORY {
        let found = node.machine.boot.ram() >> 20;
        refuse(format!(
            "not serving: {found} MiB of memory are too little; give the machine 32 MiB (qemu: -m 32)"
        ));
    } else {
        let other = node.config.text(EXPORTS_DISK);
        let found = storage::find_text(node, &devices, EXPORTS_DISK)
            .and_then(|text| Ok((text, Medium::find(node, &devices, other)?)));
        match found {
            Ok((text, medium)) => {
                exports_disk = text.clone();
                let parts = Parts::of(node, text);
                let starting = start(parts, stack.clone(), medium, serving.clone());
                let standing = standing.clone();
                node.handle.spawn("nfs-start", async move {
                    match starting.await {
                        Ok(()) => standing.serves(),
                        Err(why) => {
                            log::error!(target: "nfs", "not serving: {why}");
                            standing.fails(format!("not serving: {why}"));
                        }
                    }
                });
            }
            Err(error) => refuse(format!("not serving: {error}")),
        }
    }
    node.handle.spawn("shutdown", node.shutdown.clone().serve(node.handle.clone(), stop(serving.clone())));
    if let Some(button) = PowerButton::find(node.machine.platform) {
        node.handle.spawn("power-button", node.shutdown.clone().watch_button(node.handle.clone(), button));
    }
    let mut commands = commands(node, &stack, &serving, exports_disk);
    commands.push(operations::disks::command(&devices.disks));
    (stack, commands)
}

/// What the role's start-up takes along from the node.
struct Parts {
    handle: Handle,
    entropy: Rc<dyn Entropy>,
    config: ServerConfig,
    exports_disk: Option<TextDisk>,
}

impl Parts {
    fn of(node: &Node, exports_disk: Option<TextDisk>) -> Parts {
        Parts {
            handle: node.handle.clone(),
            entropy: node.machine.entropy.clone(),
            config: ServerConfig {
                name: node.config.text("hostname").map(String::from),
                ..ServerConfig::from_options(&node.config, node.machine.boot.ram())
            },
            exports_disk,
        }
    }
}

/// Fails in words.
async fn start(parts: Parts, stack: Stack, medium: Medium, serving: Serving) -> Result<(), String> {
    let volume = medium.mount().await.map_err(|error| error.to_string())?;
    let names = Rc::new(Dns(stack.clone()));
    let Parts { handle, entropy, mut config, exports_disk } = parts;
    let mut network = StackNetwork::new(stack);
    network.tcp.keep_alive = Some(config.keepalive);
    network.tcp.timeout = Some(config.user_timeout);
    config.exports_disk = read_exports(exports_disk).await.transpose()?;
    let server = NfsServer::start(handle, Rc::new(network), names, volume.clone(), &*entropy, &config);
    let server = server.await.map_err(|error| error.to_string())?;
    *serving.borrow_mut() = Some((volume, Rc::new(server)));
    Ok(())
}

/// What is on the disk with exports now, if there is one.
async fn read_exports(disk: Option<TextDisk>) -> Option<Result<Vec<u8>, String>> {
    let disk = disk?;
    // One byte more tells whether there is more.
    let content = disk.read(MAX_TEXT + 1).await;
    Some(content.map_err(|error| format!("{EXPORTS_DISK}: {error}")))
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

fn commands(node: &Node, stack: &Stack, serving: &Serving, exports_disk: Option<TextDisk>) -> Vec<Command> {
    let server = serving.clone();
    let (exporting, locking) = (serving.clone(), serving.clone());
    let mut commands = operations::start(node, stack);
    commands.extend([
        Command::waiting(
            "exportfs",
            "what is exported to whom; -rv: read exports anew; exportfs help",
            move |words| {
                let words: Vec<String> = words.iter().map(|word| String::from(*word)).collect();
                exportfs(exporting.clone(), exports_disk.clone(), words)
            },
        ),
        Command::new(
            "lockd",
            "locks; hosts; unlock HOST; end-grace: locks of clients (NLM, NSM)",
            move |words| match &*locking.borrow() {
                Some((_, server)) => lockd(server, words),
                None => String::from("not serving"),
            },
        ),
        Command::new("nfsstat", "what the server counted", move |_| match &*server.borrow() {
            Some((volume, server)) => nfsstat(volume, server),
            None => String::from("not serving"),
        }),
    ]);
    commands
}

async fn exportfs(serving: Serving, disk: Option<TextDisk>, words: Vec<String>) -> String {
    let server = serving.borrow().as_ref().map(|(_, server)| server.clone());
    let Some(server) = server else { return String::from("not serving") };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let disk = read_exports(disk).await;
    server.exportfs(&words, disk).await
}

/// What Linux has in `/proc/locks`, `/var/lib/nfs/sm` and `/proc/fs/lockd`.
fn lockd(server: &Server, words: &[&str]) -> String {
    match words {
        [] | ["locks"] => server.locks(),
        ["hosts"] => server.lock_hosts(),
        ["unlock", host] => server.unlock_host(host),
        ["end-grace"] => server.end_grace(),
        _ => String::from("usage: lockd [locks | hosts | unlock HOST | end-grace]"),
    }
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
