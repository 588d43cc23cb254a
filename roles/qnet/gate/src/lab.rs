//! Some nodes on one wire or two: what scenarios and the simulation are set in.

use crate::defects::Defect;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::wire::{Faults, Wire};
use keelson_ext4_gate::random::Random;
use keelson_net_sim::World;
use keelson_qnet::l4::Options;
use std::rc::Rc;
use std::time::Duration;

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where chances come from.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Wires; each node has a NIC on each.
    pub wires: usize,
    /// What wires do.
    pub faults: Faults,
    /// Choices of all transports.
    pub options: Options,
    /// What is wrong with all nodes.
    pub defect: Option<Defect>,
    /// Its history is told.
    pub verbose: bool,
}

impl Setting {
    /// Nodes on one wire without faults.
    pub fn new(seed: u64, nodes: usize) -> Setting {
        Setting {
            seed,
            nodes,
            wires: 1,
            faults: Faults::default(),
            options: Options::default(),
            defect: None,
            verbose: false,
        }
    }
}

/// The lab.
pub struct Lab {
    /// Time, and everything that lives by it.
    pub world: World,
    /// Wires.
    pub wires: Vec<Rc<Wire>>,
    /// Nodes, with power.
    pub machines: Vec<Rc<Machine>>,
    /// The observer.
    pub ledger: Rc<Ledger>,
}

impl Lab {
    /// Sets it up; all nodes come up at once.
    pub fn new(setting: &Setting) -> Lab {
        let world = World::new(setting.seed);
        let ledger = Rc::new(Ledger::new(world.handle(), setting.verbose));
        let mut random = Random::new(setting.seed ^ 0x716e_6574);
        let wires: Vec<Rc<Wire>> = (0..setting.wires)
            .map(|_| Wire::new(&world.handle(), &ledger, random.number(), setting.faults))
            .collect();
        let machines = (0..setting.nodes)
            .map(|number| {
                let (options, seed) = (setting.options.clone(), random.number());
                Machine::new(&world, &wires, number, &ledger, options, seed, setting.defect)
            })
            .collect();
        let lab = Lab { world, wires, machines, ledger };
        lab.machines.iter().for_each(|machine| machine.power_on());
        lab
    }

    /// A node.
    pub fn machine(&self, number: usize) -> &Rc<Machine> {
        &self.machines[number]
    }

    /// Lets everything happen, for so long.
    pub fn pass(&self, span: Duration) {
        self.world.run_for(span);
    }

    /// Runs something to its end, which must come within `limit`.
    pub fn run<T: 'static>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let timeout = self.world.handle().timeout(limit, future);
        self.world.run(timeout).map_err(|_| format!("not done within {limit:?}"))
    }

    /// Everybody has closed everything: after the time in which idle connections are closed, nothing must be left.
    pub fn baseline(&self) -> Result<(), String> {
        // An idle connection is closed after a minute; that its other end knows takes a moment, or, when the farewell is
        // lost, the silence of three heartbeats.
        let quiet = || self.machines.iter().all(|machine| machine.left().is_empty());
        self.world.run_until(Duration::from_secs(180), quiet);
        let left: Vec<String> = self.machines.iter().flat_map(|machine| machine.left()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left in the end: {}", left.join(", "))) }
    }
}
