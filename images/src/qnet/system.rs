//! What processes of a Qnet node see of this machine.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Clock;
use keelson_kernel::arch::cpu;
use keelson_kernel::{mm, smp, time};
use keelson_qnet::binding::Binding;
use keelson_qnet::io::Io;
use keelson_qnet::procs::{Cpu, MemoryInfo, MountRequest, System};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;

/// Bytes of a frame of memory.
const FRAME: u64 = 4096;

/// This machine, with the NICs and the name of a node.
pub struct QnetMachine {
    binding: Binding,
    clock: Rc<dyn Clock>,
    ram: u64,
}

impl QnetMachine {
    /// With so many bytes of memory.
    pub fn new(binding: &Binding, clock: Rc<dyn Clock>, ram: u64) -> QnetMachine {
        QnetMachine { binding: binding.clone(), clock, ram }
    }
}

impl System for QnetMachine {
    fn memory(&self) -> MemoryInfo {
        MemoryInfo { total: self.ram, free: mm::frames::statistics().free as u64 * FRAME }
    }

    fn cpus(&self) -> Vec<Cpu> {
        let version = cpu::cpuid(1, 0).eax;
        let mhz = u32::try_from(time::tsc_hz() / 1_000_000).unwrap_or(0);
        let cpu = Cpu { name: brand(), model: version >> 4 & 0xf | version >> 12 & 0xf0, mhz };
        vec![cpu; smp::online().max(1)]
    }

    fn machine(&self) -> MachineType {
        MachineType::X86
    }

    fn wall_time(&self) -> Duration {
        self.clock.wall()
    }

    fn boot_time(&self) -> Duration {
        let running = self.clock.now() - keelson_hal::Instant::ZERO;
        self.clock.wall().saturating_sub(running)
    }

    fn release(&self) -> String {
        self.binding.node().config().release.clone()
    }

    fn version(&self) -> String {
        self.binding.node().config().built.clone()
    }

    fn host_name(&self) -> String {
        self.binding.node().host()
    }

    fn domain(&self) -> String {
        self.binding.node().config().domain.clone()
    }

    fn set_host_name(&self, name: &str) -> Result<(), Errno> {
        self.binding.node().set_host(name)
    }

    fn network_objects(&self) -> Vec<String> {
        self.binding.drivers()
    }

    fn mount<'a>(&'a self, request: &'a MountRequest) -> Io<'a, ()> {
        // io-net is the older network manager, io-pkt the newer one, in its variants.
        let is_network = request.kind.starts_with("io-pkt") || request.kind.starts_with("io-net");
        let result = if is_network {
            self.binding.load(&request.object, &request.options)
        } else {
            Err(Errno::ENODEV)
        };
        Box::pin(core::future::ready(result))
    }

    fn umount<'a>(&'a self, path: &'a str) -> Io<'a, ()> {
        Box::pin(self.binding.unload(path))
    }
}

/// What the processor calls itself; "x86" where it does not.
fn brand() -> String {
    let mut text = Vec::new();
    for leaf in 0x8000_0002..=0x8000_0004 {
        let part = cpu::cpuid(leaf, 0);
        for word in [part.eax, part.ebx, part.ecx, part.edx] {
            text.extend(word.to_le_bytes());
        }
    }
    let text: Vec<u8> = text.into_iter().take_while(|byte| *byte != 0).collect();
    let known = cpu::cpuid(0x8000_0000, 0).eax >= 0x8000_0004;
    let name = core::str::from_utf8(&text).unwrap_or_default().trim();
    if known && !name.is_empty() { String::from(name) } else { String::from("x86") }
}
