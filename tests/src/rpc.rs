//! ONC RPC as a test speaks it: calls over an endpoint's TCP or UDP, and single bytes where a test wants to lie.
//!
//! Codec and client are separate from the appliance's message code on purpose; only XDR items are shared.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keelson_oncrpc::{AuthSys, Buffer, Credential, Decoder, Encoder};
use keelson_qemu::{Endpoint, TcpStream, UdpSocket};

/// Port mapper, all versions.
pub const RPCBIND: u32 = 100_000;
/// NFS.
pub const NFS: u32 = 100_003;
/// MOUNT.
pub const MOUNT: u32 = 100_005;

/// Longest record either way: a transfer of 1 MiB with everything around it.
const LONGEST: usize = (1 << 20) + 8192;
/// Bit of a record mark that says "last fragment".
const LAST: u32 = 1 << 31;
/// First wait before a datagram is sent again.
const RESEND: Duration = Duration::from_millis(500);

/// A call without results.
#[derive(Debug)]
pub enum RpcError {
    /// The connection failed or ended, or nothing came in time.
    Io(io::Error),
    /// The server refused to execute the call.
    Refused(Refusal),
    /// What came back is no reply to the call.
    Malformed(String),
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for RpcError {}

impl From<io::Error> for RpcError {
    fn from(error: io::Error) -> RpcError {
        RpcError::Io(error)
    }
}

/// The answers of RFC 5531 that carry no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RPC_MISMATCH with the lowest and highest version.
    RpcMismatch(u32, u32),
    /// AUTH_ERROR with its `auth_stat`.
    Auth(u32),
    /// PROG_UNAVAIL.
    ProgramUnavailable,
    /// PROG_MISMATCH with the lowest and highest version.
    ProgramMismatch(u32, u32),
    /// PROC_UNAVAIL.
    ProcedureUnavailable,
    /// GARBAGE_ARGS.
    GarbageArguments,
    /// SYSTEM_ERR.
    SystemError,
}

/// The part of a client that carries messages.
enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket, SocketAddr),
    /// Sockets of the host's own stack.
    HostTcp(net::TcpStream),
    HostUdp(net::UdpSocket),
}

/// A client of one server: one call at a time.
pub struct RpcClient {
    wire: Wire,
    out: Encoder,
    timeout: Duration,
    identity: Identity,
}

/// Who the calls claim to come from.
#[derive(Clone)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl RpcClient {
    /// A TCP connection from a port below 1024, as servers demand unless told `insecure`.
    pub fn tcp(from: &Endpoint, server: SocketAddr) -> keelson_qemu::Result<RpcClient> {
        let stream = from.tcp_connect_from(reserved_port(), server, Duration::from_secs(30))?;
        Ok(RpcClient::over(stream))
    }

    /// Calls over a connection made by the test.
    pub fn over(stream: TcpStream) -> RpcClient {
        RpcClient::new(Wire::Tcp(stream))
    }

    /// A UDP socket at a port below 1024.
    pub fn udp(from: &Endpoint, server: SocketAddr) -> keelson_qemu::Result<RpcClient> {
        Ok(RpcClient::new(Wire::Udp(from.udp(reserved_port())?, server)))
    }

    /// The same over a connection of the host's own stack.
    pub fn over_host(stream: net::TcpStream) -> RpcClient {
        RpcClient::new(Wire::HostTcp(stream))
    }

    /// Calls through a socket of the host's own stack that is connected to the server.
    pub fn over_host_datagrams(socket: net::UdpSocket) -> RpcClient {
        RpcClient::new(Wire::HostUdp(socket))
    }

    fn new(wire: Wire) -> RpcClient {
        let out = Encoder::new(Buffer::unpooled(LONGEST), 4);
        let identity = Identity { uid: 0, gid: 0, groups: vec![] };
        RpcClient { wire, out, timeout: Duration::from_secs(60), identity }
    }

    /// Claims this user and these groups from now on; root without groups unless said.
    pub fn identity(&mut self, uid: u32, gid: u32, groups: &[u32]) {
        self.identity = Identity { uid, gid, groups: groups.to_vec() };
    }

    /// How long a call may take; 60 s unless said.
    pub fn timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Calls with AUTH_SYS and returns the bytes of the results.
    pub fn call(
        &mut self,
        program: u32,
        version: u32,
        procedure: u32,
        arguments: impl FnOnce(&mut Encoder),
    ) -> Result<Vec<u8>, RpcError> {
        let xid = next_xid();
        self.out.rewind(4);
        put_call(&mut self.out, xid, [2, program, version, procedure]);
        let Identity { uid, gid, groups } = &self.identity;
        Credential::Sys(AuthSys::new(b"bench", *uid, *gid, groups)).emit(&mut self.out);
        Credential::None.emit(&mut self.out);
        arguments(&mut self.out);
        if self.out.overflowed() {
            return Err(RpcError::Malformed(format!("arguments longer than {LONGEST} bytes")));
        }
        self.out.patch_u32(0, LAST | (self.out.position() - 4) as u32);
        let record = self.out.written().to_vec();
        self.exchange(&record, xid)
    }

    /// The NULL procedure: is the program there?
    pub fn null(&mut self, program: u32, version: u32) -> Result<(), RpcError> {
        self.call(program, version, 0, |_| ()).map(drop)
    }

    /// Sends `message` (everything from the xid on) as it is and returns the reply to `xid`.
    pub fn send_raw(&mut self, message: &[u8], xid: u32) -> Result<Vec<u8>, RpcError> {
        let mut record = (LAST | message.len() as u32).to_be_bytes().to_vec();
        record.extend_from_slice(message);
        self.exchange(&record, xid)
    }

    /// Sends a marked record and waits for the reply to `xid`; other replies are passed over.
    fn exchange(&mut self, record: &[u8], xid: u32) -> Result<Vec<u8>, RpcError> {
        let deadline = Instant::now() + self.timeout;
        match &mut self.wire {
            Wire::Tcp(stream) => {
                stream.set_timeout(self.timeout);
                exchange_records(stream, record, xid)
            }
            Wire::HostTcp(stream) => {
                stream.set_read_timeout(Some(self.timeout))?;
                exchange_records(stream, record, xid)
            }
            Wire::HostUdp(socket) => {
                // Nothing is lost between two ends of one host, so nothing is sent again.
                socket.set_read_timeout(Some(self.timeout))?;
                socket.send(record.get(4..).unwrap_or_default())?;
                let mut reply = vec![0; 1 << 16];
                let length = socket.recv(&mut reply)?;
                reply.truncate(length);
                parse_reply(&reply)
            }
            Wire::Udp(socket, server) => {
                let mut wait = RESEND;
                loop {
                    socket.send_to(record.get(4..).unwrap_or_default(), *server).map_err(io::Error::other)?;
                    let resend = (Instant::now() + wait).min(deadline);
                    while let Some(left) = resend.checked_duration_since(Instant::now()) {
                        let Ok((reply, from)) = socket.receive(left) else { break };
                        if from == *server && reply.starts_with(&xid.to_be_bytes()) {
                            return parse_reply(&reply);
                        }
                    }
                    if Instant::now() >= deadline {
                        return Err(io::Error::from(ErrorKind::TimedOut).into());
                    }
                    wait *= 2;
                }
            }
        }
    }
}

/// Writes xid, "call" and the four numbers after it: RPC version, program, version, procedure.
pub fn put_call(out: &mut Encoder, xid: u32, target: [u32; 4]) {
    for word in [xid, 0].into_iter().chain(target) {
        out.u32(word);
    }
}

/// A call with AUTH_NONE as bytes without record mark, for tests that change some of them.
pub fn message(xid: u32, target: [u32; 4], arguments: &[u8]) -> Vec<u8> {
    let words = [xid, 0].into_iter().chain(target).chain([0; 4]);
    let mut message: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    message.extend_from_slice(arguments);
    message
}

/// A transaction number that this process has not used.
pub fn next_xid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0x1000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Ports below 1024 in turn, so that a connection does not meet the end of an earlier one.
pub fn reserved_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1023 - (NEXT.fetch_add(1, Ordering::Relaxed) % 512) as u16
}

/// Sends a record and waits for the reply to `xid`; other replies are passed over.
fn exchange_records(stream: &mut (impl Read + Write), record: &[u8], xid: u32) -> Result<Vec<u8>, RpcError> {
    stream.write_all(record)?;
    loop {
        let reply = read_record(stream)?;
        if reply.starts_with(&xid.to_be_bytes()) {
            return parse_reply(&reply);
        }
    }
}

/// Reads one record, whatever fragments it comes in.
pub fn read_record(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut record = Vec::new();
    loop {
        let mut mark = [0; 4];
        stream.read_exact(&mut mark)?;
        let mark = u32::from_be_bytes(mark);
        let (start, length) = (record.len(), (mark & !LAST) as usize);
        if start + length > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a fragment of {length} bytes")));
        }
        record.resize(start + length, 0);
        stream.read_exact(&mut record[start..])?;
        if mark & LAST != 0 {
            return Ok(record);
        }
    }
}

/// The results in a reply, or why there are none.
pub fn parse_reply(reply: &[u8]) -> Result<Vec<u8>, RpcError> {
    parse(reply).unwrap_or_else(|error| Err(RpcError::Malformed(format!("{error} in {reply:02x?}"))))
}

fn parse(reply: &[u8]) -> Result<Result<Vec<u8>, RpcError>, keelson_oncrpc::DecodeError> {
    let mut input = Decoder::new(reply);
    let _xid = input.u32()?;
    let refused = match (input.u32()?, input.u32()?) {
        (1, 0) => {
            let _flavor = input.u32()?;
            input.opaque(400)?;
            match input.u32()? {
                0 => return Ok(Ok(input.remaining().to_vec())),
                1 => Refusal::ProgramUnavailable,
                2 => Refusal::ProgramMismatch(input.u32()?, input.u32()?),
                3 => Refusal::ProcedureUnavailable,
                4 => Refusal::GarbageArguments,
                5 => Refusal::SystemError,
                other => return Ok(Err(RpcError::Malformed(format!("accept_stat {other}")))),
            }
        }
        (1, 1) => match input.u32()? {
            0 => Refusal::RpcMismatch(input.u32()?, input.u32()?),
            1 => Refusal::Auth(input.u32()?),
            other => return Ok(Err(RpcError::Malformed(format!("reject_stat {other}")))),
        },
        other => return Ok(Err(RpcError::Malformed(format!("message type and status {other:?}")))),
    };
    input.finish()?;
    Ok(Err(RpcError::Refused(refused)))
}
