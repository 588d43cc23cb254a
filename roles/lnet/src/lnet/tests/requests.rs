//! What this node asks of others, and the services it offers.

use crate::buffers::Payload;
use crate::lnd::SendError;
use crate::lnet::testing::{Behaviour, Bench, nid, payload, process, put};
use crate::lnet::{PutArgs, RequestError};
use crate::portal::{Delivery, Portal};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_lnet_wire::message::{Ack, Header, Kind, Reply, Wmd};
use std::rc::Rc;

const A: &str = "10.0.0.2@tcp1";
const R: &str = "10.0.0.1@tcp1";
const SECOND: Duration = Duration::from_secs(1);

/// Keeps what it is sent and serves bytes that count up.
#[derive(Default)]
struct Service {
    puts: RefCell<Vec<(Delivery, usize)>>,
    closed: Cell<bool>,
}

impl Portal for Service {
    fn admits(&self, delivery: &Delivery) -> bool {
        !self.closed.get() && delivery.match_bits == 7
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        self.puts.borrow_mut().push((delivery, payload.len()));
    }

    fn get(&self, delivery: &Delivery) -> Option<Payload> {
        (delivery.match_bits == 7).then(|| payload(100_000, 42))
    }
}

/// Starts a request; its result comes to lie in the cell.
fn start<T: 'static>(bench: &Bench, future: impl Future<Output = T> + 'static) -> Rc<RefCell<Option<T>>> {
    let result = Rc::new(RefCell::new(None));
    let place = result.clone();
    bench.executor.handle().spawn("request", async move {
        let value = future.await;
        *place.borrow_mut() = Some(value);
    });
    bench.settle();
    result
}

fn args() -> PutArgs {
    PutArgs { portal: 9, match_bits: 7, hdr_data: 8, offset: 3 }
}

#[test]
fn a_put_carries_what_it_is_given() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.lnet.put(None, process(A), args(), payload(10, 1)).unwrap();
    let (header, bytes) = bench.last_to(A).unwrap();
    assert_eq!((header.kind, header.source(), header.destination()), (Kind::Put, process(R), process(A)));
    let put = header.put();
    assert_eq!((put.portal, put.match_bits, put.hdr_data, put.offset, put.ack_wmd), (9, 7, 8, 3, Wmd::NONE));
    assert_eq!(bytes, [1; 10]);
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.send_count, statistics.send_length, statistics.route_count), (1, 10, 0));
    bench.lnet.put(Some(nid("10.1.0.1@tcp2")), process(A), args(), payload(10, 1)).unwrap();
    assert_eq!(bench.last_to(A).unwrap().0.src_nid, nid("10.1.0.1@tcp2"), "from the NID that was asked for");
    bench.assert_idle();
}

#[test]
fn a_put_is_acknowledged() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect(A);
    let lnet = bench.lnet.clone();
    let result =
        start(&bench, async move { lnet.put_acked(None, process(A), args(), payload(10, 1), SECOND).await });
    let put = bench.last_to(A).unwrap().0.put();
    assert_eq!(bench.lnet.statistics().rst_alloc, 1);
    let answer =
        |dst_wmd| Header::new_ack(process(A), process(R), &Ack { dst_wmd, match_bits: 7, mlength: 10 });
    let mut guessed = put.ack_wmd;
    guessed.0[15] ^= 1;
    client.send(answer(guessed));
    client.send(Header::new_reply(process(A), process(R), &Reply { dst_wmd: put.ack_wmd }, 0));
    bench.settle();
    assert!(result.borrow().is_none() && client.skipped.get() == 2, "neither a guess nor a REPLY will do");
    client.send(answer(put.ack_wmd));
    client.send(answer(put.ack_wmd));
    bench.settle();
    assert_eq!(*result.borrow(), Some(Ok(10)));
    assert_eq!((client.taken.get(), client.skipped.get()), (1, 3), "once only");
    assert_eq!(bench.lnet.statistics().rst_alloc, 0);
    bench.assert_idle();
}

#[test]
fn a_get_brings_bytes_but_not_more_than_asked_for() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect(A);
    let lnet = bench.lnet.clone();
    let result = start(&bench, async move { lnet.get(None, process(A), 9, 7, 100, SECOND).await });
    let get = bench.last_to(A).unwrap().0.get();
    assert_eq!((get.portal, get.match_bits, get.sink_length), (9, 7, 100));
    let reply = Reply { dst_wmd: get.return_wmd };
    client.send(Header::new_reply(process(A), process(R), &reply, 101));
    bench.settle();
    assert!(result.borrow().is_none());
    client.send_filled(Header::new_reply(process(A), process(R), &reply, 99), 5);
    bench.settle();
    let (bytes, from) = result.borrow_mut().take().unwrap().unwrap();
    assert_eq!((bytes.as_slice(), from), (Some(&[5; 99][..]), nid(A)));
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.recv_count, statistics.recv_length), (1, 99));
    drop(bytes);
    bench.assert_idle();
}

#[test]
fn requests_end_in_time_and_at_once_when_they_cannot_be_sent() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let lnet = bench.lnet.clone();
    let before = bench.executor.handle().now();
    let result = bench.wait(async move { lnet.ping(process(A), SECOND * 3).await });
    assert_eq!(result, Err(RequestError::TimedOut));
    assert_eq!(bench.executor.handle().now() - before, SECOND * 3);
    assert_eq!(bench.lnet.statistics().response_timeout_count, 1);
    let fails = |to: &'static str| {
        let lnet = bench.lnet.clone();
        bench.wait(async move { lnet.put_acked(None, process(to), args(), payload(1, 1), SECOND).await })
    };
    assert_eq!(fails("10.9.0.1@tcp9"), Err(RequestError::NoRoute));
    bench.lnd.behave(nid(A), Behaviour::Fails(SendError::Unreachable));
    assert_eq!(fails(A), Err(RequestError::NotSent(SendError::Unreachable)));
    let lnet = bench.lnet.clone();
    assert_eq!(bench.wait(async move { lnet.stop(crate::lnet::Stop::Now).await }), Ok(()));
    assert_eq!(fails(A), Err(RequestError::Down));
    assert_eq!(bench.lnet.put(None, process(A), args(), payload(1, 1)), Err(SendError::Down));
    assert_eq!(bench.executor.handle().now() - before, SECOND * 3);
    bench.assert_idle();
}

#[test]
fn requests_are_bounded() {
    let bench = Bench::router(|config| config.max_requests = 3);
    for _ in 0..3 {
        let lnet = bench.lnet.clone();
        start(&bench, async move { lnet.ping(process(A), SECOND).await });
    }
    let lnet = bench.lnet.clone();
    assert_eq!(bench.wait(async move { lnet.ping(process(A), SECOND).await }), Err(RequestError::TooMany));
    bench.lnd.finish_all(nid(A), Ok(()));
    bench.pass(SECOND * 2);
    assert_eq!(bench.lnet.statistics().rst_alloc, 0);
}

#[test]
fn a_put_can_wait_until_it_is_sent() {
    let bench = Bench::router(|_| {});
    let lnet = bench.lnet.clone();
    let result =
        start(&bench, async move { lnet.put_sent(None, process(A), args(), payload(1, 1), SECOND).await });
    assert!(result.borrow().is_none());
    bench.lnd.finish(nid(A), Ok(()));
    bench.settle();
    assert_eq!(*result.borrow(), Some(Ok(())));
}

#[test]
fn a_service_gets_puts_and_answers_gets() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let service = Rc::new(Service::default());
    bench.lnet.register(9, service.clone());
    let client = bench.connect(A);
    let mut header = put(A, R, 70_000);
    header.src_pid = 99;
    header.body[..16].copy_from_slice(&Wmd::new(3, 4).0);
    client.send(header);
    bench.settle();
    let (delivery, len) = service.puts.borrow()[0];
    assert_eq!((delivery.initiator.pid, delivery.target, delivery.from), (99, nid(R), nid(A)));
    assert_eq!(
        (delivery.portal, delivery.match_bits, delivery.hdr_data, delivery.len, len),
        (9, 7, 8, 70_000, 70_000)
    );
    let (answer, _) = bench.last_to(A).unwrap();
    assert_eq!(
        (answer.kind, answer.ack().dst_wmd, answer.ack().mlength),
        (Kind::Ack, Wmd::new(3, 4), 70_000)
    );
    assert_eq!((answer.dest_pid, answer.src_pid), (99, 12345));
    service.closed.set(true);
    client.send(header);
    bench.settle();
    assert_eq!((client.skipped.get(), bench.lnet.drops().unmatched), (1, 1));
    let get = keelson_lnet_wire::message::Get {
        return_wmd: Wmd::new(5, 6),
        match_bits: 7,
        portal: 9,
        src_offset: 0,
        sink_length: 80_000,
    };
    client.send(Header::new_get(process(A), process(R), &get));
    bench.settle();
    let (answer, bytes) = bench.last_to(A).unwrap();
    assert_eq!((answer.kind, answer.reply().dst_wmd, bytes), (Kind::Reply, Wmd::new(5, 6), vec![42; 80_000]));
    bench.lnet.unregister(9);
    client.send(Header::new_get(process(A), process(R), &get));
    bench.settle();
    assert_eq!(bench.lnet.drops().unmatched, 2);
    bench.lnet.register(64, service);
    bench.assert_idle();
}

/// A node can be its own peer; nothing of that leaves it.
#[test]
fn requests_to_this_node_itself() {
    let bench = Bench::router(|_| {});
    let service = Rc::new(Service::default());
    bench.lnet.register(9, service.clone());
    for to in [R, "10.1.0.1@tcp2", "0@lo"] {
        let lnet = bench.lnet.clone();
        let info = bench.wait(async move { lnet.ping(process(to), SECOND).await }).unwrap();
        assert_eq!(info.entries.len(), 2);
        let lnet = bench.lnet.clone();
        let taken =
            bench.wait(async move { lnet.put_acked(None, process(to), args(), payload(5, 1), SECOND).await });
        assert_eq!(taken, Ok(5));
    }
    assert!(bench.lnd.seen.borrow().is_empty() && service.puts.borrow().len() == 3);
    bench.assert_idle();
}

#[test]
fn answers_of_a_node_s_own_requests_get_through_when_it_does_not_route() {
    let bench = Bench::router(|config| config.forwarding = false);
    bench.lnd.default_takes.set(true);
    let client = bench.connect(A);
    let lnet = bench.lnet.clone();
    let result = start(&bench, async move { lnet.get(None, process(A), 9, 7, 1 << 20, SECOND).await });
    let reply = Reply { dst_wmd: bench.last_to(A).unwrap().0.get().return_wmd };
    client.send(Header::new_reply(process(A), process(R), &reply, 1 << 20));
    bench.settle();
    assert_eq!(result.borrow_mut().take().unwrap().unwrap().0.len(), 1 << 20);
    bench.assert_idle();
}
