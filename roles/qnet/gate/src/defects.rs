//! Defects that are planted on purpose: between transport and kernel interface, in the driver task, in the NIC. The gate
//! must find every one of them, else it does not look.

use crate::wire::Bell;
use keelson_exec::sync::Notify;
use keelson_qnet::sessions::{
    Body, Interest, Network, NodeNr, Qos, RxId, RxMessage, SessionEvent, Sessions, TxId,
};
use keelson_qnet_wire::{Errno, Nd};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// What is wrong with every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// A message now and then is acknowledged and not delivered.
    LostMessage,
    /// A message now and then is delivered twice.
    DoubledMessage,
    /// Two messages change places now and then.
    SwappedMessages,
    /// A byte of a message changes now and then.
    ChangedByte,
    /// The kernel interface is not told that connections to nodes ended.
    SilentTxDown,
    /// Nor that those from nodes did.
    SilentRxDown,
    /// The transport is not told that nothing more is wanted of a node.
    LastingInterest,
    /// Nor that somebody waits for one.
    NoInterest,
    /// A node that died looks like something else.
    WrongErrno,
    /// A sender that found no room is never told of any.
    NoRoomNews,
    /// Deadlines of the transport are not kept.
    DeafToTime,
    /// The NIC's doorbell is not heard now and then.
    StickyBell,
    /// Messages that arrived are never given back.
    KeptMessages,
}

/// All of them.
pub const DEFECTS: &[Defect] = &[
    Defect::LostMessage,
    Defect::DoubledMessage,
    Defect::SwappedMessages,
    Defect::ChangedByte,
    Defect::SilentTxDown,
    Defect::SilentRxDown,
    Defect::LastingInterest,
    Defect::NoInterest,
    Defect::WrongErrno,
    Defect::NoRoomNews,
    Defect::DeafToTime,
    Defect::StickyBell,
    Defect::KeptMessages,
];

/// One message in so many is treated badly.
const RARELY: u32 = 61;

impl Defect {
    /// What it does to the NIC.
    pub fn bell(defect: Option<Defect>) -> Bell {
        if defect == Some(Defect::StickyBell) { Bell::Sticks } else { Bell::Works }
    }
}

/// A network as the kernel interface sees it through a defect.
pub struct Faulty {
    network: Rc<Network>,
    defect: Defect,
    messages: Cell<u32>,
    /// Events to be delivered before the network's.
    before: RefCell<VecDeque<SessionEvent>>,
    kept: RefCell<Vec<RxMessage>>,
    deaf: Rc<Notify>,
}

impl Faulty {
    /// A network with a defect.
    pub fn new(network: &Rc<Network>, defect: Defect) -> Faulty {
        Faulty {
            network: network.clone(),
            defect,
            messages: Cell::new(0),
            before: RefCell::default(),
            kept: RefCell::default(),
            deaf: Rc::default(),
        }
    }

    /// Bytes of messages that were not given back.
    pub fn kept(&self) -> usize {
        self.kept.borrow().iter().map(|message| message.bytes().len()).sum()
    }

    fn spoil(&self, event: SessionEvent) -> Option<SessionEvent> {
        let event = match event {
            SessionEvent::TxDown { .. } if self.defect == Defect::SilentTxDown => return None,
            SessionEvent::RxDown { .. } if self.defect == Defect::SilentRxDown => return None,
            SessionEvent::TxDown { node, tx, .. } if self.defect == Defect::WrongErrno => {
                return Some(SessionEvent::TxDown { node, tx, errno: Errno::EINVAL });
            }
            event => event,
        };
        let SessionEvent::Message { from, rx, message } = event else { return Some(event) };
        self.messages.set(self.messages.get() + 1);
        if !self.messages.get().is_multiple_of(RARELY) {
            return Some(SessionEvent::Message { from, rx, message });
        }
        let again = |message: &RxMessage| RxMessage::new(message.bytes().to_vec());
        match self.defect {
            Defect::LostMessage => None,
            Defect::DoubledMessage => {
                let twice = SessionEvent::Message { from, rx, message: again(&message) };
                self.before.borrow_mut().push_back(twice);
                Some(SessionEvent::Message { from, rx, message })
            }
            Defect::SwappedMessages => match self.network.take_event() {
                Some(next) => {
                    self.before.borrow_mut().push_back(SessionEvent::Message { from, rx, message });
                    Some(next)
                }
                None => Some(SessionEvent::Message { from, rx, message }),
            },
            Defect::ChangedByte => {
                let mut bytes = message.bytes().to_vec();
                self.network.release(rx, message);
                if let Some(last) = bytes.last_mut() {
                    *last ^= 4;
                }
                Some(SessionEvent::Message { from, rx, message: RxMessage::new(bytes) })
            }
            _ => Some(SessionEvent::Message { from, rx, message }),
        }
    }
}

impl Sessions for Faulty {
    fn send(&self, to: NodeNr, qos: Qos, priority: u8, head: &[u8], body: Body<'_>) -> Result<TxId, Errno> {
        self.network.send(to, qos, priority, head, body)
    }

    fn take_event(&self) -> Option<SessionEvent> {
        if let Some(event) = self.before.borrow_mut().pop_front() {
            return Some(event);
        }
        loop {
            let event = self.network.take_event()?;
            if let Some(event) = self.spoil(event) {
                return Some(event);
            }
        }
    }

    fn changed(&self) -> Rc<Notify> {
        match self.defect {
            Defect::NoRoomNews => self.deaf.clone(),
            _ => self.network.changed(),
        }
    }

    fn release(&self, rx: RxId, message: RxMessage) {
        match self.defect {
            Defect::KeptMessages => self.kept.borrow_mut().push(message),
            _ => self.network.release(rx, message),
        }
    }

    fn close_rx(&self, node: NodeNr, rx: RxId) {
        self.network.close_rx(node, rx);
    }

    fn qos(&self, nd: Nd) -> Result<Qos, Errno> {
        self.network.qos(nd)
    }

    fn remote_nd_for_us(&self, node: NodeNr) -> Nd {
        self.network.remote_nd_for_us(node)
    }

    fn set_interest(&self, node: NodeNr, interest: Interest) {
        let told = match (self.defect, interest) {
            (Defect::LastingInterest, Interest::None) => Interest::Connected,
            (Defect::NoInterest, _) => Interest::None,
            (_, interest) => interest,
        };
        self.network.set_interest(node, told);
    }
}
