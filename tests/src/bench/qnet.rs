//! The benchmark of the Qnet node: its messages beside TCP echo of the same machine, its reads beside NFS reads of an
//! NFS appliance with the same file, in one run.
//!
//! The client of all is the bench: for Qnet and TCP a node of the bench on the project's own network stack, for NFS an
//! endpoint. What is measured is the machine that answers.

use super::report::{Cost, Report, Title};
use super::servers::{LONG, failed, port};
use super::{Plan, profile};
use crate::Appliance;
use crate::nfs3::{Handle, How, Nfs, Procedure, Set, Stable, Transport};
use crate::qnet::{OpenFlags, Peer, User};
use embedded_io_async::{Read, Write};
use keelson_net::{ConnectOptions, TcpOptions, TcpStream};
use keelson_qemu::{Bench, Drive, Endpoint, Error, Ext4Spec, Lan, Machine, Nic, NicModel, Result};
use keelson_qnet::client::CopyError;
use keelson_qnet_wire::Errno;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const QNET: &str = "10.0.0.1";
const NFS: &str = "10.0.0.2";
/// Bytes of the file that is read, on both machines: it stays in their caches.
const FILE: usize = 16 << 20;
/// Nodes that announce themselves.
const CROWD: usize = 64;
/// How long they are listened to: as long as all of them need to announce themselves once.
const LISTEN: Duration = Duration::from_secs(30);

/// Both machines, and who uses them.
struct World {
    qnet: Machine,
    nfs: Machine,
    peer: Peer,
    nfs_client: RefCell<(Nfs, NfsFiles)>,
    lan: Lan,
    _endpoint: Endpoint,
    // Last: everything above lives in it.
    _bench: Bench,
}

/// Wraps what a node answered.
fn refused(doing: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| failed(doing)(std::io::Error::other(errno.to_string()))
}

struct NfsFiles {
    root: Handle,
    file: Handle,
}

/// Something done `amount` times; the time it took.
type Work = fn(&World, usize) -> Result<Duration>;

struct Row {
    name: &'static str,
    unit: &'static str,
    /// How often it is done.
    times: usize,
    /// Units of the report in one time.
    units: f64,
    target: f64,
    qnet: Work,
    other: Other,
}

enum Other {
    Tcp(Work),
    Nfs(Work),
}

fn rows() -> [Row; 7] {
    let row =
        |name, unit, times, units, target, qnet, other| Row { name, unit, times, units, target, qnet, other };
    const MIB: f64 = (1 << 20) as f64 / 1e6;
    const KIB: f64 = 1024.0 / 1e6;
    [
        row(
            "empty message : TCP echo",
            "call",
            4000,
            1.0,
            1.0,
            message,
            Other::Tcp(|world, times| echo(world, times, 1, 1)),
        ),
        row(
            "8 at once : TCP echo",
            "call",
            8000,
            1.0,
            1.0,
            messages,
            Other::Tcp(|world, times| echo(world, times, 1, 8)),
        ),
        row(
            "there and back : TCP echo",
            "MB",
            1,
            32.0 * MIB,
            1.1,
            there_and_back,
            Other::Tcp(|world, _| echo(world, FILE >> 16, 64 << 10, 1)),
        ),
        row(
            "read 8 KiB : NFS READ",
            "MB",
            2000,
            8.0 * KIB,
            1.0,
            |world, times| read(world, times, 8 << 10),
            Other::Nfs(|world, times| nfs_read(world, times, 8 << 10)),
        ),
        row(
            "read 64 KiB : NFS READ",
            "MB",
            512,
            64.0 * KIB,
            1.0,
            |world, times| read(world, times, 64 << 10),
            Other::Nfs(|world, times| nfs_read(world, times, 64 << 10)),
        ),
        row(
            "copy 16 MiB : NFS READs",
            "MB",
            1,
            16.0 * MIB,
            1.0,
            copy,
            Other::Nfs(|world, _| nfs_copy(world)),
        ),
        row("open, stat, close : NFS LOOKUP", "call", 1000, 1.0, 1.0, open, Other::Nfs(nfs_lookup)),
    ]
}

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("machine", "other");
    let world = World::start()?;
    report.heading();
    for row in rows().iter().filter(|row| plan.wants(row.name)) {
        let (other, machine) = match row.other {
            Other::Tcp(work) => (work, &world.qnet),
            Other::Nfs(work) => (work, &world.nfs),
        };
        let mut costs: [Vec<Cost>; 2] = Default::default();
        for _ in 0..plan.rounds {
            let profile = plan.profile.then(|| profile::Plan::new("qnet-node", row.name));
            costs[0].push(measure(&world, &world.qnet, row.qnet, row, profile)?);
            if !plan.profile {
                costs[1].push(measure(&world, machine, other, row, None)?);
            }
        }
        if !plan.profile {
            let [ours, theirs] = costs.map(|costs| Cost::median(&costs));
            report.row(Title { name: row.name, unit: row.unit, target: row.target }, ours, theirs);
        }
    }
    if !plan.profile && plan.wants("announcing") {
        println!();
        report.quantities();
        world.announcing(&mut report)?;
    }
    report.end();
    Ok(())
}

fn measure(
    world: &World,
    machine: &Machine,
    work: Work,
    row: &Row,
    profile: Option<profile::Plan>,
) -> Result<Cost> {
    // Connections exist, and the emulator has translated the code.
    work(world, row.times.div_ceil(8))?;
    thread::sleep(Duration::from_millis(200));
    let before = machine.usage()?.cpu;
    let time = match profile {
        Some(profile) => profile.during(machine, || work(world, row.times))?,
        None => work(world, row.times)?,
    };
    let cost = Cost { time, cpu: machine.usage()?.cpu - before };
    Ok(cost.per(row.times as f64 * row.units))
}

impl World {
    fn start() -> Result<World> {
        let bench = Bench::new("bench-qnet");
        let lan = bench.lan("lan")?;
        let machine = |spec: keelson_qemu::MachineSpec, name: &str, ready: &str| -> Result<Machine> {
            let disk = bench.ext4(name, &Ext4Spec::new(256 << 20))?;
            let machine = spec
                .memory_mib(512)
                .nic(Nic::on(&port(&lan, name)?, NicModel::Virtio))
                .drive(Drive::file(disk.path()))
                .start()?;
            machine.expect(ready, LONG)?;
            Ok(machine)
        };
        let line = format!("ip={QNET}/24:eth0 hostname=keel qnet.echo");
        let qnet = machine(Appliance::qnet(&bench, "qnet", &line), "qnet", "qnet: mounted")?;
        let line = format!("ip={NFS}/24:eth0 nfs.exports=\"/ *(rw,sync,no_root_squash)\"");
        let nfs = machine(Appliance::nfs(&bench, "nfs", &line), "nfs", "serving NFS")?;
        let address = |text: &str| {
            text.parse().map_err(|_| Error::Missing { what: text.into(), remedy: "an address".into() })
        };
        let peer = Peer::at(&port(&lan, "bench")?, &[address("10.0.0.9/24")?], "bench", "")?;
        let endpoint = bench.endpoint(&lan, "client", &["10.0.0.8/24"])?;
        endpoint.port().capture(keelson_qemu::Capture::Off);
        let server = NFS.parse().expect("a constant");
        let (mut client, root) = Transport::Tcp.mount(&endpoint, server, "/");
        let created = client.create(&root, b"file", How::Unchecked(Set::mode(0o644)));
        let file = created.map_err(failed("create a file"))?.ok().handle;
        for at in (0..FILE).step_by(64 << 10) {
            let written = client.write(&file, at as u64, &[7; 64 << 10], Stable::Unstable);
            written.map_err(failed("fill a file"))?.ok();
        }
        client.commit(&file, 0, 0).map_err(failed("fill a file"))?.ok();
        peer.run(async |user| {
            let file = user.files().create("/net/keel/file", 0o644).await?;
            file.write_all(&vec![7; FILE]).await?;
            file.close().await
        })
        .map_err(refused("write the file to the node"))?;
        let nfs_client = RefCell::new((client, NfsFiles { root, file }));
        Ok(World { qnet, nfs, peer, nfs_client, lan, _endpoint: endpoint, _bench: bench })
    }

    /// What it costs to be there while others announce themselves, beside the other appliance, which hears them too.
    fn announcing(&self, report: &mut Report) -> Result<()> {
        let crowd: Result<Vec<Peer>> = (0..CROWD)
            .map(|number| {
                Peer::start(&port(&self.lan, &format!("crowd{number}"))?, &format!("crowd{number}"), "")
            })
            .collect();
        let crowd = crowd?;
        let per_second = |machine: &Machine, before: Duration| -> Result<f64> {
            Ok((machine.usage()?.cpu - before).as_secs_f64() / LISTEN.as_secs_f64() * 1e3)
        };
        let (ours, theirs) = (self.qnet.usage()?.cpu, self.nfs.usage()?.cpu);
        thread::sleep(LISTEN);
        let (ours, theirs) = (per_second(&self.qnet, ours)?, per_second(&self.nfs, theirs)?);
        report.quantity("64 announcing nodes: CPU", "ms/s", ours, theirs, f64::INFINITY);
        report.limit("... of a core", "%", ours / 10.0, 5.0);
        let listed = crowd[0].run(async |user| user.files().read_dir("/net").await.map(|list| list.len()));
        println!("(a node that came with them lists {} nodes)", listed.map_err(refused("list /net"))?);
        Ok(())
    }

    fn on_node<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(User) -> core::result::Result<T, Errno> + Send + 'static,
    ) -> Result<T> {
        self.peer.run(work).map_err(refused(what))
    }
}

/// `fstat` of an open file: nothing but the message and its reply, of 72 bytes.
fn message(world: &World, times: usize) -> Result<Duration> {
    messages_of(world, times, 1)
}

/// The same by eight clients.
fn messages(world: &World, times: usize) -> Result<Duration> {
    messages_of(world, times, 8)
}

fn messages_of(world: &World, times: usize, clients: usize) -> Result<Duration> {
    let start = Instant::now();
    let each = times / clients;
    let stats = |_| {
        world.peer.begin(async move |user| {
            let file = user.files().open("/net/keel/dev/null", OpenFlags::READ).await?;
            for _ in 0..each {
                file.stat().await?;
            }
            Ok(())
        })
    };
    let running: Vec<_> = (0..clients).map(stats).collect();
    for pending in running {
        let outcome: core::result::Result<(), Errno> = pending.wait(LONG)?;
        outcome.map_err(refused("stat"))?;
    }
    Ok(start.elapsed())
}

/// `len` bytes there and back by TCP, `times` in all, over so many connections at once.
fn echo(world: &World, times: usize, len: usize, connections: usize) -> Result<Duration> {
    let start = Instant::now();
    let each = times / connections;
    let running: Vec<_> = (0..connections)
        .map(|_| {
            world.peer.begin(async move |user| {
                let options =
                    TcpOptions { receive_buffer: 256 << 10, send_buffer: 256 << 10, ..TcpOptions::default() };
                let options = ConnectOptions { tcp: options, ..ConnectOptions::default() };
                let to: SocketAddr = format!("{QNET}:7").parse().expect("a constant");
                let stream = user.stack.connect(to, options).await.map_err(|error| error.to_string())?;
                echoes(stream, each, len).await.map_err(|error| error.to_string())
            })
        })
        .collect();
    for pending in running {
        let outcome: core::result::Result<(), String> = pending.wait(LONG)?;
        outcome.map_err(|error| failed("echo")(std::io::Error::other(error)))?;
    }
    Ok(start.elapsed())
}

async fn echoes(
    mut stream: TcpStream,
    times: usize,
    len: usize,
) -> core::result::Result<(), keelson_net::TcpError> {
    let (mut out, mut back) = (vec![7; len], vec![0; len]);
    for _ in 0..times {
        stream.write_all(&out).await?;
        let mut at = 0;
        while at < len {
            match stream.read(&mut back[at..]).await? {
                0 => return Err(keelson_net::TcpError::Reset),
                read => at += read,
            }
        }
        core::mem::swap(&mut out, &mut back);
    }
    Ok(())
}

/// 16 MiB are written to a file, 64 KiB at a time, and read again.
fn there_and_back(world: &World, _: usize) -> Result<Duration> {
    world.on_node("write and read", async move |user| {
        let file = user.files().open("/net/keel/file", OpenFlags::READ_WRITE).await?;
        let mut piece = vec![7; 64 << 10];
        let start = Instant::now();
        for at in (0..FILE as u64).step_by(64 << 10) {
            file.write_at(at, &piece).await?;
            file.read_at(at, &mut piece).await?;
        }
        Ok(start.elapsed())
    })
}

fn read(world: &World, times: usize, len: usize) -> Result<Duration> {
    world.on_node("read", async move |user| {
        let file = user.files().open("/net/keel/file", OpenFlags::READ).await?;
        let mut room = vec![0; len];
        let start = Instant::now();
        for time in 0..times {
            let at = (time * len) % FILE;
            file.read_at(at as u64, &mut room).await?;
        }
        Ok(start.elapsed())
    })
}

/// As `cp` does it, into memory.
fn copy(world: &World, _: usize) -> Result<Duration> {
    world.on_node("copy", async move |user| {
        let files = user.files();
        let from = files.open("/net/keel/file", OpenFlags::READ).await?;
        let to = files.create("/copy", 0o644).await?;
        let start = Instant::now();
        crate::qnet::copy(&from, &to, |_| ()).await.map_err(|error| match error {
            CopyError::From(errno) | CopyError::To(errno) => errno,
        })?;
        Ok(start.elapsed())
    })
}

fn open(world: &World, times: usize) -> Result<Duration> {
    world.on_node("stat by name", async move |user| {
        let files = user.files();
        let start = Instant::now();
        for _ in 0..times {
            files.stat("/net/keel/file").await?;
        }
        Ok(start.elapsed())
    })
}

fn nfs_read(world: &World, times: usize, len: usize) -> Result<Duration> {
    let (nfs, files) = &mut *world.nfs_client.borrow_mut();
    let start = Instant::now();
    for time in 0..times {
        nfs.read(&files.file, ((time * len) % FILE) as u64, len as u32).map_err(failed("NFS READ"))?;
    }
    Ok(start.elapsed())
}

/// As the copy does: four reads of 64 KiB on their way at once.
fn nfs_copy(world: &World) -> Result<Duration> {
    const PIECE: usize = 64 << 10;
    let (nfs, files) = &mut *world.nfs_client.borrow_mut();
    let start = Instant::now();
    nfs.load(Procedure::Read, FILE / PIECE, 4, |number, out| {
        out.opaque(&files.file);
        out.u64((number * PIECE) as u64);
        out.u32(PIECE as u32);
    })
    .map_err(failed("NFS READ"))?;
    Ok(start.elapsed())
}

fn nfs_lookup(world: &World, times: usize) -> Result<Duration> {
    let (nfs, files) = &mut *world.nfs_client.borrow_mut();
    let start = Instant::now();
    for _ in 0..times {
        nfs.lookup(&files.root, b"file").map_err(failed("NFS LOOKUP"))?.ok();
    }
    Ok(start.elapsed())
}
