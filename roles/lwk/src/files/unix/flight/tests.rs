use super::*;
use crate::files::unix::UnixSocket;
use crate::files::unix::{Credentials, Outgoing, ReceiveFlags, Received, SocketKind};
use crate::files::{BytesSource, BytesTarget, EventFd, Operation, unix};
use core::task::{Context, Poll, Waker};

const ME: Credentials = Credentials { pid: 1, uid: 1000, gid: 100 };

/// Two ends as programs have them.
fn pair(flight: &Arc<Flight>) -> (Arc<Description>, Arc<Description>) {
    let (one, other) = UnixSocket::pair(SocketKind::Stream, ME, flight);
    (unix::describe(one, 0), unix::describe(other, 0))
}

fn gone(description: &Arc<Description>) -> Weak<Description> {
    Arc::downgrade(description)
}

fn send_at_most(from: &Description, what: &[&Arc<Description>], most: u32) -> Result<usize, Errno> {
    let files = what.iter().map(|description| Arc::clone(description)).collect();
    let mut extra = Outgoing { rights: Rights::new(files, ME.uid, most), credentials: None };
    let cx = &mut Context::from_waker(Waker::noop());
    let sent = socket(from).unwrap().poll_send(
        cx,
        &mut Operation::new(1, 0),
        &mut BytesSource(b"x"),
        &mut extra,
        None,
    );
    let Poll::Ready(sent) = sent else { panic!("it waits") };
    sent
}

fn send(from: &Description, what: &[&Arc<Description>]) {
    assert_eq!(send_at_most(from, what, u32::MAX), Ok(1));
}

fn receive_with(at: &Description, peek: bool) -> Received {
    let (mut into, cx) = ([0], &mut Context::from_waker(Waker::noop()));
    let target = &mut BytesTarget::new(&mut into);
    let flags = ReceiveFlags { peek, ..ReceiveFlags::default() };
    match socket(at).unwrap().poll_receive(cx, &mut Operation::new(1, 0), target, flags) {
        Poll::Ready(Ok(received)) => received,
        _ => panic!("a message"),
    }
}

fn receive(at: &Description) -> Vec<Arc<Description>> {
    receive_with(at, false).rights
}

fn is_empty(flight: &Flight) -> bool {
    let aboard = flight.lock();
    aboard.total == 0 && aboard.files.is_empty() && aboard.sockets.is_empty()
}

#[test]
fn a_chain_of_any_length_goes_without_recursion() {
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let chain = || {
        let flight = Arc::default();
        let (mut way, first) = pair(&flight);
        for _ in 0..10_000 {
            let (next_way, next) = pair(&flight);
            send(&way, &[&next]);
            way = next_way;
        }
        let last = socket(&way).unwrap();
        assert!(!last.state.lock().ended);
        drop(first);
        assert!(last.state.lock().ended, "the last one is closed as well");
        assert!(is_empty(&flight));
    };
    small.spawn(chain).unwrap().join().unwrap();
}

#[test]
fn a_socket_in_its_own_messages() {
    let flight = Arc::default();
    let (a, b) = pair(&flight);
    send(&a, &[&b, &b]);
    let end = gone(&b);
    drop(b);
    flight.collect();
    assert_eq!(end.strong_count(), 0);
    assert!(is_empty(&flight));
    assert_eq!(send_at_most(&a, &[], 9), Err(Errno::EPIPE));
}

#[test]
fn sockets_in_each_others_messages() {
    let flight = Arc::default();
    let ((a, b), (c, d)) = (pair(&flight), pair(&flight));
    let counter = Description::new(Arc::new(EventFd::new(0, false)), 0);
    send(&a, &[&d, &counter]);
    send(&c, &[&b]);
    let (first, second) = (gone(&b), gone(&d));
    drop(b);
    drop(c);
    assert_eq!(second.strong_count(), 2, "a program has one of them");
    drop(d);
    // The end of any other socket is when it is looked for.
    drop(a);
    assert_eq!((first.strong_count(), second.strong_count()), (0, 0));
    assert_eq!(Arc::strong_count(&counter), 1);
    assert!(is_empty(&flight));
}

#[test]
fn what_can_be_received_survives() {
    let flight = Arc::default();
    // A circle, one of which is in a message that can be received, and something else in the circle.
    let ((a, b), (c, d), (e, f)) = (pair(&flight), pair(&flight), pair(&flight));
    let (g, h) = pair(&flight);
    send(&a, &[&d]);
    send(&c, &[&b, &h]);
    send(&e, &[&b]);
    let ends = [gone(&b), gone(&d), gone(&h)];
    drop((b, d, h));
    flight.collect();
    assert!(ends.iter().all(|end| end.strong_count() > 0));
    let again = receive(&f).remove(0);
    flight.collect();
    let inner = receive(&again).remove(0);
    drop(again);
    flight.collect();
    let both = receive(&inner);
    assert_eq!(both.len(), 2);
    assert!(ends.iter().all(|end| end.strong_count() > 0));
    drop(both);
    drop(inner);
    flight.collect();
    assert!(ends.iter().all(|end| end.strong_count() == 0));
    assert!(is_empty(&flight));
    drop((a, c, e, f, g));
}

#[test]
fn what_was_only_looked_at_is_somebodys() {
    let flight = Arc::default();
    let (a, b) = pair(&flight);
    send(&a, &[&b]);
    let end = gone(&b);
    let looked = receive_with(&b, true).rights;
    drop(b);
    flight.collect();
    assert_eq!(end.strong_count(), 2);
    let own = receive(&looked[0]);
    drop(looked);
    drop(own);
    assert_eq!(end.strong_count(), 0);
    assert!(is_empty(&flight));
}

#[test]
fn connections_that_were_not_accepted_are_inside() {
    let (flight, names) = (Arc::default(), Arc::<unix::Names>::default());
    let server = UnixSocket::new(SocketKind::Stream, ME, &flight);
    names.bind(&server, Some(b"name")).unwrap();
    server.listen(5).unwrap();
    let client = UnixSocket::new(SocketKind::Stream, ME, &flight);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(client.poll_connect(cx, &Operation::new(1, 0), &server).is_ready());
    let (server, client) = (unix::describe(server, 0), unix::describe(client, 0));
    send(&client, &[&server]);
    let end = gone(&server);
    flight.collect();
    assert_eq!(end.strong_count(), 2);
    drop(server);
    flight.collect();
    assert_eq!(end.strong_count(), 0);
    assert!(is_empty(&flight));
    assert_eq!(names.find(b"name").err(), Some(Errno::ECONNREFUSED));
}

#[test]
fn files_on_their_way_are_limited() {
    let flight = Arc::default();
    let (a, b) = pair(&flight);
    let counter = Description::new(Arc::new(EventFd::new(0, false)), 0);
    let sent = (0..9).map(|_| send_at_most(&a, &[&counter, &counter], 5)).take_while(Result::is_ok).count();
    assert_eq!(sent, 3, "until there are more than five");
    assert_eq!(send_at_most(&a, &[&counter], 5), Err(Errno::ETOOMANYREFS));
    assert_eq!(send_at_most(&a, &[], 5), Ok(1));
    assert_eq!(receive(&b).len(), 2);
    assert_eq!(send_at_most(&a, &[&counter], 5), Ok(1));
    drop(b);
    assert!(is_empty(&flight));
}

#[test]
fn sockets_are_in_sockets_to_a_depth() {
    let flight = Arc::default();
    let (_, mut inner) = pair(&flight);
    let mut ways = Vec::new();
    for _ in 0..5 {
        let (way, outer) = pair(&flight);
        send(&way, &[&inner]);
        ways.push(way);
        inner = outer;
    }
    let (way, outer) = pair(&flight);
    assert_eq!(send_at_most(&way, &[&inner], 99), Err(Errno::ETOOMANYREFS));
    // What has been received is no longer in it.
    drop(receive(&inner));
    send(&way, &[&inner]);
    drop((outer, inner));
    assert!(is_empty(&flight));
}

#[test]
fn a_process_that_ends_leaves_no_circle() {
    let program = crate::testing::programs::Program::new();
    let files = program.files();
    let flight = files.vfs().flight.clone();
    let (a, b) = pair(&flight);
    send(&a, &[&b]);
    let end = gone(&b);
    let none = crate::files::FdFlags::NONE;
    drop(a);
    files.insert(b, none).unwrap();
    drop(files);
    program.thread.process.release_files();
    assert_eq!(end.strong_count(), 0);
    assert!(is_empty(&flight));
}
