//! The task of one interface: poll with a budget, let those answer whom that woke, serve connections, ring the doorbell once, rest.

use crate::registry::{Change, InterfaceId};
use crate::stack::Shared;
use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use keelson_exec::yield_now;
use keelson_hal::{Instant, Interrupt};

/// Frames received before connections are served and other tasks run.
pub(crate) const RECEIVE_BUDGET: usize = 64;
/// Ageing of neighbours, fragments, addresses and routes.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait for an interrupt when the ring was full: a device may fail to announce room.
const RING_FULL: Duration = Duration::from_millis(1);

/// The link is looked at after an interrupt, but not more often than this.
const LINK_CHECK: Duration = Duration::from_millis(100);

/// Serves interface `nic` until it is detached.
pub(crate) async fn run(shared: Rc<Shared>, nic: usize, interrupt: Rc<dyn Interrupt>) {
    let mut next_tick = Instant::ZERO;
    let mut link_checked = Instant::ZERO;
    let mut sleep = pin!(shared.handle.sleep_until(Instant::FAR_FUTURE));
    loop {
        let Some(received) = receive(&shared, nic) else { return };
        if received > 0 {
            // Whoever was woken answers now: what they write leaves with the acknowledgement, in this turn and not in one more.
            yield_now().await;
        }
        if send(&shared, nic, &mut next_tick) || received >= RECEIVE_BUDGET {
            yield_now().await;
            continue;
        }
        let Some(deadline) = prepare_rest(&shared, nic, next_tick) else {
            yield_now().await;
            continue;
        };
        sleep.as_mut().get_mut().reset(deadline);
        let fired = poll_fn(|cx| {
            if interrupt.poll_fired(cx).is_ready() {
                return Poll::Ready(true);
            }
            let mut state = shared.state.borrow_mut();
            let interface = &mut state.net.nics[nic];
            if interface.kicked {
                return Poll::Ready(false);
            }
            interface.waker = Some(cx.waker().clone());
            drop(state);
            sleep.as_mut().poll(cx).map(|()| false)
        })
        .await;
        // The interrupt may have been for the link; asking costs a register read.
        let now = shared.handle.now();
        if fired && now - link_checked >= LINK_CHECK {
            link_checked = now;
            shared.state.borrow_mut().check_link(now, nic);
        }
    }
}

/// The first half of a NAPI turn: how many frames came. `None` once the interface is detached.
fn receive(shared: &Shared, nic: usize) -> Option<usize> {
    let state = &mut *shared.state.borrow_mut();
    let now = shared.handle.now();
    let mut device = state.net.nics[nic].device.take()?;
    device.disarm();
    let received =
        device.receive(RECEIVE_BUDGET, &mut |frame, meta| state.frame_input(now, nic, frame, meta));
    let interface = &mut state.net.nics[nic];
    interface.device = Some(device);
    interface.flush();
    Some(received)
}

/// The second half: what there is to be sent. True when there is more.
fn send(shared: &Shared, nic: usize, next_tick: &mut Instant) -> bool {
    let state = &mut *shared.state.borrow_mut();
    let now = shared.handle.now();
    state.net.nics[nic].kicked = false;
    if core::mem::take(&mut state.net.neighbours_found) {
        state.tcp.neighbours_found(&mut state.net);
    }
    let again = state.tcp.turn(&mut state.net, now);
    if now >= *next_tick {
        *next_tick = now + TICK;
        state.tick(now, nic);
    }
    state.net.flush();
    again
}

/// Arms the device; the time to rest until, or `None` when there is something to do at once.
fn prepare_rest(shared: &Shared, nic: usize, next_tick: Instant) -> Option<Instant> {
    let state = &mut *shared.state.borrow_mut();
    let now = shared.handle.now();
    if let Some(device) = &mut state.net.nics[nic].device
        && device.arm()
    {
        return None;
    }
    let mut deadline = next_tick.min(state.tcp.next_deadline().unwrap_or(Instant::FAR_FUTURE));
    if state.tcp.has_ready() || !state.net.nics[nic].backlog.is_empty() {
        deadline = deadline.min(now + RING_FULL);
    }
    Some(deadline)
}

impl crate::stack::State {
    /// Once a second: what has grown too old.
    fn tick(&mut self, now: Instant, nic: usize) {
        self.check_link(now, nic);
        self.net.counters.frag_failed += self.reassembly.expire(now);
        let silent = self.net.age_neighbours(now, nic);
        self.tcp.unreachable(&mut self.net, nic, &silent);
        self.net.routes.retain(|entry| entry.valid_until > now);
        let interface = &mut self.net.nics[nic];
        let expired = interface.addresses.iter().find(|own| own.valid_until <= now).map(|own| own.cidr);
        if let Some(cidr) = expired {
            self.address_gone(InterfaceId(nic), cidr);
        }
        let interface = &mut self.net.nics[nic];
        if interface.router_solicits > 0 && interface.running() {
            interface.router_solicits -= 1;
            self.net.send_router_solicit(now, nic);
        }
    }

    fn check_link(&mut self, now: Instant, nic: usize) {
        let interface = &mut self.net.nics[nic];
        let Some(device) = &mut interface.device else { return };
        let link = device.link();
        if link == interface.link {
            return;
        }
        interface.link = link;
        log::info!(target: "net", "{}: {link}", interface.name);
        self.carrier_changed(now, nic);
        self.events.publish(InterfaceId(nic), Change::Carrier(link));
    }
}
