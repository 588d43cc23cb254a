//! Message passing of a Qnet node, with a peer that says anything: to its servers as a client, to its clients as a
//! server.

use crate::input::Input;
use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, TaskHandle};
use keelson_hal::Entropy;
use keelson_qnet::api::{Channel, Credentials, Kernel, KernelConfig, Message, Received};
use keelson_qnet::sessions::memory::{MemorySessions, Network, NetworkSettings};
use keelson_qnet::sessions::{Body, NodeNr, Qos, SessionEvent, Sessions};
use keelson_qnet_wire::kif::{
    Connect, ConnectDeath, ConnectFail, ConnectSuccess, Disconnect, Event, KifMessage, MsgRead, MsgSend,
    Pulse, Sigevent, Signal, Transfer, Unblock, VtidInfo,
};
use keelson_qnet_wire::{Endian, Errno};
use std::rc::Rc;
use std::time::Duration;

/// Steps of one input; ids of a kind that are remembered.
const MOST_STEPS: usize = 200;
const MOST_IDS: usize = 8;
/// Clients of ours at a time.
const MOST_CLIENTS: usize = 6;
/// Longest message of the peer.
const LONGEST: usize = 3000;

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x11);
    }
}

/// Ids that the node has told: the peer can name what is there.
#[derive(Default)]
struct Ids {
    servers: Vec<u32>,
    clients: Vec<u32>,
    handles: Vec<u32>,
    reads: Vec<u32>,
}

struct Scene {
    clock: Rc<SimClock>,
    executor: Executor,
    network: Network,
    kernel: Kernel,
    peer: Rc<MemorySessions>,
    node: NodeNr,
    server: Option<TaskHandle>,
    clients: Vec<TaskHandle>,
    ids: Ids,
}

/// Messages of the peer and calls of our clients, in the order of the input; then the peer dies.
pub fn qnet_kif(input: &[u8]) {
    let mut input = Input::new(input);
    let mut scene = Scene::new();
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS {
        scene.step(&mut input);
        steps += 1;
    }
    scene.finish();
}

impl Scene {
    fn new() -> Scene {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let settings = NetworkSettings { window: 10_000, ..NetworkSettings::default() };
        let network = Network::new(&executor.handle(), 2, settings);
        let kernel = Kernel::new(&executor.handle(), KernelConfig::default(), &Fixed);
        kernel.mount(network.sessions(0)).expect("mounted once");
        let (peer, node) = (network.sessions(1), network.number(0, 1));
        let (server, clients) = (None, Vec::new());
        let mut scene =
            Scene { clock, executor, network, kernel, peer, node, server, clients, ids: Ids::default() };
        scene.serve();
        scene
    }

    fn serve(&mut self) {
        let Ok(channel) = self.kernel.channel(1) else { return };
        let task = self.executor.handle().spawn("server", serve(self.kernel.clone(), channel));
        if let Some(old) = self.server.replace(task) {
            old.abort();
        }
    }

    fn pass(&self, span: Duration) {
        let handle = self.executor.handle();
        self.executor.block_on(&*self.clock, async move { handle.sleep(span).await });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 10 {
            0..=2 => self.structured(input),
            3 => {
                let len = usize::from(input.u16()).min(LONGEST);
                self.say(&[], input.bytes(len));
            }
            4 => self.client(input.u8()),
            5 => {
                let number = usize::from(input.u8());
                if number < self.clients.len() {
                    self.clients.remove(number).abort();
                }
            }
            6 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            7 => match input.u8() % 4 {
                0 => self.network.cut(1, 0),
                1 => self.network.cut(0, 1),
                2 => self.peer = self.network.reboot(1),
                _ => self.serve(),
            },
            8 => self.hear(),
            _ => self.pass(Duration::from_micros(1)),
        }
        self.pass(Duration::from_micros(1));
        self.hear();
        assert!(self.kernel.server_connections() <= 256 && self.kernel.transactions() <= 512);
        self.clients.retain(|client| !client.is_finished());
    }

    /// Messages whose ids are those of something, and whose numbers are small or extreme.
    fn structured(&mut self, input: &mut Input<'_>) {
        let kind = input.u8();
        let pick = |list: &[u32], choice: u8| match list.len() {
            0 => u32::from(choice),
            len => list.get(usize::from(choice) % (len + 1)).copied().unwrap_or(u32::from(choice)),
        };
        let (server_id, client_id) =
            (pick(&self.ids.servers, input.u8()), pick(&self.ids.clients, input.u8()));
        let choice = input.u8();
        let (handle, read) = (pick(&self.ids.handles, choice), pick(&self.ids.reads, choice));
        let number = |choice: u8| match choice {
            0..=199 => u32::from(choice) * 7,
            200..=219 => u32::from(choice) << 8,
            220..=239 => 1 << (choice - 210),
            _ => u32::MAX - u32::from(255 - choice),
        };
        let (offset, nbytes) = (number(input.u8()), number(input.u8()));
        let data = vec![input.u8(); usize::from(input.u16()) % (LONGEST * 4)];
        let len = nbytes as i32;
        let vinfo = VtidInfo {
            tid: 1,
            priority: 10,
            srcmsglen: len,
            dstmsglen: offset as i32,
            ..VtidInfo::default()
        };
        let own = u32::from(choice);
        let connect = Connect {
            version: own / 200 + 1,
            server_pid: 1,
            server_chid: own % 3,
            client_id: own,
            client_pid: 7,
        };
        let transfer = |handle| Transfer { status: offset, handle, offset, nbytes };
        let send = MsgSend { server_id, client_handle: own, vinfo, nbytes };
        let pulse = Pulse {
            server_id,
            client_handle: own,
            vinfo,
            code: choice as i8,
            value: nbytes,
            ..Pulse::default()
        };
        let cred = (kind & 0x80 != 0).then(|| Credentials { pid: 7, euid: own, ..Credentials::default() });
        let sigevent = Sigevent { notify: i32::from(choice % 9), ..Sigevent::default() };
        let message = match kind % 18 {
            0 => KifMessage::Connect(connect, cred),
            1 => KifMessage::ConnectMsgSend(connect, cred, send, None),
            2 => KifMessage::ConnectSuccess(ConnectSuccess {
                version: 1,
                server_id: own,
                client_id,
                scoid: 1,
                nbytes,
            }),
            3 => KifMessage::ConnectFail(ConnectFail { version: 1 + own / 128, client_id, status: len }),
            4 => KifMessage::Unblock(Unblock { server_id, client_handle: own, tid: 1 }),
            5 => KifMessage::MsgSend(send, cred),
            6 => KifMessage::MsgRead(MsgRead { msgread_handle: handle, client_handle: own, offset, nbytes }),
            7 => KifMessage::MsgReadXfer(transfer(read)),
            8 => KifMessage::MsgWrite(transfer(handle)),
            9 => KifMessage::MsgReply(transfer(handle)),
            10 => KifMessage::MsgError(transfer(handle)),
            11 => KifMessage::Event(Event { client_handle: handle, sigevent }),
            12 => KifMessage::Pulse(pulse, cred),
            13 => KifMessage::Signal(
                Signal { client_handle: own, pid: len, signo: 9, ..Signal::default() },
                cred,
            ),
            14 => KifMessage::Disconnect(Disconnect { server_id }),
            15 => KifMessage::ConnectDeath(ConnectDeath { client_id }),
            16 => KifMessage::MsgReadError(transfer(read)),
            _ => KifMessage::ConnectPulse(connect, cred, pulse, None),
        };
        let mut room = [0; KifMessage::MAX_LEN];
        let endian = if kind & 0x40 != 0 && choice == 0 { Endian::Big } else { Endian::Little };
        let len = message.emit(&mut room, endian).expect("room for any structure");
        self.say(&room[..len], &data);
    }

    fn say(&self, head: &[u8], data: &[u8]) {
        let parts = [data];
        let _ = self.peer.send(self.node, Qos::default(), 10, head, Body::new(&parts));
    }

    /// The peer listens: what the node says is right, whatever it was told.
    fn hear(&mut self) {
        while let Some(event) = self.peer.take_event() {
            let SessionEvent::Message { rx, message, .. } = event else { continue };
            let decoded = KifMessage::decode(message.bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert!(decoded.endian == Endian::Little && !decoded.truncated, "{:?}", decoded.message);
            let ids = &mut self.ids;
            match decoded.message {
                KifMessage::ConnectSuccess(success) => remember(&mut ids.servers, success.server_id),
                KifMessage::Connect(connect, _) => remember(&mut ids.clients, connect.client_id),
                KifMessage::ConnectMsgSend(connect, _, send, _) => {
                    remember(&mut ids.clients, connect.client_id);
                    remember(&mut ids.handles, send.client_handle);
                }
                KifMessage::MsgSend(send, _) => remember(&mut ids.handles, send.client_handle),
                KifMessage::MsgRead(read) => remember(&mut ids.reads, read.client_handle),
                _ => {}
            }
            self.peer.release(rx, message);
        }
    }

    /// A client of ours, which attaches and sends.
    fn client(&mut self, choice: u8) {
        if self.clients.len() >= MOST_CLIENTS {
            return;
        }
        let (kernel, nd) = (self.kernel.clone(), self.network.nd(1, 0));
        let task = self.executor.handle().spawn("client", async move {
            let who = Credentials { pid: 1, ..Credentials::default() };
            let Ok(connection) = kernel.connect(nd, 1, 1, &who).await else { return };
            let message = vec![choice; usize::from(choice) * 100];
            for _ in 0..3 {
                let mut reply = vec![0; usize::from(choice) * 40];
                let room = reply.len();
                let interrupted = kernel.executor().sleep(Duration::from_millis(u64::from(choice) * 50));
                let sent = connection.send_until(&[&message], &mut reply, interrupted).await;
                assert!(sent.is_err() || sent.is_ok_and(|(_, len)| len <= room), "{sent:?}");
                let _ = connection.pulse(choice, 1, 2);
            }
        });
        self.clients.push(task);
    }

    fn finish(mut self) {
        self.network.crash(1);
        // Requests that were interrupted end after five seconds at the latest.
        self.pass(Duration::from_secs(30));
        for client in &self.clients {
            assert!(client.is_finished(), "a client waits for a node that is dead");
        }
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.pass(Duration::from_secs(1));
        let (kernel, counters) = (&self.kernel, self.kernel.counters());
        let left = [
            kernel.connections(),
            kernel.server_connections(),
            kernel.transactions(),
            counters.net_server.now,
            counters.net_client.now,
            counters.waiting.now,
            counters.vtid.now,
            counters.server_transactions.now,
            counters.buffer.now,
            counters.outbound_msgs.now,
            self.network.outstanding(),
        ];
        assert_eq!(left, [0; 11], "{counters:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.executor.abort_all();
    }
}

fn remember(list: &mut Vec<u32>, id: u32) {
    if !list.contains(&id) {
        list.truncate(MOST_IDS - 1);
        list.insert(0, id);
    }
}

async fn serve(kernel: Kernel, channel: Channel) {
    loop {
        if let Received::Message(message) = channel.receive().await {
            kernel.executor().spawn("request", answer(kernel.clone(), message));
        }
    }
}

/// Does what the first byte says.
async fn answer(kernel: Kernel, message: Message) {
    match message.data().first().map(|byte| byte % 6) {
        // A peer may offer two gigabytes; a server reads what it has a use for.
        Some(0) => {
            let mut bytes = vec![0; message.len().min(200_000)];
            match message.read(0, &mut bytes).await {
                Ok(len) => message.reply(len as i32, &bytes[..len]),
                Err(errno) => message.error(errno),
            }
        }
        Some(1) => {
            let written = message.write(5, &[7; 70_000]).await;
            message.reply(0, if written.is_ok() { b"written" } else { b"" });
        }
        Some(2) => {
            let gone = message.unblocked();
            let _ = kernel.executor().timeout(Duration::from_secs(20), gone).await;
        }
        Some(3) => {
            let target = message.event_target();
            message.reply(0, &[]);
            if let Some(target) = target {
                let _ = target.deliver(&Sigevent { notify: 4, ..Sigevent::default() });
            }
        }
        Some(4) => message.error(Errno::EACCES),
        _ => message.reply(-1, b"?"),
    }
}
