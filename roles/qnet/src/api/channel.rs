//! What a server does: receive from a channel.

use super::kernel::Kernel;
use super::message::{Message, ReceiveId};
use crate::kif::{ChannelState, Delivery, Key, Pulse};
use alloc::rc::Rc;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::Errno;

/// A channel. Dropping it destroys it: clients that wait get `ESRCH`, and their connections die.
pub struct Channel {
    kernel: Kernel,
    key: Key,
    pid: u32,
    chid: u32,
    arrived: Rc<Notify>,
}

/// What a server receives, the most urgent first.
#[expect(clippy::large_enum_variant, reason = "nearly everything that is received is a message")]
pub enum Received {
    /// A client has sent a message, and waits for the reply.
    Message(Message),
    /// Somebody has sent a pulse.
    Pulse(Pulse),
    /// The client of a message that was received wants to stop waiting: it should be answered soon.
    Unblock {
        /// The message.
        id: ReceiveId,
        /// Its connection.
        scoid: u32,
    },
    /// A client has detached or is gone: what it had open is to be closed. Nothing comes from it any more.
    Disconnect {
        /// Its connection.
        scoid: u32,
    },
}

impl Channel {
    pub(super) fn create(kernel: &Kernel, pid: u32) -> Result<Channel, Errno> {
        kernel.enter(|state| {
            state.processes.get(pid).ok_or(Errno::ESRCH)?;
            let channel = ChannelState::new(pid);
            let arrived = channel.arrived.clone();
            let Some(key) = state.channels.insert(channel) else {
                state.counters.refused += 1;
                return Err(Errno::EAGAIN);
            };
            let process = state.processes.get_mut(pid).ok_or(Errno::ESRCH)?;
            let chid = process.take_chid();
            process.channels.push((chid, key));
            Ok(Channel { kernel: kernel.clone(), key, pid, chid, arrived })
        })
    }

    /// Process that it belongs to.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its number within the process.
    pub fn chid(&self) -> u32 {
        self.chid
    }

    /// What events of the process name as their target: pulses of such events arrive here. Only servers to which the
    /// process has sent a message can deliver any.
    pub fn coid(&self) -> i32 {
        self.key.number() as i32
    }

    /// From now on tells here, by [`Pulse::CODE_COID_DEATH`], when a connection of the process dies.
    pub fn watch_connections(&self) {
        self.kernel.enter(|state| {
            state.channels.get_mut(self.key).into_iter().for_each(|channel| channel.wants_coid_death = true);
        });
    }

    /// Waits for what is most urgent. Never returns when the process has ended.
    pub async fn receive(&self) -> Received {
        loop {
            let arrived = self.arrived.notified();
            if let Some(received) = self.try_receive() {
                return received;
            }
            arrived.await;
        }
    }

    /// What is most urgent, if anything is there.
    pub fn try_receive(&self) -> Option<Received> {
        let delivery = self.kernel.enter(|state| state.receive(self.key))?;
        Some(match delivery {
            Delivery::Message { key, arrival, info, cred } => {
                Received::Message(Message::new(&self.kernel, key, arrival, info, cred))
            }
            Delivery::Pulse(pulse) => Received::Pulse(pulse),
            Delivery::Unblock { key, scoid } => Received::Unblock { id: ReceiveId(key), scoid },
            Delivery::Disconnect { scoid } => Received::Disconnect { scoid },
        })
    }

    /// Sends a pulse to the channel itself. False when its queue is full.
    pub fn pulse(&self, priority: u8, code: i8, value: i32) -> bool {
        let pulse = Pulse { code, value, scoid: 0, priority: priority.min(crate::kif::MAX_PRIORITY) };
        self.kernel.enter(|state| {
            let limit = state.config.limits.pulses;
            let queued =
                state.channels.get_mut(self.key).is_some_and(|channel| channel.push_pulse(pulse, limit));
            state.counters.pulse_lost += u64::from(!queued);
            queued
        })
    }

    /// Messages, pulses and indications that wait.
    pub fn len(&self) -> usize {
        self.kernel.enter(|state| state.channels.get(self.key).map_or(0, ChannelState::len))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.kernel.enter(|state| state.destroy_channel(self.key));
    }
}
