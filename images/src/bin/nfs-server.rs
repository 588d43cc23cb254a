//! The NFS server appliance.

#![cfg_attr(keelson_image, no_std, no_main)]

use keelson_kernel::Machine;

keelson_kernel::entry!(main);

fn main(machine: Machine) -> ! {
    log::info!("hello {}", machine.boot.cmdline());
    keelson_kernel::power::exit_emulator(keelson_kernel::power::EXIT_SUCCESS)
}
