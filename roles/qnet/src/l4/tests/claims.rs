//! Nodes that come back with another adapter, and others that come under their name (section 9.4).

use crate::l4::testing::{Fate, World, mac, seeds};
use crate::l4::{DupPolicy, Options};
use crate::link::{LinkAddress, LinkId};
use crate::sessions::{NodeNr, Qos, SessionEvent};
use core::time::Duration;
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Two ticks: the patience of who opens a connection.
const TWO_TICKS: Duration = Duration::from_millis(400);

fn downs(world: &World, of: usize) -> Vec<Errno> {
    let errno = |event: &crate::l4::Event| match event {
        SessionEvent::TxDown { errno, .. } => Some(*errno),
        _ => None,
    };
    world.nodes[of].events.iter().filter_map(errno).collect()
}

fn claims(world: &World, of: usize) -> (u64, u64) {
    let counters = world.nodes[of].transport.counters();
    (counters.lr_claims, counters.lr_claims_won)
}

/// TCS_INITs by sender, from now on.
fn count_inits(world: &mut World) -> Rc<RefCell<BTreeMap<usize, u32>>> {
    let counts = Rc::<RefCell<BTreeMap<usize, u32>>>::default();
    let counted = counts.clone();
    world.judge = Some(Box::new(move |seen| {
        if seen.packet.is_some_and(|packet| packet.header.kind == Kind::TcsInit) {
            *counted.borrow_mut().entry(seen.from).or_default() += 1;
        }
        Fate::Pass
    }));
    counts
}

/// A node sends a message to another one, known by name. How long it took, or how it failed.
fn reach(world: &mut World, from: usize, name: &str, patience: Duration) -> Result<Duration, Errno> {
    let start = world.now;
    let nd = world.look_up(from, name)?;
    let (before, failed) = (world.ledger.delivered, downs(world, from).len());
    world.send(from, NodeNr(nd.node()), Qos::default(), 100)?;
    while world.now - start < patience {
        world.run(Duration::from_millis(1));
        if world.ledger.delivered > before {
            return Ok(world.now - start);
        }
        if let Some(errno) = downs(world, from).get(failed) {
            return Err(*errno);
        }
    }
    Err(Errno::ETIMEDOUT)
}

/// Beta dies and is there again with other adapters.
fn change_adapters(world: &mut World) {
    world.kill(1);
    world.run(Duration::from_millis(500));
    world.nodes[1].other_adapters(50);
    world.boot(1);
}

#[test]
fn a_node_comes_back_with_another_adapter() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    let epoch = world.nodes[0].transport.node(beta).unwrap().epoch;
    change_adapters(&mut world);
    let inits = count_inits(&mut world);
    let took = reach(&mut world, 1, "alpha", Duration::from_secs(1));
    assert!(took.is_ok_and(|took| took < TWO_TICKS), "{took:?}");
    assert_eq!(downs(&world, 1), [], "its first attempt");
    // What its former life had here is gone, and only that.
    assert_eq!(downs(&world, 0), [Errno::ESRCH]);
    let rx_down = |event: &&crate::l4::Event| matches!(event, SessionEvent::RxDown { .. });
    assert_eq!(world.nodes[0].events.iter().filter(rx_down).count(), 1);
    let entry = world.nodes[0].transport.node(beta).unwrap();
    assert_eq!((entry.address(LinkId(0)), entry.other, entry.dup), (Some(mac(50, 0)), None, false));
    assert_ne!(entry.epoch, epoch);
    assert_eq!(claims(&world, 0), (1, 1));
    assert!((10..=14).contains(&inits.borrow()[&0]), "{inits:?}");
    // And the other way.
    world.send(0, beta, Qos::default(), 1000).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
}

/// The same when it was only a client here, and nothing was sent to it.
#[test]
fn a_client_comes_back_with_another_adapter() {
    let mut world = World::pair_with(1, 1, Options { eager_reverse: false, ..Options::default() });
    reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
    assert_eq!(world.nodes[0].transport.occupancy().tx, 0);
    change_adapters(&mut world);
    let took = reach(&mut world, 1, "alpha", Duration::from_secs(1));
    assert!(took.is_ok_and(|took| took < TWO_TICKS), "{took:?}");
    assert_eq!(claims(&world, 0), (1, 1));
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
}

/// Both have nodes of their own to talk with, and the third answers as long as it lives.
#[test]
fn a_namesake_is_refused_while_the_node_answers() {
    for eager_reverse in [true, false] {
        let options = Options { eager_reverse, dup_policy: DupPolicy::Log, ..Options::default() };
        let mut world = World::pair_with(1, 1, options.clone());
        reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
        let beta = world.nr(0, "beta");
        let namesake = world.add("beta", "", options);
        let inits = count_inits(&mut world);
        let start = world.now;
        assert_eq!(reach(&mut world, namesake, "alpha", Duration::from_secs(1)), Err(Errno::EHOSTDOWN));
        assert!(world.now - start < Duration::from_millis(50), "{:?}", world.now - start);
        assert_eq!(inits.borrow()[&0], 1, "one question");
        assert_eq!((claims(&world, 0), world.ledger.downs()), ((1, 0), 1), "that of the namesake");
        let entry = world.nodes[0].transport.node(beta).unwrap();
        assert_eq!((entry.address(LinkId(0)), entry.dup), (Some(mac(1, 0)), true));
        assert_eq!(world.nodes[0].transport.occupancy().claims, 0);
        // Beta's connection has not noticed anything.
        let took = reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
        assert!(took < Duration::from_millis(10), "{took:?}");
        // When it dies, the namesake may have the name.
        world.kill(1);
        world.run(Duration::from_secs(1));
        let took = reach(&mut world, namesake, "alpha", Duration::from_secs(1));
        assert!(took.is_ok_and(|took| took < TWO_TICKS), "{took:?}");
        assert_eq!(claims(&world, 0), (2, 1));
        assert!(world.drain(Duration::from_secs(1)));
        world.finish();
    }
}

/// A fifth of the frames lost each way: no living node loses its name, whatever its namesake tries.
#[test]
fn lost_frames_are_no_proof_of_death() {
    let mut asked = 0;
    for seed in seeds(200) {
        let mut world = World::connected(seed, 1, Options::default());
        let beta = world.nr(0, "beta");
        let namesake = world.add("beta", "", Options::default());
        world.run(Duration::from_millis(10));
        world.wires[0].loss = 200;
        for _ in 0..4 {
            let _ = reach(&mut world, namesake, "alpha", Duration::from_secs(2));
            world.run(Duration::from_millis(1100));
        }
        let (claims, won) = claims(&world, 0);
        asked += claims;
        assert_eq!(won, 0, "seed {seed}");
        let entry = world.nodes[0].transport.node(beta).unwrap();
        assert_eq!(entry.address(LinkId(0)), Some(mac(1, 0)), "seed {seed}");
    }
    assert!(asked > 200, "{asked}");
}

/// And with as many lost, a node that is back gets in: mostly at its first attempt.
#[test]
fn lost_frames_do_not_keep_a_node_out() {
    let mut at_once = 0;
    let quick = 200;
    for seed in 0..quick {
        let mut world = World::connected(seed, 1, Options::default());
        change_adapters(&mut world);
        world.wires[0].loss = 200;
        let start = world.now;
        while claims(&world, 0).1 == 0 {
            at_once += u32::from(reach(&mut world, 1, "alpha", Duration::from_secs(1)).is_ok());
            world.run(Duration::from_millis(250));
            assert!(world.now - start < Duration::from_secs(10), "seed {seed}");
        }
        world.wires[0].loss = 0;
        world.run(Duration::from_secs(10));
        reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
        assert!(world.drain(Duration::from_secs(10)));
        world.finish();
    }
    assert!(at_once > quick as u32 / 2, "{at_once}");
}

/// A TCS_INIT to alpha in beta's name.
fn forged(id: u32) -> Vec<u8> {
    let init =
        Init { src_name: "beta", src_domain: "", dst_name: "alpha", dst_domain: "", shares_acks: false };
    let mut payload = [0; 512];
    let len = init.emit(&mut payload, Endian::Little).unwrap();
    let header = Header { src_conn_id: id, length: len as u32, ..Header::new(Kind::TcsInit) };
    [&header.encode()[..], &payload[..len]].concat()
}

/// Thousands of strangers: a question a second, and refusals in bounds.
#[test]
fn strangers_cause_few_questions() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    let inits = count_inits(&mut world);
    let before = world.frames;
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let stranger = LinkAddress::Mac([2, 9, 9, 9, high, low]);
        world.inject(0, 0, stranger, false, &forged(7 + u32::from(number)));
        world.run(Duration::from_millis(1));
    }
    assert_eq!(inits.borrow()[&0], 5, "in five seconds");
    assert_eq!((claims(&world, 0), world.ledger.downs()), ((5, 0), 0));
    assert!(world.frames - before < 5100, "{}", world.frames - before);
    let entry = world.nodes[0].transport.node(beta).unwrap();
    assert_eq!((entry.address(LinkId(0)), entry.rx.len()), (Some(mac(1, 0)), 1));
    reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
    // Against a node that is dead they cannot do more either.
    world.kill(1);
    world.run(Duration::from_secs(1));
    let before = inits.borrow()[&0];
    for number in 0..290u16 {
        let [high, low] = number.to_be_bytes();
        world.inject(0, 0, LinkAddress::Mac([2, 9, 9, 9, high, low]), false, &forged(7));
        world.run(Duration::from_millis(1));
    }
    assert!((1..=12).contains(&(inits.borrow()[&0] - before)), "{inits:?}");
}

/// The cable that its namesake uses is out, and it answers over another one.
#[test]
fn a_node_is_asked_on_all_its_links() {
    let mut world = World::connected(1, 2, Options::default());
    world.run(Duration::from_secs(2));
    let beta = world.nr(0, "beta");
    let namesake = world.add("beta", "", Options::default());
    world.nodes[1].ports[0].up.set(false);
    world.nodes[namesake].ports[1].up.set(false);
    for _ in 0..3 {
        let _ = reach(&mut world, namesake, "alpha", Duration::from_secs(1));
        world.run(Duration::from_secs(1));
    }
    let (asked, won) = claims(&world, 0);
    assert!(asked >= 2 && won == 0, "{asked} {won}");
    assert_eq!(world.nodes[0].transport.node(beta).unwrap().address(LinkId(0)), Some(mac(1, 0)));
    reach(&mut world, 1, "alpha", Duration::from_secs(1)).unwrap();
}

/// A whole rack is back with other adapters.
#[test]
fn many_at_once() {
    let mut world = World::new(1, 1);
    world.add("alpha", "", Options::default());
    let names: Vec<String> = (0..24).map(|number| format!("n{number}")).collect();
    for name in &names {
        world.add(name, "", Options::default());
    }
    world.announce();
    world.run(Duration::from_millis(20));
    for number in 1..=24 {
        reach(&mut world, number, "alpha", Duration::from_secs(1)).unwrap();
    }
    for number in 1..=24 {
        world.kill(number);
        world.nodes[number].other_adapters(100 + number as u8);
    }
    world.run(Duration::from_secs(1));
    for number in 1..=24 {
        world.boot(number);
    }
    world.run(Duration::from_millis(1));
    let mut out: Vec<usize> = (1..=24).collect();
    let start = world.now;
    while !out.is_empty() {
        for number in &out {
            let alpha = world.nodes[*number].transport.node_named("alpha", "");
            let alpha = alpha.unwrap_or_else(|| NodeNr(world.look_up(*number, "alpha").unwrap().node()));
            let _ = world.send(*number, alpha, Qos::default(), 100);
        }
        assert!(world.nodes[0].transport.occupancy().claims <= 16);
        world.run(TWO_TICKS);
        out.retain(|number| world.nodes[*number].transport.occupancy().tx == 0);
        assert!(world.now - start < Duration::from_secs(5), "{out:?}");
    }
    assert_eq!(claims(&world, 0), (24, 24));
    assert!(world.drain(Duration::from_secs(5)));
    world.finish();
}
