//! QEMU's command line for a node.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::host_nodes::HostNodes;
use super::kargs::Line;
use super::memory::{Memory, size};
use super::parameters::Qemu;
use super::ports::Ports;
use super::problem::Problem;
use crate::nodes::{Address, Node};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";
/// Longest path of a Unix socket (unix(7)).
pub const SOCKET_PATH: usize = 107;
/// Memory that a node has when nobody says how much (McKernel's `512M@0`).
pub const DEFAULT_MEMORY: u64 = 512 << 20;
/// Less than this the kernel cannot start with.
const LEAST_MEMORY: u64 = 64 << 20;

/// Files of a running machine, in the node's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// QEMU's process id.
    pub pid: PathBuf,
    /// QEMU's control socket.
    pub qmp: PathBuf,
    /// What the node's console said since it was booted.
    pub console: PathBuf,
    /// The key, as long as QEMU has not read it.
    pub key: PathBuf,
    /// There as soon as the node ran.
    pub running: PathBuf,
    /// There while it is ended.
    pub stopping: PathBuf,
    /// The process id of its ihkmond.
    pub monitor: PathBuf,
}

impl Files {
    /// In this directory.
    pub fn of(directory: &Path) -> Files {
        let file = |name: &str| directory.join(name);
        Files {
            pid: file("qemu.pid"),
            qmp: file("qmp"),
            console: file("console.log"),
            key: file("psk"),
            running: file("running"),
            stopping: file("stopping"),
            monitor: file("ihkmond.pid"),
        }
    }
}

/// What a machine is made of.
pub struct Machine<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its parameters.
    pub qemu: &'a Qemu,
    /// Its files.
    pub files: &'a Files,
    /// The boot file.
    pub image: &'a Path,
    /// What the kernel is told.
    pub line: &'a Line,
    /// Memory by NUMA nodes of this host.
    pub memory: &'a Memory,
    /// The NUMA nodes that this host has.
    pub host_nodes: &'a HostNodes,
    /// The processors of this host that its own run on; empty for any.
    pub host_cpus: &'a [usize],
    /// Its serial ports, when that is where it listens.
    pub ports: Option<&'a Ports>,
}

impl Machine<'_> {
    /// The command that starts it and returns when it runs.
    pub fn command(&self) -> Result<Vec<String>, Problem> {
        let mut words: Vec<String> = vec![PROGRAM.into()];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        add("-name", format!("lwk-{}", escaped(&self.node.name)));
        add("-machine", "q35".into());
        add("-accel", if self.qemu.kvm { "kvm" } else { "tcg" }.into());
        add("-cpu", "max".into());
        add("-smp", self.line.processors.to_string());
        for (option, value) in self.memory()? {
            add(option, value);
        }
        add("-display", "none".into());
        add("-kernel", self.image.display().to_string());
        add("-append", self.line.text.clone());
        if self.node.key_file.is_some() {
            add("-fw_cfg", format!("name=opt/lwk/psk,file={}", path(&self.files.key)));
        }
        if let Some((netdev, device)) = self.network()? {
            add("-netdev", netdev);
            add("-device", device);
        }
        for (option, value) in self.ports.map(Ports::options).unwrap_or_default() {
            add(option, value);
        }
        add("-chardev", format!("file,id=console,path={}", path(&self.files.console)));
        add("-serial", "chardev:console".into());
        if self.files.qmp.as_os_str().len() > SOCKET_PATH {
            let reason = format!(
                "longer than {SOCKET_PATH} bytes, which no socket may be; set LWK_STATE to a shorter path"
            );
            return Err(Problem::usage(self.files.qmp.display(), reason));
        }
        add("-qmp", format!("unix:{},server=on,wait=off", path(&self.files.qmp)));
        add("-pidfile", self.files.pid.display().to_string());
        words.extend(["-nodefaults", "-no-user-config", "-daemonize"].map(String::from));
        Ok(words)
    }

    /// `-m`; with the memory tied to NUMA nodes of the host where there are several.
    fn memory(&self) -> Result<Vec<(&'static str, String)>, Problem> {
        let total = self.memory.total();
        if total < LEAST_MEMORY {
            let reason = format!("the node needs at least {}", size(LEAST_MEMORY));
            return Err(Problem::usage(format!("memory {}", self.memory), reason));
        }
        let missing = self.memory.0.keys().find(|node| !self.host_nodes.numbers.contains(node));
        if let Some(missing) = missing {
            let there: Vec<String> = self.host_nodes.numbers.iter().map(u32::to_string).collect();
            let reason = format!("this host has no NUMA node {missing}; it has {}", there.join(","));
            return Err(Problem::usage(format!("memory {}", self.memory), reason));
        }
        let mut words = vec![("-m", size(total))];
        if self.host_nodes.numbers.len() < 2 {
            return Ok(words);
        }
        let processors = self.processors_of_nodes();
        for (index, (node, bytes)) in self.memory.0.iter().enumerate() {
            let bytes = size(*bytes);
            let backend =
                format!("memory-backend-ram,id=mem{index},size={bytes},host-nodes={node},policy=bind");
            words.push(("-object", backend));
            let own = processors.iter().enumerate().filter(|(_, at)| **at == index);
            let own: String = own.map(|(processor, _)| format!(",cpus={processor}")).collect();
            words.push(("-numa", format!("node,nodeid={index},memdev=mem{index}{own}")));
        }
        let numbers = || self.memory.0.keys().enumerate();
        for ((from, here), (to, there)) in numbers().flat_map(|one| numbers().map(move |other| (one, other)))
        {
            if let Some(distance) = self.host_nodes.distances.get(&(*here, *there)).filter(|_| from != to) {
                words.push(("-numa", format!("dist,src={from},dst={to},val={distance}")));
            }
        }
        Ok(words)
    }

    /// For each processor of the machine its NUMA node, the place in the list of memory, where it is known on which processor of
    /// this host it runs. The first one's where that has no memory for the machine.
    fn processors_of_nodes(&self) -> Vec<usize> {
        if self.host_cpus.len() < self.line.processors {
            return Vec::new();
        }
        let node = |cpu: &usize| {
            let node = self.host_nodes.of_cpu.get(cpu);
            self.memory.0.keys().position(|known| Some(known) == node).unwrap_or(0)
        };
        self.host_cpus.iter().take(self.line.processors).map(node).collect()
    }

    /// A network, and the device for it. Without a tap it is there for the node's TCP port alone.
    fn network(&self) -> Result<Option<(String, String)>, Problem> {
        let device = "virtio-net-pci,netdev=net0";
        let problem = |reason: String| Problem::usage(format!("node {}", self.node.name), reason);
        if let Some(tap) = &self.qemu.tap {
            let [.., high, low] = self.node.index.to_be_bytes();
            let mac = self.qemu.mac.clone().unwrap_or_else(|| format!("52:54:00:4c:{high:02x}:{low:02x}"));
            let netdev = format!("tap,id=net0,ifname={tap},script=no,downscript=no");
            return Ok(Some((netdev, format!("{device},mac={mac}"))));
        }
        let (Address::Tcp(address), Some(port)) = (&self.node.address, self.line.listen.port) else {
            return Ok(None);
        };
        let mut found = address.to_socket_addrs().map_err(|error| problem(format!("{address}: {error}")))?;
        let own = found.find_map(|address| match address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        });
        let own = own.ok_or_else(|| problem(format!("{address}: not an IPv4 address of this host")))?;
        let netdev = format!("user,id=net0,hostfwd=tcp:{}:{}-:{}", own.ip(), own.port(), port);
        let mac = self.qemu.mac.as_ref().map_or(String::new(), |mac| format!(",mac={mac}"));
        Ok(Some((netdev, format!("{device}{mac}"))))
    }
}

/// In QEMU's options a comma is written twice.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

/// A path in them.
pub fn path(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// A command as a shell reads it.
pub fn shell_line(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk::options::Listen;

    fn node(address: &str) -> Node {
        Node {
            index: 258,
            name: "n0".into(),
            address: Address::parse(address).unwrap(),
            key_file: Some("/k".into()),
            parameters: Vec::new(),
        }
    }

    fn command(node: &Node, qemu: &Qemu, memory: &str, host_nodes: &[u32]) -> Result<String, Problem> {
        let nodes = HostNodes { numbers: host_nodes.to_vec(), ..HostNodes::default() };
        on_host(node, qemu, memory, &nodes, &[])
    }

    fn on_host(
        node: &Node,
        qemu: &Qemu,
        memory: &str,
        host_nodes: &HostNodes,
        host_cpus: &[usize],
    ) -> Result<String, Problem> {
        let serial = match &node.address {
            Address::Unix(_) => Some("lwk".to_owned()),
            Address::Tcp(_) => None,
        };
        let ports = match &node.address {
            Address::Unix(path) => Some(Ports::new(path, "lwk", 1)?),
            Address::Tcp(_) => None,
        };
        let listen = Listen { port: serial.is_none().then_some(8810), serial };
        let line = Line { text: "hidos cpus=1-2".into(), processors: 3, listen };
        let files = Files::of(Path::new("/s/a,b"));
        let memory = Memory::parse(memory).unwrap();
        let image = Path::new("/i/lwk.img");
        let machine = Machine {
            node,
            qemu,
            files: &files,
            image,
            line: &line,
            memory: &memory,
            host_nodes,
            host_cpus,
            ports: ports.as_ref(),
        };
        machine.command().map(|words| shell_line(&words))
    }

    #[test]
    fn a_port_of_this_host_is_forwarded() {
        let text = command(&node("127.0.0.1:18824"), &Qemu::default(), "512M@0", &[0]).unwrap();
        assert_eq!(
            text,
            "qemu-system-x86_64 -name lwk-n0 -machine q35 -accel tcg -cpu max -smp 3 -m 512M -display none \
             -kernel /i/lwk.img -append 'hidos cpus=1-2' -fw_cfg name=opt/lwk/psk,file=/s/a,,b/psk \
             -netdev user,id=net0,hostfwd=tcp:127.0.0.1:18824-:8810 -device virtio-net-pci,netdev=net0 \
             -chardev file,id=console,path=/s/a,,b/console.log -serial chardev:console \
             -qmp unix:/s/a,,b/qmp,server=on,wait=off -pidfile /s/a,b/qemu.pid -nodefaults -no-user-config -daemonize"
        );
    }

    #[test]
    fn a_machine_at_serial_ports_has_no_network() {
        let text = command(&node("unix:/run/n0"), &Qemu::default(), "512M@0", &[0]).unwrap();
        let ports = "-device virtio-serial-pci,id=serial0 \
             -chardev socket,id=lwk.hi.0,path=/run/n0/lwk.hi.0,server=on,wait=off \
             -device virtserialport,bus=serial0.0,nr=1,chardev=lwk.hi.0,name=lwk.hi.0 \
             -chardev socket,id=lwk.bulk.0,path=/run/n0/lwk.bulk.0,server=on,wait=off \
             -device virtserialport,bus=serial0.0,nr=2,chardev=lwk.bulk.0,name=lwk.bulk.0 \
             -chardev socket,id=lwk.ctl.0,path=/run/n0/lwk.ctl.0,server=on,wait=off \
             -device virtserialport,bus=serial0.0,nr=3,chardev=lwk.ctl.0,name=lwk.ctl.0 ";
        assert!(text.contains(&format!("file=/s/a,,b/psk {ports}-chardev file,id=console,")), "{text}");
        assert!(!text.contains("net0"));
        let qemu = Qemu { tap: Some("tap0".into()), ..Qemu::default() };
        let text = command(&node("unix:/run/n0"), &qemu, "512M@0", &[0]).unwrap();
        assert!(
            text.contains(&format!("virtio-net-pci,netdev=net0,mac=52:54:00:4c:01:02 {ports}")),
            "{text}"
        );
    }

    #[test]
    fn a_tap_has_an_address_of_its_own() {
        let qemu = Qemu { tap: Some("tap0".into()), kvm: true, ..Qemu::default() };
        let text = command(&node("10.0.0.1:8810"), &qemu, "1G", &[0]).unwrap();
        assert!(text.contains("-accel kvm "));
        assert!(text.contains("-netdev tap,id=net0,ifname=tap0,script=no,downscript=no "));
        assert!(text.contains("-device virtio-net-pci,netdev=net0,mac=52:54:00:4c:01:02 "));
    }

    #[test]
    fn memory_lies_where_the_list_says() {
        let text = command(&node("127.0.0.1:1"), &Qemu::default(), "512M@0,1G@1", &[0, 1]).unwrap();
        assert!(text.contains(
            "-m 1536M -object memory-backend-ram,id=mem0,size=512M,host-nodes=0,policy=bind -numa node,nodeid=0,memdev=mem0 \
             -object memory-backend-ram,id=mem1,size=1G,host-nodes=1,policy=bind -numa node,nodeid=1,memdev=mem1 "
        ));
        for (memory, message) in [
            ("512M@1", "memory 512M@1: this host has no NUMA node 1; it has 0"),
            ("62M", "memory 62M@0: the node needs at least 64M"),
        ] {
            let problem = command(&node("127.0.0.1:1"), &Qemu::default(), memory, &[0]).unwrap_err();
            assert_eq!(problem.to_string(), message);
        }
    }

    #[test]
    fn the_machine_has_the_nodes_of_the_processors_that_it_runs_on() {
        let nodes = HostNodes {
            numbers: vec![0, 1, 3],
            of_cpu: [(0, 0), (4, 1), (5, 1), (9, 3)].into(),
            distances: [((1, 1), 10), ((1, 3), 21), ((3, 1), 31), ((0, 1), 16)].into(),
        };
        let made =
            |cpus: &[usize]| on_host(&node("127.0.0.1:1"), &Qemu::default(), "1G@1,1G@3", &nodes, cpus);
        let text = made(&[4, 9, 0]).unwrap();
        assert!(text.contains("-numa node,nodeid=0,memdev=mem0,cpus=0,cpus=2 "), "{text}");
        assert!(text.contains("-numa node,nodeid=1,memdev=mem1,cpus=1 "), "{text}");
        assert!(text.contains("-numa dist,src=0,dst=1,val=21 -numa dist,src=1,dst=0,val=31 "), "{text}");
        // Two for three run anywhere.
        assert!(!made(&[4, 9]).unwrap().contains("cpus=1 "));
    }

    #[test]
    fn words_for_a_shell() {
        let words = ["a", "", "b c", "it's", "x=1,y"].map(String::from);
        assert_eq!(shell_line(&words), r"a '' 'b c' 'it'\''s' x=1,y");
    }
}
