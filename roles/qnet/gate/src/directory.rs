//! What `/net` and `/dev/netmgr` of a simulated node are told of the others: all of it from its transport.

use keelson_qnet::io::{Io, NodeDirectory, NodeEntry, NodeName};
use keelson_qnet::sessions::{Network, NodeNr};
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Errno, Nd};
use std::rc::Rc;

/// The nodes that a network knows.
pub struct Directory(pub Rc<Network>);

impl NodeDirectory for Directory {
    fn own_name(&self) -> NodeName {
        self.0.look(|transport| {
            let own = transport.identity();
            NodeName { host: own.name().into(), domain: own.domain().into(), qos: String::new() }
        })
    }

    fn list(&self) -> Vec<NodeEntry> {
        self.0.look(|transport| {
            let own = transport.identity().domain();
            let entry = |entry: &keelson_qnet::nodes::Entry| NodeEntry {
                name: entry.shown(own).to_string(),
                nd: Nd::new(entry.nr, 0),
            };
            transport.nodes().map(entry).collect()
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            let path = NodePath::parse(name).map_err(|_| Errno::ENOENT)?;
            self.0.look_up(&path).await
        })
    }

    fn verify<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            let nd = self.resolve(name).await?;
            self.0.verify(NodeNr(nd.node())).await?;
            Ok(nd)
        })
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        let path = NodePath::parse(name).map_err(|_| Errno::ENOENT)?;
        self.0.with(|transport, _| match transport.node_named(path.name, path.domain) {
            Some(NodeNr(0)) => Err(Errno::EBUSY),
            Some(node) => transport.forget(node),
            None => Err(Errno::ENOENT),
        })
    }

    fn remote_nd(&self, remote: Nd, local: Nd) -> Io<'_, Nd> {
        Box::pin(async move {
            let name = self.name_of(local).ok_or(Errno::ENOENT)?;
            let dot = if name.domain.is_empty() { "" } else { "." };
            let full = format!("{}{dot}{}", name.host, name.domain);
            self.0.ask_remote_nd(NodeNr(remote.node()), &full).await
        })
    }

    fn name_of(&self, nd: Nd) -> Option<NodeName> {
        if nd.node() == 0 {
            return Some(self.own_name());
        }
        self.0.look(|transport| {
            let entry = transport.node(NodeNr(nd.node()))?;
            Some(NodeName {
                host: entry.name.to_string(),
                domain: entry.domain.to_string(),
                qos: String::new(),
            })
        })
    }

    fn flush(&self) {
        self.0.with(|transport, now| transport.flush_qos(now));
    }
}
