//! What is done with frames and without a node: `sniff` and `impair`.

mod bridge;
mod sniff;

pub use bridge::bridge;
pub use sniff::sniff;

use crate::session::Session;
use crate::transport::Transport;
use keelson_exec::select;
use keelson_hal::Instant;
use std::rc::Rc;

/// Frames taken from a transport at once.
const BATCH: usize = 64;

/// Waits until any transport has something to do, or until a moment.
async fn wait(session: &Session, transports: &[Rc<dyn Transport>], until: Instant) {
    let changed: Vec<_> = transports.iter().map(|transport| transport.changed()).collect();
    let mut waits: Vec<_> = changed.iter().map(|changed| Box::pin(changed.notified())).collect();
    let any = std::future::poll_fn(|cx| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    let deadlines = transports.iter().filter_map(|transport| transport.deadline());
    let until = deadlines.chain([until]).min().unwrap_or(until);
    select(any, session.host.handle().sleep_until(until)).await;
}
