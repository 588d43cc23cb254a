//! The Qnet node appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use keelson_ext4::Ext4Volume;
use keelson_images::devices::Devices;
use keelson_images::operations::{self, Watch};
use keelson_images::qnet::{Programs, QnetMachine};
use keelson_images::shell::{self, Interpreter};
use keelson_images::storage::{Medium, StorageError};
use keelson_images::{Node, echo, network, roles};
use keelson_kernel::Machine;
use keelson_kernel::power_button::PowerButton;
use keelson_net::Stack;
use keelson_qnet::api::{Credentials, Kernel};
use keelson_qnet::binding::Binding;
use keelson_qnet::io::{Archive, Order, VolumeFiles};
use keelson_qnet::node::{Node as QnetNode, NodeConfig};
use keelson_qnet::options::CommandLine;
use keelson_qnet::procs::{Processes, ProcsConfig, program_files};
use keelson_qnet::programs::PROGRAMS;
use keelson_volume::Volume;

keelson_kernel::entry!(image);

/// Time that the end of Qnet and of the filesystem may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::QNET_NODE);
    let mut devices = Devices::find_with_disks(&node);
    let stack = network::start(&node, core::mem::take(&mut devices.nics));
    let (qnet, processes) = serve(&node, &devices, &stack).unzip();
    let processes = processes.flatten();
    operations::watch(&node, &stack, &devices.consoles, |watch| {
        show(watch, qnet, processes.clone());
        watch.source(operations::disks::source(&devices.disks));
    });
    let interpreter = processes.map(|processes| Rc::new(Programs::new(&processes)) as Rc<dyn Interpreter>);
    let mut commands = operations::start(&node, &stack);
    commands.push(operations::disks::command(&devices.disks));
    let commands = shell::spawn_with(&node, &devices.consoles, commands, interpreter);
    shell::listen(&node, &stack, &commands);
    node.run()
}

/// A node that was started, and whether Qnet is mounted on it without being asked.
struct Started {
    binding: Binding,
    mounts: bool,
}

/// What is shown of the role.
fn show(watch: &Watch, started: Option<Started>, processes: Option<Processes>) {
    let Some(Started { binding, mounts }) = started else {
        watch.check("qnet", || {
            Err(String::from("not started because of the command line; the log says what is wrong (dmesg)"))
        });
        return;
    };
    let checked = binding.clone();
    watch.check("qnet", move || operations::qnet::check(checked.node(), mounts));
    watch.source(move |to: &mut _| operations::qnet::collect(binding.node(), processes.as_ref(), to));
}

/// The filesystem at the node's root, once it is mounted.
type Root = Rc<RefCell<Option<Rc<Ext4Volume>>>>;

/// Starts the role, unless the command line forbids it, and what ends it.
fn serve(node: &Node, devices: &Devices, stack: &Stack) -> Option<(Started, Option<Processes>)> {
    let root = Root::default();
    let started = match CommandLine::from_options(&node.config) {
        Ok(_) if node.config.must_refuse() => {
            log::error!(target: "qnet", "not started because of the command line; correct it and boot again");
            None
        }
        Ok(line) => {
            let mounts = line.start;
            let (binding, processes) = start(node, devices, stack, line, root.clone());
            Some((Started { binding, mounts }, processes))
        }
        Err(error) => {
            log::error!(target: "qnet", "not started: {error}; correct the command line and boot again");
            None
        }
    };
    let binding = started.as_ref().map(|(started, _)| started.binding.clone());
    let processes = started.as_ref().and_then(|(_, processes)| processes.clone());
    let finish = stop(binding, processes, root);
    node.handle.spawn("shutdown", node.shutdown.clone().serve_within(node.handle.clone(), PATIENCE, finish));
    if let Some(button) = PowerButton::find(node.machine.platform) {
        node.handle.spawn("power-button", node.shutdown.clone().watch_button(node.handle.clone(), button));
    }
    started
}

fn start(
    node: &Node,
    devices: &Devices,
    stack: &Stack,
    line: CommandLine,
    root: Root,
) -> (Binding, Option<Processes>) {
    let config = NodeConfig {
        host: line.host.clone(),
        domain: line.domain.clone(),
        built: String::from(env!("KEELSON_BUILT")),
        ..NodeConfig::default()
    };
    let (clock, entropy) = (node.machine.clock.clone(), node.machine.entropy.clone());
    let qnet = QnetNode::new(&node.handle, clock, entropy, config);
    enter_archive(&qnet, &line);
    let binding = Binding::new(&qnet, stack);
    let processes = run_programs(node, &qnet, &binding);
    if line.echo {
        echo::start(&node.handle, stack);
        node.handle.spawn("echo", serve_echo(qnet.kernel().clone()));
    }
    let medium = match Medium::find(node, devices, None) {
        Ok(medium) => Some(medium),
        Err(StorageError::NoDisk) => {
            log::info!(target: "qnet", "no disk: there are only the files of the image, and none can be made");
            None
        }
        Err(error) => {
            log::error!(target: "qnet", "only the files of the image: {error}");
            None
        }
    };
    let (mounting, begin) = (mount_root(qnet, medium, root), line.start.then(|| binding.clone()));
    node.handle.spawn("qnet-start", async move {
        // Whoever can reach this node finds all of its files.
        mounting.await;
        if let Some(binding) = begin {
            // The log says what is wrong.
            let _ = binding.mount(&line.options);
        }
    });
    (binding, processes)
}

/// Lets processes be started, from here and from other nodes.
fn run_programs(node: &Node, qnet: &QnetNode, binding: &Binding) -> Option<Processes> {
    let machine = QnetMachine::new(binding, node.machine.clock.clone(), node.machine.boot.ram());
    let of_node = qnet.clone();
    let files = Rc::new(move |who: &Credentials| of_node.files(who));
    let processes = Processes::new(qnet.kernel(), files, Rc::new(machine), PROGRAMS, ProcsConfig::default());
    let entered = processes.and_then(|processes| {
        processes.mount(qnet.namespace())?;
        qnet.dispatcher().set_services(Rc::new(processes.clone()));
        Ok(processes)
    });
    entered.inspect_err(|errno| log::error!(target: "qnet", "no processes: {errno}")).ok()
}

/// The same service by messages.
async fn serve_echo(kernel: Kernel) {
    if let Err(errno) = keelson_qnet::echo::serve(kernel).await {
        log::error!(target: "echo", "no /dev/name/local/echo: {errno}");
    }
}

/// Puts the filesystem before the files of the image.
async fn mount_root(qnet: QnetNode, medium: Option<Medium>, root: Root) {
    let Some(medium) = medium else { return };
    let volume = match medium.mount().await {
        Ok(volume) => volume,
        Err(error) => return log::error!(target: "qnet", "only the files of the image: {error}"),
    };
    let files = Rc::new(VolumeFiles::new(volume.clone()));
    if let Err(errno) = qnet.namespace().mount("/", files, Order::Before) {
        return log::error!(target: "qnet", "the filesystem is not at /: {errno}");
    }
    *root.borrow_mut() = Some(volume);
}

/// The files of the image: at the root, and in `/proc/boot`.
fn enter_archive(qnet: &QnetNode, line: &CommandLine) {
    const PASSWORDS: &[u8] = b"root::0:0:Superuser:/:/bin/sh\nguest::100:100:Guest:/:/bin/sh\n";
    let file = |name: &'static str, content: &[u8]| (name, 0o644, Rc::<[u8]>::from(content));
    let mut files = Vec::from([
        file("etc/TIMEZONE", b"UTC0\n"),
        file("etc/passwd", PASSWORDS),
        file("etc/group", b"root::0:root\nguest::100:guest\n"),
    ]);
    if line.start {
        files.push(file("etc/system/config/useqnet", b""));
    }
    let programs: Vec<_> = program_files(PROGRAMS).collect();
    files.extend(programs.iter().map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.clone())));
    let archive = match Archive::new(files) {
        Ok(archive) => Rc::new(archive),
        Err(error) => return log::error!(target: "qnet", "no files of the image: {error}"),
    };
    for prefix in ["/", "/proc/boot"] {
        if let Err(errno) = qnet.namespace().mount(prefix, archive.clone(), Order::After) {
            log::error!(target: "qnet", "no files of the image at {prefix}: {errno}");
        }
    }
}

/// Ends Qnet, so that peers know, and leaves the filesystem clean.
async fn stop(binding: Option<Binding>, processes: Option<Processes>, root: Root) {
    if let Some(processes) = processes {
        processes.end_all();
    }
    if let Some(binding) = binding {
        let _ = binding.umount().await;
    }
    let Some(volume) = root.take() else { return };
    match volume.unmount().await {
        Ok(()) => log::info!(target: "qnet", "filesystem unmounted"),
        Err(error) => log::error!(target: "qnet", "unmounting: {error}; the journal will be replayed"),
    }
}
