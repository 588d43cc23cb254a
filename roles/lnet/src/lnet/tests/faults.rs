//! Fault rules (LNet specification section 8.3).

use crate::lnd::SendError;
use crate::lnet::testing::{Bench, ack, nid, ping, put};
use crate::lnet::{
    AddFaultError, FaultAction, FaultRule, HealthError, HealthErrors, NidPattern, Often, RequestError,
};
use core::time::Duration;
use keelson_lnet_wire::message::Header;
use keelson_lnet_wire::nid::ProcessId;

const A: &str = "10.0.0.2@tcp1";
const B: &str = "10.1.0.2@tcp2";

fn rule(action: FaultAction, often: Often) -> FaultRule {
    let (source, destination) = (NidPattern::Any, NidPattern::Any);
    FaultRule { action, source, destination, local: None, portals: 0, types: 0, often }
}

/// How many of these messages get through.
fn through(rule: FaultRule, headers: &[Header]) -> u64 {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.lnet.add_fault(rule).expect("added");
    let client = bench.connect(A);
    headers.iter().for_each(|header| client.send(*header));
    bench.settle();
    let dropped = bench.lnet.drops().fault_rule;
    assert_eq!(dropped, bench.lnet.faults()[0].acted);
    assert_eq!(dropped, bench.lnet.statistics().drop_count);
    bench.assert_idle();
    headers.len() as u64 - dropped
}

#[test]
fn rules_match_what_they_name() {
    let always = rule(FaultAction::Drop, Often::Always);
    let messages = [put(A, B, 10), put(A, "10.1.0.3@tcp2", 10), ping(A, "10.0.0.1@tcp1", 0), ack(A, B)];
    assert_eq!(through(always.clone(), &messages), 0);
    let from = |source| FaultRule { source, ..always.clone() };
    assert_eq!(through(from(NidPattern::One(nid(A))), &messages), 0);
    assert_eq!(through(from(NidPattern::One(nid(B))), &messages), 4);
    assert_eq!(through(from(NidPattern::Net("tcp1".parse().unwrap())), &messages), 0);
    let to = |destination| FaultRule { destination, ..always.clone() };
    assert_eq!(through(to(NidPattern::One(nid(B))), &messages), 2);
    assert_eq!(through(to(NidPattern::Net("tcp2".parse().unwrap())), &messages), 1);
    let of = |types| FaultRule { types, ..always.clone() };
    assert_eq!([1, 2, 4, 8].map(|types| through(of(types), &messages)), [3, 2, 3, 4]);
    let at = |portals| FaultRule { portals, ..always.clone() };
    assert_eq!((through(at(1 << 9), &messages), through(at(1), &messages)), (2, 3));
    let local = |text| FaultRule { local: Some(nid(text)), ..always.clone() };
    assert_eq!(
        (through(local("10.0.0.1@tcp1"), &messages), through(local("10.1.0.1@tcp2"), &messages)),
        (0, 4)
    );
}

#[test]
fn rates_and_chances() {
    let many = [put(A, B, 10); 1000];
    assert_eq!(through(rule(FaultAction::Drop, Often::Rate(10)), &many), 900);
    assert_eq!(through(rule(FaultAction::Drop, Often::Rate(0)), &many), 0);
    let half = through(rule(FaultAction::Drop, Often::Half), &many);
    assert!((400..600).contains(&half), "{half}");
    assert_eq!(through(rule(FaultAction::Drop, Often::Rate(10)), &many[..10]), 9, "one in each group");
}

#[test]
fn intervals() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.lnet.add_fault(rule(FaultAction::Drop, Often::Interval(Duration::from_secs(10)))).unwrap();
    let client = bench.connect(A);
    for _ in 0..1000 {
        client.send(put(A, B, 10));
        bench.pass(Duration::from_millis(100));
    }
    let dropped = bench.lnet.drops().fault_rule;
    assert!((9..=11).contains(&dropped), "{dropped} in 100 s");
}

#[test]
fn the_first_rule_that_acts_decides_and_counts() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let puts = FaultRule { types: 2, ..rule(FaultAction::Drop, Often::Always) };
    bench.lnet.add_fault(puts).unwrap();
    bench.lnet.add_fault(rule(FaultAction::Drop, Often::Always)).unwrap();
    let client = bench.connect(A);
    [put(A, B, 1), ping(A, B, 1), ack(A, B)].into_iter().for_each(|header| client.send(header));
    bench.settle();
    let faults = bench.lnet.faults();
    assert_eq!((faults[0].matched, faults[0].by_type.put), (1, 1));
    assert_eq!((faults[1].matched, faults[1].by_type.get, faults[1].by_type.ack), (2, 1, 1));
    bench.lnet.reset_faults();
    assert_eq!(bench.lnet.faults()[0].matched, 0);
    assert_eq!(bench.lnet.del_faults(|rule| rule.types == 2), 1);
    assert_eq!(bench.lnet.faults().len(), 1);
}

#[test]
fn delayed_messages_come_late_and_in_order() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let slow = FaultRule { types: 2, ..rule(FaultAction::Delay(Duration::from_secs(5)), Often::Always) };
    bench.lnet.add_fault(slow).unwrap();
    let client = bench.connect(A);
    [1, 2, 3].into_iter().for_each(|len| client.send(put(A, B, len)));
    client.send(ping(A, "10.0.0.1@tcp1", 272));
    bench.settle();
    assert_eq!(bench.lnd.count_for(nid(A)), 1, "the ping is not delayed");
    bench.pass(Duration::from_millis(4900));
    assert_eq!(bench.lnd.count_for(nid(B)), 0);
    bench.pass(Duration::from_millis(200));
    let lengths: Vec<u32> =
        bench.lnd.seen.borrow().iter().skip(1).map(|seen| seen.1.payload_length).collect();
    assert_eq!(lengths, [1, 2, 3]);
    assert_eq!(bench.lnet.faults()[0].acted, 3);
    bench.assert_idle();
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    let bench = Bench::router(|_| {});
    let acks = FaultRule { portals: 1, types: 1, ..rule(FaultAction::Drop, Often::Always) };
    assert_eq!(bench.lnet.add_fault(acks), Err(AddFaultError::PortalsOfOtherTypes));
    for _ in 0..64 {
        bench.lnet.add_fault(rule(FaultAction::Drop, Often::Half)).unwrap();
    }
    assert_eq!(bench.lnet.add_fault(rule(FaultAction::Drop, Often::Half)), Err(AddFaultError::TooMany));
}

fn failing(names: &[&str], often: Often) -> FaultRule {
    let mut errors = HealthErrors::default();
    assert!(names.iter().all(|name| errors.add(name)));
    rule(FaultAction::Fail(errors), often)
}

/// What is to be sent fails, of whoever it is, and only that is counted; nothing reaches the driver.
#[test]
fn health_errors_strike_when_a_message_is_sent() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.lnet.add_fault(failing(&["remote_dropped"], Often::Rate(1))).expect("added");
    let client = bench.connect(A);
    (0..1000).for_each(|_| client.send(put(A, B, 10)));
    bench.settle();
    let statistics = bench.lnet.statistics();
    assert_eq!((client.taken.get(), statistics.route_count, statistics.drop_count), (1000, 0, 1000));
    assert_eq!((statistics.remote_dropped_count, bench.lnet.drops().fault_rule), (1000, 1000));
    assert_eq!((bench.lnet.faults()[0].acted, bench.lnd.taken.get()), (1000, 0));
    let peers = bench.lnet.peers();
    assert_eq!(peers.iter().find(|peer| peer.primary == nid(B)).unwrap().nis[0].lost_dropped, 1000);
    // Answers and requests of this node, too; the latter are told.
    client.send(ping(A, "10.0.0.1@tcp1", 272));
    bench.settle();
    assert_eq!(bench.lnd.taken.get(), 0);
    let lnet = bench.lnet.clone();
    let error = bench.wait(async move { lnet.ping(ProcessId::lustre(nid(A)), Duration::from_secs(9)).await });
    assert_eq!(error, Err(RequestError::NotSent(SendError::Unreachable)));
    bench.assert_idle();
    // A connection is not to blame: when the rule has gone, all is well.
    bench.lnet.del_faults(|_| true);
    client.send(put(A, B, 10));
    bench.settle();
    assert_eq!((bench.lnet.statistics().route_count, bench.lnd.taken.get()), (1, 1));
}

/// Every error has its counter; a rule of one kind leaves the messages of the other alone.
#[test]
fn every_health_error_is_counted_as_itself() {
    for error in HealthError::ALL {
        let bench = Bench::router(|_| {});
        bench.lnd.default_takes.set(true);
        bench.lnet.add_fault(failing(&[error.name()], Often::Rate(1))).expect("added");
        let client = bench.connect(A);
        client.send(put(A, B, 10));
        client.send(put(A, "10.0.0.1@tcp1", 10));
        bench.settle();
        let shown = format!("{:?}", bench.lnet.statistics());
        assert!(shown.contains(&format!("{}_count: 1,", error.name())), "{shown}");
        assert_eq!((bench.lnet.drops().fault_rule, bench.lnet.faults()[0].acted), (1, 1));
        bench.assert_idle();
    }
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.lnet.add_fault(failing(&["random"], Often::Half)).expect("added");
    let client = bench.connect(A);
    (0..1000).for_each(|_| client.send(put(A, B, 10)));
    bench.settle();
    let lost = bench.lnet.drops().fault_rule;
    assert!((400..600).contains(&lost), "{lost}");
    assert!(bench.lnet.statistics().remote_timeout_count > 10);
}

/// LNet goes down while somebody is still to be told.
#[test]
fn failures_do_not_outlive_lnet() {
    let bench = Bench::router(|_| {});
    bench.lnet.add_fault(failing(&["local_error"], Often::Rate(1))).expect("added");
    bench.connect(A);
    let lnet = bench.lnet.clone();
    bench.wait(async move {
        let mut ping = core::pin::pin!(lnet.ping(ProcessId::lustre(nid(A)), Duration::from_secs(9)));
        let first =
            core::future::poll_fn(|cx| core::task::Poll::Ready(ping.as_mut().poll(cx).is_ready())).await;
        assert!(!first);
        lnet.stop(crate::lnet::Stop::Now).await.unwrap();
        assert_eq!(ping.await, Err(RequestError::Down));
    });
    bench.assert_idle();
}
