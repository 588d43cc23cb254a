use super::*;
use crate::files::flags::O_NONBLOCK;
use crate::files::{BytesSource, BytesTarget, Epoll, File, Pipe};
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

fn owner(pid: u32) -> Credentials {
    Credentials { pid, uid: 1000, gid: 100 }
}

fn pair(kind: SocketKind) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    UnixSocket::pair(kind, owner(1), &Arc::default())
}

fn send(socket: &UnixSocket, bytes: &[u8]) -> Poll<Result<usize, Errno>> {
    send_with(socket, bytes, Outgoing::default(), None)
}

fn send_with(
    socket: &UnixSocket,
    bytes: &[u8],
    mut extra: Outgoing,
    to: Option<&Arc<UnixSocket>>,
) -> Poll<Result<usize, Errno>> {
    let cx = &mut Context::from_waker(Waker::noop());
    socket.poll_send(cx, &mut Operation::new(1, 0), &mut BytesSource(bytes), &mut extra, to)
}

fn receive(socket: &UnixSocket, len: usize) -> Poll<Result<(Vec<u8>, Received), Errno>> {
    receive_with(socket, len, ReceiveFlags::default())
}

fn receive_with(
    socket: &UnixSocket,
    len: usize,
    flags: ReceiveFlags,
) -> Poll<Result<(Vec<u8>, Received), Errno>> {
    let (mut into, cx) = (vec![0; len], &mut Context::from_waker(Waker::noop()));
    let mut target = BytesTarget::new(&mut into);
    let received = socket.poll_receive(cx, &mut Operation::new(1, 0), &mut target, flags);
    received.map_ok(|received| (into[..received.len].to_vec(), received))
}

fn bytes(result: Poll<Result<(Vec<u8>, Received), Errno>>) -> Vec<u8> {
    match result {
        Poll::Ready(Ok((bytes, _))) => bytes,
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => panic!("nothing is there"),
    }
}

fn error<T>(result: Poll<Result<T, Errno>>) -> Errno {
    match result {
        Poll::Ready(Err(error)) => error,
        _ => panic!("no error"),
    }
}

#[test]
fn a_stream_joins_bytes_and_ends() {
    let (a, b) = pair(SocketKind::Stream);
    assert!(receive(&b, 10).is_pending());
    assert_eq!(send(&a, b"hello "), Poll::Ready(Ok(6)));
    assert_eq!(send(&a, b"world"), Poll::Ready(Ok(5)));
    assert_eq!(b.readable(), Some(11));
    let peek = ReceiveFlags { peek: true, ..Default::default() };
    assert_eq!(bytes(receive_with(&b, 5, peek)), b"hello");
    assert_eq!(bytes(receive(&b, 8)), b"hello wo");
    assert_eq!(bytes(receive(&b, 8)), b"rld");
    send(&b, b"unread").is_ready();
    send(&a, b"last").is_ready();
    drop(a);
    assert!(b.events().intersects(Events::HUP) && b.events().intersects(Events::READ_HUP));
    assert_eq!(bytes(receive(&b, 8)), b"last");
    assert_eq!(error(receive(&b, 8)), Errno::ECONNRESET);
    assert_eq!(bytes(receive(&b, 8)), b"");
    assert_eq!(error(send(&b, b"x")), Errno::EPIPE);
}

#[test]
fn messages_keep_their_ends() {
    for kind in [SocketKind::Datagram, SocketKind::Packets] {
        let (a, b) = pair(kind);
        send(&a, b"first").is_ready();
        send(&a, b"").is_ready();
        send(&a, b"second").is_ready();
        let Poll::Ready(Ok((bytes_of, received))) = receive(&b, 3) else { panic!("a message") };
        assert_eq!((&bytes_of[..], received.whole, received.truncated), (&b"fir"[..], 5, true));
        assert_eq!(bytes(receive(&b, 100)), b"");
        assert_eq!(bytes(receive(&b, 100)), b"second");
        assert_eq!(error(send(&a, &vec![0; inbox::CAPACITY + 1])), Errno::EMSGSIZE);
    }
}

#[test]
fn messages_are_counted_as_on_linux() {
    for kind in [SocketKind::Datagram, SocketKind::Packets] {
        let (a, b) = pair(kind);
        let sent = (0..10_000).take_while(|_| send(&a, b"").is_ready()).count();
        assert_eq!(sent, 278);
        assert!(!a.events().intersects(Events::OUT));
        for _ in 0..sent {
            assert_eq!(bytes(receive(&b, 1)), b"");
        }
        assert!(a.events().intersects(Events::OUT));
    }
}

#[test]
fn nothing_is_kept_while_memory_is_short() {
    let (a, b) = pair(SocketKind::Stream);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut operation = Operation::new(1, 0);
    operation.short = true;
    let sent = a.poll_send(cx, &mut operation, &mut BytesSource(b"x"), &mut Outgoing::default(), None);
    assert_eq!(error(sent), Errno::ENOBUFS);
    assert!(receive(&b, 1).is_pending());
}

#[test]
fn senders_wait_for_room() {
    let (a, b) = pair(SocketKind::Stream);
    let cx = &mut Context::from_waker(Waker::noop());
    let content = vec![5; inbox::CAPACITY + 1000];
    let (mut operation, mut source) = (Operation::new(1, 0), BytesSource(&content));
    let extra = &mut Outgoing::default();
    assert!(a.poll_send(cx, &mut operation, &mut source, extra, None).is_pending());
    assert!(!a.events().intersects(Events::OUT));
    assert_eq!(
        error(a.poll_send(cx, &mut Operation::new(1, O_NONBLOCK), &mut BytesSource(b"x"), extra, None)),
        Errno::EAGAIN
    );
    let all = bytes(receive(&b, inbox::CAPACITY));
    assert!(a.events().intersects(Events::OUT));
    assert_eq!(a.poll_send(cx, &mut operation, &mut source, extra, None), Poll::Ready(Ok(content.len())));
    assert_eq!(all.len() + bytes(receive(&b, 5000)).len(), content.len());
}

#[test]
fn files_travel_with_bytes() {
    let (a, b) = UnixSocket::pair(SocketKind::Stream, owner(7), &Arc::default());
    send(&a, b"plain").is_ready();
    let (reader, _writer) = Pipe::ends();
    let rights = Rights::new(vec![Description::new(reader, 0)], 1000, 1024);
    send_with(&a, b"with", Outgoing { rights, credentials: None }, None).is_ready();
    send(&a, b"after").is_ready();
    let Poll::Ready(Ok((first, received))) = receive(&b, 100) else { panic!("bytes") };
    assert_eq!((&first[..], received.rights.len()), (&b"plain"[..], 0));
    let Poll::Ready(Ok((second, received))) = receive(&b, 100) else { panic!("bytes") };
    assert_eq!((&second[..], received.rights.len()), (&b"with"[..], 1));
    assert_eq!(received.credentials, Some(owner(7)));
    assert_eq!(bytes(receive(&b, 100)), b"after");
}

#[test]
fn connections_by_name() {
    let names = Arc::new(Names::default());
    let server = UnixSocket::new(SocketKind::Stream, owner(1), &Arc::default());
    names.bind(&server, Some(b"service")).unwrap();
    let other = UnixSocket::new(SocketKind::Stream, owner(1), &Arc::default());
    assert_eq!(names.bind(&other, Some(b"service")), Err(Errno::EADDRINUSE));
    let client = UnixSocket::new(SocketKind::Stream, owner(2), &Arc::default());
    let (cx, operation) = (&mut Context::from_waker(Waker::noop()), Operation::new(1, 0));
    let found = names.find(b"service").unwrap();
    assert_eq!(error(client.poll_connect(cx, &operation, &found)), Errno::ECONNREFUSED);
    server.listen(0).unwrap();
    assert!(server.poll_accept(cx, &operation).is_pending());
    assert_eq!(client.poll_connect(cx, &operation, &found), Poll::Ready(Ok(())));
    assert_eq!(error(client.poll_connect(cx, &operation, &found)), Errno::EISCONN);
    assert_eq!(other.poll_connect(cx, &operation, &found), Poll::Pending, "the backlog is full");
    assert_eq!(send(&client, b"early"), Poll::Ready(Ok(5)));
    assert!(server.events().intersects(Events::IN));
    let Poll::Ready(Ok(end)) = server.poll_accept(cx, &operation) else { panic!("a connection") };
    assert_eq!(other.poll_connect(cx, &operation, &found), Poll::Ready(Ok(())));
    assert_eq!(bytes(receive(&end, 10)), b"early");
    assert_eq!(end.peer_credentials(), Some(owner(2)));
    assert_eq!(client.peer_name().unwrap().unwrap(), b"service");
    drop(found);
    drop(server);
    assert_eq!(names.find(b"service").err(), Some(Errno::ECONNREFUSED));
    let anonymous = UnixSocket::new(SocketKind::Datagram, owner(1), &Arc::default());
    names.bind(&anonymous, None).unwrap();
    assert_eq!(anonymous.bound_name().unwrap(), b"00000");
    let sender = UnixSocket::new(SocketKind::Datagram, owner(3), &Arc::default());
    assert_eq!(error(send(&sender, b"x")), Errno::ENOTCONN);
    send_with(&sender, b"to you", Outgoing::default(), Some(&anonymous)).is_ready();
    assert_eq!(bytes(receive(&anonymous, 10)), b"to you");
}

#[test]
fn half_of_a_connection_is_closed() {
    let (a, b) = pair(SocketKind::Stream);
    a.shutdown(false, true).unwrap();
    assert_eq!(error(send(&a, b"x")), Errno::EPIPE);
    assert_eq!(bytes(receive(&b, 10)), b"");
    assert_eq!(send(&b, b"back"), Poll::Ready(Ok(4)));
    assert_eq!(bytes(receive(&a, 10)), b"back");
    assert!(b.events().intersects(Events::READ_HUP) && !b.events().intersects(Events::HUP));
}

/// A receiver with a name, and a sender that is connected to it.
fn receiver_and_sender() -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    let (receiver, sender) = (
        UnixSocket::new(SocketKind::Datagram, owner(1), &Arc::default()),
        UnixSocket::new(SocketKind::Datagram, owner(2), &Arc::default()),
    );
    let cx = &mut Context::from_waker(Waker::noop());
    assert_eq!(sender.poll_connect(cx, &Operation::new(1, 0), &receiver), Poll::Ready(Ok(())));
    (receiver, sender)
}

fn fill(sender: &UnixSocket) {
    while send(sender, b"x").is_ready() {}
}

/// Receives half of what fits.
fn receive_half(receiver: &UnixSocket) {
    (0..140).for_each(|_| assert_eq!(bytes(receive(receiver, 1)), b"x"));
}

#[test]
fn whoever_polls_a_sender_of_datagrams_is_told_of_room() {
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (receiver, sender) = receiver_and_sender();
    let woken = Arc::new(Woken::default());
    let task = Waker::from(woken.clone());
    for round in 1..=3 {
        fill(&sender);
        // poll(2) registers and looks.
        sender.queue().unwrap().register(&Context::from_waker(&task));
        assert!(!sender.events().intersects(Events::OUT));
        assert_eq!(bytes(receive(&receiver, 1)), b"x");
        assert_eq!(woken.0.load(Ordering::Relaxed), round - 1, "that is too little");
        receive_half(&receiver);
        assert_eq!(woken.0.load(Ordering::Relaxed), round);
        assert!(sender.events().intersects(Events::OUT));
    }
    fill(&sender);
    sender.queue().unwrap().register(&Context::from_waker(&task));
    assert!(!sender.events().intersects(Events::OUT));
    drop(receiver);
    assert_eq!(woken.0.load(Ordering::Relaxed), 4, "it will find that nobody is there");
    assert_eq!(error(send(&sender, b"x")), Errno::ECONNREFUSED);
}

#[test]
fn epoll_is_told_that_datagrams_can_be_sent() {
    for how in [0, crate::files::epoll::EDGE] {
        let (receiver, sender) = receiver_and_sender();
        let (epoll, description) = (Epoll::default(), describe(sender.clone(), 0));
        let ready = || epoll.collect(1, 9, |_, _| Ok(())).unwrap();
        epoll.add(1, 3, &description, Events::OUT.0 | how, 0).unwrap();
        assert_eq!(ready(), 1);
        for _ in 0..3 {
            fill(&sender);
            assert_eq!(ready(), 0);
            receive_half(&receiver);
            assert_eq!(ready(), 1);
        }
    }
}

#[test]
fn senders_that_go_wait_no_more() {
    let (receiver, sender) = receiver_and_sender();
    fill(&sender);
    for _ in 0..100 {
        let other = UnixSocket::new(SocketKind::Datagram, owner(2), &Arc::default());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(other.poll_connect(cx, &Operation::new(1, 0), &receiver).is_ready());
        assert!(!other.events().intersects(Events::OUT));
        let gone = Arc::downgrade(&other);
        drop(other);
        assert_eq!(gone.weak_count(), 0, "nothing of it is kept");
    }
}
