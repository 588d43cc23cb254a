//! The node itself: cores, sessions of hosts, programs.

use super::cryptography::Test;
use super::hosts::Doors;
use super::{cores, hosts, machine, metrics};
use crate::Node;
use crate::shutdown::{Shutdown, Then};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;
use core::time::Duration;
use keelson_drivers::virtio::console::Port;
use keelson_exec::Handle;
use keelson_hal::log::KernelLog;
use keelson_hal::user::UserMachine;
use keelson_kernel::console;
use keelson_kernel::irq;
use keelson_kernel::mm::{PAGE_SIZE, frames, heap};
use keelson_kernel::postmortem::{self, Selection};
use keelson_kernel::user::UserMode;
use keelson_lwk::control::{Control, Kernel, Piece, Postmortem, provoke_failure, provoke_hang};
use keelson_lwk::exec::{TimeBase, Vdso};
use keelson_lwk::loading::HostLoader;
use keelson_lwk::node::{Node as Programs, NodeSettings};
use keelson_lwk::options::{Keys, Settings, cpulist};
use keelson_lwk::service::Service;
use keelson_lwk::session::{Changes, Delegated, Hub, Server};
use keelson_lwk::signals::{SIGKILL, SIGTERM, SigInfo};
use keelson_lwk_wire::channel::Identity;
use keelson_lwk_wire::dump::Level;
use keelson_lwk_wire::handshake::{Features, Modes};
use keelson_net::Stack;
use keelson_ops::metrics::Exposition;

/// How long programs have between the request to end and the end.
const GRACE: Duration = Duration::from_secs(2);

/// How often what programs changed in mapped files goes to their hosts (section 3.5).
const WRITE_BACK: Duration = Duration::from_secs(30);

/// CPUID.7.0:EBX bit 0, and bit 1 of AT_HWCAP2: programs may use RDFSBASE and its relatives.
const FSGSBASE: u32 = 1;
const HWCAP2_FSGSBASE: u64 = 2;

/// What tools may ask of the kernel.
struct Below {
    shutdown: Shutdown,
}

impl Kernel for Below {
    fn log(&self) -> &dyn KernelLog {
        &console::log::Reading
    }

    fn memory_used(&self) -> u64 {
        heap::counts().claimed as u64
    }

    fn power_off(&self) {
        self.shutdown.request(Then::PowerOff);
    }

    fn interrupt(&self, core: usize, vector: u8) -> Result<(), String> {
        irq::test(core, vector).map_err(|error| error.to_string())
    }

    fn postmortem(&self) -> Option<&dyn Postmortem> {
        Some(self)
    }
}

impl Postmortem for Below {
    fn hold(&self) -> Vec<usize> {
        postmortem::hold()
    }

    fn release(&self) {
        postmortem::release();
    }

    fn is_holding(&self) -> bool {
        postmortem::is_holding()
    }

    fn info(&self) -> Vec<u8> {
        postmortem::bytes()
    }

    fn next(&self, from: u64, level: Level) -> Option<Piece> {
        let selection = match level {
            Level::All => Selection::All,
            Level::Kernel => Selection::Kernel,
        };
        postmortem::next(from, selection).map(|piece| Piece { range: piece.range, wanted: piece.wanted })
    }

    fn is_zero(&self, range: Range<u64>) -> bool {
        postmortem::is_zero(range)
    }

    fn read(&self, physical: u64, into: &mut [u8]) -> bool {
        postmortem::read(physical, into)
    }

    fn free_blocks(&self) -> Vec<(u64, u64)> {
        let blocks = frames::free_blocks().into_iter().enumerate();
        blocks.map(|(order, count)| (PAGE_SIZE << order, count)).collect()
    }
}

/// A node that runs programs.
pub struct Lwk {
    programs: Arc<Programs>,
    handle: Handle,
    /// `None` where no host may connect.
    hosts: Option<Hosts>,
}

/// What hosts do with the node.
struct Hosts {
    server: Rc<Server>,
    hub: Arc<Hub>,
    control: Rc<Control>,
    /// The serial ports that they may come by.
    ports: Vec<Rc<Port>>,
}

impl Lwk {
    /// Starts the cores and lets hosts connect. Fails in words.
    pub fn start(
        node: &Node,
        stack: &Stack,
        ports: &[Rc<Port>],
        machine: UserMode,
        settings: Settings,
        keys: Option<Keys>,
    ) -> Result<Lwk, String> {
        postmortem::set_kargs(&node.config.public_line());
        let system = machine::system(machine, &node.machine.entropy, settings.shm);
        cores::serve_first(&node.handle);
        for core in settings.compute.iter().chain(&settings.service).copied().filter(|core| *core != 0) {
            if !cores::start(core, settings.idle) {
                return Err(format!("processor {core} does not take work"));
            }
        }
        // Early: it has until the first host comes.
        let tested = Test::start(settings.compute.first().copied().unwrap_or(0));
        node.handle.spawn("lwk-timers", system.timers.clone().serve(node.handle.clone()));
        let (memory, timers) = (system.memory.clone(), system.timers.clone());
        node.handle.spawn("lwk-write-back", async move { memory.serve(timers, WRITE_BACK).await });
        let name = node.config.text("hostname").unwrap_or("lwk").to_string();
        let programs = Programs::new(
            system.clone(),
            NodeSettings {
                name: name.clone(),
                command_line: node.config.public_line(),
                compute: settings.compute.clone(),
                service: settings.service.clone(),
                oversubscribe: settings.oversubscribe,
                helpers: settings.helpers,
                dump_level: settings.dump_level,
                ..NodeSettings::default()
            },
        );
        log::info!(
            target: "lwk",
            "processors for programs: {}, for services: {}; {} thread{} on each",
            cpulist::format(&settings.compute),
            cpulist::format(&settings.service),
            settings.oversubscribe,
            if settings.oversubscribe == 1 { "" } else { "s" }
        );
        log::info!(target: "lwk", "memory for programs: {}", shares(&*system.machine));
        if settings.oversubscribe > 1 && settings.time_sharing {
            let programs = programs.clone();
            node.handle.spawn("lwk-turns", async move { programs.share_cores().await });
        }
        let mut lwk = Lwk { programs: programs.clone(), handle: node.handle.clone(), hosts: None };
        if !settings.delegation {
            log::warn!(target: "lwk", "no host may connect (hidos=0): nothing starts programs");
            return Ok(lwk);
        }
        let vdso = Arc::new(Vdso::new(&system).map_err(|error| format!("no vDSO: {error}"))?);
        // The kernel's own clock counts the same ticks at the same rate.
        vdso.set(TimeBase::now(&system));
        {
            let (vdso, system) = (vdso.clone(), system.clone());
            node.wall.on_change(move || vdso.set_wall(&system));
        }
        let extended = system.machine.new_extended().map_or(0, |state| state.len() as u64);
        let fsgsbase = system.machine.cpuid(7, 0)[1] & FSGSBASE != 0;
        let loader = HostLoader::new(Some(vdso), if fsgsbase { HWCAP2_FSGSBASE } else { 0 }, extended);
        let hub = Arc::new(Hub {
            system: system.clone(),
            tickets: Arc::default(),
            changes: Changes::new(settings.attribute_cache),
            calls: Delegated::default(),
        });
        let doors = Doors::open(stack, ports, &settings.listen)?;
        let unsummed = if settings.crc { Features::empty() } else { Features::NOCRC };
        let below = Rc::new(Below { shutdown: node.shutdown.clone() });
        let control = Control::new(programs.clone(), below, env!("KEELSON_BUILT").to_string());
        node.handle.spawn("lwk-watch", control.clone().watch(settings.checks));
        let service =
            Service::new(programs, hub.clone(), loader, settings, control.clone(), node.wall.clone());
        let mut boot_id = [0; 16];
        system.entropy.fill(&mut boot_id);
        let identity = Identity {
            name,
            build: env!("KEELSON_BUILT").to_string(),
            features: Features::AEAD | unsummed,
            modes: keys.as_ref().map_or(Modes::NONE, Keys::all_modes),
            boot_id,
        };
        let secured = keys.is_some();
        let server = Server::new(
            node.handle.clone(),
            system.entropy.clone(),
            identity,
            Arc::new(keys.unwrap_or_default()),
            Rc::new(service),
            hub.tickets.clone(),
        );
        let ports = doors.serve(&node.handle, server.clone(), tested, secured);
        lwk.hosts = Some(Hosts { server, hub, control, ports });
        Ok(lwk)
    }

    /// Asks programs to end, and ends those that do not.
    pub async fn end_programs(&self) {
        for signal in [SIGTERM, SIGKILL] {
            for process in self.programs.processes() {
                // What ended in between needs no signal.
                let _ = process.signal(SigInfo::kernel(signal));
            }
            for _ in 0..20 {
                if self.programs.processes().is_empty() {
                    return;
                }
                self.handle.sleep(GRACE / 20).await;
            }
        }
    }

    /// Whether hosts can start programs, and none of the processors hangs.
    pub fn check(&self) -> Result<(), String> {
        let Some(hosts) = &self.hosts else {
            return Err(String::from(
                "no host may connect (hidos=0), so nothing starts programs; boot with hidos",
            ));
        };
        match hosts.control.status() {
            "HUNGUP" => Err(String::from("a processor hangs; take a dump (ihkosctl) and boot again")),
            "SHUTDOWN" => Err(String::from("shutting down")),
            _ => Ok(()),
        }
    }

    /// Writes what the node does as metrics.
    pub fn collect(&self, to: &mut Exposition) {
        metrics::programs(to, &self.programs);
        if let Some(Hosts { server, hub, ports, .. }) = &self.hosts {
            metrics::hosts(to, server.counters(), &hub.calls);
            hosts::collect(to, ports);
        }
    }

    /// A line for each thread.
    pub fn processes(&self) -> String {
        let mut text = String::from("    PID     TID  CPU  COMMAND\n");
        for process in self.programs.processes() {
            for thread in process.threads() {
                let core = thread.core.load(core::sync::atomic::Ordering::Relaxed);
                let name = String::from_utf8_lossy(&thread.comm()).into_owned();
                let _ = writeln!(text, "{:>7} {:>7} {core:>4}  {name}", process.pid, thread.tid);
            }
        }
        text
    }

    /// Keeps a core in the kernel, to see it noticed.
    pub fn hang(&self, words: &[&str]) -> String {
        let core = words.first().and_then(|word| word.parse().ok());
        let seconds = words.get(1).map_or(Some(5), |word| word.parse().ok());
        let service = &self.programs.settings.service;
        let (Some(core), Some(seconds @ 1..=60)) = (core.filter(|core| !service.contains(core)), seconds)
        else {
            return String::from("hang CORE [SECONDS]: a processor for programs, and up to 60 seconds");
        };
        match provoke_hang(&self.programs, core, Duration::from_secs(seconds)) {
            true => String::new(),
            false => format!("{core}: no such processor"),
        }
    }

    /// Makes the kernel give up on a core for programs, to see what a dump shows of it.
    pub fn fail(&self, words: &[&str]) -> String {
        let core = words.first().and_then(|word| word.parse().ok());
        let service = &self.programs.settings.service;
        match core.filter(|core| !service.contains(core)) {
            Some(core) if provoke_failure(&self.programs, core) => String::new(),
            _ => String::from("fail CORE: a processor for programs"),
        }
    }

    /// What interrupted each core since boot.
    pub fn interrupts(&self) -> String {
        let mut text = String::from(
            "cpu      timer   device doorbell     kick      tlb      nmi spurious   faults   syscalls\n",
        );
        let machine = &self.programs.system.machine;
        for core in 0..machine.cores() {
            let e = machine.entries(core);
            let _ = writeln!(
                text,
                "{core:<4} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
                e.timer,
                e.device,
                e.doorbell,
                e.kick,
                e.shootdown,
                e.nmi,
                e.spurious,
                e.page_faults,
                e.syscalls
            );
        }
        text
    }
}

/// What programs have of each NUMA node, and which processors lie there.
fn shares(machine: &dyn UserMachine) -> String {
    let nodes = machine.nodes();
    let of_node = |node: usize| {
        let amount = format!("{} MiB", machine.memory(node).1 >> 20);
        let cores: Vec<usize> = (0..machine.cores()).filter(|core| machine.node_of(*core) == node).collect();
        if nodes == 1 {
            return amount;
        }
        let cores = if cores.is_empty() { "none".to_string() } else { cpulist::format(&cores) };
        format!("{amount} of node {node} (processors {cores})")
    };
    (0..nodes).map(of_node).collect::<Vec<_>>().join(", ")
}
