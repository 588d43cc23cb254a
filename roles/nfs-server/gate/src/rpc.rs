//! Calls as a client's kernel makes them on a hard mount: the same call, with the same number, until it is answered.

use crate::ledger::Ledger;
use keelson_exec::Handle;
use keelson_net::{ConnectOptions, LocalPort, ReadHalf, TcpOptions, UdpSocket, WriteHalf};
use keelson_oncrpc::client::{CallError, DatagramClient, StreamClient, Target};
use keelson_oncrpc::{
    AuthSys, Buffer, Credential, Decoder, Encoder, RpcDatagram, RpcDatagrams, RpcNetwork, RpcStream,
    StackNetwork,
};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// After three sendings over UDP the waiting times begin anew, as Linux's do after a major timeout.
const MAJOR: Duration = Duration::from_secs(7);
/// A connection that brings no reply for this long is given up, and the call sent on another.
const NO_REPLY: Duration = Duration::from_secs(20);
/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(8);
/// Longest results.
const MAX_RESULTS: usize = 40 << 10;

/// How calls travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

/// An answered call.
pub struct Answer {
    /// The results, encoded.
    pub results: Vec<u8>,
    /// Number of the server that it was first sent to: how often the power had gone before.
    pub sent: u32,
    /// Number of the server that answered.
    pub answered: u32,
}

impl Answer {
    /// More than one server may have executed it.
    pub fn spans_cut(&self) -> bool {
        self.sent != self.answered
    }
}

struct Socket(Rc<UdpSocket>);

impl RpcDatagrams for Socket {
    async fn receive(&self) -> Option<RpcDatagram> {
        RpcDatagrams::receive(&*self.0).await
    }

    async fn send(&self, local: Option<IpAddr>, peer: SocketAddr, payload: &[u8]) {
        RpcDatagrams::send(&*self.0, local, peer, payload).await;
    }
}

/// One caller of one port of the server: one call at a time.
pub struct Rpc {
    handle: Handle,
    network: StackNetwork,
    ledger: Rc<Ledger>,
    server: SocketAddr,
    via: Via,
    xid: u32,
    socket: Option<Rc<UdpSocket>>,
    stream: Option<StreamClient<ReadHalf, WriteHalf>>,
}

impl Rpc {
    /// A caller whose numbers start at `xid`.
    pub fn new(
        handle: &Handle,
        network: &StackNetwork,
        ledger: &Rc<Ledger>,
        server: SocketAddr,
        via: Via,
        xid: u32,
    ) -> Rpc {
        Rpc {
            handle: handle.clone(),
            network: network.clone(),
            ledger: ledger.clone(),
            server,
            via,
            xid,
            socket: None,
            stream: None,
        }
    }

    /// Calls until there is an answer. A refusal is an error of the server's: it is noted, and there is no answer.
    pub async fn call(&mut self, target: [u32; 3], arguments: &[u8]) -> Answer {
        let sent = self.ledger.cuts();
        let called = match self.via {
            Via::Udp => self.by_datagrams(target, arguments).await,
            Via::Tcp => self.by_stream(target, arguments).await,
        };
        self.xid = self.xid.wrapping_add(1);
        match called {
            Ok(results) => Answer { results, sent, answered: self.ledger.sender() },
            Err(error) => {
                self.ledger.fail(format!("the server refused a call of {target:?}: {error:?}"));
                std::future::pending().await
            }
        }
    }

    async fn by_datagrams(&mut self, target: [u32; 3], arguments: &[u8]) -> Result<Vec<u8>, CallError> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => {
                let socket = Rc::new(self.network.bind_reserved().expect("a reserved port"));
                self.socket.insert(socket).clone()
            }
        };
        loop {
            let (handle, socket) = (self.handle.clone(), Socket(socket.clone()));
            let mut client = DatagramClient::new(handle, socket, self.server, arguments.len(), self.xid);
            match client.call(named(target), MAJOR, |out| out.fixed(arguments)).await {
                Ok(results) => return Ok(results.remaining().to_vec()),
                Err(CallError::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn by_stream(&mut self, target: [u32; 3], arguments: &[u8]) -> Result<Vec<u8>, CallError> {
        loop {
            let mut client = match self.stream.take() {
                Some(client) => client,
                None => self.connect().await,
            };
            let call = client.call(named(target), |out| out.fixed(arguments));
            match self.handle.timeout(NO_REPLY, call).await {
                Ok(Ok(results)) => {
                    let results = results.remaining().to_vec();
                    self.stream = Some(client);
                    return Ok(results);
                }
                Ok(Err(CallError::Disconnected)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    async fn connect(&self) -> StreamClient<ReadHalf, WriteHalf> {
        let ring = 48 << 10;
        let tcp = TcpOptions { receive_buffer: ring, send_buffer: ring, ..TcpOptions::default() };
        let options = ConnectOptions {
            local_port: LocalPort::Reserved,
            timeout: CONNECT,
            tcp,
            ..ConnectOptions::default()
        };
        loop {
            match self.network.stack.connect(self.server, options).await {
                Ok(stream) => {
                    let (reader, writer) = stream.split();
                    return StreamClient::new(reader, writer, MAX_RESULTS, self.xid);
                }
                Err(_) => self.handle.sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

fn named([program, version, procedure]: [u32; 3]) -> Target<'static> {
    Target { program, version, procedure, credential: Credential::Sys(AuthSys::new(b"sim", 0, 0, &[])) }
}

/// Arguments as bytes.
pub fn encoded(payload: usize, write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(payload + 1024), 0);
    write(&mut out);
    out.written().to_vec()
}

/// Reads results; what does not decode is an error of the server's.
pub fn decoded<T>(
    ledger: &Ledger,
    results: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, keelson_oncrpc::DecodeError>,
) -> Option<T> {
    let mut input = Decoder::new(results);
    match read(&mut input) {
        Ok(value) => Some(value),
        Err(error) => {
            ledger.fail(format!("results do not decode: {error:?} in {results:02x?}"));
            None
        }
    }
}
