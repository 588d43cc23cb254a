//! Events, signals, pulses, and news of dead connections.

use crate::world::{World, delayed, root, send, user};
use keelson_qnet::api::{
    CredentialRules, KernelConfig, Pulse, Received, SignalDelivery, SignalHandler, SignalRequest, User,
};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::kif::Sigevent;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Default)]
struct Signals(RefCell<Vec<SignalDelivery>>);

impl SignalHandler for Signals {
    fn signal(&self, signal: &SignalDelivery) {
        self.0.borrow_mut().push(*signal);
    }
}

/// A server delivers to a client after the reply, until the client detaches.
#[test]
fn events() {
    for from in [0, 1] {
        let world = World::with(2, delayed(1), KernelConfig::default());
        let server = world.kernel(1).channel(1).unwrap();
        let kernel = world.kernel(from);
        let signals = Rc::new(Signals::default());
        kernel.set_signal_handler(signals.clone());
        let pid = kernel.create_process(&root()).unwrap();
        let own = kernel.channel(pid).unwrap();
        let other = kernel.channel(kernel.create_process(&root()).unwrap()).unwrap();
        let who = kernel.credentials(pid).unwrap();
        let connection = Rc::new(world.try_connect(from, 1, &who).unwrap());
        let target = Rc::new(RefCell::new(None));
        let taken = target.clone();
        world.spawn(async move {
            loop {
                if let Received::Message(message) = server.receive().await {
                    *taken.borrow_mut() = message.event_target();
                    message.reply(0, &[]);
                }
            }
        });
        world.send(&connection, b"register", 0).unwrap();
        let target = target.borrow_mut().take().unwrap();
        let event = Sigevent { notify: 4, signo_or_coid: own.coid(), value: -5, code: 9, priority: 21 };
        target.deliver(&event).unwrap();
        target.deliver(&Sigevent { priority: -1, ..event }).unwrap();
        // Not the client's own channel; not a code; not a kind that we have.
        target.deliver(&Sigevent { signo_or_coid: other.coid(), ..event }).unwrap();
        target.deliver(&Sigevent { code: 1000, ..event }).unwrap();
        target.deliver(&Sigevent { notify: 7, ..event }).unwrap();
        target.deliver(&Sigevent { notify: 1, signo_or_coid: 15, ..event }).unwrap();
        world.settle();
        let received: Vec<_> = std::iter::from_fn(|| own.try_receive())
            .map(|received| match received {
                Received::Pulse(pulse) => pulse,
                _ => panic!(),
            })
            .collect();
        let pulse = Pulse { code: 9, value: -5, scoid: 0, priority: 21 };
        assert_eq!(received, [pulse, Pulse { priority: 10, ..pulse }]);
        assert!(other.is_empty());
        assert_eq!(kernel.counters().event_lost, 3);
        let signal = signals.0.borrow_mut().pop().unwrap();
        assert_eq!((signal.pid, signal.signo, signal.value), (pid, 15, -5));
        drop(connection);
        world.settle();
        assert_eq!(target.deliver(&event), Err(Errno::ESRCH));
    }
}

/// Section 12.7: who may send signals, and what `maproot` makes of root.
#[test]
fn signals() {
    let users = vec![User { uid: 7, gid: 70 }];
    let credentials = CredentialRules { maproot: Some(7), users, ..CredentialRules::default() };
    let world = World::with(2, delayed(2), KernelConfig { credentials, ..KernelConfig::default() });
    let kernel = world.kernel(1);
    let signals = Rc::new(Signals::default());
    kernel.set_signal_handler(signals.clone());
    let first = kernel.create_process(&user(7)).unwrap();
    let second = kernel.create_process(&user(7)).unwrap();
    let foreign = kernel.create_process(&user(8)).unwrap();
    for pid in [second, foreign] {
        kernel.set_process_group(pid, first).unwrap();
    }
    assert_eq!(kernel.process_group(second), Ok(first));
    let request = |pid: i32| SignalRequest { pid, tid: 0, signo: 2, code: 3, value: -4 };
    let nd = world.nd(1, 0);
    // Root of another node is user 7 here.
    for pid in [first as i32, foreign as i32, -(first as i32), 0, 999, -999, i32::MIN] {
        world.kernel(0).signal(nd, &root(), request(pid)).unwrap();
    }
    world.settle();
    let got: Vec<u32> = signals.0.borrow_mut().drain(..).map(|signal| signal.pid).collect();
    assert_eq!(got, [first, first, second]);
    assert_eq!(kernel.counters().signal_lost, 5);
    // On the node itself root is root, and answers are known.
    let here = |who, pid| kernel.signal(Nd::LOCAL, &who, request(pid));
    assert_eq!(here(root(), foreign as i32), Ok(()));
    assert_eq!(here(user(9), foreign as i32), Err(Errno::EPERM));
    assert_eq!(here(user(9), -(first as i32)), Err(Errno::EPERM));
    assert_eq!(here(user(9), 999), Err(Errno::ESRCH));
    let ask = SignalRequest { signo: 0, ..request(first as i32) };
    assert_eq!(kernel.signal(Nd::LOCAL, &user(7), ask), Ok(()));
    let signal = signals.0.borrow_mut().pop().unwrap();
    assert_eq!((signal.pid, signal.code, signal.value, signal.sender.euid), (foreign, 3, -4, 0));
    assert!(signals.0.borrow().is_empty());
}

/// A connection's own way to signal takes its credentials.
#[test]
fn signals_by_a_connection() {
    let world = World::with(2, delayed(3), KernelConfig::default());
    let _server = world.serve(1);
    let kernel = world.kernel(1);
    let signals = Rc::new(Signals::default());
    kernel.set_signal_handler(signals.clone());
    let target = kernel.create_process(&user(8)).unwrap();
    for uid in [8, 9] {
        let connection = world.try_connect(0, 1, &user(uid)).unwrap();
        let request = SignalRequest { pid: target as i32, signo: 15, ..SignalRequest::default() };
        connection.signal(request).unwrap();
        world.settle();
    }
    assert_eq!((signals.0.borrow().len(), kernel.counters().signal_lost), (1, 1));
}

/// Pulses to a full queue are lost, and counted; those that get through are in order.
#[test]
fn pulses() {
    let mut config = KernelConfig::default();
    config.limits.pulses = 10;
    let world = World::with(2, delayed(4), config);
    let channel = world.kernel(1).channel(1).unwrap();
    let connection = world.connect(0, 1);
    let mut sent = 0;
    while sent < 12 {
        match connection.pulse(10, 1, sent) {
            Ok(()) => sent += 1,
            // Eight may be on their way.
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                world.settle();
            }
        }
    }
    world.settle();
    let values: Vec<i32> = std::iter::from_fn(|| channel.try_receive())
        .map(|received| match received {
            Received::Pulse(pulse) => pulse.value,
            _ => panic!(),
        })
        .collect();
    assert_eq!(values, (0..10).collect::<Vec<_>>());
    assert_eq!(world.kernel(1).counters().pulse_lost, 2);
    assert!(channel.pulse(70, -1, 0), "to itself");
    let Some(Received::Pulse(pulse)) = channel.try_receive() else { panic!() };
    assert_eq!((pulse.priority, pulse.scoid), (63, 0));
}

/// The process of a client is told when its connection dies, and so is whoever waits for that.
#[test]
fn news_of_dead_connections() {
    let world = World::with(2, delayed(5), KernelConfig::default());
    let _server = world.serve(1);
    let kernel = world.kernel(0);
    let pid = kernel.create_process(&root()).unwrap();
    let news = kernel.channel(pid).unwrap();
    news.watch_connections();
    let who = kernel.credentials(pid).unwrap();
    let connection = Rc::new(world.try_connect(0, 1, &who).unwrap());
    let watched = connection.clone();
    let watcher = world.spawn(async move { watched.died().await });
    world.settle();
    assert!(!watcher.is_finished() && connection.is_alive() && news.is_empty());
    world.crash(1);
    world.settle();
    assert!(watcher.is_finished() && !connection.is_alive());
    let Some(Received::Pulse(pulse)) = news.try_receive() else { panic!() };
    assert_eq!((pulse.code, pulse.value), (Pulse::CODE_COID_DEATH, connection.coid()));
    let waiting = connection.clone();
    let sent = world.run(async move { send(&waiting, b"e", 1).await });
    assert_eq!((sent, connection.pulse(1, 1, 1)), (Err(Errno::EBADF), Err(Errno::EBADF)));
}
