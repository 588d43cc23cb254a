//! UDP: a fixed number of workers that take turns to receive.

use super::{ServerCounters, Shared};
use crate::service::{Origin, Outcome, Reply, Service, Transport, answer};
use crate::sync::TurnLock;
use crate::transport::RpcDatagrams;
use alloc::rc::Rc;
use keelson_exec::{Either, select};

/// Starts the workers of one socket.
pub(super) fn start<D, S>(shared: &Rc<Shared>, socket: D, service: Rc<S>)
where
    D: RpcDatagrams + 'static,
    S: Service,
{
    let socket = Rc::new(socket);
    let turn = Rc::new(TurnLock::new(()));
    for _ in 0..shared.options.calls_per_socket.max(1) {
        let work = work(shared.clone(), socket.clone(), turn.clone(), service.clone());
        shared.handle.spawn("rpc-datagrams", work);
    }
}

async fn work<D, S>(shared: Rc<Shared>, socket: Rc<D>, turn: Rc<TurnLock<()>>, service: Rc<S>)
where
    D: RpcDatagrams,
    S: Service,
{
    let mut reply = Reply::new(shared.pool.clone());
    loop {
        let receive = async {
            let _turn = turn.lock().await;
            socket.receive().await
        };
        let Either::First(Some(datagram)) = select(receive, shared.stopped()).await else { return };
        shared.executing.set(shared.executing.get() + 1);
        ServerCounters::count(&shared.counters.datagrams);
        let origin = Origin { peer: datagram.peer, local: datagram.local, transport: Transport::Udp };
        let outcome =
            answer(&*service, origin, &datagram.payload, &mut reply, &shared.counters, &shared.replies).await;
        if outcome == Outcome::Send {
            socket.send(Some(datagram.local), datagram.peer, reply.message()).await;
        }
        reply.reset();
        shared.executing.set(shared.executing.get() - 1);
    }
}
