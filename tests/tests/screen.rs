//! The screen: log and reports of panics on VGA text and on framebuffers, read back from the video memory and from pictures.

use std::io::Write;
use std::time::{Duration, Instant};

use keelson_qemu::{Drive, Firmware, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::boot::{esp, iso};
use keelson_tests::world::{MOMENT, SOON, World};
use keelson_tests::{Appliance, glyphs};

/// Firmware is slow in emulation.
const BOOTED: Duration = Duration::from_secs(240);
const SERVING: &str = "nfs: serving NFS on port 2049";

/// How to read a screen.
type Reader = fn(&Machine) -> Vec<String>;

fn text(machine: &Machine) -> Vec<String> {
    machine.text_screen().unwrap()
}

fn pixels(machine: &Machine) -> Vec<String> {
    glyphs::rows(&machine.picture().unwrap())
}

/// Waits until a row of the screen has `what` in it, and returns all rows.
fn expect(machine: &Machine, read: Reader, what: &str, patience: Duration) -> Vec<String> {
    let end = Instant::now() + patience;
    loop {
        let rows = read(machine);
        if rows.iter().any(|row| row.contains(what)) {
            return rows;
        }
        assert!(Instant::now() < end, "{what:?} on the screen:\n{}", rows.join("\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A machine that can only be seen: without a serial port, and with a virtio console to type on.
fn silent(world: &World) -> MachineSpec {
    let spec = world.bench.machine("silent").nic(Nic::on(&world.port, NicModel::Virtio));
    spec.screen().no_serial().virtio_console()
}

/// The role's words are on the screen; then those of a panic, from its headline to what follows it.
fn serves_and_panics(machine: &Machine, read: Reader, patience: Duration) {
    let rows = expect(machine, read, SERVING, patience);
    assert!(rows.iter().any(|row| row.starts_with("[ ") && row.contains(" INFO  ")), "{rows:?}");
    machine.channel("hvc0").unwrap().write_all(b"fault\n").unwrap();
    let rows = expect(machine, read, "panic: halt", SOON);
    // On 80 columns the headline takes two rows.
    let headline = "*** core 0: page fault writing 0xdead0000: nothing mapped there (error code 0x2) ***";
    assert!(headline.starts_with(&rows[0]) && rows.concat().starts_with(headline), "{rows:?}");
    let place = |what: &str| {
        rows.iter().position(|row| row.contains(what)).unwrap_or_else(|| panic!("{what:?} in {rows:?}"))
    };
    let order = [
        "  rip ffffffff8",
        "cs 10 ss 18",
        "Keelson ",
        "provoke::page_fault+0x",
        "Executor::run",
        "Last lines of the log:",
        "panic: halt",
    ];
    let order = order.map(place);
    assert!(order.is_sorted(), "{order:?} in {rows:?}");
    assert_eq!(order.last(), Some(&(rows.len() - 1)), "at the bottom");
}

/// A disk and what the role needs.
fn direct(world: &World, file: std::path::PathBuf) -> MachineSpec {
    let disk = world.disk();
    silent(world)
        .kernel(file)
        .append("ip=10.0.0.1/24:eth0 nfs.exports=\"/ *(rw)\"")
        .drive(Drive::file(disk.path()))
}

#[test]
fn vga_text_of_a_bios() {
    let world = World::new("vga");
    let machine = direct(&world, Appliance::image("nfs-server")).start().unwrap();
    serves_and_panics(&machine, text, SOON);
}

#[test]
fn vga_text_by_pvh() {
    let world = World::new("vga-pvh");
    let machine = direct(&world, Appliance::elf("nfs-server")).start().unwrap();
    serves_and_panics(&machine, text, SOON);
}

#[test]
fn framebuffer_of_uefi() {
    let world = World::new("gop");
    let (disk, esp) = (world.disk(), esp(world.bench.dir(), &Appliance::image("nfs-server")));
    let spec = silent(&world).firmware(Firmware::Uefi);
    let spec = spec.drive(Drive::file(disk.path())).drive(Drive::directory(&esp).boots());
    serves_and_panics(&spec.start().unwrap(), pixels, BOOTED);
}

/// It enters as for Linux, and passes the firmware's framebuffer on.
#[test]
fn framebuffer_of_grub() {
    let world = World::new("gop-grub");
    let disk = world.disk();
    // The menu is operated on the serial line.
    let spec = world.bench.machine("grub").firmware(Firmware::Uefi).screen().virtio_console().cd(iso());
    let spec = spec.nic(Nic::user(NicModel::Virtio));
    let machine = spec.drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("LWK compute node", BOOTED).unwrap();
    machine.console().send("n").unwrap();
    machine.expect("tty0: framebuffer with ", BOOTED).unwrap();
    serves_and_panics(&machine, pixels, BOOTED);
}

/// A machine with a serial port, started on this line.
fn heard(world: &World, line: &str, screen: bool) -> Machine {
    let disk = world.disk();
    let spec = world.appliance(line).drive(Drive::file(disk.path()));
    let machine = if screen { spec.screen() } else { spec }.start().unwrap();
    machine.expect(SERVING, SOON).unwrap();
    machine
}

#[test]
fn without_console_there_are_both() {
    let world = World::new("screen-both");
    let machine = heard(&world, "", true);
    assert!(machine.console().contains("tty0: VGA text mode with 80 columns and 25 rows"));
    expect(&machine, text, SERVING, SOON);
}

#[test]
fn a_screen_that_console_does_not_name_is_left_alone() {
    let world = World::new("screen-unnamed");
    let machine = heard(&world, "console=ttyS0 panic=0", true);
    std::thread::sleep(MOMENT);
    let rows = text(&machine);
    assert!(!rows.iter().any(|row| row.contains(" INFO ")), "{rows:?}");
    assert!(!machine.console().contains("tty0:"));
    // But for what nobody should miss.
    machine.console().send_line("panic").unwrap();
    expect(&machine, text, "*** core 0: panic: asked for on the console", SOON);
}

#[test]
fn a_screen_that_is_not_there() {
    let world = World::new("screen-missing");
    let machine = heard(&world, "console=tty0 console=ttyS0", false);
    assert!(machine.console().contains("console=tty0: there is no screen"));
    let world = World::new("screen-unasked");
    let machine = heard(&world, "", false);
    assert!(!machine.console().contains("tty0"));
}
