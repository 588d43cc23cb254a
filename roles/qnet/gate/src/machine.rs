//! A node: what survives its power, and the whole role that runs on it.

use crate::defects::{Defect, Faulty};
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::service::{Executed, serve};
use crate::wire::{Port, Station, Wire};
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, select};
use keelson_ext4_gate::random::Random;
use keelson_hal::{Entropy, Instant};
use keelson_net_sim::World;
use keelson_qnet::api::{Credentials, Kernel, NameScope};
use keelson_qnet::client::Files;
use keelson_qnet::io::{Console, Dispatcher, NetDirectory, NodeDirectory, Order, Terminal, VolumeFiles};
use keelson_qnet::l4::{Options, Transport};
use keelson_qnet::link::{LinkAddress, LinkId, LinkPort};
use keelson_qnet::node::{Node, NodeConfig};
use keelson_qnet::nodes::Identity;
use keelson_qnet::sessions::Network;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Names of nodes, by number.
pub const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
/// The domain of all.
pub const DOMAIN: &str = "lab.test";
/// Name of the counting service.
pub const SERVICE: &str = "count";

/// A seed's numbers as a node has them.
pub struct Dice(RefCell<Random>);

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        let random = self.0.borrow_mut().bytes(bytes.len());
        bytes.copy_from_slice(&random);
    }
}

/// The node.
pub struct Machine {
    /// Its number, from 0.
    pub number: usize,
    /// Its name.
    pub name: &'static str,
    /// Its place on each wire.
    pub stations: Vec<(Rc<Wire>, Rc<Station>)>,
    /// What its counting service executed.
    pub executed: Rc<Executed>,
    /// Its files, which survive its power.
    pub volume: Rc<MemoryVolume>,
    power: Rc<keelson_net_sim::Node>,
    ledger: Rc<Ledger>,
    options: Options,
    dice: Rc<Dice>,
    defect: Option<Defect>,
    running: RefCell<Option<Running>>,
    boots: Cell<u32>,
}

/// What there is of it while it has power.
#[derive(Clone)]
pub struct Running {
    /// Where its tasks run.
    pub handle: Handle,
    /// Message passing.
    pub kernel: Kernel,
    /// Sessions with others.
    pub network: Rc<Network>,
    /// `/net`.
    pub directory: Rc<dyn NodeDirectory>,
    /// Its resource managers.
    pub dispatcher: Rc<Dispatcher>,
    /// All of it.
    pub node: Node,
    /// `/dev/con`.
    pub terminal: Rc<Typewriter>,
    faulty: Option<Rc<Faulty>>,
    ports: Vec<Rc<Port>>,
}

/// What there is of Qnet.
struct Mounted {
    network: Option<Rc<Network>>,
    directory: Option<Rc<dyn NodeDirectory>>,
    faulty: Option<Rc<Faulty>>,
}

impl Machine {
    /// A machine without power, with a place on each wire.
    pub fn new(
        world: &World,
        wires: &[Rc<Wire>],
        number: usize,
        ledger: &Rc<Ledger>,
        options: Options,
        seed: u64,
        defect: Option<Defect>,
    ) -> Rc<Machine> {
        let place = |(link, wire): (usize, &Rc<Wire>)| {
            let address = LinkAddress::Mac([2, 0, 0, 0, link as u8, number as u8 + 1]);
            (wire.clone(), wire.station(address))
        };
        let clock = world.clock();
        let options_of_volume = MemoryOptions { capacity: 256 << 20, ..MemoryOptions::default() };
        Rc::new(Machine {
            number,
            name: NAMES[number],
            stations: wires.iter().enumerate().map(place).collect(),
            executed: Rc::new(Executed::new(ledger, number)),
            volume: Rc::new(MemoryVolume::new(clock, options_of_volume)),
            power: world.node(),
            ledger: ledger.clone(),
            options,
            dice: Rc::new(Dice(RefCell::new(Random::new(seed)))),
            defect,
            running: RefCell::default(),
            boots: Cell::new(0),
        })
    }

    /// How often it came up.
    pub fn boots(&self) -> u32 {
        self.boots.get()
    }

    /// What runs on it, while it has power.
    pub fn running(&self) -> Option<Running> {
        self.running.borrow().clone()
    }

    /// What runs on it.
    ///
    /// # Panics
    ///
    /// Without power.
    pub fn now(&self) -> Running {
        self.running().unwrap_or_else(|| panic!("{} has no power", self.name))
    }

    /// Bytes of messages that were never given back.
    pub fn kept(&self) -> usize {
        self.running().and_then(|running| running.faulty).map_or(0, |faulty| faulty.kept())
    }

    /// Starts everything.
    pub fn power_on(&self) {
        self.boots.set(self.boots.get() + 1);
        self.ledger.note(|| format!("{} comes up", self.name));
        let (handle, _) = self.power.boot();
        let config = NodeConfig {
            host: self.name.into(),
            domain: DOMAIN.into(),
            transport: self.options.clone(),
            ..NodeConfig::default()
        };
        let node = Node::new(&handle, handle.clock(), self.dice.clone(), config);
        let (kernel, dispatcher) = (node.kernel().clone(), node.dispatcher().clone());
        let ports: Vec<Rc<Port>> = (self.stations.iter().enumerate())
            .map(|(link, (wire, station))| {
                Port::new(&format!("en{link}"), wire, station, 64, Defect::bell(self.defect))
            })
            .collect();
        let terminal = Rc::new(Typewriter::default());
        let mount =
            |prefix, manager| node.namespace().mount(prefix, manager, Order::After).expect("a free prefix");
        mount("/", Rc::new(VolumeFiles::new(self.volume.clone())));
        mount("/dev/con", Rc::new(Console::new(terminal.clone(), 0o666)));
        let mounted = match self.defect {
            None => {
                node.mount().expect("mounted once");
                Mounted { network: node.network(), directory: node.directory(), faulty: None }
            }
            Some(defect) => self.mount_with(&node, defect),
        };
        let Mounted { network: Some(network), directory: Some(directory), faulty } = mounted else {
            panic!("{} is not mounted", self.name);
        };
        let who = Credentials::default();
        let pid = kernel.create_process(&who).expect("a process");
        let name = kernel.name_attach(pid, SERVICE, NameScope::Local).expect("a name");
        handle.spawn("count", serve(handle.clone(), name, self.executed.clone()));
        let running =
            Running { handle, kernel, network, directory, dispatcher, node, terminal, faulty, ports };
        *self.running.borrow_mut() = Some(running);
        for link in 0..self.stations.len() {
            self.plug(link);
        }
    }

    /// What [`Node::mount`] does, with a defect between its parts.
    fn mount_with(&self, node: &Node, defect: Defect) -> Mounted {
        let handle = node.handle();
        let identity = Identity::new(self.name, DOMAIN).expect("a valid name");
        let transport = Transport::new(self.options.clone(), identity, &*self.dice, None, handle.now());
        let network = Network::new(handle.clock(), transport);
        handle.spawn("qnet", drive(handle.clone(), network.clone(), defect));
        let faulty = Rc::new(Faulty::new(&network, defect));
        node.kernel().mount(faulty.clone()).expect("mounted once");
        let directory: Rc<dyn NodeDirectory> = Rc::new(Directory(network.clone()));
        let net = Rc::new(NetDirectory::new(directory.clone()));
        node.namespace().mount("/net", net, Order::Before).expect("a free prefix");
        Mounted { network: Some(network), directory: Some(directory), faulty: Some(faulty) }
    }

    /// Binds a link, as `mount` of a driver does.
    pub fn plug(&self, link: usize) {
        let Some(Running { network, node, ports, .. }) = self.running() else { return };
        let (_, station) = &self.stations[link];
        if station.has_power() {
            return;
        }
        let port: Rc<dyn LinkPort> = ports[link].clone();
        if self.defect.is_some() {
            let id = LinkId(link as u8);
            assert!(network.with(|transport, now| transport.add_link(now, id, port)), "a free link");
            return station.power(Some(Rc::new(move |from, broadcast, frame: &[u8]| {
                network.input(id, from, broadcast, frame);
                network.wanted().notify();
            })));
        }
        // What it announces at once is heard.
        let (id, input) = (Rc::new(Cell::new(LinkId(u8::MAX))), node.clone());
        let of = id.clone();
        station.power(Some(Rc::new(move |from, broadcast, frame: &[u8]| {
            input.input(of.get(), from, broadcast, frame)
        })));
        id.set(node.add_link(port).expect("a free link"));
    }

    /// Takes a link away, as `umount` of an interface does.
    pub fn unplug(&self, link: usize) {
        let Some(Running { network, node, ports, .. }) = self.running() else { return };
        self.stations[link].1.power(None);
        if self.defect.is_some() {
            return network.with(|transport, now| transport.remove_link(now, LinkId(link as u8)));
        }
        let found = node.links().into_iter().find(|(_, port)| port.name() == ports[link].name());
        if let Some((id, _)) = found {
            node.remove_link(id);
        }
    }

    /// Takes the power away: nothing more leaves it, not even a farewell.
    pub fn power_off(&self) {
        let Some(running) = self.running.borrow_mut().take() else { return };
        self.ledger.note(|| format!("{} loses power", self.name));
        for (_, station) in &self.stations {
            station.power(None);
        }
        self.power.kill();
        running.node.stop();
        self.executed.cut();
    }

    /// Files as root of this node sees them.
    pub fn files(&self) -> Files {
        let running = self.now();
        let who = Credentials { pid: 77, ..Credentials::default() };
        Files::new(&running.kernel, &who, Some(running.directory))
    }

    /// What is not as before anybody did anything; empty when all is.
    pub fn left(&self) -> Vec<String> {
        let Some(running) = self.running() else { return vec![format!("{} has no power", self.name)] };
        let kernel = &running.kernel;
        let kif = kernel.counters();
        let occupancy = running.network.look(|transport| transport.occupancy());
        let left = [
            ("connections", kernel.connections()),
            ("server connections", kernel.server_connections()),
            ("transactions", kernel.transactions()),
            ("net_server", kif.net_server.now),
            ("net_client", kif.net_client.now),
            ("waiting", kif.waiting.now),
            ("vtid", kif.vtid.now),
            ("server_msgs", kif.server_transactions.now),
            ("buffer", kif.buffer.now),
            ("outbound_msgs", kif.outbound_msgs.now),
            ("open files", running.dispatcher.open_files()),
            ("connections to peers", occupancy.tx),
            ("connections from peers", occupancy.rx),
            ("outbound messages", occupancy.outbound_messages),
            ("outbound bytes", occupancy.outbound_bytes),
            ("buffers", occupancy.buffers),
            ("common memory", occupancy.common),
            ("lookups", occupancy.lookups),
            ("requests", occupancy.requests),
            ("events", occupancy.events),
            ("connections of the service", self.executed.open()),
            ("blocked requests", self.executed.blocked()),
            ("messages not given back", self.kept()),
        ];
        let is_left =
            |(what, count): &(&str, usize)| (*count > 0).then(|| format!("{}: {count} {what}", self.name));
        left.iter().filter_map(is_left).collect()
    }
}

/// What drives a network with a defect: as the node's own task does.
async fn drive(handle: Handle, network: Rc<Network>, defect: Defect) {
    let wanted = network.wanted();
    loop {
        let notified = wanted.notified();
        let deadline = network.poll().filter(|_| defect != Defect::DeafToTime);
        select(notified, handle.sleep_until(deadline.unwrap_or(Instant::FAR_FUTURE))).await;
    }
}

/// A terminal at which nobody types unless told to.
#[derive(Default)]
pub struct Typewriter {
    typed: RefCell<Vec<u8>>,
    changed: Rc<Notify>,
}

impl Typewriter {
    /// Types.
    pub fn type_in(&self, text: &str) {
        self.typed.borrow_mut().extend(text.bytes());
        self.changed.notify();
    }
}

impl Terminal for Typewriter {
    fn write(&self, text: &[u8]) -> usize {
        text.len()
    }

    fn read(&self, room: &mut [u8]) -> usize {
        let mut typed = self.typed.borrow_mut();
        let len = typed.len().min(room.len());
        room.iter_mut().zip(typed.drain(..len)).for_each(|(to, from)| *to = from);
        len
    }

    fn has_input(&self) -> bool {
        !self.typed.borrow().is_empty()
    }

    fn has_room(&self) -> bool {
        true
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}
