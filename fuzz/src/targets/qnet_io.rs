//! The resource managers of a Qnet node, with a client that sends any message.

use crate::input::Input;
use keelson_exec::sim::SimClock;
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, TaskHandle};
use keelson_hal::Entropy;
use keelson_qnet::api::{Connection, Credentials, Kernel, KernelConfig, NameScope};
use keelson_qnet::client::{Files, OpenFlags};
use keelson_qnet::io::{
    Archive, Console, Dispatcher, Io, IoConfig, MountList, NameDirectory, Namespace, NetDirectory, Netmgr,
    NodeDirectory, NodeEntry, NodeName, Null, Order, Terminal, TextFile, VolumeFiles, Zero,
};
use keelson_qnet_wire::io::{IoRequest, Parts};
use keelson_qnet_wire::{Endian, Errno, Nd};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::rc::Rc;
use std::time::Duration;

/// Messages of one input, and bytes of one.
const MOST_MESSAGES: usize = 120;
const LONGEST: usize = 4096;
/// Connections of the client.
const CONNECTIONS: u8 = 3;
/// How long anything but the console may keep a client waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// What nobody but root may read or change.
const PRECIOUS: &[u8] = b"precious-secret";

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x11);
    }
}

struct Scene {
    clock: Rc<SimClock>,
    executor: Executor,
    kernel: Kernel,
    dispatcher: Rc<Dispatcher>,
    connections: [Option<Rc<Connection>>; CONNECTIONS as usize],
    server: TaskHandle,
}

/// Messages, each on one of a few connections and for one of a few descriptors; then the client goes.
pub fn qnet_io(input: &[u8]) {
    let mut input = Input::new(input);
    let mut scene = Scene::new();
    let mut messages = 0;
    while !input.is_empty() && messages < MOST_MESSAGES {
        scene.message(&mut input);
        messages += 1;
    }
    scene.finish();
}

impl Scene {
    fn new() -> Scene {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let handle = executor.handle();
        let kernel = Kernel::new(&handle, KernelConfig::default(), &Fixed);
        let options = MemoryOptions { capacity: 4 << 20, inodes: 60, ..MemoryOptions::default() };
        let volume = Rc::new(MemoryVolume::new(clock.clone(), options));
        let archive = Archive::new([
            ("etc/TIMEZONE", 0o644, Rc::from(&b"UTC0\n"[..])),
            ("bin/date", 0o755, Rc::from(&b"#"[..])),
        ]);
        let archive = Rc::new(archive.expect("names that differ"));
        let directory = Rc::new(TwoNodes);
        let namespace = Namespace::new();
        let mount = |prefix, manager| {
            namespace.mount(prefix, manager, Order::After).expect("a prefix");
        };
        mount("/", Rc::new(VolumeFiles::new(volume)));
        mount("/", archive.clone());
        mount("/proc/boot", archive);
        mount("/proc/qnetstats", Rc::new(TextFile::new(|| "**** running on alpha\n".into())));
        mount("/proc/mount", Rc::new(MountList::new(&namespace)));
        mount("/dev/null", Rc::new(Null));
        mount("/dev/zero", Rc::new(Zero));
        mount("/dev/con", Rc::new(Console::new(Rc::new(Silent(Rc::default())), 0o666)));
        mount("/net", Rc::new(NetDirectory::new(directory.clone())));
        mount("/dev/netmgr", Rc::new(Netmgr::new(directory.clone())));
        mount("/dev/name/local", Rc::new(NameDirectory::new(&kernel, NameScope::Local)));
        let config = IoConfig { open_files: 20, open_files_per_connection: 8 };
        let dispatcher = Dispatcher::new(&kernel, &namespace, Some(directory), config);
        let channel = kernel.channel(1).expect("a channel");
        let server = handle.spawn("server", dispatcher.clone().run(channel));
        let scene = Scene { clock, executor, kernel, dispatcher, connections: Default::default(), server };
        scene
            .as_root(|files| async move {
                files.mkdir("/public", 0o777).await?;
                let precious = files.create("/precious", 0o600).await?;
                precious.write_all(PRECIOUS).await?;
                precious.close().await?;
                files.create("/public/a", 0o666).await?.write_all(b"abc").await
            })
            .unwrap_or_else(|errno| panic!("{errno}"));
        scene
    }

    fn as_root<T: 'static, F: Future<Output = T> + 'static>(&self, work: impl FnOnce(Files) -> F) -> T {
        let root = Credentials { pid: 1, ..Credentials::default() };
        self.executor.block_on(&*self.clock, work(Files::new(&self.kernel, &root, None)))
    }

    fn message(&mut self, input: &mut Input<'_>) {
        let (place, coid, room) = (usize::from(input.u8() % CONNECTIONS), input.u8() % 4, input.u16() % 5000);
        let len = usize::from(input.u16()).min(LONGEST);
        let bytes = input.bytes(len).to_vec();
        if bytes.is_empty() {
            // Closed, and opened anew for the next one.
            self.connections[place] = None;
            return;
        }
        let (kernel, handle) = (self.kernel.clone(), self.executor.handle());
        let before = self.connections[place].take();
        let waits = may_wait(&bytes);
        let connection = self.executor.block_on(&*self.clock, async move {
            let ids = Credentials { pid: 9, ruid: 100, euid: 100, suid: 100, ..Credentials::default() };
            let who = Credentials { rgid: 100, egid: 100, sgid: 100, ..ids };
            let connection = match before {
                Some(connection) => connection,
                None => Rc::new(
                    kernel.connect(Nd::LOCAL, 1, 1, &who).await.unwrap_or_else(|errno| panic!("{errno}")),
                ),
            };
            connection.set_coid(coid.into());
            let mut reply = vec![0; room.into()];
            let parts = [&bytes[..]];
            let sent = handle.timeout(PATIENCE, connection.send(&parts, &mut reply)).await;
            match sent {
                Ok(Ok((_, len))) => assert!(len <= usize::from(room), "a reply of {len} bytes for {room}"),
                Ok(Err(errno)) => assert!(errno.0 > 0, "{errno:?}"),
                Err(_) => assert!(waits, "no answer to {bytes:02x?}"),
            }
            let leaks = reply.windows(PRECIOUS.len()).any(|window| window == PRECIOUS);
            assert!(!leaks, "what only root may read");
            connection
        });
        self.connections[place] = Some(connection);
        assert!(self.dispatcher.open_files() <= 20);
    }

    fn finish(mut self) {
        self.connections = Default::default();
        let handle = self.executor.handle();
        self.executor.block_on(&*self.clock, async move { handle.sleep(Duration::from_secs(8)).await });
        assert_eq!(self.dispatcher.open_files(), 0, "files are open");
        let kernel = &self.kernel;
        assert_eq!((kernel.connections(), kernel.server_connections(), kernel.transactions()), (0, 0, 0));
        let (content, mode) = self
            .as_root(|files| async move {
                let stat = files.stat("/precious").await?;
                Ok::<_, Errno>((files.read_to_end("/precious", 99).await?, stat.mode))
            })
            .unwrap_or_else(|errno| panic!("the precious file: {errno}"));
        assert_eq!((content.as_slice(), mode & 0o777), (PRECIOUS, 0o600), "what only root may change");
        // What is listed can be listed, whatever names were made.
        let listed = self.as_root(|files| async move {
            let directory = files.open("/public/", OpenFlags::READ).await?;
            directory.read_dir().await
        });
        assert!(listed.is_ok() || listed == Err(Errno::ENOENT), "{listed:?}");
        self.server.abort();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.connections = Default::default();
        self.executor.abort_all();
    }
}

/// Whether a message has a part that waits for the console.
fn may_wait(bytes: &[u8]) -> bool {
    let parts = Parts::new(bytes, Endian::Little).filter_map(|part| part.ok());
    let mut requests = parts.filter_map(|part| IoRequest::decode(part, Endian::Little).ok());
    requests.any(|request| matches!(request, IoRequest::Read(_) | IoRequest::Connect(_)))
}

/// A terminal at which nobody types.
struct Silent(Rc<Notify>);

impl Terminal for Silent {
    fn write(&self, text: &[u8]) -> usize {
        text.len()
    }

    fn read(&self, _: &mut [u8]) -> usize {
        0
    }

    fn has_input(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        true
    }

    fn changed(&self) -> Rc<Notify> {
        self.0.clone()
    }
}

/// This node, and one other.
struct TwoNodes;

impl NodeDirectory for TwoNodes {
    fn own_name(&self) -> NodeName {
        NodeName { host: "alpha".into(), domain: "lab.test".into(), qos: String::new() }
    }

    fn list(&self) -> Vec<NodeEntry> {
        vec![NodeEntry { name: "beta".into(), nd: Nd(1) }]
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            match name.split(['.', '~']).next() {
                Some("alpha") => Ok(Nd::LOCAL),
                Some("beta") => Ok(Nd(1)),
                _ => Err(Errno::ENOENT),
            }
        })
    }

    fn verify<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        self.resolve(name)
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        Err(if name == "alpha" { Errno::EBUSY } else { Errno::ENOENT })
    }

    fn remote_nd(&self, _: Nd, _: Nd) -> Io<'_, Nd> {
        Box::pin(async { Err(Errno::ETIMEDOUT) })
    }

    fn name_of(&self, nd: Nd) -> Option<NodeName> {
        match nd {
            Nd::LOCAL => Some(self.own_name()),
            Nd(1) => Some(NodeName { host: "beta".into(), ..self.own_name() }),
            _ => None,
        }
    }

    fn flush(&self) {}
}
