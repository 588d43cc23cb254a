//! The box with the server: its disk stays when its power goes, as far as disks do.

use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::watch::Watch;
use keelson_exec::Handle;
use keelson_ext4::dev::Seed;
use keelson_ext4::{Ext4Volume, Options};
use keelson_ext4_gate::checks::judge_disk;
use keelson_ext4_gate::disk::{Manner, Pace, Pages, SimDisk, Through};
use keelson_ext4_gate::random::Random;
use keelson_net::Stack;
use keelson_net_sim::Node;
use keelson_nfs_server::{NfsServer, NoNames, ServerConfig};
use keelson_oncrpc::StackNetwork;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// The server's address.
pub const ADDRESS: &str = "10.0.0.1";

/// The role.
pub type Server = NfsServer<Ext4Volume, NoNames>;

/// The box.
pub struct ServerBox {
    node: Rc<Node>,
    ledger: Rc<Ledger>,
    watch: Rc<Watch>,
    grace: Duration,
    cache_bytes: usize,
    through: Through,
    random: RefCell<Random>,
    /// What the disk holds while there is no power.
    pages: RefCell<Pages>,
    disk: RefCell<Option<Rc<SimDisk>>>,
    volume: RefCell<Option<Rc<Ext4Volume>>>,
    boots: Cell<u32>,
}

impl ServerBox {
    /// A box without power.
    pub fn new(
        node: Rc<Node>,
        ledger: &Rc<Ledger>,
        watch: &Rc<Watch>,
        plan: &Plan,
        pages: Pages,
    ) -> ServerBox {
        ServerBox {
            node,
            ledger: ledger.clone(),
            watch: watch.clone(),
            grace: plan.grace,
            cache_bytes: plan.cache_bytes,
            through: plan.through,
            random: RefCell::new(Random::new(plan.seed ^ 0x7365_7276)),
            pages: RefCell::new(pages),
            disk: RefCell::default(),
            volume: RefCell::default(),
            boots: Cell::new(0),
        }
    }

    /// True while there is power.
    pub fn is_on(&self) -> bool {
        self.node.is_running()
    }

    /// The power comes: the disk is mounted, and the server starts.
    pub fn power_on(self: &Rc<Self>) {
        let (handle, stack) = self.node.boot();
        self.ledger.power_on();
        self.boots.set(self.boots.get() + 1);
        self.ledger.note(|| "the server's power comes".into());
        let seed = self.random.borrow_mut().number();
        let pace = Pace::Lagging(handle.clone(), RefCell::new(Random::new(seed)));
        let disk = SimDisk::with(self.pages.borrow().clone(), pace, self.through);
        disk.start_record();
        self.disk.replace(Some(disk.clone()));
        let (place, starting) = (self.clone(), handle.clone());
        handle.spawn("start", async move {
            if let Err(said) = place.start(starting, stack, disk, seed).await {
                place.ledger.fail(said);
            }
        });
    }

    async fn start(&self, handle: Handle, stack: Stack, disk: Rc<SimDisk>, seed: u64) -> Result<(), String> {
        let entropy = Seed::new(seed);
        let options = Options { cache_bytes: self.cache_bytes, ..Options::default() };
        let mounted = Ext4Volume::mount(disk, handle.clone(), entropy.clone(), options).await;
        let volume = Rc::new(mounted.map_err(|error| format!("mount: {error}"))?);
        self.volume.replace(Some(volume.clone()));
        let config = ServerConfig {
            exports: "/ 10.0.0.0/24(rw,no_root_squash)".into(),
            max_transfer: 64 << 10,
            buffer_memory: 1 << 20,
            grace: self.grace,
            ..ServerConfig::default()
        };
        let mut network = StackNetwork::new(stack);
        (network.tcp.receive_buffer, network.tcp.send_buffer) = (48 << 10, 48 << 10);
        let names = Rc::new(NoNames);
        let started = NfsServer::start(handle, Rc::new(network), names, volume, &*entropy, &config).await;
        self.watch.server_up(Rc::new(started.map_err(|error| error.to_string())?));
        Ok(())
    }

    /// The power goes: the disk keeps what it has to, and of the rest what `manner` says.
    pub fn power_off(&self, manner: Manner) {
        let Some(disk) = self.disk.take() else { return };
        disk.turn_off();
        self.ledger.note(|| format!("the server's power goes, {manner:?}"));
        self.ledger.cut();
        let server = self.watch.server_down();
        self.node.kill();
        if let Some(server) = server {
            self.judge_counters(&server);
        }
        self.volume.take();
        self.judge_disk(&disk);
        if let Some(record) = disk.take_record() {
            let mut random = self.random.borrow_mut();
            *self.pages.borrow_mut() = record.after_cut(record.len(), manner, &mut random);
        }
    }

    /// The server stops serving; the volume stays mounted.
    pub async fn stop(&self) -> Option<Rc<Ext4Volume>> {
        if let Some(server) = self.watch.server_down() {
            server.stop().await;
            self.judge_counters(&server);
        }
        self.volume.take()
    }

    /// After the volume was unmounted: what the disk holds.
    pub fn content(&self) -> Option<Pages> {
        let disk = self.disk.borrow().clone()?;
        self.judge_disk(&disk);
        Some(disk.content())
    }

    fn judge_disk(&self, disk: &SimDisk) {
        if let Err(said) = judge_disk(disk) {
            self.ledger.fail(said);
        }
    }

    /// Nothing that these clients do may be refused, dropped or not understood.
    fn judge_counters(&self, server: &Server) {
        let counters = server.counters();
        let (refused, nlm) = (counters.locks_refused, &counters.nlm);
        let zeros = [
            ("messages that are no calls", counters.rpc.malformed.get()),
            ("records too long", counters.rpc.too_long.get()),
            ("connections turned away", counters.rpc.turned_away.get()),
            ("calls not kept", counters.reply_cache.nocache.get()),
            ("bad handles", counters.nfs.bad_handles.get()),
            ("lock requests refused", nlm.refused.get()),
            ("lock requests for files that are gone", nlm.stale.get()),
            ("hosts not remembered", nlm.not_remembered.get()),
            ("status requests refused", counters.nsm.refused.get()),
            ("locks beyond limits", refused.locks + refused.waiters + refused.clients + refused.owners),
        ];
        for (what, count) in zeros.into_iter().filter(|(_, count)| *count != 0) {
            self.ledger.fail(format!("the server counted {count} {what}"));
        }
        self.ledger.note(|| format!("{counters:?}"));
    }
}
