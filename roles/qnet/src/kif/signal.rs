//! Signals: from other nodes, between processes here, and those that events ask for.

use super::credentials::may_signal;
use super::outbox::{Route, Unsent};
use super::state::{Arrival, State};
use crate::sessions::{Body, NodeNr};
use keelson_qnet_wire::kif::{Cred, KifMessage, Sigevent, Signal};
use keelson_qnet_wire::{Errno, Nd};

/// A signal on its way to a process here that it may be sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignalDelivery {
    /// The process.
    pub pid: u32,
    /// Its thread, 0 for any.
    pub tid: i32,
    /// Signal number.
    pub signo: i32,
    /// Code.
    pub code: i32,
    /// Value.
    pub value: i32,
    /// Who sends it, after `maproot` and `mapany`.
    pub sender: Cred,
}

/// A signal as its sender has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SignalRequest {
    /// Process; negative: all processes of the group with that number.
    pub pid: i32,
    /// Thread, 0 for any.
    pub tid: i32,
    /// Signal number; 0 only asks whether it would be permitted.
    pub signo: i32,
    /// Code.
    pub code: i32,
    /// Value.
    pub value: i32,
}

/// Signals that wait for delivery within one event.
const SIGNALS: usize = 256;

impl State {
    /// Sends a signal to a process of any node.
    pub fn send_signal(&mut self, nd: Nd, who: &Cred, request: SignalRequest) -> Result<(), Unsent> {
        let (node, qos) = self.resolve(nd).map_err(Unsent::Failed)?;
        if node == NodeNr::LOCAL {
            return self.signal_here(who, request).map_err(Unsent::Failed);
        }
        let SignalRequest { pid, tid, signo, code, value } = request;
        let signal = Signal { client_handle: 0, pid, tid, signo, code, value: value as u32 };
        let remote = self.sessions.as_ref().map(|sessions| sessions.remote_nd_for_us(node));
        let cred = Cred { nd: remote.unwrap_or_default(), ..*who };
        let route = Route { node, qos, priority: super::channel::DEFAULT_PRIORITY };
        self.transmit(route, &KifMessage::Signal(signal, Some(cred)), Body::EMPTY)?;
        self.counters.client_kercalls += 1;
        Ok(())
    }

    pub(super) fn on_signal(&mut self, signal: Signal, cred: Option<Cred>, arrival: &Arrival) {
        let sender = self.mapped(cred, arrival.from);
        let Signal { pid, tid, signo, code, value, .. } = signal;
        let request = SignalRequest { pid, tid, signo, code, value: value as i32 };
        if self.signal_here(&sender, request).is_err() {
            self.counters.signal_lost += 1;
        }
    }

    /// To a process or a group here: all of the group that the sender may signal.
    fn signal_here(&mut self, sender: &Cred, request: SignalRequest) -> Result<(), Errno> {
        let SignalRequest { pid, tid, signo, code, value } = request;
        let number = pid.unsigned_abs();
        let mut result = Err(Errno::ESRCH);
        for (pid, process) in self.processes.iter() {
            let is_target = match request.pid {
                0 => false,
                1.. => pid == number,
                _ => process.group == number,
            };
            if !is_target {
                continue;
            }
            if !may_signal(sender, &process.cred) {
                result = result.or(Err(Errno::EPERM));
            } else if signo != 0 && self.signals.len() >= SIGNALS {
                result = Err(Errno::EAGAIN);
            } else {
                result = Ok(());
                if signo != 0 {
                    let sender = *sender;
                    self.signals.push_back(SignalDelivery { pid, tid, signo, code, value, sender });
                }
            }
        }
        result
    }

    /// An event asks for a signal to the client itself.
    pub(super) fn signal_own_process(&mut self, pid: i32, event: Sigevent) -> bool {
        let Some(pid) = u32::try_from(pid).ok() else { return false };
        let Some(sender) = self.processes.get(pid).map(|process| process.cred) else { return false };
        if self.signals.len() >= SIGNALS {
            return false;
        }
        let Sigevent { signo_or_coid: signo, value, code, .. } = event;
        let code = code.into();
        self.signals.push_back(SignalDelivery { pid, tid: 0, signo, code, value, sender });
        true
    }
}
