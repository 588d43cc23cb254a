//! What the machine says and takes on its console: reports, log levels, complaints about the command line, the shell.

use std::time::{Duration, Instant};

use keelson_qemu::{Exit, Machine};
use keelson_tests::world::{MOMENT, SERVER, SOON, World, shell};

/// An appliance without disk whose shell is ready; `panic=exit` and a static address are set.
fn idle(world: &World, append: &str) -> Machine {
    let machine = world.appliance(append).start().unwrap();
    machine.expect("> ", SOON).unwrap();
    machine
}

/// Everything said once the machine has ended.
fn last_words(machine: &Machine) -> String {
    // The reader thread may still be at it.
    let _ = machine.expect("panic: exit", SOON);
    machine.console().transcript()
}

#[test]
fn a_fault_is_reported_with_registers_and_a_symbolised_backtrace() {
    let world = World::new("fault");
    let machine = idle(&world, "");
    machine.console().send_line("fault").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail, "panic=exit ends with status 35");
    let text = last_words(&machine);
    assert!(text.contains("*** core 0: page fault writing 0xdead0000: nothing mapped there"), "{text}");
    for part in ["rip ffffffff8", "rsp ffff", "rax 00000000dead0000", "r15 ", "backtrace:"] {
        assert!(text.contains(part), "{part} in the report:\n{text}");
    }
    // Every function from the fault to the entry point, by name.
    for function in ["provoke::page_fault+0x", "shell::serve", "executor::Executor::run", "nfs_server::image"]
    {
        assert!(text.contains(function), "{function} in the backtrace:\n{text}");
    }
    assert!(text.contains("Last lines of the log:"), "{text}");
}

#[test]
fn a_stack_overflow_is_called_that() {
    let world = World::new("overflow");
    let machine = idle(&world, "");
    machine.console().send_line("overflow").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail);
    let text = last_words(&machine);
    assert!(text.contains("stack overflow on core 0"), "{text}");
    assert!(text.contains("provoke::recurse"), "{text}");
}

#[test]
fn a_panic_names_its_place_and_ends_with_status_35() {
    let world = World::new("panic");
    let machine = idle(&world, "");
    machine.console().send_line("panic").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::Fail);
    let text = last_words(&machine);
    assert!(text.contains("panic: asked for on the console (images/src/shell/machine.rs:"), "{text}");
    assert!(text.contains("shell"), "the function's name in the backtrace:\n{text}");
}

#[test]
fn panic_with_seconds_reboots() {
    let world = World::new("panic-reboot");
    let machine = idle(&world, "panic=1");
    machine.console().send_line("panic").unwrap();
    machine.expect("panic: reboot after 1 s", SOON).unwrap();
    let start = Instant::now();
    machine.expect("machine ready", SOON).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    machine.expect("> ", SOON).unwrap();
    assert!(shell(&machine, "uptime").concat().contains('s'));
}

#[test]
fn panic_zero_halts() {
    let world = World::new("panic-halt");
    let machine = idle(&world, "panic=0");
    world.host.ping(SERVER.parse().unwrap(), 56, SOON).unwrap();
    machine.console().send_line("panic").unwrap();
    machine.expect("panic: halt", SOON).unwrap();
    assert!(machine.expect("machine ready", MOMENT).is_err(), "it must not start again");
    assert!(machine.is_running());
    assert!(world.host.ping(SERVER.parse().unwrap(), 56, MOMENT).is_err(), "nothing runs after a panic");
    // Halted, not spinning.
    let before = machine.usage().unwrap().cpu;
    std::thread::sleep(MOMENT);
    let spent = machine.usage().unwrap().cpu - before;
    assert!(spent < MOMENT / 2, "{spent:?} of CPU time in {MOMENT:?} of halt");
}

#[test]
fn the_shell_helps() {
    let world = World::new("shell");
    let machine = idle(&world, "");
    let help = shell(&machine, "help");
    for command in [
        "ip", "netstat", "nfsstat", "exportfs", "mem", "cpus", "top", "uptime", "dmesg", "poweroff", "reboot",
    ] {
        let described = |line: &String| {
            line.strip_prefix(command).is_some_and(|rest| rest.starts_with(' ') && rest.trim().len() > 5)
        };
        assert!(help.iter().any(described), "{command} in {help:?}");
    }
    assert_eq!(shell(&machine, "frobnicate 1 2"), ["frobnicate: no such command; try help"]);
    assert_eq!(shell(&machine, "nfsstat"), ["not serving"]);
    let ip = shell(&machine, "ip").join("\n");
    assert!(
        ip.contains("eth0: <UP,LOWER_UP> mtu 1500 virtio_net") && ip.contains("inet 10.0.0.1/24"),
        "{ip}"
    );
    assert!(shell(&machine, "dmesg").iter().any(|line| line.contains("command line:")));
    assert!(shell(&machine, "top").iter().any(|line| line.ends_with(" shell")));
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

#[test]
fn log_levels() {
    let world = World::new("log");
    let quiet = idle(&world, "log=error");
    assert!(!quiet.console().contains("machine ready") && !quiet.console().contains("address 10.0.0.1"));
    assert!(quiet.console().contains("not serving: no disk"), "errors are shown");
    drop(quiet);
    // One target only.
    let net = world.appliance("log=error,net=info").start().unwrap();
    net.expect("> ", SOON).unwrap();
    assert!(net.console().contains("eth0: address 10.0.0.1/24") && !net.console().contains("machine ready"));
    drop(net);
    let pci = world.appliance("log=info,pci=debug").start().unwrap();
    pci.expect("1af4:1000 class 0200", SOON).unwrap();
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let world = World::new("mistakes");
    let disk = world.disk();
    let line = "ip=10.0.0.300/24 log=loud panic=often nfz=1 mtu=12 frob.nicate=7";
    let drive = keelson_qemu::Drive::file(disk.path());
    let machine = world.appliance(line).drive(drive).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let text = machine.console().transcript();
    for complaint in [
        // Name, value, and what is accepted.
        &["ip=10.0.0.300/24", "is not"][..],
        &["log=loud", "accepted are off, error, warn, info, debug, trace"],
        &["panic=often", "accepted are 0 (halt)"],
        &["mtu=12", "576"],
        &["unknown option \"nfz\""],
        &["unknown option \"frob.nicate\""],
    ] {
        let found =
            |line: &str| complaint.iter().all(|part| line.contains(part)) && !line.contains("command line:");
        assert!(text.lines().any(found), "{complaint:?} in:\n{text}");
    }
    world.assert_serves(SERVER);
}

#[test]
fn a_mistake_in_the_roles_options_keeps_it_from_serving() {
    for (line, complaint) in [
        ("nfs.exprots=\"/ *(ro)\"", "unknown option \"nfs.exprots\"; did you mean nfs.exports"),
        ("nfs.port=99999", "bad value nfs.port=99999: "),
        ("nfs.exports=\"/ *(rx)\"", "unknown option 'rx'"),
        ("fs.cache=little", "bad value fs.cache=little: "),
    ] {
        let world = World::new("refusal");
        let disk = world.disk();
        let machine = world.appliance(line).drive(keelson_qemu::Drive::file(disk.path())).start().unwrap();
        machine.expect(complaint, SOON).unwrap();
        machine.expect("not serving because of the command line", SOON).unwrap();
        world.host.ping(SERVER.parse().unwrap(), 56, SOON).unwrap();
        let refused =
            world.host.tcp_connect(keelson_tests::world::at(SERVER, 2049), SOON).map(drop).unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
    }
}
