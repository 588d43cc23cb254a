//! One seed: a world from its first boot to the last judgement.

use crate::exclusive::Exclusive;
use crate::files::process::FileProcess;
use crate::image::{dir_name, prepared};
use crate::judge::judge;
use crate::ledger::Ledger;
use crate::locks::beliefs::Beliefs;
use crate::locks::locker::Locker;
use crate::machine::{Machine, Parts, address_of};
use crate::plan::{Event, MachinePlan, Plan, What};
use crate::server::{ADDRESS, ServerBox};
use crate::watch::Watch;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::disk::Manner;
use keelson_ext4_gate::random::Random;
use keelson_ext4_gate::tools::e2fsck;
use keelson_net_sim::{NicModel, Wire, World};
use keelson_volume::Volume;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Virtual time in which all work is done, whatever happens; a machine that is told of a restart after a quarter of an
/// hour is told in time.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// Every so many worlds are looked at by e2fsck, which costs a process.
const CHECK_EVERY: u64 = 32;

/// A simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Where chances come from.
    pub seed: u64,
    /// Its history is told.
    pub verbose: bool,
}

/// Somebody who must be told that the server restarted.
struct MustHear {
    machine: usize,
    boots: u32,
    cuts: u32,
}

/// Everything of a world.
struct Site {
    world: World,
    wire: Rc<Wire>,
    plan: Plan,
    ledger: Rc<Ledger>,
    watch: Rc<Watch>,
    beliefs: Rc<Beliefs>,
    exclusive: Rc<Exclusive>,
    server: Rc<ServerBox>,
    machines: Vec<Rc<Machine>>,
    must_hear: RefCell<Vec<MustHear>>,
}

impl Simulation {
    /// Carries it out; a summary.
    pub fn carry_out(&self) -> Result<String> {
        if self.verbose {
            log::set_max_level(log::LevelFilter::Debug);
        }
        let site = Site::new(Plan::of(self.seed), self.verbose);
        site.run();
        match site.ledger.wrong() {
            Some(said) => Err(said),
            None => Ok(site.summary()),
        }
    }
}

impl Site {
    fn new(plan: Plan, verbose: bool) -> Site {
        let world = World::new(plan.seed);
        let wire = world.wire(plan.faults);
        let ledger = Rc::new(Ledger::new(world.handle(), verbose));
        ledger.note(|| format!("{plan:#?}"));
        let disk = prepared(plan.blocks);
        let watch = Rc::new(Watch::new(&ledger, &disk.lock_inodes));
        let beliefs = Rc::new(Beliefs::new(&ledger, &watch));
        let exclusive = Rc::new(Exclusive::new(&ledger));
        let node = world.node();
        node.plug("eth0", &wire, &format!("{ADDRESS}/24"), NicModel::default());
        let server = Rc::new(ServerBox::new(node, &ledger, &watch, &plan, disk.pages.clone()));
        let mut site = Site {
            world,
            wire,
            plan,
            ledger,
            watch,
            beliefs,
            exclusive,
            server,
            machines: Vec::new(),
            must_hear: RefCell::default(),
        };
        let mut random = Random::new(site.plan.seed ^ 0x6d61_6368);
        let mut dir = 0;
        for number in 0..site.plan.machines.len() {
            let machine = site.machine(number, &mut dir, &mut random);
            site.machines.push(Rc::new(machine));
        }
        site
    }

    fn machine(&self, number: usize, dir: &mut usize, random: &mut Random) -> Machine {
        let MachinePlan { nfs, nlm, style, notice, polls, files, lockers } =
            self.plan.machines[number].clone();
        let mut chances = || Random::new(random.number());
        let files = files.into_iter().map(|steps| {
            let name = dir_name(*dir);
            *dir += 1;
            Rc::new(FileProcess::new(name, steps, chances(), &self.ledger, &self.exclusive))
        });
        let files = files.collect();
        let lockers = lockers.into_iter().map(|steps| {
            let owner = self.watch.new_owner();
            Rc::new(Locker::new(owner, polls, steps, chances(), &self.ledger, &self.watch))
        });
        let lockers = lockers.collect();
        let node = self.world.node();
        node.plug("eth0", &self.wire, &format!("{}/24", address_of(number)), NicModel::default());
        let wire = self.wire.clone();
        let parts = Parts { node, wire, number, nfs, nlm, style, notice, files, lockers, random: chances() };
        Machine::new(parts, &self.ledger, &self.beliefs, &self.watch)
    }

    fn run(&self) {
        self.server.power_on();
        self.machines.iter().for_each(Machine::power_on);
        for event in self.plan.events.clone() {
            self.until("so many operations", || self.ledger.done() >= event.after || self.is_done());
            self.world.run_for(event.delay);
            if self.ledger.has_failed() {
                return;
            }
            self.happen(event);
        }
        self.until("all processes to end", || self.is_done());
        self.until("locks to go and restarts to be heard of", || self.is_quiet());
        if !self.ledger.has_failed() {
            self.end();
        }
    }

    /// Runs the world until then. That it does not come to that is an error.
    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let left = LONGEST.saturating_sub(self.ledger.age());
        let came = self.world.run_until(left, || self.ledger.has_failed() || condition());
        if !came && !self.ledger.has_failed() {
            let busy: Vec<String> = self.machines.iter().flat_map(|machine| machine.busy()).collect();
            let locks = self.watch.server().map(|server| server.locks());
            let locks = locks.unwrap_or_default().replace('\n', "; ");
            self.ledger.fail(format!("waited in vain for {what}: {busy:?} are busy; {locks}"));
        }
    }

    fn is_done(&self) -> bool {
        self.machines.iter().all(|machine| machine.is_done())
    }

    /// Nothing is locked, nobody waits, and whoever had to be told has heard it.
    fn is_quiet(&self) -> bool {
        let Some(server) = self.watch.server() else { return false };
        let counts = server.counters().locks;
        let must_hear = self.must_hear.borrow();
        let heard = must_hear.iter().all(|must| {
            let machine = &self.machines[must.machine];
            machine.boots() != must.boots || self.beliefs.told_of(must.machine) >= must.cuts
        });
        heard
            && !self.watch.is_grace()
            && self.machines.iter().all(|machine| machine.is_on())
            && (counts.locks, counts.waiters, counts.grants) == (0, 0, 0)
    }

    fn happen(&self, event: Event) {
        match event.what {
            What::ServerCut(manner, down) if self.server.is_on() => self.cut_server(manner, down),
            What::MachineCut(machine, down) if self.machines[machine].is_on() => {
                let machine = self.machines[machine].clone();
                machine.power_off();
                self.world.after(down, move || machine.power_on());
            }
            What::CutOff(machine, span) => {
                let machine = self.machines[machine].clone();
                machine.cut_off(true);
                self.world.after(span, move || machine.cut_off(false));
            }
            What::Wire(faults) => self.wire.faults.set(faults),
            What::ServerCut(..) | What::MachineCut(..) => {}
        }
    }

    fn cut_server(&self, manner: Manner, down: Duration) {
        self.beliefs.compare();
        let before = self.ledger.cuts();
        self.server.power_off(manner);
        for machine in self.beliefs.machines() {
            let boots = self.machines[machine].boots();
            self.must_hear.borrow_mut().push(MustHear { machine, boots, cuts: before + 1 });
        }
        self.exclusive.cut();
        let server = self.server.clone();
        self.world.after(down, move || server.power_on());
    }

    /// The last judgement.
    fn end(&self) {
        let (server, machines, ledger) = (self.server.clone(), self.machines.clone(), self.ledger.clone());
        self.world.run(async move {
            let Some(volume) = server.stop().await else {
                return ledger.fail("no volume in the end".into());
            };
            for process in machines.iter().flat_map(|machine| &machine.files) {
                if let Err(said) = judge(&volume, process).await {
                    ledger.fail(said);
                }
            }
            if let Err(error) = volume.unmount().await {
                ledger.fail(format!("unmount: {error}"));
            }
            let counters = volume.counters();
            if counters.damaged + counters.read_errors > 0 {
                ledger.fail(format!("the filesystem counted damage: {counters:?}"));
            }
        });
        let content = self.server.content();
        if self.plan.seed.is_multiple_of(CHECK_EVERY)
            && let Some(content) = content
            && let Err(said) = e2fsck(content.save().path())
        {
            self.ledger.fail(said);
        }
    }

    fn summary(&self) -> String {
        format!(
            "{} machines, {} operations, {} cuts of the server, {} boots of machines, {} frames, {} s",
            self.machines.len(),
            self.ledger.done(),
            self.ledger.cuts(),
            self.machines.iter().map(|machine| machine.boots()).sum::<u32>(),
            self.wire.frames.get(),
            self.ledger.age().as_secs()
        )
    }
}
