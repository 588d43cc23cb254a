//! ONC RPC: what a server sees on a connection, and what a client sees as a reply.

use crate::input::Input;
use embedded_io_async::{ErrorType, Read, Write};
use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_oncrpc::client::{StreamClient, Target};
use keelson_oncrpc::memory::{MemoryNetwork, read_to_end, write_raw};
use keelson_oncrpc::{
    AuthSys, Buffer, BufferPool, Call, CallHeader, Credential, Decoder, Encoder, Failure, Flavor, Program,
    RecordReader, Repetition, Reply, RpcServer, RpcStream, ServerOptions, Service, parse_call, parse_reply,
};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Longest record that the server takes.
const MAX_RECORD: usize = 80 << 10;

/// The first byte says in which pieces the rest arrives and whether the connection ends or stalls then. The rest is what
/// a server reads, what a client reads, a message by itself, and a credential.
pub fn rpc(input: &[u8]) {
    let mut input = Input::new(input);
    let manner = input.u8();
    let bytes = input.rest();
    headers(bytes);
    records(bytes, piece(manner));
    served(bytes, manner);
    called(bytes, piece(manner));
}

/// Bytes that arrive at once.
fn piece(manner: u8) -> usize {
    [1, 2, 3, 4, 7, 64, 1000, 1 << 20][usize::from(manner & 7)]
}

fn headers(bytes: &[u8]) {
    if let Ok((header, arguments)) = parse_call(bytes) {
        assert!(bytes.ends_with(arguments.remaining()));
        let CallHeader { xid, program, version, procedure, flavor, credential } = header;
        assert_eq!(bytes[..4], xid.to_be_bytes());
        let _ = (program, version, procedure);
        credentials(flavor, credential);
    }
    if let Ok((_, Ok(results))) = parse_reply(bytes) {
        assert!(bytes.ends_with(results.remaining()));
    }
    credentials(Flavor::SYS, bytes);
}

fn credentials(flavor: Flavor, body: &[u8]) {
    let Ok(credential) = Credential::parse(flavor, body) else { return };
    let mut out = Encoder::new(Buffer::unpooled(512), 0);
    credential.emit(&mut out);
    assert!(!out.overflowed());
    let mut written = Decoder::new(out.written());
    let flavor = Flavor(written.u32().expect("a flavour"));
    let body = written.opaque(400).expect("a body");
    assert_eq!(Credential::parse(flavor, body), Ok(credential));
    if let Credential::Sys(sys) = credential {
        let new = AuthSys::new(sys.machine_name, sys.uid, sys.gid, sys.groups());
        assert_eq!(new.groups(), sys.groups());
    }
}

/// A stream of pieces that never waits.
struct Pieces<'a>(&'a [u8], usize);

impl ErrorType for Pieces<'_> {
    type Error = Infallible;
}

impl Read for Pieces<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let count = buffer.len().min(self.1).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(taken);
        self.0 = rest;
        Ok(count)
    }
}

/// Takes everything.
struct Sink;

impl ErrorType for Sink {
    type Error = Infallible;
}

impl Write for Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Runs what never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("waits for what never comes"),
    }
}

/// Records are the same however they are cut, and no longer than allowed.
fn records(bytes: &[u8], piece: usize) {
    let read = |piece| {
        let pool = BufferPool::new(0, MAX_RECORD);
        let mut reader = RecordReader::new(pool.clone(), MAX_RECORD);
        let mut stream = Pieces(bytes, piece);
        let mut found = Vec::new();
        let end = loop {
            match now(reader.read(&mut stream, |_| ())) {
                Ok(()) => found.push(reader.record().to_vec()),
                Err(error) => break error,
            }
        };
        reader.release();
        pool.trim();
        pool.trim();
        assert_eq!(pool.allocated(), 0, "a buffer was not given back");
        (found, end)
    };
    let (found, end) = read(piece);
    assert!(found.iter().all(|record| record.len() <= MAX_RECORD));
    assert!(found.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    assert_eq!((found, end), read(usize::MAX));
}

/// Returns its arguments; some procedures do it in their own ways.
struct Echo;

impl Service for Echo {
    fn programs(&self) -> &[Program] {
        &[Program { number: 100_003, versions: &[2, 3] }, Program { number: 7, versions: &[1] }]
    }

    fn repetition(&self, call: &Call<'_>) -> Repetition {
        match call.procedure {
            2 => Repetition::Wrong,
            1 => Repetition::Overwrites,
            _ => Repetition::Harmless,
        }
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match call.procedure {
            1 | 2 => reply.results().fixed(input.remaining()),
            3 => {
                let count = input.u32()? as usize;
                reply.reserve(count).await?;
                let out = reply.results();
                out.space(count).ok_or(keelson_oncrpc::Overflow)?.fill(7);
                out.advance(count);
            }
            4 => reply.results().opaque(input.opaque(64)?),
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

/// A server reads the bytes; every record that comes back is a reply, and nothing of the connection stays.
fn served(bytes: &[u8], manner: u8) {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let network = MemoryNetwork::new();
    let at: SocketAddr = SocketAddr::from(([10, 0, 0, 1], 2049));
    let options =
        ServerOptions { max_record: MAX_RECORD, buffer_memory: 1 << 20, ..ServerOptions::default() };
    let server = Rc::new(RpcServer::new(executor.handle(), options));
    server.serve_listener(network.listen(at), Rc::new(Echo));
    let stream = network.connect(SocketAddr::from(([10, 0, 0, 2], 900)), at).expect("somebody listens");
    let (mut reader, mut writer) = stream.split();
    let (handle, bytes, size) = (executor.handle(), bytes.to_vec(), piece(manner).max(bytes.len() / 64));
    let (stalls, pause) = (manner & 8 != 0, u64::from(manner >> 4));
    handle.clone().spawn("client", async move {
        for part in bytes.chunks(size.max(1)) {
            if !write_raw(&mut writer, part).await {
                return;
            }
            handle.sleep(Duration::from_millis(pause)).await;
        }
        if stalls {
            // Longer than the server waits for anybody.
            handle.sleep(Duration::from_secs(1000)).await;
        }
    });
    let answers = executor.block_on(&*clock, async move { read_to_end(&mut reader).await });
    let mut stream = Pieces(&answers, usize::MAX);
    let mut records = RecordReader::new(BufferPool::new(0, 2 * MAX_RECORD), 2 * MAX_RECORD);
    while now(records.read(&mut stream, |_| ())).is_ok() {
        parse_reply(records.record()).expect("a reply").1.map(drop).unwrap_or_else(|error| {
            assert!(!matches!(error, keelson_oncrpc::ReplyError::Malformed(_)), "{error:?}");
        });
    }
    let handle = executor.handle();
    executor.block_on(&*clock, async move { handle.sleep(Duration::from_secs(1100)).await });
    assert_eq!((server.connections(), server.buffers().allocated()), (0, 0), "left of the connection");
    executor.abort_all();
}

/// A client reads the bytes as replies to its calls.
fn called(bytes: &[u8], piece: usize) {
    let mut client = StreamClient::new(Pieces(bytes, piece), Sink, 4096, 1);
    let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
    for _ in 0..4 {
        let target = Target { program: 100_003, version: 3, procedure: 1, credential };
        if let Err(keelson_oncrpc::client::CallError::Disconnected) =
            now(client.call(target, |out| out.u32(7))).map(drop)
        {
            return;
        }
    }
}
