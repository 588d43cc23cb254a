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
/// Bytes of a read that come with one message, and of the longest one.
const SMALL: usize = 8 << 10;
const LARGE: usize = 64 << 10;
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

fn rows() -> [Row; 8] {
    let row =
        |name, unit, times, units, target, qnet, other| Row { name, unit, times, units, target, qnet, other };
    // Whole messages of 64 KiB, counted both ways; no slower than TCP by more than a tenth.
    let (both, bulk) = (2.0 * LARGE as f64 / 1e6, 1.1);
    let calls = |name, times, qnet, other| row(name, "call", times, 1.0, 1.0, qnet, other);
    [
        calls("message : TCP echo", 4000, |w, n| messages(w, n, 1, 1), Other::Tcp(|w, n| echo(w, n, 1, 1))),
        calls("8 clients : TCP echo", 8000, |w, n| messages(w, n, 1, 8), Other::Tcp(|w, n| echo(w, n, 1, 8))),
        row(
            "64 KiB : TCP echo",
            "MB",
            256,
            both,
            bulk,
            |world, times| messages(world, times, LARGE, 1),
            Other::Tcp(|world, times| echo(world, times, LARGE, 1)),
        ),
        row(
            "64 KiB, 8 cl. : TCP echo",
            "MB",
            512,
            both,
            bulk,
            |world, times| messages(world, times, LARGE, 8),
            Other::Tcp(|world, times| echo(world, times, LARGE, 8)),
        ),
        row(
            "read 8 KiB : NFS READ",
            "MB",
            2000,
            SMALL as f64 / 1e6,
            1.0,
            |world, times| read(world, times, SMALL),
            Other::Nfs(|world, times| nfs_read(world, times, SMALL)),
        ),
        row(
            "read 64 KiB : NFS READ",
            "MB",
            512,
            LARGE as f64 / 1e6,
            1.0,
            |world, times| read(world, times, LARGE),
            Other::Nfs(|world, times| nfs_read(world, times, LARGE)),
        ),
        row("copy 16 MiB : NFS READs", "MB", 1, FILE as f64 / 1e6, 1.0, copy, Other::Nfs(|w, _| nfs_copy(w))),
        calls("stat : NFS LOOKUP", 1000, stat, Other::Nfs(nfs_lookup)),
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

/// `len` bytes there and back by messages, `times` in all, by so many clients.
fn messages(world: &World, times: usize, len: usize, clients: usize) -> Result<Duration> {
    let start = Instant::now();
    let each = times / clients;
    let exchange = |_| {
        world.peer.begin(async move |user| {
            let server = user.files().open("/net/keel/dev/name/local/echo", OpenFlags::READ_WRITE).await?;
            let (out, mut back) = (vec![7; len], vec![0; len]);
            for _ in 0..each {
                let (_, got) = server.connection().send(&[&out], &mut back).await?;
                if got != len {
                    return Err(Errno::EMSGSIZE);
                }
            }
            Ok(())
        })
    };
    let running: Vec<_> = (0..clients).map(exchange).collect();
    for pending in running {
        let outcome: core::result::Result<(), Errno> = pending.wait(LONG)?;
        outcome.map_err(refused("send to the echo server"))?;
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

/// Attributes by name, as `ls -l` asks for them.
fn stat(world: &World, times: usize) -> Result<Duration> {
    world.on_node("stat by name", async move |user| {
        let files = user.files().keeping_connection();
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
