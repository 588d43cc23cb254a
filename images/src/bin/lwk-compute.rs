//! The LWK compute node appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

extern crate alloc;

use keelson_images::shutdown::Then;
use keelson_images::{Node, roles};
use keelson_kernel::{Machine, power, user};

keelson_kernel::entry!(image);

fn image(machine: Machine) -> ! {
    let node = Node::start(machine, &roles::LWK_COMPUTE);
    match user::init(node.machine.boot) {
        Ok(machine) if node.config.text("lwk.selftest") == Some("user") => selftest(&machine),
        Ok(_) => {}
        Err(error) => log::error!(target: "lwk", "no programs: {error}"),
    }
    let shutdown = node.shutdown.clone();
    node.handle.spawn("shutdown", shutdown.serve(node.handle.clone(), async {}));
    node.shutdown.request(Then::PowerOff);
    node.run()
}

fn selftest(machine: &user::UserMode) {
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
