//! The queue of a channel: what its server has not received yet, by priority, then by age.

use super::table::Key;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use keelson_exec::sync::Notify;

/// Priority of threads that do not say.
pub const DEFAULT_PRIORITY: u8 = 10;

/// Highest priority (section 7.4).
pub const MAX_PRIORITY: u8 = 63;

/// A priority as a peer has it.
pub(crate) fn priority(value: i32) -> u8 {
    value.clamp(0, MAX_PRIORITY.into()) as u8
}

/// A pulse as a server receives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pulse {
    /// Code of the sender; negative ones are the kernel's own.
    pub code: i8,
    /// Value of the sender.
    pub value: i32,
    /// Connection that it came by; 0 for events and pulses of the kernel itself.
    pub scoid: u32,
    /// Priority of the sender.
    pub priority: u8,
}

impl Pulse {
    /// A connection of the process has died; `value` is its `coid` (`_PULSE_CODE_COIDDEATH`).
    pub const CODE_COID_DEATH: i8 = -35;
}

/// Something to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// A transaction.
    Message(Key),
    Pulse(Pulse),
    /// The client of a received transaction wants to stop waiting.
    Unblock(Key),
    /// The client of a server connection is gone.
    Disconnect(Key),
}

/// A channel.
pub(crate) struct ChannelState {
    pub pid: u32,
    queue: VecDeque<(u8, Item)>,
    pulses: usize,
    /// Notified when something is queued.
    pub arrived: Rc<Notify>,
    /// Its process wants to know here when a connection of its own dies.
    pub wants_coid_death: bool,
}

impl ChannelState {
    pub fn new(pid: u32) -> ChannelState {
        let arrived = Rc::new(Notify::new());
        ChannelState { pid, queue: VecDeque::new(), pulses: 0, arrived, wants_coid_death: false }
    }

    /// Queues behind what has the same priority or a higher one.
    pub fn push(&mut self, priority: u8, item: Item) {
        let place = self.queue.partition_point(|(other, _)| *other >= priority);
        self.queue.insert(place, (priority, item));
        self.arrived.notify();
    }

    /// Queues a pulse unless there are `limit` already.
    pub fn push_pulse(&mut self, pulse: Pulse, limit: usize) -> bool {
        let room = self.pulses < limit;
        if room {
            self.pulses += 1;
            self.push(pulse.priority, Item::Pulse(pulse));
        }
        room
    }

    /// What is to be received next.
    pub fn pop(&mut self) -> Option<Item> {
        let (_, item) = self.queue.pop_front()?;
        if matches!(item, Item::Pulse(_)) {
            self.pulses -= 1;
        }
        Some(item)
    }

    /// Takes one item out, wherever it is.
    pub fn withdraw(&mut self, item: Item) {
        if let Some(place) = self.queue.iter().position(|(_, other)| *other == item) {
            self.queue.remove(place);
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_priority_then_by_age() {
        let mut channel = ChannelState::new(1);
        let pulse = |code, priority| Pulse { code, value: 0, scoid: 0, priority };
        for (code, priority) in [(1, 10), (2, 63), (3, 10), (4, 0), (5, 63)] {
            assert!(channel.push_pulse(pulse(code, priority), 5));
        }
        assert!(!channel.push_pulse(pulse(6, 63), 5), "full, whatever the priority");
        channel.withdraw(Item::Disconnect(Key::from_number(0)));
        let mut codes = Vec::new();
        while let Some(Item::Pulse(pulse)) = channel.pop() {
            codes.push(pulse.code);
        }
        assert_eq!(codes, [2, 5, 1, 3, 4]);
        assert!(channel.push_pulse(pulse(7, 1), 1) && channel.len() == 1);
        assert_eq!((priority(-1), priority(70), priority(12)), (0, 63, 12));
    }
}
