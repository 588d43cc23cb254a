//! Opens the pages that `metrics=` asks for.

use super::{kernel, net, ssh};
use crate::Node;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::RefCell;
use keelson_drivers::virtio::console::Port;
use keelson_net::Stack;
use keelson_ops::health::Health;
use keelson_ops::http::{Counters, Endpoint, Limits, Server};
use keelson_ops::metrics::{Source, Sources};
use keelson_ops::pages::Pages;

/// What is shown of a node. A role adds its own.
#[derive(Default)]
pub struct Watch {
    sources: Sources,
    health: Health,
}

impl Watch {
    /// Shows these metrics too.
    pub fn source(&self, source: impl Source + 'static) {
        self.sources.add(source);
    }

    /// Looks at this too when somebody asks for the node's health. When it passes for the first time, a phase of the start is
    /// over.
    pub fn check(&self, name: &'static str, look: impl Fn() -> Result<(), String> + 'static) {
        self.health.add(name, look);
    }
}

/// Whether a role does its work, and if not, why. Clones are the same.
#[derive(Clone)]
pub struct Standing(Rc<RefCell<Result<(), String>>>);

impl Default for Standing {
    /// It has not begun yet.
    fn default() -> Standing {
        Standing(Rc::new(RefCell::new(Err(String::from("starting; ask again in a moment")))))
    }
}

impl Standing {
    /// It works.
    pub fn serves(&self) {
        *self.0.borrow_mut() = Ok(());
    }

    /// It does not, for this reason, which names the remedy.
    pub fn fails(&self, why: impl Into<String>) {
        *self.0.borrow_mut() = Err(why.into());
    }

    /// For [`Watch::check`].
    pub fn look(&self) -> Result<(), String> {
        self.0.borrow().clone()
    }
}

/// Opens the node's pages if the command line asks for it; what the role shows of itself comes from `add`.
pub fn watch(node: &Node, stack: &Stack, consoles: &[Rc<Port>], add: impl FnOnce(&Watch)) {
    // Every value was checked when the line was read.
    let Some(endpoint) = node.config.text("metrics").and_then(|text| Endpoint::parse(text).ok()) else {
        return;
    };
    let watch = Watch::default();
    watch.source(kernel::source(node, consoles));
    watch.source(net::source(stack));
    watch.source(ssh::source(&node.ssh));
    watch.check("network", net::check(stack));
    add(&watch);
    let (timeline, counters) = (node.timeline.clone(), Rc::new(Counters::default()));
    let (phases, http) = (timeline.clone(), counters.clone());
    watch.source(move |to: &mut _| phases.collect(to));
    watch.source(move |to: &mut _| http.collect(to));
    node.handle.spawn("timeline", timeline.clone().watch(node.handle.clone(), watch.health.clone()));
    let pages = Pages {
        sources: watch.sources,
        health: watch.health,
        timeline,
        version: format!(
            "Keelson {} {} built {}",
            env!("CARGO_PKG_VERSION"),
            node.role.name,
            env!("KEELSON_BUILT")
        ),
        command_line: node.config.public_line(),
    };
    match Server::start(&node.handle, stack, endpoint, Limits::default(), Rc::new(pages), counters) {
        Ok(_) => log::info!(target: "http", "metrics and health by HTTP at {endpoint}"),
        Err(error) => log::error!(target: "http", "metrics={endpoint}: {error}; choose another port"),
    }
}
