//! NSM, the status monitor (program 100024 version 1, X/Open XNFS chapter 11): who restarted, and what that
//! means for locks.
//!
//! On other hosts a lock manager asks the status monitor beside it to watch peers. Here both are one program:
//! a host is remembered before its first lock is granted (see [`store`]), so MON and UNMON of others are
//! refused. What is served to everybody is STAT, and NOTIFY of hosts that restarted; what is sent is NOTIFY
//! when we did (see [`notify`]).

mod notify;
mod records;
mod store;

pub(crate) use notify::Notifier;
pub use records::PeerRecord;
pub(crate) use store::{PeerStore, StoreError};

use crate::exports::Exports;
use crate::names::Names;
use crate::nlm::LockManager;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::net::IpAddr;
use keelson_oncrpc::{Call, DecodeError, Decoder, Failure, Program, Reply, Service};
use keelson_volume::Volume;

/// Program number of NSM.
pub const NSM_PROGRAM: u32 = 100_024;
/// Its only version.
pub(crate) const NSM_VERSION: u32 = 1;

/// Procedure numbers.
pub(crate) mod procedure {
    pub const STAT: u32 = 1;
    pub const MON: u32 = 2;
    pub const UNMON: u32 = 3;
    pub const UNMON_ALL: u32 = 4;
    pub const SIMU_CRASH: u32 = 5;
    pub const NOTIFY: u32 = 6;
}

/// Longest name (`SM_MAXSTRLEN`).
const MAX_NAME: usize = 1024;
/// Longest name that a name server could know (RFC 1035 section 2.3.4).
const MAX_HOST_NAME: usize = 253;
/// Bytes of a monitor's private data.
const PRIVATE: usize = 16;

/// `sm_res`.
const STAT_SUCC: u32 = 0;
const STAT_FAIL: u32 = 1;

/// What happened to notices.
#[derive(Clone, Default, Debug)]
pub struct NsmCounters {
    /// Notices of our restart sent.
    pub notices: Cell<u64>,
    /// Hosts that answered them.
    pub told: Cell<u64>,
    /// Hosts that never did.
    pub given_up: Cell<u64>,
    /// Hosts that restarted and lost their locks.
    pub restarts: Cell<u64>,
    /// Notices of restarts that were known.
    pub repeated: Cell<u64>,
    /// Notices of hosts that have no locks here, or from addresses that are not the host's.
    pub ignored: Cell<u64>,
    /// Requests to watch somebody, and other things only a host's own programs may ask for.
    pub refused: Cell<u64>,
}

impl NsmCounters {
    fn count(counter: &Cell<u64>) {
        counter.set(counter.get().wrapping_add(1));
    }
}

/// Whether SIMU_CRASH is served. Everybody could drop all locks with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SimulatedCrash {
    /// No: PROC_UNAVAIL.
    #[default]
    Refused,
    /// Yes, for tests of clients.
    Allowed,
}

/// The program.
pub(crate) struct Nsm<V, N> {
    pub manager: Rc<LockManager<V>>,
    pub notifier: Rc<Notifier<V>>,
    pub names: Rc<N>,
    /// With the table of hosts that is in force.
    pub exports: Rc<Exports<N>>,
    pub simulated_crash: SimulatedCrash,
    pub counters: Rc<NsmCounters>,
}

impl<V: Volume + 'static, N: Names> Nsm<V, N> {
    /// A host says that it restarted and is in a new state.
    async fn notified(&self, source: IpAddr, name: &[u8], state: u32) {
        let shown = String::from_utf8_lossy(name);
        let shown = shown.escape_debug();
        if self.manager.knows(source) {
            self.restarted(source, state).await;
            return;
        }
        // Another of its addresses, if its name leads to both. Anything else would let anybody drop the
        // locks of others.
        let mut found = false;
        if self.manager.knows_name(name) {
            let addresses = self.addresses_of(name).await;
            if addresses.contains(&source) {
                for address in addresses.into_iter().filter(|address| self.manager.knows(*address)) {
                    found = true;
                    self.restarted(address, state).await;
                }
            } else {
                log::warn!(
                    target: "statd",
                    "{source} says that {shown} restarted, but that name does not lead to it: ignored"
                );
            }
        }
        if !found {
            NsmCounters::count(&self.counters.ignored);
            log::debug!(target: "statd", "{source} ({shown}) restarted, and has no locks here");
        }
    }

    async fn restarted(&self, host: IpAddr, state: u32) {
        if self.manager.restarted(host, state).await {
            NsmCounters::count(&self.counters.restarts);
        } else {
            NsmCounters::count(&self.counters.repeated);
        }
    }

    async fn addresses_of(&self, name: &[u8]) -> alloc::vec::Vec<IpAddr> {
        let Ok(name) = core::str::from_utf8(name) else { return Default::default() };
        if name.is_empty() || name.len() > MAX_HOST_NAME {
            return Default::default();
        }
        let configured = self.exports.table().addresses_of(name);
        let found = if configured.is_empty() { self.names.forward(name).await } else { configured };
        found.into_iter().map(|address| address.to_canonical()).collect()
    }

    /// Whether we would watch a host: if we know who that is.
    async fn stat(&self, name: &[u8]) -> u32 {
        let is_address = core::str::from_utf8(name).is_ok_and(|name| name.parse::<IpAddr>().is_ok());
        let known = is_address || self.manager.knows_name(name) || !self.addresses_of(name).await.is_empty();
        if known { STAT_SUCC } else { STAT_FAIL }
    }

    fn refuse(&self, call: &Call<'_>, what: &str) {
        NsmCounters::count(&self.counters.refused);
        log::debug!(target: "statd", "{} refused {what}: only for a host's own programs", call.origin.peer);
    }
}

impl<V: Volume + 'static, N: Names> Service for Nsm<V, N> {
    fn programs(&self) -> &[Program] {
        &[Program { number: NSM_PROGRAM, versions: &[NSM_VERSION] }]
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match call.procedure {
            procedure::STAT => {
                let name = input.opaque(MAX_NAME)?;
                input.finish()?;
                let result = self.stat(name).await;
                reply.results().u32(result);
                reply.results().u32(self.manager.state());
            }
            procedure::MON => {
                monitored(&mut input)?;
                input.fixed(PRIVATE)?;
                input.finish()?;
                self.refuse(call, "MON");
                reply.results().u32(STAT_FAIL);
                reply.results().u32(self.manager.state());
            }
            procedure::UNMON => {
                monitored(&mut input)?;
                input.finish()?;
                self.refuse(call, "UNMON");
                reply.results().u32(self.manager.state());
            }
            procedure::UNMON_ALL => {
                watcher(&mut input)?;
                input.finish()?;
                self.refuse(call, "UNMON_ALL");
                reply.results().u32(self.manager.state());
            }
            procedure::SIMU_CRASH if self.simulated_crash == SimulatedCrash::Allowed => {
                input.finish()?;
                log::warn!(target: "statd", "{} simulates a crash: all locks are dropped", call.origin.peer);
                self.manager.simulate_crash().await.map_err(|_| Failure::SystemError)?;
                self.notifier.tell_all();
            }
            procedure::NOTIFY => {
                let name = input.opaque(MAX_NAME)?;
                let state = input.u32()?;
                input.finish()?;
                self.notified(call.origin.peer.ip().to_canonical(), name, state).await;
            }
            _ => {
                self.refuse(call, "a procedure that is not served");
                return Err(Failure::ProcedureUnavailable);
            }
        }
        Ok(())
    }
}

/// `mon_id`: whom to watch, and who asks.
fn monitored(input: &mut Decoder<'_>) -> Result<(), DecodeError> {
    input.opaque(MAX_NAME)?;
    watcher(input)
}

/// `my_id`: a name, and the procedure that wants to be called.
fn watcher(input: &mut Decoder<'_>) -> Result<(), DecodeError> {
    input.opaque(MAX_NAME)?;
    let (_program, _version, _procedure) = (input.u32()?, input.u32()?, input.u32()?);
    Ok(())
}
