//! The model: what was sent on which connection, and whether it came exactly once and in order.

use crate::sessions::{NodeNr, RxId, TxId};
use std::collections::HashMap;

/// A life of a node.
pub type Life = (usize, u32);

struct Sent {
    life: Life,
    tx: TxId,
    index: usize,
    len: usize,
    delivered: bool,
}

/// Every message of a simulation.
#[derive(Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    /// Messages on each connection, by number of the message.
    connections: HashMap<(Life, TxId), Vec<usize>>,
    down: HashMap<(Life, TxId), keelson_qnet_wire::Errno>,
    /// Which connection of the sender each connection of a receiver is, and how many messages came on it.
    epochs: HashMap<(Life, RxId), (Life, TxId, usize)>,
    closed: HashMap<(Life, RxId), ()>,
    pub delivered: usize,
    pub bytes: usize,
}

impl Ledger {
    /// The next message's bytes: its number, then a pattern that follows from it.
    pub fn message(&self, len: usize) -> Vec<u8> {
        let number = self.sent.len() as u64;
        let mut bytes: Vec<u8> = number.to_le_bytes().into();
        bytes.extend((8..len.max(8) as u64).map(|at| pattern(number, at)));
        bytes
    }

    /// It was accepted.
    pub fn sent(&mut self, life: Life, tx: TxId, len: usize) {
        assert!(!self.down.contains_key(&(life, tx)), "sent on a connection that is down");
        let number = self.sent.len();
        let connection = self.connections.entry((life, tx)).or_default();
        self.sent.push(Sent { life, tx, index: connection.len(), len: len.max(8), delivered: false });
        connection.push(number);
    }

    pub fn tx_down(&mut self, life: Life, tx: TxId, errno: keelson_qnet_wire::Errno) {
        assert!(self.down.insert((life, tx), errno).is_none(), "down twice");
    }

    pub fn rx_down(&mut self, life: Life, rx: RxId) {
        assert!(self.closed.insert((life, rx), ()).is_none(), "down twice");
    }

    pub fn downs(&self) -> usize {
        self.down.len()
    }

    /// A message was delivered. `None` of it may be wrong.
    pub fn received(&mut self, life: Life, rx: RxId, _from: NodeNr, bytes: &[u8]) {
        assert!(!self.closed.contains_key(&(life, rx)), "message after RxDown");
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let sent = self.sent.get_mut(number as usize).expect("never sent");
        assert_eq!(bytes.len(), sent.len, "length of message {number}");
        for (at, byte) in bytes.iter().enumerate().skip(8) {
            assert_eq!(*byte, pattern(number, at as u64), "byte {at} of message {number}");
        }
        assert!(!std::mem::replace(&mut sent.delivered, true), "message {number} came twice");
        let epoch = self.epochs.entry((life, rx)).or_insert((sent.life, sent.tx, 0));
        assert_eq!((epoch.0, epoch.1), (sent.life, sent.tx), "two connections in one epoch");
        assert_eq!(epoch.2, sent.index, "order on a connection");
        epoch.2 += 1;
        self.delivered += 1;
        self.bytes += bytes.len();
    }

    /// Everything is quiet: all messages came, but for those of connections that went down or nodes that died.
    pub fn finish(&self, is_alive: impl Fn(Life) -> bool) {
        for ((life, tx), messages) in &self.connections {
            if is_alive(*life) && !self.down.contains_key(&(*life, *tx)) {
                for number in messages {
                    assert!(self.sent[*number].delivered, "message {number} was lost without a TxDown");
                }
            }
        }
    }

    pub fn total(&self) -> usize {
        self.sent.len()
    }
}

fn pattern(number: u64, at: u64) -> u8 {
    (number.wrapping_mul(31) ^ at.wrapping_mul(7) ^ at >> 8) as u8
}
