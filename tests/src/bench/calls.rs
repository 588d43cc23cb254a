//! A small NFS client on a bench endpoint that keeps many calls in flight and costs little itself.

use keelson_qemu::{Endpoint, TcpStream};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// rpcbind: program, version 2, and its procedure PMAPPROC_GETPORT.
const PORTMAP: (u32, u32, u32) = (100_000, 2, 3);
/// MOUNT version 3, MOUNTPROC3_MNT.
const MNT: (u32, u32, u32) = (100_005, 3, 1);
const NFS: (u32, u32) = (100_003, 3);
const TCP: u32 = 6;
/// Servers trust ports below this one.
const TRUSTED_PORTS: std::ops::Range<u16> = 700..1024;

/// NFSv3 procedures (RFC 1813 section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Nfs3 {
    /// Does nothing.
    Null = 0,
    /// Attributes of a handle.
    GetAttr = 1,
    /// Handle and attributes of a name.
    Lookup = 3,
    /// Data of a file.
    Read = 6,
    /// Makes a file.
    Create = 8,
}

/// A connection to one program.
pub struct RpcClient {
    stream: TcpStream,
    xid: u32,
    record: Vec<u8>,
}

impl RpcClient {
    /// Connects to a port of a server, from a port that servers trust.
    pub fn connect(
        endpoint: &Endpoint,
        to: SocketAddr,
        timeout: Duration,
    ) -> keelson_qemu::Result<RpcClient> {
        use std::sync::atomic::{AtomicU16, Ordering};
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let from = TRUSTED_PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % TRUSTED_PORTS.len() as u16;
        let stream = endpoint.tcp_connect_from(from, to, timeout)?;
        Ok(RpcClient { stream, xid: u32::from(from) << 16, record: Vec::new() })
    }

    /// Connects to the NFS server on its usual port.
    pub fn nfs(endpoint: &Endpoint, server: IpAddr, timeout: Duration) -> keelson_qemu::Result<RpcClient> {
        RpcClient::connect(endpoint, (server, 2049).into(), timeout)
    }

    /// How long one call may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_timeout(timeout);
    }

    /// One NFS call and its results.
    pub fn nfs_call(&mut self, procedure: Nfs3, arguments: &[u8]) -> io::Result<&[u8]> {
        self.call((NFS.0, NFS.1, procedure as u32), arguments)
    }

    /// `count` NFS calls, of which `in_flight` are under way at a time; all must give NFS3_OK.
    pub fn nfs_calls(
        &mut self,
        procedure: Nfs3,
        arguments: impl Fn(usize) -> Xdr,
        count: usize,
        in_flight: usize,
    ) -> io::Result<()> {
        let call = (NFS.0, NFS.1, procedure as u32);
        for index in 0..in_flight.min(count) {
            self.send(call, &arguments(index).0)?;
        }
        for index in in_flight..count + in_flight {
            let results = self.receive()?;
            if procedure != Nfs3::Null && word(results, 0)? != 0 {
                return Err(io::Error::other(format!("{procedure:?} gave status {}", word(results, 0)?)));
            }
            if index < count {
                self.send(call, &arguments(index).0)?;
            }
        }
        Ok(())
    }

    /// One call and its results, which begin with the program's own status. An RPC error is an error here.
    pub fn call(&mut self, call: (u32, u32, u32), arguments: &[u8]) -> io::Result<&[u8]> {
        self.send(call, arguments)?;
        self.receive()
    }

    fn send(&mut self, (program, version, procedure): (u32, u32, u32), arguments: &[u8]) -> io::Result<()> {
        self.xid = self.xid.wrapping_add(1);
        let mut call = Xdr::default();
        call.words(&[0, self.xid, 0, 2, program, version, procedure]);
        // AUTH_SYS: stamp, machine name, uid, gid, no further groups; then an empty verifier.
        let mut credential = Xdr::default();
        credential.words(&[0]).opaque(b"bench").words(&[0, 0, 0]);
        call.words(&[1]).opaque(&credential.0).words(&[0, 0]);
        call.0.extend_from_slice(arguments);
        let mark = 1 << 31 | (call.0.len() - 4) as u32;
        call.0[..4].copy_from_slice(&mark.to_be_bytes());
        self.stream.write_all(&call.0)
    }

    /// The results in the next reply, after the RPC header.
    fn receive(&mut self) -> io::Result<&[u8]> {
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark)?;
        let mark = u32::from_be_bytes(mark);
        self.record.resize((mark & !(1 << 31)) as usize, 0);
        self.stream.read_exact(&mut self.record)?;
        // xid, REPLY, MSG_ACCEPTED, verifier (flavour, length 0), SUCCESS
        let header = self.record.get(4..24).unwrap_or_default();
        if mark >> 31 != 1 || header != [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
            return Err(io::Error::other(format!("not a reply of success: {header:?}")));
        }
        Ok(&self.record[24..])
    }
}

/// Arguments in XDR (RFC 4506).
#[derive(Default)]
pub struct Xdr(pub Vec<u8>);

impl Xdr {
    /// Adds numbers.
    pub fn words(&mut self, words: &[u32]) -> &mut Self {
        words.iter().for_each(|word| self.0.extend_from_slice(&word.to_be_bytes()));
        self
    }

    /// Adds bytes with their length before them.
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.words(&[bytes.len() as u32]);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// The handle of an exported directory, by way of rpcbind and MOUNT.
pub fn mount(endpoint: &Endpoint, server: IpAddr, directory: &str) -> io::Result<Vec<u8>> {
    let timeout = Duration::from_secs(10);
    let connect =
        |port| RpcClient::connect(endpoint, (server, port).into(), timeout).map_err(io::Error::other);
    let mut arguments = Xdr::default();
    arguments.words(&[MNT.0, MNT.1, TCP, 0]);
    let port = word(connect(111)?.call(PORTMAP, &arguments.0)?, 0)?;
    let mut arguments = Xdr::default();
    arguments.opaque(directory.as_bytes());
    let mut mountd = connect(port as u16)?;
    let results = mountd.call(MNT, &arguments.0)?;
    handle(results, &format!("mount of {directory}"))
}

/// The handle of a name in a directory.
pub fn lookup(client: &mut RpcClient, dir: &[u8], name: &str) -> io::Result<Vec<u8>> {
    let mut arguments = Xdr::default();
    let results = client.nfs_call(Nfs3::Lookup, &arguments.opaque(dir).opaque(name.as_bytes()).0)?;
    handle(results, &format!("lookup of {name}"))
}

/// The handle behind a status of success.
fn handle(results: &[u8], what: &str) -> io::Result<Vec<u8>> {
    match word(results, 0)? {
        0 => {
            let length = word(results, 4)? as usize;
            results.get(8..8 + length).map(<[u8]>::to_vec).ok_or_else(short)
        }
        status => Err(io::Error::other(format!("{what} gave status {status}"))),
    }
}

/// A number of a reply.
pub fn word(bytes: &[u8], at: usize) -> io::Result<u32> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(short)?;
    Ok(u32::from_be_bytes(*bytes))
}

fn short() -> io::Error {
    io::Error::other("the reply ends early")
}
