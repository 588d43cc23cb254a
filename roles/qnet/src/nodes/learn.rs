//! Node entries from what nodes say of themselves, and what other modules ask of them (sections 9.3, 9.4 and 15).

use super::entry::{Entry, NodeState, Shown};
use super::identity::Identity;
use super::lookup::Waiter;
use super::request::RequestId;
use crate::l4::{Arrival, Transport};
use crate::sessions::{NodeNr, Qos};
use keelson_hal::Instant;
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Errno, Nd};

/// Under which address a node is known after it was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Learnt {
    /// The one it was heard from.
    Address,
    /// Another one, which has a connection: this is another node of the same name, or another adapter.
    Other,
}

impl Transport {
    /// A node said its name. `None` when there is no room for its entry.
    pub(crate) fn learn(&mut self, name: &str, domain: &str, arrival: Arrival) -> Option<(u16, Learnt)> {
        let nr = self.nodes.find_or_add(name, domain)?;
        if !self.nodes.list(nr) {
            return None;
        }
        let live_for = self.options.ticks(self.options.conn_up_idle);
        let now = self.now;
        let entry = self.nodes.get_mut(nr)?;
        let (link, from) = (arrival.link, arrival.from);
        let is_live = entry.state == NodeState::Up && now - entry.last_heard < live_for;
        let is_other = entry.other == Some((link, from));
        let mut is_new = false;
        match entry.address(link) {
            Some(known) if known == from => {}
            None => {
                entry.set_address(link, from);
                is_new = true;
            }
            // An adapter that has proved to be of the same node.
            Some(_) if is_live && is_other && !entry.dup => {}
            Some(_) if is_live => {
                entry.other = Some((link, from));
                entry.dup = true;
                return Some((nr, Learnt::Other));
            }
            Some(known) => {
                entry.dup |= is_other;
                entry.other = Some((link, known));
                entry.set_address(link, from);
                is_new = true;
                self.counters.nd_changed += 1;
            }
        }
        entry.last_heard = now;
        if entry.state == NodeState::Failed {
            entry.state = NodeState::Learned;
        }
        // An address on one more link may carry the connections that there are.
        for index in 0..if is_new { entry.tx.len() } else { 0 } {
            if let Some(id) = self.nodes.get(nr).and_then(|entry| entry.tx.get(index)).copied() {
                self.probe_soon(id);
            }
        }
        self.lookup_done(nr);
        Some((nr, Learnt::Address))
    }

    /// Begins to find the node that a path names. The answer is its descriptor.
    pub fn look_up(&mut self, now: Instant, path: &NodePath) -> Result<RequestId, Errno> {
        self.now = now;
        let request = self.requests.open()?;
        if self.identity.matches(path.name, path.domain) {
            self.requests.complete(request, Ok(Nd::LOCAL.0));
            return Ok(request);
        }
        let choice = path.choice.map(|choice| (choice.policy, choice.interface.into()));
        self.find_node(path.name, path.domain, Waiter::Request { request, choice });
        Ok(request)
    }

    /// Begins to see whether a node is there (section 15, `stat`). Fails with EHOSTDOWN, and the node leaves `/net`.
    pub fn verify(&mut self, now: Instant, node: NodeNr) -> Result<RequestId, Errno> {
        self.now = now;
        let request = self.requests.open()?;
        if node.0 == 0 {
            self.requests.complete(request, Ok(0));
            return Ok(request);
        }
        self.requests.signs.push((node, request));
        let first = self.nodes.get(node.0).and_then(|entry| entry.tx.first()).copied();
        match first.and_then(|id| self.tx.get(id)).map(|tx| tx.remote != 0) {
            Some(true) => self.send_ping(node),
            // It is being opened.
            Some(false) => {}
            None => {
                if let Err(errno) = self.open(node, Qos { policy: self.options.policy, index: 0 }) {
                    self.requests.complete(request, Err(errno));
                }
            }
        }
        Ok(request)
    }

    /// A node gave a sign of life, or proved to be down.
    pub(crate) fn verified(&mut self, node: NodeNr, result: Result<(), Errno>) {
        while let Some(place) = self.requests.signs.iter().position(|(known, _)| *known == node) {
            let (_, request) = self.requests.signs.swap_remove(place);
            self.requests.complete(request, result.map(|()| node.0.into()));
        }
    }

    /// Takes the answer to a request if it is there.
    pub fn poll_request(
        &mut self,
        request: RequestId,
        waker: Option<&core::task::Waker>,
    ) -> Option<Result<u32, Errno>> {
        self.requests.poll(request, waker)
    }

    /// Nobody waits for a request any more.
    pub fn close_request(&mut self, request: RequestId) {
        self.requests.close(request);
    }

    pub(crate) fn fail_requests(&mut self, errno: Errno) {
        self.requests.fail_all(errno);
    }

    /// Takes a node out of `/net` (`rmdir`). Its connections stay, and bring it back when it is heard.
    /// ENOENT when it is not there.
    pub fn forget(&mut self, node: NodeNr) -> Result<(), Errno> {
        self.nodes.get(node.0).filter(|entry| entry.listed).ok_or(Errno::ENOENT)?;
        self.nodes.unlist(node.0);
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.hold_until = Instant::ZERO;
            if entry.state == NodeState::Failed {
                entry.state = NodeState::Learned;
            }
        }
        Ok(())
    }

    /// Changes this node's name, and says so (section 9.2).
    pub fn set_identity(&mut self, now: Instant, identity: Identity) {
        self.now = now;
        let adapter = self.links.iter().next().map(|link| link.port.address());
        self.identity = identity;
        if let Some(address) = adapter {
            self.identity.adapter(address);
        }
        self.announce();
    }

    /// This node's name and domain.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The nodes in `/net`, without this one, by number.
    pub fn nodes(&self) -> impl Iterator<Item = &Entry> {
        self.nodes.listed()
    }

    /// What is known of a node, in `/net` or not.
    pub fn node(&self, node: NodeNr) -> Option<&Entry> {
        self.nodes.get(node.0)
    }

    /// A node that is known by a name, as `/net` or a path has it.
    pub fn node_named(&self, name: &str, domain: &str) -> Option<NodeNr> {
        if self.identity.matches(name, domain) {
            return Some(NodeNr(0));
        }
        let domain = if domain.is_empty() { self.identity.domain() } else { domain };
        let nr = self.nodes.find(name, domain)?;
        self.nodes.get(nr).filter(|entry| entry.listed).map(|entry| NodeNr(entry.nr))
    }

    /// The name by which `/net` shows a node; 0 is this one.
    pub fn shown(&self, node: NodeNr) -> Option<Shown<'_>> {
        match node.0 {
            0 => Some(Shown { name: self.identity.name(), domain: "" }),
            nr => self.nodes.get(nr).map(|entry| entry.shown(self.identity.domain())),
        }
    }

    /// Node and QoS of a descriptor. `None` when it names none.
    pub fn reach(&self, nd: Nd) -> Option<(NodeNr, Qos)> {
        self.nodes.get(nd.node())?;
        Some((NodeNr(nd.node()), self.qos.qos(nd, self.options.policy)?))
    }

    /// The QoS choices that descriptors name.
    pub fn qos_choices(&self) -> &super::QosTable {
        &self.qos
    }
}
