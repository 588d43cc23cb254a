//! Qnet on the network stack of an appliance: its NICs, or IP, as links of a node (section 2); drivers and protocol that
//! come and go by name (section 20).
//!
//! ```text
//!   keelson_net::Stack  --- frames 0x8204, packets 106 --->  Node::input
//!                       <-- send_frame, send_packet --------  ethernet, ip: LinkPorts
//!   nic        what /proc/nicinfo/<if> and /dev/io-net/<if> say
//!   resolver   DNS, or a file, for bind=ip
//!   modules    lsm-qnet.so, devn-*.so: mount and umount
//! ```
//!
//! 1. **A frame goes from the ring straight into the protocol**, which copies what it keeps. While the stack hands frames
//!    over it cannot send: ports have no room then, and the node's task sends after the batch.
//! 2. **What ports say is kept here**, and brought up to date by the stack's events: asking costs nothing.

mod ethernet;
mod ip;
mod modules;
mod nic;
mod resolver;

pub use nic::driver_object;

use crate::io::{MountId, Order, TextFile};
use crate::link::{LinkAddress, LinkId, LinkPort};
use crate::node::Node;
use crate::nodes::Resolver;
use crate::options::{Bind, QnetOptions, Resolve};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use ethernet::EthernetPort;
use ip::IpPort;
use keelson_net::{Events, InterfaceId, InterfaceStatus, Stack};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::frame::ETHERTYPE;
use keelson_qnet_wire::ipv4::PROTOCOL;

/// The NICs of an appliance and Qnet on them. Clones are the same.
#[derive(Clone)]
pub struct Binding(Rc<Shared>);

struct Shared {
    node: Node,
    stack: Stack,
    nics: RefCell<Vec<Nic>>,
    bound: RefCell<Bound>,
    /// The stack is handing frames over.
    receiving: Rc<Cell<bool>>,
}

/// An interface, by the name that Qnet has for it.
struct Nic {
    name: String,
    id: InterfaceId,
    /// Its files, while its driver is mounted.
    files: Option<Vec<MountId>>,
}

/// What Qnet runs on.
#[derive(Default)]
struct Bound {
    options: QnetOptions,
    /// What the stack hands over to us.
    registered: Option<Registered>,
    ethernet: Vec<Rc<EthernetPort>>,
    ip: Option<Rc<IpPort>>,
}

#[derive(Clone, Copy)]
enum Registered {
    EtherType,
    Protocol,
}

impl Binding {
    /// Takes the interfaces that the stack has: their files appear. Qnet is not mounted yet.
    pub fn new(node: &Node, stack: &Stack) -> Binding {
        let binding = Binding(Rc::new(Shared {
            node: node.clone(),
            stack: stack.clone(),
            nics: RefCell::default(),
            bound: RefCell::default(),
            receiving: Rc::default(),
        }));
        // Nothing that happens from here on is missed.
        let events = stack.events();
        binding.refresh();
        node.handle().spawn("qnet-nics", binding.clone().watch(events));
        binding
    }

    /// Follows the interfaces.
    async fn watch(self, mut events: Events) {
        loop {
            events.next().await;
            while events.try_next().is_some() {}
            self.refresh();
        }
    }

    /// Takes in how interfaces are now: new ones get files and links, what is gone loses them.
    fn refresh(&self) {
        let interfaces = self.0.stack.interfaces();
        let gone: Vec<String> = {
            let nics = self.0.nics.borrow();
            let is_there = |nic: &&Nic| interfaces.iter().any(|status| status.id == nic.id);
            nics.iter().filter(|nic| !is_there(nic)).map(|nic| nic.name.clone()).collect()
        };
        for name in gone {
            self.take_interface(&name);
            self.0.nics.borrow_mut().retain(|nic| nic.name != name);
        }
        for status in &interfaces {
            if !self.0.nics.borrow().iter().any(|nic| nic.id == status.id) {
                let name = qnet_name(&status.name);
                self.0.nics.borrow_mut().push(Nic { name: name.clone(), id: status.id, files: None });
                self.bring_interface(&name);
            }
        }
        let (ethernet, ip) = {
            let bound = self.0.bound.borrow();
            (bound.ethernet.clone(), bound.ip.clone())
        };
        for port in ethernet {
            if let Some(status) = interfaces.iter().find(|status| status.id == port.id()) {
                port.update(status);
            }
        }
        if let Some(ip) = ip {
            ip.update(&interfaces);
        }
        self.0.node.links_changed();
    }

    /// Mounts an interface's files, and uses it for Qnet if that is to be.
    fn bring_interface(&self, name: &str) {
        let Some(id) = self.id_of(name) else { return };
        let entered = self.enter_files(name, id);
        if let Some(nic) = self.0.nics.borrow_mut().iter_mut().find(|nic| nic.name == name) {
            nic.files = Some(entered);
        }
        if self.0.node.is_mounted() {
            self.bind_interface(name);
        }
    }

    fn enter_files(&self, name: &str, id: InterfaceId) -> Vec<MountId> {
        let prefixes = [format!("/proc/nicinfo/{name}"), format!("/dev/io-net/{name}")];
        let entered = prefixes.iter().filter_map(|prefix| {
            let (stack, name) = (self.0.stack.clone(), String::from(name));
            let file = TextFile::new(move || nic::text(&stack, &name, id));
            let entered = self.0.node.namespace().mount(prefix, Rc::new(file), Order::After);
            if let Err(errno) = entered {
                log::error!(target: "qnet", "{prefix} is missing: {errno}; remove other names");
            }
            entered.ok()
        });
        entered.collect()
    }

    /// Takes an interface's files away and its link out of every connection. False when it was not there.
    fn take_interface(&self, name: &str) -> bool {
        let files = {
            let mut nics = self.0.nics.borrow_mut();
            nics.iter_mut().find(|nic| nic.name == name).and_then(|nic| nic.files.take())
        };
        let Some(files) = files else { return false };
        for file in files {
            let _ = self.0.node.namespace().unmount(file);
        }
        let port = {
            let mut bound = self.0.bound.borrow_mut();
            let place = bound.ethernet.iter().position(|port| port.name() == name);
            place.map(|place| bound.ethernet.remove(place))
        };
        if let Some(link) = port.and_then(|port| port.link()) {
            self.0.node.remove_link(link);
        }
        true
    }

    fn id_of(&self, name: &str) -> Option<InterfaceId> {
        self.0.nics.borrow().iter().find(|nic| nic.name == name).map(|nic| nic.id)
    }

    fn status(&self, id: InterfaceId) -> Option<InterfaceStatus> {
        self.0.stack.interfaces().into_iter().find(|status| status.id == id)
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Interfaces whose drivers are mounted.
    pub fn interfaces(&self) -> Vec<String> {
        let nics = self.0.nics.borrow();
        nics.iter().filter(|nic| nic.files.is_some()).map(|nic| nic.name.clone()).collect()
    }

    /// What `nicinfo` prints: of one interface, or of all. `None` when there is no such interface.
    pub fn nicinfo(&self, name: Option<&str>) -> Option<String> {
        let names = self.interfaces();
        let wanted: Vec<&String> =
            names.iter().filter(|known| name.is_none_or(|name| name == **known)).collect();
        if wanted.is_empty() && name.is_some() {
            return None;
        }
        let text = |name: &&String| self.id_of(name).map(|id| nic::text(&self.0.stack, name, id));
        Some(wanted.iter().filter_map(text).collect::<Vec<_>>().join("\n"))
    }
}

/// Qnet on its links.
impl Binding {
    /// Starts Qnet with options as `lsm-qnet.so` has them. `EBUSY` when it runs, `EINVAL` for options that make no sense;
    /// the log says what would.
    pub fn mount(&self, text: &str) -> Result<(), Errno> {
        let node = &self.0.node;
        if node.is_mounted() {
            return Err(Errno::EBUSY);
        }
        let options = QnetOptions::parse(text).map_err(|error| {
            log::error!(target: "qnet", "not mounted: {error}");
            error.errno()
        })?;
        for ignored in &options.ignored {
            log::warn!(target: "qnet", "option {ignored} is unknown or has no effect here; ignored");
        }
        node.configure(|config| options.apply(config));
        let resolver: Option<Rc<dyn Resolver>> = match &options.resolve {
            Resolve::Lan => None,
            Resolve::Dns => Some(resolver::dns(node, &self.0.stack)),
            Resolve::File(path) => Some(resolver::file(node, path)),
        };
        node.set_resolver(resolver);
        let bind = options.bind.clone();
        *self.0.bound.borrow_mut() = Bound { options, ..Bound::default() };
        match bind {
            Bind::Ip => self.bind_ip(),
            Bind::Ethernet(wanted) => self.bind_ethernet(&wanted),
        }
        .and_then(|()| node.mount())
        .inspect_err(|_| self.unbind())
    }

    fn bind_ethernet(&self, wanted: &[String]) -> Result<(), Errno> {
        let there = self.interfaces();
        for name in wanted.iter().filter(|name| !there.contains(name)) {
            let have = if there.is_empty() { String::from("no interface") } else { there.join(", ") };
            log::warn!(target: "qnet", "bind={name}: no such interface; there is {have}");
        }
        let binding = self.clone();
        let handler = move |frame: &keelson_net::EtherFrame<'_>| {
            let link =
                binding.0.bound.borrow().ethernet.iter().find_map(|port| port.link_of(frame.interface));
            let Some(link) = link else { return };
            let Some(lwl4) = ethernet::behind_padding(frame.payload) else {
                return binding.0.node.refused_frame();
            };
            let from = LinkAddress::Mac(frame.from.0);
            binding.receive(link, from, frame.to.is_multicast(), lwl4);
        };
        self.0.stack.register_ethertype(ETHERTYPE, alloc::boxed::Box::new(handler)).map_err(|error| {
            log::error!(target: "qnet", "EtherType {ETHERTYPE:#06x}: {error}; end whoever has it");
            Errno::EBUSY
        })?;
        self.0.bound.borrow_mut().registered = Some(Registered::EtherType);
        for name in &there {
            self.bind_interface(name);
        }
        Ok(())
    }

    /// Makes an interface a link, if the options want it.
    fn bind_interface(&self, name: &str) {
        let max_frames = {
            let bound = self.0.bound.borrow();
            let is_wanted = match &bound.options.bind {
                Bind::Ip => false,
                Bind::Ethernet(wanted) => wanted.is_empty() || wanted.iter().any(|wanted| wanted == name),
            };
            if !is_wanted || bound.ethernet.iter().any(|port| port.name() == name) {
                return;
            }
            bound.options.max_tx_bufs
        };
        let Some(status) = self.id_of(name).and_then(|id| self.status(id)) else { return };
        let receiving = self.0.receiving.clone();
        let port = Rc::new(EthernetPort::new(name, &self.0.stack, &status, (max_frames, receiving)));
        match self.0.node.add_link(port.clone()) {
            Ok(link) => {
                port.set_link(link);
                self.0.bound.borrow_mut().ethernet.push(port);
            }
            Err(errno) => {
                log::error!(target: "qnet", "{name} is not used: {errno}; there may be eight links")
            }
        }
    }

    fn bind_ip(&self) -> Result<(), Errno> {
        let max_frames = self.0.bound.borrow().options.max_tx_bufs;
        let port = Rc::new(IpPort::new(&self.0.stack, (max_frames, self.0.receiving.clone())));
        port.update(&self.0.stack.interfaces());
        let (binding, ip) = (self.clone(), port.clone());
        let handler = move |packet: &keelson_net::IpPacket<'_>| {
            let Some(lwl4) = ip.unpad(packet.from, packet.payload) else {
                return binding.0.node.refused_frame();
            };
            if let Some(link) = ip.link() {
                binding.receive(link, LinkAddress::Ipv4(packet.from), false, lwl4);
            }
        };
        self.0.stack.register_protocol(PROTOCOL, alloc::boxed::Box::new(handler)).map_err(|error| {
            log::error!(target: "qnet", "IP protocol {PROTOCOL}: {error}; end whoever has it");
            Errno::EBUSY
        })?;
        self.0.bound.borrow_mut().registered = Some(Registered::Protocol);
        port.set_link(self.0.node.add_link(port.clone())?);
        self.0.bound.borrow_mut().ip = Some(port);
        Ok(())
    }

    /// Hands a frame over. The stack is busy meanwhile.
    fn receive(&self, link: LinkId, from: LinkAddress, was_broadcast: bool, lwl4: &[u8]) {
        self.0.receiving.set(true);
        self.0.node.input(link, from, was_broadcast, lwl4);
        self.0.receiving.set(false);
    }

    /// Ends Qnet; peers are told. `ENOENT` when it does not run.
    pub async fn umount(&self) -> Result<(), Errno> {
        self.0.node.umount().await?;
        self.unbind();
        Ok(())
    }

    /// Nothing is received or sent any more.
    fn unbind(&self) {
        let bound = self.0.bound.take();
        match bound.registered {
            Some(Registered::EtherType) => self.0.stack.unregister_ethertype(ETHERTYPE),
            Some(Registered::Protocol) => self.0.stack.unregister_protocol(PROTOCOL),
            None => {}
        }
        let links = bound.ethernet.iter().filter_map(|port| port.link());
        for link in links.chain(bound.ip.iter().filter_map(|port| port.link())) {
            self.0.node.remove_link(link);
        }
        self.0.node.set_resolver(None);
    }
}

/// What Qnet calls an interface of the stack: `en0` is `eth0`.
fn qnet_name(name: &str) -> String {
    match name.strip_prefix("eth") {
        Some(number) => format!("en{number}"),
        None => name.into(),
    }
}
