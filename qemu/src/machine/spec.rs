//! The description of a machine, and the QEMU command line it becomes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::firmware::{self, Firmware, NetLoader, Tftp};
use super::running::Machine;
use crate::bench::BenchRef;
use crate::error::{Error, Result};
use crate::lan::{Lan, Port};
use crate::namespace::Tap;

/// QEMU's machine types that the bench knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// i440FX: PCI without PCIe.
    Pc,
    /// ICH9: PCIe, MSI-X, ACPI with MCFG.
    Q35,
    /// No PCI: virtio over MMIO.
    Microvm,
}

/// Models of network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicModel {
    /// virtio-net: over PCI, or over MMIO on [`Board::Microvm`].
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Intel 82544GC.
    I82544gc,
    /// Intel 82545EM.
    I82545em,
    /// Intel 82574L.
    E1000e,
    /// Intel 82576, which QEMU has since version 8.0.
    Igb,
}

/// A network interface and where its cable goes.
#[derive(Clone)]
pub struct Nic {
    model: NicModel,
    cable: Cable,
    mac: Option<[u8; 6]>,
    boots: Option<NetLoader>,
    options: String,
}

#[derive(Clone)]
enum Cable {
    Lan(Port),
    User { forwards: Vec<Forward>, tftp: Option<Tftp> },
    Tap(Tap),
}

/// A port of the host's 127.0.0.1 that leads into the machine.
#[derive(Clone, Copy, Debug)]
struct Forward {
    protocol: &'static str,
    host: u16,
    guest: u16,
}

impl Nic {
    /// A NIC on a switch port.
    pub fn on(port: &Port, model: NicModel) -> Nic {
        Nic::with(Cable::Lan(port.clone()), model)
    }

    /// A NIC on a tap of the host's own stack, the cable with offloads. QEMU then runs in the tap's namespace.
    pub fn tap(tap: &Tap, model: NicModel) -> Nic {
        Nic::with(Cable::Tap(tap.clone()), model)
    }

    /// A NIC on QEMU's user networking (10.0.2.0/24, DHCP), cut off from everything but [`Nic::forward_tcp`] and
    /// [`Nic::tftp`].
    pub fn user(model: NicModel) -> Nic {
        Nic::with(Cable::User { forwards: vec![], tftp: None }, model)
    }

    fn with(cable: Cable, model: NicModel) -> Nic {
        Nic { model, cable, mac: None, boots: None, options: String::new() }
    }

    /// The machine boots from this NIC, unless it boots from one before. What it is told to load is the business of the
    /// DHCP server on the cable.
    pub fn boots(mut self, loader: NetLoader) -> Nic {
        self.boots = Some(loader);
        self
    }

    /// Has the user network serve `directory` over TFTP, and tell clients that boot to begin with its file `first`.
    pub fn tftp(mut self, directory: &Path, first: &str) -> Nic {
        if let Cable::User { tftp, .. } = &mut self.cable {
            *tftp = Some(Tftp { directory: directory.into(), first: first.into() });
        }
        self
    }

    /// Makes TCP port `guest` reachable at a free port of 127.0.0.1; see [`Machine::forwarded_tcp`].
    pub fn forward_tcp(self, guest: u16) -> Nic {
        self.forward("tcp", guest)
    }

    /// The same for UDP.
    pub fn forward_udp(self, guest: u16) -> Nic {
        self.forward("udp", guest)
    }

    fn forward(mut self, protocol: &'static str, guest: u16) -> Nic {
        if let Cable::User { forwards, .. } = &mut self.cable {
            // The port is free now; QEMU takes it a moment later and fails loudly if somebody was faster.
            let host = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
            forwards.push(Forward { protocol, host: host.map_or(0, |free| free.port()), guest });
        }
        self
    }

    /// Sets the MAC address (otherwise [`Port::default_mac`]).
    pub fn mac(mut self, mac: [u8; 6]) -> Nic {
        self.mac = Some(mac);
        self
    }

    /// Further QEMU device properties, for example `"mq=on,vectors=6"`.
    pub fn options(mut self, options: &str) -> Nic {
        self.options = options.into();
        self
    }
}

/// QEMU's cache modes (what the host's page cache does for a disk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Page cache used, flushes honoured.
    #[default]
    Writeback,
    /// Page cache bypassed, flushes honoured.
    None,
    /// Page cache used, flushes ignored: fastest, for scratch disks.
    Unsafe,
}

/// Models of disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriveModel {
    /// virtio-blk: over PCI, or over MMIO on [`Board::Microvm`].
    #[default]
    Virtio,
    /// An NVMe controller with one namespace.
    Nvme,
    /// A SATA disk at the AHCI controller: that of [`Board::Q35`], elsewhere one that is put into the machine. A CD takes the
    /// last port.
    Ahci,
}

/// A disk of a machine.
#[derive(Clone)]
pub struct Drive {
    file: String,
    model: DriveModel,
    cache: Cache,
    read_only: bool,
    snapshot: bool,
    boots: bool,
    bytes_per_second: u64,
    requests_per_second: u64,
    options: String,
}

impl Drive {
    /// A raw image file.
    pub fn file(path: &Path) -> Drive {
        Drive::of(path.display().to_string())
    }

    /// A disk served over NBD on a unix socket, as [`VolatileDisk`](crate::VolatileDisk) is.
    pub fn nbd(socket: &Path) -> Drive {
        Drive::of(format!("nbd+unix:///?socket={}", socket.display()))
    }

    /// The files of a directory as a FAT filesystem in a partition, for reading: what UEFI firmware boots from.
    pub fn directory(path: &Path) -> Drive {
        Drive::of(format!("fat:{}", path.display())).read_only()
    }

    fn of(file: String) -> Drive {
        Drive {
            file,
            model: DriveModel::default(),
            cache: Cache::default(),
            read_only: false,
            snapshot: false,
            boots: false,
            bytes_per_second: 0,
            requests_per_second: 0,
            options: String::new(),
        }
    }

    /// Sets the model.
    pub fn model(mut self, model: DriveModel) -> Drive {
        self.model = model;
        self
    }

    /// Sets the cache mode.
    pub fn cache(mut self, cache: Cache) -> Drive {
        self.cache = cache;
        self
    }

    /// The machine may only read.
    pub fn read_only(mut self) -> Drive {
        self.read_only = true;
        self
    }

    /// Writes go to a temporary file and are forgotten at the end.
    pub fn snapshot(mut self) -> Drive {
        self.snapshot = true;
        self
    }

    /// The machine boots from this disk, unless it boots from the network or a disk before.
    pub fn boots(mut self) -> Drive {
        self.boots = true;
        self
    }

    /// Adds options to QEMU's `-device`.
    pub fn options(mut self, options: &str) -> Drive {
        self.options = options.into();
        self
    }

    /// Limits the disk to this many bytes and requests per second (0: no limit).
    pub fn throttle(mut self, bytes_per_second: u64, requests_per_second: u64) -> Drive {
        (self.bytes_per_second, self.requests_per_second) = (bytes_per_second, requests_per_second);
        self
    }
}

/// Description of a machine. Methods add parts; [`MachineSpec::start`] starts QEMU.
#[derive(Clone)]
pub struct MachineSpec {
    pub(super) bench: BenchRef,
    pub(super) name: String,
    board: Board,
    cpu: String,
    cpus: u32,
    memory_mib: u32,
    firmware: Firmware,
    cd: Option<PathBuf>,
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    append: Vec<String>,
    nics: Vec<Nic>,
    drives: Vec<Drive>,
    /// Names of virtio-serial ports.
    pub(super) channels: Vec<String>,
    virtio_console: bool,
    rng: bool,
    screen: bool,
    serial: bool,
    reboots: bool,
    bridges: Vec<String>,
    extra: Vec<String>,
}

impl MachineSpec {
    pub(crate) fn new(bench: BenchRef, name: &str) -> MachineSpec {
        MachineSpec {
            bench,
            name: name.into(),
            board: Board::Q35,
            cpu: "max".into(),
            cpus: 1,
            memory_mib: 256,
            firmware: Firmware::Bios,
            cd: None,
            kernel: None,
            initrd: None,
            append: vec![],
            nics: vec![],
            drives: vec![],
            channels: vec![],
            virtio_console: false,
            rng: false,
            screen: false,
            serial: true,
            reboots: true,
            bridges: vec![],
            extra: vec![],
        }
    }

    /// Machine type; q35 unless said.
    pub fn board(mut self, board: Board) -> Self {
        self.board = board;
        self
    }

    /// CPU model as `-cpu` takes it; `max` unless said.
    pub fn cpu(mut self, model: &str) -> Self {
        self.cpu = model.into();
        self
    }

    /// Number of CPUs; 1 unless said.
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Memory in MiB; 256 unless said.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// What runs first; a BIOS unless said.
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// Puts a CD into an IDE drive; the machine boots from it, unless it boots from something else.
    pub fn cd(mut self, image: impl Into<PathBuf>) -> Self {
        self.cd = Some(image.into());
        self
    }

    /// Boots this kernel file (bzImage or PVH ELF). Without one the firmware looks for something to boot, see
    /// [`Nic::boots`], [`Drive::boots`] and [`MachineSpec::cd`].
    pub fn kernel(mut self, file: impl Into<PathBuf>) -> Self {
        self.kernel = Some(file.into());
        self
    }

    /// Gives the kernel an initial RAM disk (or a Keelson configuration blob).
    pub fn initrd(mut self, file: impl Into<PathBuf>) -> Self {
        self.initrd = Some(file.into());
        self
    }

    /// Adds to the kernel command line.
    pub fn append(mut self, words: &str) -> Self {
        self.append.push(words.into());
        self
    }

    /// Adds a NIC; the first becomes `eth0`.
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Adds a virtio NIC on a new port of `lan`. Make the port yourself and use [`Nic::on`] to impair it later.
    ///
    /// # Panics
    /// If the port can not be made (no file descriptors left).
    pub fn virtio_nic(self, lan: &Lan) -> Self {
        let port = lan.port(&self.name).expect("a new switch port");
        self.nic(Nic::on(&port, NicModel::Virtio))
    }

    /// Adds a virtio disk; the first becomes `vda`.
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// Adds a virtio-rng.
    pub fn rng(mut self) -> Self {
        self.rng = true;
        self
    }

    /// Adds a VGA adapter with a screen: [`Machine::text_screen`] and [`Machine::picture`] look at it.
    pub fn screen(mut self) -> Self {
        self.screen = true;
        self
    }

    /// Leaves out the serial port, so that nothing is heard of the machine on [`Machine::console`].
    pub fn no_serial(mut self) -> Self {
        self.serial = false;
        self
    }

    /// Adds a virtio console whose output joins the transcript with `hvc0: ` in front.
    pub fn virtio_console(mut self) -> Self {
        self.virtio_console = true;
        self
    }

    /// Adds a named virtio-serial port; [`Machine::channel`] is its other end.
    pub fn channel(mut self, name: &str) -> Self {
        self.channels.push(name.into());
        self
    }

    /// A reset ends QEMU instead of starting the machine again.
    pub fn no_reboot(mut self) -> Self {
        self.reboots = false;
        self
    }

    /// Puts a bridge between PCI buses into the machine, for devices whose options name it as their bus: a `-device` of QEMU.
    pub fn bridge(mut self, device: &str) -> Self {
        self.bridges.push(device.into());
        self
    }

    /// Further QEMU arguments.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.extra.extend(args.into_iter().map(String::from));
        self
    }

    /// Starts QEMU.
    pub fn start(self) -> Result<Machine> {
        Machine::start(self)
    }

    /// The address that reaches `guest` over user networking.
    pub(super) fn forwarded(&self, protocol: &str, guest: u16) -> Result<SocketAddr> {
        let forwards = self.nics.iter().filter_map(|nic| match &nic.cable {
            Cable::User { forwards, .. } => Some(forwards),
            Cable::Lan(_) | Cable::Tap(_) => None,
        });
        let found = forwards.flatten().find(|f| f.protocol == protocol && f.guest == guest);
        match found {
            Some(forward) => Ok((Ipv4Addr::LOCALHOST, forward.host).into()),
            None => Err(Error::machine(&self.name, format!("forwards no {protocol} port {guest}"))),
        }
    }

    /// Path of the socket at which the bench waits for QEMU to connect `what` ("qmp", a channel's name).
    pub(super) fn socket(&self, what: &str) -> PathBuf {
        self.bench.dir().join(format!("{}-{what}.sock", self.name))
    }

    /// The QEMU command line.
    pub(super) fn command(&self) -> Command {
        let bus = if self.board == Board::Microvm { "device" } else { "pci" };
        let mut args: Vec<String> = Vec::new();
        let mut arg = |words: &[&str]| args.extend(words.iter().map(|word| word.to_string()));
        let board = match self.board {
            Board::Pc => "pc",
            Board::Q35 => "q35",
            Board::Microvm => "microvm",
        };
        // Always emulation: results must not depend on what the host's CPU can virtualise.
        arg(&["-accel", "tcg", "-machine", board, "-cpu", &self.cpu]);
        arg(&["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        arg(&["-nodefaults", "-no-user-config", "-display", "none"]);
        if self.serial {
            arg(&["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
        } else {
            arg(&["-serial", "none"]);
        }
        if self.screen {
            arg(&["-vga", "std"]);
        }
        let qmp = format!("socket,id=qmp,path={}", self.socket("qmp").display());
        arg(&["-chardev", &qmp, "-mon", "chardev=qmp,mode=control"]);
        arg(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        if self.board == Board::Microvm {
            arg(&["-global", "virtio-mmio.force-legacy=false"]);
        }
        if !self.reboots {
            arg(&["-no-reboot"]);
        }
        for word in self.firmware.arguments() {
            arg(&[&word]);
        }
        for word in self.cd.iter().flat_map(|image| firmware::cd(image)) {
            arg(&[&word]);
        }
        if let Some(kernel) = &self.kernel {
            arg(&["-kernel", &kernel.display().to_string()]);
            if !self.append.is_empty() {
                arg(&["-append", &self.append.join(" ")]);
            }
        }
        if let Some(initrd) = &self.initrd {
            arg(&["-initrd", &initrd.display().to_string()]);
        }
        for bridge in &self.bridges {
            arg(&["-device", bridge]);
        }
        for (i, nic) in self.nics.iter().enumerate() {
            arg(&["-netdev", &nic.netdev(i), "-device", &nic.device(i, bus)]);
        }
        // The q35 board's own controller has the buses ide.0 to ide.5.
        let ports = if self.board == Board::Q35 { "ide" } else { "ahci" };
        if self.drives.iter().any(|drive| drive.model == DriveModel::Ahci) && ports == "ahci" {
            arg(&["-device", "ich9-ahci,id=ahci"]);
        }
        for (i, drive) in self.drives.iter().enumerate() {
            let bus = if drive.model == DriveModel::Ahci { ports } else { bus };
            arg(&["-drive", &drive.drive(i), "-device", &drive.device(i, bus)]);
        }
        if self.rng {
            arg(&["-device", &format!("virtio-rng-{bus}")]);
        }
        if self.virtio_console || !self.channels.is_empty() {
            arg(&["-device", &format!("virtio-serial-{bus}")]);
        }
        if self.virtio_console {
            let path = self.socket("hvc0");
            arg(&["-chardev", &format!("socket,id=hvc0,path={}", path.display())]);
            arg(&["-device", "virtconsole,chardev=hvc0"]);
        }
        for name in &self.channels {
            let path = self.socket(name);
            arg(&["-chardev", &format!("socket,id=ch-{name},path={}", path.display())]);
            arg(&["-device", &format!("virtserialport,chardev=ch-{name},name={name}")]);
        }
        args.extend(self.extra.iter().cloned());
        // `setpriv` (util-linux) makes the kernel end QEMU should the test process die without dropping anything.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(tap) = self.nics.iter().find_map(Nic::tapped) {
            command.arg("nsenter").arg(tap.namespace().enter());
        }
        command.arg("qemu-system-x86_64").args(args);
        command
    }

    pub(super) fn has_virtio_console(&self) -> bool {
        self.virtio_console
    }
}

impl Nic {
    fn tapped(&self) -> Option<&Tap> {
        match &self.cable {
            Cable::Tap(tap) => Some(tap),
            _ => None,
        }
    }

    fn netdev(&self, i: usize) -> String {
        match &self.cable {
            Cable::Lan(port) => {
                let path = port.socket();
                format!("stream,id=net{i},server=off,addr.type=unix,addr.path={}", path.display())
            }
            Cable::User { forwards, tftp } => {
                let mut text = format!("user,id=net{i},restrict=on");
                text += &tftp.as_ref().map(Tftp::netdev).unwrap_or_default();
                for Forward { protocol, host, guest } in forwards {
                    text += &format!(",hostfwd={protocol}:127.0.0.1:{host}-:{guest}");
                }
                text
            }
            Cable::Tap(tap) => {
                format!("tap,id=net{i},ifname={},script=no,downscript=no", tap.name())
            }
        }
    }

    fn device(&self, i: usize, bus: &str) -> String {
        let model = match self.model {
            NicModel::Virtio => format!("virtio-net-{bus}"),
            NicModel::E1000 => "e1000".into(),
            NicModel::I82544gc => "e1000-82544gc".into(),
            NicModel::I82545em => "e1000-82545em".into(),
            NicModel::E1000e => "e1000e".into(),
            NicModel::Igb => "igb".into(),
        };
        let mac = match (&self.mac, &self.cable) {
            (Some(mac), _) => *mac,
            (None, Cable::Lan(port)) => port.default_mac(),
            (None, Cable::User { .. } | Cable::Tap(_)) => [0x52, 0x4b, 0xff, 0xff, 0, i as u8],
        };
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut text = format!("{model},id=nic{i},netdev=net{i},mac={}", mac.join(":"));
        if bus == "pci" && self.boots != Some(NetLoader::Ipxe) {
            text += ",romfile="; // no boot ROM
        }
        if self.boots.is_some() {
            text += &format!(",bootindex={}", firmware::FIRST_NIC + i);
        }
        if !self.options.is_empty() {
            text = format!("{text},{}", self.options);
        }
        text
    }
}

impl Drive {
    fn device(&self, i: usize, bus: &str) -> String {
        let order =
            if self.boots { format!(",bootindex={}", firmware::FIRST_DRIVE + i) } else { String::new() };
        let device = match self.model {
            DriveModel::Virtio => format!("virtio-blk-{bus},drive=disk{i}{order}"),
            DriveModel::Nvme => format!("nvme,serial=keelson{i},drive=disk{i}{order}"),
            DriveModel::Ahci => {
                format!("ide-hd,bus={bus}.{i},serial=keelson{i},drive=disk{i}{order}")
            }
        };
        if self.options.is_empty() { device } else { format!("{device},{}", self.options) }
    }

    fn drive(&self, i: usize) -> String {
        let cache = match self.cache {
            Cache::Writeback => "writeback",
            Cache::None => "none",
            Cache::Unsafe => "unsafe",
        };
        // A comma in a value is written twice.
        let file = self.file.replace(',', ",,");
        // When the host's disk is full the guest shall hear of it. By itself QEMU would stop the machine, and the test would
        // wait for it until its time is over.
        let mut text =
            format!("file={file},if=none,id=disk{i},format=raw,cache={cache},discard=unmap,werror=report");
        for (on, option) in [(self.read_only, ",readonly=on"), (self.snapshot, ",snapshot=on")] {
            if on {
                text += option;
            }
        }
        if self.bytes_per_second > 0 {
            text += &format!(",throttling.bps-total={}", self.bytes_per_second);
        }
        if self.requests_per_second > 0 {
            text += &format!(",throttling.iops-total={}", self.requests_per_second);
        }
        text
    }
}
