//! The smallest world: one wire, hosts on it, all on one executor.

use crate::nic::NicModel;
use crate::rng::Rng;
use crate::wire::{Faults, Wire};
use crate::world::World;
use keelson_exec::Handle;
use keelson_exec::sim::SimClock;
use keelson_hal::NetFeatures;
use keelson_net::{InterfaceConfig, InterfaceId, Stack};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A world with one wire. Its hosts share the world's executor and are never killed.
pub struct Lab {
    world: World,
    /// The wire.
    pub wire: Rc<Wire>,
    seed: Cell<u64>,
}

impl Lab {
    /// A wire with these faults, and nobody on it.
    pub fn new(seed: u64, faults: Faults) -> Lab {
        let world = World::new(seed);
        let wire = world.wire(faults);
        Lab { world, wire, seed: Cell::new(seed) }
    }

    /// A stack with one interface at `addr` (`10.0.0.1/24`).
    pub fn host(&self, addr: &str, features: NetFeatures) -> (Stack, InterfaceId) {
        let config = InterfaceConfig { addresses: vec![addr.parse().unwrap()], ..InterfaceConfig::default() };
        self.host_with(&config, features)
    }

    /// The same with any configuration.
    pub fn host_with(&self, config: &InterfaceConfig, features: NetFeatures) -> (Stack, InterfaceId) {
        self.seed.set(self.seed.get() + 1);
        let stack = Stack::new(self.handle(), Rc::new(Rng::new(self.seed.get() << 32)));
        let (device, interrupt) = self.wire.device(self.wire.add_port(NicModel::with(features)));
        let id = stack.attach("eth0", device, interrupt);
        stack.configure(id, config).unwrap();
        (stack, id)
    }

    /// See [`World::handle`].
    pub fn handle(&self) -> Handle {
        self.world.handle()
    }

    /// See [`World::clock`].
    pub fn clock(&self) -> Rc<SimClock> {
        self.world.clock()
    }

    /// See [`World::run`].
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.run(future)
    }

    /// See [`World::run_for`].
    pub fn run_for(&self, span: Duration) {
        self.world.run_for(span);
    }

    /// See [`World::run_until`].
    pub fn run_until(&self, limit: Duration, condition: impl FnMut() -> bool) -> bool {
        self.world.run_until(limit, condition)
    }
}
