//! What servers say to attachments: CONNECT_SUCCESS, CONNECT_FAIL, CONNECT_DEATH.

use super::{Phase, client_key, error_number, wake};
use crate::kif::channel::DEFAULT_PRIORITY;
use crate::kif::outbox::{Epoch, Route};
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr, Qos};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::{ConnectDeath, ConnectFail, ConnectSuccess, Disconnect, FIRST_SEND, KifMessage};

impl State {
    pub(in crate::kif) fn on_connect_success(&mut self, success: ConnectSuccess, arrival: &Arrival) {
        let Some((key, success)) = self.answered(success, arrival) else {
            self.counters.inval_client_id += 1;
            return self.reject(success, arrival);
        };
        let ConnectSuccess { version, server_id, scoid, nbytes, .. } = success;
        let Some(client) = self.clients.get_mut(key) else { return };
        client.unanswered = client.unanswered.saturating_sub(1);
        match client.phase {
            Phase::Connecting => {
                client.phase = Phase::Up { server_id, scoid, nbytes: nbytes.min(FIRST_SEND) };
                client.rx = Some(arrival.rx);
                client.resend = false;
                let waker = client.waker.take();
                let abandoned = client.abandoned;
                let node = client.node;
                self.attachment_ends(node);
                if node != NodeNr::LOCAL {
                    self.peers.entry(node).or_default().profile.version = version;
                }
                if abandoned {
                    self.detach(key);
                }
                wake(waker);
            }
            Phase::Up { server_id: known, .. } if known != server_id => {
                // The server has forgotten the connection and made another one.
                let (route, epoch) = (client.route(), Epoch::Tx(client.tx));
                let message = KifMessage::Disconnect(Disconnect { server_id });
                self.transmit_surely(route, epoch, &message, Body::EMPTY);
                self.client_dies(key, Errno::ESRCH);
            }
            Phase::Up { .. } => {}
            Phase::Failed(_) | Phase::Dead => {
                let (route, epoch) = (client.route(), Epoch::Tx(client.tx));
                let message = KifMessage::Disconnect(Disconnect { server_id });
                self.transmit_surely(route, epoch, &message, Body::EMPTY);
            }
        }
    }

    /// A success for a connection that has ended here meanwhile: the server must not keep it. One that is repeated for
    /// a connection that is up is nothing new.
    fn reject(&mut self, success: ConnectSuccess, arrival: &Arrival) {
        let success = match client_key(success.client_id) {
            Some(_) => success,
            None => success.swapped(),
        };
        let Some(key) = client_key(success.client_id) else { return };
        let up = self.clients.get(key).is_some_and(|client| match client.phase {
            Phase::Up { server_id, .. } => server_id == success.server_id,
            _ => client.phase == Phase::Connecting,
        });
        if !up {
            let route = Route { node: arrival.from, qos: Qos::default(), priority: DEFAULT_PRIORITY };
            let message = KifMessage::Disconnect(Disconnect { server_id: success.server_id });
            self.transmit_surely(route, Epoch::Rx(arrival.rx), &message, Body::EMPTY);
        }
    }

    /// Which of our CONNECTs a success answers, and in which order it has the ids (section 12.4).
    fn answered(&mut self, success: ConnectSuccess, arrival: &Arrival) -> Option<(Key, ConnectSuccess)> {
        if let Some(key) = self.pending(success.client_id, arrival) {
            return Some((key, success));
        }
        let swapped = success.swapped();
        let key = self.pending(swapped.client_id, arrival)?;
        self.peers.entry(arrival.from).or_default().profile.cs_swapped = true;
        Some((key, swapped))
    }

    fn pending(&self, id: u32, arrival: &Arrival) -> Option<Key> {
        let key = client_key(id)?;
        let client = self.clients.get(key)?;
        (client.unanswered > 0 && client.is_peer(arrival)).then_some(key)
    }

    pub(in crate::kif) fn on_connect_fail(&mut self, fail: ConnectFail, arrival: &Arrival) {
        let Some(key) = self.pending(fail.client_id, arrival) else {
            self.counters.inval_client_id += 1;
            return;
        };
        let errno = error_number(fail.status as u32);
        let peer = self.peers.entry(arrival.from).or_default();
        let other_version = peer.profile.version != fail.version;
        if arrival.from != NodeNr::LOCAL {
            peer.profile.version = fail.version;
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        client.unanswered = client.unanswered.saturating_sub(1);
        if client.phase != Phase::Connecting {
            // The new credentials were refused: nothing more may be done with the old ones.
            return self.client_dies(key, errno);
        }
        if other_version && !client.retried && !client.combined {
            client.retried = true;
            client.resend = true;
            self.resend = true;
            return;
        }
        self.attachment_fails(key, errno);
    }

    pub(in crate::kif) fn on_connect_death(&mut self, death: ConnectDeath, arrival: &Arrival) {
        let key = client_key(death.client_id);
        let client = key.and_then(|key| Some((key, self.clients.get(key)?)));
        match client {
            Some((key, client)) if client.is_peer(arrival) && client.is_live() => {
                self.client_ends(key, Errno::ESRCH, Errno::ESRCH);
            }
            _ => self.counters.inval_client_id += 1,
        }
    }
}
