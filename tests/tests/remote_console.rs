//! The console over the network: for whom it opens, and that it is the serial console's equal.

use std::io::{Read, Write};

use keelson_qemu::{Exit, Machine, StackHost, TcpStream};
use keelson_tests::world::{MOMENT, SERVER, SOON, World, assert_sound, at, shell};

const PORT: u16 = 5000;

/// An appliance without disk, its console open as `append` says.
fn idle(world: &World, append: &str) -> Machine {
    let machine = world.appliance(append).start().unwrap();
    // Not for the prompt: what comes after it on its line would count as seen.
    machine.expect("not serving: no disk", SOON).unwrap();
    machine
}

fn connect(world: &World) -> TcpStream {
    world.host.tcp_connect(at(SERVER, PORT), SOON).unwrap()
}

/// Reads to the next prompt, which ends a line of its own.
fn answer(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !(text == b"> " || text.ends_with(b"\n> ")) {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "ended after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(text).unwrap().trim_end_matches("> ").to_string()
}

fn ask(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    answer(stream)
}

#[test]
fn the_same_commands_work_from_afar() {
    let world = World::new("remote");
    let machine = idle(&world, "console.port=5000 console.allow=10.0.0.0/24");
    machine.expect("remote console on TCP port 5000 for 10.0.0.0/24", SOON).unwrap();
    let mut stream = connect(&world);
    assert_eq!(answer(&mut stream), "");
    assert_eq!(ask(&mut stream, "help"), shell(&machine, "help").join("\n") + "\n");
    assert!(ask(&mut stream, "ip").contains("inet 10.0.0.1/24"));
    assert_eq!(ask(&mut stream, "frobnicate \"1 2\""), "frobnicate: no such command; try help\n");
    assert!(ask(&mut stream, "dmesg").contains("session from 10.0.0.9:"));
    ask(&mut stream, &"x".repeat(100_000));
    stream.write_all(b"exit\n").unwrap();
    machine.expect("ended: exit", SOON).unwrap();
    assert_sound(&machine);
    connect(&world).write_all(b"poweroff\n").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

#[test]
fn it_is_closed_unless_somebody_is_named() {
    let world = World::new("remote-closed");
    for (line, complaint) in [
        (
            "console.port=5000",
            "console.port=5000 stays closed: nobody may connect; add console.allow=NETWORK",
        ),
        (
            "console.port=5000 console.allow=everybody",
            "bad value console.allow=everybody: \"everybody\" is not an",
        ),
        ("console.allow=10.0.0.9", "console.allow does nothing without console.port=PORT"),
    ] {
        let machine = idle(&world, line);
        machine.expect("> ", SOON).unwrap();
        assert!(machine.console().contains(complaint), "{complaint}:\n{}", machine.console().transcript());
        let refused = world.host.tcp_connect(at(SERVER, PORT), SOON).map(drop).unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
        machine.kill();
    }
}

#[test]
fn strangers_and_crowds_are_turned_away_by_name() {
    let world = World::new("remote-strangers");
    let machine = idle(&world, "console.port=5000 console.allow=10.0.0.9");
    let address = "10.0.0.77/24".parse().unwrap();
    let stranger =
        StackHost::start(&world.lan.port("stranger").unwrap(), &[address], async |_, _| ()).unwrap();
    let heard = stranger.run(async |host| {
        let stream = host.stack.connect(at(SERVER, PORT), Default::default()).await;
        let Ok(stream) = stream else { return false };
        matches!(stream.read_with(|bytes| (bytes.len(), ())).await, Ok(Some(())))
    });
    assert!(!heard, "nothing is said to strangers");
    machine.expect("not in console.allow=10.0.0.9/32", SOON).unwrap();
    assert!(machine.console().contains("refused 10.0.0.77:"));
    let mut open: Vec<TcpStream> = (0..4).map(|_| connect(&world)).collect();
    open.iter_mut().for_each(|stream| assert_eq!(answer(stream), ""));
    let mut text = String::new();
    connect(&world).read_to_string(&mut text).unwrap();
    assert_eq!(text, "4 sessions are open; end one with exit\n");
    machine.expect("4 sessions are open; end one with exit", SOON).unwrap();
    assert!(ask(&mut open[3], "uptime").contains('s'), "the others go on");
    assert_sound(&machine);
}

#[test]
fn an_interface_is_set_down_and_up() {
    let world = World::new("ip-link");
    let machine = idle(&world, "console.port=5000 console.allow=10.0.0.9");
    let server = SERVER.parse().unwrap();
    world.host.ping(server, 56, SOON).unwrap();
    let mut stream = connect(&world);
    assert_eq!(answer(&mut stream), "");
    shell(&machine, "ip link set eth0 down");
    assert!(shell(&machine, "ip link").concat().contains("eth0: <DOWN,LOWER_UP>"));
    assert!(world.host.ping(server, 56, MOMENT).is_err());
    shell(&machine, "ip link set eth0 up");
    world.host.wait_for(server, SOON).unwrap();
    // The session has outlived it.
    assert!(ask(&mut stream, "ip addr show eth0").contains("inet 10.0.0.1/24"));
    assert_eq!(ask(&mut stream, "ip link set eth1 up"), "eth1: no such interface; there is eth0\n");
    assert_sound(&machine);
}
