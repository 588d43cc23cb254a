//! Nodes: boxes that can lose power.

use crate::nic::NicModel;
use crate::rng::Rng;
use crate::wire::{PortId, Wire};
use crate::world::Shared;
use keelson_exec::{Executor, Handle};
use keelson_hal::{Link, LinkSpeed};
use keelson_net::{InterfaceConfig, Stack};
use std::cell::RefCell;
use std::rc::Rc;

/// A box with NICs. What runs in it comes and goes with [`Node::boot`] and [`Node::kill`]; the NICs, their
/// MAC addresses and their configuration stay.
pub struct Node {
    world: Rc<Shared>,
    nics: RefCell<Vec<Plugged>>,
    running: RefCell<Option<Rc<Executor>>>,
}

struct Plugged {
    name: &'static str,
    wire: Rc<Wire>,
    port: PortId,
    config: InterfaceConfig,
}

impl Node {
    pub(crate) fn new(world: Rc<Shared>) -> Node {
        Node { world, nics: RefCell::default(), running: RefCell::default() }
    }

    /// Puts a NIC with one address (`10.0.0.1/24`) on a wire; it is there from the next boot on.
    pub fn plug(&self, name: &'static str, wire: &Rc<Wire>, address: &str, model: NicModel) -> PortId {
        let address = address.parse().unwrap_or_else(|_| panic!("{address} is not <address>/<prefix>"));
        let config = InterfaceConfig { addresses: vec![address], ..InterfaceConfig::default() };
        self.plug_with(name, wire, config, model)
    }

    /// The same with any configuration.
    pub fn plug_with(
        &self,
        name: &'static str,
        wire: &Rc<Wire>,
        config: InterfaceConfig,
        model: NicModel,
    ) -> PortId {
        let port = wire.add_port(model);
        self.nics.borrow_mut().push(Plugged { name, wire: wire.clone(), port, config });
        port
    }

    /// Switches the node on: a fresh executor, a fresh stack with all NICs attached and configured, random
    /// numbers unlike those of the last boot. Tasks spawned on the handle end with the node; what must
    /// outlive it belongs on [`World::handle`](crate::World::handle).
    ///
    /// # Panics
    ///
    /// When it runs already, or the configuration of a NIC is refused.
    pub fn boot(&self) -> (Handle, Stack) {
        assert!(!self.is_running(), "the node runs: kill it first");
        let executor = Rc::new(Executor::new(self.world.clock.clone(), None));
        let handle = executor.handle();
        let stack = Stack::new(handle.clone(), Rc::new(Rng::new(self.world.rng.next())));
        for nic in self.nics.borrow().iter() {
            let (device, interrupt) = nic.wire.device(nic.port);
            let id = stack.attach(nic.name, device, interrupt);
            stack.configure(id, &nic.config).unwrap_or_else(|errors| panic!("{}: {errors:?}", nic.name));
        }
        self.world.add(executor.clone());
        *self.running.borrow_mut() = Some(executor);
        (handle, stack)
    }

    /// Takes the power away: the ports fall silent, then all tasks are dropped where they stand. A stack or
    /// stream that somebody outside still holds reaches nobody any more. Does nothing when it is off.
    pub fn kill(&self) {
        let Some(executor) = self.running.take() else { return };
        for nic in self.nics.borrow().iter() {
            nic.wire.silence(nic.port);
        }
        self.world.remove(&executor);
        executor.abort_all();
    }

    /// True between boot and kill.
    pub fn is_running(&self) -> bool {
        self.running.borrow().is_some()
    }

    /// Takes the carrier of a NIC away or gives it back, at both ends of the cable as it were: the stack
    /// sees its link go, and frames in either direction are lost.
    pub fn set_carrier(&self, name: &str, present: bool) {
        let link = if present { Link::Up(LinkSpeed(1000)) } else { Link::Down };
        self.with(name, |wire, port| wire.set_link(port, link));
    }

    /// Cuts a NIC off, or mends it, while its carrier stays: only the silence tells.
    pub fn set_cut(&self, name: &str, cut: bool) {
        self.with(name, |wire, port| wire.set_cut(port, cut));
    }

    fn with(&self, name: &str, act: impl FnOnce(&Wire, PortId)) {
        let nics = self.nics.borrow();
        let nic = nics.iter().find(|nic| nic.name == name).unwrap_or_else(|| panic!("no NIC {name} here"));
        act(&nic.wire, nic.port);
    }
}
