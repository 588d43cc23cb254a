//! Telling hosts that had locks of our restart, so that they reclaim them (`sm-notify`).
//!
//! A host is told until it answers, after 2, 4, 8, ... up to 120 seconds, for 15 minutes; whoever is not heard
//! of by then has lost its locks long ago.

use super::store::PeerStore;
use super::{NSM_PROGRAM, NSM_VERSION, NsmCounters, procedure};
use crate::peer_calls::{PeerCall, PeerCalls, Silence};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::{Handle, TaskHandle};
use keelson_oncrpc::client::Patience;
use keelson_oncrpc::{Buffer, Encoder};
use keelson_volume::Volume;

/// To the first repetition; doubled for each one after.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Between repetitions at most.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How long a host is told.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15 * 60);
/// Between the first notices to two hosts: thousands at once would drown each other.
const PACE: Duration = Duration::from_millis(5);

/// Sends notices.
pub(crate) struct Notifier<V> {
    handle: Handle,
    store: Rc<PeerStore<V>>,
    calls: Rc<dyn PeerCalls>,
    /// What clients may know us as.
    names: Vec<String>,
    counters: Rc<NsmCounters>,
    tasks: RefCell<Vec<TaskHandle>>,
}

impl<V: Volume + 'static> Notifier<V> {
    /// A notifier; `name` is what clients mount from, if that is known.
    pub fn new(
        handle: Handle,
        store: Rc<PeerStore<V>>,
        calls: Rc<dyn PeerCalls>,
        name: Option<&str>,
        counters: Rc<NsmCounters>,
    ) -> Notifier<V> {
        Notifier { handle, store, calls, names: names(name), counters, tasks: RefCell::default() }
    }

    /// Tells all hosts that are remembered of a restart that has just been.
    pub fn tell_all(self: &Rc<Self>) {
        self.stop();
        let records = self.store.records();
        *self.store.untold() = records.iter().map(|record| (record.address, 0)).collect();
        if records.is_empty() {
            return;
        }
        log::info!(target: "statd", "telling {} hosts of the restart", records.len());
        let notifier = self.clone();
        let feeder = self.handle.spawn("nsm-notify", async move {
            for record in records {
                let telling = notifier.clone();
                let task = notifier.handle.spawn("nsm-notify-host", async move {
                    telling.tell(record.address, record.local).await;
                });
                notifier.keep(task);
                notifier.handle.sleep(PACE).await;
            }
        });
        self.tasks.borrow_mut().push(feeder);
    }

    fn keep(&self, task: TaskHandle) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Tells nobody any more.
    pub fn stop(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
    }

    async fn tell(&self, host: IpAddr, local: IpAddr) {
        let give_up = self.handle.now() + GIVE_UP_AFTER;
        let mut wait = FIRST_WAIT;
        let heard = loop {
            let started = self.handle.now();
            if let Some(tries) = self.store.untold().get_mut(&host) {
                *tries += 1;
            }
            if self.tell_once(host, local, wait.min(give_up - started)).await {
                break true;
            }
            let next = started + wait;
            if next >= give_up {
                break false;
            }
            self.handle.sleep_until(next).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        self.store.untold().remove(&host);
        if heard {
            self.counters.told.set(self.counters.told.get() + 1);
            log::debug!(target: "statd", "{host} knows of the restart");
        } else {
            self.counters.given_up.set(self.counters.given_up.get() + 1);
            log::warn!(target: "statd", "{host} was not told of the restart: no answer in 15 minutes");
        }
    }

    /// Under each name; the first that is answered counts.
    async fn tell_once(&self, host: IpAddr, local: IpAddr, wait: Duration) -> bool {
        let by_address = vec![local.to_canonical().to_string()];
        let names = if self.names.is_empty() { &by_address } else { &self.names };
        let mut heard = false;
        for name in names {
            self.counters.notices.set(self.counters.notices.get() + 1);
            let call = PeerCall {
                peer: host,
                local,
                target: [NSM_PROGRAM, NSM_VERSION, procedure::NOTIFY],
                arguments: notice(name, self.store.state()),
                patience: Patience { retry: wait, total: wait },
                silence: Silence::Stay,
            };
            match self.calls.call(call).await {
                Ok(_) => heard = true,
                Err(error) => {
                    log::debug!(target: "statd", "{host} not told of the restart: {}", error.reason());
                    break;
                }
            }
        }
        heard
    }
}

/// Arguments of NOTIFY (`stat_chge`).
fn notice(name: &str, state: u32) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(12 + name.len()), 0);
    out.opaque(name.as_bytes());
    out.u32(state);
    out.written().to_vec()
}

/// The whole name and its first part, as clients may have either.
fn names(name: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = name.map(String::from).into_iter().collect();
    if let Some((short, _)) = name.and_then(|name| name.split_once('.'))
        && !short.is_empty()
    {
        names.push(short.into());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_name_are_told() {
        assert_eq!(names(Some("nfs1.example.org")), ["nfs1.example.org", "nfs1"]);
        assert_eq!(names(Some("nfs1")), ["nfs1"]);
        assert_eq!(names(None), [""; 0]);
    }

    #[test]
    fn a_notice_has_name_and_state() {
        assert_eq!(notice("nfs1.", 5), b"\0\0\0\x05nfs1.\0\0\0\0\0\0\x05");
    }
}
