//! Puts the programs on their ports.

use crate::config::ServerConfig;
use crate::exports::command::{self, Command};
use crate::exports::load::{self, Loaded, load};
use crate::exports::{ExportCounters, Exports, Table};
use crate::handle::HandleCodec;
use crate::locking::Locking;
use crate::locks::{Counts, Refused};
use crate::mount::{MOUNT_PROGRAM, Mount, MountCounters};
use crate::names::Names;
use crate::nfs3::{NFS_PROGRAM, Nfs3, NfsCounters};
use crate::nlm::{NLM_PROGRAM, Nlm, NlmCounters};
use crate::nsm::{NSM_PROGRAM, Nsm, NsmCounters};
use crate::peer_calls::PeerCallCounters;
use crate::rpcbind::{Registration, Rpcbind};
use crate::rquota::{RQUOTA_PROGRAM, Rquota, RquotaCounters};
use crate::state::ServerState;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::time::Duration;
use keelson_exec::{Handle, TaskHandle};
use keelson_hal::Entropy;
use keelson_oncrpc::{ReplyCacheCounters, RpcNetwork, RpcServer, ServerCounters, Service};
use keelson_volume::{Volume, VolumeError};

/// How often a changed list of mounts is stored.
const STORE_INTERVAL: Duration = Duration::from_secs(10);

/// Why the server did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The server's own state could not be read or written.
    State(VolumeError),
    /// A port is taken.
    PortTaken(u16),
    /// No port below 1024 is free to call clients from.
    NoReservedPort,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::State(error) => {
                write!(f, "the NFS server's state on the volume is not usable: {error}")
            }
            StartError::PortTaken(port) => write!(f, "port {port} is taken: choose another one"),
            StartError::NoReservedPort => f.write_str("no UDP port below 1024 is free to call clients from"),
        }
    }
}

/// What was done since the start.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Connections and calls of all programs.
    pub rpc: ServerCounters,
    /// The duplicate request cache.
    pub reply_cache: ReplyCacheCounters,
    /// NFS.
    pub nfs: NfsCounters,
    /// MOUNT.
    pub mount: MountCounters,
    /// NLM.
    pub nlm: NlmCounters,
    /// NSM.
    pub nsm: NsmCounters,
    /// Calls to clients, of NLM and NSM.
    pub peer_calls: PeerCallCounters,
    /// Locks, waiters and shares that there are.
    pub locks: Counts,
    /// What the table of locks refused.
    pub locks_refused: Refused,
    /// Refusals by exports.
    pub exports: ExportCounters,
    /// RQUOTA.
    pub rquota: RquotaCounters,
    /// Connections open now.
    pub connections: usize,
    /// Bytes of large message buffers allocated now.
    pub buffer_bytes: usize,
}

/// A running server. Dropping it leaves it running; [`NfsServer::stop`] ends it.
pub struct NfsServer<V, N> {
    rpc: RpcServer,
    nfs: Rc<Nfs3<V, N>>,
    mount: Rc<Mount<V, N>>,
    locks: Locking<V>,
    rquota: Rc<Rquota<V, N>>,
    config: ServerConfig,
    store: RefCell<Option<TaskHandle>>,
}

impl<V: Volume + 'static, N: Names> NfsServer<V, N> {
    /// Reads the server's state and the exports, and serves. Lines of exports that are wrong are left out
    /// and logged; with no export at all the server still answers, and refuses every mount.
    pub async fn start<T: RpcNetwork + 'static>(
        handle: Handle,
        network: Rc<T>,
        names: Rc<N>,
        volume: Rc<V>,
        entropy: &dyn Entropy,
        config: &ServerConfig,
    ) -> Result<NfsServer<V, N>, StartError> {
        let state = ServerState::load(&*volume, entropy).await.map_err(StartError::State)?;
        let loaded = load(&*volume, config, config.exports_disk.as_deref()).await;
        announce(&loaded);
        if loaded.table.list().is_empty() {
            log::error!(target: "nfs", "nothing is exported: set nfs.exports=\"/ 10.0.0.0/8(rw)\" or the like");
        }
        volume.set_limits(loaded.limits);
        let exports = Exports::new(handle.clone(), loaded.table, names.clone(), config.wildcard_dots);
        let exports = Rc::new(exports.in_domain(config.domain()));
        let handles = HandleCodec::new(state.handle_key, volume.id());
        let mount = Rc::new(Mount::load(volume.clone(), exports.clone(), handles).await);
        mount.find_roots().await;
        let max_transfer = config.max_transfer();
        let locks = Locking::load(&handle, &network, &volume, entropy, config).await?;
        let nlm =
            Nlm { manager: locks.manager.clone(), volume: volume.clone(), exports: exports.clone(), handles };
        let nsm = Nsm {
            manager: locks.manager.clone(),
            notifier: locks.notifier.clone(),
            names,
            exports: exports.clone(),
            simulated_crash: config.simulated_crash,
            counters: locks.nsm_counters.clone(),
        };
        let rquota = Rc::new(Rquota::new(volume.clone(), exports.clone()));
        let nfs = Nfs3 { volume, exports, handles, max_transfer, counters: NfsCounters::default() };
        let nfs = Rc::new(nfs);
        let served = [
            Registration { program: NFS_PROGRAM, versions: &[3], port: config.nfs_port },
            Registration { program: MOUNT_PROGRAM, versions: &[1, 3], port: config.mountd_port },
            Registration { program: NLM_PROGRAM, versions: &[1, 3, 4], port: config.nlm_port },
            Registration { program: NSM_PROGRAM, versions: &[1], port: config.statd_port },
            Registration {
                program: RQUOTA_PROGRAM,
                versions: crate::rquota::VERSIONS,
                port: config.rquota_port,
            },
        ];
        let rpcbind = Rc::new(Rpcbind::new(config.rpcbind_port, &served, handle.clock()));

        let rpc = RpcServer::new(handle.clone(), config.rpc_options());
        // rpcbind last: whoever finds a program there can call it.
        let opened = open(&rpc, &*network, config.nfs_port, nfs.clone())
            .and_then(|()| open(&rpc, &*network, config.mountd_port, mount.clone()))
            .and_then(|()| open(&rpc, &*network, config.nlm_port, Rc::new(nlm)))
            .and_then(|()| open(&rpc, &*network, config.statd_port, Rc::new(nsm)))
            .and_then(|()| open(&rpc, &*network, config.rquota_port, rquota.clone()))
            .and_then(|()| open(&rpc, &*network, config.rpcbind_port, rpcbind));
        if let Err(error) = opened {
            rpc.stop().await;
            locks.manager.stop();
            return Err(error);
        }
        // Now that they can reclaim.
        locks.notifier.tell_all();
        let storing = mount.clone();
        let clock = handle.clone();
        let store = handle.spawn("nfs-mounts", async move {
            loop {
                clock.sleep(STORE_INTERVAL).await;
                storing.store().await;
            }
        });
        log::info!(target: "nfs", "serving NFS on port {}, start number {}", config.nfs_port, state.starts);
        let config = ServerConfig { exports_disk: None, ..config.clone() };
        Ok(NfsServer { rpc, nfs, mount, locks, rquota, config, store: RefCell::new(Some(store)) })
    }

    /// Executes `exportfs` with the words after it; the answer is for the administrator. `disk` is what is on the disk
    /// of the exports now, if there is one, or why it cannot be read.
    pub async fn exportfs(&self, words: &[&str], disk: Option<Result<Vec<u8>, String>>) -> String {
        let Some(command) = Command::parse(words) else { return command::USAGE.to_string() };
        let exports = &self.nfs.exports;
        let changed = match command {
            Command::List(listing) => return command::list(&exports.table(), listing),
            Command::Show { file } => return self.show(&file).await,
            Command::Store { file, text } => return self.store_file(&file, &text).await,
            Command::Reload { verbose } => return self.reload(verbose, disk).await,
            Command::RemoveAll => Ok(exports.table().with_exports(Vec::new())),
            Command::Add { client, path, options } => {
                command::add(&exports.table(), &client, &path, &options)
            }
            Command::Remove { client, path } => command::remove(&exports.table(), client.as_deref(), &path),
        };
        match changed {
            Ok(table) => {
                log::info!(target: "nfs", "exports changed from the console, until they are read anew");
                self.put_in_force(table).await;
                String::new()
            }
            Err(message) => format!("exportfs: {message}\n"),
        }
    }

    /// Reads everything anew that says what is exported, and puts it in force: handles of what stays exported stay
    /// valid, and mounts stay in their list. Where a file cannot be read, everything stays as it was.
    async fn reload(&self, verbose: bool, disk: Option<Result<Vec<u8>, String>>) -> String {
        let disk = match disk.transpose() {
            Ok(disk) => disk,
            Err(message) => return format!("exportfs: nothing was changed: {message}\n"),
        };
        let loaded = load(&*self.nfs.volume, &self.config, disk.as_deref()).await;
        if !loaded.unreadable.is_empty() {
            let reasons = loaded.unreadable.join("; ");
            log::error!(target: "nfs", "exports were not read anew: {reasons}");
            return format!("exportfs: nothing was changed: {reasons}\n");
        }
        announce(&loaded);
        let mut text = String::new();
        for (_, message) in &loaded.messages.list {
            text += &format!("exportfs: {message}\n");
        }
        self.nfs.volume.set_limits(loaded.limits);
        self.put_in_force(loaded.table).await;
        if verbose {
            for export in self.nfs.exports.table().list() {
                for client in &export.clients {
                    text += &format!("exporting {}:{}\n", client.spec, export.path);
                }
            }
        }
        text
    }

    async fn put_in_force(&self, table: Table) {
        self.nfs.exports.replace(table);
        self.mount.find_roots().await;
    }

    async fn show(&self, file: &str) -> String {
        if !load::FILES.contains(&file) {
            return command::USAGE.to_string();
        }
        match self.nfs.volume.read_state(file).await {
            Ok(Some(content)) => String::from_utf8_lossy(&content).into_owned(),
            Ok(None) => format!("exportfs: there is no /.keelson/{file}\n"),
            Err(error) => format!("exportfs: /.keelson/{file}: {error}\n"),
        }
    }

    async fn store_file(&self, file: &str, text: &str) -> String {
        if !load::FILES.contains(&file) {
            return command::USAGE.to_string();
        }
        match self.nfs.volume.write_state(file, text.as_bytes()).await {
            Ok(()) => format!("/.keelson/{file} was stored; exportfs -r puts it in force\n"),
            Err(error) => format!("exportfs: /.keelson/{file} was not stored: {error}\n"),
        }
    }

    /// Finishes the calls in execution, closes all connections and stores what is to be kept. The volume
    /// stays mounted.
    pub async fn stop(&self) {
        self.rpc.stop().await;
        if let Some(store) = self.store.borrow_mut().take() {
            store.abort();
        }
        self.locks.notifier.stop();
        self.locks.manager.stop();
        self.mount.store().await;
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            rpc: self.rpc.counters(),
            reply_cache: self.rpc.reply_cache(),
            nfs: self.nfs.counters.clone(),
            mount: self.mount.counters.clone(),
            nlm: self.locks.manager.counters(),
            nsm: (*self.locks.nsm_counters).clone(),
            peer_calls: (*self.locks.peer_counters).clone(),
            locks: self.locks.table.borrow().counts(),
            locks_refused: self.locks.table.borrow().refused(),
            exports: self.nfs.exports.counters(),
            rquota: self.rquota.counters.clone(),
            connections: self.rpc.connections(),
            buffer_bytes: self.rpc.buffers().allocated(),
        }
    }

    /// Whether only locks that were held before the restart are given.
    pub fn is_in_grace(&self) -> bool {
        self.locks.manager.is_in_grace()
    }

    /// All locks and who has them, as text in the manner of Linux's `/proc/locks`.
    pub fn locks(&self) -> String {
        self.locks.manager.list()
    }

    /// The hosts that are told of our restarts, and our state number, as text.
    pub fn lock_hosts(&self) -> String {
        self.locks.manager.list_hosts()
    }

    /// Releases all locks of a host that is not coming back, named by address or as it calls itself. What was
    /// done, as text.
    pub fn unlock_host(&self, host: &str) -> String {
        self.locks.manager.unlock_host(host)
    }

    /// Ends the grace period: locks that were not reclaimed are lost. What was done, as text.
    pub fn end_grace(&self) -> String {
        self.locks.manager.end_grace()
    }
}

/// Logs what was read: what is wrong with it, and what is exported.
fn announce(loaded: &Loaded) {
    loaded.messages.log();
    for export in loaded.table.list() {
        let clients = export.clients.iter().map(|client| format!(" {}", client.spec));
        log::info!(target: "nfs", "exporting {} to{}", export.path, clients.collect::<String>());
    }
    if !loaded.limits.is_empty() {
        log::info!(target: "rquota", "quotas are enforced");
    }
}

/// Serves a program on a port over TCP and UDP.
fn open<T: RpcNetwork, S: Service>(
    rpc: &RpcServer,
    network: &T,
    port: u16,
    service: Rc<S>,
) -> Result<(), StartError> {
    let listener = network.listen(port).ok_or(StartError::PortTaken(port))?;
    let datagrams = network.bind(port).ok_or(StartError::PortTaken(port))?;
    rpc.serve_listener(listener, service.clone());
    rpc.serve_datagrams(datagrams, service);
    Ok(())
}
