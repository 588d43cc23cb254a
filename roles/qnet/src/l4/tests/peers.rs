//! Peers with other ways (section 28), and questions to peers (section 10).

use crate::l4::Options;
use crate::l4::testing::{Impair, World, mac};
use crate::link::LinkId;
use crate::sessions::{NodeNr, Qos};
use core::time::Duration;
use keelson_qnet_wire::l4::{Header, Kind, Layer, SHARED_ACK};
use keelson_qnet_wire::{Errno, Nd};

/// Alpha with a connection to beta, who is gone: the test answers in its place.
struct Puppet {
    world: World,
    beta: NodeNr,
    tx: u32,
}

impl Puppet {
    fn new() -> Puppet {
        let mut world = World::connected(1, 1, Options::default());
        world.kill(1);
        let beta = world.nr(0, "beta");
        let tx = world.nodes[0].transport.node(beta).unwrap().tx[0];
        Puppet { world, beta, tx }
    }

    fn send(&mut self) -> u32 {
        self.world.send(0, self.beta, Qos::default(), 3000).unwrap();
        let tx = self.world.nodes[0].transport.tx.get(self.tx).unwrap();
        tx.base + tx.queue.len() as u32 - 1
    }

    fn answer(&mut self, header: Header) {
        let remote = self.world.nodes[0].transport.tx.get(self.tx).unwrap().remote;
        let header = Header { src_conn_id: remote, dst_conn_id: self.tx, ..header };
        self.world.inject(0, 0, mac(1, 0), false, &header.encode());
    }

    fn waiting(&self) -> usize {
        self.world.nodes[0].transport.occupancy().outbound_messages
    }

    fn cumulative(&self) -> bool {
        self.world.nodes[0].transport.node(self.beta).unwrap().profile.ack_cumulative
    }
}

#[test]
fn cumulative_acks_are_learnt() {
    let mut puppet = Puppet::new();
    let seqs: Vec<u32> = (0..5).map(|_| puppet.send()).collect();
    let last = *seqs.last().unwrap();
    let ack = |seq| Header { seq, ..Header::new(Kind::Ack) };
    puppet.answer(ack(last));
    assert!(!puppet.cumulative());
    assert_eq!(puppet.waiting(), 5, "the older ones are not released, and keep it in its place");
    // Each is probed for after 10 ms, and each probe is answered by the newest.
    puppet.world.run(Duration::from_millis(11));
    puppet.answer(ack(last));
    assert!(puppet.cumulative());
    assert_eq!(puppet.waiting(), 0);
    // From now on one ACK does.
    let seqs: Vec<u32> = (0..3).map(|_| puppet.send()).collect();
    puppet.answer(ack(seqs[1]));
    assert_eq!(puppet.waiting(), 1);
}

/// An ACK that says so stands for what was sent before, with what hangs on it.
#[test]
fn shared_acks_release_what_precedes_them() {
    let mut puppet = Puppet::new();
    let beta = puppet.beta;
    puppet.send();
    let question = puppet.world.with(0, |transport, now| transport.verify(now, beta)).unwrap();
    let last = (0..3).map(|_| puppet.send()).last().unwrap();
    puppet.send();
    let shared = Header { seq: last, offset: SHARED_ACK, ..Header::new(Kind::Ack) };
    puppet.answer(shared);
    assert_eq!(puppet.waiting(), 1);
    let answer = puppet.world.with(0, |transport, _| transport.poll_request(question, None));
    assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
    assert!(!puppet.cumulative(), "it is said each time");
    // Numbers that were not sent, or not any more, release nothing.
    for seq in [last, last + 2, last.wrapping_sub(1000), last + 1000] {
        puppet.answer(Header { seq, ..shared });
        assert_eq!(puppet.waiting(), 1, "{seq}");
    }
    puppet.answer(Header { seq: last + 1, ..shared });
    assert_eq!(puppet.waiting(), 0);
}

/// Frames of a kind that have gone out of a node.
fn acks(world: &World, node: usize) -> u64 {
    world.nodes[node].transport.counters().acks_tx
}

#[test]
fn short_messages_share_an_ack() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.drain(Duration::from_secs(1));
    let before = acks(&world, 1);
    for _ in 0..16 {
        world.send(0, beta, Qos::default(), 100).unwrap();
    }
    world.run(Duration::from_millis(1));
    assert_eq!(acks(&world, 1) - before, 2, "one for eight");
    world.send(0, beta, Qos::default(), 100).unwrap();
    world.run(Duration::from_millis(1));
    assert_eq!(acks(&world, 1) - before, 2, "owed");
    world.run(Duration::from_millis(5));
    assert_eq!(acks(&world, 1) - before, 3, "and paid");
    // What is long, or no message of programs, is acknowledged at once, and what is owed with it.
    world.send(0, beta, Qos::default(), 100).unwrap();
    world.send(0, beta, Qos::default(), 5000).unwrap();
    world.run(Duration::from_millis(1));
    assert_eq!(acks(&world, 1) - before, 4);
    assert_eq!(world.nodes[0].transport.counters().retransmits, 0);
    assert_eq!(world.nodes[0].transport.occupancy().outbound_messages, 0);
    world.finish();
}

#[test]
fn a_shared_ack_that_is_lost_is_asked_for() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    for _ in 0..3 {
        world.send(0, beta, Qos::default(), 100).unwrap();
    }
    world.run(Duration::from_millis(1));
    // All that beta says now is lost.
    let fate = world.wires[0];
    world.wires[0] = Impair { loss: 1000, ..fate };
    world.run(Duration::from_millis(5));
    world.wires[0] = fate;
    world.run(Duration::from_millis(30));
    let counters = world.nodes[0].transport.counters();
    assert!((1..=3).contains(&counters.retransmits), "{counters:?}");
    assert_eq!(world.nodes[0].transport.occupancy().outbound_messages, 0);
    world.finish();
}

/// Whoever does not say that it reads shared ACKs gets one for each message, at once.
#[test]
fn others_get_an_ack_for_each_message() {
    let mut world = World::connected(1, 1, Options::default());
    let alpha = world.nr(1, "alpha");
    let rx = world.nodes[1].transport.node(alpha).unwrap().rx[0];
    world.nodes[1].transport.rx.get_mut(rx).unwrap().shares_acks = false;
    let beta = world.nr(0, "beta");
    let before = acks(&world, 1);
    for _ in 0..9 {
        world.send(0, beta, Qos::default(), 100).unwrap();
    }
    world.run(Duration::from_millis(1));
    assert_eq!(acks(&world, 1) - before, 9);
    world.finish();
}

#[test]
fn individual_acks_stay_individual() {
    let mut puppet = Puppet::new();
    let seqs: Vec<u32> = (0..6).map(|_| puppet.send()).collect();
    let ack = |seq| Header { seq, ..Header::new(Kind::Ack) };
    for seq in seqs.iter().rev() {
        puppet.world.run(Duration::from_millis(11));
        puppet.answer(ack(*seq));
        assert!(!puppet.cumulative());
    }
    assert_eq!(puppet.waiting(), 0);
    puppet.answer(ack(seqs[0]));
    puppet.answer(ack(seqs[5] + 1000));
}

#[test]
fn nacks_that_make_no_sense() {
    let mut puppet = Puppet::new();
    let seq = puppet.send();
    let sent = |puppet: &Puppet| puppet.world.nodes[0].transport.counters().retransmits;
    let nack = |offset, length| Header { seq, offset, length, ..Header::new(Kind::Nack) };
    let mut again = |offset, length| {
        let before = sent(&puppet);
        puppet.answer(nack(offset, length));
        sent(&puppet) - before
    };
    assert_eq!(again(1456, 1456), 1);
    assert_eq!(again(1456, 0), 2, "to the end");
    assert_eq!(again(0, 0), 3);
    assert_eq!(again(9999, 10), 3, "the whole message instead");
    assert_eq!(again(u32::MAX, u32::MAX), 3);
    // No more than twice the window in the time between two NACKs.
    for _ in 0..1000 {
        puppet.answer(nack(0, 0));
    }
    assert!(sent(&puppet) <= 12 + 3 * (2 << 17) / 3000, "{}", sent(&puppet));
}

#[test]
fn ways_of_a_peer_are_copied() {
    let mut puppet = Puppet::new();
    let seq = puppet.send();
    let flags = keelson_qnet_wire::l4::Flags(0);
    puppet.answer(Header { seq, flags, ..Header::new(Kind::Ack) });
    let profile = puppet.world.nodes[0].transport.node(puppet.beta).unwrap().profile;
    assert_eq!(profile.ack_flags, flags);
    // Data from beta is acknowledged in the same form.
    let rx = puppet.world.nodes[0].transport.node(puppet.beta).unwrap().rx[0];
    let (remote, expected) =
        puppet.world.nodes[0].transport.rx.get(rx).map(|rx| (rx.remote, rx.expected)).unwrap();
    let data = Header {
        src_conn_id: remote,
        dst_conn_id: rx,
        seq: expected,
        layer: Layer::Seq,
        ..Header::new(Kind::User)
    };
    let port = puppet.world.nodes[0].ports[0].clone();
    let now = puppet.world.now;
    puppet.world.nodes[0].transport.input(now, LinkId(0), mac(1, 0), false, &data.encode());
    let (_, bytes) = port.take().unwrap();
    let ack = Header::decode(&bytes).unwrap();
    assert_eq!((ack.kind, ack.flags, ack.seq), (Kind::Ack, flags, expected));
}

#[test]
fn numbers_of_a_third_node() {
    let mut world = World::connected(1, 1, Options::default());
    let third = world.add("gamma", "", Options::default());
    world.announce();
    world.run(Duration::from_millis(10));
    let beta = world.nr(0, "beta");
    let ask = |world: &mut World, name: &str| {
        let request = world.with(0, |transport, now| transport.remote_nd(now, beta, name)).unwrap();
        world.answer(0, request)
    };
    let known = world.nr(1, "gamma");
    assert_eq!(ask(&mut world, "gamma"), Ok(known.0.into()));
    assert_eq!(ask(&mut world, "beta"), Ok(0));
    let chosen = Nd(ask(&mut world, "gamma~exclusive:en0").unwrap());
    assert_eq!((chosen.node(), chosen.qos_idx()), (known.0, 1));
    assert_eq!(ask(&mut world, "nobody"), Err(Errno::ENOENT));
    let before = world.nodes[1].transport.counters().nr_remote_rx;
    assert_eq!(ask(&mut world, "gamma"), Ok(known.0.into()));
    assert_eq!(world.nodes[1].transport.counters().nr_remote_rx, before, "remembered");
    world.kill(third);
    // Nobody answers: two seconds, and sixteen at a time.
    world.wires[0].loss = 1000;
    let requests: Vec<_> = (0..17)
        .map(|n| world.with(0, |transport, now| transport.remote_nd(now, beta, &format!("n{n}"))).unwrap())
        .collect();
    let before = world.now;
    let answers: Vec<_> = requests.into_iter().map(|request| world.answer(0, request)).collect();
    assert_eq!(
        (answers[0], answers[15], answers[16]),
        (Err(Errno::ETIMEDOUT), Err(Errno::ETIMEDOUT), Err(Errno::EAGAIN))
    );
    assert!((1990..2010).contains(&(world.now - before).as_millis()));
}
