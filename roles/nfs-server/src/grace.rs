//! The time after a restart in which only locks that were held before are given.
//!
//! It ends when its time is over, or as soon as nobody is left who may reclaim something: hosts that
//! restarted themselves have nothing any more. That all have been told is no reason, since NLM has no word for
//! "I have reclaimed everything" (specification section 10). The end is written down before anything else is
//! granted, so that a second restart does not give an old lock to a host that missed the first one.

use alloc::collections::BTreeSet;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use keelson_exec::sync::Notify;
use keelson_exec::{Either, Handle, select};
use keelson_hal::Instant;

/// The grace period of all lock protocols.
pub(crate) struct Grace {
    handle: Handle,
    active: Cell<bool>,
    ends: Cell<Instant>,
    /// Who may reclaim.
    entitled: RefCell<BTreeSet<IpAddr>>,
    changed: Notify,
}

impl Grace {
    /// There is none until it begins.
    pub fn new(handle: Handle) -> Grace {
        Grace {
            handle,
            active: Cell::new(false),
            ends: Cell::new(Instant::ZERO),
            entitled: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// Begins, until `ends` at the latest.
    pub fn begin(&self, ends: Instant, entitled: impl IntoIterator<Item = IpAddr>) {
        self.entitled.replace(entitled.into_iter().collect());
        self.ends.set(ends);
        self.active.set(true);
        self.changed.notify();
    }

    /// Only reclaims are granted.
    pub fn is_active(&self) -> bool {
        self.active.get()
    }

    /// When it ends at the latest, while there is one.
    pub fn ends(&self) -> Option<Instant> {
        self.active.get().then(|| self.ends.get())
    }

    /// The host may have had locks before the restart, and nobody else has got them.
    pub fn may_reclaim(&self, host: IpAddr) -> bool {
        self.active.get() && self.entitled.borrow().contains(&host)
    }

    /// Hosts that may reclaim.
    pub fn entitled(&self) -> usize {
        self.entitled.borrow().len()
    }

    /// The host has nothing to reclaim any more.
    pub fn disclaim(&self, host: IpAddr) {
        if self.entitled.borrow_mut().remove(&host) {
            self.changed.notify();
        }
    }

    /// Ends it early, on an operator's word.
    pub fn cut_short(&self) {
        self.entitled.borrow_mut().clear();
        self.changed.notify();
    }

    /// Waits until it is to end. It is active until [`Grace::end`].
    pub async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            let due = self.ends.get();
            if self.handle.now() >= due || self.entitled.borrow().is_empty() {
                return;
            }
            let _: Either<(), ()> = select(changed, self.handle.sleep_until(due)).await;
        }
    }

    /// Ends it.
    pub fn end(&self) {
        self.active.set(false);
        self.entitled.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::rc::Rc;
    use core::time::Duration;
    use keelson_exec::Executor;
    use keelson_exec::sim::SimClock;

    fn hosts() -> [IpAddr; 2] {
        ["10.0.0.2", "10.0.0.3"].map(|host| host.parse().expect("an address"))
    }

    /// Seconds until it is over when `meanwhile` happens after 10.
    fn lasts(meanwhile: fn(&Grace)) -> u64 {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let handle = executor.handle();
        let grace = Rc::new(Grace::new(handle.clone()));
        grace.begin(handle.now() + Duration::from_secs(90), hosts());
        let (other, timer) = (grace.clone(), handle.clone());
        handle.spawn("meanwhile", async move {
            timer.sleep(Duration::from_secs(10)).await;
            meanwhile(&other);
        });
        executor.block_on(&*clock, async move {
            grace.over().await;
            assert!(grace.is_active(), "until it is written down");
            grace.end();
            assert!(!grace.may_reclaim(hosts()[0]));
        });
        executor.handle().now().as_millis() / 1000
    }

    #[test]
    fn it_ends_with_its_time_or_with_the_last_who_may_reclaim() {
        assert_eq!(lasts(|_| ()), 90);
        assert_eq!(lasts(|grace| grace.disclaim(hosts()[0])), 90);
        assert_eq!(lasts(|grace| hosts().into_iter().for_each(|host| grace.disclaim(host))), 10);
        assert_eq!(lasts(Grace::cut_short), 10);
    }

    #[test]
    fn only_those_who_had_locks_reclaim() {
        let clock = SimClock::new();
        let grace = Grace::new(Executor::new(clock, None).handle());
        assert!(!grace.is_active() && !grace.may_reclaim(hosts()[0]));
        grace.begin(Instant::FAR_FUTURE, hosts().into_iter().take(1));
        assert!(grace.may_reclaim(hosts()[0]) && !grace.may_reclaim(hosts()[1]));
        assert_eq!(grace.entitled(), 1);
    }
}
