//! The LNet router as its administrator sees it: boot, commands, the end.

use keelson_qemu::{Bench, Exit, Machine, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::lnet::{Generator, Spec, nid};
use keelson_tests::world::{SOON, assert_sound, shell};

const ROUTER: &str = "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled";

/// An appliance with two NICs, and a peer on the first one's network.
struct Site {
    machine: Machine,
    peer: Generator,
    _bench: Bench,
}

fn site(name: &str, line: &str) -> Site {
    let bench = Bench::new(name);
    let lans = ["tcp", "tcp1"].map(|net| bench.lan(net).unwrap());
    let line = format!("ip=10.1.0.1/16:eth0 ip=10.2.0.1/16:eth1 {line}");
    let nic = |lan: &keelson_qemu::Lan| Nic::on(&lan.port("router").unwrap(), NicModel::Virtio);
    let spec = Appliance::lnet(&bench, "router", &line).memory_mib(128).nic(nic(&lans[0])).nic(nic(&lans[1]));
    let spec_of_peer = Spec { prefix: 16, ..Spec::node("10.1.0.2@tcp") };
    let peer = Generator::start(&lans[0].port("peer").unwrap(), spec_of_peer).unwrap();
    Site { machine: spec.start().unwrap(), peer, _bench: bench }
}

/// What a command prints, without what was logged meanwhile.
fn says(machine: &Machine, line: &str) -> String {
    let lines =
        shell(machine, line).into_iter().filter(|line| !line.contains(" INFO ") && !line.contains(" WARN "));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn the_console_says_what_linux_says() {
    let Site { machine, peer, .. } = site("words", ROUTER);
    for line in [
        "LNet: LNET configured",
        "LNet: Added LNI 10.1.0.1@tcp [8/256/0/180]",
        "LNet: Added LNI 10.2.0.1@tcp1 [8/256/0/180]",
        "LNet: Accept secure, port 988",
    ] {
        machine.expect(line, SOON).unwrap();
    }
    assert_eq!(says(&machine, "lctl list_nids"), "10.1.0.1@tcp\n10.2.0.1@tcp1\n");
    assert_eq!(says(&machine, "lctl ping 10.1.0.2@tcp 5"), "12345-0@lo\n12345-10.1.0.2@tcp\n");
    assert_eq!(peer.ping(nid("10.1.0.1@tcp")).unwrap(), [nid("10.1.0.1@tcp"), nid("10.2.0.1@tcp1")]);
    assert!(says(&machine, "lnetctl peer show").contains("- primary nid: 10.1.0.2@tcp\n"));
    assert!(says(&machine, "lctl --net tcp conn_list").contains("10.1.0.1->10.1.0.2:"));
    assert!(says(&machine, "cat /sys/kernel/debug/lnet/nis").contains("\n10.1.0.1@tcp                 up "));
    assert!(says(&machine, "routerstat 1").lines().count() == 2);
    assert!(says(&machine, "lnetctl nut show").starts_with("lnetctl: 'nut' is no command here\n"));
    assert_sound(&machine);
}

#[test]
fn it_goes_down_when_told_explicitly_and_up_from_a_text() {
    let Site { machine, peer, .. } = site("down and up", ROUTER);
    machine.expect("Accept secure", SOON).unwrap();
    let refused = says(&machine, "lnetctl lnet unconfigure");
    assert!(refused.starts_with("unconfigure:\n    - lnet:\n          errno: -16\n"), "{refused}");
    let backup = says(&machine, "lnetctl export --backup");
    assert_eq!(says(&machine, "lnetctl lnet unconfigure --force"), "");
    assert!(machine.console().contains("LNet: LNET ready to unload"));
    assert!(peer.ping(nid("10.1.0.1@tcp")).is_err());
    assert_eq!(says(&machine, "lnetctl lnet configure"), "");
    machine.console().send_line("lnetctl import <<END").unwrap();
    for line in backup.lines() {
        machine.console().send_line(line).unwrap();
    }
    // What was typed is echoed.
    let printed = says(&machine, "END");
    assert!(!printed.contains("errno"), "{printed}");
    assert_eq!(says(&machine, "lnetctl export --backup"), backup);
    assert_eq!(says(&machine, "lctl network down force"), "LNET ready to unload\n");
    assert_eq!(says(&machine, "lctl network up"), "LNET configured\n");
    assert_eq!(says(&machine, "lctl list_nids"), "10.1.0.1@tcp\n10.2.0.1@tcp1\n");
    assert_sound(&machine);
}

#[test]
fn the_power_button_ends_it_in_order() {
    let Site { machine, .. } = site("button", &format!("{ROUTER} lnet.shutdown_drain=1"));
    machine.expect("Accept secure", SOON).unwrap();
    machine.power_button().unwrap();
    machine.expect("peers are told to use other routers", SOON).unwrap();
    machine.expect("LNet: LNET ready to unload", SOON).unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

#[test]
fn a_mistake_on_the_command_line_is_named_and_nothing_is_routed() {
    for (line, says) in [
        ("lnet.networks=tcp0(eth0", "lnet.networks=tcp0(eth0"),
        ("lnet.forwarding=on", "enabled"),
        ("lnet.network=tcp", "lnet.networks"),
        ("lnet.networks=tcp lnet.ip2nets=\"tcp 10.*.*.*\"", "leave one out"),
    ] {
        let Site { machine, .. } = site("mistakes", line);
        machine.expect("not routing", SOON).unwrap();
        // The shell goes on, and when it has answered, that line is complete.
        let nids = self::says(&machine, "lctl list_nids");
        assert!(!nids.contains('@'), "{line}: {nids}");
        assert!(machine.console().contains(says), "{line}:\n{}", machine.console().transcript());
        assert!(!machine.console().contains("Added LNI"), "{line}");
        machine.kill();
    }
}
