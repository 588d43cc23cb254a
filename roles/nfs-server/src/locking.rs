//! Puts the lock manager and the status monitor together.

use crate::config::ServerConfig;
use crate::grace::Grace;
use crate::locks::{Limits, LockTable};
use crate::nlm::LockManager;
use crate::nsm::{Notifier, NsmCounters, PeerStore};
use crate::peer_calls::{PeerCallCounters, PeerCaller, PeerCalls};
use crate::server::StartError;
use alloc::rc::Rc;
use core::cell::RefCell;
use keelson_exec::Handle;
use keelson_hal::Entropy;
use keelson_oncrpc::RpcNetwork;
use keelson_volume::Volume;

/// What NLM and NSM are made of.
pub(crate) struct Locking<V> {
    pub table: Rc<RefCell<LockTable>>,
    pub manager: Rc<LockManager<V>>,
    pub notifier: Rc<Notifier<V>>,
    pub nsm_counters: Rc<NsmCounters>,
    pub peer_counters: Rc<PeerCallCounters>,
}

impl<V: Volume + 'static> Locking<V> {
    /// Begins another life of the lock manager: its number and what earlier ones left are on the volume. The
    /// grace period runs from here, if anybody had locks.
    pub async fn load<T: RpcNetwork + 'static>(
        handle: &Handle,
        network: &Rc<T>,
        volume: &Rc<V>,
        entropy: &dyn Entropy,
        config: &ServerConfig,
    ) -> Result<Locking<V>, StartError> {
        let store = Rc::new(PeerStore::load(volume.clone()).await.map_err(StartError::State)?);
        let peer_counters = Rc::new(PeerCallCounters::default());
        let xid = entropy.next_u64() as u32;
        let caller = PeerCaller::new(handle.clone(), network.clone(), xid, peer_counters.clone());
        let calls: Rc<dyn PeerCalls> = Rc::new(caller.ok_or(StartError::NoReservedPort)?);
        let table = Rc::new(RefCell::new(LockTable::new(Limits::default())));
        let grace = Rc::new(Grace::new(handle.clone()));
        let manager = LockManager::new(
            handle.clone(),
            table.clone(),
            grace,
            store.clone(),
            calls.clone(),
            config.grace,
            entropy.next_u64(),
        );
        let manager = Rc::new(manager);
        manager.begin_grace();
        manager.keep_sweeping();
        let nsm_counters = Rc::new(NsmCounters::default());
        let name = config.name.as_deref();
        let notifier = Notifier::new(handle.clone(), store, calls, name, nsm_counters.clone());
        log::info!(target: "statd", "state number {}", manager.state());
        Ok(Locking { table, manager, notifier: Rc::new(notifier), nsm_counters, peer_counters })
    }
}
