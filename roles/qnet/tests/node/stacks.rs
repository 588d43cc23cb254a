//! Nodes on network stacks, joined by simulated wires: the bindings of section 2, modules of section 20.

use crate::world::{Random, named, root};
use keelson_hal::{Link, LinkSpeed};
use keelson_net::Stack;
use keelson_net_sim::{Faults, NicModel, Node as Machine, Wire, World};
use keelson_qnet::binding::{Binding, driver_object};
use keelson_qnet::client::Files;
use keelson_qnet::io::{Archive, Order, VolumeFiles};
use keelson_qnet::node::Node;
use keelson_qnet_wire::Errno;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(50);

/// A machine that runs a node.
struct Host {
    machine: Rc<Machine>,
    stack: Stack,
    node: Node,
    binding: Binding,
}

/// Boots a node on NICs with these addresses, each on its wire. Qnet is not mounted.
fn host(world: &World, name: &str, nics: &[(&Rc<Wire>, &str)]) -> Host {
    let machine = world.node();
    for ((wire, address), device) in nics.iter().zip(["eth0", "eth1"]) {
        machine.plug(device, wire, address, NicModel::default());
    }
    let (handle, stack) = machine.boot();
    let seed = name.bytes().fold(7, |sum: u64, byte| sum * 31 + u64::from(byte));
    let clock = handle.clock();
    let node = Node::new(&handle, clock.clone(), Rc::new(Random(Cell::new(seed))), named(name));
    let volume = Rc::new(VolumeFiles::new(Rc::new(MemoryVolume::new(clock, MemoryOptions::default()))));
    let archive = Archive::new([("etc/TIMEZONE", 0o644, Rc::from(&b"UTC0\n"[..]))]).unwrap();
    node.namespace().mount("/", volume, Order::After).unwrap();
    node.namespace().mount("/", Rc::new(archive), Order::After).unwrap();
    let binding = Binding::new(&node, &stack);
    Host { machine, stack, node, binding }
}

fn two(world: &World, wire: &Rc<Wire>, options: &str) -> (Host, Host) {
    let alpha = host(world, "alpha", &[(wire, "10.0.0.1/24")]);
    let beta = host(world, "beta", &[(wire, "10.0.0.2/24")]);
    for host in [&alpha, &beta] {
        host.binding.mount(options).unwrap();
    }
    world.run_for(SOON);
    (alpha, beta)
}

impl Host {
    fn files(&self) -> Files {
        self.node.files(&root())
    }

    fn text(&self, world: &World, path: &'static str) -> Result<String, Errno> {
        let files = self.files();
        let bytes = world.run(async move { files.read_to_end(path, 1 << 20).await });
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn names(&self, world: &World) -> Vec<String> {
        let files = self.files();
        let items = world.run(async move { files.read_dir("/net").await.unwrap() });
        let mut names: Vec<String> = items.into_iter().map(|item| item.name).collect();
        names.sort();
        names
    }

    fn unload(&self, world: &World, path: &'static str) -> Result<(), Errno> {
        let binding = self.binding.clone();
        world.run(async move { binding.unload(path).await })
    }
}

/// Sends a file to beta and reads it back.
fn there_and_back(world: &World, host: &Host, len: u32) {
    let files = host.files();
    world.run(async move {
        let data: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let file = files.create("/net/beta/data", 0o644).await.unwrap();
        file.write_all(&data).await.unwrap();
        file.close().await.unwrap();
        assert!(files.read_to_end("/net/beta/data", 1 << 24).await.unwrap() == data);
    });
}

#[test]
fn ethernet() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let (alpha, beta) = two(&world, &wire, "");
    assert_eq!(alpha.names(&world), ["alpha", "beta"]);
    there_and_back(&world, &alpha, 1_000_000);
    assert_eq!(beta.text(&world, "/net/alpha/etc/TIMEZONE").unwrap(), "UTC0\n");
    let stats = alpha.text(&world, "/proc/qnetstats").unwrap();
    assert!(stats.contains("\nl4 retransmits                :           0\n"), "{stats}");
    assert!(stats.contains("\nrxd bad dr                      0\n"), "{stats}");
    assert_eq!(alpha.stack.counters().eth_unknown_type, 0);
}

/// Every frame on the wire is what section 2.1 says.
#[test]
fn frames_on_the_wire() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let frames = seen.clone();
    *wire.tap.borrow_mut() = Some(Box::new(move |_, frame: &[u8]| frames.borrow_mut().push(frame.to_vec())));
    let (alpha, _beta) = two(&world, &wire, "do_crc=1");
    alpha.text(&world, "/net/beta/etc/TIMEZONE").unwrap();
    let seen = seen.borrow();
    let qnet: Vec<_> = seen.iter().filter(|frame| frame[12..14] == [0x82, 0x04]).collect();
    assert!(qnet.len() > 10);
    for frame in qnet {
        assert!(frame.len() >= 60 && frame[14..16] == [0, 0], "{frame:x?}");
        let decoded = keelson_qnet_wire::frame::Frame::decode(frame).unwrap();
        decoded.packet.check_crc().unwrap();
        let end = 52 + decoded.packet.payload.len();
        assert!(frame[end..].iter().all(|byte| *byte == 0) && (frame.len() == end || frame.len() == 60));
    }
}

#[test]
fn bad_wires() {
    let world = World::new(3);
    let faults = Faults { loss: 5, duplicate: 5, reorder: 10, ..Faults::default() };
    let wire = world.wire(faults);
    let (alpha, beta) = two(&world, &wire, "do_crc=1");
    there_and_back(&world, &alpha, 2_000_000);
    let stats = alpha.text(&world, "/proc/qnetstats").unwrap();
    assert!(!stats.contains("\nl4 retransmits                :           0\n"), "{stats}");
    assert_eq!(beta.node.dispatcher().open_files(), 0);
}

/// A frame that cannot hold an LwL4 header is counted where the driver hands it over.
#[test]
fn short_frames() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let (alpha, _) = two(&world, &wire, "");
    let stranger = wire.add_port(NicModel::default());
    let mut frame = [0xff; 6].to_vec();
    frame.extend([2, 9, 9, 9, 9, 9, 0x82, 0x04, 0, 0, 0x2a, 0x0b, 3, 2]);
    wire.inject(stranger, &frame);
    world.run_for(SOON);
    let stats = alpha.text(&world, "/proc/qnetstats").unwrap();
    assert!(stats.contains("\nrxd bad dr                      1\n"), "{stats}");
}

#[test]
fn only_bound_interfaces_are_used() {
    let world = World::new(1);
    let wires = [world.wire(Faults::default()), world.wire(Faults::default())];
    let alpha = host(&world, "alpha", &[(&wires[0], "10.0.0.1/24"), (&wires[1], "10.1.0.1/24")]);
    let beta = host(&world, "beta", &[(&wires[0], "10.0.0.2/24"), (&wires[1], "10.1.0.2/24")]);
    alpha.binding.mount("bind=en1,bind=en7").unwrap();
    beta.binding.mount("").unwrap();
    world.run_for(SOON);
    alpha.text(&world, "/net/beta/etc/TIMEZONE").unwrap();
    let links: Vec<String> = alpha.node.links().iter().map(|(_, link)| link.name().to_string()).collect();
    assert_eq!(links, ["en1"]);
    assert_eq!(beta.node.links().len(), 2);
    let stats = beta.text(&world, "/proc/qnetstats").unwrap();
    assert!(stats.contains("\n  en1 ") && !stats.contains("\n  en0 "), "{stats}");
}

#[test]
fn what_nicinfo_shows() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let (alpha, _beta) = two(&world, &wire, "");
    let text = alpha.text(&world, "/net/beta/proc/nicinfo/en0").unwrap();
    assert!(text.starts_with("en0:\n"), "{text}");
    assert!(!text.contains("Packets Transmitted OK ..................... 0\n"), "{text}");
    assert!(text.contains("Maximum Transmittable data Unit ............ 1514\n"), "{text}");
    assert!(text.contains("Current Operation Rate ..................... "), "{text}");
    let mac = wire.mac(1).0.map(|byte| format!("{byte:02X}"));
    let id =
        format!("Physical Node ID ........................... {} {}\n", mac[..3].concat(), mac[3..].concat());
    assert!(text.contains(&id), "{id:?} is not in\n{text}");
    assert_eq!(alpha.text(&world, "/net/beta/dev/io-net/en0").unwrap().lines().count(), text.lines().count());
    assert!(alpha.binding.nicinfo(Some("en0")).is_some() && alpha.binding.nicinfo(Some("en1")).is_none());
    assert_eq!(alpha.binding.nicinfo(None), alpha.binding.nicinfo(Some("en0")));
}

/// `bind=ip`: names on demand, from the stack's names (R17).
#[test]
fn ip() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let alpha = host(&world, "alpha", &[(&wire, "10.0.0.1/24")]);
    let beta = host(&world, "beta", &[(&wire, "10.0.0.2/24")]);
    for host in [&alpha, &beta] {
        host.stack.add_host("alpha.lab.test", "10.0.0.1".parse().unwrap());
        host.stack.add_host("beta.lab.test", "10.0.0.2".parse().unwrap());
        host.binding.mount("bind=ip,resolve=dns").unwrap();
    }
    world.run_for(Duration::from_secs(70));
    assert_eq!(alpha.names(&world), ["alpha"], "nobody announces himself");
    there_and_back(&world, &alpha, 300_000);
    assert_eq!(alpha.names(&world), ["alpha", "beta"]);
    assert_eq!(beta.names(&world), ["alpha", "beta"], "beta knows who opened a connection");
    assert_eq!(alpha.text(&world, "/net/nobody/etc/TIMEZONE"), Err(Errno::ENOENT));
    assert_eq!(alpha.stack.counters().ip_unknown_protocol, 0);
    let stats = alpha.text(&world, "/proc/qnetstats").unwrap();
    assert!(stats.contains("\n  ip                          :    10.0.0.2\n"), "{stats}");
    // Addresses come and go.
    let id = alpha.stack.interface("eth0").unwrap();
    alpha.stack.remove_address(id, "10.0.0.1/24".parse().unwrap());
    world.run_for(SOON);
    let lost = alpha.text(&world, "/net/beta/etc/TIMEZONE");
    assert!(lost.is_err(), "{lost:?}");
    alpha.stack.add_address(id, "10.0.0.1/24".parse().unwrap()).unwrap();
    world.run_for(SOON);
    assert_eq!(alpha.text(&world, "/net/beta/etc/TIMEZONE").as_deref(), Ok("UTC0\n"));
}

#[test]
fn ip_with_a_file_of_names() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let alpha = host(&world, "alpha", &[(&wire, "10.0.0.1/24")]);
    let beta = host(&world, "beta", &[(&wire, "10.0.0.2/24")]);
    let files = alpha.files();
    world.run(async move {
        files.mkdir("/etc", 0o755).await.unwrap();
        let file = files.create("/etc/nodes", 0o644).await.unwrap();
        file.write_all(b"10.0.0.2 beta.lab.test b\n").await.unwrap();
    });
    alpha.binding.mount("bind=ip,resolve=file:/etc/nodes").unwrap();
    beta.binding.mount("bind=ip,resolve=dns").unwrap();
    world.run_for(SOON);
    assert_eq!(alpha.text(&world, "/net/beta/etc/TIMEZONE").as_deref(), Ok("UTC0\n"));
    // Beta has no names, but heard alpha's.
    assert_eq!(beta.text(&world, "/net/alpha/etc/TIMEZONE").as_deref(), Ok("UTC0\n"));
}

/// A real node may send no padding under IP: then neither do we to it (section 2.2).
#[test]
fn padding_under_ip_is_learnt() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let alpha = host(&world, "alpha", &[(&wire, "10.0.0.1/24")]);
    alpha.binding.mount("bind=ip,resolve=dns").unwrap();
    let other = world.node();
    other.plug("eth0", &wire, "10.0.0.9/24", NicModel::default());
    let (_, stack) = other.boot();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let packets = heard.clone();
    stack
        .register_protocol(106, Box::new(move |packet| packets.borrow_mut().push(packet.payload.to_vec())))
        .unwrap();
    let init = keelson_qnet_wire::tcs::Init {
        src_name: "omega",
        src_domain: "",
        dst_name: "alpha",
        dst_domain: "",
        shares_acks: false,
    };
    let mut names = [0; 64];
    let len = init.emit(&mut names, keelson_qnet_wire::Endian::Little).unwrap();
    use keelson_qnet_wire::l4::{Header, Kind};
    let header = Header { src_conn_id: 7, length: len as u32, ..Header::new(Kind::TcsInit) };
    let content = [&header.encode()[..], &names[..len]].concat();
    for (pad, starts) in [(2, [0, 0]), (0, [0x2a, Kind::TcsRemUp.to_wire()]), (2, [0, 0])] {
        heard.borrow_mut().clear();
        let packet = [&[0, 0][..pad], &content[..]].concat();
        let to = "10.0.0.1".parse().unwrap();
        stack.send_packet(None, to, 106, packet.len(), &mut |room| room.copy_from_slice(&packet)).unwrap();
        stack.flush_frames(stack.interface("eth0").unwrap());
        world.run_for(SOON);
        let heard = heard.borrow();
        assert!(!heard.is_empty());
        assert!(heard.iter().all(|packet| packet[..1] == starts[..1]), "{heard:x?}");
        assert!(heard.iter().any(|packet| packet[..2] == starts), "{heard:x?}");
    }
}

/// `umount /dev/io-net/en0`, and `mount -Tio-pkt devn-...so`.
#[test]
fn drivers_come_and_go() {
    let world = World::new(1);
    let wires = [world.wire(Faults::default()), world.wire(Faults::default())];
    let alpha = host(&world, "alpha", &[(&wires[0], "10.0.0.1/24"), (&wires[1], "10.1.0.1/24")]);
    let beta = host(&world, "beta", &[(&wires[0], "10.0.0.2/24"), (&wires[1], "10.1.0.2/24")]);
    alpha.binding.mount("").unwrap();
    beta.binding.mount("").unwrap();
    world.run_for(SOON);
    there_and_back(&world, &alpha, 100_000);
    assert_eq!(alpha.unload(&world, "/dev/io-net/en0"), Ok(()));
    assert_eq!(alpha.binding.interfaces(), ["en1"]);
    assert_eq!(alpha.text(&world, "/proc/nicinfo/en0"), Err(Errno::ENOENT));
    there_and_back(&world, &alpha, 100_000);
    assert_eq!(alpha.unload(&world, "/dev/io-net/en0"), Err(Errno::ENOENT));
    assert_eq!(alpha.unload(&world, "/dev/io-net/en9"), Err(Errno::ENOENT));
    assert_eq!(alpha.unload(&world, "/dev/io-net/en1"), Ok(()));
    let lost = alpha.text(&world, "/net/beta/etc/TIMEZONE");
    assert_eq!(lost, Err(Errno::ENETDOWN));
    let driver = driver_object(alpha.stack.interfaces()[0].driver);
    assert_eq!(alpha.binding.load("devn-none.so", ""), Err(Errno::ENOENT));
    assert_eq!(alpha.binding.load(&format!("/lib/dll/{driver}"), ""), Ok(()));
    assert_eq!(alpha.binding.load(&driver, ""), Err(Errno::EBUSY));
    assert_eq!(alpha.binding.interfaces(), ["en0", "en1"]);
    assert_eq!(alpha.binding.drivers(), [driver]);
    there_and_back(&world, &alpha, 100_000);
}

#[test]
fn qnet_is_loaded_and_unloaded() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let (alpha, beta) = two(&world, &wire, "");
    assert_eq!(alpha.binding.load("lsm-qnet.so", ""), Err(Errno::EBUSY));
    assert_eq!(alpha.unload(&world, "/net"), Ok(()));
    assert_eq!(alpha.unload(&world, "/net"), Err(Errno::ENOENT));
    assert_eq!(alpha.text(&world, "/net/beta/etc/TIMEZONE"), Err(Errno::ENOREMOTE));
    assert!(alpha.node.links().is_empty());
    assert!(alpha.text(&world, "/proc/nicinfo/en0").is_ok(), "the interface is still there");
    for wrong in ["bind=ip", "bind=en,resolve=dns", "auto_add=many", "mount=here"] {
        assert_eq!(alpha.binding.load("lsm-qnet.so", wrong), Err(Errno::EINVAL), "{wrong}");
    }
    assert!(!alpha.node.is_mounted() && alpha.node.links().is_empty());
    assert_eq!(alpha.binding.load("lsm-qnet.so", "host=emma,hello=1"), Ok(()));
    world.run_for(SOON);
    assert_eq!(beta.text(&world, "/net/emma/etc/TIMEZONE").as_deref(), Ok("UTC0\n"));
    // From one binding to the other.
    assert_eq!(alpha.unload(&world, "/net"), Ok(()));
    alpha.stack.add_host("beta.lab.test", "10.0.0.2".parse().unwrap());
    assert_eq!(alpha.binding.load("lsm-qnet.so", "bind=ip,resolve=dns"), Ok(()));
    assert_eq!(beta.unload(&world, "/dev/netmgr"), Ok(()));
    assert_eq!(beta.binding.load("lsm-qnet.so", "bind=ip,resolve=dns"), Ok(()));
    assert_eq!(alpha.text(&world, "/net/beta/etc/TIMEZONE").as_deref(), Ok("UTC0\n"));
}

/// Somebody else has the EtherType: it stays theirs.
#[test]
fn the_ethertype_is_taken() {
    let world = World::new(1);
    let wire = world.wire(Faults::default());
    let alpha = host(&world, "alpha", &[(&wire, "10.0.0.1/24")]);
    alpha.stack.register_ethertype(0x8204, Box::new(|_| ())).unwrap();
    for _ in 0..2 {
        assert_eq!(alpha.binding.mount(""), Err(Errno::EBUSY));
        assert!(!alpha.node.is_mounted() && alpha.node.links().is_empty());
    }
    alpha.stack.unregister_ethertype(0x8204);
    assert_eq!(alpha.binding.mount(""), Ok(()));
}

#[test]
fn carrier() {
    let world = World::new(1);
    let wires = [world.wire(Faults::default()), world.wire(Faults::default())];
    let alpha = host(&world, "alpha", &[(&wires[0], "10.0.0.1/24"), (&wires[1], "10.1.0.1/24")]);
    let beta = host(&world, "beta", &[(&wires[0], "10.0.0.2/24"), (&wires[1], "10.1.0.2/24")]);
    alpha.binding.mount("").unwrap();
    beta.binding.mount("").unwrap();
    world.run_for(SOON);
    there_and_back(&world, &alpha, 10_000);
    alpha.machine.set_carrier("eth0", false);
    world.run_for(Duration::from_secs(2));
    let start = world.now();
    there_and_back(&world, &alpha, 100_000);
    assert!(world.now() - start < Duration::from_secs(1), "the other link is used at once");
    let text = alpha.binding.nicinfo(Some("en0")).unwrap();
    assert!(text.contains("Current Operation Rate ..................... Unknown\n"), "{text}");
    alpha.machine.set_carrier("eth0", true);
    wires[0].set_link(0, Link::Up(LinkSpeed(100)));
    world.run_for(Duration::from_secs(3));
    let text = alpha.binding.nicinfo(Some("en0")).unwrap();
    assert!(text.contains("Current Operation Rate ..................... 100.00 Mb/s\n"), "{text}");
    there_and_back(&world, &alpha, 100_000);
}
