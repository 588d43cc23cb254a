//! A client machine: what survives its power, and what runs on it.

use crate::files::nfs::Nfs;
use crate::files::process::FileProcess;
use crate::image::{LOCK_FILES, lock_name};
use crate::ledger::Ledger;
use crate::locks::beliefs::{Beliefs, Run};
use crate::locks::lockd::Lockd;
use crate::locks::locker::Locker;
use crate::locks::nlm::{Nlm, procedure};
use crate::locks::service::{LOCKD_PORT, Programs, Repeats, STATD_PORT, Style};
use crate::rpc::{Rpc, Via, decoded, encoded};
use crate::server::ADDRESS;
use crate::watch::Watch;
use keelson_exec::Handle;
use keelson_ext4_gate::random::Random;
use keelson_net_sim::{Node, Wire};
use keelson_nfs_server::{MOUNT_PROGRAM, NLM_PROGRAM, NSM_PROGRAM, RPCBIND_PROGRAM, RQUOTA_PROGRAM};
use keelson_oncrpc::{RpcNetwork, RpcServer, ServerOptions, StackNetwork};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Ports of the server, as rpcbind tells them.
const PORTS: [(u32, u32, u16); 4] =
    [(100_003, 3, 2049), (MOUNT_PROGRAM, 3, 20_048), (NLM_PROGRAM, 4, 32_803), (NSM_PROGRAM, 1, 32_765)];

/// When a machine that came up tells the server of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Before anything asks for locks.
    First,
    /// Seconds later: the state number in requests for locks is news as well.
    Late,
}

/// What a machine is made of.
pub struct Parts {
    /// Its box.
    pub node: Rc<Node>,
    /// The wire it is on.
    pub wire: Rc<Wire>,
    /// Its number, from 0.
    pub number: usize,
    /// How it calls NFS.
    pub nfs: Via,
    /// How it calls NLM.
    pub nlm: Via,
    /// What its lock manager knows.
    pub style: Style,
    /// When it tells of its restarts.
    pub notice: Notice,
    /// Processes.
    pub files: Vec<Rc<FileProcess>>,
    /// Processes that lock.
    pub lockers: Vec<Rc<Locker>>,
    /// Chances.
    pub random: Random,
}

/// The machine.
pub struct Machine {
    /// Its number, from 0.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What its lock manager knows.
    pub style: Style,
    /// The observer.
    pub ledger: Rc<Ledger>,
    /// Its processes.
    pub files: Vec<Rc<FileProcess>>,
    /// Its processes that lock.
    pub lockers: Vec<Rc<Locker>>,
    node: Rc<Node>,
    wire: Rc<Wire>,
    nfs: Via,
    nlm: Via,
    notice: Notice,
    beliefs: Rc<Beliefs>,
    watch: Rc<Watch>,
    random: RefCell<Random>,
    /// On its own disk: its state number, and the server's that it heard last.
    state: Cell<u32>,
    server_state: Cell<u32>,
    boots: Cell<u32>,
    /// What it held when its power went, and at which server.
    held: RefCell<(u32, Vec<Run>)>,
    running: RefCell<Option<Running>>,
}

/// What there is of it while it has power.
#[derive(Clone)]
struct Running {
    handle: Handle,
    network: StackNetwork,
}

impl Machine {
    /// A machine without power.
    pub fn new(parts: Parts, ledger: &Rc<Ledger>, beliefs: &Rc<Beliefs>, watch: &Rc<Watch>) -> Machine {
        Machine {
            number: parts.number,
            name: format!("m{}", parts.number),
            address: address_of(parts.number),
            style: parts.style,
            ledger: ledger.clone(),
            files: parts.files,
            lockers: parts.lockers,
            node: parts.node,
            wire: parts.wire,
            nfs: parts.nfs,
            nlm: parts.nlm,
            notice: parts.notice,
            beliefs: beliefs.clone(),
            watch: watch.clone(),
            random: RefCell::new(parts.random),
            state: Cell::new(1),
            server_state: Cell::new(0),
            boots: Cell::new(0),
            held: RefCell::default(),
            running: RefCell::default(),
        }
    }

    /// True while there is power.
    pub fn is_on(&self) -> bool {
        self.node.is_running()
    }

    /// Cuts it off from the wire, or mends that; it does not notice.
    pub fn cut_off(&self, off: bool) {
        self.ledger.note(|| format!("{} is {}cut off", self.name, if off { "" } else { "not " }));
        self.node.set_cut("eth0", off);
    }

    /// How often it came up.
    pub fn boots(&self) -> u32 {
        self.boots.get()
    }

    /// All its processes have done what they were to do.
    pub fn is_done(&self) -> bool {
        self.files.iter().all(|process| process.is_done())
            && self.lockers.iter().all(|process| process.is_done())
    }

    /// Who has not.
    pub fn busy(&self) -> Vec<String> {
        let files =
            self.files.iter().filter(|process| !process.is_done()).map(|process| process.name.clone());
        let lockers = self.lockers.iter().filter(|process| !process.is_done());
        files.chain(lockers.map(|process| format!("owner {}", process.owner()))).collect()
    }

    /// The power comes.
    pub fn power_on(self: &Rc<Self>) {
        let (handle, stack) = self.node.boot();
        self.boots.set(self.boots.get() + 1);
        if self.boots.get() > 1 {
            self.state.set(self.state.get() + 2);
        }
        self.ledger.note(|| format!("{}'s power comes, state {}", self.name, self.state.get()));
        let network = StackNetwork::new(stack);
        self.running.replace(Some(Running { handle: handle.clone(), network: network.clone() }));
        let lockd = Lockd::new(self.number, &self.name, &self.ledger, &self.beliefs, &self.watch);
        let lockd = Rc::new(lockd);
        // Who may get one callback twice from the wire must notice, whatever the server does.
        let faults = self.wire.faults.get();
        let repeats = if faults.duplicate + faults.late > 0 { Repeats::Known } else { Repeats::Unknown };
        let programs = Rc::new(Programs { machine: self.clone(), lockd: lockd.clone(), repeats });
        let options = ServerOptions { calls_per_socket: 2, ..ServerOptions::default() };
        let rpc = RpcServer::new(handle.clone(), options);
        for port in [111, LOCKD_PORT, STATD_PORT] {
            rpc.serve_datagrams(network.bind(port).expect("a free port"), programs.clone());
            rpc.serve_listener(network.listen(port).expect("a free port"), programs.clone());
        }
        let machine = self.clone();
        handle.spawn("boot", async move { machine.boot(lockd).await });
    }

    /// The power goes.
    pub fn power_off(&self) {
        self.ledger.note(|| format!("{}'s power goes", self.name));
        let life = self.watch.life().unwrap_or(u32::MAX);
        self.beliefs.compare();
        self.held.replace((life, self.beliefs.runs(self.number, life..u32::MAX)));
        self.node.kill();
        self.running.take();
        self.beliefs.power_cut(self.number);
    }

    fn rpc(&self, port: u16, via: Via) -> Option<Rpc> {
        let Running { handle, network } = self.running.borrow().clone()?;
        let server = SocketAddr::new(ADDRESS.parse().expect("an address"), port);
        let xid = self.random.borrow_mut().number() as u32;
        Some(Rpc::new(&handle, &network, &self.ledger, server, via, xid))
    }

    async fn boot(self: Rc<Self>, lockd: Rc<Lockd>) {
        let Some(root) = self.mount().await else { return };
        let Some(Running { handle, .. }) = self.running.borrow().clone() else { return };
        let Some(mut nfs) = self.rpc(2049, self.nfs).map(|rpc| Nfs::new(rpc, &self.ledger)) else { return };
        for file in 0..LOCK_FILES {
            match nfs.lookup(&root, &lock_name(file)).await.result {
                Ok((handle, _)) => self.watch.found(file, handle),
                Err(status) => self.ledger.fail(format!("LOOKUP of {}: status {status}", lock_name(file))),
            }
        }
        for process in self.files.iter().filter(|process| !process.is_done()) {
            let Some(rpc) = self.rpc(2049, self.nfs) else { return };
            let work = process.clone().run(handle.clone(), Nfs::new(rpc, &self.ledger), root.clone());
            handle.spawn("files", work);
        }
        if self.boots.get() > 1 {
            self.still_held(&lockd);
            let machine = self.clone();
            match self.notice {
                Notice::First => machine.tell_of_restart().await,
                Notice::Late => {
                    let clock = handle.clone();
                    handle.spawn("sm-notify", async move {
                        clock.sleep(Duration::from_secs(8)).await;
                        machine.tell_of_restart().await;
                    });
                }
            }
        }
        for process in self.lockers.iter().filter(|process| !process.is_done()) {
            let Some(nlm) = self.nlm() else { return };
            handle.spawn("locks", process.clone().run(handle.clone(), lockd.clone(), nlm));
        }
    }

    fn nlm(&self) -> Option<Nlm> {
        let rpc = self.rpc(32_803, self.nlm)?;
        Some(Nlm::new(rpc, &self.ledger, &self.name, self.state.get()))
    }

    /// Asks rpcbind for everything that is used, mounts the root, and asks for quotas; the root's handle.
    async fn mount(&self) -> Option<Vec<u8>> {
        let mut rpcbind = self.rpc(111, Via::Udp)?;
        for (program, version, expected) in PORTS {
            let arguments = encoded(0, |out| {
                [program, version, 17, 0].into_iter().for_each(|word| out.u32(word));
            });
            let answer = rpcbind.call([RPCBIND_PROGRAM, 2, 3], &arguments).await;
            let port = decoded(&self.ledger, &answer.results, |input| input.u32())?;
            if port != u32::from(expected) {
                self.ledger.fail(format!("rpcbind: program {program} is at port {port}"));
            }
        }
        let mut mount = self.rpc(20_048, Via::Udp)?;
        let answer = mount.call([MOUNT_PROGRAM, 3, 1], &encoded(0, |out| out.opaque(b"/"))).await;
        let root = decoded(&self.ledger, &answer.results, |input| match input.u32()? {
            0 => input.opaque(64).map(|handle| Some(handle.to_vec())),
            status => {
                self.ledger.fail(format!("MNT: status {status}"));
                Ok(None)
            }
        });
        let mut rquota = self.rpc(875, Via::Udp)?;
        let arguments = encoded(0, |out| {
            out.opaque(b"/");
            out.u32(0);
        });
        let answer = rquota.call([RQUOTA_PROGRAM, 1, 1], &arguments).await;
        if decoded(&self.ledger, &answer.results, |input| input.u32())? != 2 {
            self.ledger.fail("GETQUOTA found quotas where there are none".into());
        }
        root?
    }

    /// Before the server knows of the restart, it keeps everything.
    fn still_held(&self, lockd: &Lockd) {
        let held = self.held.borrow();
        if self.watch.life() != Some(held.0) {
            return;
        }
        let listed: Vec<Run> = self.watch.listed().into_iter().map(|listed| listed.run).collect();
        for run in held.1.iter().filter(|run| !lockd.declined(run.owner)) {
            let is_there = |place: usize| {
                listed.iter().any(|other| {
                    (other.file, other.owner) == (run.file, run.owner) && other.range.contains(&place)
                })
            };
            if !run.range.clone().all(is_there) {
                self.ledger.fail(format!("{run:?} was released before its machine said anything"));
            }
        }
    }

    /// `sm-notify`: the server must release everything of before, and nothing else.
    async fn tell_of_restart(&self) {
        let Some(mut statd) = self.rpc(32_765, Via::Udp) else { return };
        let arguments = encoded(0, |out| {
            out.opaque(self.name.as_bytes());
            out.u32(self.state.get());
        });
        let answer = statd.call([NSM_PROGRAM, 1, 6], &arguments).await;
        self.ledger.note(|| format!("{} told the server of its restart", self.name));
        if answer.spans_cut() || self.watch.life() != Some(answer.answered) {
            return;
        }
        let listed = self.watch.listed();
        if self.notice == Notice::First
            && let Some(left) = listed.iter().find(|listed| listed.address == self.address)
        {
            self.ledger.fail(format!("{} told of its restart, and {:?} is left", self.name, left.run));
        }
        self.beliefs.compare();
    }

    /// Whoever calls must be the server, from a port of its privileged user.
    pub fn expect_server(&self, peer: SocketAddr, what: &str) {
        if peer.ip().to_string() != ADDRESS || peer.port() >= 1024 {
            self.ledger.fail(format!("{what} came from {peer}"));
        }
    }

    /// Calls the server's lock manager with the answer to a callback.
    pub fn answer_callback(&self, cookie: Vec<u8>, status: u32) {
        let (Some(mut rpc), Some(running)) = (self.rpc(32_803, Via::Udp), self.running.borrow().clone())
        else {
            return;
        };
        running.handle.spawn("granted-res", async move {
            let arguments = encoded(1024, |out| {
                out.opaque(&cookie);
                out.u32(status);
            });
            rpc.call([NLM_PROGRAM, 4, procedure::GRANTED_RES], &arguments).await;
        });
    }

    /// SM_NOTIFY of the server: everything is reclaimed, once for each restart.
    pub fn server_restarted(&self, lockd: &Rc<Lockd>, name: &[u8], state: u32) {
        self.ledger.note(|| format!("{} hears that the server restarted, state {state}", self.name));
        let Some(life) = self.watch.life_of_state(state).filter(|_| name == ADDRESS.as_bytes()) else {
            return self.ledger.fail(format!("SM_NOTIFY of {name:02x?} with state {state}"));
        };
        if state <= self.server_state.get() {
            return;
        }
        self.server_state.set(state);
        self.beliefs.told(self.number, life);
        lockd.restarts.set(lockd.restarts.get() + 1);
        lockd.changed.notify();
        if lockd.is_reclaiming() {
            return;
        }
        let (Some(mut nlm), Some(running)) = (self.nlm(), self.running.borrow().clone()) else { return };
        let lockd = lockd.clone();
        running.handle.spawn("reclaim", async move { lockd.reclaim(&mut nlm).await });
    }
}

/// The address of a machine.
pub fn address_of(number: usize) -> String {
    format!("10.0.0.{}", number + 2)
}
