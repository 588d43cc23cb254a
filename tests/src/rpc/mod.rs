//! ONC RPC as a test speaks it: calls over an endpoint's TCP or UDP, and single bytes where a test wants to lie.
//!
//! One client serves tests and benchmark: a call costs it no allocation, and many can be in flight. Codec and client
//! are separate from the appliance's message code on purpose; only XDR items are shared.

mod message;
mod records;
mod wire;

use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keelson_oncrpc::{Buffer, Decoder, Encoder};
use keelson_qemu::{Endpoint, Error, TcpStream};

use message::{Identity, put_call};
pub use message::{Refusal, RpcError, Target, message, next_xid, parse_reply};
pub use records::{LAST, Records};
use wire::{Socket, Wire};

/// Port mapper, all versions.
pub const RPCBIND: u32 = 100_000;
/// NFS.
pub const NFS: u32 = 100_003;
/// MOUNT.
pub const MOUNT: u32 = 100_005;

/// Longest record either way: a transfer of 1 MiB with everything around it.
const LONGEST: usize = (1 << 20) + 8192;
/// How long a call may take unless said.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one server.
pub struct RpcClient {
    wire: Wire,
    /// The record sent last, its mark in front.
    out: Encoder,
    timeout: Duration,
    identity: Identity,
}

impl RpcClient {
    /// A TCP connection from a port below 1024, as servers demand unless told `insecure`.
    pub fn tcp(from: &Endpoint, server: SocketAddr) -> keelson_qemu::Result<RpcClient> {
        Ok(RpcClient::over(reserved_connection(from, server, Duration::from_secs(30))?))
    }

    /// Calls over a connection made by the test.
    pub fn over(stream: TcpStream) -> RpcClient {
        RpcClient::new(Wire::Stream(Box::new(stream), Records::default()))
    }

    /// A UDP socket at a port below 1024.
    pub fn udp(from: &Endpoint, server: SocketAddr) -> keelson_qemu::Result<RpcClient> {
        let socket = reserved(|port| from.udp(port))?;
        Ok(RpcClient::new(Wire::Datagrams(Box::new(Socket(socket, server)), vec![])))
    }

    /// Calls over a connection of the host's own stack.
    pub fn over_host(stream: net::TcpStream) -> RpcClient {
        RpcClient::new(Wire::Stream(Box::new(stream), Records::default()))
    }

    /// Calls through a socket of the host's own stack that is connected to the server.
    pub fn over_host_datagrams(socket: net::UdpSocket) -> RpcClient {
        RpcClient::new(Wire::Datagrams(Box::new(socket), vec![]))
    }

    fn new(wire: Wire) -> RpcClient {
        let out = Encoder::new(Buffer::unpooled(LONGEST), 4);
        let mut client = RpcClient { wire, out, timeout: TIMEOUT, identity: Identity::default() };
        client.timeout(TIMEOUT);
        client
    }

    /// Claims this user and these groups from now on; root without groups unless said.
    pub fn identity(&mut self, uid: u32, gid: u32, groups: &[u32]) {
        self.identity = Identity { uid, gid, groups: groups.to_vec() };
    }

    /// How long a call may take; 60 s unless said.
    ///
    /// # Panics
    ///
    /// When it is zero.
    pub fn timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.wire.set_timeout(timeout).expect("a timeout above zero");
    }

    /// Calls with AUTH_SYS and returns the bytes of the results.
    pub fn call(&mut self, target: Target, arguments: impl FnOnce(&mut Encoder)) -> Result<&[u8], RpcError> {
        let xid = self.put(target, arguments)?;
        self.wire.exchange(self.out.written(), xid, self.timeout)?;
        parse_reply(self.wire.message())
    }

    /// Makes `count` calls of one procedure, of which `in_flight` are under way at a time. `arguments` are written for
    /// each by its number; `results` are given with it, in the order in which they come. Nothing is sent again, so
    /// this is for TCP and for datagrams that do not get lost.
    pub fn calls(
        &mut self,
        target: Target,
        count: usize,
        in_flight: usize,
        mut arguments: impl FnMut(usize, &mut Encoder),
        mut results: impl FnMut(usize, &[u8]),
    ) -> Result<(), RpcError> {
        let mut waiting: Vec<([u8; 4], usize)> = Vec::with_capacity(in_flight);
        let mut sent = 0;
        for _ in 0..count {
            while sent < count && waiting.len() < in_flight.max(1) {
                let xid = self.put(target, |out| arguments(sent, out))?;
                self.wire.send(self.out.written())?;
                waiting.push((xid.to_be_bytes(), sent));
                sent += 1;
            }
            let answered = loop {
                self.wire.receive(self.timeout)?;
                let reply = self.wire.message();
                if let Some(place) = waiting.iter().position(|(xid, _)| reply.starts_with(xid)) {
                    break waiting.swap_remove(place).1;
                }
            };
            results(answered, parse_reply(self.wire.message())?);
        }
        Ok(())
    }

    /// Writes a call where the last one was.
    fn put(&mut self, target: Target, arguments: impl FnOnce(&mut Encoder)) -> Result<u32, RpcError> {
        let xid = next_xid();
        self.out.rewind(4);
        put_call(&mut self.out, xid, target, &self.identity);
        arguments(&mut self.out);
        if self.out.overflowed() {
            return Err(RpcError::Malformed(format!("arguments longer than {LONGEST} bytes")));
        }
        self.out.patch_u32(0, LAST | (self.out.position() - 4) as u32);
        Ok(xid)
    }

    /// The NULL procedure: is the program there?
    pub fn null(&mut self, program: u32, version: u32) -> Result<(), RpcError> {
        self.call([program, version, 0], |_| ()).map(|_| ())
    }

    /// Sends `message` (everything from the xid on) as it is and returns the reply to `xid`.
    pub fn send_raw(&mut self, message: &[u8], xid: u32) -> Result<&[u8], RpcError> {
        let record = [&(LAST | message.len() as u32).to_be_bytes()[..], message].concat();
        self.wire.exchange(&record, xid, self.timeout)?;
        parse_reply(self.wire.message())
    }
}

/// Asks the server's port mapper for the TCP port of a program (RFC 1833 section 3.2, PMAPPROC_GETPORT).
pub fn tcp_port(from: &Endpoint, server: IpAddr, program: u32, version: u32) -> io::Result<u16> {
    const TCP: u32 = 6;
    let mut mapper = RpcClient::tcp(from, (server, 111).into()).map_err(io::Error::other)?;
    let results = mapper
        .call([RPCBIND, 2, 3], |out| [program, version, TCP, 0].into_iter().for_each(|w| out.u32(w)))?;
    match Decoder::new(results).u32() {
        Ok(port @ 1..=0xffff) => Ok(port as u16),
        other => Err(io::Error::other(format!("{other:?} for the port of program {program}"))),
    }
}

/// Connects from a port below 1024 that has no connection to this server yet.
pub fn reserved_connection(
    from: &Endpoint,
    server: SocketAddr,
    timeout: Duration,
) -> keelson_qemu::Result<TcpStream> {
    reserved(|port| from.tcp_connect_from(port, server, timeout))
}

/// Tries ports below 1024 until one is free: tests of one process share the turn, and some hold many.
fn reserved<T>(open: impl Fn(u16) -> keelson_qemu::Result<T>) -> keelson_qemu::Result<T> {
    for _ in 1..RESERVED_PORTS {
        match open(reserved_port()) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    open(reserved_port())
}

/// Ports that are given in turn.
const RESERVED_PORTS: u32 = 512;

/// Ports below 1024 in turn, so that a connection does not meet the end of an earlier one.
fn reserved_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1023 - (NEXT.fetch_add(1, Ordering::Relaxed) % RESERVED_PORTS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::thread;

    /// The reply to a call: its last word, doubled.
    fn reply(call: &[u8]) -> Vec<u8> {
        let last = u32::from_be_bytes(*call.last_chunk().unwrap());
        let words = [1, 0, 0, 0, 0, last.wrapping_mul(2)].into_iter().flat_map(u32::to_be_bytes);
        call[..4].iter().copied().chain(words).collect()
    }

    /// A server on the loopback that answers `calls` calls, in turns of `turn` with the last one first.
    fn server(calls: usize, turn: usize) -> RpcClient {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            let (mut stream, mut records) = (listener.accept().unwrap().0, Records::default());
            for start in (0..calls).step_by(turn) {
                let mut replies = vec![];
                for _ in start..calls.min(start + turn) {
                    records.read(&mut stream).unwrap();
                    let reply = reply(records.record());
                    replies.insert(0, [&(LAST | reply.len() as u32).to_be_bytes()[..], &reply].concat());
                }
                // Somebody else's reply in between.
                replies.insert(1, [&(LAST | 4).to_be_bytes()[..], &[0; 4]].concat());
                stream.write_all(&replies.concat()).unwrap();
            }
        });
        RpcClient::over_host(client)
    }

    #[test]
    fn replies_find_their_calls() {
        for (count, in_flight, turn) in [(100, 1, 1), (100, 8, 4), (103, 8, 8), (3, 8, 3), (0, 8, 1)] {
            let (mut client, mut seen) = (server(count, turn), vec![]);
            let results = |number, results: &[u8]| seen.push((number as u32, results.to_vec()));
            client.calls([1, 1, 1], count, in_flight, |number, out| out.u32(number as u32), results).unwrap();
            seen.sort();
            let expected = (0..count as u32).map(|number| (number, (2 * number).to_be_bytes().to_vec()));
            assert!(seen.iter().cloned().eq(expected), "{count} calls, {in_flight} in flight: {seen:?}");
        }
    }

    #[test]
    fn datagrams_are_sent_again() {
        let [client, server] = [(); 2].map(|()| net::UdpSocket::bind("127.0.0.1:0").unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        let answering = thread::spawn(move || {
            let mut call = [0; 1000];
            // The first copy is lost, and a late reply to some other call comes before the second is answered.
            let (first, _) = server.recv_from(&mut call).unwrap();
            let (second, from) = server.recv_from(&mut call).unwrap();
            server.send_to(&reply(&[9; 8]), from).unwrap();
            server.send_to(&reply(&call[..second]), from).unwrap();
            assert_eq!(first, second);
        });
        let mut client = RpcClient::over_host_datagrams(client);
        assert_eq!(client.call([1, 1, 1], |out| out.u32(21)).unwrap(), [0, 0, 0, 42]);
        answering.join().unwrap();
        client.timeout(Duration::from_millis(20));
        let silence = client.null(1, 1).unwrap_err();
        assert!(matches!(silence, RpcError::Io(_)), "{silence}");
    }
}
