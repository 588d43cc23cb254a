use super::*;
use crate::delegate::Delegate;
use core::task::Context;
use std::pin::pin;

fn host() -> (Host, Arc<Session>) {
    let session = Arc::new(Session::default());
    let hub = Hub {
        system: crate::testing::system().0,
        tickets: Arc::default(),
        changes: Changes::default(),
        calls: Default::default(),
    };
    (Host::new(session.clone(), Arc::new(hub)), session)
}

fn call(tid: u32, number: u32) -> Call {
    Call { tid, number, ..Call::default() }
}

/// Polls once.
fn poll<F: Future + ?Sized>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn sent(session: &Session) -> Vec<String> {
    core::iter::from_fn(|| session.try_outgoing()).map(|message| format!("{message:?}")).collect()
}

#[test]
fn an_answer_reaches_who_asked() {
    let (host, session) = host();
    let mut first = host.call(call(1, 0));
    let mut second = host.call(call(2, 1));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert!(session.answered(2, Reply { result: 7, ..Reply::default() }));
    assert!(poll(first.as_mut()).is_pending());
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Reply { result: 7, .. })));
    assert!(!session.answered(2, Reply::default()), "answered twice");
    assert!(!session.answered(99, Reply::default()), "nobody asked");
    drop(second);
    assert_eq!(sent(&session).len(), 2, "nothing is cancelled that was answered");
}

#[test]
fn who_does_not_wait_any_more_cancels_once_and_the_late_answer_is_no_surprise() {
    let (host, session) = host();
    let mut waiting = host.call(call(5, 0));
    assert!(poll(waiting.as_mut()).is_pending());
    host.cancel(5);
    host.cancel(5);
    drop(waiting);
    let cancels = sent(&session).into_iter().filter(|message| message.starts_with("Cancel")).count();
    assert_eq!(cancels, 1);
    assert!(session.answered(1, Reply::default()));
}

#[test]
fn the_loss_of_the_host_is_an_answer() {
    struct Seen(Mutex<u32>);
    impl Readiness for Seen {
        fn ready(&self, events: u32) {
            *self.0.lock() |= events;
        }
        fn holds(&self, events: u32) {
            self.ready(events);
        }
    }
    let (host, session) = host();
    let seen = Arc::new(Seen(Mutex::new(0)));
    host.subscribe(Handle(3), 1, seen.clone()).unwrap();
    let mut waiting = host.call(call(1, 0));
    let mut page = host.page_in(Handle(1), 0, 4096);
    session.ready(Handle(3), 1);
    session.lost();
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Reply { result: -5, .. })));
    assert!(matches!(poll(page.as_mut()), Poll::Ready(Err(Errno::EIO))));
    assert_eq!(*seen.0.lock(), 1 | 0x18);
    assert!(!host.is_alive());
    let mut late = host.call(call(1, 0));
    assert!(matches!(poll(late.as_mut()), Poll::Ready(Reply { result: -5, .. })));
    let outgoing = pin!(session.outgoing());
    assert!(matches!(poll(outgoing), Poll::Ready(None)));
}

#[test]
fn handles_closed_together_travel_together() {
    let (host, session) = host();
    host.close(&[Handle(1)]);
    host.close(&[Handle(2), Handle(3)]);
    drop(host.call(call(1, 3)));
    host.close(&[Handle(4)]);
    assert_eq!(sent(&session).iter().filter(|message| message.starts_with("Close")).count(), 2);
}

#[test]
fn requests_are_bounded_and_streams_are_checked() {
    let (host, session) = host();
    let mut all: Vec<_> = (0..MAX_REQUESTS).map(|_| host.call(call(1, 0))).collect();
    let mut one_more = host.call(call(1, 0));
    assert!(matches!(poll(one_more.as_mut()), Poll::Ready(Reply { result: -11, .. })));
    all.truncate(1);
    let asked = Call { output: vec![(1, 10)], ..call(1, 0) };
    assert!(session.answered(2, Reply::default()));
    let _kept = host.call(asked);
    let id = MAX_REQUESTS as u64 + 2;
    let slot = session.slot(id).unwrap();
    assert!(slot.stream(0, b"abcd"));
    assert!(!slot.stream(5, b"x"), "a gap");
    assert!(!slot.stream(4, b"1234567"), "more than was asked for");
    assert!(slot.stream(4, b"123456"));
    assert_eq!(slot.streamed(), b"abcd123456");
}
