//! One TCP connection: workers that take turns to read a record, execute it, and take turns to reply.
//!
//! A worker is started when all others are busy and there is another record to wait for, and ends when
//! enough others wait already. Each owns its buffers, so nothing is allocated for a call.

use super::registry::ConnectionState;
use super::{ServerCounters, Shared};
use crate::record::{Progress, RecordError, RecordReader};
use crate::service::{Origin, Outcome, Reply, Service, Transport, answer};
use crate::sync::TurnLock;
use crate::transport::RpcStream;
use alloc::rc::Rc;
use core::cell::Cell;
use embedded_io_async::Write;
use keelson_exec::{Either, select};

/// Workers that may wait for their turn to read; more of them end.
const SPARE_WORKERS: usize = 3;

struct Connection<R, W, S> {
    shared: Rc<Shared>,
    state: Rc<ConnectionState>,
    origin: Origin,
    service: Rc<S>,
    reader: TurnLock<R>,
    writer: TurnLock<W>,
    workers: Cell<usize>,
    waiting: Cell<usize>,
}

/// Starts serving an admitted connection.
pub(super) fn start<T: RpcStream, S: Service>(
    shared: &Rc<Shared>,
    stream: T,
    service: Rc<S>,
    state: Rc<ConnectionState>,
) {
    let origin = Origin { peer: stream.peer(), local: stream.local().ip(), transport: Transport::Tcp };
    let (reader, writer) = stream.split();
    let connection = Rc::new(Connection {
        shared: shared.clone(),
        state,
        origin,
        service,
        reader: TurnLock::new(reader),
        writer: TurnLock::new(writer),
        workers: Cell::new(0),
        waiting: Cell::new(0),
    });
    spawn_worker(connection);
}

fn spawn_worker<R, W, S>(connection: Rc<Connection<R, W, S>>)
where
    R: embedded_io_async::Read + 'static,
    W: Write + 'static,
    S: Service,
{
    raise(&connection.workers);
    if connection.workers.get() > 1 {
        raise(&connection.shared.more_workers);
    }
    let handle = connection.shared.handle.clone();
    handle.spawn("rpc-worker", async move {
        work(&connection).await;
        lower(&connection.workers);
        if connection.workers.get() == 0 {
            connection.shared.registry.leave(&connection.state);
        } else {
            lower(&connection.shared.more_workers);
        }
    });
}

async fn work<R, W, S>(connection: &Rc<Connection<R, W, S>>)
where
    R: embedded_io_async::Read + 'static,
    W: Write + 'static,
    S: Service,
{
    let shared = &connection.shared;
    let state = &connection.state;
    let mut record = RecordReader::new(shared.pool.clone(), shared.options.max_record);
    let mut reply = Reply::new(shared.pool.clone());
    while !state.is_closing() && connection.waiting.get() < SPARE_WORKERS {
        if let Err(error) = connection.next_record(&mut record).await {
            connection.failed(error);
            return;
        }
        if connection.waiting.get() == 0 && connection.workers.get() < shared.options.calls_per_connection {
            if shared.more_workers.get() < shared.options.more_calls {
                spawn_worker(connection.clone());
            } else {
                // The connection is read again when one of its calls is done.
                ServerCounters::count(&shared.counters.workers_denied);
            }
        }
        raise(&state.executing);
        let outcome = answer(
            &*connection.service,
            connection.origin,
            record.record(),
            &mut reply,
            &shared.counters,
            &shared.replies,
        )
        .await;
        lower(&state.executing);
        record.release();
        match outcome {
            Outcome::Send => connection.send(&mut reply).await,
            Outcome::Drop => state.close(),
            Outcome::Ignore => {}
        }
        reply.reset();
    }
}

impl<R: embedded_io_async::Read, W: Write, S> Connection<R, W, S> {
    /// Waits for the turn to read and reads a record.
    async fn next_record(&self, record: &mut RecordReader) -> Result<(), RecordError> {
        raise(&self.waiting);
        let (mut begun, mut lacks_buffer) = (false, false);
        let state = &self.state;
        let read = async {
            let mut stream = self.reader.lock().await;
            if self.state.is_closing() {
                return Err(RecordError::Closed);
            }
            let result = record
                .read(stream.get(), |progress| {
                    match progress {
                        Progress::Bytes if begun => {}
                        Progress::Bytes => {
                            begun = true;
                            raise(&state.transferring);
                        }
                        Progress::NoBuffer => {
                            lacks_buffer = true;
                            raise(&state.lacking_buffer);
                            lower(&state.transferring);
                        }
                        Progress::Buffer => {
                            lacks_buffer = false;
                            lower(&state.lacking_buffer);
                            raise(&state.transferring);
                        }
                    }
                    state.progress(self.shared.handle.now());
                })
                .await;
            if result.is_err() {
                // Before the turn ends: the next worker must not read from the middle of a record.
                self.state.close();
            }
            result
        };
        let result = match select(read, self.state.closed()).await {
            Either::First(result) => result,
            Either::Second(()) => Err(RecordError::Closed),
        };
        lower(&self.waiting);
        if lacks_buffer {
            lower(&state.lacking_buffer);
        } else if begun {
            lower(&state.transferring);
        }
        result
    }

    /// Waits for the turn to write and writes the reply.
    async fn send(&self, reply: &mut Reply) {
        raise(&self.state.transferring);
        let write = async {
            let mut stream = self.writer.lock().await;
            let mut rest = reply.record();
            while !rest.is_empty() {
                match stream.get().write(rest).await {
                    Ok(count) if count > 0 => {
                        rest = rest.get(count..).unwrap_or_default();
                        self.state.progress(self.shared.handle.now());
                    }
                    _ => return false,
                }
            }
            // No flush: it would wait for the client's acknowledgement, and the next reply with it.
            true
        };
        let sent = matches!(select(write, self.state.closed()).await, Either::First(true));
        lower(&self.state.transferring);
        if !sent {
            self.state.close();
        }
    }

    fn failed(&self, error: RecordError) {
        let counters = &self.shared.counters;
        match error {
            RecordError::Closed => {}
            RecordError::Broken => ServerCounters::count(&counters.broken),
            RecordError::TooLong => {
                ServerCounters::count(&counters.too_long);
                let peer = self.state.peer;
                let limit = self.shared.options.max_record;
                log::warn!(target: "rpc", "{peer} closed: it sent a record of more than {limit} bytes");
            }
        }
        self.state.close();
    }
}

fn raise(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

fn lower(count: &Cell<usize>) {
    count.set(count.get().saturating_sub(1));
}
