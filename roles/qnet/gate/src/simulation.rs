//! One seed: a world from its first boot to the last judgement.

use crate::caller::Caller;
use crate::defects::Defect;
use crate::files::FileProcess;
use crate::lab::{Lab, Setting};
use crate::plan::{Event, Nic, Plan, What};
use keelson_exec::TaskHandle;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::random::Random;
use keelson_qnet::sessions::NodeNr;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Virtual time in which all work is done, whatever happens.
const LONGEST: Duration = Duration::from_secs(3600);

/// A simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Where chances come from.
    pub seed: u64,
    /// Its history is told.
    pub verbose: bool,
    /// What is wrong with the nodes.
    pub defect: Option<Defect>,
}

/// A client, and its task while its node has power.
struct Client {
    home: usize,
    work: Work,
    task: RefCell<Option<TaskHandle>>,
}

enum Work {
    Files(Rc<FileProcess>),
    Calls(Rc<Caller>),
}

struct Site {
    lab: Lab,
    plan: Plan,
    clients: Vec<Rc<Client>>,
}

impl Simulation {
    /// Carries it out; a summary.
    pub fn carry_out(&self) -> Result<String> {
        let site = Site::new(Plan::of(self.seed), self.defect, self.verbose);
        site.run();
        match site.lab.ledger.wrong() {
            Some(said) => {
                site.tell();
                Err(said)
            }
            None => Ok(site.summary()),
        }
    }
}

impl Client {
    fn is_done(&self) -> bool {
        match &self.work {
            Work::Files(process) => process.is_done(),
            Work::Calls(caller) => caller.is_done(),
        }
    }

    fn doing(&self) -> String {
        match &self.work {
            Work::Files(process) => process.doing(),
            Work::Calls(caller) => caller.doing(),
        }
    }

    /// Whether it has done all it was to do, and its task has ended.
    fn has_ended(&self) -> bool {
        self.is_done() && self.task.borrow().as_ref().is_none_or(TaskHandle::is_finished)
    }
}

impl Site {
    fn new(plan: Plan, defect: Option<Defect>, verbose: bool) -> Site {
        let setting = Setting {
            wires: plan.wires,
            options: plan.options.clone(),
            defect,
            verbose,
            ..Setting::new(plan.seed, plan.nodes)
        };
        let lab = Lab::new(&setting);
        lab.ledger.note(|| format!("{plan:#?}"));
        let mut random = Random::new(plan.seed ^ 0x636c_6965);
        let clients = (plan.clients.iter().enumerate())
            .map(|(number, client)| {
                let (target, dice) = (lab.machine(client.target), Random::new(random.number()));
                let (operations, calm, ledger) = (client.operations, plan.calm, &lab.ledger);
                let work = if client.has_files {
                    let name = format!("w{number}");
                    Work::Files(FileProcess::new(name, target, operations, calm, ledger, dice))
                } else {
                    Work::Calls(Caller::new(number as u32 + 1, target, operations, calm, ledger, dice))
                };
                Rc::new(Client { home: client.home, work, task: RefCell::default() })
            })
            .collect();
        Site { lab, plan, clients }
    }

    fn run(&self) {
        // The nodes hear of each other before wires turn bad.
        self.lab.pass(Duration::from_millis(50));
        for (wire, faults) in self.lab.wires.iter().zip(&self.plan.faults) {
            wire.set_faults(*faults);
        }
        self.clients.iter().for_each(|client| self.start(client));
        for event in self.plan.events.clone() {
            self.until("so many operations", || self.lab.ledger.done() >= event.after || self.is_done());
            self.lab.pass(event.delay);
            if self.lab.ledger.has_failed() {
                return;
            }
            self.happen(event);
        }
        self.until("all clients to end", || self.is_done());
        if !self.lab.ledger.has_failed() {
            self.end();
        }
    }

    fn start(&self, client: &Rc<Client>) {
        start(&self.lab, client);
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.has_ended())
            && self.lab.machines.iter().all(|machine| machine.running().is_some())
    }

    /// Runs the world until then. That it does not come to that is an error.
    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let ledger = &self.lab.ledger;
        let left = LONGEST.saturating_sub(ledger.age());
        let came = self.lab.world.run_until(left, || ledger.has_failed() || condition());
        if !came && !ledger.has_failed() {
            let busy: Vec<String> = self
                .clients
                .iter()
                .filter(|client| !client.has_ended())
                .map(|client| client.doing())
                .collect();
            ledger.fail(format!("waited in vain for {what}: {}", busy.join("; ")));
        }
    }

    fn happen(&self, event: Event) {
        self.lab.ledger.note(|| format!("{:?}", event.what));
        let world = &self.lab.world;
        let machine = |node: usize| self.lab.machine(node).clone();
        match event.what {
            What::Power(node, down) => {
                let machine = machine(node);
                if machine.running().is_none() {
                    return;
                }
                machine.power_off();
                let clients: Vec<_> =
                    self.clients.iter().filter(|client| client.home == node).cloned().collect();
                for client in &clients {
                    client.task.borrow_mut().take();
                }
                world.after(down, move || {
                    machine.power_on();
                    for client in &clients {
                        start_on(&machine, client);
                    }
                });
            }
            What::Cut(Nic { node, wire }, span) => {
                let station = machine(node).stations[wire].1.clone();
                station.set_cut(true);
                world.after(span, move || station.set_cut(false));
            }
            What::Carrier(Nic { node, wire }, span) => {
                let station = machine(node).stations[wire].1.clone();
                station.set_carrier(false);
                world.after(span, move || station.set_carrier(true));
            }
            What::Unmounted(Nic { node, wire }, span) => {
                let machine = machine(node);
                machine.unplug(wire);
                let boots = machine.boots();
                world.after(span, move || {
                    if machine.boots() == boots {
                        machine.plug(wire);
                    }
                });
            }
            What::Killed(client) => {
                let client = &self.clients[client];
                let task = client.task.borrow_mut().take();
                let Some(task) = task.filter(|_| self.lab.machine(client.home).running().is_some()) else {
                    return;
                };
                task.abort();
                self.start(client);
            }
            What::Flush(node) => {
                if let Some(running) = machine(node).running() {
                    running.network.with(|transport, now| transport.flush_qos(now));
                }
            }
            What::Forget(node) => {
                let Some(running) = machine(node).running() else { return };
                let all: Vec<u16> =
                    running.network.look(|transport| transport.nodes().map(|entry| entry.nr).collect());
                for nr in all {
                    let _ = running.network.with(|transport, _| transport.forget(NodeNr(nr)));
                }
            }
            What::Verify(node) => {
                let Some(running) = machine(node).running() else { return };
                let all: Vec<u16> =
                    running.network.look(|transport| transport.nodes().map(|entry| entry.nr).collect());
                for nr in all {
                    let network = running.network.clone();
                    running.handle.spawn("ls", async move {
                        let _ = network.verify(NodeNr(nr)).await;
                    });
                }
            }
            What::Wire(wire, faults) => self.lab.wires[wire].set_faults(faults),
        }
    }

    /// The last judgement.
    fn end(&self) {
        let ledger = &self.lab.ledger;
        if let Err(said) = self.lab.baseline() {
            return ledger.fail(said);
        }
        for client in &self.clients {
            if let Work::Files(process) = &client.work {
                let process = process.clone();
                self.lab.world.run(async move { process.judge().await });
            }
        }
        let damaged = self.lab.wires.iter().any(|wire| wire.damaged() > 0);
        for machine in &self.lab.machines {
            let running = machine.now();
            let counters = running.network.look(|transport| transport.counters());
            let kif = running.kernel.counters();
            let wrong = [
                ("rxd bad L4", counters.rxd_bad_l4),
                ("rxd bad lr", counters.rxd_bad_lr),
                ("rxd bad nr", counters.rxd_bad_nr),
                ("rx_too_big", counters.rx_too_big),
                ("kif malformed", kif.malformed),
                ("kif truncated", kif.truncated),
                ("io malformed", running.dispatcher.counters().malformed),
            ];
            for (name, count) in wrong {
                // What was damaged is counted; nothing of it gets further.
                if count > 0 && !(damaged && name == "rxd bad L4") {
                    ledger.fail(format!("{}: {name} is {count}: nobody sends such things", machine.name));
                }
            }
        }
    }

    /// The state of all nodes, for people who look for what went wrong.
    fn tell(&self) {
        for machine in self.lab.machines.iter().filter(|machine| machine.running().is_some()) {
            let running = machine.now();
            let (occupancy, counters) =
                running.network.look(|transport| (transport.occupancy(), transport.counters()));
            let kif = running.kernel.counters();
            self.lab.ledger.note(|| format!("{}: {occupancy:?} {counters:?} {kif:?}", machine.name));
        }
        for client in self.clients.iter().filter(|client| !client.has_ended()) {
            self.lab.ledger.note(|| client.doing());
        }
    }

    fn summary(&self) -> String {
        let ledger = &self.lab.ledger;
        format!(
            "{} nodes, {} clients, {} operations, {} failed, {} boots, {} frames, {} s{}",
            self.plan.nodes,
            self.clients.len(),
            ledger.done(),
            ledger.failed(),
            self.lab.machines.iter().map(|machine| machine.boots()).sum::<u32>(),
            self.lab.wires.iter().map(|wire| wire.frames()).sum::<u64>(),
            ledger.age().as_secs(),
            if self.plan.calm { ", calm" } else { "" },
        )
    }
}

fn start(lab: &Lab, client: &Rc<Client>) {
    start_on(lab.machine(client.home), client);
}

fn start_on(machine: &Rc<crate::machine::Machine>, client: &Rc<Client>) {
    let Some(running) = machine.running() else { return };
    if client.is_done() {
        return;
    }
    let home = machine.clone();
    let task = match &client.work {
        Work::Files(process) => running.handle.spawn("files", process.clone().run(home)),
        Work::Calls(caller) => running.handle.spawn("caller", caller.clone().run(home)),
    };
    *client.task.borrow_mut() = Some(task);
}
