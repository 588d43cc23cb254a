//! Two Linux clients that lock files, a server, and a host of the test that looks at the server's answers.

use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Cache, Drive, Endpoint, Ext4Spec, Job, Lan, LinuxGuest, LinuxSpec, Nic, NicModel};
use keelson_tests::guest::program;
use keelson_tests::nfs3::{Handle, NFS_PORT, Nfs, find_and_mount};
use keelson_tests::nlm::Nlm;
use keelson_tests::rpc::RpcClient;
use keelson_tests::server::{ADDRESS, Maker, Server};

/// For whatever takes seconds on a quiet host.
pub const LONG: Duration = Duration::from_secs(300);
/// Scenarios of `guest/locks/scenarios`, by name.
pub const SCENARIOS: [&str; 4] = ["ranges", "waiting", "files", "nfs-only"];
/// Addresses of the clients.
pub const CLIENTS: [&str; 2] = ["10.0.0.2", "10.0.0.3"];

/// The world; the bench last, so that it outlives the others and can print what happened.
pub struct World {
    pub clients: [LinuxGuest; 2],
    pub server: Server,
    /// A third client, without any software: 10.0.0.9.
    pub host: Endpoint,
    pub lan: Lan,
    pub bench: Bench,
}

impl World {
    pub fn new(name: &str, maker: Maker) -> World {
        let start = Instant::now();
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let (server, clients) = thread::scope(|scope| {
            let server = scope.spawn(|| Server::start_for_locks(maker, &bench, &lan));
            let clients = [0, 1].map(|number| {
                let spec = client(&bench, &lan, number);
                let bench = &bench;
                scope.spawn(move || {
                    let client = LinuxGuest::boot(bench, spec).unwrap();
                    ready(&client);
                    client
                })
            });
            (server.join().unwrap(), clients.map(|client| client.join().unwrap()))
        });
        thread::scope(|scope| {
            clients.iter().for_each(|client| drop(scope.spawn(|| mount(client))));
        });
        let host = bench.endpoint(&lan, "host", &["10.0.0.9/24"]).unwrap();
        let world = World { clients, server, host, lan, bench };
        eprintln!("{:6.1} s  server and clients are up", start.elapsed().as_secs_f64());
        world
    }

    pub fn finish(self) {
        for client in self.clients {
            client.ok("umount /mnt", LONG).unwrap();
        }
        self.server.finish();
    }
}

/// The handle of a file in the root directory, as the host sees it.
pub fn handle(host: &Endpoint, name: &str) -> Handle {
    let root = find_and_mount(host, ADDRESS, "/").unwrap();
    let rpc = RpcClient::tcp(host, (ADDRESS, NFS_PORT).into()).unwrap();
    Nfs::new(rpc).lookup(&root, name.as_bytes()).unwrap().ok().handle
}

/// The server's lock manager, as the host calls it.
pub fn lock_manager(host: &Endpoint) -> Nlm {
    Nlm::connect(host, ADDRESS, 77).unwrap()
}

fn client(bench: &Bench, lan: &Lan, number: usize) -> LinuxSpec {
    let name = format!("client{}", number + 1);
    let state = bench.ext4(&name, &Ext4Spec::new(8 << 20)).unwrap();
    let port = lan.port(&name).unwrap();
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/locks/scenarios");
    let spec = LinuxSpec::new(&name)
        .memory_mib(256)
        .nic(Nic::on(&port, NicModel::Virtio), &[&format!("{}/24", CLIENTS[number])])
        .drive(Drive::file(state.path()).cache(Cache::Unsafe))
        .file(&program(env!("CARGO_TARGET_TMPDIR"), "locks"), "/usr/bin/locks");
    SCENARIOS.iter().fold(spec, |spec, name| {
        spec.file(&scenarios.join(format!("{name}.txt")), &format!("/scenarios/{name}.txt"))
    })
}

/// What a client does at boot.
pub fn ready(client: &LinuxGuest) {
    client.keep_nfs_state("/dev/vda").unwrap();
    client.start_statd().unwrap();
}

pub fn mount(client: &LinuxGuest) {
    let server: IpAddr = ADDRESS;
    client.ok(&format!("mount -t nfs -o vers=3,proto=tcp {server}:/ /mnt"), LONG).unwrap();
}

/// A process of a client that takes locks and keeps them.
pub struct Holder<'a> {
    client: &'a LinuxGuest,
    job: Job,
    /// What it said goes here.
    log: String,
}

impl<'a> Holder<'a> {
    /// Starts one that executes `commands` (see `guest/locks/actor.rs`).
    pub fn start(client: &'a LinuxGuest, file: &str, commands: &[&str]) -> Holder<'a> {
        let words: String = commands.iter().map(|command| format!(" '{command}'")).collect();
        let log = format!("/tmp/{}.log", file.replace('/', "_") + &words.replace([' ', '\''], "-"));
        // One of the same name may have said something there: whoever looks before this one has begun must not take it for its.
        client.ok(&format!("rm -f {log}"), LONG).unwrap();
        let job = client.spawn(&format!("exec locks hold {file}{words} > {log} 2>&1")).unwrap();
        Holder { client, job, log }
    }

    /// One that has all its locks when this returns.
    pub fn holding(client: &'a LinuxGuest, file: &str, commands: &[&str]) -> Holder<'a> {
        let holder = Holder::start(client, file, commands);
        holder.until("holding");
        holder
    }

    /// One that waits for a lock when this returns.
    pub fn waiting(client: &'a LinuxGuest, file: &str, commands: &[&str]) -> Holder<'a> {
        let holder = Holder::start(client, file, commands);
        holder.until("waiting");
        holder
    }

    /// Waits until it has all its locks.
    pub fn until_holding(&self) {
        self.until("holding");
    }

    /// True until it has all its locks.
    pub fn waits(&self) -> bool {
        let said = self.client.ok(&format!("cat {}", self.log), LONG).unwrap();
        assert!(said.starts_with("waiting"), "{}: {said}", self.log);
        said == "waiting\n"
    }

    fn until(&self, word: &str) {
        let script = format!("until grep -qs '{word}\\|panicked' {0}; do sleep 0.1; done; cat {0}", self.log);
        let said = self.client.ok(&script, LONG).unwrap();
        assert!(said.contains(word), "{}: {said}", self.log);
    }

    /// Ends it, and with it its locks.
    pub fn kill(self) {
        self.client.kill(&self.job).unwrap();
        self.job.wait(LONG).unwrap();
    }
}
