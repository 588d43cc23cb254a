//! What `/net` and `/dev/netmgr` know of the nodes: the network while it is mounted, else this node alone.

use crate::io::{Io, NodeDirectory, NodeEntry, NodeName};
use crate::l4::Transport;
use crate::sessions::{Network, NodeNr, Sessions};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use keelson_qnet_wire::names::{NodePath, PolicyChoice};
use keelson_qnet_wire::{Errno, Nd};

/// What a node without a name and without an adapter is called.
const UNNAMED: &str = "localhost";

/// The nodes that a node knows.
pub(super) struct Directory {
    network: RefCell<Option<Rc<Network>>>,
    own: RefCell<NodeName>,
}

impl Directory {
    /// Of a node without a network.
    pub fn new(host: &str, domain: &str) -> Directory {
        let directory = Directory { network: RefCell::default(), own: RefCell::default() };
        directory.set_own(host, domain);
        directory
    }

    /// What this node is called while there is no network.
    pub fn set_own(&self, host: &str, domain: &str) {
        let host = if host.is_empty() { UNNAMED } else { host };
        *self.own.borrow_mut() = NodeName { host: host.into(), domain: domain.into(), qos: String::new() };
    }

    /// Qnet was mounted.
    pub fn attach(&self, network: Rc<Network>) {
        *self.network.borrow_mut() = Some(network);
    }

    /// Qnet was unmounted.
    pub fn detach(&self) {
        self.network.borrow_mut().take();
    }

    fn network(&self) -> Result<Rc<Network>, Errno> {
        self.network.borrow().clone().ok_or(Errno::ENOREMOTE)
    }

    fn known(network: &Network, path: &NodePath<'_>) -> Option<NodeNr> {
        network.look(|transport| transport.node_named(path.name, path.domain))
    }
}

fn parse(name: &str) -> Result<NodePath<'_>, Errno> {
    NodePath::parse(name).map_err(|_| Errno::ENOENT)
}

fn name_of(transport: &Transport, nd: Nd) -> Option<NodeName> {
    let entry = transport.node(NodeNr(nd.node()))?;
    let qos = match nd.qos_idx() {
        0 => String::new(),
        index => {
            let choice = transport.qos_choices().get(index).filter(|choice| choice.node.0 == nd.node())?;
            PolicyChoice { policy: choice.policy, interface: &choice.interface }.to_string()
        }
    };
    Some(NodeName { host: (*entry.name).into(), domain: (*entry.domain).into(), qos })
}

impl NodeDirectory for Directory {
    fn own_name(&self) -> NodeName {
        let Ok(network) = self.network() else { return self.own.borrow().clone() };
        network.look(|transport| {
            let identity = transport.identity();
            let host = if identity.name().is_empty() { UNNAMED } else { identity.name() };
            NodeName { host: host.into(), domain: identity.domain().into(), qos: String::new() }
        })
    }

    fn list(&self) -> Vec<NodeEntry> {
        let Ok(network) = self.network() else { return Vec::new() };
        network.look(|transport| {
            let own = transport.identity().domain();
            let entry = |node: &crate::nodes::Entry| NodeEntry {
                name: node.shown(own).to_string(),
                nd: Nd::new(node.nr, 0),
            };
            transport.nodes().map(entry).collect()
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move { self.network()?.look_up(&parse(name)?).await })
    }

    fn verify<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            let network = self.network()?;
            let path = parse(name)?;
            // One that is listed is gone when it does not answer; whether its address can be found is no question.
            let nd = match Directory::known(&network, &path) {
                Some(node) if path.choice.is_none() => Nd::new(node.0, 0),
                _ => network.look_up(&path).await?,
            };
            if nd.node() != 0 {
                network.verify(NodeNr(nd.node())).await?;
            }
            Ok(nd)
        })
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        let network = self.network()?;
        match Directory::known(&network, &parse(name)?) {
            None => Err(Errno::ENOENT),
            Some(NodeNr::LOCAL) => Err(Errno::EBUSY),
            Some(node) => network.with(|transport, _| transport.forget(node)),
        }
    }

    fn remote_nd(&self, remote: Nd, local: Nd) -> Io<'_, Nd> {
        Box::pin(async move {
            let network = self.network()?;
            let remote = NodeNr(remote.node());
            if local.node() == 0 {
                // It tells with every frame.
                let told = network.remote_nd_for_us(remote);
                if told != Nd::LOCAL {
                    return Ok(told);
                }
            }
            let name = match local.node() {
                0 => self.own_name(),
                _ => self.name_of(local).ok_or(Errno::ESRCH)?,
            };
            if network.look(|transport| transport.node(remote).is_none()) {
                return Err(Errno::ESRCH);
            }
            let domain = if name.domain.is_empty() { String::new() } else { format!(".{}", name.domain) };
            network.ask_remote_nd(remote, &format!("{}{domain}{}", name.host, name.qos)).await
        })
    }

    fn name_of(&self, nd: Nd) -> Option<NodeName> {
        match nd.node() {
            0 => Some(self.own_name()),
            _ => self.network().ok()?.look(|transport| name_of(transport, nd)),
        }
    }

    fn flush(&self) {
        if let Ok(network) = self.network() {
            network.with(|transport, now| transport.flush_qos(now));
        }
    }
}
