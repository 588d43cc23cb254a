//! What a kernel that fails sends to a TFTP server is a core file that plain gdb reads, from every role and every NIC; and what is
//! in the way of it is said, and keeps nothing from going on.

use keelson_qemu::{Board, Exit, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::tftp::{File, Habit, TftpServer};
use keelson_tests::world::{SOON, World, shell};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A dump of an idle machine takes seconds; the driver's patience and the server's are in it.
const LONG: Duration = Duration::from_secs(120);
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0xab, 0xcd];

/// A machine of a role, whose dumps go to the test's host.
fn role(world: &World, role: &str, model: NicModel, line: &str) -> MachineSpec {
    let line = format!("ip=10.0.0.1/24:eth0 dump=tftp://10.0.0.9/dumps/ {line}");
    let spec = match role {
        "nfs-server" => Appliance::nfs(&world.bench, role, &line),
        "lnet-router" => Appliance::lnet(&world.bench, role, &line),
        "qnet-node" => Appliance::qnet(&world.bench, role, &line),
        _ => Appliance::lwk(&world.bench, role, &line).cpus(3).memory_mib(512),
    };
    spec.nic(Nic::on(&world.port, model).mac(MAC))
}

fn ready(spec: MachineSpec) -> Machine {
    let machine = spec.start().unwrap();
    machine.expect("a dump would be sent to 10.0.0.9 by eth0", SOON).unwrap();
    machine.expect("> ", SOON).unwrap();
    machine
}

/// Fails, and what came of it.
fn fails(machine: &Machine, server: &TftpServer, how: &str) -> File {
    machine.console().send_line(how).unwrap();
    machine.expect("dump: sent: ", LONG).unwrap();
    server.file(SOON)
}

/// What gdb says of a dump.
fn gdb(world: &World, role: &str, file: &File, commands: &[&str]) -> String {
    let path = world.bench.dir().join("core");
    fs::write(&path, &file.bytes).unwrap();
    let mut command = Command::new("gdb");
    command.args(["-nx", "-q", "-batch"]);
    for line in commands {
        command.args(["-ex", line]);
    }
    let ended = command.arg(Appliance::elf(role)).arg(&path).output().expect("gdb (Debian package gdb)");
    fs::remove_file(&path).unwrap();
    String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr)
}

fn assert_whole(text: &str) {
    // The oldest function of the first core ran on another stack: there every backtrace ends.
    for bad in ["truncated", "Cannot access", "not in executable format", "unavailable", " ?? "] {
        assert!(!text.contains(bad), "{text}");
    }
}

#[test]
fn every_role_leaves_a_core_file() {
    for (name, line) in [
        ("nfs-server", "nfs.exports=\"/ *(rw)\""),
        ("lnet-router", "lnet.networks=tcp(eth0)"),
        ("qnet-node", "qnet.options=bind=en0"),
        ("lwk-compute", "insecure=1"),
    ] {
        let world = World::new(&format!("dump-{name}"));
        let server = TftpServer::start(&world.host, Habit::default());
        let machine = ready(role(&world, name, NicModel::Virtio, line));
        let file = fails(&machine, &server, "panic");
        assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail, "and then panic= is done");
        println!("{name}: {}, {} KiB in blocks of {}", file.name, file.bytes.len() >> 10, file.block);
        assert!(
            file.name.starts_with(&format!("dumps/{name}-52540012abcd-20")) && file.name.ends_with("Z.core")
        );
        assert!(file.bytes.len() < 64 << 20, "{} bytes: what is free was left out", file.bytes.len());
        let text = gdb(&world, name, &file, &["backtrace", "info threads"]);
        assert_whole(&text);
        assert!(text.contains("shell/machine.rs:") && text.contains("keelson_exec::"), "{text}");
        let cores = if name == "lwk-compute" { 3 } else { 1 };
        assert!(text.matches("LWP ").count() >= cores, "{text}");
    }
}

#[test]
fn every_nic_carries_it() {
    nics_carry_it(&[
        (Board::Pc, NicModel::E1000),
        (Board::Pc, NicModel::I82545em),
        (Board::Q35, NicModel::E1000e),
        (Board::Q35, NicModel::Virtio),
        (Board::Microvm, NicModel::Virtio),
    ]);
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn igb_carries_it() {
    nics_carry_it(&[(Board::Q35, NicModel::Igb), (Board::Pc, NicModel::Igb)]);
}

fn nics_carry_it(nics: &[(Board, NicModel)]) {
    for &(board, model) in nics {
        let name = format!("dump-{board:?}-{model:?}");
        let world = World::new(&name);
        let server = TftpServer::start(&world.host, Habit::default());
        let machine = ready(role(&world, "lnet-router", model, "lnet.networks=tcp(eth0)").board(board));
        let file = fails(&machine, &server, "fault");
        assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail);
        let text = gdb(&world, "lnet-router", &file, &["backtrace"]);
        assert_whole(&text);
        assert!(text.contains("provoke::page_fault"), "{name}: {text}");
    }
}

#[test]
fn cores_that_fail_too_do_not_disturb_it() {
    cores_fail_meanwhile("first", |machine| machine.console().send_line("panic").unwrap());
    cores_fail_meanwhile("all", press_button);
}

/// An NMI that nobody in the machine sent is a failure of each core that it comes to.
fn press_button(machine: &Machine) {
    machine.qmp("inject-nmi", "{}").unwrap();
}

fn cores_fail_meanwhile(name: &str, fail: fn(&Machine)) {
    let world = World::new(&format!("dump-nmi-{name}"));
    let server = TftpServer::start(&world.host, Habit::default());
    let machine = ready(role(&world, "lwk-compute", NicModel::Virtio, "insecure=1"));
    fail(&machine);
    machine.expect("dump: sending ", SOON).unwrap();
    press_button(&machine);
    machine.expect("dump: sent: ", LONG).unwrap();
    let file = server.file(SOON);
    assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail, "and then panic= is done");
    let text = gdb(&world, "lwk-compute", &file, &["info threads"]);
    assert_whole(&text);
    let has_thread = |number| text.contains(&format!("LWP {number} "));
    assert!((1..=3).all(has_thread), "{name}: {text}");
}

#[test]
fn a_stack_that_is_used_up_is_seen_in_the_dump() {
    let world = World::new("dump-overflow");
    // One that knows no options, and loses blocks now and then.
    let habit = Habit { is_old: true, loses: Some(5000), refuses: false };
    let server = TftpServer::start(&world.host, habit);
    let machine = ready(role(&world, "lnet-router", NicModel::Virtio, "lnet.networks=tcp(eth0)"));
    let file = fails(&machine, &server, "overflow");
    assert_eq!(file.block, 512);
    // What fails may be a function within.
    let text = gdb(&world, "lnet-router", &file, &["backtrace 6", "backtrace -9"]);
    assert_whole(&text);
    assert!(text.matches("provoke::recurse").count() >= 5 && text.contains("keelson_exec::"), "{text}");
}

#[test]
fn the_next_boot_tells_of_it() {
    let world = World::new("dump-next");
    let server = TftpServer::start(&world.host, Habit::default());
    let machine = ready(role(&world, "lnet-router", NicModel::Virtio, "panic=-1 lnet.networks=tcp(eth0)"));
    let file = fails(&machine, &server, "panic");
    machine.expect("the last boot ended in a panic: asked for on the console", SOON).unwrap();
    machine.expect("a dump would be sent", SOON).unwrap();
    machine.expect("> ", SOON).unwrap();
    let crash = shell(&machine, "crash").join("\n");
    assert!(
        crash.contains(&format!("as {} by eth0", file.name)) && crash.contains("dump: sent: "),
        "{crash}"
    );
    // The same again, by the kernel that came of it.
    fails(&machine, &server, "panic");
}

#[test]
fn without_a_server_that_takes_it_the_machine_goes_on() {
    let world = World::new("dump-refused");
    let line = "panic=-1 lnet.networks=tcp(eth0)";
    let server = TftpServer::start(&world.host, Habit { refuses: true, ..Habit::default() });
    let machine = ready(role(&world, "lnet-router", NicModel::Virtio, line));
    machine.console().send_line("panic").unwrap();
    machine
        .expect(
            "dump: not sent to 10.0.0.9: the server reports error 2 after 0 bytes: Access violation",
            LONG,
        )
        .unwrap();
    machine.expect("a dump would be sent", SOON).unwrap();
    machine.expect("> ", SOON).unwrap();
    drop(server);
    machine.console().send_line("panic").unwrap();
    machine.expect("dump: not sent to 10.0.0.9: no TFTP server answers at 10.0.0.9:69", LONG).unwrap();
    machine.expect("machine ready", SOON).unwrap();
}

#[test]
fn without_a_way_there_is_no_dump_and_no_wait() {
    let world = World::new("dump-no-way");
    let line = "ip=10.0.0.1/24:eth0 dump=tftp://192.0.2.1 lnet.networks=tcp(eth0)";
    let spec = Appliance::lnet(&world.bench, "lnet-router", line).nic(Nic::on(&world.port, NicModel::Virtio));
    let machine = spec.start().unwrap();
    machine.expect("no way to 192.0.2.1: there would be no dump", SOON).unwrap();
    machine.expect("> ", SOON).unwrap();
    // A way that comes later is taken, and one that goes is forgotten.
    machine.console().send_line("ip addr add 192.0.2.7/24 dev eth0").unwrap();
    machine.expect("a dump would be sent to 192.0.2.1 by eth0", SOON).unwrap();
    machine.console().send_line("ip link set eth0 down").unwrap();
    machine.expect("no way to 192.0.2.1: there would be no dump", SOON).unwrap();
    machine.console().send_line("panic").unwrap();
    machine.expect("dump: not sent to 192.0.2.1: there was no way to it", SOON).unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail);
}
