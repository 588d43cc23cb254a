//! The LWK compute node appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_drivers::virtio::console::Port;
use keelson_images::devices::{Devices, Nic};
use keelson_images::lwk::node::Lwk;
use keelson_images::lwk::{key, selftest};
use keelson_images::operations::{self, Watch};
use keelson_images::shell::{self, Command};
use keelson_images::{Node, echo, network, roles};
use keelson_kernel::power_button::PowerButton;
use keelson_kernel::turbo::{self, Turbo};
use keelson_kernel::{Machine, console, irq, numa, smp, user};
use keelson_lwk::options::{Listen, Settings};
use keelson_net::Stack;

keelson_kernel::entry!(image);

/// Time that programs have to end when the node is switched off.
const PATIENCE: Duration = Duration::from_secs(10);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::LWK_COMPUTE);
    if node.config.text("lwk.selftest").is_some() {
        selftest::run(node);
    }
    let mut devices = Devices::find(&node);
    let stack = start_network(&node, core::mem::take(&mut devices.nics));
    let lwk = serve(&node, &stack, &devices.ports);
    operations::watch(&node, &stack, &devices.consoles, |watch| show(watch, lwk.clone()));
    if node.config.flag("lwk.echo") {
        echo::start(&node.handle, &stack);
    }
    let finish = {
        let lwk = lwk.clone();
        async move {
            if let Some(lwk) = lwk {
                lwk.end_programs().await;
            }
        }
    };
    node.handle.spawn("shutdown", node.shutdown.clone().serve_within(node.handle.clone(), PATIENCE, finish));
    if let Some(button) = PowerButton::find(node.machine.platform) {
        node.handle.spawn("power-button", node.shutdown.clone().watch_button(node.handle.clone(), button));
    }
    let commands = shell::spawn(&node, &devices.consoles, commands(&node, &stack, lwk));
    shell::listen(&node, &stack, &commands);
    node.run()
}

/// A node where hosts come by serial ports alone may do without.
fn start_network(node: &Node, nics: Vec<Nic>) -> Stack {
    match Listen::parse(node.config.text("listen").unwrap_or_default()) {
        Ok(Listen { port: None, .. }) => network::attach(node, nics),
        _ => network::start(node, nics),
    }
}

/// What is shown of the role.
fn show(watch: &Watch, lwk: Option<Rc<Lwk>>) {
    let checked = lwk.clone();
    watch.check("lwk", move || match &checked {
        Some(lwk) => lwk.check(),
        None => Err(String::from("no programs; the log says why (dmesg)")),
    });
    if let Some(lwk) = lwk {
        watch.source(move |to: &mut _| lwk.collect(to));
    }
}

/// Starts the role, unless the command line or the machine forbids it.
fn serve(node: &Node, stack: &Stack, ports: &[Rc<Port>]) -> Option<Rc<Lwk>> {
    if node.config.must_refuse() {
        log::error!(target: "lwk", "no programs because of the command line; correct it and boot again");
        return None;
    }
    let present = numa::present(node.machine.boot);
    let started = Settings::from_options(&node.config, smp::online(), Some(&present[..numa::nodes()]))
        .map_err(|error| error.to_string());
    let started = started.and_then(|settings| {
        let key = key::find(node, settings.listen.port.is_some()).map_err(|error| error.to_string())?;
        // Before the other processors have work for ever.
        match turbo::set(settings.turbo).map_err(|error| error.to_string())? {
            Turbo::Host | Turbo::Absent if settings.turbo => {
                log::warn!(target: "lwk", "turbo: without effect, there is no switch for it on this machine")
            }
            Turbo::Host | Turbo::Absent => {}
            Turbo::Intel | Turbo::Amd => {
                log::info!(target: "lwk", "turbo {}", if settings.turbo { "on" } else { "off" })
            }
        }
        if let Some(vector) = settings.call_vector {
            irq::call_by(vector).map_err(|error| format!("cmdline: ikc_vector: {error}"))?;
        }
        log::info!(target: "lwk", "processors call each other by interrupt vector {}", irq::call_vector());
        // Before programs get the memory.
        if console::log::keep(settings.log_size).is_err() {
            let (wanted, kept) = (settings.log_size, console::log::capacity());
            log::warn!(target: "lwk", "kmsg_size: {wanted} bytes in one piece are not there; the log keeps {kept}");
        }
        let machine = user::init(node.machine.boot).map_err(|error| error.to_string())?;
        if let Some(memory) = &settings.memory {
            machine.limit_memory(memory);
        }
        Lwk::start(node, stack, ports, machine, settings, key)
    });
    started.map(Rc::new).inspect_err(|error| log::error!(target: "lwk", "no programs: {error}")).ok()
}

fn commands(node: &Node, stack: &Stack, lwk: Option<Rc<Lwk>>) -> Vec<Command> {
    let mut commands = operations::start(node, stack);
    if let Some(lwk) = lwk {
        let (interrupts, hanging, failing) = (lwk.clone(), lwk.clone(), lwk.clone());
        commands.push(Command::new("mcps", "processes and threads", move |_| lwk.processes()));
        commands.push(Command::new("interrupts", "what interrupted each processor", move |_| {
            interrupts.interrupts()
        }));
        commands.push(Command::new(
            "hang",
            "keep core N in the kernel for [SECONDS], to see it noticed",
            move |words| hanging.hang(words),
        ));
        commands.push(Command::new("fail", "panic on core N, which runs programs", move |words| {
            failing.fail(words)
        }));
    }
    commands
}
