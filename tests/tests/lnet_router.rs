//! The LNet router appliance between two networks of end nodes.

use std::time::Duration;

use keelson_qemu::{Board, Nic, NicModel, Port};
use keelson_tests::lnet::{Kind, Limit, Load, ROUTER, Routed, Router, nid};
use keelson_tests::world::SOON;

const SPAN: Duration = Duration::from_secs(2);

fn routed(name: &str) -> Routed {
    Routed::with_appliance(name, |spec| spec.memory_mib(512))
}

#[test]
fn everybody_answers_pings() {
    routed("pings").everybody_answers_pings();
}

#[test]
fn messages_pass_both_ways() {
    routed("both ways").messages_pass_both_ways(SPAN);
}

#[test]
fn an_end_node_may_restart() {
    routed("end node restarts").an_end_node_may_restart();
}

#[test]
fn the_router_may_restart() {
    routed("router restarts").the_router_may_restart();
}

#[test]
fn a_cable_may_be_pulled() {
    routed("cable pulled").a_cable_may_be_pulled();
}

/// Carrier lost and found: the other side goes on, and hears of it.
#[test]
fn a_link_may_go_down() {
    let world = routed("link down");
    world.assert_back();
    let Some(Router::Machine(machine)) = &world.router else { unreachable!("started as an appliance") };
    machine.set_link(1, false).unwrap();
    machine.expect("NI 10.2.0.1@tcp1 is down", SOON).unwrap();
    world.a.ping(nid(ROUTER[0])).unwrap();
    let load = Load { timeout: SPAN, ..Load::new(Kind::Put(4096), world.b.nids()) };
    assert_eq!(world.a.run(load).errors, 1);
    machine.set_link(1, true).unwrap();
    machine.expect("NI 10.2.0.1@tcp1 is up", SOON).unwrap();
    world.assert_back();
}

#[test]
fn the_dead_stop_nobody() {
    routed("dead destination").the_dead_stop_nobody();
}

#[test]
fn a_crowd_is_served() {
    routed("crowd").a_crowd_is_served();
}

#[test]
fn the_router_is_a_test_node() {
    routed("selftest").the_router_is_a_test_node(SPAN);
}

/// Between two ports of the kind that routers have.
#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn igb_ports_are_routed_between() {
    // Each has a bus of its own: there is no room on one for the virtual functions of two.
    let nic = |port: &Port, i| Nic::on(port, NicModel::Igb).options(&format!("bus=rp{i}"));
    let world = Routed::with_nics("igb", nic, |spec| {
        let bus = |i| format!("pcie-root-port,id=rp{i},chassis={i}");
        spec.memory_mib(512).board(Board::Q35).bridge(&bus(0)).bridge(&bus(1))
    });
    let Some(Router::Machine(machine)) = &world.router else { unreachable!("started as an appliance") };
    assert!(machine.console().contains("eth1: igb at *, offloads tx_checksum tso4 rx_checksum"));
    world.everybody_answers_pings();
    world.messages_pass_both_ways(SPAN);
}

/// With little memory, many large messages wait and none is lost.
#[test]
fn a_small_machine_loses_nothing() {
    let world = Routed::with_appliance("small machine", |spec| spec.memory_mib(128));
    let load = Load {
        concurrent: 64,
        limit: Limit::Count(3),
        timeout: Duration::from_secs(120),
        ..Load::new(Kind::Put(1 << 20), world.b.nids())
    };
    let report = world.a.run(load);
    println!("{report}");
    assert_eq!((report.messages, report.errors), (192, 0), "{report}");
    world.assert_sound();
}
