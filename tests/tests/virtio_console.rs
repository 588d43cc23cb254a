//! The virtio console: the log from its beginning, and a shell that takes what is typed.

use std::io::Write;

use keelson_qemu::{Board, Exit};
use keelson_tests::world::{SOON, World};

#[test]
fn hvc0_carries_the_log_and_a_shell() {
    for board in [Board::Q35, Board::Microvm] {
        let world = World::new(&format!("hvc0-{board:?}"));
        let spec = world.appliance("console=hvc0 console=ttyS0").board(board).virtio_console();
        let machine = spec.start().unwrap();
        // The first line of the log was written long before the console had a driver.
        machine.expect("hvc0: * Keelson * nfs-server", SOON).unwrap();
        machine.expect("hvc0: * machine ready after", SOON).unwrap();
        machine.expect("hvc0: * eth0: address 10.0.0.1/24", SOON).unwrap();

        let mut keys = machine.channel("hvc0").unwrap();
        keys.write_all(b"help\n").unwrap();
        machine.expect("hvc0: poweroff ", SOON).unwrap();
        // A line longer than any buffer between the machines, in pieces, and one corrected on the way.
        let long = "x".repeat(100);
        for piece in format!("{long}\n").as_bytes().chunks(7) {
            keys.write_all(piece).unwrap();
        }
        machine.expect(&format!("hvc0: {long}: no such command"), SOON).unwrap();
        keys.write_all(b"nonsensf\x7fe\n").unwrap();
        machine.expect("hvc0: nonsense: no such command", SOON).unwrap();
        // The serial console has a shell of its own.
        machine.console().send_line("wrong").unwrap();
        machine.expect("wrong: no such command", SOON).unwrap();
        keys.write_all(b"poweroff\n").unwrap();
        assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    }
}
