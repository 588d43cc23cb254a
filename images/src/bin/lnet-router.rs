//! The LNet router appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_images::devices::Devices;
use keelson_images::operations::counted::counted;
use keelson_images::operations::{self, Watch};
use keelson_images::shell::{self, Command};
use keelson_images::{Node, network, roles};
use keelson_kernel::Machine;
use keelson_kernel::power_button::PowerButton;
use keelson_lnet::admin::Admin;
use keelson_lnet::node::Node as LnetNode;
use keelson_lnet::options::NodeConfig;
use keelson_net::Stack;

keelson_kernel::entry!(image);

/// Connections may take this part of the memory: rings of many peers are most of what a router needs.
const TCP_SHARE: u64 = 2;
/// Time beyond its drain that the router has to end its work.
const PATIENCE: Duration = Duration::from_secs(20);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::LNET_ROUTER);
    let mut devices = Devices::find(&node);
    let stack = network::start(&node, core::mem::take(&mut devices.nics));
    let router = route(&node, &stack);
    operations::watch(&node, &stack, &devices.consoles, |watch| show(watch, router.clone()));
    let commands = shell::spawn(&node, &devices.consoles, commands(&node, &stack, router));
    shell::listen(&node, &stack, &commands);
    node.run()
}

/// What is shown of the role.
fn show(watch: &Watch, router: Option<Rc<LnetNode>>) {
    let checked = router.clone();
    watch.check("lnet", move || match &checked {
        Some(router) => operations::lnet::check(router),
        None => {
            Err(String::from("not routing because of the command line; the log says what is wrong (dmesg)"))
        }
    });
    if let Some(router) = router {
        watch.source(move |to: &mut _| operations::lnet::collect(&router, to));
    }
}

/// Starts the role, unless the command line forbids it, and what ends it.
fn route(node: &Node, stack: &Stack) -> Option<Rc<LnetNode>> {
    let ram = node.machine.boot.ram();
    stack.limit_tcp_memory(usize::try_from(ram / TCP_SHARE).unwrap_or(usize::MAX));
    let router = match NodeConfig::from_options(&node.config, ram) {
        Ok(_) if node.config.must_refuse() => {
            log::error!(target: "lnet", "not routing because of the command line; correct it and boot again");
            None
        }
        Ok(config) => Some(start(node, stack, config)),
        Err(error) => {
            log::error!(target: "lnet", "not routing: {error}");
            None
        }
    };
    let patience = router.as_ref().map_or(PATIENCE, |router| 2 * router.shutdown_drain() + PATIENCE);
    let finish = {
        let router = router.clone();
        async move {
            if let Some(router) = router {
                router.shut_down().await;
            }
        }
    };
    node.handle.spawn("shutdown", node.shutdown.clone().serve_within(node.handle.clone(), patience, finish));
    if let Some(button) = PowerButton::find(node.machine.platform) {
        node.handle.spawn("power-button", node.shutdown.clone().watch_button(node.handle.clone(), button));
    }
    router
}

fn start(node: &Node, stack: &Stack, config: NodeConfig) -> Rc<LnetNode> {
    let (clock, entropy) = (node.machine.clock.clone(), node.machine.entropy.clone());
    let router = LnetNode::new(node.handle.clone(), stack.clone(), clock, entropy, config);
    router.start();
    router
}

fn commands(node: &Node, stack: &Stack, router: Option<Rc<LnetNode>>) -> Vec<Command> {
    let mut commands = operations::start(node, stack);
    if let Some(router) = router {
        commands.extend(tools(router));
    }
    commands
}

/// What an administrator of LNet types.
fn tools(router: Rc<LnetNode>) -> [Command; 5] {
    let (lnetctl, lctl) = (Admin::new(router.clone()), Admin::new(router.clone()));
    let (routerstat, files) = (Admin::new(router.clone()), Admin::new(router.clone()));
    [
        Command::waiting("lnetctl", "LNet: networks, routes, peers, ...; lnetctl help", move |words| {
            let (admin, words) = (lnetctl.clone(), owned(words));
            async move { admin.lnetctl(&borrowed(&words)).await }
        }),
        Command::waiting("lctl", "the older tool; lctl help", move |words| {
            let (admin, words) = (lctl.clone(), owned(words));
            async move { admin.lctl(&borrowed(&words)).await }
        }),
        Command::waiting("routerstat", "[INTERVAL [COUNT]]: what is routed", move |words| {
            let (admin, words) = (routerstat.clone(), owned(words));
            async move { admin.routerstat(&borrowed(&words)).await }
        }),
        Command::new("cat", "FILE: one of those in /sys/kernel/debug/lnet", move |words| files.cat(words)),
        Command::new("lnetstat", "why messages were dropped, and what the LND counted", move |_| {
            counted(&[], |to| operations::lnet::collect(&router, to))
        }),
    ]
}

/// The words outlive the line they were typed in: the command waits.
fn owned(words: &[&str]) -> Vec<String> {
    words.iter().copied().map(String::from).collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
