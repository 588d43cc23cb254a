//! How connections of clients end: with a session, with a peer's epoch, with Qnet, or because something is wrong
//! (section 7.6).

use super::{Client, Phase, wake};
use crate::kif::channel::{DEFAULT_PRIORITY, Pulse};
use crate::kif::outbox::{Epoch, Unsent};
use crate::kif::state::State;
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr, RxId, TxId};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::{Disconnect, KifMessage};

impl State {
    /// A connection to a node has ended, and everything that was said by it (section 7.6).
    pub(in crate::kif) fn clients_of_tx_down(&mut self, node: NodeNr, tx: TxId, errno: Errno) {
        let mut from = 0;
        let fits = |client: &Client| client.node == node && client.tx == tx && client.is_live();
        while let Some(key) = self.clients.next(&mut from, fits) {
            self.client_ends(key, errno, Errno::ESRCH);
        }
    }

    /// A peer's epoch has ended. Answers may be lost: whoever waits for one must not wait for ever.
    pub(in crate::kif) fn clients_of_rx_down(&mut self, node: NodeNr, rx: RxId) {
        let mut from = 0;
        let fits = |client: &Client| client.node == node && client.is_live();
        while let Some(key) = self.clients.next(&mut from, fits) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            match client.phase {
                // The answer may have been lost with what has ended; asking twice does no harm.
                Phase::Connecting if !client.combined => {
                    client.resend = true;
                    self.resend = true;
                }
                Phase::Connecting => self.attachment_fails(key, Errno::ESRCH),
                _ if client.rx == Some(rx) => self.client_dies(key, Errno::ESRCH),
                _ => {}
            }
        }
    }

    pub(in crate::kif) fn all_remote_clients_down(&mut self) {
        let mut from = 0;
        let fits = |client: &Client| client.node != NodeNr::LOCAL && client.is_live();
        while let Some(key) = self.clients.next(&mut from, fits) {
            self.client_ends(key, Errno::ENOREMOTE, Errno::ENOREMOTE);
        }
    }

    /// Repeats CONNECTs whose answer may be lost.
    pub(in crate::kif) fn connect_again(&mut self) {
        let mut from = 0;
        let fits = |client: &Client| client.resend && client.phase == Phase::Connecting;
        while let Some(key) = self.clients.next(&mut from, fits) {
            let sent = self.send_connect(key);
            if let Some(client) = self.clients.get_mut(key) {
                client.resend = sent == Err(Unsent::Full);
                self.resend |= client.resend;
            }
            if let Err(Unsent::Failed(errno)) = sent {
                self.attachment_fails(key, errno);
            }
        }
    }

    /// It is over, without our doing and without the server being there to be told.
    pub(super) fn client_ends(&mut self, key: Key, connecting: Errno, waiting: Errno) {
        match self.clients.get(key).map(|client| client.phase) {
            Some(Phase::Connecting) => self.attachment_fails(key, connecting),
            Some(Phase::Up { .. }) => self.bury_client(key, waiting),
            _ => {}
        }
    }

    /// It is over for us, and the server should know.
    pub(super) fn client_dies(&mut self, key: Key, errno: Errno) {
        let Some(client) = self.clients.get(key) else { return };
        let Phase::Up { server_id, .. } = client.phase else { return };
        let (route, epoch) = (client.route(), Epoch::Tx(client.tx));
        self.bury_client(key, errno);
        if route.node != NodeNr::LOCAL && self.sessions.is_some() {
            // Not at once: the connection that it goes by may be the next to end.
            self.hold(route, epoch, &KifMessage::Disconnect(Disconnect { server_id }), Body::EMPTY);
        }
    }

    pub(super) fn attachment_fails(&mut self, key: Key, errno: Errno) {
        self.client_leaves(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        let (node, waker, abandoned) = (client.node, client.waker.take(), client.abandoned);
        client.phase = Phase::Failed(errno);
        self.attachment_ends(node);
        self.fail_threads(key, errno);
        if abandoned {
            self.forget_client(key);
        }
        wake(waker);
    }

    /// Fails whoever waits, and tells whoever wants to know.
    fn bury_client(&mut self, key: Key, errno: Errno) {
        self.client_leaves(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.phase = Phase::Dead;
        let (pid, coid, death) = (client.cred.pid, client.coid, client.death.clone());
        self.fail_threads(key, errno);
        death.notify();
        let pulse = Pulse { code: Pulse::CODE_COID_DEATH, value: coid, scoid: 0, priority: DEFAULT_PRIORITY };
        let process = u32::try_from(pid).ok().and_then(|pid| self.processes.get(pid));
        for (_, channel) in process.map(|process| process.channels.as_slice()).unwrap_or_default() {
            if let Some(channel) = self.channels.get_mut(*channel)
                && channel.wants_coid_death
                && !channel.push_pulse(pulse, self.config.limits.pulses)
            {
                self.counters.pulse_lost += 1;
            }
        }
    }

    /// It no longer counts as a client of its node.
    pub(super) fn client_leaves(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let node = client.node;
        if node != NodeNr::LOCAL {
            self.counters.net_client.sub();
        }
        self.with_peer(node, |peer| peer.clients = peer.clients.saturating_sub(1));
    }

    /// One answer less to wait for.
    pub(super) fn attachment_ends(&mut self, node: NodeNr) {
        if node != NodeNr::LOCAL {
            self.counters.waiting.sub();
        }
        self.with_peer(node, |peer| peer.waiting = peer.waiting.saturating_sub(1));
    }

    /// Removes it with its handles.
    pub(super) fn forget_client(&mut self, key: Key) {
        self.fail_threads(key, Errno::EBADF);
        let Some(client) = self.clients.remove(key) else { return };
        for thread in client.threads {
            self.forget_thread(thread);
        }
    }
}
