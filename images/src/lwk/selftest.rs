//! `lwk.selftest=`: a part of the kernel proves itself on this machine.

use crate::Node;
use crate::shutdown::Then;
use keelson_kernel::{power, user};

/// Tests user mode and switches off; under QEMU a failure is its exit status.
pub fn run(node: Node) -> ! {
    match user::init(node.machine.boot) {
        Ok(machine) => user_mode(&machine),
        Err(error) => log::error!(target: "lwk", "no programs: {error}"),
    }
    let shutdown = node.shutdown.clone();
    node.handle.spawn("shutdown", shutdown.serve(node.handle.clone(), async {}));
    node.shutdown.request(Then::PowerOff);
    node.run()
}

fn user_mode(machine: &user::UserMode) {
    let report = user::selftest::run(machine);
    log::info!(
        target: "lwk",
        "self-test of user mode: {} passed, {} failed; {} ns for a system call, {} us for 64 MiB",
        report.passed,
        report.failed.len(),
        report.call_ns,
        report.map_us
    );
    if !report.failed.is_empty() {
        power::exit_emulator(power::EXIT_FAILURE);
    }
}
