//! The clock that time is read from: each that a machine has, and what happens when the time stamp counter goes wrong.

use std::time::{Duration, Instant};

use keelson_qemu::{Drive, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::world::{SOON, World, shell};

/// How long a machine's clock is compared with the host's.
const WATCHED: Duration = Duration::from_secs(10);

/// What each role says when it does its work.
const SERVING: [(&str, &str); 4] = [
    ("nfs-server", "serving NFS on port 2049"),
    ("lnet-router", "LNet: Accept secure, port 988"),
    ("qnet-node", "qnet: mounted as /net"),
    ("lwk-compute", "lwk: hosts may connect to TCP port 8810 with the key"),
];

/// The machine's time since boot, and when it was asked and had answered.
fn uptime(machine: &Machine) -> (Instant, Duration, Instant) {
    let before = Instant::now();
    let answer = shell(machine, "uptime").concat();
    let after = Instant::now();
    let seconds = match answer.strip_suffix("ms") {
        Some(millis) => millis.parse::<f64>().map(|millis| millis / 1000.0),
        None => answer.trim_end_matches('s').parse(),
    };
    (before, Duration::from_secs_f64(seconds.unwrap_or_else(|_| panic!("{answer:?}"))), after)
}

/// The machine's clock goes as the host's does, within 2 %; the answers may take their time.
fn goes_right(machine: &Machine) {
    let (earliest, first, latest) = uptime(machine);
    std::thread::sleep(WATCHED);
    let (before, second, after) = uptime(machine);
    let passed = second - first;
    let (least, most) = (before - latest, after - earliest);
    assert!(
        passed >= least.mul_f64(0.98) && passed <= most.mul_f64(1.02),
        "{passed:?} in {least:?} to {most:?}"
    );
}

/// A machine of this role on `line`, with a disk, of two cores.
fn machine(world: &World, role: &str, line: &str) -> MachineSpec {
    let disk = world.disk();
    let spec = world.bench.machine(role).cpus(2).kernel(Appliance::image(role)).append(line);
    spec.nic(Nic::user(NicModel::Virtio)).drive(Drive::file(disk.path()).snapshot())
}

/// Waits for the service.
fn serves(machine: &Machine, role: &str) {
    let (_, serving) = SERVING.iter().find(|(name, _)| *name == role).unwrap();
    machine.expect(serving, SOON).unwrap();
}

/// Each role with this clock.
fn every_role_with(source: &str) {
    for (role, _) in SERVING {
        let world = World::new(&format!("clock-{source}-{role}"));
        // The compute node says that it serves when it has a key.
        let key = world.bench.dir().join("keys");
        std::fs::write(&key, format!("all {}\n", "5a".repeat(32))).unwrap();
        let spec = machine(&world, role, &format!("clocksource={source}"));
        let machine = if role == "lwk-compute" { spec.initrd(key) } else { spec }.start().unwrap();
        serves(&machine, role);
        assert!(machine.console().contains(&format!("time: clock source {source}")));
        goes_right(&machine);
    }
}

#[test]
fn every_role_by_the_hpet() {
    every_role_with("hpet");
}

#[test]
fn every_role_by_the_acpi_timer() {
    every_role_with("acpi_pm");
}

#[test]
fn without_options_the_tsc_counts() {
    let world = World::new("clock-tsc");
    let machine = machine(&world, "nfs-server", "").start().unwrap();
    serves(&machine, "nfs-server");
    goes_right(&machine);
    let said = machine.console().transcript();
    assert!(!said.contains("clock source") && !said.contains("TSC of a core"), "{said}");
}

#[test]
fn a_tsc_that_goes_wrong_is_given_up() {
    for (args, other) in [(&[][..], "hpet"), (&["-no-hpet"], "acpi_pm")] {
        let world = World::new(&format!("clock-skew-{other}"));
        let machine = machine(&world, "nfs-server", "").args(args.iter().copied()).start().unwrap();
        serves(&machine, "nfs-server");
        shell(&machine, "skew");
        let warning = format!("the TSC does not go as {other} does; the clock source is {other} from now on");
        machine.expect(&warning, SOON).unwrap();
        goes_right(&machine);
        drop(machine);
    }
}

#[test]
fn who_knows_better_is_believed() {
    let world = World::new("clock-reliable");
    let reliable = machine(&world, "nfs-server", "tsc=reliable").start().unwrap();
    serves(&reliable, "nfs-server");
    let is_watched = |machine: &Machine| shell(machine, "top").iter().any(|task| task.ends_with(" clock"));
    assert!(!is_watched(&reliable));
    drop(reliable);
    let unstable = machine(&world, "nfs-server", "tsc=unstable").start().unwrap();
    serves(&unstable, "nfs-server");
    assert!(unstable.console().contains("tsc=unstable; the clock source is hpet from now on"));
    assert!(!is_watched(&unstable));
    drop(unstable);
    let without = machine(&world, "nfs-server", "clocksource=hpet").args(["-no-hpet"]).start().unwrap();
    serves(&without, "nfs-server");
    assert!(without.console().contains("clocksource=hpet: the machine has none that counts"));
    assert!(is_watched(&without), "by the ACPI timer");
    goes_right(&without);
}
